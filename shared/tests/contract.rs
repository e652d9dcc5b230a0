//! The contract, as a client in another language meets it.

use meshground_shared::{
    CommandId, Epoch, Event, EventKind, Health, LinkSample, NodeId, PublicKey, Role, Snapshot, StopReason,
    Telemetry, Traffic, TrafficSample,
    rpc::{
        Delivery, ErrorCode, Id, NodeParams, NodeShutdown, Notification, Outcome, Push, Request, Response,
        RpcError, ServerMessage,
    },
};
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
    let without = Telemetry { at_us: 7, links: links.clone(), traffic: Vec::new() };
    let json = serde_json::to_value(&without).unwrap();
    assert_eq!(json, json!({"at_us": 7, "links": [{"node": A, "peer": B, "rtt_us": 80}]}));
    assert_eq!(serde_json::from_value::<Telemetry>(json).unwrap(), without);

    let total = Traffic { datagrams_out: 3, bytes_out: 300, messages_lost: 1, ..Traffic::default() };
    let with = Telemetry { at_us: 7, links, traffic: vec![TrafficSample { node: B, peer: A, total }] };
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
