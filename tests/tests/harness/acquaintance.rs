//! Who knows what others can do, and how they are reached.

use meshground::{CallOptions, Request, cluster::RestartIdentity};
use meshground_node::{Filter, PlacementReason, PlacementStrategy};

use super::*;

const SPARSE: [Topology; 5] = [
    Topology::Ring,
    Topology::Star,
    Topology::Line,
    Topology::Tree { arity: 2 },
    Topology::RandomRegular { degree: 3, seed: 5 },
];

async fn boot_as(n: usize, topology: Topology) -> ClusterHarness {
    boot_with(n, ClusterConfig { topology, ..ClusterConfig::default() }).await
}

/// Asks every member: it must know all of them and, but for itself, have a way to each and to nobody else. What somebody
/// could who has left may still be known to those it was not linked with.
async fn assert_acquainted(cluster: &ClusterHarness) {
    let members = ids(cluster);
    for node in cluster.nodes() {
        let known = node.mesh().find(Filter::any().all_of(["meshground", "node"])).await.unwrap();
        assert!(known.into_iter().collect::<BTreeSet<_>>().is_superset(&members), "node {}", node.index());
        let mut reached: BTreeSet<NodeId> =
            node.mesh().routes().await.unwrap().iter().map(|route| route.target).collect();
        assert!(reached.insert(node.node_id()));
        assert_eq!(reached, members, "node {}", node.index());
    }
    assert_eq!(cluster.health(), full(members.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_boots_comes_or_comes_back_knows_everybody_and_is_known_in_every_topology() {
    for topology in [Topology::Full].into_iter().chain(SPARSE) {
        let cluster = boot_as(9, topology).await;
        assert_acquainted(&cluster).await;
        let added = within("add", cluster.add_node()).await.unwrap();
        assert_acquainted(&cluster).await;
        within("restart", cluster.restart_node(added.node_id())).await.unwrap();
        assert_acquainted(&cluster).await;
        let third = cluster.nth(3).unwrap().node_id();
        within("restart", cluster.restart_node_as(third, RestartIdentity::Fresh)).await.unwrap();
        assert_acquainted(&cluster).await;
        within("leave", cluster.shutdown_node(cluster.nth(5).unwrap().node_id())).await.unwrap();
        assert_acquainted(&cluster).await;
        within("shutdown", cluster.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_shutdown_is_done_nobody_has_a_way_to_or_over_whoever_left() {
    for topology in SPARSE {
        let cluster = boot_as(9, topology).await;
        while cluster.len() > 4 {
            let middle = cluster.nodes()[cluster.len() / 2].node_id();
            within("leave", cluster.shutdown_node(middle)).await.unwrap();
            assert_acquainted(&cluster).await;
        }
        within("shutdown", cluster.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_every_change_of_topology_there_is_a_way_to_everybody() {
    let cluster = boot_as(10, Topology::Full).await;
    for topology in SPARSE.into_iter().chain([Topology::Full, Topology::Line]) {
        within("change", cluster.set_topology(topology)).await.unwrap();
        assert_acquainted(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_that_parts_a_line_asks_no_more_than_what_each_part_can_know() {
    let cluster = boot_as(5, Topology::Line).await;
    let middle = cluster.nth(2).unwrap().node_id();
    within("crash", cluster.crash_node(middle)).await.unwrap();
    within("each part", cluster.converged()).await.unwrap();
    // Of the part beyond the crash it can hear nothing.
    within("restart", cluster.restart_node(cluster.nth(0).unwrap().node_id())).await.unwrap();
    within("each part", cluster.converged()).await.unwrap();
    let health = cluster.health();
    assert_eq!((health.indexes_with_all_nodes, health.nodes_with_all_routes), (4, 4));
    assert!(!health.fully_converged());
    within("restart", cluster.restart_node(middle)).await.unwrap();
    within("all of them", cluster.converged()).await.unwrap();
    assert_acquainted(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_added_behind_a_cut_knows_its_side_and_all_once_that_is_healed() {
    let cluster = boot_as(4, Topology::Line).await;
    let id = |index| cluster.nth(index).unwrap().node_id();
    cluster.partition(&[id(1)], &[id(2)]).unwrap();
    let added = within("add", cluster.add_node()).await.unwrap();
    let known = added.mesh().find(Filter::any().with_tag("node")).await.unwrap();
    let side: BTreeSet<NodeId> = [2, 3, 4].map(id).into();
    assert!(side.is_subset(&known.into_iter().collect()), "its own side");
    cluster.clear_faults().unwrap();
    let joined = async {
        // A link that was given up is dialled anew, which may take longer than one budget.
        while cluster.converged().await.is_err() {}
    };
    within("all of them", joined).await;
    assert_acquainted(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn across_a_ring_a_node_calls_another_without_any_preparation() {
    let cluster = boot_as(6, Topology::Ring).await;
    let (from, to) = (cluster.nth(0).unwrap(), cluster.nth(3).unwrap());
    to.mesh().serve("whoami", async |request: Request| Ok(request.from.0.to_le_bytes().to_vec()));
    let mut events = cluster.events().events;
    let answer = from.mesh().call(to.node_id(), "whoami", "", CallOptions::default());
    assert_eq!(within("the answer", answer).await.unwrap(), from.node_id().0.to_le_bytes());
    assert_eq!((from.mesh().peer_count(), to.mesh().peer_count()), (3, 3));
    assert_eq!(cluster.health(), full(6), "a session over others is no link");

    within("disconnect", from.mesh().disconnect(to.node_id())).await.unwrap();
    within("all is well", cluster.converged()).await.unwrap();
    let told = |event: &Arc<Event>| {
        let ends = (event.node, &event.kind);
        matches!(ends, (Some(node), EventKind::SessionUp { peer, .. } | EventKind::SessionDown { peer, .. })
            if (node, *peer) == (from.node_id(), to.node_id()) || (node, *peer) == (to.node_id(), from.node_id()))
    };
    assert!(!drain(&mut events).iter().any(told), "and the log tells of links");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_found_and_placed_by_what_their_cluster_says_they_can_do() {
    let capabilities = |index: usize| {
        let its = ClusterConfig::default_capabilities(index);
        if index.is_multiple_of(2) { its.with_tag("even").unwrap() } else { its }
    };
    let config = ClusterConfig {
        topology: Topology::Ring,
        capabilities: Some(Arc::new(capabilities)),
        ..ClusterConfig::default()
    };
    let cluster = boot_with(5, config).await;
    let added = within("add", cluster.add_node()).await.unwrap();
    let id = |index| cluster.nth(index).unwrap().node_id();
    let found = added.mesh().find(Filter::any().with_tag("even")).await.unwrap();
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), [0, 2, 4].map(id).into());
    let third = Filter::any().metadata_is("index", "3");
    let placed = added.mesh().place(third, PlacementStrategy::default()).await.unwrap();
    assert_eq!((placed.node, placed.reason), (id(3), PlacementReason::OnlyCandidate));
}
