//! The cluster itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use meshground_node::{MeshOsSnapshot, Path, PeerView};
use meshground_shared::{
    CommandId, DaemonSample, EventKind, Health, LinkSample, MigrationView, NodeId, NodeState, Snapshot,
    Traffic, TrafficSample,
};

use super::{
    ClusterConfig, ClusterError, ClusterHealth, ClusterNode,
    attempt::Attempt,
    health::{Seen, has_all},
    shared::{Look, Shared},
    state::Phase,
    wiring::timeout,
};
use crate::{
    log::{EventLog, Subscription},
    meshos::MigrationSnapshotSource,
};

/// A running cluster: real nodes, each with its own UDP socket on loopback, its own keys and its own task.
///
/// Cloning is cheap, and all clones are handles on the same cluster. When the last one is dropped, what still runs is
/// torn down without a word, sockets and all, as soon as the runtime gets round to it, and a hint is printed to stderr; prefer
/// [`shutdown`](Self::shutdown), which lets the nodes take their leave and returns when all of it is done.
///
/// Dropping the future of an operation is safe: a boot, an added or a restarted node that has not converged is taken
/// down again; a shutdown or a crash goes on by itself.
#[derive(Debug, Clone)]
pub struct ClusterHarness {
    core: Arc<Core>,
    /// The command behind what is done through this handle.
    pub(super) cause: Option<CommandId>,
}

/// Goes with the last handle.
#[derive(Debug)]
struct Core {
    shared: Arc<Shared>,
}

impl Drop for Core {
    fn drop(&mut self) {
        let running = self.shared.begin_stop(None, false);
        if !running.is_empty() && !std::thread::panicking() {
            let nodes = running.len();
            eprintln!(
                "meshground: a cluster of {nodes} was dropped while it ran, so its nodes vanish without a word; \
                 `ClusterHarness::shutdown().await` lets them take their leave"
            );
        }
        for mesh in running {
            mesh.begin_crash();
        }
    }
}

impl ClusterHarness {
    /// Boots `n` nodes with the default configuration. Dropped, it is called off.
    ///
    /// # Errors
    /// As [`with_config`](Self::with_config).
    pub async fn new(n: usize) -> Result<Self, ClusterError> {
        Self::with_config(n, ClusterConfig::default()).await
    }

    /// Boots `n` nodes, from 1 to [`max_nodes`](ClusterConfig::max_nodes): opens all sockets, lets every pair that the
    /// topology links shake hands at the same time, and returns when the cluster has converged, as
    /// [`converged`](Self::converged) defines it. Dropped before that, all of it is taken down again.
    ///
    /// # Errors
    /// `Invariant` when `n` or a figure in `config` is out of range; nothing was started then. `MeshBuild` when a
    /// socket cannot be opened. `Handshake` when two nodes cannot come to a session, as with different pre-shared
    /// keys. `Timeout` when a budget ran out. Everything started is taken down again before any of these is returned.
    pub async fn with_config(n: usize, config: ClusterConfig) -> Result<Self, ClusterError> {
        config.validate(n)?;
        let begun = Instant::now();
        let cause = config.cause;
        let shared = Shared::new(config, n);
        shared.log.append(
            None,
            cause,
            EventKind::ClusterBooting { nodes: count(n), topology: shared.config.topology },
        );
        let harness = Self { core: Arc::new(Core { shared: Arc::clone(&shared) }), cause };
        let mut attempt = Attempt::boot(&shared, cause);
        let outcome = harness.boot(n, &mut attempt).await;
        attempt.finish(outcome).await?;
        harness.log_convergence(begun);
        Ok(Self { cause: None, ..harness })
    }

    /// A handle on the same cluster. What is done through it, and what follows from that, carries `cause` in the
    /// event log.
    #[must_use]
    pub fn caused_by(&self, cause: CommandId) -> Self {
        Self { cause: Some(cause), ..self.clone() }
    }

