//! A migration at its source.

mod answers;
mod orders;

use std::time::Duration;

use meshground_shared::{CommandId, DaemonId, MigrationId, MigrationPhase, MigrationView, NodeId};

use super::{MigrateError, PAUSE, Packed, RETURNS, Replay, SILENCE};
use crate::time::Instant;

/// So long may it take to have the state of the daemon, and so long to make it anew out of it.
const WORK: Duration = Duration::from_mins(1);

/// Before its state is there a migration is told of only if that takes longer than this: it may turn out that there is none.
const QUIET: Duration = Duration::from_secs(1);

/// Progress within these is not told.
const TELL_EVERY: Duration = Duration::from_millis(100);
const TELL_PARTS: u64 = 20;

/// Why one failed whose target is not there any more.
const HAS_LEFT: &str = "the target has left";

/// Or is another by now.
const BEGAN_ANEW: &str = "the target has begun anew";

/// What keeps a daemon that has been given away from running anywhere, which only its target or an operator can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The target has not said for a while that it has the daemon.
    Silent,
    /// The target is gone, for this reason, since when it may have let the daemon move on.
    Gone(&'static str),
}

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
    /// The node that the daemon came from and that is not known to have heard that it arrived, and until when that is waited for.
    origin: Option<(NodeId, Instant)>,
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
    /// Why the target does not have it any more, if that came so late that it may have moved on from there; and whether that was said.
    gone: Option<(&'static str, bool)>,
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
            origin: None,
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
            gone: None,
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
            MigrationPhase::Transfer if self.origin.is_some() => {
                if let Some((node, _)) = self.origin.filter(|(_, until)| *until <= now) {
                    self.fail(now, MigrateError::Unheard(node));
                }
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
            MigrationPhase::Snapshot if self.told.is_none() => Some(self.phase_since + QUIET),
            MigrationPhase::Snapshot => Some(self.phase_since + WORK),
            MigrationPhase::Restore => Some((self.phase_since + WORK).min(self.heard + SILENCE)),
            MigrationPhase::Transfer | MigrationPhase::Replay => {
                Some(self.origin.map_or(self.heard + SILENCE, |(_, until)| until))
            }
            MigrationPhase::Cutover => (!self.stall_told).then(|| self.phase_since + SILENCE),
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

    /// What is in the way of one that has been cut over, each once, for somebody to be told.
    pub(crate) fn trouble(&mut self, now: Instant) -> Option<Trouble> {
        if self.phase != MigrationPhase::Cutover {
            return None;
        }
        if let Some((why, told @ false)) = &mut self.gone {
            *told = true;
            return Some(Trouble::Gone(why));
        }
        let is_due = now.saturating_since(self.phase_since) >= SILENCE;
        (is_due && !std::mem::replace(&mut self.stall_told, true)).then_some(Trouble::Silent)
    }

    /// Who has to hear first that the daemon arrived here, if anybody, and until when that is waited for: before that it is not
    /// offered. Else that node might yet go on with it beside the target.
    pub(crate) fn await_origin(&mut self, now: Instant, origin: Option<(NodeId, Instant)>) {
        if self.origin.is_some() && origin.is_none() {
            // From here on the target is waited for.
            self.heard = now;
        }
        self.origin = origin;
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
mod tests;
