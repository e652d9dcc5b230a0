//! Who comes, goes, stands still and comes back while a cluster runs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use meshground_node::Identity;
use meshground_shared::{CommandId, EventKind, NodeId, NodeState};

use super::{
    ClusterError, ClusterHarness, ClusterNode, MAX_NODES,
    attempt::Attempt,
    harness::count,
    hearing::Dropped,
    shared::{Listener, Look, Shared},
    state::{Phase, State, Told},
    wiring::timeout,
};
use crate::{
    daemons,
    log::wall_us,
    mesh::{Mesh, MeshBuilder},
};

/// As whom a node is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartIdentity {
    /// As itself.
    #[default]
    Same,
    /// As somebody new, in the same place: the old id is no member any more.
    Fresh,
}

/// A node to be started.
struct Start {
    index: usize,
    identity: Identity,
    /// How often a node in this place had been started before.
    run: u64,
    /// Who makes way for it.
    replaces: Option<NodeId>,
}

impl ClusterHarness {
    /// Adds a node with a fresh identity; returns when it stands in every link that the topology names for it, and so
    /// does whoever it came between.
    ///
    /// Nodes are started one at a time: concurrent calls wait their turn. Dropped before it returns, the node is taken down
    /// again.
    ///
    /// # Errors
    /// `Invariant` at [`max_nodes`](super::ClusterConfig::max_nodes); else as [`with_config`](Self::with_config), and
    /// `Shutdown`, or `Spawn` when the node was taken down by somebody else meanwhile. `Timeout` also when sessions in whose
    /// place its links are do not end, or not all know of each other without those. Nothing is left of the node then, and
    /// links that had been dropped for it are dialled anew, which [`converged`](Self::converged) waits for.
    pub async fn add_node(&self) -> Result<ClusterNode, ClusterError> {
        let shared = self.shared();
        let _turn = shared.starting.lock().await;
        let begun = Instant::now();
        let index = {
            let state = shared.state();
            if state.phase != Phase::Up {
                return Err(ClusterError::Shutdown);
            }
            let most = shared.config.max_nodes;
            if state.members.len() >= most {
                let reason =
                    format!("the cluster has {most} nodes, and more are not allowed; shut one down first");
                return Err(ClusterError::Invariant(reason));
            }
            state.next_index
        };
        let mut attempt = Attempt::addition(shared, self.cause);
        let outcome = async {
            let identity = Identity::from_seed(shared.config.entropy("identity", index, 0));
            let (node, _) = self.start(Start { index, identity, run: 0, replaces: None }, &mut attempt)?;
            shared.state().causes.changed(self.cause);
            self.join(index, &attempt).await?;
            attempt.stays();
            self.tidy_up(Dropped::default()).await?;
            Ok(node)
        };
        let outcome = outcome.await;
        let node = attempt.finish(outcome).await?;
        self.log_convergence(begun);
        Ok(node)
    }

    /// A graceful leave: the node tells its peers and closes, and is no member any more; a paused one as well. Returns
    /// when its socket is closed, every running member has dropped its session with it, the links stand that the
    /// topology names in place of its own, and nobody has a way over it any more. Dropping the future does not call it
    /// off.
    ///
    /// # Errors
    /// `Invariant` when no member has this id or it is crashed; nothing changed then. `Timeout`, naming who has not
    /// let go, when there was no progress for
    /// [`mesh_session_stable_timeout`](super::ClusterConfig::mesh_session_stable_timeout): a leave is announced once,
    /// and whoever did not hear it finds out by silence. `Timeout` and `Handshake` also when a link in place of its own
    /// does not come about or somebody still goes by one of its own. `Shutdown`.
    pub async fn shutdown_node(&self, id: NodeId) -> Result<(), ClusterError> {
        let (dropped, mesh, mut wiring) = self.end_member(id, "shut down", |shared, state, index| {
            let dropped = state.links_with(id);
            let mesh = shared.log_shutdown(state, index, self.cause);
            (dropped, mesh, state.wire(|_| false, self.cause))
        })?;
        wiring.begin();
        if let Some(mesh) = mesh {
            mesh.begin_shutdown(self.cause);
            mesh.closed().await;
        }
        self.let_go_of(id).await?;
        self.settle(wiring.news, None).await?;
        self.tidy_up(dropped).await
    }

