//! Capabilities, placement and relayed sessions between real nodes.

use std::time::Duration;

use meshground::{CallOptions, Mesh, MeshError, Request};
use meshground_node::{Capabilities, Filter, PlacementError, PlacementStrategy};

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

    assert!(first.call(last.node_id(), "echo", "", CallOptions::default()).await.is_err(), "no session yet");
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
