//! The system through one node's eyes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    admin::{AuditEntry, AvoidedNode, Maintenance},
    daemon::{DaemonHealth, DaemonView, Lifecycle, LogLevel, Member},
    event::Health,
    group::GroupView,
    id::{DaemonId, Epoch, MigrationId, NodeId},
    migration::{MigrationPhase, MigrationView},
};

/// What one node knows of the system, and what it did and found. Of others it knows what its sessions measure and what
/// they say; two nodes need not agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Whose view it is.
    pub node: NodeId,
    /// Tells lives of that node apart.
    pub epoch: Epoch,
    /// The version of what runs it.
    pub version: String,
    /// Counts structural changes: as long as it is the same, only figures differ.
    pub generation: u64,
    /// Whether it serves.
    pub maintenance: Maintenance,
    /// Whether nothing new is placed on it.
    pub cordoned: bool,
    /// For how many milliseconds a drain may go on; absent unless it drains.
    pub drain_remaining_ms: Option<u64>,
    /// For how many milliseconds nothing is placed, moved or restarted; absent unless frozen.
    pub freeze_remaining_ms: Option<u64>,
    /// How its machine does.
    pub resources: ResourcesView,
    /// How busy it is for placement, in thousandths: what its daemons say of themselves, added up, a little for each, and for
    /// its processor; more than 1,000 when many are busy.
    pub load: u32,
    /// What it announces that it can do, sorted: its own tags and those of its daemons.
    pub tags: Vec<String>,
    /// What runs on it, by id.
    pub daemons: BTreeMap<DaemonId, OwnDaemon>,
    /// The other nodes it knows.
    pub peers: BTreeMap<NodeId, PeerSeen>,
    /// The groups it knows.
    pub groups: Vec<GroupView>,
    /// The migrations it is the source of.
    pub migrations: Vec<MigrationView>,
    /// Whom it avoids, and why.
    pub avoided: Vec<AvoidedNode>,
    /// What it did of its own accord, the latest last.
    pub actions: Vec<Remark>,
    /// How many decisions were neither done nor kept, where decisions are only written down.
    pub decisions_lost: u64,
    /// What went wrong, the latest last.
    pub failures: Vec<Remark>,
    /// What its daemons wrote into their logs, the latest last.
    pub log: Vec<DaemonLine>,
    /// What it decided on signed commands, the latest last.
    pub audit: Vec<AuditEntry>,
    /// How many signed commands it cannot tell latecomers of any more. What still stands of them is kept.
    pub commands_forgotten: u64,
    /// How often one of its probes panicked.
    pub probe_panics: u64,
}

/// How a machine does, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourcesView {
    /// How busy its processor is.
    pub cpu: u16,
    /// How full its memory is.
    pub memory: u16,
}

/// A daemon on the node itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnDaemon {
    /// What it is like.
    #[serde(flatten)]
    pub daemon: DaemonView,
    /// For how many milliseconds this incarnation of it has been here, restarts included.
    pub age_ms: u64,
    /// In how many milliseconds it is started again; absent unless it is down and will be.
    pub restarts_in_ms: Option<u64>,
}

/// Another node, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSeen {
    /// The failure detector's verdict; absent without a session.
    pub health: Option<Health>,
    /// The measured round-trip time, in microseconds.
    pub rtt_us: Option<u64>,
    /// The version of what runs it, as it says; empty if it has not said yet.
    pub version: String,
    /// Whether it serves, as it says.
    pub maintenance: Maintenance,
    /// Whether nothing new is placed on it, as it says.
    pub cordoned: bool,
    /// How its machine does, as it says.
    pub resources: ResourcesView,
    /// How busy it is for placement, by what it says; as [`NodeView::load`].
    pub load: u32,
    /// What it announces that it can do, sorted.
    pub tags: Vec<String>,
    /// The kinds of daemons it can make, as it says.
    pub kinds: Vec<String>,
    /// What runs on it, as it says.
    pub daemons: BTreeMap<DaemonId, StatedDaemon>,
    /// What is on its way from it, as it says.
    pub moving: Vec<StatedMigration>,
}

/// A daemon elsewhere, as its node states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedDaemon {
    /// What it is doing.
    pub lifecycle: Lifecycle,
    /// What it says of itself.
    pub health: DaemonHealth,
    /// How busy it says it is, in thousandths.
    pub saturation: u16,
    /// How often it was started again after a crash.
    pub restarts: u32,
    /// The group it belongs to, and its place there.
    pub member: Option<Member>,
}

/// A migration elsewhere, as its source states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedMigration {
    /// Which.
    pub id: MigrationId,
    /// Who moves.
    pub daemon: DaemonId,
    /// Whither.
    pub target: NodeId,
    /// How far it is.
    pub phase: MigrationPhase,
}

/// A line of a daemon's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonLine {
    /// When it was written, in Unix microseconds by the node's clock.
    pub at_us: u64,
    /// By which daemon, or about which, as when it crashed.
    pub daemon: DaemonId,
    /// How important it is.
    pub level: LogLevel,
    /// The line, at most 1,024 bytes.
    pub text: String,
}

/// Something a node noted down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// When, in Unix microseconds by the node's clock.
    pub at_us: u64,
    /// What, for a person.
    pub what: String,
}
