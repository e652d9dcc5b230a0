//! What became of every command, as one node saw it.

use std::collections::VecDeque;

use meshground_shared::{AuditEntry, AuditOutcome, Decision, Verb};

use super::Nonce;
use crate::time::WallTime;

/// How many entries are kept.
pub(super) const CAPACITY: usize = 1_024;

/// How many of those are kept besides that no operator signed: whoever is in the mesh can bring any number of them about.
pub(super) const STRANGERS: usize = 64;

/// The latest 1,024 decisions on what operators commanded, and the latest 64 on what somebody else did; numbered from 1 in
/// the order in which they were made.
#[derive(Debug, Clone, Default)]
pub struct AuditTrail {
    entries: VecDeque<AuditEntry>,
    /// The numbers of those that no operator signed, oldest first.
    strangers: VecDeque<u64>,
    /// The number of the last entry there ever was.
    last: u64,
}

/// Which entries to look at. What is not set does not narrow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Signed by this operator, among others perhaps.
    pub operator: Option<String>,
    /// Decided at that time or later.
    pub from: Option<WallTime>,
    /// Decided before that time.
    pub before: Option<WallTime>,
    /// Commands with this name; see [`Verb::name`].
    pub kind: Option<String>,
    /// With this outcome.
    pub outcome: Option<AuditOutcome>,
}

impl AuditTrail {
    /// Writes a decision down, on a command of an operator or of `a_stranger`.
    pub(super) fn record(
        &mut self,
        now: WallTime,
        nonce: Nonce,
        verb: Verb,
        operators: Vec<String>,
        decision: Decision,
        a_stranger: bool,
    ) -> AuditEntry {
        self.last += 1;
        let entry = AuditEntry {
            seq: self.last,
            wall_us: now.0,
            nonce: nonce.to_string(),
            verb,
            operators,
            decision,
        };
        if a_stranger {
            if self.strangers.len() == STRANGERS
                && let Some(oldest) = self.strangers.pop_front()
            {
                let place = self.entries.partition_point(|kept| kept.seq < oldest);
                self.entries.remove(place);
            }
            self.strangers.push_back(self.last);
        } else if self.entries.len() - self.strangers.len() == CAPACITY {
            let is_stranger = |kept: &AuditEntry| self.strangers.binary_search(&kept.seq).is_ok();
            if let Some(oldest) = self.entries.iter().position(|kept| !is_stranger(kept)) {
                self.entries.remove(oldest);
            }
        }
        self.entries.push_back(entry.clone());
        entry
    }

    /// The entries that are still there, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &AuditEntry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Those that a filter lets through, oldest first.
    pub fn filter<'a>(&'a self, filter: &'a AuditFilter) -> impl DoubleEndedIterator<Item = &'a AuditEntry> {
        self.entries.iter().filter(|entry| filter.matches(entry))
    }

    /// Those after the one with number `seq`, oldest first; 0 for all. Whoever follows the trail asks again with the last number
    /// seen. Numbers that are left out between two say that those are gone.
    pub fn after(&self, seq: u64) -> impl DoubleEndedIterator<Item = &AuditEntry> + ExactSizeIterator {
        self.entries.range(self.entries.partition_point(|entry| entry.seq <= seq)..)
    }

    /// The number of the latest entry, 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.last
    }
}

impl AuditFilter {
    /// Whether it lets an entry through.
    pub fn matches(&self, entry: &AuditEntry) -> bool {
        self.operator.as_ref().is_none_or(|operator| entry.operators.contains(operator))
            && self.from.is_none_or(|from| entry.wall_us >= from.0)
            && self.before.is_none_or(|before| entry.wall_us < before.0)
            && self.kind.as_ref().is_none_or(|kind| entry.verb.name() == kind)
            && self.outcome.is_none_or(|outcome| outcome.matches(entry.decision))
    }
}

#[cfg(test)]
mod tests {
    use meshground_shared::{AdminVerb, IceVerb, NodeId, Rejection};

    use super::*;

