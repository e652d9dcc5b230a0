//! Members that go back to a node that was gone.

use std::time::Duration;

use meshground_node::{Action, DaemonId, GroupId};
use meshground_tests::sim::{Faults, Network};

use super::{heals, mesh, nobody_runs_twice, rejoin, request, view};
use crate::{LIMIT, entries, send, settled, try_group};

fn load(network: &Network, number: usize) -> usize {
    network.members[number].os.os.as_ref().map_or(0, |os| os.daemons().count())
}

fn host(network: &Network, daemon: DaemonId) -> usize {
    let runs = |number: &usize| {
        let os = network.members[*number].os.os.as_ref();
        os.is_some_and(|os| os.daemons().any(|view| view.id == daemon))
    };
    (0..network.members.len()).find(runs).expect("it runs")
}

#[test]
fn a_node_that_was_missed_is_given_members_again_when_it_returns_and_they_bring_their_state() {
    let mut network = mesh(1, Faults::NONE, 4);
    let groups: Vec<GroupId> = (0..4)
        .map(|seed| try_group(&mut network, usize::from(seed), request(3, seed)).expect("four nodes"))
        .collect();
    let even = |network: &Network| (0..4).all(|number| load(network, number) == 3);
    network.run_until(LIMIT, even).expect("they are even at first");
    network.crash(3);
    // In its next life the same tickets name something else.
    network.members[3].os.events.clear();
    network.run_for(Duration::from_secs(3));
    for group in &groups {
        heals(&mut network, *group, 3);
    }
    assert_eq!([0, 1, 2, 3].map(|number| load(&network, number)), [4, 4, 4, 0], "it was missed");
    let members: Vec<DaemonId> = groups
        .iter()
        .flat_map(|group| view(&network, 0, *group).expect("it knows").members)
        .map(|member| member.daemon)
        .collect();
    for daemon in &members {
        let ticket = send(&mut network, 0, *daemon, "kept");
        settled(&mut network, 0, ticket);
    }
    network.restart_in_place(3);
    rejoin(&mut network, 3);
    network.run_until(LIMIT, even).expect("it takes its share again");
    network.run_for(Duration::from_secs(20));
    assert!(even(&network), "and keeps it");
    for group in groups {
        heals(&mut network, group, 3);
    }
    nobody_runs_twice(&network);
    for daemon in members {
        let at = host(&network, daemon);
        assert_eq!(entries(&mut network, at, daemon), [b"kept"], "that of node {at}");
    }
    let back = network.id(3);
    let is_move = |action: &Action| matches!(action, Action::Rebalance { node, .. } if *node == back);
    let moves = (0..3).map(|number| {
        let seen = network.members[number].os.os.as_ref().expect("it runs").snapshot();
        seen.actions.iter().filter(|record| is_move(&record.action)).count()
    });
    assert_eq!(moves.sum::<usize>(), 3, "nobody moves more than it takes");
}
