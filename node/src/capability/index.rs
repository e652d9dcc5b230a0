//! Who can do what.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::NodeId;

use super::{Capabilities, Filter};

/// What every node announces, this one included, by node and by tag.
#[derive(Debug, Clone, Default)]
pub struct CapabilityIndex {
    by_node: BTreeMap<NodeId, Capabilities>,
    by_tag: BTreeMap<String, BTreeSet<NodeId>>,
}

impl CapabilityIndex {
    /// What a node announces.
    pub fn get(&self, node: NodeId) -> Option<&Capabilities> {
        self.by_node.get(&node)
    }

    /// The nodes that announce something, by id, and what.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Capabilities)> {
        self.by_node.iter().map(|(node, capabilities)| (*node, capabilities))
    }

    /// How many nodes announce something.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// The nodes that `filter` means, in rising order of their ids. Looks only at those that are named by it or have
    /// the rarest of the tags it requires.
    pub fn query(&self, filter: &Filter) -> Vec<NodeId> {
        let none = BTreeSet::new();
        let tagged = filter.required_tags().map(|tag| self.by_tag.get(tag).unwrap_or(&none));
        let fewest = tagged.chain(filter.required_nodes()).min_by_key(|nodes| nodes.len());
        let matches = |node: &NodeId| {
            self.by_node.get(node).is_some_and(|capabilities| filter.matches(*node, capabilities))
        };
        match fewest {
            Some(nodes) => nodes.iter().copied().filter(matches).collect(),
            None => self.by_node.keys().copied().filter(matches).collect(),
        }
    }

    /// Takes in what a node announces now. Returns whether that is anything else than before.
    pub(crate) fn insert(&mut self, node: NodeId, capabilities: Capabilities) -> bool {
        if self.by_node.get(&node) == Some(&capabilities) {
            return false;
        }
        self.remove(node);
        for tag in capabilities.tags() {
            self.by_tag.entry(tag.to_owned()).or_default().insert(node);
        }
        self.by_node.insert(node, capabilities);
        true
    }

    /// Forgets a node. Returns whether it was known.
    pub(crate) fn remove(&mut self, node: NodeId) -> bool {
        let Some(capabilities) = self.by_node.remove(&node) else { return false };
        for tag in capabilities.tags() {
            if let Some(nodes) = self.by_tag.get_mut(tag) {
                nodes.remove(&node);
                if nodes.is_empty() {
                    self.by_tag.remove(tag);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tags: &[&str]) -> Capabilities {
        tags.iter().try_fold(Capabilities::new(), |it, tag| it.with_tag(*tag)).unwrap()
    }

    #[test]
    fn a_query_finds_exactly_the_nodes_the_filter_means() {
        let mut index = CapabilityIndex::default();
        for id in 0..32 {
            let tags: Vec<&str> = [("even", 2), ("third", 3), ("fifth", 5)]
                .iter()
                .filter(|(_, divisor)| id % divisor == 0)
                .map(|(tag, _)| *tag)
                .collect();
            assert!(index.insert(NodeId(id), tagged(&tags)));
        }
        let filters = [
            Filter::any(),
            Filter::any().with_tag("even"),
            Filter::any().all_of(["even", "third", "fifth"]),
            Filter::any().any_of(["third", "fifth"]).none_of(["even"]),
            Filter::any().with_tag("even").only([1, 2, 30, 99].map(NodeId)),
            Filter::any().with_tag("no such tag"),
        ];
        for filter in filters {
            let scanned: Vec<NodeId> =
                index.iter().filter(|(node, it)| filter.matches(*node, it)).map(|(node, _)| node).collect();
            assert_eq!(index.query(&filter), scanned, "{filter:?}");
        }
        assert_eq!(index.query(&Filter::any().all_of(["even", "third", "fifth"])), [0, 30].map(NodeId));
    }

    #[test]
    fn what_a_node_no_longer_announces_leads_to_it_no_more() {
        let mut index = CapabilityIndex::default();
        index.insert(NodeId(1), tagged(&["old", "kept"]));
        assert!(!index.insert(NodeId(1), tagged(&["old", "kept"])), "no news");
        assert!(index.insert(NodeId(1), tagged(&["new", "kept"])));
        assert_eq!(index.query(&Filter::any().with_tag("old")), []);
        assert_eq!(index.query(&Filter::any().with_tag("kept")), [NodeId(1)]);
        assert!(index.remove(NodeId(1)) && !index.remove(NodeId(1)));
        assert!(index.is_empty() && index.by_tag.is_empty());
    }
}
