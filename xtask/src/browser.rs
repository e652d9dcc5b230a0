//! A Chromium and the driver that belongs to it, for the tests of the page.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::apt::Apt;
use crate::path;
use crate::step::{Step, answer};
use crate::workspace::Workspace;

/// The names that Chromium and its siblings go by.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// Where macOS keeps it, which is not on `PATH`.
const ON_MACOS: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";

/// A browser and its driver, of the same major version.
pub(crate) struct Browser {
    pub(crate) chromium: PathBuf,
    pub(crate) driver: PathBuf,
}

impl Browser {
    /// Finds both, or else installs Debian's if `may_install`.
    ///
    /// # Errors
    ///
    /// There is no matching pair, and none could be installed.
    pub(crate) fn ensure(workspace: &Workspace, step: &Step, may_install: bool) -> Result<Self> {
        if let Some(found) = Self::find(step) {
            return Ok(found);
        }
        if may_install && let Some(apt) = Apt::find() {
            // What Chromium recommends includes the fonts it needs to draw text.
            apt.install(workspace, step, &["chromium", "chromium-driver"], true)?;
            if let Some(found) = Self::find(step) {
                return Ok(found);
            }
        }
        bail!(
            "no Chromium with a ChromeDriver of the same version here: install both \
             (Debian: chromium and chromium-driver) or name them in CHROMIUM and CHROMEDRIVER"
        )
    }

    fn find(step: &Step) -> Option<Self> {
        let driver = named("CHROMEDRIVER").or_else(|| path::find("chromedriver"))?;
        let wanted = major(&driver)?;
        let candidates = named("CHROMIUM").map_or_else(
            || {
                let on_macos = Some(PathBuf::from(ON_MACOS)).filter(|path| path.is_file());
                BROWSERS.iter().filter_map(|name| path::find(name)).chain(on_macos).collect()
            },
            |chromium| vec![chromium],
        );
        let chromium = candidates.into_iter().find(|chromium| major(chromium) == Some(wanted))?;
        step.note(format!("{} {wanted}", chromium.display()));
        Some(Self { chromium, driver })
    }
}

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn major(program: &Path) -> Option<u32> {
    answer(Command::new(program).arg("--version")).and_then(|line| major_in(&line))
}

/// The major version in `ChromeDriver 140.0.7339.80 (4c0f...)`.
fn major_in(line: &str) -> Option<u32> {
    line.split_whitespace().find_map(|word| word.split_once('.')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_of_browser_and_driver() {
        assert_eq!(major_in("Chromium 140.0.7339.80 built on Debian GNU/Linux 12"), Some(140));
        assert_eq!(major_in("ChromeDriver 140.0.7339.80 (4c0f-refs/heads/7339@{#1})"), Some(140));
        assert_eq!(major_in("Google Chrome 141.0.1.2"), Some(141));
        assert_eq!(major_in("command not found"), None);
    }
}
