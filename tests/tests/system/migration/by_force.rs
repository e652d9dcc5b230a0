//! Migrations that an operator ends by force, one way or the other.

use std::{collections::BTreeSet, time::Duration};

use meshground_node::{Lifecycle, Settlement};
use meshground_shared::{Decision, IceVerb, MigrationPhase, Rejection};
use meshground_tests::sim::{Faults, Network};

use super::{
    super::{LIMIT, commanding, entries, mesh, send, settled, spawn},
    hosts, migrate, spawn_with_state, try_migrate, under_way,
};

/// Moves a daemon to which one node after the other sends something that is too large to go along with the cutover, and has the
/// cutover forced if it is to be. How long until it runs at the target, from when it might have been forced.
fn flooded(forced: bool) -> Duration {
    const NODES: usize = 28;
    let mut network = mesh(1, Faults { delay: Duration::from_millis(20), ..Faults::NONE }, NODES);
    let daemon = spawn(&mut network, 1, 7);
    network.run_for(Duration::from_secs(1));
    let phase = |network: &Network| under_way(network, 1).first().map(|view| view.phase);
    let mut tickets = Vec::new();
    // For as long as it moves, what a node has sent waits; so each counts once.
    let mut flood = |network: &mut Network, ms: u64| {
        for passed in 0..ms {
            let from = 2 + tickets.len();
            if passed % 30 == 0 && from < NODES {
                tickets.push((from, send(network, from, daemon, &format!("{from} {}", "x".repeat(270_000)))));
            }
            network.run_for(Duration::from_millis(1));
            let hosts = hosts(network, daemon);
            assert!(hosts.iter().filter(|(_, it)| it.is_live()).count() <= 1, "{hosts:?}");
        }
    };
    flood(&mut network, 120);
    try_migrate(&mut network, 1, daemon, 0).expect("it is tried");
    while phase(&network) != Some(MigrationPhase::Replay) {
        assert!(phase(&network).is_some(), "it has something to wait for");
        flood(&mut network, 30);
    }
    let since = network.now_at(0).instant;
    if forced {
        let migration = under_way(&network, 1)[0].id;
        let verb = IceVerb::ForceCutover { migration };
        let command = commanding::break_glass(&mut network, 1, &verb).expect("it is possible");
        network.act_os(1, |os, node, now| os.submit(now, node, &command));
    }
    while hosts(&network, daemon) != [(0, Lifecycle::Running)] {
        flood(&mut network, 30);
    }
    let took = network.now_at(0).instant.saturating_since(since);
    flood(&mut network, 1_000);
    for (from, ticket) in &tickets {
        let outcome = settled(&mut network, *from, *ticket);
        assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
    }
    let sender = |entry: &Vec<u8>| entry.split(|byte| *byte == b' ').next().map(<[u8]>::to_vec);
    let entries = entries(&mut network, 0, daemon);
    let senders: BTreeSet<_> = entries.iter().map(sender).collect();
    assert_eq!((entries.len(), senders.len()), (NODES - 2, NODES - 2), "each once");
    assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Running)]);
    took
}

#[test]
fn a_move_that_waits_for_what_is_sent_to_become_less_is_cut_over_at_once_by_force_with_one_live_copy() {
    let [waits, forced] = [false, true].map(flooded);
    assert!(forced + Duration::from_millis(200) < waits, "{forced:?}, and {waits:?} without");
}

#[test]
fn what_was_done_to_a_daemons_migration_by_force_is_not_done_to_its_next_one_at_once() {
    let mut network = mesh(1, Faults::NONE, 3);
    let daemon = spawn_with_state(&mut network, 0, 8 << 20);
    network.run_for(Duration::from_secs(1));
    let kill = |network: &mut Network, expected: Decision| {
        try_migrate(network, 0, daemon, 1).expect("it is tried");
        let migration = under_way(network, 0)[0].id;
        let verb = IceVerb::KillMigration { migration };
        while network.act_os(0, |os, node, _| os.simulate(node, &verb)).is_none() {
            network.run_for(Duration::from_millis(1));
            assert!(!under_way(network, 0).is_empty(), "it says so before it is over");
        }
        let command = commanding::break_glass(network, 0, &verb).expect("just seen");
        assert_eq!(commanding::submit(network, 0, &command), expected);
        network.run_until(LIMIT, |network| under_way(network, 0).is_empty()).expect("it is over");
        network.run_for(Duration::from_secs(1));
        let [(host, Lifecycle::Running)] = hosts(network, daemon)[..] else { panic!("one copy") };
        host
    };
    assert_eq!(kill(&mut network, Decision::Applied), 0);
    let cooling = Decision::Rejected(Rejection::IceCooldownActive);
    assert_eq!(kill(&mut network, cooling), 1, "it got there");
    migrate(&mut network, 1, daemon, 0);
    network.run_for(Duration::from_mins(5));
    assert_eq!(kill(&mut network, Decision::Applied), 0);
}
