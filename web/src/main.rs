//! The Meshground playground page, compiled to WASM.

fn main() {
    meshground_web::run();
}
