//! What people call a node.

use std::collections::BTreeMap;

use meshground_shared::{Event, EventKind, NodeId, Snapshot};

/// The places of all nodes heard of in this epoch, departed ones included, so that
/// the log can go on naming them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names(BTreeMap<NodeId, u32>);

impl Names {
    /// Learns every member's name.
    pub(crate) fn learn_all(&mut self, snapshot: &Snapshot) {
        self.0.extend(snapshot.nodes.iter().map(|(&id, node)| (id, node.index)));
    }

    /// Learns from a node's start.
    pub(crate) fn learn(&mut self, event: &Event) {
        if let (Some(id), EventKind::NodeStarted { index, .. }) = (event.node, &event.kind) {
            self.0.insert(id, *index);
        }
    }

    /// Forgets everyone: another epoch.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether this node was heard of before.
    pub(crate) fn knows(&self, id: NodeId) -> bool {
        self.0.contains_key(&id)
    }

    /// `node 3`, or the short id of a stranger.
    pub(crate) fn name(&self, id: NodeId) -> String {
        self.0.get(&id).map_or_else(|| format!("node {}", short_id(id)), |index| format!("node {index}"))
    }
}

/// The first eight digits of an id: enough to tell nodes apart at a glance.
pub(crate) fn short_id(id: NodeId) -> String {
    let mut digits = id.to_string();
    digits.truncate(8);
    digits
}
