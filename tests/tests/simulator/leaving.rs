//! Leaving, over networks that lose the word of it.

use std::time::Duration;

use meshground_node::{Node, NodeEvent, RejectReason, SessionEnd};
use meshground_tests::sim::{Network, seeds};

use super::{config, converged, rejected};

fn has_left(net: &Network, number: usize) -> bool {
    net.members[number].node.as_ref().is_some_and(Node::has_left)
}

/// How often each other member was told that `number` has left.
fn told_of_leave(net: &Network, number: usize) -> Vec<usize> {
    let down = NodeEvent::SessionDown { peer: net.id(number), reason: SessionEnd::Left };
    let others = net.members.iter().enumerate().filter(|(other, _)| *other != number);
    others.map(|(_, member)| member.told().filter(|event| **event == down).count()).collect()
}

#[test]
fn a_leave_that_everybody_hears_takes_one_round_trip() {
    let mut net = converged(1, 5);
    let before: u64 = (0..5).map(|number| rejected(&net, number)).sum();
    net.act(0, Node::leave);
    assert!(!has_left(&net, 0));
    let took = net.run_until(Duration::from_secs(1), |net| has_left(net, 0)).expect("all have heard it");
    assert_eq!(took, Duration::from_millis(2));
    assert_eq!(net.members[0].node.as_ref().and_then(Node::poll_timeout), None, "nothing is waited for");
    net.run_for(Duration::from_secs(1));
    assert_eq!(told_of_leave(&net, 0), [1; 4]);
    assert_eq!((0..5).map(|number| rejected(&net, number)).sum::<u64>(), before, "and nobody wonders");
}

#[test]
fn a_lost_leave_is_rare_even_where_a_third_is_lost() {
    let (mut heard, mut leaves) = (0, 0);
    let seeds = seeds(100);
    for seed in &seeds {
        let mut net = converged(*seed, 4);
        net.faults.loss = 0.3;
        net.act(0, Node::leave);
        let took = net.run_until(Duration::from_secs(1), |net| has_left(net, 0)).expect("it ends");
        assert!(took <= Duration::from_millis(300), "seed {seed}: {took:?}");
        net.crash(0);
        net.run_for(Duration::from_millis(100));
        let told = told_of_leave(&net, 0);
        assert!(told.iter().all(|times| *times <= 1), "seed {seed}: told twice");
        heard += told.iter().sum::<usize>();
        leaves += told.len();
    }
    // One seed alone says nothing of how rare it is.
    assert!(seeds.len() == 1 || heard * 100 >= leaves * 99, "{heard} of {leaves} heard it");
}

#[test]
fn everybody_may_leave_at_once() {
    let mut net = converged(1, 5);
    for number in 0..5 {
        net.act(number, Node::leave);
    }
    let took =
        net.run_until(Duration::from_secs(1), |net| (0..5).all(|n| has_left(net, n))).expect("they do");
    assert!(took <= Duration::from_millis(2), "{took:?}");
}

#[test]
fn nobody_waits_for_the_dead() {
    let mut net = converged(1, 3);
    net.crash(2);
    net.run_for(Duration::from_secs(2));
    net.act(0, Node::leave);
    let took = net.run_until(Duration::from_secs(1), |net| has_left(net, 0)).expect("it ends");
    assert_eq!(took, Duration::from_millis(2));
}

#[test]
fn a_node_that_left_may_come_back_at_once() {
    let mut net = converged(1, 3);
    net.act(0, Node::leave);
    net.run_for(Duration::from_millis(1));
    net.crash(0);
    net.restart_in_place(0);
    for other in [1, 2] {
        net.dial(0, other);
    }
    net.run_until(Duration::from_millis(50), Network::is_converged).expect("it is back");
    net.run_for(Duration::from_secs(15));
    assert!(net.is_converged());
}

#[test]
fn a_node_that_has_left_answers_nobody() {
    let mut net = converged(1, 2);
    let late = net.add(config());
    net.act(0, Node::leave);
    net.run_for(Duration::from_secs(1));
    net.tap = Some(Vec::new());
    net.dial(late, 0);
    net.run_for(Duration::from_secs(2));
    let address = net.members[0].address;
    assert!(net.tap.take().expect("tapped").iter().all(|datagram| datagram.from != address));
    let node = net.members[0].node.as_ref().expect("running");
    assert_eq!(node.rejected(RejectReason::UnknownIndex), 0);
}
