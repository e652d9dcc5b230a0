//! Beginning handshakes: from `connect` to a confirmed session.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use meshground_shared::{NodeId, RejectReason};

use super::{Node, Slot, peers::AFTERLIFE};
use crate::{
    event::{DialError, DialId, NodeEvent},
    handshake::{Ephemeral, Initiator, Refusal, takes_precedence},
    packet::{CONFIRM_LEN, RESPONSE_NOISE_LEN},
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
    pub(super) address: SocketAddr,
    pub(super) expect: Option<NodeId>,
    pub(super) deadline: Instant,
    /// How often message 1 went out.
    pub(super) sent: u32,
    /// It came back.
    pub(super) echoed: bool,
}

impl DialRequest {
    pub(super) fn new(
        purpose: Purpose,
        address: SocketAddr,
        expect: Option<NodeId>,
        deadline: Instant,
    ) -> Self {
        Self { purpose, address, expect, deadline, sent: 0, echoed: false }
    }
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
    /// Begins queued dials while there is room.
    pub(super) fn start_dials(&mut self, now: Now) {
        while self.dials_under_way() < self.config.handshake.max_dials {
            let Some(request) = self.queued_dials.pop_front() else { return };
            if now.instant < request.deadline {
                self.begin_dial(now, request);
            } else {
                self.time_out(&request);
            }
        }
    }

    fn dials_under_way(&self) -> usize {
        let asked = |slot: &&Slot| slot.dial().is_some_and(|request| request.purpose != Purpose::Renewal);
        self.slots.values().filter(asked).count()
    }

    pub(super) fn begin_dial(&mut self, now: Now, mut request: DialRequest) {
        let index = self.fresh_index();
        let initiator = Initiator::begin(&self.noise, self.suite, index, now.wall, &mut self.rng);
        self.outbox.push_back((request.address, initiator.initiation().to_vec()));
        request.sent += 1;
        let pause = self.config.handshake.retransmit;
        self.timers.set(Timer::Slot(index), (now.instant + pause).min(request.deadline));
        let dial = Dial { request, initiator, outbid: None, since: now.instant, pause };
        self.slots.insert(index, Slot::Dial(Box::new(dial)));
    }

    pub(super) fn on_dial_timeout(&mut self, now: Now, index: u32) {
        let Some(Slot::Dial(dial)) = self.slots.get_mut(&index) else { return };
        if Self::is_over(now.instant, &dial.request, dial.since + FRESH_ATTEMPT) {
            let (request, outbid) = (dial.request.clone(), dial.outbid);
            self.slots.remove(&index);
            // The other end still tries with it, and now it shall be answered.
            if let Some(ephemeral) = outbid {
                self.seen.forget(&ephemeral);
            }
            return self.dial_anew_or_fail(now, request);
        }
        dial.request.sent += 1;
        self.outbox.push_back((dial.request.address, dial.initiator.initiation().to_vec()));
        dial.pause = longer(dial.pause, self.config.handshake.retransmit);
        self.timers.set(Timer::Slot(index), (now.instant + dial.pause).min(dial.request.deadline));
    }

    pub(super) fn on_half_open_timeout(&mut self, now: Now, index: u32) {
        let Some(Slot::HalfOpen(half)) = self.slots.get_mut(&index) else { return };
        let Some(request) = &half.request else {
            self.slots.remove(&index);
            return;
        };
        if Self::is_over(now.instant, request, half.since + FRESH_HALF_OPEN) {
            let request = request.clone();
            half.request = None;
            let life = self.config.liveness.forget.saturating_add(AFTERLIFE);
            self.timers.set(Timer::Slot(index), now.instant + life);
            return self.dial_anew_or_fail(now, request);
        }
        let deadline = request.deadline;
        self.outbox.push_back((half.session.address, half.confirm.to_vec()));
        half.pause = longer(half.pause, self.config.handshake.retransmit);
        self.timers.set(Timer::Slot(index), (now.instant + half.pause).min(deadline));
    }

    fn is_over(now: Instant, request: &DialRequest, stale: Instant) -> bool {
        now >= request.deadline.min(stale)
    }

