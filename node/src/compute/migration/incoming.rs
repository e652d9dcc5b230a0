//! A migration at its target.

use std::time::Duration;

use meshground_shared::{DaemonId, MigrationId, NodeId};

use super::{Advice, LONG, MAX_PAUSE, Offer, PAUSE, SILENCE, Stage, Unpacking};
use crate::{compute::Luggage, daemon::EntityKeypair, time::Instant};

/// How often the source is told how far this is, if nothing changes.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// And how often one that runs the daemon tells so, until the source has heard it.
const TELL_LIVE_EVERY: Duration = Duration::from_secs(5);

/// A fetch without a new item for so long is begun again.
const STALLED: Duration = Duration::from_secs(4);

/// How many parts of a state are told of.
const PARTS: u64 = 20;

/// A daemon that is made and waits is dropped when nothing was heard of the source for so long. That does no harm: a
/// source that has given it away asks first.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a target wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Fetch from this byte on.
    Fetch(u64),
    /// Call the fetch off that is under way.
    StopFetching,
    /// Tell the source this.
    Tell(Stage),
    /// Make the daemon out of this, and have it wait.
    Restore(Box<Luggage>),
    /// Drop what there is of the daemon.
    Discard,
    /// Forget about the migration.
    Forget,
}

/// A migration at its target.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Incoming {
    pub(crate) id: MigrationId,
    pub(crate) daemon: DaemonId,
    pub(crate) source: NodeId,
    pub(crate) offer: Offer,
    pub(crate) keypair: EntityKeypair,
    stage: Stage,
    unpacking: Option<Unpacking>,
    luggage: Option<Box<Luggage>>,
    /// How many events the daemon was sent after it.
    replayed: u64,
    fetching: bool,
    stopping: bool,
    item_at: Instant,
    fetch_at: Instant,
    pause: Duration,
    telling: bool,
    /// The stage told last, and what the source knows of.
    told: Option<Stage>,
    tell_at: Instant,
    heard: Instant,
    /// Since when it runs the daemon without the source being known to have heard that.
    unheard_since: Option<Instant>,
    /// What there is has yet to be dropped.
    discard: bool,
    over: bool,
}

impl Incoming {
    /// Takes an offer; `None` if it is more than may be taken.
    pub(crate) fn new(now: Instant, source: NodeId, offer: Offer) -> Option<Self> {
        let unpacking = Unpacking::new(offer.bytes)?;
        let keypair = EntityKeypair::from_seed(offer.seed);
        Some(Self {
            id: MigrationId(offer.migration),
            daemon: keypair.origin_hash(),
            source,
            offer,
            keypair,
            stage: Stage::Fetching(0),
            unpacking: Some(unpacking),
            luggage: None,
            replayed: 0,
            fetching: false,
            stopping: false,
            item_at: now,
            fetch_at: now,
            pause: PAUSE,
            telling: false,
            told: Some(Stage::Fetching(0)),
            tell_at: now + TELL_EVERY,
            heard: now,
            unheard_since: None,
            discard: false,
            over: false,
        })
    }

    /// Whether the daemon runs here.
    pub(crate) fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    /// Until when a move from here to elsewhere waits for the source to hear that the daemon has arrived, if it may not have. Until
    /// it has, it may take the daemon back if this node leaves or begins anew.
    pub(crate) fn unheard(&self) -> Option<Instant> {
        Some(self.unheard_since.filter(|_| !self.over)? + SILENCE)
    }

    /// The source, if it may not have heard yet that the daemon arrived, is told anew at once, whatever has become of telling it.
    pub(crate) fn tell_anew(&mut self, now: Instant) {
        if self.unheard().is_some() {
            (self.telling, self.tell_at) = (false, now);
        }
    }

    /// The source knows that the daemon has arrived, or has it no more.
    pub(crate) fn is_known_to_source(&mut self) {
        self.unheard_since = None;
    }

    /// Whether the daemon is made and waits.
    pub(crate) fn is_restored(&self) -> bool {
        self.stage == Stage::Restored
    }

