//! Nodes that begin their lives, and do not know yet what was commanded before: they neither decide nor say that they know.

use std::time::Duration;

use meshground_node::{MeshOsConfig, Settlement, Ticket, admin::SignedCommand};
use meshground_shared::{AdminVerb, Decision, Maintenance, Rejection};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{maintenance, mesh, obeying, sign, submit, trails};
use crate::{BAD, LIMIT, config, settled, spawn};

const REPLAYED: Decision = Decision::Rejected(Rejection::NonceReplayed);

/// Hands a command in and lets time pass by itself.
fn hand_in(network: &mut Network, at: usize, command: &SignedCommand) -> Ticket {
    network.act_os(at, |os, node, now| os.submit(now, node, command))
}

fn decision(network: &mut Network, at: usize, ticket: Ticket) -> Decision {
    match settled(network, at, ticket) {
        Settlement::Commanded(commanded) => commanded.decision,
        other => panic!("{other:?}"),
    }
}

fn is_decided(network: &Network, at: usize, ticket: Ticket) -> bool {
    network.members[at].os.settlement(ticket).is_some()
}

/// One more member, as new as can be.
fn add(network: &mut Network) -> usize {
    let number = network.add(config());
    network.equip(number, obeying(super::MaintenanceConfig::default()), Diary::prepare);
    number
}

/// What a member wrote down on one command, in that order.
fn entries(network: &Network, at: usize, command: &SignedCommand) -> Vec<Decision> {
    let os = network.members[at].os.os.as_ref().expect("it runs");
    let nonce = command.nonce().to_string();
    os.audit().iter().filter(|entry| entry.nonce == nonce).map(|entry| entry.decision).collect()
}

fn applied_everywhere(network: &mut Network, verb: impl Fn(&Network) -> AdminVerb) -> SignedCommand {
    let verb = verb(network);
    let command = sign(network, 0, verb);
    assert_eq!(submit(network, 0, &command), Decision::Applied);
    network.run_for(Duration::from_secs(1));
    command
}

/// Nobody has another trail than the rest: the command was applied once, and then not again.
fn agreed(network: &mut Network, command: &SignedCommand) {
    network.run_for(Duration::from_secs(10));
    for at in 0..network.members.len() {
        let its = entries(network, at, command);
        assert_eq!(its.first(), Some(&Decision::Applied), "{at}");
        assert!(its[1..].iter().all(|decision| *decision == REPLAYED), "{at}: {its:?}");
    }
}

#[test]
fn a_node_that_has_just_started_again_says_of_a_used_command_what_all_say() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { corruption: 0.0, ..BAD }, 3);
        let command = applied_everywhere(&mut network, |network| AdminVerb::Cordon { node: network.id(1) });
        network.crash(2);
        network.run_for(Duration::from_secs(1));
        network.restart_in_place(2);
        let at_once = hand_in(&mut network, 2, &command);
        network.dial(2, 0);
        network.dial(2, 1);
        let pause = network.below(600);
        network.run_for(Duration::from_millis(pause));
        let soon = hand_in(&mut network, 2, &command);
        assert_eq!(decision(&mut network, 2, at_once), REPLAYED);
        assert_eq!(decision(&mut network, 2, soon), REPLAYED);
        agreed(&mut network, &command);
    });
}

#[test]
fn a_new_node_says_of_a_used_command_what_all_say() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { corruption: 0.0, ..BAD }, 3);
        let command =
            applied_everywhere(&mut network, |network| AdminVerb::ClearAvoidList { node: network.id(1) });
        let new = add(&mut network);
        let at_once = hand_in(&mut network, new, &command);
        for other in 0..new {
            network.dial(other, new);
        }
        assert_eq!(decision(&mut network, new, at_once), REPLAYED);
        agreed(&mut network, &command);
    });
}

/// Members 2 and 3 start again and are alone with each other, until member 3 gets to those who know, `after` so long. What
/// becomes of a used command at member 2.
fn at_a_peer_of_a_peer(after: Duration) -> (Decision, Network, SignedCommand) {
    let mut network = mesh(1, Faults::NONE, 4);
    spawn(&mut network, 3, 50);
    network.run_for(Duration::from_secs(1));
    let command =
        applied_everywhere(&mut network, |network| AdminVerb::RestartAllDaemons { node: network.id(3) });
    let addresses: Vec<_> = network.members.iter().map(|member| member.address).collect();
    network.crash(2);
    network.crash(3);
    for number in [2, 3] {
        for other in [0, 1] {
            let link = (addresses[number], addresses[other]);
            network.cuts.extend([link, (link.1, link.0)]);
        }
    }
    network.run_for(Duration::from_secs(1));
    network.restart_in_place(2);
    network.restart_in_place(3);
    network.dial(2, 3);
    let ticket = hand_in(&mut network, 2, &command);
    network.run_for(after);
    assert!(!is_decided(&network, 2, ticket), "nobody knows yet");
    network.cuts.retain(|(from, to)| [from, to].iter().any(|end| **end == addresses[2]));
    network.dial(3, 0);
    network.dial(3, 1);
    let decision = decision(&mut network, 2, ticket);
    (decision, network, command)
}

