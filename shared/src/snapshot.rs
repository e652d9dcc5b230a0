//! What a cluster looks like at one moment.
//!
//! A [`Snapshot`] is the fold of a room's events up to `seq`. The server keeps
//! one by folding each event as it is logged; the page keeps its own with the
//! same [`Snapshot::apply`]; so both always agree.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{
    admin::{AuditEntry, AvoidedNode, Maintenance},
    daemon::DaemonView,
    event::{Event, EventKind, Health, Role, StopReason},
    fault::{FaultyLink, LinkFault},
    group::GroupView,
    id::{DaemonId, Epoch, GroupId, MigrationId, NodeId, PublicKey},
    migration::{MigrationPhase, MigrationView},
    topology::{Links, Topology},
};

/// How many migrations that are over a snapshot remembers.
pub const MIGRATIONS_KEPT: usize = 64;

/// How many entries of its audit trail a snapshot remembers of each node.
pub const AUDIT_KEPT: usize = 64;

/// A room's cluster as of event `seq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which life of the log `seq` counts in.
    pub epoch: Epoch,
    /// The last event folded in; 0 before the first.
    pub seq: u64,
    /// Monotonic microseconds of that event since the log began.
    pub at_us: u64,
    /// What the cluster is doing.
    pub phase: ClusterPhase,
    /// Which members are to hold sessions with each other.
    #[serde(default)]
    pub topology: Topology,
    /// The members, and whoever is on its way out, by id. A crashed node stays a member; a shut down one does not.
    pub nodes: BTreeMap<NodeId, NodeSnapshot>,
    /// The groups, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<GroupId, GroupView>,
    /// The migrations under way, and the last [`MIGRATIONS_KEPT`] that are over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub migrations: BTreeMap<MigrationId, MigrationSnapshot>,
}

/// A migration as of its last event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationSnapshot {
    /// How far it was then.
    #[serde(flatten)]
    pub view: MigrationView,
    /// When that was, in the log's monotonic microseconds.
    pub at_us: u64,
}

/// What a cluster is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterPhase {
    /// There is none.
    Empty,
    /// Its nodes are up and shaking hands.
    Booting,
    /// It has converged once and runs.
    Running,
    /// It is being shut down.
    Stopping,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// Its place in the cluster; kept over a restart, never reused.
    pub index: u32,
    /// Its loopback UDP address; a restart changes the port.
    pub address: SocketAddr,
    /// Its Noise static public key.
    pub public_key: PublicKey,
    /// Whether it runs.
    pub state: NodeState,
    /// When it last started, in the log's monotonic microseconds.
    pub started_us: u64,
    /// The peers it holds a confirmed session with, by id. Empty while crashed.
    pub peers: BTreeMap<NodeId, PeerSnapshot>,
    /// What happens to the datagrams it sends, by whom it sends them to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<NodeId, LinkFault>,
    /// What runs on it, by id. Empty while crashed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub daemons: BTreeMap<DaemonId, DaemonView>,
    /// Whether it serves.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Whether nothing new is placed on it.
    #[serde(default)]
    pub cordoned: bool,
    /// Until when nothing is placed, moved or restarted on it, in the log's monotonic microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_until_us: Option<u64>,
    /// Whom it avoids as of the last event about that, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoided: Vec<AvoidedNode>,
    /// The last [`AUDIT_KEPT`] signed commands it decided on, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<AuditEntry>,
}

impl NodeSnapshot {
    fn started(index: u32, address: SocketAddr, public_key: PublicKey, started_us: u64) -> Self {
        Self {
            index,
            address,
            public_key,
            state: NodeState::Running,
            started_us,
            peers: BTreeMap::new(),
            faults: BTreeMap::new(),
            daemons: BTreeMap::new(),
            maintenance: Maintenance::Active,
            cordoned: false,
            frozen_until_us: None,
            avoided: Vec::new(),
            audit: Vec::new(),
        }
    }

