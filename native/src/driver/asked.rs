//! What others ask of a node's task, and what it tells them.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use meshground_node::{DialError, Node, NodeEvent, PeerView, RejectReason};
use meshground_shared::{CommandId, EventKind, NodeId};
use tokio::sync::{Notify, oneshot, watch};

use super::{Opening, OsAct, Reaching};
use crate::{faults::FaultTable, mesh::wishes::Wishes};

/// Is told what happens to a node, in its task, in order. Must be quick. Its drop means that the node is gone: the
/// socket is closed by then.
pub(crate) trait Observer: Send {
    /// The node's published view includes these events already. There is one at least.
    fn observe(&mut self, events: &[NodeEvent]);
    /// Something happened in the system beside the node; `cause` is the command behind it, if that is known.
    fn happened(&mut self, kind: EventKind, cause: Option<CommandId>);
    /// The node is to leave: from here on its daemons stop, and then it announces its leave.
    fn leaving(&mut self);
    /// The node stands still from here on.
    fn paused(&mut self);
    /// The node goes on.
    fn resumed(&mut self);
}

/// What may be asked of a node's task.
#[derive(Debug)]
pub(crate) enum Command {
    Connect {
        address: SocketAddr,
        reply: oneshot::Sender<Result<NodeId, DialError>>,
    },
    Stats {
        reply: oneshot::Sender<Vec<PeerView>>,
    },
    Rejected {
        reason: RejectReason,
        reply: oneshot::Sender<u64>,
    },
    Disconnect {
        peer: NodeId,
        reply: oneshot::Sender<()>,
    },
    OpenStream {
        peer: NodeId,
        opening: Opening,
    },
    ConnectRelayed {
        target: NodeId,
        reply: oneshot::Sender<Result<NodeId, DialError>>,
    },
    /// To come to a session with `peer` by itself, if there is none and a way.
    Reach {
        peer: NodeId,
        reply: Reaching,
    },
    /// Something quick to do with the node itself.
    Act(Act),
    /// To tell when something is true of the node.
    Until(Until),
    /// Something quick to do with the system beside it; dropped where there is none.
    Os(OsAct),
}

/// A deed, by which something that is asked of a node is brought to its task.
pub(crate) struct Act(pub(crate) Box<dyn FnOnce(&mut Node) + Send>);

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Act")
    }
}

/// What somebody waits for to be true of a node: quick to look at, again and again. The sender tells that it is.
pub(crate) struct Until {
    pub(crate) wanted: Box<dyn FnMut(&mut Node) -> bool + Send>,
    pub(crate) reply: oneshot::Sender<()>,
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Until")
    }
}

/// What a node's task is told apart from commands, as it stands: the last word counts, and nobody waits to say it.
#[derive(Debug)]
pub(crate) struct Orders {
    /// To leave.
    pub(crate) leave: Arc<Leave>,
    /// To stand still, or to go on.
    pub(crate) pause: watch::Receiver<bool>,
    /// What happens to the datagrams it sends.
    pub(crate) faults: watch::Receiver<FaultTable>,
    /// What chance decides about them grows from this.
    pub(crate) fault_seed: u64,
    /// What else it is to do.
    pub(crate) wishes: Arc<Wishes>,
}

/// To leave, and because of which command.
#[derive(Debug, Default)]
pub(crate) struct Leave {
    wanted: Notify,
    /// There once it is wanted: whoever wants it first names the command, if there is one.
    cause: OnceLock<Option<CommandId>>,
}

impl Leave {
    /// The node is to leave, because of a command if one is named.
    pub(crate) fn tell(&self, cause: Option<CommandId>) {
        // Who comes late wants what is under way already.
        let _ = self.cause.set(cause);
        self.wanted.notify_one();
    }

    /// Returns when it is to.
    pub(super) async fn told(&self) {
        self.wanted.notified().await;
    }

    /// The command behind it.
    pub(super) fn cause(&self) -> Option<CommandId> {
        self.cause.get().copied().flatten()
    }
}
