//! What happened in a cluster, in one order for everybody.
//!
//! An [`EventLog`] numbers events densely, folds each into a [`Snapshot`] and keeps the latest in a ring. All of that
//! happens in one short critical section, so a subscriber's snapshot and the events after it fit together without a
//! gap or an overlap, and everybody sees the same order. Subscribers are places in the ring: however many there are and
//! however slow, they hold nothing of their own.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use meshground_shared::{CommandId, Epoch, Event, EventKind, NodeId, Snapshot};
use tokio::sync::watch;

use crate::{lock::lock, random};

/// How many events a log keeps for [`EventLog::resume`], unless told otherwise. A subscriber may also fall this
/// far behind before it loses events. A boot of 128 nodes in a full mesh writes a quarter of it.
///
/// An event takes less than 224 bytes and the ring grows as they come, so that a log of this capacity holds some 14 MiB,
/// and the texts in its events: names, reasons and, with up to 1,024 bytes each, the lines that daemons write.
pub const DEFAULT_CAPACITY: usize = 65_536;

/// A cluster's events, numbered from 1, and the [`Snapshot`] they fold to.
#[derive(Debug)]
pub struct EventLog {
    epoch: Epoch,
    began: Instant,
    capacity: usize,
    shared: Arc<Mutex<Inner>>,
    /// Says that there is more.
    grown: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    snapshot: Snapshot,
    /// The latest events, at most `capacity`.
    ring: VecDeque<Arc<Event>>,
}

/// Where things stood, and everything after that.
#[derive(Debug)]
pub struct Subscription {
    /// The fold of every event up to `snapshot.seq`.
    pub snapshot: Snapshot,
    /// The events from `snapshot.seq + 1` on.
    pub events: EventReceiver,
}

/// One subscriber's end of the log.
#[derive(Debug)]
pub struct EventReceiver {
    shared: Arc<Mutex<Inner>>,
    /// Closed when the log is gone.
    grown: watch::Receiver<()>,
    /// The `seq` of the next event.
    next: u64,
}

/// Why there is no next event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The subscriber was too slow; the next call goes on with the oldest event still kept. What it has folded so
    /// far is worthless: take a new [`Subscription`].
    #[error("{missed} events were missed: the subscriber was too slow, and must take a new subscription")]
    Lagged {
        /// How many events are lost.
        missed: u64,
    },
    /// The log is gone, and everything it held has been received.
    #[error("the event log is gone; subscribe to that of another cluster")]
    Closed,
}

impl EventLog {
    /// An empty log with a random epoch, which keeps [`DEFAULT_CAPACITY`] events.
    pub fn new() -> Arc<Self> {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// An empty log that keeps `capacity` events (at least 1) for [`resume`](Self::resume).
    pub fn with_capacity(capacity: usize) -> Arc<Self> {
        let capacity = capacity.max(1);
        let epoch = Epoch(u64::from_le_bytes(random::bytes()));
        Arc::new(Self {
            epoch,
            began: Instant::now(),
            capacity,
            shared: Arc::new(Mutex::new(Inner { snapshot: Snapshot::new(epoch), ring: VecDeque::new() })),
            grown: watch::Sender::new(()),
        })
    }

    /// Which life of the log its sequence numbers count in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Monotonic microseconds since the log began.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How many events it keeps for [`resume`](Self::resume).
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes down that `kind` happened, and returns the event as everybody sees it.
    pub fn append(&self, node: Option<NodeId>, cause: Option<CommandId>, kind: EventKind) -> Arc<Event> {
        let mut inner = self.lock();
        let event = Arc::new(Event {
            seq: inner.snapshot.seq + 1,
            // Read under the lock, so that time never runs backwards along the log.
            at_us: self.now_us(),
            wall_us: wall_us(),
            node,
            cause,
            kind,
        });
        inner.snapshot.apply(&event);
        if inner.ring.len() == self.capacity {
            inner.ring.pop_front();
        }
        inner.ring.push_back(Arc::clone(&event));
        drop(inner);
        self.grown.send_replace(());
        event
    }

    /// The fold of everything so far.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot.clone()
    }

