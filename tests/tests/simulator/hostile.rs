//! Someone on the wire, or inside the mesh, who means harm; and bad luck that looks like it.

use std::time::Duration;

use meshground_node::{ConfigError, Health, Node, NodeConfig, NodeEvent};
use meshground_tests::sim::{Datagram, Faults, Network, seeds};

use super::{PATIENCE, at_message_3, config, converged, rejected};

fn dial_ends(net: &Network, number: usize) -> Vec<&NodeEvent> {
    net.members[number]
        .told()
        .filter(|event| matches!(event, NodeEvent::Dialed { .. } | NodeEvent::DialFailed { .. }))
        .collect()
}

#[test]
fn limits_with_fractions_of_a_microsecond_do_not_hang_a_node() {
    let mut uneven = config();
    uneven.liveness.heartbeat = Duration::from_secs(1) / 3;
    uneven.liveness.suspect = Duration::from_secs(2) / 3;
    uneven.liveness.unreachable = Duration::from_secs(4) / 3;
    uneven.liveness.forget = Duration::from_secs(8) / 3;
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(uneven.clone()), net.add(uneven));
    net.dial(a, b);
    net.run_for(Duration::from_secs(1));
    net.crash(b);
    net.run_for(Duration::from_secs(4));
    assert_eq!(net.verdict(a, b), None, "forgotten");
}

#[test]
fn enormous_durations_do_not_overflow() {
    let mut patient = config();
    patient.handshake.budget = Duration::MAX;
    patient.handshake.retransmit = Duration::MAX;
    patient.liveness.heartbeat = Duration::MAX / 4;
    patient.liveness.suspect = Duration::MAX / 2 + Duration::from_secs(1);
    patient.liveness.unreachable = Duration::MAX / 2 + Duration::from_secs(2);
    patient.liveness.forget = Duration::MAX;
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(patient.clone()), net.add(patient));
    net.dial(a, b);
    net.dial(b, a);
    net.run_for(Duration::from_mins(1));
    assert!(net.is_converged());
}

#[test]
fn a_heartbeat_too_short_to_wait_for_is_refused() {
    let mut hasty = config();
    hasty.liveness.heartbeat = Duration::from_nanos(999_999);
    assert_eq!(hasty.validate(), Err(ConfigError::Liveness));
    hasty.liveness.heartbeat = Duration::from_millis(1);
    assert_eq!(hasty.validate(), Ok(()));
}

#[test]
fn limits_under_which_one_lost_packet_makes_a_peer_suspect_are_refused() {
    let mut close = config();
    close.liveness.heartbeat = close.liveness.suspect / 2 + Duration::from_nanos(1);
    assert_eq!(close.validate(), Err(ConfigError::Liveness));
    close.liveness.heartbeat = close.liveness.suspect / 2;
    assert_eq!(close.validate(), Ok(()));
    close.liveness.budget = 0;
    assert_eq!(close.validate(), Err(ConfigError::Liveness));
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
