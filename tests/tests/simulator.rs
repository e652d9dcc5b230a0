//! The node under a bad network, in virtual time. A failing seed replays exactly:
//! `MESHGROUND_SEED=17 cargo test -p meshground-tests --test simulator`. `MESHGROUND_EFFORT=25` tries 25 times as many.

#[path = "simulator/calls.rs"]
mod calls;
#[path = "simulator/dialing.rs"]
mod dialing;
#[path = "simulator/flood.rs"]
mod flood;
#[path = "simulator/hostile.rs"]
mod hostile;
#[path = "simulator/leaving.rs"]
mod leaving;
#[path = "simulator/limits.rs"]
mod limits;
#[path = "simulator/liveness.rs"]
mod liveness;
#[path = "simulator/names.rs"]
mod names;
#[path = "simulator/relaying.rs"]
mod relaying;
#[path = "simulator/renewal.rs"]
mod renewal;
#[path = "simulator/roaming.rs"]
mod roaming;
#[path = "simulator/spreading.rs"]
mod spreading;
#[path = "simulator/strangers.rs"]
mod strangers;
#[path = "simulator/upheaval.rs"]
mod upheaval;

use std::time::Duration;

use meshground_node::{Health, NodeConfig, NodeEvent, RejectReason, SendError, SessionEnd, StreamEvent};
use meshground_tests::sim::{Datagram, Faults, Network, seeds};

const PSK: [u8; 32] = [42; 32];
const PATIENCE: Duration = Duration::from_secs(30);

fn config() -> NodeConfig {
    let mut config = NodeConfig::new(PSK);
    config.handshake.budget = PATIENCE;
    config
}

/// Two nodes, the first of which dials the second, when all that is left of their handshake is message 3: it is under way.
fn at_message_3() -> (Network, [usize; 2], Datagram) {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(config()), net.add(config()));
    net.dial(a, b);
    for _ in 0..2 {
        let datagram = net.intercept().pop_front().expect("the handshake goes on");
        net.inject(&datagram);
    }
    let confirm = net.intercept().pop_front().expect("message 3");
    (net, [a, b], confirm)
}

/// A converged network of `n` over a good network.
fn converged(seed: u64, n: usize) -> Network {
    converged_with(seed, n, &config())
}

fn converged_with(seed: u64, n: usize, config: &NodeConfig) -> Network {
    let mut net = Network::new(seed, Faults::NONE);
    net.tap = Some(Vec::new());
    for _ in 0..n {
        net.add(config.clone());
    }
    net.dial_all();
    net.run_until(PATIENCE, Network::is_converged).expect("a good network converges");
    net.run_for(Duration::from_secs(1));
    net
}

fn rejected(net: &Network, number: usize) -> u64 {
    let node = net.members[number].node.as_ref().expect("running");
    RejectReason::ALL.iter().map(|reason| node.rejected(*reason)).sum()
}

#[test]
fn it_converges_within_thirty_seconds_whatever_the_network_does() {
    let (mut slowest, mut worst_seed) = (Duration::ZERO, 0);
    for seed in seeds(200) {
        let mut net = Network::new(seed, Faults::NONE);
        let n = 2 + net.below(7);
        let percent = |net: &mut Network, most: u64| {
            let thousandths = u32::try_from(net.below(most * 1_000 + 1)).expect("small");
            f64::from(thousandths) / 100_000.0
        };
        net.faults = Faults {
            loss: percent(&mut net, 30),
            duplication: percent(&mut net, 20),
            corruption: percent(&mut net, 5),
            delay: Duration::from_micros(50 + net.below(5_000)),
            jitter: Duration::from_micros(net.below(40_000)),
        };
        for _ in 0..n {
            net.add(config());
        }
        net.dial_all();
        let Some(took) = net.run_until(PATIENCE, Network::is_converged) else {
            for a in 0..net.members.len() {
                let row: Vec<_> = (0..net.members.len()).map(|b| net.verdict(a, b)).collect();
                println!("{a}: {row:?}");
            }
            panic!("seed {seed}: {n} nodes did not converge in {PATIENCE:?} under {:?}", net.faults);
        };
        if took > slowest {
            (slowest, worst_seed) = (took, seed);
        }
        both_ends_agree_and_messages_arrive_exactly_once(seed, &mut net);
    }
    println!("slowest convergence: {slowest:?} of virtual time (seed {worst_seed})");
}

