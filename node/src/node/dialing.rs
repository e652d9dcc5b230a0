//! Beginning handshakes: from `connect` to a confirmed session.

use std::{collections::VecDeque, time::Duration};

use meshground_shared::{Health, NodeId, RejectReason};

use super::{AFTERLIFE, Node, Slot};
use crate::{
    event::{DialError, DialId, NodeEvent},
    handshake::{Ephemeral, Initiator, Refusal},
    packet::{CONFIRM_LEN, RESPONSE_NOISE_LEN},
    path::Path,
    session::Session,
    time::{Instant, Now},
    timers::Timer,
};

/// After this long without success a handshake begins anew with fresh keys: the other
/// end may have lost its half of it, and the first message would soon be too old.
const FRESH_ATTEMPT: Duration = Duration::from_secs(5);

/// After this long a half-open session does: where the other end has lost its half, no
/// repetition of message 3 will ever be answered.
const FRESH_HALF_OPEN: Duration = Duration::from_millis(1_500);

/// How far the pause between two sendings grows, as a multiple of the first.
const MAX_BACKOFF: u32 = 8;

/// How often a dial sends message 1 before others who wait have their turn.
const TURN: u32 = 2;

/// The pause after `pause`, when the first was `first`.
fn longer(pause: Duration, first: Duration) -> Duration {
    pause.saturating_mul(2).min(first.saturating_mul(MAX_BACKOFF))
}

/// What a dial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody asked for it and is told how it ends.
    Asked(DialId),
    /// To renew a session's keys: takes up no dial's room and is no news, however it ends.
    Renewal,
}

/// Whom a dial is to reach.
#[derive(Debug, Clone)]
pub(super) struct DialRequest {
    pub(super) purpose: Purpose,
    pub(super) path: Path,
    pub(super) expect: Option<NodeId>,
    deadline: Instant,
    /// How often message 1 went out.
    sent: u32,
    /// It came back.
    pub(super) echoed: bool,
    /// What was wrong with the first answer that could not be taken, and until when a better one may come.
    refused: Option<(DialError, Instant)>,
}

impl DialRequest {
    pub(super) fn new(purpose: Purpose, path: Path, expect: Option<NodeId>, deadline: Instant) -> Self {
        Self { purpose, path, expect, deadline, sent: 0, echoed: false, refused: None }
    }

    /// When it fails.
    pub(super) fn end(&self) -> Instant {
        self.refused.as_ref().map_or(self.deadline, |(_, until)| self.deadline.min(*until))
    }
}

/// A dial that waits for its turn.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Its first, or its first with fresh keys.
    New(DialRequest),
    /// Another one. It waits in the slot with this index, where it still takes an answer.
    Parked(u32),
}

/// Message 1 is out; waiting for message 2.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) request: DialRequest,
    pub(super) initiator: Initiator,
    /// The last message 1 that was not answered because this dial went before it.
    pub(super) outbid: Option<Ephemeral>,
    pub(super) since: Instant,
    pause: Duration,
    /// How often message 1 went out in this turn.
    turn: u32,
    /// Others have their turn.
    parked: bool,
}

impl Dial {
    /// When it fails or begins anew.
    fn end(&self) -> Instant {
        self.request.end().min(self.since + FRESH_ATTEMPT)
    }
}

/// Message 3 is out; waiting for the responder's first packet, which proves that it
/// holds the keys too.
#[derive(Debug)]
pub(super) struct HalfOpen {
    /// `None` once the dial has ended, or has begun anew. The responder may well hold
    /// the session; so this end listens on.
    pub(super) request: Option<DialRequest>,
    pub(super) session: Session,
    confirm: [u8; CONFIRM_LEN],
    since: Instant,
    pause: Duration,
}

impl Node {
    /// Begins or goes on with queued dials while there is room.
    pub(super) fn start_dials(&mut self, now: Now) {
        while !self.queued_dials.is_empty() && self.dials_under_way() < self.config.handshake.max_dials {
            match self.queued_dials.pop_front() {
                None => break,
                Some(Waiting::New(request)) if now.instant < request.end() => self.begin_dial(now, request),
                Some(Waiting::New(request)) => self.time_out(&request),
                Some(Waiting::Parked(index)) => self.resume_dial(now, index),
            }
        }
        self.set_pace();
    }

