//! What the system decides of its own accord: done, or written down and not done.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use meshground_node::{
    Action, DaemonId, Dispatch, GroupError, GroupId, GroupRequest, LoggingDispatcher, MaintenanceConfig,
    MeshOs, MeshOsConfig, MeshOsSnapshot, NodeId, OsEvent,
    admin::{AdminVerifier, Operators},
};
use meshground_shared::{AdminVerb, Decision, GroupKind, Lifecycle, Maintenance};
use meshground_tests::{
    daemons::{Diary, Idle},
    sim::{Faults, Network},
};

use super::{
    LIMIT, all_acquainted,
    commanding::{sign, submit},
    config,
    daemons::lifecycle,
    diaries, send, settled, spawn, try_group,
};

/// So long things are left as they are, to see that nothing is decided again and again.
const WHILE: Duration = Duration::from_secs(15);

/// Runs a test with what the nodes it names written down, and done.
fn both(test: impl Fn(bool)) {
    test(true);
    test(false);
}

/// A converged mesh of nodes that do what they decide.
fn mesh(count: usize) -> Network {
    let mut network = Network::new(1, Faults::NONE);
    for _ in 0..count {
        join(&mut network);
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
    network.run_for(Duration::from_secs(3));
    network
}

fn join(network: &mut Network) -> usize {
    let number = network.add(config());
    let maintenance = MaintenanceConfig { drain: LIMIT, ramp: Duration::from_secs(5) };
    let verifier = AdminVerifier::allow_demo(Operators::demo());
    let os = MeshOsConfig { verifier, maintenance, ..MeshOsConfig::default() };
    network.equip(number, os, |os, now| {
        Diary::prepare(os, now);
        Idle::prepare(os, now);
    });
    number
}

fn os(network: &Network, number: usize) -> &MeshOs {
    network.members[number].os.os.as_ref().expect("it runs")
}

fn seen(network: &Network, number: usize) -> Arc<MeshOsSnapshot> {
    os(network, number).snapshot()
}

/// From here on a node writes down what it decides, if `logged`.
fn log(network: &mut Network, number: usize, logged: bool) {
    if logged {
        let log = Dispatch::Log(LoggingDispatcher::default());
        network.act_os(number, |os, _, _| os.set_dispatch(log));
    }
}

/// What a node decided and did not do, in order.
fn decided(network: &Network, number: usize) -> Vec<Action> {
    let log = os(network, number).logged().expect("it writes down what it decides");
    assert_eq!(log.dropped(), 0);
    log.actions().cloned().collect()
}

/// What a node decided, as everybody can see.
fn shown(network: &Network, number: usize) -> Vec<Action> {
    seen(network, number).actions.iter().map(|record| record.action.clone()).collect()
}

fn replicas(network: &mut Network, at: usize, count: u32, seed: u8) -> GroupId {
    try_group(network, at, diaries(GroupKind::Replica, count, seed)).expect("there are enough nodes")
}

/// The members of a group, as `at` sees them, and where they are to be.
fn members(network: &Network, at: usize, group: GroupId) -> Vec<(DaemonId, Option<NodeId>)> {
    let view = os(network, at).group(group).expect("it knows it");
    view.members.iter().map(|member| (member.daemon, member.node)).collect()
}

/// The running nodes on which a daemon is live.
fn live(network: &Network, daemon: DaemonId) -> Vec<usize> {
    let runs = |number: &usize| {
        let os = network.members[*number].os.os.as_ref();
        os.is_some_and(|os| os.daemons().any(|view| view.id == daemon && view.lifecycle.is_live()))
    };
    (0..network.members.len()).filter(runs).collect()
}

fn number_of(network: &Network, node: NodeId) -> usize {
    (0..network.members.len()).find(|&number| network.id(number) == node).expect("a member")
}

#[test]
fn where_a_new_groups_members_go_is_decided() {
    both(|logged| {
        let mut network = mesh(4);
        log(&mut network, 0, logged);
        let outcome = try_group(&mut network, 0, diaries(GroupKind::Replica, 3, 1));
        network.run_for(WHILE);
        let placed = |actions: &[Action]| {
            let node = |action: &Action| match action {
                Action::RequestPlacement { index, node, .. } => Some((*index, *node)),
                _ => None,
            };
            actions.iter().filter_map(node).collect::<Vec<_>>()
        };
        if logged {
            let decided = decided(&network, 0);
            let placed = placed(&decided);
            assert_eq!(placed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
            let nodes: BTreeSet<NodeId> = placed.iter().map(|(_, node)| *node).collect();
            assert_eq!((nodes.len(), decided.len()), (3, 3), "{decided:?}");
            assert!(matches!(outcome, Err(GroupError::TimedOut(_))), "{outcome:?}");
            assert!((0..4).all(|number| os(&network, number).daemons().count() == 0));
        } else {
            let group = outcome.expect("there are four nodes");
            let hosts: Vec<NodeId> =
                members(&network, 0, group).iter().map(|(_, node)| node.expect("placed")).collect();
            assert!(placed(&shown(&network, 0)).iter().map(|(_, node)| *node).eq(hosts));
        }
    });
}

#[test]
fn where_a_lost_member_goes_is_decided() {
    both(|logged| {
        let mut network = mesh(4);
        let group = replicas(&mut network, 0, 3, 1);
        let before = members(&network, 0, group);
        let place = before.iter().position(|(_, node)| *node != Some(network.id(0))).expect("three nodes");
        let (lost, used): (_, BTreeSet<_>) =
            (before[place].1.expect("placed"), before.iter().filter_map(|(_, node)| *node).collect());
        let free = (0..4).map(|number| network.id(number)).find(|node| !used.contains(node)).expect("four");
        log(&mut network, 0, logged);
        let crashed = number_of(&network, lost);
        network.crash(crashed);
        network.run_for(WHILE);
        let index = u32::try_from(place).expect("small");
        let action = Action::RequestPlacement { group, index, node: free };
        if logged {
            let decided = decided(&network, 0);
            let placed = decided.iter().filter(|decided| **decided == action).count();
            assert_eq!(placed, 1, "once, as nothing changes: {decided:?}");
            assert_eq!(members(&network, 0, group), before);
            assert!(live(&network, before[place].0).is_empty());
        } else {
            assert!(shown(&network, 0).contains(&action));
            assert_eq!(live(&network, before[place].0), [number_of(&network, free)]);
        }
    });
}

#[test]
fn who_goes_on_with_the_work_of_a_standby_group_is_decided() {
    both(|logged| {
        let mut network = mesh(5);
        let standby = |seed: u8| diaries(GroupKind::Standby, 3, seed);
        let groups: Vec<GroupId> =
            (0..6).map(|seed| try_group(&mut network, 0, standby(seed)).expect("five nodes")).collect();
        let works_elsewhere =
            |group: &&GroupId| members(&network, 0, **group)[0].1.is_some_and(|node| node != network.id(0));
        let group = *groups.iter().find(works_elsewhere).expect("one of six");
        let (daemon, node) = members(&network, 0, group)[0];
        network.run_for(Duration::from_secs(2));
        log(&mut network, 0, logged);
        let crashed = number_of(&network, node.expect("placed"));
        network.crash(crashed);
        network.run_for(WHILE);
        let is_it = |action: &&Action| matches!(action, Action::RequestPlacement { group: of, index: 0, .. } if *of == group);
        if logged {
            let decided = decided(&network, 0);
            assert_eq!(decided.iter().filter(is_it).count(), 1, "{decided:?}");
            assert!(live(&network, daemon).is_empty());
        } else {
            assert_eq!(shown(&network, 0).iter().filter(is_it).count(), 1 + 1, "at first, and then");
            assert_eq!(live(&network, daemon).len(), 1);
        }
    });
}

#[test]
fn moves_for_balance_are_decided() {
    both(|logged| {
        let mut network = mesh(3);
        for seed in 0..4 {
            replicas(&mut network, 0, 3, seed);
        }
        log(&mut network, 0, logged);
        let fourth = join(&mut network);
        for other in 0..3 {
            network.dial(fourth, other);
        }
        network.run_for(2 * WHILE);
        let to = network.id(fourth);
        let moves = |actions: Vec<Action>| {
            let is_it = |action: &&Action| matches!(action, Action::Rebalance { node, .. } if *node == to);
            actions.iter().filter(is_it).count()
        };
        if logged {
            let decided = decided(&network, 0);
            assert_eq!(moves(decided.clone()), 4, "one of each group: {decided:?}");
            assert_eq!(decided.len(), 4, "{decided:?}");
            assert_eq!(os(&network, fourth).daemons().count(), 0);
        } else {
            assert!(moves(shown(&network, 0)) > 0);
            assert!(os(&network, fourth).daemons().count() > 0);
        }
    });
}

#[test]
fn starts_of_members_are_decided() {
    both(|logged| {
        let mut network = mesh(3);
        log(&mut network, 2, logged);
        let outcome = try_group(&mut network, 0, diaries(GroupKind::Replica, 3, 1));
        network.run_for(Duration::from_secs(1));
        if logged {
            let decided = decided(&network, 2);
            assert!(matches!(decided[..], [Action::StartDaemon { .. }]), "{decided:?}");
            assert!(matches!(outcome, Err(GroupError::TimedOut(_))), "{outcome:?}");
            assert_eq!(os(&network, 2).daemons().count(), 0);
        } else {
            let daemon = os(&network, 2).daemons().next().expect("it runs one").id;
            assert!(shown(&network, 2).contains(&Action::StartDaemon { daemon }));
        }
    });
}

#[test]
fn stops_of_members_are_decided() {
    both(|logged| {
        let mut network = mesh(3);
        let group = replicas(&mut network, 0, 3, 1);
        let daemon = os(&network, 2).daemons().next().expect("it runs one").id;
        log(&mut network, 2, logged);
        network.act_os(0, |os, node, now| os.stop_group(now, node, group, None)).expect("there is one");
        network.run_for(WHILE);
        assert!((0..2).all(|number| os(&network, number).daemons().count() == 0));
        if logged {
            assert_eq!(decided(&network, 2), [Action::StopDaemon { daemon }]);
            assert_eq!(live(&network, daemon), [2]);
        } else {
            assert!(shown(&network, 2).contains(&Action::StopDaemon { daemon }));
            assert!(live(&network, daemon).is_empty());
        }
    });
}

#[test]
fn which_of_two_daemons_under_one_identity_stops_is_decided() {
    both(|logged| {
        let mut network = mesh(2);
        log(&mut network, 0, logged);
        log(&mut network, 1, logged);
        let (a, b) = (network.members[0].address, network.members[1].address);
        network.cuts.extend([(a, b), (b, a)]);
        network.run_for(Duration::from_secs(5));
        let daemon = spawn(&mut network, 0, 7);
        spawn(&mut network, 1, 7);
        network.cuts.clear();
        network.dial_all();
        network.run_for(WHILE);
        let stop = Action::StopDaemon { daemon };
        let stops = |actions: Vec<Action>| actions.iter().filter(|action| **action == stop).count();
        if logged {
            assert_eq!(stops(decided(&network, 0)) + stops(decided(&network, 1)), 1);
            assert_eq!(live(&network, daemon), [0, 1]);
        } else {
            assert_eq!(stops(shown(&network, 0)) + stops(shown(&network, 1)), 1);
            assert_eq!(live(&network, daemon).len(), 1);
        }
    });
}

#[test]
fn that_a_member_without_state_begins_anew_elsewhere_is_decided() {
    both(|logged| {
        let mut network = mesh(4);
        let stateless = GroupRequest { daemon: "idle".to_owned(), ..diaries(GroupKind::Replica, 3, 1) };
        let group = try_group(&mut network, 0, stateless).expect("four");
        let (daemon, node) = members(&network, 0, group)[0];
        let (node, drained) = (node.expect("placed"), number_of(&network, node.expect("placed")));
        let other = (drained + 1) % 4;
        let drain = sign(&mut network, other, AdminVerb::Drain { node });
        assert_eq!(submit(&mut network, other, &drain), Decision::Applied);
        let moves = |network: &Network| {
            shown(network, drained).iter().any(|action| matches!(action, Action::MoveAway { .. }))
        };
        network.run_until(LIMIT, moves).expect("it is to move away");
        assert_eq!(members(&network, drained, group)[0].1, Some(node), "it is not placed anew yet");
        log(&mut network, drained, logged);
        network.run_for(Duration::from_secs(5));
        let is_it = |action: &&Action| matches!(action, Action::RequestPlacement { group: its, index: 0, .. } if *its == group);
        if logged {
            let decided = decided(&network, drained);
            assert_eq!(decided.iter().filter(is_it).count(), 1, "{decided:?}");
            assert_eq!(live(&network, daemon), [drained]);
        } else {
            assert!(shown(&network, drained).iter().any(|action| is_it(&action)));
            assert!(!live(&network, daemon).contains(&drained));
        }
    });
}

#[test]
fn moves_out_of_a_drain_are_decided() {
    both(|logged| {
        let mut network = mesh(2);
        let daemon = spawn(&mut network, 1, 7);
        network.run_for(Duration::from_secs(1));
        log(&mut network, 1, logged);
        let (node, to) = (network.id(1), network.id(0));
        let drain = sign(&mut network, 0, AdminVerb::Drain { node });
        assert_eq!(submit(&mut network, 0, &drain), Decision::Applied);
        network.run_for(WHILE);
        assert!(seen(&network, 1).cordoned, "what was commanded is done");
        let action = Action::MoveAway { daemon, to };
        if logged {
            assert_eq!(decided(&network, 1), [action]);
            assert_eq!(live(&network, daemon), [1]);
        } else {
            assert!(shown(&network, 1).contains(&action));
            assert_eq!(live(&network, daemon), [0]);
        }
    });
}

#[test]
fn whom_to_avoid_is_decided() {
    both(|logged| {
        let mut network = mesh(3);
        log(&mut network, 0, logged);
        let silent = network.id(1);
        network.crash(1);
        let is_it = |action: &Action| matches!(action, Action::MarkAvoid { node, .. } if *node == silent);
        network.run_until(LIMIT, |network| shown(network, 0).iter().any(is_it)).expect("it is decided");
        network.run_for(Duration::from_secs(1));
        assert_eq!(seen(&network, 0).avoided.contains_key(&silent), !logged);
        if logged {
            network.run_for(WHILE);
            let decided = decided(&network, 0);
            assert!(decided.len() == 1 && is_it(&decided[0]), "{decided:?}");
        }
    });
}

#[test]
fn restarts_after_crashes_are_decided_and_those_by_command_are_done() {
    both(|logged| {
        let mut network = mesh(2);
        let daemon = spawn(&mut network, 1, 7);
        log(&mut network, 1, logged);
        let node = network.id(1);
        for round in 1..=2 {
            let crash = send(&mut network, 0, daemon, "crash");
            settled(&mut network, 0, crash);
            network.run_for(WHILE);
            let action = Action::ApplyBackoff { daemon };
            if logged {
                assert_eq!(decided(&network, 1), vec![action; round], "each crash, and not again and again");
                assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::Failed));
            } else {
                assert_eq!(shown(&network, 1), vec![action; round]);
                assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::Running));
            }
            let restart = sign(&mut network, 0, AdminVerb::RestartAllDaemons { node });
            assert_eq!(submit(&mut network, 0, &restart), Decision::Applied);
            network.run_for(Duration::from_secs(1));
            assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::Running));
        }
    });
}

