//! What a freeze refuses, and what stays where it is as long as it lasts.

use std::time::Duration;

use meshground_node::{GroupError, MigrateError, Settlement};
use meshground_shared::{Decision, GroupKind, IceVerb, Verb};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network},
};

use super::{
    LIMIT,
    commanding::{self, break_glass, mesh, submit},
    config, diaries, group_outcome, settled, spawn, try_group,
    verbs::{group, seen},
};

fn freeze(network: &mut Network, verb: &IceVerb) {
    let command = break_glass(network, 0, verb).expect("it is possible");
    assert_eq!(submit(network, 0, &command), Decision::Applied, "{:?}", Verb::Ice(verb.clone()));
    network.run_for(Duration::from_millis(200));
}

#[test]
fn nothing_is_made_scaled_promoted_or_moved_in_a_frozen_cluster_and_all_of_it_is_afterwards() {
    let mut network = mesh(1, Faults::NONE, 5);
    let replicas = group(&mut network, 0, 2, 60);
    let standby = try_group(&mut network, 0, diaries(GroupKind::Standby, 2, 61)).expect("five nodes");
    let daemon = spawn(&mut network, 1, 50);
    network.run_for(Duration::from_secs(3));
    freeze(&mut network, &IceVerb::FreezeCluster { ttl_ms: 60_000 });

    let before = seen(&network, 2).groups.clone();
    let target = network.id(2);
    let refused = try_group(&mut network, 1, diaries(GroupKind::Replica, 1, 62));
    assert_eq!(refused, Err(GroupError::Frozen));
    for count in [1, 3] {
        let scaled =
            network.act_os(1, |os, node, now| os.scale_group(now, node, replicas, count, None).map(drop));
        assert_eq!(scaled, Err(GroupError::Frozen), "to {count}");
    }
    let promoted = network.act_os(1, |os, node, now| os.promote(now, node, standby, None, None).map(drop));
    assert_eq!(promoted, Err(GroupError::Frozen));
    let moved = network.act_os(1, |os, node, now| os.migrate(now, node, daemon, target, None).map(drop));
    assert_eq!(moved, Err(MigrateError::Frozen));
    let asked = network.act_os(3, |os, node, now| os.migrate(now, node, daemon, target, None));
    let outcome = settled(&mut network, 3, asked.expect("only its host knows"));
    assert_eq!(outcome, Settlement::Migrated(Err(MigrateError::Frozen)));
    network.run_for(Duration::from_secs(10));
    assert_eq!(seen(&network, 2).groups, before, "and nothing has changed");
    assert_eq!(commanding::hosts(&network, daemon), [1]);

    freeze(&mut network, &IceVerb::ThawCluster);
    try_group(&mut network, 1, diaries(GroupKind::Replica, 1, 62)).expect("now it is made");
    let scaled = network.act_os(1, |os, node, now| os.scale_group(now, node, replicas, 3, None));
    assert_eq!(group_outcome(&mut network, 1, scaled.expect("it is tried")), Ok(replicas));
    let promoted = network.act_os(1, |os, node, now| os.promote(now, node, standby, None, None));
    assert_eq!(group_outcome(&mut network, 1, promoted.expect("it is tried")), Ok(standby));
    let moved = network.act_os(1, |os, node, now| os.migrate(now, node, daemon, target, None));
    let outcome = settled(&mut network, 1, moved.expect("it is tried"));
    assert!(matches!(outcome, Settlement::Migrated(Ok(_))), "{outcome:?}");
}

#[test]
fn no_member_moves_for_balance_in_a_frozen_cluster() {
    let mut network = mesh(1, Faults::NONE, 3);
    for seed in 0..3 {
        group(&mut network, usize::from(seed), 3, 60 + seed);
    }
    freeze(&mut network, &IceVerb::FreezeCluster { ttl_ms: 40_000 });
    let fourth = network.add(config());
    network.equip(fourth, commanding::obeying(meshground_node::MaintenanceConfig::default()), Diary::prepare);
    for other in 0..3 {
        network.dial(fourth, other);
    }
    network.run_for(Duration::from_secs(35));
    let load = |network: &Network, number: usize| seen(network, number).daemons.len();
    assert!(seen(&network, fourth).freeze_remaining.is_some(), "it has heard of it");
    assert_eq!([0, 1, 2, fourth].map(|number| load(&network, number)), [3, 3, 3, 0]);
    for number in 0..3 {
        assert!(network.members[number].os.events.iter().all(|(_, event)| !is_move(event)));
    }
    network.run_until(LIMIT, |network| load(network, fourth) == 2).expect("they even out afterwards");
}

fn is_move(event: &meshground_node::OsEvent) -> bool {
    use meshground_shared::EventKind::MigrationChanged;
    matches!(event, meshground_node::OsEvent::Happened { kind: MigrationChanged { .. }, .. })
}
