//! The contract, as a client in another language meets it.

use meshground_shared::{
    AdminVerb, AuditOutcome, BlastRadius, CallOutcome, CommandId, DaemonId, Decision, Epoch, Event,
    EventKind, GroupId, GroupKind, GroupMember, Health, Hex, IceVerb, LinkSample, MigrationId,
    MigrationPhase, MigrationView, NodeId, PublicKey, Rejection, Role, SimulationHash, Snapshot, StopReason,
    Telemetry, Traffic, TrafficSample,
    rpc::{
        AdminAudit, AdminExecute, AdminSubmit, AuditParams, CallParams, Called, CancelParams, DaemonDeliver,
        DaemonKinds, DaemonSpawn, DaemonSpawnParams, DaemonSpawned, DaemonStop, DaemonStopParams, Decided,
        DeliverParams, Delivered, Delivery, ErrorCode, ExecuteParams, GroupParams, GroupPromote, GroupScale,
        GroupSpawn, GroupSpawnParams, GroupSpawned, GroupStop, IceExecute, IceExecuteParams, IceSimulate, Id,
        KindInfo, Kinds, METHODS, Method, MethodCall, MigrateParams, MigrationCancel, MigrationStart,
        MigrationStarted, NodeDecision, NodeParams, NodeShutdown, Notification, Outcome, Push, Request,
        Response, RpcCall, RpcError, ScaleParams, ServerMessage, SimulateParams, Simulated, SubmitParams,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn event(seq: u64, node: NodeId, kind: EventKind) -> Event {
    Event { seq, at_us: seq * 10, wall_us: 0, node: Some(node), cause: Some(CommandId(7)), kind }
}

fn started(index: u32) -> EventKind {
    EventKind::NodeStarted {
        index,
        address: "127.0.0.1:4000".parse().unwrap(),
        public_key: PublicKey([9; 32]),
    }
}

fn session(peer: NodeId) -> EventKind {
    EventKind::SessionUp { peer, address: "127.0.0.1:4001".parse().unwrap(), role: Role::Initiator }
}

fn two_nodes() -> Snapshot {
    let mut snapshot = Snapshot::new(Epoch(3));
    snapshot.apply(&event(1, A, started(0)));
    snapshot.apply(&event(2, B, started(1)));
    snapshot.apply(&event(3, A, session(B)));
    snapshot.apply(&event(4, B, session(A)));
    snapshot
}

#[test]
fn an_event_travels_flat_with_its_kind_as_a_field() {
    let json = serde_json::to_value(Notification::new(Push::Event(Delivery {
        prev: 4,
        event: event(5, A, EventKind::NodeStopped { reason: StopReason::Crash }),
    })))
    .unwrap();
    assert_eq!(
        json,
        json!({
            "jsonrpc": "2.0", "method": "event",
            "params": {
                "prev": 4, "seq": 5, "at_us": 50, "wall_us": 0,
                "node": "0000000000000001", "cause": "0000000000000007",
                "kind": "node_stopped", "reason": "crash",
            }
        })
    );
    let back: ServerMessage = serde_json::from_value(json).unwrap();
    assert!(matches!(back, ServerMessage::Notification(_)));
}

#[test]
fn a_response_carries_either_a_result_or_an_error() {
    let ok = Response::ok(Some(Id::Number(1)), json!({"x": 1}));
    assert_eq!(serde_json::to_value(&ok).unwrap(), json!({"jsonrpc": "2.0", "id": 1, "result": {"x": 1}}));
    let err = Response::err(None, RpcError::new(ErrorCode::ParseError, "no JSON", "send JSON"));
    let json = serde_json::to_value(&err).unwrap();
    assert_eq!(
        json,
        json!({"jsonrpc": "2.0", "id": null, "error": {
            "code": -32700, "message": "no JSON", "data": {"name": "parse_error", "hint": "send JSON"}}})
    );
    for response in [ok, err] {
        let text = serde_json::to_string(&response).unwrap();
        assert_eq!(serde_json::from_str::<ServerMessage>(&text).unwrap(), ServerMessage::Response(response));
    }
}

#[test]
fn a_request_names_its_method_and_parameters() {
    let request = Request::new::<NodeShutdown>(Id::String("x".into()), &NodeParams { node: A }).unwrap();
    assert_eq!(
        serde_json::to_value(request).unwrap(),
        json!({"jsonrpc": "2.0", "id": "x", "method": "node.shutdown", "params": {"node": "0000000000000001"}})
    );
    let misspelt: Value = json!({"node": "0000000000000001", "nod": 1});
    assert!(serde_json::from_value::<NodeParams>(misspelt).is_err());
}

#[test]
fn an_edge_exists_when_both_ends_hold_a_session() {
    let mut snapshot = Snapshot::new(Epoch(3));
    snapshot.apply(&event(1, A, started(0)));
    snapshot.apply(&event(2, B, started(1)));
    snapshot.apply(&event(3, A, session(B)));
    assert!(snapshot.edges().is_empty());
    assert_eq!(snapshot.half_edges(), [(A, B, Health::Healthy)]);
    snapshot.apply(&event(4, B, session(A)));
    assert_eq!(snapshot.edges().len(), 1);
    assert!(snapshot.half_edges().is_empty());
    assert!(snapshot.is_converged());
}

#[test]
fn an_edge_shows_the_worse_of_two_verdicts() {
    let mut snapshot = two_nodes();
    let suspect =
        EventKind::PeerHealth { peer: A, from: Health::Healthy, to: Health::Suspect, silence_us: 9 };
    snapshot.apply(&event(5, B, suspect));
    assert_eq!(snapshot.edges()[0].health, Health::Suspect);
    assert!(!snapshot.is_converged());
}

#[test]
fn a_session_says_if_its_peer_does_not_hear_and_says_nothing_where_all_is_well() {
    let mut snapshot = two_nodes();
    let said = |snapshot: &Snapshot| {
        let json = serde_json::to_value(snapshot).unwrap();
        json["nodes"]["0000000000000001"]["peers"]["0000000000000002"].get("heard").cloned()
    };
    assert_eq!(said(&snapshot), None);
    let one_way = |deaf| EventKind::OneWay { peer: B, deaf };
    let json = serde_json::to_value(event(5, A, one_way(true))).unwrap();
    assert_eq!((&json["kind"], &json["peer"], &json["deaf"]), (&json!("one_way"), &json!(B), &json!(true)));
    snapshot.apply(&event(5, A, one_way(true)));
    assert_eq!(said(&snapshot), Some(json!(false)));
    assert_eq!(snapshot.one_way().collect::<Vec<_>>(), [(A, B)]);
    let back: Snapshot = serde_json::from_value(serde_json::to_value(&snapshot).unwrap()).unwrap();
    assert_eq!(back, snapshot);
    snapshot.apply(&event(6, A, one_way(false)));
    assert_eq!(snapshot.one_way().next(), None);
    let back: Snapshot = serde_json::from_value(serde_json::to_value(&snapshot).unwrap()).unwrap();
    assert_eq!(back, snapshot, "what is absent is true");
    snapshot.apply(&event(7, A, one_way(true)));
    snapshot.apply(&event(8, A, session(B)));
    assert_eq!(snapshot.one_way().next(), None, "a new session begins anew");
}

#[test]
fn a_crashed_node_stays_a_member_without_sessions_and_a_shut_down_one_goes() {
    let mut snapshot = two_nodes();
    snapshot.apply(&event(5, B, EventKind::NodeStopped { reason: StopReason::Crash }));
    assert_eq!(snapshot.nodes.len(), 2);
    assert!(snapshot.edges().is_empty() && !snapshot.is_converged());
    snapshot.apply(&event(6, B, EventKind::NodeStopped { reason: StopReason::Shutdown }));
    assert_eq!(snapshot.nodes.len(), 1);
}

#[test]
fn a_node_on_its_way_out_is_shown_until_it_is_gone_but_is_no_member_any_more() {
    let mut snapshot = two_nodes();
    let leaving = EventKind::NodeLeaving { reason: StopReason::Shutdown };
    let json = serde_json::to_value(event(5, B, leaving.clone())).unwrap();
    assert_eq!((&json["kind"], &json["reason"]), (&json!("node_leaving"), &json!("shutdown")));
    snapshot.apply(&event(5, B, leaving));
    assert_eq!(serde_json::to_value(&snapshot).unwrap()["nodes"]["0000000000000002"]["state"], "leaving");
    assert_eq!(snapshot.members().map(|(id, _)| id).collect::<Vec<_>>(), [A]);
    assert!(snapshot.is_converged() && snapshot.ids().len() == 1 && snapshot.links().iter().next().is_none());
    snapshot.apply(&event(6, B, EventKind::NodeStopped { reason: StopReason::Shutdown }));
    assert_eq!(snapshot.nodes.len(), 1);
}

#[test]
fn what_was_on_its_way_from_a_node_that_goes_down_came_to_nothing() {
    let mut snapshot = two_nodes();
    let moving = |id, source, phase| MigrationView {
        id: MigrationId(id),
        daemon: DaemonId(id),
        source,
        target: NodeId(9),
        phase,
        bytes_total: 10,
        bytes_done: 5,
        buffered: 0,
        retries: 0,
        elapsed_us: 7,
        phase_us: 7,
        reason: None,
    };
    let views = [
        moving(1, B, MigrationPhase::Transfer),
        moving(2, B, MigrationPhase::Complete),
        moving(3, A, MigrationPhase::Cutover),
    ];
    for (seq, migration) in (5..).zip(views) {
        snapshot.apply(&event(seq, migration.source, EventKind::MigrationChanged { migration }));
    }
    snapshot.apply(&event(8, B, EventKind::NodeStopped { reason: StopReason::Crash }));
    let phases: Vec<_> = snapshot.migrations.values().map(|migration| migration.view.phase).collect();
    assert_eq!(phases, [MigrationPhase::Failed, MigrationPhase::Complete, MigrationPhase::Cutover]);
    let failed = &snapshot.migrations[&MigrationId(1)];
    assert_eq!(failed.view.reason.as_deref(), Some("its source went down"));
    assert_eq!(failed.at_us, snapshot.at_us);
}

#[test]
fn a_session_with_someone_who_has_left_does_not_keep_the_rest_from_being_converged() {
    let mut snapshot = two_nodes();
    snapshot.apply(&event(5, B, EventKind::NodeStopped { reason: StopReason::Shutdown }));
    assert_eq!(snapshot.half_edges(), [(A, B, Health::Healthy)], "the leave was lost");
    assert!(snapshot.is_converged());
}

#[test]
fn an_event_seen_twice_changes_nothing() {
    let mut snapshot = two_nodes();
    let before = snapshot.clone();
    snapshot.apply(&event(2, B, EventKind::NodeStopped { reason: StopReason::Shutdown }));
    assert_eq!(snapshot, before);
}

#[test]
fn a_snapshot_survives_the_round_trip() {
    let snapshot = two_nodes();
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
}

#[test]
fn telemetry_names_each_counter_that_is_not_zero() {
    let links = vec![LinkSample { node: A, peer: B, rtt_us: 80 }];
    let without = Telemetry { at_us: 7, links: links.clone(), traffic: Vec::new(), daemons: Vec::new() };
    let json = serde_json::to_value(&without).unwrap();
    assert_eq!(json, json!({"at_us": 7, "links": [{"node": A, "peer": B, "rtt_us": 80}]}));
    assert_eq!(serde_json::from_value::<Telemetry>(json).unwrap(), without);

    let total = Traffic { datagrams_out: 3, bytes_out: 300, messages_lost: 1, ..Traffic::default() };
    let with = Telemetry {
        at_us: 7,
        links,
        traffic: vec![TrafficSample { node: B, peer: A, total }],
        daemons: Vec::new(),
    };
    let json = serde_json::to_value(&with).unwrap();
    let counters = json!({"datagrams_out": 3, "bytes_out": 300, "messages_lost": 1});
    assert_eq!(json["traffic"], json!([{"node": B, "peer": A, "total": counters}]));
    assert_eq!(serde_json::from_value::<Telemetry>(json).unwrap(), with);
}

#[test]
fn an_outcome_is_unambiguous_to_a_reader() {
    let json = json!({"jsonrpc": "2.0", "id": 1, "result": null});
    let response: Response = serde_json::from_value(json).unwrap();
    assert_eq!(response.outcome, Outcome::Result(Value::Null));
}

/// Each request here is the whole of a method's wire form: what a client writes is what the type
/// reads, defaults filled in, and what the type writes.
#[test]
fn what_is_asked_of_daemons_groups_and_migrations_reads_as_it_is_written() {
    asks::<DaemonKinds>(&json!({}), &json!({}));
    let spawn = DaemonSpawnParams { node: A, kind: "counter".into(), args: String::new() };
    asks_for::<DaemonSpawn>(&json!({"node": "0000000000000001", "kind": "counter"}), &spawn);
    let args = json!({"node": "0000000000000001", "kind": "counter", "args": "7"});
    asks_for::<DaemonSpawn>(&args, &DaemonSpawnParams { args: "7".into(), ..spawn });
    asks::<DaemonStop>(
        &json!({"daemon": "0000000000000009"}),
        &json!({"daemon": "0000000000000009", "grace_ms": 2000}),
    );
    let stop = DaemonStopParams { daemon: DaemonId(9), grace_ms: 50 };
    asks_for::<DaemonStop>(&json!({"daemon": "0000000000000009", "grace_ms": 50}), &stop);
    let deliver = DeliverParams { daemon: DaemonId(9), payload: "tick".into(), via: Some(B) };
    asks_for::<DaemonDeliver>(
        &json!({"daemon": "0000000000000009", "payload": "tick", "via": "0000000000000002"}),
        &deliver,
    );
    let group = GroupSpawnParams {
        kind: GroupKind::Fork,
        daemon: "counter".into(),
        count: 3,
        name: Some("web".into()),
        anchor: Some(A),
        parent: Some(DaemonId(9)),
        args: String::new(),
    };
    asks_for::<GroupSpawn>(
        &json!({
            "kind": "fork", "daemon": "counter", "count": 3, "name": "web",
            "anchor": "0000000000000001", "parent": "0000000000000009",
        }),
        &group,
    );
    asks::<GroupSpawn>(
        &json!({"kind": "standby", "daemon": "counter", "count": 2}),
        &json!({"kind": "standby", "daemon": "counter", "count": 2}),
    );
    let scale = ScaleParams { group: GroupId(5), count: 4 };
    asks_for::<GroupScale>(&json!({"group": "0000000000000005", "count": 4}), &scale);
    asks_for::<GroupStop>(&json!({"group": "0000000000000005"}), &GroupParams { group: GroupId(5) });
    asks_for::<GroupPromote>(&json!({"group": "0000000000000005"}), &GroupParams { group: GroupId(5) });
    let start = MigrateParams { daemon: DaemonId(9), to: B };
    asks_for::<MigrationStart>(&json!({"daemon": "0000000000000009", "to": "0000000000000002"}), &start);
    let cancel = CancelParams { migration: MigrationId(6) };
    asks_for::<MigrationCancel>(&json!({"migration": "0000000000000006"}), &cancel);
}

#[test]
fn what_is_asked_of_calls_and_operators_reads_as_it_is_written() {
    let call = CallParams { from: A, to: B, method: "echo".into(), body: String::new(), deadline_ms: 5_000 };
    asks::<RpcCall>(
        &json!({"from": "0000000000000001", "to": "0000000000000002", "method": "echo"}),
        &serde_json::to_value(call).unwrap(),
    );
    let drain = ExecuteParams { verb: AdminVerb::Drain { node: A }, via: None, operator: "demo".into() };
    asks::<AdminExecute>(
        &json!({"verb": {"drain": {"node": "0000000000000001"}}}),
        &serde_json::to_value(drain).unwrap(),
    );
    let submit = SubmitParams { envelope: Hex(vec![0xab, 1]), via: Some(A) };
    asks_for::<AdminSubmit>(&json!({"envelope": "ab01", "via": "0000000000000001"}), &submit);
    let audit = AuditParams { verb: Some("drain".into()), limit: Some(3), ..AuditParams::default() };
    asks_for::<AdminAudit>(&json!({"verb": "drain", "limit": 3}), &audit);
    let outcomes = [
        (AuditOutcome::Applied, json!("applied")),
        (AuditOutcome::Rejected, json!("rejected")),
        (AuditOutcome::RejectedFor(Rejection::NonceReplayed), json!({"rejected_for": "nonce_replayed"})),
    ];
    for (outcome, travels) in outcomes {
        let (since_us, until_us) = (Some(5), Some(9));
        let audit = AuditParams { since_us, until_us, outcome: Some(outcome), ..AuditParams::default() };
        asks_for::<AdminAudit>(&json!({"since_us": 5, "until_us": 9, "outcome": travels}), &audit);
    }
    let simulate = SimulateParams { verb: IceVerb::ThawCluster, via: None };
    asks_for::<IceSimulate>(&json!({"verb": "thaw_cluster"}), &simulate);
    let execute = IceExecuteParams {
        verb: IceVerb::FreezeCluster { ttl_ms: 1_000 },
        simulation: SimulationHash([0x1f; 32]),
        operators: Some(vec!["ada".into(), "bob".into()]),
        via: None,
    };
    asks_for::<IceExecute>(
        &json!({
            "verb": {"freeze_cluster": {"ttl_ms": 1000}}, "simulation": "1f".repeat(32),
            "operators": ["ada", "bob"],
        }),
        &execute,
    );
}

#[test]
fn what_is_answered_about_workloads_reads_as_it_is_written() {
    answers(
        &json!({"kinds": [{"kind": "counter", "about": "counts"}]}),
        &Kinds { kinds: vec![KindInfo { kind: "counter".into(), about: "counts".into() }] },
    );
    answers(
        &json!({"command": "0000000000000007", "daemon": "0000000000000009", "node": "0000000000000001", "took_us": 4}),
        &DaemonSpawned { command: CommandId(7), daemon: DaemonId(9), node: A, took_us: 4 },
    );
    answers(
        &json!({"command": "0000000000000007", "processed": 12, "outputs": ["12"], "took_us": 4}),
        &Delivered { command: CommandId(7), processed: 12, outputs: vec!["12".into()], took_us: 4 },
    );
    let member = GroupMember { daemon: DaemonId(9), node: None, running: false, synced: Some(3) };
    answers(
        &json!({
            "command": "0000000000000007", "group": "0000000000000005", "took_us": 4,
            "members": [{"daemon": "0000000000000009", "node": null, "running": false, "synced": 3}],
        }),
        &GroupSpawned { command: CommandId(7), group: GroupId(5), members: vec![member], took_us: 4 },
    );
    answers(
        &json!({"command": "0000000000000007", "migration": "0000000000000006"}),
        &MigrationStarted { command: CommandId(7), migration: MigrationId(6) },
    );
    answers(
        &json!({"command": "0000000000000007", "body": "hi", "took_us": 4}),
        &Called { command: CommandId(7), body: "hi".into(), took_us: 4 },
    );
    let rejected = Decision::Rejected(Rejection::Unreachable);
    answers(
        &json!({
            "command": "0000000000000007", "decision": {"rejected": "unreachable"}, "nonce": "0f".repeat(16),
            "nodes": [
                {"node": "0000000000000001", "decision": "applied"},
                {"node": "0000000000000002", "decision": {"rejected": "unreachable"}},
            ],
        }),
        &Decided {
            command: CommandId(7),
            decision: rejected,
            nonce: "0f".repeat(16),
            nodes: vec![
                NodeDecision { node: A, decision: Decision::Applied },
                NodeDecision { node: B, decision: rejected },
            ],
        },
    );
    let radius = BlastRadius { nodes: vec![A], drain_delay_ms: 5, ..BlastRadius::default() };
    answers(
        &json!({
            "radius": {
                "nodes": ["0000000000000001"], "replicas": [], "daemons": [], "drain_delay_ms": 5, "warnings": [],
            },
            "simulation": "1f".repeat(32),
        }),
        &Simulated { radius, simulation: SimulationHash([0x1f; 32]) },
    );
}

#[test]
fn no_method_takes_a_parameter_it_does_not_know() {
    for method in METHODS {
        let call = json!({"method": method, "params": {"misspelt": 1}});
        let error = serde_json::from_value::<MethodCall>(call).expect_err(method).to_string();
        assert!(error.contains("unknown field `misspelt`"), "{method}: {error}");
    }
}

#[test]
fn the_readme_tells_of_every_method_and_of_no_other() {
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("| method | does |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split_once(" | "));
    // What is between backticks begins with the name.
    let named = rows.flat_map(|(methods, _)| methods.split('`').step_by(2));
    let mut named: Vec<&str> = named.filter_map(|method| method.split_whitespace().next()).collect();
    let mut methods = METHODS.to_vec();
    named.sort_unstable();
    methods.sort_unstable();
    assert_eq!(named, methods);
}

#[test]
fn no_two_methods_share_a_name_and_no_two_errors_a_code() {
    let mut names: Vec<&str> = METHODS.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), METHODS.len());
    for (at, one) in ErrorCode::ALL.iter().enumerate() {
        for other in &ErrorCode::ALL[at + 1..] {
            assert!(one.code() != other.code() && one.name() != other.name(), "{one:?}, {other:?}");
        }
    }
}

#[test]
fn a_finished_call_travels_flat_and_changes_nothing_but_the_place_in_the_log() {
    let call = |outcome| EventKind::CallFinished {
        peer: B,
        method: "echo".into(),
        outcome,
        took_us: 250,
        request_bytes: 2,
        response_bytes: 0,
    };
    let json = serde_json::to_value(event(5, A, call(CallOutcome::Error("no such method".into())))).unwrap();
    assert_eq!(
        json,
        json!({
            "seq": 5, "at_us": 50, "wall_us": 0, "node": "0000000000000001", "cause": "0000000000000007",
            "kind": "call_finished", "peer": "0000000000000002", "method": "echo",
            "outcome": {"error": "no such method"}, "took_us": 250, "request_bytes": 2, "response_bytes": 0,
        })
    );
    assert_eq!(serde_json::to_value(CallOutcome::Ok).unwrap(), json!("ok"));
    let before = two_nodes();
    let mut after = before.clone();
    after.apply(&event(5, A, call(CallOutcome::Ok)));
    assert_eq!(after, Snapshot { seq: 5, at_us: 50, ..before });
}

/// That `M` reads `given` and writes it as `full`.
fn asks<M: Method>(given: &Value, full: &Value) {
    let params: M::Params = serde_json::from_value(given.clone()).unwrap();
    assert_eq!(serde_json::to_value(params).unwrap(), *full, "{}", M::NAME);
}

/// That `M` reads and writes `params` as `json`.
fn asks_for<M: Method>(json: &Value, params: &M::Params) {
    assert_eq!(serde_json::to_value(params).unwrap(), *json, "{}", M::NAME);
    asks::<M>(json, json);
}

/// That `result` is read and written as `json`.
fn answers<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(json: &Value, result: &T) {
    assert_eq!(serde_json::to_value(result).unwrap(), *json);
    assert_eq!(serde_json::from_value::<T>(json.clone()).unwrap(), *result);
}
