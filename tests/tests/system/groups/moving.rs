//! Members that move: for balance, and to where they may be.

use std::{collections::BTreeSet, time::Duration};

use meshground_node::{
    Capabilities, DaemonId, GroupId, GroupRequest, MeshOsConfig, MigrateError, NodeId, OsEvent, Settlement,
    Ticket,
};
use meshground_shared::{CommandId, EventKind, MigrationPhase};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{heals, mesh, nobody_runs_twice, really, rejoin, request, running, view, wrong};
use crate::{BAD, LIMIT, config, settled, try_group};

#[test]
fn a_node_that_is_new_takes_members_over_from_those_that_have_many() {
    let mut network = mesh(1, Faults::NONE, 3);
    let groups: Vec<GroupId> = (0..4)
        .map(|seed| try_group(&mut network, usize::from(seed) % 3, request(3, seed)).expect("three nodes"))
        .collect();
    let fourth = network.add(config());
    network.equip(fourth, MeshOsConfig::default(), Diary::prepare);
    rejoin(&mut network, fourth);
    let load = |network: &Network, number: usize| {
        network.members[number].os.os.as_ref().expect("equipped").daemons().count()
    };
    let even = |network: &Network| {
        let loads: Vec<usize> = (0..4).map(|number| load(network, number)).collect();
        loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1
    };
    network.run_until(LIMIT, even).expect("they even out");
    network.run_for(Duration::from_secs(20));
    assert!(even(&network));
    for group in groups {
        heals(&mut network, group, 3);
    }
    nobody_runs_twice(&network);
}

/// Where the live copies of a daemon are.
fn live(network: &Network, daemon: DaemonId) -> Vec<usize> {
    let runs = |number: &usize| {
        let os = network.members[*number].os.os.as_ref().expect("equipped");
        os.daemons().any(|view| view.id == daemon && view.lifecycle.is_live())
    };
    running(network).into_iter().filter(runs).collect()
}

#[test]
fn members_that_move_for_balance_keep_their_state_and_are_seen_to_migrate_by_no_command() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, corruption: 0.0, ..BAD }, 3);
        let cause = |group: u8| CommandId(100 + u64::from(group));
        let mut members = Vec::new();
        for number in 0..4 {
            let request = GroupRequest { cause: Some(cause(number)), ..request(3, number) };
            let group = try_group(&mut network, usize::from(number) % 3, request).expect("three nodes");
            let view = view(&network, usize::from(number) % 3, group).expect("just made");
            members.extend(view.members.into_iter().map(|member| (number, member.daemon)));
        }
        let mut sent = 1_u32;
        let mut tickets = Vec::new();
        let send_all = |network: &mut Network, tickets: &mut Vec<Ticket>, number: u32| {
            for (_, daemon) in &members {
                tickets.push(crate::send(network, 1, *daemon, &number.to_string()));
            }
        };
        send_all(&mut network, &mut tickets, 0);
        network.run_for(Duration::from_secs(1));
        let fourth = network.add(config());
        network.equip(fourth, MeshOsConfig::default(), Diary::prepare);
        rejoin(&mut network, fourth);
        let load = |network: &Network, number: usize| {
            network.members[number].os.os.as_ref().expect("equipped").daemons().count()
        };
        let even = |network: &Network| (0..4).all(|number| load(network, number) == 3);
        for _ in 0..1_200 {
            network.run_for(Duration::from_millis(50));
            assert!(
                members.iter().all(|(_, daemon)| live(&network, *daemon).len() <= 1),
                "never two at once"
            );
            if sent < 20 {
                send_all(&mut network, &mut tickets, sent);
                sent += 1;
            }
            if even(&network) {
                break;
            }
        }
        assert!(even(&network), "they even out");
        network.run_for(Duration::from_secs(5));
        for ticket in tickets {
            let outcome = settled(&mut network, 1, ticket);
            assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
        }
        let expected: Vec<Vec<u8>> = (0..sent).map(|number| number.to_string().into_bytes()).collect();
        for (_, daemon) in &members {
            let [at] = live(&network, *daemon)[..] else { panic!("one copy") };
            assert_eq!(crate::entries(&mut network, at, *daemon), expected, "it took its state along");
        }
        let mut moved = BTreeSet::new();
        for (_, event) in network.members.iter().flat_map(|member| &member.os.events) {
            if let OsEvent::Happened { kind: EventKind::MigrationChanged { migration }, cause: told } = event
            {
                let its = members.iter().find(|(_, daemon)| *daemon == migration.daemon);
                let (_, daemon) = its.expect("nothing else moves");
                assert_eq!(*told, None, "they move because a node came, which their group's command is not");
                if migration.phase == MigrationPhase::Complete {
                    moved.insert(*daemon);
                }
            }
        }
        assert!(moved.len() >= 3, "at least those that the fourth node took over: {}", moved.len());
    });
}

