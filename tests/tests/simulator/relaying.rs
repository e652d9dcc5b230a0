//! Two nodes without a session talk over others, who pass on what they cannot read.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use meshground_node::{DialError, Health, Node, NodeEvent, NodeId, Path, RejectReason, Route, SessionEnd};
use meshground_tests::{
    bare::hash,
    sim::{Faults, Network},
};

use super::{
    PATIENCE,
    spreading::{everyone_reaches_everyone, linked},
};

const SECRET: &[u8] = b"what only the two ends may read, whoever passes it on";

fn node(net: &Network, number: usize) -> &Node {
    net.members[number].node.as_ref().expect("running")
}

fn node_mut(net: &mut Network, number: usize) -> &mut Node {
    net.members[number].node.as_mut().expect("running")
}

fn distance(net: &mut Network, from: usize, to: usize) -> Option<u16> {
    let id = net.id(to);
    node_mut(net, from).route(id).map(|route| route.distance)
}

fn path(net: &Network, from: usize, to: usize) -> Option<Path> {
    let id = net.id(to);
    node(net, from).peers().find(|peer| peer.id == id).map(|peer| peer.path)
}

fn settled(seed: u64, n: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Network {
    let mut net = Network::new(seed, Faults::NONE);
    linked(&mut net, n, links);
    let mut waited = 0;
    while !everyone_reaches_everyone(&mut net) {
        waited += 1;
        assert!(waited < 100, "there is a way from everyone to everyone within ten seconds");
        net.run_for(Duration::from_millis(100));
    }
    net.run_for(Duration::from_secs(1));
    net
}

fn line(n: usize) -> Network {
    settled(1, n, (0..n - 1).map(|at| (at, at + 1)))
}

fn ring(n: usize) -> Network {
    settled(1, n, (0..n).map(move |at| (at, (at + 1) % n)))
}

fn connect(net: &mut Network, from: usize, to: usize) {
    let target = net.id(to);
    let dial = net.act(from, |node, now| node.connect_relayed(now, target));
    let dialed = |net: &Network| {
        net.members[from].told().any(|event| *event == NodeEvent::Dialed { dial, peer: target })
    };
    net.run_until(PATIENCE, dialed).expect("the ends shake hands over the others");
    net.run_for(Duration::from_millis(100));
}

fn send(net: &mut Network, from: usize, to: usize, text: &[u8]) {
    let id = net.id(to);
    net.act(from, |node, now| node.send(now, id, text)).expect("a session");
}

fn cut(net: &mut Network, a: usize, b: usize) {
    let (a, b) = (net.members[a].address, net.members[b].address);
    net.cuts.extend([(a, b), (b, a)]);
}

/// How many datagrams of at least `len` bytes went over each link since the tap was last emptied.
fn hops(net: &mut Network, len: usize) -> BTreeMap<(SocketAddr, SocketAddr), usize> {
    let mut hops = BTreeMap::new();
    for datagram in net.tap.replace(Vec::new()).into_iter().flatten() {
        if datagram.bytes.len() >= len {
            *hops.entry((datagram.from, datagram.to)).or_insert(0) += 1;
        }
    }
    hops
}

#[test]
fn of_equally_short_ways_the_one_is_taken_that_the_protocol_says() {
    // Four in the middle, each linked with both of one side and all of the other.
    let (near, between, far) = (0..2, 2..6, 6..18);
    let links = between.flat_map(|hop| near.clone().chain(far.clone()).map(move |end| (end, hop)));
    let mut net = settled(1, 18, links.collect::<Vec<_>>());
    let preference = |target: NodeId, hop: NodeId| {
        let both = [target.0.to_le_bytes(), hop.0.to_le_bytes()].concat();
        let hash = hash(b"meshground route 1", &both).expect("a short key");
        u64::from_le_bytes(*hash.first_chunk().expect("32 bytes"))
    };
    let hops: Vec<NodeId> = (2..6).map(|hop| net.id(hop)).collect();
    for (from, to) in near.flat_map(|from| far.clone().map(move |to| (from, to))) {
        let target = net.id(to);
        let next_hop = hops.iter().copied().max_by_key(|hop| preference(target, *hop)).expect("four");
        let route = node_mut(&mut net, from).route(target);
        assert_eq!(route, Some(Route { target, next_hop, distance: 2 }), "from {from} to {to}");
    }
}

#[test]
fn the_ends_of_a_line_talk_over_those_in_between_who_see_nothing() {
    let mut net = line(8);
    assert_eq!(distance(&mut net, 0, 7), Some(7));
    connect(&mut net, 0, 7);
    assert_eq!(
        (path(&net, 0, 7), path(&net, 7, 0)),
        (Some(Path::Relayed(net.id(7))), Some(Path::Relayed(net.id(0))))
    );
    net.tap = Some(Vec::new());
    let long = SECRET.repeat(100);
    for (from, to) in [(0, 7), (7, 0)] {
        send(&mut net, from, to, SECRET);
        send(&mut net, from, to, &long);
    }
    net.run_for(Duration::from_secs(1));
    for (number, other) in [(0, 7), (7, 0)] {
        let id = net.id(other);
        assert_eq!(net.messages(number), [(id, SECRET.to_vec()), (id, long.clone())]);
        assert_eq!(net.verdict(number, other), Some(Health::Healthy));
    }
    for between in 1..7 {
        assert_eq!(net.messages(between), [], "nothing is for member {between}");
    }
    let tapped = net.tap.take().expect("tapped");
    assert!(tapped.len() > 7 * 10);
    assert!(!tapped.iter().any(|it| it.bytes.windows(16).any(|window| window == &SECRET[..16])));
    // Fourteen hops and no shortcut.
    let ends = [net.members[0].address, net.members[7].address];
    assert!(!tapped.iter().any(|it| ends.contains(&it.from) && ends.contains(&it.to)));
    let rtt = node(&net, 0).peers().find(|peer| peer.id == net.id(7)).and_then(|peer| peer.rtt);
    assert!(rtt.is_some_and(|rtt| rtt >= Duration::from_millis(14)), "{rtt:?}");
}

#[test]
fn round_a_ring_a_cut_link_is_gone_about_and_taken_again_when_it_heals() {
    let mut net = ring(16);
    assert_eq!(distance(&mut net, 0, 3), Some(3));
    connect(&mut net, 0, 3);
    cut(&mut net, 1, 2);
    net.run_for(Duration::from_secs(3));
    assert_eq!(distance(&mut net, 0, 3), Some(13), "the other way round");
    assert_eq!(distance(&mut net, 1, 2), Some(15), "an Unreachable peer is no link");
    send(&mut net, 0, 3, b"the long way");
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.verdict(0, 3), Some(Health::Healthy));
    net.cuts.clear();
    net.run_for(Duration::from_secs(3));
    assert_eq!(distance(&mut net, 0, 3), Some(3));
    send(&mut net, 0, 3, b"the short way");
    net.run_for(Duration::from_secs(1));
    let id = net.id(0);
    assert_eq!(net.messages(3), [(id, b"the long way".to_vec()), (id, b"the short way".to_vec())]);
    let told: Vec<Option<u16>> = net.members[0]
        .told()
        .filter_map(|event| match event {
            NodeEvent::RouteChanged { target, distance } if *target == net.id(3) => Some(*distance),
            _ => None,
        })
        .collect();
    assert_eq!(told[told.len() - 3..], [Some(3), Some(13), Some(3)]);
}