/// Lets the network calm down; then both ends must name the same initiator for every
/// session, and a message from each to each must arrive once, though every datagram
/// is doubled.
fn both_ends_agree_and_messages_arrive_exactly_once(seed: u64, net: &mut Network) {
    net.faults = Faults { duplication: 1.0, ..Faults::NONE };
    net.run_for(Duration::from_secs(15));
    assert!(net.is_converged(), "seed {seed}: a calm network stays converged");
    let sessions = net.sessions();
    for pair in sessions.chunks(2) {
        assert_eq!(pair[0], pair[1], "seed {seed}: the two ends of a session disagree");
    }
    let n = net.members.len();
    assert_eq!(sessions.len(), n * (n - 1), "seed {seed}");
    for from in 0..n {
        for to in (0..n).filter(|to| *to != from) {
            let (id, text) = (net.id(to), format!("{from} to {to}"));
            net.act(from, |node, now| node.send(now, id, text.as_bytes())).expect("there is a session");
        }
    }
    net.run_for(Duration::from_secs(1));
    for to in 0..n {
        let mut got = net.messages(to);
        got.sort();
        let mut expected: Vec<_> = (0..n)
            .filter(|from| *from != to)
            .map(|from| (net.id(from), format!("{from} to {to}").into_bytes()))
            .collect();
        expected.sort();
        assert_eq!(got, expected, "seed {seed}: messages at {to}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let trace = |seed| {
        let mut net = Network::new(seed, Faults { loss: 0.2, duplication: 0.1, ..Faults::NONE });
        net.tap = Some(Vec::new());
        for _ in 0..4 {
            net.add(config());
        }
        net.dial_all();
        net.run_for(Duration::from_secs(5));
        net.tap
    };
    assert_eq!(trace(3), trace(3));
    assert_ne!(trace(3), trace(4));
}

#[test]
fn dials_that_cross_end_in_one_session_and_both_are_answered() {
    for seed in seeds(50) {
        let mut net = Network::new(seed, Faults { jitter: Duration::from_millis(3), ..Faults::NONE });
        let (a, b) = (net.add(config()), net.add(config()));
        net.dial(a, b);
        let head_start = Duration::from_micros(net.below(4_000));
        net.run_for(head_start);
        net.dial(b, a);
        net.run_for(Duration::from_secs(15));
        let sessions = net.sessions();
        assert_eq!((sessions.len(), sessions[0]), (2, sessions[1]), "seed {seed}");
        for member in &net.members {
            let dialed = member.events.iter().filter(|(_, e)| matches!(e, NodeEvent::Dialed { .. })).count();
            assert_eq!(dialed, 1, "seed {seed}: {:?}", member.events);
        }
    }
}

#[test]
fn a_crash_is_seen_by_all_within_a_second_and_a_half_and_a_restart_heals() {
    for seed in seeds(20) {
        let mut net = converged(seed, 5);
        net.crash(2);
        let took = net
            .run_until(PATIENCE, |net| {
                [0, 1, 3, 4].iter().all(|&n| net.verdict(n, 2) == Some(Health::Unreachable))
            })
            .expect("a crash is seen");
        assert!(took <= Duration::from_millis(1_500), "seed {seed}: detection took {took:?}");
        assert!([0, 1, 3].iter().all(|&n| net.verdict(4, n) == Some(Health::Healthy)), "seed {seed}");
        net.restart(2);
        for other in [0, 1, 3, 4] {
            net.dial(2, other);
        }
        let took = net.run_until(PATIENCE, Network::is_converged).expect("a restart heals");
        assert!(took <= Duration::from_secs(1), "seed {seed}: healing took {took:?}");
    }
}

#[test]
fn a_node_restarted_before_anyone_noticed_replaces_its_old_sessions_at_once() {
    let mut net = converged(1, 3);
    net.crash(0);
    net.restart(0);
    for other in [1, 2] {
        net.dial(other, 0);
    }
    net.run_until(Duration::from_secs(1), Network::is_converged).expect("it is back");
    net.run_for(Duration::from_millis(100));
    let (id, address) = (net.id(0), net.members[0].address);
    for other in [1, 2] {
        let node = net.members[other].node.as_ref().expect("running");
        let seen = node.peers().find(|peer| peer.id == id).expect("a session");
        assert_eq!(seen.path.address(), Some(address));
    }
    net.act(1, |node, now| node.send(now, id, b"welcome back")).expect("a session");
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.messages(0), [(net.id(1), b"welcome back".to_vec())]);
}

