//! The part of a node that another puts a command to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{Decision, NodeId, Rejection};

use super::{
    AdminCommit, Question,
    message::{Attempt, Member, Message, Standing},
    retry::Retry,
};
use crate::{
    admin::{ClusterPicture, Prepared, SignedCommand, assess},
    time::{Instant, Now},
};

/// How long a member waits for a coordinator that is there before it asks.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pauses before it asks again.
const ASK_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_ASK_PAUSE: Duration = Duration::from_secs(5);

/// The most attempts of others that are undecided here.
pub(super) const MAX_PENDING: usize = 256;

/// Another node's attempt whose decision is not known here.
#[derive(Debug)]
pub(super) struct Pending {
    command: SignedCommand,
    members: Vec<Member>,
    vote: Vote,
    /// The members from which no word about this counts any more. Empty as long as the coordinator is there.
    gone: BTreeSet<u64>,
    /// What those that are left have said of themselves, once the coordinator was gone.
    standings: BTreeMap<NodeId, Orphan>,
    retry: Retry,
}

/// What this node has said to the coordinator.
#[derive(Debug)]
enum Vote {
    Yes(Prepared),
    No(Rejection),
    /// Nothing: it heard of the attempt from another member, after the coordinator was gone.
    None,
}

/// What another member has said of itself.
#[derive(Debug)]
struct Orphan {
    gone: BTreeSet<u64>,
    objection: Option<Rejection>,
}

impl Vote {
    fn objection(&self) -> Option<Rejection> {
        match self {
            Self::No(reason) => Some(*reason),
            Self::Yes(_) | Self::None => None,
        }
    }
}

impl Pending {
    pub(super) fn command(&self) -> &SignedCommand {
        &self.command
    }

    pub(super) fn due(&self) -> Instant {
        self.retry.at()
    }

    /// Whether the coordinator is gone, for good.
    fn is_orphaned(&self) -> bool {
        !self.gone.is_empty()
    }

    /// The members whose word counts, other than `me`.
    fn left(&self, me: Member) -> impl Iterator<Item = NodeId> {
        let left = self.members.iter().filter(move |member| **member != me);
        left.map(|member| member.node()).filter(|node| !self.gone.contains(&node.0))
    }
}

impl AdminCommit {
    /// A coordinator asks. Answers what was answered before; what was not, is to be judged.
    pub(super) fn on_prepare(&mut self, question: Question) -> Option<Question> {
        let attempt = question.attempt;
        let objection = match (self.decided.of(attempt), self.pending.get(&attempt)) {
            // It was rejected here while its coordinator seemed gone, or this question is an old one.
            (Some(Decision::Rejected(reason)), _) => Some(reason),
            (Some(Decision::Applied), _) => return None,
            (None, Some(pending)) if pending.is_orphaned() => Some(Rejection::Unreachable),
            (None, Some(pending)) => pending.vote.objection(),
            (None, None) if self.pending.len() >= MAX_PENDING => Some(Rejection::Overloaded),
            // It is asked again.
            (None, None) if self.verifier.must_wait(&question.command) => return None,
            (None, None) => return Some(question),
        };
        self.send(attempt.coordinator(), &Message::Vote { attempt, objection });
        None
    }

    /// Judges a command that [`on_message`](Self::on_message) has just brought, by how the cluster is, and answers its
    /// coordinator.
    pub fn judge_for(&mut self, now: Now, question: Question, picture: &ClusterPicture) {
        let Question { attempt, members, command } = question;
        let assessment = assess(command.verb(), picture, false);
        let vote = match self.verifier.prepare(now, &command, assessment, picture.moved_by(command.verb())) {
            Ok(prepared) => Vote::Yes(prepared),
            Err(reason) => Vote::No(reason),
        };
        let objection = vote.objection();
        let retry = Retry::new(now.instant + PATIENCE, PATIENCE, PATIENCE);
        let (gone, standings) = (BTreeSet::new(), BTreeMap::new());
        self.pending.insert(attempt, Pending { command, members, vote, gone, standings, retry });
        self.send(attempt.coordinator(), &Message::Vote { attempt, objection });
    }

    pub(super) fn on_commit(&mut self, now: Now, attempt: Attempt) {
        if self.hears(attempt) {
            self.settle(now, attempt, Decision::Applied);
            self.send(attempt.coordinator(), &Message::Ack { attempt });
        }
    }

    pub(super) fn on_abort(
        &mut self,
        now: Now,
        attempt: Attempt,
        reason: Rejection,
        members: Vec<Member>,
        command: &SignedCommand,
    ) {
        if !self.hears(attempt) {
            return;
        }
        if self.pending.contains_key(&attempt) {
            self.settle(now, attempt, Decision::Rejected(reason));
        } else if self.decided.of(attempt).is_none() {
            self.reject(now, attempt, command, reason);
            self.witness(now, attempt, members, command.encode());
        }
        self.send(attempt.coordinator(), &Message::Ack { attempt });
    }

    /// Whether the coordinator's word counts: this node has not promised others that it does not.
    fn hears(&self, attempt: Attempt) -> bool {
        self.pending.get(&attempt).is_none_or(|pending| !pending.is_orphaned())
    }

