//! Nonces that were used, so that none is used again.

use std::collections::{BTreeMap, BTreeSet};

use super::Nonce;
use crate::time::WallTime;

/// The most nonces remembered.
const CAPACITY: usize = 4_096;

/// The nonces used by commands that are still fresh. What is forgotten, because its time is over or others need the room,
/// takes with it every command that was issued no later: those count as expired from then on. So no nonce is good twice,
/// whatever happens to the wall clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Nonces {
    used: BTreeMap<Nonce, WallTime>,
    by_issue: BTreeSet<(WallTime, Nonce)>,
    /// The latest issue of anything forgotten.
    floor: Option<WallTime>,
}

impl Nonces {
    /// Whether a command issued then may be one that was forgotten.
    pub(super) fn is_forgotten(&self, issued: WallTime) -> bool {
        self.floor.is_some_and(|floor| issued <= floor)
    }

    /// Uses a nonce. Returns whether it was unused.
    pub(super) fn use_up(&mut self, nonce: Nonce, issued: WallTime) -> bool {
        if self.used.contains_key(&nonce) {
            return false;
        }
        self.used.insert(nonce, issued);
        self.by_issue.insert((issued, nonce));
        if self.used.len() > CAPACITY {
            self.forget_first();
        }
        true
    }

    /// Forgets those of commands issued before `horizon`.
    pub(super) fn forget_before(&mut self, horizon: WallTime) {
        while self.by_issue.first().is_some_and(|(issued, _)| *issued < horizon) {
            self.forget_first();
        }
    }

    /// How many are held.
    #[cfg(feature = "floor")]
    pub(super) fn gauge(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        each(crate::audit::Gauge::new("nonces", self.used.len().max(self.by_issue.len()), CAPACITY));
    }

    fn forget_first(&mut self) {
        if let Some((issued, nonce)) = self.by_issue.pop_first() {
            self.used.remove(&nonce);
            self.floor = self.floor.max(Some(issued));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u64) -> Nonce {
        Nonce((u128::from(number)).to_le_bytes())
    }

    #[test]
    fn a_nonce_is_good_once() {
        let mut nonces = Nonces::default();
        assert!(nonces.use_up(nonce(1), WallTime(10)));
        assert!(!nonces.use_up(nonce(1), WallTime(10)));
        assert!(!nonces.use_up(nonce(1), WallTime(11)));
        assert!(nonces.use_up(nonce(2), WallTime(10)));
    }

    #[test]
    fn what_is_forgotten_stays_expired() {
        let mut nonces = Nonces::default();
        nonces.use_up(nonce(1), WallTime(10));
        nonces.use_up(nonce(2), WallTime(20));
        nonces.forget_before(WallTime(20));
        assert!(nonces.is_forgotten(WallTime(10)) && !nonces.is_forgotten(WallTime(11)));
        assert!(!nonces.use_up(nonce(2), WallTime(20)));
    }

    #[test]
    fn room_is_made_by_forgetting_what_was_issued_first() {
        let mut nonces = Nonces::default();
        for number in 0..=CAPACITY as u64 {
            assert!(nonces.use_up(nonce(number), WallTime(1_000 + number)));
        }
        assert_eq!((nonces.used.len(), nonces.by_issue.len()), (CAPACITY, CAPACITY));
        assert!(nonces.is_forgotten(WallTime(1_000)) && !nonces.is_forgotten(WallTime(1_001)));
    }
}
