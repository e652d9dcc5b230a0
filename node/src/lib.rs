//! One Meshground mesh node as a pure state machine.
//!
//! In go datagrams, timeouts and commands, each with the present time; out come
//! datagrams, the next timeout and events. Nothing in here opens a socket, reads a
//! clock, sleeps, locks or spawns, so the same node runs over UDP, in a simulator
//! with virtual time, and in a browser. The wire is described in `PROTOCOL.md`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod admin;
#[cfg(feature = "floor")]
#[doc(hidden)]
pub mod audit;
mod capability;
mod compute;
mod config;
mod connection;
mod crypto;
mod daemon;
mod event;
#[cfg(feature = "floor")]
pub mod floor;
mod handshake;
mod identity;
mod meshos;
mod node;
mod packet;
mod path;
mod ranges;
mod received;
mod record;
mod route;
mod rpc;
mod session;
mod stream;
mod time;
mod timers;
#[cfg(feature = "floor")]
#[doc(hidden)]
pub mod vectors;
mod wire;

pub use capability::{
    Capabilities, CapabilityError, CapabilityIndex, Comparison, Filter, Placement, PlacementError,
    PlacementReason, PlacementStrategy, PlacementView, Placer,
};
pub use compute::{
    MAX_ARGS, MAX_DAEMONS, MAX_MIGRATIONS, MigrateError, SpawnError,
    groups::{GroupError, Lineage, LineageError, MAX_GROUPS, MAX_MEMBERS, PickStrategy},
};
pub use config::{ConfigError, HandshakeConfig, LivenessConfig, NodeConfig, RekeyConfig};
pub use crypto::Suite;
pub use daemon::{
    Address, Control, DaemonError, DaemonEvent, DaemonFactory, DaemonOrder, DeliverError, EntityKeypair,
    GroupPlace, Job, JobDone, JobKey, MAX_NAME, MAX_PAYLOAD, MAX_STATE, MeshDaemon, Outputs, Place, Sender,
};
pub use event::{DialError, DialId, NodeEvent, PeerView, SaidTooMuch, SendError, Traffic, Transmit};
pub use identity::Identity;
pub use meshground_shared::{
    DaemonEnd, DaemonHealth, DaemonId, DaemonView, GroupId, Health, Lifecycle, LogLevel, Member, MigrationId,
    MigrationPhase, MigrationView, NodeId, PublicKey, RejectReason, Role, SessionEnd,
};
pub use meshos::{
    Action, ActionRecord, Avoided, Commanded, DaemonState, DaemonTiming, Delivered, Dispatch, FailureRecord,
    GroupRequest, HealthProbe, InventoryProbe, LocalityProbe, LogLine, LoggingDispatcher, MaintenanceConfig,
    MeshOs, MeshOsConfig, MeshOsSnapshot, OsEvent, PeerState, Resources, Settlement, SpawnRequest,
    StateError, Ticket,
};
pub use node::Node;
pub use path::Path;
pub use received::Received;
pub use record::{MAX_BODY as MAX_SAID, Topic};
pub use route::Route;
pub use rpc::{
    APPLICATION_CODES, CallError, CallEvent, CallId, CallRecord, MAX_BODY, MAX_METHOD, MAX_REASON, ReplyError,
};
pub use stream::{MAX_CODE, StreamError, StreamEvent, StreamId, StreamKind};
pub use time::{Instant, Now, WallTime};
