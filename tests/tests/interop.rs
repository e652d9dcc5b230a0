//! A mesh node and a bare Noise peer that was written from `PROTOCOL.md`, over a real UDP socket.

#[path = "interop/acknowledgements.rs"]
mod acknowledgements;
#[path = "interop/calls.rs"]
mod calls;
#[path = "interop/parcels.rs"]
mod parcels;
#[path = "interop/peer.rs"]
mod peer;
#[path = "interop/records.rs"]
mod records;
#[path = "interop/relays.rs"]
mod relays;
#[path = "interop/renewal.rs"]
mod renewal;
#[path = "interop/streams.rs"]
mod streams;

use meshground::{Mesh, Messages};
use meshground_node::{RejectReason, Role, Suite};
use meshground_tests::{
    bare::{Frame, Handshake},
    waiting::within,
};

use self::peer::{Answered, BARE_INDEX, Link, NONE, PSK, Pair, fresh_seed, unix_micros};

/// A confirmed session does all that a session must.
async fn talk(mesh: Mesh, mut inbox: Messages, mut link: Link, role: Role) {
    let id = link.bare.keys.node_id;

    // The node pings at once, and the bare peer's own ping comes back.
    link.expect(|frame| matches!(frame, Frame::Ping { .. })).await;
    link.send(&[Frame::Ping { stamp: 77, silence_ms: 0 }]).await;
    link.expect(|frame| *frame == Frame::Pong(77)).await;

    link.deliver(&[Frame::Message(b"from the bare peer".to_vec())]).await;
    let message = within("the message", inbox.recv()).await.expect("the node is up");
    assert_eq!((message.from, &*message.payload), (id, &b"from the bare peer"[..]));

    mesh.send(id, b"from the mesh").await.unwrap();
    link.expect(|frame| *frame == Frame::Message(b"from the mesh".to_vec())).await;

    let peers = mesh.stats().await.unwrap();
    let [peer] = &peers[..] else { panic!("one peer, not {peers:?}") };
    assert_eq!((peer.id, peer.role), (id, role));
    assert!(peer.rtt.is_some(), "a pong of the bare peer was taken");
    for reason in RejectReason::ALL {
        assert_eq!(mesh.rejected(reason).await, Ok(0), "{reason:?}");
    }
    mesh.shutdown().await;
    link.expect(|frame| *frame == Frame::Other(3)).await;
}

#[tokio::test]
async fn a_bare_noise_peer_can_dial_a_mesh_node() {
    for suite in Suite::ALL {
        // The node offers the other suite and answers this one all the same.
        let offered = Suite::ALL[usize::from(suite == Suite::ALL[0])];
        let pair = Pair::new(offered).await;
        let (_, session) = pair.bare.dial(&pair.mesh, suite.byte(), BARE_INDEX, NONE).await;
        let (mesh, inbox, link) = pair.link(session, NONE);
        talk(mesh, inbox, link, Role::Responder).await;
    }
}

#[tokio::test]
async fn a_mesh_node_can_dial_a_bare_noise_peer() {
    for suite in Suite::ALL {
        let pair = Pair::new(suite).await;
        let dial = pair.bare.be_dialled(&pair.mesh);
        let Answered { named, session, .. } = pair.bare.answer(&pair.mesh, suite.byte(), BARE_INDEX).await;
        assert_eq!(named, NONE);
        let (mesh, inbox, mut link) = pair.link(session, NONE);
        // The first packet confirms the session at the initiator.
        link.send(&[Frame::Ping { stamp: 1, silence_ms: 0 }]).await;
        within("the dial", dial).await.unwrap();
        talk(mesh, inbox, link, Role::Initiator).await;
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
