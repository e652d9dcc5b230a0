//! What can go wrong with a cluster.

use crate::mesh::MeshError;

/// Why a cluster did not do what it was asked. Nodes are named by their index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The request makes no sense: no nodes, too many, one that does not exist or is in the wrong state. Nothing
    /// changed.
    #[error("{0}")]
    Invariant(String),
    /// A node could not be built. Nothing is left of it.
    #[error("a node could not be built: {0}")]
    MeshBuild(#[from] MeshError),
    /// Two nodes did not come to a session.
    #[error("node {from} cannot shake hands with node {to}: {reason}")]
    Handshake {
        /// The index of the one that dialled.
        from: usize,
        /// The index of the one that was dialled.
        to: usize,
        /// Why, for a person.
        reason: String,
    },
    /// A budget of [`ClusterConfig`](super::ClusterConfig) ran out.
    #[error("{what} (the budget of {budget_ms} ms ran out; look into that, or grant more)")]
    Timeout {
        /// What was waited for, and who is missing.
        what: String,
        /// The budget, in milliseconds.
        budget_ms: u64,
    },
    /// The cluster is shut down, or was being shut down meanwhile.
    #[error("the cluster is shut down; boot another")]
    Shutdown,
    /// Something could not be started on a node.
    #[error("nothing could be started on node {node_index}: {reason}")]
    Spawn {
        /// The node's index.
        node_index: usize,
        /// Why, for a person.
        reason: String,
    },
}
