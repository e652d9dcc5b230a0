//! Groups made, scaled and stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use meshground_node::{GroupError, GroupId, GroupRequest, MeshOs, OsEvent, PickStrategy};
use meshground_shared::{CommandId, EventKind, GroupHealth, Lifecycle};
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{divide, heals, mesh, nobody_runs_twice, really, rejoin, request, view};
use crate::{BAD, LIMIT, group_outcome, try_group};

#[test]
fn members_run_on_different_nodes_and_everyone_knows_where() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, BAD, 5);
        let group = try_group(&mut network, 0, request(3, 1)).expect("there are five nodes");
        heals(&mut network, group, 3);
        nobody_runs_twice(&network);
        let view = view(&network, 4, group).expect("it knows");
        assert_eq!((view.leader, view.name.as_str()), (network.id(0), "group 1"));
    });
}

#[test]
fn a_group_of_the_same_kind_can_be_made_again_and_its_members_are_others() {
    let mut network = mesh(1, Faults::NONE, 3);
    let first = try_group(&mut network, 0, request(3, 1)).expect("three nodes");
    let second = try_group(&mut network, 1, request(3, 2)).expect("they take more than one");
    heals(&mut network, first, 3);
    heals(&mut network, second, 3);
    nobody_runs_twice(&network);
}

#[test]
fn two_groups_do_not_grow_from_one_seed_at_a_time() {
    let mut network = mesh(1, Faults::NONE, 4);
    let first = try_group(&mut network, 0, request(2, 1)).expect("there are enough");
    network.run_for(Duration::from_secs(1));
    let again = GroupRequest { name: "another".to_owned(), ..request(2, 1) };
    assert_eq!(try_group(&mut network, 1, again.clone()), Err(GroupError::SeedTaken(first)));
    let ticket =
        network.act_os(0, |os, node, now| os.stop_group(now, node, first, None)).expect("it is there");
    assert_eq!(group_outcome(&mut network, 0, ticket), Ok(first));
    network.run_for(Duration::from_secs(1));
    let second = try_group(&mut network, 1, again).expect("that group is no more");
    heals(&mut network, second, 2);
    nobody_runs_twice(&network);
}

#[test]
fn more_members_than_nodes_are_refused_naming_why_and_nothing_is_left() {
    let mut network = mesh(1, Faults::NONE, 3);
    match try_group(&mut network, 0, request(4, 1)) {
        Err(GroupError::PlacementFailed { wanted: 4, found: 3, why }) => {
            for number in 0..3 {
                assert!(why.contains(&format!("node {} has another member", network.id(number))), "{why}");
            }
        }
        other => panic!("{other:?}"),
    }
    network.run_for(Duration::from_secs(2));
    assert!((0..3).all(|number| network.members[number].os.os.as_ref().unwrap().groups().count() == 0));
}

#[test]
fn a_request_that_makes_no_sense_is_refused_at_once() {
    let mut network = mesh(1, Faults::NONE, 2);
    let refused = |network: &mut Network, request: GroupRequest| {
        network.act_os(0, |os, node, now| os.spawn_group(now, node, request)).expect_err("it makes no sense")
    };
    assert_eq!(refused(&mut network, request(0, 1)), GroupError::BadCount(0));
    assert_eq!(refused(&mut network, request(65, 1)), GroupError::BadCount(65));
    let unknown = GroupRequest { daemon: "nobody's".to_owned(), ..request(1, 1) };
    assert_eq!(refused(&mut network, unknown), GroupError::KindNotFound("nobody's".to_owned()));
    assert_eq!(
        refused(&mut network, GroupRequest { name: "x".repeat(65), ..request(1, 1) }),
        GroupError::TooLong
    );
    let id = GroupId(1);
    let scaled = network.act_os(0, |os, node, now| os.scale_group(now, node, id, 2, None));
    assert_eq!(scaled, Err(GroupError::NotFound(id)));
}

#[test]
fn a_group_whose_members_cannot_be_made_comes_to_nothing_and_leaves_nothing() {
    each_seed(5, |seed| {
        let mut network = mesh(seed, Faults::NONE, 4);
        let broken = GroupRequest { args: "unmakeable".to_owned(), ..request(3, 1) };
        let error = try_group(&mut network, 0, broken).expect_err("no node can make it");
        assert!(matches!(&error, GroupError::TimedOut(why) if why.contains("member")), "{error:?}");
        network.run_for(Duration::from_secs(1));
        for number in 0..4 {
            let os = network.members[number].os.os.as_ref().expect("equipped");
            assert_eq!((os.groups().count(), os.daemons().count()), (0, 0), "on {number}");
        }
    });
}

#[test]
fn a_node_on_which_a_member_cannot_be_made_is_passed_over() {
    let mut network = mesh(1, Faults::NONE, 4);
    let broken = network.id(2);
    let picky = GroupRequest { args: format!("not on {broken}"), ..request(3, 1) };
    let group = try_group(&mut network, 0, picky).expect("three others can make it");
    heals(&mut network, group, 3);
    let places = really(&network, group);
    assert!(places.values().all(|at| *at != [2]), "{places:?}");
}

#[test]
fn a_group_grows_and_shrinks_and_grows_again() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, BAD, 5);
        let group = try_group(&mut network, 0, request(2, 1)).expect("five nodes");
        for (at, count) in [(1, 5), (2, 1), (0, 3), (3, 4)] {
            network
                .run_until(LIMIT, |network| view(network, at, group).is_some())
                .expect("everyone hears of it");
            let scale = |os: &mut MeshOs, node: &mut _, now| os.scale_group(now, node, group, count, None);
            let ticket = network.act_os(at, scale).expect("there is room");
            assert_eq!(group_outcome(&mut network, at, ticket), Ok(group));
            heals(&mut network, group, count);
        }
        let ticket = network.act_os(0, |os, node, now| os.scale_group(now, node, group, 6, None));
        assert!(matches!(ticket, Err(GroupError::PlacementFailed { wanted: 6, .. })), "{ticket:?}");
        network.run_for(Duration::from_secs(3));
        heals(&mut network, group, 4);
    });
}

