//! When a daemon that crashed is started again.

use std::{collections::VecDeque, time::Duration};

use crate::time::Instant;

/// The pause after a first crash; each later one doubles it.
const BACKOFF: Duration = Duration::from_millis(500);

/// And this is the longest.
const MAX_BACKOFF: Duration = Duration::from_mins(1);

/// So many crashes within [`WINDOW`] are a crash loop.
const LOOP: usize = 5;

/// See [`LOOP`].
const WINDOW: Duration = Duration::from_mins(1);

/// How long a daemon in a crash loop stays down.
const REST: Duration = Duration::from_mins(5);

/// Whoever has run this long without a crash begins anew.
const STABLE: Duration = Duration::from_mins(1);

/// A daemon's crashes.
#[derive(Debug, Default)]
pub(crate) struct Supervision {
    /// The last few.
    crashes: VecDeque<Instant>,
    /// How many pauses there have been since it was last stable.
    pauses: u32,
    started: Instant,
}

/// What is done about a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It starts again then.
    BackOff(Instant),
    /// It crashes in a loop, and starts again then.
    Loop(Instant),
}

impl Supervision {
    /// It starts.
    pub(crate) fn start(&mut self, now: Instant) {
        self.started = now;
    }

    /// It crashed.
    pub(crate) fn crash(&mut self, now: Instant) -> Verdict {
        if now.saturating_since(self.started) >= STABLE {
            *self = Self::default();
        }
        self.crashes.push_back(now);
        while self.crashes.front().is_some_and(|&first| now.saturating_since(first) > WINDOW) {
            self.crashes.pop_front();
        }
        if self.crashes.len() >= LOOP {
            *self = Self::default();
            return Verdict::Loop(now + REST);
        }
        let pause = BACKOFF.saturating_mul(1 << self.pauses.min(16)).min(MAX_BACKOFF);
        self.pauses += 1;
        Verdict::BackOff(now + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn pauses_double_from_half_a_second_and_the_fifth_crash_in_a_minute_is_a_loop() {
        let mut supervision = Supervision::default();
        let mut now = 0;
        for pause in [500, 1_000, 2_000, 4_000] {
            supervision.start(at(now));
            assert_eq!(supervision.crash(at(now)), Verdict::BackOff(at(now + pause)));
            now += pause;
        }
        supervision.start(at(now));
        assert_eq!(supervision.crash(at(now)), Verdict::Loop(at(now + 300_000)));
    }

    #[test]
    fn pauses_never_get_longer_than_a_minute() {
        let mut supervision = Supervision::default();
        let mut now = 0;
        let mut longest = 0;
        for _ in 0..12 {
            supervision.start(at(now));
            // So far apart that they are no loop, and not so far that it was stable.
            now += 59_000;
            let Verdict::BackOff(until) = supervision.crash(at(now)) else { panic!("no loop") };
            longest = longest.max(until.saturating_since(at(now)).as_millis());
            now = until.as_micros() / 1_000;
        }
        assert_eq!(longest, 60_000);
    }

    #[test]
    fn a_minute_without_a_crash_forgets_those_before() {
        let mut supervision = Supervision::default();
        supervision.start(at(0));
        supervision.crash(at(0));
        supervision.start(at(500));
        supervision.crash(at(600));
        supervision.start(at(1_600));
        assert_eq!(supervision.crash(at(61_600)), Verdict::BackOff(at(62_100)));
    }
}
