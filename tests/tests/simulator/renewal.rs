//! Keys are renewed while everything goes on.

use std::{collections::BTreeSet, time::Duration};

use meshground_node::{ConfigError, Health, Node, NodeConfig, NodeEvent, PeerView};
use meshground_tests::sim::{Faults, Filter, Network};

use super::{PSK, converged_with, seeds};

const INTERVAL: Duration = Duration::from_secs(20);

fn config() -> NodeConfig {
    let mut config = NodeConfig::new(PSK);
    config.rekey.interval = INTERVAL;
    config
}

fn view(net: &Network, from: usize, on: usize) -> PeerView {
    let id = net.id(on);
    net.members[from].node.iter().flat_map(Node::peers).find(|peer| peer.id == id).expect("a session")
}

fn news_since(net: &Network, number: usize, since: usize) -> Vec<NodeEvent> {
    let told = net.members[number].events[since..].iter().map(|(_, event)| event.clone());
    told.filter(|event| !matches!(event, NodeEvent::Rejected { .. })).collect()
}

/// Has both ends send numbered messages for `time`, and checks that each came in once and nothing else was told.
fn talk(net: &mut Network, time: Duration) {
    let before = [0, 1].map(|n| (net.messages(n).len(), net.members[n].events.len()));
    let step = Duration::from_millis(7);
    let rounds = u32::try_from(time.as_micros() / step.as_micros()).expect("minutes");
    for round in 0..rounds {
        for (from, to) in [(0, 1), (1, 0)] {
            let id = net.id(to);
            net.act(from, |node, now| node.send(now, id, &round.to_le_bytes()))
                .expect("the session lives on");
        }
        net.run_for(step);
    }
    net.run_for(net.faults.delay + Duration::from_millis(100));
    for number in [0, 1] {
        let (messages, events) = before[number];
        let got: BTreeSet<Vec<u8>> =
            net.messages(number).into_iter().skip(messages).map(|(_, payload)| payload).collect();
        assert_eq!(got.len(), rounds as usize, "every message came in, at {number}");
        assert_eq!(net.messages(number).len() - messages, rounds as usize, "and once");
        assert_eq!(news_since(net, number, events), [], "a renewal is no news");
    }
}

#[test]
fn keys_are_renewed_by_time_without_a_gap_or_any_news() {
    for seed in seeds(5) {
        let mut net = converged_with(seed, 2, &config());
        net.faults.jitter = Duration::from_millis(20);
        talk(&mut net, INTERVAL * 3);
        for (a, b) in [(0, 1), (1, 0)] {
            let rekeys = view(&net, a, b).rekeys;
            assert!((2..=4).contains(&rekeys), "seed {seed}: {rekeys} renewals in three intervals");
        }
    }
}

#[test]
fn keys_are_renewed_by_the_number_of_packets() {
    let mut by_count = config();
    by_count.rekey.interval = Duration::from_hours(1);
    by_count.rekey.packets = 1_000;
    let mut net = converged_with(1, 2, &by_count);
    talk(&mut net, Duration::from_mins(1));
    assert!(view(&net, 0, 1).rekeys >= 5, "{} renewals", view(&net, 0, 1).rekeys);
    assert_eq!(view(&net, 0, 1).rekeys, view(&net, 1, 0).rekeys);
}

#[test]
fn packet_counters_and_traffic_go_on_over_a_renewal() {
    let mut net = converged_with(3, 2, &config());
    net.tap = Some(Vec::new());
    let start = [(0, 1), (1, 0)].map(|(a, b)| view(&net, a, b).traffic.datagrams_out);
    talk(&mut net, INTERVAL * 3);
    let tap = net.tap.take().expect("tapped");
    for (from, to) in [(0, 1), (1, 0)] {
        assert!(view(&net, from, to).rekeys >= 2);
        let mut indexes = BTreeSet::new();
        let counters: Vec<u64> = tap
            .iter()
            .filter(|datagram| datagram.from == net.members[from].address && datagram.bytes[0] == 4)
            .map(|datagram| {
                indexes.insert(datagram.bytes[4..8].to_vec());
                u64::from_le_bytes(datagram.bytes[8..16].try_into().expect("eight bytes"))
            })
            .collect();
        assert!(indexes.len() >= 3, "several sessions carried them");
        let first = counters[0];
        let dense: Vec<u64> = (first..first + counters.len() as u64).collect();
        assert_eq!(counters, dense, "one number after the other, over all keys");
        let traffic = view(&net, from, to).traffic;
        assert_eq!(traffic.datagrams_out, start[from] + counters.len() as u64);
    }
}

#[test]
fn a_lossy_network_delays_a_renewal_and_costs_nothing_else() {
    for seed in seeds(10) {
        let mut net = converged_with(seed, 3, &config());
        let before: Vec<usize> = net.members.iter().map(|member| member.events.len()).collect();
        net.faults =
            Faults { loss: 0.3, duplication: 0.1, jitter: Duration::from_millis(30), ..Faults::NONE };
        net.run_for(INTERVAL * 6);
        net.faults = Faults::NONE;
        net.run_for(Duration::from_secs(15));
        for (number, since) in before.iter().enumerate() {
            // Pings may get lost one after another, and ways follow verdicts.
            let follows = |event: &NodeEvent| {
                matches!(event, NodeEvent::Health { .. } | NodeEvent::RouteChanged { .. })
            };
            let ups_and_downs = news_since(&net, number, *since).into_iter().filter(|event| !follows(event));
            assert_eq!(ups_and_downs.collect::<Vec<_>>(), [], "seed {seed}");
            for other in (0..3).filter(|other| *other != number) {
                assert_eq!(net.verdict(number, other), Some(Health::Healthy));
                let view = view(&net, number, other);
                assert!(view.rekeys >= 3 && view.path.is_direct(), "seed {seed}: {view:?}");
            }
        }
        let sessions = net.sessions();
        for pair in sessions.chunks(2) {
            assert_eq!(pair[0], pair[1], "seed {seed}: the two ends of a session disagree");
        }
    }
}

