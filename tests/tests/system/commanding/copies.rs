//! Nodes that are taken out of service where a standby group keeps its copies.

use std::time::Duration;

use meshground_node::{GroupId, Settlement};
use meshground_shared::{AdminVerb, Decision, Maintenance};
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{SHORT, hosts, is_healthy, maintenance, mesh_that_drains, sign, standby_of_three, submit};
use crate::{BAD, LIMIT, entries, send, settled};

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
