//! Peers: sessions put to use and ended, lives judged; what comes in from them is in `taking_in`.

mod taking_in;

use meshground_shared::{NodeId, SessionEnd};
use rand_chacha::rand_core::RngCore;

use super::{
    AFTERLIFE, Node, Slot,
    news::{Before, Kind},
};
use crate::{
    config::LivenessConfig,
    connection::Connection,
    event::{NodeEvent, Traffic},
    handshake::{Claim, may_have_crossed, takes_precedence},
    packet::Frame,
    path::Path,
    session::{Liveness, Session},
    stream::{Side, StreamEvent},
    time::{Instant, Now},
    timers::Timer,
};

/// The most replaced sessions that one peer may have. An honest one renews its keys more seldom than it would take for that;
/// beyond, the oldest goes.
const MAX_REPLACED: usize = 8;

/// A node that has one dial for so many peers, or more, dials many.
const MANY_DIALS: usize = 16;

/// The most sessions that have ended and are remembered for a while, with whomever; beyond, the oldest is not.
const MAX_CLOSED: usize = 1_024;

/// Someone this node holds a confirmed session with.
#[derive(Debug)]
pub(super) struct Peer {
    /// The slot of the session packets go out on.
    pub(super) session: u32,
    /// What goes over it, and over those before it.
    pub(super) connection: Connection,
    /// What both ends call that.
    pub(super) connection_id: u64,
    /// It stands in `dirty`.
    pub(super) is_dirty: bool,
    /// Since when that is so.
    pub(super) session_since: Instant,
    /// The slots of sessions it has replaced, which still receive.
    pub(super) replaced: Vec<u32>,
    pub(super) since: Instant,
    pub(super) liveness: Liveness,
    /// A heartbeat has come in: when what answers it is out, it need not be looked after for longer.
    pub(super) heartbeat: bool,
    /// When it last sent something that was no mere heartbeat, or was sent such.
    pub(super) active: Instant,
    pub(super) traffic: Traffic,
    /// The session that packets go out on renewed the keys of one before it, of which whoever listens was told.
    pub(super) is_renewal: bool,
    /// How often the keys were renewed.
    pub(super) rekeys: u64,
    /// How often that was tried since.
    pub(super) renewals_tried: u32,
}

impl Peer {
    fn new(
        now: Instant,
        session: u32,
        connection: Connection,
        connection_id: u64,
        config: &LivenessConfig,
    ) -> Self {
        Self {
            session,
            connection,
            connection_id,
            is_dirty: false,
            session_since: now,
            replaced: Vec::new(),
            since: now,
            liveness: Liveness::new(now, config),
            heartbeat: false,
            active: now,
            traffic: Traffic::default(),
            is_renewal: false,
            rekeys: 0,
            renewals_tried: 0,
        }
    }
}

impl Peer {
    /// What was exchanged so far.
    pub(super) fn traffic(&self) -> Traffic {
        let tally = self.connection.tally();
        Traffic {
            messages_out: tally.messages_sent,
            datagrams_lost: tally.packets_lost,
            messages_lost: tally.messages_lost,
            ..self.traffic
        }
    }
}

impl Node {
    /// What speaks for `session`, for the precedence rule.
    pub(super) fn claim(&self, session: &Session) -> Claim {
        Claim {
            local: self.id(),
            peer: session.peer,
            role: session.role,
            begun: session.begun,
            incarnation: session.incarnation,
        }
    }

    /// Whether `new` is to replace the session in use with its peer, or there is none.
    ///
    /// Precedence decides, with one exception: a peer whose clock was set back between two of its lives comes with a
    /// lower incarnation, and would be locked out until its earlier life is forgotten. So where that one was
    /// Unreachable already when this end took up the new handshake, it is dead, and the new one is its next life. Of
    /// that handshake nothing can be a replay, as this end's part in it is fresh. The peer in its new life holds no
    /// other session, so both ends still agree.
    ///
    /// The other exception: where the session in use was silent when the other end answered a new handshake, that end may
    /// have forgotten it, whatever precedence says. If it has not, it will not confirm the new one, and all stays as it is.
    ///
    /// A direct session goes before a relayed one with the same life of the peer, unless it was Unreachable already when
    /// the handshake of that began. What the initiator has found so far holds to the end: it is what the responder's
    /// first packet answers.
    pub(super) fn prevails(&self, new: &Session) -> bool {
        let Some(old) = self.current_session(new.peer) else { return true };
        if new.displaces_silent && old.since <= new.since {
            return true;
        }
        if new.incarnation == old.incarnation && new.path.is_direct() != old.path.is_direct() {
            let dead = || {
                let peer = self.peers.get(&new.peer);
                peer.is_some_and(|peer| peer.liveness.was_unreachable(new.since))
            };
            return new.path.is_direct() || (new.displaces_direct && old.since <= new.since) || dead();
        }
        let set_back = new.incarnation < old.incarnation
            && self.peers.get(&new.peer).is_some_and(|peer| peer.liveness.was_unreachable(new.since));
        set_back || takes_precedence(&self.claim(new), &self.claim(old))
    }

