//! How much work strangers' first messages may make.
//!
//! A message 1 that authenticates costs one authentication tag to find out and is no failure. Those that do not are
//! counted against where they come from, in token buckets: one per address, and one per host, which then spares only
//! addresses without a failure of their own. So a stranger cannot silence the honest nodes beside it. What it can go on making
//! this node do, from ever new addresses or from more of them than are remembered, is to try one tag for each datagram it
//! sends, which costs little more than to receive it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{path::Path, time::Instant};

/// An address' failures: this many at once, and one more every `refill`.
const PER_ADDRESS: Rate = Rate { burst: 16, refill: Duration::from_secs(1), capacity: 1_024 };

/// A host's.
const PER_HOST: Rate = Rate { burst: 256, refill: Duration::from_millis(20), capacity: 256 };

/// How fast sources may fail, and how many of them are remembered; beyond, the one that failed longest ago is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) refill: Duration,
    pub(super) capacity: usize,
}

/// The sources that have failed of late.
#[derive(Debug)]
pub(super) struct Limits {
    addresses: Buckets<SocketAddr>,
    hosts: Buckets<IpAddr>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { addresses: Buckets::new(PER_ADDRESS), hosts: Buckets::new(PER_HOST) }
    }
}

impl Limits {
    /// Whether `from` has failed too often to be tried again now, whoever may stand there.
    pub(super) fn refuses(&self, now: Instant, from: Path) -> bool {
        let Path::Direct(from) = from else { return false };
        match self.addresses.debt(now, from) {
            0 => false,
            debt if debt >= PER_ADDRESS.burst => true,
            _ => self.hosts.debt(now, from.ip()) >= PER_HOST.burst,
        }
    }

    /// A message 1 of `from` was good for nothing.
    pub(super) fn count(&mut self, now: Instant, from: Path) {
        let Path::Direct(from) = from else { return };
        self.addresses.take(now, from);
        self.hosts.take(now, from.ip());
    }
}

#[cfg(feature = "floor")]
impl Limits {
    pub(super) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        each(crate::audit::Gauge::new("addresses that failed", self.addresses.len(), PER_ADDRESS.capacity));
        each(crate::audit::Gauge::new("hosts that failed", self.hosts.len(), PER_HOST.capacity));
    }
}

/// Token buckets, each as the time at which it will be full again.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    full_at: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord> Buckets<K> {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full_at: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// How many tokens are missing, up to all.
    pub(super) fn debt(&self, now: Instant, key: K) -> u32 {
        let Some(full_at) = self.full_at.get(&key) else { return 0 };
        let missing = full_at.saturating_since(now).as_micros().div_ceil(self.rate.refill.as_micros());
        u32::try_from(missing).unwrap_or(u32::MAX).min(self.rate.burst)
    }

    #[cfg(feature = "floor")]
    pub(super) fn len(&self) -> usize {
        self.full_at.len().max(self.by_time.len())
    }

    pub(super) fn take(&mut self, now: Instant, key: K) {
        let before = self.full_at.remove(&key);
        if let Some(before) = before {
            self.by_time.remove(&(before, key));
        }
        while self.full_at.len() >= self.rate.capacity
            || self.by_time.first().is_some_and(|(full_at, _)| *full_at <= now)
        {
            let Some((_, other)) = self.by_time.pop_first() else { break };
            self.full_at.remove(&other);
        }
        let most = now + self.rate.refill * self.rate.burst;
        let full_at = (before.unwrap_or(now).max(now) + self.rate.refill).min(most);
        self.full_at.insert(key, full_at);
        self.by_time.insert((full_at, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(port: u16) -> Path {
        Path::Direct(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn an_address_may_fail_some_times_at_once_and_then_once_a_second() {
        let mut limits = Limits::default();
        for _ in 0..PER_ADDRESS.burst {
            assert!(!limits.refuses(at(0), port(1)));
            limits.count(at(0), port(1));
        }
        assert!(limits.refuses(at(0), port(1)) && limits.refuses(at(999), port(1)));
        assert!(!limits.refuses(at(1_000), port(1)));
        limits.count(at(1_000), port(1));
        assert!(limits.refuses(at(1_001), port(1)));
        assert!(!limits.refuses(at(2_000), port(1)));
    }

    #[test]
    fn a_host_that_fails_too_often_is_refused_wherever_it_has_failed_and_nowhere_else() {
        let mut limits = Limits::default();
        for number in 0..256 {
            assert!(!limits.refuses(at(0), port(1_000 + number)));
            limits.count(at(0), port(1_000 + number));
        }
        assert!(limits.refuses(at(0), port(1_000)), "one failure is enough by now");
        assert!(!limits.refuses(at(0), port(1)), "who has not failed is not to blame");
        assert!(!limits.refuses(at(0), Path::Direct(([127, 0, 0, 2], 1_000).into())));
        assert!(!limits.refuses(at(20), port(1_000)), "with time comes trust");
    }

    #[test]
    fn whoever_rotates_over_more_addresses_than_are_remembered_is_tried_again() {
        let mut limits = Limits::default();
        let ports = 1..=u16::try_from(PER_ADDRESS.capacity).unwrap() + 1;
        for (time, number) in (1..).zip(ports.clone().chain(ports)) {
            let now = Instant::from_micros(time);
            assert!(!limits.refuses(now, port(number)), "the price of not silencing the honest nodes there");
            limits.count(now, port(number));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let mut limits = Limits::default();
        for number in 0..40_000 {
            limits.count(at(u64::from(number) / 100), port(number));
        }
        assert_eq!(limits.addresses.full_at.len(), PER_ADDRESS.capacity);
        assert_eq!(limits.addresses.by_time.len(), PER_ADDRESS.capacity);
        limits.count(at(60_000), port(1));
        assert_eq!((limits.addresses.full_at.len(), limits.hosts.full_at.len()), (1, 1));
        assert_eq!((limits.addresses.by_time.len(), limits.hosts.by_time.len()), (1, 1));
    }
}
