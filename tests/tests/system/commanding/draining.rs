//! Nodes that are taken out of service and come back: what runs there moves away meanwhile.

use std::time::Duration;

use meshground_node::{
    DaemonId, DaemonState, EntityKeypair, Instant, MeshOs, Node, OsEvent, Settlement, SpawnError,
    SpawnRequest,
};
use meshground_shared::{AdminVerb, Decision, EventKind, GroupKind, Lifecycle, Maintenance};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{SHORT, hosts, is_healthy, maintenance, mesh, mesh_that_drains, sign, submit};
use crate::{BAD, LIMIT, diaries, entries, send, settled, spawn, try_group};

#[test]
fn an_empty_node_goes_into_maintenance_and_comes_back() {
    let mut network = mesh(1, Faults::NONE, 3);
    let node = network.id(1);
    let enter = sign(&mut network, 0, AdminVerb::EnterMaintenance { node });
    assert_eq!(submit(&mut network, 0, &enter), Decision::Applied);
    network
        .run_until(LIMIT, |network| maintenance(network, 1) == Maintenance::Maintenance)
        .expect("it has nothing to move");
    let exit = sign(&mut network, 2, AdminVerb::ExitMaintenance { node });
    assert_eq!(submit(&mut network, 2, &exit), Decision::Applied);
    network
        .run_until(LIMIT * 10, |network| maintenance(network, 1) == Maintenance::Active)
        .expect("it comes back by and by");
}

/// When a member was first told to be in this state of service.
fn began_at(network: &Network, number: usize, wanted: Maintenance) -> Instant {
    let is_it = |event: &OsEvent| matches!(event, OsEvent::Happened { kind: EventKind::MaintenanceChanged { state, .. }, .. } if *state == wanted);
    let mut events = network.members[number].os.events.iter();
    events.find(|(_, event)| is_it(event)).map(|(at, _)| *at).expect("it was")
}

#[test]
fn a_node_that_goes_into_maintenance_gives_everything_away_with_its_state_and_comes_back() {
    each_seed(10, |seed| {
        let faults = Faults { loss: 0.05, corruption: 0.0, ..BAD };
        let mut network = mesh_that_drains(seed, faults, 4, SHORT);
        let group = try_group(&mut network, 3, diaries(GroupKind::Replica, 3, 33)).expect("four nodes");
        let os = network.members[3].os.os.as_ref().expect("it runs");
        let member = os.group(group).expect("just made").members[0];
        let drained = (0..4).find(|&number| Some(network.id(number)) == member.node).expect("it has a node");
        let diaries: Vec<DaemonId> = (50..53).map(|seed| spawn(&mut network, drained, seed)).collect();
        let others: Vec<usize> = (0..4).filter(|number| *number != drained).collect();
        network.run_for(Duration::from_secs(2));
        let mut tickets = Vec::new();
        for round in 0..10 {
            // Some before and some while they move.
            if round == 5 {
                let node = network.id(drained);
                let enter = sign(&mut network, others[0], AdminVerb::EnterMaintenance { node });
                assert_eq!(submit(&mut network, others[0], &enter), Decision::Applied);
            }
            for &to in diaries.iter().chain([&member.daemon]) {
                tickets.push(send(&mut network, others[1], to, &round.to_string()));
            }
            network.run_for(Duration::from_millis(20));
        }
        network
            .run_until(SHORT.drain, |network| maintenance(network, drained) == Maintenance::Maintenance)
            .expect("everything moves away in time");
        assert_eq!(network.members[drained].os.os.as_ref().unwrap().daemons().count(), 0);
        network.run_until(LIMIT, |network| is_healthy(network, group)).expect("the group keeps its size");
        for ticket in tickets {
            let outcome = settled(&mut network, others[1], ticket);
            assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
        }
        let expected: Vec<Vec<u8>> = (0..10).map(|round: u32| round.to_string().into_bytes()).collect();
        for daemon in diaries.iter().copied().chain([member.daemon]) {
            let at = hosts(&network, daemon);
            assert!(at.len() == 1 && at != [drained], "one runs on {at:?}");
            assert_eq!(entries(&mut network, at[0], daemon), expected, "it took its state with it");
        }

        let node = network.id(drained);
        let exit = sign(&mut network, others[2], AdminVerb::ExitMaintenance { node });
        assert_eq!(submit(&mut network, others[2], &exit), Decision::Applied);
        let is = |state| move |network: &Network| maintenance(network, drained) == state;
        network.run_until(LIMIT, is(Maintenance::Recovery)).expect("it is given work again");
        let host = hosts(&network, diaries[0])[0];
        let has_heard = |network: &Network| {
            let seen = network.members[host].os.os.as_ref().expect("it runs").snapshot();
            seen.peers[&node].maintenance == Maintenance::Recovery
        };
        network.run_until(LIMIT, has_heard).expect("it is heard of");
        let back = network.act_os(others[1], |os, n, now| os.migrate(now, n, diaries[0], node, None));
        let back = settled(&mut network, others[1], back.expect("it is tried"));
        assert!(matches!(back, Settlement::Migrated(Ok(_))), "{back:?}");
        assert_eq!(
            maintenance(&network, drained),
            Maintenance::Recovery,
            "it takes daemons before that is over"
        );
        let runs = |network: &Network| {
            let os = network.members[drained].os.os.as_ref().expect("it runs");
            os.daemons().any(|it| it.id == diaries[0] && it.lifecycle == Lifecycle::Running)
        };
        network.run_until(LIMIT, runs).expect("it starts there");
        assert_eq!(entries(&mut network, drained, diaries[0]), expected);
        let took = began_at(&network, drained, Maintenance::Recovery);
        network.run_until(LIMIT, is(Maintenance::Active)).expect("it is back");
        let took = network.now_at(drained).instant.saturating_since(took);
        assert!(took >= SHORT.ramp.saturating_sub(Duration::from_millis(300)), "by and by: {took:?}");
        spawn(&mut network, drained, 60);
    });
}

