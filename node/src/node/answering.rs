//! Answering handshakes: from message 1 to a confirmed session.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{NodeId, RejectReason, Role};

use super::{Node, Slot, dialing::Dial};
use crate::{
    crypto::Suite,
    handshake::{Ephemeral, Refusal, Responder, SeenInitiations},
    packet::{CONFIRM_NOISE_LEN, Frame, INITIATION_NOISE_LEN, RESPONSE_LEN},
    path::Path,
    session::Session,
    time::{Instant, Now},
    timers::Timer,
};

/// How long an answer waits for message 3.
const ANSWER_LIFE: Duration = Duration::from_secs(10);

/// How often one answer is sent again. An honest initiator asks fewer times; whoever
/// replays its message gets no more out of this node.
const MAX_RESENDS: u32 = 16;

/// Message 2 is out; waiting for message 3.
#[derive(Debug)]
pub(super) struct Answer {
    responder: Responder,
    response: [u8; RESPONSE_LEN],
    resends: u32,
    since: Instant,
    /// How many were answered before.
    number: u64,
}

/// Where the answers are, by the ephemeral key that asked and by age.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_ephemeral: BTreeMap<Ephemeral, u32>,
    by_age: BTreeMap<u64, u32>,
    answered: u64,
}

#[cfg(feature = "floor")]
impl Answers {
    pub(super) fn gauge(&self, limit: usize, each: &mut dyn FnMut(crate::audit::Gauge)) {
        let held = self.by_ephemeral.len().max(self.by_age.len());
        each(crate::audit::Gauge::new("answers", held, limit));
    }
}

impl Node {
    /// Message 1.
    pub(super) fn on_initiation(
        &mut self,
        now: Now,
        from: Path,
        suite: Suite,
        message: &[u8; INITIATION_NOISE_LEN],
    ) -> Result<(), RejectReason> {
        let ephemeral = message.first_chunk().expect("message 1 begins with its ephemeral");
        if let Some(index) = self.answers.by_ephemeral.get(ephemeral) {
            return self.answer_again(*index, from, message);
        }
        if self.seen.contains(ephemeral) {
            let patience = self.duel_pause();
            match self.rival(from, ephemeral) {
                Some(own) if own.outbid == Some(*ephemeral) => {
                    if now.instant.saturating_since(own.since) < patience {
                        return Ok(());
                    }
                    own.outbid = None;
                }
                _ => return Err(RejectReason::ReplayedInitiation),
            }
        }
        if self.stale.contains(ephemeral) {
            return Err(RejectReason::StaleInitiation);
        }
        if self.limits.refuses(now.instant, from) && !self.is_known(from) {
            return Err(RejectReason::RateLimited);
        }
        let index = self.fresh_index();
        let read = Responder::read_initiation(&mut self.noise, suite, message, index, &mut self.rng);
        let Ok(mut responder) = read else {
            self.limits.count(now.instant, from);
            return Err(RejectReason::PskMismatch);
        };
        if !SeenInitiations::is_fresh(responder.begun(), now.wall) {
            self.limits.count(now.instant, from);
            self.stale.insert(*ephemeral, now.instant);
            return Err(RejectReason::StaleInitiation);
        }
        self.seen.insert(*ephemeral, now.instant);
        if self.is_own(ephemeral) {
            return Err(RejectReason::ReplayedInitiation);
        }
        let patience = self.duel_pause();
        if let Some(own) = self.rival(from, ephemeral)
            && now.instant.saturating_since(own.since) < patience
        {
            own.outbid = Some(*ephemeral);
            return Ok(());
        }
        let Ok(response) = responder.respond(&self.noise) else {
            self.limits.count(now.instant, from);
            return Err(RejectReason::HandshakeFailed);
        };
        let crowded = self.answers.by_ephemeral.len() >= self.config.handshake.max_answers;
        if crowded && let Some((_, &oldest)) = self.answers.by_age.first_key_value() {
            self.drop_answer(oldest);
        }
        self.pause_dials(now, from);
        self.outbox.push_back((from, response.to_vec()));
        let number = self.answers.answered;
        let answer = Answer { responder, response, resends: 0, since: now.instant, number };
        self.slots.insert(index, Slot::Answer(Box::new(answer)));
        self.answers.by_ephemeral.insert(*ephemeral, index);
        self.answers.by_age.insert(number, index);
        self.answers.answered += 1;
        self.timers.set(Timer::Slot(index), now.instant + ANSWER_LIFE);
        if crowded { Err(RejectReason::Overloaded) } else { Ok(()) }
    }