#[test]
fn states_of_service_that_follow_from_a_command_are_decided() {
    both(|logged| {
        let mut network = mesh(2);
        log(&mut network, 1, logged);
        let node = network.id(1);
        let enter = sign(&mut network, 0, AdminVerb::EnterMaintenance { node });
        assert_eq!(submit(&mut network, 0, &enter), Decision::Applied);
        network.run_for(WHILE);
        let action = Action::CommitMaintenance { to: Maintenance::Maintenance };
        if logged {
            assert_eq!(decided(&network, 1), [action]);
            assert_eq!(seen(&network, 1).maintenance, Maintenance::EnteringMaintenance);
        } else {
            assert!(shown(&network, 1).contains(&action));
            assert_eq!(seen(&network, 1).maintenance, Maintenance::Maintenance);
        }
    });
}

#[test]
fn a_full_log_says_what_it_loses_until_it_is_read() {
    let mut network = mesh(4);
    let small = Dispatch::Log(LoggingDispatcher::new(1));
    network.act_os(0, |os, _, _| os.set_dispatch(small));
    let begin = |network: &mut Network, seed: u8| {
        let request = diaries(GroupKind::Replica, 3, seed);
        network.act_os(0, |os, node, now| os.spawn_group(now, node, request)).expect("it is tried");
        network.run_for(Duration::from_secs(1));
    };
    let told = |network: &Network| {
        let events = network.members[0].os.events.iter();
        let lost = events.filter_map(|(_, event)| match event {
            OsEvent::DecisionsLost { dropped } => Some(*dropped),
            _ => None,
        });
        lost.collect::<Vec<u64>>()
    };
    begin(&mut network, 1);
    assert_eq!(told(&network), [1]);
    assert_eq!(seen(&network, 0).decisions_lost, 2);
    assert!(seen(&network, 0).failures.iter().any(|failure| failure.what.contains("log of decisions")));
    assert_eq!(network.act_os(0, |os, _, _| os.take_logged()).len(), 1);
    begin(&mut network, 2);
    assert_eq!((told(&network), seen(&network, 0).decisions_lost), (vec![1, 3], 4));
    assert_eq!(os(&network, 0).logged().expect("it does").records().len(), 1);
}

#[test]
fn what_is_not_done_keeps_nobody_busy() {
    let steps = |logged: bool| {
        let mut network = mesh(4);
        let group = replicas(&mut network, 0, 3, 1);
        for number in 0..4 {
            log(&mut network, number, logged);
        }
        let hosts: Vec<NodeId> = members(&network, 0, group).iter().filter_map(|(_, node)| *node).collect();
        let lost = hosts.into_iter().find(|node| *node != network.id(0)).expect("three nodes");
        let crashed = number_of(&network, lost);
        network.crash(crashed);
        network.run_for(WHILE);
        let mut steps = 0_u32;
        let mut count = |_: &Network| {
            steps += 1;
            false
        };
        network.run_until(WHILE, &mut count);
        steps
    };
    let (logged, done) = (steps(true), steps(false));
    assert!(logged <= done + done / 5, "{logged} steps where nothing is done, {done} where all is");
}
