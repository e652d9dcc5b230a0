//! The system through single nodes' eyes, and the probes that it looks through.

use meshground::{daemons::bundled, meshos::random_keypair};
use meshground_node::{Capabilities, HealthProbe, InventoryProbe, LocalityProbe, PeerView, Resources};
use meshground_shared::{DaemonHealth, Lifecycle, LinkFault};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_eyes_of_its_own_on_what_runs_where() {
    let cluster = boot(3).await;
    let [first, second, third] = [0, 1, 2].map(|index| cluster.nth(index).unwrap());
    let kinds: Vec<&str> = bundled().map(|(kind, _)| kind).collect();
    let runtime = second.daemon_runtime();
    let daemon = runtime.spawn("counter", random_keypair(), "");
    let daemon = within("a start", daemon).await.unwrap();
    until_seen(&cluster, 0, "the first sees the second's daemon", |view| {
        view.peers[&second.node_id()].daemons.contains_key(&daemon)
    })
    .await;
    let views = cluster.views();
    assert_eq!(views.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let seen = &views[&0].peers[&second.node_id()];
    let stated = seen.daemons[&daemon];
    assert_eq!((stated.lifecycle, stated.health), (Lifecycle::Running, DaemonHealth::Healthy));
    assert_eq!((stated.restarts, stated.member), (0, None));
    assert!(seen.rtt.is_some_and(|rtt| rtt < Duration::from_secs(5)), "it was measured: {seen:?}");
    assert!(kinds.iter().all(|kind| seen.kinds.iter().any(|known| known == kind)));
    assert!(views[&0].daemons.is_empty() && views[&1].daemons[0].id == daemon, "its own are its own");

    // Behind a cut of both ways the two sides see different things.
    let cut = LinkFault { cut: true, ..LinkFault::default() };
    for other in [&first, &second] {
        cluster.set_link_fault(third.node_id(), other.node_id(), cut).unwrap();
        cluster.set_link_fault(other.node_id(), third.node_id(), cut).unwrap();
    }
    until_seen(&cluster, 2, "the third sees nobody", |view| view.healthy_peers() == 0).await;
    for (index, other) in [(0, &second), (1, &first)] {
        until_seen(&cluster, index, "the first two see each other alone", |view| {
            view.sees_healthy(other.node_id()) && !view.sees_healthy(third.node_id())
        })
        .await;
    }
    assert_eq!(cluster.health().runtimes_with_full_peers, 0);

    let before = cluster.views()[&1].epoch;
    cluster.clear_faults().unwrap();
    within("a restart", cluster.restart_node(second.node_id())).await.unwrap();
    assert_ne!(cluster.views()[&1].epoch, before, "another life");
    cluster.shutdown().await.unwrap();
}

/// Says of everybody that it is far and ill.
struct Gloomy;

impl LocalityProbe for Gloomy {
    fn round_trips(&mut self, peers: &[PeerView]) -> BTreeMap<NodeId, Duration> {
        peers.iter().map(|peer| (peer.id, Duration::from_secs(77))).collect()
    }
}

impl HealthProbe for Gloomy {
    fn verdicts(&mut self, peers: &[PeerView]) -> BTreeMap<NodeId, Health> {
        peers.iter().map(|peer| (peer.id, Health::Suspect)).collect()
    }
}

/// Says of its machine always the same.
struct Steady;

impl InventoryProbe for Steady {
    fn resources(&mut self) -> Resources {
        Resources { cpu: 420, memory: 730 }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_busy_a_node_is_and_what_it_can_do_is_seen_by_itself_and_by_others() {
    let cluster = boot(2).await;
    let node = cluster.nth(1).unwrap();
    let (id, runtime) = (node.node_id(), node.daemon_runtime());
    node.sdk().install_inventory_probe(Box::new(Steady)).await.unwrap();
    let steady = Resources { cpu: 420, memory: 730 };
    until_seen(&cluster, 1, "what the probe says", |view| view.resources == steady).await;
    let canary = within("a start", runtime.spawn("canary", random_keypair(), "")).await.unwrap();
    within("its load", runtime.deliver(canary, "load 40", None)).await.unwrap();
    let capable = Capabilities::new().with_tag("gpu").unwrap().with_tag("disk").unwrap();
    within("an announcement", node.mesh().announce_capabilities(capable)).await.unwrap();

    // A daemon counts ten, and so much more as it says; the processor a quarter, in hundreds.
    let load = 10 + 400 + 400 / 4;
    let tags = ["disk".to_owned(), "gpu".to_owned()].into();
    until_seen(&cluster, 1, "its own load and tags", |view| (view.load, &*view.tags) == (load, &tags)).await;
    let has_come = |view: &MeshOsSnapshot| {
        let peer = &view.peers[&id];
        (peer.load, &*peer.tags) == (load, &tags)
    };
    until_seen(&cluster, 0, "its peer's load and tags", has_come).await;
    let (own, seen) = (&cluster.views()[&1], &cluster.views()[&0].peers[&id]);
    assert_eq!(own.resources, steady);
    assert_eq!(seen.resources, Resources { cpu: 400, memory: 700 }, "in hundreds");
    assert!(!own.version.is_empty() && seen.version == own.version);

    let before = cluster.views()[&0].generation;
    within("a withdrawal", node.mesh().announce_capabilities(Capabilities::new())).await.unwrap();
    until_seen(&cluster, 0, "no tags", |view| view.peers[&id].tags.is_empty()).await;
    assert!(cluster.views()[&0].generation > before, "what it can do is no figure");
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_probes_are_asked_in_place_of_the_mesh_until_that_is_asked_again() {
    let cluster = boot(2).await;
    let (sdk, peer) = (cluster.nth(0).unwrap().sdk(), cluster.nth(1).unwrap().node_id());
    let far = Some(Duration::from_secs(77));
    sdk.install_locality_probe(Box::new(Gloomy)).await.unwrap();
    sdk.install_health_probe(Box::new(Gloomy)).await.unwrap();
    until_seen(&cluster, 0, "what the probes say", |view| {
        view.peers[&peer].rtt == far && view.peers[&peer].health == Some(Health::Suspect)
    })
    .await;
    assert!(cluster.views()[&1].peers.values().all(|peer| peer.rtt != far), "only where they are installed");
    sdk.install_mesh_probes().await.unwrap();
    until_seen(&cluster, 0, "what the mesh says", |view| {
        view.peers[&peer].rtt.is_some_and(|rtt| Some(rtt) != far) && view.sees_healthy(peer)
    })
    .await;
    cluster.shutdown().await.unwrap();
}
