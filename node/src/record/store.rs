//! The records a node holds: the newest of each key, bounded, each for its time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::NodeId;

use super::{Key, Record, Stamp, digest};
use crate::time::{Instant, Now, WallTime};

/// The most records held: four of each of 2,048 nodes.
const CAPACITY: usize = 8_192;

/// How far clocks may be apart, as in handshakes.
const TOLERANCE: Duration = Duration::from_secs(10);

/// What is to be done with a record that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Newer than what is held, if anything is.
    New,
    /// The same, or one that the same has been dropped of.
    Known,
    /// Older than what is held.
    Old,
    /// Its time is over, or has not begun by far.
    Untimely,
}

/// The records held.
#[derive(Debug, Default)]
pub(super) struct Store {
    held: BTreeMap<Key, Held>,
    by_expiry: BTreeSet<(Instant, Key)>,
    /// What was dropped before others drop it, so that it is not taken from them again.
    buried: BTreeMap<Key, Burial>,
    /// The same, the first to be taken again first.
    by_burial: BTreeSet<(Instant, Key)>,
    digest: u64,
}

/// A record and what this node knows of it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) record: Record,
    /// The signature was checked and holds, or is this node's own.
    signed: bool,
    /// From whom it came; `None` for this node's own.
    pub(super) source: Option<NodeId>,
    /// It has not been passed on yet, as its origin's links are not known.
    pub(super) waits: bool,
    expires: Instant,
}

impl Held {
    /// Whether its origin signed it; checked once at most, as it costs as much as thousands of other checks.
    pub(super) fn is_signed(&mut self) -> bool {
        self.signed = self.signed || self.record.is_signed();
        self.signed
    }
}

#[derive(Debug)]
struct Burial {
    stamp: Stamp,
    until: Instant,
}

