//! Trunk, wasm-bindgen and cargo-fuzz, in the versions that the workspace pins.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::path;
use crate::step::{Step, answer, step};
use crate::wasm::Toolchain;
use crate::workspace::Workspace;

/// Everything that turns `web/` into a page.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) wasm: Toolchain,
    pub(crate) trunk: PathBuf,
    pub(crate) wasm_bindgen: PathBuf,
}

/// Finds every tool, installing those that are missing.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Tools> {
    Ok(Tools {
        wasm: step("WASM toolchain", |step| Toolchain::ensure(workspace, step))?,
        trunk: TRUNK.ensure(workspace)?,
        wasm_bindgen: WASM_BINDGEN.ensure(workspace)?,
    })
}

/// Finds rustfmt and clippy, which rustup's minimal profile leaves out.
pub(crate) fn ensure_components(workspace: &Workspace, step: &Step) -> Result<()> {
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if answer(workspace.cargo().args([command, "--version"])).is_none() {
            let Some(rustup) = path::find("rustup") else {
                bail!("`cargo {command}` is missing: install {component} for this Rust toolchain");
            };
            step.run(workspace.command(rustup).args(["component", "add", component]))?;
        }
    }
    Ok(())
}

/// Finds cargo-fuzz, or installs it.
pub(crate) fn ensure_cargo_fuzz(workspace: &Workspace) -> Result<PathBuf> {
    CARGO_FUZZ.ensure(workspace)
}

const TRUNK: Tool = Tool {
    package: "trunk",
    program: "trunk",
    accept: Accept::Compatible,
    // Without its check for updates, and with the TLS that needs no system library.
    features: &["--no-default-features", "--features", "rustls"],
};

const WASM_BINDGEN: Tool = Tool {
    package: "wasm-bindgen-cli",
    program: "wasm-bindgen",
    // It reads what the library of the same version wrote into the binary.
    accept: Accept::Exactly,
    features: &[],
};

const CARGO_FUZZ: Tool =
    Tool { package: "cargo-fuzz", program: "cargo-fuzz", accept: Accept::Compatible, features: &[] };

/// These tools run for seconds and are compiled on the person's time: quick to build beats fast.
const QUICK_BUILD: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

struct Tool {
    /// The crate that has it, which is also its key among the pinned versions.
    package: &'static str,
    program: &'static str,
    accept: Accept,
    features: &'static [&'static str],
}

/// Which versions do for a pinned one.
#[derive(Clone, Copy)]
enum Accept {
    Exactly,
    /// The pinned one and its later patches.
    Compatible,
}

impl Tool {
    fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let pinned: Version = workspace.pinned(self.package)?.parse()?;
        step(self.package, |step| {
            if let Some((path, version)) = self.find(workspace, pinned) {
                step.note(version.to_string());
                return Ok(path);
            }
            self.install(workspace, pinned, step)?;
            let (path, version) = self.find(workspace, pinned).with_context(|| {
                format!("{} was installed but does not answer with version {pinned}", self.package)
            })?;
            step.note(format!("{version}, installed into .tools"));
            Ok(path)
        })
    }

    /// The first one on `PATH`, or else in the project's own folder, that has an accepted version.
    fn find(&self, workspace: &Workspace, pinned: Version) -> Option<(PathBuf, Version)> {
        let path = path::with_last(&workspace.tools().join("bin")).ok()?;
        self.pick(&path, pinned, |program| {
            answer(Command::new(program).arg("--version")).and_then(|line| Version::find(&line))
        })
    }

    fn pick(
        &self,
        path: &OsStr,
        pinned: Version,
        version_of: impl Fn(&Path) -> Option<Version>,
    ) -> Option<(PathBuf, Version)> {
        path::find_all(self.program, path)
            .filter_map(|program| version_of(&program).map(|version| (program, version)))
            .find(|(_, version)| self.accept.accepts(pinned, *version))
    }

    fn install(&self, workspace: &Workspace, pinned: Version, step: &Step) -> Result<()> {
        if path::find("cargo-binstall").is_some() {
            step.say("cargo binstall fetches it");
            let mut binstall = workspace.cargo();
            binstall.args(["binstall", "--no-confirm", "--disable-strategies", "compile", "--root"]);
            binstall.arg(workspace.tools()).arg(format!("{}@={pinned}", self.package));
            if step.attempt(&mut binstall)?.status.success() {
                return Ok(());
            }
        }
        step.say("compiling it, which takes some minutes and happens once");
        // Its own build folder, so that an interrupted installation goes on where it was.
        let target = workspace.target().join("tools");
        let install = |locked: bool| {
            let mut install = workspace.cargo();
            install.args(["install", "--force", self.package, "--version", &pinned.to_string(), "--root"]);
            install.arg(workspace.tools()).args(self.features).envs(QUICK_BUILD);
            install.env("CARGO_TARGET_DIR", &target);
            if locked {
                install.arg("--locked");
            }
            install
        };
        // A package index that lags behind may lack a version of the tool's own lock file.
        if !step.attempt(&mut install(true))?.status.success() {
            step.say("again, without the versions it was released with");
            step.run(&mut install(false))?;
        }
        // Hundreds of megabytes that nothing needs any more; if they stay, nothing breaks.
        let _ = fs::remove_dir_all(target);
        Ok(())
    }
}

