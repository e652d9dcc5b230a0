//! The Meshground playground page, compiled to WASM.
fn main() {}
