//! Groups, asked for at one node.

use meshground_node::{
    DaemonId, GroupError, GroupId, GroupRequest, Lineage, MeshOs, Node, NodeId, PickStrategy, Settlement,
    Ticket,
};

use super::{DaemonRuntime, DaemonRuntimeError, runtime::settle};
use crate::driver::now;

impl DaemonRuntime {
    /// Makes a group, whose members are placed on nodes that make daemons of their kind; returns when every one of them
    /// runs. Dropping the future does not call it off. The cause is the one in the request.
    ///
    /// # Errors
    /// [`Group`](DaemonRuntimeError::Group), and nothing is left of it;
    /// [`NotReady`](DaemonRuntimeError::NotReady), [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn spawn_group(&self, request: GroupRequest) -> Result<GroupId, DaemonRuntimeError> {
        self.expect_ready()?;
        self.group(move |os, node| os.spawn_group(now(), node, request)).await
    }

    /// Has a group have this many members; returns when they run. Dropping the future does not call it off.
    ///
    /// # Errors
    /// [`Group`](DaemonRuntimeError::Group), and it is to have as many as before;
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn scale_group(&self, group: GroupId, count: u32) -> Result<(), DaemonRuntimeError> {
        let cause = self.cause();
        self.group(move |os, node| os.scale_group(now(), node, group, count, cause)).await.map(drop)
    }

    /// Hands the work of a standby group over to the standby that holds most, or to that on a certain node; returns when
    /// it has gone on there. Dropping the future does not call it off.
    ///
    /// # Errors
    /// [`Group`](DaemonRuntimeError::Group), [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn promote_group(&self, group: GroupId, to: Option<NodeId>) -> Result<(), DaemonRuntimeError> {
        let cause = self.cause();
        self.group(move |os, node| os.promote(now(), node, group, to, cause)).await.map(drop)
    }

    /// Ends a group; returns when its members are gone. Dropping the future does not call it off.
    ///
    /// # Errors
    /// [`Group`](DaemonRuntimeError::Group), [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn stop_group(&self, group: GroupId) -> Result<(), DaemonRuntimeError> {
        let cause = self.cause();
        self.group(move |os, node| os.stop_group(now(), node, group, cause)).await.map(drop)
    }

    /// A member of a group that is well, for something to do. Cancel-safe: at most a turn is passed over.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn pick_member(
        &self,
        group: GroupId,
        strategy: PickStrategy,
    ) -> Result<Option<DaemonId>, DaemonRuntimeError> {
        self.act(move |os, _| os.pick_member(group, strategy)).await
    }

    /// The proof of whom a fork was made, by its place in its group; none if this node knows of no such fork.
    /// Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn lineage(&self, group: GroupId, index: u32) -> Result<Option<Lineage>, DaemonRuntimeError> {
        self.act(move |os, _| os.lineage(group, index)).await
    }

    /// The nodes of which this one knows that they make daemons of a kind, by id. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn offering(&self, kind: &str) -> Result<Vec<NodeId>, DaemonRuntimeError> {
        let kind = kind.to_owned();
        self.act(move |os, _| os.offering(&kind).collect()).await
    }

    /// Returns when this node knows that all of `wanted` make daemons of a kind, or is gone.
    pub(crate) async fn until_offered(&self, kind: &str, wanted: impl Fn(&[NodeId]) -> bool) {
        let mut viewed = self.viewed();
        while let Ok(offering) = self.offering(kind).await {
            if wanted(&offering) || viewed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn group(
        &self,
        act: impl FnOnce(&mut MeshOs, &mut Node) -> Result<Ticket, GroupError> + Send + 'static,
    ) -> Result<GroupId, DaemonRuntimeError> {
        match settle(self.ask(act).await??).await? {
            Settlement::Group(outcome) => Ok(outcome?),
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }
}
