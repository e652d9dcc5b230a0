//! The proof that no event was missed.

use meshground_shared::{
    Epoch,
    rpc::{Delivery, Dropped, Resume, Subscribed},
};

/// Where this client stands in the event log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed {
    /// The last event folded, or what comes before the first; none before the server
    /// has told its epoch.
    at: Option<Resume>,
    /// Whether a subscription's answer is outstanding. Until it is here, events
    /// belong to the subscription it replaces and are not folded.
    waiting: bool,
    /// Whether the subscription asks for the whole log.
    whole: bool,
}

/// How many of the last events to ask for where the whole log is no longer kept.
const RECALLED: u64 = 400;

/// What a subscription's answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It goes on from here.
    Live,
    /// This is where things stand; subscribe once more, for the last events before.
    Recall,
    /// It resumes what this client never had: subscribe anew.
    Refused,
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
    /// The server said which life its log is in. Where this client stands nowhere in
    /// it, it wants to hear all of it, from the beginning.
    pub(crate) fn greeted(&mut self, epoch: Epoch) {
        if self.at.is_none_or(|at| at.epoch != epoch) {
            self.stand(epoch, 0);
            self.whole = true;
        }
    }

    /// A subscription was asked for. Gives what to resume from, if anything.
    pub(crate) fn subscribing(&mut self) -> Option<Resume> {
        self.waiting = true;
        self.at
    }

    /// The subscription's answer.
    pub(crate) fn subscribed(&mut self, answer: &Subscribed) -> Begun {
        self.waiting = false;
        let whole = std::mem::take(&mut self.whole);
        let goes_on = self.at.is_some_and(|at| at.epoch == answer.epoch && at.seq == answer.seq);
        if answer.snapshot.is_none() && !goes_on {
            self.at = None;
            return Begun::Refused;
        }
        if whole && answer.snapshot.is_some() && answer.seq > 0 {
            // Events at or before the snapshot change nothing in it but can be told.
            self.stand(answer.epoch, answer.seq.saturating_sub(RECALLED));
            return Begun::Recall;
        }
        self.stand(answer.epoch, answer.seq);
        Begun::Live
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
        Subscribed { epoch: EPOCH, seq, now_us: 0, snapshot: Some(snapshot) }
    }

    fn resumed_at(seq: u64) -> Subscribed {
        Subscribed { epoch: EPOCH, seq, now_us: 0, snapshot: None }
    }

    fn live_at(seq: u64) -> Feed {
        let mut feed = Feed::default();
        assert_eq!(feed.subscribing(), None);
        assert_eq!(feed.subscribed(&snapshot_at(seq)), Begun::Live);
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
        assert_eq!(feed.subscribed(&resumed_at(4)), Begun::Live);
        assert_eq!(feed.deliver(&delivery(4, 5)), Step::Fold);
    }

    #[test]
    fn a_resumption_of_something_else_is_refused() {
        let mut feed = live_at(4);
        feed.subscribing();
        assert_eq!(feed.subscribed(&resumed_at(9)), Begun::Refused);
        assert_eq!(feed.subscribing(), None, "the next subscription asks for a snapshot");
    }

    #[test]
    fn a_first_subscription_asks_for_the_whole_history() {
        let mut feed = Feed::default();
        feed.greeted(EPOCH);
        assert_eq!(feed.subscribing(), Some(Resume { epoch: EPOCH, seq: 0 }));
        assert_eq!(feed.subscribed(&resumed_at(0)), Begun::Live);
        assert_eq!(feed.deliver(&delivery(0, 1)), Step::Fold);
        assert_eq!(feed.deliver(&delivery(1, 2)), Step::Fold);
    }

    #[test]
    fn of_a_history_that_is_no_longer_kept_the_end_is_recalled() {
        let mut feed = Feed::default();
        feed.greeted(EPOCH);
        feed.subscribing();
        assert_eq!(feed.subscribed(&snapshot_at(9_000)), Begun::Recall);
        let end = 9_000 - RECALLED;
        assert_eq!(feed.subscribing(), Some(Resume { epoch: EPOCH, seq: end }));
        assert_eq!(feed.subscribed(&resumed_at(end)), Begun::Live);
        assert_eq!(feed.deliver(&delivery(end, end + 1)), Step::Fold);
    }

    #[test]
    fn where_not_even_the_end_is_kept_a_snapshot_must_do() {
        let mut feed = Feed::default();
        feed.greeted(EPOCH);
        feed.subscribing();
        assert_eq!(feed.subscribed(&snapshot_at(9_000)), Begun::Recall);
        feed.subscribing();
        assert_eq!(feed.subscribed(&snapshot_at(9_500)), Begun::Live);
        assert_eq!(feed.deliver(&delivery(9_500, 9_501)), Step::Fold);
    }

    #[test]
    fn a_server_that_came_back_is_resumed_and_a_new_one_is_heard_from_its_beginning() {
        let mut feed = live_at(4);
        feed.greeted(EPOCH);
        assert_eq!(feed.subscribing(), Some(Resume { epoch: EPOCH, seq: 4 }));
        let another = Epoch(8);
        feed.greeted(another);
        assert_eq!(feed.subscribing(), Some(Resume { epoch: another, seq: 0 }));
    }

    #[test]
    fn a_snapshot_in_place_of_dropped_events_moves_on() {
        let mut feed = live_at(4);
        let snapshot = Snapshot { seq: 90, ..Snapshot::new(EPOCH) };
        assert!(feed.dropped(&Dropped { count: 86, snapshot }));
        assert_eq!(feed.deliver(&delivery(90, 91)), Step::Fold);
    }
}