#[test]
fn a_stopped_group_is_gone_everywhere_and_does_not_come_back_with_a_node_that_was_away() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults::NONE, 5);
        let group = try_group(&mut network, 0, request(4, 1)).expect("five nodes");
        heals(&mut network, group, 4);
        let away = really(&network, group).values().map(|at| at[0]).max().expect("four of them");
        divide(&mut network, &[away]);
        network.run_for(Duration::from_secs(20));
        let at = (away + 1) % 5;
        let ticket =
            network.act_os(at, |os, node, now| os.stop_group(now, node, group, None)).expect("it is");
        assert_eq!(group_outcome(&mut network, at, ticket), Ok(group));
        network.run_for(Duration::from_secs(100));
        network.cuts.clear();
        rejoin(&mut network, away);
        let none = |network: &Network| {
            (0..5).all(|number| {
                let os = network.members[number].os.os.as_ref().expect("equipped");
                os.groups().count() == 0 && os.daemons().count() == 0
            })
        };
        network.run_until(LIMIT, none).expect("it ends there too");
        network.run_for(Duration::from_secs(10));
        assert!(none(&network));
    });
}

#[test]
fn one_node_tells_of_a_group_and_its_end() {
    let mut network = mesh(1, Faults::NONE, 4);
    let group = try_group(&mut network, 1, request(3, 1)).expect("four nodes");
    heals(&mut network, group, 3);
    let ticket = network.act_os(2, |os, node, now| os.stop_group(now, node, group, None)).expect("it is");
    assert_eq!(group_outcome(&mut network, 2, ticket), Ok(group));
    network.run_for(Duration::from_secs(5));
    let told = |number: usize| -> Vec<&EventKind> {
        let events = network.members[number].os.events.iter();
        let kinds = events.filter_map(|(_, event)| match event {
            OsEvent::Happened { kind, .. } => Some(kind),
            _ => None,
        });
        kinds
            .filter(|kind| matches!(kind, EventKind::GroupChanged { .. } | EventKind::GroupGone { .. }))
            .collect()
    };
    assert!(matches!(told(1)[..], [.., EventKind::GroupChanged { group }, EventKind::GroupGone { .. }]
        if group.health == GroupHealth::Healthy));
    assert!([0, 2, 3].into_iter().all(|number| told(number).is_empty()));
}

#[test]
fn a_groups_end_is_put_down_to_what_ended_it_or_to_nothing_and_not_to_what_made_it() {
    let (made, ended) = (Some(CommandId(1)), Some(CommandId(2)));
    for (stopper, by, cause) in [(1, ended, ended), (1, None, None), (2, ended, None)] {
        let mut network = mesh(1, Faults::NONE, 4);
        let request = GroupRequest { cause: made, ..request(3, 1) };
        let group = try_group(&mut network, 1, request).expect("four nodes");
        heals(&mut network, group, 3);
        let ticket = network.act_os(stopper, |os, node, now| os.stop_group(now, node, group, by));
        assert_eq!(group_outcome(&mut network, stopper, ticket.expect("it is there")), Ok(group));
        network.run_for(Duration::from_secs(5));
        let causes: Vec<_> = (network.members[1].os.events.iter())
            .filter_map(|(_, event)| match event {
                OsEvent::Happened { kind: EventKind::GroupGone { .. }, cause } => Some(*cause),
                _ => None,
            })
            .collect();
        assert_eq!(causes, [cause], "stopped at {stopper} by {by:?}");
        for number in 0..4 {
            let ends: Vec<_> = (network.members[number].os.events.iter())
                .filter_map(|(_, event)| match event {
                    OsEvent::Happened { kind: EventKind::DaemonGone { .. }, cause } => Some(*cause),
                    _ => None,
                })
                .collect();
            let known = if number == stopper { by } else { None };
            assert!(ends.iter().all(|end| *end == known), "of members on {number}: {ends:?}");
        }
    }
}

#[test]
fn whoever_is_picked_is_well() {
    let mut network = mesh(1, Faults::NONE, 4);
    let group = try_group(&mut network, 0, request(3, 1)).expect("four nodes");
    heals(&mut network, group, 3);
    let mut picked = BTreeSet::new();
    for _ in 0..3 {
        let member = network.act_os(3, |os, _, _| os.pick_member(group, PickStrategy::RoundRobin));
        picked.insert(member.expect("all are well"));
    }
    assert_eq!(picked.len(), 3);
    let first = *picked.first().expect("three");
    let at = |network: &Network| {
        (0..4).find(|&number| {
            let os = network.members[number].os.os.as_ref().expect("equipped");
            os.daemons().any(|daemon| daemon.id == first && daemon.lifecycle == Lifecycle::Running)
        })
    };
    crate::send(&mut network, 0, first, "crash");
    network.run_until(LIMIT, |network| at(network).is_none()).expect("it crashes");
    network.run_for(Duration::from_millis(100));
    for strategy in
        [PickStrategy::RoundRobin, PickStrategy::Random, PickStrategy::LeastLoaded, PickStrategy::Hash(7)]
    {
        for _ in 0..5 {
            let member = network.act_os(3, |os, _, _| os.pick_member(group, strategy));
            assert!(member.is_some_and(|member| member != first), "{strategy:?}");
        }
    }
}
