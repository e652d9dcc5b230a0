//! Which first messages were seen, so that a recorded one gets no answer.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::Ephemeral;
use crate::time::{Instant, WallTime};

/// How far a first message's wall time may be off.
pub(crate) const FRESH: Duration = Duration::from_secs(10);

/// How many are remembered. Only holders of the pre-shared key get in; should they
/// push out an entry too early, a replay costs one answer and gains nothing.
const CAPACITY: usize = 8_192;

/// The ephemeral keys of recent first messages.
#[derive(Debug, Default)]
pub(crate) struct SeenInitiations {
    by_age: VecDeque<(Instant, Ephemeral)>,
    keys: BTreeSet<Ephemeral>,
}

impl SeenInitiations {
    /// Whether a message begun at `begun` is recent enough to be told from a replay.
    pub(crate) fn is_fresh(begun: WallTime, now: WallTime) -> bool {
        begun.abs_diff(now) <= FRESH
    }

    /// Whether this one was seen.
    pub(crate) fn contains(&self, ephemeral: &Ephemeral) -> bool {
        self.keys.contains(ephemeral)
    }

    /// Lets one come again, as if it had not been seen.
    pub(crate) fn forget(&mut self, ephemeral: &Ephemeral) {
        self.keys.remove(ephemeral);
    }

    #[cfg(feature = "floor")]
    pub(crate) fn gauge(&self, what: &'static str, each: &mut dyn FnMut(crate::audit::Gauge)) {
        each(crate::audit::Gauge::new(what, self.by_age.len().max(self.keys.len()), CAPACITY));
    }

    /// Remembers one until no replay of it can be fresh any more.
    pub(crate) fn insert(&mut self, ephemeral: Ephemeral, now: Instant) {
        while let Some((since, oldest)) = self.by_age.front() {
            if self.by_age.len() < CAPACITY && now.saturating_since(*since) <= FRESH * 2 {
                break;
            }
            self.keys.remove(oldest);
            self.by_age.pop_front();
        }
        if self.keys.insert(ephemeral) {
            self.by_age.push_back((now, ephemeral));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initiation_is_remembered_for_as_long_as_it_could_be_replayed() {
        let mut seen = SeenInitiations::default();
        seen.insert([1; 32], Instant::from_micros(0));
        seen.insert([2; 32], Instant::from_micros(20_000_000));
        assert!(seen.contains(&[1; 32]), "a clock ten seconds ahead makes it fresh for twenty");
        seen.insert([3; 32], Instant::from_micros(20_000_001));
        assert!(!seen.contains(&[1; 32]) && seen.contains(&[2; 32]));
    }

    #[test]
    fn it_is_bounded() {
        let mut seen = SeenInitiations::default();
        for i in 0..2 * CAPACITY as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&i.to_le_bytes());
            seen.insert(key, Instant::from_micros(i));
        }
        assert_eq!((seen.by_age.len(), seen.keys.len()), (CAPACITY, CAPACITY));
    }

    #[test]
    fn ten_seconds_off_is_fresh_and_more_is_not() {
        let now = WallTime(100_000_000);
        assert!(SeenInitiations::is_fresh(WallTime(90_000_000), now));
        assert!(SeenInitiations::is_fresh(WallTime(110_000_000), now));
        assert!(!SeenInitiations::is_fresh(WallTime(89_999_999), now));
        assert!(!SeenInitiations::is_fresh(WallTime(110_000_001), now));
    }
}
