//! What was commanded without this node: taken into its trail and history, and what of it still stands.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{AdminVerb, Decision, IceVerb, NodeId, Verb};

use super::{AdminCommit, MessageError};
use crate::{
    admin::{
        Nonce, SignedCommand,
        catching_up::Hearsay,
        history::{Key, Known, Question, key_of, plausible, rank},
    },
    time::{Now, WallTime},
};

/// Something that was commanded without this node and still stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What.
    pub what: StandingState,
    /// The nonce of the command it follows from; none if what followed from one is taken back.
    pub nonce: Option<Nonce>,
}

/// What can still stand. Everything else that is commanded happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandingState {
    /// The cluster is frozen for so long yet; zero if it is not.
    Frozen(Duration),
    /// Nothing is placed on this node.
    Cordoned,
    /// This node is out of service.
    OutOfService,
    /// This node serves: what was taken from others before is over, or was never so.
    InService,
}

impl AdminCommit {
    /// The question to another node for what it knows that this one does not, after a command.
    pub(in crate::admin) fn ask_for_history(&self, after: Option<Key>) -> Vec<u8> {
        self.history.question(after).encode()
    }

    /// The answer to such a question, and whether whoever asks knows other things than this node.
    ///
    /// # Errors
    ///
    /// When the bytes are not a question.
    pub fn tell_history(&self, question: &[u8]) -> Result<(Vec<u8>, bool), MessageError> {
        let question = Question::parse(question).ok_or(MessageError)?;
        Ok((self.history.page(&question).encode(), self.history.differs(&question)))
    }

    /// How many commands this node can tell others of, 1,024 at most.
    pub fn known(&self) -> usize {
        self.history.len()
    }

    /// How many commands this node cannot tell others of any more, as it knew of too many.
    pub fn forgotten(&self) -> u64 {
        self.history.forgotten()
    }

    /// Whether a command that this node is to judge says whether it serves.
    pub(crate) fn is_of_service(&self, question: &super::Question) -> bool {
        is_service(question.command.verb(), self.me.node())
    }

    /// Whether this node does not know better itself, and can keep in mind that this became of a command.
    pub(in crate::admin) fn wants_to_hear(&self, command: &SignedCommand, decision: Decision) -> bool {
        let has_room = || self.history.has_room_for(command, decision);
        let key = key_of(command);
        let is_under_way = self.voting.values().any(|voting| key_of(voting.command()) == key)
            || self.pending.values().any(|pending| key_of(pending.command()) == key);
        !is_under_way && self.history.get(&key).map_or_else(has_room, |known| !known.first_hand)
    }

    /// Whether enough operators have signed a command, and not in the future.
    pub(in crate::admin) fn vouches_for(&self, now: Now, command: &SignedCommand) -> bool {
        let known = self.history.get(&key_of(command));
        known.is_some_and(|known| known.command == *command) || self.verifier.vouch(now.wall, command).is_ok()
    }

    /// Takes over what most of those say who know a command. What was taken over before changes only if most of all that
    /// `answered`, and two at least, say otherwise. Whether anything is new.
    pub(in crate::admin) fn believe(
        &mut self,
        now: Now,
        answered: usize,
        hearsay: BTreeMap<Key, Hearsay>,
    ) -> bool {
        let mut believed: Vec<Known> = Vec::new();
        for (key, Hearsay { command, votes }) in hearsay {
            // In doubt, what operators signed was done; else all settle for the same reason.
            let most = votes.into_iter().max_by(|(a, for_a), (b, for_b)| {
                for_a.len().cmp(&for_b.len()).then_with(|| rank(*b).cmp(&rank(*a)))
            });
            let Some((decision, mut times)) = most else { continue };
            if let Some(known) = self.history.get(&key)
                && (known.decision == decision || times.len() < 2 || times.len() * 2 <= answered)
            {
                continue;
            }
            times.sort_unstable();
            let decided = plausible(&command, times[times.len() / 2]);
            believed.push(Known { command, decision, decided, first_hand: false });
        }
        believed.sort_by_key(|known| known.decided);
        let me = self.me.node();
        let (mut learned, mut freeze, mut service) = (false, false, false);
        for known in believed {
            // It may have come to this node's own decision meanwhile, or there is no room for it any more.
            if !self.wants_to_hear(&known.command, known.decision) {
                continue;
            }
            learned = true;
            freeze |= is_freeze(known.command.verb());
            service |= is_service(known.command.verb(), me);
            self.adopt(now, known);
        }
        if freeze {
            self.stand_frozen(now);
        }
        if service {
            self.stand_in_service();
        }
        learned
    }

    fn adopt(&mut self, now: Now, known: Known) {
        let operators = self.verifier.hear(now, &known);
        let Known { command, decision, decided, .. } = &known;
        let verb = command.verb().clone();
        let entry = self.trail.record(*decided, command.nonce(), verb, operators, *decision, false);
        self.entries.push_back(entry);
        self.history.note(known);
    }