impl Store {
    /// A number that differs between nodes that hold different records.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns how many records are held.
    #[cfg(feature = "floor")]
    pub(super) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) -> usize {
        use crate::audit::Gauge;
        let held = self.held.len().max(self.by_expiry.len());
        // This node's own come on top.
        each(Gauge::new("records", held, CAPACITY + super::RecordKind::ALL.len()));
        each(Gauge::new("records dropped", self.buried.len().max(self.by_burial.len()), CAPACITY));
        held
    }

    pub(super) fn get(&self, key: Key) -> Option<&Held> {
        self.held.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Held> {
        self.held.get_mut(&key)
    }

    /// The newest stamp seen of a key, held or dropped.
    fn newest(&self, key: Key) -> Option<Stamp> {
        let held = self.held.get(&key).map(|held| held.record.stamp);
        held.max(self.buried.get(&key).map(|burial| burial.stamp))
    }

    /// Whether a record would be taken if it were offered.
    pub(super) fn lacks(&self, key: Key, stamp: Stamp) -> bool {
        self.newest(key).is_none_or(|newest| newest < stamp)
    }

    /// Everyone something is held of, by id.
    pub(super) fn origins(&self) -> impl Iterator<Item = NodeId> {
        let mut last = None;
        self.held.keys().filter_map(move |key| {
            let repeated = last.replace(key.origin) == Some(key.origin);
            (!repeated).then_some(key.origin)
        })
    }

    /// What is held, by key.
    pub(super) fn entries(&self) -> Vec<(Key, Stamp)> {
        self.held.iter().map(|(key, held)| (*key, held.record.stamp)).collect()
    }

    /// What is held within a range of keys.
    pub(super) fn range(&self, first: Key, last: Key) -> impl Iterator<Item = (Key, Stamp)> {
        self.held.range(first..=last).map(|(key, held)| (*key, held.record.stamp))
    }

    pub(super) fn judge(&self, now: Now, record: &Record) -> Judgement {
        match self.newest(record.key) {
            Some(newest) if newest == record.stamp => Judgement::Known,
            Some(newest) if newest > record.stamp => Judgement::Old,
            _ if remaining(now.wall, record).is_zero() => Judgement::Untimely,
            _ => Judgement::New,
        }
    }

    /// Takes a record in the place of what is held under its key. Returns whether there was room: where there is none, only
    /// one that came `from` its origin itself gets in, in the place of the first to expire that did not.
    pub(super) fn insert(&mut self, now: Now, record: Record, from: NodeId, signed: bool) -> bool {
        let expires = now.instant + remaining(now.wall, &record);
        let direct = from == record.key.origin;
        if self.held.len() >= CAPACITY && !self.held.contains_key(&record.key) {
            let evicted = self.by_expiry.iter().map(|(_, key)| *key).find(|key| {
                self.held.get(key).is_some_and(|held| held.source.is_some_and(|source| source != key.origin))
            });
            match evicted {
                Some(evicted) if direct => _ = self.remove(evicted),
                _ => return false,
            }
        }
        self.put(Held { record, signed, source: Some(from), waits: true, expires });
        true
    }

    /// Takes a record of this node's own, which never expires here.
    pub(super) fn insert_own(&mut self, record: Record) {
        let expires = Instant::from_micros(u64::MAX);
        self.put(Held { record, signed: true, source: None, waits: false, expires });
    }

    fn put(&mut self, held: Held) {
        let key = held.record.key;
        self.remove(key);
        self.unbury(key);
        self.digest ^= digest(key, held.record.stamp);
        self.by_expiry.insert((held.expires, key));
        self.held.insert(key, held);
    }

    fn remove(&mut self, key: Key) -> Option<Record> {
        let held = self.held.remove(&key)?;
        self.digest ^= digest(key, held.record.stamp);
        self.by_expiry.remove(&(held.expires, key));
        Some(held.record)
    }

    /// Drops a record for good: neither it nor an older one is taken again. Returns whether it was held.
    pub(super) fn bury(&mut self, now: Instant, key: Key) -> bool {
        let Some(record) = self.remove(key) else { return false };
        self.unbury(key);
        if self.buried.len() >= CAPACITY
            && let Some(&(_, first)) = self.by_burial.first()
        {
            self.unbury(first);
        }
        // Until everybody would refuse it by the clock, whatever the clocks show.
        let until = now + record.ttl + TOLERANCE * 2;
        self.buried.insert(key, Burial { stamp: record.stamp, until });
        self.by_burial.insert((until, key));
        true
    }

    fn unbury(&mut self, key: Key) {
        if let Some(burial) = self.buried.remove(&key) {
            self.by_burial.remove(&(burial.until, key));
        }
    }

    /// Drops what has had its time; what that was.
    pub(super) fn expire(&mut self, now: Now) -> Vec<Key> {
        let mut gone = Vec::new();
        while let Some(&(at, key)) = self.by_expiry.first()
            && at <= now.instant
        {
            self.bury(now.instant, key);
            gone.push(key);
        }
        while !gone.is_empty()
            && let Some(&(until, key)) = self.by_burial.first()
            && until <= now.instant
        {
            self.unbury(key);
        }
        gone
    }

    /// When [`expire`](Self::expire) next has something to drop.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.by_expiry.first().map(|(at, _)| *at).filter(|at| *at < Instant::from_micros(u64::MAX))
    }
}

