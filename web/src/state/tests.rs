use meshground_shared::{
    AdminVerb, AuditEntry, CallOutcome, DaemonEnd, DaemonId, Decision, Epoch, Health, IceVerb, LinkFault,
    LinkSample, MigrationId, MigrationPhase, MigrationView, NodeState, PublicKey, Role, StopReason, Topology,
    TrafficSample, Verb,
    rpc::{ErrorCode, KindInfo, MigrateParams, RpcError},
};

use super::*;
use crate::{eyes::Difference, fixtures, work::Work};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn subscribed(epoch: u64) -> Action {
    let snapshot = Snapshot::new(Epoch(epoch));
    Action::Subscribed {
        answer: Subscribed { epoch: snapshot.epoch, seq: 0, now_us: 0, snapshot: Some(snapshot) },
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

fn looked(node: NodeId, outcome: Result<NodeView, Failure>) -> Action {
    Action::Looked { node, outcome: outcome.map(Box::new) }
}

#[test]
fn what_a_node_sees_is_held_against_the_truth_of_that_moment_while_that_node_is_selected() {
    let mut state = two_nodes();
    state.apply(looked(A, Ok(fixtures::view(A))));
    assert_eq!(state.eyes, None, "nobody looks through its eyes");
    state.apply(Action::Select(Some(A)));
    state.apply(looked(B, Ok(fixtures::view(B))));
    assert_eq!(state.eyes, None, "it came too late");
    let peers = [(B, fixtures::seen(Some(Health::Unreachable)))].into();
    state.apply(looked(A, Ok(NodeView { peers, ..fixtures::view(A) })));
    let doubts = Difference::Doubts { peer: B, verdict: Health::Unreachable, cut: false };
    let differences = |state: &State| state.eyes.as_ref().unwrap().seen.as_ref().unwrap().differences.clone();
    assert_eq!(differences(&state), [doubts]);
    state.apply(event(5, Some(B), EventKind::NodeStopped { reason: StopReason::Crash }));
    assert_eq!(differences(&state), [doubts], "as it was then");

    state.apply(Action::Select(Some(B)));
    assert_eq!(state.eyes, None, "those were another's eyes");
    state.apply(looked(B, Ok(fixtures::view(B))));
    state.apply(event(6, Some(B), EventKind::NodeStopped { reason: StopReason::Shutdown }));
    assert_eq!(state.eyes, None, "it is gone");
}

#[test]
fn why_a_node_cannot_be_looked_through_is_said_and_a_lost_answer_leaves_what_was_seen() {
    let mut state = two_nodes();
    state.apply(Action::Select(Some(A)));
    state.apply(looked(A, Ok(fixtures::view(A))));
    let before = state.eyes.clone();
    state.apply(looked(A, Err(Failure::Lost)));
    assert_eq!(state.eyes, before);
    state.apply(looked(A, Err(refused())));
    assert_eq!(state.eyes.as_ref().unwrap().seen, Err(("busy".to_owned(), "wait".to_owned())));
    assert!(state.notices.is_empty(), "it is asked again in a second");
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
    let answer = Subscribed { epoch: Epoch(1), seq: 4, now_us: 0, snapshot: None };
    state.apply(Action::Subscribed { answer, now_ms: 9.0 });
    assert_eq!(state.log.len(), 4);
    assert_eq!(state.snapshot.unwrap().nodes.len(), 2);
}

#[test]
fn a_log_told_from_its_beginning_makes_the_state_it_led_to() {
    let mut state = State::default();
    assert_eq!(state.silence(), "Not connected yet.");
    let answer = Subscribed { epoch: Epoch(1), seq: 0, now_us: 0, snapshot: None };
    state.apply(Action::Subscribed { answer: answer.clone(), now_ms: 9.0 });
    assert_eq!(state.silence(), "Nothing has happened yet.");
    state.apply(event(1, Some(A), started(0)));
    state.apply(event(2, Some(B), started(1)));
    assert_eq!((state.log.len(), state.snapshot.as_ref().unwrap().nodes.len()), (2, 2));
    // Told once more, it does not stand there twice.
    state.apply(Action::Subscribed { answer, now_ms: 10.0 });
    state.apply(event(1, Some(A), started(0)));
    assert_eq!((state.log.len(), state.snapshot.as_ref().unwrap().nodes.len()), (1, 1));
}

#[test]
fn ages_are_right_from_the_first_answer_on() {
    let mut state = State::default();
    let answer = Subscribed { epoch: Epoch(1), seq: 0, now_us: 60_000_000, snapshot: None };
    state.apply(Action::Subscribed { answer, now_ms: 5.0 });
    state.apply(event(1, Some(A), started(0)));
    let up_us = state.clock.elapsed_us(state.snapshot.unwrap().nodes[&A].started_us, 5.0);
    assert!((up_us - 59_999_000.0).abs() < 1e-6, "{up_us}");
}

#[test]
fn a_snapshot_in_place_of_a_history_does_not_deny_it() {
    let mut state = State::default();
    let snapshot = Snapshot { seq: 9_000, ..Snapshot::new(Epoch(1)) };
    let answer = Subscribed { epoch: Epoch(1), seq: 9_000, now_us: 0, snapshot: Some(snapshot) };
    state.apply(Action::Subscribed { answer, now_ms: 0.0 });
    assert_eq!(state.silence(), "Nothing since you connected.");
}

#[test]
fn what_is_recalled_goes_into_the_log_and_changes_nothing_else() {
    let mut state = State::default();
    let mut snapshot = Snapshot { seq: 7, ..Snapshot::new(Epoch(1)) };
    let Action::Event { event: begun, .. } = event(8, Some(A), started(0)) else { unreachable!() };
    snapshot.apply(&begun);
    let answer = Subscribed { epoch: Epoch(1), seq: 8, now_us: 0, snapshot: Some(snapshot.clone()) };
    state.apply(Action::Subscribed { answer, now_ms: 0.0 });
    let recalled = Subscribed { epoch: Epoch(1), seq: 6, now_us: 0, snapshot: None };
    state.apply(Action::Subscribed { answer: recalled, now_ms: 1.0 });
    state.apply(event(7, None, EventKind::ClusterStopped));
    state.apply(event(8, Some(A), started(0)));
    assert_eq!(state.log.len(), 2);
    assert!(state.causes.is_empty(), "a known node's start may be a spawn's or a restart's");
    assert_eq!(**state.snapshot.as_ref().unwrap(), snapshot);
    state.apply(event(9, Some(B), started(1)));
    assert_eq!(state.snapshot.unwrap().nodes.len(), 2);
}

#[test]
fn commands_are_told_by_what_they_did() {
    let mut state = State::default();
    state.apply(subscribed(1));
    let crash = EventKind::NodeStopped { reason: StopReason::Crash };
    let leave = EventKind::NodeLeaving { reason: StopReason::Shutdown };
    let told = [
        (1, None, EventKind::ClusterBooting { nodes: 1, topology: Topology::Full }),
        (1, Some(A), started(0)),
        (2, Some(A), crash.clone()),
        (3, Some(A), started(0)),
        (4, Some(B), started(1)),
        (5, Some(B), leave.clone()),
        (5, Some(B), started(1)),
        (6, Some(B), leave),
        (7, None, EventKind::ClusterStopping),
        (7, None, EventKind::ClusterBooting { nodes: 2, topology: Topology::Full }),
        (8, None, EventKind::ClusterStopping),
    ];
    for (seq, (cause, node, kind)) in (1..).zip(told) {
        let event = Event { seq, at_us: seq, wall_us: 0, node, cause: Some(CommandId(cause)), kind };
        state.apply(Action::Event { event, now_ms: 0.0 });
    }
    let words: Vec<_> = state.causes.values().copied().collect();
    assert_eq!(words, ["boot", "crash", "restart", "spawn", "restart", "shutdown", "reboot", "stop"]);
}

#[test]
fn another_servers_log_replaces_this_ones() {
    let mut state = two_nodes();
    let answer = Subscribed { epoch: Epoch(2), seq: 0, now_us: 0, snapshot: None };
    state.apply(Action::Subscribed { answer, now_ms: 9.0 });
    assert!(state.log.is_empty());
    assert!(state.snapshot.unwrap().nodes.is_empty());
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
fn round_trip_times_and_counters_end_with_their_session() {
    let mut state = two_nodes();
    let links = vec![LinkSample { node: A, peer: B, rtt_us: 80 }];
    let total = Traffic { datagrams_in: 7, ..Traffic::default() };
    let traffic = vec![TrafficSample { node: A, peer: B, total }];
    state.apply(Action::Telemetry {
        frame: Telemetry { at_us: 1, links, traffic, daemons: Vec::new() },
        now_ms: 6.0,
    });
    // Counters come less often.
    let frame = Telemetry { at_us: 2, links: Vec::new(), traffic: Vec::new(), daemons: Vec::new() };
    state.apply(Action::Telemetry { frame, now_ms: 6.0 });
    assert_eq!(state.rtts.get(&(A, B)), Some(&80));
    assert_eq!(state.traffic.get(&(A, B)), Some(&total));
    let reason = meshground_shared::SessionEnd::Forgotten;
    state.apply(event(5, Some(A), EventKind::SessionDown { peer: B, reason }));
    assert!(state.rtts.is_empty() && state.traffic.is_empty());
}

#[test]
fn the_figures_of_a_daemon_end_with_it_or_with_its_node() {
    let mut state = two_nodes();
    let sample =
        |node, id, processed| DaemonSample { node, daemon: DaemonId(id), saturation: 500, processed };
    let frame = |daemons| Action::Telemetry {
        frame: Telemetry { at_us: 1, links: Vec::new(), traffic: Vec::new(), daemons },
        now_ms: 6.0,
    };
    state.apply(frame(vec![sample(A, 1, 3), sample(A, 2, 4), sample(B, 3, 5)]));
    // Only what changed comes again.
    state.apply(frame(vec![sample(A, 2, 6)]));
    let known =
        |state: &State| state.loads.values().map(|one| (one.daemon.0, one.processed)).collect::<Vec<_>>();
    assert_eq!(known(&state), [(1, 3), (2, 6), (3, 5)]);
    let gone = EventKind::DaemonGone { daemon: DaemonId(1), reason: DaemonEnd::Stopped };
    state.apply(event(5, Some(A), gone));
    assert_eq!(known(&state), [(2, 6), (3, 5)]);
    state.apply(event(6, Some(B), EventKind::NodeStopped { reason: StopReason::Crash }));
    assert_eq!(known(&state), [(2, 6)]);
}

#[test]
fn the_logs_clock_believes_the_fastest_message() {
    let mut clock = LogClock::default();
    clock.observe(1_000, 100.0);
    clock.observe(50_000, 101.0);
    clock.observe(50_500, 110.0);
    assert!((clock.elapsed_us(50_000, 102.0) - 1_000.0).abs() < 1e-6);
}

#[test]
fn pauses_faults_and_topologies_show_in_the_snapshot_and_name_their_command() {
    let mut state = two_nodes();
    let snapshot = |state: &State| state.snapshot.as_ref().unwrap().clone();
    let last = snapshot(&state).seq;
    let mut seq = last;
    let mut next = |node, kind| {
        seq += 1;
        let event = Event { seq, at_us: seq, wall_us: 0, node, cause: Some(CommandId(100 + seq)), kind };
        Action::Event { event, now_ms: 5.0 }
    };
    for (node, kind, word) in [
        (None, EventKind::TopologyChanged { topology: Topology::Ring }, "topology"),
        (Some(A), EventKind::NodePaused, "pause"),
        (Some(A), EventKind::NodeResumed, "resume"),
        (Some(A), EventKind::FaultChanged { peer: B, fault: Some(LinkFault::CUT) }, "cut"),
        (Some(A), EventKind::FaultChanged { peer: B, fault: None }, "heal"),
        (Some(B), EventKind::NodeStopped { reason: StopReason::Replaced }, "replace"),
    ] {
        let action = next(node, kind);
        state.apply(action);
        let seq = snapshot(&state).seq;
        assert_eq!(state.causes.get(&CommandId(100 + seq)), Some(&word));
        let now = snapshot(&state);
        assert_eq!(now.topology, Topology::Ring);
        assert_eq!(now.nodes[&A].state == NodeState::Paused, word == "pause");
        assert_eq!(now.nodes[&A].faults.contains_key(&B), word == "cut");
        assert_eq!(now.nodes.contains_key(&B), word != "replace");
    }
}

fn called() -> EventKind {
    EventKind::CallFinished {
        peer: B,
        method: "echo".into(),
        outcome: CallOutcome::Ok,
        took_us: 1,
        request_bytes: 1,
        response_bytes: 1,
    }
}

#[test]
fn calls_outlast_the_log_and_are_bounded_themselves() {
    let mut state = two_nodes();
    state.apply(event(5, Some(A), called()));
    for seq in 6..6 + 2 * LOG_CAPACITY as u64 {
        state.apply(event(seq, Some(A), EventKind::NodeResumed));
    }
    assert_eq!(state.calls.len(), 1);
    let next = 6 + 2 * LOG_CAPACITY as u64;
    for seq in next..next + 2 * CALLS_KEPT as u64 {
        state.apply(event(seq, Some(A), called()));
    }
    assert_eq!(state.calls.len(), CALLS_KEPT);
    state.apply(subscribed(2));
    assert!(state.calls.is_empty(), "they were another server's");
}

#[test]
fn a_daemon_is_on_its_node_until_it_is_gone_and_keeps_its_name() {
    let mut state = two_nodes();
    let daemon = fixtures::daemon(0x3f2a << 48, "counter");
    let id = daemon.id;
    let runs = |state: &State| state.snapshot.as_ref().unwrap().nodes[&A].daemons.contains_key(&id);
    state.apply(event(5, Some(A), EventKind::DaemonChanged { daemon }));
    assert!(runs(&state));
    state.apply(event(6, Some(A), EventKind::DaemonGone { daemon: id, reason: DaemonEnd::Migrated }));
    assert!(!runs(&state));
    assert_eq!(state.names.daemon(id), "counter 3f2a");
    assert_eq!(state.names.daemon(DaemonId(0xbeef << 48)), "daemon beef");
}

#[test]
fn what_changes_no_name_leaves_the_names_as_they_are() {
    let mut state = two_nodes();
    let changed = || EventKind::DaemonChanged { daemon: fixtures::daemon(9, "counter") };
    state.apply(event(5, Some(A), changed()));
    let before = state.names.clone();
    state.apply(event(6, Some(A), changed()));
    assert_eq!(state.names, before, "a copy of every name for every event would be dear");
}

#[test]
fn a_freeze_counts_down_on_the_logs_clock_and_ends_by_itself() {
    let mut state = two_nodes();
    // At 5 ms of the page's clock, which is 5 ms of the log's.
    state.apply(event(5, Some(A), EventKind::FreezeChanged { remaining_ms: Some(10_000) }));
    let node = state.snapshot.as_ref().unwrap().nodes[&A].clone();
    assert_eq!(state.clock.frozen_us(&node, 5.0), Some(10_000_000));
    assert_eq!(state.clock.frozen_us(&node, 9_600.0), Some(1_000_000));
    assert_eq!(state.clock.frozen_us(&node, 10_100.0), None);
    assert_eq!(state.clock.frozen_us(&fixtures::member(0), 5.0), None);
}

#[test]
fn a_refused_work_says_what_it_was_about() {
    let mut state = two_nodes();
    state.apply(event(5, Some(A), EventKind::DaemonChanged { daemon: fixtures::daemon(9, "counter") }));
    for (work, title) in [
        (Work::StopDaemon(DaemonId(9)), "Could not stop counter 0000"),
        (
            Work::Migrate(MigrateParams { daemon: DaemonId(9), to: B }),
            "Could not move counter 0000 to node 1",
        ),
        (Work::Admin(AdminVerb::Drain { node: A }, "demo-1"), "Could not drain node 0"),
        (Work::Simulate(IceVerb::ThawCluster), "Could not simulate: thaw the cluster"),
    ] {
        state.apply(Action::Sent(Pending { ticket: 1, command: Command::Work(work) }));
        state.apply(Action::Answered { ticket: 1, outcome: Err(refused()) });
        assert_eq!(state.notices[0].title, title);
    }
}

#[test]
fn what_is_learnt_of_a_cluster_ends_with_it_but_the_factories_are_the_servers() {
    let mut state = two_nodes();
    let kind = KindInfo { kind: "counter".into(), about: String::new() };
    state.apply(Action::Learned(Answer::Kinds(vec![kind])));
    let simulated = serde_json::from_value(serde_json::json!({
        "radius": {"nodes": [], "replicas": [], "daemons": [], "drain_delay_ms": 0, "warnings": []},
        "simulation": "00".repeat(32),
    }));
    state.apply(Action::Learned(Answer::Simulated(IceVerb::ThawCluster, simulated.unwrap())));
    assert!(state.answers.simulated.is_some());
    state.apply(subscribed(2));
    assert!(state.answers.simulated.is_none());
    assert_eq!(state.answers.kinds.len(), 1);
}

#[test]
fn signed_commands_calls_and_migrations_name_the_command_behind_them() {
    let migration = MigrationView {
        id: MigrationId(6),
        daemon: DaemonId(9),
        source: A,
        target: B,
        phase: MigrationPhase::Snapshot,
        bytes_total: 0,
        bytes_done: 0,
        buffered: 0,
        retries: 0,
        elapsed_us: 0,
        phase_us: 0,
        reason: None,
    };
    let entry = AuditEntry {
        seq: 1,
        wall_us: 1,
        nonce: "0".repeat(32),
        verb: Verb::Ice(IceVerb::ThawCluster),
        operators: Vec::new(),
        decision: Decision::Applied,
    };
    for (kind, word) in [
        (EventKind::MigrationChanged { migration }, "migrate"),
        (EventKind::AdminDecided { entry }, "ice"),
        (called(), "call"),
    ] {
        let mut state = two_nodes();
        let event = Event { seq: 5, at_us: 5, wall_us: 0, node: Some(A), cause: Some(CommandId(77)), kind };
        state.apply(Action::Event { event, now_ms: 0.0 });
        assert_eq!(state.causes.get(&CommandId(77)), Some(&word));
    }
}
