//! Someone on the wire, or inside the mesh, who means harm; and bad luck that looks like it.

use std::time::Duration;

use meshground_node::{Health, Node, NodeConfig, NodeEvent, RejectReason};
use meshground_tests::sim::{Datagram, Faults, Network, seeds};

use super::{PATIENCE, at_message_3, config, converged, rejected};

fn dial_ends(net: &Network, number: usize) -> Vec<&NodeEvent> {
    net.members[number]
        .told()
        .filter(|event| matches!(event, NodeEvent::Dialed { .. } | NodeEvent::DialFailed { .. }))
        .collect()
}

/// A farewell of an earlier life, sent over a session that had just been replaced, must
/// not end the session with the next life.
#[test]
fn a_leave_of_an_earlier_life_does_not_end_the_session_with_the_next() {
    let mut net = converged(1, 2);
    // Member 0 dials again, but nothing comes back: only the other end installs the session.
    let (own, other) = (net.members[0].address, net.members[1].address);
    net.dial(0, 1);
    let initiation = net.intercept().pop_front().expect("message 1");
    net.inject(&initiation);
    let response = net.intercept().pop_front().expect("message 2");
    net.inject(&response);
    let confirm = net.intercept().pop_front().expect("message 3");
    net.inject(&confirm);
    net.intercept();
    net.act(0, Node::leave);
    let farewell = net.intercept().pop_front().expect("a leave");
    assert_eq!((farewell.from, farewell.to), (own, other));
    net.crash(0);
    net.restart(0);
    net.dial(0, 1);
    net.run_until(Duration::from_secs(1), Network::is_converged).expect("it is back");
    net.inject(&farewell);
    assert_eq!(net.verdict(1, 0), Some(Health::Healthy), "an old farewell ended a new session");
}

/// The dialing end never learns that its message 3 arrived, and gives up; the other end
/// has replaced the session the two had.
#[test]
fn a_dial_that_fails_halfway_does_not_cost_the_session_there_was() {
    let mut net = Network::new(1, Faults::NONE);
    let mut default = config();
    default.handshake.budget = Duration::from_secs(5);
    let (a, b) = (net.add(default.clone()), net.add(default));
    net.dial(a, b);
    net.run_for(Duration::from_secs(20));
    assert!(net.is_converged());
    net.dial(a, b);
    net.run_for(Duration::from_micros(2_500));
    let cut = (net.members[b].address, net.members[a].address);
    net.cuts.push(cut);
    net.intercept().iter().for_each(|datagram| net.inject(datagram));
    net.run_for(Duration::from_secs(20));
    assert!(matches!(dial_ends(&net, a)[..], [NodeEvent::Dialed { .. }, NodeEvent::DialFailed { .. }]));
    net.cuts.clear();
    net.run_until(Duration::from_secs(3), Network::is_converged).expect("a mended cut heals");
    net.run_for(Duration::from_secs(15));
    assert!(net.is_converged());
    let sessions = net.sessions();
    assert_eq!(sessions[0], sessions[1]);
}

#[test]
fn a_replayed_initiation_does_not_hold_up_a_dial() {
    let seeds = seeds(8);
    let mut replayed = 0;
    for seed in &seeds {
        let mut net = converged(*seed, 2);
        let (a, b) = (net.members[0].address, net.members[1].address);
        let Some(recorded) = net.tap.take().into_iter().flatten().find(|d| d.bytes[0] == 1 && d.to == a)
        else {
            continue;
        };
        replayed += 1;
        assert_eq!(recorded.from, b);
        net.crash(1);
        net.run_for(Duration::from_secs(1));
        net.tap = Some(Vec::new());
        net.dial(0, 1);
        for _ in 0..40 {
            net.inject(&recorded);
            net.run_for(Duration::from_millis(100));
        }
        let tap = net.tap.take().expect("tapped");
        let sent = tap.iter().filter(|d| d.from == a && d.bytes[0] == 1).count();
        assert_eq!(sent, 5, "seed {seed}: at 0, 200, 600, 1,400 and 3,000 ms");
    }
    // Of one seed alone it may be the other that dials.
    assert!(replayed > 0 || seeds.len() == 1, "in none of them the second dialled the first");
}

#[test]
fn a_forged_confirmation_of_a_session_is_not_answered() {
    let (mut net, [_, b], confirm) = at_message_3();
    net.inject(&confirm);
    assert_eq!(net.intercept().len(), 1, "a ping");
    net.inject(&confirm);
    assert_eq!(net.intercept().len(), 1, "the ping was lost: another");
    let before = rejected(&net, b);
    for byte in 8..confirm.bytes.len() {
        let mut forged = confirm.clone();
        forged.bytes[byte] ^= 1;
        net.inject(&forged);
        assert!(net.intercept().is_empty(), "byte {byte}: it was answered");
    }
    assert_eq!(rejected(&net, b) - before, confirm.bytes.len() as u64 - 8);
    net.inject(&confirm);
    net.run_until(PATIENCE, Network::is_converged).expect("the real one still counts");
}

