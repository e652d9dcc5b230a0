//! What the others say of a node.

use std::collections::BTreeMap;

use meshground_shared::{Health, NodeId, NodeState, Snapshot};

/// The worst verdict that any running member holds on each node it has a session with.
pub(crate) fn worst(snapshot: &Snapshot) -> BTreeMap<NodeId, Health> {
    let mut worst = BTreeMap::new();
    for node in snapshot.nodes.values().filter(|node| node.state == NodeState::Running) {
        for (&peer, session) in &node.peers {
            worst
                .entry(peer)
                .and_modify(|health: &mut Health| *health = (*health).max(session.health))
                .or_insert(session.health);
        }
    }
    worst
}
