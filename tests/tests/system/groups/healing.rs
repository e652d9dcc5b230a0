//! Groups broken and healed.

use std::time::Duration;

use meshground_shared::GroupHealth;
use meshground_tests::sim::{Faults, each_seed};

use super::{divide, heals, mesh, nobody_runs_twice, really, rejoin, request, running, view};
use crate::{BAD, settled, try_group};

#[test]
fn a_lost_member_is_placed_anew_and_the_node_takes_part_again_when_it_returns() {
    each_seed(15, |seed| {
        let mut network = mesh(seed, BAD, 5);
        let group = try_group(&mut network, 0, request(3, 1)).expect("there are five nodes");
        heals(&mut network, group, 3);
        let lost = really(&network, group)[&u32::try_from(seed % 3).expect("below three")][0];
        network.crash(lost);
        let took = heals(&mut network, group, 3);
        assert!(took < Duration::from_secs(10), "{took:?}");
        nobody_runs_twice(&network);
        network.restart(lost);
        rejoin(&mut network, lost);
        network.run_for(Duration::from_secs(5));
        heals(&mut network, group, 3);
        nobody_runs_twice(&network);
    });
}

#[test]
fn a_node_that_returns_before_it_is_missed_runs_its_member_on_and_nobody_else_does() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults::NONE, 5);
        let group = try_group(&mut network, 0, request(3, 1)).expect("there are five nodes");
        heals(&mut network, group, 3);
        let places = really(&network, group);
        let blinks = places.values().map(|at| at[0]).find(|number| *number != 0).expect("three nodes");
        network.crash(blinks);
        network.run_for(Duration::from_millis(300));
        network.restart_in_place(blinks);
        rejoin(&mut network, blinks);
        network.run_for(Duration::from_millis(100));
        heals(&mut network, group, 3);
        network.run_for(Duration::from_secs(5));
        heals(&mut network, group, 3);
        nobody_runs_twice(&network);
        assert_eq!(really(&network, group), places);
    });
}

#[test]
fn without_a_free_node_a_group_says_what_it_lacks_and_recovers_when_there_is_one() {
    let mut network = mesh(1, Faults::NONE, 3);
    let group = try_group(&mut network, 0, request(3, 1)).expect("three nodes");
    heals(&mut network, group, 3);
    network.crash(2);
    network.run_for(Duration::from_secs(5));
    let view = view(&network, 0, group).expect("it knows");
    assert_eq!(view.health, GroupHealth::Degraded { healthy: 2, total: 3 });
    let lacking = view.lacking.expect("it says why");
    assert!(
        lacking.contains(&network.id(2).to_string()) && lacking.contains("has another member"),
        "{lacking}"
    );
    network.restart(2);
    rejoin(&mut network, 2);
    heals(&mut network, group, 3);
}

#[test]
fn another_node_looks_after_a_group_when_its_leader_is_gone_and_both_halves_of_a_mesh_agree_again() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.1, ..BAD }, 6);
        let group = try_group(&mut network, 0, request(3, 1)).expect("six nodes");
        heals(&mut network, group, 3);
        divide(&mut network, &[0, 1, 2]);
        network.run_for(Duration::from_secs(8));
        network.cuts.clear();
        for a in 0..3 {
            for b in 3..6 {
                network.dial(a, b);
            }
        }
        network.run_for(Duration::from_secs(3));
        heals(&mut network, group, 3);
        nobody_runs_twice(&network);
        network.crash(0);
        network.run_for(Duration::from_secs(2));
        heals(&mut network, group, 3);
        let leader = view(&network, 1, group).expect("it knows").leader;
        assert_ne!(leader, network.id(0));
    });
}

#[test]
fn a_member_that_is_stopped_is_placed_anew() {
    let mut network = mesh(1, Faults::NONE, 4);
    let group = try_group(&mut network, 0, request(3, 1)).expect("four nodes");
    heals(&mut network, group, 3);
    let at = really(&network, group)[&1][0];
    let member = view(&network, 0, group).expect("it knows").members[1].daemon;
    network.act_os(at, |os, node, now| os.stop(now, node, member, None, None)).expect("it runs there");
    network.run_for(Duration::from_millis(500));
    heals(&mut network, group, 3);
}

#[test]
fn whatever_happens_to_nodes_groups_come_right_in_the_end() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.1, ..BAD }, 6);
        let first = try_group(&mut network, 0, request(3, 1)).expect("six nodes");
        let second = try_group(&mut network, 1, request(4, 2)).expect("six nodes");
        for _ in 0..12 {
            let number = usize::try_from(network.below(6)).expect("small");
            let pause = Duration::from_millis(network.below(3_000));
            match network.below(4) {
                0 if running(&network).len() > 4 && network.members[number].node.is_some() => {
                    network.crash(number);
                }
                1 => {
                    divide(&mut network, &[number, (number + 1) % 6]);
                    network.run_for(pause);
                    network.cuts.clear();
                }
                _ if network.members[number].node.is_none() => {
                    network.restart(number);
                    rejoin(&mut network, number);
                }
                _ => {}
            }
            network.run_for(pause);
        }
        for number in 0..6 {
            if network.members[number].node.is_none() {
                network.restart(number);
            }
        }
        network.dial_all();
        network.run_for(Duration::from_secs(10));
        heals(&mut network, first, 3);
        heals(&mut network, second, 4);
        nobody_runs_twice(&network);
    });
}

#[test]
fn a_member_that_is_stopped_where_no_other_node_is_free_comes_back_where_it_was() {
    let mut network = mesh(1, Faults::NONE, 3);
    let group = try_group(&mut network, 0, request(3, 1)).expect("three nodes");
    heals(&mut network, group, 3);
    for _ in 0..3 {
        let at = really(&network, group)[&1][0];
        let daemon = view(&network, 0, group).expect("it knows").members[1].daemon;
        let stop = network.act_os(at, |os, node, now| os.stop(now, node, daemon, None, None));
        settled(&mut network, at, stop.expect("it is there"));
        assert!(!really(&network, group).contains_key(&1), "it is stopped");
        network.run_for(Duration::from_secs(1));
        heals(&mut network, group, 3);
        assert_eq!(really(&network, group)[&1], [at], "there is no other place for it");
    }
}
