//! The system through one node's eyes, at one moment.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use meshground_shared::{
    AuditEntry, DaemonId, DaemonView, GroupView, Health, Maintenance, MigrationView, NodeId, StatedDaemon,
    StatedMigration,
};

use super::{
    action::{ActionRecord, FailureRecord},
    avoid::Avoided,
    logging::LogLine,
    probes::Resources,
};
use crate::compute::Known;

/// What one node knows of the system. Of other nodes' daemons it knows what those say.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MeshOsSnapshot {
    /// The node whose view it is.
    pub node: NodeId,
    /// Tells lives of that node apart.
    pub epoch: u64,
    /// The version of what runs it; [`MeshOsConfig::version`](super::MeshOsConfig).
    pub version: Arc<str>,
    /// Counts structural changes: as long as it is the same, only figures may differ, and what was done, went wrong and was
    /// decided.
    pub generation: u64,
    /// What runs on the node itself, by id.
    pub daemons: Vec<DaemonView>,
    /// How long each of them has been there, and how long it takes yet.
    pub timings: BTreeMap<DaemonId, DaemonTiming>,
    /// The other nodes, by id.
    pub peers: BTreeMap<NodeId, PeerState>,
    /// The groups it knows.
    pub groups: Vec<GroupView>,
    /// The migrations it is the source of.
    pub migrations: Vec<MigrationView>,
    /// Whom it avoids, and why.
    pub avoided: BTreeMap<NodeId, Avoided>,
    /// Whether it serves.
    pub maintenance: Maintenance,
    /// Whether nothing new is placed on it.
    pub cordoned: bool,
    /// For how long a drain may go on, if there is one.
    pub drain_remaining: Option<Duration>,
    /// For how long nothing is placed, moved or restarted, if it is so.
    pub freeze_remaining: Option<Duration>,
    /// How its machine does.
    pub resources: Resources,
    /// How busy it is for placement, in thousandths: what its daemons say of themselves, added up, a little for each, and for
    /// its processor; more than 1,000 when many are busy.
    pub load: u32,
    /// What it announces that it can do: its own tags and those of its daemons.
    pub tags: Arc<BTreeSet<String>>,
    /// What it decided of its own accord, and what commands had it do to groups and its state of service, the latest last;
    /// the last 64. Whether what it decides is done, [`Dispatch`](super::Dispatch) says.
    pub actions: Vec<ActionRecord>,
    /// How many decisions a full [`LoggingDispatcher`](super::LoggingDispatcher) has lost.
    pub decisions_lost: u64,
    /// What went wrong, the latest last; the last 64.
    pub failures: Vec<FailureRecord>,
    /// What its daemons wrote into their logs, the latest last; the last 64 lines of all of them.
    pub log: Arc<VecDeque<LogLine>>,
    /// What it decided on signed commands, the latest last; the last 64.
    pub audit: Vec<AuditEntry>,
    /// How many signed commands it cannot tell latecomers of any more, as it knows 1,024 others that were issued later or still
    /// stand. A freeze, cordon or maintenance that is in force is not among them, unless more than 512 things are.
    pub commands_forgotten: u64,
    /// How often a probe panicked.
    pub probe_panics: u64,
}

/// A daemon's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DaemonTiming {
    /// For how long this incarnation of it has been on the node, restarts after crashes included.
    pub age: Duration,
    /// In how long it is started again; none unless it is down and will be.
    pub restarts_in: Option<Duration>,
}

/// Another node, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PeerState {
    /// The failure detector's verdict; none without a session.
    pub health: Option<Health>,
    /// The measured round-trip time.
    pub rtt: Option<Duration>,
    /// The version of what runs it, as it says; empty if it has not said yet.
    pub version: Arc<str>,
    /// Whether it serves, as it says.
    pub maintenance: Maintenance,
    /// Whether nothing new is placed on it, as it says.
    pub cordoned: bool,
    /// How its machine does, as it says.
    pub resources: Resources,
    /// How busy it is for placement, by what it says; as [`MeshOsSnapshot::load`].
    pub load: u32,
    /// What it announces that it can do; shared likewise.
    pub tags: Arc<BTreeSet<String>>,
    /// What runs on it, as it says. All snapshots until it says something else share this.
    pub daemons: Arc<BTreeMap<DaemonId, StatedDaemon>>,
    /// What is on its way from it, as it says; shared likewise.
    pub moving: Arc<[StatedMigration]>,
    /// The kinds of daemons it can make; shared likewise.
    pub kinds: Arc<[String]>,
}

