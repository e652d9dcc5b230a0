//! What this node sends daemons, wherever they are: in order, each worked off at most once, and whoever sent it is told.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use meshground_shared::DaemonId;

use super::inbox::{Settled, size};
use crate::{
    daemon::{DaemonEvent, DeliverError},
    time::Instant,
};

/// The most events under way to one daemon.
pub(super) const BATCH: usize = 64;

/// The most bytes of them; one may go beyond, up to [`MAX_BATCH_BYTES`].
const BATCH_BYTES: usize = 2 << 20;

/// What more than one never go beyond, so that a batch always fits a request.
pub(super) const MAX_BATCH_BYTES: usize = 3 << 20;

/// The most that wait for one daemon.
const MAX_WAITING: usize = 4_096;

/// The most bytes of them; one may go beyond.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// After this pause a batch that failed is sent again; each later one doubles it, to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);

/// See [`PAUSE`].
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Something that is to reach a daemon.
#[derive(Debug)]
pub(crate) struct Parcel<T> {
    pub(crate) event: DaemonEvent,
    /// Who is told what came of it.
    pub(crate) for_whom: T,
    /// When nobody waits for it any more.
    pub(crate) deadline: Instant,
}

/// What is under way to one daemon.
#[derive(Debug)]
struct Lane<T> {
    /// The number of the first of those under way, or of the next.
    first: u64,
    /// Those under way; nobody is told of one twice.
    sent: Vec<(DaemonEvent, Option<T>, Instant)>,
    /// Whether they are on the wire now.
    asking: bool,
    again_at: Option<Instant>,
    pause: Duration,
    waiting: VecDeque<Parcel<T>>,
    /// Of those that wait.
    bytes: usize,
    /// None of those that wait is given up before.
    soonest: Option<Instant>,
}

/// What is under way to all of them.
#[derive(Debug)]
pub(crate) struct Deliveries<T> {
    lanes: BTreeMap<DaemonId, Lane<T>>,
    /// The highest number used in lanes that are no more: new ones begin beyond it, as their daemons may remember.
    used: u64,
    /// What whoever waits is to be told.
    told: VecDeque<(T, Settled)>,
}

impl<T> Default for Deliveries<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), used: 0, told: VecDeque::new() }
    }
}

impl<T> Lane<T> {
    fn new(first: u64) -> Self {
        Self {
            first,
            sent: Vec::new(),
            asking: false,
            again_at: None,
            pause: PAUSE,
            waiting: VecDeque::new(),
            bytes: 0,
            soonest: None,
        }
    }

    /// The next of those that wait.
    fn pop(&mut self) -> Option<Parcel<T>> {
        let parcel = self.waiting.pop_front()?;
        self.bytes -= size(&parcel.event);
        Some(parcel)
    }

    /// Those that wait and nobody waits for any more.
    fn expired(&mut self, now: Instant) -> Vec<T> {
        if self.soonest.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let (expired, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|parcel| parcel.deadline <= now);
        self.bytes = left.iter().map(|parcel| size(&parcel.event)).sum();
        self.soonest = left.iter().map(|parcel| parcel.deadline).min();
        self.waiting = left.into();
        expired.into_iter().map(|parcel| parcel.for_whom).collect()
    }

    fn is_idle(&self) -> bool {
        !self.asking && self.sent.is_empty() && self.waiting.is_empty()
    }
}

impl<T> Deliveries<T> {
    /// Takes something on.
    pub(crate) fn send(&mut self, to: DaemonId, parcel: Parcel<T>) {
        let lane = self.lanes.entry(to).or_insert_with(|| Lane::new(self.used + 1));
        if lane.waiting.len() >= MAX_WAITING || lane.bytes >= MAX_WAITING_BYTES {
            self.told.push_back((parcel.for_whom, Err(DeliverError::Overloaded)));
        } else {
            lane.bytes += size(&parcel.event);
            lane.soonest = Some(lane.soonest.map_or(parcel.deadline, |at| at.min(parcel.deadline)));
            lane.waiting.push_back(parcel);
        }
    }

    /// The daemons something is to be sent to now.
    pub(crate) fn ready(&self, now: Instant) -> Vec<DaemonId> {
        let is_ready = |lane: &Lane<T>| {
            !lane.asking
                && (!lane.sent.is_empty() || !lane.waiting.is_empty())
                && lane.again_at.is_none_or(|at| at <= now)
        };
        self.lanes.iter().filter(|(_, lane)| is_ready(lane)).map(|(&id, _)| id).collect()
    }

