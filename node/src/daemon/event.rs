//! What daemons work off.

use meshground_shared::{DaemonId, GroupId, NodeId};
use serde::{Deserialize, Serialize};

/// Something a daemon works off, one at a time and in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DaemonEvent {
    /// It begins, here and now: the first event of every incarnation, and not counted among those worked off.
    Started(Place),
    /// Somebody sent it something.
    Message {
        /// Who.
        from: Sender,
        /// What, at most [`MAX_PAYLOAD`](super::MAX_PAYLOAD) bytes.
        payload: Vec<u8>,
    },
    /// The time has come that it had itself woken for.
    Alarm {
        /// What it called that.
        token: u64,
    },
    /// What came of something it had sent and wanted an answer to, as the node claims that brought it: any member of the mesh
    /// could that knows or guesses the token.
    Answer {
        /// What it called that.
        token: u64,
        /// What the other put out when it worked it off.
        outcome: Result<Vec<Vec<u8>>, DeliverError>,
    },
}

/// Who and where a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The node it runs on.
    pub node: NodeId,
    /// Its own id.
    pub daemon: DaemonId,
    /// Which incarnation of its identity it is.
    pub generation: u64,
    /// Its place in a group, if it is in one.
    pub member: Option<GroupPlace>,
    /// Whether it has taken over the state of an earlier incarnation.
    pub restored: bool,
}

/// A daemon's place in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlace {
    /// The group.
    pub group: GroupId,
    /// The place, from 0.
    pub index: u32,
    /// How many there were when it began.
    pub count: u32,
}

/// Who sent something, as the node says that brought it. That node is known for certain, and speaks for no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sender {
    /// Somebody at this node, who is no daemon.
    Node(NodeId),
    /// A daemon, wherever it was then. That it was this one is what the node claims that brought it: any member of the mesh
    /// could.
    Daemon(DaemonId),
}

/// Why something sent to a daemon did not come to an end there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum DeliverError {
    /// No node is known to run it.
    #[error("no node is known to run daemon {0}; check its id")]
    NotFound(DaemonId),
    /// It crashed over this. It is not given it again.
    #[error("the daemon crashed over it; find out why before sending the like again")]
    Crashed,
    /// It is down: it crashed, or stops.
    #[error("the daemon does not run at present; try again later")]
    Down,
    /// More waits for it than may.
    #[error("more waits for the daemon than may; try again later")]
    Overloaded,
    /// The payload is too large.
    #[error("a payload of {0} bytes is too large; at most 1 MiB can be sent")]
    TooLarge(u64),
    /// Nobody knows whether it was worked off: no answer came in time.
    #[error("no answer in time; whether it was worked off is not known: ask before sending it again")]
    Unknown,
    /// Whoever sent it is in no group, or its group has no such place.
    #[error("its group has no member {0}; they are counted from 0")]
    NoMember(u32),
}