    /// How many take up room.
    fn dials_under_way(&self) -> usize {
        let takes_room = |index: &u32| match self.slots.get(index) {
            Some(Slot::Dial(dial)) if dial.parked => false,
            slot => {
                slot.and_then(Slot::dial).is_some_and(|request| matches!(request.purpose, Purpose::Asked(_)))
            }
        };
        self.dials.iter().filter(|(_, index)| takes_room(index)).count()
    }

    /// Whether handshakes are under way that may lead to new sessions, or wait for their turn.
    pub(super) fn shakes_hands(&self) -> bool {
        !self.queued_dials.is_empty() || self.has_answers() || self.dials_under_way() > 0
    }

    /// The slots of the handshakes this node has begun over `path`.
    pub(super) fn dials_to(&self, path: Path) -> impl Iterator<Item = u32> {
        self.dials.range((path, 0)..=(path, u32::MAX)).map(|(_, index)| *index)
    }

    /// Empties the slot of a dial or half-open session.
    pub(super) fn take_dial(&mut self, index: u32) -> Option<Slot> {
        let slot = self.slots.remove(&index)?;
        let path = match &slot {
            Slot::Dial(dial) => dial.request.path,
            Slot::HalfOpen(half) => half.session.path,
            Slot::Answer(_) | Slot::Session(_) => return Some(slot),
        };
        self.dials.remove(&(path, index));
        self.timers.clear(Timer::Slot(index));
        Some(slot)
    }

    pub(super) fn begin_dial(&mut self, now: Now, mut request: DialRequest) {
        let index = self.fresh_index();
        let initiator = Initiator::begin(&self.noise, self.suite, index, now.wall, &mut self.rng);
        self.outbox.push_back((request.path, initiator.initiation().to_vec()));
        request.sent += 1;
        let pause = self.config.handshake.retransmit;
        self.dials.insert((request.path, index));
        self.timers.set(Timer::Slot(index), (now.instant + pause).min(request.end()));
        let dial =
            Dial { request, initiator, outbid: None, since: now.instant, pause, turn: 1, parked: false };
        self.slots.insert(index, Slot::Dial(Box::new(dial)));
    }

    /// Its turn has come again.
    fn resume_dial(&mut self, now: Now, index: u32) {
        let first = self.config.handshake.retransmit;
        if let Some(Slot::Dial(dial)) = self.slots.get_mut(&index)
            && dial.parked
        {
            (dial.parked, dial.turn) = (false, 0);
            self.send_initiation(now, index, first);
        }
    }

    /// Sends message 1 again, and next after `pause`.
    fn send_initiation(&mut self, now: Now, index: u32, pause: Duration) {
        let Some(Slot::Dial(dial)) = self.slots.get_mut(&index) else { return };
        dial.request.sent += 1;
        dial.turn += 1;
        dial.pause = pause;
        self.outbox.push_back((dial.request.path, dial.initiator.initiation().to_vec()));
        self.timers.set(Timer::Slot(index), (now.instant + pause).min(dial.end()));
    }

    pub(super) fn on_dial_timeout(&mut self, now: Now, index: u32) {
        let others_wait = !self.queued_dials.is_empty();
        let Some(Slot::Dial(dial)) = self.slots.get_mut(&index) else { return };
        let end = dial.end();
        if now.instant >= end {
            return self.end_attempt(now, index);
        }
        if dial.parked {
            self.timers.set(Timer::Slot(index), end);
        } else if others_wait && dial.turn >= TURN && dial.request.purpose != Purpose::Renewal {
            dial.parked = true;
            self.timers.set(Timer::Slot(index), end);
            self.queued_dials.push_back(Waiting::Parked(index));
            self.start_dials(now);
        } else {
            let pause = longer(dial.pause, self.config.handshake.retransmit);
            self.send_initiation(now, index, pause);
        }
    }

