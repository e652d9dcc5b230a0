//! What is refused, and boots that fail.

use meshground::MeshError;
use meshground_node::{ConfigError, MaintenanceConfig, MeshOsConfig};
use meshground_tests::waiting::here;

use super::*;

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
async fn times_in_which_nothing_can_be_done_are_refused_by_name_of_a_cluster_and_of_a_single_node() {
    let (short, none) = (Duration::from_micros(999), Duration::ZERO);
    for tick in [none, short] {
        let config = ClusterConfig { meshos_tick_interval: tick, ..ClusterConfig::default() };
        let error = ClusterHarness::with_config(2, config).await.unwrap_err();
        let names = |reason: &str| reason.contains("meshos_tick_interval") && reason.contains("1 ms");
        assert!(matches!(&error, ClusterError::Invariant(reason) if names(reason)), "{error:?}");
    }
    let drain = MaintenanceConfig { drain: none, ..MaintenanceConfig::default() };
    let config = ClusterConfig { maintenance: drain, ..ClusterConfig::default() };
    let error = ClusterHarness::with_config(2, config).await.unwrap_err();
    assert!(matches!(&error, ClusterError::Invariant(reason) if reason.contains("drain")), "{error:?}");

    let usual = MeshOsConfig::default;
    let build = |config: MeshOsConfig| MeshBuilder::new(here(), [42; 32]).meshos(config).build();
    for (config, name) in [
        (MeshOsConfig { tick_interval: none, ..usual() }, "tick_interval"),
        (MeshOsConfig { tick_interval: short, ..usual() }, "tick_interval"),
        (MeshOsConfig { maintenance: drain, ..usual() }, "maintenance.drain"),
        (MeshOsConfig { patience: none, ..usual() }, "patience"),
        (MeshOsConfig { group_budget: none, ..usual() }, "group_budget"),
    ] {
        let error = build(config).await.unwrap_err();
        assert_eq!(error, MeshError::Config(ConfigError::MeshOs(name)));
        let said = error.to_string();
        assert!(said.contains(name) && said.contains("at least 1 ms"), "{said}");
    }
    // These can be meant.
    let (long, ramp) = (Duration::MAX, MaintenanceConfig { drain: Duration::MAX, ramp: none });
    let config = MeshOsConfig {
        tick_interval: long,
        maintenance: ramp,
        grace: none,
        patience: long,
        version: "v".repeat(1_000),
        group_budget: long,
        ..usual()
    };
    let mesh = build(config).await.expect("every one of them is possible");
    within("its answer", mesh.stats()).await.expect("it runs");
    within("its end", mesh.shutdown()).await;
}

/// Set for the part of the test that may open few files.
#[cfg(target_os = "linux")]
const FEW_FILES: &str = "MESHGROUND_TEST_FEW_FILES";

/// Runs itself in a process of its own, for how many files one may open is a matter of the whole process.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_boot_that_runs_out_of_sockets_says_so_and_gives_back_those_it_had() {
    const NAME: &str = "errors::a_boot_that_runs_out_of_sockets_says_so_and_gives_back_those_it_had";
    if std::env::var_os(FEW_FILES).is_none() {
        let itself = std::env::current_exe().unwrap();
        let mut shell = tokio::process::Command::new("sh");
        shell.arg("-c").arg("ulimit -n 60 && exec \"$0\" --exact --nocapture \"$1\"");
        shell.arg(itself).arg(NAME).env(FEW_FILES, "1").kill_on_drop(true);
        let output = within("the other process", shell.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let log = EventLog::new();
    let config = || ClusterConfig { log: Some(Arc::clone(&log)), ..ClusterConfig::default() };
    for _ in 0..2 {
        let error = within("a failing boot", ClusterHarness::with_config(64, config())).await.unwrap_err();
        let ClusterError::MeshBuild(meshground::MeshError::Bind { .. }) = &error else { panic!("{error:?}") };
        let snapshot = log.snapshot();
        assert_eq!((snapshot.phase, snapshot.nodes.len()), (ClusterPhase::Empty, 0), "{error}");
    }
    // There is room for these only if the others are gone.
    let cluster = boot_with(8, config()).await;
    assert_converged(&cluster, 8);
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_pre_shared_key_fails_the_boot_by_name_before_its_time_is_up() {
    let log = EventLog::new();
    let mut events = log.subscribe().events;
    let config = ClusterConfig {
        // Far more than `within` waits for.
        handshake_timeout: Duration::from_hours(1),
        psk_overrides: BTreeMap::from([(2, [1; 32])]),
        log: Some(Arc::clone(&log)),
        ..ClusterConfig::default()
    };
    let error = within("a failing boot", ClusterHarness::with_config(4, config)).await.unwrap_err();
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
    let over = async {
        loop {
            let event = events.recv().await.unwrap();
            snapshot.apply(&event);
            if let EventKind::ClusterFailed { .. } = event.kind {
                return;
            }
        }
    };
    within("its last word", over).await;
    assert_eq!((snapshot.phase, snapshot.nodes.len()), (ClusterPhase::Empty, 0));
    let closed = async {
        while addresses.iter().any(|address| std::net::UdpSocket::bind(address).is_err()) {
            tokio::task::yield_now().await;
        }
    };
    within("close", closed).await;
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
