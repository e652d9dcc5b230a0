//! Which of two sessions with one peer stays.
//!
//! Both ends must come to the same answer without asking, so the rule uses only what
//! both know for certain: who began each handshake, when by its beginner's clock, and
//! in which life the peer was.

use std::time::Duration;

use meshground_shared::{NodeId, Role};

use crate::time::WallTime;

/// Handshakes that began within this of each other are taken to have crossed.
const DUEL: Duration = Duration::from_secs(5);

/// What speaks for a session with `peer`, seen from `local`'s end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) local: NodeId,
    pub(crate) peer: NodeId,
    pub(crate) role: Role,
    pub(crate) begun: WallTime,
    pub(crate) incarnation: u64,
}

impl Claim {
    fn initiator(&self) -> NodeId {
        match self.role {
            Role::Initiator => self.local,
            Role::Responder => self.peer,
        }
    }
}

/// Whether the two began so close to each other that neither end may have known of the other one.
pub(crate) fn may_have_crossed(new: &Claim, old: &Claim) -> bool {
    new.begun.abs_diff(old.begun) < DUEL
}

/// Whether `new` replaces `old`.
///
/// A later life of the peer always wins: its earlier one is dead. Otherwise, of two that
/// crossed, the one whose initiator has the lower id; else the one that began later.
pub(crate) fn takes_precedence(new: &Claim, old: &Claim) -> bool {
    if new.incarnation != old.incarnation {
        return new.incarnation > old.incarnation;
    }
    if may_have_crossed(new, old) && new.initiator() != old.initiator() {
        return new.initiator() < old.initiator();
    }
    (new.begun, new.initiator()) > (old.begun, old.initiator())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: NodeId = NodeId(1);
    const HIGH: NodeId = NodeId(2);

    /// A session begun by `initiator`, as its two ends see it.
    fn both_ends(initiator: NodeId, begun_ms: u64) -> [Claim; 2] {
        [LOW, HIGH].map(|local| Claim {
            local,
            peer: if local == LOW { HIGH } else { LOW },
            role: if local == initiator { Role::Initiator } else { Role::Responder },
            begun: WallTime(begun_ms * 1_000),
            incarnation: 7,
        })
    }

    #[test]
    fn both_ends_always_agree_and_exactly_one_of_two_wins() {
        for (first, second) in [(LOW, HIGH), (HIGH, LOW), (LOW, LOW), (HIGH, HIGH)] {
            for gap in [1, 4_999, 5_000, 60_000] {
                let (a, b) = (both_ends(first, 100_000), both_ends(second, 100_000 + gap));
                let at_low = takes_precedence(&b[0], &a[0]);
                let at_high = takes_precedence(&b[1], &a[1]);
                assert_eq!(at_low, at_high, "{first} then {second}, {gap} ms apart");
                assert_ne!(takes_precedence(&a[0], &b[0]), at_low);
            }
        }
    }

    #[test]
    fn of_two_that_crossed_the_lower_initiator_wins() {
        let (low, high) = (both_ends(LOW, 100_000), both_ends(HIGH, 100_300));
        assert!(!takes_precedence(&high[0], &low[0]));
        assert!(takes_precedence(&low[0], &high[0]));
    }

    #[test]
    fn otherwise_the_later_one_wins() {
        let (early, late) = (both_ends(LOW, 100_000), both_ends(HIGH, 200_000));
        assert!(takes_precedence(&late[0], &early[0]));
        let again = both_ends(LOW, 100_100);
        assert!(takes_precedence(&again[0], &early[0]), "the same initiator tried anew");
    }

    #[test]
    fn a_later_life_of_the_peer_wins_whoever_began() {
        let [old, _] = both_ends(LOW, 100_000);
        let [mut new, _] = both_ends(HIGH, 100_010);
        new.incarnation = 8;
        assert!(takes_precedence(&new, &old));
        assert!(!takes_precedence(&old, &new));
    }
}
