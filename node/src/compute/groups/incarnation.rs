//! Which of the runs of a standby group's daemon one is.

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

use crate::compute::generation;

/// One run of a standby group's daemon, on one node. Of two the greater is the later, which is also who has the place
/// in the [ledger](super::Ledger): whoever is to listen to one of them listens to the one that everybody will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(u64, u64)", into = "(u64, u64)")]
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
        generation::has_taken_over(self.generation)
    }

    /// Whether nobody has taken over between this one and another: then it has asked no more than that one.
    pub(crate) fn continues(self, other: Self) -> bool {
        generation::follow_one_takeover(self.generation, other.generation)
    }
}

impl TryFrom<(u64, u64)> for Incarnation {
    type Error = &'static str;

    fn try_from((generation, node): (u64, u64)) -> Result<Self, Self::Error> {
        let is_sound = generation <= generation::LAST;
        is_sound.then(|| Self::new(generation, NodeId(node))).ok_or("a generation beyond all there are")
    }
}

impl From<Incarnation> for (u64, u64) {
    fn from(Incarnation { generation, node }: Incarnation) -> Self {
        (generation, node.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    #[test]
    fn of_two_with_one_generation_the_greater_node_is_later_and_of_two_generations_the_greater() {
        let taken_over = generation::taken_over(3);
        assert!(Incarnation::new(3, NodeId(1)) < Incarnation::new(3, NodeId(2)));
        assert!(Incarnation::new(3, NodeId(9)) < Incarnation::new(taken_over, NodeId(1)));
        assert!(Incarnation::NONE < Incarnation::new(1, NodeId(0)));
    }

    #[test]
    fn one_beyond_all_generations_is_not_read() {
        let read = |generation| wire::decode::<Incarnation>(&wire::encode(&(generation, 7_u64))).ok();
        assert_eq!(read(generation::LAST), Some(Incarnation::new(generation::LAST, NodeId(7))));
        assert_eq!(read(generation::LAST + 1), None);
    }
}