    fn seqs<'a>(entries: impl Iterator<Item = &'a AuditEntry>) -> Vec<u64> {
        entries.map(|entry| entry.seq).collect()
    }

    /// Three entries, at times 10, 20 and 30.
    fn trail() -> AuditTrail {
        let mut trail = AuditTrail::default();
        let drain = Verb::Admin(AdminVerb::Drain { node: NodeId(1) });
        let thaw = Verb::Ice(IceVerb::ThawCluster);
        let (a, b) = ("a".to_owned(), "b".to_owned());
        trail.record(WallTime(10), Nonce([1; 16]), drain.clone(), vec![a.clone()], Decision::Applied, false);
        trail.record(WallTime(20), Nonce([2; 16]), thaw, vec![a, b], Decision::Applied, false);
        let frozen = Decision::Rejected(Rejection::FreezeInEffect);
        trail.record(WallTime(30), Nonce([3; 16]), drain, vec![], frozen, false);
        trail
    }

    #[test]
    fn a_filter_narrows_by_operator_time_kind_and_outcome() {
        let trail = trail();
        let found = |filter: AuditFilter| seqs(trail.filter(&filter));
        assert_eq!(found(AuditFilter::default()), [1, 2, 3]);
        assert_eq!(found(AuditFilter { operator: Some("b".into()), ..AuditFilter::default() }), [2]);
        assert_eq!(found(AuditFilter { from: Some(WallTime(20)), ..AuditFilter::default() }), [2, 3]);
        assert_eq!(found(AuditFilter { before: Some(WallTime(20)), ..AuditFilter::default() }), [1]);
        assert_eq!(found(AuditFilter { kind: Some("drain".into()), ..AuditFilter::default() }), [1, 3]);
        let by_outcome = |outcome| found(AuditFilter { outcome: Some(outcome), ..AuditFilter::default() });
        assert_eq!(by_outcome(AuditOutcome::Applied), [1, 2]);
        assert_eq!(by_outcome(AuditOutcome::Rejected), [3]);
        assert_eq!(by_outcome(AuditOutcome::RejectedFor(Rejection::FreezeInEffect)), [3]);
        assert_eq!(by_outcome(AuditOutcome::RejectedFor(Rejection::Unreachable)), [0; 0]);
        let operator = Some("a".into());
        assert_eq!(
            found(AuditFilter { operator, kind: Some("drain".into()), ..AuditFilter::default() }),
            [1]
        );
    }

    #[test]
    fn an_entry_says_what_was_commanded() {
        let trail = trail();
        let entry = trail.iter().next_back().unwrap();
        assert_eq!((entry.nonce.as_str(), entry.wall_us), ("03030303030303030303030303030303", 30));
        assert_eq!(entry.decision, Decision::Rejected(Rejection::FreezeInEffect));
    }

    #[test]
    fn a_follower_misses_nothing_and_sees_when_it_came_too_late() {
        let mut trail = trail();
        assert_eq!(seqs(trail.after(0)), [1, 2, 3]);
        assert_eq!(seqs(trail.after(2)), [3]);
        assert_eq!(seqs(trail.after(3)), [0; 0]);
        assert_eq!(seqs(trail.after(u64::MAX)), [0; 0]);
        for _ in 0..CAPACITY {
            let verb = Verb::Ice(IceVerb::ThawCluster);
            trail.record(WallTime(40), Nonce([4; 16]), verb, vec![], Decision::Applied, false);
        }
        assert_eq!(trail.iter().len(), CAPACITY);
        assert_eq!(trail.last_seq(), 1_027);
        assert_eq!(trail.after(0).next().map(|entry| entry.seq), Some(4));
        assert_eq!(seqs(trail.after(1_026)), [1_027]);
    }

    #[test]
    fn what_strangers_make_up_pushes_out_nothing_that_an_operator_signed() {
        let mut trail = trail();
        let thaw = || Verb::Ice(IceVerb::ThawCluster);
        let denied = Decision::Rejected(Rejection::NotAuthorized);
        for _ in 0..2 * CAPACITY {
            trail.record(WallTime(40), Nonce([5; 16]), thaw(), vec![], denied, true);
        }
        assert_eq!(trail.iter().len(), 3 + STRANGERS);
        assert_eq!(seqs(trail.iter().take(4)), [1, 2, 3, 2_048 + 3 - 63]);
        assert_eq!(trail.after(3).len(), STRANGERS);
        for _ in 0..CAPACITY {
            trail.record(WallTime(50), Nonce([6; 16]), thaw(), vec![], Decision::Applied, false);
        }
        assert_eq!(trail.iter().len(), CAPACITY + STRANGERS, "nor the other way round");
    }
}
