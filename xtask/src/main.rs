//! Builds, runs and tests Meshground: `cargo xtask <command>`.
//!
//! - [`demo`], [`mod@test`], [`mod@bench`], [`fuzz`]: the commands that are more than one line.
//! - [`page`], [`server`]: what gets built; [`stamp`] tells when that can be skipped.
//! - [`tools`], [`wasm`], [`browser`], [`apt`]: finding what the build needs, and installing it.
//! - [`mod@step`]: announcing, timing and running; everything above goes through it.
//! - `documents`, only in tests: that every module has its place in `ARCHITECTURE.md`.
//! - [`workspace`]: where things are, and which versions are pinned.

mod apt;
mod bench;
mod browser;
mod demo;
#[cfg(test)]
mod documents;
mod fuzz;
mod page;
mod path;
mod server;
mod stamp;
mod step;
mod test;
mod tools;
mod wasm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::step::step;
use crate::workspace::Workspace;

/// Builds, runs and tests Meshground.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything that changed, start a cluster and open its page
    Demo(demo::Options),
    /// Run every check that continuous integration runs, real browser included
    Test(test::Options),
    /// Run the benchmarks and print their tables
    Bench(bench::Options),
    /// Search for bytes that break something, guided by coverage
    Fuzz(fuzz::Options),
    /// Build the page into dist/
    Page,
    /// Install what the build needs: the WASM target, Trunk, wasm-bindgen
    Setup {
        /// Install what the tests need, too: rustfmt, clippy, cargo-fuzz, Chromium and its driver
        #[arg(long)]
        tests: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\n{} {error:#}", step::paint(step::Colour::Red, "error:"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Demo(options) => demo::run(&workspace, &options),
        Command::Test(options) => test::run(&workspace, &options),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Fuzz(options) => fuzz::run(&workspace, &options),
        Command::Page => {
            page::build(&workspace, || tools::ensure(&workspace))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Setup { tests } => {
            setup(&workspace, tests)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn setup(workspace: &Workspace, tests: bool) -> anyhow::Result<()> {
    tools::ensure(workspace)?;
    if tests {
        step("rustfmt and clippy", |step| tools::ensure_components(workspace, step))?;
        tools::ensure_cargo_fuzz(workspace)?;
        step("Chromium and its driver", |step| browser::Browser::ensure(workspace, step, true))?;
    }
    Ok(())
}
