//! Whoever reads an error learns what can be done about it, or what the bounds are.

use std::{collections::BTreeMap, fs, io, path::Path};

use meshground::{DaemonRuntimeError, RecvError, server::ServerError};
use meshground_node::{
    CallError, CapabilityError, DaemonError, DaemonId, DeliverError, GroupError, GroupId, LineageError,
    MigrateError, MigrationId, PlacementError, ReplyError, SaidTooMuch, SpawnError, StateError, StreamError,
    admin::{AdminVerifier, CommandError, DemoOperators, MessageError, OperatorError, Operators},
};
use meshground_shared::{
    FaultError, TopologyError,
    id::{Hex, ParseHexError, ParseIdError},
    rpc::{ErrorCode, RpcError},
};

use super::*;

#[track_caller]
fn says(error: &impl std::error::Error, words: &str) {
    assert!(error.to_string().contains(words), "`{error}` does not say `{words}`");
}

/// Every variant of errors, with words that its text has; the rest of it says what went wrong. With a variant left out it does
/// not compile, where errors may have more to come (`or _`) excepted: there, the last test here says so.
macro_rules! say {
    ($($error:ident $(or $more:tt)? {
        $($variant:ident $(($($value:expr),*))? $({ $($field:ident: $of:expr),* })? => $words:literal,)*
    })*) => {
        $(
            let _: fn(&$error) = |error| match error { $($error::$variant { .. })|* $(| $more)? => {} };
            $(says(&$error::$variant $(($($value),*))? $({ $($field: $of),* })?, $words);)*
        )*
    };
}

#[test]
fn errors_of_starting_and_sending_say_what_to_do() {
    let daemon = DaemonId(1);
    say! {
        SpawnError {
            KindNotFound("ehco".to_owned()) => "\"ehco\"; register one, or check the name",
            Exists(daemon) => "another key, or stop that one",
            TooMany => "stop some, or take another node",
            TooLong => "shorten them",
            StateTooLarge(usize::MAX) => "keep the rest elsewhere",
            Closed("cordoned".to_owned()) => "cordoned; take another node",
            Failed("no such file".to_owned()) => "no such file; mend that",
            Unreachable(NOBODY) => "check its id, or wait",
        }
        DeliverError {
            NotFound(daemon) => "check its id",
            Crashed => "find out why",
            Down => "try again later",
            Overloaded => "try again later",
            TooLarge(u64::MAX) => "at most 1 MiB",
            Unknown => "ask before sending it again",
            NoMember(9) => "counted from 0",
        }
        StateError {
            NotRunning(daemon) => "check its id, or ask the node that it runs on",
            None(daemon) => "keep snapshots",
            TooLarge { daemon: daemon, bytes: usize::MAX } => "at most",
        }
        DaemonRuntimeError {
            NotReady => "start it when all factories are registered",
            ShuttingDown => "ask another node",
            FactoryNotFound(String::new()) => "register one, or check the name",
            FactoryAlreadyRegistered(String::new()) => "give this one another name",
            KindName => "1 to 64 bytes",
            SnapshotIdentityMismatch { expected: daemon, found: daemon } => "the key of",
            NotFound(daemon) => "check its id, or ask the node that it runs on",
            Spawn(SpawnError::TooMany) => "stop some, or take another node",
            Snapshot(StateError::None(daemon)) => "keep snapshots",
            Deliver(DeliverError::Down) => "try again later",
            Migration(MigrateError::TooMany) => "wait until one has arrived",
            Group(GroupError::TooMany) => "stop some",
        }
    }
    says(&DaemonError::new("as the daemon has it"), "as the daemon has it");
}

#[test]
fn errors_of_moving_say_what_to_do() {
    let daemon = DaemonId(1);
    say! {
        MigrateError {
            NotFound(daemon) => "check its id",
            NotMovable(daemon) => "start it as one of a kind",
            NotRunning(daemon) => "wait until it does",
            SameNode(NOBODY) => "name another node",
            Unreachable(NOBODY) => "check its id, or wait",
            Closed(NOBODY) => "name another node",
            KindNotFound { node: NOBODY, kind: String::new() } => "register a factory there, or name another node",
            Unsuitable(NOBODY) => "name another node",
            Occupied(NOBODY) => "name another node",
            AlreadyMoving(daemon) => "wait until it has arrived, or call that off",
            TooMany => "wait until one has arrived",
            Frozen => "before it thaws",
            NoState(daemon) => "start another elsewhere instead",
            Failed("its target left".to_owned()) => "its target left; look where the daemon runs",
            Cancelled => "move it anew",
            TooLate => "move it back",
            NotMigrating(MigrationId(1)) => "ask the node that the daemon leaves",
            StateTooLarge { daemon: daemon, bytes: u64::MAX, bound: 4 } => "at most 4",
            Unheard(NOBODY) => "wait until that node is back",
        }
    }
}

