//! How records get to everyone.
//!
//! What is new goes on to those direct peers that cannot have it from its origin, so that in a full mesh nothing is
//! passed on at all. Whatever gets lost on the way, or was said before a node came, is found by comparing: pings carry a
//! digest over all records held, and where digests go on differing one end names what it holds, and both send what the
//! other lacks.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use meshground_shared::NodeId;

use super::{
    Content, Key, Record, RecordError, RecordKind, Stamp,
    store::{Judgement, Store},
    summary::{Parcel, Summary, Wanted},
};
use crate::time::{Instant, Now};

/// A difference to at least half of the peers is looked into after this long: it is probably this node that lacks
/// something.
const HASTE: Duration = Duration::from_millis(50);

/// A difference to a few peers is theirs to look into, unless they do not.
const RESTRAINT: Duration = Duration::from_secs(1);

/// Nothing is compared while records keep coming in: this long without one, and a millisecond more for each peer.
const QUIET: Duration = Duration::from_millis(50);

/// But a difference does not wait longer than this for quiet.
const PATIENCE: Duration = Duration::from_secs(2);

/// Comparisons are at least this far apart, whoever with.
const PAUSE: Duration = Duration::from_millis(250);

/// A comparison that changed nothing is repeated after twice the time, up to this.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Whoever is behind by no more than this will have caught up by now.
const LAG: Duration = Duration::from_millis(500);

/// Former digests remembered for that.
const MAX_FORMER: usize = 64;

/// A peer is sent at most this many bytes of records at a time, so as not to flood it.
const BURST: usize = 32 * 1_024;

/// How long until the next such burst.
const BURST_PAUSE: Duration = Duration::from_millis(10);

/// Pages of summaries that wait for a peer; a full store has fewer.
const MAX_PARCELS: usize = 256;

/// Something to send to a direct peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// A record.
    Record(Arc<[u8]>),
    /// The content of a summary frame.
    Summary(Vec<u8>),
}

/// What has come of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing: it is known, older than what is known, or untimely.
    Nothing,
    /// It is news.
    News(Key, Content),
    /// It is this node's own, and newer than what this node has said.
    Own(RecordKind, Stamp),
}

/// The records a node holds, and what its direct peers are to get of them.
#[derive(Debug)]
pub(crate) struct Spreading {
    local: NodeId,
    /// The longest content of a summary frame.
    max_parcel: usize,
    store: Store,
    neighbours: BTreeMap<NodeId, Neighbour>,
    /// Neighbours that something waits for.
    busy: BTreeSet<NodeId>,
    /// Neighbours whose last digest was not this node's.
    differing: BTreeMap<NodeId, Difference>,
    /// This node's digests before the present one, and until when each was it.
    former: VecDeque<(Instant, u64)>,
    last_change: Instant,
    last_comparison: Option<Instant>,
    /// Nothing is compared before this.
    postponed: Instant,
    /// Not before this is there anything to compare. To know it exactly, all differences must be looked at.
    look: Option<Instant>,
    gone: Vec<Key>,
}

#[derive(Debug, Default)]
struct Neighbour {
    /// Records it is to get; the newest at the time of sending.
    records: BTreeSet<Key>,
    parcels: VecDeque<Vec<u8>>,
    burst: Burst,
    compared: Option<Comparison>,
}

#[derive(Debug, Default)]
struct Burst {
    since: Instant,
    bytes: usize,
}

#[derive(Debug)]
struct Difference {
    theirs: u64,
    since: Instant,
    heard: Instant,
}

/// The last comparison with a neighbour.
#[derive(Debug)]
struct Comparison {
    at: Instant,
    digests: (u64, u64),
    pause: Duration,
    again: Instant,
}

impl Spreading {
    /// Of node `local`, whose summary frames have room for `max_parcel` bytes.
    pub(crate) fn new(local: NodeId, max_parcel: usize) -> Self {
        Self {
            local,
            max_parcel,
            store: Store::default(),
            neighbours: BTreeMap::new(),
            busy: BTreeSet::new(),
            differing: BTreeMap::new(),
            former: VecDeque::new(),
            last_change: Instant::default(),
            last_comparison: None,
            postponed: Instant::default(),
            look: None,
            gone: Vec::new(),
        }
    }

