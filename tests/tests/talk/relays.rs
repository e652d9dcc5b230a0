//! Capabilities, placement and relayed sessions between real nodes.

use std::time::Duration;

use meshground::{CallOptions, Mesh, MeshBuilder, MeshError, Request};
use meshground_node::{
    CallError, Capabilities, Filter, HandshakeConfig, PlacementError, PlacementStrategy, SendError,
    StreamError,
};

use super::{mesh, within};

/// `count` nodes in a line: each holds a session with the next only.
async fn line(count: usize) -> Vec<Mesh> {
    let mut nodes: Vec<Mesh> = Vec::new();
    for n in 0..count {
        let node = mesh().await;
        let abilities = Capabilities::new().with_tag(format!("node-{n}")).unwrap().with_tag("any").unwrap();
        node.announce_capabilities(abilities).await.unwrap();
        if let Some(last) = nodes.last() {
            node.connect(last.local_addr()).await.unwrap();
        }
        nodes.push(node);
    }
    nodes
}

/// Waits until every node knows of all of them and has a way to each.
async fn settled(nodes: &[Mesh]) {
    let all = async {
        for node in nodes {
            while node.find(Filter::any().with_tag("any")).await.unwrap().len() < nodes.len()
                || node.routes().await.unwrap().len() < nodes.len() - 1
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    within("every node's knowledge of all", all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ends_of_a_line_find_each_other_and_talk_over_the_nodes_between() {
    let nodes = line(5).await;
    settled(&nodes).await;
    let (first, last) = (&nodes[0], &nodes[4]);
    let found = first.find(Filter::any().with_tag("node-4")).await.unwrap();
    assert_eq!(found, [last.node_id()]);
    let way = first.routes().await.unwrap().into_iter().find(|route| route.target == last.node_id()).unwrap();
    assert_eq!((way.distance, way.next_hop), (4, nodes[1].node_id()));

    within("the relayed session", first.connect_relayed(last.node_id())).await.unwrap();
    last.serve("echo", async |request: Request| Ok(request.body));
    let body = vec![7; 300_000];
    let answer =
        within("the answer", first.call(last.node_id(), "echo", body.clone(), CallOptions::default()));
    assert!(answer.await.unwrap() == body);
    for between in &nodes[1..4] {
        assert_eq!(between.peer_count(), 2, "it only passes on what it cannot read");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_addresses_a_node_beyond_others_comes_to_a_session_unasked() {
    let nodes = line(4).await;
    settled(&nodes).await;
    let (first, last) = (&nodes[0], &nodes[3]);
    last.serve("echo", async |request: Request| Ok(request.body));
    let mut inbox = last.messages();
    // All at once, and each of them the first: they share one handshake.
    let stream = async {
        let mut here = first.open_stream(last.node_id()).await.unwrap();
        here.write_all(b"stream").await.unwrap();
        let mut there = last.accept_stream().await.unwrap();
        let mut read = [0; 6];
        let mut got = 0;
        while got < read.len() {
            got += there.read(&mut read[got..]).await.unwrap();
        }
        assert_eq!(&read, b"stream");
    };
    let all = async {
        tokio::join!(
            first.call(last.node_id(), "echo", "call", CallOptions::default()),
            first.send(last.node_id(), b"message"),
            stream,
        )
    };
    let (answer, sent, ()) = within("all of it", all).await;
    assert_eq!((answer, sent), (Ok(b"call".to_vec()), Ok(())));
    assert_eq!(&*within("the message", inbox.recv()).await.unwrap().payload, b"message");
    assert_eq!((first.peer_count(), last.peer_count()), (2, 2), "the next one, and each other");

    // The session has gone: the same sender comes to another.
    let mut sender = first.sender(last.node_id());
    within("a message", sender.send(b"one")).await.unwrap();
    within("disconnect", first.disconnect(last.node_id())).await.unwrap();
    within("a message", sender.send(b"two")).await.unwrap();
    let mut received = Vec::new();
    while received.last().is_none_or(|last| last != b"two") {
        received.push(within("a message", inbox.recv()).await.unwrap().payload.to_vec());
    }
}

#[tokio::test]
async fn a_way_that_leads_nowhere_fails_within_the_handshake_budget() {
    let short = HandshakeConfig {
        budget: Duration::from_millis(300),
        retransmit: Duration::from_millis(50),
        ..HandshakeConfig::default()
    };
    let first = MeshBuilder::new((std::net::Ipv4Addr::LOCALHOST, 0).into(), [7; 32]).handshake(short);
    let first = first.build().await.unwrap();
    let (between, last) = (mesh().await, mesh().await);
    first.connect(between.local_addr()).await.unwrap();
    between.connect(last.local_addr()).await.unwrap();
    let peer = last.node_id();
    let known = async {
        while !first.routes().await.unwrap().iter().any(|route| route.target == peer) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the way", known).await;
    within("a pause", last.pause()).await;
    let all = async {
        tokio::join!(
            first.call(peer, "echo", "", CallOptions { deadline: None }),
            first.send(peer, b"message"),
            first.open_stream(peer),
        )
    };
    let (called, sent, opened) = within("the end of all", all).await;
    assert_eq!(called, Err(MeshError::Call(CallError::NoSession(peer))));
    assert_eq!(sent, Err(MeshError::Send(SendError::NoSession(peer))));
    assert_eq!(opened.unwrap_err(), MeshError::Stream(StreamError::NoSession(peer)));

    let wait = Duration::from_millis(20);
    let error = within("the deadline", first.call(peer, "echo", "", CallOptions { deadline: Some(wait) }));
    assert_eq!(error.await, Err(MeshError::Call(CallError::Deadline(wait))));
}

#[tokio::test]
async fn placement_chooses_whom_the_filter_asks_for_and_never_one_that_is_used() {
    let nodes = line(3).await;
    settled(&nodes).await;
    let any = || Filter::any().with_tag("any");
    let only = nodes[0].place(Filter::any().with_tag("node-2"), PlacementStrategy::default()).await.unwrap();
    assert_eq!(only.node, nodes[2].node_id());
    let mut used = Vec::new();
    for _ in 0..3 {
        let placed =
            nodes[0].place_with_spread(any(), PlacementStrategy::default(), used.clone()).await.unwrap();
        assert!(!used.contains(&placed.node));
        used.push(placed.node);
    }
    let error = nodes[0].place_with_spread(any(), PlacementStrategy::default(), used).await.unwrap_err();
    assert!(matches!(error, MeshError::Place(PlacementError::PlacementFailed { .. })), "{error}");
}

#[tokio::test]
async fn there_is_no_way_to_a_stranger() {
    let nodes = line(2).await;
    let stranger = mesh().await;
    let dial = nodes[0].connect_relayed(stranger.node_id());
    let error = within("the end of the dial", dial).await.unwrap_err();
    assert!(matches!(error, MeshError::Relay { .. }), "{error}");
}
