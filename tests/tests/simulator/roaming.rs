//! Peers whose address changes, and whoever would like others to believe that.

use std::{net::SocketAddr, time::Duration};

use meshground_node::{NodeEvent, SessionEnd};
use meshground_tests::sim::{Datagram, Faults, Filter, Network};

use super::{PATIENCE, config, converged, rejected};

const ELSEWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

fn known_address(net: &Network, from: usize, of: usize) -> SocketAddr {
    let id = net.id(of);
    let node = net.members[from].node.as_ref().expect("running");
    node.peers().find(|peer| peer.id == id).and_then(|peer| peer.path.address()).expect("a direct session")
}

/// One message of member 0 to member 1, sealed and on its way.
fn message_to_1(net: &mut Network, text: &[u8]) -> Datagram {
    let id = net.id(1);
    net.act(0, |node, now| node.send(now, id, text)).expect("a session");
    net.intercept().pop_back().expect("a datagram")
}

#[test]
fn a_session_follows_a_peer_to_its_new_address() {
    let mut net = converged(1, 3);
    let (id, old) = (net.id(0), net.members[0].address);
    let before: Vec<usize> = net.members.iter().map(|member| member.events.len()).collect();
    net.move_away(0);
    let new = net.members[0].address;
    net.run_for(Duration::from_secs(3));
    for other in [1, 2] {
        let news: Vec<_> =
            net.members[other].events[before[other]..].iter().map(|(_, e)| e.clone()).collect();
        assert_eq!(news, [NodeEvent::Roamed { peer: id, from: old, to: new }], "and no word of illness");
        assert_eq!(known_address(&net, other, 0), new);
        net.act(other, |node, now| node.send(now, id, b"found")).expect("a session");
    }
    net.run_for(Duration::from_millis(10));
    assert_eq!(net.messages(0).len(), 2);
}

#[test]
fn only_the_newest_packet_moves_a_session() {
    let mut net = converged(1, 2);
    let address = net.members[0].address;
    let older = message_to_1(&mut net, b"older");
    let newer = message_to_1(&mut net, b"newer");
    net.inject(&newer);
    net.inject(&Datagram { from: ELSEWHERE.into(), ..older });
    assert_eq!(net.messages(1).len(), 2, "both are genuine");
    assert_eq!(known_address(&net, 1, 0), address);
}

#[test]
fn nothing_that_is_not_authentic_and_new_moves_a_session() {
    let mut net = converged(1, 2);
    let address = net.members[0].address;
    let genuine = message_to_1(&mut net, b"genuine");
    for byte in 0..genuine.bytes.len() {
        let mut forged = Datagram { from: ELSEWHERE.into(), ..genuine.clone() };
        forged.bytes[byte] ^= 1;
        net.inject(&forged);
    }
    net.inject(&genuine);
    let before = rejected(&net, 1);
    net.inject(&Datagram { from: ELSEWHERE.into(), ..genuine });
    assert_eq!(rejected(&net, 1) - before, 1);
    assert_eq!(known_address(&net, 1, 0), address);
}

#[test]
fn a_replaced_session_does_not_move_its_successor() {
    let mut net = converged(1, 2);
    let late = message_to_1(&mut net, b"late");
    net.dial(0, 1);
    net.run_for(Duration::from_secs(1));
    let address = net.members[0].address;
    net.inject(&Datagram { from: ELSEWHERE.into(), ..late });
    assert_eq!(net.messages(1), [(net.id(0), b"late".to_vec())]);
    assert_eq!(known_address(&net, 1, 0), address);
}

#[test]
fn whoever_copies_a_packet_moves_a_session_for_a_moment_only() {
    let mut net = converged(1, 2);
    let address = net.members[0].address;
    let packet = message_to_1(&mut net, b"copied");
    net.inject(&Datagram { from: ELSEWHERE.into(), ..packet.clone() });
    net.inject(&packet);
    assert_eq!(known_address(&net, 1, 0), ELSEWHERE.into());
    net.run_until(Duration::from_secs(1), |net| known_address(net, 1, 0) == address)
        .expect("the next genuine packet moves it back");
    let unwell = net.members.iter().flat_map(|member| &member.events);
    assert!(!unwell.into_iter().any(|(_, event)| matches!(event, NodeEvent::Health { .. })));
}

#[test]
fn a_renewal_finds_a_peer_that_has_moved() {
    let mut net = super::converged_with(1, 2, &{
        let mut config = config();
        config.rekey.interval = Duration::from_secs(15);
        config
    });
    for _ in 0..4 {
        for number in [0, 1] {
            net.move_away(number);
            net.run_for(Duration::from_secs(8));
        }
    }
    for (number, other) in [(0, 1), (1, 0)] {
        let peer =
            net.members[number].node.iter().flat_map(meshground_node::Node::peers).next().expect("a peer");
        assert!(peer.rekeys >= 3, "{} renewals in 64 s", peer.rekeys);
        assert_eq!(peer.path.address(), Some(net.members[other].address));
        let down =
            |event: &NodeEvent| matches!(event, NodeEvent::SessionDown { reason: SessionEnd::Forgotten, .. });
        assert!(!net.members[number].told().any(down));
    }
}

/// Someone on the way delivers copies of each message of a handshake first, from another address.
#[test]
fn a_handshake_survives_copies_that_come_first_from_elsewhere() {
    for kind in [1, 3] {
        let mut net = Network::new(1, Faults::NONE);
        let (a, b) = (net.add(config()), net.add(config()));
        net.dial(a, b);
        for _ in 0..3 {
            let message = net.intercept().into_iter().find(|d| d.to != ELSEWHERE.into()).expect("it goes on");
            if message.bytes[0] == kind {
                net.inject(&Datagram { from: ELSEWHERE.into(), ..message.clone() });
                assert!(net.intercept().iter().all(|answer| answer.to == ELSEWHERE.into()));
            }
            net.inject(&message);
        }
        net.run_until(Duration::from_millis(10), Network::is_converged)
            .unwrap_or_else(|| panic!("message {kind}: the real one still counts"));
        assert_eq!(known_address(&net, b, a), net.members[a].address);
    }
}

#[test]
fn copies_of_an_initiation_get_few_answers_wherever_they_come_from() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(config()), net.add(config()));
    net.dial(a, b);
    let initiation = net.intercept().pop_front().expect("message 1");
    let mut answers = 0;
    for port in 1..1_000 {
        net.inject(&Datagram { from: ([127, 0, 0, 1], port).into(), ..initiation.clone() });
        answers += net.intercept().len();
    }
    assert_eq!(answers, 17, "one, and sixteen again");
    net.run_until(PATIENCE, Network::is_converged).expect("a fresh attempt gets through");
}

#[test]
fn a_confirmation_sent_again_from_a_new_address_is_answered_there() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(config()), net.add(config()));
    net.filter = Some(Filter::new(|datagram| datagram.bytes[0] != 4));
    net.dial(a, b);
    net.run_for(Duration::from_millis(50));
    assert_eq!((net.verdict(a, b), net.verdict(b, a).is_some()), (None, true), "no ping has arrived");
    net.move_away(a);
    net.filter = None;
    net.run_until(Duration::from_millis(500), Network::is_converged).expect("message 3 found its answer");
    assert_eq!(known_address(&net, b, a), net.members[a].address);
}