    /// A dial's time is over, or its keys are too old.
    fn end_attempt(&mut self, now: Now, index: u32) {
        let Some(Slot::Dial(dial)) = self.take_dial(index) else { return };
        // The other end still tries with it, and now it shall be answered.
        if let Some(ephemeral) = dial.outbid {
            self.seen.forget(&ephemeral);
        }
        if dial.parked && now.instant < dial.request.end() {
            self.queued_dials.push_back(Waiting::New(dial.request));
            self.start_dials(now);
        } else {
            self.dial_anew_or_fail(now, dial.request);
        }
    }

    pub(super) fn on_half_open_timeout(&mut self, now: Now, index: u32) {
        let Some(Slot::HalfOpen(half)) = self.slots.get_mut(&index) else { return };
        let Some(request) = &half.request else {
            self.take_dial(index);
            return;
        };
        if Self::is_over(now.instant, request, half.since + FRESH_HALF_OPEN) {
            let request = request.clone();
            half.request = None;
            let life = self.pace.forget.saturating_add(AFTERLIFE);
            self.timers.set(Timer::Slot(index), now.instant + life);
            return self.dial_anew_or_fail(now, request);
        }
        let end = request.end();
        self.outbox.push_back((half.session.path, half.confirm.to_vec()));
        half.pause = longer(half.pause, self.config.handshake.retransmit);
        self.timers.set(Timer::Slot(index), (now.instant + half.pause).min(end));
    }

    fn is_over(now: Instant, request: &DialRequest, stale: Instant) -> bool {
        now >= request.end().min(stale)
    }

    pub(super) fn dial_anew_or_fail(&mut self, now: Now, request: DialRequest) {
        if now.instant < request.end() {
            self.begin_dial(now, request);
        } else {
            self.time_out(&request);
            self.start_dials(now);
        }
    }

    fn time_out(&mut self, request: &DialRequest) {
        let budget = self.config.handshake.budget;
        let error = match &request.refused {
            Some((error, _)) => error.clone(),
            None if request.echoed => DialError::Itself,
            None => DialError::TimedOut { budget, sent: request.sent },
        };
        self.fail_dial(request, error);
    }

    /// Message 2.
    pub(super) fn on_response(
        &mut self,
        now: Now,
        index: u32,
        message: &[u8; RESPONSE_NOISE_LEN],
    ) -> Result<(), RejectReason> {
        let Some(Slot::Dial(dial)) = self.slots.get_mut(&index) else {
            return Err(RejectReason::UnknownIndex);
        };
        let peers = &self.peers;
        let outcome = dial.initiator.read_response(&self.noise, message, |peer| {
            peers.get(&peer).map_or(0, |peer| peer.connection_id)
        });
        if outcome.as_ref().err() == Some(&Refusal::Crypto) {
            return Err(RejectReason::HandshakeFailed);
        }
        let own_id = self.identity.node_id();
        let refused = match &outcome {
            Err(_) => Some(DialError::Unproven),
            Ok((established, _)) if established.peer == own_id => Some(DialError::Itself),
            Ok((established, _)) => (dial.request.expect)
                .filter(|expected| *expected != established.peer)
                .map(|expected| DialError::WrongPeer { expected, found: established.peer }),
        };
        if let Some(error) = refused {
            self.refuse_answer(now, index, error);
            return Err(RejectReason::BadIdentity);
        }
        let Ok((established, confirm)) = outcome else { return Ok(()) };
        let Some(Slot::Dial(dial)) = self.take_dial(index) else { return Ok(()) };
        let request = DialRequest { refused: None, ..dial.request };
        let max_datagram = self.max_datagram(request.path);
        let mut session = Session::new(established, request.path, max_datagram, dial.since);
        let silent =
            self.peers.get(&session.peer).is_some_and(|peer| peer.liveness.health() != Health::Healthy);
        session.displaces_silent = silent && !self.prevails(&session);
        if !self.prevails(&session) {
            // A handshake that crossed this one was faster; both ends keep that.
            self.end_dial(&request, session.peer);
            self.start_dials(now);
            return Ok(());
        }
        session.displaces_direct = self.is_direct(session.peer) && !session.path.is_direct();
        self.outbox.push_back((request.path, confirm.to_vec()));
        let pause = self.config.handshake.retransmit;
        self.dials.insert((request.path, index));
        self.timers.set(Timer::Slot(index), (now.instant + pause).min(request.end()));
        let half = HalfOpen { request: Some(request), session, confirm, since: now.instant, pause };
        self.slots.insert(index, Slot::HalfOpen(Box::new(half)));
        Ok(())
    }

