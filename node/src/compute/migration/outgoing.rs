//! A migration at its source.

use std::time::Duration;

use meshground_shared::{CommandId, DaemonId, MigrationId, MigrationPhase, MigrationView, NodeId};

use super::{
    MAX_PAUSE, MigrateError, PAUSE, Packed, Pieces, Refusal, Replay, Replayed, SILENCE, Stage, Taken,
};
use crate::{
    compute::{Inbox, Luggage, Queued},
    time::Instant,
};

/// So long may it take to have the state of the daemon, and so long to make it anew out of it.
const WORK: Duration = Duration::from_mins(1);

/// After so long the source takes nothing new for the daemon, even if events keep coming.
const REPLAY: Duration = Duration::from_secs(3);

/// How often a transfer is begun again.
const MAX_RETRIES: u32 = 16;

/// So few events that wait, of so few bytes, go along with the cutover.
const FEW: usize = 64;
const FEW_BYTES: usize = 256 << 10;

/// What one message to the target has at most; one event may go beyond.
const MANY: usize = 256;
const MANY_BYTES: usize = 1 << 20;

/// Progress within these is not told.
const TELL_EVERY: Duration = Duration::from_millis(100);
const TELL_PARTS: u64 = 20;

/// What a source does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Offer the target the daemon.
    Offer,
    /// Send the target these.
    Replay(Replay),
    /// Take nothing new for the daemon; then [`Outgoing::sealed`].
    Seal,
    /// Send the target these, the last: from here on the daemon is the target's.
    Cutover(Replay),
    /// Let the daemon go on here: the migration is over.
    Stay,
    /// Drop the daemon: the migration is over, and the target runs it.
    Drop,
}

/// A migration at its source.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Outgoing {
    pub(crate) id: MigrationId,
    pub(crate) daemon: DaemonId,
    pub(crate) source: NodeId,
    pub(crate) target: NodeId,
    /// Which incarnation the daemon will be at the target.
    pub(crate) generation: u64,
    pub(crate) cause: Option<CommandId>,
    phase: MigrationPhase,
    begun: Instant,
    phase_since: Instant,
    /// When the target was last heard of.
    heard: Instant,
    packed: Option<Packed>,
    bytes_total: u64,
    bytes_done: u64,
    /// Whether the target has taken the offer.
    accepted: bool,
    fetches: u32,
    /// The target has made the daemon anew.
    restored: bool,
    /// So many of the events that wait the target has.
    replayed: usize,
    /// Nothing new is taken for the daemon.
    sealed: bool,
    /// Whoever commands it does not want to wait for the events to become few.
    forced: bool,
    /// The daemon is taken back by force, whatever the target has.
    taken_back: bool,
    /// A question is under way.
    asking: bool,
    again_at: Option<Instant>,
    pause: Duration,
    outcome: Option<Result<(), MigrateError>>,
    /// What was last told of it: when, the phase, and how many bytes there were.
    told: Option<(Instant, MigrationPhase, u64)>,
}

impl Outgoing {
    /// The state has been asked for.
    pub(crate) fn new(
        now: Instant,
        id: MigrationId,
        daemon: DaemonId,
        [source, target]: [NodeId; 2],
        generation: u64,
        cause: Option<CommandId>,
    ) -> Self {
        Self {
            id,
            daemon,
            source,
            target,
            generation,
            cause,
            phase: MigrationPhase::Snapshot,
            begun: now,
            phase_since: now,
            heard: now,
            packed: None,
            bytes_total: 0,
            bytes_done: 0,
            accepted: false,
            fetches: 0,
            restored: false,
            replayed: 0,
            sealed: false,
            forced: false,
            taken_back: false,
            asking: false,
            again_at: None,
            pause: PAUSE,
            outcome: None,
            told: None,
        }
    }

    pub(crate) fn phase(&self) -> MigrationPhase {
        self.phase
    }

    /// What came of it, once it is over.
    pub(crate) fn outcome(&self) -> Option<&Result<(), MigrateError>> {
        self.outcome.as_ref()
    }

