//! The playground server, as a program meets it over a real socket.

mod commands;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use meshground::{
    cluster::ClusterConfig,
    server::{Page, RunningServer, Server, ServerConfig, ServerError},
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

// --- Hello ---------------------------------------------------------------------------------------

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_hung_up_on_and_no_other() {
    assert!(ServerConfig::default().request_head_timeout <= Duration::from_secs(10));
    let head_timeout = Duration::from_millis(200);
    let server =
        started(ServerConfig { request_head_timeout: head_timeout, ..ServerConfig::default() }).await;
    let address = server.local_addr();
    let mut client = Client::connect(address).await;
    let open = async || in_time("a connection", TcpStream::connect(address)).await.unwrap();

    let (mut silent, mut half, mut slow) = (open().await, open().await, open().await);
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").await.unwrap();
    let mut answer = Vec::new();
    // Whether it ends with a word or a reset: it ends.
    let _ = in_time("the end of one that is silent", silent.read_to_end(&mut answer)).await;
    let _ = in_time("the end of one that has stopped half-way", half.read_to_end(&mut answer)).await;
    let trickle = async {
        // Something comes all the time, but never the end of the head.
        slow.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await?;
        loop {
            slow.write_all(b"y").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended: std::io::Result<()> = in_time("the end of one that trickles", trickle).await;
    assert!(ended.is_err());

    client.is_alive().await;
    let health = get(address, "/healthz", &address.to_string(), &[]).await;
    assert_eq!(health.status, 200, "others are answered");
    server.stop().await;
}

#[tokio::test]
async fn hello_tells_who_is_there_and_what_may_be_asked() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let hello = client.call::<SessionHello>(&NoParams {}).await.unwrap();
    assert_eq!(hello.server.name, "meshground");
    assert_eq!(hello.protocol, SUBPROTOCOL);
    assert_eq!(hello.epoch, server.log().epoch());
    assert_eq!(hello.methods, METHODS);
    assert_eq!(hello.limits.max_nodes, 256);
    assert_eq!(hello.limits.max_message_bytes, 1024 * 1024);
    assert_eq!(hello.limits.hard_message_bytes, 4 * 1024 * 1024);
    assert_eq!(hello.limits.resume_events, 65_536);
    assert_eq!(hello.detection_ms, 1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_tells_how_soon_a_crash_is_noticed_by_as_many_as_there_are_now() {
    // A budget that each node more makes heartbeats rarer by.
    let liveness = LivenessConfig { budget: 10, ..LivenessConfig::default() };
    let cluster = ClusterConfig { liveness: Some(liveness), ..ClusterConfig::default() };
    let server = started(ServerConfig { cluster, ..ServerConfig::default() }).await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 3).await;
    let mut told = vec![client.call::<SessionHello>(&NoParams {}).await.unwrap().detection_ms];
    for _ in 0..2 {
        client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
        told.push(client.call::<SessionHello>(&NoParams {}).await.unwrap().detection_ms);
    }
    assert!(told.is_sorted_by(|fewer, more| fewer < more), "{told:?}");
    client.call::<NodeShutdown>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    let fewer = client.call::<SessionHello>(&NoParams {}).await.unwrap().detection_ms;
    assert_eq!(fewer, told[1]);
}

#[tokio::test]
async fn a_stopped_server_says_goodbye_to_its_clients() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    client.is_alive().await;
    let address = server.local_addr();
    let ((), frame) = tokio::join!(in_time("the server to stop", server.stop()), client.closed());
    assert_eq!(frame.expect("a goodbye").code, CloseCode::Away);
    let free_again = Server::bind(ServerConfig { port: address.port(), ..ServerConfig::default() }).await;
    assert!(free_again.is_ok(), "{free_again:?}");
}

// --- Snapshot and events ---------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fold_of_the_stream_equals_a_later_snapshot() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    assert_eq!(mirror.snapshot.seq, 0);
    assert_eq!(mirror.snapshot.phase, ClusterPhase::Empty);

    let booted = boot(&mut client, 4).await;
    let spawned = client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
    client.call::<NodeShutdown>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    client.call::<NodeCrash>(&NodeParams { node: booted.nodes[1] }).await.unwrap();
    client
        .call::<NodeRestart>(&RestartParams { node: booted.nodes[1], fresh_identity: false })
        .await
        .unwrap();

    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    mirror.up_to(&mut client, snapshot.seq).await;
    assert_eq!(mirror.snapshot, snapshot);
    let members: BTreeSet<NodeId> = snapshot.nodes.keys().copied().collect();
    assert_eq!(members, BTreeSet::from([booted.nodes[1], booted.nodes[2], booted.nodes[3], spawned.node]));
    assert_eq!(snapshot.nodes[&spawned.node].index, 4);

    let mut late = Client::connect(server.local_addr()).await;
    let late_mirror = late.mirror().await;
    mirror.up_to(&mut client, late_mirror.snapshot.seq).await;
    assert_eq!(late_mirror.snapshot, mirror.snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_sees_the_same_events_in_the_same_order() {
    let server = server().await;
    let mut one = Client::connect(server.local_addr()).await;
    let mut other = Client::connect(server.local_addr()).await;
    let (mut first, mut second) = (one.mirror().await, other.mirror().await);

    let booted = boot(&mut one, 3).await;
    let leaver = NodeParams { node: booted.nodes[2] };
    let (spawned, left) =
        tokio::join!(one.call::<NodeSpawn>(&NoParams {}), other.call::<NodeShutdown>(&leaver));
    assert_ne!(spawned.unwrap().command, left.unwrap().command);

    let seq = one.call::<ClusterSnapshot>(&NoParams {}).await.unwrap().seq;
    first.up_to(&mut one, seq).await;
    second.up_to(&mut other, seq).await;
    assert_eq!(first.events, second.events);
    assert_eq!(first.snapshot, second.snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_stands_as_cause_in_the_events_that_followed_from_it() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let caused_by = |mirror: &Mirror, command: CommandId| -> Vec<Event> {
        mirror.events.iter().filter(|event| event.cause == Some(command)).cloned().collect()
    };

    let booted = boot(&mut client, 3).await;
    mirror
        .until(&mut client, "the boot's end", |event| {
            matches!(event.kind, EventKind::ClusterConverged { .. })
        })
        .await;
    let boot_events = caused_by(&mirror, booted.command);
    assert_eq!(boot_events.len(), mirror.events.len(), "everything so far followed from the boot");
    assert_eq!(boot_events[0].kind, EventKind::ClusterBooting { nodes: 3, topology: Topology::Full });
    let count = |found: fn(&EventKind) -> bool| boot_events.iter().filter(|event| found(&event.kind)).count();
    assert_eq!(count(|kind| matches!(kind, EventKind::NodeStarted { .. })), 3);
    assert_eq!(count(|kind| matches!(kind, EventKind::SessionUp { .. })), 6);
    assert!(mirror.snapshot.is_converged());
    assert_eq!(
        mirror.snapshot.nodes.keys().copied().collect::<BTreeSet<_>>(),
        booted.nodes.iter().copied().collect()
    );

    let spawned = client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
    let start = mirror
        .until(&mut client, "the new node", |event| {
            matches!(event.kind, EventKind::NodeStarted { index: 3, .. })
        })
        .await;
    assert_eq!((start.node, start.cause), (Some(spawned.node), Some(spawned.command)));
    mirror
        .until_it_shows(&mut client, "a mesh of four", |fold| fold.nodes.len() == 4 && fold.is_converged())
        .await;
    assert_eq!(mirror.snapshot.nodes[&spawned.node].address, spawned.address);

    let left = client.call::<NodeShutdown>(&NodeParams { node: spawned.node }).await.unwrap();
    mirror
        .until_it_shows(&mut client, "a mesh of three again", |fold| {
            fold.edges().len() == 3 && fold.half_edges().is_empty()
        })
        .await;
    let farewell = caused_by(&mirror, left.command);
    assert!(
        farewell.iter().any(|event| event.node == Some(spawned.node)
            && event.kind == EventKind::NodeStopped { reason: StopReason::Shutdown }),
        "{farewell:?}"
    );
    let told: BTreeSet<_> = farewell
        .iter()
        .filter(|event| event.kind == EventKind::SessionDown { peer: spawned.node, reason: SessionEnd::Left })
        .filter_map(|event| event.node)
        .collect();
    assert_eq!(told, booted.nodes.iter().copied().collect(), "every peer was told");

    let down = client.call::<ClusterShutdown>(&NoParams {}).await.unwrap();
    let end = mirror.until(&mut client, "the end", |event| event.kind == EventKind::ClusterStopped).await;
    assert_eq!(end.cause, Some(down.command));
    assert!(caused_by(&mirror, down.command).iter().any(|event| event.kind == EventKind::ClusterStopping));
    assert_eq!(mirror.snapshot.phase, ClusterPhase::Empty);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_noticed_by_every_peer_and_undone_by_a_restart() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let booted = boot(&mut client, 4).await;
    let victim = booted.nodes[2];
    let others: BTreeSet<NodeId> = booted.nodes.iter().copied().filter(|&node| node != victim).collect();
    let key_of = |mirror: &Mirror| mirror.snapshot.nodes[&victim].public_key;

    let crashed = client.call::<NodeCrash>(&NodeParams { node: victim }).await.unwrap();
    let stop = mirror
        .until(&mut client, "the crash", |event| matches!(event.kind, EventKind::NodeStopped { .. }))
        .await;
    assert_eq!((stop.node, stop.cause), (Some(victim), Some(crashed.command)));
    assert_eq!(stop.kind, EventKind::NodeStopped { reason: StopReason::Crash });
    let (key, before) = (key_of(&mirror), mirror.snapshot.nodes[&victim].address);

    let mut gave_up = BTreeSet::new();
    while gave_up != others {
        let event = mirror
            .until(&mut client, "a verdict on the crashed node", |event| {
                matches!(event.kind, EventKind::PeerHealth { peer, to: Health::Unreachable, .. } if peer == victim)
            })
            .await;
        assert_eq!(event.cause, Some(crashed.command), "the silence follows from the crash: {event:?}");
        let EventKind::PeerHealth { from, silence_us, .. } = event.kind else { unreachable!() };
        assert_eq!(from, Health::Suspect);
        assert!(silence_us >= 1_000_000, "{silence_us} us of silence are no reason to give up a peer");
        gave_up.extend(event.node);
    }
    assert_eq!(mirror.snapshot.nodes[&victim].state, NodeState::Crashed);
    assert!(!mirror.snapshot.is_converged());

    let back =
        client.call::<NodeRestart>(&RestartParams { node: victim, fresh_identity: false }).await.unwrap();
    assert_eq!((back.node, back.index), (victim, 2));
    assert_ne!(back.address, before, "a restart takes a new port");
    mirror.until_it_shows(&mut client, "convergence after the restart", Snapshot::is_converged).await;
    assert_eq!(key_of(&mirror), key, "a restart keeps the identity");
    let start = mirror.events.iter().rev().find(|event| matches!(event.kind, EventKind::NodeStarted { .. }));
    assert_eq!(start.and_then(|event| event.cause), Some(back.command));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_brings_what_was_missed_and_nothing_else() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    boot(&mut client, 3).await;
    mirror.until_it_shows(&mut client, "convergence", |fold| fold.phase == ClusterPhase::Running).await;
    client.vanish();

    let mut client = Client::connect(server.local_addr()).await;
    client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
    let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    let resume = Some(Resume { epoch: mirror.snapshot.epoch, seq: mirror.snapshot.seq });
    let subscribed = client.subscribe(&SubscribeParams { resume, ..SubscribeParams::default() }).await;
    assert_eq!(subscribed.snapshot, None);
    assert_eq!((subscribed.epoch, subscribed.seq), (mirror.snapshot.epoch, mirror.snapshot.seq));
    assert!(subscribed.now_us >= mirror.snapshot.at_us, "the log's clock is not behind its events");
    mirror.up_to(&mut client, now.seq).await;
    assert_eq!(mirror.snapshot, now);
}

#[tokio::test]
async fn resuming_what_is_gone_gives_a_snapshot_instead() {
    let server = started(with_a_short_log()).await;
    let log = server.log();
    for count in 0..5000 {
        log.append(None, None, noise(count));
    }
    let mut client = Client::connect(server.local_addr()).await;
    let epoch = log.epoch();
    for (what, resume) in [
        ("another life", Resume { epoch: Epoch(epoch.0 ^ 1), seq: 5000 }),
        ("too long ago", Resume { epoch, seq: 5000 - 4097 }),
        ("not yet happened", Resume { epoch, seq: 5001 }),
        ("far from happening", Resume { epoch, seq: u64::MAX }),
    ] {
        let params = SubscribeParams { resume: Some(resume), ..SubscribeParams::default() };
        let subscribed = client.subscribe(&params).await;
        assert_eq!(subscribed.seq, 5000, "{what}");
        assert_eq!(subscribed.snapshot.map(|snapshot| snapshot.seq), Some(5000), "{what}");
    }
    let oldest =
        SubscribeParams { resume: Some(Resume { epoch, seq: 5000 - 4096 }), ..SubscribeParams::default() };
    assert_eq!(client.subscribe(&oldest).await.snapshot, None);
    for seq in 905..=5000 {
        let delivery = client.next_event().await;
        assert_eq!((delivery.prev, delivery.event.seq), (seq - 1, seq));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_subscription_replaces_the_first() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let log = Arc::clone(server.log());
    let busy = tokio::spawn(async move {
        loop {
            log.append(None, None, noise(0));
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..200 {
        // Nothing of the one before may follow the answer: the mirror would notice.
        let mut mirror = client.mirror().await;
        for _ in 0..5 {
            match client.next_push().await {
                Push::Event(delivery) => drop(mirror.take(delivery)),
                // On a busy machine the log may run away from it; another time, then.
                Push::Dropped(_) => break,
                Push::Telemetry(unasked) => panic!("{unasked:?}"),
            }
        }
    }
    busy.abort();
    let _ = busy.await;
    let nothing = SubscribeParams { topics: Vec::new(), resume: None };
    assert_eq!(client.subscribe(&nothing).await.seq, server.log().snapshot().seq);
    client.forget_unread();
    server.log().append(None, None, noise(0));
    client.is_alive().await;
    assert_eq!(client.unread(), 0, "who asks for no topic hears nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_comes_with_round_trip_times_and_counters_to_those_who_ask() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 3).await;
    let mut plain = Client::connect(server.local_addr()).await;
    let mut mirror = plain.mirror().await;

    let topics = vec![Topic::Telemetry];
    client.subscribe(&SubscribeParams { topics: topics.clone(), resume: None }).await;
    let mut known = BTreeMap::new();
    let links = booted.nodes.len() * (booted.nodes.len() - 1);
    let mut frames = 0;
    let mut last_at = 0;
    // Until every link has been measured, and changes have been seen to be sent alone.
    let (mut counted, mut risen) = (BTreeMap::new(), false);
    while known.len() < links || counted.len() < links || frames < 3 || !risen {
        let telemetry = client.next_telemetry().await;
        assert!(telemetry.at_us > last_at);
        assert!(!telemetry.links.is_empty() || !telemetry.traffic.is_empty(), "a frame about nothing");
        last_at = telemetry.at_us;
        for sample in telemetry.traffic {
            assert!(booted.nodes.contains(&sample.node) && booted.nodes.contains(&sample.peer));
            assert!(sample.total.datagrams_in > 0 && sample.total.bytes_out > 0, "{sample:?}");
            let before = counted.insert((sample.node, sample.peer), sample.total);
            assert_ne!(before, Some(sample.total), "unchanged counters were sent again");
            risen |= before.is_some_and(|before| before.datagrams_in < sample.total.datagrams_in);
        }
        for link in telemetry.links {
            assert!(booted.nodes.contains(&link.node) && booted.nodes.contains(&link.peer));
            assert!(link.node != link.peer && link.rtt_us > 0, "{link:?}");
            let before = known.insert((link.node, link.peer), link.rtt_us);
            assert_ne!(before, Some(link.rtt_us), "an unchanged value was sent again");
        }
        frames += 1;
    }
    // Another subscriber is told everything anew, whatever the first one knows.
    let mut late = Client::connect(server.local_addr()).await;
    late.subscribe(&SubscribeParams { topics, resume: None }).await;
    let first = late.next_telemetry().await;
    assert_eq!((first.links.len(), first.traffic.len()), (links, links));

    plain.call::<NodeShutdown>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    mirror.until_it_shows(&mut plain, "the leave", |fold| fold.nodes.len() == 2).await;
    plain.is_alive().await;
    while plain.unread() > 0 {
        // Whatever it is, it is an event: nobody asked for telemetry here.
        mirror.take(plain.next_event().await);
    }
}

// --- Lifecycle -------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_cluster_is_replaced_only_on_request() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let first = boot(&mut client, 2).await;
    let refused = client
        .call::<ClusterBoot>(&BootParams { nodes: 3, replace: false, topology: None })
        .await
        .unwrap_err();
    assert_error(&refused, ErrorCode::AlreadyRunning);

    let second =
        client.call::<ClusterBoot>(&BootParams { nodes: 3, replace: true, topology: None }).await.unwrap();
    assert_ne!(first.command, second.command);
    let stop =
        mirror.until(&mut client, "the old one's end", |event| event.kind == EventKind::ClusterStopped).await;
    assert_eq!(
        stop.cause,
        Some(second.command),
        "the end of the old one follows from the boot of the new one"
    );
    mirror
        .until_it_shows(&mut client, "the new one", |fold| {
            fold.phase == ClusterPhase::Running && fold.nodes.len() == 3 && fold.is_converged()
        })
        .await;
}

#[tokio::test]
async fn without_a_cluster_node_commands_say_so() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let node = NodeParams { node: NodeId(1) };
    for refused in [
        client.call::<NodeSpawn>(&NoParams {}).await.map(drop),
        client.call::<NodeShutdown>(&node).await.map(drop),
        client.call::<NodeCrash>(&node).await.map(drop),
        client.call::<NodeRestart>(&again(node)).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_error(&error, ErrorCode::NotRunning);
        assert!(error.data.hint.contains("cluster.boot"));
    }
    let done = client.call::<ClusterShutdown>(&NoParams {}).await.unwrap();
    assert_eq!(server.log().snapshot().seq, 0, "shutting down nothing ({done:?}) is no event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_there_or_not_up_cannot_be_taken_down() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 2).await;
    let stranger = NodeParams { node: NodeId(0xdead_beef) };
    for refused in [
        client.call::<NodeShutdown>(&stranger).await.map(drop),
        client.call::<NodeCrash>(&stranger).await.map(drop),
        client.call::<NodeRestart>(&again(stranger)).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_error(&error, ErrorCode::NodeNotFound);
        assert!(error.message.contains("00000000deadbeef"));
    }
    let node = NodeParams { node: booted.nodes[0] };
    client.call::<NodeCrash>(&node).await.unwrap();
    for refused in
        [client.call::<NodeCrash>(&node).await.map(drop), client.call::<NodeShutdown>(&node).await.map(drop)]
    {
        assert_error(&refused.unwrap_err(), ErrorCode::WrongState);
    }
    client.call::<NodeRestart>(&again(node)).await.unwrap();
    client.call::<NodeRestart>(&again(node)).await.expect("one that runs can be restarted, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_does_not_grow_beyond_the_servers_limit() {
    let server = started(ServerConfig { max_nodes: 3, ..ServerConfig::default() }).await;
    let mut client = Client::connect(server.local_addr()).await;
    let too_many = client
        .call::<ClusterBoot>(&BootParams { nodes: 4, replace: false, topology: None })
        .await
        .unwrap_err();
    assert_error(&too_many, ErrorCode::LimitExceeded);
    assert!(too_many.message.contains('3'));
    boot(&mut client, 2).await;
    let spawns =
        [client.start::<NodeSpawn>(&NoParams {}).await, client.start::<NodeSpawn>(&NoParams {}).await];
    let mut outcomes = Vec::new();
    for id in &spawns {
        outcomes.push(client.finish::<NodeSpawn>(id).await);
    }
    let (spawned, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((spawned.len(), refused.len()), (1, 1));
    assert_error(refused[0].as_ref().unwrap_err(), ErrorCode::LimitExceeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_cluster_boots_other_commands_are_told_to_wait() {
    let server = started(slow_to_fail()).await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let boot = client.start::<ClusterBoot>(&BootParams { nodes: 2, replace: false, topology: None }).await;
    mirror.until_it_shows(&mut client, "the boot", |fold| fold.phase == ClusterPhase::Booting).await;
    for refused in [
        client.call::<ClusterBoot>(&BootParams { nodes: 1, replace: true, topology: None }).await.map(drop),
        client.call::<ClusterShutdown>(&NoParams {}).await.map(drop),
        client.call::<NodeSpawn>(&NoParams {}).await.map(drop),
        client.call::<NodeCrash>(&NodeParams { node: NodeId(1) }).await.map(drop),
    ] {
        assert_error(&refused.unwrap_err(), ErrorCode::Busy);
    }
    // A long command holds up nothing else of its own connection.
    assert_eq!(client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap().phase, ClusterPhase::Booting);

    let failed = client.finish::<ClusterBoot>(&boot).await.unwrap_err();
    assert_error(&failed, ErrorCode::HandshakeFailed);
    mirror
        .until(&mut client, "the failure", |event| matches!(event.kind, EventKind::ClusterFailed { .. }))
        .await;
    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    assert_eq!((snapshot.phase, snapshot.nodes.len()), (ClusterPhase::Empty, 0), "nothing is left of it");
    client
        .call::<ClusterBoot>(&BootParams { nodes: 1, replace: false, topology: None })
        .await
        .expect("one node alone has no key to disagree with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_does_not_wait_for_a_boot() {
    let server = started(slow_to_fail()).await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let boot = client.start::<ClusterBoot>(&BootParams { nodes: 2, replace: false, topology: None }).await;
    mirror.until_it_shows(&mut client, "the boot", |fold| fold.phase == ClusterPhase::Booting).await;
    let answer = async {
        let answer = client.finish::<ClusterBoot>(&boot).await;
        (answer, client.closed().await)
    };
    let ((), (answer, goodbye)) = tokio::join!(in_time("the server to stop", server.stop()), answer);
    assert_error(&answer.unwrap_err(), ErrorCode::NotRunning);
    assert_eq!(goodbye.map(|frame| frame.code), Some(CloseCode::Away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_cancels_nothing() {
    let server = server().await;
    let mut watcher = Client::connect(server.local_addr()).await;
    let mut mirror = watcher.mirror().await;
    let mut impatient = Client::connect(server.local_addr()).await;
    impatient.start::<ClusterBoot>(&BootParams { nodes: 12, replace: false, topology: None }).await;
    mirror.until_it_shows(&mut watcher, "the boot", |fold| fold.phase == ClusterPhase::Booting).await;
    impatient.vanish();
    mirror
        .until_it_shows(&mut watcher, "a cluster that nobody waits for", |fold| {
            fold.phase == ClusterPhase::Running && fold.nodes.len() == 12 && fold.is_converged()
        })
        .await;
    watcher.call::<NodeSpawn>(&NoParams {}).await.expect("it is a cluster like any other");
}

// --- Messages that are not what they should be -------------------------------------------------------

#[tokio::test]
async fn a_wrong_message_gets_a_clear_error_and_the_connection_lives_on() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let request = |method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).to_string()
    };
    let id = || Some(Id::String("x".into()));
    for (text, id, code) in [
        ("nonsense".to_owned(), None, ErrorCode::ParseError),
        (String::new(), None, ErrorCode::ParseError),
        ("\"text\"".to_owned(), None, ErrorCode::InvalidRequest),
        ("[]".to_owned(), None, ErrorCode::InvalidRequest),
        (format!("[{}]", request("session.hello", json!({}))), None, ErrorCode::InvalidRequest),
        ("{}".to_owned(), None, ErrorCode::InvalidRequest),
        (
            json!({"jsonrpc": "2.0", "id": null, "method": "session.hello"}).to_string(),
            None,
            ErrorCode::InvalidRequest,
        ),
        (
            json!({"jsonrpc": "2.0", "id": 1.5, "method": "session.hello"}).to_string(),
            None,
            ErrorCode::InvalidRequest,
        ),
        (
            json!({"jsonrpc": "2.0", "id": [1], "method": "session.hello"}).to_string(),
            None,
            ErrorCode::InvalidRequest,
        ),
        (
            json!({"jsonrpc": "1.0", "id": "x", "method": "session.hello"}).to_string(),
            id(),
            ErrorCode::InvalidRequest,
        ),
        (json!({"id": "x", "method": "session.hello"}).to_string(), id(), ErrorCode::InvalidRequest),
        (request("no.such.method", json!({})), id(), ErrorCode::MethodNotFound),
        (request("cluster.boot", json!({"nodes": "five"})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 2, "replace": 1})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 2, "nodez": 3})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!([5])), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 0})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": -1})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 257})), id(), ErrorCode::LimitExceeded),
        (request("cluster.boot", json!({"nodes": 1_000_000})), id(), ErrorCode::LimitExceeded),
        (request("node.crash", json!({"node": 1})), id(), ErrorCode::InvalidParams),
        (request("node.crash", json!({"node": "1"})), id(), ErrorCode::InvalidParams),
        (request("node.crash", json!({"node": "00000000DEADBEEF"})), id(), ErrorCode::InvalidParams),
        (request("events.subscribe", json!({"topics": ["weather"]})), id(), ErrorCode::InvalidParams),
        (
            request("events.subscribe", json!({"resume": {"epoch": "x", "seq": 1}})),
            id(),
            ErrorCode::InvalidParams,
        ),
    ] {
        client.send_text(text.clone()).await;
        let (answered, error) = client.next_error().await;
        assert_eq!(answered, id, "{text}");
        assert_error(&error, code);
        client.is_alive().await;
    }
    assert_eq!(server.log().snapshot().seq, 0, "none of it changed anything");
}

#[tokio::test]
async fn a_binary_frame_gets_a_clear_error() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    client.send(Message::binary(b"{}".to_vec())).await;
    let (id, error) = client.next_error().await;
    assert_eq!(id, None);
    assert_error(&error, ErrorCode::InvalidRequest);
    assert!(error.message.contains("binary"));
    client.is_alive().await;
}

#[tokio::test]
async fn a_large_message_gets_an_error_under_its_own_id_and_the_connection_lives_on() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let padding = "x".repeat(2 * 1024 * 1024);
    let large =
        json!({"jsonrpc": "2.0", "method": "session.hello", "params": {"padding": padding}, "id": 77});
    client.send_text(large.to_string()).await;
    let (id, error) = client.next_error().await;
    assert_eq!(id, Some(Id::Number(77)));
    assert_error(&error, ErrorCode::MessageTooLarge);
    client.is_alive().await;

    client.send_text(padding).await;
    let (id, error) = client.next_error().await;
    assert_eq!(id, None);
    assert_error(&error, ErrorCode::MessageTooLarge);
    client.is_alive().await;

    let small = json!({"jsonrpc": "2.0", "method": "session.hello", "id": 78});
    let mut fits = small.to_string();
    fits.extend(std::iter::repeat_n(' ', 1024 * 1024 - fits.len()));
    client.send_text(fits).await;
    assert_eq!(client.next_answer().await.id, Some(Id::Number(78)));
}

#[tokio::test]
async fn a_message_beyond_all_measure_ends_the_connection_with_1009() {
    let server = server().await;
    let mut bystander = Client::connect(server.local_addr()).await;
    for size in [4 * 1024 * 1024 + 1, 5 * 1024 * 1024, 40 * 1024 * 1024] {
        let mut client = Client::connect(server.local_addr()).await;
        client.is_alive().await;
        // It is not cut off in the middle: not every client could read the reason then.
        client.send(Message::text("x".repeat(size))).await;
        let frame = client.closed().await.expect("a reason");
        assert_eq!(frame.code, CloseCode::Size, "{size} bytes");
    }
    bystander.is_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_id_is_carried_out_and_not_answered() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    for quiet in [
        json!({"jsonrpc": "2.0", "method": "session.hello"}),
        json!({"jsonrpc": "2.0", "method": "no.such.method"}),
        json!({"jsonrpc": "2.0", "method": "cluster.boot", "params": {"nodes": 0}}),
        json!({"jsonrpc": "2.0", "method": "cluster.boot", "params": {"nodes": 2}}),
    ] {
        client.send_text(quiet.to_string()).await;
    }
    mirror.until_it_shows(&mut client, "the boot", |fold| fold.phase == ClusterPhase::Running).await;
    // An answer to any of them would be an answer to nothing, at which the client panics.
    client.is_alive().await;
}

// --- Clients that are not what they should be ---------------------------------------------------------

#[tokio::test]
async fn programs_and_the_servers_own_page_may_connect_and_other_pages_may_not() {
    let server = server().await;
    let address = server.local_addr();
    let port = address.port();
    let own = format!("http://127.0.0.1:{port}");
    let local = format!("localhost:{port}");
    let local_origin = format!("http://localhost:{port}");
    let v6 = format!("[::1]:{port}");
    let v6_origin = format!("http://[::1]:{port}");
    let rebound = format!("rebound.evil.com:{port}");
    let rebound_origin = format!("http://{rebound}");
    let suffixed = format!("localhost.evil.com:{port}");
    let other_port = format!("http://127.0.0.1:{}", port ^ 1);
    let secure = format!("https://127.0.0.1:{port}");
    for (welcome, headers) in [
        (true, vec![]),
        (true, vec![("origin", own.as_str())]),
        (true, vec![("host", local.as_str())]),
        (true, vec![("host", local.as_str()), ("origin", &local_origin)]),
        (true, vec![("host", v6.as_str()), ("origin", &v6_origin)]),
        (true, vec![("host", "127.0.0.1:9000"), ("origin", "http://127.0.0.1:9000")]),
        (false, vec![("origin", "null")]),
        (false, vec![("origin", "http://evil.com")]),
        (false, vec![("origin", other_port.as_str())]),
        (false, vec![("origin", secure.as_str())]),
        (false, vec![("origin", local_origin.as_str())]),
        (false, vec![("host", local.as_str()), ("origin", own.as_str())]),
        (false, vec![("host", rebound.as_str())]),
        (false, vec![("host", rebound.as_str()), ("origin", &rebound_origin)]),
        (false, vec![("host", suffixed.as_str())]),
        (false, vec![("host", "192.168.1.2:7777")]),
        (false, vec![("host", "0.0.0.0:7777")]),
    ] {
        match Client::connect_with(address, &headers).await {
            Ok(mut client) => {
                assert!(welcome, "{headers:?} was let in");
                client.is_alive().await;
            }
            Err((status, text)) => {
                assert!(!welcome, "{headers:?} was refused: {text}");
                assert_eq!(status, 403, "{headers:?}");
                assert!(text.len() > 20, "{text:?} does not say why");
            }
        }
    }
}

#[tokio::test]
async fn the_guard_stands_before_every_path() {
    let server = server().await;
    let host = server.local_addr().to_string();
    for path in ["/", "/healthz", "/ws", "/index.html", "/nowhere"] {
        let refused = get(server.local_addr(), path, "evil.com", &[]).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.body);
        let refused = get(server.local_addr(), path, &host, &["Origin: http://evil.com"]).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.body);
    }
    let two_hosts = get(server.local_addr(), "/healthz", &host, &["Host: evil.com"]).await;
    assert!(matches!(two_hosts.status, 400 | 403), "{two_hosts:?}");
}

#[tokio::test]
async fn the_subprotocol_is_selected_if_offered_and_an_unknown_one_is_refused() {
    let server = server().await;
    let address = server.local_addr();
    for offer in [SUBPROTOCOL, "graphql-ws, meshground.v1+json"] {
        let mut client = Client::connect_with(address, &[("sec-websocket-protocol", offer)]).await.unwrap();
        client.is_alive().await;
    }
    Client::connect_with(address, &[]).await.expect("none offered, none needed").is_alive().await;
    let refused = Client::connect_with(address, &[("sec-websocket-protocol", "graphql-ws")]).await;
    let (status, text) = refused.expect_err("a client that speaks something else");
    assert_eq!(status, 400);
    assert!(text.contains(SUBPROTOCOL));
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_may_come_when_another_has_left() {
    let server = started(ServerConfig { max_clients: 2, ..ServerConfig::default() }).await;
    let address = server.local_addr();
    let mut one = Client::connect(address).await;
    let two = Client::connect(address).await;
    let (status, text) = Client::connect_with(address, &[]).await.expect_err("there are two already");
    assert_eq!(status, 503);
    assert!(text.contains('2'), "{text}");
    one.is_alive().await;
    two.vanish();
    in_time("the place to become free", async {
        while Client::connect_with(address, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_slows_nobody_down_and_learns_what_it_missed() {
    // Far more than the sockets' buffers, the queue and the log's ring can hold together.
    const EVENTS: u64 = 40_000;
    const BATCH: u64 = 1_000;
    let server = started(with_a_short_log()).await;
    let mut slow = Client::connect_narrow(server.local_addr()).await;
    let mut behind = slow.mirror().await;
    let mut quick = Client::connect(server.local_addr()).await;
    let mut mirror = quick.mirror().await;
    for batch in 1..=EVENTS / BATCH {
        for count in 0..BATCH {
            server.log().append(None, None, noise(count));
        }
        mirror.up_to(&mut quick, batch * BATCH).await;
    }

    // It reads again: first what was on its way, then what became of the rest.
    let dropped = loop {
        match slow.next_push().await {
            Push::Event(delivery) => drop(behind.take(delivery)),
            Push::Dropped(dropped) => break dropped,
            Push::Telemetry(unasked) => panic!("{unasked:?}"),
        }
    };
    assert_eq!(dropped.count, dropped.snapshot.seq - behind.snapshot.seq);
    assert!(dropped.count > 0);
    let mut behind = Mirror::new(dropped.snapshot);
    server.log().append(None, None, noise(0));
    behind.up_to(&mut slow, EVENTS + 1).await;
    mirror.up_to(&mut quick, EVENTS + 1).await;
    assert_eq!(behind.snapshot, mirror.snapshot);
}

#[tokio::test]
async fn a_client_that_gives_no_sign_of_life_is_let_go_and_one_that_answers_pings_is_not() {
    let server =
        started(ServerConfig { keepalive: Duration::from_millis(100), ..ServerConfig::default() }).await;
    let address = server.local_addr();
    let mut asleep = Client::connect(address).await;
    let mut awake = Client::connect(address).await;
    let mut mirror = awake.mirror().await;
    // To answer a ping, a client only has to read. One of the two does.
    let reading = async {
        for seq in 1..=20 {
            tokio::join!(
                async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    server.log().append(None, None, noise(0));
                },
                mirror.up_to(&mut awake, seq)
            );
        }
    };
    in_time("a second of quiet", reading).await;
    awake.is_alive().await;
    let frame = asleep.closed().await.expect("a reason");
    assert_eq!(frame.code, CloseCode::Policy);
}

// --- HTTP --------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthz_says_how_the_cluster_is() {
    let server = server().await;
    let host = server.local_addr().to_string();
    let mut client = Client::connect(server.local_addr()).await;
    let empty = get(server.local_addr(), "/healthz", &host, &[]).await;
    assert_eq!(empty.status, 200);
    assert!(empty.headers.contains("content-type: application/json"), "{}", empty.headers);
    assert_eq!(empty.json()["status"], "ok");
    assert_eq!(empty.json()["nodes"], 0);
    let booted = boot(&mut client, 2).await;
    let full = get(server.local_addr(), "/healthz", &host, &[]).await.json();
    assert_eq!((&full["nodes"], &full["converged"]), (&json!(2), &json!(true)));
    client.call::<NodeCrash>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    let broken = get(server.local_addr(), "/healthz", &host, &[]).await.json();
    assert_eq!((&broken["nodes"], &broken["converged"]), (&json!(2), &json!(false)));
}

#[tokio::test]
async fn the_page_is_served_as_browsers_want_it() {
    let page =
        Page::from_files([("index.html", "<!doctype html>"), ("boot.js", "go()"), ("app.wasm", "\0asm")]);
    let server = started(ServerConfig { page, ..ServerConfig::default() }).await;
    let host = server.local_addr().to_string();
    for (path, mime) in [
        ("/", "text/html; charset=utf-8"),
        ("/boot.js", "text/javascript; charset=utf-8"),
        ("/app.wasm", "application/wasm"),
    ] {
        let answer = get(server.local_addr(), path, &host, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        for line in [
            &format!("content-type: {mime}"),
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-cache",
            "content-security-policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval';",
            &format!("connect-src 'self' ws://{host};"),
        ] {
            assert!(answer.headers.contains(line), "{path} lacks {line:?}: {}", answer.headers);
        }
    }
    assert_eq!(get(server.local_addr(), "/nope", &host, &[]).await.status, 404);
    assert_eq!(get(server.local_addr(), "/ws", &host, &[]).await.status, 426);
}

#[tokio::test]
async fn a_server_without_a_page_names_the_command_that_builds_it() {
    let server = started(ServerConfig { page: Page::default(), ..ServerConfig::default() }).await;
    let answer = get(server.local_addr(), "/", &server.local_addr().to_string(), &[]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("cargo xtask demo"), "{}", answer.body);
    Client::connect(server.local_addr()).await.is_alive().await;
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let server = server().await;
    let port = server.local_addr().port();
    let error = Server::bind(ServerConfig { port, ..ServerConfig::default() }).await.unwrap_err();
    assert!(matches!(error, ServerError::PortInUse { port: taken } if taken == port));
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("--port 0") && !text.contains('\n'), "{text}");
}

/// A snapshot of a cluster this size would fill every buffer on its way; see the unit
/// test of the connection for what happens to its requests.
#[tokio::test]
async fn a_large_snapshot_arrives_whole() {
    let server = server().await;
    for index in 0..2_000_u32 {
        let kind = EventKind::NodeStarted {
            index,
            address: "127.0.0.1:9".parse().unwrap(),
            public_key: PublicKey([1; 32]),
        };
        server.log().append(Some(NodeId(index.into())), None, kind);
    }
    let mut client = Client::connect(server.local_addr()).await;
    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    assert_eq!(snapshot, server.log().snapshot());
}
