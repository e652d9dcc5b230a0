//! Daemons on simulated nodes: started, sent things, crashed, stopped.

use std::{sync::Arc, time::Duration};

use meshground_node::{
    Action, DaemonError, DaemonEvent, DaemonId, DaemonOrder, DeliverError, EntityKeypair, MeshDaemon,
    MeshOsConfig, Outputs, Settlement, SpawnRequest,
};
use meshground_shared::{DaemonEnd, Lifecycle, LogLevel};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{BAD, LIMIT, config, entries, mesh, send, settled, spawn};

pub(super) fn lifecycle(network: &Network, number: usize, daemon: DaemonId) -> Option<Lifecycle> {
    let os = network.members[number].os.os.as_ref()?;
    os.daemons().find(|view| view.id == daemon).map(|view| view.lifecycle)
}

#[test]
fn what_is_sent_arrives_once_and_in_order_from_wherever_and_however_bad_the_network() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, BAD, 4);
        let daemon = spawn(&mut network, 1, 7);
        let mut tickets = Vec::new();
        for round in 0..30 {
            for from in 0..4 {
                tickets.push((from, send(&mut network, from, daemon, &format!("{from} {round}"))));
            }
            network.run_for(Duration::from_millis(round % 7));
        }
        for (from, ticket) in tickets {
            let outcome = settled(&mut network, from, ticket);
            assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
        }
        let entries = entries(&mut network, 1, daemon);
        assert_eq!(entries.len(), 120, "each exactly once");
        for from in 0..4 {
            let its = entries.iter().filter(|entry| entry.starts_with(format!("{from} ").as_bytes()));
            let expected: Vec<Vec<u8>> =
                (0..30).map(|round| format!("{from} {round}").into_bytes()).collect();
            assert!(its.eq(&expected), "in the order they were sent");
        }
    });
}

#[test]
fn a_crash_is_told_to_whoever_caused_it_and_the_daemon_comes_back_by_itself() {
    let mut network = mesh(1, Faults::NONE, 2);
    let daemon = spawn(&mut network, 1, 7);
    let before = send(&mut network, 0, daemon, "before");
    let crash = send(&mut network, 0, daemon, "crash");
    assert!(matches!(settled(&mut network, 0, before), Settlement::Delivered(Ok(_))));
    assert_eq!(settled(&mut network, 0, crash), Settlement::Delivered(Err(DeliverError::Crashed)));
    assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::BackingOff));
    let down = send(&mut network, 0, daemon, "down");
    assert_eq!(settled(&mut network, 0, down), Settlement::Delivered(Err(DeliverError::Down)));
    let took = network
        .run_until(LIMIT, |network| lifecycle(network, 1, daemon) == Some(Lifecycle::Running))
        .expect("it comes back");
    assert!(took < Duration::from_secs(1), "after the first pause, not after {took:?}");
    let after = send(&mut network, 0, daemon, "after");
    assert!(matches!(settled(&mut network, 0, after), Settlement::Delivered(Ok(_))));
    assert_eq!(entries(&mut network, 1, daemon), [b"after"]);
}

#[test]
fn the_fifth_crash_in_a_minute_is_a_loop() {
    let mut network = mesh(1, Faults::NONE, 2);
    let daemon = spawn(&mut network, 1, 7);
    for _ in 0..5 {
        network
            .run_until(LIMIT, |network| lifecycle(network, 1, daemon) == Some(Lifecycle::Running))
            .expect("it comes back");
        let crash = send(&mut network, 1, daemon, "crash");
        assert_eq!(settled(&mut network, 1, crash), Settlement::Delivered(Err(DeliverError::Crashed)));
    }
    assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::CrashLooping));
    network.run_for(Duration::from_millis(100));
    let seen = network.members[1].os.os.as_ref().expect("it runs").snapshot();
    let pauses = seen.actions.iter().filter(|record| record.action == Action::ApplyBackoff { daemon });
    assert_eq!(pauses.count(), 5, "what was done about it is to be seen");
}

#[test]
fn a_stopped_daemon_is_gone_at_once_and_everywhere_and_what_is_sent_to_it_is_told_so() {
    let mut network = mesh(1, Faults::NONE, 3);
    let daemon = spawn(&mut network, 1, 7);
    let sent = send(&mut network, 0, daemon, "a");
    settled(&mut network, 0, sent);
    let stop = network.act_os(1, |os, node, now| os.stop(now, node, daemon, None, None)).expect("it is here");
    let is_settled = |network: &Network| network.members[1].os.settlement(stop).is_some();
    let took = network.run_until(LIMIT, is_settled).expect("it stops");
    assert!(took < Duration::from_millis(100), "as soon as it is down, not after its grace: {took:?}");
    assert_eq!(network.members[1].os.settlement(stop), Some(&Settlement::Stopped(DaemonEnd::Stopped)));
    network.run_for(Duration::from_millis(100));
    let late = send(&mut network, 0, daemon, "late");
    let outcome = settled(&mut network, 0, late);
    assert_eq!(outcome, Settlement::Delivered(Err(DeliverError::NotFound(daemon))));
}

