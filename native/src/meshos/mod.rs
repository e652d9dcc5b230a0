//! Running daemons on a node: [`MeshOsDaemonSdk`] for daemons that are there already, [`DaemonRuntime`] for those that
//! factories make.
//!
//! Nothing of a daemon ever runs in its node's task: one that blocks or panics is alone with that.

mod apart;
mod commanding;
mod error;
mod groups;
mod handle;
mod migrations;
mod probes;
mod runtime;
mod sdk;
#[cfg(feature = "server")]
mod view;

#[cfg(feature = "server")]
pub(crate) use self::view::view_of;
pub(crate) use self::{apart::factory, runtime::Daemons};
pub use self::{
    commanding::wall_time,
    error::DaemonRuntimeError,
    handle::MeshOsDaemonHandle,
    migrations::MigrationSnapshotSource,
    runtime::{DaemonRuntime, RuntimeState, random_keypair},
    sdk::{MeshOsDaemonSdk, MeshOsRuntime},
};