    /// What is to be sent to a daemon now: the number of the first, and the events. It is under way until
    /// [`arrived`](Self::arrived) or [`failed`](Self::failed).
    pub(crate) fn dispatch(&mut self, to: DaemonId) -> Option<(u64, Vec<DaemonEvent>)> {
        let lane = self.lanes.get_mut(&to).filter(|lane| !lane.asking)?;
        if lane.sent.is_empty() {
            let mut bytes = 0;
            while lane.sent.len() < BATCH && bytes < BATCH_BYTES {
                bytes += lane.waiting.front().map_or(0, |parcel| size(&parcel.event));
                if bytes > MAX_BATCH_BYTES && !lane.sent.is_empty() {
                    break;
                }
                let Some(parcel) = lane.pop() else { break };
                lane.sent.push((parcel.event, Some(parcel.for_whom), parcel.deadline));
            }
        }
        if lane.sent.is_empty() {
            return None;
        }
        lane.asking = true;
        lane.again_at = None;
        Some((lane.first, lane.sent.iter().map(|(event, ..)| event.clone()).collect()))
    }

    /// What was under way was worked off, with these outcomes: of all, or of the first ones. The others are asked for again.
    pub(crate) fn arrived(&mut self, to: DaemonId, outcomes: Vec<Settled>) {
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        lane.asking = false;
        lane.pause = PAUSE;
        let count = outcomes.len().min(lane.sent.len());
        lane.first += count as u64;
        for ((_, for_whom, _), outcome) in lane.sent.drain(..count).zip(outcomes) {
            if let Some(for_whom) = for_whom {
                self.told.push_back((for_whom, outcome));
            }
        }
    }

    /// What was under way did not get through, or its daemon is not there; it is sent again in a while.
    pub(crate) fn failed(&mut self, now: Instant, to: DaemonId) {
        if let Some(lane) = self.lanes.get_mut(&to) {
            lane.asking = false;
            lane.again_at = Some(now + lane.pause);
            lane.pause = (lane.pause * 2).min(MAX_PAUSE);
        }
    }

    /// The daemon says that it takes none of this, and never did.
    pub(crate) fn refused(&mut self, to: DaemonId, error: &DeliverError) {
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        lane.asking = false;
        lane.pause = PAUSE;
        // Another incarnation may have taken some of it, so the numbers are not used again.
        lane.first += lane.sent.len() as u64;
        for (_, for_whom, _) in lane.sent.drain(..) {
            if let Some(for_whom) = for_whom {
                self.told.push_back((for_whom, Err(error.clone())));
            }
        }
    }

    /// The daemon is nowhere that can be reached. It is for [`hurry`](Self::hurry), or whatever else changes, to say
    /// when to look again, not for the time.
    pub(crate) fn nowhere(&mut self, to: DaemonId) {
        if let Some(lane) = self.lanes.get_mut(&to).filter(|lane| !lane.asking) {
            lane.again_at = None;
        }
    }

    /// A daemon was heard of again: what waits for it need not wait longer.
    pub(crate) fn hurry(&mut self, to: DaemonId) {
        if let Some(lane) = self.lanes.get_mut(&to) {
            lane.again_at = None;
            lane.pause = PAUSE;
        }
    }

    /// Gives up what nobody waits for any more. `is_known` says whether a daemon is known to run anywhere.
    pub(crate) fn handle_timeout(&mut self, now: Instant, is_known: impl Fn(DaemonId) -> bool) {
        let Self { lanes, used, told } = self;
        lanes.retain(|&to, lane| {
            let mut expire = |for_whom: T| {
                let error = if is_known(to) { DeliverError::Unknown } else { DeliverError::NotFound(to) };
                told.push_back((for_whom, Err(error)));
            };
            for (_, for_whom, deadline) in &mut lane.sent {
                if *deadline <= now
                    && let Some(for_whom) = for_whom.take()
                {
                    expire(for_whom);
                }
            }
            if lane.sent.iter().all(|(_, for_whom, _)| for_whom.is_none()) && !lane.asking {
                lane.first += lane.sent.len() as u64;
                lane.sent.clear();
            }
            lane.expired(now).into_iter().for_each(expire);
            let is_kept = !lane.is_idle() || is_known(to);
            if !is_kept {
                *used = (*used).max(lane.first - 1);
            }
            is_kept
        });
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = self.lanes.values().flat_map(|lane| {
            let sent = lane.sent.iter().filter(|(_, for_whom, _)| for_whom.is_some()).map(|(.., at)| *at);
            let waiting = lane.soonest;
            let again = lane.again_at.filter(|_| !lane.sent.is_empty() || !lane.waiting.is_empty());
            sent.min().into_iter().chain(waiting).chain(again)
        });
        times.min()
    }

    /// Who is to be told what.
    pub(crate) fn poll_told(&mut self) -> Option<(T, Settled)> {
        self.told.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compute::inbox::Worked, daemon::Sender};

    const TO: DaemonId = DaemonId(1);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn parcel(for_whom: u32) -> Parcel<u32> {
        let from = Sender::Node(meshground_shared::NodeId(1));
        let event = DaemonEvent::Message { from, payload: Vec::new() };
        Parcel { event, for_whom, deadline: at(10_000) }
    }

