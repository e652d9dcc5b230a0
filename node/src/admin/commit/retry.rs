//! Saying something again until it is answered.

use std::time::Duration;

use crate::time::Instant;

/// When to say it next. Pauses double.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    at: Instant,
    pause: Duration,
    longest: Duration,
}

impl Retry {
    /// Next at `at`, then after `pause`, and so on.
    pub(super) fn new(at: Instant, pause: Duration, longest: Duration) -> Self {
        Self { at, pause, longest }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Whether it is time; if so, the next time is set.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.at {
            return false;
        }
        self.at = now + self.pause;
        self.pause = (self.pause * 2).min(self.longest);
        true
    }
}
