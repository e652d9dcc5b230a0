//! What a node knows of its cluster, as far as commands depend on it.

use std::collections::BTreeMap;

use meshground_shared::{
    DaemonId, GroupId, Health, IceVerb, Maintenance, Member, MigrationId, MigrationPhase, NodeId, Verb,
};

/// A cluster as one node sees it. Whoever owns the real state fills this in from it when a command comes.
///
/// Nodes' pictures agree as soon as news has spread. What changes by itself from one moment to the next (times, loads,
/// progress) is left out, so that two nodes that know the same simulate the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPicture {
    /// Whose eyes these are.
    pub this_node: NodeId,
    /// Every node that is known and not forgotten, this one included.
    pub nodes: BTreeMap<NodeId, NodePicture>,
    /// Every daemon that a node says it has.
    pub daemons: BTreeMap<DaemonId, DaemonPicture>,
    /// Every group.
    pub groups: BTreeMap<GroupId, GroupPicture>,
    /// Every migration that is not over.
    pub migrations: BTreeMap<MigrationId, MigrationPicture>,
    /// Whether a freeze is in effect; only warnings depend on it.
    pub frozen: bool,
}

/// A node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePicture {
    /// The failure detector's verdict; a node takes itself for Healthy.
    pub health: Health,
    /// Whether it serves. A drain counts as [`EnteringMaintenance`](Maintenance::EnteringMaintenance) while it lasts.
    pub maintenance: Maintenance,
}

/// A daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaemonPicture {
    /// The node that has it.
    pub node: NodeId,
    /// The group it belongs to, and its place there.
    pub member: Option<Member>,
    /// Whether it runs and is well.
    pub healthy: bool,
    /// Whether something can make it anew, and it is not on its way out.
    pub restartable: bool,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPicture {
    /// The node that looks after it.
    pub leader: NodeId,
    /// Its members, by place.
    pub members: Vec<DaemonId>,
}

/// A migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MigrationPicture {
    /// Who moves.
    pub daemon: DaemonId,
    /// Whence.
    pub source: NodeId,
    /// Whither.
    pub target: NodeId,
    /// How far it is.
    pub phase: MigrationPhase,
}

impl ClusterPicture {
    /// The daemon of the migration that a command names, if it names one that is known.
    pub(super) fn moved_by(&self, verb: &Verb) -> Option<DaemonId> {
        match verb {
            Verb::Ice(IceVerb::ForceCutover { migration } | IceVerb::KillMigration { migration }) => {
                self.migrations.get(migration).map(|moving| moving.daemon)
            }
            _ => None,
        }
    }

    /// The picture of a node that knows of nothing yet, not even itself.
    pub fn new(this_node: NodeId) -> Self {
        Self {
            this_node,
            nodes: BTreeMap::new(),
            daemons: BTreeMap::new(),
            groups: BTreeMap::new(),
            migrations: BTreeMap::new(),
            frozen: false,
        }
    }

    /// The nodes that are not known to be unreachable, by id.
    pub fn live(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, node)| node.health != Health::Unreachable).map(|(id, _)| *id)
    }

    /// The node that looks after the group a daemon belongs to.
    pub(super) fn leader_of(&self, daemon: DaemonId) -> Option<NodeId> {
        let member = self.daemons.get(&daemon)?.member?;
        self.groups.get(&member.group).map(|group| group.leader)
    }
}
