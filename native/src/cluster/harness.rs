//! The cluster itself.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use meshground_node::Identity;
use meshground_shared::{CommandId, EventKind, Health, LinkSample, NodeId, NodeState, Snapshot};

use super::{
    ClusterConfig, ClusterError, ClusterHealth, ClusterNode, MAX_NODES,
    attempt::Attempt,
    shared::{Listener, Look, Shared, shows_healthy},
    state::{Phase, Scope},
};
use crate::{
    log::{EventLog, Subscription},
    mesh::{MeshBuilder, MeshError},
};

/// A running cluster: real nodes, each with its own UDP socket on loopback, its own keys and its own task.
///
/// Cloning is cheap, and all clones are handles on the same cluster. When the last one is dropped, what still runs is
/// torn down without a word, sockets and all, as soon as the runtime gets round to it; prefer
/// [`shutdown`](Self::shutdown), which lets the nodes take their leave and returns when all of it is done.
///
/// Dropping the future of an operation is safe: a boot, an added or a restarted node that has not converged is taken
/// down again; a shutdown or a crash goes on by itself.
#[derive(Debug, Clone)]
pub struct ClusterHarness {
    core: Arc<Core>,
    /// The command behind what is done through this handle.
    cause: Option<CommandId>,
}

/// Goes with the last handle.
#[derive(Debug)]
struct Core {
    shared: Arc<Shared>,
}

impl Drop for Core {
    fn drop(&mut self) {
        for mesh in self.shared.begin_stop(None, false) {
            mesh.begin_crash();
        }
    }
}

impl ClusterHarness {
    /// Boots `n` nodes with the default configuration.
    ///
    /// # Errors
    /// As [`with_config`](Self::with_config).
    pub async fn new(n: usize) -> Result<Self, ClusterError> {
        Self::with_config(n, ClusterConfig::default()).await
    }

    /// Boots `n` nodes, from 1 to [`MAX_NODES`]: opens all sockets, lets all pairs shake hands at the same time, and
    /// returns when the cluster has converged, as [`converged`](Self::converged) defines it.
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
        shared.log.append(None, cause, EventKind::ClusterBooting { nodes: count(n) });
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

