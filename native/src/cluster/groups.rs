//! Groups of daemons over a cluster's nodes.

use std::sync::Arc;

use meshground_node::{DaemonFactory, DaemonId, GroupId, GroupRequest, Lineage, PickStrategy};
use meshground_shared::{GroupHealth, GroupKind, GroupView, NodeState};

use super::{ClusterError, ClusterHarness, ClusterNode, hearsay::Subject};
use crate::{
    meshos::{DaemonRuntime, DaemonRuntimeError},
    random,
};

/// What a group is told when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// How many members, 1 to 64; 3 by default. No two share a node.
    pub count: u32,
    /// What it is called, at most 64 bytes; by default as the factory.
    pub name: Option<String>,
    /// What the factory is told, at most 4 KiB.
    pub args: String,
    /// What the members' identities grow from; random by default. The same seed gives the same members.
    pub seed: Option<[u8; 32]>,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { count: 3, name: None, args: String::new(), seed: None }
    }
}

/// A group that runs on a cluster, whoever of its nodes comes or goes. It goes on without this handle, which is also one
/// on the cluster.
#[derive(Debug, Clone)]
pub struct Group {
    id: GroupId,
    cluster: ClusterHarness,
}

/// A [`Group`] whose members all do the same.
pub type ReplicaGroup = Group;

/// A [`Group`] whose members go on from one parent's state, and can prove it.
pub type ForkGroup = Group;

/// A [`Group`] of which one member works, and the others hold all it has done.
pub type StandbyGroup = Group;

impl Group {
    /// Its id.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// What it is like now, as the event log has it; `None` once it is stopped.
    pub fn view(&self) -> Option<GroupView> {
        self.cluster.log().with_snapshot(|snapshot| snapshot.groups.get(&self.id).cloned())
    }

    /// How it is doing; [`Dead`](GroupHealth::Dead) once it is stopped.
    pub fn health(&self) -> GroupHealth {
        self.view().map_or(GroupHealth::Dead, |view| view.health)
    }

    /// Has it have this many members; returns when they run. Dropped before it returns, it may come about all the
    /// same.
    ///
    /// # Errors
    /// [`DaemonRuntimeError::Group`], and it is to have as many as before;
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when no node runs.
    pub async fn scale_to(&self, count: u32) -> Result<(), DaemonRuntimeError> {
        let runtime = self.runtime().await?;
        if let (Some(node), Some(view)) = (self.cluster.node(runtime.mesh().node_id()), self.view()) {
            self.cluster.offers_known(&node, &view.daemon).await;
        }
        runtime.scale_group(self.id, count).await
    }

    /// Hands the work of a standby group over to the standby that holds most; returns when it goes on there. Dropped
    /// before it returns, it may come about all the same.
    ///
    /// # Errors
    /// [`DaemonRuntimeError::Group`], as for a group of another kind or while no standby is ready;
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when no node runs.
    pub async fn promote(&self) -> Result<(), DaemonRuntimeError> {
        self.runtime().await?.promote_group(self.id, None).await
    }

    /// A member that is well, for something to do. Cancel-safe: at most a turn is passed over.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when no node runs.
    pub async fn pick(&self, strategy: PickStrategy) -> Result<Option<DaemonId>, DaemonRuntimeError> {
        self.runtime().await?.pick_member(self.id, strategy).await
    }

    /// The proof of whom its member at this place was made; none unless it is a fork, and known to the node that is asked.
    /// Whoever has the proof can [verify](Lineage::verify) it. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when no node runs.
    pub async fn lineage(&self, index: u32) -> Result<Option<Lineage>, DaemonRuntimeError> {
        self.runtime().await?.lineage(self.id, index).await
    }

    /// Ends it; returns when its members are gone. Dropped before it returns, it may happen all the same.
    ///
    /// # Errors
    /// [`DaemonRuntimeError::Group`]; [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when no node runs.
    pub async fn stop(&self) -> Result<(), DaemonRuntimeError> {
        self.runtime().await?.stop_group(self.id).await
    }

    async fn runtime(&self) -> Result<DaemonRuntime, DaemonRuntimeError> {
        let node = self.cluster.spokesman(self.view().as_ref());
        let node = node.ok_or(DaemonRuntimeError::ShuttingDown)?;
        self.cluster.heard(&node, Subject::Group(self.id)).await;
        Ok(self.cluster.runtime_of(&node))
    }
}

