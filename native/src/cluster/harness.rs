//! The cluster itself.

use std::sync::Arc;

use meshground_shared::{CommandId, LinkSample, NodeId, NodeState, Snapshot};

use super::{ClusterConfig, ClusterError, ClusterHealth, ClusterNode};
use crate::log::{EventLog, Subscription};

/// A running cluster.
#[derive(Debug, Clone)]
pub struct ClusterHarness {}

impl ClusterHarness {
    /// Boots `n` nodes with the default configuration.
    ///
    /// # Errors
    /// As [`with_config`](Self::with_config).
    pub async fn new(n: usize) -> Result<Self, ClusterError> {
        Self::with_config(n, ClusterConfig::default()).await
    }

    /// Boots `n` nodes; returns when they have converged.
    ///
    /// # Errors
    /// When they did not; everything started is then taken down again.
    #[allow(clippy::unused_async)]
    pub async fn with_config(_n: usize, _config: ClusterConfig) -> Result<Self, ClusterError> {
        todo!()
    }

    /// A handle on the same cluster whose operations' events carry `cause`.
    #[must_use]
    pub fn caused_by(&self, _cause: CommandId) -> Self {
        todo!()
    }

    /// The members by index, crashed ones included.
    pub fn nodes(&self) -> Vec<ClusterNode> {
        todo!()
    }

    /// The member with this index.
    pub fn nth(&self, _index: usize) -> Option<ClusterNode> {
        todo!()
    }

    /// The member with this id.
    pub fn node(&self, _id: NodeId) -> Option<ClusterNode> {
        todo!()
    }

    /// Whether a member runs; `None` if there is no such member.
    pub fn member_state(&self, _id: NodeId) -> Option<NodeState> {
        todo!()
    }

    /// How many members there are, crashed ones included.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it is doing.
    pub fn health(&self) -> ClusterHealth {
        todo!()
    }

    /// The event log.
    pub fn log(&self) -> Arc<EventLog> {
        todo!()
    }

    /// Where things stand, and every event from here on.
    pub fn events(&self) -> Subscription {
        self.log().subscribe()
    }

    /// The event log's fold.
    pub fn snapshot(&self) -> Snapshot {
        self.log().snapshot()
    }

    /// Every running member's measured round-trip times.
    #[allow(clippy::unused_async)]
    pub async fn links(&self) -> Vec<LinkSample> {
        todo!()
    }

    /// Waits until every running member sees every other one Healthy.
    ///
    /// # Errors
    /// `Timeout`, `Shutdown`.
    #[allow(clippy::unused_async)]
    pub async fn converged(&self) -> Result<(), ClusterError> {
        todo!()
    }

    /// Adds a node with a fresh identity.
    ///
    /// # Errors
    /// When it did not converge with the others; it is then taken down again.
    #[allow(clippy::unused_async)]
    pub async fn add_node(&self) -> Result<ClusterNode, ClusterError> {
        todo!()
    }

    /// A graceful leave; returns when the others have let go.
    ///
    /// # Errors
    /// `Invariant` for a node that is no running member; `Timeout`, `Shutdown`.
    #[allow(clippy::unused_async)]
    pub async fn shutdown_node(&self, _id: NodeId) -> Result<(), ClusterError> {
        todo!()
    }

    /// Makes the node vanish; returns when its socket is closed.
    ///
    /// # Errors
    /// `Invariant` for a node that is no running member; `Shutdown`.
    #[allow(clippy::unused_async)]
    pub async fn crash_node(&self, _id: NodeId) -> Result<(), ClusterError> {
        todo!()
    }

    /// Starts a crashed node (or stops and starts a running one) under the same identity on a new port.
    ///
    /// # Errors
    /// `Invariant` for a node that is no member; else as [`add_node`](Self::add_node).
    #[allow(clippy::unused_async)]
    pub async fn restart_node(&self, _id: NodeId) -> Result<ClusterNode, ClusterError> {
        todo!()
    }

    /// Shuts everything down: idempotent, safe to call concurrently.
    ///
    /// # Errors
    /// None at present.
    #[allow(clippy::unused_async)]
    pub async fn shutdown(&self) -> Result<(), ClusterError> {
        todo!()
    }
}
