//! Debian's and Ubuntu's packages, on machines where this program may install them.

use std::process::Command;

use anyhow::Result;

use crate::path;
use crate::step::{Step, answer};
use crate::workspace::Workspace;

/// The right to install packages.
pub(crate) struct Apt {
    with_sudo: bool,
}

impl Apt {
    /// Finds apt-get, and a way to run it as root that asks for no password.
    pub(crate) fn find() -> Option<Self> {
        path::find("apt-get")?;
        if answer(Command::new("id").arg("-u")).as_deref() == Some("0") {
            return Some(Self { with_sudo: false });
        }
        answer(Command::new("sudo").args(["-n", "true"])).map(|_| Self { with_sudo: true })
    }

    /// Installs `packages` and, if `recommended`, what they recommend.
    ///
    /// # Errors
    ///
    /// A package does not exist for this release, or cannot be fetched.
    pub(crate) fn install(
        &self,
        workspace: &Workspace,
        step: &Step,
        packages: &[&str],
        recommended: bool,
    ) -> Result<()> {
        step.say(&format!("installing {} with apt-get", packages.join(", ")));
        // An index that is out of date only matters if the package is missing from it.
        step.attempt(self.apt_get(workspace).arg("update"))?;
        let mut install = self.apt_get(workspace);
        install.args(["install", "-y"]);
        if !recommended {
            install.arg("--no-install-recommends");
        }
        step.run(install.args(packages))
    }

    fn apt_get(&self, workspace: &Workspace) -> Command {
        let mut command = workspace.command(if self.with_sudo { "sudo" } else { "env" });
        if self.with_sudo {
            command.args(["-n", "env"]);
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    }
}

/// Whether dpkg knows all of `packages` as installed.
pub(crate) fn has(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        let mut query = Command::new("dpkg-query");
        answer(query.args(["-W", "-f=${db:Status-Abbrev}", package])).is_some_and(|status| status == "ii")
    })
}
