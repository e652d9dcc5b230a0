//! Asking other probes than the mesh itself.

use meshground_node::{HealthProbe, InventoryProbe, LocalityProbe};

use super::{DaemonRuntimeError, MeshOsDaemonSdk};

/// What a node knows of the network comes from its mesh, which measures round trips and judges lives, and of its machine
/// from the operating system. Who knows better can be asked instead: a test, a simulation, a rack's own monitor. A probe
/// is asked in the node's task each tick and must not block there; one that panics is counted in the snapshot, and what
/// it said before stands.
impl MeshOsDaemonSdk {
    /// Asks `probe` how far away other nodes are, from the next tick on. Dropped before it returns, it may happen all
    /// the same.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn install_locality_probe(
        &self,
        probe: Box<dyn LocalityProbe>,
    ) -> Result<(), DaemonRuntimeError> {
        self.daemon_runtime().act(|os, _| os.install_locality_probe(probe)).await
    }

    /// Asks `probe` how other nodes do, from the next tick on. It decides what the snapshot shows; when a session ends
    /// stays with the mesh's failure detector. Dropped before it returns, it may happen all the same.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn install_health_probe(&self, probe: Box<dyn HealthProbe>) -> Result<(), DaemonRuntimeError> {
        self.daemon_runtime().act(|os, _| os.install_health_probe(probe)).await
    }

    /// Asks `probe` how the machine does, from the next tick on. Dropped before it returns, it may happen all the
    /// same.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn install_inventory_probe(
        &self,
        probe: Box<dyn InventoryProbe>,
    ) -> Result<(), DaemonRuntimeError> {
        self.daemon_runtime().act(|os, _| os.install_inventory_probe(probe)).await
    }

    /// Asks the mesh itself again how far away other nodes are and how they do, as at first. Dropped before it
    /// returns, it may happen all the same.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn install_mesh_probes(&self) -> Result<(), DaemonRuntimeError> {
        self.daemon_runtime().act(|os, _| os.install_mesh_probes()).await
    }
}
