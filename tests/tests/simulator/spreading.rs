//! What everyone says reaches everyone, whatever the network does and whoever is linked with whom.

use std::{sync::Mutex, time::Duration};

use meshground_node::{
    Capabilities, Filter, Node, NodeEvent, NodeId, PlacementError, PlacementReason, PlacementStrategy, Topic,
};
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{PATIENCE, config, seeds};

/// Comparisons whose answers are lost several times in a row are repeated after up to 30 s.
const PERSISTENCE: Duration = Duration::from_mins(2);

fn node(net: &Network, number: usize) -> &Node {
    net.members[number].node.as_ref().expect("running")
}

fn announce(net: &mut Network, number: usize, tag: &str) {
    let capabilities = Capabilities::new().with_tag(tag).expect("a short tag");
    net.act(number, |node, now| node.announce(now, capabilities));
}

/// `n` members that announce their own numbers, linked as `links` says.
pub(crate) fn linked(net: &mut Network, n: usize, links: impl IntoIterator<Item = (usize, usize)>) {
    let first = net.members.len();
    for number in first..first + n {
        net.add(config());
        announce(net, number, &number.to_string());
    }
    for (a, b) in links {
        net.dial(a, b);
    }
}

/// Whether every running member knows what every running member announces, and nothing else.
pub(crate) fn everyone_knows_everyone(net: &Network) -> bool {
    let mut running: Vec<NodeId> = (0..net.members.len())
        .filter(|number| net.members[*number].node.is_some())
        .map(|number| net.id(number))
        .collect();
    running.sort_unstable();
    net.members
        .iter()
        .filter_map(|member| member.node.as_ref())
        .all(|node| node.capabilities().iter().map(|(id, _)| id).eq(running.iter().copied()))
}

/// Whether every running member has a route to every other.
pub(crate) fn everyone_reaches_everyone(net: &mut Network) -> bool {
    let running = net.members.iter().filter(|member| member.node.is_some()).count();
    net.members
        .iter_mut()
        .filter_map(|member| member.node.as_mut())
        .all(|node| node.routes().count() == running - 1)
}

fn record_bytes(net: &Network, number: usize) -> u64 {
    node(net, number).peers().map(|peer| peer.traffic.bytes_out).sum()
}

#[test]
fn at_heavy_loss_everyone_hears_of_everyone_also_who_comes_late() {
    for seed in seeds(10) {
        let faults = Faults { loss: 0.3, jitter: Duration::from_millis(20), ..Faults::NONE };
        let mut net = Network::new(seed, faults);
        let line = (0..7).map(|at| (at, at + 1));
        linked(&mut net, 8, line);
        net.run_until(PERSISTENCE, everyone_knows_everyone).unwrap_or_else(|| panic!("seed {seed}: a line"));
        linked(&mut net, 1, [(8, 3)]);
        net.run_until(PERSISTENCE, everyone_knows_everyone)
            .unwrap_or_else(|| panic!("seed {seed}: a late one"));
        announce(&mut net, 8, "changed");
        let changed = |net: &Network| {
            let id = net.id(8);
            (0..9).all(|at| node(net, at).capabilities().get(id).is_some_and(|it| it.has_tag("changed")))
        };
        net.run_until(PERSISTENCE, changed).unwrap_or_else(|| panic!("seed {seed}: a change"));
    }
}

#[test]
fn over_a_good_network_a_line_knows_itself_within_two_seconds_and_a_change_goes_straight_through() {
    let mut net = Network::new(1, Faults::NONE);
    linked(&mut net, 8, (0..7).map(|at| (at, at + 1)));
    net.run_until(Duration::from_secs(2), everyone_knows_everyone).expect("at once");
    net.run_for(Duration::from_secs(2));
    assert!(everyone_reaches_everyone(&mut net));
    announce(&mut net, 0, "changed");
    let id = net.id(0);
    let changed = |net: &Network| node(net, 7).capabilities().get(id).is_some_and(|it| it.has_tag("changed"));
    let took = net.run_until(Duration::from_secs(1), changed).expect("it arrives");
    assert!(took <= Duration::from_millis(10), "seven hops of a millisecond took {took:?}");
}

