//! The playground's command line.

use std::{
    io::{self, Write},
    process::{Command, ExitCode, Stdio},
};

use clap::Parser;
use meshground::server::{Booter, DEFAULT_PORT, Server, ServerConfig};

/// A real, encrypted UDP mesh that you can watch, break and script from the browser.
///
/// Boots mesh nodes on loopback UDP ports and serves a page that shows them live. The
/// page, and any program on this machine, steer them over a WebSocket that speaks
/// JSON-RPC 2.0. Nothing is reachable from outside this machine.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// How many nodes to boot at the start; with 0, boot them from the page
    #[arg(short, long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=256))]
    nodes: u32,

    /// The port to listen on, at 127.0.0.1; with 0, the system chooses one
    #[arg(short, long, default_value_t = DEFAULT_PORT)]
    port: u16,

    /// Open the page in the default browser
    #[arg(short, long)]
    open: bool,
}

const EXAMPLES: &str = "\
Examples:
  meshground --open             five nodes, and the page in the browser
  meshground -n 20 --port 0     twenty nodes, on a port that is free

Addresses:
  http://127.0.0.1:PORT         the page
  ws://127.0.0.1:PORT/ws        the WebSocket (subprotocol meshground.v1+json)
  http://127.0.0.1:PORT/healthz how the server and its cluster are, as JSON

Ctrl-C stops everything.";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match play(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Listened for first: a Ctrl-C while booting must not be lost.
    let stop = Stop::new()?;
    let server = Server::bind(ServerConfig { port: arguments.port, ..ServerConfig::default() }).await?;
    let url = format!("http://{}", server.local_addr());
    let booter = server.booter();
    let running = tokio::spawn(server.run(stop.wait()));
    say(&format!("Meshground is live at {url}"));
    if arguments.open {
        open_in_browser(&url);
    }
    if arguments.nodes > 0 {
        tokio::spawn(boot(booter, arguments.nodes));
    }
    running.await??;
    Ok(())
}

/// The first cluster. Without it the server is still of use: the page can boot another.
async fn boot(room: Booter, nodes: u32) {
    match room.boot(nodes).await {
        Ok(booted) => {
            let (nodes, ms) = (booted.nodes.len(), booted.took_us / 1_000);
            let noun = if nodes == 1 { "node" } else { "nodes" };
            say(&format!("{nodes} {noun} converged in {ms} ms. Ctrl-C stops everything."));
        }
        Err(error) => say_error(&format!("no cluster was booted: {error}. {}", error.data.hint)),
    }
}

/// What asks a program to leave.
struct Stop {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, reason = "as it is on Unix")]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Ready at the first request. A second one does not wait for anything.
    #[cfg(unix)]
    async fn wait(mut self) {
        self.either().await;
        tokio::spawn(async move {
            self.either().await;
            std::process::exit(130);
        });
    }

    #[cfg(unix)]
    async fn either(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    async fn wait(self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::spawn(async {
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(130);
        });
    }
}

fn open_in_browser(url: &str) {
    let (program, arguments): (_, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        // `start` takes its first quoted argument for a window title.
        ("cmd", &["/C", "start", ""])
    } else {
        ("xdg-open", &[])
    };
    let started = Command::new(program)
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        // Waited for on the side, so that it does not stay behind as a zombie.
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(error) => say_error(&format!("no browser could be opened ({error}); open {url} yourself")),
    }
}

/// Writes a line at once. That nobody reads it is no reason to stop.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn say_error(line: &str) {
    let _ = writeln!(io::stderr(), "meshground: {line}");
}
