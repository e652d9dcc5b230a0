//! What a node tells its driver, and what may be asked of it.

use std::{net::SocketAddr, time::Duration};

use meshground_shared::{Health, NodeId, RejectReason, Role, SessionEnd};

use crate::{path::Path, record::Topic, rpc::CallEvent, stream::StreamEvent, time::Instant};

/// Something happened. Fetch with [`Node::poll_event`](crate::Node::poll_event).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A session with `peer` is confirmed: both ends have proved that they hold its
    /// keys. Comes again when a new session replaces one, if the peer has restarted or if
    /// anything told here has changed. Mere renewal of the keys is no news, whoever began it.
    SessionUp {
        /// Who.
        peer: NodeId,
        /// Over which path.
        path: Path,
        /// This node's part in the handshake.
        role: Role,
    },
    /// There is no session with `peer` any more.
    SessionDown {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: SessionEnd,
    },
    /// An authentic packet came from another address than the ones before: the session goes on there.
    Roamed {
        /// Who.
        peer: NodeId,
        /// Where packets to it went.
        from: SocketAddr,
        /// Where they go now.
        to: SocketAddr,
    },
    /// The failure detector changed its verdict.
    Health {
        /// On whom.
        peer: NodeId,
        /// The verdict before.
        from: Health,
        /// The verdict now.
        to: Health,
        /// How long the peer had been silent.
        silence: Duration,
    },
    /// Something happened to a remote procedure call.
    Call(CallEvent),
    /// Comes once after [`SendError::Full`]: less than half of what may wait for `peer` does.
    Writable {
        /// For whom.
        peer: NodeId,
    },
    /// Something happened to a stream with `peer`.
    Stream {
        /// With whom.
        peer: NodeId,
        /// What.
        event: StreamEvent,
    },
    /// A dial ended in a confirmed session, by its own handshake or by one that crossed it.
    Dialed {
        /// Which.
        dial: DialId,
        /// Who answered.
        peer: NodeId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Whither.
        path: Path,
        /// Why.
        error: DialError,
    },
    /// The peer is heard, but says again and again that it does not hear this node, or that it does again: packets get
    /// through in one direction only. Its health stays what it is, as it lives.
    OneWay {
        /// Who.
        peer: NodeId,
        /// Whether it is deaf to this node now.
        deaf: bool,
    },
    /// A node announces other capabilities than before. Look them up with
    /// [`Node::capabilities`](crate::Node::capabilities).
    CapabilitiesChanged {
        /// Who.
        node: NodeId,
    },
    /// A node's capabilities are known no more: it has left, or has long been silent.
    CapabilitiesExpired {
        /// Whose.
        node: NodeId,
    },
    /// A node says something else on a topic than before; nothing if it withdrew that, has left or has long been silent.
    Said {
        /// Who.
        node: NodeId,
        /// About what.
        topic: Topic,
        /// What, at most [`MAX_SAID`](crate::MAX_SAID) bytes.
        body: Vec<u8>,
    },
    /// A node is reached over another number of hops than before, or again, or no more. Changes within 20 ms, and
    /// a millisecond for each direct peer, are told as one.
    RouteChanged {
        /// Who.
        target: NodeId,
        /// How many hops away it is now, 1 for a direct peer; `None` if there is no way to it.
        distance: Option<u16>,
    },
    /// Datagrams were thrown away. Told ten times a second at most, and then of at most 32
    /// sources apart; what came from others is counted under one of them.
    Rejected {
        /// Where the last came from.
        address: SocketAddr,
        /// What was wrong.
        reason: RejectReason,
        /// How many, since the last round of such events.
        count: u64,
    },
}

/// Names one call of [`Node::connect`](crate::Node::connect).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No valid answer within the budget: nobody there, or one with another pre-shared key.
    #[error(
        "no valid answer within {budget:?} after {sent} attempts; is it up, and does it hold the same pre-shared key?"
    )]
    TimedOut {
        /// The budget.
        budget: Duration,
        /// How often the first message was sent.
        sent: u32,
    },
    /// Someone else answered.
    #[error("expected node {expected}, but {found} answered; is the address right?")]
    WrongPeer {
        /// Who was expected.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The one who answered could not prove who it is.
    #[error("whoever answered could not prove its identity; is the address right?")]
    Unproven,
    /// Nobody answered, and what was sent came back: the address is this node's own.
    #[error("the address is this node's own; dial another")]
    Itself,
    /// The node is leaving.
    #[error("the node has left the mesh; build another")]
    Left,
}

/// Why a message was not sent. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no confirmed session with the peer.
    #[error("there is no session with node {0}; connect to it first")]
    NoSession(NodeId),
    /// The message is longer than any may be.
    #[error("the message has {len} bytes; at most {max} can be sent, and more over a stream")]
    TooLarge {
        /// Its size.
        len: usize,
        /// The most that fits.
        max: usize,
    },
    /// As much waits for the peer as may. [`NodeEvent::Writable`] tells when to try again.
    #[error("{queued} bytes wait for node {peer} already; wait until there is room")]
    Full {
        /// For whom.
        peer: NodeId,
        /// How many bytes wait, those the protocol adds included.
        queued: usize,
    },
}

/// More was to be said to everyone at once than can be. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes cannot be said to everyone at once; at most {MAX_SAID} can", MAX_SAID = crate::MAX_SAID)]
pub struct SaidTooMuch(pub usize);

/// A datagram to send, appended to the buffer given to
/// [`Node::poll_transmit`](crate::Node::poll_transmit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Whither.
    pub to: SocketAddr,
    /// How many bytes were appended.
    pub len: usize,
}

/// A peer with a confirmed session, as the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub id: NodeId,
    /// Where packets to it go.
    pub path: Path,
    /// This node's part in the handshake that made the present keys.
    pub role: Role,
    /// The failure detector's verdict.
    pub health: Health,
    /// Whether the peer hears this node, as far as it has said.
    pub heard: bool,
    /// Smoothed round-trip time (RFC 6298 weights); `None` before the first echo.
    pub rtt: Option<Duration>,
    /// Since when there has been a session with this life of the peer.
    pub since: Instant,
    /// How often since then the keys were renewed.
    pub rekeys: u64,
    /// Datagrams and bytes exchanged with this peer since then.
    pub traffic: Traffic,
}

/// What was exchanged with a peer: datagrams, their UDP payload bytes, and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Datagrams received and accepted.
    pub datagrams_in: u64,
    /// Bytes received and accepted.
    pub bytes_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Datagrams that were sent, had to be acknowledged, and were given up as lost.
    pub datagrams_lost: u64,
    /// Messages that were lost with them.
    pub messages_lost: u64,
}
