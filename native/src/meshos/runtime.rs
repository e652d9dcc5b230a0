//! The daemons of one node.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use meshground_node::{
    DaemonEnd, DaemonFactory, DaemonId, DaemonState, DaemonView, Delivered, Dispatch, EntityKeypair,
    LoggingDispatcher, MAX_NAME, MeshOs, MeshOsSnapshot, MigrationId, Node, NodeId, Settlement, SpawnRequest,
    Ticket,
};
use meshground_shared::{CommandId, MigrationView};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};

use super::{DaemonRuntimeError, apart};
use crate::{
    driver::{Command, OsAct, Tickets, now},
    mesh::Mesh,
    random,
};

/// What a node's runtime is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuntimeState {
    /// Factories are registered; nothing is started yet.
    Registering,
    /// Daemons are started.
    Ready,
    /// What runs is told to stop, and nothing is started any more.
    ShuttingDown,
}

/// What a mesh's handles and its task have in common about daemons.
#[derive(Debug, Clone)]
pub(crate) struct Daemons {
    /// The one that the node runs on, whoever asks it something from wherever.
    pub(crate) runtime: Handle,
    pub(crate) state: watch::Sender<RuntimeState>,
    /// The system through the node's eyes. Reading it takes no lock.
    pub(crate) view: Arc<ArcSwap<MeshOsSnapshot>>,
    /// Says that there is a newer one.
    pub(crate) viewed: watch::Sender<()>,
}

/// The daemons of one node. Cloning is cheap, and each is also a handle on the [`Mesh`], as a clone of that would be.
///
/// A runtime begins by [registering](RuntimeState::Registering) factories; [`start`](Self::start) makes it
/// [ready](RuntimeState::Ready). Whoever asks a node that stands still waits until it goes on.
#[derive(Clone)]
pub struct DaemonRuntime {
    mesh: Mesh,
    daemons: Daemons,
    /// The command behind what is done through this handle.
    cause: Option<CommandId>,
}

/// The keys of a new daemon, out of the system's randomness.
pub fn random_keypair() -> EntityKeypair {
    EntityKeypair::from_seed(random::bytes())
}

impl DaemonRuntime {
    pub(crate) fn new(mesh: Mesh, daemons: Daemons) -> Self {
        Self { mesh, daemons, cause: None }
    }

    /// The same runtime. What is done through it, and what follows from that, carries `cause` in a cluster's event log.
    #[must_use]
    pub fn caused_by(&self, cause: CommandId) -> Self {
        Self { cause: Some(cause), ..self.clone() }
    }

    /// What it is at.
    pub fn state(&self) -> RuntimeState {
        *self.daemons.state.borrow()
    }

