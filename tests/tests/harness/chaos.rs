//! A cluster of sixteen on bad links on which daemons move and nodes crash all the time, and what is left of it.
//!
//! Some 15 s in every run of the tests; `MESHGROUND_SOAK_SECS=600` says how long otherwise.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use meshground::{
    cluster::{GroupConfig, ReplicaGroup},
    daemons,
    meshos::random_keypair,
};
use meshground_node::{DaemonId, PickStrategy};
use meshground_shared::{GroupHealth, LinkFault};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::*;

const NODES: usize = 16;

/// These never crash.
const SAFE: usize = 4;

/// How many each group has.
const COUNT: u32 = 4;

fn soak() -> Duration {
    let seconds = std::env::var("MESHGROUND_SOAK_SECS").ok();
    let seconds = seconds.map(|it| it.parse().expect("MESHGROUND_SOAK_SECS is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(15))
}

/// What happened, to see that anything did.
#[derive(Debug, Default)]
struct Tally {
    over: AtomicBool,
    crashes: AtomicU64,
    moved: AtomicU64,
    stayed: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
}

impl Tally {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Something below `bound`.
fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    usize::try_from(rng.next_u64() % bound as u64).expect("below a usize")
}

fn counters() -> Arc<dyn meshground_node::DaemonFactory> {
    daemons::bundled().find(|(kind, _)| *kind == "counter").expect("it is bundled").1
}

async fn count(node: &ClusterNode, daemon: DaemonId, payload: &str) -> Option<u64> {
    let delivered = node.daemon_runtime().deliver(daemon, payload, None).await.ok()?;
    String::from_utf8(delivered.replies.concat()).ok()?.parse().ok()
}

/// Crashes nodes and starts them again.
async fn crash_again_and_again(cluster: ClusterHarness, tally: Arc<Tally>) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    while !tally.is_over() {
        let index = SAFE + below(&mut rng, NODES - SAFE);
        let id = cluster.nth(index).expect("it is a member").node_id();
        within("a crash", cluster.crash_node(id)).await.expect("it runs");
        let pause = 50 + rng.next_u64() % 1_500;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        within("a restart", cluster.restart_node(id)).await.expect("it comes back");
        add(&tally.crashes);
        tokio::time::sleep(Duration::from_millis(pause / 2)).await;
    }
}

/// Moves a daemon from one of these nodes to another.
async fn move_about(cluster: ClusterHarness, daemon: DaemonId, among: usize, tally: Arc<Tally>) {
    let mut rng = ChaCha20Rng::seed_from_u64(daemon.0);
    while !tally.is_over() {
        let to = cluster.nth(below(&mut rng, among)).expect("it is a member").node_id();
        let asked = cluster.nth(below(&mut rng, SAFE)).expect("it is a member");
        match within("a migration", asked.daemon_runtime().migrate(daemon, to)).await {
            Ok(_) => add(&tally.moved),
            Err(_) => add(&tally.stayed),
        }
        tokio::time::sleep(Duration::from_millis(rng.next_u64() % 100)).await;
    }
}

/// Moves members of a group.
async fn stir(cluster: ClusterHarness, group: ReplicaGroup, tally: Arc<Tally>) {
    let mut rng = ChaCha20Rng::seed_from_u64(group.id().0);
    while !tally.is_over() {
        let asked = cluster.nth(below(&mut rng, SAFE)).expect("it is a member");
        let to = cluster.nth(below(&mut rng, NODES)).expect("it is a member").node_id();
        if let Ok(Some(member)) = within("a pick", group.pick(PickStrategy::Random)).await {
            match within("a migration", asked.daemon_runtime().migrate(member, to)).await {
                Ok(_) => add(&tally.moved),
                Err(_) => add(&tally.stayed),
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.next_u64() % 500)).await;
    }
}

/// Has a counter count, from one of those that never crash; how often it said that it did, and how often it may have.
async fn have_it_count(node: ClusterNode, daemon: DaemonId, tally: Arc<Tally>) -> (u64, u64) {
    let (mut sure, mut perhaps) = (0, 0);
    while !tally.is_over() {
        perhaps += 1;
        if within("an answer", count(&node, daemon, "add")).await.is_some() {
            sure += 1;
            add(&tally.answered);
        } else {
            add(&tally.unanswered);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    (sure, perhaps)
}

/// What really runs where.
async fn really(cluster: &ClusterHarness) -> BTreeMap<DaemonId, Vec<usize>> {
    let mut hosts: BTreeMap<DaemonId, Vec<usize>> = BTreeMap::new();
    for node in cluster.nodes() {
        let daemons = within("a look", node.daemon_runtime().daemons()).await.expect("it runs");
        for view in daemons {
            hosts.entry(view.id).or_default().push(node.index());
        }
    }
    hosts
}

/// What is not yet as it should be.
fn wrong(snapshot: &Snapshot, hosts: &BTreeMap<DaemonId, Vec<usize>>) -> Option<String> {
    if let Some(twice) = hosts.iter().find(|(_, at)| at.len() > 1) {
        return Some(format!("one runs twice: {twice:?}"));
    }
    let mut logged: BTreeMap<DaemonId, Vec<usize>> = BTreeMap::new();
    for node in snapshot.nodes.values() {
        for id in node.daemons.keys() {
            logged.entry(*id).or_default().push(node.index as usize);
        }
    }
    if logged != *hosts {
        return Some(format!("the log has it that these run: {logged:?}; really, these do: {hosts:?}"));
    }
    if snapshot.groups.len() != 3 {
        return Some(format!("these groups: {:?}", snapshot.groups));
    }
    for view in snapshot.groups.values() {
        let nodes: BTreeSet<Option<NodeId>> = view.members.iter().map(|member| member.node).collect();
        if view.health != GroupHealth::Healthy || nodes.len() != COUNT as usize {
            return Some(format!("a group is not well: {view:?}"));
        }
        if let Some(member) = view.members.iter().find(|member| !hosts.contains_key(&member.daemon)) {
            return Some(format!("{member:?} is said to run: {view:?}"));
        }
    }
    let moving = snapshot.migrations.values().find(|migration| !migration.view.phase.is_over());
    moving.map(|moving| format!("one is on its way: {moving:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_move_while_nodes_crash_on_bad_links_end_up_in_one_place_each_and_groups_whole() {
    let bad = LinkFault { loss: 0.05, ..LinkFault::default() };
    let all = (0..NODES).flat_map(|a| (0..NODES).map(move |b| (a, b))).filter(|(a, b)| a != b);
    let config = ClusterConfig {
        faults: all.map(|link| (link, bad)).collect(),
        seed: Some(5),
        handshake_timeout: PATIENCE,
        mesh_session_stable_timeout: PATIENCE,
        ..ClusterConfig::default()
    };
    let cluster = boot_with(NODES, config).await;
    let mut groups = Vec::new();
    for anchor in [0, 6, 11] {
        let config =
            GroupConfig { count: COUNT, name: Some(format!("of {anchor}")), ..GroupConfig::default() };
        let group = cluster.spawn_replica_group(anchor, "counter", counters(), config);
        groups.push(within("a group", group).await.expect("there is room"));
    }
    let mut precious = Vec::new();
    for index in 0..SAFE {
        let runtime = cluster.nth(index).expect("it is a member").daemon_runtime();
        precious.push(within("a start", runtime.spawn("counter", random_keypair(), "")).await.unwrap());
    }
    let stray =
        within("a start", cluster.nth(0).unwrap().daemon_runtime().spawn("counter", random_keypair(), ""))
            .await
            .unwrap();

    let tally = Arc::new(Tally::default());
    let mut movers = vec![tokio::spawn(crash_again_and_again(cluster.clone(), Arc::clone(&tally)))];
    for &daemon in &precious {
        movers.push(tokio::spawn(move_about(cluster.clone(), daemon, SAFE, Arc::clone(&tally))));
    }
    // This one may be lost on its way.
    movers.push(tokio::spawn(move_about(cluster.clone(), stray, NODES, Arc::clone(&tally))));
    for group in &groups {
        movers.push(tokio::spawn(stir(cluster.clone(), group.clone(), Arc::clone(&tally))));
    }
    let mut senders = Vec::new();
    for &daemon in &precious {
        let each = (0..2).map(|index| {
            let node = cluster.nth(index).expect("it is a member");
            tokio::spawn(have_it_count(node, daemon, Arc::clone(&tally)))
        });
        senders.push((daemon, each.collect::<Vec<_>>()));
    }
    tokio::time::sleep(soak()).await;
    tally.over.store(true, Ordering::Relaxed);
    for mover in movers {
        mover.await.expect("it ends well");
    }
    let mut counted = Vec::new();
    for (daemon, each) in senders {
        let (mut sure, mut perhaps) = (0, 0);
        for one in each {
            let (its_sure, its_perhaps) = one.await.expect("it ends well");
            sure += its_sure;
            perhaps += its_perhaps;
        }
        counted.push((daemon, sure..=perhaps));
    }
    println!("{tally:?}");

    cluster.clear_faults().unwrap();
    within("peace", cluster.converged()).await.unwrap();
    let begun = Instant::now();
    loop {
        let hosts = really(&cluster).await;
        let Some(wrong) = wrong(&cluster.snapshot(), &hosts) else { break };
        assert!(begun.elapsed() < PATIENCE, "in peace for long: {wrong}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (daemon, expected) in counted {
        let hosts = really(&cluster).await;
        assert!(hosts[&daemon].iter().all(|index| *index < SAFE));
        let node = cluster.nth(SAFE).expect("it is a member");
        let found = within("its count", count(&node, daemon, "get")).await.expect("it runs");
        assert!(expected.contains(&found), "{daemon} counted {found}, and was to {expected:?}");
    }
    assert!(
        tally.crashes.load(Ordering::Relaxed) > 0 && tally.moved.load(Ordering::Relaxed) > 10,
        "{tally:?}"
    );
    within("the end", cluster.shutdown()).await.unwrap();
}
