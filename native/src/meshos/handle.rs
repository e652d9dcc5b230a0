//! Whoever runs a daemon has one of these.

use std::time::Duration;

use meshground_node::{DaemonEnd, DaemonId, NodeId};
use meshground_shared::LogLevel;

use super::{DaemonRuntime, DaemonRuntimeError};
use crate::driver::now;

/// A daemon that was registered. Dropped, it unregisters the daemon, which then stops within the default grace.
#[derive(Debug)]
#[must_use = "the daemon goes with its handle"]
pub struct MeshOsDaemonHandle {
    id: DaemonId,
    /// `None` once nothing is left to unregister.
    runtime: Option<DaemonRuntime>,
    node: NodeId,
}

impl MeshOsDaemonHandle {
    pub(super) fn new(id: DaemonId, runtime: DaemonRuntime) -> Self {
        let node = runtime.mesh().node_id();
        Self { id, runtime: Some(runtime), node }
    }

    /// The daemon's id.
    pub fn id(&self) -> DaemonId {
        self.id
    }

    /// The node it was registered on.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Writes a line into the daemon's log; what goes beyond 1,024 bytes is cut. Dropped before it returns, it may
    /// happen all the same.
    ///
    /// # Errors
    /// [`NotFound`](DaemonRuntimeError::NotFound) when it is down;
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when its node is.
    pub async fn publish_log(
        &self,
        level: LogLevel,
        text: impl Into<String>,
    ) -> Result<(), DaemonRuntimeError> {
        let (id, text) = (self.id, text.into());
        let is_here = self.runtime()?.act(move |os, _| os.log_for(now(), id, level, text)).await?;
        if is_here { Ok(()) } else { Err(DaemonRuntimeError::NotFound(id)) }
    }

    /// Has the node announce these tags besides its own for as long as the daemon runs, in place of what it had it
    /// announce before. What goes beyond the bounds of an announcement is left out. Dropped before it returns, it may
    /// happen all the same.
    ///
    /// # Errors
    /// As [`publish_log`](Self::publish_log).
    pub async fn publish_capabilities(
        &self,
        tags: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), DaemonRuntimeError> {
        let (id, tags) = (self.id, tags.into_iter().map(Into::into).collect());
        let is_here = self.runtime()?.act(move |os, _| os.announce_for(now(), id, tags)).await?;
        if is_here { Ok(()) } else { Err(DaemonRuntimeError::NotFound(id)) }
    }

    /// Has the daemon stop, within `grace`; returns as soon as it is down, and how. Dropping the future does not call it
    /// off.
    ///
    /// # Errors
    /// [`NotFound`](DaemonRuntimeError::NotFound) when it is down already;
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown) when its node is.
    pub async fn graceful_shutdown(mut self, grace: Duration) -> Result<DaemonEnd, DaemonRuntimeError> {
        let Some(runtime) = self.runtime.take() else { return Err(DaemonRuntimeError::NotFound(self.id)) };
        // Told first, so that it stops even if nobody waits for that.
        let id = self.id;
        runtime.stop(id, grace).await
    }

    /// Lets the daemon run on without a handle, until it is stopped; returns its id.
    pub fn detach(mut self) -> DaemonId {
        self.runtime = None;
        self.id
    }

    fn runtime(&self) -> Result<&DaemonRuntime, DaemonRuntimeError> {
        self.runtime.as_ref().ok_or(DaemonRuntimeError::NotFound(self.id))
    }
}

impl Drop for MeshOsDaemonHandle {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.begin_stop(self.id);
        }
    }
}