    /// How many members see everybody.
    pub fn health(&self) -> ClusterHealth {
        let state = self.shared().state();
        let others = |of: &ClusterNode| {
            let of = of.index;
            state.members.values().map(|member| &member.node).filter(move |node| node.index != of)
        };
        let mesh_is_full = |node: &ClusterNode| {
            let peers = node.mesh.peers();
            others(node).all(|other| {
                peers.iter().any(|peer| {
                    peer.id == other.node_id()
                        && peer.address == other.local_addr()
                        && peer.health == Health::Healthy
                })
            })
        };
        let meshes_with_full_peers = state.running().filter(|member| mesh_is_full(&member.node)).count();
        let runtimes_with_full_peers = self.shared().log.with_snapshot(|snapshot| {
            let is_full =
                |node: &ClusterNode| others(node).all(|other| shows_healthy(snapshot, node.node_id(), other));
            state.running().filter(|member| is_full(&member.node)).count()
        });
        ClusterHealth { total_nodes: state.members.len(), meshes_with_full_peers, runtimes_with_full_peers }
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

    /// The round-trip times every running member has measured, as of now.
    pub async fn links(&self) -> Vec<LinkSample> {
        let nodes: Vec<ClusterNode> = {
            let state = self.shared().state();
            state.running().map(|member| member.node.clone()).collect()
        };
        let mut samples = Vec::new();
        for node in nodes {
            // One that went down meanwhile has no links any more.
            for peer in node.mesh.stats().await.unwrap_or_default() {
                if let Some(rtt) = peer.rtt {
                    let rtt_us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
                    samples.push(LinkSample { node: node.node_id(), peer: peer.id, rtt_us });
                }
            }
        }
        samples
    }

    // Waiting.

    /// Waits until every running member holds a confirmed session with every other running member and sees it
    /// Healthy, and the log's snapshot shows that.
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
            if state.is_converged(Scope::Everyone) && shared.is_folded(state, Scope::Everyone) {
                return Look::Done(Ok(()));
            }
            Look::Waiting { progress: state.tally(Scope::Everyone).healthy }
        });
        seen.await.unwrap_or_else(|| {
            let missing = shared.state().describe_unseen(Scope::Everyone);
            Err(timeout(format!("not all running nodes see each other Healthy: {missing}"), budget))
        })
    }

    /// Waits until every pair in `scope` has come to a session, within the configured budgets.
    async fn settle(&self, scope: Scope, attempt: &Attempt<'_>) -> Result<(), ClusterError> {
        let shared = self.shared();
        let config = &shared.config;

        let budget = config.handshake_timeout;
        let paired = shared.watch(budget, |state| {
            if let Some(error) = attempt.interrupted(state).or_else(|| state.hopeless(scope)) {
                return Look::Done(Err(error));
            }
            let progress = state.tally(scope).paired;
            if progress == state.pairs(scope) { Look::Done(Ok(())) } else { Look::Waiting { progress } }
        });
        paired.await.unwrap_or_else(|| {
            let missing = shared.state().describe_unpaired(scope);
            Err(timeout(format!("no session came about: {missing}"), budget))
        })?;

        let budget = config.mesh_session_stable_timeout;
        let stable = shared.watch(budget, |state| {
            if let Some(error) = attempt.interrupted(state) {
                return Look::Done(Err(error));
            }
            if state.is_converged(scope) {
                return Look::Done(Ok(()));
            }
            // The whole phase has one budget, so nothing counts as progress.
            Look::Waiting { progress: 0 }
        });
        stable.await.unwrap_or_else(|| {
            let missing = shared.state().describe_unseen(scope);
            Err(timeout(format!("not all nodes see each other Healthy: {missing}"), budget))
        })?;

        let budget = config.meshos_snapshot_stable_timeout;
        let folded = shared.watch(budget, |state| {
            if let Some(error) = attempt.interrupted(state) {
                return Look::Done(Err(error));
            }
            if shared.is_folded(state, scope) { Look::Done(Ok(())) } else { Look::Waiting { progress: 0 } }
        });
        folded.await.unwrap_or_else(|| {
            Err(timeout("the event log's snapshot does not show every node Healthy".to_owned(), budget))
        })
    }

    // Changing.

    /// Adds a node with a fresh identity; returns when it and every running member see each other Healthy.
    ///
    /// Nodes are started one at a time: concurrent calls wait their turn.
    ///
    /// # Errors
    /// `Invariant` at [`MAX_NODES`]; else as [`with_config`](Self::with_config), and `Shutdown`, or `Spawn` when the
    /// node was taken down by somebody else meanwhile. Nothing is left of the node then.
    pub async fn add_node(&self) -> Result<ClusterNode, ClusterError> {
        let shared = self.shared();
        let _turn = shared.starting.lock().await;
        let begun = Instant::now();
        let index = {
            let state = shared.state();
            if state.phase != Phase::Up {
                return Err(ClusterError::Shutdown);
            }
            if state.members.len() >= MAX_NODES {
                let reason = format!("the cluster has {MAX_NODES} nodes, and more are not allowed");
                return Err(ClusterError::Invariant(reason));
            }
            state.next_index
        };
        let mut attempt = Attempt::addition(shared, self.cause);
        let outcome = async {
            let identity = Identity::from_seed(shared.config.entropy("identity", index, 0));
            let node = self.start(index, identity, 0, &mut attempt)?;
            self.join(&node, &attempt).await?;
            Ok(node)
        };
        let outcome = outcome.await;
        let node = attempt.finish(outcome).await?;
        self.log_convergence(begun);
        Ok(node)
    }

    /// A graceful leave: the node tells its peers and closes, and is no member any more. Returns when its socket is
    /// closed and every running member has dropped its session with it.
    ///
    /// # Errors
    /// `Invariant` when no member has this id or it is crashed; nothing changed then. `Timeout`, naming who has not
    /// let go, when there was no progress for
    /// [`mesh_session_stable_timeout`](ClusterConfig::mesh_session_stable_timeout): a leave is announced once, and
    /// whoever did not hear it finds out by silence. `Shutdown`.
    pub async fn shutdown_node(&self, id: NodeId) -> Result<(), ClusterError> {
        let shared = self.shared();
        let mesh = shared.change(|state| -> Result<_, ClusterError> {
            let index = state.expect_running(id, "shut down")?.node.index;
            Ok(shared.log_shutdown(state, index, self.cause))
        })?;
        if let Some(mesh) = mesh {
            mesh.shutdown().await;
        }
        let budget = shared.config.mesh_session_stable_timeout;
        let dropped = shared.watch(budget, |state| match state.holders(id).count() {
            0 => Look::Done(()),
            holders => Look::Waiting { progress: MAX_NODES.saturating_sub(holders) },
        });
        dropped.await.ok_or_else(|| {
            let holders: Vec<String> = shared.state().holders(id).map(|index| index.to_string()).collect();
            let what =
                format!("node {id} is down, but these still hold a session with it: {}", holders.join(", "));
            timeout(what, budget)
        })
    }

    /// Makes the node vanish without a word; its peers find out by silence. It stays a member and can be restarted.
    /// Returns when its task is gone and its socket closed.
    ///
    /// # Errors
    /// `Invariant` when no member has this id or it is crashed already; nothing changed then. `Shutdown`.
    pub async fn crash_node(&self, id: NodeId) -> Result<(), ClusterError> {
        let shared = self.shared();
        let mesh = shared.change(|state| -> Result<_, ClusterError> {
            let index = state.expect_running(id, "crashed")?.node.index;
            Ok(shared.log_crash(state, index, self.cause))
        })?;
        if let Some(mesh) = mesh {
            mesh.crash().await;
        }
        Ok(())
    }

    /// Starts a crashed node under the same identity on a new port; a running one is crashed first. Returns when it
    /// and every running member see each other Healthy, by sessions with its new run.
    ///
    /// # Errors
    /// `Invariant` when no member has this id; nothing changed then. Else as [`add_node`](Self::add_node); the node
    /// is then crashed, and still a member.
    pub async fn restart_node(&self, id: NodeId) -> Result<ClusterNode, ClusterError> {
        let shared = self.shared();
        let _turn = shared.starting.lock().await;
        let begun = Instant::now();
        // In one step: a shutdown of the same node in between would see it brought back as if it had never been told.
        let (index, identity, run, running) = shared.change(|state| -> Result<_, ClusterError> {
            let member = state.expect_member(id)?;
            let (index, identity, run) = (member.node.index, member.identity.clone(), member.run + 1);
            let running = match member.state {
                NodeState::Running => shared.log_crash(state, index, self.cause),
                NodeState::Crashed => None,
            };
            Ok((index, identity, run, running))
        })?;
        if let Some(mesh) = running {
            mesh.crash().await;
        }
        let mut attempt = Attempt::restart(shared, self.cause);
        let outcome = async {
            let node = self.start(index, identity, run, &mut attempt)?;
            self.join(&node, &attempt).await?;
            Ok(node)
        };
        let outcome = outcome.await;
        let node = attempt.finish(outcome).await?;
        self.log_convergence(begun);
        Ok(node)
    }

    /// Shuts everything down: every node tells its peers and closes. Returns when all sockets are closed and all
    /// tasks have ended. Calling it again, or while another call is at it, waits for the same and is no error. Other
    /// operations then fail with `Shutdown`.
    ///
    /// # Errors
    /// None so far.
    pub async fn shutdown(&self) -> Result<(), ClusterError> {
        let shared = self.shared();
        for mesh in shared.begin_stop(self.cause, true) {
            mesh.begin_shutdown();
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

    // Starting.

    /// Starts every node and waits for them.
    async fn boot(&self, n: usize, attempt: &mut Attempt<'_>) -> Result<(), ClusterError> {
        let shared = self.shared();
        let mut nodes = Vec::with_capacity(n);
        for index in 0..n {
            let identity = Identity::from_seed(shared.config.entropy("identity", index, 0));
            nodes.push(self.start(index, identity, 0, attempt)?);
        }
        for (i, node) in nodes.iter().enumerate() {
            // Each pair is dialled from one side, and every node dials about half of the others.
            let dials = |j: usize| i != j && (i + j).is_multiple_of(2) == (i < j);
            let others = nodes.iter().enumerate().filter(|&(j, _)| dials(j));
            dial(node, others.map(|(_, other)| other).collect()).await?;
        }
        self.settle(Scope::Everyone, attempt).await
    }

    /// Lets a node that has just been started dial everybody, and waits for that.
    async fn join(&self, node: &ClusterNode, attempt: &Attempt<'_>) -> Result<(), ClusterError> {
        let others: Vec<ClusterNode> = {
            let state = self.shared().state();
            let others = state.running().filter(|member| member.node.index != node.index);
            others.map(|member| member.node.clone()).collect()
        };
        dial(node, others.iter().collect()).await?;
        self.settle(Scope::PairsOf(node.index), attempt).await
    }

    /// Opens one node's socket, starts its task and makes it a member.
    fn start(
        &self,
        index: usize,
        identity: Identity,
        run: u64,
        attempt: &mut Attempt<'_>,
    ) -> Result<ClusterNode, ClusterError> {
        let shared = self.shared();
        let (id, address) = (identity.node_id(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let config = shared.config.node_config(index, shared.booted);
        let mesh = MeshBuilder::new(address, config.psk)
            .config(config)
            .identity(identity.clone())
            .rng_seed(shared.config.entropy("rng", index, run))
            .observer(Box::new(Listener::new(Arc::clone(shared), id, index, run)))
            .start()?;
        let node = ClusterNode { index, mesh };
        shared.change(|state| {
            if state.phase != Phase::Up {
                return Err(ClusterError::Shutdown);
            }
            let started = EventKind::NodeStarted {
                index: count(index),
                address: node.local_addr(),
                public_key: node.public_key(),
            };
            shared.log.append(Some(id), self.cause, started);
            if run == 0 {
                state.causes.started(id, self.cause);
            } else {
                state.causes.restarted(id, self.cause);
            }
            state.start(node.clone(), identity, run);
            attempt.add(index, run);
            Ok(())
        })?;
        Ok(node)
    }

    /// Says in the log that the cluster has converged, if it has: a crashed member spoils that.
    fn log_convergence(&self, begun: Instant) {
        let shared = self.shared();
        let state = shared.state();
        if state.phase == Phase::Up && state.is_whole() {
            let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            let nodes = count(state.members.len());
            shared.log.append(None, self.cause, EventKind::ClusterConverged { nodes, took_us });
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.core.shared
    }
}

/// Lets `node` dial `others`.
async fn dial(node: &ClusterNode, others: Vec<&ClusterNode>) -> Result<(), ClusterError> {
    let others = others.into_iter().map(|other| (other.local_addr(), other.node_id())).collect();
    match node.mesh.dial_all(others).await {
        // It has been taken down already, which the barrier reports with more to say.
        Ok(()) | Err(MeshError::Closed) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn timeout(what: String, budget: Duration) -> ClusterError {
    ClusterError::Timeout { what, budget_ms: u64::try_from(budget.as_millis()).unwrap_or(u64::MAX) }
}

/// A number of nodes or an index, as it travels.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
