//! What Meshground's whole-system tests are built from.

pub mod bare;
#[cfg(feature = "browser")]
pub mod browser;
pub mod daemons;
pub mod relay;
pub mod sim;
pub mod trails;
pub mod waiting;
pub mod ws;