impl ClusterHarness {
    /// A handle on a group that there is, as the event log has it, whoever made it; `None` when there is no such group.
    pub fn group(&self, id: GroupId) -> Option<Group> {
        let is_there = self.log().with_snapshot(|snapshot| snapshot.groups.contains_key(&id));
        is_there.then(|| self.group_of(id))
    }

    /// Makes a group of daemons that all do the same, on as many nodes; returns when every one of them runs. `factory` is
    /// registered as `kind` on every member, those that start later included, unless there is one of that name: then that
    /// one makes them. The member with the index `anchor` looks after the group, for as long as it runs. Dropped
    /// before it returns, the group may come about all the same, and run without a handle; the log's snapshot then
    /// names it, and [`group`](Self::group) gives a handle on it.
    ///
    /// # Errors
    /// `Invariant` when no such member runs; `Spawn`, with the anchor's index, when the group does not come about:
    /// nothing is left of it then. `Shutdown`.
    pub async fn spawn_replica_group(
        &self,
        anchor: usize,
        kind: &str,
        factory: Arc<dyn DaemonFactory>,
        config: GroupConfig,
    ) -> Result<ReplicaGroup, ClusterError> {
        self.spawn_group(anchor, kind, factory, config, (GroupKind::Replica, None)).await
    }

    /// As [`spawn_replica_group`](Self::spawn_replica_group), of daemons that go on from the state of `parent`, wherever
    /// that runs.
    ///
    /// # Errors
    /// As [`spawn_replica_group`](Self::spawn_replica_group).
    pub async fn spawn_fork_group(
        &self,
        anchor: usize,
        kind: &str,
        factory: Arc<dyn DaemonFactory>,
        parent: DaemonId,
        config: GroupConfig,
    ) -> Result<ForkGroup, ClusterError> {
        self.spawn_group(anchor, kind, factory, config, (GroupKind::Fork, Some(parent))).await
    }

    /// As [`spawn_replica_group`](Self::spawn_replica_group), of one daemon that works and others that stand by for it.
    ///
    /// # Errors
    /// As [`spawn_replica_group`](Self::spawn_replica_group).
    pub async fn spawn_standby_group(
        &self,
        anchor: usize,
        kind: &str,
        factory: Arc<dyn DaemonFactory>,
        config: GroupConfig,
    ) -> Result<StandbyGroup, ClusterError> {
        self.spawn_group(anchor, kind, factory, config, (GroupKind::Standby, None)).await
    }

    async fn spawn_group(
        &self,
        anchor: usize,
        kind: &str,
        factory: Arc<dyn DaemonFactory>,
        config: GroupConfig,
        (group, parent): (GroupKind, Option<DaemonId>),
    ) -> Result<Group, ClusterError> {
        let nodes = self.running_nodes()?;
        let node = nodes.iter().find(|node| node.index == anchor);
        let node = node
            .ok_or_else(|| ClusterError::Invariant(format!("no member {anchor} runs; name one that does")))?;
        let failed =
            |error: DaemonRuntimeError| ClusterError::Spawn { node_index: anchor, reason: error.to_string() };
        self.offer(node, kind, factory).await.map_err(failed)?;
        self.offers_known(node, kind).await;
        if let Some(parent) = parent {
            self.heard(node, Subject::Daemon(parent)).await;
        }
        let request = GroupRequest {
            kind: group,
            daemon: kind.to_owned(),
            args: config.args,
            count: config.count,
            name: config.name.unwrap_or_else(|| kind.to_owned()),
            seed: config.seed.unwrap_or_else(random::bytes),
            parent,
            cause: self.cause,
        };
        let id = node.daemon_runtime().spawn_group(request).await.map_err(failed)?;
        Ok(self.group_of(id))
    }

    /// A handle of its own, with no command behind what is done through it.
    fn group_of(&self, id: GroupId) -> Group {
        let mut cluster = self.clone();
        cluster.cause = None;
        Group { id, cluster }
    }

    /// The running member to ask about a group: the one that looks after it, or the one with the lowest index.
    pub(crate) fn spokesman(&self, group: Option<&GroupView>) -> Option<ClusterNode> {
        let leader = group.map(|group| group.leader);
        let leader = leader.filter(|&id| self.member_state(id) == Some(NodeState::Running));
        match leader.and_then(|id| self.node(id)) {
            Some(node) => Some(node),
            None => self.running_nodes().ok()?.into_iter().next(),
        }
    }

    fn runtime_of(&self, node: &ClusterNode) -> DaemonRuntime {
        match self.cause {
            Some(cause) => node.daemon_runtime().caused_by(cause),
            None => node.daemon_runtime(),
        }
    }
}
