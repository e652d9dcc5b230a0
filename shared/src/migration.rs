//! Daemons on their way from one node to another.

use serde::{Deserialize, Serialize};

use crate::id::{DaemonId, MigrationId, NodeId};

/// A migration, as its source sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationView {
    /// Which.
    pub id: MigrationId,
    /// Who moves.
    pub daemon: DaemonId,
    /// Whence.
    pub source: NodeId,
    /// Whither.
    pub target: NodeId,
    /// How far it is.
    pub phase: MigrationPhase,
    /// Bytes of state, as soon as they are known.
    pub bytes_total: u64,
    /// Those of them the target has.
    pub bytes_done: u64,
    /// Events that came meanwhile and wait at the source.
    pub buffered: u32,
    /// How often the transfer was begun again.
    pub retries: u32,
    /// Microseconds since it began.
    pub elapsed_us: u64,
    /// Microseconds since the present phase began.
    pub phase_us: u64,
    /// Why it failed or was cancelled, for a person.
    pub reason: Option<String>,
}

/// How far a migration is. The first six come in this order; any of the first five may end in one of
/// the last two.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 13): a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigrationPhase {
    /// The daemon's state is being taken; from here on its events wait.
    Snapshot,
    /// The state is on its way.
    Transfer,
    /// The target makes the daemon anew out of it.
    Restore,
    /// The events that waited are on their way.
    Replay,
    /// The source has given the daemon away for good and waits to hear that the target runs it.
    Cutover,
    /// The target runs it.
    Complete,
    /// It was called off; the source runs the daemon as before.
    Cancelled,
    /// It came to nothing; the source runs the daemon as before, unless it went down itself.
    Failed,
}

impl MigrationPhase {
    /// Whether nothing more comes.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Cancelled | Self::Failed)
    }
}
