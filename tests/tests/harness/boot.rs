//! Booting.

use super::*;

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
async fn one_node_boots_alone() {
    let cluster = boot(1).await;
    assert_converged(&cluster, 1);
    assert_eq!(cluster.nth(0).unwrap().mesh().peer_count(), 0);
    within("shutdown", cluster.shutdown()).await.unwrap();
}

/// Longer ones than there are by default: long messages do not go in pieces.
async fn assert_long_datagrams(cluster: &ClusterHarness) {
    let (from, to) = (cluster.nth(0).unwrap().mesh().clone(), cluster.nth(1).unwrap().node_id());
    let traffic = async || {
        let peers = from.stats().await.unwrap();
        peers.iter().find(|peer| peer.id == to).expect("they are connected").traffic
    };
    let before = traffic().await;
    for _ in 0..100 {
        from.send(to, &[7; 8_900]).await.unwrap();
    }
    let sent = async {
        while traffic().await.messages_out < before.messages_out + 100 {
            tokio::task::yield_now().await;
        }
    };
    within("the messages go out", sent).await;
    let after = traffic().await;
    let mean = (after.bytes_out - before.bytes_out) / (after.datagrams_out - before.datagrams_out);
    assert!(mean > 1_452, "max_datagram threads through: {mean} bytes each");
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
    assert_long_datagrams(&cluster).await;

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
