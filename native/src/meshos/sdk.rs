//! Running daemons that somebody has made.

use std::sync::Arc;

use meshground_node::{EntityKeypair, MeshDaemon, MeshOsSnapshot, Settlement, SpawnError};
use meshground_shared::CommandId;

use super::{
    DaemonRuntime, DaemonRuntimeError, MeshOsDaemonHandle, apart,
    runtime::{hold, settle},
};
use crate::driver::now;

/// A node, for those who run daemons on it. Cloning is cheap, and each is also a handle on the
/// [`Mesh`](crate::Mesh), as a clone of that would be.
#[derive(Debug, Clone)]
pub struct MeshOsDaemonSdk {
    runtime: DaemonRuntime,
}

/// What one node knows of the system.
#[derive(Debug, Clone, Copy)]
pub struct MeshOsRuntime<'a> {
    runtime: &'a DaemonRuntime,
}

impl MeshOsRuntime<'_> {
    /// What it knows, as of the last change or the last turn of its loop. Takes no lock and waits for nobody.
    pub fn snapshot(&self) -> Arc<MeshOsSnapshot> {
        self.runtime.system()
    }
}

impl MeshOsDaemonSdk {
    pub(crate) fn new(runtime: DaemonRuntime) -> Self {
        Self { runtime }
    }

    /// The same node. What is done through it, and what follows from that, carries `cause` in a cluster's event log.
    #[must_use]
    pub fn caused_by(&self, cause: CommandId) -> Self {
        Self { runtime: self.runtime.caused_by(cause) }
    }

    /// The same node's daemons, those out of factories above all, and the [system](DaemonRuntime::system) through its eyes.
    pub fn daemon_runtime(&self) -> DaemonRuntime {
        self.runtime.clone()
    }

    /// The system through this node's eyes.
    pub fn runtime(&self) -> MeshOsRuntime<'_> {
        MeshOsRuntime { runtime: &self.runtime }
    }

    /// Runs a daemon on this node, as whoever `keypair` is; returns when it has dealt with its first event. It runs until
    /// the handle is dropped or it is stopped, and after a crash nobody makes it anew. Dropping the future calls it off.
    ///
    /// Its name and what it requires are asked for here, by the caller; everything else outside any task.
    ///
    /// # Errors
    /// [`NotReady`](DaemonRuntimeError::NotReady), [`ShuttingDown`](DaemonRuntimeError::ShuttingDown); else
    /// [`Spawn`](DaemonRuntimeError::Spawn), and nothing is left of it.
    pub async fn register_daemon(
        &self,
        daemon: Box<dyn MeshDaemon>,
        keypair: EntityKeypair,
    ) -> Result<MeshOsDaemonHandle, DaemonRuntimeError> {
        self.runtime.expect_ready()?;
        let daemon = apart::daemon(daemon, self.runtime.tokio().clone())
            .map_err(|error| SpawnError::Failed(error.to_string()))?;
        let (runtime, cause) = (self.runtime.clone(), self.runtime.cause());
        let registered = self.runtime.bring(move |os, node, tickets| {
            let id = keypair.origin_hash();
            let ticket = os.register_daemon(now(), node, daemon, keypair, cause)?;
            // From here on it goes with its handle, whether that arrives or not.
            Ok::<_, SpawnError>((MeshOsDaemonHandle::new(id, runtime), hold(tickets, ticket)))
        });
        let (handle, settled) = registered.await??;
        match settle(settled).await? {
            Settlement::Spawned(Ok(_)) => Ok(handle),
            Settlement::Spawned(Err(error)) => Err(error.into()),
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// Tells every daemon on this node to stop and starts no more; returns when all are down, each within its grace. The
    /// node stays in the mesh. Dropping the future does not call it off.
    pub async fn shutdown(&self) {
        self.runtime.shutdown().await;
    }
}
