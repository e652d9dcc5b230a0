//! What becomes of commands where things are not as simple as when they were given.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use meshground_node::{GroupId, GroupRequest, OsEvent, Settlement};
use meshground_shared::{
    AdminVerb, CommandId, Decision, EventKind, GroupHealth, GroupKind, Health, IceVerb, Lifecycle,
    MigrationPhase, Rejection,
};
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{
    LIMIT,
    commanding::{break_glass, hosts, mesh, sign, submit},
    diaries, entries, send, settled, spawn, try_group,
    verbs::{begin_move, command, group, member, number_of, os, seen, view, was_restarted},
};

const SLOW: Faults = Faults { delay: Duration::from_millis(10), ..Faults::NONE };

/// The causes of what members told since these many events, as far as it is wanted.
fn causes(network: &Network, since: &[usize], wanted: impl Fn(&EventKind) -> bool) -> Vec<Option<CommandId>> {
    let mut causes = Vec::new();
    for (member, since) in network.members.iter().zip(since) {
        for (_, event) in &member.os.events[*since..] {
            if let OsEvent::Happened { kind, cause } = event
                && wanted(kind)
            {
                causes.push(*cause);
            }
        }
    }
    causes
}

fn marks(network: &Network) -> Vec<usize> {
    network.members.iter().map(|member| member.os.events.len()).collect()
}

/// Whether a group has all it is to have, in the eyes of every node that runs.
fn is_whole(network: &Network, id: GroupId) -> bool {
    network.members.iter().filter_map(|member| member.os.os.as_ref()).all(|os| {
        let view = os.group(id).expect("it is known everywhere");
        view.health == GroupHealth::Healthy && view.members.iter().all(|member| member.node.is_some())
    })
}

#[test]
fn an_eviction_that_was_applied_takes_place_though_the_groups_leader_dies_at_any_moment() {
    let applied = AtomicU32::new(0);
    each_seed(40, |seed| {
        let mut network = mesh(seed, SLOW, 5);
        let id = group(&mut network, 0, 2, 60);
        let index = [0, 1].into_iter().find(|index| {
            let (member, _) = member(&network, id, *index);
            member.node != Some(network.id(0))
        });
        let index = index.expect("one of two is elsewhere");
        let (evicted, before) = member(&network, id, index);
        let host = number_of(&network, evicted.node.expect("it has one"));
        let verb = IceVerb::ForceEvictReplica { group: id, index: u32::try_from(index).expect("small") };
        let at = if host == 4 { 3 } else { 4 };
        let evict = break_glass(&mut network, at, &verb).expect("it is possible");
        let ticket = network.act_os(at, |os, node, now| os.submit(now, node, &evict));
        let pause = network.below(60);
        network.run_for(Duration::from_millis(pause));
        network.crash(0);
        let Settlement::Commanded(commanded) = settled(&mut network, at, ticket) else { panic!("a command") };
        network.run_for(Duration::from_secs(5));
        network.run_until(LIMIT, |network| is_whole(network, id)).expect("it has all it is to have");
        let now = hosts(&network, evicted.daemon);
        let story = format!("{:?}, the leader crashed after {pause} ms", commanded.decision);
        assert_eq!(now.len(), 1, "{story}");
        if commanded.decision == Decision::Applied {
            applied.fetch_add(1, Relaxed);
            assert_ne!(now, [host], "{story}");
            let generation = view(&network, evicted.daemon).expect("it runs").generation;
            assert_eq!(generation, before.generation + 2, "taken away once and placed once: {story}");
        } else {
            assert_eq!(now, [host], "{story}");
        }
    });
    assert!(applied.into_inner() > 0 || std::env::var("MESHGROUND_SEED").is_ok(), "some are applied");
}

#[test]
fn a_node_that_was_silent_is_avoided_for_a_while_from_when_it_is_heard_again() {
    let mut network = mesh(1, SLOW, 3);
    let silent = network.id(2);
    let addresses: Vec<_> = network.members.iter().map(|member| member.address).collect();
    network.cuts = [0, 1].map(|one| (addresses[2], addresses[one])).to_vec();
    network.cuts.extend([0, 1].map(|one| (addresses[one], addresses[2])));
    network.run_for(Duration::from_secs(20));
    assert!(!seen(&network, 0).avoided.contains_key(&silent), "it is not reached anyway");
    network.cuts.clear();
    network.dial_all();
    let is_heard = |network: &Network| seen(network, 0).peers[&silent].health == Some(Health::Healthy);
    network.run_until(LIMIT, is_heard).expect("it comes back");
    network.run_for(Duration::from_millis(500));
    let avoided = seen(&network, 0).avoided.get(&silent).cloned().expect("not yet trusted");
    assert!(avoided.reason.contains("silent") && avoided.remaining > Duration::from_secs(9), "{avoided:?}");
    network.run_for(Duration::from_secs(10));
    assert!(!seen(&network, 0).avoided.contains_key(&silent));
    let is_list = |kind: &EventKind| matches!(kind, EventKind::AvoidChanged { .. });
    assert!(causes(&network, &[0, 0, 0], is_list).len() >= 4, "that it is and that it is no more, twice");
}

