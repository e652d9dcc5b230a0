//! The WebSocket contract: JSON-RPC 2.0, its methods and its errors.
//!
//! Each message is one JSON object in one text frame. A request with an `id` gets
//! exactly one response; what the server says unasked is a [`Notification`].
//! Batches are not taken.

mod error;
mod method;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::{ErrorCode, RpcError};
pub use method::{
    AdminAudit, AdminExecute, AdminSubmit, Audit, AuditParams, BootParams, Booted, CallParams, Called,
    CancelParams, ClearLink, ClearParams, ClusterBoot, ClusterShutdown, ClusterSnapshot, ClusterTopology,
    DEFAULT_DEADLINE_MS, DEFAULT_GRACE_MS, DaemonDeliver, DaemonKinds, DaemonSpawn, DaemonSpawnParams,
    DaemonSpawned, DaemonStop, DaemonStopParams, Decided, DeliverParams, Delivered, Done, EventsSubscribe,
    ExecuteParams, FaultClear, FaultList, FaultParams, FaultPartition, FaultSet, Faults, GroupParams,
    GroupPromote, GroupScale, GroupSpawn, GroupSpawnParams, GroupSpawned, GroupStop, Hello, IceExecute,
    IceExecuteParams, IceSimulate, KindInfo, Kinds, Limits, MAX_ARGS_BYTES, MAX_BODY_BYTES, MAX_DEADLINE_MS,
    MAX_GRACE_MS, MAX_GROUP_NAME_BYTES, MAX_PAYLOAD_BYTES, METHODS, Method, MethodCall, MigrateParams,
    MigrationCancel, MigrationStart, MigrationStarted, NoParams, NodeAudit, NodeCrash, NodeDecision,
    NodeLook, NodeParams, NodePause, NodeRestart, NodeResume, NodeShutdown, NodeSpawn, PartitionParams,
    RestartParams, Resume, RpcCall, ScaleParams, ServerInfo, SessionHello, SimulateParams, Simulated,
    Spawned, SubmitParams, SubscribeParams, Subscribed, Topic, TopologyParams,
};

use crate::{event::Event, snapshot::Snapshot, telemetry::Telemetry};

/// The WebSocket subprotocol of this contract in JSON.
pub const SUBPROTOCOL: &str = "meshground.v1+json";

/// The constant `"2.0"` every message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Version {
    /// JSON-RPC 2.0.
    #[default]
    #[serde(rename = "2.0")]
    V2,
}

/// What ties a response to its request; chosen by the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A string.
    String(String),
}

/// A client's request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Always `"2.0"`.
    pub jsonrpc: Version,
    /// Absent: carry it out and answer nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// A name out of [`METHODS`].
    pub method: String,
    /// The method's parameters, by name; absent means none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub params: Value,
}

/// The server's answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Always `"2.0"`.
    pub jsonrpc: Version,
    /// The request's id; `null` where the request could not be read far enough to find it.
    pub id: Option<Id>,
    /// A result or an error, never both.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Result(Value),
    /// It was not. A refusal changes nothing; what fails half-way is taken down again, so that a restarted node is left
    /// crashed and a replaced cluster gone. The events tell, and `command` says which they are.
    Error(RpcError),
}

/// What the server says unasked, on a connection that has subscribed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Always `"2.0"`.
    pub jsonrpc: Version,
    /// Which, and its content.
    #[serde(flatten)]
    pub push: Push,
}

/// What a subscription pushes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params")]
pub enum Push {
    /// The next event.
    #[serde(rename = "event")]
    Event(Delivery),
    /// Gauges that changed.
    #[serde(rename = "telemetry")]
    Telemetry(Telemetry),
    /// This client read too slowly and missed events; here is where things stand now.
    #[serde(rename = "events.dropped")]
    Dropped(Dropped),
}

/// An event on its way to one subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The `seq` last sent on this subscription, or that of its snapshot: a client
    /// that compares it with what it saw last can prove that it missed nothing.
    pub prev: u64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// Sent in place of events that a slow client missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// How many events were missed.
    pub count: u64,
    /// Fold what follows into this.
    pub snapshot: Snapshot,
}

impl Request {
    /// A request for method `M`.
    ///
    /// # Errors
    /// When `params` cannot be written as JSON, which for the types here cannot happen.
    pub fn new<M: Method>(id: Id, params: &M::Params) -> Result<Self, serde_json::Error> {
        Ok(Self {
            jsonrpc: Version::V2,
            id: Some(id),
            method: M::NAME.to_owned(),
            params: serde_json::to_value(params)?,
        })
    }
}

impl Response {
    /// A success.
    pub fn ok(id: Option<Id>, result: Value) -> Self {
        Self { jsonrpc: Version::V2, id, outcome: Outcome::Result(result) }
    }

    /// A failure.
    pub fn err(id: Option<Id>, error: RpcError) -> Self {
        Self { jsonrpc: Version::V2, id, outcome: Outcome::Error(error) }
    }
}

impl Notification {
    /// Wraps `push` in its envelope.
    pub fn new(push: Push) -> Self {
        Self { jsonrpc: Version::V2, push }
    }
}

/// Anything the server sends, as a client reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ServerMessage {
    /// Something unasked. (Tried first: only it has a `method`.)
    Notification(Notification),
    /// An answer.
    Response(Response),
}
