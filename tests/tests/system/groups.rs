//! Groups on simulated nodes: made, scaled, broken, healed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_node::{
    DaemonId, GroupError, GroupId, GroupRequest, MeshOsConfig, MigrateError, NodeId, PickStrategy,
    Settlement, Ticket,
};
use meshground_shared::{EventKind, GroupHealth, GroupKind, GroupView, Lifecycle};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{BAD, LIMIT, config, settled};

/// A converged mesh in which everybody has heard what everybody runs.
fn mesh(seed: u64, faults: Faults, count: usize) -> Network {
    let mut network = super::mesh(seed, faults, count);
    network.run_for(Duration::from_secs(3));
    network
}

fn request(count: u32, seed: u8) -> GroupRequest {
    GroupRequest {
        kind: GroupKind::Replica,
        daemon: "diary".to_owned(),
        args: String::new(),
        count,
        name: format!("group {seed}"),
        seed: [seed; 32],
        parent: None,
        cause: None,
    }
}

fn try_group(network: &mut Network, at: usize, request: GroupRequest) -> Result<GroupId, GroupError> {
    let ticket = network.act_os(at, |os, node, now| os.spawn_group(now, node, request))?;
    group_outcome(network, at, ticket)
}

fn group_outcome(network: &mut Network, at: usize, ticket: Ticket) -> Result<GroupId, GroupError> {
    match settled(network, at, ticket) {
        Settlement::Group(outcome) => outcome,
        other => panic!("not about a group: {other:?}"),
    }
}

fn running(network: &Network) -> Vec<usize> {
    (0..network.members.len()).filter(|&number| network.members[number].node.is_some()).collect()
}

fn view(network: &Network, at: usize, group: GroupId) -> Option<GroupView> {
    network.members[at].os.os.as_ref()?.group(group)
}

/// Where members of a group really run: by place.
fn really(network: &Network, group: GroupId) -> BTreeMap<u32, Vec<usize>> {
    let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for number in running(network) {
        for daemon in network.members[number].os.os.as_ref().expect("equipped").daemons() {
            if let Some(member) = daemon.member.filter(|member| member.group == group) {
                places.entry(member.index).or_default().push(number);
            }
        }
    }
    places
}

/// What is wrong with a group of which every running node should know, if anything.
fn wrong(network: &Network, group: GroupId, desired: u32) -> Option<String> {
    let places = really(network, group);
    if !places.keys().copied().eq(0..desired) {
        return Some(format!("these places run: {places:?}"));
    }
    if let Some(twice) = places.iter().find(|(_, at)| at.len() > 1) {
        return Some(format!("one runs twice: {twice:?}"));
    }
    let nodes: BTreeSet<usize> = places.values().flatten().copied().collect();
    if nodes.len() < desired as usize {
        return Some(format!("two share a node: {places:?}"));
    }
    let mut views = Vec::new();
    for number in running(network) {
        let Some(view) = view(network, number, group) else { return Some(format!("{number} knows of none")) };
        if view.health != GroupHealth::Healthy {
            return Some(format!("{number} sees {view:?}"));
        }
        let at: Vec<Option<NodeId>> = view.members.iter().map(|member| member.node).collect();
        views.push((view.leader, view.desired, at));
    }
    views.dedup();
    (views.len() > 1).then(|| format!("they see it differently: {views:?}"))
}

fn heals(network: &mut Network, group: GroupId, desired: u32) -> Duration {
    network.run_until(LIMIT, |network| wrong(network, group, desired).is_none()).unwrap_or_else(|| {
        panic!("after a minute still: {:?}", wrong(network, group, desired));
    })
}

/// No daemon runs on two nodes.
fn nobody_runs_twice(network: &Network) {
    let mut seen: BTreeMap<DaemonId, usize> = BTreeMap::new();
    for number in running(network) {
        for daemon in network.members[number].os.os.as_ref().expect("equipped").daemons() {
            let before = seen.insert(daemon.id, number);
            assert_eq!(before, None, "{daemon:?} runs on {number} too");
        }
    }
}

