//! Relayed sessions: the bare peer as their end beyond a node, and as what stands between two nodes.

use std::time::Duration;

use meshground::{CallOptions, Mesh, MeshBuilder, Request};
use meshground_node::{Identity, NodeConfig, NodeId, RejectReason, Suite};
use meshground_tests::{
    bare::{Connection, Frame, Handshake, Shelf, cut, links},
    waiting::{here, within},
};

use super::{
    peer::{BARE_INDEX, Link, NONE, PSK, Pair, fresh_seed, pattern, unix_micros},
    records::{LINKS, pair, said, say_own, take_until},
};

/// The greatest datagram of a node, less what a relay frame and its packet need.
const MAX_RELAYED: usize = 1_452 - 56;

async fn until_rejected(mesh: &Mesh, reason: RejectReason, count: u64) {
    within("a rejection", async {
        while mesh.rejected(reason).await.unwrap() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What a node has rejected, and for which reasons.
async fn rejected(mesh: &Mesh) -> Vec<(RejectReason, u64)> {
    let mut all = Vec::new();
    for reason in RejectReason::ALL {
        all.push((reason, mesh.rejected(reason).await.unwrap()));
    }
    all.retain(|(_, count)| *count > 0);
    all
}

/// The bare peer, a node that it has a session with, and another beyond that; all know the way.
struct Line {
    link: Link,
    between: Mesh,
    end: Mesh,
}

impl Line {
    async fn new() -> Self {
        let (between, mut link, mut shelf) = pair().await;
        let identity = Identity::from_seed([3; 32]);
        let end = MeshBuilder::new(here(), PSK).identity(identity).build().await.unwrap();
        within("a session", end.connect(between.local_addr())).await.unwrap();
        let listed = said(link.bare.incarnation, LINKS, links(&[between.node_id()]));
        say_own(&mut link, &listed).await;
        // Whoever stands between passes on what the end says.
        take_until(&mut link, &mut shelf, |shelf| shelf.get((end.node_id(), LINKS)).is_some()).await;
        let known = async {
            while end.routes().await.unwrap().len() < 2 {
                link.exchange().await;
            }
        };
        within("the way", known).await;
        Self { link, between, end }
    }

    fn id(&self) -> NodeId {
        self.link.bare.keys.node_id
    }

    /// Sends a datagram to the end beyond.
    async fn send(&mut self, datagram: Vec<u8>) {
        let (source, target) = (self.id(), self.end.node_id());
        self.link.send(&[Frame::Relay { distance: 2, source, target, datagram }]).await;
    }

    /// The next datagram of a kind from there.
    async fn receive(&mut self, kind: u8) -> Vec<u8> {
        let (own, from) = (self.id(), self.end.node_id());
        let relayed = |frame: &Frame| match frame {
            Frame::Relay { distance, source, target, datagram } if datagram[0] == kind => {
                assert_eq!((*distance, *source, *target), (1, from, own));
                assert!(datagram.len() <= MAX_RELAYED);
                Some(datagram.clone())
            }
            _ => None,
        };
        self.link.pick("a relayed datagram", relayed).await
    }

    fn handshake(&self, initiator: bool, suite: u8) -> Handshake {
        Handshake::new(initiator, suite, &PSK, &self.link.bare.keys, fresh_seed(suite)).unwrap()
    }

    /// Dials the end beyond, up to message 3, which is not sent.
    async fn begin(&mut self) -> (Handshake, u32, Vec<u8>) {
        let mut handshake = self.handshake(true, 1);
        self.send(handshake.write_initiation(unix_micros(), BARE_INDEX + 5).unwrap()).await;
        let response = self.receive(2).await;
        let (to, introduced) = handshake.read_response(BARE_INDEX + 5, &response).unwrap();
        assert_eq!(introduced.node_id, self.end.node_id());
        let confirm = handshake.write_confirm(to, NONE, self.link.bare.incarnation).unwrap();
        (handshake, to, confirm)
    }

    /// Dials the end beyond.
    async fn dial(&mut self) -> Connection {
        let (mut handshake, to, confirm) = self.begin().await;
        self.send(confirm).await;
        let session = handshake.session(BARE_INDEX + 5, to).unwrap();
        Connection::new(session, self.id() < self.end.node_id())
    }

    /// Takes the next packet from beyond.
    async fn turn(&mut self, far: &mut Connection) {
        let packet = far.open(&self.receive(4).await).expect("a sound packet");
        far.take(&packet).expect("nothing new, and nothing beyond a limit");
        if far.owes() {
            self.send(far.seal(&[]).1).await;
        }
    }

    async fn expect(&mut self, far: &mut Connection, wanted: &Frame) {
        within("a frame from beyond", async {
            while !far.inbox.contains(wanted) {
                self.turn(far).await;
            }
        })
        .await;
    }

    /// Both ends say something to each other, in one packet and in many.
    async fn talk(&mut self, far: &mut Connection) {
        let (id, end) = (self.id(), self.end.clone());
        let mut inbox = end.messages();
        self.send(far.seal(&[Frame::Message(b"from the bare peer".to_vec())]).1).await;
        let long = pattern(20_000);
        for piece in cut(0, &Frame::Message(long.clone()).encode(), 1_200) {
            let (number, datagram) = far.seal(&[piece]);
            self.send(datagram).await;
            while !far.is_settled(number) {
                self.turn(far).await;
            }
        }
        for expected in [&b"from the bare peer"[..], &long] {
            let message = within("the message", inbox.recv()).await.expect("the node is up");
            assert_eq!(message.from, id);
            assert!(*message.payload == *expected);
        }
        for bytes in [&b"from the node"[..], &long] {
            end.send(id, bytes).await.unwrap();
            self.expect(far, &Frame::Message(bytes.to_vec())).await;
        }
        assert!(!far.inbox.iter().any(|frame| matches!(frame, Frame::Record(_) | Frame::Summary(_))));
    }
}

#[tokio::test]
async fn a_node_reaches_the_bare_peer_over_another() {
    let mut line = Line::new().await;
    let (id, dialling) = (line.id(), line.end.clone());
    let dial = tokio::spawn(async move { dialling.connect_relayed(id).await });
    let initiation = line.receive(1).await;
    let mut handshake = line.handshake(false, initiation[1]);
    let (_, to) = handshake.read_initiation(&initiation).unwrap();
    line.send(handshake.write_response(to, BARE_INDEX + 5, line.link.bare.incarnation).unwrap()).await;
    let confirm = line.receive(3).await;
    let (named, introduced) = handshake.read_confirm(BARE_INDEX + 5, &confirm).unwrap();
    assert_eq!((named, introduced.node_id), (NONE, line.end.node_id()));
    let session = handshake.session(BARE_INDEX + 5, to).unwrap();
    let mut far = Connection::new(session, id < line.end.node_id());
    line.send(far.seal(&[Frame::Ping { stamp: 1, silence_ms: 0 }]).1).await;
    within("the dial", dial).await.unwrap().unwrap();
    line.talk(&mut far).await;
    assert_eq!((line.between.peer_count(), line.end.peer_count()), (2, 2));
    assert_eq!((rejected(&line.between).await, rejected(&line.end).await), (vec![], vec![]));
}

#[tokio::test]
async fn the_bare_peer_reaches_a_node_over_another() {
    let mut line = Line::new().await;
    let mut far = line.dial().await;
    line.turn(&mut far).await;
    line.talk(&mut far).await;
    assert_eq!((rejected(&line.between).await, rejected(&line.end).await), (vec![], vec![]));
}

#[tokio::test]
async fn a_node_passes_on_nothing_that_gets_no_nearer_or_that_it_is_said_to_have_sent_itself() {
    let mut line = Line::new().await;
    let (source, between, end) = (line.id(), line.between.node_id(), line.end.node_id());
    let nowhere = [
        (1, source, end),
        (0, source, end),
        (2, source, NodeId(5)),
        (u16::MAX, source, NodeId(5)),
        (2, between, end),
        (2, between, between),
    ];
    for (place, (distance, source, target)) in (1..).zip(nowhere) {
        let datagram = b"whatever".to_vec();
        line.link.send(&[Frame::Relay { distance, source, target, datagram }]).await;
        line.link.exchange().await;
        assert_eq!(rejected(&line.between).await, [(RejectReason::NoRoute, place)]);
    }
    // What is for the node itself, or goes on, is judged as if it had come straight.
    let datagram = b"whatever".to_vec();
    line.link
        .send(&[Frame::Relay { distance: 1, source, target: between, datagram: datagram.clone() }])
        .await;
    until_rejected(&line.between, RejectReason::Malformed, 1).await;
    line.send(datagram).await;
    until_rejected(&line.end, RejectReason::Malformed, 1).await;
    assert_eq!(rejected(&line.end).await, [(RejectReason::Malformed, 1)]);
}

#[tokio::test]
async fn a_node_takes_no_relayed_handshake_from_another_than_its_frame_names() {
    let mut line = Line::new().await;
    let (_, _, datagram) = line.begin().await;
    let target = line.end.node_id();
    line.link.send(&[Frame::Relay { distance: 2, source: NodeId(5), target, datagram }]).await;
    until_rejected(&line.end, RejectReason::BadIdentity, 1).await;
    assert_eq!(line.end.peer_count(), 1);
    assert_eq!(rejected(&line.end).await, [(RejectReason::BadIdentity, 1)]);
}

#[tokio::test]
async fn a_relayed_session_carries_no_relay_frames() {
    let mut line = Line::new().await;
    let mut far = line.dial().await;
    line.turn(&mut far).await;
    let (source, target, datagram) = (line.id(), line.end.node_id(), b"whatever".to_vec());
    for target in [target, line.between.node_id()] {
        let nested = Frame::Relay { distance: 2, source, target, datagram: datagram.clone() };
        line.send(far.seal(&[nested]).1).await;
    }
    until_rejected(&line.end, RejectReason::NoRoute, 2).await;
    line.talk(&mut far).await;
    assert_eq!(rejected(&line.end).await, [(RejectReason::NoRoute, 2)]);
    assert_eq!(rejected(&line.between).await, []);
}

/// The bare peer between two nodes, under one identity.
struct Middle {
    links: [Link; 2],
    ids: [NodeId; 2],
    shelf: Shelf,
    /// Every datagram that it was given to pass on, and which end's it was.
    given: Vec<(usize, Vec<u8>)>,
}

impl Middle {
    async fn new() -> ([Mesh; 2], Self) {
        Self::between(NodeConfig::new(PSK).max_datagram).await
    }

    /// Neither node sends a datagram that is longer than this.
    async fn between(max_datagram: usize) -> ([Mesh; 2], Self) {
        let config = NodeConfig { suite: Some(Suite::Aes256Gcm), max_datagram, ..NodeConfig::new(PSK) };
        let one = Pair::configured(config.clone(), 1).await;
        let mut other = Pair::configured(config, 4).await;
        other.bare.incarnation = one.bare.incarnation;
        let ((one, to_one), (other, to_other)) = (one.dial().await, other.dial().await);
        let ids = [one.node_id(), other.node_id()];
        let mut middle = Self { links: [to_one, to_other], ids, shelf: Shelf::default(), given: Vec::new() };
        let mut listed = ids;
        listed.sort();
        for link in &mut middle.links {
            let record = said(link.bare.incarnation, LINKS, links(&listed));
            say_own(link, &record).await;
        }
        ([one, other], middle)
    }

    /// Passes on what comes: records as they are, and for a datagram what `conduct` makes of it. It says where each
    /// goes by the place of its end.
    async fn run(&mut self, mut conduct: impl FnMut(usize, &[u8]) -> Vec<(usize, Vec<u8>)>) {
        loop {
            for side in [0, 1] {
                while let Some(frame) = self.links[side].connection.inbox.pop_front() {
                    match frame {
                        Frame::Record(bytes) if self.shelf.take(&bytes) == Ok(true) => {
                            self.links[1 - side].send(&[Frame::Record(bytes)]).await;
                        }
                        Frame::Relay { distance, source, target, datagram } => {
                            assert_eq!((distance, source, target), (2, self.ids[side], self.ids[1 - side]));
                            for (to, datagram) in conduct(side, &datagram) {
                                let (source, target) = (self.ids[1 - to], self.ids[to]);
                                let frame = Frame::Relay { distance: 1, source, target, datagram };
                                self.links[to].send(&[frame]).await;
                            }
                            self.given.push((side, datagram));
                        }
                        _ => {}
                    }
                }
            }
            let [one, other] = &self.links;
            let (side, packet) = tokio::select! {
                packet = one.receive() => (0, packet),
                packet = other.receive() => (1, packet),
            };
            self.links[side].take(&packet).await;
        }
    }

    /// Runs it until something is done.
    async fn during<T>(
        &mut self,
        done: impl Future<Output = T>,
        conduct: impl FnMut(usize, &[u8]) -> Vec<(usize, Vec<u8>)>,
    ) -> T {
        within("what goes over the middle", async {
            tokio::select! {
                done = done => done,
                () = async { self.run(conduct).await } => unreachable!("it runs for ever"),
            }
        })
        .await
    }
}

/// Waits until a node knows the way to another.
async fn way(mesh: &Mesh, to: NodeId) {
    while !mesh.routes().await.unwrap().iter().any(|route| route.target == to) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const SECRET: &[u8] = b"for nobody between us";

/// One node has another echo a secret.
async fn echo([one, other]: &[Mesh; 2]) {
    way(one, other.node_id()).await;
    way(other, one.node_id()).await;
    other.serve("echo", async |request: Request| Ok(request.body));
    let body = SECRET.repeat(10_000);
    let answer = one.call(other.node_id(), "echo", body.clone(), CallOptions::default()).await;
    assert!(answer.unwrap() == body);
}

#[tokio::test]
async fn two_nodes_talk_over_the_bare_peer_which_cannot_read_them() {
    let (meshes, mut middle) = Middle::new().await;
    middle.during(echo(&meshes), |side, datagram| vec![(1 - side, datagram.to_vec())]).await;
    let kinds = |side| {
        let of_side = middle.given.iter().filter(move |(from, _)| *from == side);
        of_side.map(|(_, datagram)| datagram[0]).collect::<std::collections::BTreeSet<_>>()
    };
    // One dials, the other answers, and both talk.
    assert_eq!((kinds(0), kinds(1)), ([1, 3, 4].into(), [2, 4].into()));
    for (_, datagram) in &middle.given {
        assert!(datagram.len() <= MAX_RELAYED);
        assert!(!datagram.windows(SECRET.len()).any(|window| window == SECRET));
        for link in &middle.links {
            assert!(link.connection.open(datagram).is_err());
        }
    }
    for mesh in &meshes {
        assert_eq!(rejected(mesh).await, []);
        assert_eq!(mesh.peer_count(), 2);
    }
}

#[tokio::test]
async fn a_relayed_datagram_is_as_long_as_the_datagram_that_carries_it_leaves_room_for() {
    for max_datagram in [512, 1_452, 65_507] {
        let (meshes, mut middle) = Middle::between(max_datagram).await;
        middle.during(echo(&meshes), |side, datagram| vec![(1 - side, datagram.to_vec())]).await;
        // Outside 33 bytes and a frame's 23; inside one that only a frame which goes on with a connection would take.
        let longest = middle.given.iter().map(|(_, datagram)| datagram.len()).max();
        assert_eq!(longest, Some(max_datagram - 56 - 1));
        for (mesh, link) in meshes.iter().zip(&middle.links) {
            assert!(link.bare.longest.get() <= max_datagram);
            assert_eq!(rejected(mesh).await, []);
        }
    }
}

#[tokio::test]
async fn a_bare_peer_between_two_nodes_that_alters_and_repeats_what_it_carries_is_seen_through() {
    let (meshes, mut middle) = Middle::new().await;
    let alter = |side: usize, datagram: &[u8]| {
        let mut altered = datagram.to_vec();
        *altered.last_mut().expect("no datagram is empty") ^= 1;
        let all = if datagram[0] == 4 {
            vec![altered, datagram.to_vec(), datagram.to_vec()]
        } else {
            vec![datagram.to_vec()]
        };
        all.into_iter().map(|datagram| (1 - side, datagram)).collect()
    };
    middle.during(echo(&meshes), alter).await;
    for mesh in &meshes {
        let reasons: Vec<_> = rejected(mesh).await.into_iter().map(|(reason, _)| reason).collect();
        assert_eq!(reasons, [RejectReason::AuthFailed, RejectReason::Replayed]);
    }
}

#[tokio::test]
async fn a_bare_peer_between_two_nodes_cannot_pass_for_the_other_end() {
    let (meshes, mut middle) = Middle::new().await;
    let (keys, incarnation) = (middle.links[0].bare.keys.clone(), middle.links[0].bare.incarnation);
    let pretend = |side: usize, datagram: &[u8]| {
        let mut handshake = Handshake::new(false, datagram[1], &PSK, &keys, fresh_seed(1)).unwrap();
        let (_, to) = handshake.read_initiation(datagram).expect("nothing follows a first message");
        vec![(side, handshake.write_response(to, BARE_INDEX + 6, incarnation).unwrap())]
    };
    let [one, other] = &meshes;
    let dial = async {
        way(one, other.node_id()).await;
        one.connect_relayed(other.node_id()).await
    };
    assert!(middle.during(dial, pretend).await.is_err());
    let rejected = rejected(one).await;
    assert!(matches!(rejected[..], [(RejectReason::BadIdentity, 1..)]), "{rejected:?}");
    assert!(middle.given.iter().all(|(side, datagram)| (*side, datagram[0]) == (0, 1)));
}
