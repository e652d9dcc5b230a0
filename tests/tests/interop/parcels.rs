//! Messages that do not fit a datagram, in both directions.

use std::slice::from_ref;

use meshground::{Mesh, Messages};
use meshground_tests::{
    bare::{Frame, MAX_PARCEL, cut},
    waiting::within,
};

use super::peer::{Link, Pair, REPEAT, assert_bad_frames, pattern};

/// The greatest datagram a node sends unless it is told otherwise.
const MAX_DATAGRAM: usize = 1_452;

/// The greatest message there is: a parcel less the type and four bytes of length.
const MAX_MESSAGE: usize = 1_048_571;

/// How many bytes of a parcel the bare peer puts into a piece, and how many pieces into a packet: a node takes any length.
const PIECE: usize = 1_200;
const PIECES: usize = 40;
/// The same in one piece.
const PACKET: usize = PIECE * PIECES;

fn message(bytes: &[u8]) -> Vec<u8> {
    Frame::Message(bytes.to_vec()).encode()
}

async fn deliver(link: &mut Link, pieces: &[Frame]) {
    for some in pieces.chunks(PIECES) {
        link.deliver(some).await;
    }
}

/// The next message there is, when one that fits a packet was sent behind.
async fn next_is(link: &mut Link, inbox: &mut Messages, what: &[u8]) {
    let message = within("a message", inbox.recv()).await.expect("the node is up");
    assert_eq!(message.from, link.bare.keys.node_id);
    assert!(*message.payload == *what, "{} bytes instead of {}", message.payload.len(), what.len());
}

async fn nothing_came(link: &mut Link, inbox: &mut Messages) {
    link.deliver(&[Frame::Message(b"behind".to_vec())]).await;
    next_is(link, inbox, b"behind").await;
}

/// With this piece the message is there, and nothing that came before was at fault.
async fn is_whole_with(mesh: &Mesh, link: &mut Link, inbox: &mut Messages, piece: Frame, message: &[u8]) {
    deliver(link, &[piece]).await;
    next_is(link, inbox, message).await;
    assert_bad_frames(mesh, 0).await;
}

#[tokio::test]
async fn a_node_takes_the_greatest_message_in_pieces_that_come_in_any_order() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut inbox = mesh.messages();
    let greatest = pattern(MAX_MESSAGE);
    let whole = message(&greatest);
    assert_eq!(whole.len() as u64, MAX_PARCEL);
    let mut pieces = cut(0, &whole, PIECE);
    pieces.reverse();
    // Some come twice, and there is one across two others.
    let across =
        Frame::Fragment { parcel: 0, size: MAX_PARCEL, offset: 5_000, data: whole[5_000..7_000].to_vec() };
    pieces.splice(3..3, [pieces[0].clone(), across]);
    deliver(&mut link, &pieces).await;
    next_is(&mut link, &mut inbox, &greatest).await;
    nothing_came(&mut link, &mut inbox).await;
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_node_hears_nothing_of_a_message_before_its_last_piece() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut inbox = mesh.messages();
    let long = pattern(20_000);
    let mut pieces = cut(0, &message(&long), PIECE);
    let late = pieces.remove(7);
    deliver(&mut link, &pieces).await;
    nothing_came(&mut link, &mut inbox).await;
    // Another parcel is whole meanwhile.
    let other = pattern(3_000);
    deliver(&mut link, &cut(1, &message(&other), PIECE)).await;
    next_is(&mut link, &mut inbox, &other).await;
    is_whole_with(&mesh, &mut link, &mut inbox, late, &long).await;
}

#[tokio::test]
async fn a_node_drops_pieces_of_what_is_too_long_or_of_another_size_without_a_word() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut inbox = mesh.messages();
    let mut too_long = message(&pattern(MAX_MESSAGE));
    too_long.push(0);
    deliver(&mut link, &cut(0, &too_long, PIECE)).await;
    nothing_came(&mut link, &mut inbox).await;

    let long = pattern(5_000);
    let whole = message(&long);
    let mut pieces = cut(1, &whole, PIECE);
    let last = pieces.pop().unwrap();
    deliver(&mut link, &pieces).await;
    let Frame::Fragment { parcel, size, offset, data } = last.clone() else { unreachable!("a piece") };
    deliver(&mut link, &[Frame::Fragment { parcel, size: size + 1, offset, data }]).await;
    nothing_came(&mut link, &mut inbox).await;
    is_whole_with(&mesh, &mut link, &mut inbox, last, &long).await;
}

#[tokio::test]
async fn a_node_refuses_a_parcel_that_is_not_just_one_frame_of_those_that_may_be_long() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut inbox = mesh.messages();
    let short = message(&pattern(2_000));
    let refused = [
        [&short[..], &[5]].concat(),
        [&short[..], &short].concat(),
        short[..short.len() - 1].to_vec(),
        Frame::Ping { stamp: 1, silence_ms: 0 }.encode(),
        Frame::Digest(1).encode(),
        Frame::Stream { stream: 0, offset: 0, data: vec![1; 2_000], end: false }.encode(),
        cut(9, &short, 3_000)[0].encode(),
        vec![0xff; 2_000],
    ];
    let count = refused.len() as u64;
    for (parcel, whole) in (0..).zip(refused) {
        let number = link.send(&cut(parcel, &whole, PIECE)).await;
        link.exchange().await;
        assert!(!link.connection.is_settled(number), "parcel {parcel} was acknowledged");
    }
    nothing_came(&mut link, &mut inbox).await;
    assert_bad_frames(&mesh, count).await;
}

