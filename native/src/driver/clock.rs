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

/// The present.
pub(crate) fn now() -> Now {
    let micros = u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX);
    Now { instant: Instant::from_micros(micros), wall: WallTime(wall_us()) }
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
    fn no_two_nodes_of_a_process_are_born_at_the_same_time() {
        let births: Vec<u64> = (0..1_000).map(|_| birth().wall.0).collect();
        assert!(births.is_sorted_by(|earlier, later| earlier < later));
    }
}