impl Accept {
    fn accepts(self, pinned: Version, found: Version) -> bool {
        match self {
            Self::Exactly => found == pinned,
            Self::Compatible => {
                (found.major, found.minor) == (pinned.major, pinned.minor) && found.patch >= pinned.patch
            }
        }
    }
}

/// A released version; pre-releases are nobody's pinned version and count as no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    /// The first version in what a program says about itself, such as `trunk 0.21.14`.
    fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| word.parse().ok())
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<_> = text.split('.').map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
        let [major, minor, patch] = numbers[..] else { bail!("`{text}` is not a version like 1.2.3") };
        Ok(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn reads_the_version_a_program_reports() {
        assert_eq!(Version::find("trunk 0.21.14"), Some(version("0.21.14")));
        assert_eq!(Version::find("wasm-bindgen 0.2.130 (0a1b2c3d4)"), Some(version("0.2.130")));
        assert_eq!(Version::find("trunk 0.22.0-beta.1"), None);
        assert_eq!(Version::find("error: unknown option"), None);
        assert!("1.2".parse::<Version>().is_err());
        assert!("".parse::<Version>().is_err());
    }

    #[test]
    fn wasm_bindgen_must_be_exact_and_trunk_may_be_a_later_patch() {
        let accepts = |tool: Tool, found| tool.accept.accepts(version("0.21.14"), version(found));
        assert!(accepts(TRUNK, "0.21.14"));
        assert!(accepts(TRUNK, "0.21.15"));
        assert!(!accepts(TRUNK, "0.21.13"));
        assert!(!accepts(TRUNK, "0.22.0"));
        assert!(accepts(WASM_BINDGEN, "0.21.14"));
        assert!(!accepts(WASM_BINDGEN, "0.21.15"));
    }

    #[cfg(unix)]
    #[test]
    fn passes_over_a_program_of_the_wrong_version_and_one_that_does_not_answer() {
        use std::os::unix::fs::PermissionsExt;

        let scratch = crate::stamp::scratch::Scratch::new("tools");
        for folder in ["broken", "old", "right"] {
            let file = scratch.write(&format!("{folder}/wasm-bindgen"), "");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let folders = ["broken", "old", "right"].map(|folder| scratch.root().join(folder));
        let path = std::env::join_paths(&folders).unwrap();
        let version_of = |program: &Path| {
            let said = [None, Some("0.2.129"), Some("0.2.130")];
            let folder = folders.iter().position(|folder| program.starts_with(folder))?;
            said[folder].map(version)
        };

        let found = WASM_BINDGEN.pick(&path, version("0.2.130"), version_of);
        assert_eq!(found.unwrap().0, folders[2].join("wasm-bindgen"));
        assert!(WASM_BINDGEN.pick(&path, version("0.2.131"), version_of).is_none());
    }
}
