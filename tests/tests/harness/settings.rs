//! That a cluster's nodes go by what its configuration says.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use meshground::meshos::random_keypair;
use meshground_node::{HealthProbe, InventoryProbe, PeerView, Resources};

use super::*;

/// Counts how often it is asked.
struct Counting(Arc<AtomicUsize>);

impl InventoryProbe for Counting {
    fn resources(&mut self) -> Resources {
        self.0.fetch_add(1, Relaxed);
        Resources { cpu: 1_000, memory: 1_000 }
    }
}

#[tokio::test]
async fn with_a_tick_of_an_hour_changes_are_seen_at_once_and_only_what_waits_for_a_tick_waits() {
    let hour = Duration::from_hours(1);
    let cluster =
        boot_with(3, ClusterConfig { meshos_tick_interval: hour, ..ClusterConfig::default() }).await;
    let [here, there, lost] = [0, 1, 2].map(|index| cluster.nth(index).unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    here.sdk().install_inventory_probe(Box::new(Counting(Arc::clone(&asked)))).await.unwrap();
    let own = within("a start", here.daemon_runtime().spawn("echo", random_keypair(), "")).await.unwrap();
    let other = within("a start", there.daemon_runtime().spawn("echo", random_keypair(), "")).await.unwrap();
    until_seen(&cluster, 0, "its own daemon", |view| view.daemons.iter().any(|it| it.id == own)).await;
    let id = there.node_id();
    until_seen(&cluster, 0, "another's", |view| view.peers[&id].daemons.contains_key(&other)).await;
    let id = lost.node_id();
    within("a crash", cluster.crash_node(id)).await.unwrap();
    until_seen(&cluster, 0, "the crash", |view| !view.sees_healthy(id)).await;
    within("a stop", here.daemon_runtime().stop(own, Duration::from_secs(2))).await.unwrap();
    until_seen(&cluster, 0, "the stop", |view| view.daemons.is_empty()).await;
    // More than ten of the usual ticks have passed, as a crash is seen after a second.
    assert_eq!(asked.load(Relaxed), 0, "a probe is asked once a tick");
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn at_each_tick_probes_are_asked() {
    let tick = Duration::from_millis(20);
    let cluster =
        boot_with(2, ClusterConfig { meshos_tick_interval: tick, ..ClusterConfig::default() }).await;
    let (here, asked) = (cluster.nth(0).unwrap(), Arc::new(AtomicUsize::new(0)));
    here.sdk().install_inventory_probe(Box::new(Counting(Arc::clone(&asked)))).await.unwrap();
    until_seen(&cluster, 0, "three ticks", |_| asked.load(Relaxed) >= 3).await;
    until_seen(&cluster, 0, "what it says", |view| view.resources.cpu == 1_000).await;
    let id = here.node_id();
    until_seen(&cluster, 1, "what it says of itself", |view| view.peers[&id].resources.memory == 1_000).await;
    assert_eq!(*cluster.views()[&1].peers[&id].version, *env!("CARGO_PKG_VERSION"));
    cluster.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn of_its_machine_a_node_says_what_the_kernel_says_unless_told_otherwise() {
    let cluster = boot(2).await;
    let id = cluster.nth(1).unwrap().node_id();
    until_seen(&cluster, 1, "its memory", |view| (1..=1_000).contains(&view.resources.memory)).await;
    // Machines on which it is less than a tenth are told of in tenths too: that is nothing then.
    let own = || cluster.views()[&1].resources.memory / 100 * 100;
    until_seen(&cluster, 0, "what it says of that", |view| {
        view.peers[&id].resources.memory.abs_diff(own()) <= 100
    })
    .await;
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn peers_are_judged_by_the_limits_that_the_cluster_was_given() {
    let limits = LivenessConfig {
        suspect: Duration::from_millis(2_500),
        unreachable: Duration::from_secs(3),
        forget: Duration::from_mins(1),
        ..LivenessConfig::default()
    };
    let cluster = boot_with(2, ClusterConfig { liveness: Some(limits), ..ClusterConfig::default() }).await;
    let mut events = cluster.events().events;
    let id = cluster.nth(1).unwrap().node_id();
    within("a crash", cluster.crash_node(id)).await.unwrap();
    for (wanted, least) in [(Health::Suspect, 2_500_000), (Health::Unreachable, 3_000_000)] {
        let judged = async {
            loop {
                let event = events.recv().await.unwrap();
                if let EventKind::PeerHealth { peer, to, silence_us, .. } = event.kind
                    && peer == id
                    && to != Health::Healthy
                {
                    return (to, silence_us);
                }
            }
        };
        let (to, silence) = within("a verdict", judged).await;
        assert_eq!(to, wanted);
        assert!(silence >= least, "{to:?} after {silence} us");
    }
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn whoever_has_the_key_of_a_cluster_comes_to_a_session_with_its_nodes() {
    let psk = [77; 32];
    let cluster = boot_with(2, ClusterConfig { psk, ..ClusterConfig::default() }).await;
    let guest = MeshBuilder::new((std::net::Ipv4Addr::LOCALHOST, 0).into(), psk).build().await.unwrap();
    for node in cluster.nodes() {
        let peer = within("a session", guest.connect(node.local_addr())).await;
        assert_eq!(peer, Ok(node.node_id()));
    }
    within("the end", guest.shutdown()).await;
    cluster.shutdown().await.unwrap();
}

/// Finds that one node is about to be lost.
struct Gloomy(NodeId);

impl HealthProbe for Gloomy {
    fn verdicts(&mut self, _: &[PeerView]) -> BTreeMap<NodeId, Health> {
        BTreeMap::from([(self.0, Health::Suspect)])
    }
}

#[tokio::test]
async fn a_snapshot_that_does_not_show_the_others_healthy_in_its_time_is_named_and_whom_it_misses() {
    let budget = Duration::from_millis(150);
    let config = ClusterConfig { meshos_snapshot_stable_timeout: budget, ..ClusterConfig::default() };
    // In debug builds on a busy machine even this much may be too little at first.
    let cluster = boot_patiently(config).await;
    let missed = cluster.nth(2).unwrap().node_id();
    let sdk = cluster.nth(1).unwrap().sdk();
    sdk.install_health_probe(Box::new(Gloomy(missed))).await.unwrap();
    until_seen(&cluster, 1, "what the probe says", |view| !view.sees_healthy(missed)).await;
    let error = within("a verdict", cluster.converged()).await.unwrap_err();
    let ClusterError::Timeout { what, budget_ms: 150 } = &error else { panic!("{error:?}") };
    assert!(what.contains("snapshot") && what.contains("node 1") && what.contains("node 2"), "{what}");
    assert!(!what.contains("node 0"), "that one is seen and sees: {what}");
    sdk.install_mesh_probes().await.unwrap();
    until_seen(&cluster, 1, "what the mesh says", |view| view.sees_healthy(missed)).await;
    within("a verdict", cluster.converged()).await.unwrap();
    cluster.shutdown().await.unwrap();
}

/// A cluster of three, as soon as one comes about within its budgets.
async fn boot_patiently(config: ClusterConfig) -> ClusterHarness {
    let booted = async {
        loop {
            match ClusterHarness::with_config(3, config.clone()).await {
                Ok(cluster) => return cluster,
                Err(ClusterError::Timeout { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    within("boot", booted).await
}