#[test]
fn two_that_have_both_just_begun_do_not_take_each_other_for_those_who_know() {
    for seconds in [0, 1, 4, 8] {
        let (decision, mut network, command) = at_a_peer_of_a_peer(Duration::from_secs(seconds));
        assert_eq!(decision, REPLAYED, "after {seconds} s");
        network.cuts.clear();
        network.dial(2, 0);
        agreed(&mut network, &command);
    }
}

#[test]
fn a_node_alone_takes_commands_soon_and_one_of_a_clusters_first_at_once() {
    for (founds, most) in [(true, 0), (false, 3_200)] {
        let mut network = Network::new(1, Faults::NONE);
        let alone = network.add(config());
        network.equip(
            alone,
            MeshOsConfig { founds, ..obeying(super::MaintenanceConfig::default()) },
            Diary::prepare,
        );
        let node = network.id(alone);
        let command = sign(&mut network, alone, AdminVerb::Cordon { node });
        let ticket = hand_in(&mut network, alone, &command);
        network.run_for(Duration::from_millis(most));
        assert!(is_decided(&network, alone, ticket), "after {most} ms");
        assert_eq!(decision(&mut network, alone, ticket), Decision::Applied);
    }
}

#[test]
fn nodes_that_all_began_together_find_out_that_nobody_knows_more() {
    each_seed(10, |seed| {
        let mut network = Network::new(seed, Faults { corruption: 0.0, ..BAD });
        for _ in 0..4 {
            add(&mut network);
        }
        network.dial_all();
        network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
        network.run_until(LIMIT, crate::all_acquainted).expect("everybody hears what runs where");
        let node = network.id(1);
        let command = sign(&mut network, 0, AdminVerb::Cordon { node });
        let ticket = hand_in(&mut network, 0, &command);
        network.run_for(Duration::from_secs(12));
        assert!(is_decided(&network, 0, ticket), "it waits no longer than that");
        assert_eq!(decision(&mut network, 0, ticket), Decision::Applied);
        network.run_for(Duration::from_secs(5));
        let trails = trails(&network);
        assert!(trails.iter().all(|trail| trail.len() == 1 && trail == &trails[0]), "{trails:?}");
    });
}

#[test]
fn a_node_out_of_service_that_has_just_started_again_is_told_to_come_back_as_if_it_had_not() {
    let mut network = mesh(1, Faults::NONE, 3);
    applied_everywhere(&mut network, |network| AdminVerb::EnterMaintenance { node: network.id(1) });
    let is_out = |network: &Network| maintenance(network, 1) == Maintenance::Maintenance;
    network.run_until(LIMIT, is_out).expect("it has nothing to move");
    network.crash(1);
    network.run_for(Duration::from_secs(1));
    network.restart_in_place(1);
    network.dial(1, 0);
    network.dial(1, 2);
    // They have met again, and it has not asked anybody anything yet.
    network.run_for(Duration::from_millis(150));
    assert_eq!(trails(&network)[1].len(), 0);
    let node = network.id(1);
    let exit = sign(&mut network, 0, AdminVerb::ExitMaintenance { node });
    assert_eq!(submit(&mut network, 0, &exit), Decision::Applied);
    let serves = |network: &Network| maintenance(network, 1) == Maintenance::Active;
    network.run_until(LIMIT * 10, serves).expect("it comes back by and by");
    assert!(network.members[1].os.os.as_ref().is_some_and(|os| !os.snapshot().cordoned));
}

#[test]
fn no_more_than_64_commands_wait_for_a_node_to_catch_up_and_those_are_decided() {
    let mut network = mesh(1, Faults::NONE, 2);
    network.crash(1);
    network.run_for(Duration::from_secs(1));
    network.restart_in_place(1);
    let node = network.id(1);
    let tickets: Vec<Ticket> = (0..65)
        .map(|_| {
            let command = sign(&mut network, 1, AdminVerb::ClearAvoidList { node });
            hand_in(&mut network, 1, &command)
        })
        .collect();
    network.dial(1, 0);
    let decisions: Vec<Decision> =
        tickets.into_iter().map(|ticket| decision(&mut network, 1, ticket)).collect();
    assert_eq!(decisions[..64], [Decision::Applied; 64]);
    assert_eq!(decisions[64], Decision::Rejected(Rejection::Overloaded));
    network.run_for(Duration::from_secs(3));
    assert!(trails(&network).iter().all(|trail| trail.len() == 64), "of the last nobody heard");
}
