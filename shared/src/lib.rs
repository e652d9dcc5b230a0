//! What crosses Meshground's WebSocket, as types.
//!
//! The server, the page, the tests and any Rust client use these same types, so
//! the contract is written down once. Nothing here knows a socket, a clock or a
//! runtime; the crate compiles natively and to WASM.
//!
//! - [`id`]: the ids, which travel as hexadecimal strings.
//! - [`event`]: what happened in a cluster, one [`Event`] at a time.
//! - [`topology`]: which members are to hold sessions with each other.
//! - [`fault`]: what can be made to go wrong on a link.
//! - [`daemon`], [`group`], [`migration`]: what runs on nodes, what belongs together, what moves.
//! - [`admin`]: signed commands and what became of them.
//! - [`snapshot`]: what a cluster looks like; a [`Snapshot`] is the fold of its events.
//! - [`view`]: the system through one node's eyes.
//! - [`telemetry`]: gauges (round-trip times, counters, how busy daemons are), coalesced and opt-in.
//! - [`rpc`]: the JSON-RPC 2.0 envelope, the methods and the errors.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod admin;
pub mod daemon;
pub mod event;
pub mod fault;
pub mod group;
pub mod id;
pub mod migration;
pub mod rpc;
pub mod snapshot;
pub mod telemetry;
pub mod topology;
pub mod view;

pub use admin::{
    AdminVerb, AuditEntry, AuditOutcome, AvoidedNode, BlastRadius, Decision, IceVerb, Maintenance, Rejection,
    Verb,
};
pub use daemon::{DaemonEnd, DaemonHealth, DaemonView, Lifecycle, LogLevel, Member};
pub use event::{CallOutcome, Event, EventKind, Health, RejectReason, Role, SessionEnd, StopReason};
pub use fault::{FaultError, FaultyLink, LinkFault};
pub use group::{GroupHealth, GroupKind, GroupMember, GroupView};
pub use id::{CommandId, DaemonId, Epoch, GroupId, Hex, MigrationId, NodeId, PublicKey, SimulationHash};
pub use migration::{MigrationPhase, MigrationView};
pub use snapshot::{ClusterPhase, Edge, MigrationSnapshot, NodeSnapshot, NodeState, PeerSnapshot, Snapshot};
pub use telemetry::{DaemonSample, LinkSample, Telemetry, Traffic, TrafficSample};
pub use topology::{Links, Topology, TopologyError};
pub use view::{
    DaemonLine, NodeView, OwnDaemon, PeerSeen, Remark, ResourcesView, StatedDaemon, StatedMigration,
};
