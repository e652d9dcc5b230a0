//! The page: `web/`, compiled to WASM and bundled by Trunk into `dist/`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::stamp::Stamp;
use crate::step::{Step, step};
use crate::tools::Tools;
use crate::wasm;
use crate::workspace::Workspace;

/// The member that is the page.
pub(crate) const FOLDER: &str = "web";
/// Its package.
pub(crate) const PACKAGE: &str = "meshground-web";

/// Brings `dist/` up to date; asks for the tools only if there is something to build.
pub(crate) fn build(workspace: &Workspace, tools: impl FnOnce() -> Result<Tools>) -> Result<()> {
    let stamp = Stamp::take(workspace, "page", &inputs(workspace)?, vec![workspace.dist()])?;
    if stamp.is_fresh() {
        return step("page", |step| {
            step.note("unchanged");
            Ok(())
        });
    }
    let tools = tools()?;
    step("page", |step| {
        trunk(workspace, &tools, step)?;
        stamp.write()
    })
}

/// What the page is made from. Its assets are below `web/`, wherever `index.html` names them from.
fn inputs(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let files = ["index.html", "Trunk.toml", "Cargo.toml", "Cargo.lock"].map(PathBuf::from);
    let members = workspace.with_dependencies(FOLDER)?;
    Ok(files.into_iter().chain(members).map(|path| workspace.root().join(path)).collect())
}

/// Lets Trunk build without the network, and with it only if that is what was missing.
///
/// Offline, Trunk takes the tools it is given; otherwise it looks for newer ones
/// and fetches its own. The crates it may lack on a new machine come from cargo.
fn trunk(workspace: &Workspace, tools: &Tools, step: &Step) -> Result<()> {
    step.say("fetching crates");
    step.attempt(tools.wasm.cargo(workspace)?.args(["fetch", "--target", wasm::TARGET]))?;

    step.say("trunk build");
    let mut offline = build_command(workspace, tools)?;
    let finished = step.attempt(offline.arg("--offline"))?;
    if !finished.status.success() && finished.output.iter().any(|line| lacks_network(line)) {
        step.say("again, with the network");
        return step.run(&mut build_command(workspace, tools)?);
    }
    step.check(&offline, &finished)
}

fn build_command(workspace: &Workspace, tools: &Tools) -> Result<Command> {
    let folder = tools.wasm_bindgen.parent().context("wasm-bindgen has no folder")?;
    let mut trunk = tools.wasm.command(workspace, &tools.trunk, folder)?;
    trunk.args(["build", "--release", "--skip-version-check", "--dist"]).arg(workspace.dist());
    // Apart from the native build: other flags, perhaps another compiler, and neither waits for the other.
    trunk.env("CARGO_TARGET_DIR", workspace.target().join("wasm"));
    Ok(trunk)
}

/// Whether a line of Trunk's or cargo's output blames the failure on the missing network.
///
/// Not any mention of `--offline`: Trunk repeats cargo's arguments on every failure.
fn lacks_network(line: &str) -> bool {
    ["offline was specified", "without the offline flag", "in offline mode"]
        .iter()
        .any(|blame| line.contains(blame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compile_error_is_not_taken_for_a_missing_network() {
        assert!(lacks_network("attempting to make an HTTP request, but --offline was specified"));
        assert!(lacks_network("As a reminder, you may wish to retry without the offline flag."));
        assert!(lacks_network(
            "couldn't find wasm-bindgen (version: 0.2.130), unable to download in offline mode"
        ));
        assert!(!lacks_network(r#"cargo call to executable 'cargo' with args: '["build", "--offline"]'"#));
    }
}
