//! Daemons, and calls between nodes, over the WebSocket.

use meshground_shared::{
    CallOutcome, DaemonEnd, DaemonId, DaemonSample, GroupHealth, GroupId, GroupKind, IceVerb, Lifecycle,
    LinkFault, MigrationId, MigrationPhase,
    rpc::{
        CallParams, CancelParams, ClearParams, DaemonDeliver, DaemonKinds, DaemonSpawn, DaemonSpawnParams,
        DaemonSpawned, DaemonStop, DaemonStopParams, DeliverParams, Delivered, FaultClear, FaultParams,
        FaultSet, GroupParams, GroupPromote, GroupScale, GroupSpawn, GroupSpawnParams, GroupSpawned,
        GroupStop, IceSimulate, MAX_ARGS_BYTES, MAX_BODY_BYTES, MAX_DEADLINE_MS, MAX_GRACE_MS,
        MAX_PAYLOAD_BYTES, MigrateParams, MigrationCancel, MigrationStart, NodeCrash, NodeLook, NodePause,
        NodeResume, RpcCall, ScaleParams, SimulateParams,
    },
};

use super::*;

async fn spawn(client: &mut Client, node: NodeId, kind: &str, args: &str) -> Result<DaemonSpawned, RpcError> {
    let params = DaemonSpawnParams { node, kind: kind.to_owned(), args: args.to_owned() };
    client.call::<DaemonSpawn>(&params).await
}

async fn deliver(
    client: &mut Client,
    daemon: DaemonId,
    payload: &str,
    via: Option<NodeId>,
) -> Result<Delivered, RpcError> {
    let params = DeliverParams { daemon, payload: payload.to_owned(), via };
    client.call::<DaemonDeliver>(&params).await
}

async fn stop(client: &mut Client, daemon: DaemonId, grace_ms: u32) -> Result<(), RpcError> {
    client.call::<DaemonStop>(&DaemonStopParams { daemon, grace_ms }).await.map(drop)
}

fn to_call(from: NodeId, to: NodeId, method: &str) -> CallParams {
    CallParams { from, to, method: method.to_owned(), body: "hello".to_owned(), deadline_ms: 10_000 }
}

