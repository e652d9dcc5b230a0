//! The part of the node that was handed a command.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::{Decision, NodeId, Rejection};

use super::{
    AdminCommit, Ticket,
    message::{Attempt, MAX_MEMBERS, Member, Message},
    retry::Retry,
};
use crate::{
    admin::{ClusterPicture, Prepared, SignedCommand, assess, named_nodes},
    time::{Instant, Now},
};

/// How long members have to answer.
const BUDGET: Duration = Duration::from_secs(3);

/// The pauses before members are asked again.
const ASK_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_ASK_PAUSE: Duration = Duration::from_millis(800);

/// The pauses before a decision is told again.
const TELL_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_TELL_PAUSE: Duration = Duration::from_secs(5);

/// How long an outcome is held back for members that have not acknowledged it. Whoever waits for it may count on the next
/// command not meeting this one anywhere.
const HOLD_BACK: Duration = Duration::from_secs(2);

/// The most attempts under way: not decided, or to be applied and not acknowledged by all.
pub(super) const MAX_UNDER_WAY: usize = 64;

/// The most rejections that are told at a time. Beyond, the oldest is told no more.
pub(super) const MAX_REJECTIONS: usize = 256;

/// An attempt that members have yet to answer.
#[derive(Debug)]
pub(super) struct Voting {
    command: SignedCommand,
    prepared: Prepared,
    members: Vec<Member>,
    /// Those that have not answered.
    awaited: BTreeSet<NodeId>,
    question: Vec<u8>,
    retry: Retry,
    deadline: Instant,
}

/// A decision that members have yet to acknowledge.
#[derive(Debug)]
pub(super) struct Telling {
    decision: Decision,
    message: Vec<u8>,
    /// Those that the decision was told.
    others: BTreeSet<NodeId>,
    /// Those of them that have not acknowledged.
    awaited: BTreeSet<NodeId>,
    retry: Retry,
    /// When the outcome is reported whatever is missing; nothing once it was.
    report_by: Option<Instant>,
}

impl Voting {
    pub(super) fn command(&self) -> &SignedCommand {
        &self.command
    }

    pub(super) fn due(&self) -> Instant {
        self.retry.at().min(self.deadline)
    }
}

impl Telling {
    pub(super) fn due(&self) -> Instant {
        self.report_by.map_or(self.retry.at(), |report_by| report_by.min(self.retry.at()))
    }
}

impl AdminCommit {
    /// Puts a command to every node it names ([`named_nodes`]). The outcome comes by
    /// [`poll_outcome`](Self::poll_outcome): applied on all of them, or rejected on all, for the first reason that came up.
    ///
    /// At most 64 are under way at a time, and a command names at most 2,048 nodes; beyond, it is
    /// [`Overloaded`](Rejection::Overloaded).
    pub fn submit(&mut self, now: Now, command: &SignedCommand, picture: &ClusterPicture) -> Ticket {
        self.number += 1;
        let number = self.number;
        let named = named_nodes(command.verb(), picture);
        let me = self.me;
        let members: Vec<Member> = named
            .iter()
            .filter_map(|node| self.peers.get(node).map(|incarnation| Member::new(*node, *incarnation)))
            .chain([me])
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let awaited: BTreeSet<NodeId> =
            members.iter().filter(|member| **member != me).map(|member| member.node()).collect();
        match self.judge(now, command, picture, &members) {
            Err(reason) => self.refuse_attempt(now, number, command, &members, reason),
            Ok(prepared) if named.iter().any(|node| *node != me.node() && !awaited.contains(node)) => {
                self.verifier.abort(&prepared);
                self.refuse_attempt(now, number, command, &members, Rejection::Unreachable);
            }
            Ok(prepared) => {
                let attempt = Attempt::new(me, number);
                let question =
                    Message::Prepare { attempt, members: members.clone(), command: command.encode() }
                        .encode();
                self.broadcast(awaited.iter().copied(), &question);
                let voting = Voting {
                    command: command.clone(),
                    prepared,
                    members,
                    awaited,
                    question,
                    retry: Retry::new(now.instant + ASK_PAUSE, ASK_PAUSE, LONGEST_ASK_PAUSE),
                    deadline: now.instant + BUDGET,
                };
                self.voting.insert(number, voting);
                self.count_votes(now, number);
            }
        }
        Ticket(number)
    }

    /// How many own attempts are undecided, or applied and not acknowledged by all.
    pub(super) fn under_way(&self) -> usize {
        let applied = self.telling.values().filter(|telling| telling.decision == Decision::Applied);
        self.voting.len() + applied.count()
    }

    fn judge(
        &mut self,
        now: Now,
        command: &SignedCommand,
        picture: &ClusterPicture,
        members: &[Member],
    ) -> Result<Prepared, Rejection> {
        if self.under_way() >= MAX_UNDER_WAY || members.len() > MAX_MEMBERS {
            return Err(Rejection::Overloaded);
        }
        let moved = picture.moved_by(command.verb());
        self.verifier.prepare(now, command, assess(command.verb(), picture, true), moved)
    }

