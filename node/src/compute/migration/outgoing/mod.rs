//! A migration at its source.

mod answers;
mod orders;

use std::time::Duration;

use meshground_shared::{CommandId, DaemonId, MigrationId, MigrationPhase, MigrationView, NodeId};

use super::{MigrateError, PAUSE, Packed, Replay, SILENCE};
use crate::time::Instant;

/// So long may it take to have the state of the daemon, and so long to make it anew out of it.
const WORK: Duration = Duration::from_mins(1);

/// So long after a target has left others may yet tell that the daemon ran there, and where it went from there.
const LATE_NEWS: Duration = Duration::from_secs(5);

/// Before its state is there a migration is told of only if that takes longer than this: it may turn out that there is none.
const QUIET: Duration = Duration::from_secs(1);

/// Progress within these is not told.
const TELL_EVERY: Duration = Duration::from_millis(100);
const TELL_PARTS: u64 = 20;

/// Why one failed whose target is not there any more.
const HAS_LEFT: &str = "the target has left";

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
    /// When it left, if that was after the cutover.
    left: Option<Instant>,
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
    /// Somebody asked for it here, and sees what becomes of it from the beginning.
    is_awaited: bool,
    /// It was said that nothing is heard of the target since the cutover.
    stall_told: bool,
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
            left: None,
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
            is_awaited: false,
            stall_told: false,
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
            MigrationPhase::Cutover
                if self.left.is_some_and(|left| now.saturating_since(left) >= LATE_NEWS) =>
            {
                self.unknown(now, HAS_LEFT);
            }
            _ => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`next`](Self::next) want to be called next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let limit = match self.phase {
            MigrationPhase::Snapshot if self.told.is_none() => Some(self.phase_since + QUIET),
            MigrationPhase::Snapshot => Some(self.phase_since + WORK),
            MigrationPhase::Restore => Some((self.phase_since + WORK).min(self.heard + SILENCE)),
            MigrationPhase::Transfer | MigrationPhase::Replay => Some(self.heard + SILENCE),
            MigrationPhase::Cutover => {
                let stall = (!self.stall_told).then(|| self.phase_since + SILENCE);
                self.left.map(|left| left + LATE_NEWS).into_iter().chain(stall).min()
            }
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

    /// Whether the target has not said for a while that it has the daemon, which only it, or an operator, can give back: then
    /// once, for somebody to be told.
    pub(crate) fn is_stalled(&mut self, now: Instant) -> bool {
        let is_due =
            self.phase == MigrationPhase::Cutover && now.saturating_since(self.phase_since) >= SILENCE;
        is_due && !std::mem::replace(&mut self.stall_told, true)
    }

    /// It is told of from the beginning, whatever comes of it.
    pub(crate) fn announce(&mut self) {
        self.is_awaited = true;
    }

    /// Whether anybody was told of it.
    pub(crate) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Whether it can be told of: not as long as it may turn out that the daemon has no state, nor when it has.
    fn is_certain(&self, now: Instant) -> bool {
        let asks = self.phase == MigrationPhase::Snapshot && self.packed.is_none();
        let is_late = now.saturating_since(self.phase_since) >= QUIET;
        (!asks || is_late) && !matches!(self.outcome, Some(Err(MigrateError::NoState(_))))
    }

    /// Whether there is something to tell of it that was not told yet.
    pub(crate) fn is_news(&mut self, now: Instant) -> bool {
        if self.told.is_none() && !self.is_awaited && !self.is_certain(now) {
            return false;
        }
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
    use super::{
        super::{MAX_BYTES, Replayed, Stage},
        answers::MAX_RETRIES,
        orders::{FEW, MANY, REPLAY},
        *,
    };
    use crate::{
        compute::{Inbox, Luggage, NoState, SenderKey},
        daemon::{DaemonEvent, Sender},
    };

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn begun() -> Outgoing {
        let mut outgoing = Outgoing::new(at(0), MigrationId(1), DaemonId(2), [NodeId(3), NodeId(4)], 2, None);
        outgoing.snapshot(at(0), Ok(Luggage { state: vec![7; 1_000], ..Luggage::default() }));
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
        assert!(!outgoing.is_stalled(at(10_002)) && outgoing.poll_timeout() == Some(at(10_003)));
        assert!(outgoing.is_stalled(at(10_003)) && !outgoing.is_stalled(at(20_000)), "it is said once");
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
    fn a_target_that_has_left_gives_the_daemon_back_in_any_phase() {
        let waiting = inbox(3);
        for mut outgoing in [begun(), restored(&waiting)] {
            outgoing.target_left(at(5));
            assert_eq!(outgoing.next(Some(&waiting), at(5)), Some(Order::Stay));
        }
        // Somebody may know where it went from there.
        for moved_on in [true, false] {
            let mut outgoing = cut_over(&waiting);
            outgoing.target_left(at(5));
            assert_eq!(outgoing.phase(), MigrationPhase::Cutover);
            if moved_on {
                outgoing.seen_live(at(6), 3);
            }
            assert_eq!(outgoing.poll_timeout(), (!moved_on).then(|| at(5) + LATE_NEWS));
            outgoing.handle_timeout(at(5) + LATE_NEWS);
            let order = if moved_on { Order::Drop } else { Order::Stay };
            assert_eq!(outgoing.next(Some(&waiting), at(5) + LATE_NEWS), Some(order));
        }
        let mut outgoing = cut_over(&waiting);
        outgoing.seen_live(at(4), 2);
        outgoing.target_left(at(5));
        assert_eq!(
            outgoing.next(Some(&waiting), at(5)),
            Some(Order::Drop),
            "it has arrived, and is lost there"
        );
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
        outgoing.next(None, at(0));
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
        outgoing.snapshot(at(0), Err(NoState::Stateless));
        assert_eq!(outgoing.outcome(), Some(&Err(MigrateError::NoState(DaemonId(2)))));
        assert_eq!(outgoing.next(None, at(0)), Some(Order::Stay));
    }

    #[test]
    fn a_daemon_whose_luggage_is_too_large_is_not_taken_for_one_without_a_state() {
        let mut outgoing = Outgoing::new(at(0), MigrationId(1), DaemonId(2), [NodeId(3), NodeId(4)], 2, None);
        outgoing.snapshot(at(0), Ok(Luggage { state: vec![0; MAX_BYTES], ..Luggage::default() }));
        let Some(Err(MigrateError::StateTooLarge { bytes, bound, .. })) = outgoing.outcome() else {
            panic!()
        };
        assert!(bytes > bound && *bound == MAX_BYTES as u64);
        assert_eq!(outgoing.next(None, at(0)), Some(Order::Stay));
    }
}
