//! Strangers who send as much as they can.

use std::{net::SocketAddr, time::Duration};

use meshground_node::{Health, NodeEvent, RejectReason};
use meshground_tests::sim::{Datagram, Faults, Network};

use super::{PSK, config, converged, rejected};

const STRANGER: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

fn reason(net: &Network, number: usize, reason: RejectReason) -> u64 {
    net.members[number].node.as_ref().expect("running").rejected(reason)
}

/// A message 1 that does not authenticate.
fn junk_initiation(net: &mut Network, from: SocketAddr, to: usize) -> Datagram {
    let mut bytes: Vec<u8> = (0..64).map(|_| net.below(256).to_le_bytes()[0]).collect();
    bytes[..4].copy_from_slice(&[1, 1, 0, 0]);
    Datagram { from, to: net.members[to].address, bytes }
}

#[test]
fn a_stranger_without_the_key_is_soon_refused_at_a_glance() {
    let mut net = converged(1, 2);
    for _ in 0..10_000 {
        let junk = junk_initiation(&mut net, STRANGER.into(), 0);
        net.inject(&junk);
        net.run_for(Duration::from_micros(100));
    }
    let (tried, refused) =
        (reason(&net, 0, RejectReason::PskMismatch), reason(&net, 0, RejectReason::RateLimited));
    assert_eq!(tried + refused, 10_000);
    assert!((16..=17).contains(&tried), "a burst and one a second: {tried}");
}

#[test]
fn a_stranger_does_not_silence_the_honest_on_the_same_host() {
    let mut net = converged(1, 2);
    for port in 0..2_000 {
        for _ in 0..20 {
            let junk = junk_initiation(&mut net, ([127, 0, 0, 1], 20_000 + port).into(), 0);
            net.inject(&junk);
        }
    }
    let late = net.add(config());
    net.dial(late, 0);
    net.dial(late, 1);
    net.run_until(Duration::from_millis(100), Network::is_converged).expect("it never failed");
}

#[test]
fn whoever_forges_a_peers_address_does_not_keep_the_peer_from_a_new_handshake() {
    let mut net = converged(1, 2);
    let forged = net.members[1].address;
    for _ in 0..1_000 {
        let junk = junk_initiation(&mut net, forged, 0);
        net.inject(&junk);
    }
    assert_eq!(reason(&net, 0, RejectReason::RateLimited), 0);
    net.crash(1);
    net.restart_in_place(1);
    net.dial(1, 0);
    net.run_until(Duration::from_millis(100), Network::is_converged).expect("it is known there");
}

#[test]
fn an_address_that_is_being_dialed_is_listened_to_whatever_was_forged_there() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(config()), net.add(config()));
    let forged = net.members[b].address;
    for _ in 0..100 {
        let junk = junk_initiation(&mut net, forged, a);
        net.inject(&junk);
    }
    // Only what b begins can come of it: a's own first messages are lost.
    net.cuts.push((net.members[a].address, net.members[b].address));
    net.dial(a, b);
    net.intercept();
    net.cuts.clear();
    let before = reason(&net, a, RejectReason::RateLimited);
    net.dial(b, a);
    net.run_until(Duration::from_secs(2), Network::is_converged).expect("a listens to whom it dials");
    assert_eq!(reason(&net, a, RejectReason::RateLimited), before);
}

#[test]
fn a_stale_initiation_is_read_once_and_then_known() {
    let mut net = converged(1, 2);
    let recorded = net.tap.clone().expect("tapped").into_iter().find(|d| d.bytes[0] == 1).expect("message 1");
    let target = usize::from(net.members[1].address == recorded.to);
    net.run_for(Duration::from_mins(1));
    net.crash(target);
    net.restart_in_place(target);
    for port in 1..1_000 {
        net.inject(&Datagram { from: ([127, 0, 0, 1], port).into(), ..recorded.clone() });
    }
    assert_eq!(reason(&net, target, RejectReason::StaleInitiation), 999);
    assert!(net.intercept().iter().all(|answer| answer.bytes[0] != 2), "it was answered");
}

#[test]
fn sessions_stay_healthy_and_messages_pass_while_a_node_is_flooded() {
    let mut net = converged(1, 4);
    let target = net.members[0].address;
    let recorded: Vec<Datagram> = net.tap.take().into_iter().flatten().filter(|d| d.to == target).collect();
    let (before, events) =
        (rejected(&net, 0), net.members.iter().map(|m| m.events.len()).collect::<Vec<_>>());
    let round_trips = |net: &Network| {
        let sees = |member: &meshground_tests::sim::Member| {
            let peers = member.node.as_ref().expect("running").peers();
            peers.map(|peer| (peer.id, peer.rtt)).collect::<Vec<_>>()
        };
        net.members.iter().map(sees).collect::<Vec<_>>()
    };
    net.run_for(Duration::from_secs(2));
    let in_peace = round_trips(&net);
    let mut sent = 0;
    for round in 0..20_000_u32 {
        let from = if round % 5 == 0 { ([127, 0, 0, 9], 7).into() } else { STRANGER.into() };
        let junk = match round % 3 {
            0 => junk_initiation(&mut net, from, 0),
            1 => {
                let len = net.below(200);
                let bytes = (0..len).map(|_| net.below(256).to_le_bytes()[0]).collect();
                Datagram { from, to: target, bytes }
            }
            _ => {
                let at = usize::try_from(net.below(recorded.len() as u64)).expect("few");
                Datagram { from, to: target, bytes: recorded[at].bytes.clone() }
            }
        };
        net.inject(&junk);
        sent += 1;
        if round % 200 == 0 {
            assert_eq!(round_trips(&net), in_peace, "nobody waits for what strangers send");
            for other in 1..4 {
                let (id, home) = (net.id(other), net.id(0));
                net.act(0, |node, now| node.send(now, id, b"out")).expect("a session");
                net.act(other, |node, now| node.send(now, home, b"in")).expect("a session");
            }
        }
        net.run_for(Duration::from_micros(500));
    }
    net.run_for(Duration::from_millis(50));
    assert_eq!(rejected(&net, 0) - before, sent, "each is counted once");
    assert_eq!(net.messages(0).len(), 300);
    for (number, member) in net.members.iter().enumerate() {
        let ill = member.events[events[number]..]
            .iter()
            .any(|(_, event)| !matches!(event, NodeEvent::Writable { .. } | NodeEvent::Rejected { .. }));
        assert!(!ill, "something happened to member {number}");
        if number > 0 {
            assert_eq!(net.messages(number).len(), 100);
            assert_eq!(net.verdict(0, number), Some(Health::Healthy));
        }
    }
}

#[test]
fn a_member_with_another_key_is_told_apart_from_one_with_none() {
    let mut net = Network::new(1, Faults::NONE);
    let home = net.add(config());
    let mut other = config();
    other.psk = [!PSK[0]; 32];
    let stranger = net.add(other);
    net.dial(stranger, home);
    net.run_for(Duration::from_secs(5));
    assert!(reason(&net, home, RejectReason::PskMismatch) >= 3, "limits do not hide who cannot join");
    assert_eq!(reason(&net, home, RejectReason::RateLimited), 0);
}
