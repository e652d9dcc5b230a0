//! What a node holds of a daemon that others stand by for: a state, and what was worked off since.

use std::{collections::VecDeque, sync::Arc};

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

use super::{Holding, InSync, Incarnation};
use crate::{
    compute::{Luggage, Receipt, Settled},
    daemon::{DaemonEvent, MAX_STATE},
    wire,
};

/// A journal whose last events take more bytes than this needs a new state; or than its state, if that is larger.
const MAX_TAIL_BYTES: usize = 1 << 20;

/// And one with more of them than this.
const MAX_TAIL: usize = 1_024;

/// The most bytes of events that somebody else may have a node hold.
const MAX_HELD: usize = 2 * MAX_STATE;

/// No daemon works off as many events as this.
const MAX_EVENTS: u64 = u64::MAX / 2;

/// A node in one of its lives, to which the work is left: begun anew, it may have gone on already, and forgotten that.
type Heir = (NodeId, u64);

/// An event that was worked off, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogEntry {
    pub(crate) event: DaemonEvent,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) outcome: Settled,
}

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Whose it is.
    pub(crate) of: Incarnation,
    /// In which life of its node that runs or ran.
    pub(crate) life: u64,
    /// That incarnation works off nothing more: the end is the end.
    pub(crate) sealed: bool,
    /// Who goes on from that end, if whoever reached it knew: one life of one node, and nobody has to be asked.
    pub(crate) heir: Option<Heir>,
    /// The incarnation that this one went on from, and after which of its events.
    pub(crate) before: Option<(Incarnation, u64)>,
    /// The last incarnation of which it held all that it went on from; `NONE` for none. What is held as long as it lacks some
    /// of that is a beginning of what that incarnation did.
    rooted: Incarnation,
    /// How many events the state has seen, and the state with what belongs to it.
    base: Option<(u64, Arc<[u8]>)>,
    /// The events since, with their sizes; the first is the `first`-th.
    tail: VecDeque<(LogEntry, usize)>,
    first: u64,
    bytes: usize,
    /// Who has to have what is told of, as far as this node has heard.
    pub(crate) in_sync: Option<InSync>,
    /// Who has asked last what is held here, to go on with it under which generation. Nothing is taken any more from
    /// whoever comes before that.
    fence: Incarnation,
    /// A newer state on its way here.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    of: Incarnation,
    at: u64,
    got: Vec<u8>,
}

