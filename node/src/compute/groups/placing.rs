//! Choosing a node for a member.

use std::time::Duration;

use meshground_shared::{GroupId, NodeId};

use crate::identity::short_hash;

const RANK_LABEL: &[u8] = b"meshground group rank 1";

/// Round trips up to this long count as equally near.
const NEAR: Duration = Duration::from_millis(1);

/// A node that could have a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    /// How busy it is, in thousandths, and with what is on its way there.
    pub(crate) load: u32,
    pub(crate) rtt: Duration,
}

/// The least busy of them; of equally busy ones the nearest, by doubles of a millisecond; of those, which differs by
/// group and place.
pub(crate) fn choose(group: GroupId, index: u32, candidates: &[Candidate]) -> Option<NodeId> {
    let score = |candidate: &Candidate| {
        let ratio = candidate.rtt.as_micros().div_ceil(NEAR.as_micros()).max(1);
        (candidate.load, ratio.next_power_of_two().ilog2(), rank(group, index, candidate.node))
    };
    candidates.iter().min_by_key(|candidate| score(candidate)).map(|candidate| candidate.node)
}

/// A node's rank for something of a group: the same for everyone who asks, and as good as random.
pub(crate) fn rank(group: GroupId, what: u32, node: NodeId) -> u64 {
    let mut named = [0; 20];
    named[..8].copy_from_slice(&group.0.to_le_bytes());
    named[8..12].copy_from_slice(&what.to_le_bytes());
    named[12..].copy_from_slice(&node.0.to_le_bytes());
    short_hash(RANK_LABEL, &named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u64, load: u32, rtt_ms: u64) -> Candidate {
        Candidate { node: NodeId(node), load, rtt: Duration::from_millis(rtt_ms) }
    }

    #[test]
    fn the_least_busy_wins_and_among_equals_the_nearest() {
        let group = GroupId(1);
        let choice = |candidates: &[Candidate]| choose(group, 0, candidates).map(|node| node.0);
        assert_eq!(choice(&[candidate(1, 20, 0), candidate(2, 10, 50)]), Some(2));
        assert_eq!(choice(&[candidate(1, 10, 50), candidate(2, 10, 5)]), Some(2));
        assert_eq!(choice(&[]), None);
    }

    #[test]
    fn equals_take_turns_by_group_and_place() {
        let equals: Vec<Candidate> = (1..=5).map(|node| candidate(node, 0, 0)).collect();
        let chosen: std::collections::BTreeSet<_> =
            (0..64).filter_map(|group| choose(GroupId(group), 0, &equals)).collect();
        assert_eq!(chosen.len(), 5);
    }
}