#[test]
fn links_that_are_announced_but_lead_nowhere_make_no_datagram_go_round() {
    let mut net = ring(6);
    connect(&mut net, 0, 3);
    net.tap = Some(Vec::new());
    // Nothing reaches the target any more. Its neighbours have not noticed yet, then one after the other they do.
    cut(&mut net, 2, 3);
    cut(&mut net, 4, 3);
    let long = [7; 1_200];
    for _ in 0..20 {
        send(&mut net, 0, 3, &long);
    }
    net.run_for(Duration::from_secs(2));
    let hops = hops(&mut net, long.len());
    let sent =
        hops.iter().filter(|((from, _), _)| *from == net.members[0].address).map(|(_, n)| n).sum::<usize>();
    for ((from, to), count) in &hops {
        assert!(*count <= sent, "{count} over {from} to {to}, of {sent}");
    }
    let total: usize = hops.values().sum();
    assert!(total <= 3 * sent, "{total} hops for {sent} datagrams at a distance of three");
}

#[test]
fn a_relay_that_is_no_nearer_drops_and_says_so() {
    let mut net = line(5);
    connect(&mut net, 0, 4);
    // Behind the back of the first two, the way on is lost: the third knows first.
    net.crash(3);
    net.run_for(Duration::from_millis(1_200));
    let before = node(&net, 2).rejected(RejectReason::NoRoute);
    for _ in 0..300 {
        send(&mut net, 0, 4, b"into the void");
        net.run_for(Duration::from_millis(2));
    }
    net.run_for(Duration::from_secs(1));
    let id = net.id(4);
    assert!(node_mut(&mut net, 0).route(id).is_none());
    assert!(node(&net, 2).rejected(RejectReason::NoRoute) > before);
    assert!(
        net.members[0].told().any(|event| *event == NodeEvent::RouteChanged { target: id, distance: None })
    );
    // Without a way a dial comes to nothing, in its time.
    let dial = net.act(0, |node, now| node.connect_relayed(now, id));
    net.run_for(PATIENCE + Duration::from_secs(1));
    let ends: Vec<_> = net.members[0]
        .told()
        .filter(|event| matches!(event, NodeEvent::DialFailed { dial: it, .. } if *it == dial))
        .collect();
    assert!(
        matches!(ends[..], [NodeEvent::DialFailed { error: DialError::TimedOut { .. }, path, .. }] if *path == Path::Relayed(id)),
        "{ends:?}"
    );
}

