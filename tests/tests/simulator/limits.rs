//! Limits of time that nobody would choose: refused, or kept to.

use std::time::Duration;

use meshground_node::ConfigError;
use meshground_tests::sim::{Faults, Network};

use super::config;

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
