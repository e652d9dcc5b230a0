//! The proof that no event was missed.

use meshground_shared::{
    Epoch,
    rpc::{Delivery, Dropped, Resume, Subscribed},
};

/// Where this client stands in the event log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed {
    /// The last event folded; none before the first subscription.
    at: Option<Resume>,
    /// Whether a subscription's answer is outstanding. Until it is here, events
    /// belong to the subscription it replaces and are not folded.
    waiting: bool,
}

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Fold it.
    Fold,
    /// Leave it: seen before, or of a replaced subscription.
    Skip,
    /// Something is missing before it: subscribe anew.
    Resubscribe,
}

impl Feed {
    /// A subscription was asked for. Gives what to resume from, if anything.
    pub(crate) fn subscribing(&mut self) -> Option<Resume> {
        self.waiting = true;
        self.at
    }

    /// The subscription's answer. False where it resumes what this client never had.
    pub(crate) fn subscribed(&mut self, answer: &Subscribed) -> bool {
        self.waiting = false;
        let goes_on = self.at.is_some_and(|at| at.epoch == answer.epoch && at.seq == answer.seq);
        if answer.snapshot.is_none() && !goes_on {
            self.at = None;
            return false;
        }
        self.stand(answer.epoch, answer.seq);
        true
    }

    /// An event arrived.
    pub(crate) fn deliver(&mut self, delivery: &Delivery) -> Step {
        let Some(at) = self.at.as_mut().filter(|_| !self.waiting) else { return Step::Skip };
        if delivery.event.seq <= at.seq {
            return Step::Skip;
        }
        if delivery.prev != at.seq {
            return Step::Resubscribe;
        }
        at.seq = delivery.event.seq;
        Step::Fold
    }

    /// The server skipped events for this client and sent a snapshot instead.
    /// False where a newer subscription is on its way anyway.
    pub(crate) fn dropped(&mut self, dropped: &Dropped) -> bool {
        if self.waiting {
            return false;
        }
        self.stand(dropped.snapshot.epoch, dropped.snapshot.seq);
        true
    }

    fn stand(&mut self, epoch: Epoch, seq: u64) {
        self.at = Some(Resume { epoch, seq });
    }
}

#[cfg(test)]
mod tests {
    use meshground_shared::{Event, EventKind, Snapshot};

    use super::*;

    const EPOCH: Epoch = Epoch(7);

    fn delivery(prev: u64, seq: u64) -> Delivery {
        let kind = EventKind::ClusterStopping;
        Delivery { prev, event: Event { seq, at_us: seq, wall_us: 0, node: None, cause: None, kind } }
    }

    fn snapshot_at(seq: u64) -> Subscribed {
        let snapshot = Snapshot { seq, ..Snapshot::new(EPOCH) };
        Subscribed { epoch: EPOCH, seq, snapshot: Some(snapshot) }
    }

    fn resumed_at(seq: u64) -> Subscribed {
        Subscribed { epoch: EPOCH, seq, snapshot: None }
    }

    fn live_at(seq: u64) -> Feed {
        let mut feed = Feed::default();
        assert_eq!(feed.subscribing(), None);
        assert!(feed.subscribed(&snapshot_at(seq)));
        feed
    }

    #[test]
    fn events_that_join_up_are_folded() {
        let mut feed = live_at(4);
        assert_eq!(feed.deliver(&delivery(4, 5)), Step::Fold);
        assert_eq!(feed.deliver(&delivery(5, 9)), Step::Fold, "a filtered stream skips numbers");
    }

    #[test]
    fn a_gap_asks_for_a_new_subscription() {
        let mut feed = live_at(4);
        assert_eq!(feed.deliver(&delivery(5, 6)), Step::Resubscribe);
    }

    #[test]
    fn events_of_a_replaced_subscription_are_left() {
        let mut feed = live_at(4);
        assert_eq!(feed.subscribing(), Some(Resume { epoch: EPOCH, seq: 4 }));
        assert_eq!(feed.deliver(&delivery(4, 5)), Step::Skip);
        assert!(feed.subscribed(&resumed_at(4)));
        assert_eq!(feed.deliver(&delivery(4, 5)), Step::Fold);
    }

    #[test]
    fn a_resumption_of_something_else_is_refused() {
        let mut feed = live_at(4);
        feed.subscribing();
        assert!(!feed.subscribed(&resumed_at(9)));
        assert_eq!(feed.subscribing(), None, "the next subscription asks for a snapshot");
    }

    #[test]
    fn a_snapshot_in_place_of_dropped_events_moves_on() {
        let mut feed = live_at(4);
        let snapshot = Snapshot { seq: 90, ..Snapshot::new(EPOCH) };
        assert!(feed.dropped(&Dropped { count: 86, snapshot }));
        assert_eq!(feed.deliver(&delivery(90, 91)), Step::Fold);
    }
}
