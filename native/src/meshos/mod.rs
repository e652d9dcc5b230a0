//! Running daemons on a node: [`MeshOsDaemonSdk`] for daemons that are there already, [`DaemonRuntime`] for those that
//! factories make.
//!
//! Nothing of a daemon ever runs in its node's task: one that blocks or panics is alone with that.

mod apart;
mod commanding;
mod error;
mod groups;
mod handle;
mod runtime;
mod sdk;

pub(crate) use self::{apart::factory, runtime::Daemons};
pub use self::{
    commanding::wall_time,
    error::DaemonRuntimeError,
    handle::MeshOsDaemonHandle,
    runtime::{DaemonRuntime, RuntimeState, random_keypair},
    sdk::{MeshOsDaemonSdk, MeshOsRuntime},
};