#[test]
fn a_direct_session_takes_the_place_of_a_relayed_one_and_what_was_going_on_goes_on() {
    let mut net = line(4);
    connect(&mut net, 0, 3);
    let long = vec![9; 300_000];
    send(&mut net, 0, 3, &long);
    net.dial(0, 3);
    net.run_for(Duration::from_secs(2));
    assert_eq!(path(&net, 0, 3), Some(Path::Direct(net.members[3].address)));
    assert_eq!(path(&net, 3, 0), Some(Path::Direct(net.members[0].address)));
    assert_eq!(net.messages(3), [(net.id(0), long)], "sent over the one, the rest over the other");
    assert!(!net.members[0].told().any(|event| matches!(event, NodeEvent::SessionDown { .. })));
    assert_eq!(distance(&mut net, 0, 3), Some(1));
}

#[test]
fn a_relayed_session_stands_in_for_a_direct_one_that_died() {
    let mut net = ring(4);
    assert!(path(&net, 0, 1).expect("a session").is_direct());
    // While it lives, no relayed one comes up.
    let target = net.id(1);
    net.act(0, |node, now| node.connect_relayed(now, target));
    net.run_for(Duration::from_secs(1));
    assert!(path(&net, 0, 1).expect("a session").is_direct());
    cut(&mut net, 0, 1);
    net.run_for(Duration::from_secs(3));
    assert_eq!(net.verdict(0, 1), Some(Health::Unreachable));
    connect(&mut net, 0, 1);
    assert_eq!(
        (path(&net, 0, 1), path(&net, 1, 0)),
        (Some(Path::Relayed(net.id(1))), Some(Path::Relayed(net.id(0))))
    );
    send(&mut net, 1, 0, SECRET);
    net.run_for(Duration::from_millis(100));
    assert_eq!(net.messages(0), [(target, SECRET.to_vec())]);
    net.cuts.clear();
    net.dial(1, 0);
    net.run_for(Duration::from_secs(1));
    assert!(path(&net, 0, 1).expect("a session").is_direct() && path(&net, 1, 0).expect("one").is_direct());
}

#[test]
fn a_relayed_session_that_carries_nothing_is_closed_and_one_that_does_lives() {
    let mut net = line(4);
    connect(&mut net, 0, 2);
    connect(&mut net, 0, 3);
    for _ in 0..9 {
        net.run_for(Duration::from_secs(10));
        send(&mut net, 3, 0, b"still here");
    }
    assert_eq!((path(&net, 0, 2), path(&net, 2, 0)), (None, None));
    assert!(path(&net, 0, 3).is_some() && path(&net, 3, 0).is_some());
    assert_eq!(net.verdict(0, 3), Some(Health::Healthy));
}

