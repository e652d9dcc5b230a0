//! The node: composes everything below it; the only public way in.
//!
//! Its life is one map of *slots*, keyed by the index under which the other end
//! addresses it: a dial that waits for message 2, an answer that waits for message 3,
//! a half-open session that waits for the other end's first packet, and sessions.
//! Peers point at their slot. Each step below moves a slot from one state to the next.

mod answering;
#[cfg(feature = "floor")]
mod audit;
mod calling;
mod dialing;
mod leaving;
mod limits;
mod news;
mod peers;
mod rejections;
mod rekeying;
mod relaying;
mod sending;
mod spreading;
mod streaming;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::SocketAddr,
    time::Duration,
};

use meshground_shared::{NodeId, PublicKey, RejectReason};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

use self::{
    answering::{Answer, Answers},
    calling::Calls,
    dialing::{Dial, DialRequest, HalfOpen, Waiting},
    leaving::Farewells,
    limits::Limits,
    news::News,
    peers::Peer,
    rejections::Rejections,
    spreading::Everyone,
};
use crate::{
    config::{ConfigError, LivenessConfig, NodeConfig},
    crypto::Suite,
    event::{DialError, DialId, NodeEvent, PeerView, Transmit},
    handshake::{Noise, SeenInitiations},
    identity::Identity,
    packet::Header,
    path::Path,
    received::{Collector, Received},
    session::{PACKET_OVERHEAD, Session},
    time::{Instant, Now},
    timers::{Timer, Timers},
};

/// How long a replaced session still receives what was sent before the peer knew.
const AFTERLIFE: Duration = Duration::from_secs(10);

/// A node whose driver is later than this with a timeout has itself stood still (a
/// suspended machine, a blocked thread) and does not count that time against its peers.
const STOOD_STILL: Duration = Duration::from_millis(100);

/// Room for so many events is kept when none is left: there may have been one of every peer.
const EVENTS_KEPT: usize = 32;

/// One mesh node.
///
/// Call the `handle_` and action methods with the present time, and after each of them
/// drain [`poll_transmit`](Self::poll_transmit), [`poll_event`](Self::poll_event) and
/// [`take_messages`](Self::take_messages), then sleep until [`poll_timeout`](Self::poll_timeout) or the next input. Time must
/// not run backwards. No input, whatever its bytes, makes a node panic.
pub struct Node {
    config: NodeConfig,
    identity: Identity,
    suite: Suite,
    rng: ChaCha20Rng,
    noise: Noise,
    slots: BTreeMap<u32, Slot>,
    answers: Answers,
    /// The slots of sessions that have ended, oldest first; some of these slots may have been emptied since.
    closed: VecDeque<u32>,
    seen: SeenInitiations,
    /// First messages that were stale when they came.
    stale: SeenInitiations,
    limits: Limits,
    /// The slots of dials and half-open sessions, by the path that was dialed.
    dials: BTreeSet<(Path, u32)>,
    /// Dials that wait until fewer are under way.
    queued_dials: VecDeque<Waiting>,
    next_dial: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// How their lives are judged, now that there are so many, or soon will be.
    pace: LivenessConfig,
    calls: Calls,
    /// Over which paths the peers are reached.
    paths: BTreeSet<(Path, NodeId)>,
    /// What is known from records.
    everyone: Everyone,
    timers: Timers,
    /// Handshake datagrams and last words to send.
    outbox: VecDeque<(Path, Vec<u8>)>,
    /// Datagrams that came in over other nodes, from the node each is said to be of.
    inbox: VecDeque<(NodeId, Vec<u8>)>,
    /// Peers for whom there may be something to seal and send, in turn.
    dirty: VecDeque<NodeId>,
    /// How many packets in a row the first of them has had.
    burst: u32,
    events: VecDeque<NodeEvent>,
    received: Collector,
    rejections: Rejections,
    news: News,
    /// The last time the node was told.
    clock: Instant,
    left: bool,
    farewells: Farewells,
}

/// Whatever a packet's receiver index leads to.
#[derive(Debug)]
enum Slot {
    Dial(Box<Dial>),
    Answer(Box<Answer>),
    HalfOpen(Box<HalfOpen>),
    Session(Box<Session>),
}

