//! The playground server, as a program meets it over a real socket.

mod causes;
mod clients;
mod commanding;
mod commands;
mod daemons;
mod events;
mod hello;
mod http;
mod lifecycle;
mod messages;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use meshground::{
    cluster::ClusterConfig,
    server::{MAX_CONNECTIONS, Page, RunningServer, Server, ServerConfig, ServerError},
};
use meshground_node::LivenessConfig;
use meshground_shared::{
    ClusterPhase, CommandId, Epoch, Event, EventKind, Health, NodeId, NodeState, PublicKey, RejectReason,
    SessionEnd, Snapshot, StopReason, Topology,
    rpc::{
        BootParams, Booted, ClusterBoot, ClusterShutdown, ClusterSnapshot, ErrorCode, Id, METHODS, NoParams,
        NodeCrash, NodeParams, NodeRestart, NodeShutdown, NodeSpawn, Push, RestartParams, Resume, RpcError,
        SUBPROTOCOL, SessionHello, SubscribeParams, Topic,
    },
};
use meshground_tests::ws::{Client, Mirror, get, in_time};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

async fn started(config: ServerConfig) -> RunningServer {
    let config = ServerConfig { port: 0, ..config };
    Server::bind(config).await.expect("the system has a free port").start()
}

async fn server() -> RunningServer {
    started(ServerConfig::default()).await
}

async fn boot(client: &mut Client, nodes: u32) -> Booted {
    client
        .call::<ClusterBoot>(&BootParams { nodes, replace: false, topology: None })
        .await
        .expect("the cluster boots")
}

/// What a boot takes a while for and then fails with: the second node has another key.
fn slow_to_fail() -> ServerConfig {
    let cluster = ClusterConfig { psk_overrides: BTreeMap::from([(1, [7; 32])]), ..ClusterConfig::default() };
    ServerConfig { cluster, ..ServerConfig::default() }
}

/// Keeps few events.
fn with_a_short_log() -> ServerConfig {
    let cluster = ClusterConfig { log_capacity: 4_096, ..ClusterConfig::default() };
    ServerConfig { cluster, ..ServerConfig::default() }
}

#[track_caller]
fn assert_error(error: &RpcError, code: ErrorCode) {
    assert!(error.is(code), "expected {code:?}, got {error:?}");
    assert_eq!(error.data.name, code.name());
    assert!(!error.message.is_empty() && !error.data.hint.is_empty(), "{error:?} does not help");
}

/// To restart a node as itself.
fn again(NodeParams { node }: NodeParams) -> RestartParams {
    RestartParams { node, fresh_identity: false }
}

/// A made-up event that changes nothing.
fn noise(count: u64) -> EventKind {
    let address = "127.0.0.1:9".parse().expect("an address");
    EventKind::DatagramRejected { address, reason: RejectReason::Malformed, count }
}