    /// Returns how many records are held.
    #[cfg(feature = "floor")]
    pub(crate) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) -> usize {
        use crate::audit::Gauge;
        for neighbour in self.neighbours.values() {
            each(Gauge::new("pages for a neighbour", neighbour.parcels.len(), MAX_PARCELS));
        }
        each(Gauge::new("former digests", self.former.len(), MAX_FORMER));
        each(Gauge::new("neighbours that differ", self.differing.len(), self.neighbours.len()));
        each(Gauge::new("neighbours to send to", self.busy.len(), self.neighbours.len()));
        self.store.gauges(each)
    }

    /// A number that differs between nodes that hold different records.
    pub(crate) fn digest(&self) -> u64 {
        self.store.digest()
    }

    /// A direct session stands: its other end gets this node's own records. What else it lacks, digests will tell.
    pub(crate) fn connect(&mut self, peer: NodeId) {
        let own = RecordKind::ALL.map(|kind| Key { origin: self.local, kind });
        let own = own.into_iter().filter(|key| self.store.get(*key).is_some()).collect();
        self.differing.remove(&peer);
        self.neighbours.insert(peer, Neighbour { records: own, ..Neighbour::default() });
        self.busy.insert(peer);
    }

    /// There is no direct session with `peer` any more.
    pub(crate) fn disconnect(&mut self, peer: NodeId) {
        self.neighbours.remove(&peer);
        self.busy.remove(&peer);
        self.differing.remove(&peer);
        if !self.differing.is_empty() {
            // Those that differ may be the most now.
            self.look = Some(Instant::default());
        }
    }

    /// Compares nothing before `until`: so much is about to change that differences say little.
    pub(crate) fn postpone(&mut self, until: Instant) {
        self.postponed = self.postponed.max(until);
    }

    /// Takes a record of this node's own, for everyone.
    pub(crate) fn publish(&mut self, now: Instant, record: Record) {
        let key = record.key;
        self.change(now, |store| store.insert_own(record));
        for peer in self.neighbours.keys().copied().collect::<Vec<_>>() {
            self.offer(now, key, peer);
        }
    }

    /// Bytes of a record came in from a direct peer.
    ///
    /// What an origin says itself needs no signature yet: the session has proved who speaks. It is checked before anyone
    /// else is told.
    pub(crate) fn on_record(&mut self, now: Now, from: NodeId, bytes: &[u8]) -> Result<Taken, RecordError> {
        let record = Record::parse(bytes)?;
        let (key, stamp) = (record.key, record.stamp);
        if key.origin == self.local {
            if !self.store.lacks(key, stamp) {
                return Ok(Taken::Nothing);
            }
            return if record.is_signed() {
                Ok(Taken::Own(key.kind, stamp))
            } else {
                Err(RecordError::Forged)
            };
        }
        match self.store.judge(now, &record) {
            Judgement::New => {}
            Judgement::Known => {
                if let Some(neighbour) = self.neighbours.get_mut(&from) {
                    neighbour.records.remove(&key);
                }
                return Ok(Taken::Nothing);
            }
            Judgement::Old | Judgement::Untimely => return Ok(Taken::Nothing),
        }
        let content = Content::parse(&record)?;
        let direct = key.origin == from;
        if !direct && !record.is_signed() {
            return Err(RecordError::Forged);
        }
        if !self.change(now.instant, |store| store.insert(now, record, from, !direct)) {
            return Ok(Taken::Nothing);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&from) {
            neighbour.records.remove(&key);
        }
        Ok(Taken::News(key, content))
    }

    /// Passes on what has come from `origin` and was not yet passed on, now that its links are known: to everyone but
    /// those whom `is_near` says to be linked with it, or with whoever it came from, and those whom others will serve to
    /// whom the same has passed it on.
    pub(crate) fn pass_on(
        &mut self,
        now: Instant,
        origin: NodeId,
        is_near: impl Fn(NodeId, NodeId) -> bool,
        is_left_to_others: impl Fn(NodeId, NodeId) -> bool,
    ) {
        for key in RecordKind::ALL.map(|kind| Key { origin, kind }) {
            let Some(held) = self.store.get_mut(key) else { continue };
            let Some(source) = held.source.filter(|_| std::mem::take(&mut held.waits)) else { continue };
            let has_it =
                |peer| peer == origin || peer == source || is_near(origin, peer) || is_near(source, peer);
            let is_served = |peer| has_it(peer) || is_left_to_others(source, peer);
            let others: Vec<NodeId> =
                self.neighbours.keys().copied().filter(|peer| !is_served(*peer)).collect();
            for peer in others {
                self.offer(now, key, peer);
            }
        }
    }

    /// Drops what `origin` has said, for good.
    pub(crate) fn forget(&mut self, now: Instant, origin: NodeId) {
        for key in RecordKind::ALL.map(|kind| Key { origin, kind }) {
            if self.change(now, |store| store.bury(now, key)) {
                self.gone.push(key);
            }
        }
    }

    /// Whether there is a direct session.
    pub(crate) fn has_neighbours(&self) -> bool {
        !self.neighbours.is_empty()
    }

    /// Everyone a record is held of, by id.
    pub(crate) fn origins(&self) -> impl Iterator<Item = NodeId> {
        self.store.origins()
    }

    /// A peer told the digest of what it holds.
    pub(crate) fn on_digest(&mut self, now: Instant, from: NodeId, theirs: u64) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        if theirs == self.store.digest() {
            self.differing.remove(&from);
            neighbour.compared = None;
            return;
        }
        if self.former.iter().any(|(until, digest)| *digest == theirs && now.saturating_since(*until) < LAG) {
            return;
        }
        let difference = self.differing.entry(from).or_insert(Difference { theirs, since: now, heard: now });
        (difference.theirs, difference.heard) = (theirs, now);
        let since = difference.since;
        let earliest = self.earliest(since).max(now);
        self.look = Some(self.look.map_or(earliest, |look| look.min(earliest)));
    }

    /// The content of a summary frame came in from a direct peer.
    pub(crate) fn on_parcel(&mut self, now: Instant, from: NodeId, bytes: &[u8]) -> Result<(), RecordError> {
        match Parcel::parse(bytes)? {
            Parcel::Wanted(Wanted(keys)) => keys.into_iter().for_each(|key| self.offer(now, key, from)),
            Parcel::Summary(Summary { first, last, entries }) => {
                let wanted: Vec<Key> = entries
                    .iter()
                    .filter(|(key, stamp)| self.store.lacks(*key, *stamp))
                    .map(|(key, _)| *key)
                    .collect();
                let theirs: BTreeMap<Key, Stamp> = entries.into_iter().collect();
                let newer: Vec<Key> = self
                    .store
                    .range(first, last)
                    .filter(|(key, stamp)| theirs.get(key).is_none_or(|theirs| theirs < stamp))
                    .map(|(key, _)| key)
                    .collect();
                for key in newer {
                    self.offer(now, key, from);
                }
                for page in Wanted::pages(&wanted, self.max_parcel) {
                    self.enclose(from, page.encode());
                }
            }
        }
        Ok(())
    }

    /// The next thing to send, and whither.
    pub(crate) fn poll_outgoing(&mut self, now: Instant) -> Option<(NodeId, Outgoing)> {
        let mut after = NodeId(0);
        while let Some(&peer) = self.busy.range(after..).next() {
            let Some(neighbour) = self.neighbours.get_mut(&peer) else { break };
            if neighbour.burst.has_room(now) {
                if let Some(outgoing) = neighbour.next(&mut self.store) {
                    return Some((peer, outgoing));
                }
                self.busy.remove(&peer);
            }
            after = NodeId(peer.0.checked_add(1)?);
        }
        None
    }

    /// A record this node no longer holds: its time was over, or it turned out not to be signed.
    pub(crate) fn poll_gone(&mut self) -> Option<Key> {
        self.gone.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_outgoing`](Self::poll_outgoing) next has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let burst = self.busy.iter().filter_map(|peer| self.neighbours.get(peer)).map(|it| it.burst.next());
        burst.chain(self.look).chain(self.store.next_expiry()).min()
    }

    /// Drops what has had its time, and compares where it is time to.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let expired = self.change(now.instant, |store| store.expire(now));
        self.gone.extend(expired);
        if self.look.is_some_and(|at| at <= now.instant) {
            if let Some((at, peer)) = self.next_comparison()
                && at <= now.instant
            {
                self.compare(now.instant, peer);
            }
            self.look = self.next_comparison().map(|(at, _)| at);
        }
    }

    /// Before this nobody is compared with whose digest has differed since `since`, for how many others' ever it does.
    fn earliest(&self, since: Instant) -> Instant {
        let peers = u32::try_from(self.neighbours.len()).unwrap_or(u32::MAX);
        let quiet = self.last_change + QUIET + Duration::from_millis(1) * peers;
        let paused = self.last_comparison.map_or(Instant::default(), |last| last + PAUSE);
        quiet.min(since + PATIENCE).max(paused).max(self.postponed)
    }

    fn next_comparison(&self) -> Option<(Instant, NodeId)> {
        let many = self.differing.len() * 2 >= self.neighbours.len();
        let due = |(peer, difference): (&NodeId, &Difference)| {
            // What others were told before the last change says little about what they lack now.
            if !many && difference.heard < self.last_change {
                return None;
            }
            let wait = if many { HASTE } else { RESTRAINT };
            let settled = self.earliest(difference.since).max(difference.since + wait);
            let compared = self.neighbours.get(peer)?.compared.as_ref();
            let (last, again) = compared.map_or_else(Default::default, |it| (it.at, it.again));
            // They take turns: the same one always might be down, and not be missed yet.
            Some((settled.max(again), last, *peer))
        };
        self.differing.iter().filter_map(due).min().map(|(at, _, peer)| (at, peer))
    }

    /// Names to `peer` what this node holds.
    fn compare(&mut self, now: Instant, peer: NodeId) {
        self.last_comparison = Some(now);
        let Some(difference) = self.differing.get(&peer) else { return };
        let digests = (self.store.digest(), difference.theirs);
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let pause = match &neighbour.compared {
            Some(last) if last.digests == digests => last.pause.saturating_mul(2).min(MAX_PAUSE),
            _ => PAUSE,
        };
        neighbour.compared = Some(Comparison { at: now, digests, pause, again: now + pause });
        for page in Summary::pages(&self.store.entries(), self.max_parcel) {
            self.enclose(peer, page.encode());
        }
    }

    /// Lets `peer` have a record, if it is there and good.
    fn offer(&mut self, now: Instant, key: Key, peer: NodeId) {
        let Some(held) = self.store.get_mut(key) else { return };
        if !held.is_signed() {
            self.change(now, |store| store.bury(now, key));
            self.gone.push(key);
            return;
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.records.insert(key);
            self.busy.insert(peer);
        }
    }

    fn enclose(&mut self, peer: NodeId, parcel: Vec<u8>) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && neighbour.parcels.len() < MAX_PARCELS
        {
            neighbour.parcels.push_back(parcel);
            self.busy.insert(peer);
        }
    }

    /// Does something with the store, and takes note if that changed what it holds.
    fn change<T>(&mut self, now: Instant, action: impl FnOnce(&mut Store) -> T) -> T {
        let before = self.store.digest();
        let outcome = action(&mut self.store);
        let after = self.store.digest();
        if before != after {
            self.last_change = now;
            if self.former.len() == MAX_FORMER {
                self.former.pop_front();
            }
            self.former.push_back((now, before));
            self.differing.retain(|_, difference| difference.theirs != after);
        }
        outcome
    }
}

impl Neighbour {
    fn next(&mut self, store: &mut Store) -> Option<Outgoing> {
        // Another may have come in since it was offered, from its origin and so unchecked.
        let record = std::iter::from_fn(|| self.records.pop_first()).find_map(|key| {
            let held = store.get_mut(key)?;
            held.is_signed().then(|| Arc::clone(held.record.bytes()))
        });
        if self.records.is_empty() {
            // An emptied set keeps memory, one that is new has none.
            self.records = BTreeSet::new();
        }
        let outgoing =
            record.map(Outgoing::Record).or_else(|| self.parcels.pop_front().map(Outgoing::Summary))?;
        self.burst.bytes += match &outgoing {
            Outgoing::Record(bytes) => bytes.len(),
            Outgoing::Summary(bytes) => bytes.len(),
        };
        Some(outgoing)
    }
}

impl Burst {
    fn has_room(&mut self, now: Instant) -> bool {
        if now >= self.since + BURST_PAUSE {
            *self = Self { since: now, bytes: 0 };
        }
        self.bytes < BURST
    }

    /// When there is room, if something waits for it.
    fn next(&self) -> Instant {
        self.since + BURST_PAUSE
    }
}
