//! Whole nodes, driven by bytes: what is done, when, and what becomes of datagrams on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use meshground_node::{
    CallError, CallEvent, CallId, Identity, Instant, Node, NodeConfig, NodeEvent, NodeId, Now, RejectReason,
    RekeyConfig, StreamEvent, StreamId, Suite, WallTime, vectors::End, vectors::Insider, vectors::Terms,
};

use crate::input::Input;

const PSK: [u8; 32] = [42; 32];
const WALL_START_US: u64 = 1_700_000_000_000_000;

/// So many datagrams may be under way.
const MAX_UNDER_WAY: usize = 512;
/// So much may one operation cause before it counts as an endless loop.
const MAX_CONSEQUENCES: usize = 100_000;
/// So many handles of each kind are kept.
const MAX_HANDLES: usize = 64;

const SECOND: u64 = 1_000_000;

/// A node and what its application would know.
struct Member {
    node: Node,
    address: SocketAddr,
    identity: Identity,
    life: u64,
    streams: Vec<(NodeId, StreamId)>,
    calls: Vec<CallId>,
    inbox: Vec<(NodeId, Vec<u8>)>,
    /// Every counter used in this life, by the receiver's index.
    sealed: BTreeMap<u32, BTreeSet<u64>>,
}

/// Members, the time, and the datagrams between them.
struct World {
    members: Vec<Member>,
    micros: u64,
    under_way: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Datagrams for the insider, who has no node.
    for_insider: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    messages_sent: u64,
}

fn address(number: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1_000 + u16::try_from(number).unwrap_or(u16::MAX)).into()
}

/// Where the insider is.
fn outside() -> SocketAddr {
    address(99)
}

fn config(number: usize) -> NodeConfig {
    NodeConfig {
        suite: Some(Suite::ALL[number % 2]),
        // As small as can be: the limits come within reach.
        max_queued: 65_536,
        rekey: RekeyConfig { interval: Duration::from_secs(15), packets: 64 },
        ..NodeConfig::new(PSK)
    }
}

impl Member {
    fn new(number: usize, life: u64, now: Now) -> Self {
        let seed = [u8::try_from(number).unwrap_or(u8::MAX); 32];
        let mut random = [0; 32];
        random[..8].copy_from_slice(&(number as u64).to_le_bytes());
        random[8..16].copy_from_slice(&life.to_le_bytes());
        let identity = Identity::from_seed(seed);
        let node =
            Node::new(config(number), identity.clone(), random, now).expect("the configuration is sound");
        Self {
            node,
            address: address(number),
            identity,
            life,
            streams: Vec::new(),
            calls: Vec::new(),
            inbox: Vec::new(),
            sealed: BTreeMap::new(),
        }
    }

    fn learn(&mut self, event: &NodeEvent) {
        match *event {
            NodeEvent::Stream { peer, event: StreamEvent::Opened(stream) } => self.keep_stream(peer, stream),
            NodeEvent::Call(CallEvent::Requested { call, .. }) => self.keep_call(call),
            _ => {}
        }
    }

    fn keep_stream(&mut self, peer: NodeId, stream: StreamId) {
        if self.streams.len() == MAX_HANDLES {
            self.streams.remove(0);
        }
        self.streams.push((peer, stream));
    }

    fn keep_call(&mut self, call: CallId) {
        if self.calls.len() == MAX_HANDLES {
            self.calls.remove(0);
        }
        self.calls.push(call);
    }

    /// What never must be exceeded.
    fn check_bounds(&self) {
        let peers = self.node.peers().count();
        assert!(peers <= 3, "there are no more identities than that");
        assert!(self.node.queued() <= peers.max(1) * 512 * 1_024, "{} bytes wait", self.node.queued());
        assert!(self.node.open_streams() <= peers * 2 * 4_096);
        self.node.gauges(&mut |gauge| assert!(gauge.held <= gauge.limit, "{gauge:?}"));
    }
}

impl World {
    fn new(count: usize) -> Self {
        let mut world = Self {
            members: Vec::new(),
            micros: 1,
            under_way: Vec::new(),
            for_insider: Vec::new(),
            buffer: Vec::new(),
            messages_sent: 0,
        };
        for number in 0..count {
            let member = Member::new(number, 0, world.now());
            world.members.push(member);
        }
        world
    }

    fn now(&self) -> Now {
        Now { instant: Instant::from_micros(self.micros), wall: WallTime(WALL_START_US + self.micros) }
    }

