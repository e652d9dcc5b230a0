//! What happened in a cluster.
//!
//! Events are facts in one order: every client of a room sees the same sequence,
//! numbered densely from 1. An event that has an actor names it in `node`; one
//! that followed from a command names that command in `cause`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    admin::{AuditEntry, AvoidedNode, Maintenance},
    daemon::{DaemonEnd, DaemonView, LogLevel},
    fault::LinkFault,
    group::GroupView,
    id::{CommandId, DaemonId, GroupId, NodeId, PublicKey},
    migration::MigrationView,
    topology::Topology,
};

/// One entry of a room's event log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the log: 1 for the first event of an epoch, then dense.
    pub seq: u64,
    /// Monotonic microseconds since the room's log began.
    pub at_us: u64,
    /// Unix time in microseconds, for people; may jump, never used for order.
    pub wall_us: u64,
    /// The node that saw or did it; absent for what concerns the whole cluster.
    pub node: Option<NodeId>,
    /// The command it followed from, if one.
    pub cause: Option<CommandId>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A cluster of `nodes` nodes began to boot.
    ClusterBooting {
        /// How many nodes it will have.
        nodes: u32,
        /// Which of them are to hold sessions with each other.
        #[serde(default)]
        topology: Topology,
    },
    /// Every link that the topology names has a confirmed session at both ends, and both
    /// see each other Healthy.
    ClusterConverged {
        /// How many nodes there are.
        nodes: u32,
        /// Microseconds from the command to this moment.
        took_us: u64,
    },
    /// From here on the members are to be linked in another way. Links that are new come
    /// first; those that are no longer wanted go when all of those stand.
    TopologyChanged {
        /// How.
        topology: Topology,
    },
    /// A boot, a spawn, a restart or a change of topology did not converge; what had been
    /// begun was undone again.
    ClusterFailed {
        /// Why, for a person.
        reason: String,
    },
    /// The whole cluster began to shut down.
    ClusterStopping,
    /// The cluster has shut down: sockets closed, tasks joined.
    ClusterStopped,
    /// `node` is up: its socket is bound and it answers.
    NodeStarted {
        /// Its place in the cluster; kept over a restart, never reused.
        index: u32,
        /// The loopback UDP address it listens on.
        address: SocketAddr,
        /// Its Noise static public key.
        public_key: PublicKey,
    },
    /// `node` is on its way out: its daemons stop, then it says goodbye to its peers.
    NodeLeaving {
        /// How it will have gone.
        reason: StopReason,
    },
    /// `node` is down: its socket is closed, and nothing runs on it.
    NodeStopped {
        /// How it went.
        reason: StopReason,
    },
    /// `node` stands still: it neither reads its socket nor minds the time.
    NodePaused,
    /// `node` goes on where it stood still.
    NodeResumed,
    /// What happens to the datagrams that `node` sends `peer` is another from here on.
    FaultChanged {
        /// To whom.
        peer: NodeId,
        /// What; nothing any more if absent.
        fault: Option<LinkFault>,
    },
    /// `node` holds a confirmed session with `peer`: both ends have proved their keys.
    SessionUp {
        /// The other end.
        peer: NodeId,
        /// Where `node` sends to reach it.
        address: SocketAddr,
        /// Which part `node` played in the handshake.
        role: Role,
    },
    /// `node` holds no session with `peer` any more.
    SessionDown {
        /// The other end.
        peer: NodeId,
        /// Why.
        reason: SessionEnd,
    },
    /// `node`'s failure detector changed its verdict on `peer`.
    PeerHealth {
        /// The one judged.
        peer: NodeId,
        /// The verdict before.
        from: Health,
        /// The verdict now.
        to: Health,
        /// Microseconds since `node` last heard an authenticated packet of `peer`.
        silence_us: u64,
    },
    /// `peer`, whom `node` hears, says again and again that it does not hear `node`, or that it does again: packets get
    /// through one way only.
    OneWay {
        /// The one that does not hear.
        peer: NodeId,
        /// Whether that is so now.
        deaf: bool,
    },
    /// `node` threw away datagrams that were not what they should be. Rate-limited:
    /// one event stands for `count` of them.
    DatagramRejected {
        /// Where the last of them came from, as far as a UDP source can be believed.
        address: SocketAddr,
        /// What was wrong.
        reason: RejectReason,
        /// How many, since the last event of this reason.
        count: u64,
    },
    /// A daemon came to `node`, or is in another state than before. Its saturation and the number
    /// of its events are as of then.
    DaemonChanged {
        /// What it is like now.
        daemon: DaemonView,
    },
    /// A daemon is no more on `node`.
    DaemonGone {
        /// Which.
        daemon: DaemonId,
        /// Why.
        reason: DaemonEnd,
    },
    /// A daemon on `node` wrote a line into its log.
    DaemonLog {
        /// Which.
        daemon: DaemonId,
        /// How important it is.
        level: LogLevel,
        /// The line, at most 1,024 bytes.
        text: String,
    },
    /// `node`, which looks after it, sees a group come or change.
    GroupChanged {
        /// What it is like now.
        group: GroupView,
    },
    /// A group is no more.
    GroupGone {
        /// Which.
        group: GroupId,
    },
    /// A daemon on its way from `node` came into another phase, or a good deal further in this one.
    MigrationChanged {
        /// How far it is.
        migration: MigrationView,
    },
    /// `node` goes into service or out of it.
    MaintenanceChanged {
        /// The state it is in now.
        state: Maintenance,
        /// Whether anything new may be placed on it.
        cordoned: bool,
    },
    /// Nothing is placed, moved or restarted on `node` any more, or it is again.
    FreezeChanged {
        /// For how long at most, in milliseconds; absent when it is over.
        remaining_ms: Option<u64>,
    },
    /// `node` places nothing on these nodes for a while, as of then; on no others. Times that only pass are no event.
    AvoidChanged {
        /// Whom, by id.
        avoided: Vec<AvoidedNode>,
    },
    /// On `node`, where decisions are only written down, there was no room for one: those from here on are lost until there
    /// is. It changes nothing in the snapshot.
    DecisionsLost {
        /// How many it has lost so far.
        dropped: u64,
    },
    /// `node` decided on a signed command.
    AdminDecided {
        /// What, and how.
        entry: AuditEntry,
    },
    /// A call that a command had `node` make over the mesh is over. It changes nothing in the
    /// snapshot.
    CallFinished {
        /// The one called.
        peer: NodeId,
        /// The method called.
        method: String,
        /// How it ended.
        outcome: CallOutcome,
        /// Microseconds from the question to the end, by the caller's clock.
        took_us: u64,
        /// Bytes of the question's body.
        request_bytes: u64,
        /// Bytes of the answer's body; 0 if there was none.
        response_bytes: u64,
    },
}

