//! Signed commands over simulated networks: carried out on every node, or on none.

use std::{collections::BTreeMap, time::Duration};

use meshground_node::{
    Commanded, MeshOsConfig, Settlement,
    admin::{AdminCommand, AdminVerifier, IceProposal, Nonce, OperatorKey, Operators, SignedCommand},
};
use meshground_shared::{AdminVerb, Decision, IceVerb, Maintenance, Rejection};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{BAD, LIMIT, config, settled};

fn demo(number: u8) -> OperatorKey {
    OperatorKey::demo(number).expect("there are some")
}

/// A converged full mesh of nodes that obey the demo operators, each of which knows all others.
fn mesh(seed: u64, faults: Faults, count: usize) -> Network {
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

fn nonce(network: &mut Network) -> Nonce {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(network.below(256)).expect("below 256");
    }
    Nonce(bytes)
}

fn sign(network: &mut Network, at: usize, verb: AdminVerb) -> SignedCommand {
    let nonce = nonce(network);
    AdminCommand::new(verb, network.now_at(at).wall, nonce).sign(&demo(1))
}

fn submit(network: &mut Network, at: usize, command: &SignedCommand) -> Decision {
    let ticket = network.act_os(at, |os, node, now| os.submit(now, node, command));
    match settled(network, at, ticket) {
        Settlement::Commanded(Commanded { decision, .. }) => decision,
        other => panic!("{other:?}"),
    }
}

/// What each node wrote down about each command, by nonce.
fn trails(network: &Network) -> Vec<BTreeMap<String, Decision>> {
    let trail = |member: &meshground_tests::sim::Member| {
        let os = member.os.os.as_ref()?;
        Some(os.audit().iter().map(|entry| (entry.nonce.clone(), entry.decision)).collect())
    };
    network.members.iter().filter_map(trail).collect()
}

fn maintenance(network: &Network, number: usize) -> Maintenance {
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
