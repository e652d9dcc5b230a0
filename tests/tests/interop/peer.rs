//! The bare peer on a UDP socket, beside a mesh node: one thing at a time, each sent again until it is acknowledged.

use std::{
    cell::Cell,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use meshground::{Mesh, MeshBuilder, Messages};
use meshground_node::{Identity, NodeConfig, RejectReason, Suite};
use meshground_tests::{
    bare::{
        Connection, Ephemeral, Frame, Handshake, Incoming, Keys, Kind, Packet, Session, connection_number,
    },
    waiting::{here, within},
};
use tokio::{net::UdpSocket, task::JoinHandle};

/// What was not acknowledged for so long is sent again.
pub(crate) const REPEAT: Duration = Duration::from_millis(250);

/// How many bytes of a stream the bare peer sends at a time. A node takes datagrams of any length.
pub(crate) const PIECE: usize = 16 << 10;

pub(crate) const PSK: [u8; 32] = [42; 32];
/// The first index the bare peer wants to be addressed under.
pub(crate) const BARE_INDEX: u32 = 0x0bad_cafe;
/// No connection to go on with.
pub(crate) const NONE: u64 = 0;

pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_micros().try_into().unwrap()
}

/// Nothing random may come twice, not even in a test: a node remembers ephemeral keys.
pub(crate) fn fresh_seed(suite: u8) -> Ephemeral {
    let mut seed = [suite; 32];
    seed[..8].copy_from_slice(&unix_micros().to_le_bytes());
    Ephemeral::Seeded(seed)
}

/// Bytes of which no two stretches are alike by chance.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| u8::try_from(place / 3 % 251).unwrap()).collect()
}

/// A mesh node that offers a suite, and the peer written from the specification.
pub(crate) struct Pair {
    pub(crate) mesh: Mesh,
    pub(crate) inbox: Messages,
    pub(crate) bare: Bare,
}

impl Pair {
    pub(crate) async fn new(suite: Suite) -> Self {
        Self::grown(suite, 1).await
    }

    /// The node grows from this byte.
    pub(crate) async fn grown(suite: Suite, seed: u8) -> Self {
        Self::configured(NodeConfig { suite: Some(suite), ..NodeConfig::new(PSK) }, seed).await
    }

    /// The same, of any other node.
    pub(crate) async fn configured(config: NodeConfig, seed: u8) -> Self {
        let identity = Identity::from_seed([seed; 32]);
        let mesh = MeshBuilder::new(here(), PSK).config(config).identity(identity).build().await.unwrap();
        let socket = UdpSocket::bind(here()).await.unwrap();
        let keys = Keys::grow(&[2; 32]).unwrap();
        let (peer, longest) = (mesh.local_addr(), Cell::new(0));
        let bare = Bare { keys, socket, peer, incarnation: unix_micros(), longest };
        Self { inbox: mesh.messages(), mesh, bare }
    }

    /// A connection begins with this session; both ends call it `name`.
    pub(crate) fn link(self, session: Session, name: u64) -> (Mesh, Messages, Link) {
        let Self { mesh, inbox, bare } = self;
        let connection = Connection::new(session, bare.keys.node_id < mesh.node_id());
        (mesh, inbox, Link { bare, connection, name })
    }

    /// The bare peer dials, and a connection stands.
    pub(crate) async fn dialled() -> (Mesh, Link) {
        Self::new(Suite::Aes256Gcm).await.dial().await
    }

    /// The same of this pair.
    pub(crate) async fn dial(self) -> (Mesh, Link) {
        let (begun, session) = self.bare.dial(&self.mesh, 1, BARE_INDEX, NONE).await;
        let name = connection_number(begun, self.bare.keys.node_id < self.mesh.node_id());
        let (mesh, _, mut link) = self.link(session, name);
        // By the answer the session stands at the node.
        link.exchange().await;
        (mesh, link)
    }

    /// The node dials, and a connection stands.
    pub(crate) async fn answered() -> (Mesh, Link) {
        let pair = Self::new(Suite::Aes256Gcm).await;
        let dial = pair.bare.be_dialled(&pair.mesh);
        let Answered { begun, named, session } = pair.bare.answer(&pair.mesh, 1, BARE_INDEX).await;
        assert_eq!(named, NONE);
        let name = connection_number(begun, pair.mesh.node_id() < pair.bare.keys.node_id);
        let (mesh, _, mut link) = pair.link(session, name);
        // The first packet confirms the session at the initiator.
        link.send(&[Frame::Ping { stamp: 1, silence_ms: 0 }]).await;
        within("the dial", dial).await.unwrap();
        (mesh, link)
    }
}

