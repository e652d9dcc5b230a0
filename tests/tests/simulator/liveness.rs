//! Verdicts under load, in big meshes, and where packets get through in one direction only.

use std::time::Duration;

use meshground_node::{Health, LivenessConfig, Node, NodeEvent};
use meshground_tests::sim::{Faults, Network, effort};

use super::{PATIENCE, converged, seeds};

fn one_way_news(net: &Network, number: usize) -> Vec<bool> {
    let news = net.members[number].told().filter_map(|event| match event {
        NodeEvent::OneWay { deaf, .. } => Some(*deaf),
        _ => None,
    });
    news.collect()
}

fn is_heard(net: &Network, number: usize) -> bool {
    net.members[number].node.iter().flat_map(Node::peers).all(|peer| peer.heard)
}

#[test]
fn a_one_way_partition_is_seen_for_what_it_is_at_both_ends() {
    for seed in seeds(10) {
        let mut net = converged(seed, 2);
        assert!(is_heard(&net, 0) && is_heard(&net, 1));
        let cut = (net.members[0].address, net.members[1].address);
        net.cuts.push(cut);
        net.run_until(Duration::from_secs(4), |net| !is_heard(net, 0))
            .expect("0 learns that 1 is deaf to it");
        assert_eq!(net.verdict(1, 0), Some(Health::Unreachable));
        assert_eq!(net.verdict(0, 1), Some(Health::Healthy), "it is heard, so it lives");
        assert!(is_heard(&net, 1));
        net.run_for(Duration::from_secs(10));
        net.cuts.clear();
        net.run_until(Duration::from_secs(2), |net| net.is_converged() && is_heard(net, 0))
            .expect("it heals");
        net.run_for(Duration::from_secs(5));
        assert_eq!(
            (one_way_news(&net, 0), one_way_news(&net, 1)),
            (vec![true, false], vec![]),
            "seed {seed}"
        );
    }
}

#[test]
fn a_node_that_stood_still_does_not_take_its_peers_for_deaf() {
    for seed in seeds(10) {
        let mut net = converged(seed, 3);
        net.freeze(0);
        net.run_for(Duration::from_secs(20));
        net.thaw(0);
        net.run_for(Duration::from_secs(5));
        assert!(net.is_converged());
        assert!((0..3).all(|number| one_way_news(&net, number).is_empty()), "seed {seed}");
    }
}

#[test]
fn a_cut_in_both_directions_is_no_one_way_partition() {
    let mut net = converged(1, 2);
    let (a, b) = (net.members[0].address, net.members[1].address);
    net.cuts = vec![(a, b), (b, a)];
    net.run_for(Duration::from_secs(20));
    net.cuts.clear();
    net.run_for(Duration::from_secs(5));
    assert!(net.is_converged() && one_way_news(&net, 0).is_empty() && one_way_news(&net, 1).is_empty());
}

#[test]
fn a_crash_among_sixty_four_is_seen_by_all_within_a_second_and_a_half() {
    let n = 64;
    let mut net = converged(1, n);
    // Until nobody goes by the slower pace of while there was much to dial any more.
    net.run_for(Duration::from_secs(5));
    stays_within_the_budget(&mut net, &LivenessConfig::default(), 3);
    net.crash(0);
    let took = net
        .run_until(PATIENCE, |net| (1..n).all(|other| net.verdict(other, 0) == Some(Health::Unreachable)))
        .expect("it is seen");
    assert!(took <= Duration::from_millis(1_500), "{took:?}");
    let blamed = |number: usize| {
        net.members[number]
            .told()
            .any(|event| matches!(event, NodeEvent::Health { peer, .. } if *peer != net.id(0)))
    };
    assert!(!(1..n).any(blamed), "nobody else was taken for dead");
}

/// Counts every datagram of a mesh that has nothing to say, of whatever kind.
fn stays_within_the_budget(net: &mut Network, config: &LivenessConfig, secs: u32) {
    net.tap = Some(Vec::new());
    net.run_for(Duration::from_secs(secs.into()));
    let sent = net.tap.take().expect("tapped").len();
    let budget = usize::try_from(config.budget * secs).expect("small");
    assert!(sent <= budget, "{sent} datagrams, and {budget} are the budget");
    assert!(sent > budget * 9 / 10, "{sent} datagrams: it is spent, not saved, of {budget}");
}

