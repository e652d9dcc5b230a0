//! What Meshground's whole-system tests are built from.

pub mod relay;
pub mod sim;
pub mod ws;
