//! Signed commands over the WebSocket.

use meshground::meshos::wall_time;
use meshground_node::{
    WallTime,
    admin::{AdminCommand, IceProposal, Nonce, OperatorKey, SignedCommand},
};
use meshground_shared::{
    AdminVerb, AuditEntry, AuditOutcome, Decision, GroupId, Hex, IceVerb, LinkFault, Maintenance, Rejection,
    SimulationHash,
    rpc::{
        AdminAudit, AdminExecute, AdminSubmit, AuditParams, DaemonSpawn, DaemonSpawnParams, Decided,
        ExecuteParams, FaultParams, FaultSet, IceExecute, IceExecuteParams, IceSimulate, NodeLook, NodePause,
        NodeResume, SimulateParams, Simulated, SubmitParams,
    },
};

use super::*;

async fn execute(client: &mut Client, verb: AdminVerb, via: Option<NodeId>) -> Result<Decided, RpcError> {
    client.call::<AdminExecute>(&ExecuteParams { verb, via, operator: "demo".to_owned() }).await
}

async fn simulate(client: &mut Client, verb: &IceVerb) -> Result<Simulated, RpcError> {
    client.call::<IceSimulate>(&SimulateParams { verb: verb.clone(), via: None }).await
}

async fn execute_ice(
    client: &mut Client,
    verb: &IceVerb,
    simulation: SimulationHash,
    operators: Option<&[&str]>,
) -> Result<Decided, RpcError> {
    let operators = operators.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let params = IceExecuteParams { verb: verb.clone(), simulation, operators, via: None };
    client.call::<IceExecute>(&params).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_takes_effect_and_is_in_the_trail_of_every_node() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let mut mirror = client.mirror().await;
    let decided = execute(&mut client, AdminVerb::Cordon { node: nodes[1] }, Some(nodes[2])).await.unwrap();
    assert_eq!(decided.decision, Decision::Applied);
    assert_eq!(decided.nodes.len(), 3, "{decided:?}");
    assert!(decided.nodes.iter().all(|node| node.decision == Decision::Applied));
    let is_its = |event: &Event| matches!(event.kind, EventKind::MaintenanceChanged { cordoned: true, .. });
    let event = mirror.until(&mut client, "the cordon", is_its).await;
    assert_eq!((event.node, event.cause), (Some(nodes[1]), Some(decided.command)), "it names the command");

    let params = DaemonSpawnParams { node: nodes[1], kind: "echo".to_owned(), args: String::new() };
    let refused = client.call::<DaemonSpawn>(&params).await.unwrap_err();
    assert!(refused.message.contains("cordoned"), "{refused}");

    let audit = client.call::<AdminAudit>(&AuditParams::default()).await.unwrap();
    assert_eq!(audit.nodes.len(), 3);
    for node in &audit.nodes {
        assert_eq!(node.entries.len(), 1);
        assert_eq!(node.entries[0].nonce, decided.nonce);
        assert_eq!(node.entries[0].operators, ["demo-1"]);
    }
    let only = AuditParams { verb: Some("drain".to_owned()), ..AuditParams::default() };
    let none = client.call::<AdminAudit>(&only).await.unwrap();
    assert!(none.nodes.iter().all(|node| node.entries.is_empty()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_a_node_moves_away_before_it_goes_into_maintenance() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let mut mirror = client.mirror().await;
    let params = DaemonSpawnParams { node: nodes[0], kind: "counter".to_owned(), args: "from=7".to_owned() };
    let daemon = client.call::<DaemonSpawn>(&params).await.unwrap().daemon;
    execute(&mut client, AdminVerb::EnterMaintenance { node: nodes[0] }, None).await.unwrap();
    let is_out = |fold: &Snapshot| {
        let elsewhere =
            fold.nodes.iter().any(|(id, node)| *id != nodes[0] && node.daemons.contains_key(&daemon));
        fold.nodes[&nodes[0]].maintenance == Maintenance::Maintenance && elsewhere
    };
    mirror.until_it_shows(&mut client, "maintenance", is_out).await;
    execute(&mut client, AdminVerb::ExitMaintenance { node: nodes[0] }, None).await.unwrap();
    let is_back = |fold: &Snapshot| !fold.nodes[&nodes[0]].cordoned;
    mirror.until_it_shows(&mut client, "the way back", is_back).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaking_glass_needs_two_operators_and_a_look_at_what_it_does() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let freeze = IceVerb::FreezeCluster { ttl_ms: 60_000 };
    let simulated = simulate(&mut client, &freeze).await.unwrap();
    assert_eq!(simulated.radius.nodes.len(), 3);
    let blind = execute_ice(&mut client, &freeze, SimulationHash([0; 32]), None).await.unwrap_err();
    assert!(blind.is(ErrorCode::Rejected) && blind.message.contains("simulation_required"), "{blind}");
    let alone = execute_ice(&mut client, &freeze, simulated.simulation, Some(&["demo-3"])).await.unwrap_err();
    assert!(alone.message.contains("insufficient_signatures"), "{alone}");
    let nobody =
        execute_ice(&mut client, &freeze, simulated.simulation, Some(&["somebody"])).await.unwrap_err();
    assert!(nobody.is(ErrorCode::InvalidParams));
    let crowd =
        execute_ice(&mut client, &freeze, simulated.simulation, Some(&["demo-1"; 17])).await.unwrap_err();
    assert!(crowd.is(ErrorCode::InvalidParams) && crowd.message.contains("at most 16"), "{crowd}");
    let done = execute_ice(&mut client, &freeze, simulated.simulation, None).await.unwrap();
    assert_eq!(done.nodes.len(), 3);
    let frozen = execute(&mut client, AdminVerb::Drain { node: nodes[0] }, None).await.unwrap_err();
    assert!(frozen.message.contains("freeze_in_effect"), "{frozen}");
    let thaw = simulate(&mut client, &IceVerb::ThawCluster).await.unwrap();
    execute_ice(&mut client, &IceVerb::ThawCluster, thaw.simulation, None).await.unwrap();
    execute(&mut client, AdminVerb::Drain { node: nodes[0] }, None).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_decided_while_much_else_is_written_down() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let (address, [from, to]) = (server.local_addr(), [nodes[0], nodes[1]]);
    let spoiling = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        for delay_us in (1..=50).cycle() {
            let fault = LinkFault { delay_us, ..LinkFault::default() };
            client.call::<FaultSet>(&FaultParams { from, to, both_ways: true, fault }).await.unwrap();
            if is_done.try_recv().is_ok() {
                break;
            }
        }
    });
    for _ in 0..100 {
        for verb in [AdminVerb::Cordon { node: nodes[2] }, AdminVerb::Uncordon { node: nodes[2] }] {
            let decided = in_time("a decision", execute(&mut client, verb, None)).await.unwrap();
            assert_eq!(decided.nodes.len(), 3);
        }
    }
    done.send(()).unwrap();
    spoiling.await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_signed_elsewhere_is_taken_once_and_a_strangers_never() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 2).await.nodes;
    let command =
        |nonce: u8| AdminCommand::new(AdminVerb::Cordon { node: nodes[0] }, wall_time(), Nonce([nonce; 16]));
    let submit = |envelope: Vec<u8>| SubmitParams { envelope: Hex(envelope), via: None };
    let ours = command(1).sign(&OperatorKey::demo(2).unwrap()).encode();
    let decided = client.call::<AdminSubmit>(&submit(ours.clone())).await.unwrap();
    assert_eq!(decided.nodes.len(), 2);
    let again = client.call::<AdminSubmit>(&submit(ours)).await.unwrap_err();
    assert!(again.message.contains("nonce_replayed"), "{again}");
    let strange = command(2).sign(&OperatorKey::from_seed("somebody", [9; 32])).encode();
    let strange = client.call::<AdminSubmit>(&submit(strange)).await.unwrap_err();
    assert!(strange.message.contains("not_authorized"), "{strange}");
    let noise = client.call::<AdminSubmit>(&submit(vec![1, 2, 3])).await.unwrap_err();
    assert!(noise.is(ErrorCode::InvalidParams));
    let trails = client.call::<AdminAudit>(&AuditParams::default()).await.unwrap();
    for trail in trails.nodes {
        let rejected = trail.entries.iter().map(|entry| entry.decision).collect::<Vec<_>>();
        assert!(rejected.contains(&Decision::Rejected(Rejection::NotAuthorized)), "{rejected:?}");
    }
    server.stop().await;
}