#[test]
fn what_cannot_move_makes_a_drain_fail_at_its_deadline_and_stays() {
    let mut network = mesh_that_drains(1, Faults::NONE, 3, SHORT);
    let movable = spawn(&mut network, 1, 50);
    let keypair = EntityKeypair::from_seed([51; 32]);
    let handed = keypair.origin_hash();
    let register = |os: &mut MeshOs, node: &mut Node, now| {
        os.register_daemon(now, node, Box::new(Diary::default()), keypair, None)
    };
    let ticket = network.act_os(1, register).expect("it is tried");
    settled(&mut network, 1, ticket);
    network.run_for(Duration::from_secs(1));
    let node = network.id(1);
    let enter = sign(&mut network, 0, AdminVerb::EnterMaintenance { node });
    assert_eq!(submit(&mut network, 0, &enter), Decision::Applied);
    let took = network
        .run_until(LIMIT, |network| maintenance(network, 1) == Maintenance::DrainFailed)
        .expect("it does not wait for ever");
    assert!(took + Duration::from_secs(3) > SHORT.drain, "it is given its time: {took:?}");
    assert_eq!(hosts(&network, handed), [1]);
    assert!(matches!(hosts(&network, movable)[..], [0 | 2]), "what could move did");
    let sent = send(&mut network, 0, handed, "still there");
    assert!(matches!(settled(&mut network, 0, sent), Settlement::Delivered(Ok(_))));
    let refused = network.act_os(1, |os, node, now| {
        let keypair = EntityKeypair::from_seed([52; 32]);
        let (kind, args) = ("diary".to_owned(), String::new());
        os.spawn(now, node, SpawnRequest { keypair, kind, args, state: None, cause: None })
    });
    assert!(matches!(refused, Err(SpawnError::Closed(_))), "{refused:?}");
    let exit = sign(&mut network, 2, AdminVerb::ExitMaintenance { node });
    assert_eq!(submit(&mut network, 2, &exit), Decision::Applied);
    network
        .run_until(LIMIT, |network| maintenance(network, 1) == Maintenance::Active)
        .expect("it comes back by and by");
    assert_eq!(hosts(&network, handed), [1]);
}