#[test]
fn a_leave_is_heard_over_relays_too() {
    let mut net = line(4);
    connect(&mut net, 0, 3);
    net.act(0, Node::leave);
    net.crash(0);
    net.run_for(Duration::from_millis(100));
    let left = NodeEvent::SessionDown { peer: net.id(0), reason: SessionEnd::Left };
    for number in [1, 3] {
        assert!(net.members[number].told().any(|event| *event == left), "at {number}");
    }
}

#[test]
fn keys_of_a_relayed_session_are_renewed_over_the_relays() {
    let mut config = super::config();
    config.rekey.interval = Duration::from_secs(15);
    let mut net = Network::new(1, Faults::NONE);
    for _ in 0..3 {
        net.add(config.clone());
    }
    net.dial(0, 1);
    net.dial(1, 2);
    net.run_for(Duration::from_secs(5));
    connect(&mut net, 0, 2);
    for round in 0..600_u32 {
        send(&mut net, 0, 2, &round.to_le_bytes());
        net.run_for(Duration::from_millis(100));
    }
    assert_eq!(net.messages(2).len(), 600, "without a gap");
    let rekeys = node(&net, 0).peers().find(|peer| peer.id == net.id(2)).map(|peer| peer.rekeys);
    assert!(rekeys.is_some_and(|rekeys| rekeys >= 3), "{rekeys:?}");
}

#[test]
fn whatever_the_network_does_both_ends_of_every_relayed_session_agree() {
    for seed in super::seeds(20) {
        let mut net = settled(seed, 6, (0..6).map(|at| (at, (at + 1) % 6)));
        net.faults = Faults { loss: 0.1, jitter: Duration::from_millis(10), ..Faults::NONE };
        // Both ends dial at once, some of them a direct peer besides.
        let pairs: Vec<(usize, usize)> = (0..6).flat_map(|a| (0..6).map(move |b| (a, b))).collect();
        for (a, b) in pairs.into_iter().filter(|(a, b)| a != b) {
            let target = net.id(b);
            net.act(a, |node, now| node.connect_relayed(now, target));
            if net.below(8) == 0 {
                net.dial(a, b);
            }
        }
        net.run_for(Duration::from_secs(10));
        net.faults = Faults::NONE;
        net.run_for(Duration::from_secs(2));
        let ids: Vec<NodeId> = (0..6).map(|number| net.id(number)).collect();
        for (a, b) in (0..6).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let (there, back) = (path(&net, a, b), path(&net, b, a));
            let direct = |path: Option<Path>| path.map(Path::is_direct);
            assert_eq!(direct(there), direct(back), "seed {seed}: {a} and {b}");
            assert!(there.is_some(), "seed {seed}: {a} and {b}");
            for (from, to) in [(a, b), (b, a)] {
                send(
                    &mut net,
                    from,
                    to,
                    &[u8::try_from(from).expect("small"), u8::try_from(to).expect("small")],
                );
            }
        }
        net.run_for(Duration::from_secs(1));
        for (number, id) in ids.iter().enumerate() {
            let from: Vec<NodeId> = net.messages(number).iter().map(|(from, _)| *from).collect();
            let mut others: Vec<NodeId> = ids.iter().copied().filter(|other| other != id).collect();
            let mut from = from;
            from.sort_unstable();
            others.sort_unstable();
            assert_eq!(from, others, "seed {seed}: what {number} received");
        }
    }
}

#[test]
fn routes_name_every_node_once() {
    let mut net = line(4);
    let ids: Vec<NodeId> = (0..4).map(|number| net.id(number)).collect();
    let routes: Vec<Route> = node_mut(&mut net, 1).routes().collect();
    let mut expected: Vec<(NodeId, NodeId, u16)> =
        vec![(ids[0], ids[0], 1), (ids[2], ids[2], 1), (ids[3], ids[2], 2)];
    expected.sort_unstable();
    let found: Vec<_> = routes.iter().map(|route| (route.target, route.next_hop, route.distance)).collect();
    assert_eq!(found, expected);
}