#[test]
fn a_leave_is_seen_at_once() {
    let mut net = converged(1, 4);
    let id = net.id(3);
    net.act(3, meshground_node::Node::leave);
    net.run_for(Duration::from_millis(2));
    for other in 0..3 {
        assert_eq!(net.verdict(other, 3), None);
        let (_, last) = net.members[other].events.last().expect("events");
        assert_eq!(last, &NodeEvent::SessionDown { peer: id, reason: SessionEnd::Left });
    }
}

#[test]
fn a_leave_in_the_middle_of_a_handshake_leaves_no_session_behind() {
    for micros in (0..20_000).step_by(100) {
        let mut net = Network::new(1, Faults::NONE);
        net.add(config());
        net.add(config());
        net.dial(0, 1);
        net.run_for(Duration::from_micros(micros));
        net.act(0, meshground_node::Node::leave);
        net.run_for(Duration::from_secs(1));
        assert_eq!(net.verdict(1, 0), None, "left after {micros} us");
    }
}

#[test]
fn a_one_way_cut_is_suspected_by_the_side_that_hears_nothing() {
    let mut net = converged(1, 2);
    let cut = (net.members[0].address, net.members[1].address);
    net.cuts.push(cut);
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.verdict(1, 0), Some(Health::Unreachable));
    net.cuts.clear();
    net.run_until(Duration::from_secs(2), Network::is_converged).expect("a healed cut is seen");
}

#[test]
fn a_forgotten_peer_leaves_nothing_behind() {
    let mut net = converged(1, 2);
    net.crash(1);
    net.run_for(Duration::from_mins(6));
    assert_eq!(net.verdict(0, 1), None);
    let events = &net.members[0].events;
    let (_, last) = events.last().expect("events");
    assert_eq!(last, &NodeEvent::SessionDown { peer: net.id(1), reason: SessionEnd::Forgotten });
    let timeout = net.members[0].node.as_ref().expect("running").poll_timeout();
    assert_eq!(timeout, None, "nobody to wait for");
}

#[test]
fn a_node_that_stood_still_does_not_blame_its_peers() {
    let mut net = converged(1, 2);
    // Nothing of the first node runs for a minute, as on a suspended laptop: the other
    // rightly gives it up, but when it wakes it finds its peer alive.
    let mut sleeper = net.members[0].node.take().expect("running");
    net.run_for(Duration::from_mins(1));
    assert_eq!(net.verdict(1, 0), Some(Health::Unreachable));
    let now = net.now_at(0);
    sleeper.handle_timeout(now);
    net.members[0].node = Some(sleeper);
    assert_eq!(net.verdict(0, 1), Some(Health::Healthy));
    net.run_until(Duration::from_secs(2), Network::is_converged).expect("both are well");
    let blamed = net.members[0].events.iter().any(|(_, e)| matches!(e, NodeEvent::Health { .. }));
    assert!(!blamed, "the sleeper blamed its peer");
}

#[test]
fn a_dial_to_an_unexpected_or_own_address_says_so() {
    let mut net = Network::new(1, Faults::NONE);
    let (a, b) = (net.add(config()), net.add(config()));
    let (own, other, other_id) = (net.members[a].address, net.members[b].address, net.id(b));
    let id = net.id(a);
    net.act(a, |node, now| node.connect(now, own, None));
    net.act(a, |node, now| node.connect(now, other, Some(id)));
    net.run_for(PATIENCE);
    let errors: Vec<String> = net.members[a]
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            NodeEvent::DialFailed { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .collect();
    let wrong = format!("expected node {id}, but {other_id} answered; is the address right?");
    assert_eq!(errors, [wrong, "the address is this node's own; dial another".to_owned()]);
}

#[test]
fn a_message_that_does_not_fit_or_has_no_session_is_refused() {
    let mut net = converged(1, 2);
    let (peer, own) = (net.id(1), net.id(0));
    let max = net.act(0, |node, _| node.max_message());
    let longest = vec![7; max];
    net.act(0, |node, now| node.send(now, peer, &longest)).expect("it just fits");
    let error = net.act(0, |node, now| node.send(now, peer, &vec![7; max + 1])).expect_err("too long");
    let told =
        format!("the message has {} bytes; at most {max} can be sent, and more over a stream", max + 1);
    assert_eq!(error.to_string(), told);
    assert!(net.act(0, |node, now| node.send(now, own, b"to myself")).is_err());
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.messages(1), [(own, longest)], "over as many datagrams as it takes");
}

