//! Choosing a node.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::NodeId;

use super::{CapabilityIndex, Filter};

/// Round trips up to this long, and then up to each double of it, count as equally near.
const NEAR: Duration = Duration::from_micros(250);

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlacementStrategy {
    /// This node if it matches; otherwise the best of those that do.
    #[default]
    LocalFirst,
    /// The best of all that match, this node among them.
    Best,
    /// This one, if it matches.
    Pinned(NodeId),
}

/// Why that node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementReason {
    /// It is this node, and it matches.
    LocalPreferred,
    /// No other matches.
    OnlyCandidate,
    /// It is the nearest of those that match; among equally near ones the least loaded; among those the one with
    /// the lowest id.
    BestScore,
    /// It was asked for.
    Pinned,
}

/// The choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Which node.
    pub node: NodeId,
    /// Why.
    pub reason: PlacementReason,
}

/// Why there is no choice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No reachable node matches.
    #[error("no reachable node matches the filter; ask for less, or wait for one that does")]
    NoCandidate,
    /// The node asked for does not match or cannot be reached.
    #[error("node {0} was asked for, but it does not match the filter or cannot be reached; ask for another")]
    PinnedUnavailable(NodeId),
    /// Every node that matches is used already.
    #[error("every reachable node that matches the filter is used already; ask for fewer, or add one: {}", list(.excluded))]
    PlacementFailed {
        /// Those that would have matched, by id.
        excluded: Vec<NodeId>,
    },
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// A reachable node as a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlacementView {
    /// The round trip to it; zero for this node itself.
    pub rtt: Duration,
    /// How busy it is, in thousandths of what it can do.
    pub load: u32,
}

/// Chooses nodes out of an index.
#[derive(Debug, Clone, Copy)]
pub struct Placer<'a, V> {
    /// This node.
    pub local: NodeId,
    /// What nodes can do.
    pub index: &'a CapabilityIndex,
    /// What a node is like from here; `None` if it cannot be reached.
    pub view: V,
}

impl<V: Fn(NodeId) -> Option<PlacementView>> Placer<'_, V> {
    /// Chooses one node that matches.
    ///
    /// # Errors
    /// When there is none.
    pub fn place(&self, filter: &Filter, strategy: PlacementStrategy) -> Result<Placement, PlacementError> {
        self.place_with_spread(filter, strategy, &BTreeSet::new())
    }

    /// Chooses one node that matches and is not `used`.
    ///
    /// # Errors
    /// When there is none; if only because of `used`, the error names the nodes that were excluded.
    pub fn place_with_spread(
        &self,
        filter: &Filter,
        strategy: PlacementStrategy,
        used: &BTreeSet<NodeId>,
    ) -> Result<Placement, PlacementError> {
        let (excluded, candidates): (Vec<_>, Vec<_>) = self
            .index
            .query(filter)
            .into_iter()
            .filter_map(|node| Some((node, (self.view)(node)?)))
            .partition(|(node, _)| used.contains(node));
        let choice = |node, reason| Ok(Placement { node, reason });
        let failed = |otherwise| {
            let excluded: Vec<NodeId> = excluded.iter().map(|(node, _)| *node).collect();
            if excluded.is_empty() { otherwise } else { PlacementError::PlacementFailed { excluded } }
        };
        let is_candidate = |wanted| candidates.iter().any(|(node, _)| *node == wanted);
        match (strategy, &*candidates) {
            (PlacementStrategy::Pinned(node), _) if is_candidate(node) => {
                choice(node, PlacementReason::Pinned)
            }
            (PlacementStrategy::Pinned(node), _) if used.contains(&node) => {
                Err(failed(PlacementError::PinnedUnavailable(node)))
            }
            (PlacementStrategy::Pinned(node), _) => Err(PlacementError::PinnedUnavailable(node)),
            (_, []) => Err(failed(PlacementError::NoCandidate)),
            (PlacementStrategy::LocalFirst, _) if is_candidate(self.local) => {
                choice(self.local, PlacementReason::LocalPreferred)
            }
            (_, [(only, _)]) => choice(*only, PlacementReason::OnlyCandidate),
            (_, [first, others @ ..]) => {
                let best =
                    others.iter().fold(first, |best, it| if score(it) < score(best) { it } else { best });
                choice(best.0, PlacementReason::BestScore)
            }
        }
    }

    /// Chooses `count` different nodes that match, one after the other.
    ///
    /// # Errors
    /// When there are fewer; the error names those there are.
    pub fn place_many(
        &self,
        filter: &Filter,
        strategy: PlacementStrategy,
        count: usize,
    ) -> Result<Vec<Placement>, PlacementError> {
        let mut used = BTreeSet::new();
        (0..count)
            .map(|_| {
                let placement = self.place_with_spread(filter, strategy, &used)?;
                used.insert(placement.node);
                Ok(placement)
            })
            .collect()
    }
}

