//! What the nodes' own snapshots show: a moment later than the event log, as a node publishes its changes together.

use std::{collections::BTreeMap, time::Duration};

use meshground_node::MeshOsSnapshot;

use super::{
    ClusterError, ClusterHarness,
    shared::Look,
    state::{State, list},
    wiring::timeout,
};

impl ClusterHarness {
    /// Waits until the running ends of these links each have a snapshot that shows the other Healthy, no longer than
    /// [`meshos_snapshot_stable_timeout`](super::ClusterConfig::meshos_snapshot_stable_timeout). Ends when `interrupted`
    /// says why.
    pub(super) async fn mutually_seen(
        &self,
        pairs: impl Iterator<Item = (usize, usize)>,
        interrupted: impl Fn(&State) -> Option<ClusterError>,
    ) -> Result<(), ClusterError> {
        let shared = self.shared();
        let budget = shared.config.meshos_snapshot_stable_timeout;
        let mut others: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (one, other) in pairs {
            others.entry(one).or_default().push(other);
            others.entry(other).or_default().push(one);
        }
        let all = async {
            for (&index, others) in &others {
                let Some(node) = self.nth(index) else { continue };
                let runtime = node.daemon_runtime();
                let gone = shared.watch(Duration::MAX, |state| {
                    if state.is_running(index) { Look::Waiting { progress: 0 } } else { Look::Done(()) }
                });
                tokio::select! {
                    () = runtime.until_seen(|view| shared.state().are_healthy_in(view, others)) => {}
                    _ = gone => {}
                }
            }
        };
        let interrupted = shared.watch(Duration::MAX, |state| match interrupted(state) {
            Some(error) => Look::Done(error),
            None => Look::Waiting { progress: 0 },
        });
        tokio::select! {
            seen = tokio::time::timeout(budget, all) => seen.map_err(|_| {
                let state = shared.state();
                let blind = others.iter().find_map(|(index, others)| {
                    let node = &state.members.get(index).filter(|_| state.is_running(*index))?.node;
                    let view = node.daemon_runtime().system();
                    let missed: Vec<usize> = state.missed_in(&view, others).collect();
                    (!missed.is_empty()).then(|| format!("that of node {index} lacks {}", of(&missed)))
                });
                let blind = blind.unwrap_or_else(|| "one did not in time".to_owned());
                timeout(format!("not all nodes' snapshots show the others Healthy: {blind}"), budget)
            }),
            Some(error) = interrupted => Err(error),
        }
    }
}

impl State {
    /// Whether a node's snapshot shows those of the members with these indexes Healthy that run.
    pub(super) fn are_healthy_in(&self, view: &MeshOsSnapshot, indexes: &[usize]) -> bool {
        self.missed_in(view, indexes).next().is_none()
    }

    /// The members with these indexes that run and that a node's snapshot does not show Healthy.
    fn missed_in(&self, view: &MeshOsSnapshot, indexes: &[usize]) -> impl Iterator<Item = usize> {
        let running = indexes.iter().copied().filter(|&index| self.is_running(index));
        running.filter(|index| {
            let member = self.members.get(index);
            member.is_some_and(|member| !view.sees_healthy(member.node.node_id()))
        })
    }
}

/// These nodes, by index.
fn of(indexes: &[usize]) -> String {
    let nodes = if indexes.len() == 1 { "node" } else { "nodes" };
    format!("{nodes} {}", list(indexes, ", "))
}