#[test]
fn a_node_that_crashes_or_leaves_is_no_candidate_and_one_that_comes_back_is() {
    let mut net = Network::new(1, Faults::NONE);
    linked(&mut net, 4, [(0, 1), (1, 2), (2, 3)]);
    net.run_until(PATIENCE, everyone_knows_everyone).expect("a line of four");
    net.run_for(Duration::from_secs(3));
    let place = |net: &mut Network, tag: usize| {
        let filter = Filter::any().with_tag(tag.to_string());
        net.act(0, |node, _| node.place(&filter, PlacementStrategy::LocalFirst, |_| 0))
    };
    assert_eq!(place(&mut net, 0).map(|it| it.reason), Ok(PlacementReason::LocalPreferred));
    let placed = place(&mut net, 3).expect("it is there");
    assert_eq!((placed.node, placed.reason), (net.id(3), PlacementReason::OnlyCandidate));
    // It vanishes: its neighbour notices and says so.
    net.crash(3);
    net.run_for(Duration::from_secs(2));
    assert_eq!(place(&mut net, 3), Err(PlacementError::NoCandidate));
    assert!(node(&net, 0).capabilities().get(net.id(3)).is_some(), "it may come back");
    // It comes back under the same name and says something else.
    net.restart(3);
    announce(&mut net, 3, "reborn");
    net.dial(2, 3);
    net.run_for(Duration::from_secs(2));
    let id = net.id(3);
    assert!(node(&net, 0).capabilities().get(id).is_some_and(|it| it.has_tag("reborn")));
    // It leaves: also those it has no session with forget it at once.
    net.act(3, Node::leave);
    net.crash(3);
    net.run_for(Duration::from_millis(100));
    assert!(everyone_knows_everyone(&net));
    let told = net.members[0].told().filter(|event| **event == NodeEvent::CapabilitiesExpired { node: id });
    assert_eq!(told.count(), 1);
    net.run_for(Duration::from_mins(6));
    assert!(everyone_knows_everyone(&net), "and it does not come back");
}

#[test]
fn in_a_full_mesh_what_is_said_costs_next_to_nothing() {
    let n = 12;
    let mut net = Network::new(1, Faults::NONE);
    linked(&mut net, n, (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))));
    net.run_until(PATIENCE, everyone_knows_everyone).expect("a full mesh");
    net.run_for(Duration::from_secs(10));
    assert!(everyone_reaches_everyone(&mut net));
    let before: u64 = (0..n).map(|at| record_bytes(&net, at)).sum();
    let minute = Duration::from_mins(1);
    net.run_for(minute);
    let spent: u64 = (0..n).map(|at| record_bytes(&net, at)).sum::<u64>() - before;
    let per_session = spent / (n * (n - 1) / 2) as u64 / 60;
    assert!(per_session < 900, "{per_session} bytes a second and session, heartbeats included");
}

#[test]
fn in_a_busy_mesh_whoever_comes_back_soon_knows_and_is_known_while_others_are_down() {
    let (n, longest) = (16, Mutex::new((Duration::ZERO, 0)));
    each_seed(40, |seed| {
        let mut net = Network::new(seed, Faults { loss: 0.05, ..Faults::NONE });
        linked(&mut net, n, (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))));
        net.run_until(PATIENCE, everyone_knows_everyone).expect("a full mesh");
        net.run_for(Duration::from_secs(2));
        // Where all else is alike, those with the lowest ids come first in everything.
        let mut down: Vec<usize> = (0..n).collect();
        down.sort_by_key(|number| net.id(*number));
        if seed % 4 == 0 {
            down.reverse();
        }
        down.truncate(2 + usize::try_from(seed % 3).expect("small"));
        for number in &down {
            net.crash(*number);
        }
        let away = [500, 3_000, 10_000][usize::try_from(seed / 3 % 3).expect("small")];
        let back = down.pop().expect("some are");
        talk_for(&mut net, Duration::from_millis(away), |_| false);
        net.restart(back);
        announce(&mut net, back, "reborn");
        for other in (0..n).filter(|other| *other != back && !down.contains(other)) {
            net.dial(back, other);
        }
        let id = net.id(back);
        let up = || (0..n).filter(|number| !down.contains(number));
        let is_acquainted = |net: &Network| {
            let knows = |at: usize, of: usize| node(net, at).capabilities().get(net.id(of)).is_some();
            let knows_it =
                |at: usize| node(net, at).capabilities().get(id).is_some_and(|it| it.has_tag("reborn"));
            up().all(|other| knows(back, other) && knows_it(other))
        };
        let took = talk_for(&mut net, Duration::from_mins(1), is_acquainted);
        let mut longest = longest.lock().unwrap();
        *longest = (*longest).max((took, seed));
        println!("seed {seed}: {took:?}");
    });
    let (took, seed) = longest.into_inner().unwrap();
    println!("longest: {took:?} of virtual time (seed {seed})");
    assert!(took <= Duration::from_secs(5), "seed {seed} took {took:?}");
}

/// Lets time pass, while everybody has something to say again and again, as where daemons move all the time, until `done`
/// holds; how long that took.
fn talk_for(net: &mut Network, limit: Duration, done: impl Fn(&Network) -> bool) -> Duration {
    let mut took = Duration::ZERO;
    while took < limit && !done(net) {
        let pause = Duration::from_millis(net.below(100));
        net.run_for(pause);
        took += pause;
        let number = usize::try_from(net.below(net.members.len() as u64)).expect("small");
        let body = net.below(u64::MAX).to_le_bytes().to_vec();
        if net.members[number].node.is_some() {
            net.act(number, |node, now| node.say(now, Topic::Inventory, body)).expect("it is short");
        }
    }
    took
}
