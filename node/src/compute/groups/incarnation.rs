//! Which of the runs of a standby group's daemon one is.

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

/// More moves than this in a row, without anybody who takes over, there are not.
const MOVES: u64 = 1 << 20;

/// One run of a standby group's daemon, on one node. Of two the greater is the later, which is also who has the place
/// in the [ledger](super::Ledger): whoever is to listen to one of them listens to the one that everybody will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub(crate) struct Incarnation {
    pub(crate) generation: u64,
    /// Where it runs or ran. Two that do not see each other may both be given the same generation.
    pub(crate) node: NodeId,
}

impl Incarnation {
    /// Comes before all there are.
    pub(crate) const NONE: Self = Self { generation: 0, node: NodeId(0) };

    pub(crate) fn new(generation: u64, node: NodeId) -> Self {
        Self { generation, node }
    }

    /// Whether it has asked those who were in sync before it began.
    pub(crate) fn has_taken_over(self) -> bool {
        self.generation.is_multiple_of(MOVES)
    }

    /// Whether nobody has taken over between this one and another: then it has asked no more than that one.
    pub(crate) fn continues(self, other: Self) -> bool {
        self.generation / MOVES == other.generation / MOVES
    }
}

impl From<(u64, u64)> for Incarnation {
    fn from((generation, node): (u64, u64)) -> Self {
        Self::new(generation, NodeId(node))
    }
}

impl From<Incarnation> for (u64, u64) {
    fn from(Incarnation { generation, node }: Incarnation) -> Self {
        (generation, node.0)
    }
}

/// The generation of whoever takes over from one, which comes after all that a move makes of it: one that moved has
/// asked nobody, and whoever takes over has asked all who were in sync, and has them listen to no other.
pub(super) fn after_takeover(generation: u64) -> u64 {
    (generation / MOVES + 1).saturating_mul(MOVES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_over_comes_after_all_who_only_moved() {
        let first = after_takeover(0);
        let moved = first + 3;
        assert!(moved < after_takeover(first));
        assert_eq!(after_takeover(first), after_takeover(moved), "whoever does not see the move goes as far");
        assert!(Incarnation::new(moved, NodeId(9)) < Incarnation::new(after_takeover(first), NodeId(1)));
        assert!(Incarnation::new(moved, NodeId(1)) < Incarnation::new(moved, NodeId(2)));
        assert_eq!(after_takeover(u64::MAX), u64::MAX);
        let at = |generation| Incarnation::new(generation, NodeId(1));
        assert!(at(first).has_taken_over() && !at(moved).has_taken_over());
        assert!(at(moved).continues(at(first)) && !at(after_takeover(first)).continues(at(moved)));
    }
}