#[test]
fn a_confirmation_from_elsewhere_does_not_lead_the_session_astray() {
    let (mut net, _, confirm) = at_message_3();
    net.inject(&Datagram { from: ([127, 0, 0, 1], 9).into(), ..confirm.clone() });
    net.inject(&confirm);
    net.run_until(Duration::from_millis(10), Network::is_converged).expect("the real one still counts");
}

#[test]
fn dials_that_waited_too_long_fail_without_a_datagram() {
    let mut net = Network::new(1, Faults::NONE);
    let mut narrow = NodeConfig::new(super::PSK);
    narrow.handshake.max_dials = 1;
    let (a, b) = (net.add(narrow.clone()), net.add(narrow));
    net.crash(b);
    net.tap = Some(Vec::new());
    for _ in 0..50 {
        net.dial(a, b);
    }
    net.run_for(Duration::from_secs(5));
    assert_eq!(dial_ends(&net, a).len(), 50, "all within the budget");
    assert!(net.tap.take().expect("tapped").len() < 20, "the few that had a turn");
}

#[test]
fn a_node_whose_own_messages_come_back_at_it_still_reaches_whom_it_dials() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(config()), net.add(config()));
    let (own, other) = (net.members[a].address, net.members[b].address);
    net.dial(a, b);
    let initiation = net.intercept().pop_front().expect("message 1");
    // Someone sends everything back, as if it came from the other end.
    let mut echo = vec![initiation.clone()];
    for _ in 0..4 {
        for datagram in std::mem::take(&mut echo) {
            net.inject(&Datagram { from: other, to: own, bytes: datagram.bytes });
            echo.extend(net.intercept());
        }
    }
    net.inject(&initiation);
    net.run_until(PATIENCE, Network::is_converged).expect("nothing was lost");
    assert!(matches!(dial_ends(&net, a)[..], [NodeEvent::Dialed { .. }]), "{:?}", net.members[a].events);
}

/// One end's clock is behind, and its dial has waited so long that the other finds it stale.
#[test]
fn a_dial_that_the_other_end_will_not_take_does_not_stand_in_its_way() {
    for seed in seeds(16) {
        let mut net = Network::new(seed, Faults::NONE);
        let (behind, right) = (net.add(config()), net.add(config()));
        net.members[right].skew_us = 9_500_000;
        net.dial(behind, right);
        net.intercept();
        for _ in 0..10 {
            net.run_for(Duration::from_millis(100));
            net.intercept();
        }
        net.dial(right, behind);
        net.run_until(Duration::from_secs(2), Network::is_converged)
            .unwrap_or_else(|| panic!("seed {seed}: one dial stood in the other's way"));
    }
}

#[test]
fn a_driver_that_is_always_late_sees_a_crash_all_the_same() {
    let mut net = converged(1, 12);
    net.crash(11);
    // Member 0 runs for a moment every 250 ms.
    for _ in 0..10 {
        net.freeze(0);
        net.run_for(Duration::from_millis(250));
        net.thaw(0);
        net.run_for(Duration::from_millis(2));
    }
    assert_eq!(net.verdict(0, 11), Some(Health::Unreachable), "a crash stays hidden");
    for alive in 1..11 {
        assert_eq!(net.verdict(0, alive), Some(Health::Healthy));
    }
}

#[test]
fn a_dial_whose_other_half_is_lost_begins_anew_within_its_budget() {
    let mut net = Network::new(1, Faults::NONE);
    let default_budget = NodeConfig::new(super::PSK);
    let (a, b) = (net.add(default_budget.clone()), net.add(default_budget));
    net.dial(a, b);
    for _ in 0..2 {
        let message = net.intercept().pop_front().expect("the handshake goes on");
        net.inject(&message);
    }
    assert_eq!(net.intercept().len(), 1, "message 3 is lost");
    net.crash(b);
    net.restart_in_place(b);
    net.run_for(Duration::from_secs(5));
    assert!(net.is_converged());
    assert!(matches!(dial_ends(&net, a)[..], [NodeEvent::Dialed { .. }]), "{:?}", dial_ends(&net, a));
}

#[test]
fn a_stranger_without_the_key_is_never_answered() {
    let mut net = Network::new(1, Faults::NONE);
    net.tap = Some(Vec::new());
    let home = net.add(config());
    let mut other_psk = config();
    other_psk.psk[0] ^= 1;
    let stranger = net.add(other_psk);
    net.dial(stranger, home);
    net.run_for(Duration::from_secs(40));
    let (from_home, home_address) = (net.tap.take().expect("tapped"), net.members[home].address);
    assert!(from_home.iter().all(|datagram| datagram.from != home_address), "it was answered");
    assert!(net.members[home].node.as_ref().expect("running").rejected(RejectReason::PskMismatch) >= 3);
    assert_eq!((net.verdict(home, stranger), net.verdict(stranger, home)), (None, None));
    assert!(
        net.members[stranger].events.iter().any(|(_, e)| matches!(e, NodeEvent::DialFailed { .. })),
        "the dial ends in an error"
    );
}

