//! The two kinds of time a node is told.
//!
//! A node reads no clock. Every input comes with a [`Now`]: a monotonic
//! [`Instant`] for everything that waits or measures, and a [`WallTime`] for the
//! little that must be compared between nodes.

use std::{
    ops::{Add, AddAssign},
    time::Duration,
};

/// Monotonic microseconds since an arbitrary start, the same for one driver's life.
///
/// `std::time::Instant` does not exist in a browser and cannot be made up in a
/// simulator; this one can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The last there is: what waits until then waits for ever.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// `micros` after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How much later than `earlier` this is; zero if it is not.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Rounds up: a wait that was rounded down would be over before its time had come,
    /// and whoever waits for that would never get anywhere.
    fn add(self, by: Duration) -> Self {
        let part = u64::from(!by.subsec_nanos().is_multiple_of(1_000));
        Self(self.0.saturating_add(micros(by)).saturating_add(part))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

/// Unix time in microseconds, as the node's machine believes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

impl WallTime {
    /// The distance between two wall times, whichever is later.
    pub const fn abs_diff(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }
}

/// The present, as the driver tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For everything that waits or measures.
    pub instant: Instant,
    /// For what is compared between nodes.
    pub wall: WallTime,
}

/// A duration in whole microseconds, saturating.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_over_too_early() {
        let start = Instant::from_micros(5);
        assert_eq!(start + Duration::ZERO, start);
        assert_eq!(start + Duration::from_nanos(1), Instant::from_micros(6));
        assert_eq!(start + Duration::from_micros(1), Instant::from_micros(6));
        assert_eq!(start + Duration::from_nanos(1_001), Instant::from_micros(7));
        assert_eq!(start + Duration::MAX, Instant::from_micros(u64::MAX));
    }
}