    pub(super) fn current_session(&self, peer: NodeId) -> Option<&Session> {
        match self.slots.get(&self.peers.get(&peer)?.session)? {
            Slot::Session(session) => Some(session),
            _ => None,
        }
    }

    /// Puts a confirmed session to use, unless one with precedence is there already. `continues` says that both ends
    /// go on with the connection they have; otherwise that ends here.
    pub(super) fn install(&mut self, now: Now, index: u32, mut session: Session, continues: bool) {
        let (id, path, role) = (session.peer, session.path, session.role);
        let was_direct = self.is_direct(id);
        let max_datagram = self.max_datagram(path);
        let mut news = true;
        let before = if self.peers.contains_key(&id) { Before::There } else { Before::Nothing };
        if let Some(old) = self.current_session(id) {
            if !self.prevails(&session) {
                return;
            }
            if old.incarnation == session.incarnation && continues {
                let from = old.path;
                // Renewals may cross as well, where the network is bad: the session that was told of goes on all the same.
                let is_renewal = self.peers.get(&id).is_some_and(|peer| peer.is_renewal);
                let crossed = !is_renewal && may_have_crossed(&self.claim(&session), &self.claim(old));
                let rerouted = from.is_direct() != path.is_direct();
                news = rerouted || (crossed && (from != path || old.role != role));
                self.paths.remove(&(from, id));
                if let (Path::Direct(from), Path::Direct(to)) = (from, path)
                    && from != to
                    && !crossed
                    && self.may_tell(now.instant, Kind::Path, id, Before::At(from))
                {
                    self.events.push_back(NodeEvent::Roamed { peer: id, from, to });
                }
                self.replace_session(now.instant, index, &mut session, !crossed && !rerouted);
                self.heard(now.instant, id);
            } else {
                // With it goes what it had replaced: a farewell of that life, late on its
                // way, must not end this one.
                self.drop_peer(id);
            }
        }
        let went_on = self.peers.contains_key(&id);
        if !went_on {
            let connection_id = session.connection_id(self.id());
            let connection = self.new_connection(now.instant, id, connection_id);
            let peer = Peer::new(now.instant, index, connection, connection_id, &self.pace);
            self.peers.insert(id, peer);
            self.set_pace();
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.connection.set_datagram(max_datagram);
        }
        self.paths.insert((path, id));
        self.slots.insert(index, Slot::Session(Box::new(session)));
        self.schedule_rekey(now.instant, id, role);
        if news && self.may_tell(now.instant, Kind::Session, id, before) {
            self.events.push_back(NodeEvent::SessionUp { peer: id, path, role });
        }
        match (was_direct && went_on, path.is_direct()) {
            (false, true) => self.begin_spreading(now, id),
            (true, false) => self.end_spreading(id),
            (_, is_direct) => self.set_link(now.instant, id, is_direct),
        }
        // The first ping measures the round trip and, from a responder, tells the
        // initiator that the session stands.
        self.ping(now.instant, id);
        self.check_peer(now.instant, id);
        self.settle_dials(now, id, path);
    }

    /// Judges lives as suits so many peers. Those that are about to be dialed count already, and as many again: where a big
    /// mesh comes up, about as many dial a node as it dials, and heartbeats at the pace of the small mesh it is yet would
    /// take the time that handshakes need.
    pub(super) fn set_pace(&mut self) {
        let waiting = self.queued_dials.len();
        let peers = self.peers.len() + 2 * waiting;
        let many = (waiting + self.dials.len()) * MANY_DIALS > peers;
        let liveness = &self.config.liveness;
        let pace = if many { liveness.for_peers_being_dialed(peers) } else { liveness.for_peers(peers) };
        // While there is much to dial it stays slow on purpose, however much faster it becomes.
        let hastens = !many && pace.heartbeat < self.pace.heartbeat;
        self.pace = pace;
        if hastens {
            self.hasten_pings();
        }
    }

