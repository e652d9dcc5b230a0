//! Two nodes and a network between them that loses what it is told to.

use meshground_shared::Health;

use super::*;
use crate::{DialError, SendError};

const PSK: [u8; 32] = [7; 32];

fn address(number: u8) -> SocketAddr {
    ([127, 0, 0, 1], 1_000 + u16::from(number)).into()
}

struct Net {
    now: Now,
    nodes: Vec<Node>,
    events: Vec<Vec<NodeEvent>>,
    /// Which node's datagrams are lost.
    mute: Option<usize>,
}

impl Net {
    fn new(nodes: u8, config: impl Fn(&mut NodeConfig)) -> Self {
        let now = Now { instant: Instant::from_micros(1), wall: crate::WallTime(1 << 50) };
        let node = |number: u8| {
            let mut its = NodeConfig::new(PSK);
            config(&mut its);
            Node::new(its, Identity::from_seed([number + 1; 32]), [number; 32], now).unwrap()
        };
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        Self { now, events: nodes.iter().map(|_| Vec::new()).collect(), nodes, mute: None }
    }

    /// Sends everything there is to send, and takes it in, until nothing more comes of that.
    fn settle(&mut self) {
        let mut more = true;
        while std::mem::take(&mut more) {
            for from in 0..self.nodes.len() {
                let mut buffer = Vec::new();
                while let Some(Transmit { to, .. }) = self.nodes[from].poll_transmit(self.now, &mut buffer) {
                    more = true;
                    let mut datagram = std::mem::take(&mut buffer);
                    let source = address(u8::try_from(from).unwrap());
                    let to = (0..).zip(&mut self.nodes).find(|(number, _)| address(*number) == to);
                    if let Some((_, to)) = to.filter(|_| self.mute != Some(from)) {
                        to.handle_datagram(self.now, source, &mut datagram);
                    }
                }
                while let Some(event) = self.nodes[from].poll_event() {
                    self.events[from].push(event);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.wall.0 += u64::try_from(time.as_micros()).unwrap();
    }

    /// Goes on until `time` has passed.
    fn run(&mut self, time: Duration) {
        let end = self.now.instant + time;
        self.settle();
        while let Some(due) = self.nodes.iter().filter_map(Node::poll_timeout).min().filter(|due| *due <= end)
        {
            self.pass(due.saturating_since(self.now.instant));
            for node in &mut self.nodes {
                node.handle_timeout(self.now);
            }
            self.settle();
        }
        self.pass(end.saturating_since(self.now.instant));
    }

    fn connect(&mut self, from: usize, to: u8) {
        let now = self.now;
        self.nodes[from].connect(now, address(to), None);
        self.run(Duration::from_millis(10));
    }

    /// Has a node begin to renew the keys of its session with another.
    fn renew(&mut self, from: usize, to: u8) {
        let (now, peer) = (self.now, self.id(to.into()));
        let path = Path::Direct(address(to));
        let patience = now.instant + Duration::from_secs(5);
        let request = DialRequest::new(dialing::Purpose::Renewal, path, Some(peer), patience);
        self.nodes[from].begin_dial(now, request);
    }

    fn id(&self, number: usize) -> NodeId {
        self.nodes[number].id()
    }
}

#[test]
fn a_node_that_leaves_while_it_asks_for_acknowledgements_comes_to_an_end_with_it() {
    let mut net = Net::new(2, |_| {});
    net.connect(0, 1);
    let (now, peer) = (net.now, net.id(1));
    net.mute = Some(1);
    net.nodes[0].send(now, peer, b"lost, or its acknowledgement is").unwrap();
    net.settle();
    // Until it asks for an acknowledgement; nobody has come to send that yet.
    while net.nodes[0].peers[&peer].connection.timeout().is_some_and(|due| due > net.now.instant) {
        let due = net.nodes[0].poll_timeout().unwrap();
        net.pass(due.saturating_since(net.now.instant));
        let now = net.now;
        net.nodes[0].handle_timeout(now);
    }
    let now = net.now;
    net.nodes[0].handle_timeout(now);
    net.nodes[0].leave(now);
    assert!(net.nodes[0].outbox.len() < 10, "{} datagrams", net.nodes[0].outbox.len());
}

#[test]
fn a_node_that_leaves_sends_what_waits_only_as_far_as_congestion_allows() {
    let mut net = Net::new(2, |_| {});
    net.connect(0, 1);
    let (now, peer) = (net.now, net.id(1));
    while net.nodes[0].send(now, peer, &[1; 1_000])
        != Err(SendError::Full { peer, queued: net.nodes[0].queued() })
    {}
    net.nodes[0].leave(now);
    let bytes: usize = net.nodes[0].outbox.iter().map(|(_, datagram)| datagram.len()).sum();
    assert!(bytes < 40_000, "{bytes} bytes at once");
}

#[test]
fn handshakes_again_and_again_take_bounded_memory() {
    let mut net = Net::new(2, |_| {});
    net.connect(0, 1);
    let peer = net.id(1);
    let mut most = 0;
    for _ in 0..100 {
        // As somebody would who renews its keys without end.
        net.pass(Duration::from_millis(1));
        net.renew(0, 1);
        net.settle();
        most = most.max(net.nodes[1].slots.len());
    }
    assert!(most > 5 && most < 12, "{most} slots");
    for _ in 0..50 {
        let now = net.now;
        net.nodes[0].disconnect(now, peer);
        net.connect(0, 1);
    }
    assert_eq!(net.nodes[1].peer(net.id(0)).map(|view| view.health), Some(Health::Healthy));
}

#[test]
fn one_peer_too_many_is_refused_and_those_that_are_there_stay() {
    let mut net = Net::new(4, |config| {
        config.max_peers = 2;
        config.handshake.budget = Duration::from_secs(1);
    });
    for from in [1, 2, 3] {
        net.connect(from, 0);
    }
    net.run(Duration::from_secs(2));
    assert_eq!(net.nodes[0].peers().count(), 2);
    assert!(net.nodes[0].rejected(RejectReason::Overloaded) > 0);
    let failed =
        |event: &NodeEvent| matches!(event, NodeEvent::DialFailed { error: DialError::TimedOut { .. }, .. });
    assert!(net.events[3].iter().any(failed), "{:?}", net.events[3]);
    // One of those that are there renews its session; one that is dialed is welcome.
    net.connect(1, 0);
    assert_eq!(net.nodes[0].peers().count(), 2);
    net.connect(0, 3);
    assert_eq!(net.nodes[0].peers().count(), 3);
}

#[test]
fn a_node_whose_key_has_sealed_all_it_may_waits_for_another_and_does_not_spin() {
    let mut net = Net::new(2, |_| {});
    net.connect(0, 1);
    let (now, peer) = (net.now, net.id(1));
    let index = net.nodes[0].peers[&peer].session;
    let Some(Slot::Session(session)) = net.nodes[0].slots.get_mut(&index) else { panic!("it is there") };
    session.exhaust();
    // Something to acknowledge, at once.
    let back = net.id(0);
    net.nodes[1].send(now, back, b"a").unwrap();
    net.settle();
    net.nodes[1].send(now, back, b"b").unwrap();
    net.settle();
    for _ in 0..200 {
        let due = net.nodes[0].poll_timeout().unwrap();
        net.pass(due.saturating_since(net.now.instant));
        let now = net.now;
        net.nodes[0].handle_timeout(now);
        net.settle();
    }
    assert!(net.now.instant > now.instant + Duration::from_secs(1), "{:?}", net.now);
}

#[test]
fn unfinished_requests_of_one_peer_do_not_stand_in_the_way_of_anothers() {
    let mut net = Net::new(3, |_| {});
    net.connect(1, 0);
    net.connect(2, 0);
    let here = net.id(0);
    // As long as they may be, but for a byte, and one more of them than there is room for.
    let most = crate::MAX_BODY - 100;
    for _ in 0..17 {
        let hog = net.nodes[1].peers.get_mut(&here).unwrap();
        let stream = hog.connection.streams.open(crate::stream::StreamKind::Call).unwrap();
        let mut written = 0;
        while written < most {
            let hog = net.nodes[1].peers.get_mut(&here).unwrap();
            let Ok(taken) = hog.connection.streams.write(stream, &vec![0; most - written]) else { break };
            written += taken;
            net.nodes[1].mark_dirty(here);
            net.run(Duration::from_millis(20));
        }
    }
    assert!(net.nodes[0].calls.incoming > 60 << 20, "{}", net.nodes[0].calls.incoming);
    let now = net.now;
    let call = net.nodes[2].call(now, here, "echo", &vec![1; 100_000], None).unwrap();
    net.run(Duration::from_millis(100));
    let asked = |event: &NodeEvent| matches!(event, NodeEvent::Call(crate::CallEvent::Requested { .. }));
    assert!(net.events[0].iter().any(asked), "it never came to be asked");
    let over = |event: &NodeEvent| matches!(event, NodeEvent::Call(crate::CallEvent::Ended { .. }));
    assert!(!net.events[2].iter().any(over), "{call:?} was refused");
}

#[test]
fn a_close_that_was_not_sent_yet_still_goes_out_when_the_node_leaves() {
    let mut net = Net::new(2, |_| {});
    net.connect(0, 1);
    let (now, peer, own) = (net.now, net.id(1), net.id(0));
    net.nodes[0].disconnect(now, peer);
    net.nodes[0].connect(now, address(1), None);
    net.nodes[0].leave(now);
    assert_eq!(net.nodes[0].outbox.len(), 1, "the close, and no handshake");
    net.settle();
    assert!(net.nodes[1].peer(own).is_none(), "the other end never heard of it");
}

#[test]
fn a_close_of_a_session_that_was_replaced_ends_what_follows_it_and_nothing_else() {
    let mut net = Net::new(2, |_| {});
    net.connect(0, 1);
    let (peer, own, former) = (net.id(1), net.id(0), net.nodes[1].peers[&net.id(0)].session);
    // Long on its way.
    let Some(Slot::Session(session)) = net.nodes[1].slots.get_mut(&former) else { panic!("it is in use") };
    let mut datagram = Vec::new();
    let frames = |out: &mut Vec<u8>| {
        crate::packet::Frame::Message(b"before").encode(out);
        crate::packet::Frame::Close.encode(out);
        crate::packet::Frame::Message(b"after").encode(out);
        Some(())
    };
    session.seal(&mut datagram, frames).unwrap();
    net.renew(0, 1);
    net.run(Duration::from_millis(10));
    assert_eq!(net.nodes[1].peers[&own].replaced, [former]);
    let now = net.now;
    net.nodes[0].take_messages();
    net.nodes[0].handle_datagram(now, address(1), &mut datagram);
    assert_eq!(net.nodes[0].peers[&peer].traffic.messages_in, 1, "what stood before it, and no more");
}

#[test]
fn a_peer_that_shakes_hands_again_and_again_does_not_fill_the_events() {
    let mut net = Net::new(2, |_| {});
    net.connect(0, 1);
    let (peer, own) = (net.id(1), net.id(0));
    for _ in 0..200 {
        let now = net.now;
        net.nodes[0].disconnect(now, peer);
        net.nodes[0].connect(now, address(1), None);
        net.settle();
        net.pass(Duration::from_millis(1));
    }
    net.run(Duration::from_secs(1));
    let (mut up, mut down) = (0, 0);
    for event in &net.events[1] {
        up += usize::from(matches!(event, NodeEvent::SessionUp { .. }));
        down += usize::from(matches!(event, NodeEvent::SessionDown { .. }));
    }
    assert!((17..40).contains(&up), "{up} sessions told of");
    assert_eq!(up, down + 1, "what is told fits what is there");
    assert!(net.nodes[1].peer(own).is_some());
}
