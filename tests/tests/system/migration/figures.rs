//! The figures of a move under way, as its source's snapshot shows them.

use std::{collections::BTreeSet, time::Duration};

use meshground_node::{Lifecycle, MigrationId, MigrationPhase, MigrationView};
use meshground_tests::sim::{Faults, Network};

use super::{
    super::{LIMIT, mesh, send, settled},
    hosts, spawn_with_state, try_migrate, under_way,
};

fn micros(since: meshground_node::Instant, now: meshground_node::Instant) -> u64 {
    u64::try_from(now.saturating_since(since).as_micros()).expect("small")
}

/// What a source's snapshot shows of its only migration.
fn shown(network: &Network, number: usize) -> Option<MigrationView> {
    let seen = network.members[number].os.os.as_ref().expect("it runs").snapshot();
    seen.migrations.first().cloned()
}

#[test]
fn how_long_it_takes_how_long_its_phase_and_what_waits_are_counted() {
    let mut network = mesh(1, Faults { delay: Duration::from_millis(20), ..Faults::NONE }, 3);
    let daemon = spawn_with_state(&mut network, 0, 1 << 20);
    network.run_for(Duration::from_secs(1));
    try_migrate(&mut network, 0, daemon, 1).expect("it is tried");
    let begun = network.now_at(0).instant;
    let mut phase = (MigrationPhase::Snapshot, begun);
    let (mut phases, mut waited) = (BTreeSet::new(), BTreeSet::new());
    let mut tickets = Vec::new();
    while let Some(view) = under_way(&network, 0).pop() {
        let now = network.now_at(0).instant;
        if view.phase != phase.0 {
            phase = (view.phase, now);
        }
        assert_eq!(view.elapsed_us, micros(begun, now));
        // It is looked at each millisecond.
        let in_phase = micros(phase.1, now);
        assert!((in_phase..in_phase + 1_000).contains(&view.phase_us), "{view:?}, not {in_phase}");
        assert_eq!((view.retries, view.bytes_done <= view.bytes_total), (0, true));
        phases.insert(view.phase);
        waited.insert(view.buffered);
        if view.phase == MigrationPhase::Transfer && tickets.is_empty() {
            tickets = [0, 1, 2].map(|from| (from, send(&mut network, from, daemon, "meanwhile"))).to_vec();
            let [after] = under_way(&network, 0).try_into().expect("one is under way");
            assert_eq!(after.buffered, 1, "what was sent from here waits at once");
        }
        network.run_for(Duration::from_millis(1));
    }
    assert!(phases.len() >= 4, "it was seen on its way: {phases:?}");
    assert!(waited.contains(&0) && waited.contains(&3), "and the others when they are there: {waited:?}");
    for (from, ticket) in tickets {
        settled(&mut network, from, ticket);
    }
    network.run_for(Duration::from_secs(1));
    assert_eq!(hosts(&network, daemon), [(1, Lifecycle::Running)]);
    assert_eq!(shown(&network, 0), None);
}

#[test]
fn a_transfer_that_was_broken_off_and_begun_again_says_how_often_and_so_does_the_snapshot() {
    let mut network = mesh(1, Faults { delay: Duration::from_millis(10), ..Faults::NONE }, 3);
    let daemon = spawn_with_state(&mut network, 0, 8 << 20);
    network.run_for(Duration::from_secs(1));
    try_migrate(&mut network, 0, daemon, 1).expect("it is tried");
    let id: MigrationId = under_way(&network, 0)[0].id;
    let has_some = |network: &Network| under_way(network, 0).iter().any(|view| view.bytes_done > 0);
    network.run_until(LIMIT, has_some).expect("some of it gets there");
    // The target comes back as if nothing had been, before its source gives up.
    let [source, target, other] = [0, 1, 2].map(|number| network.members[number].address);
    network.cuts = vec![(source, target), (target, source), (other, target), (target, other)];
    network.run_for(Duration::from_secs(7));
    assert_eq!(under_way(&network, 0)[0].retries, 0, "not before it is begun again");
    network.cuts.clear();
    network.dial_all();
    let again = |network: &Network| under_way(network, 0).iter().any(|view| view.retries == 1);
    network.run_until(LIMIT, again).expect("it is begun again");
    network.run_for(Duration::from_secs(1));
    if let Some(view) = shown(&network, 0) {
        assert_eq!((view.id, view.retries), (id, 1));
        assert!(view.elapsed_us >= 7_000_000 && view.phase_us <= view.elapsed_us, "{view:?}");
        assert!(view.bytes_total >= 8 << 20 && view.bytes_done > 0, "{view:?}");
    }
    network.run_until(LIMIT, |network| under_way(network, 0).is_empty()).expect("it gets there");
    network.run_for(Duration::from_secs(1));
    assert_eq!(hosts(&network, daemon), [(1, Lifecycle::Running)]);
}
