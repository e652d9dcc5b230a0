//! One member, for its users.

use std::net::SocketAddr;

use meshground_shared::{NodeId, PublicKey};

use crate::{
    mesh::Mesh,
    meshos::{DaemonRuntime, MeshOsDaemonSdk},
};

/// A member of a cluster, as it was when it was handed out: after a restart, ask the harness for the new one.
/// Cloning is cheap, and keeping one keeps nothing alive: a node goes down with its cluster.
#[derive(Debug, Clone)]
pub struct ClusterNode {
    pub(super) index: usize,
    pub(super) mesh: Mesh,
}

impl ClusterNode {
    /// Its place in the cluster: kept over a restart, never given to another.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its mesh, to send and receive messages and to look at its peers.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// For running daemons on it.
    ///
    /// # Panics
    /// Never: every member is built for that.
    pub fn sdk(&self) -> MeshOsDaemonSdk {
        self.mesh.os().expect("a member runs daemons")
    }

    /// Its daemons, those out of factories above all.
    pub fn daemon_runtime(&self) -> DaemonRuntime {
        self.sdk().daemon_runtime()
    }

    /// The loopback UDP address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.mesh.local_addr()
    }

    /// Its id.
    pub fn node_id(&self) -> NodeId {
        self.mesh.node_id()
    }

    /// Its Noise static public key.
    pub fn public_key(&self) -> PublicKey {
        self.mesh.public_key()
    }
}