/// The trails, the nodes' numbers of the entries only. Each is of the same commands in the same order.
async fn numbers(client: &mut Client, filter: AuditParams) -> Vec<u64> {
    let trails = client.call::<AdminAudit>(&filter).await.unwrap().nodes;
    let mut numbers =
        trails.iter().map(|trail| trail.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>());
    let first = numbers.next().expect("there is a node");
    assert!(numbers.all(|others| others == first), "{filter:?}: {trails:?}");
    first
}

/// Waits until so many decisions are in the trail of every node.
async fn until_decided(client: &mut Client, mirror: &mut Mirror, entries: usize) {
    let all = |fold: &Snapshot| fold.nodes.values().all(|node| node.audit.len() == entries);
    mirror.until_it_shows(client, "the decisions everywhere", all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_is_narrowed_by_operator_verb_time_outcome_node_and_number() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let mut mirror = client.mirror().await;
    let routine = [
        ("demo-1", AdminVerb::Cordon { node: nodes[1] }),
        ("demo-2", AdminVerb::Uncordon { node: nodes[1] }),
        ("demo-2", AdminVerb::Cordon { node: nodes[1] }),
        ("demo-3", AdminVerb::Cordon { node: nodes[2] }),
    ];
    for (operator, verb) in routine {
        let params = ExecuteParams { verb, via: None, operator: operator.to_owned() };
        client.call::<AdminExecute>(&params).await.unwrap();
    }
    let freeze = IceVerb::FreezeCluster { ttl_ms: 60_000 };
    let look = simulate(&mut client, &freeze).await.unwrap();
    execute_ice(&mut client, &freeze, look.simulation, Some(&["demo-3"])).await.unwrap_err();
    until_decided(&mut client, &mut mirror, 5).await;
    let look = simulate(&mut client, &IceVerb::FlushAvoidLists).await.unwrap();
    execute_ice(&mut client, &IceVerb::FlushAvoidLists, look.simulation, None).await.unwrap();
    until_decided(&mut client, &mut mirror, 6).await;

    let all = AuditParams::default;
    let by = |operator: &str| AuditParams { operator: Some(operator.to_owned()), ..all() };
    let of = |verb: &str| AuditParams { verb: Some(verb.to_owned()), ..all() };
    let came_to = |outcome| AuditParams { outcome: Some(outcome), ..all() };
    let latest = |limit| AuditParams { limit: Some(limit), ..all() };
    let refused_for = |reason| came_to(AuditOutcome::RejectedFor(reason));
    let narrowed: [(AuditParams, &[u64]); 17] = [
        (all(), &[1, 2, 3, 4, 5, 6]),
        (by("demo-1"), &[1, 6]),
        (by("demo-2"), &[2, 3, 6]),
        (by("demo-3"), &[4, 5]),
        (by("demo"), &[]),
        (of("cordon"), &[1, 3, 4]),
        (of("freeze_cluster"), &[5]),
        (of("flush_avoid_lists"), &[6]),
        (came_to(AuditOutcome::Applied), &[1, 2, 3, 4, 6]),
        (came_to(AuditOutcome::Rejected), &[5]),
        (refused_for(Rejection::InsufficientSignatures), &[5]),
        (refused_for(Rejection::NonceReplayed), &[]),
        (latest(2), &[5, 6]),
        (latest(0), &[]),
        (latest(u32::MAX), &[1, 2, 3, 4, 5, 6]),
        // Each narrows what the others leave.
        (AuditParams { limit: Some(1), ..came_to(AuditOutcome::Rejected) }, &[5]),
        (AuditParams { verb: Some("cordon".to_owned()), limit: Some(1), ..by("demo-2") }, &[3]),
    ];
    for (filter, expected) in narrowed {
        assert_eq!(numbers(&mut client, filter.clone()).await, expected, "{filter:?}");
    }
    // Every node goes by its own clock.
    for node in nodes {
        let whole = AuditParams { node: Some(node), ..all() };
        let trails = client.call::<AdminAudit>(&whole).await.unwrap().nodes;
        let [trail] = &trails[..] else { panic!("{trails:?}") };
        assert_eq!(trail.node, node);
        let decided = |wanted: &dyn Fn(&AuditEntry) -> bool| {
            trail.entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.seq).collect::<Vec<_>>()
        };
        let [third, fifth] = [2, 4].map(|place: usize| trail.entries[place].wall_us);
        assert!(trail.entries[1].wall_us < third && third < fifth, "{trail:?}");
        let since = AuditParams { since_us: Some(third), ..whole.clone() };
        assert_eq!(numbers(&mut client, since.clone()).await, decided(&|entry| entry.wall_us >= third));
        let until = AuditParams { until_us: Some(fifth), ..whole };
        assert_eq!(numbers(&mut client, until).await, decided(&|entry| entry.wall_us < fifth));
        let between = AuditParams { until_us: Some(fifth), ..since };
        assert_eq!(numbers(&mut client, between).await, [3, 4]);
    }
    let nobody = AuditParams { node: Some(NodeId(1)), ..all() };
    assert_error(&client.call::<AdminAudit>(&nobody).await.unwrap_err(), ErrorCode::NodeNotFound);
    server.stop().await;
}