#[test]
fn a_big_mesh_stays_within_its_budget_of_heartbeats_and_keeps_the_rule_of_detection() {
    // Small figures stand for 64 and more nodes: the budget is that of a full mesh of 6.
    let mut config = super::config();
    config.liveness.budget = 6 * 5 * 10 / 3 * 5 / 4;
    let n = 12;
    let mut net = super::converged_with(1, n, &config);
    net.run_for(Duration::from_secs(5));
    stays_within_the_budget(&mut net, &config.liveness, 20);
    net.crash(0);
    let others = 1..n;
    let took = net
        .run_until(PATIENCE, |net| others.clone().all(|m| net.verdict(m, 0) == Some(Health::Unreachable)))
        .expect("it is seen");
    let stretched = config.liveness.for_peers(n - 1);
    assert!(stretched.heartbeat > LivenessConfig::default().heartbeat * 3);
    assert!(took <= stretched.heartbeat * 3 + Duration::from_millis(250), "{took:?}");
    // The smaller the mesh, the sooner: most of it leaves.
    for number in 5..n {
        net.act(number, Node::leave);
        net.crash(number);
    }
    net.run_for(Duration::from_secs(10));
    net.crash(1);
    let took = net
        .run_until(PATIENCE, |net| (2..5).all(|m| net.verdict(m, 1) == Some(Health::Unreachable)))
        .expect("it is seen");
    assert!(took <= Duration::from_millis(1_500), "{took:?}");
}

#[test]
fn at_rest_no_timer_goes_off_but_for_a_ping() {
    for n in [2, 6] {
        let mut net = converged(1, n);
        net.run_for(Duration::from_secs(5));
        net.tap = Some(Vec::new());
        let before = net.timeouts;
        net.run_for(Duration::from_secs(20));
        let (timeouts, sent) = (net.timeouts - before, net.tap.take().expect("tapped").len() as u64);
        // Two datagrams a ping, and one of two pings that cross is answered in vain.
        assert!(timeouts <= sent * 55 / 100, "{timeouts} timeouts, and {sent} datagrams");
    }
}

#[test]
fn bulk_data_does_not_starve_heartbeats() {
    let mut net = converged(1, 2);
    let before: Vec<usize> = net.members.iter().map(|member| member.events.len()).collect();
    // Longer than it takes to become Suspect, and more than the congestion window lets go at once.
    for _ in 0..100 {
        for (from, to) in [(0, 1), (1, 0)] {
            let id = net.id(to);
            for _ in 0..4 {
                // Where the queue is full, it is full.
                let _ = net.act(from, |node, now| node.send(now, id, &vec![7; 60_000]));
            }
        }
        net.run_for(Duration::from_millis(10));
    }
    for (number, member) in net.members.iter().enumerate() {
        let ill = |(_, event): &(_, NodeEvent)| {
            matches!(event, NodeEvent::Health { .. } | NodeEvent::OneWay { .. })
        };
        assert!(!member.events[before[number]..].iter().any(ill), "member {number}");
    }
}

#[test]
fn a_crash_right_after_a_big_mesh_has_come_up_is_seen_by_the_rule_of_detection_as_well() {
    // Small figures again: the interval is stretched to four times as long, and while there is much to dial four times more.
    let n = 12;
    let mut config = super::config();
    config.liveness.budget = 100;
    let stretched = config.liveness.for_peers(n - 1);
    for seed in seeds(5) {
        let mut net = super::converged_with(seed, n, &config);
        net.crash(0);
        let took = net
            .run_until(PATIENCE, |net| (1..n).all(|m| net.verdict(m, 0) == Some(Health::Unreachable)))
            .expect("it is seen");
        assert!(took <= stretched.heartbeat * 3 + Duration::from_millis(250), "seed {seed}: {took:?}");
    }
}

/// Runs until `done` holds and says how long that took, within a hundredth of a second: to look at so many nodes after
/// every step would take too long.
fn until(net: &mut Network, mut done: impl FnMut(&Network) -> bool) -> Duration {
    let pause = Duration::from_millis(10);
    let mut took = Duration::ZERO;
    while !done(net) {
        assert!(took < PATIENCE, "not within {PATIENCE:?}");
        net.run_for(pause);
        took += pause;
    }
    took
}

#[test]
fn a_crash_among_many_right_after_their_boot_is_seen_by_all_by_the_rule_of_detection_with_the_usual_figures()
{
    // At night as many as only a stretched interval keeps within the budget.
    let n = if effort() >= 25 { 128 } else { 32 };
    let pace = LivenessConfig::default().for_peers(n - 1);
    assert_eq!(pace.heartbeat > LivenessConfig::default().heartbeat, n > 64);
    let mut net = Network::new(1, Faults::NONE);
    for _ in 0..n {
        net.add(super::config());
    }
    net.dial_all();
    until(&mut net, Network::is_converged);
    net.crash(0);
    let took = until(&mut net, |net| (1..n).all(|other| net.verdict(other, 0) == Some(Health::Unreachable)));
    let rule = (pace.heartbeat * 3 + Duration::from_millis(250)).max(Duration::from_millis(1_500));
    assert!(took <= rule, "{took:?}, and {rule:?} is the rule");
}