    #[allow(clippy::unnecessary_wraps, reason = "an outcome like any other")]
    fn worked(place: u64) -> Settled {
        Ok(Worked { place, replies: Vec::new() })
    }

    #[test]
    fn what_failed_is_sent_again_under_the_same_numbers_and_what_came_meanwhile_after_it() {
        let mut deliveries = Deliveries::default();
        deliveries.send(TO, parcel(1));
        assert_eq!(deliveries.dispatch(TO).unwrap().0, 1);
        deliveries.send(TO, parcel(2));
        assert!(deliveries.dispatch(TO).is_none(), "one batch at a time");
        deliveries.failed(at(0), TO);
        assert!(deliveries.ready(at(0)).is_empty());
        assert_eq!(deliveries.ready(at(50)), [TO]);
        let (first, events) = deliveries.dispatch(TO).unwrap();
        assert_eq!((first, events.len()), (1, 1));
        deliveries.arrived(TO, vec![worked(1)]);
        assert_eq!(deliveries.poll_told(), Some((1, worked(1))));
        assert_eq!(deliveries.dispatch(TO).unwrap().0, 2);
    }

    #[test]
    fn whoever_waits_too_long_is_told_so_once() {
        let mut deliveries = Deliveries::default();
        deliveries.send(TO, parcel(1));
        deliveries.dispatch(TO);
        deliveries.handle_timeout(at(10_000), |_| true);
        assert_eq!(deliveries.poll_told(), Some((1, Err(DeliverError::Unknown))));
        deliveries.arrived(TO, vec![worked(1)]);
        assert_eq!(deliveries.poll_told(), None);
        deliveries.send(TO, parcel(2));
        assert_eq!(deliveries.dispatch(TO).unwrap().0, 2);
    }

    #[test]
    fn what_was_never_sent_to_anybody_is_said_not_to_be_found() {
        let mut deliveries = Deliveries::default();
        deliveries.send(TO, parcel(1));
        deliveries.handle_timeout(at(10_000), |_| false);
        assert_eq!(deliveries.poll_told(), Some((1, Err(DeliverError::NotFound(TO)))));
    }

    #[test]
    fn of_a_daemon_that_is_gone_nothing_is_kept_and_no_number_used_again() {
        let mut deliveries = Deliveries::default();
        for round in 0..3 {
            deliveries.send(TO, parcel(1));
            assert_eq!(deliveries.dispatch(TO).unwrap().0, round + 1);
            deliveries.handle_timeout(at(0), |_| false);
            assert_eq!(deliveries.lanes.len(), 1, "something is under way");
            deliveries.arrived(TO, vec![worked(1)]);
            deliveries.handle_timeout(at(0), |_| true);
            assert_eq!(deliveries.lanes.len(), 1, "it may remember");
            deliveries.handle_timeout(at(0), |_| false);
            assert!(deliveries.lanes.is_empty());
        }
    }

    #[test]
    fn the_impatient_do_not_wait_behind_the_patient() {
        let mut deliveries = Deliveries::default();
        deliveries.send(TO, parcel(1));
        deliveries.send(TO, Parcel { deadline: at(5), ..parcel(2) });
        assert_eq!(deliveries.poll_timeout(), Some(at(5)));
        deliveries.handle_timeout(at(5), |_| true);
        assert_eq!(deliveries.poll_told(), Some((2, Err(DeliverError::Unknown))));
        assert_eq!((deliveries.poll_told(), deliveries.poll_timeout()), (None, Some(at(10_000))));
    }

    #[test]
    fn what_was_answered_in_part_is_asked_for_from_there_on() {
        let mut deliveries = Deliveries::default();
        (1..=3).for_each(|number| deliveries.send(TO, parcel(number)));
        deliveries.dispatch(TO);
        deliveries.arrived(TO, vec![worked(1), worked(2)]);
        assert_eq!(deliveries.poll_told(), Some((1, worked(1))));
        assert_eq!(deliveries.poll_told(), Some((2, worked(2))));
        let (first, events) = deliveries.dispatch(TO).unwrap();
        assert_eq!((first, events.len()), (3, 1));
    }

    #[test]
    fn no_batch_and_no_queue_is_larger_than_may_be() {
        let large = |for_whom| {
            let event = DaemonEvent::Answer { token: 1, outcome: Ok(vec![vec![0; 1_900_000]]) };
            Parcel { event, ..parcel(for_whom) }
        };
        let mut deliveries = Deliveries::default();
        (0..100).for_each(|number| deliveries.send(TO, large(number)));
        assert!(matches!(deliveries.poll_told(), Some((_, Err(DeliverError::Overloaded)))));
        assert_eq!(deliveries.dispatch(TO).unwrap().1.len(), 1);
    }
}