#[test]
fn errors_of_groups_of_placement_and_of_what_is_announced_say_what_to_do() {
    say! {
        GroupError or _ {
            NotFound(GroupId(1)) => "check its id",
            BadCount(0) => "1 to 64",
            TooLong => "shorten them",
            TooMany => "stop some",
            SeedTaken(GroupId(1)) => "take another, or stop that group first",
            KindNotFound(String::new()) => "register one, or check the name",
            PlacementFailed { wanted: 3, found: 2, why: "one left".to_owned() } => "one left; ask for fewer, add nodes",
            ParentNotFound(DaemonId(1)) => "check its id",
            WrongKind("only forks are made of a daemon".to_owned()) => "only forks",
            Frozen => "before it thaws",
            TimedOut("one is down".to_owned()) => "one is down; look into that",
            Stopped(GroupId(1)) => "found another",
        }
        LineageError {
            WrongParent => "take nothing",
            NotSigned => "take nothing",
        }
        PlacementError {
            NoCandidate => "ask for less, or wait",
            PinnedUnavailable(NOBODY) => "ask for another",
            PlacementFailed { excluded: vec![NOBODY] } => "ask for fewer, or add one",
        }
        CapabilityError {
            TooManyTags => "at most 64",
            TagLength(0) => "1 to 64 bytes",
            TooManyEntries => "at most 64",
            KeyLength(65) => "1 to 64 bytes",
            ValueLength(257) => "up to 256 bytes",
            TooLarge(usize::MAX) => "up to ",
        }
    }
    says(&SaidTooMuch(usize::MAX), "at most");
}

#[test]
fn errors_of_nodes_and_sessions_say_what_to_do() {
    let address = here();
    say! {
        ConfigError {
            MaxDatagram(0) => "between 512 and 65,507",
            MaxQueued(0) => "at least 65,536",
            MaxPeers => "must not be zero",
            Liveness => "must rise",
            Handshake("budget") => "must not be zero",
            MeshOs("patience") => "at least 1 ms; its default suits most",
            Rekey => "between 15 s and 24 h",
        }
        DialError {
            TimedOut { budget: Duration::ZERO, sent: 1 } => "the same pre-shared key?",
            WrongPeer { expected: NOBODY, found: NOBODY } => "is the address right?",
            Unproven => "is the address right?",
            Itself => "dial another",
            Left => "build another",
        }
        SendError {
            NoSession(NOBODY) => "connect to it first",
            TooLarge { len: 2, max: 1 } => "at most 1 can be sent, and more over a stream",
            Full { peer: NOBODY, queued: 1 } => "wait until there is room",
        }
        MeshError {
            Config(ConfigError::MaxPeers) => "must not be zero",
            Bind { address: address, reason: "in use".to_owned() } => "in use; take an address of this machine",
            NoRuntime => "build it within one",
            Dial { address: address, error: DialError::Itself } => "dial another",
            Relay { target: NOBODY, error: DialError::Unproven } => "is the address right?",
            Place(PlacementError::NoCandidate) => "ask for less",
            Send(SendError::NoSession(NOBODY)) => "connect to it first",
            Stream(StreamError::TooMany) => "wait until one is over",
            TooLong { limit: 1 } => "allow for more",
            Call(CallError::TooMany) => "wait until one is over",
            Reply(ReplyError::Full) => "wait until there is room",
            Closed => "build another",
        }
    }
}

#[test]
fn errors_of_streams_and_calls_say_what_to_do() {
    let stream = machines::some_stream();
    say! {
        StreamError {
            NoSession(NOBODY) => "connect to it first",
            Unknown(stream) => "open another",
            Ended(stream) => "open another",
            TooMany => "wait until one is over",
            Reset(stream, 7) => "with code 7; ask it why, or open another",
            Stopped(stream, 7) => "with code 7; ask it why, or open another",
            Code(u64::MAX) => "at most 2^62 - 1",
        }
        CallError or _ {
            NoSession(NOBODY) => "connect to it first",
            TooLarge(usize::MAX) => "at most 4 MiB",
            TooMany => "wait until one is over",
            Deadline(Duration::ZERO) => "wait longer, or ask again",
            Cancelled => "call again",
            Lost => "connect again",
            UnknownMethod => "check the name, or have the peer serve it",
            Overloaded => "call again later",
            Failed => "to be found there",
            Refused { code: 7, reason: "as the method has it".to_owned() } => "as the method has it",
            Malformed => "the same version?",
        }
        ReplyError {
            Over => "send no more",
            TooLarge(usize::MAX) => "at most 4 MiB",
            Full => "wait until there is room",
        }
    }
}

