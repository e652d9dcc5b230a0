//! `cargo xtask fuzz`: coverage-guided search, by cargo-fuzz, for bytes that break something.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use toml::Table;

use crate::apt::Apt;
use crate::path;
use crate::step::step;
use crate::tools;
use crate::workspace::Workspace;

/// The longest input, in bytes: enough for a story of many operations.
const LONGEST: u32 = 4_096;
/// What one target may hold, in MiB. Everything is bounded, so that more is a leak.
const MEMORY_MIB: u32 = 1_024;
/// One input that takes longer is taken for a hang, in seconds.
const HANG_SECS: u32 = 60;

#[derive(Args)]
pub(crate) struct Options {
    /// How long each target is tried, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Only these; all by default. A wrong name lists them
    targets: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let all = targets(workspace)?;
    if let Some(wrong) = options.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no target `{wrong}`; there are: {}", all.join(", "));
    }
    let fuzzer = Fuzzer::ready(workspace)?;
    let chosen = if options.targets.is_empty() { &all } else { &options.targets };
    for target in chosen {
        let limit = [format!("-max_total_time={}", options.seconds)];
        // What was found before is where the search goes on.
        step(target, |step| step.run(fuzzer.on(workspace, target, None).args(limit)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Tries every target for a bounded number of inputs, the same ones each time as long as the code is the same.
pub(crate) fn bounded(workspace: &Workspace) -> Result<()> {
    let fuzzer = Fuzzer::ready(workspace)?;
    for target in targets(workspace)? {
        let runs = if is_whole_nodes(&target) { 300 } else { 100_000 };
        let corpus = workspace.target().join("fuzz-corpus").join(&target);
        // Inputs found by an earlier run would be tried first, and others after them.
        let _ = fs::remove_dir_all(&corpus);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let limits = [format!("-runs={runs}"), "-seed=1".to_owned(), "-max_total_time=120".to_owned()];
        step(&format!("fuzzing {target}"), |step| {
            step.run(fuzzer.on(workspace, &target, Some(corpus)).args(limits))
        })?;
    }
    Ok(())
}

/// Those of which an input is a story that takes milliseconds, rather than one message that takes microseconds.
const WHOLE_NODES: [&str; 3] = ["two_nodes", "insider", "system"];

fn is_whole_nodes(target: &str) -> bool {
    WHOLE_NODES.contains(&target)
}

/// cargo-fuzz, and the targets built.
struct Fuzzer {
    program: PathBuf,
}

impl Fuzzer {
    /// Finds or installs what it needs, and builds the targets.
    fn ready(workspace: &Workspace) -> Result<Self> {
        if std::env::var_os("CXX").is_none() && path::find("c++").is_none() {
            // libFuzzer is C++.
            step("C++ compiler", |step| match Apt::find() {
                Some(apt) => apt.install(workspace, step, &["g++"], false),
                None => {
                    bail!("libFuzzer is compiled by a C++ compiler, and there is none on PATH: install one")
                }
            })?;
        }
        let fuzzer = Self { program: tools::ensure_cargo_fuzz(workspace)? };
        // cargo-fuzz does not hold on to it by itself.
        step("fuzz/Cargo.lock", |step| {
            let manifest = workspace.root().join("fuzz").join("Cargo.toml");
            step.run(workspace.cargo().args(["fetch", "--locked", "--manifest-path"]).arg(manifest))
        })?;
        step("fuzzing targets", |step| step.run(&mut fuzzer.command(workspace, "build")))?;
        Ok(fuzzer)
    }

    /// Runs `target` until what is added says that it is enough.
    fn on(&self, workspace: &Workspace, target: &str, corpus: Option<PathBuf>) -> Command {
        let mut command = self.command(workspace, "run");
        command.arg(target).args(corpus);
        command.args(["--", &format!("-max_len={LONGEST}"), &format!("-rss_limit_mb={MEMORY_MIB}")]);
        command.arg(format!("-timeout={HANG_SECS}"));
        if is_whole_nodes(target) {
            // Short stories say little, and there is no time to come from them to long ones.
            command.arg("-len_control=0");
        }
        command
    }

    /// No sanitizer: there is no unsafe code here, and with none a stable toolchain will do, which is asked for
    /// coverage by `RUSTC_BOOTSTRAP`.
    fn command(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut command = workspace.command(&self.program);
        command.env("RUSTC_BOOTSTRAP", "1").args([subcommand, "--sanitizer", "none"]);
        command
    }
}

/// The targets that `fuzz/` declares.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let manifest = workspace.root().join("fuzz").join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    declared(&text.parse().with_context(|| format!("{} is not valid TOML", manifest.display()))?)
}

fn declared(manifest: &Table) -> Result<Vec<String>> {
    let programs = manifest.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
    let names: Vec<_> =
        programs.filter_map(|program| Some(program.get("name")?.as_str()?.to_owned())).collect();
    if names.is_empty() {
        bail!("fuzz/Cargo.toml declares no targets");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_that_the_fuzzing_workspace_declares() {
        let manifest = "[[bin]]\nname = \"header\"\n[[bin]]\nname = \"frames\"".parse().unwrap();
        assert_eq!(declared(&manifest).unwrap(), ["header", "frames"]);
        assert!(declared(&Table::new()).is_err());
    }

    #[test]
    fn whole_nodes_are_targets() {
        let manifest = include_str!("../../fuzz/Cargo.toml").parse().unwrap();
        let declared = declared(&manifest).unwrap();
        assert!(WHOLE_NODES.iter().all(|name| declared.iter().any(|target| target == name)));
    }
}