    /// Makes the node vanish without a word, also a paused one; its peers find out by silence. It stays a member and
    /// can be restarted. Returns when its task is gone and its socket closed. Dropping the future does not call it
    /// off.
    ///
    /// # Errors
    /// `Invariant` when no member has this id or it is crashed already; nothing changed then. `Shutdown`.
    pub async fn crash_node(&self, id: NodeId) -> Result<(), ClusterError> {
        let crash = |shared: &Shared, state: &mut State, index| shared.log_crash(state, index, self.cause);
        if let Some(mesh) = self.end_member(id, "crashed", crash)? {
            mesh.crash().await;
        }
        Ok(())
    }

    /// Takes a member that is up out, in one step.
    fn end_member<T>(
        &self,
        id: NodeId,
        verb: &str,
        end: impl FnOnce(&Shared, &mut State, usize) -> T,
    ) -> Result<T, ClusterError> {
        let shared = self.shared();
        shared.change(|state| {
            let index = state.expect_up(id, verb)?.node.index;
            Ok(end(shared, state, index))
        })
    }

    /// Waits until no running member holds a session with `id` any more.
    async fn let_go_of(&self, id: NodeId) -> Result<(), ClusterError> {
        let shared = self.shared();
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

    /// Lets a node stand still, as SIGSTOP would: its socket stays open, but it neither reads it nor minds the time. Its
    /// peers find out by silence. It stays a member, whose links do not count until it is
    /// [resumed](Self::resume_node). Returns when it stands still; dropping the future does not call it off.
    ///
    /// # Errors
    /// `Invariant` when no member has this id, or it does not run or is just being paused; nothing changed then. `Spawn`
    /// when it went down meanwhile. `Shutdown`.
    pub async fn pause_node(&self, id: NodeId) -> Result<(), ClusterError> {
        self.turn(id, NodeState::Running, "paused", Mesh::begin_pause).await
    }

    /// Lets a paused node go on where it stood still. Its peers hear it again, unless they have forgotten it: those links
    /// are dialled anew. Returns when it goes on; whether all see it Healthy again, ask [`converged`](Self::converged).
    /// Dropping the future does not call it off.
    ///
    /// # Errors
    /// `Invariant` when no member has this id, or it is not paused or is just being resumed; nothing changed then. `Spawn`
    /// when it went down meanwhile. `Shutdown`.
    pub async fn resume_node(&self, id: NodeId) -> Result<(), ClusterError> {
        self.turn(id, NodeState::Paused, "resumed", Mesh::begin_resume).await?;
        if let Some(node) = self.node(id) {
            self.offer_kept(&node).await;
        }
        self.redial();
        Ok(())
    }

    async fn turn(
        &self,
        id: NodeId,
        from: NodeState,
        verb: &str,
        begin: impl FnOnce(&Mesh),
    ) -> Result<(), ClusterError> {
        let shared = self.shared();
        let (index, run) = shared.change(|state| -> Result<_, ClusterError> {
            let member = state.expect_in(from, id, verb)?;
            member.told = Some(Told(self.cause));
            begin(&member.node.mesh);
            Ok((member.node.index, member.run))
        })?;
        let turned = shared.watch(std::time::Duration::MAX, |state| {
            if state.phase != Phase::Up {
                return Look::Done(Err(ClusterError::Shutdown));
            }
            match state.members.get(&index).filter(|_| state.is_current(index, run)) {
                Some(member) if member.state == from => Look::Waiting { progress: 0 },
                Some(_) => Look::Done(Ok(())),
                None => {
                    let reason = format!("it went down before it could be {verb}; start it again first");
                    Look::Done(Err(ClusterError::Spawn { node_index: index, reason }))
                }
            }
        });
        // There is no budget to run out.
        turned.await.unwrap_or(Ok(()))
    }

    /// Starts a crashed node under the same identity on a new port; one that is up is crashed first. Returns when all its
    /// links stand, by sessions with its new run. Dropped before that, the node is taken down again, and stays
    /// crashed.
    ///
    /// # Errors
    /// `Invariant` when no member has this id; nothing changed then. Else as [`add_node`](Self::add_node); the node
    /// is then crashed, and still a member.
    pub async fn restart_node(&self, id: NodeId) -> Result<ClusterNode, ClusterError> {
        self.restart_node_as(id, RestartIdentity::Same).await
    }

    /// Starts a node again, in the same place and on a new port, as itself ([`restart_node`](Self::restart_node)) or as
    /// somebody new. In the latter case the old id is no member any more: if it was up it tells its peers and leaves, and
    /// whoever holds a session with it drops that, and nobody has a way over it when this returns. Dropped before
    /// that, the new run is taken down again.
    ///
    /// # Errors
    /// As [`restart_node`](Self::restart_node). `Timeout` also when somebody does not let go of the old id, or goes by its
    /// links.
    pub async fn restart_node_as(
        &self,
        id: NodeId,
        identity: RestartIdentity,
    ) -> Result<ClusterNode, ClusterError> {
        let shared = self.shared();
        let _turn = shared.starting.lock().await;
        let begun = Instant::now();
        // In one step: a shutdown of the same node in between would see it brought back as if it had never been told.
        let (start, up, dropped) = shared.change(|state| -> Result<_, ClusterError> {
            let dropped = state.links_with(id);
            let member = state.expect_member(id)?;
            let (index, run, is_up) = (member.node.index, member.run + 1, member.is_up());
            Ok(match identity {
                RestartIdentity::Same => {
                    let identity = member.identity.clone();
                    let up = if is_up { shared.log_crash(state, index, self.cause) } else { None };
                    (Start { index, identity, run, replaces: None }, up, dropped)
                }
                RestartIdentity::Fresh => {
                    let identity = Identity::from_seed(shared.config.entropy("identity", index, run));
                    (Start { index, identity, run, replaces: Some(id) }, None, dropped)
                }
            })
        })?;
        let mut attempt = Attempt::restart(shared, self.cause);
        let outcome = async {
            if let Some(mesh) = up {
                mesh.crash().await;
            }
            let (index, replaced) = (start.index, start.replaces);
            let (node, old) = self.start(start, &mut attempt)?;
            if let Some(old) = old {
                old.begin_shutdown(self.cause);
                old.closed().await;
            }
            if let Some(id) = replaced {
                self.cut_off(id);
            }
            self.join(index, &attempt).await?;
            if let Some(id) = replaced {
                self.let_go_of(id).await?;
                self.hear_of(&dropped).await?;
            }
            Ok(node)
        };
        let outcome = outcome.await;
        let node = attempt.finish(outcome).await?;
        self.log_convergence(begun);
        Ok(node)
    }

    /// Lets everybody drop their sessions with somebody who is no member any more. Those who did not hear it leave, or
    /// that it crashed, need not wait for silence to tell.
    fn cut_off(&self, id: NodeId) {
        let state = self.shared().state();
        for member in state.up().filter(|member| member.peers().any(|peer| peer == id)) {
            member.node.mesh.begin_disconnect(vec![id]);
        }
    }

    // Starting.

    /// Starts every node and waits for them.
    pub(super) async fn boot(&self, n: usize, attempt: &mut Attempt<'_>) -> Result<(), ClusterError> {
        let shared = self.shared();
        for index in 0..n {
            let identity = Identity::from_seed(shared.config.entropy("identity", index, 0));
            self.start(Start { index, identity, run: 0, replaces: None }, attempt)?;
        }
        let mut wiring = shared.change(|state| state.wire(|_| true, self.cause));
        wiring.begin();
        self.settle(wiring.news, Some(attempt)).await
    }

    /// Lets a node that has just been started dial whom it is linked with, and others whom it has come between or apart
    /// from, and waits for that.
    async fn join(&self, newcomer: usize, attempt: &Attempt<'_>) -> Result<(), ClusterError> {
        let mut wiring = self.shared().change(|state| state.wire(|index| index == newcomer, self.cause));
        wiring.begin();
        self.settle(wiring.news, Some(attempt)).await
    }

    /// Opens one node's socket, starts its task and makes it a member, in the place of another if so told; returns the
    /// mesh of that.
    fn start(
        &self,
        start: Start,
        attempt: &mut Attempt<'_>,
    ) -> Result<(ClusterNode, Option<Mesh>), ClusterError> {
        let Start { index, identity, run, replaces } = start;
        let shared = self.shared();
        let (id, address) = (identity.node_id(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let config = shared.config.node_config(index, shared.booted);
        let fault_seed = shared.config.entropy("faults", index, run);
        let (fault_seed, _) = fault_seed.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let meshos = shared.config.meshos_config(attempt.is_boot());
        let mut builder = MeshBuilder::new(address, config.psk).meshos(meshos);
        if shared.config.bundled_daemons {
            for (kind, factory) in daemons::bundled() {
                builder = builder.factory(kind, factory);
            }
        }
        for (kind, factory) in shared.factories.all() {
            builder = builder.factory(kind, factory);
        }
        let mesh = builder
            .config(config)
            .identity(identity.clone())
            .rng_seed(shared.config.entropy("rng", index, run))
            .fault_seed(u64::from_le_bytes(*fault_seed))
            .capabilities(shared.config.capabilities_of(index))
            .observer(Box::new(Listener::new(Arc::clone(shared), id, index, run)))
            .start()?;
        serve_basics(&mesh);
        let node = ClusterNode { index, mesh };
        // One that is down already says so to whoever asks it something.
        let _ = node.daemon_runtime().start();
        let old = shared.change(|state| {
            if state.phase != Phase::Up {
                return Err(ClusterError::Shutdown);
            }
            let old = match replaces {
                None => None,
                Some(id) if state.by_id(id).is_some() => shared.log_replaced(state, index, self.cause),
                Some(_) => {
                    let reason =
                        "the node it was to replace was shut down meanwhile; add one instead".to_owned();
                    return Err(ClusterError::Spawn { node_index: index, reason });
                }
            };
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
            shared.log_faults_of(state, index, self.cause);
            attempt.add(index, run);
            Ok(old)
        })?;
        Ok((node, old))
    }
}

/// What every member answers over the mesh: `echo` gives back what it is sent, `time` the node's Unix time in
/// microseconds.
fn serve_basics(mesh: &Mesh) {
    mesh.serve("echo", |request| async move { Ok(request.body) });
    mesh.serve("time", |_| async { Ok(wall_us().to_string().into_bytes()) });
}

impl Shared {
    /// A node was started: what happens on its links holds for its new run as well.
    fn log_faults_of(&self, state: &State, index: usize, cause: Option<CommandId>) {
        for (&(from, to), &fault) in
            state.faults.iter().filter(|((from, to), _)| index == *from || index == *to)
        {
            let (Some(from), Some(to)) = (state.members.get(&from), state.members.get(&to)) else { continue };
            let (from, peer) = (&from.node, to.node.node_id());
            let changed = EventKind::FaultChanged { peer, fault: Some(fault) };
            self.log.append(Some(from.node_id()), cause, changed);
            from.mesh.set_faults(state.fault_table(from.index));
        }
    }
}