#[test]
fn errors_of_commands_and_operators_say_what_to_do() {
    say! {
        CommandError {
            TooLong => "at most 8192 bytes",
            Version => "sign it in version 1",
            Malformed => "give what `SignedCommand::encode` gives",
        }
        OperatorError {
            Name(0) => "1 to 64 bytes",
            SameName(String::new()) => "give one another name",
            SameKey(String::new(), String::new()) => "one of their own",
            Key(String::new()) => "give the one that its `OperatorKey` has",
            TooMany => "at most 256",
            Quorum(0) => "1 to 16",
        }
    }
    let known: DemoOperators = AdminVerifier::new(Operators::demo()).expect_err("everybody knows them");
    says(&known, "for playgrounds");
    says(&MessageError, "drop it");
}

#[test]
fn errors_of_clusters_servers_and_logs_say_what_to_do() {
    say! {
        ClusterError {
            Invariant("no member has this id; check it".to_owned()) => "check it",
            MeshBuild(MeshError::NoRuntime) => "build it within one",
            Handshake { from: 0, to: 1, reason: "is it up?".to_owned() } => "is it up?",
            Timeout { what: "node 0 is missing".to_owned(), budget_ms: 9 } => "look into that, or grant more",
            Shutdown => "boot another",
            Spawn { node_index: 0, reason: "it went down; try again".to_owned() } => "try again",
        }
        RecvError {
            Lagged { missed: 1 } => "take a new subscription",
            Closed => "subscribe to that of another cluster",
        }
        ServerError {
            NoRuntime => "bind it within one",
            Config { figure: "max_nodes", range: "at most 1,024" } => "`max_nodes` is out of range: at most 1,024",
            PortInUse { port: 9 } => "take another with --port",
            Listen { port: 9, source: io::ErrorKind::PermissionDenied.into() } => "take another port with --port",
        }
        TopologyError {
            Arity => "1 or more",
            Degree => "2 or more",
        }
        FaultError {
            Probability { figure: "loss", value: 2.0 } => "from 0 to 1",
            Delay => "at most",
        }
    }
    let no_id: ParseIdError = "G".parse::<NodeId>().expect_err("it is none");
    says(&no_id, "expected 16 lower-case hexadecimal digits");
    let no_hex: ParseHexError = "0".parse::<Hex>().expect_err("it is none");
    says(&no_hex, "an even number");
    let told = RpcError::new(ErrorCode::Busy, "somebody is at it", "Wait.");
    assert!(told.to_string() == "somebody is at it" && told.data.hint == "Wait.");
}

/// What a cluster says of requests that make no sense is made where it refuses them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_says_what_to_do_about_each_request_that_makes_no_sense() {
    let cluster = within("boot", ClusterHarness::with_config(1, ClusterConfig::default())).await.unwrap();
    let only = cluster.nth(0).unwrap().node_id();
    let remedy = |outcome: Result<(), ClusterError>, words| says(&outcome.expect_err("it makes none"), words);
    remedy(cluster.crash_node(NOBODY).await, "check it");
    remedy(cluster.resume_node(only).await, "pause it first");
    remedy(cluster.set_link_fault(only, only, LinkFault::default()), "name two nodes");
    within("pause", cluster.pause_node(only)).await.unwrap();
    remedy(cluster.pause_node(only).await, "resume it first");
    within("crash", cluster.crash_node(only)).await.unwrap();
    remedy(cluster.pause_node(only).await, "only restarted");
    within("shutdown", cluster.shutdown()).await.unwrap();
}

/// The public errors declared in the sources of `folder`, with how many texts each has.
fn errors_in(folder: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            errors_in(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source is text");
        for declared in text.split("thiserror::Error").skip(1) {
            let whole = declared.split("\n}\n").next().unwrap_or_default();
            let line = whole.lines().find(|line| line.contains("enum ") || line.contains("struct "));
            let words = line.unwrap_or_default().split(|it: char| !it.is_alphanumeric()).collect::<Vec<_>>();
            let texts = match words[..] {
                ["pub", "enum", ..] => whole.matches("#[error(").count(),
                ["pub", "struct", ..] => 1,
                _ => continue,
            };
            found.insert(words[2].to_owned(), texts);
        }
    }
}

#[test]
fn no_public_error_and_no_variant_of_one_is_left_out_here() {
    let mut found = BTreeMap::new();
    for part in ["native", "node", "shared"] {
        errors_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part).join("src"), &mut found);
    }
    assert!(found.len() > 25, "{found:?}");
    let here = include_str!("remedies.rs");
    for (name, texts) in found {
        let tables = [format!("\n        {name} {{\n"), format!("\n        {name} or _ {{\n")];
        let rows = |table: &String| {
            let (_, rest) = here.split_once(&**table)?;
            Some(rest.split("\n        }\n").next().unwrap_or_default().matches(" => ").count())
        };
        let alone = [format!(": {name} = "), format!("says(&{name}"), format!("= {name}::new(")];
        let shown = tables.iter().find_map(rows);
        let shown = shown.or_else(|| alone.iter().any(|it| here.contains(it)).then_some(1));
        assert_eq!(shown, Some(texts), "{name}");
    }
}
