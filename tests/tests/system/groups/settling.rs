//! Groups of members without state: they are replaced, not migrated, no more often than needed, and then stay.

use std::{collections::BTreeMap, time::Duration};

use meshground_node::{
    Action, EntityKeypair, GroupId, GroupRequest, Instant, MaintenanceConfig, MeshOs, NodeId, OsEvent,
    SpawnRequest,
};
use meshground_shared::{
    AdminVerb, DaemonEnd, DaemonView, Decision, EventKind, GroupHealth, GroupKind, Lifecycle, Maintenance,
};
use meshground_tests::{
    daemons::{Diary, Echo},
    sim::{Faults, Network, each_seed},
};

use super::{rejoin, running, view};
use crate::{
    LIMIT, all_acquainted,
    commanding::{obeying, sign, submit},
    config, diaries, try_group,
};

fn mesh_of_echoes(seed: u64, faults: Faults, count: usize, maintenance: MaintenanceConfig) -> Network {
    let mut network = Network::new(seed, faults);
    for _ in 0..count {
        let number = network.add(config());
        network.equip(number, obeying(maintenance), |os, now| {
            Diary::prepare(os, now);
            Echo::prepare(os, now);
        });
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
    network
}

fn echoes(count: u32, seed: u8) -> GroupRequest {
    GroupRequest { daemon: "echo".to_owned(), ..diaries(GroupKind::Replica, count, seed) }
}

/// Where each member was placed from `since` on, as the groups' leaders told it.
fn moves(network: &Network, since: Instant) -> BTreeMap<(GroupId, usize), Vec<(Instant, NodeId)>> {
    let mut told = Vec::new();
    for member in &network.members {
        for (at, event) in &member.os.events {
            if let OsEvent::Happened { kind: EventKind::GroupChanged { group }, .. } = event {
                told.push((*at, group));
            }
        }
    }
    told.sort_by_key(|(at, _)| *at);
    let mut places: BTreeMap<(GroupId, usize), Vec<(Instant, NodeId)>> = BTreeMap::new();
    for (at, group) in told {
        for (index, member) in group.members.iter().enumerate() {
            let Some(node) = member.node else { continue };
            let known = places.entry((group.id, index)).or_default();
            if at < since {
                known.clear();
            }
            if known.last().is_none_or(|(_, last)| *last != node) {
                known.push((at, node));
            }
        }
    }
    places
}

/// The members that were moved from `since` on, and how often each.
fn moved(network: &Network, since: Instant) -> BTreeMap<(GroupId, usize), usize> {
    let counts = moves(network, since).into_iter().map(|(member, places)| (member, places.len() - 1));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// That no migration was told of by anybody, and nothing has failed anywhere.
fn nothing_migrated_or_failed(network: &Network) {
    for (number, member) in network.members.iter().enumerate() {
        for (_, event) in &member.os.events {
            let migrates =
                matches!(event, OsEvent::Happened { kind: EventKind::MigrationChanged { .. }, .. });
            assert!(!migrates, "{event:?}");
            if let OsEvent::Happened { kind: EventKind::DaemonChanged { daemon }, .. } = event {
                assert_ne!(daemon.lifecycle, Lifecycle::Migrating, "{daemon:?}");
            }
        }
        if let Some(os) = &member.os.os {
            assert!(os.snapshot().failures.is_empty(), "on {number}: {:?}", os.snapshot().failures);
        }
    }
}

fn is_healthy(network: &Network, at: usize, groups: &[GroupId]) -> bool {
    groups.iter().all(|group| view(network, at, *group).is_some_and(|it| it.health == GroupHealth::Healthy))
}

fn number_of(network: &Network, id: NodeId) -> usize {
    (0..network.members.len()).find(|number| network.id(*number) == id).expect("one of them")
}

const SHORT: MaintenanceConfig =
    MaintenanceConfig { drain: Duration::from_secs(20), ramp: Duration::from_secs(5) };

#[test]
fn a_drain_replaces_members_without_state_one_running_at_all_times_and_none_migrates() {
    each_seed(10, |seed| {
        let mut network = mesh_of_echoes(seed, Faults { loss: 0.02, ..Faults::NONE }, 5, SHORT);
        let group = try_group(&mut network, 0, echoes(3, 1)).expect("five nodes");
        network.run_for(Duration::from_secs(3));
        let member = view(&network, 0, group).expect("just made").members[0];
        let node = member.node.expect("it is placed");
        let (drained, other) = (number_of(&network, node), (number_of(&network, node) + 1) % 5);
        let since = network.now_at(other).instant;
        let drain = sign(&mut network, other, AdminVerb::EnterMaintenance { node });
        assert_eq!(submit(&mut network, other, &drain), Decision::Applied);
        let runs = |network: &Network| {
            let views = network.members.iter().flat_map(|member| &member.os.os).flat_map(MeshOs::daemons);
            let lives = |it: &DaemonView| matches!(it.lifecycle, Lifecycle::Running | Lifecycle::Draining);
            views.filter(|it| it.id == member.daemon && lives(it)).count()
        };
        for _ in 0..1_000 {
            network.run_for(Duration::from_millis(5));
            assert!(runs(&network) >= 1, "it is not missed for a moment");
        }
        assert_eq!(runs(&network), 1);
        let os = network.members[drained].os.os.as_ref().expect("it runs");
        assert_eq!((os.daemons().count(), os.snapshot().maintenance), (0, Maintenance::Maintenance));
        assert!(is_healthy(&network, other, &[group]));
        let ends = network.members[drained].os.events.iter().filter_map(|(_, event)| match event {
            OsEvent::Happened { kind: EventKind::DaemonGone { reason, .. }, cause } => {
                Some((*reason, *cause))
            }
            _ => None,
        });
        let command = Some(drain.nonce().command());
        assert_eq!(ends.collect::<Vec<_>>(), [(DaemonEnd::Superseded, command)]);
        assert_eq!(moved(&network, since).into_values().collect::<Vec<_>>(), [1]);
        nothing_migrated_or_failed(&network);
    });
}

#[test]
fn a_daemon_without_state_and_group_is_left_by_a_drain_that_says_why_and_no_migration_of_it_begins() {
    let mut network = mesh_of_echoes(1, Faults::NONE, 3, SHORT);
    let keypair = EntityKeypair::from_seed([9; 32]);
    let daemon = keypair.origin_hash();
    let request =
        SpawnRequest { keypair, kind: "echo".to_owned(), args: String::new(), state: None, cause: None };
    network.act_os(1, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    network.run_for(Duration::from_secs(1));
    let node = network.id(1);
    let enter = sign(&mut network, 0, AdminVerb::EnterMaintenance { node });
    assert_eq!(submit(&mut network, 0, &enter), Decision::Applied);
    network.run_for(Duration::from_secs(15));
    nothing_migrated_or_failed(&network);
    let state = |network: &Network| network.members[1].os.os.as_ref().expect("it runs").snapshot();
    let asked =
        state(&network).actions.iter().filter(|it| matches!(it.action, Action::MoveAway { .. })).count();
    assert_eq!(asked, 1, "it is not asked again and again");
    network
        .run_until(LIMIT, |network| state(network).maintenance == Maintenance::DrainFailed)
        .expect("the drain does not wait for ever");
    let failures: Vec<String> = state(&network).failures.iter().map(|it| it.what.clone()).collect();
    let [why] = &failures[..] else { panic!("{failures:?}") };
    assert!(why.contains(&daemon.to_string()) && why.contains("no state"), "{why}");
}

#[test]
fn a_settled_group_stays_and_each_disturbance_moves_whom_it_must_and_one_more_at_most() {
    each_seed(2, |seed| {
        let mut network = mesh_of_echoes(seed, Faults::NONE, 16, SHORT);
        let groups: Vec<GroupId> = (0..3)
            .map(|number| {
                try_group(&mut network, usize::from(number), echoes(6, number + 1)).expect("16 nodes")
            })
            .collect();
        network.run_for(Duration::from_secs(30));
        let mut since = network.now_at(0).instant;
        let mut settles = |network: &mut Network, what: &str, most: usize| {
            network.run_for(Duration::from_secs(50));
            let at = running(network)[0];
            let moved = moved(network, since);
            let story = format!("seed {seed}, {what}: {moved:?}, {:?}", moves(network, since));
            assert!(moved.values().sum::<usize>() <= most, "{story}");
            assert!(is_healthy(network, at, &groups), "{what}");
            since = network.now_at(at).instant;
        };
        settles(&mut network, "nothing", 0);
        let host = view(&network, 0, groups[0]).expect("made").members[0].node.expect("placed");
        let victim = number_of(&network, host);
        let had = network.members[victim].os.os.as_ref().expect("it runs").daemons().count();
        network.crash(victim);
        // Those that were there, and one to make up for where two of them went to one node at once.
        settles(&mut network, "a crash", had + 1);
        network.restart_in_place(victim);
        rejoin(&mut network, victim);
        settles(&mut network, "a node that is back", 1);
        let at = (victim + 1) % 16;
        let node = view(&network, at, groups[1]).expect("made").members[0].node.expect("placed");
        let there = number_of(&network, node);
        let cordon = sign(&mut network, at, AdminVerb::Cordon { node });
        assert_eq!(submit(&mut network, at, &cordon), Decision::Applied);
        settles(&mut network, "a cordon", 0);
        let had = network.members[there].os.os.as_ref().expect("it runs").daemons().count();
        let drain = sign(&mut network, at, AdminVerb::Drain { node });
        assert_eq!(submit(&mut network, at, &drain), Decision::Applied);
        settles(&mut network, "a drain", had + 1);
        let uncordon = sign(&mut network, at, AdminVerb::Uncordon { node });
        assert_eq!(submit(&mut network, at, &uncordon), Decision::Applied);
        settles(&mut network, "an uncordon", 1);
        for member in &network.members {
            let migrates = |(_, event): &(Instant, OsEvent)| {
                matches!(event, OsEvent::Happened { kind: EventKind::MigrationChanged { .. }, .. })
            };
            assert!(!member.os.events.iter().any(migrates));
        }
    });
}

/// Whoever looks after a group sees where another's member goes a little later than that is decided.
#[test]
fn a_node_that_comes_is_given_no_more_members_than_make_it_even_however_many_groups_there_are() {
    for daemon in ["echo", "diary"] {
        each_seed(10, |seed| {
            let slow = Faults { delay: Duration::from_millis(20), ..Faults::NONE };
            let mut network = mesh_of_echoes(seed, slow, 4, SHORT);
            for number in 0..8 {
                let request = GroupRequest { daemon: daemon.to_owned(), ..echoes(2, number + 1) };
                // Each of the nodes looks after two of them.
                try_group(&mut network, usize::from(number) % 4, request).expect("four nodes");
            }
            network.run_for(Duration::from_secs(30));
            let since = network.now_at(0).instant;
            let fifth = network.add(config());
            network.equip(fifth, obeying(SHORT), |os, now| {
                Diary::prepare(os, now);
                Echo::prepare(os, now);
            });
            rejoin(&mut network, fifth);
            network.run_for(LIMIT);
            is_even(&network, since, daemon);
        });
    }
}

/// At first it is avoided, as it was silent. Who would give it a member by then has its turn later.
#[test]
fn a_node_that_is_back_is_given_no_more_members_than_make_it_even_either() {
    each_seed(10, |seed| {
        let slow = Faults { delay: Duration::from_millis(20), ..Faults::NONE };
        let mut network = mesh_of_echoes(seed, slow, 5, SHORT);
        for number in 0..8 {
            try_group(&mut network, usize::from(number) % 4, echoes(2, number + 1)).expect("five nodes");
        }
        network.run_for(Duration::from_secs(30));
        network.crash(4);
        network.run_for(LIMIT);
        let since = network.now_at(0).instant;
        network.restart_in_place(4);
        rejoin(&mut network, 4);
        network.run_for(LIMIT);
        is_even(&network, since, "back");
    });
}

/// That five nodes have as many members as they can all have, and for that three at most moved, each once.
fn is_even(network: &Network, since: Instant, what: &str) {
    let load = |number: usize| network.members[number].os.os.as_ref().expect("it runs").daemons().count();
    let loads: Vec<usize> = (0..5).map(load).collect();
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(most - least <= 1, "{what}: {loads:?}");
    let moved = moved(network, since);
    let story = format!("{what}: {moved:?}, {:?}", moves(network, since));
    assert!(moved.values().all(|count| *count == 1) && moved.len() <= 3, "{story}");
}