/// What to ask for a group of two by, of daemons of a bundled kind.
fn two_of(kind: GroupKind, daemon: &str, anchor: NodeId) -> GroupSpawnParams {
    GroupSpawnParams {
        kind,
        daemon: daemon.to_owned(),
        count: 2,
        name: None,
        anchor: Some(anchor),
        parent: None,
        args: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_is_spawned_fed_from_anywhere_and_stopped_and_every_event_names_its_cause() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let kinds = client.call::<DaemonKinds>(&NoParams {}).await.unwrap();
    let nodes = boot(&mut client, 3).await.nodes;
    assert_eq!(client.call::<DaemonKinds>(&NoParams {}).await.unwrap(), kinds, "before a boot and after");
    assert!(kinds.kinds.iter().any(|kind| kind.kind == "counter" && !kind.about.is_empty()));

    let mut mirror = client.mirror().await;
    let spawned = spawn(&mut client, nodes[1], "counter", "from=4").await.unwrap();
    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    let view = &snapshot.nodes[&nodes[1]].daemons[&spawned.daemon];
    assert_eq!((view.lifecycle, view.kind.as_deref()), (Lifecycle::Running, Some("counter")));
    for (place, via) in (1..).zip([None, Some(nodes[0]), Some(nodes[2])]) {
        let delivered = deliver(&mut client, spawned.daemon, "add 1", via).await.unwrap();
        assert_eq!((delivered.processed, delivered.outputs), (place, vec![(4 + place).to_string()]));
    }
    stop(&mut client, spawned.daemon, 60_000).await.unwrap();
    let is_end = |event: &Event| matches!(event.kind, EventKind::DaemonGone { .. });
    let end = mirror.until(&mut client, "its end", is_end).await;
    assert_eq!(end.kind, EventKind::DaemonGone { daemon: spawned.daemon, reason: DaemonEnd::Stopped });
    assert!(end.cause > Some(spawned.command), "the command that stopped it");
    let starts = mirror.events.iter().filter(|event| {
        matches!(&event.kind, EventKind::DaemonChanged { daemon } if daemon.lifecycle == Lifecycle::Running)
    });
    assert!(starts.clone().count() > 0);
    for event in starts {
        assert_eq!((event.node, event.cause), (Some(nodes[1]), Some(spawned.command)));
    }
    assert_error(&stop(&mut client, spawned.daemon, 0).await.unwrap_err(), ErrorCode::DaemonNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_with_daemons_is_refused_and_changes_nothing() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nobody = NodeId(1);
    let error = spawn(&mut client, nobody, "echo", "").await.unwrap_err();
    assert_error(&error, ErrorCode::NotRunning);
    let nodes = boot(&mut client, 2).await.nodes;
    let echo = spawn(&mut client, nodes[0], "echo", "").await.unwrap().daemon;
    let before = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap().seq;

    let refusals = [
        (spawn(&mut client, nobody, "echo", "").await.map(drop), ErrorCode::NodeNotFound),
        (spawn(&mut client, nodes[0], "ehco", "").await.map(drop), ErrorCode::KindNotFound),
        (spawn(&mut client, nodes[0], "", "").await.map(drop), ErrorCode::KindNotFound),
        (
            spawn(&mut client, nodes[0], "echo", &" ".repeat(MAX_ARGS_BYTES + 1)).await.map(drop),
            ErrorCode::InvalidParams,
        ),
        (deliver(&mut client, DaemonId(7), "", None).await.map(drop), ErrorCode::DaemonNotFound),
        (deliver(&mut client, echo, "", Some(nobody)).await.map(drop), ErrorCode::NodeNotFound),
        (
            deliver(&mut client, echo, &" ".repeat(MAX_PAYLOAD_BYTES + 1), None).await.map(drop),
            ErrorCode::InvalidParams,
        ),
        (stop(&mut client, echo, MAX_GRACE_MS + 1).await, ErrorCode::InvalidParams),
    ];
    for (outcome, code) in refusals {
        let error = outcome.unwrap_err();
        assert_error(&error, code);
        assert_eq!(error.data.command, None, "{error}");
    }
    assert_eq!(client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap().seq, before);

    let error = spawn(&mut client, nodes[0], "heartbeat", "every=5").await.unwrap_err();
    assert_error(&error, ErrorCode::SpawnFailed);
    assert!(error.message.contains("every_ms"), "{error}");
    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    assert_eq!(snapshot.nodes[&nodes[0]].daemons.len(), 1, "nothing is left of it");

    client.call::<NodePause>(&NodeParams { node: nodes[0] }).await.unwrap();
    assert_error(&deliver(&mut client, echo, "", None).await.unwrap_err(), ErrorCode::WrongState);
    assert_error(&spawn(&mut client, nodes[0], "echo", "").await.unwrap_err(), ErrorCode::WrongState);
    client.call::<NodeResume>(&NodeParams { node: nodes[0] }).await.unwrap();
    client.call::<NodeCrash>(&NodeParams { node: nodes[0] }).await.unwrap();
    assert_error(&deliver(&mut client, echo, "", None).await.unwrap_err(), ErrorCode::DaemonNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_to_a_member_whose_node_has_just_crashed_arrives_where_it_comes_back_whoever_brings_it()
{
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut nodes = boot(&mut client, 5).await.nodes;
    for (kind, by_name) in [(GroupKind::Standby, true), (GroupKind::Replica, false)] {
        let params = two_of(kind, "counter", nodes[0]);
        let GroupSpawned { group, .. } = client.call::<GroupSpawn>(&params).await.unwrap();
        let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
        let member = now.groups[&group].members[0];
        let node = member.node.expect("it is placed");
        nodes.retain(|other| *other != node);
        client.call::<NodeCrash>(&NodeParams { node }).await.unwrap();
        let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
        let is_anywhere = now.nodes.values().any(|node| node.daemons.contains_key(&member.daemon));
        assert!(!is_anywhere, "nobody has noticed yet");
        let via = by_name.then_some(nodes[0]);
        let delivered = deliver(&mut client, member.daemon, "add 1", via).await.unwrap();
        assert_eq!(delivered.outputs, ["1"], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_crashes_says_so_to_whoever_caused_it() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 2).await.nodes;
    let mut mirror = client.mirror().await;
    let canary = spawn(&mut client, nodes[0], "canary", "").await.unwrap();
    let error = deliver(&mut client, canary.daemon, "panic", Some(nodes[1])).await.unwrap_err();
    assert_error(&error, ErrorCode::CallFailed);
    assert!(error.data.command > Some(canary.command));
    let restarted = |snapshot: &Snapshot| {
        let view = snapshot.nodes[&nodes[0]].daemons.get(&canary.daemon);
        view.is_some_and(|view| view.lifecycle == Lifecycle::Running && view.restarts == 1)
    };
    mirror.until_it_shows(&mut client, "its restart", restarted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_calls_another_also_over_a_third_and_the_log_tells_how_that_ended() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let params = BootParams { nodes: 3, replace: false, topology: Some(Topology::Line) };
    let nodes = client.call::<ClusterBoot>(&params).await.unwrap().nodes;
    let mut mirror = client.mirror().await;
    let is_call = |event: &Event| matches!(event.kind, EventKind::CallFinished { .. });
    for to in [nodes[1], nodes[2]] {
        let called = client.call::<RpcCall>(&to_call(nodes[0], to, "echo")).await.unwrap();
        assert_eq!(called.body, "hello");
        let event = mirror.until(&mut client, "the call", is_call).await;
        assert_eq!((event.node, event.cause), (Some(nodes[0]), Some(called.command)));
        let EventKind::CallFinished { peer, method, outcome, request_bytes, response_bytes, .. } = event.kind
        else {
            unreachable!()
        };
        assert_eq!((peer, &*method, outcome), (to, "echo", CallOutcome::Ok));
        assert_eq!((request_bytes, response_bytes), (5, 5));
    }
    let time = client.call::<RpcCall>(&to_call(nodes[0], nodes[1], "time")).await.unwrap();
    assert!(time.body.parse::<u64>().is_ok(), "{time:?}");
    mirror.until(&mut client, "the call", is_call).await;

    let error = client.call::<RpcCall>(&to_call(nodes[0], nodes[1], "no_such")).await.unwrap_err();
    assert_error(&error, ErrorCode::CallFailed);
    let event = mirror.until(&mut client, "the call", is_call).await;
    assert_eq!(event.cause, error.data.command);
    let EventKind::CallFinished { outcome: CallOutcome::Error(_), .. } = event.kind else {
        panic!("{event:?}")
    };

    let good = to_call(nodes[0], nodes[1], "echo");
    for (params, code) in [
        (CallParams { to: nodes[0], ..good.clone() }, ErrorCode::InvalidParams),
        (CallParams { to: NodeId(1), ..good.clone() }, ErrorCode::NodeNotFound),
        (CallParams { method: String::new(), ..good.clone() }, ErrorCode::InvalidParams),
        (CallParams { method: "os.deliver".to_owned(), ..good.clone() }, ErrorCode::InvalidParams),
        (CallParams { deadline_ms: 0, ..good.clone() }, ErrorCode::InvalidParams),
        (CallParams { deadline_ms: MAX_DEADLINE_MS + 1, ..good.clone() }, ErrorCode::InvalidParams),
        (CallParams { body: " ".repeat(MAX_BODY_BYTES + 1), ..good.clone() }, ErrorCode::InvalidParams),
    ] {
        let error = client.call::<RpcCall>(&params).await.unwrap_err();
        assert_error(&error, code);
        assert_eq!(error.data.command, None);
    }
}

/// Nothing comes through between two nodes.
async fn cut(client: &mut Client, from: NodeId, to: NodeId) {
    let params = FaultParams { from, to, both_ways: true, fault: LinkFault::CUT };
    client.call::<FaultSet>(&params).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_caller_crashes_has_failed_and_the_log_says_so() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut caller = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    // The crash may come first; then there is no call.
    for _ in 0..20 {
        let params = BootParams { nodes: 2, replace: true, topology: None };
        let nodes = client.call::<ClusterBoot>(&params).await.unwrap().nodes;
        // No answer ever comes, so that it is under way when the caller goes.
        cut(&mut client, nodes[0], nodes[1]).await;
        let params = CallParams { deadline_ms: MAX_DEADLINE_MS, ..to_call(nodes[0], nodes[1], "echo") };
        let call = caller.call::<RpcCall>(&params);
        let victim = NodeParams { node: nodes[0] };
        let crash = client.call::<NodeCrash>(&victim);
        let (outcome, crashed) = tokio::join!(call, crash);
        crashed.unwrap();
        let error = outcome.unwrap_err();
        let Some(command) = error.data.command else { continue };
        let is_it = |event: &Event| {
            matches!(event.kind, EventKind::CallFinished { .. }) && event.cause == Some(command)
        };
        let event = mirror.until(&mut client, "the call's end", is_it).await;
        assert_eq!(event.node, Some(nodes[0]));
        let EventKind::CallFinished { outcome: CallOutcome::Error(why), peer, .. } = event.kind else {
            panic!("{event:?}")
        };
        assert!(peer == nodes[1] && !why.is_empty());
        return;
    }
    panic!("the crash was always first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_under_way_is_called_off_and_the_daemon_stays_with_what_it_has() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let counter = spawn(&mut client, nodes[0], "counter", "from=40").await.unwrap().daemon;
    deliver(&mut client, counter, "add 2", None).await.unwrap();
    let mut mirror = client.mirror().await;
    // The target never hears of it.
    cut(&mut client, nodes[0], nodes[2]).await;
    let params = MigrateParams { daemon: counter, to: nodes[2] };
    let started = client.call::<MigrationStart>(&params).await.unwrap();
    let cancelled =
        client.call::<MigrationCancel>(&CancelParams { migration: started.migration }).await.unwrap();
    assert!(cancelled.command > started.command);
    let is_over = |event: &Event| {
        matches!(&event.kind, EventKind::MigrationChanged { migration }
            if migration.id == started.migration && migration.phase.is_over())
    };
    let end = mirror.until(&mut client, "its end", is_over).await;
    let EventKind::MigrationChanged { migration } = end.kind else { unreachable!() };
    assert_eq!(migration.phase, MigrationPhase::Cancelled, "{migration:?}");
    assert_eq!(deliver(&mut client, counter, "get", Some(nodes[1])).await.unwrap().outputs, ["42"]);
    client.call::<FaultClear>(&ClearParams::default()).await.unwrap();
    let stays = |snapshot: &Snapshot| {
        snapshot.nodes[&nodes[0]].daemons.contains_key(&counter)
            && !snapshot.nodes[&nodes[2]].daemons.contains_key(&counter)
    };
    mirror.until_it_shows(&mut client, "it where it was", stays).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forks_go_on_from_what_their_parent_had_and_go_their_own_ways() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let parent = spawn(&mut client, nodes[2], "counter", "from=40").await.unwrap().daemon;
    deliver(&mut client, parent, "add 2", None).await.unwrap();
    // At once: the anchor may not have heard of it yet.
    let params = GroupSpawnParams { parent: Some(parent), ..two_of(GroupKind::Fork, "counter", nodes[0]) };
    let spawned = client.call::<GroupSpawn>(&params).await.unwrap();
    let [first, second] = [0, 1].map(|place: usize| spawned.members[place].daemon);
    assert_eq!(deliver(&mut client, first, "add 1", None).await.unwrap().outputs, ["43"]);
    assert_eq!(deliver(&mut client, second, "get", None).await.unwrap().outputs, ["42"]);
    assert_eq!(deliver(&mut client, parent, "get", None).await.unwrap().outputs, ["42"]);
    let nobody = GroupSpawnParams { parent: Some(DaemonId(1)), ..params };
    let error = client.call::<GroupSpawn>(&nobody).await.unwrap_err();
    assert_error(&error, ErrorCode::DaemonNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_just_made_on_one_node_is_asked_for_at_another_that_has_not_heard_of_it() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 2).await.nodes;
    // What the second says, the first hears long after the client has been answered.
    let fault = LinkFault { delay_us: 400_000, ..LinkFault::default() };
    let params = FaultParams { from: nodes[1], to: nodes[0], both_ways: false, fault };
    client.call::<FaultSet>(&params).await.unwrap();
    let via = Some(nodes[0]);
    let parent = spawn(&mut client, nodes[1], "counter", "from=40").await.unwrap().daemon;
    let fork =
        GroupSpawnParams { count: 1, parent: Some(parent), ..two_of(GroupKind::Fork, "counter", nodes[0]) };
    client.call::<GroupSpawn>(&fork).await.unwrap();

    let counter = spawn(&mut client, nodes[1], "counter", "from=7").await.unwrap().daemon;
    let params = SimulateParams { verb: IceVerb::ForceRestartDaemon { daemon: counter }, via };
    client.call::<IceSimulate>(&params).await.unwrap();
    let choir = GroupSpawnParams { count: 1, ..two_of(GroupKind::Replica, "echo", nodes[1]) };
    let group = client.call::<GroupSpawn>(&choir).await.unwrap().group;
    let params = SimulateParams { verb: IceVerb::ForceEvictReplica { group, index: 0 }, via };
    client.call::<IceSimulate>(&params).await.unwrap();
    let latest = spawn(&mut client, nodes[1], "counter", "from=1").await.unwrap().daemon;
    assert_eq!(deliver(&mut client, latest, "get", via).await.unwrap().outputs, ["1"]);

    // What is nowhere is not waited for, and what goes meanwhile no longer.
    let nobody = GroupSpawnParams { parent: Some(DaemonId(1)), ..fork.clone() };
    assert_error(&client.call::<GroupSpawn>(&nobody).await.unwrap_err(), ErrorCode::DaemonNotFound);
    cut(&mut client, nodes[1], nodes[0]).await;
    let unheard = spawn(&mut client, nodes[1], "counter", "").await.unwrap().daemon;
    let mut other = Client::connect(server.local_addr()).await;
    let orphan = GroupSpawnParams { parent: Some(unheard), ..fork };
    let (spawned, stopped) =
        tokio::join!(other.call::<GroupSpawn>(&orphan), stop(&mut client, unheard, 60_000));
    stopped.unwrap();
    assert_error(&spawned.unwrap_err(), ErrorCode::DaemonNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_busy_daemons_are_is_told_when_it_changes() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 2).await.nodes;
    let echo = spawn(&mut client, nodes[1], "echo", "").await.unwrap().daemon;
    let topics = vec![Topic::Telemetry];
    client.subscribe(&SubscribeParams { topics, resume: None }).await;
    let sample = |processed| DaemonSample { node: nodes[1], daemon: echo, saturation: 0, processed };
    let next = async |client: &mut Client| loop {
        let telemetry = client.next_telemetry().await;
        if !telemetry.daemons.is_empty() {
            return telemetry.daemons;
        }
    };
    assert_eq!(in_time("the first figures", next(&mut client)).await, [sample(0)]);
    deliver(&mut client, echo, "hello", None).await.unwrap();
    assert_eq!(in_time("the next figures", next(&mut client)).await, [sample(1)], "and nothing in between");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_moves_with_its_state_and_the_log_tells_every_phase() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let counter = spawn(&mut client, nodes[0], "counter", "from=40").await.unwrap().daemon;
    deliver(&mut client, counter, "add 2", None).await.unwrap();
    let mut mirror = client.mirror().await;
    let params = MigrateParams { daemon: counter, to: nodes[2] };
    let started = client.call::<MigrationStart>(&params).await.unwrap();
    let is_over = |event: &Event| {
        matches!(&event.kind, EventKind::MigrationChanged { migration }
            if migration.id == started.migration && migration.phase.is_over())
    };
    let end = mirror.until(&mut client, "its arrival", is_over).await;
    let EventKind::MigrationChanged { migration } = end.kind else { unreachable!() };
    assert_eq!((migration.phase, migration.source), (MigrationPhase::Complete, nodes[0]), "{migration:?}");
    assert_eq!(end.cause, Some(started.command));
    let moved = |snapshot: &Snapshot| {
        snapshot.nodes[&nodes[2]].daemons.contains_key(&counter)
            && !snapshot.nodes[&nodes[0]].daemons.contains_key(&counter)
    };
    mirror.until_it_shows(&mut client, "it on its new node alone", moved).await;
    for via in [None, Some(nodes[0]), Some(nodes[1])] {
        assert_eq!(deliver(&mut client, counter, "get", via).await.unwrap().outputs, ["42"]);
    }

    let refusals = [
        (MigrateParams { daemon: counter, to: nodes[2] }, ErrorCode::WrongState),
        (MigrateParams { daemon: counter, to: NodeId(1) }, ErrorCode::NodeNotFound),
        (MigrateParams { daemon: DaemonId(1), to: nodes[0] }, ErrorCode::DaemonNotFound),
    ];
    for (params, code) in refusals {
        assert_error(&client.call::<MigrationStart>(&params).await.unwrap_err(), code);
    }
    for migration in [started.migration, MigrationId(1)] {
        let error = client.call::<MigrationCancel>(&CancelParams { migration }).await.unwrap_err();
        assert_error(&error, ErrorCode::MigrationNotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_promoted_and_goes_on_with_what_was_done() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let params = two_of(GroupKind::Standby, "counter", nodes[0]);
    let GroupSpawned { group, .. } = client.call::<GroupSpawn>(&params).await.unwrap();
    let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    let before = now.groups[&group].clone();
    assert!(before.members[1].synced.is_some());
    let daemon = before.members[0].daemon;
    let first = deliver(&mut client, daemon, "1", None).await.unwrap();
    client.call::<GroupPromote>(&GroupParams { group }).await.unwrap();
    let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    let after = &now.groups[&group];
    assert_eq!((after.members[0].daemon, after.health), (daemon, GroupHealth::Healthy));
    assert_eq!(after.members[0].node, before.members[1].node);
    let second = deliver(&mut client, daemon, "1", None).await.unwrap();
    assert_eq!(second.processed, first.processed + 1);
    let error = client.call::<GroupPromote>(&GroupParams { group: GroupId(1) }).await.unwrap_err();
    assert_error(&error, ErrorCode::GroupNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_made_scaled_and_stopped() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let good =
        GroupSpawnParams { name: Some("choir".to_owned()), ..two_of(GroupKind::Replica, "echo", nodes[1]) };
    let spawned = client.call::<GroupSpawn>(&good).await.unwrap();
    assert!(spawned.members.len() == 2 && spawned.members.iter().all(|member| member.running));
    let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    let view = &now.groups[&spawned.group];
    assert_eq!((&*view.name, view.leader, view.health), ("choir", nodes[1], GroupHealth::Healthy));
    let group = spawned.group;
    client.call::<GroupScale>(&ScaleParams { group, count: 3 }).await.unwrap();
    let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    assert_eq!(now.groups[&group].members.len(), 3);

    let refusals = [
        (GroupSpawnParams { count: 0, ..good.clone() }, ErrorCode::InvalidParams),
        (GroupSpawnParams { daemon: "ehco".to_owned(), ..good.clone() }, ErrorCode::KindNotFound),
        (GroupSpawnParams { count: 4, ..good.clone() }, ErrorCode::Unplaceable),
        (GroupSpawnParams { name: Some("x".repeat(65)), ..good.clone() }, ErrorCode::InvalidParams),
        (GroupSpawnParams { anchor: Some(NodeId(1)), ..good.clone() }, ErrorCode::NodeNotFound),
        (GroupSpawnParams { kind: GroupKind::Fork, ..good.clone() }, ErrorCode::InvalidParams),
    ];
    for (params, code) in refusals {
        let error = client.call::<GroupSpawn>(&params).await.unwrap_err();
        assert_error(&error, code);
        assert_eq!(error.data.command, None, "{error}");
    }
    client.call::<GroupStop>(&GroupParams { group }).await.unwrap();
    for group in [group, GroupId(1)] {
        let error = client.call::<GroupStop>(&GroupParams { group }).await.unwrap_err();
        assert_error(&error, ErrorCode::GroupNotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_looks_through_any_nodes_eyes_also_when_it_is_paused_or_crashed() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let refused = client.call::<NodeLook>(&NodeParams { node: NodeId(1) }).await.unwrap_err();
    assert_error(&refused, ErrorCode::NotRunning);
    let nodes = boot(&mut client, 3).await.nodes;
    let daemon = spawn(&mut client, nodes[1], "counter", "").await.unwrap().daemon;
    let view = loop {
        let view = client.call::<NodeLook>(&NodeParams { node: nodes[0] }).await.unwrap();
        if view.peers[&nodes[1]].daemons.contains_key(&daemon) {
            break view;
        }
    };
    assert_eq!((view.node, view.daemons.len()), (nodes[0], 0));
    assert_eq!(view.peers[&nodes[2]].health, Some(Health::Healthy));
    assert_eq!(view.peers[&nodes[1]].daemons[&daemon].lifecycle, Lifecycle::Running);
    let own = client.call::<NodeLook>(&NodeParams { node: nodes[1] }).await.unwrap();
    assert_eq!((own.daemons[&daemon].daemon.kind.as_deref(), own.peers.len()), (Some("counter"), 2));
    let teller = spawn(&mut client, nodes[1], "heartbeat", "").await.unwrap().daemon;
    let line = loop {
        let mut view = client.call::<NodeLook>(&NodeParams { node: nodes[1] }).await.unwrap();
        if let Some(line) = view.log.pop() {
            break line;
        }
    };
    assert!(line.daemon == teller && !line.text.is_empty(), "{line:?}");
    client.call::<NodePause>(&NodeParams { node: nodes[1] }).await.unwrap();
    let paused = client.call::<NodeLook>(&NodeParams { node: nodes[1] }).await.unwrap();
    assert!(paused.daemons.contains_key(&daemon), "the last it had");
    client.call::<NodeCrash>(&NodeParams { node: nodes[2] }).await.unwrap();
    assert_eq!(client.call::<NodeLook>(&NodeParams { node: nodes[2] }).await.unwrap().node, nodes[2]);
    let nobody = client.call::<NodeLook>(&NodeParams { node: NodeId(1) }).await.unwrap_err();
    assert_error(&nobody, ErrorCode::NodeNotFound);
    server.stop().await;
}
