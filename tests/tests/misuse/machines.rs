//! The node as a state machine: what is asked of it about nobody, with nothing, with too much, and when it has left.

use meshground_node::{
    CallError, CallEvent, CallId, Capabilities, Comparison, Filter, LoggingDispatcher, MAX_SAID, NodeEvent,
    Outputs, PlacementError, PlacementStrategy, ReplyError, SaidTooMuch, StreamError, StreamId, StreamKind,
    Suite, Topic,
};

use super::*;

const NOW: Now = Now { instant: Instant::from_micros(1), wall: WallTime(1) };

fn address(node: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, [1, 2][node]))
}

/// Has two nodes hear each other until neither has more to say.
fn converse(nodes: &mut [Node; 2]) {
    let mut buffer = Vec::new();
    for _ in 0..1_000 {
        let mut quiet = true;
        for from in [0, 1] {
            while let Some(sent) = nodes[from].poll_transmit(NOW, &mut buffer) {
                let datagram = buffer.len() - sent.len;
                nodes[1 - from].handle_datagram(NOW, address(from), &mut buffer[datagram..]);
                buffer.clear();
                quiet = false;
            }
        }
        if quiet {
            return;
        }
    }
    panic!("they talk on and on");
}

/// Two nodes with a session, at a moment that does not pass.
fn pair() -> [Node; 2] {
    pair_of(&NodeConfig::new(PSK))
}

fn pair_of(config: &NodeConfig) -> [Node; 2] {
    let mut nodes = [1, 2]
        .map(|seed| Node::new(config.clone(), Identity::from_seed([seed; 32]), [seed; 32], NOW).unwrap());
    nodes[0].connect(NOW, address(1), None);
    converse(&mut nodes);
    assert!(nodes.iter().all(|node| node.peers().count() == 1), "they have a session");
    nodes
}

#[test]
fn nodes_whose_figures_are_as_large_as_can_be_come_to_a_session_and_end_it() {
    let longest = Duration::MAX;
    let config = NodeConfig {
        max_datagram: 65_507,
        max_queued: usize::MAX,
        max_peers: usize::MAX,
        handshake: HandshakeConfig {
            budget: longest,
            retransmit: longest,
            max_dials: usize::MAX,
            max_answers: usize::MAX,
        },
        liveness: LivenessConfig {
            heartbeat: longest / 8,
            suspect: longest / 4,
            unreachable: longest / 2,
            forget: longest,
            budget: u32::MAX,
        },
        rekey: RekeyConfig { interval: Duration::from_hours(24), packets: u64::MAX },
        ..NodeConfig::new(PSK)
    };
    let [mut node, mut other] = pair_of(&config);
    let end = Now { instant: Instant::from_micros(u64::MAX), wall: WallTime(u64::MAX) };
    for now in [NOW, end] {
        let len = node.max_message();
        assert_eq!(node.send(now, other.id(), &vec![0; len]), Ok(()));
        node.handle_timeout(now);
        while node.poll_transmit(now, &mut Vec::new()).is_some() {}
    }
    assert!(other.disconnect(end, node.id()) && !other.disconnect(end, node.id()));
}