/// How a call from node to node ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// With an answer.
    Ok,
    /// Without one: why, for a person, at most 1,024 bytes.
    Error(String),
}

/// A failure detector's verdict on a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Heard from within the expected time.
    Healthy,
    /// Silent for longer than it should be; probed more often.
    Suspect,
    /// Silent for so long that it must be presumed gone.
    Unreachable,
}

/// Which part a node played in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It sent the first message.
    Initiator,
    /// It answered.
    Responder,
}

/// How a node went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It announced its leave to its peers and closed. It is no member any more.
    Shutdown,
    /// It vanished without a word. It stays a member and can be restarted.
    Crash,
    /// Its place was given to another identity. It is no member any more.
    Replaced,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The peer announced its leave.
    Left,
    /// The peer was Unreachable for so long that it was forgotten.
    Forgotten,
    /// One of the two closed it, and both stay; or this node leaves.
    Closed,
}

/// Why a datagram was thrown away. Every rejection is counted under one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Too short, too long, of an unknown type or with reserved bits set.
    Malformed,
    /// Message 1 that does not authenticate: the sender holds another pre-shared key, or none.
    PskMismatch,
    /// Message 1 whose wall time is more than ten seconds off.
    StaleInitiation,
    /// Message 1 that was seen before.
    ReplayedInitiation,
    /// Message 1 from where too many came that were good for nothing.
    RateLimited,
    /// Too many handshakes are under way.
    Overloaded,
    /// For a session or handshake this node does not hold.
    UnknownIndex,
    /// Message 2 or 3 that does not authenticate.
    HandshakeFailed,
    /// The sender's identity is not signed by its key, is this node's own, or is not the expected one.
    BadIdentity,
    /// A data packet that does not authenticate: altered, truncated or made up.
    AuthFailed,
    /// A packet that was seen before, or is too old to tell.
    Replayed,
    /// An authenticated packet whose frames cannot be read: a peer with a defect.
    BadFrame,
    /// A relayed datagram with nowhere to go: its target cannot be reached, or is no nearer from here.
    NoRoute,
}

impl RejectReason {
    /// Every reason, in declaration order.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::PskMismatch,
        Self::StaleInitiation,
        Self::ReplayedInitiation,
        Self::RateLimited,
        Self::Overloaded,
        Self::UnknownIndex,
        Self::HandshakeFailed,
        Self::BadIdentity,
        Self::AuthFailed,
        Self::Replayed,
        Self::BadFrame,
        Self::NoRoute,
    ];
}
