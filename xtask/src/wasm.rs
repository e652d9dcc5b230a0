//! A Rust toolchain that compiles for `wasm32-unknown-unknown`.
//!
//! Normally that is the toolchain in use plus a target that rustup adds. Where
//! rustup cannot fetch it (no rustup, no network but a package mirror, a
//! classroom), Debian's packages for building web browsers are a complete second
//! toolchain, from which the standard library is built along with the page.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::apt::{self, Apt};
use crate::path;
use crate::step::{Step, answer};
use crate::workspace::Workspace;

/// The target that browsers run.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const DEBIAN_LINKER: &str = "wasm-ld-22";
/// Where Debian's packages put cargo and rustc.
const DEBIAN_BIN: &str = "/usr/bin";

/// Which toolchain compiles the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The one in use, which has the target.
    InUse,
    /// Debian's, beside the one in use.
    Debian,
}

impl Toolchain {
    /// Finds a toolchain, or installs what is missing from one.
    ///
    /// # Errors
    ///
    /// None is there and none can be installed; the message says what to do.
    pub(crate) fn ensure(workspace: &Workspace, step: &Step) -> Result<Self> {
        if target_is_installed(workspace) {
            step.note(TARGET);
            return Ok(Self::InUse);
        }
        if let Some(rustup) = path::find("rustup") {
            step.say("rustup adds the target");
            let mut add = workspace.command(rustup);
            let added = step.attempt(add.args(["target", "add", TARGET]))?;
            if added.status.success() && target_is_installed(workspace) {
                step.note(format!("{TARGET}, added by rustup"));
                return Ok(Self::InUse);
            }
        }
        if !apt::has(&DEBIAN_PACKAGES) {
            let Some(apt) = Apt::find() else { bail!(advice()) };
            if let Err(error) = apt.install(workspace, step, &DEBIAN_PACKAGES, false) {
                bail!("{error:#}\n{}", advice());
            }
        }
        step.note("Debian's rustc-web");
        Ok(Self::Debian)
    }

    /// A command of this toolchain that also finds the programs in `folder`.
    pub(crate) fn command(self, workspace: &Workspace, program: &Path, folder: &Path) -> Result<Command> {
        let mut command = workspace.command(program);
        match self {
            Self::InUse => {
                command.env("PATH", path::with_first(&[folder])?);
            }
            Self::Debian => {
                let bin = Path::new(DEBIAN_BIN);
                // `folder` may be rustup's, whose cargo must not come first.
                command.env("PATH", path::with_first(&[bin, folder])?);
                // The outer cargo set these for its own toolchain.
                command.env("CARGO", bin.join("cargo")).env("RUSTC", bin.join("rustc"));
                command.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTDOC");
                // Building std from source is unstable, and this compiler says it is stable.
                command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort");
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER);
            }
        }
        Ok(command)
    }

    /// This toolchain's cargo, by the name under which [`Self::command`] finds it.
    pub(crate) fn cargo(self, workspace: &Workspace) -> Result<Command> {
        match self {
            Self::InUse => Ok(workspace.cargo()),
            Self::Debian => {
                self.command(workspace, &Path::new(DEBIAN_BIN).join("cargo"), Path::new(DEBIAN_BIN))
            }
        }
    }
}

/// Whether the toolchain in use has the target's standard library.
fn target_is_installed(workspace: &Workspace) -> bool {
    let mut rustc = workspace.command("rustc");
    answer(rustc.args(["--print", "target-libdir", "--target", TARGET])).is_some_and(|folder| {
        let Ok(entries) = PathBuf::from(folder).read_dir() else { return false };
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

fn advice() -> String {
    format!(
        "no Rust toolchain here compiles for {TARGET}: run `rustup target add {TARGET}`, \
         or as root `apt-get install --no-install-recommends {}`",
        DEBIAN_PACKAGES.join(" ")
    )
}
