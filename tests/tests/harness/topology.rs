//! Who is linked with whom.

use meshground_shared::LinkFault;

use super::*;

const RANDOM: Topology = Topology::RandomRegular { degree: 3, seed: 5 };
const TREE: Topology = Topology::Tree { arity: 2 };

async fn boot_as(n: usize, topology: Topology) -> ClusterHarness {
    boot_with(n, ClusterConfig { topology, ..ClusterConfig::default() }).await
}

/// The sessions there are, by the indexes of who holds them.
fn sessions(cluster: &ClusterHarness) -> BTreeSet<(usize, usize)> {
    let snapshot = cluster.snapshot();
    let index = |id: &NodeId| snapshot.nodes[id].index as usize;
    let of = |(id, node): (&NodeId, &meshground_shared::NodeSnapshot)| {
        node.peers.keys().map(|peer| (index(id), index(peer))).collect::<Vec<_>>()
    };
    snapshot.nodes.iter().flat_map(of).collect()
}

/// Whether the sessions are those that the topology names, no fewer and no more, and all is well.
fn assert_linked(cluster: &ClusterHarness, topology: Topology) {
    assert_eq!(cluster.topology(), topology);
    let snapshot = cluster.snapshot();
    assert_eq!(snapshot.topology, topology);
    let links: BTreeSet<(usize, usize)> =
        snapshot.links().iter().flat_map(|(one, other)| [(one, other), (other, one)]).collect();
    assert_eq!(sessions(cluster), links, "{topology:?}");
    for node in cluster.nodes() {
        let its = links.iter().filter(|(one, _)| *one == node.index()).count();
        assert_eq!(node.mesh().peer_count(), its, "{topology:?}");
    }
    assert!(snapshot.is_converged());
    assert_eq!(cluster.health(), full(cluster.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_topology_boots_with_its_own_links_and_no_others() {
    for topology in [Topology::Full, Topology::Ring, Topology::Star, Topology::Line, TREE, RANDOM] {
        let cluster = boot_as(8, topology).await;
        assert_linked(&cluster, topology);
        within("shutdown", cluster.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_topology_can_be_changed_into_every_other() {
    let cluster = boot_as(6, Topology::Line).await;
    let all = [Topology::Full, Topology::Ring, Topology::Star, TREE, RANDOM, Topology::Line];
    for (at, &one) in all.iter().enumerate() {
        for &other in &all[at + 1..] {
            for topology in [one, other] {
                within("change", cluster.set_topology(topology)).await.unwrap();
                assert_linked(&cluster, topology);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_links_stand_before_old_ones_are_dropped() {
    let cluster = boot_as(6, Topology::Line).await;
    let mut events = cluster.events().events;
    let command = CommandId(31);
    within("change", cluster.caused_by(command).set_topology(Topology::Star)).await.unwrap();
    let events = drain(&mut events);
    assert_eq!(events[0].kind, EventKind::TopologyChanged { topology: Topology::Star });
    let at = |wanted: fn(&EventKind) -> bool| {
        events.iter().filter(|event| wanted(&event.kind)).map(|event| event.seq).collect::<Vec<_>>()
    };
    let up = at(|kind| matches!(kind, EventKind::SessionUp { .. }));
    let down = at(|kind| matches!(kind, EventKind::SessionDown { .. }));
    assert_eq!((up.len(), down.len()), (8, 8), "four links each, two ends each: {events:?}");
    assert!(up.last() < down.first());
    for event in &events {
        if !matches!(event.kind, EventKind::PeerHealth { .. } | EventKind::DatagramRejected { .. }) {
            assert_eq!(event.cause, Some(command), "{event:?}");
        }
    }
    assert!(matches!(events.last().unwrap().kind, EventKind::ClusterConverged { nodes: 6, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_fails_leaves_the_former_topology_whole() {
    let config = ClusterConfig {
        topology: Topology::Ring,
        handshake_timeout: Duration::from_millis(600),
        ..ClusterConfig::default()
    };
    let cluster = boot_with(4, config).await;
    let id = |index| cluster.nth(index).unwrap().node_id();
    cluster.partition(&[id(0)], &[id(2)]).unwrap();
    let error = within("a failing change", cluster.set_topology(Topology::Full)).await.unwrap_err();
    let ClusterError::Timeout { what, .. } = &error else { panic!("{error:?}") };
    assert!(what.contains("node 0 with node 2"), "{error}");
    assert_eq!(cluster.topology(), Topology::Ring);
    until(&cluster, "the end of what had been made", |snapshot| {
        snapshot.topology == Topology::Ring && snapshot.nodes.values().all(|node| node.peers.len() == 2)
    })
    .await;
    within("all is well", cluster.converged()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_called_off_leaves_the_former_topology_whole() {
    let cluster = boot_as(5, Topology::Line).await;
    let id = |index| cluster.nth(index).unwrap().node_id();
    cluster.partition(&[id(0)], &[id(4)]).unwrap();
    {
        let change = std::pin::pin!(cluster.set_topology(Topology::Ring));
        // It cannot come about, so it is dropped half-way.
        assert!(tokio::time::timeout(Duration::from_millis(50), change).await.is_err());
    }
    assert_linked(&cluster, Topology::Line);
}

/// Four nodes, all linked with all, that mind no silence and hear each other so late that they cannot know in time what has
/// become of the others' links.
async fn hard_of_hearing() -> ClusterHarness {
    let [suspect, unreachable, forget] = [60, 61, 62].map(Duration::from_secs);
    let config = ClusterConfig {
        mesh_session_stable_timeout: Duration::from_secs(1),
        liveness: Some(LivenessConfig { suspect, unreachable, forget, ..LivenessConfig::default() }),
        ..ClusterConfig::default()
    };
    let cluster = boot_with(4, config).await;
    let late = LinkFault { delay_us: 4_000_000, ..LinkFault::default() };
    for one in ids(&cluster) {
        for other in ids(&cluster).into_iter().filter(|&other| other != one) {
            cluster.set_link_fault(one, other, late).unwrap();
        }
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_which_not_all_hear_in_time_is_undone() {
    let cluster = hard_of_hearing().await;
    let mut events = cluster.events().events;
    let error = within("a failing change", cluster.set_topology(Topology::Line)).await.unwrap_err();
    assert!(matches!(error, ClusterError::Timeout { .. }), "{error:?}");
    let is_drop = |event: &Arc<Event>| matches!(event.kind, EventKind::SessionDown { .. });
    assert_eq!(
        drain(&mut events).iter().filter(|event| is_drop(event)).count(),
        6,
        "three links had been dropped"
    );
    assert_eq!(cluster.topology(), Topology::Full);
    cluster.clear_faults().unwrap();
    until(&cluster, "the former links", Snapshot::is_converged).await;
    within("all is well", cluster.converged()).await.unwrap();
    assert_linked(&cluster, Topology::Full);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_closes_where_a_node_leaves_and_opens_for_one_that_comes() {
    let cluster = boot_as(5, Topology::Ring).await;
    within("leave", cluster.shutdown_node(cluster.nth(2).unwrap().node_id())).await.unwrap();
    assert!(sessions(&cluster).contains(&(1, 3)));
    assert_linked(&cluster, Topology::Ring);
    let added = within("add", cluster.add_node()).await.unwrap();
    assert_eq!(added.index(), 5);
    assert!(!sessions(&cluster).contains(&(0, 4)), "the newcomer has come between");
    assert_linked(&cluster, Topology::Ring);

    // Behind the harness's back.
    within("leave", cluster.nth(1).unwrap().mesh().shutdown()).await;
    until(&cluster, "the ring closes", |snapshot| snapshot.nodes.len() == 4 && snapshot.is_converged()).await;
    within("all of them", cluster.converged()).await.unwrap();
    assert_linked(&cluster, Topology::Ring);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_topology_stays_regular_while_nodes_come_and_go() {
    let cluster = boot_as(8, RANDOM).await;
    for _ in 0..3 {
        within("add", cluster.add_node()).await.unwrap();
        assert_linked(&cluster, RANDOM);
        within("leave", cluster.shutdown_node(cluster.nodes()[1].node_id())).await.unwrap();
        assert_linked(&cluster, RANDOM);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_star_without_its_hub_is_not_green_and_the_restarted_hub_finds_everybody() {
    let cluster = boot_as(5, Topology::Star).await;
    let hub = cluster.nth(0).unwrap().node_id();
    within("crash", cluster.crash_node(hub)).await.unwrap();
    assert!(!cluster.health().fully_converged() && !cluster.snapshot().is_converged());
    within("restart", cluster.restart_node(hub)).await.unwrap();
    assert_linked(&cluster, Topology::Star);

    within("leave", cluster.shutdown_node(hub)).await.unwrap();
    assert_linked(&cluster, Topology::Star);
    assert_eq!(cluster.nth(1).unwrap().mesh().peer_count(), 3, "the next one is the hub now");
}

#[tokio::test]
async fn an_impossible_topology_is_refused_and_changes_nothing() {
    let impossible = Topology::RandomRegular { degree: 1, seed: 0 };
    let config = ClusterConfig { topology: impossible, ..ClusterConfig::default() };
    let error = ClusterHarness::with_config(3, config).await.unwrap_err();
    assert!(matches!(&error, ClusterError::Invariant(reason) if reason.contains("degree")), "{error:?}");

    let cluster = boot(3).await;
    let seq = cluster.snapshot().seq;
    let error = cluster.set_topology(Topology::Tree { arity: 0 }).await.unwrap_err();
    assert!(matches!(&error, ClusterError::Invariant(reason) if reason.contains("arity")), "{error:?}");
    assert_eq!(cluster.snapshot().seq, seq);
    within("shutdown", cluster.shutdown()).await.unwrap();
    assert_eq!(cluster.set_topology(Topology::Ring).await, Err(ClusterError::Shutdown));
}

#[tokio::test]
async fn two_meshes_can_part_and_connect_again() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    for _ in 0..5 {
        assert_eq!(within("connect", a.connect(b.local_addr())).await, Ok(b.node_id()));
        within("disconnect", a.disconnect(b.node_id())).await.unwrap();
        assert_eq!(a.peer_count(), 0);
        let told = async {
            while b.peer_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the other end lets go at once", told).await;
    }
    within("nothing", a.disconnect(NodeId(1))).await.unwrap();
}