    /// Whether it takes up one of the places there are for daemons on their way.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.over && matches!(self.stage, Stage::Fetching(_) | Stage::Restoring | Stage::Restored)
    }

    /// What it wants now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Want> {
        if std::mem::take(&mut self.discard) {
            return Some(Want::Discard);
        }
        let fetches = matches!(self.stage, Stage::Fetching(_)) && !self.over;
        if self.fetching && !self.stopping && (!fetches || now.saturating_since(self.item_at) >= STALLED) {
            self.stopping = true;
            return Some(Want::StopFetching);
        }
        if self.over && !self.fetching {
            return Some(Want::Forget);
        }
        if self.over {
            return None;
        }
        if let Some(luggage) = self.luggage.take() {
            return Some(Want::Restore(luggage));
        }
        if fetches && !self.fetching && self.fetch_at <= now {
            (self.fetching, self.stopping, self.item_at) = (true, false, now);
            return Some(Want::Fetch(self.unpacking.as_ref().map_or(0, Unpacking::len)));
        }
        if !self.telling && (self.tell_at <= now || self.is_news()) {
            self.telling = true;
            self.told = Some(self.stage.clone());
            return Some(Want::Tell(self.stage.clone()));
        }
        None
    }

    /// Whether the source has yet to be told of this stage at once.
    fn is_news(&self) -> bool {
        match (&self.told, &self.stage) {
            (Some(Stage::Fetching(told)), Stage::Fetching(have)) => {
                *have >= told + (self.offer.bytes / PARTS).max(1)
            }
            (Some(told), stage) => told != stage,
            // It could not be told just now.
            (None, _) => false,
        }
    }

    /// An item of what is fetched.
    pub(crate) fn item(&mut self, now: Instant, item: &[u8]) {
        (self.item_at, self.heard, self.pause) = (now, now, PAUSE);
        let Some(unpacking) = self.unpacking.as_mut().filter(|_| matches!(self.stage, Stage::Fetching(_)))
        else {
            return;
        };
        match unpacking.take(item) {
            Ok(false) => self.stage = Stage::Fetching(unpacking.len()),
            Ok(true) => {
                let unpacked = self.unpacking.take().map(Unpacking::unpack);
                match unpacked {
                    Some(Ok(luggage)) => {
                        self.luggage = Some(Box::new(luggage));
                        self.stage = Stage::Restoring;
                    }
                    _ => self.fail(now, "what was fetched cannot be read".to_owned()),
                }
            }
            // Sessions let nothing through that was altered, so one of the two has a defect, and would have it again.
            Err(_) => self.fail(now, "what was fetched is not what was sent".to_owned()),
        }
    }

    /// The fetch is over; with `refused` the source will not be fetched from again.
    pub(crate) fn fetched(&mut self, now: Instant, refused: bool) {
        (self.fetching, self.stopping) = (false, false);
        if matches!(self.stage, Stage::Fetching(_)) {
            self.fetch_at = now + self.pause;
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            if refused {
                // Whether the migration is over is for the answer to this to say.
                self.tell_at = now;
            }
        }
    }

    /// The daemon is made and waits.
    pub(crate) fn restored(&mut self) {
        if self.stage == Stage::Restoring {
            self.stage = Stage::Restored;
        }
    }

    /// It comes to nothing here, unless the daemon runs.
    pub(crate) fn fail(&mut self, now: Instant, reason: String) {
        if self.is_under_way() {
            self.stage = Stage::Failed(reason);
            (self.unpacking, self.luggage) = (None, None);
            self.discard = true;
            self.heard = now;
        }
    }

    /// Which of the events that follow the daemon are new: how many of those that begin at `from` to leave out. `None`
    /// if some are missing, or there is no daemon for them.
    pub(crate) fn replay(&mut self, now: Instant, from: u64, count: usize) -> Option<usize> {
        self.heard = now;
        if !self.is_restored() || from > self.replayed {
            return None;
        }
        let known = usize::try_from(self.replayed - from).unwrap_or(usize::MAX).min(count);
        self.replayed += (count - known) as u64;
        Some(known)
    }

    /// How many have followed.
    pub(crate) fn replayed(&self) -> u64 {
        self.replayed
    }

    /// The daemon runs here from now on. The source is told at once, and not only by the answer: what it says to that shows
    /// that it has heard.
    pub(crate) fn go_live(&mut self, now: Instant) {
        self.stage = Stage::Live;
        (self.heard, self.unheard_since) = (now, Some(now));
        // What is told at present is of a stage before this, and proves nothing.
        self.telling = false;
        self.told = Some(Stage::Live);
        self.tell_at = now;
    }

    /// What the source says, if anything, when it was told of this being live or not.
    pub(crate) fn advised(&mut self, now: Instant, of_live: bool, advice: Option<Advice>) {
        if of_live != self.is_live() {
            return;
        }
        self.telling = false;
        if of_live && advice.is_some() {
            self.is_known_to_source();
        }
        let every = if self.is_live() { TELL_LIVE_EVERY } else { TELL_EVERY };
        match advice {
            Some(Advice::GoOn) => {
                self.heard = now;
                self.tell_at = now + every;
                if matches!(self.stage, Stage::Failed(_)) {
                    self.over = true;
                }
            }
            Some(Advice::Over) => self.leave(),
            Some(Advice::Superseded) => {
                self.leave();
                self.discard = true;
            }
            None => {
                self.told = None;
                self.tell_at = now + every / 2;
            }
        }
    }

    /// It is over: what does not run is dropped.
    pub(crate) fn leave(&mut self) {
        self.over = true;
        self.discard = !self.is_live();
        (self.unpacking, self.luggage) = (None, None);
    }

    /// The source has something to say: it is told at once how far this is.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.tell_at = now;
    }

    /// What only time changes.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.patience().is_some_and(|until| until <= now) {
            if matches!(self.stage, Stage::Failed(_)) {
                self.over = true;
            } else {
                self.leave();
            }
        }
    }

    /// Until when it waits for the source.
    fn patience(&self) -> Option<Instant> {
        match self.stage {
            _ if self.over => None,
            Stage::Fetching(_) => Some(self.heard + SILENCE + SILENCE / 2),
            Stage::Restoring | Stage::Restored | Stage::Failed(_) => Some(self.heard + PATIENCE),
            Stage::Live => Some(self.heard + LONG),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`next`](Self::next) want to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let stalled = (self.fetching && !self.stopping).then(|| self.item_at + STALLED);
        let fetch = (!self.fetching && matches!(self.stage, Stage::Fetching(_))).then_some(self.fetch_at);
        let tell = (!self.telling).then_some(self.tell_at);
        [stalled, fetch, tell, self.patience()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::compute::migration::Packed;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn items() -> Vec<Vec<u8>> {
        let luggage = Luggage { state: vec![7; 600 << 10], ..Luggage::default() };
        let mut packed = Packed::new(luggage).unwrap();
        let (mut items, mut pieces) = (Vec::new(), packed.pieces(0).unwrap());
        while packed
            .next(&mut pieces, |item| {
                items.push(item.to_vec());
                Ok::<(), Infallible>(())
            })
            .unwrap()
        {}
        items
    }

    fn incoming() -> Incoming {
        let bytes = items().iter().map(|item| item.len() as u64).sum::<u64>() - 32;
        let offer = Offer {
            migration: 1,
            seed: [1; 32],
            kind: "kind".to_owned(),
            args: String::new(),
            member: None,
            generation: 2,
            cause: None,
            bytes,
        };
        Incoming::new(at(0), NodeId(3), offer).unwrap()
    }

    fn restored() -> Incoming {
        let mut incoming = incoming();
        assert_eq!(incoming.next(at(0)), Some(Want::Fetch(0)));
        for item in &items() {
            incoming.item(at(1), item);
        }
        incoming.fetched(at(1), false);
        assert!(matches!(incoming.next(at(1)), Some(Want::Restore(_))));
        incoming.restored();
        assert_eq!(incoming.next(at(1)), Some(Want::Tell(Stage::Restored)));
        incoming.advised(at(2), false, Some(Advice::GoOn));
        assert_eq!(incoming.next(at(2)), None);
        incoming
    }

    #[test]
    fn a_fetch_that_stalls_is_begun_again_where_it_stalled() {
        let mut incoming = incoming();
        incoming.next(at(0));
        incoming.item(at(1), &items()[0]);
        assert!(matches!(incoming.next(at(1)), Some(Want::Tell(Stage::Fetching(_)))));
        assert_eq!(incoming.next(at(4_001)), Some(Want::StopFetching));
        assert_eq!(incoming.next(at(4_001)), None);
        incoming.fetched(at(4_002), false);
        assert_eq!(incoming.next(at(4_052)), Some(Want::Fetch(256 << 10)));
    }

    #[test]
    fn what_follows_the_daemon_is_taken_once_and_without_gaps() {
        let mut incoming = restored();
        assert_eq!(incoming.replay(at(3), 0, 5), Some(0));
        assert_eq!(incoming.replay(at(3), 0, 5), Some(5), "again");
        assert_eq!(incoming.replay(at(3), 3, 5), Some(2));
        assert_eq!((incoming.replayed(), incoming.replay(at(3), 9, 1)), (8, None));
    }

    #[test]
    fn one_that_runs_tells_so_at_once_and_is_unheard_until_that_is_answered_or_ten_minutes_have_passed() {
        let mut incoming = restored();
        assert_eq!(incoming.unheard(), None);
        incoming.hurry(at(2));
        assert_eq!(incoming.next(at(2)), Some(Want::Tell(Stage::Restored)));
        incoming.go_live(at(3));
        assert_eq!(incoming.next(at(3)), Some(Want::Tell(Stage::Live)), "whatever is told beside");
        for advice in [Some(Advice::GoOn), Some(Advice::Over), None] {
            incoming.advised(at(4), false, advice);
        }
        assert_eq!(incoming.unheard(), Some(at(10_003)), "what was said to something earlier is no answer");
        assert_eq!(incoming.next(at(4)), None, "it is told already");
        incoming.advised(at(5), true, None);
        assert_eq!(incoming.unheard(), Some(at(10_003)));
        let mut gone = restored();
        gone.go_live(at(3));
        gone.leave();
        assert_eq!(gone.unheard(), None, "the source has left");
        let mut late = restored();
        late.go_live(at(3));
        late.handle_timeout(at(600_002));
        assert!(late.unheard().is_some());
        late.handle_timeout(at(600_003));
        assert_eq!(late.unheard(), None);
        incoming.advised(at(6), true, Some(Advice::GoOn));
        assert_eq!(incoming.unheard(), None);
    }

    #[test]
    fn one_that_waits_is_dropped_when_the_source_says_so_or_is_not_heard_for_long() {
        let mut incoming = restored();
        incoming.advised(at(3), false, Some(Advice::Over));
        assert_eq!(incoming.next(at(3)), Some(Want::Discard));
        assert_eq!(incoming.next(at(3)), Some(Want::Forget));
        let mut incoming = restored();
        incoming.handle_timeout(at(59_000));
        assert!(incoming.is_restored());
        incoming.handle_timeout(at(60_002));
        assert_eq!(incoming.next(at(60_002)), Some(Want::Discard));
    }

    #[test]
    fn one_that_runs_is_never_dropped_and_tells_so_until_the_source_has_heard_it() {
        let mut incoming = restored();
        incoming.go_live(at(3));
        incoming.fail(at(4), "late".to_owned());
        incoming.handle_timeout(at(500_000));
        assert_eq!(incoming.next(at(500_000)), Some(Want::Tell(Stage::Live)));
        incoming.advised(at(500_000), true, None);
        assert_eq!(incoming.next(at(502_500)), Some(Want::Tell(Stage::Live)));
        incoming.advised(at(502_500), true, Some(Advice::Over));
        assert_eq!(incoming.next(at(502_500)), Some(Want::Forget), "the migration, not the daemon");
    }

    #[test]
    fn a_source_that_never_comes_back_is_told_for_ten_minutes_and_the_daemon_stays() {
        let mut incoming = restored();
        incoming.go_live(at(3));
        incoming.handle_timeout(at(600_002));
        assert_eq!(incoming.next(at(600_002)), Some(Want::Tell(Stage::Live)));
        incoming.advised(at(600_002), true, None);
        incoming.handle_timeout(at(600_003));
        assert_eq!(incoming.next(at(600_003)), Some(Want::Forget), "the migration, not the daemon");
    }

    #[test]
    fn what_was_altered_on_the_way_is_dropped_and_the_source_told() {
        let mut incoming = incoming();
        incoming.next(at(0));
        let mut items = items();
        items[0][100] ^= 1;
        for item in &items {
            incoming.item(at(1), item);
        }
        incoming.fetched(at(1), false);
        assert_eq!(incoming.next(at(1)), Some(Want::Discard));
        assert!(matches!(incoming.next(at(1)), Some(Want::Tell(Stage::Failed(_)))));
    }
}