/// The initiator's first messages never arrive; renewals of the other end do.
#[test]
fn the_other_end_takes_over_when_the_initiators_renewal_is_overdue() {
    let mut net = converged_with(1, 2, &config());
    let initiator = usize::from(view(&net, 1, 0).role == meshground_node::Role::Initiator);
    let initiator_address = net.members[initiator].address;
    net.filter =
        Some(Filter::new(move |datagram| datagram.from != initiator_address || datagram.bytes[0] != 1));
    talk(&mut net, INTERVAL * 2);
    assert!(view(&net, 0, 1).rekeys >= 1);
    assert_eq!(view(&net, 1 - initiator, initiator).role, meshground_node::Role::Initiator);
}

/// First messages get lost until both ends have a renewal under way; then each end's is on its way before it hears of the
/// other's.
#[test]
fn renewals_of_both_ends_that_cross_are_no_news_and_make_no_gap() {
    let mut both_stood = 0;
    for seed in seeds(20) {
        let mut net = converged_with(seed, 2, &config());
        net.faults.delay = Duration::from_millis(400);
        net.run_for(INTERVAL / 2);
        net.filter = Some(Filter::new(|datagram| datagram.bytes[0] != 1));
        net.run_for(INTERVAL * 3 / 4 + Duration::from_secs(1));
        assert_eq!(view(&net, 0, 1).rekeys, 0, "seed {seed}");
        net.filter = None;
        talk(&mut net, Duration::from_secs(5));
        for (number, other) in [(0, 1), (1, 0)] {
            assert!(view(&net, number, other).rekeys >= 1, "seed {seed}");
        }
        both_stood += usize::from(view(&net, 0, 1).rekeys == 2);
    }
    assert!(both_stood > 0, "one was always too late to cross the other");
}

#[test]
fn a_renewal_that_fails_is_tried_again_and_the_session_lives_on() {
    let mut net = converged_with(1, 2, &config());
    net.tap = Some(Vec::new());
    net.filter = Some(Filter::new(|datagram| datagram.bytes[0] != 2));
    talk(&mut net, INTERVAL * 4);
    assert_eq!(view(&net, 0, 1).rekeys, 0);
    let tries = net.tap.take().into_iter().flatten().filter(|datagram| datagram.bytes[0] == 1).count();
    assert!((8..100).contains(&tries), "tried again, ever more seldom: {tries} initiations");
    net.filter = None;
    talk(&mut net, Duration::from_secs(40));
    assert!(view(&net, 0, 1).rekeys >= 1);
}

#[test]
fn a_renewal_takes_no_dials_room() {
    let mut narrow = config();
    narrow.handshake.max_dials = 1;
    let mut net = converged_with(1, 4, &narrow);
    net.filter = Some(Filter::new(|datagram| datagram.bytes[0] != 2));
    // Every renewal hangs now.
    net.run_for(INTERVAL + Duration::from_secs(1));
    net.filter = None;
    let late = net.add(narrow.clone());
    for number in 0..late {
        net.dial(number, late);
    }
    net.run_until(Duration::from_millis(100), Network::is_converged).expect("no dial had to wait");
}

#[test]
fn nobody_renews_keys_with_a_dead_peer() {
    let mut net = converged_with(1, 2, &config());
    net.crash(1);
    net.run_for(Duration::from_secs(2));
    net.tap = Some(Vec::new());
    net.run_for(INTERVAL * 3);
    assert!(net.tap.take().into_iter().flatten().all(|datagram| datagram.bytes[0] == 4), "pings only");
}

#[test]
fn a_replaced_sessions_packets_are_taken_for_ten_seconds() {
    let mut net = converged_with(1, 2, &config());
    let id = net.id(1);
    net.act(0, |node, now| node.send(now, id, b"late")).expect("a session");
    let late = net.intercept().into_iter().find(|datagram| datagram.bytes.len() > 30).expect("the message");
    net.act(0, |node, now| node.send(now, id, b"too late")).expect("a session");
    let too_late = net.intercept().into_iter().find(|d| d.bytes.len() > 30).expect("the message");
    net.run_until(INTERVAL * 2, |net| view(net, 1, 0).rekeys == 1).expect("a renewal");
    net.run_for(Duration::from_millis(9_900));
    net.inject(&late);
    assert_eq!(net.messages(1), [(net.id(0), b"late".to_vec())]);
    net.run_for(Duration::from_millis(200));
    net.inject(&too_late);
    assert_eq!(net.messages(1).len(), 1);
}

#[test]
fn figures_for_renewal_out_of_their_ranges_are_refused() {
    let with = |interval, packets| {
        let mut config = config();
        (config.rekey.interval, config.rekey.packets) = (interval, packets);
        config.validate()
    };
    let (least, most) = (Duration::from_secs(15), Duration::from_hours(24));
    let tick = Duration::from_nanos(1);
    for wrong in [with(least.saturating_sub(tick), 64), with(most + tick, 64), with(least, 63)] {
        assert_eq!(wrong, Err(ConfigError::Rekey));
    }
    assert_eq!((with(least, 64), with(most, u64::MAX)), (Ok(()), Ok(())));
}
