//! Waiting until nobody goes by links any more that were dropped.
//!
//! A node finds its ways by what others say of their links. So it may have a way over a link that was dropped, or over a
//! node that has left, until it hears of that, although all that it waits for is there. Each node is asked itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use meshground_node::{Node, NodeId};
use meshground_shared::Topology;

use super::{
    ClusterError, ClusterHarness,
    acquaintance::Indexes,
    shared::Look,
    state::{Phase, State},
    wiring::timeout,
};
use crate::mesh::Mesh;

/// Links that are no more: with whom each node was linked, by the one end or by both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Dropped(BTreeMap<NodeId, BTreeSet<NodeId>>);

impl Dropped {
    /// These sessions as well: whose, and with whom.
    pub(super) fn add(&mut self, sessions: Vec<(Mesh, Vec<NodeId>)>) {
        for (mesh, peers) in sessions {
            self.0.entry(mesh.node_id()).or_default().extend(peers);
        }
    }
}

/// What one node is still to hear of.
#[derive(Debug)]
struct Unheard {
    due: Arc<Dropped>,
    /// The links of whoever is before it are not gone by any more. A link that was dropped does not come back by hearsay.
    at: NodeId,
}

impl Unheard {
    fn new(due: &Arc<Dropped>) -> Self {
        Self { due: Arc::clone(due), at: NodeId(0) }
    }

    /// Whether the node goes by none of the links, and has told what became of its ways without them.
    fn is_heard(&mut self, node: &Node) -> bool {
        for (&one, others) in self.due.0.range(self.at..) {
            self.at = one;
            if node.links_of(one).any(|peer| others.contains(&peer)) {
                return false;
            }
        }
        node.has_told_routes()
    }
}

impl State {
    /// The links of somebody who is about to be none of the members any more.
    pub(super) fn links_with(&self, id: NodeId) -> Dropped {
        let own = self.by_id(id).into_iter().flat_map(|member| member.peers().collect::<Vec<_>>());
        let others = self.holders(id).filter_map(|index| Some(self.members.get(&index)?.node.node_id()));
        Dropped(BTreeMap::from([(id, own.chain(others).collect())]))
    }

    /// Those of the links that are not wanted and that these are to hear of, whom links of running members connect: of one of
    /// them at least.
    fn due(&self, dropped: &Dropped, group: &Indexes) -> Dropped {
        let is_due = |one: NodeId, other: NodeId| match (self.index_of(one), self.index_of(other)) {
            (Some(one), Some(other)) if self.links.contains(one, other) => false,
            (one, other) => {
                one.is_some_and(|end| group.contains(end)) || other.is_some_and(|end| group.contains(end))
            }
        };
        let due = dropped.0.iter().map(|(&one, others)| {
            (one, others.iter().copied().filter(|&other| is_due(one, other)).collect::<BTreeSet<_>>())
        });
        Dropped(due.filter(|(_, others)| !others.is_empty()).collect())
    }

    fn is_nothing_due(&self, dropped: &Dropped, index: usize) -> bool {
        let group = self.groups().into_iter().find(|group| group.contains(index));
        group.is_none_or(|group| self.due(dropped, &group).0.is_empty())
    }
}

impl ClusterHarness {
    /// Waits until no running member goes by any of these links, as far as it can hear of that, and all know of each other
    /// without them. However many there are, only a standstill of a whole budget ends that. Where everybody is always linked
    /// with everybody, nobody has ways to be waited for.
    pub(super) async fn hear_of(&self, dropped: &Dropped) -> Result<(), ClusterError> {
        let shared = self.shared();
        let mut members = Vec::new();
        {
            let state = shared.state();
            if dropped.0.is_empty() || state.topology == Topology::Full {
                return Ok(());
            }
            for group in state.groups() {
                let due = Arc::new(state.due(dropped, &group));
                let running = group.iter().filter_map(|index| state.members.get(&index));
                members.extend(running.map(|member| {
                    (member.node.index, member.run, member.node.mesh.clone(), Unheard::new(&due))
                }));
            }
        }
        let budget = shared.config.mesh_session_stable_timeout;
        for (index, run, mesh, mut unheard) in members {
            let heard = mesh.until(move |node| unheard.is_heard(node));
            // Whoever goes or stands still meanwhile is not waited for.
            let excused = shared.watch(budget, |state| {
                if state.phase != Phase::Up {
                    return Look::Done(Err(ClusterError::Shutdown));
                }
                if state.is_current(index, run) && state.is_running(index) {
                    return Look::Waiting { progress: 0 };
                }
                Look::Done(Ok(()))
            });
            tokio::select! {
                biased;
                Ok(()) = heard => {}
                excused = excused => match excused {
                    Some(excused) => excused?,
                    // What it could hear of may be other by now.
                    None if shared.state().is_nothing_due(dropped, index) => {}
                    None => {
                        let what = format!("node {index} goes by links that were dropped");
                        return Err(timeout(what, budget));
                    }
                },
            }
        }
        self.get_acquainted(None).await
    }
}
