//! Counts what was thrown away, and tells of it without letting a flood of bad
//! datagrams become a flood of events.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use meshground_shared::RejectReason;

use crate::{
    event::NodeEvent,
    time::Instant,
    timers::{Timer, Timers},
};

/// The least time between two rounds of events.
const PAUSE: Duration = Duration::from_millis(100);

/// How many sources one round tells apart; the rest are added to one of them.
const SOURCES: usize = 32;

/// Rejections so far, and those no event has told of yet.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    totals: BTreeMap<RejectReason, u64>,
    untold: BTreeMap<(RejectReason, SocketAddr), u64>,
}

impl Rejections {
    /// Counts one. The first after a quiet time is told at once.
    pub(super) fn count(
        &mut self,
        now: Instant,
        reason: RejectReason,
        from: SocketAddr,
        timers: &mut Timers,
    ) {
        *self.totals.entry(reason).or_default() += 1;
        let full = self.untold.len() >= SOURCES && !self.untold.contains_key(&(reason, from));
        let same_reason = self.untold.keys().find(|(untold, _)| *untold == reason).copied();
        let key = same_reason.filter(|_| full).unwrap_or((reason, from));
        *self.untold.entry(key).or_default() += 1;
        if !timers.is_set(Timer::Rejections) {
            timers.set(Timer::Rejections, now);
        }
    }

    /// Where the table is full, a reason that does not stand in it yet is added all the same.
    #[cfg(feature = "floor")]
    pub(super) fn gauge(&self, reasons: usize, each: &mut dyn FnMut(crate::audit::Gauge)) {
        each(crate::audit::Gauge::new("rejections to tell", self.untold.len(), SOURCES + reasons));
    }

    /// How many were thrown away for `reason`.
    pub(super) fn total(&self, reason: RejectReason) -> u64 {
        self.totals.get(&reason).copied().unwrap_or(0)
    }

    /// The timer's time has come: tells what is untold, then waits for the next round.
    pub(super) fn tell(&mut self, now: Instant, timers: &mut Timers, events: &mut impl Extend<NodeEvent>) {
        if self.untold.is_empty() {
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        events.extend(untold.into_iter().map(|((reason, address), count)| NodeEvent::Rejected {
            address,
            reason,
            count,
        }));
        timers.set(Timer::Rejections, now + PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_flood_becomes_few_events_that_count_everything() {
        let (mut rejections, mut timers, mut events) = (Rejections::default(), Timers::default(), Vec::new());
        for micros in 0..1_000_000 {
            let now = Instant::from_micros(micros);
            let port = u16::try_from(micros % 1_000).unwrap();
            rejections.count(now, RejectReason::PskMismatch, source(port), &mut timers);
            while let Some(timer) = timers.pop_due(now) {
                assert_eq!(timer, Timer::Rejections);
                rejections.tell(now, &mut timers, &mut events);
            }
        }
        timers.pop_due(Instant::from_micros(2_000_000)).unwrap();
        rejections.tell(Instant::from_micros(2_000_000), &mut timers, &mut events);
        assert!(events.len() <= 11 * (SOURCES + 1), "{} events", events.len());
        let told: u64 = events
            .iter()
            .map(|event| match event {
                NodeEvent::Rejected { count, .. } => *count,
                other => panic!("{other:?}"),
            })
            .sum();
        assert_eq!(told, 1_000_000);
        assert_eq!(rejections.total(RejectReason::PskMismatch), 1_000_000);
    }

    #[test]
    fn the_first_is_told_at_once_and_sources_are_told_apart() {
        let (mut rejections, mut timers, mut events) = (Rejections::default(), Timers::default(), Vec::new());
        let now = Instant::from_micros(5);
        for port in [1, 2, 1] {
            rejections.count(now, RejectReason::AuthFailed, source(port), &mut timers);
        }
        assert_eq!(timers.pop_due(now), Some(Timer::Rejections));
        rejections.tell(now, &mut timers, &mut events);
        let told = |port, count| NodeEvent::Rejected {
            address: source(port),
            reason: RejectReason::AuthFailed,
            count,
        };
        assert_eq!(events, [told(1, 2), told(2, 1)]);
    }
}
