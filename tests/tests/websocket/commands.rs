//! Topologies, pauses, faults and other identities, over the WebSocket.

use meshground_shared::{
    LinkFault,
    rpc::{
        ClearLink, ClearParams, ClusterTopology, FaultClear, FaultList, FaultParams, FaultPartition,
        FaultSet, NodePause, NodeResume, PartitionParams, TopologyParams,
    },
};

use super::*;

async fn snapshot(client: &mut Client) -> Snapshot {
    client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_boots_in_a_topology_and_is_linked_in_another() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let tree = Topology::Tree { arity: 2 };
    let params = BootParams { nodes: 7, replace: false, topology: Some(tree) };
    client.call::<ClusterBoot>(&params).await.unwrap();
    let now = snapshot(&mut client).await;
    assert_eq!((now.topology, now.edges().len(), now.is_converged()), (tree, 6, true));

    client.call::<ClusterTopology>(&TopologyParams { topology: Topology::Ring }).await.unwrap();
    let now = snapshot(&mut client).await;
    assert_eq!((now.topology, now.edges().len(), now.is_converged()), (Topology::Ring, 7, true));

    let impossible = TopologyParams { topology: Topology::Tree { arity: 0 } };
    let error = client.call::<ClusterTopology>(&impossible).await.unwrap_err();
    assert_error(&error, ErrorCode::InvalidParams);
    assert_eq!(error.data.command, None, "nothing was begun");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_paused_and_resumed_and_out_of_turn_that_is_refused() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 3).await;
    let node = NodeParams { node: booted.nodes[1] };
    assert_error(&client.call::<NodeResume>(&node).await.unwrap_err(), ErrorCode::WrongState);
    client.call::<NodePause>(&node).await.unwrap();
    assert_eq!(snapshot(&mut client).await.nodes[&node.node].state, NodeState::Paused);
    assert_error(&client.call::<NodePause>(&node).await.unwrap_err(), ErrorCode::WrongState);
    client.call::<NodeResume>(&node).await.unwrap();
    assert_eq!(snapshot(&mut client).await.nodes[&node.node].state, NodeState::Running);
    let stranger = NodeParams { node: NodeId(1) };
    assert_error(&client.call::<NodePause>(&stranger).await.unwrap_err(), ErrorCode::NodeNotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restarts_as_somebody_else() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 3).await;
    let old = booted.nodes[2];
    let params = RestartParams { node: old, fresh_identity: true };
    let back = client.call::<NodeRestart>(&params).await.unwrap();
    assert_ne!(back.node, old);
    assert_eq!(back.index, 2);
    let now = snapshot(&mut client).await;
    assert!(!now.nodes.contains_key(&old) && now.is_converged());
    assert_error(&client.call::<NodeRestart>(&params).await.unwrap_err(), ErrorCode::NodeNotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_set_listed_and_cleared() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let [a, b, c] = boot(&mut client, 3).await.nodes[..] else { panic!("three were asked for") };
    let slow = LinkFault { delay_us: 2_000, ..LinkFault::default() };
    let params = FaultParams { from: a, to: b, both_ways: true, fault: slow };
    client.call::<FaultSet>(&params).await.unwrap();
    client.call::<FaultPartition>(&PartitionParams { one: vec![c], other: vec![a, b] }).await.unwrap();
    let listed = client.call::<FaultList>(&NoParams {}).await.unwrap().faults;
    assert_eq!(listed.len(), 6);
    assert_eq!(listed, snapshot(&mut client).await.faults().collect::<Vec<_>>());

    let link = ClearLink { from: b, to: a, both_ways: false };
    client.call::<FaultClear>(&ClearParams { link: Some(link) }).await.unwrap();
    assert_eq!(client.call::<FaultList>(&NoParams {}).await.unwrap().faults.len(), 5);
    client.call::<FaultClear>(&ClearParams::default()).await.unwrap();
    assert!(client.call::<FaultList>(&NoParams {}).await.unwrap().faults.is_empty());

    for (from, to, loss, code) in [
        (a, b, 2.0, ErrorCode::InvalidParams),
        (a, a, 0.5, ErrorCode::InvalidParams),
        (a, NodeId(1), 0.5, ErrorCode::NodeNotFound),
    ] {
        let fault = LinkFault { loss, ..LinkFault::default() };
        let params = FaultParams { from, to, both_ways: false, fault };
        assert_error(&client.call::<FaultSet>(&params).await.unwrap_err(), code);
    }
    let both_sides = PartitionParams { one: vec![a], other: vec![a, b] };
    let error = client.call::<FaultPartition>(&both_sides).await.unwrap_err();
    assert_error(&error, ErrorCode::InvalidParams);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_named_again_and_again_counts_once() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let [a, b] = boot(&mut client, 2).await.nodes[..] else { panic!("two were asked for") };
    // As many as a message takes. Pair by pair they would need more memory than there is.
    let often = PartitionParams { one: vec![a; 25_000], other: vec![b; 25_000] };
    client.call::<FaultPartition>(&often).await.unwrap();
    assert_eq!(client.call::<FaultList>(&NoParams {}).await.unwrap().faults.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_fails_half_way_names_itself_in_its_error() {
    let server = started(slow_to_fail()).await;
    let mut client = Client::connect(server.local_addr()).await;
    let params = BootParams { nodes: 2, replace: false, topology: None };
    let error = client.call::<ClusterBoot>(&params).await.unwrap_err();
    let command = error.data.command.expect("it had begun");
    let mut all = server.log().resume(server.log().epoch(), 0).expect("the log keeps all of it");
    let failed = loop {
        let event = all.try_recv().expect("nothing is missed").expect("it is there");
        if matches!(event.kind, EventKind::ClusterFailed { .. }) {
            break event;
        }
    };
    assert_eq!(failed.cause, Some(command));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_joining_takes_one_place_and_not_two() {
    let server = started(ServerConfig { max_nodes: 4, ..ServerConfig::default() }).await;
    let mut client = Client::connect(server.local_addr()).await;
    boot(&mut client, 2).await;
    let mut spawns = Vec::new();
    for _ in 0..3 {
        let address = server.local_addr();
        spawns.push(tokio::spawn(async move {
            Client::connect(address).await.call::<NodeSpawn>(&NoParams {}).await
        }));
    }
    let mut refused = Vec::new();
    for spawn in spawns {
        refused.extend(in_time("a spawn", spawn).await.unwrap().err());
    }
    assert_eq!(refused.len(), 1, "two places were free: {refused:?}");
    assert_error(&refused[0], ErrorCode::LimitExceeded);
    assert_eq!(snapshot(&mut client).await.nodes.len(), 4);
    server.stop().await;
}
