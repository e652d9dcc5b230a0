//! Who is gone for good.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::NodeId;

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
}

#[cfg(test)]
mod tests {
    use super::*;

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