/// Members announce `gpu` as `which` says.
fn announce_gpus(network: &mut Network, which: &[usize]) {
    for &number in which {
        let mut capabilities = Capabilities::new();
        capabilities.add_tag("gpu").expect("short");
        network.act_os(number, |os, node, now| os.announce(now, node, capabilities));
    }
}

#[test]
fn what_members_require_is_known_to_whoever_comes_to_look_after_the_group() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 6);
        announce_gpus(&mut network, &[1, 2, 3]);
        network.run_for(Duration::from_secs(2));
        let needy = GroupRequest { args: "needs gpu".to_owned(), ..request(1, 1) };
        let group = try_group(&mut network, 0, needy).expect("six nodes");
        let suits = |network: &Network| {
            let places = really(network, group);
            places.len() == 1 && matches!(places[&0][..], [at] if (1..=3).contains(&at))
        };
        network.run_until(LIMIT, suits).expect("what it requires shows when it is made, and it moves there");
        network.run_for(Duration::from_secs(2));
        // Where it is, it was made; with that node and the leader nobody is left that ever made one, but for its first node.
        let at = really(&network, group)[&0][0];
        for number in [0, at] {
            network.crash(number);
        }
        heals(&mut network, group, 1);
        assert!(suits(&network), "{:?}", really(&network, group));
        let again = really(&network, group)[&0][0];
        network.crash(again);
        heals(&mut network, group, 1);
        assert!(suits(&network), "{:?}", really(&network, group));
        // The last that can is gone too.
        let last = really(&network, group)[&0][0];
        network.crash(last);
        network.run_for(Duration::from_secs(10));
        let left = running(&network)[0];
        let lacking = view(&network, left, group).expect("it knows").lacking.expect("it says why");
        let told = lacking.contains("cannot do what it requires") || lacking.contains("cannot be reached");
        assert!(really(&network, group).is_empty() && told, "{lacking}");
    });
}

#[test]
fn a_member_does_not_move_to_where_another_one_is() {
    let mut network = mesh(1, Faults::NONE, 4);
    let group = try_group(&mut network, 0, request(3, 1)).expect("there are four nodes");
    heals(&mut network, group, 3);
    let members = view(&network, 0, group).expect("just made").members;
    let (mover, taken) = (members[0], members[1].node.expect("it has one"));
    for asked in 0..4 {
        let outcome = network.act_os(asked, |os, node, now| os.migrate(now, node, mover.daemon, taken, None));
        match outcome {
            Err(error) => assert_eq!(error, MigrateError::Occupied(taken)),
            Ok(ticket) => {
                let outcome = settled(&mut network, asked, ticket);
                assert_eq!(outcome, Settlement::Migrated(Err(MigrateError::Occupied(taken))));
            }
        }
    }
    let hosts: Vec<Option<NodeId>> = members.iter().map(|member| member.node).collect();
    let free = (0..4).map(|number| network.id(number)).find(|id| !hosts.contains(&Some(*id)));
    let free = free.expect("one of four");
    let ticket = network.act_os(0, |os, node, now| os.migrate(now, node, mover.daemon, free, None));
    let outcome = settled(&mut network, 0, ticket.expect("it is tried"));
    assert!(matches!(outcome, Settlement::Migrated(Ok(_))), "{outcome:?}");
    network.run_for(Duration::from_secs(10));
    assert_eq!(wrong(&network, group, 3), None);
    assert_eq!(view(&network, 1, group).expect("it lives").members[0].node, Some(free), "and stays there");
}
