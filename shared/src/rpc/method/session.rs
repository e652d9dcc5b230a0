//! Who is there, and what is sent unasked.

use serde::{Deserialize, Serialize};

use crate::{id::Epoch, snapshot::Snapshot};

/// Result of `session.hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The server's name and version.
    pub server: ServerInfo,
    /// The subprotocol spoken, [`SUBPROTOCOL`](crate::rpc::SUBPROTOCOL).
    pub protocol: String,
    /// The current life of the event log.
    pub epoch: Epoch,
    /// What the server refuses to exceed.
    pub limits: Limits,
    /// The methods it knows.
    pub methods: Vec<String>,
    /// Milliseconds within which a crashed node is Unreachable for its peers.
    pub detection_ms: u32,
}

/// A server's name and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// `meshground`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What a server refuses to exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Members of a cluster, crashed ones included.
    pub max_nodes: u32,
    /// Bytes of one message; a larger one gets an error.
    pub max_message_bytes: u32,
    /// Bytes of one message; beyond this the connection is closed with 1009.
    pub hard_message_bytes: u32,
    /// WebSocket clients at a time.
    pub max_clients: u32,
    /// Events kept for `resume`.
    pub resume_events: u32,
}

/// What a subscription carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The cluster's events.
    Cluster,
    /// Gauges at up to 10 Hz.
    Telemetry,
}

/// Parameters of `events.subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// What to send; by default only `cluster`.
    #[serde(default = "default_topics")]
    pub topics: Vec<Topic>,
    /// Where an earlier subscription stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

fn default_topics() -> Vec<Topic> {
    vec![Topic::Cluster]
}

impl Default for SubscribeParams {
    fn default() -> Self {
        Self { topics: default_topics(), resume: None }
    }
}

/// The last event a client has folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The log's life it belongs to.
    pub epoch: Epoch,
    /// Its place there.
    pub seq: u64,
}

/// Result of `events.subscribe`. Events after `seq` follow as notifications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The current life of the log.
    pub epoch: Epoch,
    /// The `seq` from which the stream goes on: that of the snapshot or of the resumption.
    pub seq: u64,
    /// The log's clock as the answer was written, in its monotonic microseconds: with it, a
    /// client can tell how long ago a `since_us` or `started_us` was. 0 from a server that
    /// does not say.
    #[serde(default)]
    pub now_us: u64,
    /// Where things stand at `seq`; `null` when resumed, as the client has that already.
    pub snapshot: Option<Snapshot>,
}
