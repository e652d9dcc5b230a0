//! What the cluster harness promises, over real sockets.

mod acquaintance;
mod boot;
mod changes;
mod chaos;
mod commanding;
mod daemons;
mod errors;
mod eyes;
mod faults;
mod groups;
mod last_words;
mod log;
mod membership;
mod mesh;
mod moving;
mod operators;
mod settings;
mod shutdown;
mod topology;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use meshground::{
    ClusterConfig, ClusterError, ClusterHarness, ClusterHealth, ClusterNode, EventLog, EventReceiver,
    MeshBuilder, Subscription,
};
use meshground_node::{LivenessConfig, MeshOsSnapshot};
use meshground_shared::{
    ClusterPhase, CommandId, Event, EventKind, Health, NodeId, NodeState, SessionEnd, Snapshot, StopReason,
    Topology,
};
use meshground_tests::waiting::{PATIENCE, within};

/// Folds events until the cluster looks as wanted.
async fn until(cluster: &ClusterHarness, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let Subscription { mut snapshot, mut events } = cluster.events();
    let looks_right = async {
        while !wanted(&snapshot) {
            snapshot.apply(&events.recv().await.expect("the test reads faster than events come"));
        }
    };
    within(what, looks_right).await;
    snapshot
}

/// Waits until a node's own snapshot shows something: it is a moment behind the event log, so there is no event for it.
async fn until_seen(
    cluster: &ClusterHarness,
    index: usize,
    what: &str,
    shows: impl Fn(&MeshOsSnapshot) -> bool,
) {
    let seen = async {
        while !shows(&cluster.views()[&index]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, seen).await;
}

/// Everything that has been logged and not been read.
fn drain(events: &mut EventReceiver) -> Vec<Arc<Event>> {
    std::iter::from_fn(|| events.try_recv().ok().flatten()).collect()
}

/// Those that concern a node: not the verdicts that a machine out of breath makes others pass on each other.
fn about(events: &[Arc<Event>], id: NodeId) -> impl Iterator<Item = &Arc<Event>> {
    events.iter().filter(move |event| !matches!(event.kind, EventKind::PeerHealth { peer, .. } if peer != id))
}

fn boot(n: usize) -> impl Future<Output = ClusterHarness> {
    boot_with(n, ClusterConfig::default())
}

async fn boot_with(n: usize, config: ClusterConfig) -> ClusterHarness {
    within("boot", ClusterHarness::with_config(n, config)).await.unwrap()
}

fn full(n: usize) -> ClusterHealth {
    ClusterHealth {
        total_nodes: n,
        meshes_with_full_peers: n,
        runtimes_with_full_peers: n,
        indexes_with_all_nodes: n,
        nodes_with_all_routes: n,
    }
}

fn ids(cluster: &ClusterHarness) -> BTreeSet<NodeId> {
    cluster.nodes().iter().map(ClusterNode::node_id).collect()
}

/// Whether every member but `id` sees `id` as `health`.
fn all_others_see(snapshot: &Snapshot, id: NodeId, health: Health) -> bool {
    snapshot
        .nodes
        .iter()
        .filter(|&(&other, _)| other != id)
        .all(|(_, node)| node.peers.get(&id).is_some_and(|peer| peer.health == health))
}

fn assert_converged(cluster: &ClusterHarness, n: usize) {
    let members = ids(cluster);
    assert_eq!(members.len(), n);
    let snapshot = cluster.snapshot();
    for node in cluster.nodes() {
        let id = node.node_id();
        let others: BTreeSet<NodeId> = members.iter().copied().filter(|&other| other != id).collect();
        assert_eq!(node.mesh().peer_count(), n - 1);
        assert_eq!(node.mesh().peers().iter().map(|peer| peer.id).collect::<BTreeSet<_>>(), others);
        let shown = &snapshot.nodes[&id];
        assert_eq!(
            shown.peers.keys().copied().collect::<BTreeSet<_>>(),
            others,
            "all others and never itself"
        );
        assert!(shown.peers.values().all(|peer| peer.health == Health::Healthy));
        let own = node.sdk().runtime().snapshot();
        assert!(others.iter().all(|&other| own.sees_healthy(other)), "its own snapshot shows it too");
        assert!(!own.peers.contains_key(&id), "and never itself");
    }
    assert_eq!(cluster.health(), full(n));
    assert!(cluster.health().fully_converged());
    assert_eq!(snapshot.phase, ClusterPhase::Running);
    assert!(snapshot.is_converged());
}

/// This process's sockets at these addresses, in a form in which they can be found again.
#[cfg(target_os = "linux")]
fn sockets(addresses: &[SocketAddr]) -> Vec<String> {
    let inode_in = |table: &str, port: &str| {
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.into_iter().find(|row| row[1].ends_with(port)).map(|row| row[9].to_owned())
    };
    let inode_of = |address: &SocketAddr| {
        let port = format!(":{:04X}", address.port());
        let begun = Instant::now();
        // The kernel writes the table piece by piece, and skips a row when other sockets come and go meanwhile.
        while begun.elapsed() < PATIENCE {
            let table = std::fs::read_to_string("/proc/self/net/udp").unwrap();
            if let Some(inode) = inode_in(&table, &port) {
                return format!("socket:[{inode}]");
            }
        }
        panic!("no socket is open at {address}");
    };
    addresses.iter().map(inode_of).collect()
}

/// Those of them that this process still holds.
#[cfg(target_os = "linux")]
fn still_open(sockets: &[String]) -> Vec<String> {
    let held: BTreeSet<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    sockets.iter().filter(|socket| held.contains(*socket)).cloned().collect()
}

#[cfg(not(target_os = "linux"))]
fn sockets(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    addresses.to_vec()
}

#[cfg(not(target_os = "linux"))]
fn still_open(sockets: &[SocketAddr]) -> Vec<SocketAddr> {
    sockets.iter().filter(|address| std::net::UdpSocket::bind(address).is_err()).copied().collect()
}

fn addresses(nodes: &[ClusterNode]) -> Vec<SocketAddr> {
    nodes.iter().map(ClusterNode::local_addr).collect()
}
