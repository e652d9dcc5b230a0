//! What the cluster harness promises, over real sockets.

mod acquaintance;
mod faults;
mod membership;
mod topology;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use meshground::{
    ClusterConfig, ClusterError, ClusterHarness, ClusterHealth, ClusterNode, EventLog, EventReceiver,
    MeshBuilder, Subscription,
};
use meshground_node::LivenessConfig;
use meshground_shared::{
    ClusterPhase, CommandId, Event, EventKind, Health, NodeId, NodeState, SessionEnd, Snapshot, StopReason,
    Topology,
};

/// No test waits longer for anything. Far beyond what it takes, so that a busy machine fails nothing.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}");
    };
    done
}

/// Folds events until the cluster looks as wanted.
async fn until(cluster: &ClusterHarness, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let Subscription { mut snapshot, mut events } = cluster.events();
    let looks_right = async {
        while !wanted(&snapshot) {
            snapshot.apply(&events.recv().await.expect("the test reads faster than events come"));
        }
    };
    within(what, looks_right).await;
    snapshot
}

/// Everything that has been logged and not been read.
fn drain(events: &mut EventReceiver) -> Vec<Arc<Event>> {
    std::iter::from_fn(|| events.try_recv().ok().flatten()).collect()
}

/// Those that concern a node: not the verdicts that a machine out of breath makes others pass on each other.
fn about(events: &[Arc<Event>], id: NodeId) -> impl Iterator<Item = &Arc<Event>> {
    events.iter().filter(move |event| !matches!(event.kind, EventKind::PeerHealth { peer, .. } if peer != id))
}

fn boot(n: usize) -> impl Future<Output = ClusterHarness> {
    boot_with(n, ClusterConfig::default())
}

async fn boot_with(n: usize, config: ClusterConfig) -> ClusterHarness {
    within("boot", ClusterHarness::with_config(n, config)).await.unwrap()
}

fn full(n: usize) -> ClusterHealth {
    ClusterHealth {
        total_nodes: n,
        meshes_with_full_peers: n,
        runtimes_with_full_peers: n,
        indexes_with_all_nodes: n,
        nodes_with_all_routes: n,
    }
}

fn ids(cluster: &ClusterHarness) -> BTreeSet<NodeId> {
    cluster.nodes().iter().map(ClusterNode::node_id).collect()
}

/// Whether every member but `id` sees `id` as `health`.
fn all_others_see(snapshot: &Snapshot, id: NodeId, health: Health) -> bool {
    snapshot
        .nodes
        .iter()
        .filter(|&(&other, _)| other != id)
        .all(|(_, node)| node.peers.get(&id).is_some_and(|peer| peer.health == health))
}

fn assert_converged(cluster: &ClusterHarness, n: usize) {
    let members = ids(cluster);
    assert_eq!(members.len(), n);
    let snapshot = cluster.snapshot();
    for node in cluster.nodes() {
        let id = node.node_id();
        let others: BTreeSet<NodeId> = members.iter().copied().filter(|&other| other != id).collect();
        assert_eq!(node.mesh().peer_count(), n - 1);
        assert_eq!(node.mesh().peers().iter().map(|peer| peer.id).collect::<BTreeSet<_>>(), others);
        let shown = &snapshot.nodes[&id];
        assert_eq!(
            shown.peers.keys().copied().collect::<BTreeSet<_>>(),
            others,
            "all others and never itself"
        );
        assert!(shown.peers.values().all(|peer| peer.health == Health::Healthy));
    }
    assert_eq!(cluster.health(), full(n));
    assert!(cluster.health().fully_converged());
    assert_eq!(snapshot.phase, ClusterPhase::Running);
    assert!(snapshot.is_converged());
}

/// This process's sockets at these addresses, in a form in which they can be found again.
#[cfg(target_os = "linux")]
fn sockets(addresses: &[SocketAddr]) -> Vec<String> {
    let inode_in = |table: &str, port: &str| {
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.into_iter().find(|row| row[1].ends_with(port)).map(|row| row[9].to_owned())
    };
    let inode_of = |address: &SocketAddr| {
        let port = format!(":{:04X}", address.port());
        let begun = Instant::now();
        // The kernel writes the table piece by piece, and skips a row when other sockets come and go meanwhile.
        while begun.elapsed() < PATIENCE {
            let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
            if let Some(inode) = inode_in(&table, &port) {
                return format!("socket:[{inode}]");
            }
        }
        panic!("no socket is open at {address}");
    };
    addresses.iter().map(inode_of).collect()
}

/// Those of them that this process still holds.
#[cfg(target_os = "linux")]
fn still_open(sockets: &[String]) -> Vec<String> {
    let held: BTreeSet<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    sockets.iter().filter(|socket| held.contains(*socket)).cloned().collect()
}

#[cfg(not(target_os = "linux"))]
fn sockets(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    addresses.to_vec()
}

#[cfg(not(target_os = "linux"))]
fn still_open(sockets: &[SocketAddr]) -> Vec<SocketAddr> {
    sockets.iter().filter(|address| std::net::UdpSocket::bind(address).is_err()).copied().collect()
}

