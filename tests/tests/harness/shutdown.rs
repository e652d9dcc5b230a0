//! Shutting down, and dropping instead.

use super::*;

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

/// Run by the test below, in a process of its own.
#[tokio::test]
#[ignore = "only something for another test to look at"]
async fn one_that_is_dropped() {
    drop(boot(2).await);
}

/// Likewise.
#[tokio::test]
#[ignore = "only something for another test to look at"]
async fn one_that_is_shut_down() {
    let cluster = boot(2).await;
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[test]
fn a_cluster_that_is_dropped_without_a_shutdown_prints_a_hint() {
    let printed_by = |test: &str| {
        let mut run = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = run.args(["--ignored", "--exact", "--nocapture", test]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    let hint = "ClusterHarness::shutdown()";
    assert_eq!(printed_by("shutdown::one_that_is_dropped").matches(hint).count(), 1);
    assert_eq!(printed_by("shutdown::one_that_is_shut_down").matches(hint).count(), 0);
}
