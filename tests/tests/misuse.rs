//! Zero, huge, wrong and late arguments: nothing panics, and every error says what to do.

#[path = "misuse/admin.rs"]
mod admin;
#[path = "misuse/building.rs"]
mod building;
#[path = "misuse/cluster.rs"]
mod cluster;
#[path = "misuse/daemons.rs"]
mod daemons;
#[path = "misuse/ends.rs"]
mod ends;
#[path = "misuse/late.rs"]
mod late;
#[path = "misuse/log.rs"]
mod log;
#[path = "misuse/machines.rs"]
mod machines;
#[path = "misuse/remedies.rs"]
mod remedies;
#[path = "misuse/server.rs"]
mod server;
#[path = "misuse/systems.rs"]
mod systems;
#[path = "misuse/talk.rs"]
mod talk;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use meshground::{ClusterConfig, ClusterError, ClusterHarness, EventLog, Mesh, MeshBuilder, MeshError};
use meshground_node::{
    ConfigError, DialError, HandshakeConfig, Identity, Instant, LivenessConfig, MAX_BODY, MAX_METHOD, Node,
    NodeConfig, NodeId, Now, RekeyConfig, SendError, WallTime,
};
use meshground_shared::{ClusterPhase, LinkFault, RejectReason};
use meshground_tests::waiting::{here, within};

const PSK: [u8; 32] = [42; 32];
/// Nobody has this id.
const NOBODY: NodeId = NodeId(u64::MAX);

async fn mesh() -> Mesh {
    MeshBuilder::new(here(), PSK).build().await.unwrap()
}

