//! Many nodes at once: boot a whole mesh on loopback ports, wait for it, change it, break it.
//!
//! [`ClusterHarness`] is the way in. It holds no magic: every member is a [`Mesh`](crate::Mesh) with its own UDP
//! socket and its own task, and they find each other by real handshakes.

mod acquaintance;
mod attempt;
mod causes;
mod config;
mod error;
mod factories;
mod faults;
mod groups;
mod harness;
mod health;
mod hearing;
// Some of it only the playground server asks for.
#[cfg_attr(not(feature = "server"), allow(dead_code))]
mod hearsay;
mod membership;
mod node;
mod seeing;
mod shared;
mod spawning;
mod state;
mod wiring;

pub use config::{CapabilitiesOf, ClusterConfig, MAX_NODES};
pub use error::ClusterError;
pub use groups::{ForkGroup, Group, GroupConfig, ReplicaGroup, StandbyGroup};
pub use harness::ClusterHarness;
pub use health::ClusterHealth;
#[cfg(feature = "server")]
pub(crate) use hearsay::Subject;
pub use membership::RestartIdentity;
pub use meshground_shared::NodeState;
pub use node::ClusterNode;
pub use spawning::NodeDaemonHandle;
