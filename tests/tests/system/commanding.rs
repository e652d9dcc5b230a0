//! Signed commands over simulated networks: carried out on every node, or on none.

use std::{collections::BTreeMap, time::Duration};

use meshground_node::{
    Commanded, DaemonId, DaemonState, EntityKeypair, GroupId, GroupRequest, Instant, MaintenanceConfig,
    MeshOs, MeshOsConfig, Node, OsEvent, Settlement, SpawnError, SpawnRequest,
    admin::{AdminCommand, AdminVerifier, IceProposal, Nonce, OperatorKey, Operators, SignedCommand},
};
use meshground_shared::{
    AdminVerb, Decision, EventKind, GroupHealth, GroupKind, IceVerb, Lifecycle, Maintenance, Rejection,
};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{BAD, LIMIT, all_acquainted, config, entries, send, settled, spawn};

pub(super) fn demo(number: u8) -> OperatorKey {
    OperatorKey::demo(number).expect("there are some")
}

/// A converged full mesh of nodes that obey the demo operators, each of which knows all others.
pub(super) fn mesh(seed: u64, faults: Faults, count: usize) -> Network {
    let mut network = Network::new(seed, faults);
    for number in 0..count {
        network.add(config());
        let verifier = AdminVerifier::allow_demo(Operators::demo());
        network.equip(number, MeshOsConfig { verifier, ..MeshOsConfig::default() }, Diary::prepare);
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_for(Duration::from_secs(3));
    network
}

pub(super) fn nonce(network: &mut Network) -> Nonce {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(network.below(256)).expect("below 256");
    }
    Nonce(bytes)
}

pub(super) fn sign(network: &mut Network, at: usize, verb: AdminVerb) -> SignedCommand {
    let nonce = nonce(network);
    AdminCommand::new(verb, network.now_at(at).wall, nonce).sign(&demo(1))
}

pub(super) fn submit(network: &mut Network, at: usize, command: &SignedCommand) -> Decision {
    let ticket = network.act_os(at, |os, node, now| os.submit(now, node, command));
    match settled(network, at, ticket) {
        Settlement::Commanded(Commanded { decision, .. }) => decision,
        other => panic!("{other:?}"),
    }
}

/// What each node wrote down about each command, by nonce.
pub(super) fn trails(network: &Network) -> Vec<BTreeMap<String, Decision>> {
    let trail = |member: &meshground_tests::sim::Member| {
        let os = member.os.os.as_ref()?;
        Some(os.audit().iter().map(|entry| (entry.nonce.clone(), entry.decision)).collect())
    };
    network.members.iter().filter_map(trail).collect()
}

pub(super) fn maintenance(network: &Network, number: usize) -> Maintenance {
    network.members[number].os.os.as_ref().expect("it runs").snapshot().maintenance
}

#[test]
fn a_command_takes_effect_on_the_node_it_names_and_is_in_every_trail() {
    let mut network = mesh(1, Faults::NONE, 4);
    let node = network.id(2);
    let command = sign(&mut network, 0, AdminVerb::Cordon { node });
    assert_eq!(submit(&mut network, 0, &command), Decision::Applied);
    network.run_for(Duration::from_millis(200));
    let cordoned = |network: &Network, number: usize| {
        network.members[number].os.os.as_ref().unwrap().snapshot().cordoned
    };
    assert!(cordoned(&network, 2) && !cordoned(&network, 1));
    let trails = trails(&network);
    assert!(trails.iter().all(|trail| trail.len() == 1 && trail == &trails[0]), "{trails:?}");
    let seen = network.members[0].os.os.as_ref().unwrap().snapshot();
    assert!(seen.peers[&node].cordoned, "everybody sees it");
    assert_eq!(submit(&mut network, 1, &command), Decision::Rejected(Rejection::NonceReplayed));
}

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

#[test]
fn a_freeze_needs_two_operators_and_a_look_at_what_it_does() {
    let mut network = mesh(1, Faults::NONE, 3);
    let verb = IceVerb::FreezeCluster { ttl_ms: 60_000 };
    let wall = network.now_at(0).wall;
    let propose = |network: &mut Network| {
        let nonce = nonce(network);
        let picture = network.act_os(0, |os, node, _| os.picture(node));
        IceProposal::new(verb.clone()).simulate(&picture).expect("possible").sign(wall, nonce, &demo(1))
    };
    let one = propose(&mut network);
    assert_eq!(submit(&mut network, 0, &one), Decision::Rejected(Rejection::InsufficientSignatures));
    let two = propose(&mut network).cosign(&demo(2));
    assert_eq!(submit(&mut network, 0, &two), Decision::Applied);
    network.run_for(Duration::from_millis(100));
    for member in &network.members {
        assert!(member.os.os.as_ref().unwrap().snapshot().freeze_remaining.is_some());
    }
    let node = network.id(1);
    let drain = sign(&mut network, 2, AdminVerb::Drain { node });
    assert_eq!(submit(&mut network, 2, &drain), Decision::Rejected(Rejection::FreezeInEffect));
    network.run_for(Duration::from_secs(61));
    assert!(network.members[1].os.os.as_ref().unwrap().snapshot().freeze_remaining.is_none());
}