impl Slot {
    /// The dial that waits for this slot to become a session.
    fn dial(&self) -> Option<&DialRequest> {
        match self {
            Self::Dial(dial) => Some(&dial.request),
            Self::HalfOpen(half) => half.request.as_ref(),
            Self::Answer(_) | Self::Session(_) => None,
        }
    }
}

impl Node {
    /// A node that knows nobody yet. Give each node, and each life of one, another
    /// `rng_seed`: everything random in it grows from there.
    ///
    /// `now.wall` becomes the node's incarnation: it must be later than in any earlier
    /// life of the same identity, or peers that remember that life will not take this one.
    ///
    /// # Errors
    /// When a figure in `config` is out of its range.
    pub fn new(
        config: NodeConfig,
        identity: Identity,
        rng_seed: [u8; 32],
        now: Now,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let pace = config.liveness.for_peers(0);
        let everyone = Everyone::new(&identity, now.wall.0, config.max_datagram - PACKET_OVERHEAD);
        Ok(Self {
            suite: config.suite.unwrap_or_else(Suite::preferred),
            rng: ChaCha20Rng::from_seed(rng_seed),
            noise: Noise::new(config.psk, identity.clone(), now.wall.0),
            config,
            identity,
            slots: BTreeMap::new(),
            answers: Answers::default(),
            closed: VecDeque::new(),
            seen: SeenInitiations::default(),
            stale: SeenInitiations::default(),
            limits: Limits::default(),
            dials: BTreeSet::new(),
            queued_dials: VecDeque::new(),
            next_dial: 0,
            peers: BTreeMap::new(),
            pace,
            calls: Calls::default(),
            paths: BTreeSet::new(),
            everyone,
            timers: Timers::default(),
            outbox: VecDeque::new(),
            inbox: VecDeque::new(),
            dirty: VecDeque::new(),
            burst: 0,
            events: VecDeque::new(),
            received: Collector::default(),
            rejections: Rejections::default(),
            news: News::default(),
            clock: now.instant,
            left: false,
            farewells: Farewells::default(),
        })
    }