    /// The node.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// From here on daemons are started. Does nothing a second time.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub fn start(&self) -> Result<(), DaemonRuntimeError> {
        self.daemons.state.send_if_modified(|state| {
            let waits = *state == RuntimeState::Registering;
            if waits {
                *state = RuntimeState::Ready;
            }
            waits
        });
        self.expect_ready()
    }

    pub(super) fn expect_ready(&self) -> Result<(), DaemonRuntimeError> {
        match self.state() {
            RuntimeState::Registering => Err(DaemonRuntimeError::NotReady),
            RuntimeState::Ready => Ok(()),
            RuntimeState::ShuttingDown => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// Takes on a factory, for daemons of its kind (1 to [`MAX_NAME`] bytes) to be started here. May be done at any time;
    /// all others are told that the node offers this kind. Dropped before it returns, it may happen all the same.
    ///
    /// # Errors
    /// [`FactoryAlreadyRegistered`](DaemonRuntimeError::FactoryAlreadyRegistered),
    /// [`KindName`](DaemonRuntimeError::KindName), [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn register_factory(
        &self,
        kind: &str,
        factory: Arc<dyn DaemonFactory>,
    ) -> Result<(), DaemonRuntimeError> {
        if kind.is_empty() || kind.len() > MAX_NAME {
            return Err(DaemonRuntimeError::KindName);
        }
        let (named, factory) = (kind.to_owned(), apart::factory(factory, self.tokio().clone()));
        let is_new = self.act(move |os, _| os.register_factory(now(), &named, factory)).await?;
        if is_new { Ok(()) } else { Err(DaemonRuntimeError::FactoryAlreadyRegistered(kind.to_owned())) }
    }

    /// The kinds there are factories for on this node, by name, each with what it makes in a sentence for a person.
    /// Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn kinds(&self) -> Result<Vec<(String, String)>, DaemonRuntimeError> {
        self.act(|os, _| {
            let kinds = os.kinds().map(|kind| (kind.to_owned(), os.about(kind).unwrap_or_default()));
            kinds.collect()
        })
        .await
    }

    /// The system through this node's eyes, as of the last change of it or the last turn of the node's loop: what runs
    /// where, how the others do, what was decided and what went wrong. Takes no lock and waits for nobody; of a node that
    /// is down it is the last there was.
    pub fn system(&self) -> Arc<MeshOsSnapshot> {
        self.daemons.view.load_full()
    }

    /// Returns when [`system`](Self::system) shows something. Never of a node that stands still or is down and shows it
    /// not.
    pub(crate) async fn until_seen(&self, shows: impl Fn(&MeshOsSnapshot) -> bool) {
        let mut viewed = self.viewed();
        if !shows(&self.system()) {
            // It may have happened, and wait to be published together with other things. On an error, nothing will.
            let _ = self.act(|os, node| os.refresh(now(), node)).await;
        }
        while !shows(&self.system()) {
            // The sender lives in `self`.
            let _ = viewed.changed().await;
        }
    }

    /// Has what the node decides of its own accord from here on be done, or only written down: for tests of what is
    /// decided. What is under way goes on. Dropped before it returns, it may happen all the same.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn set_dispatch(&self, dispatch: Dispatch) -> Result<(), DaemonRuntimeError> {
        self.act(move |os, _| os.set_dispatch(dispatch)).await
    }

    /// What the node decided and did not do; `None` where it does what it decides. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn logged(&self) -> Result<Option<LoggingDispatcher>, DaemonRuntimeError> {
        self.act(|os, _| os.logged().cloned()).await
    }

    /// Tells whenever [`system`](Self::system) is another, from now on.
    pub(super) fn viewed(&self) -> watch::Receiver<()> {
        self.daemons.viewed.subscribe()
    }

    /// What runs on this node, by id. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn daemons(&self) -> Result<Vec<DaemonView>, DaemonRuntimeError> {
        self.act(|os, _| os.daemons().collect()).await
    }

    /// Has a factory of this node make a daemon, and returns when that has dealt with its first event. It runs until it
    /// is stopped, whoever drops what. `args` (at most 4 KiB) are for the factory. Dropping the future does not call it
    /// off.
    ///
    /// # Errors
    /// [`NotReady`](DaemonRuntimeError::NotReady), [`ShuttingDown`](DaemonRuntimeError::ShuttingDown),
    /// [`FactoryNotFound`](DaemonRuntimeError::FactoryNotFound); [`Spawn`](DaemonRuntimeError::Spawn) for the rest.
    /// Nothing is left of it then.
    pub async fn spawn(
        &self,
        kind: &str,
        keypair: EntityKeypair,
        args: &str,
    ) -> Result<DaemonId, DaemonRuntimeError> {
        self.spawn_with(kind, keypair, args, None).await
    }

    /// As [`spawn`](Self::spawn); the daemon takes over a state that [`snapshot`](Self::snapshot) gave of the same
    /// identity, wherever that was.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn), and [`SnapshotIdentityMismatch`](DaemonRuntimeError::SnapshotIdentityMismatch).
    pub async fn spawn_from_snapshot(
        &self,
        kind: &str,
        keypair: EntityKeypair,
        args: &str,
        state: DaemonState,
    ) -> Result<DaemonId, DaemonRuntimeError> {
        let (expected, found) = (keypair.origin_hash(), state.origin);
        if expected != found {
            return Err(DaemonRuntimeError::SnapshotIdentityMismatch { expected, found });
        }
        self.spawn_with(kind, keypair, args, Some(state)).await
    }

    async fn spawn_with(
        &self,
        kind: &str,
        keypair: EntityKeypair,
        args: &str,
        state: Option<DaemonState>,
    ) -> Result<DaemonId, DaemonRuntimeError> {
        self.expect_ready()?;
        let (kind, args) = (kind.to_owned(), args.to_owned());
        let request = SpawnRequest { keypair, kind, args, state, cause: self.cause };
        let id = request.keypair.origin_hash();
        let settled = self.ask(move |os, node| os.spawn(now(), node, request)).await??;
        match settle(settled).await? {
            Settlement::Spawned(Ok(id)) => Ok(id),
            Settlement::Spawned(Err(error)) => {
                // It would be started again by and by. Should it be gone already, all the better.
                let _ = self.stop(id, Duration::ZERO).await;
                Err(error.into())
            }
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// Has a daemon on this node stop, within `grace`; returns as soon as it is down, and how. Dropping the future does not
    /// call it off.
    ///
    /// # Errors
    /// [`NotFound`](DaemonRuntimeError::NotFound); [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when the node is
    /// down.
    pub async fn stop(&self, daemon: DaemonId, grace: Duration) -> Result<DaemonEnd, DaemonRuntimeError> {
        let cause = self.cause;
        let stop = move |os: &mut MeshOs, node: &mut Node| {
            os.stop(now(), node, daemon, Some(grace), cause).ok_or(DaemonRuntimeError::NotFound(daemon))
        };
        match settle(self.ask(stop).await??).await? {
            Settlement::Stopped(end) => Ok(end),
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// A daemon's state, as of between two of its events; it goes on meanwhile. Cancel-safe: it changes nothing.
    ///
    /// # Errors
    /// [`Snapshot`](DaemonRuntimeError::Snapshot), [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn snapshot(&self, daemon: DaemonId) -> Result<DaemonState, DaemonRuntimeError> {
        let settled = self.ask(move |os, node| os.state_of(now(), node, daemon)).await??;
        match settle(settled).await? {
            Settlement::State(state) => Ok(state?),
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// Sends a daemon something (at most [`MAX_PAYLOAD`](meshground_node::MAX_PAYLOAD) bytes), wherever in the mesh it
    /// runs; returns what came of it, within `patience` or 10 s. What one node sends a daemon is worked off in the order
    /// it was sent, each at most once. Dropping the future does not call it back: it may still be worked off.
    ///
    /// # Errors
    /// [`Deliver`](DaemonRuntimeError::Deliver), [`NotReady`](DaemonRuntimeError::NotReady),
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn deliver(
        &self,
        daemon: DaemonId,
        payload: impl Into<Vec<u8>>,
        patience: Option<Duration>,
    ) -> Result<Delivered, DaemonRuntimeError> {
        self.expect_ready()?;
        let payload = payload.into();
        let deliver =
            move |os: &mut MeshOs, node: &mut Node| os.deliver(now(), node, daemon, payload, patience);
        match settle(self.ask(deliver).await??).await? {
            Settlement::Delivered(outcome) => Ok(outcome?),
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// Moves a daemon, wherever it runs, to the node `to`, which has to have a factory of its kind. Its state, its identity
    /// and what waits for it go along. Returns when it runs there. Dropping the future does not call it off.
    ///
    /// # Errors
    /// [`Migration`](DaemonRuntimeError::Migration), and the daemon runs where it did;
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn migrate(&self, daemon: DaemonId, to: NodeId) -> Result<MigrationId, DaemonRuntimeError> {
        let cause = self.cause;
        let settled = self.ask(move |os, node| os.migrate(now(), node, daemon, to, cause)).await??;
        match settle(settled).await? {
            Settlement::Migrated(outcome) => Ok(outcome?),
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// As [`migrate`](Self::migrate), of a daemon on this node; returns as soon as it has begun. Dropped before it
    /// returns, it may happen all the same.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate), and [`NotFound`](DaemonRuntimeError::NotFound).
    pub async fn begin_migration(
        &self,
        daemon: DaemonId,
        to: NodeId,
    ) -> Result<MigrationId, DaemonRuntimeError> {
        let cause = self.cause;
        let begin = move |os: &mut MeshOs, node: &mut Node| {
            if os.daemons().all(|view| view.id != daemon) {
                return Err(DaemonRuntimeError::NotFound(daemon));
            }
            os.migrate(now(), node, daemon, to, cause)?;
            let mut under_way = os.migrations(now().instant);
            let begun = under_way.find(|view| view.daemon == daemon);
            begun.map(|view| view.id).ok_or(DaemonRuntimeError::NotFound(daemon))
        };
        self.act(begin).await?
    }

    /// Calls off a migration of which this node is the source: the daemon stays here. Returns when that is decided, not
    /// when the daemon goes on. Dropped before it returns, it may happen all the same.
    ///
    /// # Errors
    /// [`Migration`](DaemonRuntimeError::Migration) when there is none, and from the cutover on;
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn cancel_migration(&self, migration: MigrationId) -> Result<(), DaemonRuntimeError> {
        let cause = self.cause;
        Ok(self.act(move |os, node| os.cancel_migration(now(), node, migration, cause)).await??)
    }

    /// The migrations under way of which this node is the source, by id. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn migrations(&self) -> Result<Vec<MigrationView>, DaemonRuntimeError> {
        self.act(|os, _| os.migrations(now().instant).collect()).await
    }

    /// Tells every daemon on this node to stop and starts no more; returns when all are down, each within its grace. The
    /// node stays in the mesh. Dropping the future does not call it off.
    pub async fn shutdown(&self) {
        self.daemons.state.send_replace(RuntimeState::ShuttingDown);
        let cause = self.cause;
        let stop_all = move |os: &mut MeshOs, node: &mut Node, tickets: &mut Tickets| {
            os.close(now(), node);
            let ids: Vec<DaemonId> = os.daemons().map(|view| view.id).collect();
            let stopped = ids.into_iter().filter_map(|id| os.stop(now(), node, id, None, cause));
            let stopped: Vec<Ticket> = stopped.collect();
            stopped.into_iter().map(|ticket| hold(tickets, ticket)).collect::<Vec<_>>()
        };
        for stopped in self.bring(stop_all).await.unwrap_or_default() {
            // One that will not be told is down with its node.
            let _ = stopped.await;
        }
    }

    // To the node's task.

    /// What the node runs on.
    pub(super) fn tokio(&self) -> &Handle {
        &self.daemons.runtime
    }

    pub(super) fn cause(&self) -> Option<CommandId> {
        self.cause
    }

    /// Has the node's task do something quick with the system.
    pub(crate) async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut MeshOs, &mut Node) -> T + Send + 'static,
    ) -> Result<T, DaemonRuntimeError> {
        self.bring(move |os, node, _| act(os, node)).await
    }

    /// Returns once what this node knows of the system is as `wanted`, or it is gone.
    pub(crate) async fn until_known(
        &self,
        wanted: impl Fn(&MeshOs, &mut Node) -> bool + Copy + Send + 'static,
    ) {
        let mut viewed = self.viewed();
        while let Ok(false) = self.act(move |os, node| wanted(os, node)).await {
            if viewed.changed().await.is_err() {
                return;
            }
        }
    }

    /// As [`act`](Self::act), for what is settled later.
    pub(super) async fn ask<E: Send + 'static>(
        &self,
        act: impl FnOnce(&mut MeshOs, &mut Node) -> Result<Ticket, E> + Send + 'static,
    ) -> Result<Result<oneshot::Receiver<Settlement>, E>, DaemonRuntimeError> {
        self.bring(move |os, node, tickets| act(os, node).map(|ticket| hold(tickets, ticket))).await
    }

    pub(super) async fn bring<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut MeshOs, &mut Node, &mut Tickets) -> T + Send + 'static,
    ) -> Result<T, DaemonRuntimeError> {
        let command = |reply: oneshot::Sender<T>| {
            Command::Os(OsAct(Box::new(move |os, node, tickets| {
                // An answer nobody waits for any more is no error.
                let _ = reply.send(act(os, node, tickets));
            })))
        };
        self.mesh.ask(command).await.map_err(|_| DaemonRuntimeError::ShuttingDown)
    }

    /// Has a daemon stop, waiting for nothing.
    pub(super) fn begin_stop(&self, id: DaemonId) {
        self.mesh.begin_stop(id, self.cause);
    }
}

pub(super) fn hold(tickets: &mut Tickets, ticket: Ticket) -> oneshot::Receiver<Settlement> {
    let (holder, settled) = oneshot::channel();
    tickets.hold(ticket, holder);
    settled
}

pub(super) async fn settle(settled: oneshot::Receiver<Settlement>) -> Result<Settlement, DaemonRuntimeError> {
    settled.await.map_err(|_| DaemonRuntimeError::ShuttingDown)
}

impl fmt::Debug for DaemonRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonRuntime")
            .field("node", &self.mesh.node_id())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
