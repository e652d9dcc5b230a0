//! Builds, runs and tests Meshground.
fn main() {}