fn rejoin(network: &mut Network, number: usize) {
    for other in running(network) {
        if other != number {
            network.dial(number, other);
        }
    }
}

/// Cuts the members in two, or heals that.
fn divide(network: &mut Network, some: &[usize]) {
    for a in 0..network.members.len() {
        for b in 0..network.members.len() {
            if some.contains(&a) != some.contains(&b) {
                network.cuts.push((network.members[a].address, network.members[b].address));
            }
        }
    }
}

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
fn a_group_grows_and_shrinks_and_grows_again() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, BAD, 5);
        let group = try_group(&mut network, 0, request(2, 1)).expect("five nodes");
        for (at, count) in [(1, 5), (2, 1), (0, 3), (3, 4)] {
            network
                .run_until(LIMIT, |network| view(network, at, group).is_some())
                .expect("everyone hears of it");
            let scale = |os: &mut meshground_node::MeshOs, node: &mut _, now| {
                os.scale_group(now, node, group, count, None)
            };
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
            meshground_node::OsEvent::Happened { kind, .. } => Some(kind),
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
    super::send(&mut network, 0, first, "crash");
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

fn forks(count: u32, parent: DaemonId) -> GroupRequest {
    GroupRequest { kind: GroupKind::Fork, parent: Some(parent), ..request(count, 9) }
}

#[test]
fn forks_go_on_from_one_state_of_their_parent_and_can_prove_it_even_when_that_is_gone() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 6);
        let parent = super::spawn(&mut network, 1, 7);
        // More than fits into one answer.
        for number in 0..3 {
            let text = format!("{number}{}", "x".repeat(200_000));
            let ticket = super::send(&mut network, 0, parent, &text);
            settled(&mut network, 0, ticket);
        }
        let group = try_group(&mut network, 0, forks(2, parent)).expect("six nodes");
        heals(&mut network, group, 2);
        let state_of = |network: &mut Network, index: u32| {
            let at = really(network, group)[&index][0];
            let member = view(network, at, group).expect("it runs there").members[index as usize].daemon;
            super::entries(network, at, member)
        };
        let begun = super::entries(&mut network, 1, parent);
        assert_eq!(begun.len(), 3);
        assert_eq!((state_of(&mut network, 0), state_of(&mut network, 1)), (begun.clone(), begun.clone()));

        // The parent goes, and with it whoever is beside it; others begin where the first did.
        network.crash(1);
        heals(&mut network, group, 2);
        let lost = really(&network, group)[&1][0];
        network.crash(lost);
        let at = running(&network)[0];
        heals(&mut network, group, 2);
        assert_eq!(state_of(&mut network, 1), begun);
        let scale =
            |os: &mut meshground_node::MeshOs, node: &mut _, now| os.scale_group(now, node, group, 3, None);
        let ticket = network.act_os(at, scale).expect("four nodes");
        assert_eq!(group_outcome(&mut network, at, ticket), Ok(group));
        heals(&mut network, group, 3);
        assert_eq!(state_of(&mut network, 2), begun);
        for index in 0..3 {
            let lineage = network.members[at].os.os.as_ref().unwrap().lineage(group, index).expect("a fork");
            assert_eq!((lineage.verify(), lineage.parent, lineage.processed), (Ok(()), parent, 3));
            let member = view(&network, at, group).expect("it knows").members[index as usize].daemon;
            assert_eq!(lineage.child(), member);
        }
    });
}

#[test]
fn a_fork_that_crashes_begins_again_where_it_began() {
    let mut network = mesh(1, Faults::NONE, 3);
    let parent = super::spawn(&mut network, 1, 7);
    let ticket = super::send(&mut network, 0, parent, "before");
    settled(&mut network, 0, ticket);
    let group = try_group(&mut network, 0, forks(1, parent)).expect("three nodes");
    let fork = view(&network, 0, group).expect("it knows").members[0].daemon;
    for text in ["after", "crash"] {
        let ticket = super::send(&mut network, 0, fork, text);
        settled(&mut network, 0, ticket);
    }
    network.run_for(Duration::from_millis(100));
    heals(&mut network, group, 1);
    let at = really(&network, group)[&0][0];
    assert_eq!(super::entries(&mut network, at, fork), [b"before"]);
}

