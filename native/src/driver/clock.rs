//! The clocks a node is shown.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant as StdInstant},
};

use meshground_node::{Instant, Now, WallTime};

use crate::log::wall_us;

/// When this process first asked for the time; every node's monotonic clock starts here.
static START: LazyLock<StdInstant> = LazyLock::new(StdInstant::now);

/// How far the wall clock was ahead of that when it was last looked at.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// When that was, 0 for never.
static LOOKED: AtomicU64 = AtomicU64::new(0);

/// The wall clock is looked at this often, in microseconds; in between the other one counts for it. A node asks for the
/// time many times for each datagram, and two clocks cost twice as much as one.
const LOOK: u64 = 10_000;

/// By less than this, in microseconds, the two are not found to have moved apart: a thread may be interrupted between
/// looking at one and at the other, and the wall time that nodes are shown should not jump back for that.
const APART: u64 = 1_000;

/// The present.
pub(crate) fn now() -> Now {
    let micros = u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX);
    Now { instant: Instant::from_micros(micros), wall: WallTime(micros.saturating_add(ahead(micros))) }
}

/// How far the wall clock is ahead of the other one, which shows `micros`.
fn ahead(micros: u64) -> u64 {
    // With this is read what was written before it.
    let looked = LOOKED.load(Ordering::Acquire);
    let before = AHEAD.load(Ordering::Relaxed);
    if looked != 0 && micros.saturating_sub(looked) < LOOK {
        return before;
    }
    let found = wall_us().saturating_sub(micros);
    let ahead = if looked != 0 && found.abs_diff(before) < APART { before } else { found };
    AHEAD.store(ahead, Ordering::Relaxed);
    LOOKED.store(micros.max(1), Ordering::Release);
    ahead
}

/// The present, for a node that is born now: its wall time is later than that of every node born before in this
/// process, even if the clock has been set back. A node's life is known by it, and peers keep to the later of two.
pub(crate) fn birth() -> Now {
    static LATEST: AtomicU64 = AtomicU64::new(0);
    let now = now();
    let later = |latest: u64| now.wall.0.max(latest.saturating_add(1));
    let latest = LATEST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |latest| Some(later(latest)));
    Now { wall: WallTime(later(latest.unwrap_or_default())), ..now }
}

/// The same moment, as tokio's timers want it.
pub(super) fn std_instant(instant: Instant) -> StdInstant {
    let after = Duration::from_micros(instant.as_micros());
    // Beyond what the clock can name: as good as never.
    START.checked_add(after).unwrap_or_else(|| StdInstant::now() + Duration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_nodes_are_shown_is_the_walls_and_never_runs_backwards() {
        let mut last = now();
        for _ in 0..100_000 {
            let next = now();
            assert!(next.wall >= last.wall && next.instant >= last.instant);
            last = next;
        }
        assert!(last.wall.0.abs_diff(wall_us()) < 1_000_000);
    }

    #[test]
    fn no_two_nodes_of_a_process_are_born_at_the_same_time() {
        let births: Vec<u64> = (0..1_000).map(|_| birth().wall.0).collect();
        assert!(births.is_sorted_by(|earlier, later| earlier < later));
    }
}