    /// How long a peer may be silent before it is forgotten.
    pub(crate) fn forgets_after(&self) -> Duration {
        self.pace.forget
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    /// Its Noise static public key.
    pub fn public_key(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// Starts a handshake with whoever listens at `address`, as soon as fewer than
    /// `max_dials` are under way. Ends in [`NodeEvent::Dialed`] or
    /// [`NodeEvent::DialFailed`], within the handshake budget counted from this call. With
    /// `expect`, anyone else who answers is refused.
    pub fn connect(&mut self, now: Now, address: SocketAddr, expect: Option<NodeId>) -> DialId {
        let (id, request) = self.new_dial(now, Path::Direct(address), expect);
        if self.left {
            self.fail_dial(&request, DialError::Left);
        } else {
            self.queued_dials.push_back(Waiting::New(request));
            self.start_dials(now);
        }
        id
    }

    /// A datagram arrived from `from`. Its bytes are decrypted in place.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8]) {
        self.observe(now.instant);
        if self.left {
            return self.on_datagram_after_leave(datagram);
        }
        self.take_datagram(now, Path::Direct(from), from, datagram);
        while let Some((source, mut datagram)) = self.inbox.pop_front() {
            self.take_datagram(now, Path::Relayed(source), from, &mut datagram);
        }
    }

    /// A datagram came in over `path`, the last hop being `hop`.
    fn take_datagram(&mut self, now: Now, path: Path, hop: SocketAddr, datagram: &mut [u8]) {
        let outcome = match Header::parse(datagram) {
            Err(_) => Err(RejectReason::Malformed),
            Ok(Header::Initiation { suite, noise }) => self.on_initiation(now, path, suite, noise),
            Ok(Header::Response { receiver, noise }) => self.on_response(now, receiver, noise),
            Ok(Header::Confirm { receiver, noise }) => self.on_confirm(now, path, receiver, noise),
            Ok(Header::Data { receiver, counter }) => self.on_data(now, path, receiver, counter, datagram),
        };
        if let Err(reason) = outcome {
            self.rejections.count(now.instant, reason, hop, &mut self.timers);
        }
    }

    /// The time [`poll_timeout`](Self::poll_timeout) named has come. Harmless at any
    /// other time.
    pub fn handle_timeout(&mut self, now: Now) {
        self.observe(now.instant);
        while let Some(timer) = self.timers.pop_due(now.instant) {
            match timer {
                Timer::Slot(index) => self.on_slot_timeout(now, index),
                Timer::Peer(peer) => self.check_peer(now.instant, peer),
                Timer::Connection(peer) => self.on_connection_timeout(now, peer),
                Timer::Call(call) => self.on_call_timeout(now.instant, call),
                Timer::Rekey(peer) => self.on_rekey_due(now, peer),
                Timer::Farewells => self.tell_farewells(now.instant),
                Timer::Spreading => self.on_spreading_timeout(now),
                Timer::News => self.tell_news(now.instant),
                Timer::Rejections => {
                    self.rejections.tell(now.instant, &mut self.timers, &mut self.events);
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Appends the next datagram to send to `buffer`.
    pub fn poll_transmit(&mut self, now: Now, buffer: &mut Vec<u8>) -> Option<Transmit> {
        while let Some((path, datagram)) = self.outbox.pop_front() {
            match path {
                Path::Direct(to) => {
                    buffer.extend_from_slice(&datagram);
                    return Some(Transmit { to, len: datagram.len() });
                }
                Path::Relayed(target) => self.send_relayed(target, &datagram),
            }
        }
        self.poll_connections(now, buffer)
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has anything to do. Cheaper than to ask for the time first.
    pub fn has_output(&self) -> bool {
        !(self.outbox.is_empty() && self.dirty.is_empty())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        let event = self.events.pop_front();
        if event.is_none() {
            self.events.shrink_to(EVENTS_KEPT);
        }
        event
    }

    /// The messages that came in since the last call. Call it after every few datagrams: what nobody takes is dropped
    /// beyond 4 MiB, as messages may be, and counted.
    pub fn take_messages(&mut self) -> Received {
        self.received.take()
    }

    /// The peers with confirmed sessions, by id.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> {
        self.peers.iter().filter_map(|(&id, peer)| self.view(id, peer))
    }

    /// The peer with this id, if there is a confirmed session with it.
    pub fn peer(&self, id: NodeId) -> Option<PeerView> {
        self.view(id, self.peers.get(&id)?)
    }

    fn view(&self, id: NodeId, peer: &Peer) -> Option<PeerView> {
        let Some(Slot::Session(session)) = self.slots.get(&peer.session) else { return None };
        Some(PeerView {
            id,
            path: session.path,
            role: session.role,
            health: peer.liveness.health(),
            heard: !peer.liveness.is_deaf(),
            rtt: peer.liveness.rtt(),
            since: peer.since,
            rekeys: peer.rekeys,
            traffic: peer.traffic(),
        })
    }

    /// How many datagrams were thrown away for `reason`.
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejections.total(reason)
    }

    /// Takes note of the time, and of having stood still.
    fn observe(&mut self, now: Instant) {
        if let Some(due) = self.timers.next() {
            let pause = now.saturating_since(due.max(self.clock));
            if pause > STOOD_STILL {
                for peer in self.peers.values_mut() {
                    peer.liveness.excuse(pause, now);
                }
            }
        }
        self.clock = self.clock.max(now);
    }

    fn on_slot_timeout(&mut self, now: Now, index: u32) {
        match self.slots.get(&index) {
            Some(Slot::Dial(_)) => self.on_dial_timeout(now, index),
            Some(Slot::HalfOpen(_)) => self.on_half_open_timeout(now, index),
            Some(Slot::Answer(_)) => self.drop_answer(index),
            // A session another one replaced: what was in flight has arrived.
            Some(Slot::Session(session)) => {
                if let Some(peer) = self.peers.get_mut(&session.peer) {
                    peer.replaced.retain(|other| *other != index);
                }
                self.slots.remove(&index);
            }
            None => {}
        }
    }

    /// An index that leads nowhere yet. Random, so that a packet for an earlier life of
    /// this node does not meet a session of this one.
    fn fresh_index(&mut self) -> u32 {
        loop {
            let index = self.rng.next_u32();
            if !self.slots.contains_key(&index) {
                return index;
            }
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id())
            .field("peers", &self.peers.len())
            .field("slots", &self.slots.len())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