/// What a future comes to that is polled where there is no runtime.
fn outside<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let began = std::time::Instant::now();
    loop {
        if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        assert!(began.elapsed() < meshground_tests::waiting::PATIENCE, "it never comes to an end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Every way in which a configuration can be wrong, with a word that its error must say.
fn wrong_configs() -> Vec<(NodeConfig, &'static str)> {
    let with = |change: &dyn Fn(&mut NodeConfig)| {
        let mut config = NodeConfig::new(PSK);
        change(&mut config);
        config
    };
    let handshake = HandshakeConfig::default;
    let liveness = LivenessConfig::default;
    let rekey = RekeyConfig::default;
    vec![
        (with(&|c| c.max_datagram = 0), "between 512 and 65,507"),
        (with(&|c| c.max_datagram = usize::MAX), "between 512 and 65,507"),
        (with(&|c| c.max_queued = 0), "at least 65,536"),
        (with(&|c| c.max_peers = 0), "max_peers"),
        (with(&|c| c.handshake = HandshakeConfig { budget: Duration::ZERO, ..handshake() }), "budget"),
        (
            with(&|c| c.handshake = HandshakeConfig { retransmit: Duration::ZERO, ..handshake() }),
            "retransmit",
        ),
        (with(&|c| c.handshake = HandshakeConfig { max_dials: 0, ..handshake() }), "max_dials"),
        (with(&|c| c.handshake = HandshakeConfig { max_answers: 0, ..handshake() }), "max_answers"),
        (with(&|c| c.liveness = LivenessConfig { heartbeat: Duration::ZERO, ..liveness() }), "rise"),
        (with(&|c| c.liveness = LivenessConfig { heartbeat: Duration::MAX, ..liveness() }), "rise"),
        (with(&|c| c.liveness = LivenessConfig { forget: Duration::ZERO, ..liveness() }), "rise"),
        (with(&|c| c.liveness = LivenessConfig { budget: 0, ..liveness() }), "budget >= 1"),
        (with(&|c| c.rekey = RekeyConfig { interval: Duration::ZERO, ..rekey() }), "15 s"),
        (with(&|c| c.rekey = RekeyConfig { interval: Duration::MAX, ..rekey() }), "24 h"),
        (with(&|c| c.rekey = RekeyConfig { packets: 0, ..rekey() }), "at least 64"),
    ]
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_by_name_and_range() {
    for (config, word) in wrong_configs() {
        let error: ConfigError = config.validate().unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        let built = MeshBuilder::new(here(), PSK).config(config.clone()).build().await;
        assert_eq!(built.err(), Some(MeshError::Config(error.clone())));
        let node = Node::new(config, Identity::from_seed([1; 32]), [2; 32], Now::default());
        assert_eq!(node.err(), Some(error));
    }
}

#[test]
fn a_node_at_the_ends_of_time_does_not_panic() {
    let end = Now { instant: Instant::from_micros(u64::MAX), wall: WallTime(u64::MAX) };
    let huge = HandshakeConfig { budget: Duration::MAX, retransmit: Duration::MAX, ..Default::default() };
    let config = NodeConfig { handshake: huge, ..NodeConfig::new(PSK) };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for first in [Now::default(), end] {
        let mut node = Node::new(config.clone(), Identity::from_seed([1; 32]), [2; 32], first).unwrap();
        let mut buffer = Vec::new();
        for now in [first, end, Now::default()] {
            node.connect(now, address, Some(NOBODY));
            node.handle_datagram(now, address, &mut []);
            node.handle_timeout(now);
            while node.poll_transmit(now, &mut buffer).is_some() {}
            while node.poll_event().is_some() {}
        }
    }
}

#[test]
fn a_node_refuses_what_it_cannot_do_and_does_nothing_after_leaving() {
    let now = Now::default();
    let mut node = Node::new(NodeConfig::new(PSK), Identity::from_seed([1; 32]), [2; 32], now).unwrap();
    for _ in 0..2 {
        assert_eq!(node.send(now, NOBODY, &[]), Err(SendError::NoSession(NOBODY)));
        assert!(node.open_stream(now, NOBODY).is_err());
        assert!(!node.disconnect(now, NOBODY));
        let method = "m".repeat(MAX_METHOD + 1);
        for (method, body) in [("", 0), (&*method, 0), ("m", MAX_BODY + 1), ("m", 0)] {
            let error = node.call(now, NOBODY, method, &vec![0; body], Some(Duration::MAX)).unwrap_err();
            assert!(!error.to_string().is_empty());
        }
        node.leave(now);
    }
    node.handle_timeout(now);
    assert_eq!(node.poll_transmit(now, &mut Vec::new()), None);
}

#[tokio::test]
async fn a_mesh_refuses_what_it_cannot_do() {
    let taken = mesh().await;
    let error = MeshBuilder::new(taken.local_addr(), PSK).build().await.unwrap_err();
    assert!(matches!(&error, MeshError::Bind { address, .. } if *address == taken.local_addr()), "{error}");

    let max = taken.max_message();
    let sent = taken.send(NOBODY, &vec![0; max + 1]).await;
    assert_eq!(sent, Err(MeshError::Send(SendError::TooLarge { len: max + 1, max })));
    assert_eq!(taken.send(NOBODY, &[]).await, Err(MeshError::Send(SendError::NoSession(NOBODY))));
    assert_eq!(taken.disconnect(NOBODY).await, Ok(()));

    let hasty = HandshakeConfig { budget: Duration::from_millis(1), ..HandshakeConfig::default() };
    let hasty = MeshBuilder::new(here(), PSK).handshake(hasty).build().await.unwrap();
    let silent = tokio::net::UdpSocket::bind(here()).await.unwrap();
    let error = within("the dial", hasty.connect(silent.local_addr().unwrap())).await.unwrap_err();
    assert!(matches!(error, MeshError::Dial { error: DialError::TimedOut { .. }, .. }), "{error}");
    assert!(error.to_string().contains("pre-shared key"), "{error}");
}

#[test]
fn a_mesh_without_a_runtime_says_so() {
    assert_eq!(outside(MeshBuilder::new(here(), PSK).build()).err(), Some(MeshError::NoRuntime));
}

#[test]
fn a_cluster_without_a_runtime_says_that_no_node_could_be_built_and_so_does_its_log() {
    let log = EventLog::new();
    let config = ClusterConfig { log: Some(Arc::clone(&log)), ..ClusterConfig::default() };
    let error = outside(ClusterHarness::with_config(3, config)).unwrap_err();
    assert_eq!(error, ClusterError::MeshBuild(MeshError::NoRuntime));
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    assert_eq!(log.snapshot().phase, ClusterPhase::Empty);
}

#[tokio::test]
async fn a_mesh_that_is_down_says_so_to_everyone() {
    let mesh = mesh().await;
    let (mut sender, mut inbox) = (mesh.sender(NOBODY), mesh.messages());
    within("crash", mesh.crash()).await;
    for _ in 0..2 {
        assert_eq!(mesh.connect(here()).await, Err(MeshError::Closed));
        assert_eq!(within("nobody", mesh.accept()).await, Err(MeshError::Closed));
        assert_eq!(mesh.disconnect(NOBODY).await, Err(MeshError::Closed));
        assert_eq!(mesh.stats().await, Err(MeshError::Closed));
        assert_eq!(mesh.rejected(RejectReason::Malformed).await, Err(MeshError::Closed));
        assert_eq!(mesh.send(NOBODY, &[]).await, Err(MeshError::Closed));
        assert_eq!(sender.send(&[]).await, Err(MeshError::Closed));
        assert!(within("the end", inbox.recv()).await.is_none());
        assert!(mesh.is_closed() && !mesh.is_paused() && mesh.peer_count() == 0);
        // None of these has anything left to do.
        within("pause", mesh.pause()).await;
        within("resume", mesh.resume()).await;
        within("shutdown", mesh.shutdown()).await;
        within("crash", mesh.crash()).await;
    }
}

#[tokio::test]
async fn a_mesh_that_nobody_dials_or_that_stands_still_accepts_nobody_and_one_given_up_takes_nobody_along() {
    let (host, guest) = (mesh().await, mesh().await);
    let mut first = Box::pin(host.accept());
    let mut second = Box::pin(host.accept());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(
        first.as_mut().poll(&mut context).is_pending() && second.as_mut().poll(&mut context).is_pending()
    );
    within("pause", host.pause()).await;
    assert!(first.as_mut().poll(&mut context).is_pending());
    within("resume", host.resume()).await;
    within("a session", guest.connect(host.local_addr())).await.unwrap();
    drop(first);
    assert_eq!(within("the guest", second).await, Ok(guest.node_id()));
    // A node does not dial itself, and so neither accepts itself.
    let mut nobody = Box::pin(host.accept());
    let mut own = Box::pin(host.connect(host.local_addr()));
    assert!(own.as_mut().poll(&mut context).is_pending());
    within("its first message", host.stats()).await.unwrap();
    assert!(nobody.as_mut().poll(&mut context).is_pending());
    within("crash", host.crash()).await;
    assert_eq!(within("the end", nobody).await, Err(MeshError::Closed));
}

/// The error is one that says what is wrong with the request.
fn assert_refused<T: std::fmt::Debug>(outcome: Result<T, ClusterError>) {
    let Err(ClusterError::Invariant(text)) = outcome else { panic!("{outcome:?}") };
    assert!(text.len() > 10, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_refuses_what_it_cannot_do_and_says_when_it_is_down() {
    for n in [0, 1_025, usize::MAX] {
        assert_refused(ClusterHarness::new(n).await);
    }
    let cluster = within("boot", ClusterHarness::with_config(2, ClusterConfig::default())).await.unwrap();
    let known = cluster.nth(0).unwrap().node_id();
    assert!(cluster.nth(usize::MAX).is_none() && cluster.node(NOBODY).is_none());
    assert_refused(cluster.shutdown_node(NOBODY).await);
    assert_refused(cluster.crash_node(NOBODY).await);
    assert_refused(cluster.pause_node(NOBODY).await);
    assert_refused(cluster.resume_node(NOBODY).await);
    assert_refused(cluster.restart_node(NOBODY).await);
    assert_refused(cluster.set_link_fault(known, NOBODY, LinkFault::default()));
    assert_refused(cluster.set_link_fault(known, known, LinkFault::default()));
    assert_refused(cluster.partition(&[known], &[NOBODY]));
    assert!(cluster.health().fully_converged(), "nothing has changed");

    within("shutdown", cluster.shutdown()).await.unwrap();
    assert_eq!(cluster.add_node().await.err(), Some(ClusterError::Shutdown));
    assert_eq!(cluster.crash_node(known).await.err(), Some(ClusterError::Shutdown));
    assert_eq!(cluster.restart_node(known).await.err(), Some(ClusterError::Shutdown));
    assert_eq!(cluster.converged().await.err(), Some(ClusterError::Shutdown));
    assert_eq!(cluster.partition(&[known], &[]).err(), Some(ClusterError::Shutdown));
}