    /// The latest freeze or thaw counts, whoever was there.
    fn stand_frozen(&mut self, now: Now) {
        let latest = self.history.latest(is_freeze);
        let end = latest.and_then(|known| match known.command.verb() {
            Verb::Ice(IceVerb::FreezeCluster { ttl_ms }) => {
                Some(WallTime(known.decided.0.saturating_add(ttl_ms.saturating_mul(1_000))))
            }
            _ => None,
        });
        let left = end.map_or(Duration::ZERO, |end| Duration::from_micros(end.0.saturating_sub(now.wall.0)));
        let nonce = latest.map(|known| known.command.nonce());
        let is_frozen = self.verifier.is_frozen(now.instant);
        let is_own = latest.is_some_and(|known| known.first_hand);
        if is_frozen != left.is_zero() && (is_own || !is_frozen) {
            return;
        }
        self.verifier.stand_frozen(now.instant, left);
        self.standings.push_back(Standing { what: StandingState::Frozen(left), nonce });
    }

    /// A node that has started anew serves or not as it did before: one command after the other is taken into account, those
    /// included that it was told itself since. What it hears comes in rounds, so a later one may end what an earlier one began.
    fn stand_in_service(&mut self) {
        let me = self.me.node();
        let (mut cordoned, mut out, mut ended) = (None, None, None);
        for known in self.history.applied(|verb| is_service(verb, me)) {
            match known.command.verb() {
                Verb::Admin(AdminVerb::Cordon { .. } | AdminVerb::Drain { .. }) => cordoned = Some(known),
                Verb::Admin(AdminVerb::EnterMaintenance { .. }) => {
                    (cordoned, out) = (Some(known), Some(known));
                }
                // What is not out of service has nothing to come back from. Were it there it would have objected.
                Verb::Admin(AdminVerb::ExitMaintenance { .. }) if out.is_some() => {
                    (cordoned, out, ended) = (None, None, Some(known));
                }
                // Out of service is out of service.
                Verb::Admin(AdminVerb::Uncordon { .. }) if out.is_none() => {
                    (cordoned, ended) = (None, Some(known));
                }
                _ => {}
            }
        }
        let (what, known) = match (out, cordoned) {
            (Some(known), _) => (StandingState::OutOfService, Some(known)),
            (None, Some(known)) => (StandingState::Cordoned, Some(known)),
            // Without an end it was never so.
            (None, None) => (StandingState::InService, ended),
        };
        // What it was told itself it has done; but what others had it do since may have to be ended.
        let is_own = known.is_some_and(|known| known.first_hand);
        if !is_own || self.stands.is_some_and(|stands| stands != what) {
            let nonce = known.map(|known| known.command.nonce());
            self.stands = Some(what);
            self.standings.push_back(Standing { what, nonce });
        }
    }

    /// Whether an entry that is about to be written has been taken over from others already.
    pub(super) fn was_heard(&self, command: &SignedCommand, decision: Decision) -> bool {
        let known = self.history.get(&key_of(command));
        known.is_some_and(|known| !known.first_hand && known.decision == decision)
    }

    /// The next thing that still stands though it was commanded without this node.
    pub fn poll_standing(&mut self) -> Option<Standing> {
        self.standings.pop_front()
    }

    /// Writes down what this node decided.
    pub(super) fn write_down(
        &mut self,
        now: WallTime,
        command: &SignedCommand,
        operators: Vec<String>,
        decision: Decision,
        is_authentic: bool,
    ) {
        let is_known = is_authentic && decision.is_final();
        let heard = is_known && self.was_heard(command, decision);
        if is_known {
            let known = Known { command: command.clone(), decision, decided: now, first_hand: true };
            self.history.note(known);
        }
        if decision == Decision::Applied && settles_service(command.verb(), self.me.node()) {
            self.stands = None;
        }
        if !heard {
            let verb = command.verb().clone();
            let entry = self.trail.record(now, command.nonce(), verb, operators, decision, !is_authentic);
            self.entries.push_back(entry);
        }
    }
}

fn is_freeze(verb: &Verb) -> bool {
    matches!(verb, Verb::Ice(IceVerb::FreezeCluster { .. } | IceVerb::ThawCluster))
}

/// Whether after a command nothing is left of what stood of whether `me` serves.
fn settles_service(verb: &Verb, me: NodeId) -> bool {
    matches!(
        verb,
        Verb::Admin(AdminVerb::EnterMaintenance { node } | AdminVerb::ExitMaintenance { node }) if *node == me
    )
}

/// Whether a command says something of whether `me` serves.
fn is_service(verb: &Verb, me: NodeId) -> bool {
    match verb {
        Verb::Admin(
            AdminVerb::Drain { node }
            | AdminVerb::EnterMaintenance { node }
            | AdminVerb::ExitMaintenance { node }
            | AdminVerb::Cordon { node }
            | AdminVerb::Uncordon { node },
        ) => *node == me,
        _ => false,
    }
}
