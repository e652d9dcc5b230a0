//! One signed command handed in on both sides of a cut.

use std::time::Duration;

use meshground_node::{
    Commanded, DaemonId, MaintenanceConfig, OsEvent, Settlement, Ticket, admin::SignedCommand,
};
use meshground_shared::{AdminVerb, Decision, EventKind, GroupKind, Health, IceVerb, Rejection};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{break_glass, mesh, obeying, sign, submit};
use crate::{LIMIT, config, diaries, settled, spawn, try_group};

/// The first two of four are cut off from the others, and all have noticed.
fn halve(network: &mut Network) {
    let addresses: Vec<_> = network.members.iter().map(|member| member.address).collect();
    for (first, second) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        network.cuts.push((addresses[first], addresses[second]));
        network.cuts.push((addresses[second], addresses[first]));
    }
    let apart = |network: &Network| {
        [(0, 2), (0, 3), (1, 2), (1, 3)].into_iter().all(|(a, b)| {
            let is_lost = |from, on| network.verdict(from, on) == Some(Health::Unreachable);
            is_lost(a, b) && is_lost(b, a)
        })
    };
    network.run_until(LIMIT, apart).expect("they notice");
    network.run_for(Duration::from_secs(2));
}

/// All hear each other again, and have had time to tell what was commanded.
fn meet(network: &mut Network) {
    network.cuts.clear();
    network.dial_all();
    let all = |network: &Network| {
        (0..4).all(|a| (0..4).all(|b| a == b || network.verdict(a, b) == Some(Health::Healthy)))
    };
    network.run_until(LIMIT, all).expect("they meet");
    network.run_for(Duration::from_secs(20));
}

/// What a member wrote down about a command, in order.
fn decisions(network: &Network, number: usize, command: &SignedCommand) -> Vec<Decision> {
    let nonce = command.nonce().to_string();
    let os = network.members[number].os.os.as_ref().expect("it runs");
    os.audit().iter().filter(|entry| entry.nonce == nonce).map(|entry| entry.decision).collect()
}

/// How often each of the four was frozen by a command.
fn freezes(network: &Network, command: &SignedCommand) -> [usize; 4] {
    let by = Some(command.nonce().command());
    [0, 1, 2, 3].map(|number| {
        let is_freeze = |event: &OsEvent| {
            matches!(event, OsEvent::Happened { kind: EventKind::FreezeChanged { .. }, cause } if *cause == by)
        };
        network.members[number].os.events.iter().filter(|(_, event)| is_freeze(event)).count()
    })
}

fn restarts(network: &Network, number: usize, daemon: DaemonId) -> u32 {
    let mut daemons = network.members[number].os.os.as_ref().expect("it runs").daemons();
    daemons.find(|it| it.id == daemon).expect("it runs there").restarts
}

/// Nobody does it again, and nobody does what it said before if it did not.
fn is_spent(network: &mut Network, command: &SignedCommand) {
    for number in 0..network.members.len() {
        assert_eq!(submit(network, number, command), Decision::Rejected(Rejection::NonceReplayed));
    }
}

const NOT_ASKED: Decision = Decision::Rejected(Rejection::Unreachable);

#[test]
fn what_names_a_node_on_one_side_is_done_there_once_and_each_side_says_what_it_did() {
    each_seed(5, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 4);
        let daemon = spawn(&mut network, 1, 7);
        halve(&mut network);
        let node = network.id(1);
        let restart = sign(&mut network, 0, AdminVerb::RestartAllDaemons { node });
        // On the other side first, or after.
        let order = if seed.is_multiple_of(2) { [0, 2] } else { [2, 0] };
        for at in order {
            let expected = if at == 0 { Decision::Applied } else { NOT_ASKED };
            assert_eq!(submit(&mut network, at, &restart), expected, "the node is known there, and away");
        }
        meet(&mut network);
        assert_eq!(restarts(&network, 1, daemon), 1);
        let said = [0, 1, 2, 3].map(|number| decisions(&network, number, &restart));
        assert_eq!(said[0], [Decision::Applied]);
        assert_eq!(said[1], [Decision::Applied, NOT_ASKED], "it is told what was decided without it as well");
        assert_eq!((&said[2][..], &said[3][..]), (&[NOT_ASKED][..], &[NOT_ASKED][..]));
        is_spent(&mut network, &restart);
        assert_eq!(restarts(&network, 1, daemon), 1);
        // Whoever was not there believes one side or the other, as two say this and two that; and does nothing.
        let late = network.add(config());
        network.equip(late, obeying(MaintenanceConfig::default()), Diary::prepare);
        network.dial_all();
        let has_heard = |network: &Network| !decisions(network, late, &restart).is_empty();
        network.run_until(LIMIT, has_heard).expect("it is told");
        network.run_for(Duration::from_secs(10));
        let said = decisions(&network, late, &restart);
        assert!(said.iter().all(|it| [Decision::Applied, NOT_ASKED].contains(it)), "{said:?}");
        is_spent(&mut network, &restart);
    });
}