#[test]
fn a_daemon_without_a_direct_way_to_it_is_reached_over_others() {
    let mut network = Network::new(1, Faults::NONE);
    for number in 0..4 {
        network.add(config());
        network.equip(number, MeshOsConfig::default(), Diary::prepare);
    }
    for number in 0..3 {
        network.dial(number, number + 1);
    }
    network.run_for(Duration::from_secs(5));
    let daemon = spawn(&mut network, 3, 7);
    network.run_for(Duration::from_secs(2));
    let ticket = send(&mut network, 0, daemon, "from afar");
    assert!(matches!(settled(&mut network, 0, ticket), Settlement::Delivered(Ok(_))));
}

/// Replies with more than it is sent.
struct Loud;

impl MeshDaemon for Loud {
    fn name(&self) -> String {
        "loud".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { .. } = event {
            outputs.reply(vec![b'!'; 1_500_000]);
        }
        Ok(())
    }
}

#[test]
fn answers_that_are_too_much_for_one_message_together_all_arrive() {
    let mut network = mesh(1, Faults::NONE, 2);
    network.act_os(1, |os, _, now| {
        let make = |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::new(Loud)) };
        os.register_factory(now, "loud", Arc::new(make))
    });
    let keypair = EntityKeypair::from_seed([8; 32]);
    let daemon = keypair.origin_hash();
    let (kind, args) = ("loud".to_owned(), String::new());
    let request = SpawnRequest { keypair, kind, args, state: None, cause: None };
    let ticket = network.act_os(1, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    settled(&mut network, 1, ticket);
    network.run_for(Duration::from_secs(1));
    let tickets: Vec<_> = (0..8).map(|number| send(&mut network, 0, daemon, &number.to_string())).collect();
    for (number, ticket) in tickets.into_iter().enumerate() {
        match settled(&mut network, 0, ticket) {
            Settlement::Delivered(Ok(delivered)) => assert_eq!(delivered.place, number as u64 + 1),
            other => panic!("{number}: {other:?}"),
        }
    }
}

#[test]
fn figures_alone_are_no_structural_change_of_a_snapshot() {
    let mut network = mesh(1, Faults::NONE, 2);
    let daemon = spawn(&mut network, 1, 7);
    network.run_for(Duration::from_secs(3));
    let seen = |network: &Network| network.members[1].os.os.as_ref().expect("it runs").snapshot();
    let before = seen(&network).generation;
    for number in 0..5 {
        let ticket = send(&mut network, 0, daemon, &number.to_string());
        settled(&mut network, 0, ticket);
        network.run_for(Duration::from_millis(300));
    }
    let after = seen(&network);
    assert_eq!(after.daemons[0].processed, 5, "figures are kept up");
    assert_eq!(after.generation, before);
}

#[test]
fn the_last_lines_of_daemons_are_seen_and_are_no_structural_change() {
    let mut network = mesh(1, Faults::NONE, 2);
    let (one, other) = (spawn(&mut network, 1, 7), spawn(&mut network, 1, 8));
    network.run_for(Duration::from_secs(3));
    let seen = |network: &Network| network.members[1].os.os.as_ref().expect("it runs").snapshot();
    let before = seen(&network);
    assert!(before.log.is_empty());
    let began = network.now_at(1).wall;
    for number in 0..70 {
        let (daemon, level) = if number % 2 == 0 { (one, LogLevel::Info) } else { (other, LogLevel::Warn) };
        let text = format!("line {number}");
        assert!(network.act_os(1, |os, _, now| os.log_for(now, daemon, level, text)));
        network.run_for(Duration::from_millis(3));
    }
    let nobody = DaemonId(1);
    assert!(!network.act_os(1, |os, _, now| os.log_for(now, nobody, LogLevel::Info, String::new())));
    network.act_os(1, |os, _, now| os.log_for(now, one, LogLevel::Error, "ä".repeat(1_000)));
    network.run_for(Duration::from_millis(100));
    let after = seen(&network);
    assert_eq!(after.log.len(), 64, "only so many");
    for (number, line) in (7..70).zip(after.log.iter()) {
        let (daemon, level) = if number % 2 == 0 { (one, LogLevel::Info) } else { (other, LogLevel::Warn) };
        assert_eq!((line.daemon, line.level, &*line.text), (daemon, level, &*format!("line {number}")));
    }
    let times: Vec<_> = after.log.iter().map(|line| line.at).collect();
    assert!(times.is_sorted() && times[0] > began && times[63] <= network.now_at(1).wall);
    assert_eq!(after.log[63].text.len(), 1_024, "a long one is cut");
    assert_eq!(after.generation, before.generation);

    network.run_for(Duration::from_secs(3));
    let later = seen(&network);
    assert!(
        !Arc::ptr_eq(&later, &after) && Arc::ptr_eq(&later.log, &after.log),
        "none is copied for nothing"
    );
    assert!(
        network.members[0].os.os.as_ref().expect("it runs").snapshot().log.is_empty(),
        "each has its own"
    );
}

