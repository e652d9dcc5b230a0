//! What a source hears, and what that means.

use meshground_shared::MigrationPhase;

use super::{
    super::{MAX_PAUSE, MigrateError, PAUSE, Packed, Pieces, Refusal, Replayed, Stage, Taken},
    BEGAN_ANEW, HAS_LEFT, Outgoing, RETURNS,
};
use crate::{compute::generation, time::Instant};

/// How often a transfer is begun again.
pub(super) const MAX_RETRIES: u32 = 16;

impl Outgoing {
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

    /// What the target says to [`Order::Offer`](super::Order::Offer); `kind` is that of the daemon.
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

    /// What the target says to [`Order::Replay`](super::Order::Replay).
    pub(crate) fn replayed(&mut self, now: Instant, answer: Replayed) {
        self.answered(now);
        match answer {
            // A late answer may tell of less.
            Replayed::Upto(count) => {
                self.replayed = self.replayed.max(usize::try_from(count).unwrap_or(usize::MAX));
            }
            Replayed::Unknown | Replayed::Forgotten => {
                self.fail(now, MigrateError::Failed("the target dropped it".to_owned()));
            }
        }
    }

    /// What the target says to [`Order::Cutover`](super::Order::Cutover).
    pub(crate) fn cut(&mut self, now: Instant, answer: Replayed) {
        self.answered(now);
        if self.phase == MigrationPhase::Cutover {
            match answer {
                Replayed::Upto(_) => self.end(now, MigrationPhase::Complete, Ok(())),
                Replayed::Unknown => self.unknown(now, "the target does not have it"),
                Replayed::Forgotten => self.gone(now, BEGAN_ANEW),
            }
        }
    }

    /// The target says after the cutover that it does not have the daemon and never will: so it is the source's again.
    pub(super) fn unknown(&mut self, now: Instant, reason: &str) {
        self.end(now, MigrationPhase::Failed, Err(MigrateError::Failed(reason.to_owned())));
    }

    /// The target has left, with all it ran: nobody is left to ask, and no copy to mind.
    pub(crate) fn target_left(&mut self, now: Instant) {
        if self.phase == MigrationPhase::Cutover {
            self.gone(now, HAS_LEFT);
        } else {
            self.fail(now, MigrateError::Failed(HAS_LEFT.to_owned()));
        }
    }

    /// The target that the daemon was given to is no more, and what it ran has ended with it. So the daemon is the source's
    /// again, as this has not heard that it arrived and it goes nowhere else before that; but not after so long that it may have.
    fn gone(&mut self, now: Instant, why: &'static str) {
        if now.saturating_since(self.phase_since) < RETURNS {
            self.unknown(now, why);
        } else {
            self.gone.get_or_insert((why, false));
        }
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
        self.taken_back.then(|| generation::taken_back(self.generation))
    }

    /// Has it not wait until few events wait.
    pub(crate) fn force(&mut self) {
        self.forced = true;
    }
}