#[test]
fn in_a_frozen_cluster_nothing_that_crashed_is_started_again_and_no_lost_member_is_replaced() {
    let mut network = mesh(1, SLOW, 5);
    let id = group(&mut network, 0, 3, 60);
    let lost = (0..3).map(|index| member(&network, id, index).0);
    let lost = lost.into_iter().find(|member| member.node != Some(network.id(0))).expect("not all are on it");
    let host = number_of(&network, lost.node.expect("it has one"));
    let daemon = spawn(&mut network, 0, 50);
    network.run_for(Duration::from_secs(1));
    let freeze = break_glass(&mut network, 0, &IceVerb::FreezeCluster { ttl_ms: 60_000 }).expect("possible");
    assert_eq!(submit(&mut network, 0, &freeze), Decision::Applied);
    network.run_for(Duration::from_millis(200));
    let crash = send(&mut network, 0, daemon, "crash");
    settled(&mut network, 0, crash);
    network.crash(host);
    network.run_for(Duration::from_secs(40));
    let down = view(&network, daemon).expect("it is not gone");
    assert_eq!((down.lifecycle, down.restarts), (Lifecycle::BackingOff, 0));
    assert_eq!(hosts(&network, lost.daemon), [0; 0]);
    network.run_for(Duration::from_secs(20));
    network.run_until(LIMIT, |network| was_restarted(network, daemon, 1)).expect("it is started again");
    network.run_until(LIMIT, |network| is_whole(network, id)).expect("it is replaced");
    assert_eq!(hosts(&network, lost.daemon).len(), 1);
}

#[test]
fn a_thaw_goes_through_while_a_freeze_is_being_decided_on_and_all_end_up_alike() {
    let thawed_ends = AtomicU32::new(0);
    each_seed(30, |seed| {
        let mut network = mesh(seed, Faults { jitter: Duration::from_millis(10), ..SLOW }, 4);
        let freeze = IceVerb::FreezeCluster { ttl_ms: 60_000 };
        let freeze = break_glass(&mut network, 0, &freeze).expect("it is possible");
        let thaws = [1, 2].map(|at| (at, break_glass(&mut network, at, &IceVerb::ThawCluster).expect("too")));
        let frozen = network.act_os(0, |os, node, now| os.submit(now, node, &freeze));
        let pause = network.below(80);
        network.run_for(Duration::from_millis(pause));
        let thawed =
            thaws.map(|(at, thaw)| (at, network.act_os(at, |os, node, now| os.submit(now, node, &thaw))));
        for (at, ticket) in thawed {
            let Settlement::Commanded(thawed) = settled(&mut network, at, ticket) else { panic!() };
            assert_eq!(thawed.decision, Decision::Applied, "after {pause} ms");
        }
        let Settlement::Commanded(commanded) = settled(&mut network, 0, frozen) else { panic!() };
        let refused = Decision::Rejected(Rejection::IceCooldownActive);
        assert!([Decision::Applied, refused].contains(&commanded.decision), "{:?}", commanded.decision);
        network.run_for(Duration::from_secs(3));
        let is_frozen = |number| seen(&network, number).freeze_remaining.is_some();
        assert!((1..4).all(|number| is_frozen(number) == is_frozen(0)), "they differ after {pause} ms");
        thawed_ends.fetch_add(u32::from(!is_frozen(0)), Relaxed);
    });
    assert!(thawed_ends.into_inner() > 0 || std::env::var("MESHGROUND_SEED").is_ok());
}

