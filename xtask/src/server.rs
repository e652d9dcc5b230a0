//! The `meshground` binary, with the page inside.

use std::env;
use std::path::PathBuf;

use anyhow::Result;

use crate::stamp::Stamp;
use crate::step::step;
use crate::workspace::Workspace;

/// Brings the release binary up to date and returns its path; the page must be built already.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let binary = workspace.target().join("release").join(format!("meshground{}", env::consts::EXE_SUFFIX));
    let files = ["Cargo.toml", "Cargo.lock", "dist"].map(PathBuf::from);
    let members = workspace.with_dependencies("native")?;
    let inputs: Vec<_> = files.into_iter().chain(members).map(|path| workspace.root().join(path)).collect();
    step("server", |step| {
        let stamp = Stamp::take(workspace, "server", &inputs, vec![binary.clone()])?;
        if stamp.is_fresh() {
            step.note("unchanged");
            return Ok(());
        }
        step.run(workspace.cargo().args(["build", "--release", "-p", "meshground", "--bin", "meshground"]))?;
        stamp.write()
    })?;
    Ok(binary)
}
