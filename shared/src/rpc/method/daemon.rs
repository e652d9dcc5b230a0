//! Daemons.

use serde::{Deserialize, Serialize};

use crate::id::{CommandId, DaemonId, NodeId};

/// Bytes of the text that a factory is given, at most.
pub const MAX_ARGS_BYTES: usize = 4 * 1024;

/// Bytes of the payload of one event for a daemon, at most.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// Milliseconds a daemon has to stop if nobody says otherwise.
pub const DEFAULT_GRACE_MS: u32 = 2_000;

/// Milliseconds a daemon may be given to stop, at most.
pub const MAX_GRACE_MS: u32 = 60_000;

/// Result of `daemon.kinds`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    /// All of them, by name.
    pub kinds: Vec<KindInfo>,
}

/// A factory that daemons can be made by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindInfo {
    /// Its name.
    pub kind: String,
    /// What its daemons do and what `args` it takes, for a person.
    pub about: String,
}

/// Parameters of `daemon.spawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonSpawnParams {
    /// Where.
    pub node: NodeId,
    /// By which factory; one of `daemon.kinds`.
    pub kind: String,
    /// What the factory is given, at most [`MAX_ARGS_BYTES`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub args: String,
}

/// Result of `daemon.spawn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonSpawned {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// Who it is.
    pub daemon: DaemonId,
    /// Where it runs.
    pub node: NodeId,
    /// Microseconds it took.
    pub took_us: u64,
}

/// Parameters of `daemon.stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DaemonStopParams {
    /// Which, wherever it runs.
    pub daemon: DaemonId,
    /// Milliseconds it has to stop by itself before it is dropped, at most [`MAX_GRACE_MS`].
    #[serde(default = "default_grace_ms")]
    pub grace_ms: u32,
}

/// Parameters of `daemon.deliver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliverParams {
    /// To whom, wherever it runs.
    pub daemon: DaemonId,
    /// What, at most [`MAX_PAYLOAD_BYTES`].
    pub payload: String,
    /// The node that hands it in and, if the daemon runs elsewhere, sends it on; by default the
    /// one that the daemon runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<NodeId>,
}

/// Result of `daemon.deliver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// Its place among the events that the daemon has worked off, from 1.
    pub processed: u64,
    /// What the daemon put out. Bytes that are no UTF-8 are replaced by U+FFFD.
    pub outputs: Vec<String>,
    /// Microseconds it took.
    pub took_us: u64,
}

fn default_grace_ms() -> u32 {
    DEFAULT_GRACE_MS
}
