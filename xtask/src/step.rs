//! Saying what is being done, for how long, and running the programs that do it.
//!
//! A step is one line once it is over. While it runs, a terminal shows its time
//! and the latest line of whatever runs in it; a log file, which cannot be
//! redrawn, gets the program's output as it comes once the step takes long.
//! When a program fails, all it said is printed.

use std::cell::{Cell, RefCell};
use std::env;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write as _};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a terminal's line is redrawn.
const TICK: Duration = Duration::from_millis(100);
/// From here on, a step writes its programs' output into a log as it comes.
const LONG: Duration = Duration::from_secs(20);
/// How long the output of a program that has ended is still waited for: a
/// background process it left behind may hold the pipe open for ever.
const LINGER: Duration = Duration::from_millis(500);
/// A terminal's line is cut here, so that it never wraps.
const WIDTH: usize = 100;

/// Announces `title`, does `work` and says how it went and how long it took.
pub(crate) fn step<T>(title: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
    let step = Step::start(title);
    let result = work(&step);
    step.finish(result.is_ok());
    result
}

/// A step that is under way.
pub(crate) struct Step {
    title: String,
    note: RefCell<String>,
    started: Instant,
    terminal: bool,
    streaming: Cell<bool>,
}

/// How a program ended and what it said.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<String>,
    /// How many lines of the output the person has already seen.
    shown: usize,
}

impl Step {
    fn start(title: &str) -> Self {
        let terminal = io::stderr().is_terminal();
        let step = Self {
            title: title.to_owned(),
            note: RefCell::default(),
            started: Instant::now(),
            terminal,
            streaming: Cell::new(false),
        };
        if terminal {
            step.redraw("");
        } else {
            eprintln!("> {title}");
        }
        step
    }

    /// Adds to the closing line what the step found: a version, a path, "unchanged".
    pub(crate) fn note(&self, note: impl Into<String>) {
        *self.note.borrow_mut() = note.into();
    }

    /// Says which part of the step begins now.
    pub(crate) fn say(&self, what: &str) {
        if self.terminal {
            self.redraw(what);
        } else {
            eprintln!("  {what}");
        }
    }

    /// Runs a program to its end; its output is shown only if it fails or takes long.
    ///
    /// # Errors
    ///
    /// It cannot be started, or it fails.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let finished = self.attempt(command)?;
        self.check(command, &finished)
    }

    /// Runs a program to its end and leaves the judgement to the caller.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(crate) fn attempt(&self, command: &mut Command) -> Result<Finished> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run `{}`", shown(command)))?;
        let (lines, received) = mpsc::channel();
        forward(child.stdout.take(), lines.clone());
        forward(child.stderr.take(), lines);
        self.follow(&mut child, &received)
    }

    /// Fails with everything the program said, unless it succeeded.
    pub(crate) fn check(&self, command: &Command, finished: &Finished) -> Result<()> {
        if finished.status.success() {
            return Ok(());
        }
        self.clear();
        for line in &finished.output[finished.shown..] {
            eprintln!("{line}");
        }
        bail!("`{}` failed ({})", shown(command), finished.status)
    }

    /// Runs a program whose output is the point, such as a test run, on this program's own output.
    ///
    /// # Errors
    ///
    /// It cannot be started, or it fails.
    pub(crate) fn show(&self, command: &mut Command) -> Result<()> {
        if self.terminal {
            self.clear();
            eprintln!("> {}", self.title);
        }
        let status = command.status().with_context(|| format!("cannot run `{}`", shown(command)))?;
        if !status.success() {
            bail!("`{}` failed ({status})", shown(command));
        }
        Ok(())
    }

    fn follow(&self, child: &mut Child, received: &Receiver<String>) -> Result<Finished> {
        let mut output: Vec<String> = Vec::new();
        let mut shown = 0;
        let mut ended: Option<Instant> = None;
        loop {
            match received.recv_timeout(TICK) {
                Ok(line) => {
                    output.push(line);
                    ended = ended.map(|_| Instant::now());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.terminal {
                self.redraw(output.last().map_or("", String::as_str));
            } else if self.streaming.get() || self.started.elapsed() > LONG {
                self.streaming.set(true);
                for line in &output[shown..] {
                    eprintln!("  {line}");
                }
                shown = output.len();
            }
            match ended {
                Some(at) if at.elapsed() > LINGER => break,
                None if child.try_wait()?.is_some() => ended = Some(Instant::now()),
                _ => {}
            }
        }
        Ok(Finished { status: child.wait()?, output, shown })
    }

    fn redraw(&self, latest: &str) {
        let mut line = format!("  {}  {}", self.title, seconds(self.started.elapsed()));
        let latest = latest.trim();
        if !latest.is_empty() {
            let _ = write!(line, "  {latest}");
        }
        let line: String = line.chars().filter(|c| !c.is_control()).take(WIDTH).collect();
        eprint!("\r\x1b[2K{line}");
        let _ = io::stderr().flush();
    }

    /// Removes a terminal's line, so that others can print.
    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
            let _ = io::stderr().flush();
        }
    }

    fn finish(&self, succeeded: bool) {
        self.clear();
        let mark = if succeeded { paint(Colour::Green, "ok  ") } else { paint(Colour::Red, "FAIL") };
        let mut line = format!("{mark} {}", self.title);
        let note = self.note.borrow();
        if !note.is_empty() {
            let _ = write!(line, ": {note}");
        }
        eprintln!("{line}  {}", paint(Colour::Dim, &seconds(self.started.elapsed())));
    }
}

