//! A mesh node and a bare Noise peer that was written from `PROTOCOL.md`, over a real UDP socket.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use meshground::{Mesh, MeshBuilder, Messages};
use meshground_node::{Identity, NodeConfig, RejectReason, Role, Suite};
use meshground_tests::bare::{Ephemeral, Frame, Handshake, Keys, Session};
use meshground_tests::waiting::{here, within};
use tokio::net::UdpSocket;

const PSK: [u8; 32] = [42; 32];
const BARE_INDEX: u32 = 0x0bad_cafe;
/// No connection to go on with.
const NONE: u64 = 0;

fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_micros().try_into().unwrap()
}

/// Nothing random may come twice, not even in a test: a node remembers ephemeral keys.
fn fresh_seed(suite: u8) -> Ephemeral {
    let mut seed = [suite; 32];
    seed[..8].copy_from_slice(&unix_micros().to_le_bytes());
    Ephemeral::Seeded(seed)
}

/// A mesh node that offers `suite`, and the peer written from the specification.
struct Pair {
    mesh: Mesh,
    inbox: Messages,
    bare: Bare,
}

struct Bare {
    keys: Keys,
    socket: UdpSocket,
    peer: SocketAddr,
}

impl Bare {
    async fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 65_536];
        let (len, from) = within("a datagram", self.socket.recv_from(&mut datagram)).await.unwrap();
        assert_eq!(from, self.peer);
        datagram.truncate(len);
        datagram
    }

    /// The next datagram of a kind; what repeats an earlier step is passed over.
    async fn receive_kind(&self, kind: u8) -> Vec<u8> {
        loop {
            let datagram = self.receive().await;
            if datagram[0] == kind {
                return datagram;
            }
        }
    }

    async fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.peer).await.unwrap();
    }

    /// Answers pings until a frame comes that is `wanted`.
    async fn expect(&self, session: &mut Session, wanted: impl Fn(&Frame) -> bool) {
        loop {
            let (_, frames) = session.open(&self.receive_kind(4).await).expect("a sound packet");
            let pongs: Vec<_> = frames
                .iter()
                .filter_map(|frame| match frame {
                    Frame::Ping { stamp, .. } => Some(Frame::Pong(*stamp)),
                    _ => None,
                })
                .collect();
            if !pongs.is_empty() {
                self.send(&session.seal(&pongs)).await;
            }
            if frames.iter().any(&wanted) {
                return;
            }
        }
    }
}

impl Pair {
    async fn new(suite: Suite) -> Self {
        let config = NodeConfig { suite: Some(suite), ..NodeConfig::new(PSK) };
        let identity = Identity::from_seed([1; 32]);
        let mesh = MeshBuilder::new(here(), PSK).config(config).identity(identity).build().await.unwrap();
        let socket = UdpSocket::bind(here()).await.unwrap();
        let keys = Keys::grow(&[2; 32]).unwrap();
        let bare = Bare { keys, socket, peer: mesh.local_addr() };
        Self { inbox: mesh.messages(), mesh, bare }
    }

    /// A confirmed session does all that a session must.
    async fn talk(mut self, mut session: Session, role: Role) {
        let Self { mesh, inbox, bare } = &mut self;
        let id = bare.keys.node_id;

        // The node pings at once, and the bare peer's own ping comes back.
        bare.expect(&mut session, |frame| matches!(frame, Frame::Ping { .. })).await;
        bare.send(&session.seal(&[Frame::Ping { stamp: 77, silence_ms: 0 }])).await;
        bare.expect(&mut session, |frame| *frame == Frame::Pong(77)).await;

        bare.send(&session.seal(&[Frame::Message(b"from the bare peer".to_vec())])).await;
        let message = within("the message", inbox.recv()).await.expect("the node is up");
        assert_eq!((message.from, &*message.payload), (id, &b"from the bare peer"[..]));

        mesh.send(id, b"from the mesh").await.unwrap();
        bare.expect(&mut session, |frame| *frame == Frame::Message(b"from the mesh".to_vec())).await;

        let peers = mesh.stats().await.unwrap();
        let [peer] = &peers[..] else { panic!("one peer, not {peers:?}") };
        assert_eq!((peer.id, peer.role), (id, role));
        assert!(peer.rtt.is_some(), "a pong of the bare peer was taken");
        for reason in RejectReason::ALL {
            assert_eq!(mesh.rejected(reason).await, Ok(0), "{reason:?}");
        }
        mesh.shutdown().await;
        bare.expect(&mut session, |frame| *frame == Frame::Other(3)).await;
    }
}

