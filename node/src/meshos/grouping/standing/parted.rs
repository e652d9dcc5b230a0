//! Who is gone for good.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::NodeId;

use super::{super::super::MeshOs, Standbys};
use crate::{
    compute::groups::{Census, InSync},
    node::Node,
    time::Instant,
};

/// So many nodes that are gone are remembered.
pub(super) const MAX_PARTED: usize = 4_096;

/// Nodes that are gone for good, as far as anybody can tell.
#[derive(Debug, Default)]
pub(super) struct Parted {
    /// Each with its place among all that ever went.
    nodes: BTreeMap<NodeId, u64>,
    /// The same, the first to go first.
    order: BTreeSet<(u64, NodeId)>,
    count: u64,
    /// Those that somebody names and this node does not know, and since when that is so.
    unmet: BTreeMap<NodeId, Instant>,
}

impl Parted {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as a set has it")]
    pub(super) fn contains(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    #[cfg(any(test, feature = "floor"))]
    pub(super) fn len(&self) -> usize {
        self.nodes.len().max(self.order.len())
    }

    /// A node went. Where there is no room, the first to go is forgotten that nobody asks for, as `is_named` says.
    pub(super) fn insert(&mut self, node: NodeId, is_named: impl Fn(NodeId) -> bool) {
        self.remove(node);
        if self.nodes.len() >= MAX_PARTED {
            let unnamed = self.order.iter().find(|(_, node)| !is_named(*node));
            let forgotten = unnamed.or(self.order.first()).map(|(_, node)| *node);
            if let Some(node) = forgotten {
                self.remove(node);
            }
        }
        self.count += 1;
        self.nodes.insert(node, self.count);
        self.order.insert((self.count, node));
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        if let Some(place) = self.nodes.remove(&node) {
            self.order.remove(&(place, node));
        }
    }

    /// Who is named and not known now. Those for whom that has been so for as `long` as silence may last.
    fn miss(&mut self, now: Instant, long: Duration, unmet: BTreeSet<NodeId>) -> Vec<NodeId> {
        let since = |node: NodeId| self.unmet.get(&node).copied().unwrap_or(now);
        self.unmet = unmet.into_iter().map(|node| (node, since(node))).collect();
        let is_over = |(_, since): &(&NodeId, &Instant)| now.saturating_since(**since) >= long;
        self.unmet.iter().filter(is_over).map(|(node, _)| *node).collect()
    }
}

impl Standbys {
    /// Every set of those in sync that this node may go by.
    fn sets(&self) -> impl Iterator<Item = &InSync> {
        let censuses = self.taking.values().map(|taking| &taking.census);
        let censuses = censuses.chain(self.polls.values().map(|poll| &poll.census));
        let noted = self.journals.values().filter_map(|journal| journal.in_sync.as_ref());
        let open = self.actives.values().flat_map(|active| active.guard.chain());
        noted.chain(censuses.flat_map(Census::known)).chain(open)
    }
}

impl MeshOs {
    /// A node that left before this one came is not seen to leave here, and others may name it for ever. Silent for as long
    /// as those are that are forgotten, it is gone like them.
    pub(super) fn miss_unmet(&mut self, now: Instant, node: &mut Node) {
        let standbys = &self.groups.standbys;
        let awaited = standbys.awaited.values().flatten().copied();
        let named = standbys.sets().flat_map(InSync::named).chain(awaited);
        let named = named.chain(self.groups.presence.keys().copied());
        let is_met = |it: &NodeId| *it == self.local || self.directory.get(*it).is_some();
        let mut unmet: BTreeSet<NodeId> =
            named.filter(|it| !is_met(it) && !standbys.parted.contains(it)).collect();
        // Of one that can be reached more is on its way here.
        unmet.retain(|it| !node.is_reachable(*it));
        for gone in self.groups.standbys.parted.miss(now, node.forgets_after(), unmet) {
            self.standby_parted(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_named_and_not_met_is_gone_when_that_has_been_so_without_a_break_for_long() {
        let mut parted = Parted::default();
        let mut miss = |secs: u64, unmet: &[u64]| {
            let unmet = unmet.iter().copied().map(NodeId).collect();
            parted.miss(Instant::from_micros(secs * 1_000_000), Duration::from_secs(10), unmet)
        };
        assert_eq!(miss(1, &[1, 2]), []);
        assert_eq!(miss(5, &[1, 3]), [], "node 2 was met");
        assert_eq!(miss(10, &[1, 2, 3]), []);
        assert_eq!(miss(11, &[1, 2, 3]), [NodeId(1)]);
        assert_eq!(miss(15, &[2, 3]), [NodeId(3)]);
        assert_eq!(miss(20, &[2]), [NodeId(2)]);
        assert_eq!(parted.unmet.len(), 1, "of the others nobody speaks");
    }

    #[test]
    fn the_last_to_go_are_remembered_and_whoever_is_named() {
        let mut parted = Parted::default();
        let most = MAX_PARTED as u64;
        let is_named = |node: NodeId| node == NodeId(1);
        (1..=most).for_each(|node| parted.insert(NodeId(node), is_named));
        assert_eq!(parted.len(), MAX_PARTED);
        parted.insert(NodeId(most + 1), is_named);
        assert_eq!(parted.len(), MAX_PARTED);
        assert!(parted.contains(&NodeId(most + 1)), "the newest is not left out");
        assert!(parted.contains(&NodeId(1)), "somebody waits for it");
        assert!(!parted.contains(&NodeId(2)), "the first that nobody names gave way");
        parted.insert(NodeId(3), is_named);
        parted.insert(NodeId(most + 2), is_named);
        assert!(parted.contains(&NodeId(3)), "it went again since");
        (0..most).for_each(|node| parted.insert(NodeId(most * 2 + node), |_| true));
        assert_eq!(parted.len(), MAX_PARTED, "also where all are named");
    }
}
