//! Seeing to it that everybody hears of a rejection.
//!
//! Whoever has prepared a command asks what became of it. But a command may be rejected before everyone has heard of it, and
//! its coordinator be gone before it has told everyone. So a member that writes down a rejection stays its witness until the
//! coordinator says that all have it; and if that is gone, the witness asks the others about the command. Whoever never heard of
//! it then has, and asks back.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::NodeId;

use super::{
    AdminCommit,
    message::{Attempt, Member, Message},
    retry::Retry,
};
use crate::time::{Instant, Now};

/// The pauses before a coordinator that is there is asked whether all have it.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PATIENCE: Duration = Duration::from_mins(1);

/// The pauses before the others are asked again.
const ASK_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_ASK_PAUSE: Duration = Duration::from_secs(5);

/// The most rejections witnessed. Beyond, one of them is given up.
pub(super) const MAX_WITNESSED: usize = 256;

/// A rejection that others may not have heard of.
#[derive(Debug)]
pub(super) struct Witness {
    members: Vec<Member>,
    question: Vec<u8>,
    /// Those that have not said that they know; nothing as long as that is the coordinator's business.
    awaited: Option<BTreeSet<NodeId>>,
    retry: Retry,
}

impl Witness {
    pub(super) fn due(&self) -> Instant {
        self.retry.at()
    }
}

impl AdminCommit {
    /// This node has written down another's rejected attempt.
    pub(super) fn witness(&mut self, now: Now, attempt: Attempt, members: Vec<Member>, command: Vec<u8>) {
        let question = Message::Ask { attempt, members: members.clone(), command }.encode();
        let retry = Retry::new(now.instant + PATIENCE, PATIENCE, LONGEST_PATIENCE);
        self.witnessed.insert(attempt, Witness { members, question, awaited: None, retry });
        if !self.is_there(attempt.by()) {
            self.take_over(now, attempt);
        }
        if self.witnessed.len() > MAX_WITNESSED {
            self.witnessed.pop_first();
        }
    }

    /// All have it.
    pub(super) fn on_close(&mut self, attempt: Attempt) {
        self.witnessed.remove(&attempt);
    }

    /// Another member has it too.
    pub(super) fn confirm(&mut self, attempt: Attempt, from: Member) {
        let Some(witness) = self.witnessed.get_mut(&attempt) else { return };
        if let Some(awaited) =
            witness.awaited.as_mut().filter(|_| witness.members.binary_search(&from).is_ok())
        {
            awaited.remove(&from.node());
            self.count_confirmed(attempt);
        }
    }

    /// A node is gone: what it coordinated is this one's business now, and nobody waits for it.
    pub(super) fn lose_witness(&mut self, now: Now, node: NodeId) {
        let attempts: Vec<Attempt> = self.witnessed.keys().copied().collect();
        for attempt in attempts {
            if attempt.coordinator() == node {
                self.take_over(now, attempt);
            } else if let Some(awaited) =
                self.witnessed.get_mut(&attempt).and_then(|witness| witness.awaited.as_mut())
            {
                awaited.remove(&node);
                self.count_confirmed(attempt);
            }
        }
    }

    fn take_over(&mut self, now: Now, attempt: Attempt) {
        let Some(mut witness) = self.witnessed.remove(&attempt) else { return };
        let others = witness.members.iter().filter(|member| **member != self.me && self.is_there(**member));
        witness.awaited = Some(others.map(|member| member.node()).collect());
        witness.retry = Retry::new(now.instant, ASK_PAUSE, LONGEST_ASK_PAUSE);
        self.witnessed.insert(attempt, witness);
        self.count_confirmed(attempt);
    }

    fn count_confirmed(&mut self, attempt: Attempt) {
        let awaits = |witness: &Witness| witness.awaited.as_ref().is_none_or(|awaited| !awaited.is_empty());
        if !self.witnessed.get(&attempt).is_some_and(awaits) {
            self.witnessed.remove(&attempt);
        }
    }

    pub(super) fn handle_witness_timeout(&mut self, now: Now) {
        for (attempt, witness) in &mut self.witnessed {
            if !witness.retry.is_due(now.instant) {
                continue;
            }
            let coordinator = BTreeSet::from([attempt.coordinator()]);
            let asked = witness.awaited.as_ref().unwrap_or(&coordinator);
            self.messages.extend(asked.iter().map(|node| (*node, witness.question.clone())));
        }
    }
}
