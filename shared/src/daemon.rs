//! What runs on nodes: daemons, as everybody sees them.

use serde::{Deserialize, Serialize};

use crate::id::{DaemonId, GroupId};

/// A daemon on the node that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonView {
    /// Who it is, wherever it runs.
    pub id: DaemonId,
    /// What it calls itself, at most 64 bytes.
    pub name: String,
    /// The factory it was made by; absent if somebody handed it over ready-made.
    pub kind: Option<String>,
    /// What it is doing.
    pub lifecycle: Lifecycle,
    /// What it says of itself.
    pub health: DaemonHealth,
    /// How busy it says it is, in thousandths.
    pub saturation: u16,
    /// How often it was started again after a crash.
    pub restarts: u32,
    /// Which incarnation of its identity this is. Of two nodes that run the same daemon the
    /// higher one is right.
    pub generation: u64,
    /// The group it belongs to, and its place there.
    pub member: Option<Member>,
    /// How many events it has worked off.
    pub processed: u64,
}

/// A place in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The group.
    pub group: GroupId,
    /// The place, from 0.
    pub index: u32,
}

/// What a daemon is doing.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 13): a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It is being made, or has not worked off its first event.
    Starting,
    /// It runs.
    Running,
    /// It was told to finish what it has and take nothing new.
    Draining,
    /// It is on its way to another node.
    Migrating,
    /// A standby: it holds its group's state and runs only when promoted.
    Standby,
    /// It crashed and starts again after a pause.
    BackingOff,
    /// It crashed again and again and stays down for longer.
    CrashLooping,
    /// It was told to stop.
    Stopping,
    /// It crashed and nothing can start it again.
    Failed,
}

/// What a daemon says of itself.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 13): a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonHealth {
    /// All is well.
    #[default]
    Healthy,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// Why a daemon is no more on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonEnd {
    /// It was told to stop, and did.
    Stopped,
    /// It did not stop within its grace and was dropped.
    Killed,
    /// It runs on another node now.
    Migrated,
    /// Its group has another node do its work.
    Evicted,
    /// A newer incarnation of it runs elsewhere.
    Superseded,
}

/// How important a line of a daemon's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For whoever looks for a defect.
    Debug,
    /// What it is doing.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something went wrong.
    Error,
}

impl Lifecycle {
    /// Whether events reach it at present.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Draining)
    }
}