    /// Looks at the fold of everything so far without copying it. `look` holds up the log: it must be quick, and
    /// must call neither it nor the cluster that writes to it.
    pub fn with_snapshot<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> T {
        look(&self.lock().snapshot)
    }

    /// Where things stand, and everything from here on.
    pub fn subscribe(&self) -> Subscription {
        let inner = self.lock();
        Subscription { snapshot: inner.snapshot.clone(), events: self.receiver(inner.snapshot.seq) }
    }

    /// Goes on after event `seq` of life `epoch`: first with what was missed since, then with everything from here on. `None`
    /// when that is another life, when `seq` has not happened yet, or when the log does not keep all of it any more; then
    /// [`subscribe`](Self::subscribe) anew. What was missed stays in the log, so whoever takes it too slowly may yet
    /// [lag](RecvError::Lagged).
    pub fn resume(&self, epoch: Epoch, seq: u64) -> Option<EventReceiver> {
        let inner = self.lock();
        let missed = inner.snapshot.seq.checked_sub(seq)?;
        let is_kept = usize::try_from(missed).is_ok_and(|missed| missed <= inner.ring.len());
        (is_kept && epoch == self.epoch).then(|| self.receiver(seq))
    }

    /// One that goes on after event `seq`.
    fn receiver(&self, seq: u64) -> EventReceiver {
        EventReceiver { shared: Arc::clone(&self.shared), grown: self.grown.subscribe(), next: seq + 1 }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding it can only have come from `with_snapshot`'s closure, which changes nothing.
        lock(&self.shared)
    }
}

impl EventReceiver {
    /// The next event, as soon as there is one. Cancel-safe: an event is only taken when it is returned.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] when events were lost, [`RecvError::Closed`] when no more can come.
    pub async fn recv(&mut self) -> Result<Arc<Event>, RecvError> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            if self.grown.changed().await.is_err() {
                // What came last may have come since the look above.
                return self.take()?.ok_or(RecvError::Closed);
            }
        }
    }

    /// The next event if it is there already; `None` if it is yet to come.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Arc<Event>>, RecvError> {
        if let Some(event) = self.take()? {
            return Ok(Some(event));
        }
        match self.grown.has_changed() {
            Ok(_) => Ok(None),
            Err(_) => self.take()?.map(Some).ok_or(RecvError::Closed),
        }
    }

    fn take(&mut self) -> Result<Option<Arc<Event>>, RecvError> {
        let inner = lock(&self.shared);
        let oldest = inner.snapshot.seq + 1 - inner.ring.len() as u64;
        let missed = oldest.saturating_sub(self.next);
        if missed > 0 {
            self.next = oldest;
            return Err(RecvError::Lagged { missed });
        }
        let place = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        let event = inner.ring.get(place).cloned();
        self.next += u64::from(event.is_some());
        Ok(event)
    }
}