#[test]
fn nothing_is_left_of_forks_of_a_daemon_that_is_not_there_or_has_no_say() {
    let mut network = mesh(1, Faults::NONE, 3);
    let nobody = DaemonId(1);
    let refused = try_group(&mut network, 0, forks(2, nobody));
    assert_eq!(refused, Err(GroupError::ParentNotFound(nobody)));
    let without = GroupRequest { kind: GroupKind::Fork, ..request(2, 1) };
    assert!(matches!(try_group(&mut network, 0, without), Err(GroupError::WrongKind(_))));
    let parent = super::spawn(&mut network, 1, 7);
    network.run_for(Duration::from_secs(1));
    super::send(&mut network, 0, parent, "crash");
    network.run_for(Duration::from_millis(100));
    let refused = try_group(&mut network, 0, forks(2, parent));
    assert!(matches!(&refused, Err(GroupError::TimedOut(why)) if why.contains("state")), "{refused:?}");
    assert_eq!(network.members[0].os.os.as_ref().unwrap().groups().count(), 0);
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

fn standby(count: u32) -> GroupRequest {
    GroupRequest { kind: GroupKind::Standby, ..request(count, 11) }
}

/// Where the daemon of a standby group really runs.
fn active(network: &Network, group: GroupId) -> Option<usize> {
    match really(network, group).get(&0).map(Vec::as_slice) {
        Some(&[at]) => Some(at),
        _ => None,
    }
}

/// A standby group of three on five nodes, and its daemon.
fn standing(network: &mut Network) -> (GroupId, DaemonId) {
    let group = try_group(network, 0, standby(3)).expect("five nodes");
    let daemon = view(network, 0, group).expect("it knows").members[0].daemon;
    (group, daemon)
}

fn stands(network: &mut Network, group: GroupId) {
    let ready = |network: &Network| {
        active(network, group).is_some()
            && running(network).iter().all(|&number| {
                view(network, number, group).is_some_and(|view| view.health == GroupHealth::Healthy)
            })
    };
    let done = network.run_until(LIMIT, ready);
    let views: Vec<_> = running(network).into_iter().map(|number| view(network, number, group)).collect();
    assert!(done.is_some(), "after a minute still: {:?}, {views:?}", really(network, group));
}

/// Sends numbered entries from a node; those that were acknowledged, in order.
fn acknowledged(network: &Network, from: usize, sent: &[(Ticket, String)]) -> Vec<String> {
    let was = |ticket: Ticket| {
        matches!(network.members[from].os.settlement(ticket), Some(Settlement::Delivered(Ok(_))))
    };
    sent.iter().filter(|(ticket, _)| was(*ticket)).map(|(_, text)| text.clone()).collect()
}

/// Everything acknowledged is there once and in order.
fn keeps(network: &mut Network, group: GroupId, daemon: DaemonId, acknowledged: &[String]) {
    let at = active(network, group).expect("it runs");
    let entries: Vec<String> = super::entries(network, at, daemon)
        .into_iter()
        .map(|entry| String::from_utf8(entry).expect("text"))
        .collect();
    let once: BTreeSet<&String> = entries.iter().collect();
    assert_eq!(once.len(), entries.len(), "nothing twice: {entries:?}");
    let kept: Vec<String> = entries.into_iter().filter(|entry| acknowledged.contains(entry)).collect();
    assert_eq!(kept, acknowledged, "all that was acknowledged, in order");
}

#[test]
fn what_was_acknowledged_outlives_the_node_that_did_the_work() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let mut sent = Vec::new();
        for round in 0..3 {
            let at = active(&network, group).expect("it runs");
            let from = running(&network).into_iter().find(|&number| number != at).expect("others");
            let from = if round == 0 {
                from
            } else {
                (0..5).find(|&n| n != at && network.members[n].node.is_some()).expect("others")
            };
            let mut batch = Vec::new();
            for number in 0..40 {
                let text = format!("{round}-{number}");
                batch.push((super::send(&mut network, from, daemon, &text), text));
                let pause = network.below(8);
                network.run_for(Duration::from_millis(pause));
            }
            let pause = network.below(100);
            network.run_for(Duration::from_millis(pause));
            // Only so many can be lost; the last round loses none.
            if round < 2 {
                network.crash(at);
            }
            network.run_for(Duration::from_secs(12));
            sent.extend(acknowledged(&network, from, &batch));
            stands(&mut network, group);
            keeps(&mut network, group, daemon, &sent);
            if round < 2 {
                network.restart(at);
                rejoin(&mut network, at);
                network.run_for(Duration::from_secs(2));
                stands(&mut network, group);
            }
        }
        assert!(sent.len() > 100, "most is acknowledged in the end: {}", sent.len());
    });
}