#[test]
fn a_crash_is_a_line_of_the_log() {
    let mut network = mesh(1, Faults::NONE, 2);
    let daemon = spawn(&mut network, 1, 7);
    let crash = send(&mut network, 0, daemon, "crash");
    settled(&mut network, 0, crash);
    network.run_for(Duration::from_millis(100));
    let seen = network.members[1].os.os.as_ref().expect("it runs").snapshot();
    let lines: Vec<_> = seen.log.iter().map(|line| (line.daemon, line.level)).collect();
    assert_eq!(lines, [(daemon, LogLevel::Error)]);
}

#[test]
fn a_node_that_closes_takes_nothing_from_anybody_and_runs_on_what_it_has() {
    let mut network = mesh(1, Faults::NONE, 2);
    let (stays, moves) = (spawn(&mut network, 1, 7), spawn(&mut network, 0, 8));
    network.act_os(1, |os, node, now| os.close(now, node));
    let to = network.id(1);
    // Others may not know yet.
    let tried = network.act_os(0, |os, node, now| os.migrate(now, node, moves, to, None));
    if let Ok(ticket) = tried {
        let outcome = settled(&mut network, 0, ticket);
        assert!(matches!(outcome, Settlement::Migrated(Err(_))), "{outcome:?}");
    }
    network.run_for(Duration::from_secs(1));
    let seen = network.members[0].os.os.as_ref().expect("it runs").snapshot();
    assert!(seen.peers[&to].cordoned, "everybody knows");
    assert_eq!(lifecycle(&network, 1, stays), Some(Lifecycle::Running));
    assert_eq!(lifecycle(&network, 0, moves), Some(Lifecycle::Running));
}

#[test]
fn everybody_knows_how_busy_the_others_are() {
    let mut network = mesh(1, Faults::NONE, 3);
    for seed in 7..10 {
        spawn(&mut network, 1, seed);
    }
    network.run_for(Duration::from_secs(1));
    let (busy, idle) = (network.id(1), network.id(2));
    let os = network.members[0].os.os.as_ref().expect("it runs");
    assert!(os.load_of(busy) > os.load_of(idle), "{} {}", os.load_of(busy), os.load_of(idle));
}

#[test]
fn one_that_begins_anew_elsewhere_is_found_though_its_former_node_is_not_forgotten() {
    let mut network = mesh(1, Faults::NONE, 3);
    let daemon = spawn(&mut network, 2, 7);
    network.run_for(Duration::from_secs(1));
    network.crash(2);
    network.run_for(Duration::from_secs(5));
    assert_eq!(spawn(&mut network, 0, 7), daemon);
    network.run_for(Duration::from_secs(1));
    let ticket = send(&mut network, 1, daemon, "a");
    assert!(matches!(settled(&mut network, 1, ticket), Settlement::Delivered(Ok(_))));
}

#[test]
fn of_one_identity_that_was_started_on_both_sides_of_a_cut_one_runs_when_that_is_healed() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 4);
        let addresses: Vec<_> = network.members.iter().map(|member| member.address).collect();
        for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            network.cuts.extend([(addresses[a], addresses[b]), (addresses[b], addresses[a])]);
        }
        network.run_for(Duration::from_secs(5));
        let daemon = spawn(&mut network, 0, 7);
        assert_eq!(spawn(&mut network, 3, 7), daemon);
        let running = |network: &Network| {
            let runs = |number: &usize| lifecycle(network, *number, daemon) == Some(Lifecycle::Running);
            (0..4).filter(runs).collect::<Vec<usize>>()
        };
        network.run_for(Duration::from_secs(10));
        assert_eq!(running(&network), [0, 3], "nobody can know");
        network.cuts.clear();
        network.dial_all();
        network.run_until(LIMIT, |network| running(network).len() == 1).expect("one stops");
        let kept = if network.id(0) > network.id(3) { 0 } else { 3 };
        network.run_for(LIMIT);
        assert_eq!(running(&network), [kept], "and the other stays");
        let failures = network.members[3 - kept].os.os.as_ref().unwrap().snapshot().failures.clone();
        assert!(failures.iter().any(|failure| failure.what.contains("the same daemon runs on node")));
        let ticket = send(&mut network, 1, daemon, "hello");
        assert!(matches!(settled(&mut network, 1, ticket), Settlement::Delivered(Ok(_))));
    });
}

#[test]
fn a_snapshot_says_for_how_long_a_daemon_has_been_there_and_when_it_is_started_again() {
    let mut network = mesh(1, Faults::NONE, 2);
    let daemon = spawn(&mut network, 1, 7);
    network.run_for(Duration::from_secs(5));
    let timing = |network: &Network| network.members[1].os.os.as_ref().unwrap().snapshot().timings[&daemon];
    let seen = timing(&network);
    assert!(seen.age >= Duration::from_secs(3) && seen.restarts_in.is_none(), "{seen:?}");
    let crash = send(&mut network, 1, daemon, "crash");
    settled(&mut network, 1, crash);
    network.run_for(Duration::from_millis(50));
    let wait = timing(&network).restarts_in.expect("it is down");
    assert!(wait <= Duration::from_millis(500) && wait > Duration::from_millis(200), "{wait:?}");
}