    /// Someone answered whose answer cannot be taken. It need not be the one who was dialed: any member that saw
    /// message 1 can answer it, and faster. So the dial goes on with the same keys for a while, for the right answer to
    /// come in. But a wrong address is told soon, not only at the end of the budget.
    fn refuse_answer(&mut self, now: Now, index: u32, error: DialError) {
        let first = self.config.handshake.retransmit;
        let patience = self.duel_pause();
        let Some(Slot::Dial(dial)) = self.slots.get_mut(&index) else { return };
        dial.initiator.restore(&self.noise);
        if dial.request.refused.is_none() {
            dial.request.refused = Some((error, now.instant + patience));
            dial.pause = first;
            self.timers.set(Timer::Slot(index), (now.instant + first).min(dial.end()));
        }
    }

    /// Ends every dial that a session with `peer` over `path` has made needless.
    pub(super) fn settle_dials(&mut self, now: Now, peer: NodeId, path: Path) {
        let meant = |request: &DialRequest| {
            let there = request.path == path
                || request.path == Path::Relayed(peer)
                || request.purpose == Purpose::Renewal;
            there && request.expect.is_none_or(|expected| expected == peer)
        };
        let is_settled = |index: &u32| match self.slots.get(index) {
            Some(Slot::Dial(dial)) => meant(&dial.request),
            Some(Slot::HalfOpen(half)) => half.session.peer == peer && !self.prevails(&half.session),
            _ => false,
        };
        let settled: Vec<u32> = self.dials.iter().map(|(_, index)| *index).filter(is_settled).collect();
        for index in settled {
            let slot = self.take_dial(index);
            if let Some(request) = slot.as_ref().and_then(Slot::dial) {
                self.end_dial(request, peer);
            }
            if let Some(Slot::HalfOpen(half)) = slot {
                self.listen_on(now.instant, index, half);
            }
        }
        let is_meant = |waiting: &Waiting| matches!(waiting, Waiting::New(request) if meant(request));
        // Seldom, and many may wait.
        if self.queued_dials.iter().any(is_meant) {
            let (settled, waiting): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut self.queued_dials).into_iter().partition(is_meant);
            self.queued_dials = waiting;
            for waiting in &settled {
                if let Waiting::New(request) = waiting {
                    self.end_dial(request, peer);
                }
            }
        }
        self.start_dials(now);
    }

    /// Keeps for a while what has become needless, if the responder may be sending over it: the connection goes on, and
    /// until that end knows of the session with precedence, this is the one it has.
    fn listen_on(&mut self, now: Instant, index: u32, mut half: Box<HalfOpen>) {
        let session = &half.session;
        let goes_on = session.connection != 0 && session.connection == self.connection_with(session.peer);
        if half.request.take().is_some() && goes_on {
            // It is no dial any more: dials under way slow heartbeats down.
            self.timers.set(Timer::Slot(index), now + AFTERLIFE);
            self.slots.insert(index, Slot::HalfOpen(half));
        }
    }

    /// Takes every dial away, wherever it stands.
    pub(super) fn take_dials(&mut self) -> Vec<DialRequest> {
        let waiting = self.queued_dials.drain(..).filter_map(|waiting| match waiting {
            Waiting::New(request) => Some(request),
            Waiting::Parked(_) => None,
        });
        let mut requests: Vec<DialRequest> = waiting.collect();
        self.dials.clear();
        requests.extend(self.slots.values().filter_map(Slot::dial).cloned());
        requests
    }

    pub(super) fn fail_dial(&mut self, request: &DialRequest, error: DialError) {
        if let Purpose::Asked(dial) = request.purpose {
            self.events.push_back(NodeEvent::DialFailed { dial, path: request.path, error });
        }
    }

    /// There is a session with `peer`, which is what the dial was for.
    pub(super) fn end_dial(&mut self, request: &DialRequest, peer: NodeId) {
        if let Purpose::Asked(dial) = request.purpose {
            self.events.push_back(NodeEvent::Dialed { dial, peer });
        }
    }
}
