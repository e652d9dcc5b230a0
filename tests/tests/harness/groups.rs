//! Groups of daemons over real nodes.

use meshground::{
    DaemonRuntimeError,
    cluster::{Group, GroupConfig},
    daemons::bundled,
    meshos::{random_keypair, wall_time},
};
use meshground_node::{
    Action, DaemonFactory, DaemonId, DaemonOrder, Dispatch, GroupError, LoggingDispatcher, PickStrategy,
    admin::{AdminCommand, Nonce},
};
use meshground_shared::{AdminVerb, Decision, GroupHealth, GroupKind, GroupView};

use super::*;

fn factory(kind: &str) -> Arc<dyn DaemonFactory> {
    bundled().find(|(known, _)| *known == kind).map(|(_, factory)| factory).expect("it is bundled")
}

async fn replicas(cluster: &ClusterHarness, anchor: usize, kind: &str, config: GroupConfig) -> Group {
    within("a group", cluster.spawn_replica_group(anchor, kind, factory(kind), config)).await.unwrap()
}

fn hosts(group: &Group) -> BTreeSet<NodeId> {
    group.view().unwrap().members.iter().filter_map(|member| member.node).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_really_run_on_three_nodes() {
    let cluster = boot(3).await;
    let group = replicas(&cluster, 0, "echo", GroupConfig::default()).await;
    let view = group.view().unwrap();
    assert_eq!((view.kind, view.desired, view.health), (GroupKind::Replica, 3, GroupHealth::Healthy));
    assert_eq!(hosts(&group), ids(&cluster), "no two share a node");
    let snapshot = cluster.snapshot();
    for member in &view.members {
        assert!(snapshot.nodes[&member.node.unwrap()].daemons.contains_key(&member.daemon));
    }
    let picked = group.pick(PickStrategy::RoundRobin).await.unwrap().expect("all are well");
    assert!(view.members.iter().any(|member| member.daemon == picked));

    // Of the same kind, of another one, and with the same anchor.
    let again = replicas(&cluster, 0, "echo", GroupConfig { count: 2, ..GroupConfig::default() }).await;
    let other = replicas(&cluster, 0, "counter", GroupConfig { count: 2, ..GroupConfig::default() }).await;
    assert!(again.id() != group.id() && other.health() == GroupHealth::Healthy);
    within("fewer", group.scale_to(1)).await.unwrap();
    assert_eq!(group.view().unwrap().desired, 1);
    for group in [&group, &again, &other] {
        within("the end", group.stop()).await.unwrap();
        assert_eq!(group.health(), GroupHealth::Dead);
    }
    let empty = |snapshot: &Snapshot| {
        snapshot.groups.is_empty() && snapshot.nodes.values().all(|node| node.daemons.is_empty())
    };
    until(&cluster, "nothing is left", empty).await;
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_maker_gave_up_waiting_is_found_by_its_id_and_can_be_stopped() {
    let cluster = boot(2).await;
    let maker = cluster.clone();
    let making = tokio::spawn(async move {
        let config = GroupConfig { count: 2, ..GroupConfig::default() };
        maker.spawn_replica_group(0, "echo", factory("echo"), config).await.map(drop)
    });
    let snapshot = until(&cluster, "the group", |snapshot| !snapshot.groups.is_empty()).await;
    making.abort();
    // It was given up, or done already.
    let _ = within("its maker's end", making).await;
    let id = *snapshot.groups.keys().next().unwrap();
    let group = cluster.group(id).expect("it is there");
    assert_eq!(group.id(), id);
    let all_run = |snapshot: &Snapshot| {
        snapshot.groups.get(&id).is_some_and(|view| view.health == GroupHealth::Healthy)
    };
    until(&cluster, "both members", all_run).await;
    within("the end", group.stop()).await.unwrap();
    assert!(cluster.group(id).is_none());
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_there_is_no_room_for_a_decision_is_an_event() {
    let cluster = boot(3).await;
    let node = cluster.nth(0).unwrap();
    let mut events = cluster.events().events;
    node.daemon_runtime().set_dispatch(Dispatch::Log(LoggingDispatcher::new(1))).await.unwrap();
    let spawned = cluster.spawn_replica_group(0, "echo", factory("echo"), GroupConfig::default());
    let lost = async {
        loop {
            let event = events.recv().await.unwrap();
            if let EventKind::DecisionsLost { dropped } = event.kind {
                return (event.node, dropped);
            }
        }
    };
    let lost = async {
        tokio::select! {
            _ = spawned => panic!("it waits for its members"),
            lost = lost => lost,
        }
    };
    assert_eq!(within("the event", lost).await, (Some(node.node_id()), 1));
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_only_writes_down_what_it_decides_places_no_member() {
    let cluster = boot(3).await;
    let runtime = cluster.nth(0).unwrap().daemon_runtime();
    assert_eq!(runtime.logged().await, Ok(None));
    runtime.set_dispatch(Dispatch::Log(LoggingDispatcher::default())).await.unwrap();
    let spawned = cluster.spawn_replica_group(0, "echo", factory("echo"), GroupConfig::default());
    let decided = async {
        loop {
            let logged = runtime.logged().await.unwrap().expect("it writes it down");
            if logged.records().len() == 3 {
                return logged;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let decided = async {
        tokio::select! {
            _ = spawned => panic!("it waits for its members"),
            decided = decided => decided,
        }
    };
    let decided = within("the decisions", decided).await;
    let nodes = decided.actions().filter_map(|action| match action {
        Action::RequestPlacement { node, .. } => Some(*node),
        _ => None,
    });
    assert_eq!(nodes.collect::<BTreeSet<NodeId>>(), ids(&cluster), "one for each");
    assert!(cluster.snapshot().nodes.values().all(|node| node.daemons.is_empty()));
    cluster.shutdown().await.unwrap();
}

/// Has a daemon work something off; what it says to that.
async fn told(cluster: &ClusterHarness, daemon: DaemonId, what: &str) -> String {
    let runtime = cluster.nth(0).unwrap().daemon_runtime();
    let delivered = within("a delivery", runtime.deliver(daemon, what, None)).await.unwrap();
    String::from_utf8(delivered.replies.concat()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forks_go_on_from_their_parents_state_without_it() {
    let cluster = boot(4).await;
    let host = cluster.nth(3).unwrap();
    let runtime = host.daemon_runtime();
    let parent = runtime.spawn("counter", random_keypair(), "from=40");
    let parent = within("a start", parent).await.unwrap();
    assert_eq!(told(&cluster, parent, "add 2").await, "42");
    let config = GroupConfig { count: 2, ..GroupConfig::default() };
    let forks = cluster.spawn_fork_group(0, "counter", factory("counter"), parent, config.clone());
    let forks = within("forks", forks).await.unwrap();
    let view = forks.view().unwrap();
    assert_eq!((view.kind, view.health), (GroupKind::Fork, GroupHealth::Healthy));
    let [first, second] = [0, 1].map(|place: usize| view.members[place].daemon);
    assert_eq!(told(&cluster, first, "add 1").await, "43");
    let lineage = within("a proof", forks.lineage(1)).await.unwrap().expect("it is a fork");
    assert_eq!((lineage.verify(), lineage.parent, lineage.child()), (Ok(()), parent, second));
    assert_eq!(within("no proof", forks.lineage(2)).await.unwrap(), None, "there are two");
    cluster.crash_node(host.node_id()).await.unwrap();
    assert_eq!(
        (told(&cluster, first, "get").await, told(&cluster, second, "get").await),
        ("43".into(), "42".into())
    );

    let orphans = cluster.spawn_fork_group(0, "counter", factory("counter"), DaemonId(1), config);
    let orphans = within("the failure", orphans).await;
    assert!(matches!(orphans, Err(ClusterError::Spawn { node_index: 0, .. })), "{orphans:?}");
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_group_that_cannot_be_placed_leaves_nothing_behind() {
    let cluster = boot(2).await;
    let far = cluster.spawn_replica_group(7, "echo", factory("echo"), GroupConfig::default()).await;
    assert!(matches!(far, Err(ClusterError::Invariant(_))), "{far:?}");
    let many = cluster.spawn_replica_group(1, "echo", factory("echo"), GroupConfig::default());
    let many = within("the failure", many).await;
    assert!(
        matches!(many, Err(ClusterError::Spawn { node_index: 1, .. })),
        "three need three nodes: {many:?}"
    );
    assert!(cluster.snapshot().nodes.values().all(|node| node.daemons.is_empty()));
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_node_dies_goes_on_on_another() {
    let cluster = boot(4).await;
    let group = replicas(&cluster, 0, "echo", GroupConfig::default()).await;
    let anchor = cluster.nth(0).unwrap().node_id();
    let victim = hosts(&group).into_iter().find(|&host| host != anchor).unwrap();
    cluster.crash_node(victim).await.unwrap();
    let replaced = |snapshot: &Snapshot| {
        let view = &snapshot.groups[&group.id()];
        view.health == GroupHealth::Healthy && view.members.iter().all(|member| member.node != Some(victim))
    };
    until(&cluster, "its member on another node", replaced).await;
    assert_eq!(hosts(&group).len(), 3);
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_talk_to_each_other_by_their_places() {
    let cluster = boot(3).await;
    let mut events = cluster.events().events;
    let gossip = replicas(&cluster, 0, "gossip", GroupConfig::default()).await;
    let runtime = cluster.nth(1).unwrap().daemon_runtime();
    let first = gossip.view().unwrap().members[0].daemon;
    let told = within("a rumour", runtime.deliver(first, "they say", None)).await.unwrap();
    assert_eq!(told.replies, [b"told 2"]);
    let ring = GroupConfig { args: "hold_ms=1".to_owned(), ..GroupConfig::default() };
    let ring = replicas(&cluster, 2, "ring", ring).await;
    let first = ring.view().unwrap().members[0].daemon;
    within("a token", runtime.deliver(first, "token 7", None)).await.unwrap();
    let (mut heard, mut passed, mut over) = (0, 0, false);
    let all = async {
        while heard < 3 || !over {
            if let EventKind::DaemonLog { text, .. } = &events.recv().await.unwrap().kind {
                heard += usize::from(text == "heard: they say");
                passed += usize::from(text.starts_with("has the token"));
                over |= text == "the token has gone through all its hands";
            }
        }
    };
    within("the rumour everywhere, and the token's end", all).await;
    assert_eq!((heard, passed), (3, 8));
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_goes_on_with_everything_when_it_is_promoted() {
    let cluster = boot(3).await;
    let made = cluster.spawn_standby_group(0, "counter", factory("counter"), GroupConfig::default());
    let group = within("a group", made).await.unwrap();
    let working = |view: &GroupView| view.members[0].node.expect("it works somewhere");
    let before = group.view().unwrap();
    assert_eq!((before.kind, before.desired), (GroupKind::Standby, 3));
    let runtime = cluster.nth(1).unwrap().daemon_runtime();
    let counter = before.members[0].daemon;
    within("a sum", runtime.deliver(counter, "add 5", None)).await.unwrap();
    within("the promotion", group.promote()).await.unwrap();
    let count = within("a count", runtime.deliver(counter, "get", None)).await.unwrap();
    assert_eq!(count.replies, [b"5"]);
    assert_ne!(working(&group.view().unwrap()), working(&before));
    let replicas = replicas(&cluster, 0, "echo", GroupConfig::default()).await;
    assert!(within("a refusal", replicas.promote()).await.is_err(), "nobody stands by there");
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_or_go_on_later_make_what_a_group_brought_along() {
    let cluster = boot(4).await;
    let paused = cluster.nth(3).unwrap().node_id();
    within("a pause", cluster.pause_node(paused)).await.unwrap();
    let own = Arc::new(|order: &DaemonOrder| factory("echo").make(order));
    let group = cluster.spawn_replica_group(0, "own", own, GroupConfig::default());
    let group = within("a group", group).await.unwrap();
    let is_whole = |snapshot: &Snapshot| {
        snapshot.groups.get(&group.id()).is_some_and(|group| group.health == GroupHealth::Healthy)
    };
    let degraded = |snapshot: &Snapshot| !is_whole(snapshot);

    // Restarted, it takes its place again: there is no fourth that could.
    let crashed = cluster.nth(1).unwrap().node_id();
    within("a crash", cluster.crash_node(crashed)).await.unwrap();
    until(&cluster, "one is missing", degraded).await;
    within("a restart", cluster.restart_node(crashed)).await.unwrap();
    until(&cluster, "the restarted node makes one", is_whole).await;

    // So does one that stood still when the group came.
    within("a crash", cluster.crash_node(crashed)).await.unwrap();
    until(&cluster, "one is missing again", degraded).await;
    within("the other goes on", cluster.resume_node(paused)).await.unwrap();
    until(&cluster, "the resumed node makes one", is_whole).await;

    // And one that is new.
    within("another crash", cluster.crash_node(paused)).await.unwrap();
    until(&cluster, "one is missing once more", degraded).await;
    let added = within("an addition", cluster.add_node()).await.unwrap();
    until(&cluster, "the added node makes one", is_whole).await;
    assert!(hosts(&group).contains(&added.node_id()));
    cluster.shutdown().await.unwrap();
}

/// Has every node place things on this one again, or not.
async fn set_cordoned(cluster: &ClusterHarness, node: NodeId, cordoned: bool, nonce: u8) {
    let verb = if cordoned { AdminVerb::Cordon { node } } else { AdminVerb::Uncordon { node } };
    let signed = AdminCommand::new(verb, wall_time(), Nonce([nonce; 16])).unsigned();
    let commanded = within("a decision", cluster.nth(0).unwrap().daemon_runtime().command(signed)).await;
    assert_eq!(commanded.unwrap().decision, Decision::Applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_lost_every_node_it_ran_on_is_dead_until_others_may_take_its_members() {
    let cluster = boot(4).await;
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|index| cluster.nth(index).unwrap().node_id());
    set_cordoned(&cluster, first, true, 1).await;
    set_cordoned(&cluster, second, true, 2).await;
    let group = replicas(&cluster, 0, "echo", GroupConfig { count: 2, ..GroupConfig::default() }).await;
    assert_eq!((hosts(&group), group.health()), (BTreeSet::from([third, fourth]), GroupHealth::Healthy));
    let id = group.id();
    let is = |health| move |snapshot: &Snapshot| snapshot.groups[&id].health == health;
    within("a crash", cluster.crash_node(third)).await.unwrap();
    within("a crash", cluster.crash_node(fourth)).await.unwrap();
    until(&cluster, "its death", is(GroupHealth::Dead)).await;
    assert_eq!(group.pick(PickStrategy::RoundRobin).await, Ok(None), "nobody is left to pick");
    assert_eq!(group.view().unwrap().desired, 2, "it is not stopped");

    set_cordoned(&cluster, second, false, 3).await;
    until(&cluster, "half of it", is(GroupHealth::Degraded { healthy: 1, total: 2 })).await;
    set_cordoned(&cluster, first, false, 4).await;
    until(&cluster, "all of it", is(GroupHealth::Healthy)).await;
    assert_eq!(hosts(&group), BTreeSet::from([first, second]));
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_grows_as_far_as_there_are_nodes_and_stays_as_it_is_beyond() {
    let cluster = boot(3).await;
    let group = replicas(&cluster, 1, "counter", GroupConfig { count: 1, ..GroupConfig::default() }).await;
    let one = group.view().unwrap().members[0];
    assert_eq!(told(&cluster, one.daemon, "add 4").await, "4");
    within("more", group.scale_to(3)).await.unwrap();
    let grown = group.view().unwrap();
    assert_eq!((grown.desired, grown.health, hosts(&group)), (3, GroupHealth::Healthy, ids(&cluster)));
    assert_eq!((grown.members[0].daemon, grown.members[0].node), (one.daemon, one.node), "the first stays");
    assert_eq!(told(&cluster, one.daemon, "get").await, "4", "and keeps what it has");
    for member in &grown.members[1..] {
        assert_eq!(told(&cluster, member.daemon, "get").await, "0");
    }
    let beyond = within("a refusal", group.scale_to(4)).await;
    let Err(DaemonRuntimeError::Group(GroupError::PlacementFailed { wanted: 4, .. })) = beyond else {
        panic!("there are three nodes: {beyond:?}");
    };
    assert_eq!((group.view().unwrap().desired, group.health()), (3, GroupHealth::Healthy));
    cluster.shutdown().await.unwrap();
}