/// A piece of a state on its way to a standby.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// How many events the state has seen.
    pub(crate) at: u64,
    pub(crate) len: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Journal {
    /// One of an incarnation that begins from nothing.
    pub(crate) fn new(of: Incarnation, life: u64) -> Self {
        Self {
            of,
            life,
            sealed: false,
            heir: None,
            before: None,
            rooted: Incarnation::NONE,
            base: None,
            tail: VecDeque::new(),
            first: 1,
            bytes: 0,
            in_sync: None,
            fence: Incarnation::NONE,
            partial: None,
        }
    }

    /// The incarnation that goes on from this one runs here now.
    pub(crate) fn go_on(&mut self, of: Incarnation, life: u64) {
        self.root();
        self.before = Some((self.of, self.end()));
        (self.of, self.life) = (of, life);
        (self.sealed, self.heir) = (false, None);
        self.partial = None;
    }

    /// An incarnation elsewhere goes on from another, after the event that `before` names. What is held of that other
    /// is what both have in common.
    pub(crate) fn follow(&mut self, of: Incarnation, before: (Incarnation, u64), life: u64) {
        let (other, last) = before;
        let shares = self.of == other && self.base.as_ref().is_some_and(|(at, _)| *at <= last);
        if of <= self.of || !shares {
            return;
        }
        self.root();
        while self.end() > last
            && let Some((_, size)) = self.tail.pop_back()
        {
            self.bytes -= size;
        }
        self.go_on(of, life);
        self.before = Some(before);
    }

    /// Whether it has all that its incarnation went on from.
    fn is_whole(&self) -> bool {
        self.base.is_some() && self.before.is_none_or(|(_, last)| self.end() >= last)
    }

    fn root(&mut self) {
        if self.is_whole() {
            self.rooted = self.of;
        }
    }

    /// What is held, for a comparison: the incarnation and the last event. One that lacks some of what its incarnation went
    /// on from counts as one of those before, whose events it holds.
    pub(crate) fn holds(&self) -> Option<(Incarnation, u64)> {
        self.base()?;
        Some((if self.is_whole() { self.of } else { self.rooted }, self.end()))
    }

    /// Whether the state lacks some of what its incarnation went on from. Whoever holds something else cannot go on with
    /// it without losing that.
    pub(crate) fn needs_own_state(&self) -> bool {
        self.before.is_some_and(|(_, last)| self.base.as_ref().is_none_or(|(at, _)| *at < last))
    }

    /// Lets go of what is held. Who was in sync stays known, as somebody may come to ask who does not know it, and so does
    /// to whom this node has promised to listen.
    pub(crate) fn forget(&mut self) {
        let (in_sync, fence) = (self.in_sync.take(), self.fence);
        *self = Self { in_sync, fence, ..Self::new(self.of, self.life) };
    }

    /// Begins another in its place. What was promised and heard stays.
    pub(crate) fn begin_anew(&mut self, of: Incarnation, life: u64) {
        self.forget();
        (self.of, self.life) = (of, life);
    }

    /// Whether it says something that others may have to know even if it holds nothing.
    pub(crate) fn is_bound(&self) -> bool {
        self.in_sync.is_some() || self.fence > Incarnation::NONE
    }

    /// Whether all that the one before it did is here and left to this one, and nobody has asked in order to go on with it.
    pub(crate) fn is_handed_over(&self, to: Incarnation, life: u64) -> bool {
        self.sealed && self.heir == Some((to.node, life)) && to.continues(self.of) && self.fence <= self.of
    }

    /// What is held, for whoever goes on with it.
    pub(crate) fn holding(&self, life: u64) -> Holding {
        Holding { life, upto: self.holds(), in_sync: self.in_sync.clone() }
    }

    /// Somebody asks in order to go on from here.
    pub(crate) fn fence(&mut self, by: Incarnation) {
        self.fence = self.fence.max(by);
    }

    /// Whether nothing may be taken any more from that incarnation.
    pub(crate) fn is_fenced(&self, of: Incarnation) -> bool {
        of < self.fence
    }

    /// The last that this node has promised to listen to nobody before.
    pub(crate) fn promised(&self) -> Incarnation {
        self.fence
    }

    /// Takes note of who is in sync.
    pub(crate) fn note(&mut self, in_sync: Option<InSync>) {
        self.in_sync = self.in_sync.take().max(in_sync);
    }

    /// The number of the last event.
    pub(crate) fn end(&self) -> u64 {
        self.first - 1 + self.tail.len() as u64
    }

    /// The state: how many events it has seen, and its bytes.
    pub(crate) fn base(&self) -> Option<(u64, &Arc<[u8]>)> {
        self.base.as_ref().map(|(at, bytes)| (*at, bytes))
    }

    /// Whether a newer state would save more than it costs.
    pub(crate) fn is_long(&self) -> bool {
        let base = self.base.as_ref().map_or(0, |(_, bytes)| bytes.len());
        self.base.is_none() || self.tail.len() > MAX_TAIL || self.bytes > base.max(MAX_TAIL_BYTES)
    }

    /// Writes down what was worked off.
    pub(crate) fn append(&mut self, entry: LogEntry) {
        let size = wire::encode(&entry).len();
        self.bytes += size;
        self.tail.push_back((entry, size));
    }

    /// Takes a state that has seen all events up to the `at`-th.
    pub(crate) fn rebase(&mut self, at: u64, bytes: Arc<[u8]>) {
        while self.first <= at {
            match self.tail.pop_front() {
                Some((_, size)) => {
                    self.bytes -= size;
                    self.first += 1;
                }
                None => self.first = at + 1,
            }
        }
        self.base = Some((at, bytes));
    }

    /// The events after the `have`-th, as many as make up to `most` bytes but at least one; `None` if they are no more
    /// here.
    pub(crate) fn after(&self, have: u64, most: usize) -> Option<Vec<LogEntry>> {
        let skip = usize::try_from((have + 1).checked_sub(self.first)?).ok()?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (entry, size) in self.tail.iter().skip(skip) {
            if bytes + size > most && !entries.is_empty() {
                break;
            }
            bytes += size;
            entries.push(entry.clone());
        }
        Some(entries)
    }

    /// Takes events from the incarnation it is of. What is known already, or leaves a gap, is not taken.
    pub(crate) fn extend(&mut self, first: u64, entries: Vec<LogEntry>) {
        if first > self.end() + 1 {
            return;
        }
        for (number, entry) in (first..).zip(entries) {
            if number == self.end() + 1 && self.bytes <= MAX_HELD {
                self.append(entry);
            }
        }
    }

    /// Takes a piece of a state. Until it is complete what is here stays as it is. Returns how much of it is here.
    /// What is here is given up only for what has all that its incarnation went on from, which is up to the event `least`.
    pub(crate) fn take_piece(&mut self, (of, life): (Incarnation, u64), least: u64, piece: Piece) -> u64 {
        let Piece { at, len, offset, bytes } = piece;
        let is_other = of > self.of || self.base.is_none();
        if self.base.as_ref().is_some_and(|(has, _)| at < if is_other { least } else { *has }) {
            return 0;
        }
        if of < self.of || len > 2 * MAX_STATE as u64 || at > MAX_EVENTS {
            return 0;
        }
        let partial = match self.partial.take() {
            Some(partial) if partial.of == of && partial.at == at => partial,
            _ => Partial { of, at, got: Vec::new() },
        };
        let partial = self.partial.insert(partial);
        if offset == partial.got.len() as u64 && offset + bytes.len() as u64 <= len {
            partial.got.extend_from_slice(&bytes);
        }
        let got = partial.got.len() as u64;
        if got < len {
            return got;
        }
        let state: Arc<[u8]> = std::mem::take(&mut partial.got).into();
        self.partial = None;
        if is_other {
            self.begin_anew(of, life);
            self.first = at + 1;
        }
        self.rebase(at, state);
        got
    }

    /// What an incarnation needs that goes on from here: what it brings along, and the events it then works off once
    /// more, in silence.
    pub(crate) fn resume(&self) -> Option<(Luggage, Vec<DaemonEvent>)> {
        let (_, bytes) = self.base.as_ref()?;
        let mut luggage = wire::decode::<Luggage>(bytes).ok()?.arrived()?;
        let mut events = Vec::new();
        for (LogEntry { event, receipt, outcome }, _) in &self.tail {
            if let Some(receipt) = receipt {
                luggage.inbox.learn(*receipt, outcome.clone());
            }
            // What one crashed over is not tried again.
            if outcome.is_ok() {
                events.push(event.clone());
            }
        }
        Some((luggage, events))
    }
}

