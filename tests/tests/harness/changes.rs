//! Nodes that join, leave, crash and come back.

use super::*;

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
    let (leaving, stopped) = (
        EventKind::NodeLeaving { reason: StopReason::Shutdown },
        EventKind::NodeStopped { reason: StopReason::Shutdown },
    );
    assert_eq!(about(&events, id).next().unwrap().kind, leaving);
    assert_eq!(about(&events, id).filter(|event| event.kind == stopped).count(), 1);
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
