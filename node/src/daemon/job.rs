//! What a driver runs for a node.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use meshground_shared::{DaemonHealth, DaemonId};

use super::{
    Control, DaemonError, DaemonEvent, DaemonFactory, DaemonOrder, MAX_NAME, MeshDaemon, Outputs,
    outputs::{Output, cut},
};
use crate::capability::Filter;

/// Something to do with a daemon. A driver runs it where a slow or panicking daemon does no harm, and hands what comes
/// of it to [`MeshOs::handle_job`](crate::MeshOs::handle_job).
#[derive(Debug)]
#[must_use]
pub struct Job {
    key: JobKey,
    daemon: Option<Box<dyn MeshDaemon>>,
    tasks: Vec<Task>,
}

/// Which job of which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    /// The daemon.
    pub daemon: DaemonId,
    pub(crate) serial: u64,
}

/// One thing to do with a daemon.
#[derive(Debug)]
pub(crate) enum Task {
    /// Make it.
    Make(Arc<dyn DaemonFactory>, DaemonOrder),
    /// Have it take over a state.
    Restore(Vec<u8>),
    /// Have it work off an event.
    Event(DaemonEvent),
    /// Tell it something.
    Control(Control),
    /// Take its state.
    Snapshot,
    /// Nothing: how it does is asked after every job.
    Look,
}

/// What came of one thing.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is made.
    Made(Made),
    Restored,
    /// It worked an event off, or dealt with a control.
    Done(Vec<Output>),
    /// Its state, if it has one, however large.
    State(Option<Vec<u8>>),
}

/// What is known of a daemon once it is made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) requirements: Filter,
}

/// What came of a job.
#[derive(Debug)]
#[must_use]
pub struct JobDone {
    pub(crate) key: JobKey,
    /// `None` after a crash, or if it could not be made.
    pub(crate) daemon: Option<Box<dyn MeshDaemon>>,
    /// Of the first steps, as far as it came.
    pub(crate) outcomes: Vec<Outcome>,
    /// Why it came no further.
    pub(crate) failure: Option<DaemonError>,
    /// What was to come after that.
    pub(crate) rest: Vec<Task>,
    pub(crate) health: DaemonHealth,
    pub(crate) saturation: u16,
}

impl Job {
    pub(crate) fn new(key: JobKey, daemon: Option<Box<dyn MeshDaemon>>, tasks: Vec<Task>) -> Self {
        Self { key, daemon, tasks }
    }

    /// Which it is.
    pub fn key(&self) -> JobKey {
        self.key
    }

    /// Does it. May take its time. A panic of the daemon ends here, and the daemon with it; where panics abort, as in a
    /// browser, there is no such isolation.
    pub fn run(self) -> JobDone {
        let Self { key, mut daemon, tasks } = self;
        let mut done = JobDone {
            key,
            daemon: None,
            outcomes: Vec::with_capacity(tasks.len()),
            failure: None,
            rest: Vec::new(),
            health: DaemonHealth::Unhealthy,
            saturation: 0,
        };
        let mut tasks = tasks.into_iter();
        for task in tasks.by_ref() {
            match isolated(|| task.run(&mut daemon)) {
                Ok(outcome) => done.outcomes.push(outcome),
                Err(error) => {
                    done.failure = Some(error);
                    break;
                }
            }
        }
        done.rest = tasks.collect();
        if let (Some(daemon), None) = (&daemon, &done.failure) {
            match isolated(|| Ok((daemon.health(), daemon.saturation().min(1_000)))) {
                Ok(said) => (done.health, done.saturation) = said,
                Err(error) => done.failure = Some(error),
            }
        }
        if done.failure.is_none() {
            done.daemon = daemon;
        } else {
            // What is left of it may panic once more as it goes.
            let _ = isolated(|| {
                drop(daemon);
                Ok(())
            });
        }
        done
    }
}

/// Does something with user code, of which a panic is an error.
fn isolated<T>(work: impl FnOnce() -> Result<T, DaemonError>) -> Result<T, DaemonError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(DaemonError::new(format!("it panicked: {}", text.as_deref().unwrap_or("no reason given"))))
        }
    }
}

impl Task {
    fn run(self, daemon: &mut Option<Box<dyn MeshDaemon>>) -> Result<Outcome, DaemonError> {
        if let Self::Make(factory, order) = self {
            let made = factory.make(&order)?;
            let mut name = made.name();
            cut(&mut name, MAX_NAME);
            let requirements = made.requirements();
            *daemon = Some(made);
            return Ok(Outcome::Made(Made { name, requirements }));
        }
        let daemon = daemon.as_mut().ok_or_else(|| DaemonError::new("there is no daemon"))?;
        let mut outputs = Outputs::new();
        match self {
            Self::Restore(state) => {
                daemon.restore(&state)?;
                return Ok(Outcome::Restored);
            }
            Self::Snapshot => {
                return Ok(Outcome::State(daemon.snapshot()));
            }
            Self::Event(event) => daemon.process(event, &mut outputs)?,
            Self::Control(control) => daemon.on_control(control, &mut outputs)?,
            Self::Look | Self::Make(..) => {}
        }
        Ok(Outcome::Done(outputs.into_list()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::Sender;

    /// Panics over one payload and fails over another.
    struct Fragile;

    impl MeshDaemon for Fragile {
        fn name(&self) -> String {
            "fragile".to_owned()
        }

        fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
            let DaemonEvent::Message { payload, .. } = event else { return Ok(()) };
            assert!(payload != b"panic", "as told");
            if payload == b"fail" {
                return Err(DaemonError::new("as told"));
            }
            outputs.reply(payload);
            Ok(())
        }
    }

    fn run(payloads: &[&[u8]]) -> JobDone {
        let message = |payload: &&[u8]| {
            let from = Sender::Node(meshground_shared::NodeId(1));
            Task::Event(DaemonEvent::Message { from, payload: payload.to_vec() })
        };
        let key = JobKey { daemon: DaemonId(1), serial: 1 };
        Job::new(key, Some(Box::new(Fragile)), payloads.iter().map(message).collect()).run()
    }

    #[test]
    fn a_panic_ends_the_daemon_and_nothing_that_came_before_it() {
        let done = run(&[b"a", b"panic", b"b"]);
        assert_eq!(done.outcomes.len(), 1);
        assert_eq!(done.failure.unwrap().to_string(), "it panicked: as told");
        assert!(done.daemon.is_none());
        assert_eq!(done.rest.len(), 1, "what was not begun is given back");
    }

    #[test]
    fn an_error_is_a_crash_and_success_gives_the_daemon_back() {
        assert!(run(&[b"fail"]).daemon.is_none());
        let done = run(&[b"a", b"b"]);
        assert!(done.daemon.is_some() && done.failure.is_none() && done.outcomes.len() == 2);
    }
}
