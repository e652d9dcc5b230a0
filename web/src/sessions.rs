//! The sessions in the order in which people read them.

use meshground_shared::{Health, NodeId, Snapshot};

/// A session that both ends hold, or only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// The end with the lower index, or the only one that holds it.
    pub(crate) from: NodeId,
    /// The other end.
    pub(crate) to: NodeId,
    /// The worse of the two verdicts, or the only one.
    pub(crate) health: Health,
    /// Whether both ends hold it.
    pub(crate) both: bool,
    /// When it was confirmed, in the log's monotonic microseconds.
    pub(crate) since_us: u64,
}

/// Every session of the cluster: the worst first, then by the ends' places.
pub(crate) fn list(snapshot: &Snapshot) -> Vec<Session> {
    let place = |id: NodeId| snapshot.nodes.get(&id).map_or(u32::MAX, |node| node.index);
    let session = |from: NodeId, to: NodeId, health, both| {
        let held = snapshot.nodes.get(&from).and_then(|node| node.peers.get(&to));
        Session { from, to, health, both, since_us: held.map_or(0, |held| held.since_us) }
    };
    let whole = snapshot.edges().into_iter().map(|edge| {
        let (from, to) = if place(edge.a) <= place(edge.b) { (edge.a, edge.b) } else { (edge.b, edge.a) };
        session(from, to, edge.health, true)
    });
    let half = (snapshot.half_edges().into_iter())
        .map(|(holder, peer, health)| session(holder, peer, health, false));
    let mut all: Vec<Session> = whole.chain(half).collect();
    all.sort_by_key(|it| (std::cmp::Reverse(it.health), it.both, place(it.from), place(it.to)));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meshground_shared::{Epoch, NodeSnapshot, PeerSnapshot, Role};

    use super::*;
    use crate::fixtures;

    #[test]
    fn what_is_wrong_comes_first_and_the_rest_in_order_of_place() {
        let mut snapshot = Snapshot::new(Epoch(1));
        // Ids run against indexes.
        member(&mut snapshot, 3, 0, &[(2, Health::Healthy), (1, Health::Healthy), (9, Health::Unreachable)]);
        member(&mut snapshot, 2, 1, &[(3, Health::Healthy), (1, Health::Suspect)]);
        member(&mut snapshot, 1, 2, &[(3, Health::Healthy), (2, Health::Healthy)]);
        let listed: Vec<_> = list(&snapshot).iter().map(|it| (it.from.0, it.to.0, it.both)).collect();
        assert_eq!(listed, [(3, 9, false), (2, 1, true), (3, 2, true), (3, 1, true)]);
    }

    fn member(snapshot: &mut Snapshot, id: u64, index: u32, peers: &[(u64, Health)]) {
        let address = "127.0.0.1:4000".parse().unwrap();
        let peers: BTreeMap<_, _> = (peers.iter())
            .map(|&(peer, health)| {
                (NodeId(peer), PeerSnapshot { address, role: Role::Initiator, health, since_us: 0 })
            })
            .collect();
        snapshot.nodes.insert(NodeId(id), NodeSnapshot { peers, ..fixtures::member(index) });
    }
}
