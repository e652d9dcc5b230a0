//! The `meshground` program, run as people run it.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Far beyond what anything here takes.
const DEADLINE: Duration = Duration::from_secs(40);

/// A running program, killed if the test fails before it has left by itself.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn meshground(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshground"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = meshground(arguments).spawn().expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, output }
    }

    /// The next line it prints; blocks until there is one, or the program ends.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it prints text");
        line.trim_end().to_owned()
    }

    /// The address in its first line.
    fn address(&mut self) -> String {
        let line = self.line();
        let address = line.strip_prefix("Meshground is live at http://");
        address.unwrap_or_else(|| panic!("it began with {line:?}")).to_owned()
    }

    fn signal(&self, name: &str) {
        let killed = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
    }

    fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the program can be waited for") {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn it_says_where_it_is_boots_its_nodes_and_leaves_when_asked() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&["--nodes", "3", "--port", "0"]);
        let address = program.address();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        let converged = program.line();
        assert!(converged.starts_with("3 nodes converged"), "{converged}");
        let health = get(&address, "/healthz");
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        assert!(health.contains("\"nodes\":3,\"converged\":true"), "{health}");
        program.signal(signal);
        assert_eq!(program.wait().code(), Some(0), "after SIG{signal}");
        assert!(TcpStream::connect(&address).is_err(), "it does not listen any more");
    }
}

#[test]
fn it_can_begin_without_a_cluster() {
    let mut program = Program::start(&["--nodes", "0", "--port", "0"]);
    let address = program.address();
    assert!(get(&address, "/healthz").contains("\"nodes\":0"));
    program.signal("TERM");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn it_leaves_at_once_even_while_it_boots() {
    let mut program = Program::start(&["--nodes", "60", "--port", "0"]);
    program.address();
    program.signal("INT");
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_port_in_use_is_one_clear_line_and_exit_code_one() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let output = meshground(&["--port", &port]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains(&port) && error.contains("--port 0"), "{error}");
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for arguments in [["--nodes", "1000000"], ["--nodes", "-1"], ["--port", "70000"], ["--host", "0.0.0.0"]] {
        let output = meshground(&arguments).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