    pub(super) fn on_vote(&mut self, now: Now, from: NodeId, number: u64, objection: Option<Rejection>) {
        let Some(voting) = self.voting.get_mut(&number) else { return };
        if !voting.awaited.contains(&from) {
            return;
        }
        if let Some(reason) = objection {
            return self.call_off(now, number, reason);
        }
        voting.awaited.remove(&from);
        self.count_votes(now, number);
    }

    /// Applies the command if everyone would carry it out.
    fn count_votes(&mut self, now: Now, number: u64) {
        if self.voting.get(&number).is_none_or(|voting| !voting.awaited.is_empty()) {
            return;
        }
        let Some(voting) = self.voting.remove(&number) else { return };
        let attempt = Attempt::new(self.me, number);
        self.apply(now, attempt, &voting.command, &voting.prepared);
        self.tell(now, number, Decision::Applied, &voting.members, &Message::Commit { attempt });
    }

    /// Rejects an attempt that was put to members.
    fn call_off(&mut self, now: Now, number: u64, reason: Rejection) {
        let Some(voting) = self.voting.remove(&number) else { return };
        self.verifier.abort(&voting.prepared);
        self.refuse_attempt(now, number, &voting.command, &voting.members, reason);
    }

    fn refuse_attempt(
        &mut self,
        now: Now,
        number: u64,
        command: &SignedCommand,
        members: &[Member],
        reason: Rejection,
    ) {
        let attempt = Attempt::new(self.me, number);
        self.reject(now, attempt, command, reason);
        let message =
            Message::Abort { attempt, reason, members: members.to_vec(), command: command.encode() };
        self.tell(now, number, Decision::Rejected(reason), members, &message);
    }

    /// Tells a decision to the members other than this node.
    fn tell(&mut self, now: Now, number: u64, decision: Decision, members: &[Member], message: &Message) {
        let others = members.iter().filter(|member| **member != self.me && self.is_there(**member));
        let others: BTreeSet<NodeId> = others.map(|member| member.node()).collect();
        let message = message.encode();
        self.broadcast(others.iter().copied(), &message);
        let telling = Telling {
            decision,
            message,
            others: others.clone(),
            awaited: others,
            retry: Retry::new(now.instant + TELL_PAUSE, TELL_PAUSE, LONGEST_TELL_PAUSE),
            report_by: Some(now.instant + HOLD_BACK),
        };
        self.telling.insert(number, telling);
        self.count_acks(number);
        let rejections = || self.telling.iter().filter(|(_, telling)| telling.decision != Decision::Applied);
        if rejections().count() > MAX_REJECTIONS
            && let Some((&oldest, _)) = rejections().next()
        {
            self.end_telling(oldest);
        }
    }

    /// Whether every member is known to have an own attempt's decision.
    pub(super) fn is_closed(&self, number: u64) -> bool {
        !self.voting.contains_key(&number) && !self.telling.contains_key(&number)
    }

    pub(super) fn on_ack(&mut self, from: NodeId, number: u64) {
        if let Some(telling) = self.telling.get_mut(&number) {
            telling.awaited.remove(&from);
            self.count_acks(number);
        }
    }

    fn count_acks(&mut self, number: u64) {
        if self.telling.get(&number).is_some_and(|telling| telling.awaited.is_empty()) {
            self.end_telling(number);
        }
    }

    fn end_telling(&mut self, number: u64) {
        let Some(telling) = self.telling.remove(&number) else { return };
        if telling.report_by.is_some() {
            self.outcomes.push_back((Ticket(number), telling.decision));
        }
        if telling.decision != Decision::Applied {
            let closing = Message::Close { attempt: Attempt::new(self.me, number) }.encode();
            self.broadcast(telling.others, &closing);
        }
    }

    /// A node is gone, and with it its vote and its acknowledgement.
    pub(super) fn lose_peer(&mut self, now: Now, node: NodeId) {
        let voting: Vec<u64> = self.voting.keys().copied().collect();
        for number in voting {
            if self.voting[&number].members.iter().any(|member| member.node() == node) {
                self.call_off(now, number, Rejection::Unreachable);
            }
        }
        let telling: Vec<u64> = self.telling.keys().copied().collect();
        for number in telling {
            self.on_ack(node, number);
        }
    }

    pub(super) fn handle_coordinator_timeout(&mut self, now: Now) {
        let due: Vec<u64> = self
            .voting
            .iter()
            .filter(|(_, voting)| voting.due() <= now.instant)
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            let Some(voting) = self.voting.get_mut(&number) else { continue };
            if voting.deadline <= now.instant {
                self.call_off(now, number, Rejection::Unreachable);
            } else if voting.retry.is_due(now.instant) {
                let again = voting.awaited.iter().map(|node| (*node, voting.question.clone()));
                self.messages.extend(again);
            }
        }
        for (number, telling) in &mut self.telling {
            if telling.report_by.is_some_and(|report_by| report_by <= now.instant) {
                telling.report_by = None;
                self.outcomes.push_back((Ticket(*number), telling.decision));
            }
            if telling.retry.is_due(now.instant) {
                self.messages.extend(telling.awaited.iter().map(|node| (*node, telling.message.clone())));
            }
        }
    }
}
