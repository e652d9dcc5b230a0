//! What changes a cluster.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_cluster_is_replaced_only_on_request() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let first = boot(&mut client, 2).await;
    let refused = client
        .call::<ClusterBoot>(&BootParams { nodes: 3, replace: false, topology: None })
        .await
        .unwrap_err();
    assert_error(&refused, ErrorCode::AlreadyRunning);

    let second =
        client.call::<ClusterBoot>(&BootParams { nodes: 3, replace: true, topology: None }).await.unwrap();
    assert_ne!(first.command, second.command);
    let stop =
        mirror.until(&mut client, "the old one's end", |event| event.kind == EventKind::ClusterStopped).await;
    assert_eq!(
        stop.cause,
        Some(second.command),
        "the end of the old one follows from the boot of the new one"
    );
    mirror
        .until_it_shows(&mut client, "the new one", |fold| {
            fold.phase == ClusterPhase::Running && fold.nodes.len() == 3 && fold.is_converged()
        })
        .await;
}

#[tokio::test]
async fn without_a_cluster_node_commands_say_so() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let node = NodeParams { node: NodeId(1) };
    for refused in [
        client.call::<NodeSpawn>(&NoParams {}).await.map(drop),
        client.call::<NodeShutdown>(&node).await.map(drop),
        client.call::<NodeCrash>(&node).await.map(drop),
        client.call::<NodeRestart>(&again(node)).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_error(&error, ErrorCode::NotRunning);
        assert!(error.data.hint.contains("cluster.boot"));
    }
    let done = client.call::<ClusterShutdown>(&NoParams {}).await.unwrap();
    assert_eq!(server.log().snapshot().seq, 0, "shutting down nothing ({done:?}) is no event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_there_or_not_up_cannot_be_taken_down() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 2).await;
    let stranger = NodeParams { node: NodeId(0xdead_beef) };
    for refused in [
        client.call::<NodeShutdown>(&stranger).await.map(drop),
        client.call::<NodeCrash>(&stranger).await.map(drop),
        client.call::<NodeRestart>(&again(stranger)).await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_error(&error, ErrorCode::NodeNotFound);
        assert!(error.message.contains("00000000deadbeef"));
    }
    let node = NodeParams { node: booted.nodes[0] };
    client.call::<NodeCrash>(&node).await.unwrap();
    for refused in
        [client.call::<NodeCrash>(&node).await.map(drop), client.call::<NodeShutdown>(&node).await.map(drop)]
    {
        assert_error(&refused.unwrap_err(), ErrorCode::WrongState);
    }
    client.call::<NodeRestart>(&again(node)).await.unwrap();
    client.call::<NodeRestart>(&again(node)).await.expect("one that runs can be restarted, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_does_not_grow_beyond_the_servers_limit() {
    let server = started(ServerConfig { max_nodes: 3, ..ServerConfig::default() }).await;
    let mut client = Client::connect(server.local_addr()).await;
    let too_many = client
        .call::<ClusterBoot>(&BootParams { nodes: 4, replace: false, topology: None })
        .await
        .unwrap_err();
    assert_error(&too_many, ErrorCode::LimitExceeded);
    assert!(too_many.message.contains('3'));
    boot(&mut client, 2).await;
    let spawns =
        [client.start::<NodeSpawn>(&NoParams {}).await, client.start::<NodeSpawn>(&NoParams {}).await];
    let mut outcomes = Vec::new();
    for id in &spawns {
        outcomes.push(client.finish::<NodeSpawn>(id).await);
    }
    let (spawned, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((spawned.len(), refused.len()), (1, 1));
    assert_error(refused[0].as_ref().unwrap_err(), ErrorCode::LimitExceeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_cluster_boots_other_commands_are_told_to_wait() {
    let server = started(slow_to_fail()).await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let boot = client.start::<ClusterBoot>(&BootParams { nodes: 2, replace: false, topology: None }).await;
    mirror.until_it_shows(&mut client, "the boot", |fold| fold.phase == ClusterPhase::Booting).await;
    for refused in [
        client.call::<ClusterBoot>(&BootParams { nodes: 1, replace: true, topology: None }).await.map(drop),
        client.call::<ClusterShutdown>(&NoParams {}).await.map(drop),
        client.call::<NodeSpawn>(&NoParams {}).await.map(drop),
        client.call::<NodeCrash>(&NodeParams { node: NodeId(1) }).await.map(drop),
    ] {
        assert_error(&refused.unwrap_err(), ErrorCode::Busy);
    }
    // A long command holds up nothing else of its own connection.
    assert_eq!(client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap().phase, ClusterPhase::Booting);

    let failed = client.finish::<ClusterBoot>(&boot).await.unwrap_err();
    assert_error(&failed, ErrorCode::HandshakeFailed);
    mirror
        .until(&mut client, "the failure", |event| matches!(event.kind, EventKind::ClusterFailed { .. }))
        .await;
    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    assert_eq!((snapshot.phase, snapshot.nodes.len()), (ClusterPhase::Empty, 0), "nothing is left of it");
    client
        .call::<ClusterBoot>(&BootParams { nodes: 1, replace: false, topology: None })
        .await
        .expect("one node alone has no key to disagree with");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_does_not_wait_for_a_boot() {
    let server = started(slow_to_fail()).await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let boot = client.start::<ClusterBoot>(&BootParams { nodes: 2, replace: false, topology: None }).await;
    mirror.until_it_shows(&mut client, "the boot", |fold| fold.phase == ClusterPhase::Booting).await;
    let answer = async {
        let answer = client.finish::<ClusterBoot>(&boot).await;
        (answer, client.closed().await)
    };
    let ((), (answer, goodbye)) = tokio::join!(in_time("the server to stop", server.stop()), answer);
    assert_error(&answer.unwrap_err(), ErrorCode::NotRunning);
    assert_eq!(goodbye.map(|frame| frame.code), Some(CloseCode::Away));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_cancels_nothing() {
    let server = server().await;
    let mut watcher = Client::connect(server.local_addr()).await;
    let mut mirror = watcher.mirror().await;
    let mut impatient = Client::connect(server.local_addr()).await;
    impatient.start::<ClusterBoot>(&BootParams { nodes: 12, replace: false, topology: None }).await;
    mirror.until_it_shows(&mut watcher, "the boot", |fold| fold.phase == ClusterPhase::Booting).await;
    impatient.vanish();
    mirror
        .until_it_shows(&mut watcher, "a cluster that nobody waits for", |fold| {
            fold.phase == ClusterPhase::Running && fold.nodes.len() == 12 && fold.is_converged()
        })
        .await;
    watcher.call::<NodeSpawn>(&NoParams {}).await.expect("it is a cluster like any other");
}