#[test]
fn a_member_whose_placement_is_invalidated_goes_on_if_its_node_is_chosen_again_and_moves_if_another_is_better()
 {
    let mut network = mesh(1, SLOW, 4);
    for number in [1, 2, 3] {
        let node = network.id(number);
        command(&mut network, AdminVerb::Cordon { node });
    }
    let id = group(&mut network, 0, 1, 60);
    let (its, before) = member(&network, id, 0);
    assert_eq!(hosts(&network, its.daemon), [0]);
    let sent = send(&mut network, 2, its.daemon, "kept");
    settled(&mut network, 2, sent);
    command(&mut network, AdminVerb::InvalidatePlacement { group: id });
    network.run_until(LIMIT, |network| is_whole(network, id)).expect("it is placed");
    let after = view(&network, its.daemon).expect("it runs");
    assert!(after.generation > before.generation && after.restarts == 0, "{after:?}");
    assert_eq!(hosts(&network, its.daemon), [0], "there is no other node for it");
    assert_eq!(entries(&mut network, 0, its.daemon), [b"kept"]);
    for number in [1, 2, 3] {
        let node = network.id(number);
        command(&mut network, AdminVerb::Uncordon { node });
    }
    for seed in 100..120 {
        spawn(&mut network, 0, seed);
    }
    network.run_for(Duration::from_secs(2));
    assert_eq!(hosts(&network, its.daemon), [0], "it does not move by itself");
    command(&mut network, AdminVerb::InvalidatePlacement { group: id });
    network.run_for(Duration::from_secs(2));
    network.run_until(LIMIT, |network| is_whole(network, id)).expect("it is placed");
    assert!(matches!(hosts(&network, its.daemon)[..], [1..=3]), "others are less busy");
}

#[test]
fn what_is_called_off_or_promoted_names_the_command_that_said_so() {
    let mut network = mesh(1, SLOW, 4);
    let (_, migration) = begin_move(&mut network, 8 << 20);
    let (cause, before) = (Some(CommandId(77)), marks(&network));
    network
        .act_os(1, |os, node, now| os.cancel_migration(now, node, migration, cause))
        .expect("it is not there yet");
    network.run_for(Duration::from_secs(1));
    let is_end = |kind: &EventKind| matches!(kind, EventKind::MigrationChanged { migration } if migration.phase == MigrationPhase::Cancelled);
    assert_eq!(causes(&network, &before, is_end), [cause]);

    let request = GroupRequest { cause: Some(CommandId(u64::MAX)), ..diaries(GroupKind::Standby, 2, 34) };
    let id = try_group(&mut network, 0, request).expect("there are enough nodes");
    network.run_until(LIMIT, |network| is_whole(network, id)).expect("both are there");
    network.run_for(Duration::from_secs(2));
    let before = marks(&network);
    let ticket = network.act_os(3, |os, node, now| os.promote(now, node, id, None, cause)).expect("tried");
    assert_eq!(settled(&mut network, 3, ticket), Settlement::Group(Ok(id)));
    let is_its =
        |kind: &EventKind| matches!(kind, EventKind::GroupChanged { .. } | EventKind::DaemonGone { .. });
    let told = causes(&network, &before, is_its);
    assert!(told.len() >= 2 && told.iter().all(|told| *told == cause), "{told:?}");
}

#[test]
fn a_node_that_is_out_of_service_is_not_uncordoned_without_a_word() {
    let mut network = mesh(1, SLOW, 3);
    let node = network.id(1);
    command(&mut network, AdminVerb::EnterMaintenance { node });
    network.run_for(Duration::from_secs(2));
    let uncordon = sign(&mut network, 0, AdminVerb::Uncordon { node });
    assert_eq!(submit(&mut network, 0, &uncordon), Decision::Rejected(Rejection::NotApplicable));
    assert!(seen(&network, 1).cordoned);
}

#[test]
fn what_finds_nothing_to_do_is_a_failure_on_the_node_it_concerns() {
    let mut network = mesh(1, SLOW, 3);
    let node = network.id(1);
    command(&mut network, AdminVerb::DropReplicas { node });
    let failed = |number: usize| {
        let failures = &seen(&network, number).failures;
        failures.iter().filter(|failure| failure.what.contains("no replicas were dropped")).count()
    };
    assert_eq!([0, 1, 2].map(failed), [0, 1, 0]);
    let before = seen(&network, 0);
    command(&mut network, AdminVerb::ClearAvoidList { node });
    let after = seen(&network, 0);
    assert!(after.audit.len() > before.audit.len(), "it is written down");
    assert_eq!(after.generation, before.generation, "but nothing is otherwise than before");
    assert_eq!(os(&network, 1).audit().iter().filter(|it| it.decision == Decision::Applied).count(), 2);
}
