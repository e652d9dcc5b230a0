//! How a cluster is doing, in three figures.

/// How many members see everybody, by the meshes themselves and by the event log.
///
/// To see everybody is to hold a confirmed session with every other member and to find each of them Healthy.
/// Crashed members count as members, so one crash turns every figure but the total to zero as soon as the others
/// have noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterHealth {
    /// The members, crashed ones included.
    pub total_nodes: usize,
    /// The members whose mesh sees everybody.
    pub meshes_with_full_peers: usize,
    /// The members that see everybody according to the event log's snapshot.
    pub runtimes_with_full_peers: usize,
}

impl ClusterHealth {
    /// Whether there are members and each sees everybody. False as soon as one is crashed.
    pub fn fully_converged(&self) -> bool {
        self.total_nodes > 0
            && self.meshes_with_full_peers == self.total_nodes
            && self.runtimes_with_full_peers == self.total_nodes
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
    fn each_figure_alone_can_spoil_it() {
        let full = ClusterHealth { total_nodes: 3, meshes_with_full_peers: 3, runtimes_with_full_peers: 3 };
        assert!(full.fully_converged());
        assert!(!ClusterHealth { meshes_with_full_peers: 2, ..full }.fully_converged());
        assert!(!ClusterHealth { runtimes_with_full_peers: 2, ..full }.fully_converged());
    }
}
