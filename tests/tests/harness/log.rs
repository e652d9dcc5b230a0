//! What a cluster tells of itself and its nodes of each other.

use meshground::meshos::random_keypair;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_gapless_folds_to_the_snapshot_and_no_node_speaks_once_it_has_stopped() {
    let log = EventLog::new();
    let Subscription { mut snapshot, mut events } = log.subscribe();
    let config = ClusterConfig { log: Some(Arc::clone(&log)), ..ClusterConfig::default() };
    let cluster = boot_with(6, config).await;
    for node in cluster.nodes() {
        within("a start", node.daemon_runtime().spawn("echo", random_keypair(), "")).await.unwrap();
    }
    let id = |index| cluster.nth(index).unwrap().node_id();
    let (a, b, c) = (id(0), id(1), id(2));
    within("crash", cluster.crash_node(a)).await.unwrap();
    within("leave", cluster.shutdown_node(b)).await.unwrap();
    within("restart", cluster.restart_node(c)).await.unwrap();
    within("restart", cluster.restart_node(a)).await.unwrap();
    within("add", cluster.add_node()).await.unwrap();
    within("shutdown", cluster.shutdown()).await.unwrap();

    let (mut up, mut ends) = (BTreeSet::new(), 0);
    for (at, event) in drain(&mut events).iter().enumerate() {
        assert_eq!(event.seq, at as u64 + 1);
        snapshot.apply(event);
        if let Some(node) = event.node {
            match event.kind {
                EventKind::NodeStarted { .. } => assert!(up.insert(node), "{event:?}"),
                EventKind::NodeStopped { .. } => assert!(up.remove(&node), "{event:?}"),
                EventKind::DaemonGone { .. } => {
                    assert!(up.contains(&node), "it speaks while it is down: {event:?}");
                    ends += 1;
                }
                _ => assert!(up.contains(&node), "it speaks while it is down: {event:?}"),
            }
        }
    }
    assert!(up.is_empty());
    assert_eq!(ends, 4, "two had crashed or were crashed before they were restarted");
    assert_eq!(snapshot, log.snapshot());
}

#[tokio::test]
async fn links_are_measured() {
    let cluster = boot(3).await;
    let measured = async {
        // Heartbeats bring the first figures; each of them is awaited by asking anew once events or time went by.
        loop {
            let links = cluster.links().await;
            if links.len() == 6 {
                return links;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let links = within("round-trip times", measured).await;
    let members = ids(&cluster);
    for link in links {
        assert!(members.contains(&link.node) && members.contains(&link.peer) && link.node != link.peer);
        assert!(link.rtt_us < 10_000_000, "{link:?}");
    }
}

#[tokio::test]
async fn members_send_each_other_messages() {
    let cluster = boot(3).await;
    let (a, b) = (cluster.nth(0).unwrap(), cluster.nth(1).unwrap());
    let mut inbox = b.mesh().messages();
    a.mesh().send(b.node_id(), b"hello").await.unwrap();
    let message = within("the message", inbox.recv()).await.unwrap();
    assert_eq!((message.from, &message.payload[..]), (a.node_id(), &b"hello"[..]));
    let traffic = within("counters", cluster.traffic()).await;
    assert_eq!(traffic.len(), 6);
    let messages = |node: &ClusterNode, peer: &ClusterNode| {
        let ends = (node.node_id(), peer.node_id());
        let total = traffic.iter().find(|it| (it.node, it.peer) == ends).unwrap().total;
        assert!(total.datagrams_out > 0 && total.bytes_out > total.datagrams_out);
        (total.messages_out, total.messages_in)
    };
    assert_eq!((messages(&a, &b), messages(&b, &a)), ((1, 0), (0, 1)));
    let too_large = vec![0; a.mesh().max_message() + 1];
    assert!(a.mesh().send(b.node_id(), &too_large).await.is_err());
    assert!(a.mesh().send(NodeId(1), b"nobody").await.is_err());

    within("shutdown", cluster.shutdown()).await.unwrap();
    assert!(a.mesh().send(b.node_id(), b"too late").await.is_err());
    assert_eq!(within("the end", inbox.recv()).await, None);
}