/// One that is sent a journal.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Follower {
    /// Up to which event it has all of this incarnation; `None` without a state of it.
    pub(crate) have: Option<u64>,
    /// How many events the state it has has seen.
    pub(crate) base_at: u64,
    /// How much of the present state it has, if it is on its way.
    pub(crate) offset: u64,
    /// Something is on its way to it.
    pub(crate) is_asking: bool,
    /// The latest set of those in sync that it has heard of, of this incarnation; 0 for none.
    pub(crate) knows: u64,
    /// It was in sync, and is to hear when it is no more.
    pub(crate) was_in_sync: bool,
    /// The node's life, as it last said.
    pub(crate) life: u64,
    /// It keeps up, so that it had better be in sync.
    pub(crate) counts: bool,
    /// It has heard that nothing more comes.
    pub(crate) knows_end: bool,
    /// It took nothing of what it was last sent.
    pub(crate) is_stuck: bool,
    /// It holds nothing, and is none that is to hold anything.
    pub(crate) has_resigned: bool,
    /// Until then it is sent nothing.
    pub(crate) pause_until: Option<crate::time::Instant>,
    /// When it last said something, or nothing was sent.
    pub(crate) heard: crate::time::Instant,
}

impl Follower {
    /// One of which nothing is known yet.
    pub(crate) fn new(now: crate::time::Instant) -> Self {
        Self {
            have: None,
            base_at: 0,
            offset: 0,
            knows: 0,
            was_in_sync: false,
            life: 0,
            is_asking: false,
            counts: false,
            knows_end: false,
            is_stuck: false,
            has_resigned: false,
            pause_until: None,
            heard: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::inbox::Worked;

    fn of(generation: u64, node: u64) -> Incarnation {
        Incarnation::new(generation, NodeId(node))
    }

    fn entry(token: u64) -> LogEntry {
        let outcome = Ok(Worked { place: token, replies: Vec::new() });
        LogEntry { event: DaemonEvent::Alarm { token }, receipt: None, outcome }
    }

    fn state(processed: u64) -> Arc<[u8]> {
        wire::encode(&Luggage { processed, ..Luggage::default() }).into()
    }

    fn piece(journal: &Journal, offset: usize, most: usize) -> Piece {
        let (at, bytes) = journal.base().unwrap();
        let end = (offset + most).min(bytes.len());
        Piece { at, len: bytes.len() as u64, offset: offset as u64, bytes: bytes[offset..end].to_vec() }
    }

    #[test]
    fn a_standby_comes_to_hold_what_its_active_does() {
        let mut active = Journal::new(of(3, 1), 9);
        active.append(entry(1));
        active.rebase(1, state(1));
        active.append(entry(2));
        active.append(entry(3));
        let mut standby = Journal::new(of(0, 0), 0);
        let mut offset = 0;
        while standby.base().is_none() {
            let next = standby.take_piece((of(3, 1), 9), 0, piece(&active, offset, 2));
            offset = usize::try_from(next).unwrap();
        }
        assert_eq!((standby.of.generation, standby.end()), (3, 1));
        standby.extend(2, active.after(1, 1).unwrap());
        standby.extend(2, active.after(1, 1_000).unwrap());
        standby.extend(5, vec![entry(5)]);
        assert_eq!(standby.end(), 3, "what is known is not taken twice, nor what leaves a gap");
        let (luggage, events) = standby.resume().unwrap();
        assert_eq!((luggage.processed, events.len()), (1, 2));
        standby.rebase(3, state(3));
        assert_eq!(standby.resume().unwrap().1.len(), 0);
    }

    #[test]
    fn of_those_who_ask_in_order_to_go_on_only_the_last_may() {
        let mut journal = Journal::new(of(1, 1), 9);
        journal.rebase(4, state(4));
        (journal.sealed, journal.heir) = (true, Some((NodeId(5), 1)));
        assert!(journal.is_handed_over(of(2, 5), 1) && !journal.is_handed_over(of(2, 6), 1));
        assert!(!journal.is_handed_over(of(2, 5), 2), "begun anew, it may have gone on before");
        assert!(!journal.is_handed_over(of(1 << 20, 5), 1), "that takes over, and has to ask");
        journal.fence(of(2, 5));
        assert!(journal.is_fenced(of(1, 1)) && !journal.is_fenced(of(2, 5)));
        assert!(!journal.is_handed_over(of(2, 5), 1), "somebody asks for it");
        journal.fence(of(3, 4));
        journal.fence(of(2, 6));
        assert!(journal.is_fenced(of(2, 6)) && !journal.is_fenced(of(3, 4)));
        journal.begin_anew(of(2, 5), 9);
        assert!(journal.is_fenced(of(2, 5)), "what was promised stays");
    }

    #[test]
    fn figures_beyond_all_measure_are_refused() {
        let mut journal = Journal::new(of(1, 1), 9);
        journal.rebase(4, state(4));
        journal.extend(u64::MAX, vec![entry(5), entry(6)]);
        let bytes = state(1).to_vec();
        let len = bytes.len() as u64;
        for at in [u64::MAX, u64::MAX - 1] {
            let piece = Piece { at, len, offset: 0, bytes: bytes.clone() };
            assert_eq!(journal.take_piece((of(u64::MAX, 2), 9), 0, piece), 0);
        }
        assert_eq!((journal.of.generation, journal.end()), (1, 4));
    }

    #[test]
    fn what_a_standby_holds_stays_until_the_newer_state_is_complete() {
        let mut old = Journal::new(of(1, 1), 9);
        old.rebase(4, state(4));
        old.append(entry(5));
        let mut new = Journal::new(of(2, 2), 9);
        new.rebase(2, state(2));
        old.take_piece((of(2, 2), 9), 0, piece(&new, 0, 2));
        assert_eq!((old.of.generation, old.end()), (1, 5));
        old.take_piece((of(2, 2), 9), 0, piece(&new, 2, 1_000));
        assert_eq!((old.of.generation, old.end()), (2, 2));
    }

    #[test]
    fn of_two_incarnations_with_one_generation_the_later_is_followed_and_they_share_nothing() {
        let mut later = Journal::new(of(2, 2), 9);
        later.rebase(2, state(2));
        let mut journal = Journal::new(of(2, 1), 9);
        journal.rebase(4, state(4));
        journal.take_piece((of(2, 2), 9), 0, piece(&later, 0, 1_000));
        assert_eq!((journal.of, journal.end()), (of(2, 2), 2));
        let mut earlier = Journal::new(of(2, 1), 9);
        earlier.rebase(9, state(9));
        journal.take_piece((of(2, 1), 9), 0, piece(&earlier, 0, 1_000));
        assert_eq!(journal.of, of(2, 2), "what came before does not come back");
        journal.follow(of(3, 1), (of(2, 1), 2), 9);
        assert_eq!(journal.of, of(2, 2), "that one goes on from the other");
        journal.follow(of(3, 1), (of(2, 2), 2), 9);
        assert_eq!((journal.of, journal.end()), (of(3, 1), 2));
    }
}