    /// Does something with a node, then everything that follows from it.
    fn act<T>(&mut self, number: usize, action: impl FnOnce(&mut Member, Now) -> T) -> T {
        let now = self.now();
        let outcome = action(&mut self.members[number], now);
        self.drain(number, now);
        outcome
    }

    fn drain(&mut self, number: usize, now: Now) {
        for step in 0.. {
            assert!(step < MAX_CONSEQUENCES, "it never ends");
            let member = &mut self.members[number];
            while let Some(event) = member.node.poll_event() {
                member.learn(&event);
            }
            let received: Vec<_> =
                member.node.take_messages().iter().map(|(from, payload)| (from, payload.to_vec())).collect();
            member.inbox.extend(received);
            self.buffer.clear();
            let Some(transmit) = member.node.poll_transmit(now, &mut self.buffer) else { break };
            assert_eq!(transmit.len, self.buffer.len());
            assert!((32..=1_452).contains(&transmit.len));
            if let [4, 0, 0, 0, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7, ..] = *self.buffer {
                let index = u32::from_le_bytes([i0, i1, i2, i3]);
                let counter = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
                let fresh = member.sealed.entry(index).or_default().insert(counter);
                assert!(fresh, "counter {counter} was used twice for index {index}");
            }
            let (from, datagram) = (member.address, self.buffer.clone());
            if transmit.to == outside() {
                self.for_insider.push(datagram);
            } else if self.under_way.len() < MAX_UNDER_WAY {
                self.under_way.push((from, transmit.to, datagram));
            }
        }
        self.members[number].check_bounds();
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, mut datagram: Vec<u8>) {
        if let Some(number) = self.members.iter().position(|member| member.address == to) {
            self.act(number, |member, now| member.node.handle_datagram(now, from, &mut datagram));
        }
    }

    /// Everything arrives, in order, until nothing is under way.
    fn settle(&mut self) {
        for _ in 0..64 {
            let arriving = std::mem::take(&mut self.under_way);
            if arriving.is_empty() {
                return;
            }
            for (from, to, datagram) in arriving {
                self.deliver(from, to, datagram);
            }
        }
    }

    /// Time passes; each timeout comes when it is due.
    fn pass(&mut self, micros: u64) {
        let end = self.micros.saturating_add(micros);
        for step in 0.. {
            assert!(step < MAX_CONSEQUENCES, "a timeout comes again and again");
            let due = self.members.iter().filter_map(|member| member.node.poll_timeout()).min();
            let Some(due) = due.map(Instant::as_micros).filter(|due| *due <= end) else { break };
            self.micros = self.micros.max(due);
            for number in 0..self.members.len() {
                self.act(number, |member, now| member.node.handle_timeout(now));
            }
        }
        self.micros = end;
    }

    fn restart(&mut self, number: usize) {
        self.micros += 1;
        let life = self.members[number].life + 1;
        self.members[number] = Member::new(number, life, self.now());
    }

    /// Sends a message unlike any other.
    fn send(&mut self, number: usize, peer: NodeId, len: usize) {
        self.messages_sent += 1;
        let mut payload = self.messages_sent.to_le_bytes().to_vec();
        payload.resize(len.max(8), 0x5a);
        self.act(number, |member, now| member.node.send(now, peer, &payload).is_ok());
    }

    /// One operation of the application of member `number`, toward `peer`.
    fn operate(&mut self, number: usize, peer: NodeId, input: &mut Input<'_>) {
        let which = input.choice(16);
        if which == 0 {
            let len = usize::try_from(input.number() % 70_000).unwrap_or_default();
            return self.send(number, peer, len);
        }
        self.act(number, |member, now| operate(member, now, which, peer, input));
    }
}

