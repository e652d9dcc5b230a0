//! `cargo xtask demo`: from a fresh clone to a page that shows a running mesh.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use clap::{Args, value_parser};

use crate::page;
use crate::server;
use crate::step;
use crate::tools;
use crate::workspace::Workspace;

#[derive(Args)]
pub(crate) struct Options {
    /// How many nodes to start with, as many as the server boots at most
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u16).range(0..=256))]
    nodes: u16,
    /// The port of the page and the WebSocket; 0 picks a free one
    #[arg(long, default_value_t = 7777)]
    port: u16,
    /// Print the page's address without opening a browser
    #[arg(long)]
    no_open: bool,
    /// Passed on to the server, after `--`
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    check_port(options.port)?;
    page::build(workspace, || tools::ensure(workspace))?;
    let binary = server::build(workspace)?;

    let mut server = Command::new(binary);
    server.args(["--nodes", &options.nodes.to_string(), "--port", &options.port.to_string()]);
    if !options.no_open {
        server.arg("--open");
    }
    server.args(&options.args);
    step::hand_over(server)
}

/// Finds out now rather than after minutes of building.
fn check_port(port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!("port {port} cannot be used ({error}): try another with --port, or --port 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_along_with_the_way_out() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = check_port(port).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--port"), "{error}");
        drop(taken);
        assert!(check_port(0).is_ok());
    }
}
