//! From the harness's errors to those that travel.

use meshground_shared::{
    NodeId, NodeState, TopologyError,
    rpc::{ErrorCode, RpcError},
};

use crate::cluster::ClusterError;

/// What a client is told when the harness fails.
pub(crate) fn cluster(error: &ClusterError) -> RpcError {
    let (code, hint) = match error {
        ClusterError::Invariant(_) => {
            (ErrorCode::Internal, "The cluster is as it was. Please report this defect.")
        }
        ClusterError::MeshBuild(_) => (
            ErrorCode::SystemFailure,
            "The machine has run out of something, most likely of open files; try fewer nodes.",
        ),
        // The machine is not to blame: somebody crashed the node or shut it down before it had joined.
        ClusterError::Spawn { .. } => (
            ErrorCode::WrongState,
            "Another command took it down: the event node_stopped names that as its cause. Look, then retry.",
        ),
        ClusterError::Handshake { .. } => (
            ErrorCode::HandshakeFailed,
            "What had been started is stopped again. Look at the rejected datagrams in the events, then retry.",
        ),
        ClusterError::Timeout { .. } => (
            ErrorCode::Timeout,
            "The machine may be busy, or a node may be down: look at the events, then retry.",
        ),
        ClusterError::Shutdown => return not_running("the cluster was shut down meanwhile"),
    };
    RpcError::new(code, error.to_string(), hint)
}

pub(crate) fn not_running(message: &str) -> RpcError {
    RpcError::new(ErrorCode::NotRunning, message, "Boot one with cluster.boot.")
}

pub(crate) fn busy() -> RpcError {
    RpcError::new(
        ErrorCode::Busy,
        "the cluster is just being booted or shut down by another command",
        "Wait for the event cluster_converged, cluster_stopped or cluster_failed, then retry.",
    )
}

pub(crate) fn already_running() -> RpcError {
    RpcError::new(
        ErrorCode::AlreadyRunning,
        "a cluster is running already",
        "Shut it down with cluster.shutdown, or boot with \"replace\": true.",
    )
}

pub(crate) fn node_not_found(node: NodeId) -> RpcError {
    RpcError::new(
        ErrorCode::NodeNotFound,
        format!("no member has the id {node}"),
        "The members are in the result of cluster.snapshot.",
    )
}

pub(crate) fn wrong_state(node: NodeId, state: NodeState) -> RpcError {
    let (is, hint) = match state {
        NodeState::Crashed => ("has crashed", "Start it again with node.restart."),
        NodeState::Paused => ("is paused", "Let it go on with node.resume."),
        NodeState::Running => ("runs", "Look at it with cluster.snapshot, then retry."),
    };
    RpcError::new(ErrorCode::WrongState, format!("node {node} {is}, which rules this out"), hint)
}

pub(crate) fn no_topology(error: TopologyError) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        error.to_string(),
        "Take an `arity` of 1 or more, or a `degree` of 2 or more.",
    )
}

pub(crate) fn bad_fault(what: &str) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        what,
        "Name two different nodes; probabilities go from 0 to 1, and delay and jitter to 60 s together.",
    )
}

pub(crate) fn no_nodes() -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        "a cluster has at least one node",
        "Set `nodes` to 1 or more; to have none, use cluster.shutdown.",
    )
}

pub(crate) fn too_many_nodes(max: u32) -> RpcError {
    RpcError::new(
        ErrorCode::LimitExceeded,
        format!("this server runs at most {max} nodes, crashed ones included"),
        "Ask for fewer, or shut some down first.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_taken_down_while_it_joins_is_not_blamed_on_the_machine() {
        let reason = "it went down while it was joining the mesh".to_owned();
        let error = cluster(&ClusterError::Spawn { node_index: 5, reason });
        assert!(error.is(ErrorCode::WrongState), "{error:?}");
        assert!(!error.data.hint.contains("machine"), "{error:?}");
    }
}
