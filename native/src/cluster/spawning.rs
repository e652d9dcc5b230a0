//! One daemon on each of many nodes, or none at all.

use std::time::Duration;

use meshground_node::{DaemonEnd, DaemonId, MeshDaemon};
use meshground_shared::NodeId;
use tokio::{task::JoinSet, time::timeout};

use super::{ClusterError, ClusterHarness, ClusterNode, state::Phase};
use crate::meshos::{DaemonRuntimeError, MeshOsDaemonHandle, random_keypair};

/// A daemon that the harness registered on one of its nodes. Dropped, it unregisters the daemon.
#[derive(Debug)]
#[must_use = "the daemon goes with its handle"]
pub struct NodeDaemonHandle {
    /// The node's index.
    pub node_index: usize,
    /// The node's id.
    pub node_id: NodeId,
    /// The daemon's id.
    pub daemon_id: DaemonId,
    /// The daemon.
    pub handle: MeshOsDaemonHandle,
}

impl NodeDaemonHandle {
    /// Has the daemon stop, within `grace`; returns as soon as it is down, and how. Dropping the future does not call
    /// it off.
    ///
    /// # Errors
    /// As [`MeshOsDaemonHandle::graceful_shutdown`].
    pub async fn graceful_shutdown(self, grace: Duration) -> Result<DaemonEnd, DaemonRuntimeError> {
        self.handle.graceful_shutdown(grace).await
    }
}

impl ClusterHarness {
    /// Registers one daemon on each running member; see [`spawn_where`](Self::spawn_where). Dropping the future
    /// unregisters them.
    ///
    /// # Errors
    /// As [`spawn_where`](Self::spawn_where).
    pub async fn spawn_per_node(
        &self,
        factory: impl FnMut(&ClusterNode) -> Box<dyn MeshDaemon>,
    ) -> Result<Vec<NodeDaemonHandle>, ClusterError> {
        self.spawn_where(factory, |_, _| true).await
    }

    /// Registers one daemon on each running member that `predicate` (which is also told its index) is true of, each under
    /// keys of its own; `factory` is called once for each. They start at the same time; returns, by index, when every one
    /// has dealt with its first event. None at all is no error. Dropping the future unregisters them.
    ///
    /// # Errors
    /// `Spawn` when one does not start, with the lowest index of those. The others are stopped then, all at the same time
    /// and within one grace. `Shutdown`.
    pub async fn spawn_where(
        &self,
        mut factory: impl FnMut(&ClusterNode) -> Box<dyn MeshDaemon>,
        mut predicate: impl FnMut(usize, &ClusterNode) -> bool,
    ) -> Result<Vec<NodeDaemonHandle>, ClusterError> {
        let nodes = self.running_nodes()?;
        let mut starting = JoinSet::new();
        for node in nodes.into_iter().filter(|node| predicate(node.index, node)) {
            let daemon = factory(&node);
            let sdk = match self.cause {
                Some(cause) => node.sdk().caused_by(cause),
                None => node.sdk(),
            };
            let keypair = random_keypair();
            starting.spawn(async move {
                let registered = tokio::select! {
                    registered = sdk.register_daemon(daemon, keypair) => registered.map_err(|error| error.to_string()),
                    () = node.mesh.until_paused(true) => Err("the node was paused, or went down".to_owned()),
                };
                (node, registered)
            });
        }
        let (mut started, mut failed) = (Vec::new(), Vec::new());
        for (node, registered) in starting.join_all().await {
            match registered {
                Ok(handle) => started.push(NodeDaemonHandle {
                    node_index: node.index,
                    node_id: node.node_id(),
                    daemon_id: handle.id(),
                    handle,
                }),
                Err(reason) => failed.push((node.index, reason)),
            }
        }
        if let Some((node_index, reason)) = failed.into_iter().min() {
            self.roll_back(started).await;
            return Err(ClusterError::Spawn { node_index, reason });
        }
        started.sort_by_key(|daemon| daemon.node_index);
        Ok(started)
    }

    /// The members that run, by index.
    pub(super) fn running_nodes(&self) -> Result<Vec<ClusterNode>, ClusterError> {
        let state = self.shared().state();
        if state.phase != Phase::Up {
            return Err(ClusterError::Shutdown);
        }
        Ok(state.running().map(|member| member.node.clone()).collect())
    }

    /// Stops all of these at the same time, and waits no longer than one grace.
    async fn roll_back(&self, daemons: Vec<NodeDaemonHandle>) {
        let grace = self.shared().config.meshos_config(false).grace;
        let mut stopping = JoinSet::new();
        for daemon in daemons {
            // How it ends does not matter, as long as it does.
            stopping.spawn(async move { timeout(grace, daemon.graceful_shutdown(grace)).await.map(drop) });
        }
        stopping.join_all().await;
    }
}
