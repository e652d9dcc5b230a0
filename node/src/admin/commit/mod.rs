//! How a command takes effect on every node it is put to, or on none.
//!
//! Two-phase commit. The node that was handed the command *coordinates*: it asks every *member*, itself included, whether it
//! would carry the command out. If all would, it is decided to be applied; if one objects, or does not answer in time, it is
//! rejected for that reason. The decision is repeated to each member until that has acknowledged it or is gone.
//!
//! A member that has said yes may not go back on it by itself. If its coordinator is gone, it asks the other members. One that
//! knows the decision tells it. If none does, *all* that are left must say so, and promise to take no word about the command
//! any more from those that are gone: then it was never decided, and each rejects it. The promise names who is gone, and counts
//! only towards somebody who holds no more members gone than that; so nobody can learn of a decision, from a member that others
//! no longer ask, after it was asked itself.
//!
//! That holds as long as a member that all others hold gone does not come back in the same life. A member that left or
//! restarted cannot. One that was merely silent for so long that it was forgotten can: if it coordinated, was cut off at the
//! moment between the last vote and the first commit that arrived, and stays so until forgotten, it has applied what the
//! others rejected. Two-phase commit has this gap or waits for ever; five minutes were thought long enough.
//!
//! Nothing here knows how messages travel. They may be lost, repeated, delayed and reordered; what is due is said again.

mod coordinator;
mod decided;
mod hearing;
mod member;
pub(crate) mod message;
#[cfg(test)]
mod model;
mod retry;
#[cfg(test)]
mod tests;
mod witness;

use std::collections::{BTreeMap, VecDeque};

use meshground_shared::{AuditEntry, Decision, NodeId, Rejection, Verb};

use self::{
    coordinator::{Telling, Voting},
    decided::Decided,
    member::Pending,
    message::{Attempt, Member, Message},
    witness::Witness,
};
use super::{AdminVerifier, AuditTrail, Nonce, Prepared, SignedCommand, history::History};
use crate::time::{Instant, Now};

pub use hearing::{Standing, StandingState};
pub use message::MessageError;

/// A command that was handed in, for its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A command that takes effect now, for whoever can bring that about. Every member gets it; those act that
/// [`concerned`](super::concerned) names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminEffect {
    /// What is to be done.
    pub verb: Verb,
    /// The command's nonce.
    pub nonce: Nonce,
    /// Who signed it, by name.
    pub operators: Vec<String>,
}

/// A command that this node is to judge for another.
#[derive(Debug)]
#[must_use]
pub struct Question {
    attempt: Attempt,
    members: Vec<Member>,
    command: SignedCommand,
}

/// One node's part in carrying out commands, and its audit trail.
///
/// After every input, take what [`poll_message`](Self::poll_message), [`poll_effect`](Self::poll_effect),
/// [`poll_decided`](Self::poll_decided) and [`poll_outcome`](Self::poll_outcome) have, each until it has nothing more, and
/// call [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct AdminCommit {
    me: Member,
    verifier: AdminVerifier,
    trail: AuditTrail,
    history: History,
    /// Everyone this node knows to be there, in its present life.
    peers: BTreeMap<NodeId, u64>,
    /// The number of the latest own attempt.
    number: u64,
    /// Own attempts that are not decided, by number.
    voting: BTreeMap<u64, Voting>,
    /// Own attempts whose decision not every member has acknowledged, by number.
    telling: BTreeMap<u64, Telling>,
    /// Others' attempts that are not decided as far as is known here.
    pending: BTreeMap<Attempt, Pending>,
    /// Others' rejected attempts that not everyone may have heard of.
    witnessed: BTreeMap<Attempt, Witness>,
    decided: Decided,
    messages: VecDeque<(NodeId, Vec<u8>)>,
    effects: VecDeque<AdminEffect>,
    entries: VecDeque<AuditEntry>,
    outcomes: VecDeque<(Ticket, Decision)>,
    standings: VecDeque<Standing>,
    /// The last of them that said whether this node serves, until it is told to itself.
    stands: Option<StandingState>,
}