/// What comes of answering a handshake.
pub(crate) struct Answered {
    pub(crate) begun: u64,
    /// The connection the initiator would go on with.
    pub(crate) named: u64,
    pub(crate) session: Session,
}

pub(crate) struct Bare {
    pub(crate) keys: Keys,
    pub(crate) socket: UdpSocket,
    pub(crate) peer: SocketAddr,
    pub(crate) incarnation: u64,
    /// How long the longest datagram was that came.
    pub(crate) longest: Cell<usize>,
}

impl Bare {
    pub(crate) async fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 65_536];
        let (len, from) = within("a datagram", self.socket.recv_from(&mut datagram)).await.unwrap();
        assert_eq!(from, self.peer);
        self.longest.set(self.longest.get().max(len));
        datagram.truncate(len);
        datagram
    }

    /// The next datagram of a kind; what is of others is passed over, as if it had been lost.
    pub(crate) async fn receive_kind(&self, kind: u8) -> Vec<u8> {
        loop {
            let datagram = self.receive().await;
            if datagram[0] == kind {
                return datagram;
            }
        }
    }

    pub(crate) async fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.peer).await.unwrap();
    }

    /// Shakes hands with the node. When that began, and the session.
    pub(crate) async fn dial(&self, mesh: &Mesh, suite: u8, index: u32, named: u64) -> (u64, Session) {
        let begun = unix_micros();
        let mut handshake = Handshake::new(true, suite, &PSK, &self.keys, fresh_seed(suite)).unwrap();
        self.send(&handshake.write_initiation(begun, index).unwrap()).await;
        let response = self.receive_kind(2).await;
        let (to, introduced) = handshake.read_response(index, &response).unwrap();
        assert_eq!(introduced.node_id, mesh.node_id());
        assert!(introduced.incarnation.abs_diff(unix_micros()) < 60_000_000, "a wall clock in microseconds");
        let confirm = handshake.write_confirm(to, named, self.incarnation).unwrap();
        assert_eq!(confirm.len(), 184);
        self.send(&confirm).await;
        (begun, handshake.session(index, to).unwrap())
    }

    /// Has the node dial.
    pub(crate) fn be_dialled(&self, mesh: &Mesh) -> JoinHandle<()> {
        let (mesh, address, id) = (mesh.clone(), self.socket.local_addr().unwrap(), self.keys.node_id);
        tokio::spawn(async move { assert_eq!(mesh.connect(address).await, Ok(id)) })
    }

    /// Answers the node's handshake, up to the packet that confirms the session.
    pub(crate) async fn answer(&self, mesh: &Mesh, suite: u8, index: u32) -> Answered {
        let mut handshake = Handshake::new(false, suite, &PSK, &self.keys, fresh_seed(suite)).unwrap();
        let (begun, to) = handshake.read_initiation(&self.receive_kind(1).await).unwrap();
        assert!(begun.abs_diff(unix_micros()) < 60_000_000, "a wall clock in microseconds");
        self.send(&handshake.write_response(to, index, self.incarnation).unwrap()).await;
        let confirm = self.receive_kind(3).await;
        let (named, introduced) = handshake.read_confirm(index, &confirm).unwrap();
        assert_eq!(introduced.node_id, mesh.node_id());
        Answered { begun, named, session: handshake.session(index, to).unwrap() }
    }
}

/// A connection between the bare peer and the node.
pub(crate) struct Link {
    pub(crate) bare: Bare,
    pub(crate) connection: Connection,
    /// What both ends call the connection.
    pub(crate) name: u64,
}

impl Link {
    /// The next data packet, without any effect yet.
    pub(crate) async fn receive(&self) -> Packet {
        self.connection.open(&self.bare.receive_kind(4).await).expect("a sound packet")
    }

    /// A packet takes effect, and is answered.
    pub(crate) async fn take(&mut self, packet: &Packet) {
        self.connection.take(packet).expect("nothing new, and nothing beyond a limit");
        if self.connection.owes() {
            self.send(&[]).await;
        }
    }

    /// Takes the next packet. What it said.
    pub(crate) async fn turn(&mut self) -> Vec<Frame> {
        let packet = self.receive().await;
        self.take(&packet).await;
        packet.frames
    }