/// Begins as many parcels, for messages of so many bytes, with the first piece of each. What is missing.
async fn begin(link: &mut Link, count: u64, size: usize) -> Vec<Vec<Frame>> {
    let mut missing = Vec::new();
    for parcel in 0..count {
        let mut pieces = cut(parcel, &message(&pattern(size)), PACKET.min(size / 2));
        link.deliver(&[pieces.remove(0)]).await;
        missing.push(pieces);
    }
    missing
}

/// Ends them. Whether each was still known.
async fn end(link: &mut Link, inbox: &mut Messages, missing: &[Vec<Frame>], size: usize) -> Vec<bool> {
    let mut known = Vec::new();
    for pieces in missing {
        for piece in pieces {
            link.deliver(from_ref(piece)).await;
        }
        link.deliver(&[Frame::Message(b"behind".to_vec())]).await;
        let mut came = Vec::new();
        while came.last().is_none_or(|last| last != b"behind") {
            let message = within("a message", inbox.recv()).await.expect("the node is up");
            came.push(message.payload.to_vec());
        }
        known.push(came.len() > 1 && came[0] == pattern(size));
    }
    known
}

#[tokio::test]
async fn of_too_many_parcels_those_with_the_lowest_numbers_go() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut inbox = mesh.messages();
    let missing = begin(&mut link, 66, 100).await;
    let known = end(&mut link, &mut inbox, &missing[..4], 100).await;
    assert_eq!(known, [false, false, true, true]);
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn of_parcels_that_would_be_too_long_together_those_with_the_lowest_numbers_go() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut inbox = mesh.messages();
    // Three times 700,000 bytes are more than 2 MiB, though most of them have not come.
    let mut missing = begin(&mut link, 3, 700_000).await;
    missing.reverse();
    assert_eq!(end(&mut link, &mut inbox, &missing, 700_000).await, [true, true, false]);
    assert_bad_frames(&mesh, 0).await;
}

/// Has the node send a message.
async fn send(mesh: &Mesh, link: &Link, bytes: &[u8]) {
    mesh.send(link.bare.keys.node_id, bytes).await.unwrap();
}

#[tokio::test]
async fn the_bare_peer_takes_long_messages_of_a_node() {
    let (mesh, mut link) = Pair::dialled().await;
    assert_eq!(mesh.max_message(), MAX_MESSAGE);
    let mut tries = 0_u32;
    for bytes in [pattern(1_500), pattern(300_000), pattern(MAX_MESSAGE)] {
        // A message may be lost, and then says nothing at all: so may the one behind it, which says that the other was.
        let whole = async {
            loop {
                tries += 1;
                let behind = tries.to_le_bytes().to_vec();
                send(&mesh, &link, &bytes).await;
                let came = loop {
                    send(&mesh, &link, &behind).await;
                    let either = |frame: &Frame| match frame {
                        Frame::Message(came) if *came == behind => Some(None),
                        Frame::Message(came) if came.len() > behind.len() => Some(Some(came.clone())),
                        _ => None,
                    };
                    if let Ok(came) = tokio::time::timeout(REPEAT, link.pick("a message", either)).await {
                        break came;
                    }
                };
                if let Some(came) = came {
                    return came;
                }
            }
        };
        let came = within("a long message", whole).await;
        assert!(came == bytes, "{} bytes instead of {}", came.len(), bytes.len());
    }
}

#[tokio::test]
async fn a_node_numbers_its_parcels_keeps_to_its_datagrams_and_sends_no_lost_piece_again() {
    let (mesh, mut link) = Pair::dialled().await;
    let long = pattern(50_000);
    let whole_len = (long.len() + 5) as u64;
    let mut lost = None;
    for parcel in 0..3 {
        send(&mesh, &link, &long).await;
        let mut came = 0;
        let pieces = async {
            while came < whole_len {
                let datagram = link.bare.receive_kind(4).await;
                assert!(datagram.len() <= MAX_DATAGRAM);
                let packet = link.connection.open(&datagram).unwrap();
                let mut here = 0;
                for frame in &packet.frames {
                    if let Frame::Fragment { parcel: number, size, offset, data } = frame {
                        assert_eq!((*number, *size), (parcel, whole_len));
                        assert_eq!(*offset, came + here, "none comes again");
                        here += data.len() as u64;
                    }
                }
                came += here;
                if here > 0 && lost.is_none() {
                    lost = Some(packet.number);
                } else {
                    link.take(&packet).await;
                }
            }
        };
        within("a parcel", pieces).await;
    }
    link.exchange().await;
    let whole = link.connection.inbox.iter().filter(|frame| **frame == Frame::Message(long.clone()));
    assert_eq!(whole.count(), 2, "all but the first");
}