impl AdminCommit {
    /// The part of `node` in the life that `incarnation` names.
    pub fn new(node: NodeId, incarnation: u64, verifier: AdminVerifier) -> Self {
        Self {
            me: Member::new(node, incarnation),
            verifier,
            trail: AuditTrail::default(),
            history: History::default(),
            peers: BTreeMap::new(),
            number: 0,
            voting: BTreeMap::new(),
            telling: BTreeMap::new(),
            pending: BTreeMap::new(),
            witnessed: BTreeMap::new(),
            decided: Decided::default(),
            messages: VecDeque::new(),
            effects: VecDeque::new(),
            entries: VecDeque::new(),
            outcomes: VecDeque::new(),
            standings: VecDeque::new(),
            stands: None,
        }
    }

    /// A node is there, in the life that `incarnation` names. Say so before handing over a message of it, and again when it
    /// has restarted. A mere change or renewal of the session is no news.
    pub fn on_peer_up(&mut self, now: Now, node: NodeId, incarnation: u64) {
        if node != self.me.node() && self.peers.insert(node, incarnation) != Some(incarnation) {
            self.lose(now, node);
        }
    }

    /// A node has left, or was silent for so long that it is forgotten. That it is unreachable for a while is no news.
    pub fn on_peer_gone(&mut self, now: Now, node: NodeId) {
        if self.peers.remove(&node).is_some() {
            self.lose(now, node);
        }
    }

    /// Takes a message that `from` sent, as the transport has proved. If this node is to judge a command, that comes back, for
    /// [`judge_for`](Self::judge_for) before anything else: most messages ask nothing, so no picture need be drawn for them. A message that no
    /// longer matters, or is not for `from` to say, changes nothing.
    ///
    /// # Errors
    ///
    /// When the bytes are not a message.
    pub fn on_message(
        &mut self,
        now: Now,
        from: NodeId,
        bytes: &[u8],
    ) -> Result<Option<Question>, MessageError> {
        match Message::parse(bytes)? {
            Message::Prepare { attempt, members, command } => {
                let command = SignedCommand::parse(&command).map_err(|_| MessageError)?;
                if self.is_by_coordinator(from, attempt) && self.may_speak(from, attempt, &members) {
                    return Ok(self.on_prepare(Question { attempt, members, command }));
                }
            }
            Message::Commit { attempt } => {
                if self.is_by_coordinator(from, attempt) {
                    self.on_commit(now, attempt);
                }
            }
            Message::Abort { attempt, reason, members, command } => {
                let command = SignedCommand::parse(&command).map_err(|_| MessageError)?;
                if self.is_by_coordinator(from, attempt) && self.may_speak(from, attempt, &members) {
                    self.on_abort(now, attempt, reason, members, &command);
                }
            }
            Message::Close { attempt } => {
                if self.is_by_coordinator(from, attempt) {
                    self.on_close(attempt);
                }
            }
            Message::Ask { attempt, members, command } => {
                let command = SignedCommand::parse(&command).map_err(|_| MessageError)?;
                if self.may_speak(from, attempt, &members) {
                    self.on_ask(now, from, attempt, members, command);
                }
            }
            Message::Tell { attempt, standing } => self.on_tell(now, from, attempt, standing),
            Message::Vote { attempt, objection } if attempt.by() == self.me => {
                self.on_vote(now, from, attempt.number, objection);
            }
            Message::Ack { attempt } if attempt.by() == self.me => self.on_ack(from, attempt.number),
            // To a life of this node that is over.
            Message::Vote { .. } | Message::Ack { .. } => {}
        }
        Ok(None)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.handle_coordinator_timeout(now);
        self.handle_member_timeout(now);
        self.handle_witness_timeout(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let voting = self.voting.values().map(Voting::due);
        let telling = self.telling.values().map(Telling::due);
        let pending = self.pending.values().map(Pending::due);
        let witnessed = self.witnessed.values().map(Witness::due);
        voting.chain(telling).chain(pending).chain(witnessed).min()
    }

    /// The next message to send, and to whom. It need not arrive.
    pub fn poll_message(&mut self) -> Option<(NodeId, Vec<u8>)> {
        self.messages.pop_front()
    }

    /// The next command that takes effect on this node.
    pub fn poll_effect(&mut self) -> Option<AdminEffect> {
        self.effects.pop_front()
    }

    /// The next entry that was added to the audit trail.
    pub fn poll_decided(&mut self) -> Option<AuditEntry> {
        self.entries.pop_front()
    }

    /// The next command handed in here that is over: when every member has acknowledged what was decided, or 2 s after
    /// that was.
    pub fn poll_outcome(&mut self) -> Option<(Ticket, Decision)> {
        self.outcomes.pop_front()
    }

    /// This node's audit trail.
    pub fn trail(&self) -> &AuditTrail {
        &self.trail
    }

    /// This node's judgement, to be asked whether the cluster is frozen.
    pub fn verifier(&self) -> &AdminVerifier {
        &self.verifier
    }

    /// Whether a command had better be submitted a moment later: a thaw while a freeze is being decided on.
    pub(crate) fn must_wait(&self, command: &SignedCommand) -> bool {
        self.verifier.must_wait(command)
    }

    /// How much is held of everything that is bounded.
    #[cfg(feature = "floor")]
    pub(crate) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        use crate::audit::Gauge;

        each(Gauge::new("own commands under way", self.under_way(), coordinator::MAX_UNDER_WAY));
        let rejections = self.voting.len() + self.telling.len() - self.under_way();
        each(Gauge::new("own rejections told", rejections, coordinator::MAX_REJECTIONS));
        each(Gauge::new("others' commands", self.pending.len(), member::MAX_PENDING));
        each(Gauge::new("rejections witnessed", self.witnessed.len(), witness::MAX_WITNESSED));
        each(Gauge::new("decisions", self.decided.len(), decided::CAPACITY));
        each(Gauge::new("trail", self.trail.iter().len(), super::audit::CAPACITY + super::audit::STRANGERS));
        each(Gauge::new("history", self.history.len(), super::history::CAPACITY));
        each(Gauge::new("messages about commands to be sent", self.messages.len(), 0));
        each(Gauge::new("effects to be brought about", self.effects.len() + self.standings.len(), 0));
        self.verifier.gauges(each);
    }

