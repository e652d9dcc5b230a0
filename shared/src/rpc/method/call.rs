//! Calls from node to node.

use serde::{Deserialize, Serialize};

use crate::id::{CommandId, NodeId};

/// Bytes of a call's body, at most.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Milliseconds a call may take if nobody says otherwise.
pub const DEFAULT_DEADLINE_MS: u32 = 5_000;

/// Milliseconds a call may be given, at most.
pub const MAX_DEADLINE_MS: u32 = 60_000;

/// Parameters of `rpc.call`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallParams {
    /// The node that calls.
    pub from: NodeId,
    /// The node that is called.
    pub to: NodeId,
    /// A method that nodes serve over the mesh, such as `echo`.
    pub method: String,
    /// What it is given, at most [`MAX_BODY_BYTES`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Milliseconds it may take, from 1 to [`MAX_DEADLINE_MS`].
    #[serde(default = "default_deadline_ms")]
    pub deadline_ms: u32,
}

/// Result of `rpc.call`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// The id its event carries as `cause`.
    pub command: CommandId,
    /// The answer. Bytes that are no UTF-8 are replaced by U+FFFD.
    pub body: String,
    /// Microseconds from the question to the answer, by the caller's clock.
    pub took_us: u64,
}

fn default_deadline_ms() -> u32 {
    DEFAULT_DEADLINE_MS
}
