//! Daemons that are restarted by command.

use std::time::Duration;

use meshground_node::{EntityKeypair, Settlement};
use meshground_shared::{AdminVerb, Decision, IceVerb};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, each_seed},
};

use super::{break_glass, hosts, is_healthy, mesh, sign, standby_of_three, submit};
use crate::{LIMIT, entries, send, settled, spawn};

/// Commands that restart daemons keep what a standby group has acknowledged, as a crash would.
#[test]
fn a_restart_by_command_costs_a_standby_group_nothing_it_acknowledged() {
    let mut network = mesh(1, Faults::NONE, 4);
    let (group, daemon) = standby_of_three(&mut network);
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for round in 0..2 {
        for number in 0..5 {
            let text = format!("{round}-{number}");
            let ticket = send(&mut network, 3, daemon, &text);
            assert!(matches!(settled(&mut network, 3, ticket), Settlement::Delivered(Ok(_))));
            expected.push(text.into_bytes());
        }
        let at = hosts(&network, daemon)[0];
        let node = network.id(at);
        let restart = sign(&mut network, 0, AdminVerb::RestartAllDaemons { node });
        assert_eq!(submit(&mut network, 0, &restart), Decision::Applied);
        network.run_for(Duration::from_secs(2));
        network.run_until(LIMIT, |network| is_healthy(network, group)).expect("it comes to its size again");
        let at = hosts(&network, daemon);
        assert_eq!(at.len(), 1);
        assert_eq!(entries(&mut network, at[0], daemon), expected);
    }
}

#[test]
fn a_daemon_that_is_restarted_by_force_while_it_moves_is_made_anew_wherever_it_is_then() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 4);
        let daemon = spawn(&mut network, 1, 7);
        let text = "x".repeat(200_000);
        let ticket = send(&mut network, 0, daemon, &text);
        settled(&mut network, 0, ticket);
        network.run_for(Duration::from_secs(1));
        let restart = IceVerb::ForceRestartDaemon { daemon };
        let target = network.id(2);
        network.act_os(1, |os, node, now| os.migrate(now, node, daemon, target, None)).expect("tried");
        let pause = network.below(60);
        network.run_for(Duration::from_millis(pause));
        let command = break_glass(&mut network, 0, &restart).expect("it is there");
        let decision = submit(&mut network, 0, &command);
        network.run_for(Duration::from_secs(10));
        let at = hosts(&network, daemon);
        assert_eq!(at.len(), 1, "after {pause} ms");
        let kept = entries(&mut network, at[0], daemon).len();
        // What the audit says is what was done: one that is made anew has forgotten what it knew.
        assert_eq!(kept, usize::from(decision != Decision::Applied), "{decision:?} after {pause} ms");
    });
}

#[test]
fn what_nothing_can_make_anew_is_not_restarted_by_force() {
    let mut network = mesh(1, Faults::NONE, 3);
    let keypair = EntityKeypair::from_seed([3; 32]);
    let daemon = keypair.origin_hash();
    network
        .act_os(1, |os, node, now| os.register_daemon(now, node, Box::new(Diary::default()), keypair, None))
        .expect("it is tried");
    network.run_for(Duration::from_secs(1));
    assert!(break_glass(&mut network, 0, &IceVerb::ForceRestartDaemon { daemon }).is_none());
}
