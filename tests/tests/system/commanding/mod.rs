//! Signed commands over simulated networks: carried out on every node, or on none.

mod beginning;
mod both_halves;
mod copies;
mod draining;
mod freezing;
mod restarting;

use std::{collections::BTreeMap, time::Duration};

use meshground_node::{
    Commanded, DaemonId, GroupId, MaintenanceConfig, MeshOsConfig, Settlement,
    admin::{AdminCommand, AdminVerifier, IceProposal, Nonce, OperatorKey, Operators, SignedCommand},
};
use meshground_shared::{AdminVerb, Decision, GroupHealth, GroupKind, IceVerb, Maintenance, Rejection};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{BAD, LIMIT, all_acquainted, config, converged, diaries, settled, try_group};

pub(super) fn demo(number: u8) -> OperatorKey {
    OperatorKey::demo(number).expect("there are some")
}

/// A converged full mesh of nodes that obey the demo operators, each of which knows all others.
pub(super) fn mesh(seed: u64, faults: Faults, count: usize) -> Network {
    let mut network = converged(seed, faults, count, &obeying(MaintenanceConfig::default()));
    network.run_for(Duration::from_secs(3));
    network
}

/// A converged mesh as [`mesh`] makes it, whose nodes take this long at most to drain and to come back.
fn mesh_that_drains(seed: u64, faults: Faults, count: usize, maintenance: MaintenanceConfig) -> Network {
    let mut network = converged(seed, faults, count, &obeying(maintenance));
    network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
    network
}

/// What a node is told that obeys the demo operators.
pub(super) fn obeying(maintenance: MaintenanceConfig) -> MeshOsConfig {
    let verifier = AdminVerifier::allow_demo(Operators::demo());
    MeshOsConfig { verifier, maintenance, ..MeshOsConfig::default() }
}

const SHORT: MaintenanceConfig =
    MaintenanceConfig { drain: Duration::from_secs(20), ramp: Duration::from_secs(5) };

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

/// A break-glass command that two operators sign, on what `at` sees.
pub(super) fn break_glass(network: &mut Network, at: usize, verb: &IceVerb) -> Option<SignedCommand> {
    let (nonce, wall) = (nonce(network), network.now_at(at).wall);
    let picture = network.act_os(at, |os, node, _| os.picture(node));
    let simulated = IceProposal::new(verb.clone()).simulate(&picture)?;
    Some(simulated.sign(wall, nonce, &demo(1)).cosign(&demo(2)))
}

/// The members that run a daemon.
pub(super) fn hosts(network: &Network, daemon: DaemonId) -> Vec<usize> {
    let runs = |number: &usize| {
        let os = network.members[*number].os.os.as_ref();
        os.is_some_and(|os| os.daemons().any(|view| view.id == daemon))
    };
    (0..network.members.len()).filter(runs).collect()
}

/// A standby group of three on some of the nodes, and its daemon.
fn standby_of_three(network: &mut Network) -> (GroupId, DaemonId) {
    let group = try_group(network, 0, diaries(GroupKind::Standby, 3, 34)).expect("there are enough nodes");
    network.run_until(LIMIT, |network| is_healthy(network, group)).expect("it comes to its size");
    let view = network.members[0].os.os.as_ref().and_then(|os| os.group(group)).expect("just made");
    (group, view.members[0].daemon)
}

fn is_healthy(network: &Network, group: GroupId) -> bool {
    network.members.iter().all(|member| {
        let view = member.os.os.as_ref().and_then(|os| os.group(group));
        view.is_some_and(|view| view.desired == 3 && view.health == GroupHealth::Healthy)
    })
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
