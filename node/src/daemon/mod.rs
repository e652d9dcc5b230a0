//! What a daemon is: user code that a node runs, restarts, moves and supervises.
//!
//! A node never calls a daemon. It hands out [`Job`]s, which its driver runs wherever a slow or a panicking daemon
//! does no harm, and takes back what came of them.

mod control;
mod entity;
mod event;
mod job;
mod outputs;
mod supervision;

use std::fmt;

use meshground_shared::DaemonHealth;

pub use self::{
    control::Control,
    entity::EntityKeypair,
    event::{DaemonEvent, DeliverError, GroupPlace, Place, Sender},
    job::{Job, JobDone, JobKey},
    outputs::{Address, Outputs},
};
pub(crate) use self::{
    entity::daemon_id,
    job::{Outcome, Task},
    outputs::{MAX_OUTPUT_BYTES, MAX_OUTPUTS, Output},
    supervision::{Supervision, Verdict},
};
use crate::capability::Filter;

/// The longest name of a daemon or of a kind of them, in bytes.
pub const MAX_NAME: usize = 64;

/// The longest payload of an event, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The largest state a daemon may be moved with, in bytes.
pub const MAX_STATE: usize = 64 << 20;

/// User code that a node runs.
///
/// One thing at a time is asked of a daemon, always from outside the node's own task. It may take its time and it may
/// panic: a panic, or an error out of [`process`](Self::process), is a crash of this daemon alone, after which it is
/// made anew by its factory.
pub trait MeshDaemon: Send + 'static {
    /// What it calls itself, at most [`MAX_NAME`] bytes; longer ones are cut. Asked once.
    fn name(&self) -> String;

    /// What a node must announce for this daemon to be placed there.
    fn requirements(&self) -> Filter {
        Filter::any()
    }

    /// Works off one event.
    ///
    /// # Errors
    /// When it cannot go on: that is a crash. What it put out before is dropped.
    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError>;

    /// Its state, at most [`MAX_STATE`] bytes; `None` if it has none that could be moved.
    fn snapshot(&self) -> Option<Vec<u8>> {
        None
    }

    /// Takes over a state that [`snapshot`](Self::snapshot) of another incarnation gave. Comes before its first event.
    ///
    /// # Errors
    /// When it is no such state.
    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        let _ = state;
        Err(DaemonError::new("this daemon takes over no state"))
    }

    /// How it does. Asked whenever it has done something, and each second in which it has not.
    fn health(&self) -> DaemonHealth {
        DaemonHealth::Healthy
    }

    /// How busy it is, in thousandths. Asked whenever it has done something, and each second in which it has not.
    fn saturation(&self) -> u16 {
        0
    }

    /// Is told something by the node. After [`Control::Shutdown`] nothing more comes.
    ///
    /// # Errors
    /// When it cannot go on: that is a crash.
    fn on_control(&mut self, control: Control, outputs: &mut Outputs) -> Result<(), DaemonError> {
        let _ = (control, outputs);
        Ok(())
    }
}

/// Why a daemon cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DaemonError {
    reason: String,
}

impl DaemonError {
    /// With a reason for a person.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Makes daemons of one kind.
pub trait DaemonFactory: Send + Sync + 'static {
    /// Makes one, for its first start and after each crash. Runs where the daemon will, so it may take its time.
    ///
    /// # Errors
    /// When it cannot be made like this. It is not tried again then.
    fn make(&self, order: &DaemonOrder) -> Result<Box<dyn MeshDaemon>, DaemonError>;

    /// What it is, in a sentence for a person.
    fn about(&self) -> String {
        String::new()
    }
}

impl<F> DaemonFactory for F
where
    F: Fn(&DaemonOrder) -> Result<Box<dyn MeshDaemon>, DaemonError> + Send + Sync + 'static,
{
    fn make(&self, order: &DaemonOrder) -> Result<Box<dyn MeshDaemon>, DaemonError> {
        self(order)
    }
}

/// What a factory is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonOrder {
    /// Who and where it will be.
    pub place: Place,
    /// What whoever spawned it said, at most 4 KiB.
    pub args: String,
}

impl fmt::Debug for dyn MeshDaemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshDaemon")
    }
}

impl fmt::Debug for dyn DaemonFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DaemonFactory")
    }
}

/// Cuts a line of a log to what a line may have.
pub(crate) fn cut_line(text: &mut String) {
    outputs::cut(text, outputs::MAX_LINE);
}

/// Cuts a name to what a name may have.
pub(crate) fn cut_name(name: &mut String) {
    outputs::cut(name, MAX_NAME);
}
