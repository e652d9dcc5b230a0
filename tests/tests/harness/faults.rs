//! Links on which things go wrong.

use meshground::cluster::RestartIdentity;
use meshground_shared::{FaultyLink, LinkFault};

use super::*;

/// Whether `by` says that it hears `node`, as that holds it.
fn is_heard(snapshot: &Snapshot, node: NodeId, by: NodeId) -> bool {
    snapshot.nodes[&node].peers.get(&by).is_some_and(|peer| peer.heard)
}

fn health(snapshot: &Snapshot, of: NodeId, through: NodeId) -> Option<Health> {
    snapshot.nodes.get(&through)?.peers.get(&of).map(|peer| peer.health)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_one_way_and_heals_and_what_follows_names_its_command() {
    let cluster = boot(3).await;
    let id = |index| cluster.nth(index).unwrap().node_id();
    let (a, b) = (id(0), id(1));
    let (cut, heal) = (CommandId(61), CommandId(62));
    let mut events = cluster.events().events;
    cluster.caused_by(cut).set_link_fault(a, b, LinkFault::CUT).unwrap();
    assert_eq!(cluster.faults(), [FaultyLink { from: a, to: b, fault: LinkFault::CUT }]);
    until(&cluster, "silence", |snapshot| health(snapshot, a, b) == Some(Health::Unreachable)).await;
    assert!(!cluster.snapshot().is_converged());
    let shown = until(&cluster, "word of it", |snapshot| !is_heard(snapshot, a, b)).await;
    assert_eq!(shown.one_way().collect::<Vec<_>>(), [(a, b)], "and nobody else");

    let found = drain(&mut events);
    assert_eq!(found[0].kind, EventKind::FaultChanged { peer: b, fault: Some(LinkFault::CUT) });
    assert_eq!(found[0].node, Some(a));
    let on_the_link = |event: &&Arc<Event>| {
        matches!(event.kind, EventKind::PeerHealth { peer, .. }
            if (event.node, peer) == (Some(a), b) || (event.node, peer) == (Some(b), a))
    };
    let verdicts: Vec<_> = found.iter().filter(on_the_link).collect();
    assert!(verdicts.iter().all(|event| event.cause == Some(cut)), "{verdicts:?}");
    // On a machine out of breath it may come to suspect it, but no more than that.
    let given_up =
        |event: &Event| matches!(event.kind, EventKind::PeerHealth { to: Health::Unreachable, .. });
    assert!(
        verdicts.iter().all(|event| event.node == Some(b) || !given_up(event)),
        "a still hears b: {verdicts:?}"
    );
    let one_way = |event: &&Arc<Event>| matches!(event.kind, EventKind::OneWay { .. });
    let told: Vec<_> = found.iter().filter(one_way).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].node, told[0].cause), (Some(a), Some(cut)));
    assert_eq!(told[0].kind, EventKind::OneWay { peer: b, deaf: true });

    cluster.caused_by(heal).set_link_fault(a, b, LinkFault::default()).unwrap();
    assert!(cluster.faults().is_empty());
    until(&cluster, "recovery", |snapshot| health(snapshot, a, b) == Some(Health::Healthy)).await;
    let healed = drain(&mut events);
    assert_eq!(healed.iter().find(on_the_link).unwrap().cause, Some(heal));
    within("all is well", cluster.converged()).await.unwrap();
    until(&cluster, "word of it", |snapshot| is_heard(snapshot, a, b)).await;
    let again = healed.into_iter().chain(drain(&mut events)).find(|event| one_way(&event)).unwrap();
    assert_eq!((again.node, again.cause), (Some(a), Some(heal)));
    assert_eq!(again.kind, EventKind::OneWay { peer: b, deaf: false });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_parts_two_sides_and_healing_joins_them() {
    let cluster = boot(5).await;
    let all: Vec<NodeId> = cluster.nodes().iter().map(ClusterNode::node_id).collect();
    let (one, other) = all.split_at(2);
    cluster.partition(one, other).unwrap();
    assert_eq!(cluster.faults().len(), 12, "six links, both ways");
    until(&cluster, "the sides part", |snapshot| {
        one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))).all(|(a, b)| {
            health(snapshot, a, b) == Some(Health::Unreachable)
                && health(snapshot, b, a) == Some(Health::Unreachable)
        })
    })
    .await;
    let snapshot = cluster.snapshot();
    assert_ne!(health(&snapshot, one[0], one[1]), Some(Health::Unreachable), "each side holds together");

    cluster.clear_faults().unwrap();
    assert!(cluster.faults().is_empty());
    until(&cluster, "the sides join", Snapshot::is_converged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_boots_over_bad_links_and_counts_what_is_corrupted() {
    let bad = LinkFault {
        loss: 0.05,
        duplication: 0.2,
        corruption: 0.1,
        delay_us: 1_000,
        jitter_us: 4_000,
        ..LinkFault::default()
    };
    let faults = (0..4).flat_map(|a| (0..4).map(move |b| ((a, b), bad))).filter(|((a, b), _)| a != b);
    let config = ClusterConfig {
        faults: faults.collect(),
        seed: Some(11),
        handshake_timeout: PATIENCE,
        mesh_session_stable_timeout: PATIENCE,
        ..ClusterConfig::default()
    };
    let cluster = boot_with(4, config).await;
    assert_eq!(cluster.faults().len(), 12);
    let rejected = async {
        loop {
            let mut total = 0;
            for node in cluster.nodes() {
                total += node.mesh().rejected(meshground_shared::RejectReason::AuthFailed).await.unwrap();
            }
            if total > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("corrupted datagrams are thrown away", rejected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_show_in_the_round_trip_time_and_outlive_restarts() {
    let cluster = boot(3).await;
    let id = |index| cluster.nth(index).unwrap().node_id();
    let (a, b) = (id(0), id(1));
    let slow = LinkFault { delay_us: 40_000, ..LinkFault::default() };
    cluster.set_link_fault(a, b, slow).unwrap();
    let slow_at = async |from: NodeId, to: NodeId| {
        loop {
            let links = cluster.links().await;
            if links.iter().any(|link| (link.node, link.peer) == (from, to) && link.rtt_us >= 40_000) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("a slow round trip", slow_at(a, b)).await;
    within("seen from both ends", slow_at(b, a)).await;

    within("restart", cluster.restart_node(a)).await.unwrap();
    within("restart", cluster.restart_node(b)).await.unwrap();
    assert_eq!(cluster.faults(), [FaultyLink { from: a, to: b, fault: slow }]);
    within("still slow", slow_at(a, b)).await;

    let fresh =
        within("restart", cluster.restart_node_as(b, RestartIdentity::Fresh)).await.unwrap().node_id();
    assert_eq!(cluster.faults(), [FaultyLink { from: a, to: fresh, fault: slow }]);
    within("slow to the newcomer in that place", slow_at(a, fresh)).await;

    within("leave", cluster.shutdown_node(fresh)).await.unwrap();
    assert!(cluster.faults().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_farewell_still_arrives() {
    let cluster = boot(3).await;
    let id = cluster.nth(0).unwrap().node_id();
    for other in [1, 2] {
        let slow = LinkFault { delay_us: 100_000, ..LinkFault::default() };
        cluster.set_link_fault(id, cluster.nth(other).unwrap().node_id(), slow).unwrap();
    }
    within("leave", cluster.shutdown_node(id)).await.unwrap();
    assert_converged(&cluster, 2);
}

#[tokio::test]
async fn faults_out_of_range_are_refused_and_change_nothing() {
    let cluster = boot(2).await;
    let (a, b) = (cluster.nth(0).unwrap().node_id(), cluster.nth(1).unwrap().node_id());
    let seq = cluster.snapshot().seq;
    let impossible = LinkFault { loss: 1.5, ..LinkFault::default() };
    for refusal in [
        cluster.set_link_fault(a, b, impossible),
        cluster.set_link_fault(a, a, LinkFault::CUT),
        cluster.set_link_fault(a, NodeId(1), LinkFault::CUT),
        cluster.partition(&[a, b], &[b]),
        cluster.partition(&[a], &[b, NodeId(1)]),
    ] {
        assert!(matches!(refusal, Err(ClusterError::Invariant(_))), "{refusal:?}");
    }
    assert_eq!(cluster.snapshot().seq, seq);
    assert!(cluster.faults().is_empty());
    let config = ClusterConfig { faults: BTreeMap::from([((0, 1), impossible)]), ..ClusterConfig::default() };
    let error = ClusterHarness::with_config(2, config).await.unwrap_err();
    assert!(matches!(error, ClusterError::Invariant(_)), "{error:?}");
}
