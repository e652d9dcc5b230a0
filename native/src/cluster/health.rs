//! How a cluster is doing, in a few figures.

use std::net::SocketAddr;

use meshground_node::NodeId;

/// A node, and where it is.
pub(super) type Seen = (NodeId, SocketAddr);

/// Whether all `wanted` are seen, and where they are. Both are in the order of ids.
pub(super) fn has_all(mut seen: impl Iterator<Item = Seen>, wanted: &[Seen]) -> bool {
    wanted.iter().all(|its| seen.find(|(id, _)| *id >= its.0).as_ref() == Some(its))
}

/// How many members have all their links, by the meshes themselves and by the event log, and know of all others.
///
/// A member's links are those that the topology names: in a full mesh, with every other member. It has them all when it
/// runs, holds a confirmed session with each of those others and finds them Healthy. Crashed and paused members count as
/// members; so in a full mesh one crash turns every figure but the total to zero as soon as the others have noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterHealth {
    /// The members, crashed and paused ones included.
    pub total_nodes: usize,
    /// The members whose mesh has all its links.
    pub meshes_with_full_peers: usize,
    /// The members that have all their links according to the event log's snapshot.
    pub runtimes_with_full_peers: usize,
    /// The members that run and whose capability index knows every running member whom links of such connect them with.
    pub indexes_with_all_nodes: usize,
    /// The members that run and have a way to each of those.
    pub nodes_with_all_routes: usize,
}

impl ClusterHealth {
    /// Whether there are members and each has all its links and knows of all others. False as soon as one is crashed or
    /// paused.
    pub fn fully_converged(&self) -> bool {
        let all = |members: usize| members == self.total_nodes;
        self.total_nodes > 0
            && all(self.meshes_with_full_peers)
            && all(self.runtimes_with_full_peers)
            && all(self.indexes_with_all_nodes)
            && all(self.nodes_with_all_routes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_members_is_not_converged() {
        assert!(!ClusterHealth::default().fully_converged());
    }

    #[test]
    fn all_must_be_seen_and_each_where_it_is() {
        let seen = |id: u64, port: u16| (NodeId(id), SocketAddr::from(([127, 0, 0, 1], port)));
        let has = |all: &[Seen], wanted: &[Seen]| has_all(all.iter().copied(), wanted);
        let all = [seen(1, 1), seen(3, 3), seen(5, 5), seen(9, 9)];
        assert!(has(&all, &all) && has(&all, &[]) && has(&all, &[seen(3, 3), seen(9, 9)]));
        assert!(has(&all, &[seen(1, 1)]) && has(&all, &[seen(5, 5)]));
        assert!(!has(&all, &[seen(3, 4)]), "elsewhere");
        for missing in [0, 2, 4, 10] {
            assert!(!has(&all, &[seen(missing, 1)]), "{missing}");
        }
        assert!(!has(&all, &[seen(1, 1), seen(2, 2), seen(3, 3)]), "one in between");
        assert!(!has(&[], &all));
    }

    #[test]
    fn each_figure_alone_can_spoil_it() {
        let full = ClusterHealth {
            total_nodes: 3,
            meshes_with_full_peers: 3,
            runtimes_with_full_peers: 3,
            indexes_with_all_nodes: 3,
            nodes_with_all_routes: 3,
        };
        assert!(full.fully_converged());
        assert!(!ClusterHealth { meshes_with_full_peers: 2, ..full }.fully_converged());
        assert!(!ClusterHealth { runtimes_with_full_peers: 2, ..full }.fully_converged());
        assert!(!ClusterHealth { indexes_with_all_nodes: 2, ..full }.fully_converged());
        assert!(!ClusterHealth { nodes_with_all_routes: 2, ..full }.fully_converged());
    }
}