    /// Folds one event of its own.
    fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::NodeLeaving { .. } => self.state = NodeState::Leaving,
            EventKind::NodePaused => self.state = NodeState::Paused,
            EventKind::NodeResumed => self.state = NodeState::Running,
            EventKind::FaultChanged { peer, fault: Some(fault) } => {
                self.faults.insert(*peer, *fault);
            }
            EventKind::FaultChanged { peer, fault: None } => {
                self.faults.remove(peer);
            }
            EventKind::DaemonChanged { daemon } => {
                self.daemons.insert(daemon.id, daemon.clone());
            }
            EventKind::DaemonGone { daemon, .. } => {
                self.daemons.remove(daemon);
            }
            EventKind::MaintenanceChanged { state, cordoned } => {
                self.maintenance = *state;
                self.cordoned = *cordoned;
            }
            EventKind::FreezeChanged { remaining_ms } => {
                self.frozen_until_us =
                    remaining_ms.map(|ms| event.at_us.saturating_add(ms.saturating_mul(1_000)));
            }
            EventKind::AvoidChanged { avoided } => self.avoided.clone_from(avoided),
            EventKind::AdminDecided { entry } => {
                if self.audit.len() == AUDIT_KEPT {
                    self.audit.remove(0);
                }
                self.audit.push(entry.clone());
            }
            _ => self.apply_to_peers(event),
        }
    }

    /// Folds one event of its sessions.
    fn apply_to_peers(&mut self, event: &Event) {
        match &event.kind {
            EventKind::SessionUp { peer, address, role } => {
                let session = PeerSnapshot {
                    address: *address,
                    role: *role,
                    health: Health::Healthy,
                    since_us: event.at_us,
                    heard: true,
                };
                self.peers.insert(*peer, session);
            }
            EventKind::SessionDown { peer, .. } => {
                self.peers.remove(peer);
            }
            EventKind::PeerHealth { peer, to, .. } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.health = *to;
                }
            }
            EventKind::OneWay { peer, deaf } => {
                if let Some(peer) = self.peers.get_mut(peer) {
                    peer.heard = !deaf;
                }
            }
            _ => {}
        }
    }
}

/// Whether a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It does.
    Running,
    /// It stands still, its socket open, and may be resumed.
    Paused,
    /// It vanished and may be restarted.
    Crashed,
    /// It is on its way out and no member any more: its daemons stop, then it says goodbye.
    Leaving,
}

/// A peer through the eyes of the node that holds the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerSnapshot {
    /// Where the node sends to reach it.
    pub address: SocketAddr,
    /// Which part the node played in the handshake.
    pub role: Role,
    /// The node's verdict.
    pub health: Health,
    /// When the session was confirmed, in the log's monotonic microseconds.
    pub since_us: u64,
    /// Whether the peer hears the node, as far as it has said. It nearly always does, so where
    /// this is absent it is true.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub heard: bool,
}

fn yes() -> bool {
    true
}

/// A session that both ends hold. `a < b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// The end with the lower id.
    pub a: NodeId,
    /// The end with the higher id.
    pub b: NodeId,
    /// The worse of the two ends' verdicts.
    pub health: Health,
}