/// What a node tells of its peers, for comparing before and after.
fn state(net: &Network, number: usize) -> Vec<(meshground_node::NodeId, meshground_node::Path, Health)> {
    let node = net.members[number].node.as_ref().expect("running");
    node.peers().map(|peer| (peer.id, peer.path, peer.health)).collect()
}

fn news(net: &Network) -> usize {
    net.members
        .iter()
        .flat_map(|member| &member.events)
        .filter(|(_, event)| !matches!(event, NodeEvent::Rejected { .. }))
        .count()
}

#[test]
fn every_datagram_replayed_is_rejected_and_changes_nothing() {
    let mut net = converged(1, 3);
    let id = net.id(1);
    net.act(0, |node, now| node.send(now, id, b"once")).expect("a session");
    net.run_for(Duration::from_secs(1));
    let tap = net.tap.clone().expect("tapped");
    let before: Vec<_> = (0..3).map(|n| state(&net, n)).collect();
    let (count, rejected_before) = (news(&net), (0..3).map(|n| rejected(&net, n)).sum::<u64>());
    for datagram in &tap {
        net.inject(datagram);
    }
    let after: Vec<_> = (0..3).map(|n| state(&net, n)).collect();
    assert_eq!(before, after);
    assert_eq!(news(&net), count, "a replay brought an event");
    let rejections = (0..3).map(|n| rejected(&net, n)).sum::<u64>() - rejected_before;
    assert_eq!(rejections, tap.len() as u64);
    assert!(net.intercept().is_empty(), "a replay was answered");
}

#[test]
fn every_datagram_with_any_bit_changed_is_rejected_and_changes_nothing() {
    let mut net = converged(1, 2);
    let address = net.members[1].address;
    let id = net.id(1);
    net.intercept();
    net.act(0, |node, now| node.send(now, id, b"sealed")).expect("a session");
    let original = net.intercept().pop_front().expect("one datagram");
    assert_eq!(original.to, address);
    let (before, count, rejections) = (state(&net, 1), news(&net), rejected(&net, 1));
    let mut altered = 0;
    for bit in 0..original.bytes.len() * 8 {
        let mut copy = original.clone();
        copy.bytes[bit / 8] ^= 1 << (bit % 8);
        net.inject(&copy);
        altered += 1;
    }
    for len in 0..original.bytes.len() {
        let mut copy = original.clone();
        copy.bytes.truncate(len);
        net.inject(&copy);
        altered += 1;
    }
    assert_eq!((state(&net, 1), news(&net)), (before, count));
    assert_eq!(rejected(&net, 1) - rejections, altered);
    net.inject(&original);
    assert_eq!(net.messages(1), [(net.id(0), b"sealed".to_vec())], "the original still counts");
}

#[test]
fn random_bytes_change_nothing() {
    let mut net = converged(1, 2);
    let (from, to) = (net.members[0].address, net.members[1].address);
    let (before, count, rejections) = (state(&net, 1), news(&net), rejected(&net, 1));
    for round in 0..20_000 {
        let len = net.below(300);
        let mut bytes: Vec<u8> = (0..len).map(|_| net.below(256).to_le_bytes()[0]).collect();
        if let Some(first) = bytes.first_mut() {
            // Half of them look like a known type at first sight.
            *first = if round % 2 == 0 { *first % 6 } else { *first };
        }
        net.inject(&meshground_tests::sim::Datagram { from, to, bytes });
    }
    assert_eq!((state(&net, 1), news(&net)), (before, count));
    assert_eq!(rejected(&net, 1) - rejections, 20_000);
}

#[test]
fn an_initiation_recorded_long_ago_is_stale() {
    let mut net = converged(1, 2);
    let first = net.tap.clone().expect("tapped")[0].clone();
    net.run_for(Duration::from_mins(1));
    let receiver = usize::from(net.members[1].address == first.to);
    // A later life of the receiver has not seen it, and still does not fall for it.
    net.crash(receiver);
    let mut replay = first.clone();
    net.restart(receiver);
    replay.to = net.members[receiver].address;
    net.inject(&replay);
    let node = net.members[receiver].node.as_ref().expect("running");
    assert_eq!(node.rejected(RejectReason::StaleInitiation), 1);
    assert!(net.intercept().is_empty(), "a stale initiation was answered");
}

#[test]
fn a_handshake_survives_a_forged_copy_of_each_of_its_messages() {
    // Every message, with any single byte changed, comes in just before the real one.
    for step in 0..3 {
        for byte in 0..300 {
            let mut net = Network::new(byte, Faults::NONE);
            let (a, b) = (net.add(config()), net.add(config()));
            net.dial(a, b);
            for at in 0..3 {
                let real = net.intercept().pop_front().expect("the handshake goes on");
                let byte = usize::try_from(byte).expect("small");
                if at == step && byte < real.bytes.len() {
                    let mut forged = real.clone();
                    forged.bytes[byte] ^= 1;
                    net.inject(&forged);
                    assert!(net.intercept().is_empty(), "message {step}, byte {byte}: it was answered");
                }
                net.inject(&real);
            }
            net.run_for(Duration::from_millis(50));
            assert!(net.is_converged(), "message {}, byte {byte}", step + 1);
        }
    }
}
