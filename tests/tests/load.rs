//! A cluster at full load over real sockets: all pairs talk as much as they can, in every way there is, and nobody is
//! taken for dead.
//!
//! 30 s in every run of the tests; `MESHGROUND_SOAK_SECS=600` says how long otherwise.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use meshground::{CallOptions, ClusterConfig, ClusterHarness, Mesh, Request, Subscription};
use meshground_shared::{EventKind, Health, NodeId};
use meshground_tests::waiting::{PATIENCE, within};
use tokio::task::JoinSet;

const NODES: usize = 5;

/// So many bytes one stream carries before the next is opened.
const STREAM: usize = 1 << 20;

/// The length of a message.
const MESSAGE: usize = 1_000;

fn soak() -> Duration {
    let seconds = std::env::var("MESHGROUND_SOAK_SECS").ok();
    let seconds = seconds.map(|it| it.parse().expect("MESHGROUND_SOAK_SECS is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(30))
}

/// What went through, by kind.
#[derive(Debug, Default)]
struct Tally {
    messages: AtomicU64,
    streams: AtomicU64,
    calls: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn content(salt: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| ((i / 7).wrapping_mul(0x9d) ^ salt).to_le_bytes()[0]).collect()
}

/// What each node sends, its messages from the beginning of it.
type Contents = Arc<BTreeMap<NodeId, Vec<u8>>>;

/// Answers, reads and counts whatever comes in.
fn receive(tasks: &mut JoinSet<()>, mesh: &Mesh, contents: &Contents, tally: &Arc<Tally>) {
    mesh.serve("echo", async |request: Request| Ok(request.body));
    let (node, its, expected) = (mesh.clone(), Arc::clone(tally), Arc::clone(contents));
    tasks.spawn(async move {
        let mut messages = node.messages();
        while let Some(message) = messages.recv().await {
            assert!(*message.payload == expected[&message.from][..MESSAGE]);
            add(&its.messages);
        }
    });
    let (node, its, contents) = (mesh.clone(), Arc::clone(tally), Arc::clone(contents));
    tasks.spawn(async move {
        while let Some(mut stream) = node.accept_stream().await {
            let (its, contents) = (Arc::clone(&its), Arc::clone(&contents));
            tokio::spawn(async move {
                // One that was cut off by the end of the test is none that went wrong.
                if let Ok(got) = stream.read_to_end(STREAM).await {
                    assert!(got == contents[&stream.peer()], "a stream's bytes, once and in order");
                    add(&its.streams);
                }
            });
        }
    });
}

/// Messages, streams and calls to `peer`, as many as it takes.
fn send(
    tasks: &mut JoinSet<()>,
    mesh: &Mesh,
    peer: NodeId,
    end: Instant,
    contents: &Contents,
    tally: &Arc<Tally>,
) {
    let (node, contents_of) = (mesh.clone(), Arc::clone(contents));
    tasks.spawn(async move {
        let mut sender = node.sender(peer);
        let payload = &contents_of[&node.node_id()][..MESSAGE];
        while Instant::now() < end {
            sender.send(payload).await.expect("the session lives");
        }
    });
    let (node, contents_of) = (mesh.clone(), Arc::clone(contents));
    tasks.spawn(async move {
        let data = &contents_of[&node.node_id()];
        while Instant::now() < end {
            let mut stream = node.open_stream(peer).await.expect("the session lives");
            stream.write_all(data).await.expect("the session lives");
            stream.finish().await.expect("the session lives");
        }
    });
    let (node, its) = (mesh.clone(), Arc::clone(tally));
    tasks.spawn(async move {
        let options = CallOptions { deadline: None };
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let body = content(number, 200);
            let answer = node.call(peer, "echo", body.clone(), options).await.expect("the session lives");
            assert!(answer == body);
            add(&its.calls);
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_full_load_between_all_pairs_nobody_is_taken_for_dead() {
    let cluster = within("boot", ClusterHarness::with_config(NODES, ClusterConfig::default())).await.unwrap();
    let Subscription { events: mut verdicts, .. } = cluster.events();
    let tally = Arc::new(Tally::default());
    let (mut receivers, mut senders) = (JoinSet::new(), JoinSet::new());
    let nodes = cluster.nodes();
    let contents: Contents =
        Arc::new(nodes.iter().map(|node| (node.node_id(), content(node.node_id().0, STREAM))).collect());
    for node in &nodes {
        receive(&mut receivers, node.mesh(), &contents, &tally);
    }
    let end = Instant::now() + soak();
    for node in &nodes {
        for peer in nodes.iter().filter(|peer| peer.node_id() != node.node_id()) {
            send(&mut senders, node.mesh(), peer.node_id(), end, &contents, &tally);
        }
    }
    let judging = tokio::spawn(async move {
        let mut judged: BTreeMap<Health, Vec<(NodeId, NodeId, u64)>> = BTreeMap::new();
        loop {
            let event = verdicts.recv().await.expect("the test reads faster than events come");
            match event.kind {
                EventKind::ClusterStopping => break,
                EventKind::PeerHealth { peer, to, silence_us, .. } => {
                    let node = event.node.expect("a verdict is a node's");
                    judged.entry(to).or_default().push((node, peer, silence_us));
                }
                EventKind::SessionDown { .. } => panic!("a session has ended: {event:?}"),
                _ => {}
            }
        }
        judged
    });
    while let Some(sender) =
        tokio::time::timeout(soak() + PATIENCE, senders.join_next()).await.expect("they end")
    {
        sender.expect("it went well");
    }
    assert!(cluster.health().fully_converged(), "{:?}", cluster.health());
    let renewed: u64 = {
        let mut renewed = 0;
        for node in &nodes {
            renewed += node.mesh().stats().await.unwrap().iter().map(|peer| peer.rekeys).sum::<u64>();
        }
        renewed
    };
    within("shutdown", cluster.shutdown()).await.unwrap();
    receivers.shutdown().await;
    let judged = within("the last verdict", judging).await.expect("no session has ended");
    let count = |health| judged.get(&health).map_or(0, Vec::len);
    println!(
        "{tally:?} in {:?}; keys renewed {renewed} times; {} suspicions",
        soak(),
        count(Health::Suspect)
    );
    assert_eq!(judged.get(&Health::Unreachable), None, "nobody was dead");
    for counter in [&tally.messages, &tally.streams, &tally.calls] {
        assert!(counter.load(Ordering::Relaxed) > 100, "there was little load: {tally:?}");
    }
}