#[test]
fn a_daemon_that_was_about_to_move_away_runs_on_as_before_when_it_need_not_any_more() {
    let slow = Faults { delay: Duration::from_millis(10), ..Faults::NONE };
    let mut network = mesh_that_drains(1, slow, 3, SHORT);
    let keypair = EntityKeypair::from_seed([50; 32]);
    let daemon = keypair.origin_hash();
    // So much that it takes longer to move than to command.
    let mut bytes = vec![0; 32 << 20];
    bytes[..4].copy_from_slice(&((32 << 20) - 4_u32).to_le_bytes());
    let state = Some(DaemonState { origin: daemon, bytes });
    let request = SpawnRequest { keypair, kind: "diary".to_owned(), args: String::new(), state, cause: None };
    let ticket = network.act_os(1, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    settled(&mut network, 1, ticket);
    network.run_for(Duration::from_secs(1));
    let node = network.id(1);
    let drain = sign(&mut network, 1, AdminVerb::Drain { node });
    network.act_os(1, |os, node, now| os.submit(now, node, &drain));
    let moving = |network: &Network| {
        let now = network.now_at(1).instant;
        network.members[1].os.os.iter().flat_map(|os| os.migrations(now)).next()
    };
    network.run_until(LIMIT, |network| moving(network).is_some()).expect("it is to move");
    let migration = moving(&network).expect("just seen").id;
    let uncordon = sign(&mut network, 1, AdminVerb::Uncordon { node });
    assert_eq!(submit(&mut network, 1, &uncordon), Decision::Applied);
    network
        .act_os(1, |os, node, now| os.cancel_migration(now, node, migration, None))
        .expect("it is not there yet");
    network.run_for(Duration::from_secs(1));
    let lifecycles: Vec<(DaemonId, Lifecycle)> =
        network.members[1].os.os.iter().flat_map(MeshOs::daemons).map(|it| (it.id, it.lifecycle)).collect();
    assert_eq!(lifecycles, [(daemon, Lifecycle::Running)]);
}

/// A daemon that does not come up does not keep those that could move from doing so.
#[test]
fn daemons_that_are_down_do_not_keep_a_drain_from_moving_the_others() {
    let mut network = mesh_that_drains(1, Faults::NONE, 3, SHORT);
    let down: Vec<DaemonId> = (60..64).map(|seed| spawn(&mut network, 1, seed)).collect();
    let movable = spawn(&mut network, 1, 70);
    for _ in 0..5 {
        for &daemon in &down {
            let crash = send(&mut network, 1, daemon, "crash");
            settled(&mut network, 1, crash);
        }
        network.run_for(Duration::from_secs(5));
    }
    let lifecycles = network.members[1].os.os.iter().flat_map(MeshOs::daemons).map(|view| view.lifecycle);
    assert_eq!(lifecycles.filter(|it| *it == Lifecycle::CrashLooping).count(), down.len());
    let node = network.id(1);
    let enter = sign(&mut network, 0, AdminVerb::EnterMaintenance { node });
    assert_eq!(submit(&mut network, 0, &enter), Decision::Applied);
    network
        .run_until(SHORT.drain / 2, |network| matches!(hosts(network, movable)[..], [0 | 2]))
        .expect("it moves away long before the deadline");
    network
        .run_until(LIMIT, |network| maintenance(network, 1) == Maintenance::DrainFailed)
        .expect("the others cannot");
    let seen = network.members[1].os.os.as_ref().expect("it runs").snapshot();
    let failed = |daemon: &DaemonId| {
        seen.failures
            .iter()
            .any(|failure| failure.what.contains("drain") && failure.what.contains(&daemon.to_string()))
    };
    assert!(down.iter().all(failed), "it is said who is left: {:?}", seen.failures);
}