    // Looking.

    /// The members by index, crashed ones included. None after a shutdown.
    pub fn nodes(&self) -> Vec<ClusterNode> {
        self.shared().state().members.values().map(|member| member.node.clone()).collect()
    }

    /// The member with this index, crashed or not. Indexes are kept for life and never given again, so that after a
    /// [`shutdown_node`](Self::shutdown_node) there are gaps.
    pub fn nth(&self, index: usize) -> Option<ClusterNode> {
        self.shared().state().members.get(&index).map(|member| member.node.clone())
    }

    /// The member with this id, crashed or not.
    pub fn node(&self, id: NodeId) -> Option<ClusterNode> {
        self.shared().state().by_id(id).map(|member| member.node.clone())
    }

    /// Whether a member runs; `None` if no member has this id.
    pub fn member_state(&self, id: NodeId) -> Option<NodeState> {
        self.shared().state().by_id(id).map(|member| member.state)
    }

    /// How many members there are, crashed ones included.
    pub fn len(&self) -> usize {
        self.shared().state().members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many members have all the links that the topology names, and know of all others.
    pub fn health(&self) -> ClusterHealth {
        // Copied out and judged afterwards: every node's task waits for the state, and every event for the log.
        let (mut health, running, mut members, links) = {
            let state = self.shared().state();
            let running = || state.running().map(|member| &member.node);
            let health = ClusterHealth {
                total_nodes: state.members.len(),
                indexes_with_all_nodes: running().filter(|node| state.indexes.knows_all(node.index)).count(),
                nodes_with_all_routes: running().filter(|node| state.routes.knows_all(node.index)).count(),
                ..ClusterHealth::default()
            };
            let members = state.members.values().map(|member| &member.node);
            let members = members.map(|node| ((node.node_id(), node.local_addr()), node.index));
            (
                health,
                running().cloned().collect::<Vec<_>>(),
                members.collect::<Vec<(Seen, usize)>>(),
                state.links.clone(),
            )
        };
        // In the order of ids, as everything it is compared with.
        members.sort_unstable();
        let running: Vec<(ClusterNode, Vec<Seen>)> = running
            .into_iter()
            .map(|node| {
                let wanted = members.iter().filter(|(_, other)| links.contains(node.index, *other));
                let wanted = wanted.map(|(seen, _)| *seen).collect();
                (node, wanted)
            })
            .collect();
        let mesh_is_full = |(node, wanted): &&(ClusterNode, Vec<Seen>)| {
            let peers = node.mesh.peers();
            let healthy = peers.iter().filter(|peer| peer.health == Health::Healthy);
            let seen = healthy.filter_map(|peer| match peer.path {
                Path::Direct(address) => Some((peer.id, address)),
                Path::Relayed(_) => None,
            });
            has_all(seen, wanted)
        };
        health.meshes_with_full_peers = running.iter().filter(mesh_is_full).count();
        health.runtimes_with_full_peers = self.shared().log.with_snapshot(|snapshot| {
            let is_full = |(node, wanted): &&(ClusterNode, Vec<Seen>)| {
                let its = snapshot.nodes.get(&node.node_id());
                let its = its.filter(|its| its.state == NodeState::Running);
                let healthy = its.into_iter().flat_map(|its| &its.peers);
                let healthy = healthy.filter(|(_, session)| session.health == Health::Healthy);
                // The log shows what happened at once, the node itself what it goes by.
                let own = node.daemon_runtime().system();
                has_all(healthy.map(|(&peer, session)| (peer, session.address)), wanted)
                    && wanted.iter().all(|(other, _)| own.sees_healthy(*other))
            };
            running.iter().filter(is_full).count()
        });
        health
    }

    /// The event log.
    pub fn log(&self) -> Arc<EventLog> {
        Arc::clone(&self.shared().log)
    }

    /// Where things stand, and every event from here on.
    pub fn events(&self) -> Subscription {
        self.shared().log.subscribe()
    }

    /// Where things stand: the event log's fold.
    pub fn snapshot(&self) -> Snapshot {
        self.shared().log.snapshot()
    }

    /// The system through each running member's eyes, by index: what it knows of the others, what it did and found. Each is
    /// as of that node's last change or the last second; they need not agree.
    pub fn views(&self) -> BTreeMap<usize, Arc<MeshOsSnapshot>> {
        let state = self.shared().state();
        state.running().map(|member| (member.node.index, member.node.daemon_runtime().system())).collect()
    }

    /// The round-trip times every running member has measured, as of now. Cancel-safe: it only asks.
    pub async fn links(&self) -> Vec<LinkSample> {
        self.sessions().await.iter().filter_map(|(node, peer)| round_trip(*node, peer)).collect()
    }

    /// What every running member has exchanged over each of its direct sessions, as of now. Cancel-safe: it only asks.
    pub async fn traffic(&self) -> Vec<TrafficSample> {
        self.sessions().await.iter().map(|(node, peer)| traffic(*node, peer)).collect()
    }

    /// Both at once.
    #[cfg(feature = "server")]
    pub(crate) async fn gauges(&self) -> (Vec<LinkSample>, Vec<TrafficSample>) {
        let sessions = self.sessions().await;
        let links = sessions.iter().filter_map(|(node, peer)| round_trip(*node, peer)).collect();
        (links, sessions.iter().map(|(node, peer)| traffic(*node, peer)).collect())
    }

    /// The direct sessions of every running member, with present figures.
    async fn sessions(&self) -> Vec<(NodeId, PeerView)> {
        let nodes: Vec<ClusterNode> = {
            let state = self.shared().state();
            state.running().map(|member| member.node.clone()).collect()
        };
        let mut sessions = Vec::new();
        for node in nodes {
            // One that is paused meanwhile does not answer.
            let peers = tokio::select! {
                peers = node.mesh.stats() => peers.unwrap_or_default(),
                () = node.mesh.until_paused(true) => Vec::new(),
            };
            let direct = peers.into_iter().filter(|peer| peer.path.is_direct());
            sessions.extend(direct.map(|peer| (node.node_id(), peer)));
        }
        sessions
    }

    /// How busy the daemons of every running member are, as of now. Cancel-safe: it only asks.
    pub async fn daemon_loads(&self) -> Vec<DaemonSample> {
        let busy: BTreeSet<NodeId> = self.shared().log.with_snapshot(|snapshot| {
            let busy = snapshot.nodes.iter().filter(|(_, node)| !node.daemons.is_empty());
            busy.map(|(&id, _)| id).collect()
        });
        let nodes: Vec<ClusterNode> = {
            let state = self.shared().state();
            let nodes = state.running().map(|member| &member.node);
            nodes.filter(|node| busy.contains(&node.node_id())).cloned().collect()
        };
        let mut samples = Vec::new();
        for node in nodes {
            let runtime = node.daemon_runtime();
            // One that is paused meanwhile does not answer.
            let daemons = tokio::select! {
                daemons = runtime.daemons() => daemons.unwrap_or_default(),
                () = node.mesh.until_paused(true) => Vec::new(),
            };
            samples.extend(daemons.into_iter().map(|view| DaemonSample {
                node: node.node_id(),
                daemon: view.id,
                saturation: view.saturation,
                processed: view.processed,
            }));
        }
        samples
    }

    // Waiting.

    /// Waits until every link that the topology names between running members has a confirmed session at both ends,
    /// which see each other Healthy, and the log's snapshot and their own show that; and until the capability index of each running
    /// member knows every other, and has a way to it, as far as links of running members that are not cut connect them.
    /// Cancel-safe.
    ///
    /// # Errors
    /// `Timeout`, naming who is missing, when there was no progress for
    /// [`mesh_session_stable_timeout`](ClusterConfig::mesh_session_stable_timeout); `Shutdown`.
    pub async fn converged(&self) -> Result<(), ClusterError> {
        let shared = self.shared();
        let budget = shared.config.mesh_session_stable_timeout;
        let seen = shared.watch(budget, |state| {
            if state.phase != Phase::Up {
                return Look::Done(Err(ClusterError::Shutdown));
            }
            let all = state.is_converged() && state.is_acquainted();
            if all && shared.is_folded(state, state.links.iter()) {
                return Look::Done(Ok(()));
            }
            Look::Waiting { progress: state.tally().healthy + state.acquaintances() }
        });
        let seen = seen.await.unwrap_or_else(|| {
            let state = shared.state();
            if state.is_converged() && !state.is_acquainted() {
                let missing = state.describe_strangers();
                return Err(timeout(format!("not all running nodes know of each other: {missing}"), budget));
            }
            let missing = state.describe_unseen(state.links.iter());
            Err(timeout(format!("not all running nodes see each other Healthy: {missing}"), budget))
        });
        seen?;
        let links: Vec<_> = shared.state().links.iter().collect();
        let ended =
            |state: &super::state::State| (state.phase != Phase::Up).then_some(ClusterError::Shutdown);
        self.mutually_seen(links.into_iter(), ended).await
    }

    // Ending.

    /// Shuts everything down: every node tells its peers and closes. Returns when all sockets are closed and all
    /// tasks have ended. Calling it again, or while another call is at it, waits for the same and is no error. Other
    /// operations then fail with `Shutdown`. Dropping the future does not call it off.
    ///
    /// # Errors
    /// None so far.
    pub async fn shutdown(&self) -> Result<(), ClusterError> {
        let shared = self.shared();
        for mesh in shared.begin_stop(self.cause, true) {
            mesh.begin_shutdown(self.cause);
        }
        let stopped = shared.watch(Duration::MAX, |state| match state.phase {
            Phase::Stopped => Look::Done(()),
            Phase::Up | Phase::Stopping { .. } => Look::Waiting { progress: 0 },
        });
        stopped.await;
        let meshes = shared.state().stopping.clone();
        for mesh in &meshes {
            mesh.closed().await;
        }
        Ok(())
    }

    /// Says in the log that the cluster has converged, if it has: a crashed member spoils that.
    pub(super) fn log_convergence(&self, begun: Instant) {
        let shared = self.shared();
        let state = shared.state();
        if state.phase == Phase::Up && state.is_whole() {
            let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            let nodes = count(state.members.len());
            shared.log.append(None, self.cause, EventKind::ClusterConverged { nodes, took_us });
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }
}

fn round_trip(node: NodeId, peer: &PeerView) -> Option<LinkSample> {
    let rtt_us = u32::try_from(peer.rtt?.as_micros()).unwrap_or(u32::MAX);
    Some(LinkSample { node, peer: peer.id, rtt_us })
}

fn traffic(node: NodeId, peer: &PeerView) -> TrafficSample {
    let its = &peer.traffic;
    let total = Traffic {
        datagrams_out: its.datagrams_out,
        bytes_out: its.bytes_out,
        datagrams_in: its.datagrams_in,
        bytes_in: its.bytes_in,
        messages_out: its.messages_out,
        messages_in: its.messages_in,
        datagrams_lost: its.datagrams_lost,
        messages_lost: its.messages_lost,
    };
    TrafficSample { node, peer: peer.id, total }
}

/// A number of nodes or an index, as it travels.
pub(super) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Those of the whole cluster, as the event log has them.
impl MigrationSnapshotSource for ClusterHarness {
    fn migrations(&self) -> Vec<MigrationView> {
        self.shared().log.with_snapshot(|snapshot| {
            let all = snapshot.migrations.values().map(|migration| &migration.view);
            all.filter(|view| !view.phase.is_over()).cloned().collect()
        })
    }
}