#[test]
fn a_lost_standby_is_replaced_and_one_that_came_late_goes_on_with_everything() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let first = active(&network, group).expect("it runs");
        let mut sent = Vec::new();
        for round in 0..3 {
            for number in 0..15 {
                let text = format!("{round}-{number}");
                sent.push((super::send(&mut network, first, daemon, &text), text));
            }
            network.run_for(Duration::from_secs(2));
            let view = view(&network, first, group).expect("it knows");
            let standby = view.members[1].node.expect("it stands");
            let synced: Vec<bool> = view.members.iter().map(|member| member.synced.is_some()).collect();
            assert_eq!(synced, [false, true, true]);
            if round < 2 {
                let is_it = |&number: &usize| network.id(number) == standby;
                let at = running(&network).into_iter().find(is_it).expect("it runs");
                network.crash(at);
                // It takes a while for anybody to see that.
                network.run_for(Duration::from_secs(5));
                stands(&mut network, group);
                assert_eq!(active(&network, group), Some(first), "the work stays where it is");
            }
        }
        let acknowledged = acknowledged(&network, first, &sent);
        assert_eq!(acknowledged.len(), sent.len());
        network.crash(first);
        let goes_on = |network: &Network| active(network, group).is_some();
        assert!(network.run_until(LIMIT, goes_on).is_some());
        network.run_for(Duration::from_secs(2));
        keeps(&mut network, group, daemon, &acknowledged);
    });
}

#[test]
fn a_hand_over_loses_nothing_and_fails_nothing() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let mut sent = Vec::new();
        for number in 0..90_usize {
            let text = format!("{number}");
            sent.push((super::send(&mut network, 3, daemon, &text), text));
            network.run_for(Duration::from_millis(5));
            if number % 30 == 15 {
                let before = active(&network, group);
                let promote = |os: &mut meshground_node::MeshOs, node: &mut _, now| {
                    os.promote(now, node, group, None, None)
                };
                let at = (number / 30) % 5;
                let ticket = network.act_os(at, promote).expect("somebody is ready");
                assert_eq!(group_outcome(&mut network, at, ticket), Ok(group));
                stands(&mut network, group);
                assert_ne!(active(&network, group), before);
            }
        }
        network.run_for(Duration::from_secs(5));
        let acknowledged = acknowledged(&network, 3, &sent);
        assert_eq!(acknowledged.len(), 90);
        keeps(&mut network, group, daemon, &acknowledged);
    });
}

#[test]
fn what_one_crashed_over_is_told_so_once_and_the_next_goes_on_without_it() {
    let mut network = mesh(1, Faults::NONE, 4);
    let (group, daemon) = standing(&mut network);
    stands(&mut network, group);
    let sent: Vec<Ticket> =
        ["a", "crash", "b"].iter().map(|text| super::send(&mut network, 3, daemon, text)).collect();
    let outcomes: Vec<Settlement> = sent.into_iter().map(|ticket| settled(&mut network, 3, ticket)).collect();
    assert!(
        matches!(
            &outcomes[..],
            [
                Settlement::Delivered(Ok(_)),
                Settlement::Delivered(Err(meshground_node::DeliverError::Crashed)),
                Settlement::Delivered(Ok(_)),
            ]
        ),
        "{outcomes:?}"
    );
    stands(&mut network, group);
    keeps(&mut network, group, daemon, &["a".to_owned(), "b".to_owned()]);
}