#[test]
fn on_a_bad_network_every_command_is_applied_everywhere_or_rejected_everywhere() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, BAD, 4);
        let mut tickets = Vec::new();
        for round in 0..12 {
            let at = usize::try_from(network.below(4)).expect("small");
            let named = usize::try_from(network.below(4)).expect("small");
            let node = network.id(named);
            let verb = if round % 2 == 0 { AdminVerb::Cordon { node } } else { AdminVerb::Uncordon { node } };
            let command = sign(&mut network, at, verb);
            tickets.push((at, network.act_os(at, |os, node, now| os.submit(now, node, &command))));
            let pause = network.below(200);
            network.run_for(Duration::from_millis(pause));
        }
        for (at, ticket) in tickets {
            settled(&mut network, at, ticket);
        }
        network.run_for(Duration::from_secs(10));
        let trails = trails(&network);
        assert_eq!(trails[0].len(), 12);
        assert!(trails.iter().all(|trail| trail == &trails[0]), "the trails agree");
        assert!(trails[0].values().any(|decision| *decision == Decision::Applied));
    });
}

/// A converged mesh as [`mesh`] makes it, whose nodes take this long at most to drain and to come back.
fn mesh_that_drains(seed: u64, faults: Faults, count: usize, maintenance: MaintenanceConfig) -> Network {
    let mut network = Network::new(seed, faults);
    for number in 0..count {
        network.add(config());
        let verifier = AdminVerifier::allow_demo(Operators::demo());
        let os = MeshOsConfig { verifier, maintenance, ..MeshOsConfig::default() };
        network.equip(number, os, Diary::prepare);
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
    network
}

const SHORT: MaintenanceConfig =
    MaintenanceConfig { drain: Duration::from_secs(20), ramp: Duration::from_secs(5) };

/// Three members on three of the nodes.
fn group_of_three(network: &mut Network, at: usize) -> GroupId {
    let request = GroupRequest {
        kind: GroupKind::Replica,
        daemon: "diary".to_owned(),
        args: String::new(),
        count: 3,
        name: "three".to_owned(),
        seed: [33; 32],
        parent: None,
        cause: None,
    };
    let ticket = network.act_os(at, |os, node, now| os.spawn_group(now, node, request)).expect("tried");
    match settled(network, at, ticket) {
        Settlement::Group(Ok(group)) => group,
        other => panic!("no group: {other:?}"),
    }
}

/// The members that run a daemon.
pub(super) fn hosts(network: &Network, daemon: DaemonId) -> Vec<usize> {
    let runs = |number: &usize| {
        let os = network.members[*number].os.os.as_ref();
        os.is_some_and(|os| os.daemons().any(|view| view.id == daemon))
    };
    (0..network.members.len()).filter(runs).collect()
}

fn is_healthy(network: &Network, group: GroupId) -> bool {
    network.members.iter().all(|member| {
        let view = member.os.os.as_ref().and_then(|os| os.group(group));
        view.is_some_and(|view| view.desired == 3 && view.health == GroupHealth::Healthy)
    })
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
        let group = group_of_three(&mut network, 3);
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
        network.run_for(Duration::from_millis(500));
        let back = network.act_os(others[1], |os, n, now| os.migrate(now, n, diaries[0], node, None));
        let back = settled(&mut network, others[1], back.expect("it is tried"));
        assert!(matches!(back, Settlement::Migrated(Ok(_))), "{back:?}");
        assert_eq!(
            maintenance(&network, drained),
            Maintenance::Recovery,
            "it takes daemons before that is over"
        );
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
fn a_drain_stands_still_in_a_frozen_cluster_and_goes_on_when_that_is_over() {
    let mut network = mesh_that_drains(1, Faults::NONE, 3, SHORT);
    let diaries: Vec<DaemonId> = (50..56).map(|seed| spawn(&mut network, 1, seed)).collect();
    // Nobody takes them yet.
    for (number, verb) in [(0, true), (2, true), (1, false)] {
        let node = network.id(number);
        let verb = if verb { AdminVerb::Cordon { node } } else { AdminVerb::EnterMaintenance { node } };
        let command = sign(&mut network, 0, verb);
        assert_eq!(submit(&mut network, 0, &command), Decision::Applied);
        network.run_for(Duration::from_millis(200));
    }
    assert_eq!(maintenance(&network, 1), Maintenance::EnteringMaintenance);
    let (wall, nonce) = (network.now_at(0).wall, nonce(&mut network));
    let picture = network.act_os(0, |os, node, _| os.picture(node));
    let freeze = IceProposal::new(IceVerb::FreezeCluster { ttl_ms: 8_000 });
    let freeze = freeze.simulate(&picture).expect("possible");
    assert_eq!(freeze.radius().drain_delay_ms, 8_000);
    let freeze = freeze.sign(wall, nonce, &demo(1)).cosign(&demo(2));
    assert_eq!(submit(&mut network, 0, &freeze), Decision::Applied);
    for number in [0, 2] {
        let node = network.id(number);
        let command = sign(&mut network, 0, AdminVerb::Uncordon { node });
        assert_eq!(submit(&mut network, 0, &command), Decision::Applied);
    }
    network.run_for(Duration::from_secs(7));
    assert!(diaries.iter().all(|daemon| hosts(&network, *daemon) == [1]), "nothing moves");
    network
        .run_until(LIMIT, |network| maintenance(network, 1) == Maintenance::Maintenance)
        .expect("it goes on afterwards");
    assert!(diaries.iter().all(|daemon| matches!(hosts(&network, *daemon)[..], [0 | 2])));
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

/// Commands that restart daemons keep what a standby group has acknowledged, as a crash would.
#[test]
fn a_restart_by_command_costs_a_standby_group_nothing_it_acknowledged() {
    let mut network = mesh(1, Faults::NONE, 4);
    let (group, daemon) = standby_of_three(&mut network);
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for round in 0..2 {
        for number in 0..5 {
            let text = format!("{round}-{number}");
            let ticket = send(&mut network, 3, daemon, &text);
            assert!(matches!(settled(&mut network, 3, ticket), Settlement::Delivered(Ok(_))));
            expected.push(text.into_bytes());
        }
        let at = hosts(&network, daemon)[0];
        let node = network.id(at);
        let restart = sign(&mut network, 0, AdminVerb::RestartAllDaemons { node });
        assert_eq!(submit(&mut network, 0, &restart), Decision::Applied);
        network.run_for(Duration::from_secs(2));
        network.run_until(LIMIT, |network| is_healthy(network, group)).expect("it comes to its size again");
        let at = hosts(&network, daemon);
        assert_eq!(at.len(), 1);
        assert_eq!(entries(&mut network, at[0], daemon), expected);
    }
}

/// A standby group of three, and its daemon.
fn standby_of_three(network: &mut Network) -> (GroupId, DaemonId) {
    let request = GroupRequest {
        kind: GroupKind::Standby,
        daemon: "diary".to_owned(),
        args: String::new(),
        count: 3,
        name: "standby".to_owned(),
        seed: [34; 32],
        parent: None,
        cause: None,
    };
    let ticket = network.act_os(0, |os, node, now| os.spawn_group(now, node, request)).expect("tried");
    let Settlement::Group(Ok(group)) = settled(network, 0, ticket) else { panic!("no group") };
    network.run_until(LIMIT, |network| is_healthy(network, group)).expect("it comes to its size");
    let view = network.members[0].os.os.as_ref().and_then(|os| os.group(group)).expect("just made");
    (group, view.members[0].daemon)
}

/// The members of the network that a group's places are on, by place.
fn placed(network: &Network, at: usize, group: GroupId) -> Vec<Option<usize>> {
    let view = network.members[at].os.os.as_ref().and_then(|os| os.group(group)).expect("it knows");
    let number = |node| (0..network.members.len()).find(|&number| Some(network.id(number)) == node);
    view.members.iter().map(|member| number(member.node)).collect()
}

#[test]
fn a_node_in_maintenance_holds_no_copy_and_leaves_none_of_it_lacking() {
    each_seed(10, |seed| {
        let faults = Faults { loss: 0.05, corruption: 0.0, ..BAD };
        let mut network = mesh_that_drains(seed, faults, 5, SHORT);
        let (group, daemon) = standby_of_three(&mut network);
        let before = placed(&network, 0, group);
        let (first, drained) = (before[0].expect("it runs"), before[1].expect("it stands by"));
        let from = (0..5).find(|number| !before.contains(&Some(*number))).expect("two are free");
        let mut tickets = Vec::new();
        for number in 0..20 {
            if number == 10 {
                let node = network.id(drained);
                let enter = sign(&mut network, from, AdminVerb::EnterMaintenance { node });
                assert_eq!(submit(&mut network, from, &enter), Decision::Applied);
            }
            tickets.push(send(&mut network, from, daemon, &number.to_string()));
            network.run_for(Duration::from_millis(10));
        }
        network
            .run_until(SHORT.drain, |network| maintenance(network, drained) == Maintenance::Maintenance)
            .expect("others hold it in time");
        let after = placed(&network, first, group);
        assert!(!after.contains(&Some(drained)) && after[0] == Some(first), "{before:?}, then {after:?}");
        for ticket in tickets {
            assert!(matches!(settled(&mut network, from, ticket), Settlement::Delivered(Ok(_))));
        }
        // Whoever is left goes on with everything.
        network.crash(first);
        network.crash(drained);
        let goes_on = |network: &Network| hosts(network, daemon).len() == 1;
        network.run_until(LIMIT, goes_on).expect("one takes over");
        let at = hosts(&network, daemon)[0];
        let expected: Vec<Vec<u8>> = (0..20).map(|number: u32| number.to_string().into_bytes()).collect();
        network.run_for(Duration::from_secs(2));
        assert_eq!(entries(&mut network, at, daemon), expected);
    });
}

#[test]
fn a_copy_on_a_node_that_drains_is_good_until_another_is() {
    let slow = Faults { delay: Duration::from_millis(20), ..Faults::NONE };
    let mut network = mesh_that_drains(1, slow, 6, SHORT);
    let (group, daemon) = standby_of_three(&mut network);
    // So much that it takes a while to bring it anywhere.
    for number in 0..8 {
        let ticket = send(&mut network, 0, daemon, &number.to_string().repeat(900_000));
        assert!(matches!(settled(&mut network, 0, ticket), Settlement::Delivered(Ok(_))));
    }
    let before = placed(&network, 0, group);
    let [first, drained, other] = before.iter().flatten().copied().collect::<Vec<_>>()[..] else { panic!() };
    let from = (0..6).find(|number| !before.contains(&Some(*number))).expect("some are free");
    let node = network.id(drained);
    let drain = sign(&mut network, from, AdminVerb::Drain { node });
    assert_eq!(submit(&mut network, from, &drain), Decision::Applied);
    let moves = |network: &Network| placed(network, first, group)[1] != Some(drained);
    network.run_until(LIMIT, moves).expect("another is to hold it");
    network.run_for(Duration::from_millis(300));
    // Both come back, and have forgotten everything.
    for number in [first, other] {
        network.crash(number);
    }
    network.run_for(Duration::from_secs(3));
    for number in [first, other] {
        network.restart_in_place(number);
    }
    network.dial_all();
    network.run_until(LIMIT, |network| !hosts(network, daemon).is_empty()).expect("it goes on");
    network.run_for(Duration::from_secs(5));
    let at = hosts(&network, daemon)[0];
    let kept = entries(&mut network, at, daemon);
    assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [900_000; 8]);
}

#[test]
fn a_copy_that_no_other_node_can_hold_makes_a_drain_fail_and_it_is_said_why() {
    let mut network = mesh_that_drains(1, Faults::NONE, 3, SHORT);
    let (group, daemon) = standby_of_three(&mut network);
    let before = placed(&network, 0, group);
    let drained = before[2].expect("it stands by");
    let node = network.id(drained);
    let enter = sign(&mut network, 0, AdminVerb::EnterMaintenance { node });
    assert_eq!(submit(&mut network, 0, &enter), Decision::Applied);
    let took = network
        .run_until(LIMIT, |network| maintenance(network, drained) == Maintenance::DrainFailed)
        .expect("it does not wait for ever");
    assert!(took + Duration::from_secs(3) > SHORT.drain, "it is given its time: {took:?}");
    let seen = network.members[drained].os.os.as_ref().expect("it runs").snapshot();
    let said = |failure: &meshground_node::FailureRecord| {
        failure.what.contains(&format!("group {group}")) && failure.what.contains("has another member")
    };
    assert!(seen.failures.iter().any(said), "{:?}", seen.failures);
    assert_eq!(placed(&network, 0, group), before, "it stays where it is");
    assert!(is_healthy(&network, group));
    let ticket = send(&mut network, 0, daemon, "still there");
    assert!(matches!(settled(&mut network, 0, ticket), Settlement::Delivered(Ok(_))));
}

/// Sessions come and go while their ends stay: over relays they are closed when nothing goes over them.
#[test]
fn a_session_that_was_closed_is_no_node_that_is_gone() {
    let mut network = Network::new(1, Faults::NONE);
    for number in 0..3 {
        network.add(config());
        network.equip(number, MeshOsConfig::default(), Diary::prepare);
    }
    network.dial(0, 1);
    network.dial(1, 2);
    network.run_for(Duration::from_secs(5));
    let (middle, end) = (network.id(1), network.id(2));
    let command = sign(&mut network, 0, AdminVerb::Cordon { node: middle });
    assert_eq!(submit(&mut network, 0, &command), Decision::Applied);
    let is_closed = |network: &Network| network.members[0].node.iter().all(|node| node.peer(end).is_none());
    assert!(!is_closed(&network), "they talked over the one in the middle");
    network.run_until(LIMIT * 3, is_closed).expect("it is closed after a while");
    network.run_for(Duration::from_millis(100));
    for at in [0, 2] {
        let command = sign(&mut network, at, AdminVerb::Uncordon { node: middle });
        assert_eq!(submit(&mut network, at, &command), Decision::Applied, "at {at}");
    }
}

#[test]
fn a_member_that_is_stopped_where_no_other_node_is_free_comes_back_where_it_was() {
    let mut network = mesh(1, Faults::NONE, 3);
    let group = group_of_three(&mut network, 0);
    network.run_until(LIMIT, |network| is_healthy(network, group)).expect("there are three nodes");
    for _ in 0..3 {
        let daemon = network.members[0].os.os.as_ref().unwrap().group(group).unwrap().members[1].daemon;
        let at = hosts(&network, daemon)[0];
        let stop = network.act_os(at, |os, node, now| os.stop(now, node, daemon, None, None));
        settled(&mut network, at, stop.expect("it is there"));
        assert_eq!(hosts(&network, daemon), [0; 0]);
        network.run_for(Duration::from_secs(1));
        network.run_until(LIMIT, |network| is_healthy(network, group)).expect("it comes back");
        assert_eq!(hosts(&network, daemon), [at], "there is no other place for it");
    }
}

/// A break-glass command that two operators sign, on what `at` sees.
pub(super) fn break_glass(network: &mut Network, at: usize, verb: &IceVerb) -> Option<SignedCommand> {
    let (nonce, wall) = (nonce(network), network.now_at(at).wall);
    let picture = network.act_os(at, |os, node, _| os.picture(node));
    let simulated = IceProposal::new(verb.clone()).simulate(&picture)?;
    Some(simulated.sign(wall, nonce, &demo(1)).cosign(&demo(2)))
}

#[test]
fn a_daemon_that_is_restarted_by_force_while_it_moves_is_made_anew_wherever_it_is_then() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 4);
        let daemon = spawn(&mut network, 1, 7);
        let text = "x".repeat(200_000);
        let ticket = send(&mut network, 0, daemon, &text);
        settled(&mut network, 0, ticket);
        network.run_for(Duration::from_secs(1));
        let restart = IceVerb::ForceRestartDaemon { daemon };
        let target = network.id(2);
        network.act_os(1, |os, node, now| os.migrate(now, node, daemon, target, None)).expect("tried");
        let pause = network.below(60);
        network.run_for(Duration::from_millis(pause));
        let command = break_glass(&mut network, 0, &restart).expect("it is there");
        let decision = submit(&mut network, 0, &command);
        network.run_for(Duration::from_secs(10));
        let at = hosts(&network, daemon);
        assert_eq!(at.len(), 1, "after {pause} ms");
        let kept = entries(&mut network, at[0], daemon).len();
        // What the audit says is what was done: one that is made anew has forgotten what it knew.
        assert_eq!(kept, usize::from(decision != Decision::Applied), "{decision:?} after {pause} ms");
    });
}

#[test]
fn what_nothing_can_make_anew_is_not_restarted_by_force() {
    let mut network = mesh(1, Faults::NONE, 3);
    let keypair = EntityKeypair::from_seed([3; 32]);
    let daemon = keypair.origin_hash();
    network
        .act_os(1, |os, node, now| os.register_daemon(now, node, Box::new(Diary::default()), keypair, None))
        .expect("it is tried");
    network.run_for(Duration::from_secs(1));
    assert!(break_glass(&mut network, 0, &IceVerb::ForceRestartDaemon { daemon }).is_none());
}