#[test]
fn streams_of_a_node_refuse_nobody_strangers_too_much_and_what_comes_late() {
    let mut nodes = pair();
    let there = nodes[1].id();
    let here = nodes[0].id();
    let stream = nodes[0].open_stream(NOW, there).unwrap();
    assert_eq!((stream.kind(), nodes[0].open_streams()), (StreamKind::Plain, 1));
    let mut out = Vec::new();
    for (node, peer, error) in [
        (0, NOBODY, StreamError::NoSession(NOBODY)),
        (1, NOBODY, StreamError::NoSession(NOBODY)),
        // It has not heard of it.
        (1, here, StreamError::Unknown(stream)),
    ] {
        let node = &mut nodes[node];
        assert_eq!(node.write_stream(NOW, peer, stream, b"x"), Err(error));
        assert_eq!(node.finish_stream(NOW, peer, stream), Err(error));
        assert_eq!(node.reset_stream(NOW, peer, stream, 0), Err(error));
        assert_eq!(node.stop_stream(NOW, peer, stream, 0), Err(error));
        assert_eq!(node.read_stream(NOW, peer, stream, usize::MAX, &mut out), Err(error));
    }
    let node = &mut nodes[0];
    assert_eq!(node.write_stream(NOW, there, stream, &[]), Ok(0));
    for most in [0, usize::MAX] {
        assert_eq!(node.read_stream(NOW, there, stream, most, &mut out), Ok(None), "nothing has come yet");
    }
    let most = vec![7; 64 << 20];
    let taken = node.write_stream(NOW, there, stream, &most).unwrap();
    assert!(taken < most.len() && node.queued() < most.len(), "{taken} bytes");
    for too_large in [1 << 62, u64::MAX] {
        let refused = Err(StreamError::Code(too_large));
        assert_eq!(node.reset_stream(NOW, there, stream, too_large), refused);
        assert_eq!(node.stop_stream(NOW, there, stream, too_large), refused);
    }
    for _ in 0..2 {
        let _ = node.finish_stream(NOW, there, stream);
        assert_eq!(node.write_stream(NOW, there, stream, b"x"), Err(StreamError::Ended(stream)));
    }
    node.leave(NOW);
    assert!(!node.has_left(), "its peer has not heard it yet");
    assert_eq!(node.open_stream(NOW, there), Err(StreamError::NoSession(there)));
    assert!(node.write_stream(NOW, there, stream, b"x").is_err());
    assert!(node.read_stream(NOW, there, stream, 1, &mut out).is_err() && out.is_empty());
}

/// The call that a peer makes of this node.
fn requested(node: &mut Node) -> CallId {
    std::iter::from_fn(|| node.poll_event())
        .find_map(|event| match event {
            NodeEvent::Call(CallEvent::Requested { call, .. }) => Some(call),
            _ => None,
        })
        .expect("the request has come")
}

#[test]
fn calls_of_a_node_are_answered_by_whom_they_are_made_of_once_and_with_what_fits() {
    let mut nodes = pair();
    let there = nodes[1].id();
    let call = nodes[0].call(NOW, there, "m", &[], Some(Duration::MAX)).unwrap();
    assert_eq!(call.stream.kind(), StreamKind::Call);
    let over = Err(ReplyError::Over);
    assert_eq!(nodes[0].reply(NOW, call, &[]), over, "it is not asked");
    assert_eq!(nodes[0].end_reply(NOW, call, Ok(())), over);
    nodes[0].release_items(NOW, call, u32::MAX, usize::MAX);
    converse(&mut nodes);
    let asked = requested(&mut nodes[1]);
    let nobodys = CallId { peer: NOBODY, ..asked };
    assert_eq!(nodes[1].reply(NOW, nobodys, &[]), over);
    assert_eq!(nodes[1].end_reply(NOW, nobodys, Err(CallError::Failed)), over);
    nodes[1].cancel_call(NOW, nobodys);
    nodes[1].release_items(NOW, nobodys, u32::MAX, usize::MAX);
    let too_large = vec![0; MAX_BODY + 1];
    assert_eq!(nodes[1].reply(NOW, asked, &too_large), Err(ReplyError::TooLarge(MAX_BODY + 1)));
    assert_eq!(nodes[1].reply(NOW, asked, &[]), Ok(()), "nothing is an item too");
    assert_eq!(nodes[1].end_reply(NOW, asked, Ok(())), Ok(()));
    assert_eq!(nodes[1].end_reply(NOW, asked, Ok(())), over);
    assert_eq!(nodes[1].reply(NOW, asked, &[]), over);
    converse(&mut nodes);
    for _ in 0..2 {
        nodes[0].cancel_call(NOW, call);
        nodes[0].release_items(NOW, call, 0, 0);
    }
    nodes[0].leave(NOW);
    nodes[0].cancel_call(NOW, call);
    assert!(nodes[0].call(NOW, there, "m", &[], None).is_err());
}