    /// Whether this node has answered somebody and waits for message 3.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.by_ephemeral.is_empty()
    }

    /// Whether there is a peer at the other end of `path`, or this node is dialing it. Nobody's failures there keep them out, as anybody
    /// can send under another's address.
    fn is_known(&self, path: Path) -> bool {
        let all = (path, NodeId(0))..=(path, NodeId(u64::MAX));
        self.paths.range(all).next().is_some() || self.dials_to(path).next().is_some()
    }

    /// The same message 1 again: the answer was lost, or someone replays it. Who is who cannot be told, not even by the
    /// address: a copy may have come first. So whoever sends it gets the same answer, within the one bound.
    fn answer_again(
        &mut self,
        index: u32,
        from: Path,
        message: &[u8; INITIATION_NOISE_LEN],
    ) -> Result<(), RejectReason> {
        match self.slots.get_mut(&index) {
            Some(Slot::Answer(answer))
                if answer.responder.initiation() == message && answer.resends < MAX_RESENDS =>
            {
                answer.resends += 1;
                self.outbox.push_back((from, answer.response.to_vec()));
                Ok(())
            }
            _ => Err(RejectReason::ReplayedInitiation),
        }
    }

    /// Whether message 1 is one of this node's own: either it dials itself, or someone
    /// sends back what it sent. Answered, the second could end a sound dial; so neither is,
    /// but if nobody else answers, the dial will say why.
    fn is_own(&mut self, ephemeral: &Ephemeral) -> bool {
        for (_, index) in &self.dials {
            if let Some(Slot::Dial(dial)) = self.slots.get_mut(index)
                && dial.initiator.ephemeral() == ephemeral
            {
                dial.request.echoed = true;
                return true;
            }
        }
        false
    }

    /// Two dials that cross: of the two, the one with the lower ephemeral key goes on.
    /// Both ends see both keys, so they agree. Returns the own one if it is that.
    ///
    /// It goes before the other only for a while: one that has long waited for its answer
    /// may be one that the other end never hears or will not take. Then theirs is answered
    /// too, and should both come to stand, precedence decides.
    fn rival(&mut self, from: Path, theirs: &Ephemeral) -> Option<&mut Dial> {
        let goes_first = |index: &u32| matches!(self.slots.get(index), Some(Slot::Dial(dial)) if dial.initiator.ephemeral() < theirs);
        let index = self.dials_to(from).find(goes_first)?;
        match self.slots.get_mut(&index) {
            Some(Slot::Dial(dial)) => Some(dial),
            _ => None,
        }
    }

    pub(super) fn duel_pause(&self) -> Duration {
        self.config.handshake.retransmit.saturating_mul(4)
    }

    /// Has own dials over `path` wait, as a dial from there has just been answered; should
    /// it come to nothing, they go on.
    fn pause_dials(&mut self, now: Now, path: Path) {
        let pause = self.duel_pause();
        let dials: Vec<u32> = self.dials_to(path).collect();
        for index in dials {
            if let Some(Slot::Dial(dial)) = self.slots.get(&index) {
                let resume = (now.instant + pause).min(dial.request.end());
                self.timers.set(Timer::Slot(index), resume);
            }
        }
    }

    /// Message 3.
    pub(super) fn on_confirm(
        &mut self,
        now: Now,
        from: Path,
        index: u32,
        message: &[u8; CONFIRM_NOISE_LEN],
    ) -> Result<(), RejectReason> {
        let answer = match self.slots.get_mut(&index) {
            Some(Slot::Answer(answer)) => answer,
            // A replaced one has nothing to say any more; its successor has told the initiator, or will.
            Some(Slot::Session(session)) if session.role == Role::Responder => {
                let is_current = self.peers.get(&session.peer).is_some_and(|peer| peer.session == index);
                if !is_current {
                    return Err(RejectReason::Replayed);
                }
                match &session.confirmed_by {
                    None => return Err(RejectReason::Replayed),
                    Some(confirm) if **confirm != *message => return Err(RejectReason::HandshakeFailed),
                    Some(_) => {}
                }
                // The packet that told the initiator of success was lost, or went to whoever copied message 3:
                // send another, to where it comes from now.
                let peer = session.peer;
                self.follow(peer, from, |_| true, index);
                let stamp = now.instant.as_micros();
                self.push_urgent(peer, &Frame::Ping { stamp, silence_ms: 0 });
                return Ok(());
            }
            _ => return Err(RejectReason::UnknownIndex),
        };
        let since = answer.since;
        let outcome = answer.responder.read_confirm(&self.noise, message);
        if outcome.as_ref().err() == Some(&Refusal::Crypto) {
            return Err(RejectReason::HandshakeFailed);
        }
        self.drop_answer(index);
        let established = outcome.map_err(|_| RejectReason::BadIdentity)?;
        // Whoever relayed it could have put any name on it.
        let under_another_name = matches!(from, Path::Relayed(source) if source != established.peer);
        if established.peer == self.id() || under_another_name {
            return Err(RejectReason::BadIdentity);
        }
        let is_known = self.peers.contains_key(&established.peer);
        if !is_known && self.peers.len() >= self.config.max_peers {
            return Err(RejectReason::Overloaded);
        }
        let mut session = Session::new(established, from, self.max_datagram(from), since);
        session.confirmed_by = Some(Box::new(*message));
        let connection = session.connection;
        session.continues = connection != 0 && connection == self.connection_with(session.peer);
        let continues = session.continues;
        self.install(now, index, session, continues);
        Ok(())
    }

    pub(super) fn drop_answer(&mut self, index: u32) {
        if let Some(Slot::Answer(answer)) = self.slots.get(&index) {
            let ephemeral =
                answer.responder.initiation().first_chunk().expect("message 1 begins with its ephemeral");
            self.answers.by_ephemeral.remove::<Ephemeral>(ephemeral);
            self.answers.by_age.remove(&answer.number);
            self.slots.remove(&index);
            self.timers.clear(Timer::Slot(index));
        }
    }
}
