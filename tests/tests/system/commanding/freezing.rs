//! Freezes: by whom, and what stands still meanwhile.

use std::time::Duration;

use meshground_node::{DaemonId, admin::IceProposal};
use meshground_shared::{AdminVerb, Decision, IceVerb, Maintenance, Rejection};
use meshground_tests::sim::{Faults, Network};

use super::{SHORT, demo, hosts, maintenance, mesh, mesh_that_drains, nonce, sign, submit};
use crate::{LIMIT, spawn};

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
