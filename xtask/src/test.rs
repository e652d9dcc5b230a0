//! `cargo xtask test`: every check there is, in one go, with a summary.
//!
//! A failed check does not keep the others from running, except those that need
//! what it should have made. Nothing is left out silently: what could not run
//! is in the summary, and on continuous integration (`CI=true`) it is a failure.

use std::env;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;

use crate::browser::Browser;
use crate::fuzz;
use crate::page::{self, PACKAGE};
use crate::step::{Colour, Step, paint, seconds, step};
use crate::tools::{self, Tools};
use crate::wasm::{self, Toolchain};
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// Do not install a browser, even where that is possible
    #[arg(long)]
    skip_browser_install: bool,
    /// Try forty times as many seeds in the simulator, and load and upset clusters over real sockets for ten minutes each
    #[arg(long)]
    nightly: bool,
}

/// The cargo feature of `tests/` that its browser tests require.
const BROWSER_FEATURE: &str = "browser";
/// What makes tests do more than in a run of a few minutes; see CONTRIBUTING.md.
const NIGHTLY: [(&str, &str); 2] = [("MESHGROUND_EFFORT", "40"), ("MESHGROUND_SOAK_SECS", "600")];
/// The member that runs natively and in WASM.
const NODE: &str = "meshground-node";
/// The member that others take for their tests, without what its server needs.
const HARNESS: &str = "meshground";
const BROWSER_TESTS: &str = "tests in a real browser";

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let has_browser_tests = workspace.has_feature("tests", BROWSER_FEATURE)?;
    let mut report = Report::new(env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1"));

    let tools = report.check("tools", || {
        step("rustfmt and clippy", |step| tools::ensure_components(workspace, step))?;
        tools::ensure(workspace)
    });
    report.step("Cargo.lock", |step| {
        step.run(workspace.cargo().args(["fetch", "--locked", "--target", wasm::TARGET]))
    });
    report.step("formatting", |step| step.run(workspace.cargo().args(["fmt", "--all", "--check"])));
    let page = report.check("page", || {
        page::build(workspace, || tools.clone().ok_or_else(|| anyhow!("it needs the tools")))
    });

    let all = Members { workspace, browser: has_browser_tests };
    report
        .step("clippy", |step| step.run(all.cargo("clippy").args(["--all-targets", "--", "-D", "warnings"])));
    report.step("clippy, harness without the server", |step| {
        // As others' tests depend on it. What the server alone needs must be missed by nothing else.
        let mut cargo = workspace.cargo();
        cargo.args(["clippy", "--locked", "-p", HARNESS, "--lib", "--no-default-features"]);
        step.run(cargo.args(["--", "-D", "warnings"]))
    });
    report.step("clippy, page", |step| {
        step.run(page_cargo(workspace, "clippy", tools.as_ref()).args([
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    report.step("node, in WASM", |step| {
        // It has primitives of its own there, which no native check sees.
        let tools = tools.as_ref().ok_or_else(|| anyhow!("it needs the tools"))?;
        let mut cargo = tools.wasm.cargo(workspace)?;
        cargo.args(["check", "--locked", "--profile", "quick", "-p", NODE, "--target", wasm::TARGET]);
        step.run(cargo.env("CARGO_TARGET_DIR", workspace.target().join("wasm")))
    });
    let all = Members { browser: false, ..all };
    report.step("tests", |step| {
        let mut test = all.cargo("test");
        if options.nightly {
            test.envs(NIGHTLY);
        }
        step.show(&mut test)
    });
    report.check("fuzzing", || fuzz::bounded(workspace));
    report.step("tests, page", |step| step.show(&mut page_cargo(workspace, "test", None)));
    report.step("documentation", |step| {
        step.run(all.cargo("doc").arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
        let mut page = page_cargo(workspace, "doc", tools.as_ref());
        step.run(page.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"))
    });

    if page.is_none() {
        report.not_run(BROWSER_TESTS, "there is no page");
    } else if !has_browser_tests {
        report.not_run(BROWSER_TESTS, "tests/Cargo.toml has no feature `browser`");
    } else {
        browser_tests(workspace, &mut report, !options.skip_browser_install);
    }
    Ok(report.print())
}

fn browser_tests(workspace: &Workspace, report: &mut Report, may_install: bool) {
    let browser = match step("browser", |step| Browser::ensure(workspace, step, may_install)) {
        Ok(browser) => browser,
        Err(error) => return report.not_run(BROWSER_TESTS, &format!("{error:#}")),
    };
    report.step(BROWSER_TESTS, |step| {
        let members = Members { workspace, browser: true };
        let mut test = members.cargo("test");
        test.args(["--test", "browser"]).env("MESHGROUND_BROWSER", "1");
        test.env("CHROMIUM", &browser.chromium).env("CHROMEDRIVER", &browser.driver);
        step.show(&mut test)
    });
}

/// All members but the page, chosen the same way each time: another choice of
/// packages is another choice of their dependencies' features, and a rebuild.
struct Members<'a> {
    workspace: &'a Workspace,
    browser: bool,
}

impl Members<'_> {
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = self.workspace.cargo();
        cargo.args([command, "--locked", "--workspace", "--exclude", PACKAGE]);
        if self.browser {
            cargo.args(["--features", &format!("meshground-tests/{BROWSER_FEATURE}")]);
        }
        cargo
    }
}

/// Cargo on the page: for its own target if the toolchain in use has that, otherwise for the host,
/// where the page compiles as well so that its logic can be tested. It has no arithmetic that
/// would need optimised dependencies.
fn page_cargo(workspace: &Workspace, command: &str, tools: Option<&Tools>) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args([command, "--locked", "--profile", "quick", "-p", PACKAGE]);
    if tools.is_some_and(|tools| tools.wasm == Toolchain::InUse) {
        cargo.args(["--target", wasm::TARGET]);
    }
    cargo
}

/// What has been checked so far.
struct Report {
    on_ci: bool,
    started: Instant,
    rows: Vec<(String, Duration, Outcome)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun(String),
}

impl Report {
    fn new(on_ci: bool) -> Self {
        Self { on_ci, started: Instant::now(), rows: Vec::new() }
    }

    /// Does one check that is one step.
    fn step(&mut self, title: &str, work: impl FnOnce(&Step) -> Result<()>) {
        self.check(title, || step(title, work));
    }

    /// Does one check that announces its own steps.
    fn check<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let started = Instant::now();
        let result = work().inspect_err(|error| eprintln!("     {error:#}")).ok();
        let outcome = if result.is_some() { Outcome::Passed } else { Outcome::Failed };
        self.rows.push((title.to_owned(), started.elapsed(), outcome));
        result
    }

    fn not_run(&mut self, title: &str, reason: &str) {
        self.rows.push((title.to_owned(), Duration::ZERO, Outcome::NotRun(reason.to_owned())));
    }

    fn succeeded(&self) -> bool {
        self.rows.iter().all(|(_, _, outcome)| match outcome {
            Outcome::Passed => true,
            Outcome::Failed => false,
            Outcome::NotRun(_) => !self.on_ci,
        })
    }

    fn print(&self) -> ExitCode {
        println!();
        for (title, time, outcome) in &self.rows {
            let (mark, rest) = match outcome {
                Outcome::Passed => (paint(Colour::Green, "passed "), seconds(*time)),
                Outcome::Failed => (paint(Colour::Red, "FAILED "), seconds(*time)),
                Outcome::NotRun(reason) => (paint(Colour::Yellow, "NOT RUN"), reason.clone()),
            };
            println!("{mark}  {title:<26}  {rest}");
        }
        let complete = !self.rows.iter().any(|(_, _, outcome)| matches!(outcome, Outcome::NotRun(_)));
        let verdict = match (self.succeeded(), complete) {
            (true, true) => "passed",
            (true, false) => "passed, but NOT EVERYTHING RAN,",
            (false, _) => "FAILED",
        };
        println!("\n{verdict} in {}", seconds(self.started.elapsed()));
        if self.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(on_ci: bool, outcomes: impl IntoIterator<Item = Outcome>) -> Report {
        let rows = outcomes.into_iter().map(|outcome| (String::new(), Duration::ZERO, outcome)).collect();
        Report { rows, ..Report::new(on_ci) }
    }

    #[test]
    fn one_failed_check_fails_the_run_and_the_rest_still_runs() {
        let mut report = Report::new(false);
        assert_eq!(report.check("first", || Err::<(), _>(anyhow!("broken"))), None);
        assert_eq!(report.check("second", || Ok(7)), Some(7));
        assert_eq!(report.rows.len(), 2);
        assert!(!report.succeeded());
    }

    #[test]
    fn what_could_not_run_fails_on_continuous_integration_only() {
        let outcomes = || [Outcome::Passed, Outcome::NotRun("no browser".to_owned())];
        assert!(report(false, outcomes()).succeeded());
        assert!(!report(true, outcomes()).succeeded());
        assert!(report(true, [Outcome::Passed]).succeeded());
    }
}
