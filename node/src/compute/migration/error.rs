//! Why a daemon does not move.

use meshground_shared::{DaemonId, MigrationId, NodeId};
use serde::{Deserialize, Serialize};

use super::MAX_MIGRATIONS;

/// Why a daemon was not moved. It runs where it ran, unless its own end is the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MigrateError {
    /// No node is known to run it.
    #[error("no node is known to run daemon {0}; check its id")]
    NotFound(DaemonId),
    /// It was handed over ready-made, so that no other node can make it.
    #[error(
        "daemon {0} was handed over ready-made: no factory makes it elsewhere; start it as one of a kind to have it moved"
    )]
    NotMovable(DaemonId),
    /// It is starting, stopping, or down.
    #[error("daemon {0} does not run at present; wait until it does")]
    NotRunning(DaemonId),
    /// It runs there already.
    #[error("it runs on node {0} already; name another node")]
    SameNode(NodeId),
    /// The node cannot be reached.
    #[error("node {0} cannot be reached; check its id, or wait until it is back")]
    Unreachable(NodeId),
    /// The node takes nothing new: it is cordoned, or out of service.
    #[error("node {0} takes nothing new; name another node")]
    Closed(NodeId),
    /// The node has no factory for daemons of this kind.
    #[error("node {node} makes no daemons of kind {kind:?}; register a factory there, or name another node")]
    KindNotFound {
        /// The node.
        node: NodeId,
        /// The kind.
        kind: String,
    },
    /// The node does not announce what the daemon asks for.
    #[error("node {0} does not announce what the daemon requires; name another node")]
    Unsuitable(NodeId),
    /// The node has another member of the daemon's group; no two share one.
    #[error("node {0} has another member of its group; name another node")]
    Occupied(NodeId),
    /// It is being moved already.
    #[error("daemon {0} is being moved already; wait until it has arrived, or call that off")]
    AlreadyMoving(DaemonId),
    /// As many daemons are on their way as may be.
    #[error("{MAX_MIGRATIONS} daemons are on their way from the node already; wait until one has arrived")]
    TooMany,
    /// Nothing is moved at present.
    #[error("the cluster is frozen: nothing is moved before it thaws")]
    Frozen,
    /// It has no state that could be moved.
    #[error("daemon {0} has no state that could be moved; start another elsewhere instead")]
    NoState(DaemonId),
    /// It came to nothing.
    #[error("the migration came to nothing: {0}; look where the daemon runs, then move it anew")]
    Failed(String),
    /// Somebody called it off.
    #[error("the migration was called off; the daemon stays where it is, unless you move it anew")]
    Cancelled,
    /// The daemon has been given away already.
    #[error("it is too late: the daemon has been given away; move it back when it has arrived")]
    TooLate,
    /// There is no such migration under way from this node.
    #[error("no migration {0} is under way from this node; ask the node that the daemon leaves")]
    NotMigrating(MigrationId),
    /// It has a state, and that is more than is moved.
    #[error("daemon {daemon} has a state of {bytes} bytes; at most {bound} are moved")]
    StateTooLarge {
        /// The daemon.
        daemon: DaemonId,
        /// The size of its state, in bytes; or of all that it would take along, if that is what is too much.
        bytes: u64,
        /// The most that it may be.
        bound: u64,
    },
    /// The node that it came from has not heard that it arrived, and could yet go on with it.
    #[error(
        "it came from node {0}, which has not heard that it arrived; wait until that node is back, for ten minutes at most, \
         then move it anew"
    )]
    Unheard(NodeId),
}