    /// Sends one packet. Its number.
    pub(crate) async fn send(&mut self, frames: &[Frame]) -> u64 {
        let (number, datagram) = self.connection.seal(frames);
        self.bare.send(&datagram).await;
        number
    }

    /// Takes packets until a frame comes that is `wanted`.
    pub(crate) async fn expect(&mut self, wanted: impl Fn(&Frame) -> bool) {
        within("a frame", async { while !self.turn().await.iter().any(&wanted) {} }).await;
    }

    /// Takes packets until something is true of the connection.
    pub(crate) async fn until(&mut self, what: &str, mut wanted: impl FnMut(&Connection) -> bool) {
        within(what, async {
            while !wanted(&self.connection) {
                self.turn().await;
            }
        })
        .await;
    }

    /// Takes packets until something has come in that is `wanted`, and takes that out.
    pub(crate) async fn pick<T>(&mut self, what: &str, mut wanted: impl FnMut(&Frame) -> Option<T>) -> T {
        within(what, async {
            loop {
                let mut inbox = self.connection.inbox.iter().enumerate();
                if let Some((place, found)) = inbox.find_map(|(place, frame)| Some((place, wanted(frame)?))) {
                    self.connection.inbox.remove(place);
                    return found;
                }
                self.turn().await;
            }
        })
        .await
    }

    /// Whatever the node sent before this has been taken when it returns, and whatever was sent to it has been read.
    pub(crate) async fn exchange(&mut self) {
        let stamp = unix_micros();
        self.send(&[Frame::Ping { stamp, silence_ms: 0 }]).await;
        self.expect(|frame| *frame == Frame::Pong(stamp)).await;
    }

    /// Sends frames until one of the packets that carry them is acknowledged.
    pub(crate) async fn deliver(&mut self, frames: &[Frame]) {
        let mut numbers = Vec::new();
        let delivered = async {
            loop {
                numbers.push(self.send(frames).await);
                let settled = async {
                    while !numbers.iter().any(|number| self.connection.is_settled(*number)) {
                        self.turn().await;
                    }
                };
                if tokio::time::timeout(REPEAT, settled).await.is_ok() {
                    return;
                }
            }
        };
        within("an acknowledgement", delivered).await;
    }

    /// Sends on a stream from `offset` on, as far as and as soon as there is room.
    pub(crate) async fn send_on(&mut self, stream: u64, mut offset: usize, data: &[u8], end: bool) {
        let mut left = data;
        while !left.is_empty() {
            let room = |connection: &Connection| usize::try_from(connection.room(stream)).unwrap();
            self.until("room on a stream", |connection| room(connection) > 0).await;
            let (piece, rest) = left.split_at(left.len().min(PIECE).min(room(&self.connection)));
            let frame = self.connection.piece(stream, offset as u64, piece, end && rest.is_empty());
            self.deliver(&[frame]).await;
            offset += piece.len();
            left = rest;
        }
    }

    /// The next stream the node opens.
    pub(crate) async fn accept(&mut self, kind: Kind) -> u64 {
        self.until("a stream", |connection| connection.opened(kind).next().is_some()).await;
        self.connection.opened(kind).last().unwrap()
    }

    /// Reads streams to their ends, telling limits as they rise.
    pub(crate) async fn read_all(&mut self, streams: &[u64]) -> Vec<Vec<u8>> {
        let mut read = vec![Vec::new(); streams.len()];
        let done = async {
            loop {
                let mut told = Vec::new();
                for (stream, read) in streams.iter().zip(&mut read) {
                    told.extend(self.connection.read(*stream, read));
                }
                if !told.is_empty() {
                    self.deliver(&told).await;
                    continue;
                }
                let over = |stream| self.connection.streams.get(stream).is_some_and(Incoming::is_over);
                if streams.iter().all(over) {
                    return;
                }
                self.turn().await;
            }
        };
        within("the ends of streams", done).await;
        read
    }

    /// Reads a stream to its end.
    pub(crate) async fn read(&mut self, stream: u64) -> Vec<u8> {
        self.read_all(&[stream]).await.remove(0)
    }
}

/// The node has thrown away as many packets as is said for a frame that breaks a rule, and nothing else.
pub(crate) async fn assert_bad_frames(mesh: &Mesh, count: u64) {
    for reason in RejectReason::ALL {
        let expected = if reason == RejectReason::BadFrame { count } else { 0 };
        assert_eq!(mesh.rejected(reason).await, Ok(expected), "{reason:?}");
    }
}