impl MeshOsSnapshot {
    /// Of a node that knows nothing yet.
    pub(crate) fn empty(node: NodeId, epoch: u64) -> Self {
        Self {
            node,
            epoch,
            version: Arc::default(),
            generation: 0,
            daemons: Vec::new(),
            timings: BTreeMap::new(),
            peers: BTreeMap::new(),
            groups: Vec::new(),
            migrations: Vec::new(),
            avoided: BTreeMap::new(),
            maintenance: Maintenance::Active,
            cordoned: false,
            drain_remaining: None,
            freeze_remaining: None,
            resources: Resources::default(),
            load: 0,
            tags: Arc::default(),
            actions: Vec::new(),
            decisions_lost: 0,
            failures: Vec::new(),
            log: Arc::default(),
            audit: Vec::new(),
            commands_forgotten: 0,
            probe_panics: 0,
        }
    }

    /// Whether it sees this node Healthy.
    pub fn sees_healthy(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.health == Some(Health::Healthy))
    }

    /// Whether another differs from it in nothing but figures and what is written down.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let facts = |it: &Self| {
            (it.maintenance, it.cordoned, it.drain_remaining.is_some(), it.freeze_remaining.is_some())
        };
        facts(self) == facts(other)
            && self.tags == other.tags
            && alike(&self.daemons, &other.daemons, |a, b| {
                DaemonView { saturation: b.saturation, processed: b.processed, ..a.clone() } == *b
            })
            && alike(&self.peers, &other.peers, |(a, one), (b, other)| a == b && one.is_like(other))
            && alike(&self.groups, &other.groups, |a, b| {
                let mut a = a.clone();
                for (a, b) in a.members.iter_mut().zip(&b.members) {
                    a.synced = b.synced;
                }
                a == *b
            })
            && alike(&self.migrations, &other.migrations, |a, b| {
                (a.id, a.daemon, a.source, a.target, a.phase) == (b.id, b.daemon, b.source, b.target, b.phase)
            })
            && alike(&self.avoided, &other.avoided, |(a, one), (b, other)| {
                a == b && one.reason == other.reason
            })
    }

    /// How many other nodes it sees Healthy.
    pub fn healthy_peers(&self) -> usize {
        self.peers.values().filter(|peer| peer.health == Some(Health::Healthy)).count()
    }
}

/// Whether two lists have as many things, each of which is like its counterpart.
fn alike<T>(
    one: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    other: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    mut is_like: impl FnMut(T, T) -> bool,
) -> bool {
    let (one, other) = (one.into_iter(), other.into_iter());
    one.len() == other.len() && one.zip(other).all(|(a, b)| is_like(a, b))
}

impl PeerState {
    /// Whether another differs from it in figures alone.
    fn is_like(&self, other: &Self) -> bool {
        let facts = |it: &Self| (it.health, it.maintenance, it.cordoned);
        facts(self) == facts(other)
            && self.version == other.version
            && self.daemons == other.daemons
            && self.kinds == other.kinds
            && self.tags == other.tags
    }

    /// A node, as it says it is.
    pub(super) fn of(known: &Known) -> Self {
        let Known { inventory, daemons, moving } = known;
        Self {
            version: inventory.version.shared(),
            maintenance: inventory.maintenance,
            cordoned: inventory.cordoned,
            resources: Resources { cpu: inventory.cpu, memory: inventory.memory },
            load: inventory.load(),
            daemons: Arc::clone(daemons),
            moving: Arc::clone(moving),
            kinds: inventory.kinds.shared(),
            ..Self::default()
        }
    }
}
