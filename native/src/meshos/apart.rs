//! Keeps users' code out of the node's task, its last breath included.
//!
//! The node drops daemons and factories like anything else it holds, and a user's `drop` may block or panic. So what it
//! holds is wrapped: the wrapper's drop has the thing itself dropped on a blocking thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use meshground_node::{
    Control, DaemonError, DaemonEvent, DaemonFactory, DaemonHealth, DaemonOrder, Filter, MeshDaemon, Outputs,
};
use tokio::runtime::Handle;

/// A thing that is dropped elsewhere.
struct Apart<T: Send + 'static> {
    thing: Option<T>,
    runtime: Handle,
}

impl<T: Send + 'static> Apart<T> {
    fn new(thing: T, runtime: Handle) -> Self {
        Self { thing: Some(thing), runtime }
    }

    fn inner(&self) -> &T {
        self.thing.as_ref().expect("only a drop takes it out")
    }

    fn inner_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("only a drop takes it out")
    }
}

impl<T: Send + 'static> Drop for Apart<T> {
    fn drop(&mut self) {
        let Some(thing) = self.thing.take() else { return };
        // A runtime that is going down drops it here and now, and it may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| self.runtime.spawn_blocking(move || drop(thing))));
    }
}

/// A daemon whose name and wishes are known, so that nobody need ask for them in the node's task.
struct Handed {
    daemon: Apart<Box<dyn MeshDaemon>>,
    name: String,
    requirements: Filter,
}

/// Wraps a daemon.
///
/// # Errors
/// When it panics over its own name or requirements.
pub(super) fn daemon(
    daemon: Box<dyn MeshDaemon>,
    runtime: Handle,
) -> Result<Box<dyn MeshDaemon>, DaemonError> {
    let daemon = Apart::new(daemon, runtime);
    let said = catch_unwind(AssertUnwindSafe(|| (daemon.inner().name(), daemon.inner().requirements())));
    let (name, requirements) =
        said.map_err(|_| DaemonError::new("it panicked over its name or requirements"))?;
    Ok(Box::new(Handed { daemon, name, requirements }))
}

impl MeshDaemon for Handed {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn requirements(&self) -> Filter {
        self.requirements.clone()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        self.daemon.inner_mut().process(event, outputs)
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        self.daemon.inner().snapshot()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        self.daemon.inner_mut().restore(state)
    }

    fn health(&self) -> DaemonHealth {
        self.daemon.inner().health()
    }

    fn saturation(&self) -> u16 {
        self.daemon.inner().saturation()
    }

    fn on_control(&mut self, control: Control, outputs: &mut Outputs) -> Result<(), DaemonError> {
        self.daemon.inner_mut().on_control(control, outputs)
    }
}

/// A factory that makes wrapped daemons, and is one itself.
struct Workshop {
    factory: Apart<Arc<dyn DaemonFactory>>,
    about: String,
}

/// Wraps a factory.
pub(crate) fn factory(factory: Arc<dyn DaemonFactory>, runtime: Handle) -> Arc<dyn DaemonFactory> {
    let about = catch_unwind(AssertUnwindSafe(|| factory.about())).unwrap_or_default();
    Arc::new(Workshop { factory: Apart::new(factory, runtime), about })
}

impl DaemonFactory for Workshop {
    /// Runs in a job, outside the node's task.
    fn make(&self, order: &DaemonOrder) -> Result<Box<dyn MeshDaemon>, DaemonError> {
        daemon(self.factory.inner().make(order)?, self.factory.runtime.clone())
    }

    fn about(&self) -> String {
        self.about.clone()
    }
}