#[tokio::test]
async fn a_bare_noise_peer_can_dial_a_mesh_node() {
    for suite in Suite::ALL {
        // The node offers the other suite and answers this one all the same.
        let offered = Suite::ALL[usize::from(suite == Suite::ALL[0])];
        let pair = Pair::new(offered).await;
        let bare = &pair.bare;
        let ephemeral = fresh_seed(suite.byte());
        let mut handshake = Handshake::new(true, suite.byte(), &PSK, &bare.keys, ephemeral).unwrap();
        bare.send(&handshake.write_initiation(unix_micros(), BARE_INDEX).unwrap()).await;
        let response = bare.receive_kind(2).await;
        let (to, introduced) = handshake.read_response(BARE_INDEX, &response).unwrap();
        assert_eq!(introduced.node_id, pair.mesh.node_id());
        assert!(introduced.incarnation.abs_diff(unix_micros()) < 60_000_000, "a wall clock in microseconds");
        let confirm = handshake.write_confirm(to, NONE, unix_micros()).unwrap();
        assert_eq!(confirm.len(), 184);
        bare.send(&confirm).await;
        let session = handshake.session(BARE_INDEX, to).unwrap();
        pair.talk(session, Role::Responder).await;
    }
}

#[tokio::test]
async fn a_mesh_node_can_dial_a_bare_noise_peer() {
    for suite in Suite::ALL {
        let pair = Pair::new(suite).await;
        let bare = &pair.bare;
        let address = bare.socket.local_addr().unwrap();
        let mesh = pair.mesh.clone();
        let dial = tokio::spawn(async move { mesh.connect(address).await });

        let ephemeral = fresh_seed(suite.byte());
        let mut handshake = Handshake::new(false, suite.byte(), &PSK, &bare.keys, ephemeral).unwrap();
        let (begun, to) = handshake.read_initiation(&bare.receive_kind(1).await).unwrap();
        assert!(begun.abs_diff(unix_micros()) < 60_000_000, "a wall clock in microseconds");
        bare.send(&handshake.write_response(to, BARE_INDEX, unix_micros()).unwrap()).await;
        let confirm = bare.receive_kind(3).await;
        let (connection, introduced) = handshake.read_confirm(BARE_INDEX, &confirm).unwrap();
        assert_eq!((connection, introduced.node_id), (NONE, pair.mesh.node_id()));
        let mut session = handshake.session(BARE_INDEX, to).unwrap();
        // The first packet confirms the session at the initiator.
        bare.send(&session.seal(&[Frame::Ping { stamp: 1, silence_ms: 0 }])).await;
        assert_eq!(within("the dial", dial).await.unwrap(), Ok(bare.keys.node_id));
        pair.talk(session, Role::Initiator).await;
    }
}

#[tokio::test]
async fn a_bare_peer_with_another_pre_shared_key_gets_no_answer() {
    let pair = Pair::new(Suite::Aes256Gcm).await;
    let bare = &pair.bare;
    let mut stranger = Handshake::new(true, 1, &[43; 32], &bare.keys, fresh_seed(1)).unwrap();
    bare.send(&stranger.write_initiation(unix_micros(), BARE_INDEX).unwrap()).await;
    // One with the right key behind it is answered: had the first been, its answer would stand before this one.
    let mut handshake = Handshake::new(true, 1, &PSK, &bare.keys, fresh_seed(2)).unwrap();
    bare.send(&handshake.write_initiation(unix_micros(), BARE_INDEX).unwrap()).await;
    assert!(handshake.read_response(BARE_INDEX, &bare.receive().await).is_ok());
    assert_eq!(pair.mesh.rejected(RejectReason::PskMismatch).await, Ok(1));
}