fn operate(member: &mut Member, now: Now, which: usize, peer: NodeId, input: &mut Input<'_>) {
    let pick = input.choice(MAX_HANDLES);
    let stream = member.streams.get(pick % member.streams.len().max(1)).copied();
    let call = member.calls.get(pick % member.calls.len().max(1)).copied();
    let node = &mut member.node;
    let filled =
        |input: &mut Input<'_>| vec![0x5a; usize::try_from(input.number() % 300_000).unwrap_or_default()];
    match (which, stream, call) {
        (1, ..) => {
            if let Ok(stream) = node.open_stream(now, peer) {
                member.keep_stream(peer, stream);
            }
        }
        (2 | 3, Some((peer, stream)), _) => _ = node.write_stream(now, peer, stream, &filled(input)),
        (4, Some((peer, stream)), _) => _ = node.finish_stream(now, peer, stream),
        (5, Some((peer, stream)), _) => _ = node.reset_stream(now, peer, stream, input.number()),
        (6, Some((peer, stream)), _) => _ = node.stop_stream(now, peer, stream, input.number()),
        (7 | 8, Some((peer, stream)), _) => {
            let mut out = Vec::new();
            let most = usize::try_from(input.number()).unwrap_or(usize::MAX);
            if let Ok(Some(read)) = node.read_stream(now, peer, stream, most, &mut out) {
                assert!(read == out.len() && read <= most);
            }
        }
        (9, ..) => {
            let wait = (input.byte() > 64).then(|| Duration::from_micros(input.number()));
            if let Ok(call) = node.call(now, peer, "method", &filled(input), wait) {
                member.keep_call(call);
            }
        }
        (10, _, Some(call)) => _ = node.reply(now, call, &filled(input)),
        (11, _, Some(call)) => {
            let outcome = match input.choice(4) {
                0 => Ok(()),
                1 => Err(CallError::Failed),
                2 => Err(CallError::Lost),
                _ => Err(CallError::Refused { code: input.number(), reason: "ä".repeat(pick * 32) }),
            };
            let _ = node.end_reply(now, call, outcome);
        }
        (12, _, Some(call)) => node.cancel_call(now, call),
        (13, _, Some(call)) => {
            let bytes = usize::try_from(input.number()).unwrap_or(usize::MAX);
            node.release_items(now, call, u32::from(input.byte()), bytes);
        }
        (14, ..) => _ = node.disconnect(now, peer),
        (15, ..) => _ = node.connect(now, address(input.choice(3)), (pick > 48).then_some(peer)),
        _ => {}
    }
}

/// Two nodes that do what they may, over a network that does what it likes.
///
/// Nothing panics or goes on for ever, no counter is used twice, every message arrives unaltered and at most once, and
/// what a node holds is bounded.
pub fn two_nodes(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut world = World::new(2);
    world.act(0, |member, now| member.node.connect(now, address(1), None));
    world.settle();
    let mut seen: [BTreeSet<u64>; 2] = Default::default();
    while !input.is_empty() {
        let number = input.choice(2);
        let peer = world.members[1 - number].identity.node_id();
        match input.choice(16) {
            0..=5 => world.operate(number, peer, &mut input),
            8 => {
                let millis = 1 + u64::from(input.byte());
                world.pass(millis * 1_000);
            }
            9 => world.pass(u64::from(input.byte() % 32) * SECOND),
            10 | 11 => disturb(&mut world, &mut input),
            12 => {
                // The driver was late: time passes and nobody looks.
                world.micros += u64::from(input.byte()) * 50_000;
            }
            13 => {
                let len = 16 + usize::from(input.byte());
                let (from, datagram) = (address(input.choice(3)), input.bytes(len).to_vec());
                world.deliver(from, address(number), datagram);
            }
            14 if input.byte() < 16 => world.restart(number),
            15 if input.byte() < 8 => world.act(number, |member, now| member.node.leave(now)),
            _ => world.settle(),
        }
        for (number, seen) in seen.iter_mut().enumerate() {
            let other = world.members[1 - number].identity.node_id();
            for (from, payload) in std::mem::take(&mut world.members[number].inbox) {
                assert_eq!(from, other);
                let (which, filler) =
                    payload.split_first_chunk().expect("every message begins with its number");
                let which = u64::from_le_bytes(*which);
                assert!(which <= world.messages_sent && filler.iter().all(|byte| *byte == 0x5a));
                assert!(seen.insert(which), "message {which} arrived twice");
            }
        }
    }
}

/// The network does something to a datagram.
fn disturb(world: &mut World, input: &mut Input<'_>) {
    if world.under_way.is_empty() {
        return;
    }
    let at = input.choice(256) % world.under_way.len();
    let (from, to, mut datagram) = world.under_way[at].clone();
    match input.choice(5) {
        0 => _ = world.under_way.remove(at),
        1 => world.deliver(from, to, datagram),
        2 => {
            let byte = usize::from(input.byte()) * 7 % datagram.len();
            datagram[byte] ^= input.byte().max(1);
            world.deliver(from, to, datagram);
        }
        3 => {
            datagram.truncate(usize::from(input.byte()) * 6);
            world.deliver(from, to, datagram);
        }
        // From somewhere else, as after a move or by somebody who copied it.
        _ => world.deliver(address(input.choice(4)), to, datagram),
    }
}