    /// How many bytes the target is to fetch.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_total
    }

    fn enter(&mut self, now: Instant, phase: MigrationPhase) {
        (self.phase, self.phase_since) = (phase, now);
        (self.again_at, self.pause) = (None, PAUSE);
    }

    /// What is to be done now. Once what it says is under way, one of the answers below must follow.
    pub(crate) fn next(&mut self, waiting: Option<&Inbox>, now: Instant) -> Option<Order> {
        match self.phase {
            MigrationPhase::Complete => return Some(Order::Drop),
            MigrationPhase::Cancelled | MigrationPhase::Failed => return Some(Order::Stay),
            _ => {}
        }
        // Not as soon as that is heard, so that each phase is seen.
        if self.phase == MigrationPhase::Restore && self.restored {
            self.enter(now, MigrationPhase::Replay);
        }
        if self.asking || self.again_at.is_some_and(|at| at > now) {
            return None;
        }
        let order = match self.phase {
            MigrationPhase::Transfer if !self.accepted => Order::Offer,
            MigrationPhase::Replay => {
                let (events, all) = self.chunk(waiting?, if self.sealed { MANY } else { FEW });
                let late = self.forced || now.saturating_since(self.phase_since) >= REPLAY;
                if !self.sealed && (all || late) {
                    return Some(Order::Seal);
                }
                if self.sealed && all {
                    // The source does not run it again, unless it hears that the target does not have it.
                    self.enter(now, MigrationPhase::Cutover);
                    Order::Cutover(events)
                } else if self.sealed {
                    Order::Replay(events)
                } else {
                    Order::Replay(self.chunk(waiting?, MANY).0)
                }
            }
            MigrationPhase::Cutover => Order::Cutover(self.chunk(waiting?, usize::MAX).0),
            _ => return None,
        };
        self.asking = true;
        self.again_at = None;
        Some(order)
    }

    /// The next of those that wait, and whether that is all of them.
    fn chunk(&self, waiting: &Inbox, most: usize) -> (Replay, bool) {
        let most_bytes = if most > FEW { MANY_BYTES } else { FEW_BYTES };
        let (mut events, mut bytes): (Vec<Queued>, usize) = (Vec::new(), 0);
        for queued in waiting.waiting(self.replayed) {
            bytes += queued.size();
            // What was sent as the last is sent as the same again.
            let full = events.len() >= most || (bytes > most_bytes && most != usize::MAX);
            if full && !(events.is_empty() && most > FEW) {
                return (self.replay(events), false);
            }
            events.push(queued.clone());
        }
        (self.replay(events), true)
    }

    fn replay(&self, events: Vec<Queued>) -> Replay {
        Replay { migration: self.id.0, from: self.replayed as u64, events }
    }

    /// Nothing new is taken for the daemon any more.
    pub(crate) fn sealed(&mut self) {
        self.sealed = true;
    }

    /// The daemon's state, if it has one.
    pub(crate) fn snapshot(&mut self, now: Instant, luggage: Option<Luggage>) {
        if self.phase != MigrationPhase::Snapshot {
            return;
        }
        match luggage.and_then(Packed::new) {
            Some(packed) => {
                self.bytes_total = packed.len() as u64;
                self.packed = Some(packed);
                self.heard = now;
                self.enter(now, MigrationPhase::Transfer);
            }
            None => self.fail(now, MigrateError::NoState(self.daemon)),
        }
    }

    /// A question came to nothing; it is asked again in a while.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.asking = false;
        self.again_at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    fn answered(&mut self, now: Instant) {
        self.asking = false;
        self.heard = now;
        self.pause = PAUSE;
    }

    /// What the target says to [`Order::Offer`]; `kind` is that of the daemon.
    pub(crate) fn offered(&mut self, now: Instant, kind: &str, taken: Taken) {
        self.answered(now);
        match taken {
            Ok(()) => self.accepted = true,
            Err(Refusal::KindNotFound) => {
                self.fail(now, MigrateError::KindNotFound { node: self.target, kind: kind.to_owned() });
            }
            Err(Refusal::Closed) => self.fail(now, MigrateError::Closed(self.target)),
            Err(Refusal::Other(reason)) => self.fail(now, MigrateError::Failed(reason)),
        }
    }

    /// The target fetches, from this byte on. What it is given, if it is given anything.
    pub(crate) fn fetch(&mut self, now: Instant, from: u64) -> Option<Pieces> {
        if self.phase != MigrationPhase::Transfer {
            return None;
        }
        self.heard = now;
        // It has heard of the offer, even if its answer to that has not come yet.
        self.accepted = true;
        self.fetches += 1;
        if self.fetches > MAX_RETRIES + 1 {
            self.fail(now, MigrateError::Failed(format!("the transfer broke {MAX_RETRIES} times")));
            return None;
        }
        self.packed.as_ref()?.pieces(from)
    }

    /// What it is given.
    pub(crate) fn packed(&mut self) -> Option<&mut Packed> {
        self.packed.as_mut()
    }

    /// The target tells how far it is.
    pub(crate) fn told_by_target(&mut self, now: Instant, stage: Stage) {
        use MigrationPhase::{Complete, Cutover, Restore, Snapshot, Transfer};
        self.heard = now;
        match (stage, self.phase) {
            (Stage::Fetching(have), Transfer) => {
                self.bytes_done = self.bytes_done.max(have).min(self.bytes_total);
            }
            (Stage::Restoring, Transfer) => self.restores(now),
            (Stage::Restored, Transfer | Restore) => {
                self.restores(now);
                self.restored = true;
            }
            (Stage::Failed(reason), Cutover) => self.unknown(now, &reason),
            (Stage::Failed(reason), phase) if phase != Snapshot => {
                self.fail(now, MigrateError::Failed(reason));
            }
            (Stage::Live, Cutover) => self.end(now, Complete, Ok(())),
            _ => {}
        }
    }

    fn restores(&mut self, now: Instant) {
        if self.phase == MigrationPhase::Transfer {
            self.accepted = true;
            self.packed = None;
            self.bytes_done = self.bytes_total;
            self.enter(now, MigrationPhase::Restore);
        }
    }

    /// What the target says to [`Order::Replay`].
    pub(crate) fn replayed(&mut self, now: Instant, answer: Replayed) {
        self.answered(now);
        match answer {
            // A late answer may tell of less.
            Replayed::Upto(count) => {
                self.replayed = self.replayed.max(usize::try_from(count).unwrap_or(usize::MAX));
            }
            Replayed::Unknown => self.fail(now, MigrateError::Failed("the target dropped it".to_owned())),
        }
    }

    /// What the target says to [`Order::Cutover`].
    pub(crate) fn cut(&mut self, now: Instant, answer: Replayed) {
        self.answered(now);
        if self.phase == MigrationPhase::Cutover {
            match answer {
                Replayed::Upto(_) => self.end(now, MigrationPhase::Complete, Ok(())),
                Replayed::Unknown => self.unknown(now, "the target does not have it"),
            }
        }
    }

    /// The target says after the cutover that it does not have the daemon and never will: so it is the source's again.
    fn unknown(&mut self, now: Instant, reason: &str) {
        self.end(now, MigrationPhase::Failed, Err(MigrateError::Failed(reason.to_owned())));
    }

    /// Somebody says that this incarnation of the daemon runs at the target, or a later one somewhere.
    pub(crate) fn seen_live(&mut self, now: Instant, generation: u64) {
        if self.phase == MigrationPhase::Cutover && generation >= self.generation {
            self.end(now, MigrationPhase::Complete, Ok(()));
        }
    }

    /// It comes to nothing, unless the daemon has been given away already.
    pub(crate) fn fail(&mut self, now: Instant, error: MigrateError) {
        if self.phase < MigrationPhase::Cutover {
            self.end(now, MigrationPhase::Failed, Err(error));
        }
    }

    /// Calls it off.
    pub(crate) fn cancel(&mut self, now: Instant) -> Result<(), MigrateError> {
        if self.phase < MigrationPhase::Cutover {
            self.end(now, MigrationPhase::Cancelled, Err(MigrateError::Cancelled));
            return Ok(());
        }
        Err(MigrateError::TooLate)
    }

    /// Calls it off even after the cutover; who calls for this answers for what the target may do.
    pub(crate) fn kill(&mut self, now: Instant) {
        if !self.phase.is_over() {
            self.taken_back = self.phase == MigrationPhase::Cutover;
            self.end(now, MigrationPhase::Cancelled, Err(MigrateError::Cancelled));
        }
    }

    /// Which incarnation the daemon is from now on, if it was taken back by force: one that is right against the target's.
    pub(crate) fn new_generation(&self) -> Option<u64> {
        self.taken_back.then(|| self.generation.saturating_add(1))
    }

    /// Has it not wait until few events wait.
    pub(crate) fn force(&mut self) {
        self.forced = true;
    }

    fn end(&mut self, now: Instant, phase: MigrationPhase, outcome: Result<(), MigrateError>) {
        self.enter(now, phase);
        self.packed = None;
        self.outcome = Some(outcome);
    }

    /// What only time changes.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let in_phase = now.saturating_since(self.phase_since);
        match self.phase {
            MigrationPhase::Snapshot if in_phase >= WORK => {
                self.fail(now, MigrateError::Failed(format!("its state was not there within {WORK:?}")));
            }
            MigrationPhase::Restore if in_phase >= WORK => {
                self.fail(now, MigrateError::Failed(format!("it was not made anew within {WORK:?}")));
            }
            MigrationPhase::Transfer | MigrationPhase::Restore | MigrationPhase::Replay
                if now.saturating_since(self.heard) >= SILENCE =>
            {
                let error = if self.accepted {
                    MigrateError::Failed(format!("nothing was heard of the target for {SILENCE:?}"))
                } else {
                    MigrateError::Unreachable(self.target)
                };
                self.fail(now, error);
            }
            _ => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`next`](Self::next) want to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let limit = match self.phase {
            MigrationPhase::Snapshot => Some(self.phase_since + WORK),
            MigrationPhase::Restore => Some((self.phase_since + WORK).min(self.heard + SILENCE)),
            MigrationPhase::Transfer | MigrationPhase::Replay => Some(self.heard + SILENCE),
            _ => None,
        };
        let asks = match self.phase {
            MigrationPhase::Transfer => !self.accepted,
            phase => matches!(phase, MigrationPhase::Replay | MigrationPhase::Cutover),
        };
        limit.into_iter().chain(self.again_at.filter(|_| asks && !self.asking)).min()
    }

    /// As everybody sees it; `buffered` events wait.
    pub(crate) fn view(&self, now: Instant, buffered: usize) -> MigrationView {
        let micros = |since| u64::try_from(now.saturating_since(since).as_micros()).unwrap_or(u64::MAX);
        MigrationView {
            id: self.id,
            daemon: self.daemon,
            source: self.source,
            target: self.target,
            phase: self.phase,
            bytes_total: self.bytes_total,
            bytes_done: self.bytes_done,
            buffered: u32::try_from(buffered).unwrap_or(u32::MAX),
            retries: self.fetches.saturating_sub(1),
            elapsed_us: micros(self.begun),
            phase_us: micros(self.phase_since),
            reason: self.outcome.as_ref().and_then(|outcome| outcome.as_ref().err()).map(ToString::to_string),
        }
    }

    /// Whether there is something to tell of it that was not told yet.
    pub(crate) fn is_news(&mut self, now: Instant) -> bool {
        let news = self.told.is_none_or(|(at, phase, bytes)| {
            let step = (self.bytes_total / TELL_PARTS).max(1);
            phase != self.phase || (self.bytes_done >= bytes + step && now.saturating_since(at) >= TELL_EVERY)
        });
        if news {
            self.told = Some((now, self.phase, self.bytes_done));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compute::SenderKey,
        daemon::{DaemonEvent, Sender},
    };

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn begun() -> Outgoing {
        let mut outgoing = Outgoing::new(at(0), MigrationId(1), DaemonId(2), [NodeId(3), NodeId(4)], 2, None);
        outgoing.snapshot(at(0), Some(Luggage { state: vec![7; 1_000], ..Luggage::default() }));
        outgoing
    }

    fn inbox(count: usize) -> Inbox {
        let mut inbox = Inbox::default();
        let sender = SenderKey { node: NodeId(9), life: 1 };
        let event = DaemonEvent::Message { from: Sender::Node(NodeId(9)), payload: vec![1] };
        inbox.take(sender, 1, vec![event; count]).unwrap();
        inbox
    }

    fn restored(waiting: &Inbox) -> Outgoing {
        let mut outgoing = begun();
        assert_eq!(outgoing.next(Some(waiting), at(0)), Some(Order::Offer));
        outgoing.offered(at(1), "kind", Ok(()));
        outgoing.told_by_target(at(2), Stage::Restored);
        outgoing
    }

    /// With all that waited sent and the daemon given away.
    fn cut_over(waiting: &Inbox) -> Outgoing {
        let mut outgoing = restored(waiting);
        assert_eq!(outgoing.next(Some(waiting), at(3)), Some(Order::Seal));
        outgoing.sealed();
        assert!(matches!(outgoing.next(Some(waiting), at(3)), Some(Order::Cutover(_))));
        outgoing
    }

    #[test]
    fn what_waits_goes_ahead_in_order_until_few_are_left_and_these_go_along_with_the_cutover() {
        let waiting = inbox(600);
        let mut outgoing = restored(&waiting);
        let mut sent = 0;
        loop {
            match outgoing.next(Some(&waiting), at(3)).expect("there is something to do") {
                Order::Replay(Replay { from, events, .. }) => {
                    assert_eq!(from, sent);
                    sent += events.len() as u64;
                    outgoing.replayed(at(3), Replayed::Upto(sent));
                }
                Order::Seal => outgoing.sealed(),
                Order::Cutover(Replay { from, events, .. }) => {
                    assert_eq!((from, from + events.len() as u64), (sent, 600));
                    assert!(events.len() <= FEW);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        outgoing.cut(at(4), Replayed::Upto(600));
        assert_eq!(
            (outgoing.phase(), outgoing.next(None, at(4))),
            (MigrationPhase::Complete, Some(Order::Drop))
        );
    }

    #[test]
    fn events_that_never_end_or_an_impatient_operator_do_not_keep_it_from_the_cutover() {
        for impatient in [false, true] {
            let waiting = inbox(300);
            let mut outgoing = restored(&waiting);
            if impatient {
                outgoing.force();
            }
            let when = if impatient { at(3) } else { at(3) + REPLAY };
            if !impatient {
                assert!(matches!(outgoing.next(Some(&waiting), at(3)), Some(Order::Replay(_))));
                outgoing.replayed(at(3), Replayed::Upto(0));
            }
            assert_eq!(outgoing.next(Some(&waiting), when), Some(Order::Seal));
            outgoing.sealed();
            let Some(Order::Replay(first)) = outgoing.next(Some(&waiting), when) else { panic!("too many") };
            assert_eq!(first.events.len(), MANY);
            outgoing.replayed(when, Replayed::Upto(MANY as u64));
            assert!(matches!(outgoing.next(Some(&waiting), when), Some(Order::Cutover(_))));
        }
    }

    #[test]
    fn after_the_cutover_only_the_target_can_give_the_daemon_back() {
        let waiting = inbox(3);
        let mut outgoing = cut_over(&waiting);
        assert_eq!(outgoing.cancel(at(4)), Err(MigrateError::TooLate));
        outgoing.fail(at(4), MigrateError::Frozen);
        outgoing.unanswered(at(5_000));
        outgoing.handle_timeout(at(10_000_000));
        assert_eq!(outgoing.phase(), MigrationPhase::Cutover);
        let again = outgoing.next(Some(&waiting), at(10_000_000));
        assert!(matches!(again, Some(Order::Cutover(Replay { events, .. })) if events.len() == 3));
        outgoing.cut(at(10_000_001), Replayed::Unknown);
        assert_eq!(outgoing.next(None, at(10_000_001)), Some(Order::Stay));
    }

    #[test]
    fn a_lost_answer_to_the_cutover_is_made_up_for_by_whatever_else_tells_of_the_daemon() {
        let mut outgoing = cut_over(&inbox(0));
        outgoing.seen_live(at(5), 1);
        assert_eq!(outgoing.phase(), MigrationPhase::Cutover, "an earlier incarnation proves nothing");
        outgoing.seen_live(at(5), 2);
        assert_eq!(outgoing.phase(), MigrationPhase::Complete);
        let mut outgoing = cut_over(&inbox(0));
        outgoing.told_by_target(at(5), Stage::Live);
        assert_eq!(outgoing.phase(), MigrationPhase::Complete);
    }

    #[test]
    fn before_the_cutover_it_can_be_called_off_and_silence_ends_it() {
        let waiting = inbox(3);
        let mut outgoing = restored(&waiting);
        outgoing.cancel(at(5)).unwrap();
        assert_eq!(outgoing.next(Some(&waiting), at(5)), Some(Order::Stay));
        let mut outgoing = begun();
        outgoing.next(Some(&waiting), at(0));
        outgoing.handle_timeout(outgoing.poll_timeout().unwrap());
        assert_eq!(outgoing.outcome(), Some(&Err(MigrateError::Unreachable(NodeId(4)))));
    }

    #[test]
    fn a_transfer_is_begun_again_only_so_often() {
        let mut outgoing = begun();
        for _ in 0..=MAX_RETRIES {
            assert!(outgoing.fetch(at(1), 10).is_some());
        }
        assert_eq!(outgoing.view(at(1), 0).retries, MAX_RETRIES);
        assert!(outgoing.fetch(at(1), 10).is_none());
        assert_eq!(outgoing.phase(), MigrationPhase::Failed);
    }

    #[test]
    fn a_daemon_without_a_state_does_not_move() {
        let mut outgoing = Outgoing::new(at(0), MigrationId(1), DaemonId(2), [NodeId(3), NodeId(4)], 2, None);
        outgoing.snapshot(at(0), None);
        assert_eq!(outgoing.outcome(), Some(&Err(MigrateError::NoState(DaemonId(2)))));
        assert_eq!(outgoing.next(None, at(0)), Some(Order::Stay));
    }
}