    /// The next look at each peer was to be at a slower pace, by which it is judged until then.
    fn hasten_pings(&mut self) {
        for (id, peer) in &mut self.peers {
            let jitter = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
            peer.liveness.hasten(self.clock, &self.pace, jitter);
            self.timers.set(Timer::Peer(*id), peer.liveness.next_check(&self.pace));
        }
    }

    fn new_connection(&self, now: Instant, peer: NodeId, connection_id: u64) -> Connection {
        let side = if self.id() < peer { Side::Lower } else { Side::Higher };
        let datagram = self.config.max_datagram;
        Connection::new(connection_id, side, datagram, self.config.max_queued, now)
    }

    /// The connection with `peer` that this end would go on with; 0 for none.
    pub(super) fn connection_with(&self, peer: NodeId) -> u64 {
        self.peers.get(&peer).map_or(0, |peer| peer.connection_id)
    }

    /// Has `new` go on in the slot `index` where the present session with the same life of the peer stands. That
    /// receives for a while yet, as the peer may not know.
    fn replace_session(&mut self, now: Instant, index: u32, new: &mut Session, renewal: bool) {
        let Some(peer) = self.peers.get_mut(&new.peer) else { return };
        let Some(Slot::Session(old)) = self.slots.get_mut(&peer.session) else { return };
        new.succeed(old);
        let replaced = peer.session;
        (peer.session, peer.session_since) = (index, now);
        peer.renewals_tried = 0;
        peer.is_renewal = renewal;
        peer.rekeys += u64::from(renewal);
        self.set_replaced(now, new.peer, replaced);
    }

    /// Receives over `session` for a while, though another one with its peer has precedence: handshakes crossed, and until
    /// the peer knows of that one, this is what it sends over.
    fn hear_out(&mut self, now: Instant, index: u32, mut session: Session) {
        let id = session.peer;
        if self.peers.contains_key(&id) {
            session.retire();
            self.slots.insert(index, Slot::Session(Box::new(session)));
            self.set_replaced(now, id, index);
        }
    }

