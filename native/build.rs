//! Tells the compiler where the built page is, so that the binary can embed it.
//!
//! The page comes from `cargo xtask demo`, which builds `web/` into `dist/` first.
//! Without one the crate still compiles, and the server says what to run.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_SERVER").is_none() {
        return;
    }
    let dist = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../dist");
    // Watching a path that does not exist would make every build start over, so
    // the (git-ignored) directory is made, empty. Where that cannot be, as in a
    // read-only checkout, there will be no page to wait for either.
    if dist.is_dir() || fs::create_dir(&dist).is_ok() {
        println!("cargo:rerun-if-changed={}", dist.display());
        println!("cargo:rustc-env=MESHGROUND_DIST={}", dist.display());
        return;
    }
    let empty = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("no-page");
    fs::create_dir_all(&empty).expect("OUT_DIR can be written");
    println!("cargo:rustc-env=MESHGROUND_DIST={}", empty.display());
}