/// For how long a record is to be held if taken now; zero if it must not be. At most its lifetime, by this node's
/// monotonic clock, and not long beyond its end by the wall clock: else a record could go round for ever.
fn remaining(now: WallTime, record: &Record) -> Duration {
    let age = Duration::from_micros(now.0.saturating_sub(record.issued.0));
    let ahead = Duration::from_micros(record.issued.0.saturating_sub(now.0));
    if ahead > TOLERANCE {
        return Duration::ZERO;
    }
    (record.ttl + TOLERANCE).saturating_sub(age).min(record.ttl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identity::Identity, record::RecordKind};

    const TTL: Duration = Duration::from_mins(5);
    const WALL: u64 = 1_000_000_000;

    fn now(seconds: u64) -> Now {
        Now { instant: Instant::from_micros(seconds * 1_000_000), wall: WallTime(WALL + seconds * 1_000_000) }
    }

    fn record(seed: u8, version: u64, issued_s: u64) -> Record {
        let stamp = Stamp { incarnation: 1, version };
        let identity = Identity::from_seed([seed; 32]);
        let issued = WallTime(WALL + issued_s * 1_000_000);
        Record::sign(&identity, RecordKind::Capabilities, stamp, issued, TTL, b"")
    }

    #[test]
    fn the_newest_of_a_key_is_held_and_the_digest_tells() {
        let mut store = Store::default();
        let (first, second) = (record(1, 1, 0), record(1, 2, 0));
        assert_eq!(store.judge(now(0), &first), Judgement::New);
        assert!(store.insert(now(0), first.clone(), first.key.origin, true));
        let before = store.digest();
        assert_ne!(before, Store::default().digest());
        assert_eq!(store.judge(now(0), &first), Judgement::Known);
        assert_eq!(store.judge(now(0), &second), Judgement::New);
        assert!(store.insert(now(0), second.clone(), first.key.origin, true));
        assert_ne!(store.digest(), before);
        assert_eq!(store.judge(now(0), &first), Judgement::Old);
        assert_eq!(store.entries(), [(second.key, second.stamp)]);
    }

    #[test]
    fn digests_agree_whatever_the_order_of_arrival() {
        let (mut a, mut b) = (Store::default(), Store::default());
        let records = [record(1, 1, 0), record(2, 1, 0), record(2, 2, 0), record(3, 1, 0)];
        for record in &records {
            a.insert(now(0), record.clone(), record.key.origin, true);
        }
        for record in [3, 2, 0].map(|i: usize| &records[i]) {
            b.insert(now(9), record.clone(), record.key.origin, true);
        }
        assert_eq!(a.digest(), b.digest());
    }

    #[test]
    fn a_record_is_dropped_after_its_time_and_not_taken_again() {
        let mut store = Store::default();
        let old = record(1, 1, 0);
        store.insert(now(0), old.clone(), old.key.origin, true);
        assert_eq!(store.next_expiry(), Some(now(300).instant));
        assert_eq!(store.expire(now(299)), []);
        assert_eq!(store.expire(now(300)), [old.key]);
        assert_eq!(store.digest(), 0);
        assert_eq!(store.judge(now(301), &old), Judgement::Known, "another may hold it for longer");
        assert!(!store.lacks(old.key, old.stamp));
        assert_eq!(store.judge(now(301), &record(1, 2, 300)), Judgement::New);
    }

    #[test]
    fn whoever_takes_it_late_drops_it_hardly_later() {
        let mut store = Store::default();
        let late = record(1, 1, 0);
        store.insert(now(290), late.clone(), late.key.origin, true);
        assert_eq!(store.next_expiry(), Some(now(310).instant));
        assert_eq!(Store::default().judge(now(310), &late), Judgement::Untimely);
        assert_eq!(
            Store::default().judge(now(0), &record(1, 1, 11)),
            Judgement::Untimely,
            "out of the future"
        );
    }

    #[test]
    fn where_too_much_was_dropped_what_would_be_refused_soonest_is_forgotten_first() {
        let mut store = Store::default();
        let template = record(1, 1, 0);
        let far = |id: u64, ttl: Duration| {
            let mut record = template.clone();
            (record.key.origin, record.ttl) = (NodeId(id), ttl);
            record
        };
        let mut drop = |record: Record| {
            let key = record.key;
            assert!(store.insert(now(0), record, key.origin, true));
            assert!(store.bury(now(0).instant, key));
            assert_eq!(store.buried.len(), store.by_burial.len());
            store.buried.len()
        };
        drop(far(u64::MAX, TTL / 2));
        for id in 1..CAPACITY as u64 {
            drop(far(id, TTL));
        }
        assert_eq!(drop(far(0, TTL)), CAPACITY, "it is full");
        // The same key once more takes its own place.
        let again = Stamp { incarnation: 1, version: 2 };
        assert_eq!(drop(Record { stamp: again, ..far(7, TTL) }), CAPACITY);
        assert!(store.lacks(far(u64::MAX, TTL).key, template.stamp), "it was forgotten");
        assert!(!store.lacks(far(1, TTL).key, template.stamp));
        assert!(!store.lacks(far(7, TTL).key, again));
    }

    #[test]
    fn a_full_store_takes_only_what_an_origin_says_itself() {
        let mut store = Store::default();
        let template = record(1, 1, 0);
        let far = |id: u64| {
            let mut record = template.clone();
            record.key.origin = NodeId(id);
            record
        };
        for id in 0..CAPACITY as u64 {
            assert!(store.insert(now(0), far(id), NodeId(u64::MAX), true));
        }
        assert!(!store.insert(now(0), far(1 << 32), NodeId(u64::MAX), true), "no room");
        assert!(store.insert(now(0), far(1 << 33), NodeId(1 << 33), true), "a direct peer's goes before");
        assert_eq!(store.entries().len(), CAPACITY);
    }
}
