//! One deadline per thing that waits.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::NodeId;

use crate::{rpc::CallId, time::Instant};

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The handshake or session with this local index: resend or give up.
    Slot(u32),
    /// This peer: heartbeat or verdict.
    Peer(NodeId),
    /// This call: nobody waits for it any longer.
    Call(CallId),
    /// The connection with this peer: acknowledge, give up as lost, probe, or go on sending.
    Connection(NodeId),
    /// The keys shared with this peer: to be renewed.
    Rekey(NodeId),
    /// Whoever has not heard that this node leaves: to be told again.
    Farewells,
    /// Records: to be renewed, dropped, compared or passed on, and routes to be told of.
    Spreading,
    /// News that was not told when it happened.
    News,
    /// Rejections counted since the last event.
    Rejections,
}

/// The deadlines, soonest first. Setting one again moves it.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Instant, Timer)>,
    by_timer: BTreeMap<Timer, Instant>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(before) = self.by_timer.insert(timer, at) {
            self.by_time.remove(&(before, timer));
        }
        self.by_time.insert((at, timer));
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(before) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(before, timer));
        }
    }

    pub(crate) fn clear_all(&mut self) {
        self.by_time.clear();
        self.by_timer.clear();
    }

    /// When a timer goes off.
    pub(crate) fn at(&self, timer: Timer) -> Option<Instant> {
        self.by_timer.get(&timer).copied()
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.by_timer.contains_key(&timer)
    }

    /// How many there are.
    #[cfg(feature = "floor")]
    pub(crate) fn len(&self) -> usize {
        self.by_time.len().max(self.by_timer.len())
    }

    /// The soonest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out one whose time has come. That of what waits for ever never does.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        if at > now || at == Instant::MAX {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_has_one_deadline_and_due_ones_come_soonest_first() {
        let at = Instant::from_micros;
        let mut timers = Timers::default();
        timers.set(Timer::Slot(1), at(10));
        timers.set(Timer::Slot(2), at(20));
        timers.set(Timer::Slot(1), at(30));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.pop_due(at(19)), None);
        assert_eq!(timers.pop_due(at(30)), Some(Timer::Slot(2)));
        assert_eq!(timers.pop_due(at(30)), Some(Timer::Slot(1)));
        assert_eq!(timers.next(), None);
        timers.set(Timer::Rejections, at(5));
        timers.clear(Timer::Rejections);
        assert_eq!(timers.pop_due(at(9)), None);
    }
}
