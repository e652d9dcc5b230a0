//! A real, encrypted UDP mesh on loopback: the cluster harness, the playground server and its command line.
//!
//! - [`cluster`]: [`ClusterHarness`] boots real nodes on loopback ports, grows, shrinks and breaks the mesh.
//! - [`mesh`]: [`Mesh`], one node on one UDP socket; what the harness is made of.
//! - [`log`]: [`EventLog`], what happened in a cluster, in one order for everybody.
//!
//! As a dev-dependency take it with `default-features = false`: the playground server, the embedded page and
//! the command line are then not compiled.
//!
//! ```no_run
//! # async fn demo() -> Result<(), meshground::ClusterError> {
//! let cluster = meshground::ClusterHarness::new(5).await?;
//! assert!(cluster.health().fully_converged());
//! let victim = cluster.nth(2).expect("five were booted").node_id();
//! cluster.crash_node(victim).await?;
//! cluster.restart_node(victim).await?;
//! cluster.shutdown().await?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod cluster;
pub mod daemons;
mod driver;
mod faults;
mod lock;
pub mod log;
mod machine;
pub mod mesh;
pub mod meshos;
mod random;
#[cfg(feature = "server")]
pub mod server;
mod tokio_runtime;

pub use cluster::{
    ClusterConfig, ClusterError, ClusterHarness, ClusterHealth, ClusterNode, NodeDaemonHandle,
};
pub use log::{EventLog, EventReceiver, RecvError, Subscription};
pub use mesh::{
    CallObserver, CallOptions, Mesh, MeshBuilder, MeshError, Message, MessageSender, Messages, ReceiveStream,
    Refusal, Request, Responder, Responses, SendStream, Stream,
};
pub use meshos::{DaemonRuntime, DaemonRuntimeError, MeshOsDaemonHandle, MeshOsDaemonSdk, RuntimeState};
