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
    /// The links whose round-trip time changed since the last frame of this subscription.
    pub links: Vec<LinkSample>,
    /// The links whose counters changed since this subscription was last told of them, which is
    /// at most once a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficSample>,
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

/// What one end of one session has sent and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficSample {
    /// The end that counted.
    pub node: NodeId,
    /// The other end.
    pub peer: NodeId,
    /// Since there has been a session with this life of the other end.
    pub total: Traffic,
}

/// Counters of a session. Those that are 0 do not travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Datagrams sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub datagrams_out: u64,
    /// Their UDP payload, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_out: u64,
    /// Datagrams received and accepted.
    #[serde(skip_serializing_if = "is_zero")]
    pub datagrams_in: u64,
    /// Their UDP payload, in bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_in: u64,
    /// Messages sent.
    #[serde(skip_serializing_if = "is_zero")]
    pub messages_out: u64,
    /// Messages received.
    #[serde(skip_serializing_if = "is_zero")]
    pub messages_in: u64,
    /// Datagrams that had to be acknowledged, and were given up as lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub datagrams_lost: u64,
    /// Messages that were lost with them.
    #[serde(skip_serializing_if = "is_zero")]
    pub messages_lost: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
