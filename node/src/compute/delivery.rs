//! What this node sends daemons, wherever they are: in order, each worked off at most once, and whoever sent it is told.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use meshground_shared::DaemonId;

use super::inbox::Settled;
use crate::{
    daemon::{DaemonEvent, DeliverError},
    time::Instant,
};

/// The most events under way to one daemon.
const BATCH: usize = 64;

/// The most bytes of them; one may go beyond.
const BATCH_BYTES: usize = 2 << 20;

/// The most that wait for one daemon.
const MAX_WAITING: usize = 4_096;

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
}

/// What is under way to all of them.
#[derive(Debug)]
pub(crate) struct Deliveries<T> {
    lanes: BTreeMap<DaemonId, Lane<T>>,
    /// What whoever waits is to be told.
    told: VecDeque<(T, Settled)>,
}

impl<T> Default for Deliveries<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), told: VecDeque::new() }
    }
}

impl<T> Lane<T> {
    fn new() -> Self {
        Self {
            first: 1,
            sent: Vec::new(),
            asking: false,
            again_at: None,
            pause: PAUSE,
            waiting: VecDeque::new(),
        }
    }
}

impl<T> Deliveries<T> {
    /// Takes something on.
    pub(crate) fn send(&mut self, to: DaemonId, parcel: Parcel<T>) {
        let lane = self.lanes.entry(to).or_insert_with(Lane::new);
        if lane.waiting.len() >= MAX_WAITING {
            self.told.push_back((parcel.for_whom, Err(DeliverError::Overloaded)));
        } else {
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
                let Some(parcel) = lane.waiting.pop_front() else { break };
                if let DaemonEvent::Message { payload, .. } = &parcel.event {
                    bytes += payload.len();
                }
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

    /// What was under way was worked off, with these outcomes.
    pub(crate) fn arrived(&mut self, to: DaemonId, outcomes: Vec<Settled>) {
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        lane.asking = false;
        lane.pause = PAUSE;
        lane.first += lane.sent.len() as u64;
        let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(|| Err(DeliverError::Unknown)));
        for ((_, for_whom, _), outcome) in lane.sent.drain(..).zip(outcomes) {
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
        let Self { lanes, told } = self;
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
            while lane.waiting.front().is_some_and(|parcel| parcel.deadline <= now) {
                let Some(parcel) = lane.waiting.pop_front() else { break };
                expire(parcel.for_whom);
            }
            // The count goes on for as long as the daemon may remember it.
            true
        });
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = self.lanes.values().flat_map(|lane| {
            let sent = lane.sent.iter().filter(|(_, for_whom, _)| for_whom.is_some()).map(|(.., at)| *at);
            let waiting = lane.waiting.front().map(|parcel| parcel.deadline);
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
}
