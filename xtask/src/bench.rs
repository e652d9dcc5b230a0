//! `cargo xtask bench`: the benchmarks, as tables.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::step::{hand_over, step};
use crate::workspace::Workspace;

/// Between these lines of the file stands what was measured last.
const BEGIN: &str = "<!-- cargo xtask bench: begin -->";
const END: &str = "<!-- cargo xtask bench: end -->";

#[derive(Args)]
pub(crate) struct Options {
    /// Measure others as well, in the same run; compiling them takes many minutes, once
    #[arg(long)]
    peers: bool,
    /// Measure also what takes others minutes
    #[arg(long, requires = "peers")]
    slow: bool,
    /// Put the tables into BENCHMARKS.md
    #[arg(long)]
    write: bool,
    /// Only these: boot, idle, growth, messages, stream, rpc, flood, crash, system, meshos, sim
    topics: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if options.write && !options.topics.is_empty() {
        bail!("`--write` replaces all tables: leave the topics out");
    }
    step("benchmarks", |step| {
        step.run(workspace.cargo().args(["build", "--release", "-p", "meshground-tests", "--bin", "bench"]))
    })?;
    let built = |name: &str| {
        workspace.target().join("release").join(name).with_extension(std::env::consts::EXE_EXTENSION)
    };
    let mut bench = workspace.command(built("bench"));
    if options.peers {
        step("others", |step| {
            let manifest = workspace.root().join("tests/peers/Cargo.toml");
            step.run(
                workspace.cargo().args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest),
            )
        })?;
        bench.arg("--peers").arg(built("meshground-peers"));
    }
    if options.slow {
        bench.arg("--slow");
    }
    bench.args(&options.topics);
    if options.write { write(&mut bench, &workspace.root().join("BENCHMARKS.md")) } else { hand_over(bench) }
}

/// Runs the benchmarks, showing their tables as they come, and then puts these into `file`.
fn write(bench: &mut Command, file: &Path) -> Result<ExitCode> {
    let before = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    // Whether the tables have a place there is known before they take minutes.
    replaced(&before, "")?;
    let mut child = bench.stdout(Stdio::piped()).spawn().context("cannot run the benchmarks")?;
    let mut tables = String::new();
    for line in BufReader::new(child.stdout.take().context("the benchmarks have an output")?).lines() {
        let line = line?;
        println!("{line}");
        tables.push_str(&line);
        tables.push('\n');
    }
    if !child.wait()?.success() {
        bail!("the benchmarks failed; BENCHMARKS.md is as it was");
    }
    fs::write(file, replaced(&before, &tables)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// `text` with `tables` where the ones before were.
fn replaced(text: &str, tables: &str) -> Result<String> {
    let places = text.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) =
        places.with_context(|| format!("BENCHMARKS.md lacks the lines `{BEGIN}` and `{END}`"))?;
    Ok(format!("{head}{BEGIN}\n\n{}\n\n{END}{tail}", tables.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let expected = format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n");
        assert_eq!(replaced(&text, "new\n").expect("both marks are there"), expected);
    }

    #[test]
    fn a_file_without_marks_is_left_alone() {
        assert!(replaced("no marks", "new").is_err());
        assert!(replaced(&format!("{END} {BEGIN}"), "new").is_err(), "the wrong way round");
    }
}
