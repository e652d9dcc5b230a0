//! Gauges: figures that change all the time and whose history nobody replays.
//!
//! They are not events and take no `seq`. A client that asks for the `telemetry`
//! topic gets at most ten frames a second, each with the values that changed.

use serde::{Deserialize, Serialize};

use crate::id::{DaemonId, NodeId};

/// One frame of gauges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Monotonic microseconds since the room's log began.
    pub at_us: u64,
    /// The links whose figures changed since the last frame of this subscription.
    pub links: Vec<LinkSample>,
    /// The daemons whose figures changed since then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub daemons: Vec<DaemonSample>,
}

/// How busy one daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonSample {
    /// Where it runs.
    pub node: NodeId,
    /// Which it is.
    pub daemon: DaemonId,
    /// How busy it says it is, in thousandths.
    pub saturation: u16,
    /// How many events it has worked off.
    pub processed: u64,
}

/// One end's figures of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSample {
    /// The end that measured.
    pub node: NodeId,
    /// The other end.
    pub peer: NodeId,
    /// Smoothed round-trip time in microseconds (RFC 6298 weights), the peer's own
    /// scheduling included.
    pub rtt_us: u32,
}
