//! Where things are in the repository, and which tool versions it pins.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use toml::Table;

/// The repository and its build folder, both absolute.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    manifest: Table,
}

impl Workspace {
    /// Finds the repository through what `cargo run` tells its program.
    pub(crate) fn locate() -> Result<Self> {
        let xtask = env::var_os("CARGO_MANIFEST_DIR").context("start this program as `cargo xtask`")?;
        let root = Path::new(&xtask).parent().context("the xtask folder has no parent")?.to_path_buf();
        // Relative to where the person stands, as cargo takes it; children run
        // in the root and would otherwise take it relative to that.
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        let manifest = read_manifest(&root.join("Cargo.toml"))?;
        Ok(Self { root, target, manifest })
    }

    /// The repository's root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The built page.
    pub(crate) fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// Where tools are installed that the machine does not have.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// The version that `[workspace.metadata.tools]` pins for `tool`.
    pub(crate) fn pinned(&self, tool: &str) -> Result<&str> {
        ["workspace", "metadata", "tools"]
            .iter()
            .try_fold(&self.manifest, |table, key| table.get(*key)?.as_table())
            .and_then(|tools| tools.get(tool)?.as_str())
            .with_context(|| format!("Cargo.toml pins no {tool} in [workspace.metadata.tools]"))
    }

    /// Whether the member in `folder` declares the cargo feature `feature`.
    pub(crate) fn has_feature(&self, folder: &str, feature: &str) -> Result<bool> {
        let manifest = read_manifest(&self.root.join(folder).join("Cargo.toml"))?;
        Ok(manifest.get("features").and_then(|features| features.get(feature)).is_some())
    }

    /// The member in `folder` and every member it depends on, as folders relative to the root.
    pub(crate) fn with_dependencies(&self, folder: &str) -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![PathBuf::from(folder)];
        while let Some(folder) = waiting.pop() {
            if found.insert(folder.clone()) {
                let manifest = read_manifest(&self.root.join(&folder).join("Cargo.toml"))?;
                waiting.extend(local_dependencies(&manifest, &self.manifest));
            }
        }
        Ok(found)
    }

    /// A command that runs in the root, without what the outer `cargo run` left in the environment.
    ///
    /// Cargo describes the running package to its program (`CARGO_PKG_NAME` and
    /// so on) and puts the toolchain's libraries on the loader's path; a nested
    /// cargo that sees either could rebuild crates for nothing, or load another
    /// toolchain's libraries.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        for (key, _) in env::vars_os().filter(|(key, _)| is_left_by_cargo(&key.to_string_lossy())) {
            command.env_remove(key);
        }
        // Trunk reads NO_COLOR as a boolean and dies of the customary `1`.
        if env::var_os("NO_COLOR").is_some() {
            command.env("NO_COLOR", "true");
        }
        command
    }

    /// The cargo that started this program.
    pub(crate) fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }
}

fn is_left_by_cargo(key: &str) -> bool {
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"].contains(&key)
}

fn read_manifest(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not valid TOML", path.display()))
}

/// The folders of the workspace members that `manifest` depends on, tests aside.
fn local_dependencies(manifest: &Table, workspace: &Table) -> Vec<PathBuf> {
    let shared = workspace.get("workspace").and_then(|table| table.get("dependencies"));
    let for_targets =
        manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|table| table.values());
    let tables = for_targets
        .filter_map(toml::Value::as_table)
        .chain([manifest])
        .flat_map(|table| [table.get("dependencies"), table.get("build-dependencies")])
        .flatten()
        .filter_map(toml::Value::as_table);
    tables
        .flat_map(|dependencies| dependencies.keys())
        .filter_map(|name| shared?.get(name)?.get("path")?.as_str())
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Workspace {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
        let manifest = read_manifest(&root.join("Cargo.toml")).unwrap();
        Workspace { target: root.join("target"), root, manifest }
    }

    #[test]
    fn the_pinned_wasm_bindgen_is_the_one_in_the_lock_file() {
        let workspace = repository();
        let pinned = workspace.pinned("wasm-bindgen-cli").unwrap();
        let required = workspace.manifest["workspace"]["dependencies"]["wasm-bindgen"].as_str();
        assert_eq!(required, Some(format!("={pinned}").as_str()));

        let lock = read_manifest(&workspace.root.join("Cargo.lock")).unwrap();
        for package in lock["package"].as_array().unwrap() {
            if package["name"].as_str() == Some("wasm-bindgen") {
                assert_eq!(package["version"].as_str(), Some(pinned));
            }
        }
    }

    #[test]
    fn a_member_brings_its_dependencies_along_but_not_those_of_its_tests() {
        let workspace: Table = r#"
            [workspace.dependencies]
            ids = { path = "ids" }
            extra = { path = "extra" }
            tests = { path = "tests" }
            serde = "1"
        "#
        .parse()
        .unwrap();
        let member: Table = r"
            [dependencies]
            ids.workspace = true
            serde.workspace = true
            [target.'cfg(unix)'.dependencies]
            extra.workspace = true
            [dev-dependencies]
            tests.workspace = true
        "
        .parse()
        .unwrap();

        let mut found = local_dependencies(&member, &workspace);
        found.sort();

        assert_eq!(found, [PathBuf::from("extra"), PathBuf::from("ids")]);
    }

    #[test]
    fn the_server_is_built_from_the_node_and_the_shared_types() {
        let found = repository().with_dependencies("native").unwrap();
        for folder in ["native", "node", "shared"] {
            assert!(found.contains(Path::new(folder)), "{folder} is missing from {found:?}");
        }
    }
}
