use meshground_shared::{
    Epoch, Health, LinkSample, PublicKey, Role, StopReason,
    rpc::{ErrorCode, RpcError},
};

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn subscribed(epoch: u64) -> Action {
    let snapshot = Snapshot::new(Epoch(epoch));
    Action::Subscribed {
        answer: Subscribed { epoch: snapshot.epoch, seq: 0, snapshot: Some(snapshot) },
        now_ms: 0.0,
    }
}

fn event(seq: u64, node: Option<NodeId>, kind: EventKind) -> Action {
    let event = Event { seq, at_us: seq * 1_000, wall_us: 0, node, cause: Some(CommandId(9)), kind };
    Action::Event { event, now_ms: 5.0 }
}

fn started(index: u32) -> EventKind {
    EventKind::NodeStarted {
        index,
        address: "127.0.0.1:4000".parse().unwrap(),
        public_key: PublicKey([1; 32]),
    }
}

fn up(peer: NodeId) -> EventKind {
    EventKind::SessionUp { peer, address: "127.0.0.1:4000".parse().unwrap(), role: Role::Initiator }
}

fn two_nodes() -> State {
    let mut state = State::default();
    state.apply(subscribed(1));
    state.apply(event(1, Some(A), started(0)));
    state.apply(event(2, Some(B), started(1)));
    state.apply(event(3, Some(A), up(B)));
    state.apply(event(4, Some(B), up(A)));
    state
}

fn refused() -> Failure {
    Failure::Refused(RpcError::new(ErrorCode::Busy, "busy", "wait"))
}

#[test]
fn events_fold_into_the_snapshot_and_the_log() {
    let state = two_nodes();
    assert_eq!(state.snapshot.as_ref().unwrap().edges().len(), 1);
    assert_eq!(state.log.len(), 4);
}

#[test]
fn a_change_makes_a_new_handle_and_leaves_the_old_one_as_it_was() {
    let mut state = two_nodes();
    let before = state.snapshot.clone().unwrap();
    let kind = EventKind::PeerHealth { peer: B, from: Health::Healthy, to: Health::Suspect, silence_us: 7 };
    state.apply(event(5, Some(A), kind));
    assert_ne!(state.snapshot.as_ref(), Some(&before));
    assert_eq!(before.edges()[0].health, Health::Healthy);
    assert_eq!(state.snapshot.unwrap().edges()[0].health, Health::Suspect);
}

#[test]
fn the_log_is_bounded() {
    let mut state = two_nodes();
    for seq in 5..5 + 2 * LOG_CAPACITY as u64 {
        state.apply(event(seq, None, EventKind::ClusterStopping));
    }
    assert_eq!(state.log.len(), LOG_CAPACITY);
}

#[test]
fn a_departed_node_is_no_longer_selected_but_keeps_its_name() {
    let mut state = two_nodes();
    state.apply(Action::Select(Some(B)));
    state.apply(event(5, Some(B), EventKind::NodeStopped { reason: StopReason::Crash }));
    assert_eq!(state.selected, Some(B), "a crashed node is still a member");
    state.apply(event(6, Some(B), EventKind::NodeStopped { reason: StopReason::Shutdown }));
    assert_eq!(state.selected, None);
    assert_eq!(state.names.name(B), "node 1");
}

#[test]
fn a_new_epoch_starts_a_new_log() {
    let mut state = two_nodes();
    state.apply(subscribed(2));
    assert!(state.log.is_empty());
    assert!(state.snapshot.unwrap().nodes.is_empty());
}

#[test]
fn a_resumption_keeps_everything() {
    let mut state = two_nodes();
    let answer = Subscribed { epoch: Epoch(1), seq: 4, snapshot: None };
    state.apply(Action::Subscribed { answer, now_ms: 9.0 });
    assert_eq!(state.log.len(), 4);
    assert_eq!(state.snapshot.unwrap().nodes.len(), 2);
}

#[test]
fn a_refused_command_is_no_longer_pending_and_says_why() {
    let mut state = two_nodes();
    state.apply(Action::Sent(Pending { ticket: 1, command: Command::Crash(B) }));
    assert_eq!(state.pending.len(), 1);
    state.apply(Action::Answered { ticket: 1, outcome: Err(refused()) });
    assert!(state.pending.is_empty());
    let notice = &state.notices[0];
    assert_eq!(notice.title, "Could not crash node 1");
    assert_eq!((notice.message.as_str(), notice.hint.as_str()), ("busy", "wait"));
    let id = notice.id;
    state.apply(Action::Dismiss(id));
    assert!(state.notices.is_empty());
}

#[test]
fn an_answered_command_gives_its_cause_a_name() {
    let mut state = two_nodes();
    state.apply(Action::Sent(Pending { ticket: 1, command: Command::Spawn }));
    state.apply(Action::Answered { ticket: 1, outcome: Ok(Some(CommandId(9))) });
    assert_eq!(state.causes.get(&CommandId(9)), Some(&"spawn"));
}

#[test]
fn notices_make_room_for_newer_ones() {
    let mut state = State::default();
    for ticket in 0..9 {
        state.apply(Action::Sent(Pending { ticket, command: Command::Spawn }));
    }
    for ticket in 0..9 {
        state.apply(Action::Answered { ticket, outcome: Err(refused()) });
    }
    assert_eq!(state.notices.len(), MAX_NOTICES);
}

#[test]
fn the_next_command_clears_what_went_wrong_before() {
    let mut state = two_nodes();
    state.apply(Action::Sent(Pending { ticket: 1, command: Command::Crash(B) }));
    state.apply(Action::Answered { ticket: 1, outcome: Err(refused()) });
    state.apply(Action::Sent(Pending { ticket: 2, command: Command::Crash(B) }));
    assert!(state.notices.is_empty());
}

#[test]
fn round_trip_times_end_with_their_session() {
    let mut state = two_nodes();
    let links = vec![LinkSample { node: A, peer: B, rtt_us: 80 }];
    state.apply(Action::Telemetry { frame: Telemetry { at_us: 1, links }, now_ms: 6.0 });
    assert_eq!(state.rtts.get(&(A, B)), Some(&80));
    let reason = meshground_shared::SessionEnd::Forgotten;
    state.apply(event(5, Some(A), EventKind::SessionDown { peer: B, reason }));
    assert!(state.rtts.is_empty());
}

#[test]
fn the_logs_clock_believes_the_fastest_message() {
    let mut clock = LogClock::default();
    clock.observe(1_000, 100.0);
    clock.observe(50_000, 101.0);
    clock.observe(50_500, 110.0);
    assert!((clock.elapsed_us(50_000, 102.0) - 1_000.0).abs() < 1e-6);
}