    fn dial_anew_or_fail(&mut self, now: Now, request: DialRequest) {
        if now.instant < request.deadline {
            self.begin_dial(now, request);
        } else {
            self.time_out(&request);
            self.start_dials(now);
        }
    }

    fn time_out(&mut self, request: &DialRequest) {
        let budget = self.config.handshake.budget;
        let error = if request.echoed {
            DialError::Itself
        } else {
            DialError::TimedOut { budget, sent: request.sent }
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
        // Snow's state has moved on: whatever comes of it, this dial is over.
        let request = dial.request.clone();
        self.slots.remove(&index);
        self.timers.clear(Timer::Slot(index));
        let refused = match &outcome {
            Err(_) => Some(DialError::Unproven),
            Ok((established, _)) if established.peer == self.id() => Some(DialError::Itself),
            Ok((established, _)) => request
                .expect
                .filter(|expected| *expected != established.peer)
                .map(|expected| DialError::WrongPeer { expected, found: established.peer }),
        };
        if let Some(error) = refused {
            self.fail_dial(&request, error);
            self.start_dials(now);
            return Err(RejectReason::BadIdentity);
        }
        let Ok((established, confirm)) = outcome else { return Ok(()) };
        let session = Session::new(established, request.address, self.config.max_datagram);
        if self.current_claim(session.peer).is_some_and(|old| !takes_precedence(&self.claim(&session), &old))
        {
            // A handshake that crossed this one was faster; both ends keep that.
            self.end_dial(&request, session.peer);
            self.start_dials(now);
            return Ok(());
        }
        self.outbox.push_back((request.address, confirm.to_vec()));
        let pause = self.config.handshake.retransmit;
        self.timers.set(Timer::Slot(index), (now.instant + pause).min(request.deadline));
        let half = HalfOpen { request: Some(request), session, confirm, since: now.instant, pause };
        self.slots.insert(index, Slot::HalfOpen(Box::new(half)));
        Ok(())
    }

    /// Ends every dial that a session with `peer` at `address` has made needless.
    pub(super) fn settle_dials(&mut self, now: Now, peer: NodeId, address: SocketAddr) {
        let current = self.current_claim(peer);
        let meant = |request: &DialRequest| {
            let there = request.address == address || request.purpose == Purpose::Renewal;
            there && request.expect.is_none_or(|expected| expected == peer)
        };
        let settled: Vec<u32> = self
            .slots
            .iter()
            .filter(|(_, slot)| match slot {
                Slot::Dial(dial) => meant(&dial.request),
                Slot::HalfOpen(half) => {
                    half.session.peer == peer
                        && current.is_some_and(|old| !takes_precedence(&self.claim(&half.session), &old))
                }
                Slot::Answer(_) | Slot::Session(_) => false,
            })
            .map(|(index, _)| *index)
            .collect();
        for index in settled {
            self.timers.clear(Timer::Slot(index));
            let slot = self.slots.remove(&index);
            if let Some(request) = slot.as_ref().and_then(Slot::dial) {
                self.end_dial(request, peer);
            }
        }
        let (settled, waiting): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queued_dials).into_iter().partition(meant);
        self.queued_dials = waiting;
        for request in &settled {
            self.end_dial(request, peer);
        }
        self.start_dials(now);
    }

    /// Takes every dial away, wherever it stands.
    pub(super) fn take_dials(&mut self) -> Vec<DialRequest> {
        let mut requests: Vec<DialRequest> = self.queued_dials.drain(..).collect();
        requests.extend(self.slots.values().filter_map(Slot::dial).cloned());
        requests
    }

    pub(super) fn fail_dial(&mut self, request: &DialRequest, error: DialError) {
        if let Purpose::Asked(dial) = request.purpose {
            self.events.push_back(NodeEvent::DialFailed { dial, address: request.address, error });
        }
    }

    /// There is a session with `peer`, which is what the dial was for.
    pub(super) fn end_dial(&mut self, request: &DialRequest, peer: NodeId) {
        if let Purpose::Asked(dial) = request.purpose {
            self.events.push_back(NodeEvent::Dialed { dial, peer });
        }
    }
}
