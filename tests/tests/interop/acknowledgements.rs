//! Acknowledgements with holes, in both directions.

use meshground_tests::{
    bare::{Connection, Frame, Kind, Packet},
    waiting::within,
};

use super::peer::{Pair, pattern};

/// The stretches of streams a packet carries.
fn stretches(packet: &Packet) -> impl Iterator<Item = (u64, u64)> {
    packet.frames.iter().filter_map(|frame| match frame {
        Frame::Stream { offset, data, .. } => Some((*offset, offset + data.len() as u64)),
        _ => None,
    })
}

#[tokio::test]
async fn a_node_sends_again_what_an_acknowledgement_leaves_out_and_nothing_else() {
    const STAMP: u64 = 123;
    let (mesh, mut link) = Pair::dialled().await;
    let data = pattern(100_000);
    let mut stream = mesh.open_stream(link.bare.keys.node_id).await.unwrap();
    stream.write_all(&data).await.unwrap();
    stream.end();

    // Of its first packets, three are as good as lost, so that there are holes of one and of two.
    let mut first = Vec::new();
    while first.len() < 8 {
        let packet = link.receive().await;
        if stretches(&packet).next().is_some() {
            first.push(packet);
        } else {
            link.take(&packet).await;
        }
    }
    let mut taken = Vec::new();
    for (place, packet) in first.iter().enumerate() {
        if ![2, 5, 6].contains(&place) {
            link.connection.take(packet).unwrap();
            taken.extend(stretches(packet));
        }
    }
    // The acknowledgement goes in front of the ping.
    link.send(&[Frame::Ping { stamp: STAMP, silence_ms: 0 }]).await;
    // Until it has been read, whatever else comes is lost as well: a probe could be an early repetition.
    let read = async {
        loop {
            let packet = link.receive().await;
            if packet.frames.contains(&Frame::Pong(STAMP)) {
                return packet;
            }
        }
    };
    let mut packet = within("the pong", read).await;

    let stream = link.connection.opened(Kind::Application).next().unwrap();
    let mut got = Vec::new();
    let rest = async {
        loop {
            for (from, to) in stretches(&packet) {
                let again = taken.iter().find(|(first, last)| from < *last && *first < to);
                assert_eq!(again, None, "{from} to {to} was acknowledged");
            }
            link.take(&packet).await;
            let told = link.connection.read(stream, &mut got);
            assert_eq!(told, [], "too little for that");
            if link.connection.streams[&stream].is_over() {
                return;
            }
            packet = link.receive().await;
        }
    };
    within("what is missing", rest).await;
    assert!(got == data, "every byte once and in order");
}

#[tokio::test]
async fn a_node_acknowledges_just_what_came_in() {
    let (_mesh, mut link) = Pair::dialled().await;
    let stream = link.connection.open_stream(Kind::Application).unwrap();
    let (mut sent, mut skipped) = (Vec::new(), Vec::new());
    for place in 0..20 {
        // Holes of one, of two and of three between runs of one and of two.
        if [1, 3, 4, 8, 9, 10, 15].contains(&place) {
            skipped.push(link.connection.skip_number());
        } else if place == 13 {
            // One that does not ask for it is named all the same.
            sent.push(link.send(&[Frame::Ping { stamp: 1, silence_ms: 0 }]).await);
        } else {
            let frame = link.connection.piece(stream, 0, b"again and again", false);
            sent.push(link.send(&[frame]).await);
        }
    }
    let all_settled = |connection: &Connection| sent.iter().all(|number| connection.is_settled(*number));
    let named = async {
        loop {
            let frames = link.turn().await;
            let mut acks = frames.iter().filter_map(|frame| match frame {
                Frame::Ack { ranges, .. } => Some(ranges.clone()),
                _ => None,
            });
            if let Some(ranges) = acks.next_back()
                && all_settled(&link.connection)
            {
                return ranges;
            }
        }
    };
    let named = within("the acknowledgement", named).await;
    assert!(sent.iter().all(|number| named.contains(*number)), "{sent:?} in {named:?}");
    assert!(!skipped.iter().any(|number| named.contains(*number)), "{skipped:?} in {named:?}");
}