#[test]
fn a_node_knows_nothing_of_nobody_and_says_no_more_than_fits() {
    let mut nodes = pair();
    for late in [false, true] {
        let node = &mut nodes[0];
        if late {
            node.leave(NOW);
        }
        assert!(node.peer(NOBODY).is_none() && node.route(NOBODY).is_none() && !node.is_reachable(NOBODY));
        assert_eq!((node.links_of(NOBODY).count(), node.capabilities().get(NOBODY)), (0, None));
        assert!(node.routes().all(|route| route.target != NOBODY));
        let reasons = RejectReason::ALL;
        assert!(reasons.iter().all(|&reason| node.rejected(reason) == 0));
        let said = node.say(NOW, Topic::Groups, vec![0; MAX_SAID + 1]);
        assert_eq!(said, Err(SaidTooMuch(MAX_SAID + 1)));
        assert_eq!(node.say(NOW, Topic::Inventory, vec![0; MAX_SAID]), Ok(()));
        assert_eq!(node.say(NOW, Topic::Inventory, Vec::new()), Ok(()));
        node.announce(NOW, Capabilities::new());
        node.connect_relayed(NOW, NOBODY);
        let received = node.take_messages();
        assert!(received.is_empty() && received.get(0).is_none() && received.get(usize::MAX).is_none());
        assert_eq!((received.len(), received.payload_bytes(), received.missed()), (0, 0, 0));
        assert_eq!(received.iter().count(), 0);
        let _ = (node.has_told_routes(), node.has_output(), node.poll_timeout());
    }
    let node = &mut nodes[1];
    node.announce(NOW, Capabilities::new());
    let absurd = Filter::any()
        .all_of(Vec::<String>::new())
        .none_of([""])
        .metadata_exists("")
        .number("", Comparison::LessThan, f64::NAN)
        .except([NOBODY]);
    assert!(!absurd.matches(NOBODY, &Capabilities::new()) && node.capabilities().query(&absurd).is_empty());
    let strategy = PlacementStrategy::Best;
    let busiest = |_| u32::MAX;
    assert_eq!(node.place(&absurd, strategy, busiest), Err(PlacementError::NoCandidate));
    let placer = node.placer(busiest);
    assert_eq!(placer.place_many(&absurd, strategy, 0), Ok(Vec::new()));
    assert_eq!(placer.place_many(&absurd, strategy, usize::MAX), Err(PlacementError::NoCandidate));
    let more = placer.place_many(&Filter::any(), strategy, usize::MAX);
    assert!(matches!(more, Err(PlacementError::PlacementFailed { .. })), "{more:?}");
}

#[test]
fn times_suites_limits_and_logs_are_sound_at_their_ends() {
    let [first, last] = [0, u64::MAX].map(Instant::from_micros);
    assert_eq!((last + Duration::MAX, first.saturating_since(last)), (last, Duration::ZERO));
    assert_eq!(last.as_micros(), u64::MAX);
    assert_eq!(WallTime(0).abs_diff(WallTime(u64::MAX)), Duration::from_micros(u64::MAX));
    let known = (0..=u8::MAX).filter_map(Suite::from_byte).collect::<Vec<_>>();
    assert_eq!(known.len(), Suite::ALL.len());
    assert!(known.iter().all(|suite| suite.noise_name().starts_with("Noise")));
    assert!(
        known.contains(&Suite::preferred())
            && known.iter().all(|it| Suite::from_byte(it.byte()) == Some(*it))
    );
    for peers in [0, usize::MAX] {
        let limits = LivenessConfig::default().for_peers(peers);
        let config = NodeConfig { liveness: limits, ..NodeConfig::new(PSK) };
        assert_eq!(config.validate(), Ok(()), "{peers} peers");
    }
    for capacity in [0, usize::MAX] {
        let mut log = LoggingDispatcher::new(capacity);
        assert!(log.take().is_empty() && log.records().is_empty() && log.dropped() == 0);
    }
    let mut capabilities = Capabilities::new();
    assert!(capabilities.add_tag("").is_err() && capabilities.set_metadata("", "").is_err());
    assert!(!capabilities.has_tag("") && capabilities.value("").is_none());
    assert_eq!((capabilities.tags().count(), capabilities.metadata().count()), (0, 0));
    let nobody = Identity::from_seed([0; 32]);
    assert_ne!(nobody.entity_key(), nobody.public_key().0);

    let mut outputs = Outputs::new();
    for _ in 0..10_000 {
        outputs.reply(vec![0; 1 << 20]);
        outputs.wake(Duration::MAX, u64::MAX);
        outputs.announce(Vec::<String>::new());
        outputs.log(meshground_node::LogLevel::Info, "");
        outputs.stop();
    }
}

/// The name of a stream; it leads nowhere any more.
pub(super) fn some_stream() -> StreamId {
    let [mut node, other] = pair();
    node.open_stream(NOW, other.id()).expect("they have a session")
}
