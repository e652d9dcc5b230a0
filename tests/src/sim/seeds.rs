//! Which seeds a test runs, and how a failing one is told.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use meshground_node::Instant;

/// Tells where a run failed.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) seed: u64,
    pub(super) now: Instant,
}

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { seed, now } = self;
            eprintln!("this was seed {seed}, at {now:?}; MESHGROUND_SEED={seed} runs it alone");
        }
    }
}

/// The seeds a test runs: so many times the [`effort`], or the one in `MESHGROUND_SEED`.
///
/// # Panics
/// When one of these is set and no number.
pub fn seeds(count: u64) -> Vec<u64> {
    match number("MESHGROUND_SEED") {
        Some(seed) => vec![seed],
        None => (0..count * effort()).collect(),
    }
}

/// How many times as much is tried as in passing: `MESHGROUND_EFFORT`, or 1.
///
/// # Panics
/// When that is set and no number.
pub fn effort() -> u64 {
    number("MESHGROUND_EFFORT").unwrap_or(1)
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number; it is {value:?}")))
}

/// Runs `test` with each of the [`seeds`], as many at a time as there are cores.
///
/// # Panics
/// When one of them does, after all have run.
pub fn each_seed(count: u64, test: impl Fn(u64) + Sync) {
    let (seeds, next) = (seeds(count), AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    test(*seed);
                }
            });
        }
    });
}
