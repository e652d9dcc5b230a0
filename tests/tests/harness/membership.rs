//! Standing still, and coming back as somebody else.

use meshground::cluster::RestartIdentity;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_falls_silent_and_is_healthy_again_once_it_is_resumed() {
    let cluster = boot(4).await;
    let node = cluster.nth(1).unwrap();
    let id = node.node_id();
    let open = sockets(&[node.local_addr()]);
    let mut events = cluster.events().events;
    let (pause, resume) = (CommandId(41), CommandId(42));
    within("pause", cluster.caused_by(pause).pause_node(id)).await.unwrap();
    assert_eq!(cluster.member_state(id), Some(NodeState::Paused));
    assert!(node.mesh().is_paused() && !node.mesh().is_closed());
    assert_eq!(still_open(&open).len(), 1, "its socket stays open");
    assert!(!cluster.health().fully_converged(), "not green for a moment");
    assert_eq!(cluster.snapshot().nodes[&id].state, NodeState::Paused);
    until(&cluster, "detection", |snapshot| all_others_see(snapshot, id, Health::Unreachable)).await;
    within("the others", cluster.converged()).await.unwrap();
    let seen = drain(&mut events);
    assert!(about(&seen, id).all(|event| event.cause == Some(pause)), "{seen:?}");
    assert!(seen.iter().all(|event| event.node != Some(id) || event.kind == EventKind::NodePaused));

    within("resume", cluster.caused_by(resume).resume_node(id)).await.unwrap();
    assert_eq!(cluster.member_state(id), Some(NodeState::Running));
    until(&cluster, "recovery", Snapshot::is_converged).await;
    within("all of them", cluster.converged()).await.unwrap();
    assert_converged(&cluster, 4);
    let seen = drain(&mut events);
    let heard = |event: &&Arc<Event>| matches!(event.kind, EventKind::PeerHealth { peer, to: Health::Healthy, .. } if peer == id);
    assert_eq!(seen.iter().filter(heard).count(), 3);
    assert!(about(&seen, id).filter(|event| event.node != Some(id)).all(|event| event.cause == Some(resume)));
    assert!(
        !seen.iter().any(|event| matches!(event.kind, EventKind::SessionUp { .. })),
        "they kept their sessions"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_and_resuming_out_of_turn_is_refused_and_changes_nothing() {
    let cluster = boot(3).await;
    let id = |index| cluster.nth(index).unwrap().node_id();
    let (running, paused, crashed) = (id(0), id(1), id(2));
    within("pause", cluster.pause_node(paused)).await.unwrap();
    within("crash", cluster.crash_node(crashed)).await.unwrap();
    let mut events = cluster.events().events;
    for (refusal, reason) in [
        (cluster.pause_node(paused).await, "is paused"),
        (cluster.resume_node(running).await, "runs"),
        (cluster.pause_node(crashed).await, "is crashed"),
        (cluster.resume_node(crashed).await, "is crashed"),
        (cluster.pause_node(NodeId(1)).await, "no member"),
        (cluster.resume_node(NodeId(1)).await, "no member"),
    ] {
        assert!(matches!(&refusal, Err(ClusterError::Invariant(why)) if why.contains(reason)), "{refusal:?}");
    }
    let acted = |event: &Arc<Event>| !matches!(event.kind, EventKind::PeerHealth { .. });
    assert!(!drain(&mut events).iter().any(acted));

    // Of two at once, one is too late.
    let (one, other) = tokio::join!(cluster.pause_node(running), cluster.pause_node(running));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_that_is_shut_down_still_says_farewell() {
    let cluster = boot(4).await;
    let id = cluster.nth(2).unwrap().node_id();
    within("pause", cluster.pause_node(id)).await.unwrap();
    let mut events = cluster.events().events;
    within("shutdown_node", cluster.shutdown_node(id)).await.unwrap();
    let left = |event: &&Arc<Event>| matches!(event.kind, EventKind::SessionDown { peer, reason: SessionEnd::Left } if peer == id);
    assert_eq!(drain(&mut events).iter().filter(left).count(), 3, "every other node was told");
    assert_converged(&cluster, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_can_be_crashed_and_restarted() {
    let cluster = boot(3).await;
    let id = cluster.nth(0).unwrap().node_id();
    within("pause", cluster.pause_node(id)).await.unwrap();
    within("crash", cluster.crash_node(id)).await.unwrap();
    assert_eq!(cluster.member_state(id), Some(NodeState::Crashed));
    within("restart", cluster.restart_node(id)).await.unwrap();
    assert_converged(&cluster, 3);

    within("pause", cluster.pause_node(id)).await.unwrap();
    within("restart", cluster.restart_node(id)).await.unwrap();
    assert_eq!(cluster.member_state(id), Some(NodeState::Running));
    assert_converged(&cluster, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_paused_nodes_shuts_down_and_drops_like_any_other() {
    let cluster = boot(4).await;
    for index in [0, 3] {
        within("pause", cluster.pause_node(cluster.nth(index).unwrap().node_id())).await.unwrap();
    }
    let open = sockets(&addresses(&cluster.nodes()));
    within("shutdown", cluster.shutdown()).await.unwrap();
    assert_eq!(still_open(&open).len(), 0);

    let cluster = boot(2).await;
    let nodes = cluster.nodes();
    within("pause", cluster.pause_node(nodes[0].node_id())).await.unwrap();
    drop(cluster);
    for node in &nodes {
        within("the end of a node", node.mesh().closed()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gauges_of_a_cluster_with_a_paused_node_are_still_read() {
    let cluster = boot(3).await;
    let id = cluster.nth(0).unwrap().node_id();
    within("pause", cluster.pause_node(id)).await.unwrap();
    let links = within("gauges", cluster.links()).await;
    assert!(links.iter().all(|link| link.node != id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_added_while_another_is_paused_meets_it_when_it_is_resumed() {
    let cluster = boot(3).await;
    let id = cluster.nth(1).unwrap().node_id();
    within("pause", cluster.pause_node(id)).await.unwrap();
    within("add", cluster.add_node()).await.unwrap();
    within("resume", cluster.resume_node(id)).await.unwrap();
    until(&cluster, "all links", Snapshot::is_converged).await;
    within("all links", cluster.converged()).await.unwrap();
    assert_eq!(cluster.health(), full(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_comes_back_as_somebody_else_in_its_old_place() {
    for state in [NodeState::Running, NodeState::Paused, NodeState::Crashed] {
        let cluster = boot(4).await;
        let before = cluster.nth(2).unwrap();
        let old = before.node_id();
        match state {
            NodeState::Running | NodeState::Leaving => {}
            NodeState::Paused => within("pause", cluster.pause_node(old)).await.unwrap(),
            NodeState::Crashed => within("crash", cluster.crash_node(old)).await.unwrap(),
        }
        let mut events = cluster.events().events;
        let command = CommandId(51);
        let restart = cluster.caused_by(command);
        let after = within("restart", restart.restart_node_as(old, RestartIdentity::Fresh)).await.unwrap();
        assert_eq!(after.index(), 2);
        assert_ne!(after.node_id(), old);
        assert!(before.mesh().is_closed());
        assert_eq!((cluster.len(), cluster.member_state(old)), (4, None));
        for node in cluster.nodes() {
            assert!(node.mesh().peers().iter().all(|peer| peer.id != old), "nobody holds on to {state:?}");
        }
        assert_converged(&cluster, 4);
        let events = drain(&mut events);
        let replaced = EventKind::NodeStopped { reason: StopReason::Replaced };
        let stopped: Vec<_> = events.iter().filter(|event| event.kind == replaced).collect();
        assert_eq!(stopped.len(), 1);
        assert_eq!((stopped[0].node, stopped[0].cause), (Some(old), Some(command)));
        let error = cluster.restart_node(old).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invariant(_)), "{error:?}");
        within("shutdown", cluster.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn seeds_decide_who_comes_back_too() {
    let seeded = || ClusterConfig { seed: Some(3), ..ClusterConfig::default() };
    let (one, other) = (boot_with(2, seeded()).await, boot_with(2, seeded()).await);
    let mut seen = BTreeSet::from([one.nth(1).unwrap().node_id()]);
    for _ in 0..3 {
        let id = one.nth(1).unwrap().node_id();
        let fresh = within("restart", one.restart_node_as(id, RestartIdentity::Fresh)).await.unwrap();
        let same = within("restart", other.restart_node_as(id, RestartIdentity::Fresh)).await.unwrap();
        assert_eq!(fresh.node_id(), same.node_id());
        assert!(seen.insert(fresh.node_id()), "a new one every time");
    }
}