/// The command as two operators sign it who were shown something else than what it does.
fn misled(verb: IceVerb, mut shown: Simulated, nonce: Nonce) -> SignedCommand {
    shown.radius.nodes.pop().expect("it touches some node");
    broken(verb, shown, nonce)
}

/// The command as two operators sign it who have looked at what it does.
fn broken(verb: IceVerb, shown: Simulated, nonce: Nonce) -> SignedCommand {
    let [first, second] = [1, 2].map(|number| OperatorKey::demo(number).unwrap());
    IceProposal::new(verb).simulated(shown.radius).sign(wall_time(), nonce, &first).cosign(&second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_envelope_that_is_rejected_says_why_on_every_node_and_does_nothing() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let mut mirror = client.mirror().await;
    let (key, now) = (OperatorKey::demo(3).unwrap(), wall_time().0);
    let cordon = AdminVerb::Cordon { node: nodes[1] };
    let issued = |at: u64, nonce| AdminCommand::new(cordon.clone(), WallTime(at), Nonce([nonce; 16]));
    let [flush, freeze] = [IceVerb::FlushAvoidLists, IceVerb::FreezeCluster { ttl_ms: 60_000 }];
    let minute = 60_000_000;

    let mut altered = issued(now, 1).sign(&key).encode();
    // Within the signature, which comes last.
    let end = altered.len() - 1;
    altered[end - 16] ^= 1;
    let applied = issued(now, 2).sign(&key).encode();
    let undo = AdminCommand::new(AdminVerb::Uncordon { node: nodes[1] }, WallTime(now), Nonce([3; 16]));
    let shown_flush = simulate(&mut client, &flush).await.unwrap();
    let shown_freeze = simulate(&mut client, &freeze).await.unwrap();
    let flushing = |nonce| broken(flush.clone(), shown_flush.clone(), Nonce([nonce; 16])).encode();
    let alone = IceProposal::new(freeze.clone()).simulated(shown_freeze.radius.clone());
    let nowhere = AdminCommand::new(
        AdminVerb::InvalidatePlacement { group: GroupId(1) },
        WallTime(now),
        Nonce([10; 16]),
    );
    let drain = AdminCommand::new(AdminVerb::Drain { node: nodes[1] }, WallTime(now), Nonce([14; 16]));
    let stranger = OperatorKey::from_seed("somebody", [9; 32]);
    let refused = |reason| Some((Decision::Rejected(reason), None));
    let known = |reason, operators: &'static [&str]| Some((Decision::Rejected(reason), Some(operators)));
    let submitted = [
        (altered, known(Rejection::SignatureInvalid, &[])),
        (applied.clone(), None),
        (applied, known(Rejection::NonceReplayed, &["demo-3"])),
        (undo.sign(&key).encode(), None),
        (issued(now - 6 * minute, 4).sign(&key).encode(), known(Rejection::EnvelopeExpired, &["demo-3"])),
        (issued(now + 6 * minute, 5).sign(&key).encode(), known(Rejection::EnvelopeFromFuture, &["demo-3"])),
        (issued(now, 6).sign(&stranger).encode(), known(Rejection::NotAuthorized, &[])),
        (issued(now, 7).unsigned().encode(), known(Rejection::NotAuthorized, &[])),
        (issued(now, 8).sign(&key).cosign(&stranger).encode(), refused(Rejection::NotAuthorized)),
        (
            alone.sign(WallTime(now), Nonce([9; 16]), &key).encode(),
            known(Rejection::InsufficientSignatures, &["demo-3"]),
        ),
        (nowhere.sign(&key).encode(), known(Rejection::NotApplicable, &["demo-3"])),
        (
            misled(freeze.clone(), shown_freeze.clone(), Nonce([11; 16])).encode(),
            known(Rejection::SimulationRequired, &["demo-1", "demo-2"]),
        ),
        (flushing(12), None),
        (flushing(13), known(Rejection::IceCooldownActive, &["demo-1", "demo-2"])),
        (broken(freeze, shown_freeze, Nonce([15; 16])).encode(), None),
        (drain.sign(&key).encode(), known(Rejection::FreezeInEffect, &["demo-3"])),
    ];
    for (place, (envelope, rejected)) in submitted.into_iter().enumerate() {
        let params = SubmitParams { envelope: Hex(envelope), via: Some(nodes[place % 3]) };
        let outcome = client.call::<AdminSubmit>(&params).await;
        until_decided(&mut client, &mut mirror, place + 1).await;
        // The second one cordons the node, and the fourth ends that.
        let is_cordoned = (1..3).contains(&place);
        let Some((decision, operators)) = rejected else {
            let decided = outcome.unwrap();
            assert!(decided.nodes.iter().all(|node| node.decision == Decision::Applied), "{decided:?}");
            let stands = |fold: &Snapshot| fold.nodes[&nodes[1]].cordoned == is_cordoned;
            mirror.until_it_shows(&mut client, "the cordon, or its end", stands).await;
            continue;
        };
        let error = outcome.unwrap_err();
        assert_error(&error, ErrorCode::Rejected);
        let Value::Object(named) = serde_json::to_value(decision).unwrap() else { panic!("{decision:?}") };
        assert!(error.message.contains(named["rejected"].as_str().unwrap()), "{decision:?}: {error}");
        let fold = &mirror.snapshot;
        for node in fold.nodes.values() {
            let entry = node.audit.last().expect("it is in the trail");
            assert_eq!(entry.decision, decision, "{entry:?}");
            assert!(operators.is_none_or(|operators| entry.operators == operators), "{entry:?}");
        }
        assert_eq!(fold.nodes[&nodes[1]].cordoned, is_cordoned, "{decision:?} changes nothing");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_playground_goes_by_its_own_times_of_maintenance_not_by_those_of_the_nodes() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    // Alone, so that what runs there has nowhere to go.
    let node = boot(&mut client, 1).await.nodes[0];
    let mut mirror = client.mirror().await;
    let params = DaemonSpawnParams { node, kind: "echo".to_owned(), args: String::new() };
    client.call::<DaemonSpawn>(&params).await.unwrap();
    execute(&mut client, AdminVerb::EnterMaintenance { node }, None).await.unwrap();
    let is_on_its_way = |fold: &Snapshot| fold.nodes[&node].maintenance == Maintenance::EnteringMaintenance;
    mirror.until_it_shows(&mut client, "the drain", is_on_its_way).await;
    // Its view is published a turn of the loop later at most.
    let left = loop {
        let view = client.call::<NodeLook>(&NodeParams { node }).await.unwrap();
        match view.drain_remaining_ms {
            Some(left) => break left,
            None => assert_ne!(view.maintenance, Maintenance::DrainFailed, "it was looked at in time"),
        }
        tokio::task::yield_now().await;
    };
    assert!(left <= 20_000, "{left} ms; nodes take ten minutes");
    execute(&mut client, AdminVerb::ExitMaintenance { node }, None).await.unwrap();
    let is_back = |fold: &Snapshot| fold.nodes[&node].maintenance == Maintenance::Active;
    // Nodes take five minutes, which nobody here waits for.
    mirror.until_it_shows(&mut client, "the end of the ramp", is_back).await;
    server.stop().await;
}

/// So many cordons of a node, each signed by an operator.
fn cordons(node: NodeId, count: u8) -> Vec<Vec<u8>> {
    let key = OperatorKey::demo(1).unwrap();
    let cordon = |nonce| AdminCommand::new(AdminVerb::Cordon { node }, wall_time(), Nonce([nonce; 16]));
    (0..count).map(|nonce| cordon(nonce).sign(&key).encode()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_about_a_node_that_does_not_answer_is_rejected_as_unreachable_and_that_node_learns_so() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, 3).await.nodes;
    let mut mirror = client.mirror().await;
    let paused = NodeParams { node: nodes[1] };
    client.call::<NodePause>(&paused).await.unwrap();
    let envelope = cordons(nodes[1], 1).remove(0);
    let params = SubmitParams { envelope: Hex(envelope), via: Some(nodes[0]) };
    let error = in_time("a decision", client.call::<AdminSubmit>(&params)).await.unwrap_err();
    assert_error(&error, ErrorCode::Rejected);
    assert!(error.message.contains("unreachable"), "{error}");
    client.call::<NodeResume>(&paused).await.unwrap();
    until_decided(&mut client, &mut mirror, 1).await;
    for node in mirror.snapshot.nodes.values() {
        assert_eq!(node.audit[0].decision, Decision::Rejected(Rejection::Unreachable));
        assert!(!node.cordoned);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_as_many_commands_under_way_as_it_takes_rejects_more_as_overloaded() {
    let server = server().await;
    // A client has so many requests under way at most; so there are several.
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::connect(server.local_addr()).await);
    }
    let nodes = boot(&mut clients[0], 2).await.nodes;
    clients[0].call::<NodePause>(&NodeParams { node: nodes[1] }).await.unwrap();
    // None of them is decided on before the other node has not answered for three seconds.
    let mut started = Vec::new();
    for (number, envelope) in cordons(nodes[1], 200).into_iter().enumerate() {
        let params = SubmitParams { envelope: Hex(envelope), via: Some(nodes[0]) };
        let which = number % clients.len();
        started.push((which, clients[which].start::<AdminSubmit>(&params).await));
    }
    let (mut overloaded, mut unreachable) = (0, 0);
    for (which, id) in started {
        let outcome = in_time("a decision", clients[which].finish::<AdminSubmit>(&id)).await;
        let error = outcome.unwrap_err();
        assert_error(&error, ErrorCode::Rejected);
        overloaded += usize::from(error.message.contains("overloaded"));
        unreachable += usize::from(error.message.contains("unreachable"));
    }
    assert_eq!(overloaded + unreachable, 200);
    assert!(
        unreachable >= 64 && overloaded > 0,
        "{unreachable} were put to the other, {overloaded} were not"
    );
    // There is room again.
    clients[0].call::<NodeResume>(&NodeParams { node: nodes[1] }).await.unwrap();
    let decided = in_time("a decision", execute(&mut clients[0], AdminVerb::Cordon { node: nodes[0] }, None));
    assert_eq!(decided.await.unwrap().decision, Decision::Applied);
    server.stop().await;
}
