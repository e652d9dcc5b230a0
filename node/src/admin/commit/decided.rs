//! What was decided, for those who ask or say it again.

use std::collections::{BTreeMap, VecDeque};

use meshground_shared::Decision;

use super::message::Attempt;

/// How many decisions are remembered. Whoever is in doubt asks within seconds of being able to.
pub(super) const CAPACITY: usize = 4_096;

/// The latest decisions.
#[derive(Debug, Default)]
pub(super) struct Decided {
    decisions: BTreeMap<Attempt, Decision>,
    order: VecDeque<Attempt>,
}

impl Decided {
    pub(super) fn insert(&mut self, attempt: Attempt, decision: Decision) {
        if self.decisions.insert(attempt, decision).is_none() {
            self.order.push_back(attempt);
        }
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.decisions.remove(&oldest);
        }
    }

    #[cfg(feature = "floor")]
    pub(super) fn len(&self) -> usize {
        self.decisions.len().max(self.order.len())
    }

    pub(super) fn of(&self, attempt: Attempt) -> Option<Decision> {
        self.decisions.get(&attempt).copied()
    }
}