#[test]
fn the_round_trip_is_measured_at_both_ends() {
    let net = converged(1, 2);
    for number in 0..2 {
        let node = net.members[number].node.as_ref().expect("running");
        let rtt = node.peers().next().expect("a peer").rtt.expect("measured");
        assert_eq!(rtt, Duration::from_millis(2), "there and back over one millisecond each");
    }
}

#[test]
fn a_full_queue_takes_nothing_more_and_tells_once_when_there_is_room_again() {
    let mut net = Network::new(31, Faults::NONE);
    let limit = 65_536;
    let (a, b) = (net.add(NodeConfig { max_queued: limit, ..config() }), net.add(config()));
    net.dial(a, b);
    net.run_for(Duration::from_secs(1));
    let (id, longest) = (net.id(b), vec![7; 1_000]);
    for round in 1..=3 {
        // Nothing is fetched from the node before the action is over.
        let taken = net.act(a, |node, now| {
            let mut taken = 0;
            loop {
                match node.send(now, id, &longest) {
                    Ok(()) => taken += 1,
                    Err(SendError::Full { peer, queued }) => {
                        assert_eq!(peer, id);
                        assert!(queued <= limit && queued + 1_100 > limit, "{queued} bytes wait");
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(node.send(now, id, &longest).is_err(), "it stays full");
            taken
        });
        net.run_for(Duration::from_secs(1));
        assert_eq!(net.messages(b).len(), round * taken, "all that was taken arrives, and nothing else");
        let told = net.members[a].told().filter(|event| matches!(event, NodeEvent::Writable { .. }));
        assert_eq!(told.count(), round);
    }
}

#[test]
fn whatever_is_said_goes_between_nodes_whose_datagrams_have_any_length_there_is() {
    let lengths = [512, 1_452, 65_507];
    let mut net = Network::new(1, Faults::NONE);
    for max_datagram in lengths {
        net.add(NodeConfig { max_datagram, ..config() });
    }
    net.dial_all();
    net.run_until(PATIENCE, Network::is_converged).expect("a good network converges");
    net.run_for(Duration::from_secs(1));
    net.tap = Some(Vec::new());
    let max = net.act(0, |node, _| node.max_message());
    for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1), (0, 1), (1, 0)] {
        let id = net.id(to);
        let salt = u8::try_from(from).expect("few");
        net.act(from, |node, now| {
            node.send(now, id, &vec![salt; max]).expect("it is as long as one may be");
            let stream = node.open_stream(now, id).expect("a session");
            assert_eq!(node.write_stream(now, id, stream, &vec![salt; 200_000]), Ok(200_000));
            node.finish_stream(now, id, stream).expect("just opened");
        });
    }
    net.run_for(Duration::from_secs(5));
    for to in 0..3 {
        let messages = net.messages(to);
        let opened = |event: &NodeEvent| match event {
            NodeEvent::Stream { peer, event: StreamEvent::Opened(stream) } => Some((*peer, *stream)),
            _ => None,
        };
        let streams: Vec<_> = net.members[to].told().filter_map(opened).collect();
        assert_eq!((messages.len(), streams.len()), (2, 2), "at {to}");
        for from in (0..3).filter(|from| *from != to) {
            let (id, salt) = (net.id(from), u8::try_from(from).expect("few"));
            assert!(messages.contains(&(id, vec![salt; max])), "from {from} to {to}");
            let (_, stream) = *streams.iter().find(|(peer, _)| *peer == id).expect("one each");
            let mut got = Vec::new();
            net.act(to, |node, now| {
                while node
                    .read_stream(now, id, stream, 1 << 20, &mut got)
                    .expect("it goes on")
                    .expect("it is there")
                    > 0
                {}
            });
            assert!(got == vec![salt; 200_000], "from {from} to {to}");
        }
    }
    // That none is longer is looked at after every step.
    let sent = net.tap.take().expect("tapped");
    for (member, most) in net.members.iter().zip(lengths) {
        let longest =
            sent.iter().filter(|datagram| datagram.from == member.address).map(|it| it.bytes.len()).max();
        assert!(longest.is_some_and(|longest| longest > most / 2), "{longest:?} of {most}");
    }
}