    /// Whether an attempt's coordinator said it, in the life in which it began the attempt.
    fn is_by_coordinator(&self, from: NodeId, attempt: Attempt) -> bool {
        attempt.coordinator() == from && self.is_there(attempt.by())
    }

    /// Whether `from`, this node and the coordinator are members, the first two in their present lives.
    fn may_speak(&self, from: NodeId, attempt: Attempt, members: &[Member]) -> bool {
        let is_member = |member: Member| members.binary_search(&member).is_ok();
        let speaks =
            self.peers.get(&from).is_some_and(|incarnation| is_member(Member::new(from, *incarnation)));
        speaks && is_member(self.me) && is_member(attempt.by())
    }

    /// Whether a member is there in the life in which it became one.
    fn is_there(&self, member: Member) -> bool {
        self.peers.get(&member.node()) == Some(&member.incarnation)
    }

    /// A node is not there any more, at least not in the life it was in.
    fn lose(&mut self, now: Now, node: NodeId) {
        self.lose_member(now, node);
        self.lose_witness(now, node);
        self.lose_peer(now, node);
    }

    fn send(&mut self, to: NodeId, message: &Message) {
        self.messages.push_back((to, message.encode()));
    }

    fn broadcast(&mut self, to: impl IntoIterator<Item = NodeId>, message: &[u8]) {
        self.messages.extend(to.into_iter().map(|node| (node, message.to_vec())));
    }

    /// A command that this node has prepared takes effect here.
    fn apply(&mut self, now: Now, attempt: Attempt, command: &SignedCommand, prepared: &Prepared) {
        self.verifier.commit(now.instant, prepared);
        let (verb, nonce) = (prepared.verb().clone(), prepared.nonce());
        let operators = prepared.operators().to_vec();
        self.effects.push_back(AdminEffect { verb, nonce, operators: operators.clone() });
        self.record(now, attempt, command, operators, Decision::Applied, true);
    }

    /// A command takes no effect here.
    fn reject(&mut self, now: Now, attempt: Attempt, command: &SignedCommand, reason: Rejection) {
        let (operators, is_authentic) = self.verifier.refuse(now.wall, command);
        let decision = Decision::Rejected(reason);
        self.record(now, attempt, command, operators, decision, is_authentic);
    }

    fn record(
        &mut self,
        now: Now,
        attempt: Attempt,
        command: &SignedCommand,
        operators: Vec<String>,
        decision: Decision,
        is_authentic: bool,
    ) {
        self.decided.insert(attempt, decision);
        self.write_down(now.wall, command, operators, decision, is_authentic);
    }
}