impl Snapshot {
    /// The snapshot of an empty log.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            seq: 0,
            at_us: 0,
            phase: ClusterPhase::Empty,
            topology: Topology::Full,
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
            migrations: BTreeMap::new(),
        }
    }

    /// Folds one event in. Events must come in order; one at or before `seq` changes
    /// nothing, so a snapshot and a stream that overlap do no harm.
    pub fn apply(&mut self, event: &Event) {
        if event.seq <= self.seq {
            return;
        }
        self.seq = event.seq;
        self.at_us = event.at_us;
        match &event.kind {
            EventKind::ClusterBooting { topology, .. } => {
                self.phase = ClusterPhase::Booting;
                self.topology = *topology;
            }
            EventKind::TopologyChanged { topology } => self.topology = *topology,
            EventKind::ClusterConverged { .. } => self.phase = ClusterPhase::Running,
            EventKind::ClusterFailed { .. } => {
                if self.phase == ClusterPhase::Booting {
                    self.phase = ClusterPhase::Empty;
                }
            }
            EventKind::ClusterStopping => self.phase = ClusterPhase::Stopping,
            EventKind::ClusterStopped => {
                self.phase = ClusterPhase::Empty;
                self.nodes.clear();
                self.groups.clear();
                self.migrations.clear();
            }
            EventKind::DatagramRejected { .. }
            | EventKind::DaemonLog { .. }
            | EventKind::DecisionsLost { .. }
            | EventKind::CallFinished { .. } => {}
            EventKind::GroupChanged { group } => {
                self.groups.insert(group.id, group.clone());
            }
            EventKind::GroupGone { group } => {
                self.groups.remove(group);
            }
            EventKind::MigrationChanged { migration } => self.apply_migration(migration, event.at_us),
            EventKind::NodeStarted { .. }
            | EventKind::NodeStopped { .. }
            | EventKind::NodeLeaving { .. }
            | EventKind::NodePaused
            | EventKind::NodeResumed
            | EventKind::FaultChanged { .. }
            | EventKind::SessionUp { .. }
            | EventKind::SessionDown { .. }
            | EventKind::PeerHealth { .. }
            | EventKind::OneWay { .. }
            | EventKind::DaemonChanged { .. }
            | EventKind::DaemonGone { .. }
            | EventKind::MaintenanceChanged { .. }
            | EventKind::FreezeChanged { .. }
            | EventKind::AvoidChanged { .. }
            | EventKind::AdminDecided { .. } => {
                if let Some(node) = event.node {
                    self.apply_to_node(node, event);
                }
            }
        }
    }

    fn apply_migration(&mut self, view: &MigrationView, at_us: u64) {
        self.migrations.insert(view.id, MigrationSnapshot { view: view.clone(), at_us });
        let over = self.migrations.iter().filter(|(_, migration)| migration.view.phase.is_over());
        if over.clone().count() > MIGRATIONS_KEPT
            && let Some(oldest) = over.min_by_key(|(_, migration)| migration.at_us).map(|(&id, _)| id)
        {
            self.migrations.remove(&oldest);
        }
    }

    /// A node is down: what was on its way from there never says how it ends.
    fn strand_migrations(&mut self, source: NodeId, at_us: u64) {
        let stranded = self.migrations.values().map(|migration| &migration.view);
        let stranded = stranded.filter(|view| view.source == source && !view.phase.is_over());
        for mut view in stranded.cloned().collect::<Vec<_>>() {
            view.phase = MigrationPhase::Failed;
            view.reason = Some("its source went down".to_owned());
            self.apply_migration(&view, at_us);
        }
    }

    fn apply_to_node(&mut self, id: NodeId, event: &Event) {
        match &event.kind {
            EventKind::NodeStarted { index, address, public_key } => {
                self.nodes.insert(id, NodeSnapshot::started(*index, *address, *public_key, event.at_us));
            }
            EventKind::NodeStopped { reason } => self.stop_node(id, *reason, event.at_us),
            _ => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.apply(event);
                }
            }
        }
    }

    fn stop_node(&mut self, id: NodeId, reason: StopReason, at_us: u64) {
        self.strand_migrations(id, at_us);
        match reason {
            StopReason::Shutdown | StopReason::Replaced => {
                if self.nodes.remove(&id).is_some() {
                    for other in self.nodes.values_mut() {
                        other.faults.remove(&id);
                    }
                }
            }
            StopReason::Crash => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.state = NodeState::Crashed;
                    node.peers.clear();
                    node.daemons.clear();
                }
            }
        }
    }

    /// The sessions both ends hold, in order of their ends' ids.
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (&a, node) in &self.nodes {
            for (&b, there) in node.peers.range((std::ops::Bound::Excluded(a), std::ops::Bound::Unbounded)) {
                if let Some(back) = self.nodes.get(&b).and_then(|node| node.peers.get(&a)) {
                    edges.push(Edge { a, b, health: there.health.max(back.health) });
                }
            }
        }
        edges
    }

    /// The sessions only one end holds: `(holder, missing end, the holder's verdict)`.
    /// While a peer is crashed, this is what its former edges become.
    pub fn half_edges(&self) -> Vec<(NodeId, NodeId, Health)> {
        let mut halves = Vec::new();
        for (&holder, node) in &self.nodes {
            for (&peer, session) in &node.peers {
                let held_there = self.nodes.get(&peer).is_some_and(|other| other.peers.contains_key(&holder));
                if !held_there {
                    halves.push((holder, peer, session.health));
                }
            }
        }
        halves
    }

    /// The sessions over which packets get through one way only: who holds them, and who does not hear that.
    pub fn one_way(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.nodes.iter().flat_map(|(&holder, node)| {
            let unheard = node.peers.iter().filter(|(_, session)| !session.heard);
            unheard.map(move |(&peer, _)| (holder, peer))
        })
    }

    /// Whether every member runs, and every link that the topology names has a session at both
    /// ends, which see each other Healthy. Sessions beyond those, also with someone who is no
    /// member any more because a leave was lost, do not count.
    pub fn is_converged(&self) -> bool {
        if self.members().any(|(_, node)| node.state != NodeState::Running) {
            return false;
        }
        let sees = |one: &NodeId, other: &NodeId| {
            let session = self.nodes.get(one).and_then(|node| node.peers.get(other));
            session.is_some_and(|session| session.health == Health::Healthy)
        };
        let ids = self.ids();
        self.links().iter().all(|(one, other)| match (ids.get(&one), ids.get(&other)) {
            (Some(one), Some(other)) => sees(one, other) && sees(other, one),
            _ => false,
        })
    }

    /// The members: without those that are on their way out.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &NodeSnapshot)> {
        let members = self.nodes.iter().filter(|(_, node)| node.state != NodeState::Leaving);
        members.map(|(&id, node)| (id, node))
    }

    /// The links that the topology names, by the members' indexes.
    pub fn links(&self) -> Links {
        self.topology.links(self.members().map(|(_, node)| node.index as usize))
    }

    /// The members' ids, by index.
    pub fn ids(&self) -> BTreeMap<usize, NodeId> {
        self.members().map(|(id, node)| (node.index as usize, id)).collect()
    }

    /// Every fault there is, in order of its ends' ids.
    pub fn faults(&self) -> impl Iterator<Item = FaultyLink> {
        self.nodes.iter().flat_map(|(&from, node)| {
            node.faults.iter().map(move |(&to, &fault)| FaultyLink { from, to, fault })
        })
    }
}
