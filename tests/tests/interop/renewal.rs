//! One connection over two sessions.

use meshground_tests::{
    bare::{Frame, Kind},
    waiting::within,
};

use super::{
    peer::{Answered, BARE_INDEX, Link, Pair, assert_bad_frames, pattern},
    streams::echo,
};

const LEN: usize = 60_000;

/// The first half of a stream that goes through the node and back.
async fn begin(link: &mut Link, data: &[u8]) -> u64 {
    let stream = link.connection.open_stream(Kind::Application).unwrap();
    link.send_on(stream, 0, &data[..LEN / 2], false).await;
    stream
}

/// Its second half, over another session.
async fn end(link: &mut Link, data: &[u8], stream: u64) {
    link.send_on(stream, LEN / 2, &data[LEN / 2..], true).await;
    assert!(link.read(stream).await == data, "every byte once and in order");
}

#[tokio::test]
async fn a_node_goes_on_with_a_connection_the_bare_peer_renews() {
    let (mesh, mut link) = Pair::dialled().await;
    let echo = echo(&mesh);
    let data = pattern(LEN);
    let stream = begin(&mut link, &data).await;

    let (last, late) = link.connection.seal(&[Frame::Ping { stamp: 4, silence_ms: 0 }]);
    let (_, session) = link.bare.dial(&mesh, 1, BARE_INDEX + 1, link.name).await;
    link.connection.go_on(session, false);
    // What comes under the old keys is still taken, and does not tell the node that this end knows.
    link.bare.send(&late).await;
    let first = async {
        loop {
            let packet = link.receive().await;
            if packet.session == 1 {
                assert_eq!(packet.frames.first(), Some(&Frame::Continues));
            }
            // Each under a number that none had before. Nothing is sent under the new keys for it.
            link.connection.take(&packet).unwrap();
            if packet.frames.contains(&Frame::Pong(4)) {
                return packet.session;
            }
        }
    };
    assert_eq!(within("the pong", first).await, 1);
    // Packets are counted on, and the node names them so.
    let number = link.send(&[Frame::Message(b"under new keys".to_vec())]).await;
    link.expect(|frame| match frame {
        Frame::Ack { ranges, .. } => number > last && ranges.contains(number),
        _ => false,
    })
    .await;
    end(&mut link, &data, stream).await;
    within("the echo", echo).await.unwrap();

    // It knows by now that this is known.
    link.send(&[Frame::Ping { stamp: 5, silence_ms: 0 }]).await;
    let pong = async {
        loop {
            let frames = link.turn().await;
            if frames.contains(&Frame::Pong(5)) {
                return frames;
            }
        }
    };
    assert!(!within("the pong", pong).await.contains(&Frame::Continues));
    assert_bad_frames(&mesh, 0).await;
    assert_eq!(mesh.peer_count(), 1);
}

#[tokio::test]
async fn a_node_goes_on_with_a_connection_it_renews_itself() {
    let (mesh, mut link) = Pair::answered().await;
    let echo = echo(&mesh);
    let data = pattern(LEN);
    let stream = begin(&mut link, &data).await;

    let dial = link.bare.be_dialled(&mesh);
    let Answered { named, session, .. } = link.bare.answer(&mesh, 1, BARE_INDEX + 1).await;
    assert_eq!(named, link.name, "it names the connection there is");
    link.connection.go_on(session, true);
    link.send(&[Frame::Ping { stamp: 1, silence_ms: 0 }]).await;
    within("the dial", dial).await.unwrap();
    end(&mut link, &data, stream).await;
    within("the echo", echo).await.unwrap();
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_connection_ends_when_a_renewal_names_another() {
    let (mesh, mut link) = Pair::dialled().await;
    let data = pattern(LEN);
    begin(&mut link, &data).await;
    let mut stream = within("the stream", mesh.accept_stream()).await.unwrap();
    let (_, session) = link.bare.dial(&mesh, 1, BARE_INDEX + 1, link.name + 2).await;
    assert!(within("its end", stream.read_to_end(LEN)).await.is_err());
    let packet = session.open(&link.bare.receive_kind(4).await);
    assert!(packet.is_ok_and(|(number, frames)| number == 0 && !frames.contains(&Frame::Continues)));
}