#[test]
fn what_names_nobody_is_done_once_on_every_node_of_both_sides() {
    each_seed(5, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 4);
        let group = try_group(&mut network, 0, diaries(GroupKind::Replica, 2, 9)).expect("four nodes");
        halve(&mut network);
        network.run_for(Duration::from_secs(10));
        let command = sign(&mut network, 0, AdminVerb::InvalidatePlacement { group });
        for at in [0, 2] {
            assert_eq!(submit(&mut network, at, &command), Decision::Applied);
        }
        meet(&mut network);
        for number in 0..4 {
            assert_eq!(decisions(&network, number, &command), [Decision::Applied], "on {number}");
        }
        is_spent(&mut network, &command);
    });
}

#[test]
fn what_broke_glass_on_one_side_is_no_more_than_refused_on_the_other_and_a_freeze_stays_there() {
    each_seed(5, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 4);
        halve(&mut network);
        let freeze = IceVerb::FreezeCluster { ttl_ms: 60_000 };
        let command = break_glass(&mut network, 0, &freeze).expect("possible");
        let otherwise = Decision::Rejected(Rejection::SimulationRequired);
        let order = if seed.is_multiple_of(2) { [0, 2] } else { [2, 0] };
        for at in order {
            let expected = if at == 0 { Decision::Applied } else { otherwise };
            assert_eq!(submit(&mut network, at, &command), expected, "its signers saw one side");
        }
        meet(&mut network);
        let said = [0, 1, 2, 3].map(|number| decisions(&network, number, &command));
        assert_eq!(said, [[Decision::Applied], [Decision::Applied], [otherwise], [otherwise]]);
        is_spent(&mut network, &command);
        assert_eq!(freezes(&network, &command), [1, 1, 0, 0]);
        network.run_for(LIMIT);
        // Another, that all are shown, is everybody's.
        let again = break_glass(&mut network, 2, &IceVerb::FlushAvoidLists).expect("possible");
        assert_eq!(submit(&mut network, 2, &again), Decision::Applied);
        assert!((0..4).all(|number| decisions(&network, number, &again) == [Decision::Applied]));
    });
}

#[test]
fn if_the_cut_ends_while_both_are_decided_on_it_is_done_once_or_not_at_all_and_every_trail_says_which() {
    each_seed(30, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..Faults::NONE }, 4);
        let daemon = spawn(&mut network, 1, 7);
        halve(&mut network);
        let node = network.id(1);
        let restart = sign(&mut network, 0, AdminVerb::RestartAllDaemons { node });
        let submit = |network: &mut Network, at: usize| -> (usize, Ticket) {
            (at, network.act_os(at, |os, node, now| os.submit(now, node, &restart)))
        };
        // The side that cannot ask the node waits for it.
        let second = submit(&mut network, 2);
        let pause = network.below(3_500);
        network.run_for(Duration::from_millis(pause));
        if seed.is_multiple_of(2) {
            network.cuts.clear();
        }
        let pause = network.below(300) * (seed % 3);
        network.run_for(Duration::from_millis(pause));
        let first = submit(&mut network, 0);
        meet(&mut network);
        let outcomes = [first, second].map(|(at, ticket)| match settled(&mut network, at, ticket) {
            Settlement::Commanded(Commanded { decision, .. }) => decision,
            other => panic!("{other:?}"),
        });
        let said = [0, 1, 2, 3].map(|number| decisions(&network, number, &restart));
        let applied = said.iter().map(|said| said.iter().filter(|it| **it == Decision::Applied).count());
        let applied: Vec<usize> = applied.collect();
        let done = usize::from(outcomes.contains(&Decision::Applied));
        assert_eq!(applied[1], done, "{outcomes:?}: {said:?}");
        assert!(applied.iter().all(|times| *times <= done), "{outcomes:?}: {said:?}");
        assert_eq!(restarts(&network, 1, daemon) as usize, done, "{outcomes:?}: {said:?}");
        let is_told = |said: &Vec<Decision>| !said.is_empty() && said.iter().all(|it| outcomes.contains(it));
        assert!(said.iter().all(is_told), "{outcomes:?}: {said:?}");
        is_spent(&mut network, &restart);
        assert_eq!(restarts(&network, 1, daemon) as usize, done);
    });
}