    /// The session in this slot is one that the peer may still send over, and nothing goes out on it.
    fn set_replaced(&mut self, now: Instant, id: NodeId, index: u32) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        self.timers.set(Timer::Slot(index), now + AFTERLIFE);
        if peer.replaced.len() >= MAX_REPLACED {
            let oldest = peer.replaced.remove(0);
            self.slots.remove(&oldest);
            self.timers.clear(Timer::Slot(oldest));
        }
        peer.replaced.push(index);
    }

    /// The responder's first packet came in: the session stands at both ends.
    fn confirm_half_open(&mut self, now: Now, index: u32, continues: bool) {
        let Some(Slot::HalfOpen(half)) = self.take_dial(index) else { return };
        let peer = half.session.peer;
        let has_it = self.connection_with(peer) == half.session.connection;
        if continues && !has_it && self.prevails(&half.session) {
            // The peer goes on with a connection that has ended here meanwhile. It cannot be told in another way.
            self.close_session(now.instant, index, Box::new(half.session));
            if let Some(request) = half.request {
                self.dial_anew_or_fail(now, request);
            }
            return;
        }
        let continues = continues && has_it;
        if continues && !self.prevails(&half.session) {
            self.hear_out(now.instant, index, half.session);
        } else {
            self.install(now, index, half.session, continues);
        }
        if let Some(request) = half.request {
            self.end_dial(&request, peer);
            self.start_dials(now);
        }
    }

    fn heard(&mut self, now: Instant, id: NodeId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && let Some((from, silence)) = peer.liveness.heard(now)
        {
            let to = peer.liveness.health();
            self.events.push_back(NodeEvent::Health { peer: id, from, to, silence });
            if self.is_direct(id) {
                self.judge_link(now, id, to);
            }
            self.check_peer(now, id);
        }
    }

    /// Looks at a peer's clock: judges, pings, forgets; then sets the timer for the next look.
    pub(super) fn check_peer(&mut self, now: Instant, id: NodeId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let checkup = peer.liveness.check(now, &self.pace);
        if let Some(from) = checkup.changed_from {
            let (to, silence) = (peer.liveness.health(), peer.liveness.silence(now));
            self.events.push_back(NodeEvent::Health { peer: id, from, to, silence });
            if self.is_direct(id) {
                self.judge_link(now, id, to);
            }
        }
        if checkup.forget {
            self.remove_peer(id, SessionEnd::Forgotten);
            return;
        }
        if self.close_if_idle(now, id) {
            return;
        }
        if checkup.ping {
            self.ping(now, id);
        }
        if let Some(peer) = self.peers.get(&id) {
            self.timers.set(Timer::Peer(id), peer.liveness.next_check(&self.pace));
        }
    }

    fn ping(&mut self, now: Instant, id: NodeId) {
        let jitter = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.liveness.pinged(now, &self.pace, jitter);
        let ping = ping(now, &peer.liveness);
        self.push_urgent(id, &ping);
        if self.is_direct(id) {
            let digest = self.digest_frame();
            self.push_urgent(id, &digest);
        }
    }

    /// Ends the session with `peer`, and tells it once. Returns whether there was one. Either end may shake hands
    /// anew at any time.
    pub fn disconnect(&mut self, now: Now, peer: NodeId) -> bool {
        self.observe(now.instant);
        self.close(now.instant, peer)
    }

    pub(super) fn close(&mut self, now: Instant, peer: NodeId) -> bool {
        let Some(index) = self.peers.get(&peer).map(|peer| peer.session) else { return false };
        let Some(Slot::Session(session)) = self.slots.remove(&index) else { return false };
        self.paths.remove(&(session.path, peer));
        self.remove_peer(peer, SessionEnd::Closed);
        self.close_session(now, index, session);
        true
    }

    /// Tells the other end once that a session is over. It stays in the slot `index` so that what is on its way here means
    /// nothing.
    fn close_session(&mut self, now: Instant, index: u32, mut session: Box<Session>) {
        let mut datagram = Vec::new();
        let close = |out: &mut Vec<u8>| {
            Frame::Close.encode(out);
            Some(())
        };
        if session.seal(&mut datagram, close).is_some() {
            self.outbox.push_back((session.path, datagram));
        }
        self.keep_closed(now, index, session);
    }

    /// Keeps a session that has ended in the slot `index` for a while.
    pub(super) fn keep_closed(&mut self, now: Instant, index: u32, mut session: Box<Session>) {
        session.closed = true;
        self.slots.insert(index, Slot::Session(session));
        self.timers.set(Timer::Slot(index), now + AFTERLIFE);
        self.closed.push_back(index);
        if self.closed.len() > MAX_CLOSED
            && let Some(oldest) = self.closed.pop_front()
            && matches!(self.slots.get(&oldest), Some(Slot::Session(session)) if session.closed)
        {
            self.slots.remove(&oldest);
            self.timers.clear(Timer::Slot(oldest));
        }
    }

    pub(super) fn remove_peer(&mut self, id: NodeId, reason: SessionEnd) {
        if !self.drop_peer(id) {
            return;
        }
        // One whose beginning is not told has no end.
        if !self.news.end(id) {
            return;
        }
        self.events.push_back(NodeEvent::SessionDown { peer: id, reason });
    }

    /// Drops every session with `id`, replaced ones too. Whether there was one.
    fn drop_peer(&mut self, id: NodeId) -> bool {
        let Some(peer) = self.peers.remove(&id) else { return false };
        self.set_pace();
        self.timers.clear(Timer::Peer(id));
        self.timers.clear(Timer::Rekey(id));
        self.timers.clear(Timer::Connection(id));
        if let Some(Slot::Session(session)) = self.slots.get(&peer.session) {
            self.paths.remove(&(session.path, id));
        }
        if peer.connection.has_blocked_messages() {
            // Whoever waits for room learns from the next attempt that there is no session.
            self.events.push_back(NodeEvent::Writable { peer: id });
        }
        self.end_spreading(id);
        for stream in peer.connection.streams.ids() {
            self.on_stream_event(self.clock, id, StreamEvent::Lost(stream));
        }
        for index in peer.replaced.into_iter().chain([peer.session]) {
            self.slots.remove(&index);
            self.timers.clear(Timer::Slot(index));
        }
        true
    }
}

/// The ping to send now: with this node's clock, and with how long the peer has been silent.
pub(super) fn ping(now: Instant, liveness: &Liveness) -> Frame<'static> {
    let silence_ms = u32::try_from(liveness.silence(now).as_millis()).unwrap_or(u32::MAX);
    Frame::Ping { stamp: now.as_micros(), silence_ms }
}
