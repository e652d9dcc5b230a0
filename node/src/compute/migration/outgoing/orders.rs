//! What a source does next.

use std::time::Duration;

use meshground_shared::MigrationPhase;

use super::{
    super::{MAX_BYTES, MigrateError, Packed, Replay},
    Order, Outgoing,
};
use crate::{
    compute::{Inbox, Luggage, NoState, Queued},
    daemon::MAX_STATE,
    time::Instant,
};

/// After so long the source takes nothing new for the daemon, even if events keep coming.
pub(super) const REPLAY: Duration = Duration::from_secs(3);

/// So few events that wait, of so few bytes, go along with the cutover.
pub(super) const FEW: usize = 64;
const FEW_BYTES: usize = 256 << 10;

/// What one message to the target has at most; one event may go beyond.
pub(super) const MANY: usize = 256;
const MANY_BYTES: usize = 1 << 20;

impl Outgoing {
    /// What is to be done now. Once what it says is under way, one of the answers below must follow.
    pub(crate) fn next(&mut self, waiting: Option<&Inbox>, now: Instant) -> Option<Order> {
        match self.phase {
            MigrationPhase::Complete => return Some(Order::Drop),
            MigrationPhase::Cancelled | MigrationPhase::Failed => return Some(Order::Stay),
            _ => {}
        }
        // Not as soon as that is heard, so that each phase is seen.
        if self.phase == MigrationPhase::Snapshot && self.packed.is_some() {
            self.enter(now, MigrationPhase::Transfer);
        }
        if self.phase == MigrationPhase::Restore && self.restored {
            self.enter(now, MigrationPhase::Replay);
        }
        if self.asking || self.again_at.is_some_and(|at| at > now) {
            return None;
        }
        let order = match self.phase {
            MigrationPhase::Transfer if !self.accepted && self.origin.is_none() => Order::Offer,
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

    /// The daemon's state, or why there is none.
    pub(crate) fn snapshot(&mut self, now: Instant, luggage: Result<Luggage, NoState>) {
        if self.phase != MigrationPhase::Snapshot {
            return;
        }
        let daemon = self.daemon;
        let too_large = |bytes, bound| MigrateError::StateTooLarge { daemon, bytes, bound };
        let packed = match luggage {
            Ok(luggage) => Packed::new(luggage).map_err(|bytes| too_large(bytes as u64, MAX_BYTES as u64)),
            Err(NoState::Stateless) => Err(MigrateError::NoState(daemon)),
            Err(NoState::TooLarge(bytes)) => Err(too_large(bytes as u64, MAX_STATE as u64)),
            Err(NoState::Down) => Err(MigrateError::NotRunning(daemon)),
        };
        match packed {
            Ok(packed) => {
                self.bytes_total = packed.len() as u64;
                self.packed = Some(packed);
                self.heard = now;
            }
            Err(error) => self.fail(now, error),
        }
    }
}