/// A node, and a member of the mesh that says whatever it likes under a session's keys.
///
/// Nothing panics or goes on for ever, and what the node holds is bounded.
pub fn insider(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut world = World::new(1);
    let (mut insider, mut peer) = enter(&mut world, 0);
    let mut entered = 1;
    while !input.is_empty() {
        let packet = match input.choice(8) {
            0..=4 => {
                let mut frames = Vec::new();
                for _ in 0..=input.choice(6) {
                    put_frame(&mut input, &mut frames);
                }
                insider.seal(&frames)
            }
            5 => {
                world.operate(0, peer, &mut input);
                None
            }
            6 => {
                world.pass((1 + u64::from(input.byte())) * 1_000);
                None
            }
            _ => {
                let len = usize::from(input.byte());
                insider.seal(input.bytes(len))
            }
        };
        if let Some(packet) = packet {
            world.deliver(outside(), address(0), packet);
        }
        for mut datagram in std::mem::take(&mut world.for_insider) {
            if datagram[0] == 4 {
                assert!(insider.open(&mut datagram).is_some(), "the node sends sound packets");
            }
        }
        world.members[0].inbox.clear();
        // It left or was thrown out, and comes again.
        if world.members[0].node.peers().count() == 0 {
            world.pass(SECOND);
            (insider, peer) = enter(&mut world, entered);
            entered = entered.wrapping_add(1);
        }
    }
    // What it seals authenticates, and is new. What it has relayed to the node may be anything.
    for reason in [RejectReason::AuthFailed, RejectReason::Replayed] {
        assert_eq!(world.members[0].node.rejected(reason), 0, "{reason:?}");
    }
}

/// Shakes hands with the only node, for the `life`th time; the insider, and its id.
fn enter(world: &mut World, life: u8) -> (Insider, NodeId) {
    let terms = Terms {
        suite: Suite::ALL[usize::from(life) % 2],
        psk: PSK,
        begun: world.now().wall.0,
        // None to go on with.
        connection: 0,
    };
    let mut random = [201; 32];
    random[..8].copy_from_slice(&world.micros.to_le_bytes());
    let end = End { seed: [200; 32], random, index: u32::from(life), incarnation: world.micros };
    let (mut insider, initiation) = Insider::dial(&terms, &end);
    world.for_insider.clear();
    world.deliver(outside(), address(0), initiation);
    let response = world.for_insider.pop().expect("the node answers");
    let confirm = insider.confirm(&response).expect("its answer is sound");
    world.deliver(outside(), address(0), confirm);
    assert_eq!(world.members[0].node.peers().count(), 1);
    (insider, Identity::from_seed(end.seed).node_id())
}

/// Appends a frame that has the form of one, whatever its numbers.
fn put_frame(input: &mut Input<'_>, out: &mut Vec<u8>) {
    let kind = 1 + u8::try_from(input.choice(20)).unwrap_or_default();
    out.push(kind);
    let fixed = |len: usize, input: &mut Input<'_>, out: &mut Vec<u8>| {
        let number = input.number().to_le_bytes();
        out.extend_from_slice(&number[..len]);
    };
    let numbers = |count: usize, input: &mut Input<'_>, out: &mut Vec<u8>| {
        (0..count).for_each(|_| put_number(input.number(), out));
    };
    match kind {
        1 => {
            fixed(8, input, out);
            fixed(4, input, out);
        }
        2 | 18 => fixed(8, input, out),
        6 => {
            numbers(2, input, out);
            let more = input.choice(8);
            put_number(more as u64, out);
            numbers(1 + 2 * more, input, out);
        }
        7 | 17 | 19 => put_bytes(input, out),
        8 => {
            numbers(3, input, out);
            put_bytes(input, out);
        }
        9 | 10 => {
            // Streams of either end, and of calls: mostly the first few.
            numbers(2, input, out);
            put_bytes(input, out);
        }
        11 => numbers(3, input, out),
        12 | 14 => numbers(2, input, out),
        13 | 15 => numbers(1, input, out),
        16 => {
            fixed(2, input, out);
            fixed(8, input, out);
            fixed(8, input, out);
            put_bytes(input, out);
        }
        _ => {}
    }
}

fn put_bytes(input: &mut Input<'_>, out: &mut Vec<u8>) {
    let len = usize::from(input.byte());
    let bytes = input.bytes(len);
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A number of one to eight bytes (RFC 9000, section 16), cut to 62 bits.
fn put_number(number: u64, out: &mut Vec<u8>) {
    let number = number & ((1 << 62) - 1);
    let bytes = number.to_be_bytes();
    match number {
        0..=0x3f => out.push(bytes[7]),
        0x40..=0x3fff => out.extend_from_slice(&[bytes[6] | 0x40, bytes[7]]),
        _ => {
            out.push(bytes[0] | 0xc0);
            out.extend_from_slice(&bytes[1..]);
        }
    }
}