/// Unix time in microseconds, for people; 0 before 1970.
pub(crate) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use meshground_shared::Topology;

    use super::*;

    fn nothing_much(nodes: u32) -> EventKind {
        EventKind::ClusterBooting { nodes, topology: Topology::Full }
    }

    fn filled(capacity: usize, events: u32) -> Arc<EventLog> {
        let log = EventLog::with_capacity(capacity);
        for n in 0..events {
            log.append(None, None, nothing_much(n));
        }
        log
    }

    fn seqs(events: &mut EventReceiver) -> Vec<u64> {
        std::iter::from_fn(|| events.try_recv().unwrap()).map(|event| event.seq).collect()
    }

    #[test]
    fn events_are_numbered_densely_from_one_and_time_never_runs_backwards() {
        let log = EventLog::new();
        let mut receiver = log.subscribe().events;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..250 {
                        log.append(None, None, nothing_much(thread * 1_000 + n));
                    }
                });
            }
        });
        let mut last_at = 0;
        for seq in 1..=1_000 {
            let event = receiver.try_recv().unwrap().unwrap();
            assert_eq!(event.seq, seq);
            assert!(event.at_us >= last_at);
            last_at = event.at_us;
        }
        assert_eq!(receiver.try_recv(), Ok(None));
        assert_eq!(log.snapshot().seq, 1_000);
    }

    #[test]
    fn every_subscriber_sees_concurrent_appends_in_the_same_order() {
        let log = EventLog::new();
        let (mut one, mut other) = (log.subscribe().events, log.subscribe().events);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    (0..100).for_each(|n| drop(log.append(None, None, nothing_much(thread * 1_000 + n))));
                });
            }
        });
        for _ in 0..400 {
            assert_eq!(one.try_recv().unwrap().unwrap(), other.try_recv().unwrap().unwrap());
        }
    }

    #[test]
    fn a_subscription_made_amid_appends_has_neither_gap_nor_overlap() {
        let log = EventLog::new();
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..2_000).for_each(|n| drop(log.append(None, None, nothing_much(n)))));
            while !writer.is_finished() {
                let Subscription { mut snapshot, mut events } = log.subscribe();
                if let Some(event) = events.try_recv().unwrap() {
                    assert_eq!(event.seq, snapshot.seq + 1);
                    snapshot.apply(&event);
                    assert_eq!(snapshot.seq, event.seq);
                }
            }
        });
    }

    #[test]
    fn resuming_brings_exactly_what_was_missed_and_then_what_comes() {
        let log = filled(8, 5);
        let mut events = log.resume(log.epoch(), 2).unwrap();
        log.append(None, None, nothing_much(6));
        assert_eq!(seqs(&mut events), [3, 4, 5, 6]);
    }

    #[test]
    fn one_that_has_resumed_holds_nothing_and_may_lag_like_any_other() {
        let log = filled(4, 4);
        let mut events = log.resume(log.epoch(), 0).unwrap();
        (0..3).for_each(|n| drop(log.append(None, None, nothing_much(n))));
        assert_eq!(events.try_recv(), Err(RecvError::Lagged { missed: 3 }));
        assert_eq!(seqs(&mut events), [4, 5, 6, 7]);
    }

    #[test]
    fn resuming_where_the_log_stands_misses_nothing() {
        let log = filled(8, 5);
        assert!(seqs(&mut log.resume(log.epoch(), 5).unwrap()).is_empty());
        let empty = filled(8, 0);
        assert!(seqs(&mut empty.resume(empty.epoch(), 0).unwrap()).is_empty());
    }

    #[test]
    fn resuming_from_the_future_is_refused() {
        let log = filled(8, 5);
        assert!(log.resume(log.epoch(), 6).is_none());
        assert!(log.resume(log.epoch(), u64::MAX).is_none());
    }

    #[test]
    fn resuming_another_life_is_refused() {
        let log = filled(8, 5);
        assert!(log.resume(Epoch(log.epoch().0 ^ 1), 5).is_none());
    }

    #[test]
    fn resuming_works_up_to_exactly_the_oldest_event_kept() {
        let log = filled(4, 10); // keeps 7, 8, 9 and 10
        assert_eq!(seqs(&mut log.resume(log.epoch(), 6).unwrap()), [7, 8, 9, 10]);
        assert!(log.resume(log.epoch(), 5).is_none());
        assert!(log.resume(log.epoch(), 0).is_none());
    }

    #[test]
    fn a_subscriber_that_lags_is_told_so() {
        let log = filled(4, 0);
        let mut events = log.subscribe().events;
        (0..10).for_each(|n| drop(log.append(None, None, nothing_much(n))));
        assert_eq!(events.try_recv(), Err(RecvError::Lagged { missed: 6 }));
        assert_eq!(events.try_recv().unwrap().unwrap().seq, 7);
    }

    #[test]
    fn an_event_is_as_small_as_the_capacity_reckons_with() {
        let counts = 2 * size_of::<usize>();
        let size = size_of::<Event>() + counts + size_of::<Arc<Event>>();
        assert!(size < 224, "{size}");
    }

    #[test]
    fn two_logs_never_share_an_epoch() {
        assert_ne!(EventLog::new().epoch(), EventLog::new().epoch());
    }

    #[test]
    fn a_log_that_is_gone_closes_its_receivers() {
        let log = filled(4, 0);
        let mut events = log.subscribe().events;
        log.append(None, None, nothing_much(0));
        drop(log);
        assert_eq!(events.try_recv().unwrap().unwrap().seq, 1);
        assert_eq!(events.try_recv(), Err(RecvError::Closed));
    }
}
