//! Dials that have to get past dead addresses, insiders and clocks.

use std::{net::SocketAddr, time::Duration};

use meshground_node::{DialError, Health, Identity, NodeConfig, NodeEvent};
use meshground_tests::sim::{Datagram, Faults, Network};

use super::{PATIENCE, PSK, at_message_3, config, converged, seeds};

fn dead(number: u16) -> SocketAddr {
    ([127, 0, 0, 1], 1_000 + number).into()
}

fn dial_ends(net: &Network, number: usize) -> Vec<NodeEvent> {
    let ends = |event: &&NodeEvent| matches!(event, NodeEvent::Dialed { .. } | NodeEvent::DialFailed { .. });
    net.members[number].told().filter(ends).cloned().collect()
}

#[test]
fn dead_addresses_do_not_hold_up_a_dial_to_one_that_lives() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(NodeConfig::new(PSK)), net.add(NodeConfig::new(PSK)));
    for number in 0..16 {
        net.act(a, |node, now| node.connect(now, dead(number), None));
    }
    net.dial(a, b);
    net.run_until(Duration::from_secs(1), Network::is_converged).expect("its turn comes soon");
    net.run_for(Duration::from_secs(6));
    assert_eq!(dial_ends(&net, a).len(), 17, "each ends once, within the budget");
}

#[test]
fn dials_that_take_turns_still_take_an_answer_while_others_have_theirs() {
    // Slower than a turn: no answer comes while the dial has its own.
    let mut net = Network::new(1, Faults { delay: Duration::from_millis(500), ..Faults::NONE });
    let mut narrow = config();
    narrow.handshake.max_dials = 1;
    narrow.liveness.suspect = Duration::from_secs(4);
    narrow.liveness.unreachable = Duration::from_secs(5);
    for _ in 0..5 {
        net.add(narrow.clone());
    }
    for other in 1..5 {
        net.dial(0, other);
    }
    net.run_for(PATIENCE);
    assert_eq!(dial_ends(&net, 0).len(), 4);
    assert!((1..5).all(|other| net.verdict(0, other) == Some(Health::Healthy)));
}

#[test]
fn many_dead_addresses_share_few_slots_and_each_dial_ends_once() {
    for seed in seeds(5) {
        let mut net = Network::new(seed, Faults { loss: 0.1, ..Faults::NONE });
        let mut narrow = NodeConfig::new(PSK);
        narrow.handshake.max_dials = 3;
        narrow.handshake.budget = Duration::from_secs(12);
        let a = net.add(narrow.clone());
        let alive: Vec<usize> = (0..5).map(|_| net.add(narrow.clone())).collect();
        for number in 0..20 {
            net.act(a, |node, now| node.connect(now, dead(number), None));
            if let Some(&other) = alive.get(usize::from(number) / 4) {
                net.dial(a, other);
            }
        }
        net.run_for(Duration::from_secs(13));
        let ends = dial_ends(&net, a);
        let dialed = ends.iter().filter(|event| matches!(event, NodeEvent::Dialed { .. })).count();
        assert_eq!((ends.len(), dialed), (40, 20), "seed {seed}");
    }
}

/// A member sees a's message 1 to b and answers it first.
fn insider_answers_first(net: &mut Network, a: usize, insider: usize) {
    let initiation = net.intercept().pop_front().expect("message 1");
    let of_insider = net.members[insider].address;
    net.inject(&Datagram { to: of_insider, ..initiation.clone() });
    let false_answer = net.intercept().pop_front().expect("the insider answers");
    assert_eq!(false_answer.to, net.members[a].address);
    net.inject(&false_answer);
    net.inject(&initiation);
}

#[test]
fn an_insider_who_answers_first_does_not_end_a_dial() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b, insider) = (net.add(config()), net.add(config()), net.add(config()));
    let (address, expected) = (net.members[b].address, net.id(b));
    net.act(a, |node, now| node.connect(now, address, Some(expected)));
    insider_answers_first(&mut net, a, insider);
    net.run_for(Duration::from_millis(20));
    assert_eq!(net.verdict(a, b), Some(Health::Healthy), "the right answer still counts");
    assert!(matches!(dial_ends(&net, a)[..], [NodeEvent::Dialed { .. }]));
    assert_eq!((net.verdict(a, insider), net.verdict(insider, a)), (None, None));
}

#[test]
fn a_wrong_address_is_told_soon_though_not_at_once() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(config()), net.add(config()));
    let address = net.members[b].address;
    let expected = Identity::from_seed([9; 32]).node_id();
    net.act(a, |node, now| node.connect(now, address, Some(expected)));
    let took = net.run_until(PATIENCE, |net| !dial_ends(net, a).is_empty()).expect("it ends");
    assert!(took <= Duration::from_secs(1), "{took:?}");
    let NodeEvent::DialFailed { error, .. } = &dial_ends(&net, a)[0] else { panic!("it fails") };
    assert_eq!(*error, DialError::WrongPeer { expected, found: net.id(b) });
}

#[test]
fn a_node_whose_clock_was_set_back_between_two_lives_is_taken_back() {
    for silent in [Duration::ZERO, Duration::from_millis(700), Duration::from_secs(10)] {
        let mut net = converged(1, 3);
        net.run_for(Duration::from_secs(30));
        net.crash(0);
        net.run_for(silent);
        net.restart_set_back(0, Duration::from_hours(1));
        for other in [1, 2] {
            net.dial(0, other);
        }
        let took = net.run_until(PATIENCE, Network::is_converged).expect("it is taken back");
        assert!(took <= Duration::from_secs(4), "after {silent:?}: {took:?}");
        net.run_for(Duration::from_secs(15));
        assert!(net.is_converged());
        let sessions = net.sessions();
        assert!(sessions.chunks(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn a_life_that_is_over_does_not_push_out_its_successor() {
    let (mut net, [a, b], late) = at_message_3();
    net.crash(a);
    net.restart_in_place(a);
    net.dial(a, b);
    net.run_until(Duration::from_secs(1), Network::is_converged).expect("the second life is there");
    net.inject(&late);
    assert!(net.is_converged());
    // Not even once the second is silent: the handshake is older than that.
    net.freeze(a);
    net.run_for(Duration::from_secs(2));
    let before = net.members[b].events.len();
    net.inject(&late);
    assert_eq!(net.verdict(b, a), Some(Health::Unreachable));
    assert_eq!(net.members[b].events.len(), before);
}