/// Becomes `command`, where the system can do that; otherwise runs it and takes over its exit code.
///
/// # Errors
///
/// It cannot be started.
#[cfg(unix)]
pub(crate) fn hand_over(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", shown(&command)))
}

/// Becomes `command`, where the system can do that; otherwise runs it and takes over its exit code.
///
/// # Errors
///
/// It cannot be started.
#[cfg(not(unix))]
pub(crate) fn hand_over(mut command: Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("cannot run `{}`", shown(&command)))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The first line that a program answers, or nothing if it cannot be run or fails.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

fn forward(stream: Option<impl Read + Send + 'static>, lines: Sender<String>) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if lines.send(line.trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
}

/// A command the way one would type it.
fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit(['/', '\\']).next().unwrap_or(&program).to_owned();
    command.get_args().fold(name, |line, argument| line + " " + &argument.to_string_lossy())
}

/// The colours of this program's own lines.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Dim,
}

/// `text` in `colour`, on a terminal whose owner did not decline colours.
pub(crate) fn paint(colour: Colour, text: &str) -> String {
    if !io::stderr().is_terminal() || env::var_os("NO_COLOR").is_some() {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Dim => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A duration the way a person says it: `0.3 s`, `12.0 s`, `3 min 5 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration.as_secs() < 60 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_person_says_them() {
        assert_eq!(seconds(Duration::from_millis(340)), "0.3 s");
        assert_eq!(seconds(Duration::from_secs(12)), "12.0 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 5 s");
    }

    #[test]
    fn commands_are_named_without_their_folder() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["build", "--release"]);
        assert_eq!(shown(&command), "cargo build --release");
    }

    #[cfg(unix)]
    #[test]
    fn a_failing_program_is_named_and_what_it_said_is_kept() {
        let step = Step::start("failing");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let finished = step.attempt(&mut command).unwrap();
        assert_eq!(finished.status.code(), Some(3));
        let mut output = finished.output.clone();
        output.sort();
        assert_eq!(output, ["one", "two"]);
        let error = step.check(&command, &finished).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_leaves_a_process_behind_does_not_hold_the_step() {
        let step = Step::start("lingering");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!"]);
        let finished = step.attempt(&mut command).unwrap();
        // It can only still be killed if nobody waited for it to end.
        assert!(Command::new("kill").arg(&finished.output[0]).status().unwrap().success());
    }
}