fn addresses(nodes: &[ClusterNode]) -> Vec<SocketAddr> {
    nodes.iter().map(ClusterNode::local_addr).collect()
}

// Booting.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_converge_and_shut_down_cleanly() {
    let cluster = boot(5).await;
    assert_eq!(cluster.len(), 5);
    assert!(!cluster.is_empty());
    assert_converged(&cluster, 5);
    let nodes = cluster.nodes();
    let open = sockets(&addresses(&nodes));
    assert_eq!(still_open(&open).len(), 5, "the check itself must see open sockets");

    within("shutdown", cluster.shutdown()).await.unwrap();
    assert_eq!(still_open(&open).len(), 0, "sockets are closed when shutdown returns");
    assert!(nodes.iter().all(|node| node.mesh().is_closed()), "and tasks have ended");
    assert_eq!(cluster.snapshot().phase, ClusterPhase::Empty);
    assert!(cluster.is_empty());
    assert_eq!(cluster.health(), ClusterHealth::default());
}

#[tokio::test]
async fn two_nodes_converge() {
    let cluster = boot(2).await;
    assert_converged(&cluster, 2);
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[tokio::test]
async fn no_nodes_at_all_is_an_invariant_and_so_are_too_many() {
    for n in [0, meshground::cluster::MAX_NODES + 1, usize::MAX] {
        let error = ClusterHarness::new(n).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invariant(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_configuration_out_of_range_is_an_invariant_and_starts_nothing() {
    let log = EventLog::new();
    let config = ClusterConfig { max_datagram: 1, log: Some(Arc::clone(&log)), ..ClusterConfig::default() };
    let error = ClusterHarness::with_config(2, config).await.unwrap_err();
    assert!(
        matches!(&error, ClusterError::Invariant(reason) if reason.contains("max_datagram")),
        "{error:?}"
    );
    assert_eq!(log.snapshot().seq, 0);
}

#[tokio::test]
async fn one_node_boots_alone() {
    let cluster = boot(1).await;
    assert_converged(&cluster, 1);
    assert_eq!(cluster.nth(0).unwrap().mesh().peer_count(), 0);
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[tokio::test]
async fn three_nodes_follow_a_configuration_of_ones_own() {
    let log = EventLog::new();
    let mut events = log.subscribe().events;
    let command = CommandId(7);
    let config = ClusterConfig {
        psk: [9; 32],
        handshake_timeout: Duration::from_secs(20),
        mesh_session_stable_timeout: Duration::from_secs(20),
        meshos_snapshot_stable_timeout: Duration::from_secs(20),
        liveness: Some(LivenessConfig { heartbeat: Duration::from_millis(100), ..LivenessConfig::default() }),
        max_datagram: 9_000,
        log: Some(Arc::clone(&log)),
        cause: Some(command),
        ..ClusterConfig::default()
    };
    let cluster = boot_with(3, config).await;
    assert_converged(&cluster, 3);
    assert!(Arc::ptr_eq(&cluster.log(), &log));
    assert!(cluster.nth(0).unwrap().mesh().max_message() > 8_000, "max_datagram threads through");

    let events = drain(&mut events);
    assert!(events.iter().all(|event| event.cause == Some(command)), "the boot's events name its command");
    assert!(matches!(events[0].kind, EventKind::ClusterBooting { nodes: 3, topology: Topology::Full }));
    let converged = &events.last().unwrap().kind;
    assert!(matches!(converged, EventKind::ClusterConverged { nodes: 3, took_us } if *took_us > 0));
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_nodes_converge() {
    let cluster = boot(16).await;
    assert_converged(&cluster, 16);
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[test]
fn a_current_thread_runtime_is_enough() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kept = runtime.block_on(async {
        let cluster = boot(4).await;
        assert_converged(&cluster, 4);
        let victim = cluster.nth(1).unwrap().node_id();
        within("crash", cluster.crash_node(victim)).await.unwrap();
        within("restart", cluster.restart_node(victim)).await.unwrap();
        within("add", cluster.add_node()).await.unwrap();
        assert_converged(&cluster, 5);
        within("shutdown", cluster.shutdown()).await.unwrap();
        cluster
    });
    drop(runtime);
    drop(kept);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_ids_and_another_seed_others() {
    let seeded = |seed| ClusterConfig { seed: Some(seed), ..ClusterConfig::default() };
    let (one, same, other) =
        (boot_with(3, seeded(1)).await, boot_with(3, seeded(1)).await, boot_with(3, seeded(2)).await);
    let in_order = |cluster: &ClusterHarness| {
        cluster.nodes().iter().map(|node| (node.node_id(), node.public_key())).collect::<Vec<_>>()
    };
    assert_eq!(in_order(&one), in_order(&same));
    assert!(ids(&one).is_disjoint(&ids(&other)));

    let added = within("add", one.add_node()).await.unwrap();
    assert_eq!(added.node_id(), within("add", same.add_node()).await.unwrap().node_id());
    let again = within("restart", one.restart_node(added.node_id())).await.unwrap();
    assert_eq!(again.node_id(), added.node_id());
    assert_converged(&one, 4);
}

#[tokio::test]
async fn without_a_seed_no_two_clusters_share_an_id() {
    let (one, other) = (boot(2).await, boot(2).await);
    assert!(ids(&one).is_disjoint(&ids(&other)));
}

#[tokio::test]
async fn clusters_after_one_another_can_share_a_log() {
    let log = EventLog::new();
    let config = || ClusterConfig { log: Some(Arc::clone(&log)), ..ClusterConfig::default() };
    for n in [2, 3] {
        let cluster = boot_with(n, config()).await;
        assert_converged(&cluster, n);
        within("shutdown", cluster.shutdown()).await.unwrap();
    }
}

// Failing to boot.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_pre_shared_key_fails_the_boot_by_name_well_within_the_budget() {
    let log = EventLog::new();
    let mut events = log.subscribe().events;
    let config = ClusterConfig {
        handshake_timeout: Duration::from_secs(25),
        psk_overrides: BTreeMap::from([(2, [1; 32])]),
        log: Some(Arc::clone(&log)),
        ..ClusterConfig::default()
    };
    let begun = Instant::now();
    let error = within("a failing boot", ClusterHarness::with_config(4, config)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(15), "it took the whole budget: {:?}", begun.elapsed());
    let ClusterError::Handshake { from, to, reason } = &error else { panic!("{error:?}") };
    assert!(*from == 2 || *to == 2, "{error}");
    assert!(reason.contains("pre-shared key"), "{error}");
    assert!(reason.contains("node 2 has no session with anyone"), "{error}");

    let events = drain(&mut events);
    let started: BTreeMap<u32, NodeId> = events
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::NodeStarted { index, .. } => Some((index, event.node?)),
            _ => None,
        })
        .collect();
    assert_eq!(started.len(), 4);
    let stranger = started[&2];
    for event in &events {
        if let EventKind::SessionUp { peer, .. } = event.kind {
            assert!(
                event.node != Some(stranger) && peer != stranger,
                "the stranger got a session: {event:?}"
            );
        }
    }
    let stopped = events.iter().filter(|event| matches!(event.kind, EventKind::NodeStopped { .. }));
    assert_eq!(stopped.count(), 4, "everything started was taken down again");
    let EventKind::ClusterFailed { reason } = &events.last().unwrap().kind else { panic!("{events:?}") };
    assert_eq!(*reason, error.to_string());
    assert_eq!((log.snapshot().phase, log.snapshot().nodes.len()), (ClusterPhase::Empty, 0));
}

#[tokio::test]
async fn of_two_nodes_with_different_keys_neither_is_blamed() {
    let config = ClusterConfig { psk_overrides: BTreeMap::from([(1, [1; 32])]), ..ClusterConfig::default() };
    let error = within("a failing boot", ClusterHarness::with_config(2, config)).await.unwrap_err();
    let ClusterError::Handshake { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("pre-shared keys") && !reason.contains("has no session"), "{error}");
}

#[tokio::test]
async fn a_budget_that_runs_out_says_who_is_missing() {
    // Too short for the three repetitions that would tell a wrong key.
    let config = ClusterConfig {
        handshake_timeout: Duration::from_millis(150),
        psk_overrides: BTreeMap::from([(1, [1; 32])]),
        ..ClusterConfig::default()
    };
    let error = within("a failing boot", ClusterHarness::with_config(3, config)).await.unwrap_err();
    let ClusterError::Timeout { what, budget_ms: 150 } = &error else { panic!("{error:?}") };
    assert!(what.contains("node 1 with nodes 0, 2"), "{error}");
    assert!(error.to_string().contains("150 ms"), "{error}");
}

#[tokio::test]
async fn a_boot_that_is_called_off_leaves_nothing_running() {
    let log = EventLog::new();
    let Subscription { mut snapshot, mut events } = log.subscribe();
    let config = ClusterConfig {
        handshake_timeout: PATIENCE,
        // Never converges before its time is up.
        psk_overrides: BTreeMap::from([(0, [1; 32])]),
        log: Some(Arc::clone(&log)),
        ..ClusterConfig::default()
    };
    let boot = ClusterHarness::with_config(3, config);
    let all_started = async {
        while snapshot.nodes.len() < 3 {
            snapshot.apply(&events.recv().await.unwrap());
        }
    };
    tokio::select! {
        _ = boot => panic!("it cannot have finished"),
        () = within("start", all_started) => {}
    }
    let addresses: Vec<SocketAddr> = snapshot.nodes.values().map(|node| node.address).collect();
    assert_eq!((log.snapshot().phase, log.snapshot().nodes.len()), (ClusterPhase::Empty, 0));
    let closed = async {
        while addresses.iter().any(|address| std::net::UdpSocket::bind(address).is_err()) {
            tokio::task::yield_now().await;
        }
    };
    within("close", closed).await;
}

// Changing.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_added_node_joins_everybody() {
    let cluster = boot(3).await;
    let mut events = cluster.events().events;
    let command = CommandId(4);
    let added = within("add", cluster.caused_by(command).add_node()).await.unwrap();
    assert_eq!(added.index(), 3);
    assert_eq!(cluster.node(added.node_id()).unwrap().local_addr(), added.local_addr());
    assert_converged(&cluster, 4);

    let events = drain(&mut events);
    let sessions = |event: &&Arc<Event>| matches!(event.kind, EventKind::SessionUp { .. });
    assert_eq!(events.iter().filter(sessions).count(), 6, "three pairs, two ends each");
    for event in &events {
        if !matches!(event.kind, EventKind::PeerHealth { .. } | EventKind::DatagramRejected { .. }) {
            assert_eq!(event.cause, Some(command), "{event:?}");
        }
    }
    let last = &events.last().unwrap().kind;
    assert!(matches!(last, EventKind::ClusterConverged { nodes: 4, .. }), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_added_at_the_same_time_all_join() {
    let cluster = boot(2).await;
    let adding: Vec<_> = (0..4)
        .map(|_| {
            let cluster = cluster.clone();
            tokio::spawn(async move { cluster.add_node().await })
        })
        .collect();
    let mut indexes = BTreeSet::new();
    for added in adding {
        indexes.insert(within("add", added).await.unwrap().unwrap().index());
    }
    assert_eq!(indexes, BTreeSet::from([2, 3, 4, 5]));
    assert_converged(&cluster, 6);
}

#[tokio::test]
async fn an_added_node_with_another_pre_shared_key_is_taken_down_again() {
    let config = ClusterConfig { psk_overrides: BTreeMap::from([(3, [1; 32])]), ..ClusterConfig::default() };
    let cluster = boot_with(3, config).await;
    let error = within("a failing add", cluster.add_node()).await.unwrap_err();
    let ClusterError::Handshake { from: 3, reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("pre-shared key"), "{error}");
    assert_eq!(cluster.len(), 3);
    assert_converged(&cluster, 3);

    let next = within("add", cluster.add_node()).await.unwrap();
    assert_eq!(next.index(), 4, "the failed node's index is not given again");
    assert_converged(&cluster, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_shut_down_is_gone_for_everybody_when_the_call_returns() {
    let cluster = boot(4).await;
    let leaver = cluster.nth(1).unwrap();
    let id = leaver.node_id();
    let open = sockets(&[leaver.local_addr()]);
    let mut events = cluster.events().events;
    let command = CommandId(11);
    within("shutdown_node", cluster.caused_by(command).shutdown_node(id)).await.unwrap();

    assert_eq!(still_open(&open).len(), 0);
    assert_eq!((cluster.len(), cluster.member_state(id)), (3, None));
    assert!(cluster.nth(1).is_none() && cluster.node(id).is_none());
    for node in cluster.nodes() {
        assert!(node.mesh().peers().iter().all(|peer| peer.id != id));
    }
    assert_converged(&cluster, 3);
    let events = drain(&mut events);
    let left: Vec<_> = events
        .iter()
        .filter(|event| {
            matches!(event.kind, EventKind::SessionDown { peer, reason: SessionEnd::Left } if peer == id)
        })
        .collect();
    assert_eq!(left.len(), 3, "every other node was told: {events:?}");
    assert!(about(&events, id).all(|event| event.cause == Some(command)), "{events:?}");
    assert_eq!(
        about(&events, id).next().unwrap().kind,
        EventKind::NodeStopped { reason: StopReason::Shutdown }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_node_becomes_unreachable_for_all_and_comes_back_when_restarted() {
    let cluster = boot(5).await;
    let victim = cluster.nth(2).unwrap();
    let id = victim.node_id();
    let open = sockets(&[victim.local_addr()]);
    let mut events = cluster.events().events;
    let crash = CommandId(21);
    within("crash", cluster.caused_by(crash).crash_node(id)).await.unwrap();
    assert_eq!(still_open(&open).len(), 0, "its socket is closed when the call returns");
    assert_eq!((cluster.len(), cluster.member_state(id)), (5, Some(NodeState::Crashed)));
    assert!(!cluster.health().fully_converged(), "not green for a moment");
    assert_eq!(victim.mesh().peer_count(), 0);

    until(&cluster, "detection", |snapshot| all_others_see(snapshot, id, Health::Unreachable)).await;
    assert_eq!(
        cluster.health(),
        ClusterHealth {
            total_nodes: 5,
            indexes_with_all_nodes: 4,
            nodes_with_all_routes: 4,
            ..ClusterHealth::default()
        },
        "those that run still know of each other"
    );
    let seen = drain(&mut events);
    let seen: Vec<_> = about(&seen, id).collect();
    assert_eq!(seen[0].kind, EventKind::NodeStopped { reason: StopReason::Crash });
    for event in &seen {
        assert!(
            matches!(event.kind, EventKind::PeerHealth { peer, .. } if peer == id)
                || event.seq == seen[0].seq
        );
        assert_eq!(event.cause, Some(crash), "what timers find later names the crash: {event:?}");
    }
    within("the others", cluster.converged()).await.unwrap();

    let restart = CommandId(22);
    let back = within("restart", cluster.caused_by(restart).restart_node(id)).await.unwrap();
    assert_eq!((back.node_id(), back.index()), (id, 2));
    assert_eq!(back.public_key(), victim.public_key());
    assert_ne!(back.local_addr(), victim.local_addr());
    assert_eq!(cluster.member_state(id), Some(NodeState::Running));
    assert_converged(&cluster, 5);
    let seen = drain(&mut events);
    assert!(about(&seen, id).all(|event| event.cause == Some(restart)), "{seen:?}");
    assert!(matches!(seen.last().unwrap().kind, EventKind::ClusterConverged { nodes: 5, .. }));
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_can_be_restarted_and_its_peers_move_to_the_new_run() {
    let cluster = boot(4).await;
    let before = cluster.nth(3).unwrap();
    let after = within("restart", cluster.restart_node(before.node_id())).await.unwrap();
    assert_eq!(after.node_id(), before.node_id());
    assert_ne!(after.local_addr(), before.local_addr());
    assert!(before.mesh().is_closed());
    assert_converged(&cluster, 4);
    for node in cluster.nodes().iter().filter(|node| node.index() != 3) {
        let peers = node.mesh().peers();
        let peer = peers.iter().find(|peer| peer.id == after.node_id()).unwrap();
        assert_eq!(peer.path.address(), Some(after.local_addr()), "the session is with the new run");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_shut_down_is_not_brought_back_by_a_restart_at_the_same_time() {
    for _ in 0..2_000 {
        let cluster = boot(1).await;
        let id = cluster.nodes()[0].node_id();
        let restart = tokio::spawn({
            let cluster = cluster.clone();
            async move { cluster.restart_node(id).await }
        });
        let shut_down = cluster.shutdown_node(id).await;
        let _ = within("the restart", restart).await.unwrap();
        // Whichever came first: a node that was told to leave is no member afterwards.
        if shut_down.is_ok() {
            assert!(cluster.node(id).is_none(), "the restart brought it back");
        }
        within("shutdown", cluster.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_survives_being_restarted_over_and_over() {
    let cluster = boot(3).await;
    let id = cluster.nth(0).unwrap().node_id();
    for _ in 0..10 {
        within("restart", cluster.restart_node(id)).await.unwrap();
        assert_converged(&cluster, 3);
    }
}

#[tokio::test]
async fn two_crashed_nodes_leave_the_rest_converged_and_the_cluster_not_green() {
    let cluster = boot(4).await;
    for index in [0, 1] {
        within("crash", cluster.crash_node(cluster.nth(index).unwrap().node_id())).await.unwrap();
    }
    within("the rest", cluster.converged()).await.unwrap();
    assert!(!cluster.health().fully_converged());
    let mut events = cluster.events().events;
    within("restart", cluster.restart_node(cluster.nth(0).unwrap().node_id())).await.unwrap();
    let converged = |event: &Arc<Event>| matches!(event.kind, EventKind::ClusterConverged { .. });
    assert!(!drain(&mut events).iter().any(converged), "one is still down");
    within("restart", cluster.restart_node(cluster.nth(1).unwrap().node_id())).await.unwrap();
    assert!(drain(&mut events).iter().any(converged));
    assert_converged(&cluster, 4);
}

#[tokio::test]
async fn unknown_ids_and_wrong_states_are_refused_and_change_nothing() {
    let cluster = boot(2).await;
    let stranger = NodeId(1);
    assert_eq!(cluster.member_state(stranger), None);
    let crashed = cluster.nth(1).unwrap().node_id();
    within("crash", cluster.crash_node(crashed)).await.unwrap();
    let mut events = cluster.events().events;
    let refusals = [
        cluster.crash_node(stranger).await,
        cluster.shutdown_node(stranger).await,
        cluster.restart_node(stranger).await.map(drop),
        cluster.crash_node(crashed).await,
        cluster.shutdown_node(crashed).await,
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(ClusterError::Invariant(_))), "{refusal:?}");
    }
    let acted = |event: &Arc<Event>| !matches!(event.kind, EventKind::PeerHealth { .. });
    assert!(!drain(&mut events).iter().any(acted));
}

#[tokio::test]
async fn a_node_brought_down_behind_the_harness_is_noticed() {
    let cluster = boot(4).await;
    let (crashed, left) = (cluster.nth(0).unwrap(), cluster.nth(1).unwrap());
    within("crash", crashed.mesh().crash()).await;
    within("leave", left.mesh().shutdown()).await;
    let (crashed, left) = (crashed.node_id(), left.node_id());
    until(&cluster, "notice", |snapshot| {
        let others = snapshot.nodes.values().filter(|node| node.state == NodeState::Running);
        snapshot.nodes.get(&crashed).is_some_and(|node| node.state == NodeState::Crashed)
            && !snapshot.nodes.contains_key(&left)
            && others.into_iter().all(|node| !node.peers.contains_key(&left))
    })
    .await;
    assert_eq!((cluster.len(), cluster.member_state(crashed)), (3, Some(NodeState::Crashed)));
    within("restart", cluster.restart_node(crashed)).await.unwrap();
    assert_converged(&cluster, 3);
}

// The log.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_gapless_folds_to_the_snapshot_and_no_node_speaks_once_it_has_stopped() {
    let log = EventLog::new();
    let Subscription { mut snapshot, mut events } = log.subscribe();
    let config = ClusterConfig { log: Some(Arc::clone(&log)), ..ClusterConfig::default() };
    let cluster = boot_with(6, config).await;
    let id = |index| cluster.nth(index).unwrap().node_id();
    let (a, b, c) = (id(0), id(1), id(2));
    within("crash", cluster.crash_node(a)).await.unwrap();
    within("leave", cluster.shutdown_node(b)).await.unwrap();
    within("restart", cluster.restart_node(c)).await.unwrap();
    within("restart", cluster.restart_node(a)).await.unwrap();
    within("add", cluster.add_node()).await.unwrap();
    within("shutdown", cluster.shutdown()).await.unwrap();

    let mut up = BTreeSet::new();
    for (at, event) in drain(&mut events).iter().enumerate() {
        assert_eq!(event.seq, at as u64 + 1);
        snapshot.apply(event);
        if let Some(node) = event.node {
            match event.kind {
                EventKind::NodeStarted { .. } => assert!(up.insert(node), "{event:?}"),
                EventKind::NodeStopped { .. } => assert!(up.remove(&node), "{event:?}"),
                _ => assert!(up.contains(&node), "it speaks while it is down: {event:?}"),
            }
        }
    }
    assert!(up.is_empty());
    assert_eq!(snapshot, log.snapshot());
}

#[tokio::test]
async fn links_are_measured() {
    let cluster = boot(3).await;
    let measured = async {
        // Heartbeats bring the first figures; each of them is awaited by asking anew once events or time went by.
        loop {
            let links = cluster.links().await;
            if links.len() == 6 {
                return links;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let links = within("round-trip times", measured).await;
    let members = ids(&cluster);
    for link in links {
        assert!(members.contains(&link.node) && members.contains(&link.peer) && link.node != link.peer);
        assert!(link.rtt_us < 10_000_000, "{link:?}");
    }
}

#[tokio::test]
async fn members_send_each_other_messages() {
    let cluster = boot(3).await;
    let (a, b) = (cluster.nth(0).unwrap(), cluster.nth(1).unwrap());
    let mut inbox = b.mesh().messages();
    a.mesh().send(b.node_id(), b"hello").await.unwrap();
    let message = within("the message", inbox.recv()).await.unwrap();
    assert_eq!((message.from, &message.payload[..]), (a.node_id(), &b"hello"[..]));
    let traffic = within("counters", cluster.traffic()).await;
    assert_eq!(traffic.len(), 6);
    let messages = |node: &ClusterNode, peer: &ClusterNode| {
        let ends = (node.node_id(), peer.node_id());
        let total = traffic.iter().find(|it| (it.node, it.peer) == ends).unwrap().total;
        assert!(total.datagrams_out > 0 && total.bytes_out > total.datagrams_out);
        (total.messages_out, total.messages_in)
    };
    assert_eq!((messages(&a, &b), messages(&b, &a)), ((1, 0), (0, 1)));
    let too_large = vec![0; a.mesh().max_message() + 1];
    assert!(a.mesh().send(b.node_id(), &too_large).await.is_err());
    assert!(a.mesh().send(NodeId(1), b"nobody").await.is_err());

    within("shutdown", cluster.shutdown()).await.unwrap();
    assert!(a.mesh().send(b.node_id(), b"too late").await.is_err());
    assert_eq!(within("the end", inbox.recv()).await, None);
}

// Ending.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_twice_or_from_many_sides_is_one_shutdown() {
    let cluster = boot(4).await;
    let mut events = cluster.events().events;
    let nodes = cluster.nodes();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (cluster, nodes) = (cluster.clone(), nodes.clone());
            tokio::spawn(async move {
                cluster.shutdown().await.unwrap();
                let open = nodes.iter().filter(|node| !node.mesh().is_closed()).count();
                (cluster.snapshot().phase, open)
            })
        })
        .collect();
    for call in calls {
        let (phase, open) = within("shutdown", call).await.unwrap();
        assert_eq!(
            (phase, open),
            (ClusterPhase::Empty, 0),
            "each call returns when it is over, and not before"
        );
    }
    within("once more", cluster.shutdown()).await.unwrap();
    let events = drain(&mut events);
    let how_many = |wanted: &EventKind| events.iter().filter(|event| event.kind == *wanted).count();
    assert_eq!(how_many(&EventKind::ClusterStopping), 1);
    assert_eq!(how_many(&EventKind::NodeStopped { reason: StopReason::Shutdown }), 4);
    assert_eq!(how_many(&EventKind::ClusterStopped), 1);
    assert_eq!(events.last().unwrap().kind, EventKind::ClusterStopped);
}

#[tokio::test]
async fn a_node_whose_leave_nobody_waits_for_still_tells_its_peers() {
    let cluster = boot(3).await;
    let id = cluster.nodes()[2].node_id();
    // Polled once, which tells the node to leave, and dropped.
    let mut leave = Box::pin(cluster.shutdown_node(id));
    let given_up =
        std::future::poll_fn(|context| Poll::Ready(leave.as_mut().poll(context).is_pending())).await;
    assert!(given_up);
    drop(leave);
    until(&cluster, "the others let go", |snapshot| {
        snapshot.nodes.len() == 2 && snapshot.nodes.values().all(|node| !node.peers.contains_key(&id))
    })
    .await;
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_whose_caller_gives_up_goes_on_by_itself() {
    let cluster = boot(3).await;
    {
        let shutdown = std::pin::pin!(cluster.shutdown());
        // Polled once, then dropped.
        let _ = tokio::time::timeout(Duration::ZERO, shutdown).await;
    }
    until(&cluster, "the end", |snapshot| snapshot.phase == ClusterPhase::Empty).await;
}

#[tokio::test]
async fn after_a_shutdown_every_operation_says_so() {
    let cluster = boot(2).await;
    let id = cluster.nth(0).unwrap().node_id();
    within("shutdown", cluster.shutdown()).await.unwrap();
    let seq = cluster.snapshot().seq;
    assert_eq!(cluster.converged().await, Err(ClusterError::Shutdown));
    assert_eq!(cluster.add_node().await.map(drop), Err(ClusterError::Shutdown));
    assert_eq!(cluster.crash_node(id).await, Err(ClusterError::Shutdown));
    assert_eq!(cluster.shutdown_node(id).await, Err(ClusterError::Shutdown));
    assert_eq!(cluster.restart_node(id).await.map(drop), Err(ClusterError::Shutdown));
    assert!(cluster.links().await.is_empty());
    assert_eq!(cluster.snapshot().seq, seq, "nothing is logged any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_amid_an_addition_ends_both() {
    for _ in 0..10 {
        let cluster = boot(3).await;
        let adding = {
            let cluster = cluster.clone();
            tokio::spawn(async move { cluster.add_node().await })
        };
        tokio::task::yield_now().await;
        within("shutdown", cluster.shutdown()).await.unwrap();
        let added = within("add", adding).await.unwrap();
        assert!(matches!(added, Ok(_) | Err(ClusterError::Shutdown)), "{added:?}");
        assert!(cluster.is_empty());
        assert_eq!(cluster.snapshot().phase, ClusterPhase::Empty);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_leaves_nothing_running() {
    let cluster = boot(5).await;
    let (nodes, log) = (cluster.nodes(), cluster.log());
    let Subscription { mut snapshot, mut events } = log.subscribe();
    let open = sockets(&addresses(&nodes));
    let other_handle = cluster.clone();
    drop(cluster);
    assert_converged(&other_handle, 5);
    drop(other_handle);
    for node in &nodes {
        // The members that are still held keep nothing alive.
        within("the end of a node", node.mesh().closed()).await;
    }
    assert_eq!(still_open(&open).len(), 0);
    let over = async {
        while snapshot.phase != ClusterPhase::Empty {
            snapshot.apply(&events.recv().await.unwrap());
        }
    };
    within("the last word", over).await;
    assert!(snapshot.nodes.is_empty());
}

#[test]
fn a_runtime_that_goes_away_under_a_cluster_takes_it_along() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cluster = runtime.block_on(boot(3));
    let nodes = cluster.nodes();
    let open = sockets(&addresses(&nodes));
    drop(runtime);
    assert_eq!(still_open(&open).len(), 0);
    assert!(nodes.iter().all(|node| node.mesh().is_closed()));
    assert!(
        cluster.nodes().iter().all(|node| cluster.member_state(node.node_id()) == Some(NodeState::Crashed))
    );
}

#[test]
fn handles_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    shareable::<ClusterHarness>();
    shareable::<ClusterNode>();
    shareable::<meshground::Mesh>();
}

// Single meshes.

#[tokio::test]
async fn two_meshes_connect_and_part_without_a_harness() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let mut inbox = a.messages();
    assert_eq!(within("connect", a.connect(b.local_addr())).await, Ok(b.node_id()));
    b.send(a.node_id(), b"hello").await.unwrap();
    assert_eq!(&*within("the message", inbox.recv()).await.unwrap().payload, b"hello");
    assert_eq!((a.peer_count(), b.peer_count()), (1, 1));
    let stats = a.stats().await.unwrap();
    assert_eq!(stats[0].id, b.node_id());
    assert!(stats[0].traffic.datagrams_in > 0);

    within("leave", a.shutdown()).await;
    within("leave again", a.shutdown()).await;
    assert!(a.is_closed());
    assert_eq!(a.connect(b.local_addr()).await, Err(meshground::MeshError::Closed));
    within("crash", b.crash()).await;
    assert!(b.is_closed());
}

#[tokio::test]
async fn a_busy_address_is_a_clear_error() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let first = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let error = MeshBuilder::new(first.local_addr(), [3; 32]).build().await.unwrap_err();
    assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn dialling_a_closed_port_fails_by_its_budget_and_the_node_lives_on() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let nobody = std::net::UdpSocket::bind(here).unwrap().local_addr().unwrap();
    let short = meshground_node::HandshakeConfig {
        budget: Duration::from_millis(300),
        retransmit: Duration::from_millis(50),
        ..Default::default()
    };
    let a = MeshBuilder::new(here, [3; 32]).handshake(short).build().await.unwrap();
    let error = within("the failure", a.connect(nobody)).await.unwrap_err();
    assert!(matches!(error, meshground::MeshError::Dial { address, .. } if address == nobody), "{error:?}");
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    assert_eq!(within("connect", a.connect(b.local_addr())).await, Ok(b.node_id()));
}

#[tokio::test]
async fn a_slow_reader_loses_the_oldest_messages_and_is_told_how_many() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    within("connect", a.connect(b.local_addr())).await.unwrap();
    let (mut slow, mut quick) = (b.messages(), b.messages());
    let total = meshground::mesh::MESSAGE_QUEUE + 10_000;
    let mut sender = a.sender(b.node_id());
    let mut read = Vec::new();
    // Never more under way than the kernel has room for: nothing is lost on the way.
    for first in (0..total).step_by(1_000) {
        for number in first..first + 1_000 {
            within("room", sender.send(&(number as u64).to_be_bytes())).await.unwrap();
        }
        while read.len() < first + 1_000 {
            assert!(within("messages", quick.recv_many(&mut read, usize::MAX)).await > 0);
        }
    }
    within("the end", b.crash()).await;
    assert_eq!((within("the end", quick.recv_many(&mut read, 1)).await, quick.missed()), (0, 0));
    let mut kept = Vec::new();
    while let Some(message) = within("a kept message", slow.recv()).await {
        kept.push(message);
    }
    assert_eq!(kept.len(), meshground::mesh::MESSAGE_QUEUE);
    assert_eq!(slow.missed(), (read.len() - kept.len()) as u64);
    assert_eq!(kept, read[read.len() - kept.len()..], "the latest are kept, in order");
}

/// Two meshes that are connected.
async fn pair() -> (meshground::Mesh, meshground::Mesh) {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    within("connect", a.connect(b.local_addr())).await.unwrap();
    (a, b)
}

#[tokio::test]
async fn a_sender_waits_while_its_buffer_is_full_and_what_is_cancelled_was_not_sent() {
    let (a, b) = pair().await;
    let mut sender = a.sender(b.node_id());
    let mut inbox = b.messages();
    // There is one thread: the node's task does nothing until this one waits.
    let mut sent = 0_u32;
    loop {
        let mut payload = [0; 1_000];
        payload[..4].copy_from_slice(&sent.to_be_bytes());
        let mut sending = std::pin::pin!(sender.send(&payload));
        let waits = std::future::poll_fn(|context| {
            std::task::Poll::Ready(sending.as_mut().poll(context).is_pending())
        });
        if waits.await {
            break;
        }
        sent += 1;
    }
    let queued = usize::try_from(sent).unwrap() * 1_000;
    assert!(
        queued <= meshground::mesh::SEND_BUFFER && queued + 2_000 > meshground::mesh::SEND_BUFFER * 99 / 100
    );
    within("room", sender.send(b"the last")).await.unwrap();
    for number in 0..sent {
        let message = within("a message", inbox.recv()).await.unwrap();
        assert_eq!(message.payload[..4], number.to_be_bytes());
    }
    assert_eq!(&*within("the last", inbox.recv()).await.unwrap().payload, b"the last");
}

#[tokio::test]
async fn a_sender_fails_when_the_session_is_gone_and_works_again_with_the_next() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let identity = meshground_node::Identity::from_seed([8; 32]);
    let start = || MeshBuilder::new(here, [3; 32]).identity(identity.clone()).build();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = start().await.unwrap();
    within("connect", a.connect(b.local_addr())).await.unwrap();
    let mut sender = a.sender(b.node_id());
    within("a message", sender.send(b"one")).await.unwrap();
    within("leave", b.shutdown()).await;
    let gone = async {
        while a.peer_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the end of the session", gone).await;
    let no_session = meshground_node::SendError::NoSession(b.node_id());
    assert_eq!(sender.send(b"two").await, Err(no_session.clone().into()));
    assert_eq!(a.send(b.node_id(), b"two").await, Err(no_session.into()));

    let b = start().await.unwrap();
    let mut inbox = b.messages();
    within("connect again", a.connect(b.local_addr())).await.unwrap();
    within("a message", sender.send(b"again")).await.unwrap();
    assert_eq!(&*within("the message", inbox.recv()).await.unwrap().payload, b"again");
    within("crash", a.crash()).await;
    assert_eq!(sender.send(b"three").await, Err(meshground::MeshError::Closed));
    assert_eq!(a.send(b.node_id(), b"three").await, Err(meshground::MeshError::Closed));
}

#[tokio::test]
async fn who_waits_for_room_is_told_when_the_node_goes_down() {
    let (a, b) = pair().await;
    let mut sender = a.sender(b.node_id());
    let flood = async {
        loop {
            if let Err(error) = sender.send(&[7; 1_000]).await {
                return error;
            }
        }
    };
    let (error, ()) = within("the end", async { tokio::join!(flood, a.crash()) }).await;
    assert_eq!(error, meshground::MeshError::Closed);
}

#[tokio::test]
async fn what_was_handed_over_before_a_leave_arrives() {
    let (a, b) = pair().await;
    let mut inbox = b.messages();
    for number in 0..100_u8 {
        a.send(b.node_id(), &[number]).await.unwrap();
    }
    within("leave", a.shutdown()).await;
    for number in 0..100_u8 {
        assert_eq!(within("a message", inbox.recv()).await.unwrap().payload[..], [number]);
    }
}