    pub(super) fn on_ask(
        &mut self,
        now: Now,
        from: NodeId,
        attempt: Attempt,
        members: Vec<Member>,
        command: SignedCommand,
    ) {
        if let Some(decision) = self.decided.of(attempt) {
            self.send(from, &Message::Tell { attempt, standing: Standing::Decided(decision) });
            if attempt.by() == self.me && self.is_closed(attempt.number) {
                self.send(from, &Message::Close { attempt });
            }
            return;
        }
        let is_own = attempt.by() == self.me;
        let full = self.pending.len() >= MAX_PENDING;
        if !is_own && !full && !self.is_there(attempt.by()) && !self.pending.contains_key(&attempt) {
            // Nobody can have decided to apply this, for this node never agreed and never will.
            let retry = Retry::new(now.instant, ASK_PAUSE, LONGEST_ASK_PAUSE);
            let (gone, standings) = (BTreeSet::new(), BTreeMap::new());
            self.pending
                .insert(attempt, Pending { command, members, vote: Vote::None, gone, standings, retry });
            self.orphan(now, attempt);
        }
        if let Some(pending) = self.pending.get(&attempt).filter(|pending| pending.is_orphaned()) {
            let standing =
                Standing::Orphaned { gone: pending.gone.clone(), objection: pending.vote.objection() };
            self.send(from, &Message::Tell { attempt, standing });
        } else if let Some(decision) = self.decided.of(attempt) {
            self.send(from, &Message::Tell { attempt, standing: Standing::Decided(decision) });
        }
    }

    pub(super) fn on_tell(&mut self, now: Now, from: NodeId, attempt: Attempt, standing: Standing) {
        let Some(incarnation) = self.peers.get(&from) else { return };
        let speaker = Member::new(from, *incarnation);
        if matches!(standing, Standing::Decided(_)) {
            self.confirm(attempt, speaker);
        }
        let Some(pending) = self.pending.get_mut(&attempt) else { return };
        if pending.members.binary_search(&speaker).is_err() || pending.gone.contains(&from.0) {
            return;
        }
        match standing {
            Standing::Decided(decision) => self.settle(now, attempt, decision),
            Standing::Orphaned { gone, objection } => {
                pending.standings.insert(from, Orphan { gone, objection });
                self.give_up(now, attempt);
            }
        }
    }

    /// Does what was decided.
    fn settle(&mut self, now: Now, attempt: Attempt, decision: Decision) {
        let Some(pending) = self.pending.remove(&attempt) else { return };
        match (pending.vote, decision) {
            (Vote::Yes(prepared), Decision::Applied) => self.apply(now, attempt, &pending.command, &prepared),
            (vote, Decision::Rejected(reason)) => {
                if let Vote::Yes(prepared) = vote {
                    self.verifier.abort(&prepared);
                }
                self.reject(now, attempt, &pending.command, reason);
                self.witness(now, attempt, pending.members, pending.command.encode());
            }
            // Whoever says so lies, for it takes this node's agreement.
            (vote, Decision::Applied) => {
                self.pending.insert(attempt, Pending { vote, ..pending });
            }
        }
    }

    /// A node is gone: those attempts are orphans that it coordinates, and no word of it counts in others that are.
    pub(super) fn lose_member(&mut self, now: Now, node: NodeId) {
        let attempts: Vec<Attempt> = self.pending.keys().copied().collect();
        for attempt in attempts {
            let Some(pending) = self.pending.get(&attempt) else { continue };
            let is_member = pending.members.iter().any(|member| member.node() == node);
            if attempt.coordinator() == node || (is_member && pending.is_orphaned()) {
                self.orphan(now, attempt);
            }
        }
    }

    /// Takes note of who is gone, and asks those that are left.
    fn orphan(&mut self, now: Now, attempt: Attempt) {
        let Some(mut pending) = self.pending.remove(&attempt) else { return };
        let absent = pending.members.iter().filter(|member| **member != self.me && !self.is_there(**member));
        let absent: Vec<u64> = absent.map(|member| member.node().0).collect();
        pending.gone.extend(absent);
        // The coordinator's word stops counting even if it is back by now: it has been promised so.
        pending.gone.insert(attempt.coordinator().0);
        pending.retry = Retry::new(now.instant, ASK_PAUSE, LONGEST_ASK_PAUSE);
        self.pending.insert(attempt, pending);
        self.give_up(now, attempt);
    }

    /// Rejects an orphan if all that are left have said that they know of no decision and will learn of none.
    fn give_up(&mut self, now: Now, attempt: Attempt) {
        let Some(pending) = self.pending.get(&attempt).filter(|pending| pending.is_orphaned()) else {
            return;
        };
        let mut reason = pending.vote.objection();
        for node in pending.left(self.me) {
            match pending.standings.get(&node) {
                Some(orphan) if orphan.gone.is_superset(&pending.gone) => {
                    // Everyone arrives at the same one of several objections.
                    reason = reason.into_iter().chain(orphan.objection).min();
                }
                _ => return,
            }
        }
        self.settle(now, attempt, Decision::Rejected(reason.unwrap_or(Rejection::Unreachable)));
    }

    pub(super) fn handle_member_timeout(&mut self, now: Now) {
        for (attempt, pending) in &mut self.pending {
            if !pending.retry.is_due(now.instant) {
                continue;
            }
            let (members, command) = (pending.members.clone(), pending.command.encode());
            let question = Message::Ask { attempt: *attempt, members, command }.encode();
            let asked: Vec<NodeId> = if pending.is_orphaned() {
                pending.left(self.me).collect()
            } else {
                vec![attempt.coordinator()]
            };
            self.messages.extend(asked.into_iter().map(|node| (node, question.clone())));
        }
    }
}