/// Lower is better. Round trips that differ by less than a factor of two say nothing: they vary by as much.
fn score(&(node, PlacementView { rtt, load }): &(NodeId, PlacementView)) -> (u32, u32, NodeId) {
    let ratio = rtt.as_micros().div_ceil(NEAR.as_micros());
    (ratio.max(1).next_power_of_two().ilog2(), load, node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capabilities;

    const LOCAL: NodeId = NodeId(1);

    fn index() -> CapabilityIndex {
        let mut index = CapabilityIndex::default();
        for id in 1..=5 {
            let tag = if id == 1 { "local" } else { "worker" };
            index.insert(NodeId(id), Capabilities::new().with_tag(tag).unwrap());
        }
        index
    }

    fn placer(
        index: &CapabilityIndex,
        view: impl Fn(u64) -> Option<(u64, u32)>,
    ) -> Placer<'_, impl Fn(NodeId) -> Option<PlacementView>> {
        let view = move |node: NodeId| {
            view(node.0).map(|(rtt, load)| PlacementView { rtt: Duration::from_micros(rtt), load })
        };
        Placer { local: LOCAL, index, view }
    }

    #[allow(clippy::unnecessary_wraps, reason = "what it is compared with")]
    fn chosen(node: u64, reason: PlacementReason) -> Result<Placement, PlacementError> {
        Ok(Placement { node: NodeId(node), reason })
    }

    #[test]
    fn this_node_is_preferred_where_it_matches() {
        let index = index();
        let placer = placer(&index, |_| Some((0, 0)));
        let choice = placer.place(&Filter::any(), PlacementStrategy::LocalFirst);
        assert_eq!(choice, chosen(1, PlacementReason::LocalPreferred));
        let elsewhere = placer.place(&Filter::any().with_tag("worker"), PlacementStrategy::LocalFirst);
        assert_eq!(elsewhere, chosen(2, PlacementReason::BestScore));
    }

    #[test]
    fn none_is_an_error_and_one_is_the_only_candidate() {
        let index = index();
        let placer = placer(&index, |node| (node == 4).then_some((0, 0)));
        let choice = placer.place(&Filter::any(), PlacementStrategy::LocalFirst);
        assert_eq!(choice, chosen(4, PlacementReason::OnlyCandidate), "the others cannot be reached");
        let none = placer.place(&Filter::any().with_tag("local"), PlacementStrategy::LocalFirst);
        assert_eq!(none, Err(PlacementError::NoCandidate));
    }

    #[test]
    fn the_nearest_wins_then_the_least_loaded_then_the_lowest_id() {
        let index = index();
        let workers = Filter::any().with_tag("worker");
        let best = |view: fn(u64) -> Option<(u64, u32)>| {
            placer(&index, view).place(&workers, PlacementStrategy::Best).unwrap().node.0
        };
        assert_eq!(best(|node| Some((1_000 * (6 - node), 0))), 5, "nearest");
        assert_eq!(best(|node| Some((300 + node, if node == 3 { 1 } else { 2 }))), 3, "least loaded");
        assert_eq!(best(|_| Some((300, 7))), 2, "lowest id");
        assert_eq!(best(|node| Some((u64::MAX, u32::try_from(node).unwrap()))), 2, "nothing overflows");
    }

    #[test]
    fn a_pinned_node_must_match_too() {
        let index = index();
        let placer = placer(&index, |node| (node != 5).then_some((0, 0)));
        let pinned =
            |node| placer.place(&Filter::any().with_tag("worker"), PlacementStrategy::Pinned(NodeId(node)));
        assert_eq!(pinned(3), chosen(3, PlacementReason::Pinned));
        for node in [1, 5] {
            assert_eq!(pinned(node), Err(PlacementError::PinnedUnavailable(NodeId(node))));
        }
    }

    #[test]
    fn a_used_node_is_never_chosen_and_the_error_names_those_excluded() {
        let index = index();
        let placer = placer(&index, |node| (node != 5).then_some((0, 0)));
        let workers = Filter::any().with_tag("worker");
        let placements = placer.place_many(&workers, PlacementStrategy::LocalFirst, 3).unwrap();
        let nodes: Vec<u64> = placements.iter().map(|placement| placement.node.0).collect();
        assert_eq!(nodes, [2, 3, 4]);
        assert_eq!(placements[2].reason, PlacementReason::OnlyCandidate);
        let error = placer.place_many(&workers, PlacementStrategy::LocalFirst, 4).unwrap_err();
        assert_eq!(error, PlacementError::PlacementFailed { excluded: [2, 3, 4].map(NodeId).to_vec() });
        assert!(
            error.to_string().ends_with("0000000000000002, 0000000000000003, 0000000000000004"),
            "{error}"
        );
        let used = BTreeSet::from([LOCAL]);
        let other = placer.place_with_spread(&Filter::any(), PlacementStrategy::LocalFirst, &used).unwrap();
        assert_ne!(other.node, LOCAL);
    }
}
