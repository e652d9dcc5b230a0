//! Streams between a mesh node and the bare peer.

use std::task::{Context, Waker};

use meshground::{CallOptions, Mesh, Stream};
use meshground_tests::{
    bare::{Connection, Frame, Incoming, Kind, MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS, stream_id},
    waiting::within,
};
use tokio::task::JoinHandle;

use super::peer::{Link, PIECE, Pair, assert_bad_frames, pattern};

const LEN: usize = 100_000;

/// Says again what comes on the next stream of the bare peer.
pub(crate) fn echo(mesh: &Mesh) -> JoinHandle<()> {
    let mesh = mesh.clone();
    tokio::spawn(async move {
        let (mut send, mut receive) = mesh.accept_stream().await.unwrap().split();
        let mut buffer = [0; 10_000];
        loop {
            let len = receive.read(&mut buffer).await.unwrap();
            if len == 0 {
                break;
            }
            send.write_all(&buffer[..len]).await.unwrap();
        }
        send.finish().await.unwrap();
    })
}

#[tokio::test]
async fn a_node_echoes_a_stream_of_the_bare_peer_that_arrives_out_of_order() {
    let (mesh, mut link) = Pair::dialled().await;
    let echo = echo(&mesh);
    let data = pattern(LEN);
    let stream = link.connection.open_stream(Kind::Application).unwrap();
    // The second of two always comes before the first.
    for (pair, both) in data.chunks(2_000).enumerate() {
        let (first, second) = both.split_at(1_000);
        let (offset, end) = (2_000 * pair as u64, 2_000 * (pair + 1) == LEN);
        let later = link.connection.piece(stream, offset + 1_000, second, end);
        link.deliver(&[later]).await;
        let earlier = link.connection.piece(stream, offset, first, false);
        link.deliver(&[earlier]).await;
    }
    assert!(link.read(stream).await == data, "every byte once and in order");
    within("the echo", echo).await.unwrap();
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn the_bare_peer_echoes_a_stream_of_a_node() {
    let (mesh, mut link) = Pair::answered().await;
    let data = pattern(LEN);
    let mut stream = mesh.open_stream(link.bare.keys.node_id).await.unwrap();
    stream.write_all(&data).await.unwrap();
    stream.end();
    let id = link.accept(Kind::Application).await;
    let read = link.read(id).await;
    link.send_on(id, 0, &read, true).await;
    let echo = within("the echo", stream.read_to_end(LEN)).await;
    assert!(echo.unwrap() == data, "every byte once and in order");
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_node_takes_as_much_on_one_stream_as_the_protocol_says_and_not_a_byte_more() {
    let (mesh, mut link) = Pair::dialled().await;
    let stream = link.connection.open_stream(Kind::Application).unwrap();
    // Nobody reads it.
    let len = usize::try_from(MAX_STREAM_DATA).unwrap();
    link.send_on(stream, 0, &vec![7; len], false).await;
    assert_eq!(link.connection.room(stream), 0);
    let beyond = link.connection.piece(stream, MAX_STREAM_DATA, b"!", false);
    let number = link.send(&[beyond]).await;
    link.exchange().await;
    assert!(!link.connection.is_settled(number));
    assert_bad_frames(&mesh, 1).await;
}

#[tokio::test]
async fn a_node_takes_as_much_on_all_streams_as_the_protocol_says_and_not_a_byte_more() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut taken = 0;
    let stream = loop {
        let stream = link.connection.open_stream(Kind::Application).unwrap();
        let room = link.connection.room(stream);
        if room == 0 {
            break stream;
        }
        link.send_on(stream, 0, &vec![7; usize::try_from(room).unwrap()], false).await;
        link.exchange().await;
        taken += room;
    };
    // The node keeps a little of each stream ready for whoever may read it, and that counts as read.
    assert!((MAX_DATA..2 * MAX_DATA).contains(&taken), "{taken}");
    let beyond = link.connection.piece(stream, 0, b"!", false);
    let number = link.send(&[beyond]).await;
    link.exchange().await;
    assert!(!link.connection.is_settled(number));
    assert_bad_frames(&mesh, 1).await;
}

#[tokio::test]
async fn a_node_goes_on_taking_as_its_reader_goes_on_reading() {
    let (mesh, mut link) = Pair::dialled().await;
    let reader = mesh.clone();
    let data = pattern(3 * usize::try_from(MAX_DATA).unwrap() / 2);
    let len = data.len();
    let read = tokio::spawn(async move {
        let mut stream = reader.accept_stream().await.unwrap();
        stream.read_to_end(len).await.unwrap()
    });
    let stream = link.connection.open_stream(Kind::Application).unwrap();
    link.send_on(stream, 0, &data, true).await;
    assert!(within("the reader", read).await.unwrap() == data, "every byte once and in order");
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_node_allows_as_many_streams_as_the_protocol_says_and_more_when_some_are_over() {
    let (mesh, mut link) = Pair::dialled().await;
    let is_lower = link.bare.keys.node_id < mesh.node_id();
    let one_beyond = stream_id(MAX_STREAMS, Kind::Application, is_lower);
    let refused = link.connection.piece(one_beyond, 0, b"!", true);
    let number = link.send(std::slice::from_ref(&refused)).await;
    link.exchange().await;
    assert!(!link.connection.is_settled(number));
    assert_bad_frames(&mesh, 1).await;

    // The last there may be, and half of all, most of which are never named before.
    let half = MAX_STREAMS / 2;
    let indexes: Vec<u64> = (half..MAX_STREAMS).collect();
    for some in indexes.chunks(256) {
        let ends: Vec<Frame> = some
            .iter()
            .map(|index| stream_id(*index, Kind::Application, is_lower))
            .map(|stream| Frame::Stream { stream, offset: 0, data: Vec::new(), end: true })
            .collect();
        link.deliver(&ends).await;
    }
    let all_ended = tokio::spawn(async move {
        for _ in 0..half {
            let mut stream = mesh.accept_stream().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await, Ok(0));
            stream.end();
        }
        mesh
    });
    // It is told when it has risen by 128.
    let about = MAX_STREAMS + half - 127;
    link.until("room for more", |connection| connection.limits.streams >= about).await;
    let mesh = within("the ends", all_ended).await.unwrap();
    link.exchange().await;
    assert!(link.connection.limits.streams <= MAX_STREAMS + half);
    link.deliver(&[refused]).await;
    assert_bad_frames(&mesh, 1).await;
}

/// Has a node write `data` to a stream of its own.
async fn write(mesh: &Mesh, link: &Link, data: &[u8]) -> JoinHandle<Stream> {
    let mut stream = mesh.open_stream(link.bare.keys.node_id).await.unwrap();
    let data = data.to_vec();
    tokio::spawn(async move {
        stream.write_all(&data).await.unwrap();
        stream.end();
        stream
    })
}

#[tokio::test]
async fn a_node_stops_where_the_bare_peer_does_not_read_one_stream_and_goes_on_when_it_does() {
    let (mesh, mut link) = Pair::dialled().await;
    let data = pattern(3 * usize::try_from(MAX_STREAM_DATA).unwrap());
    let _stream = write(&mesh, &link, &data).await;
    let stream = link.accept(Kind::Application).await;
    let is_full = |connection: &Connection, to| {
        let stream = &connection.streams[&stream];
        stream.highest() == to && stream.is_whole()
    };
    link.until("a full window", |connection| is_full(connection, MAX_STREAM_DATA)).await;
    link.exchange().await;
    assert_eq!(link.connection.streams[&stream].highest(), MAX_STREAM_DATA);
    // All of that is read, and the node may send as much again.
    let (mut read, limit) = (Vec::new(), 2 * MAX_STREAM_DATA);
    let told = link.connection.read(stream, &mut read);
    link.deliver(&told).await;
    link.until("a full window", |connection| is_full(connection, limit)).await;
    link.exchange().await;
    assert_eq!(link.connection.streams[&stream].highest(), limit);
    read.extend(link.read(stream).await);
    assert!(read == data, "every byte once and in order");
}

#[tokio::test]
async fn a_node_stops_where_the_bare_peer_reads_none_of_its_streams_and_goes_on_when_it_does() {
    let (mesh, mut link) = Pair::dialled().await;
    let data = pattern(usize::try_from(MAX_STREAM_DATA).unwrap());
    let mut writing = Vec::new();
    for _ in 0..6 {
        writing.push(write(&mesh, &link, &data).await);
    }
    let came = |connection: &Connection| connection.streams.values().map(Incoming::highest).sum::<u64>();
    // The rest is for calls.
    let most = MAX_DATA * 3 / 4;
    link.until("a full window", |connection| came(connection) == most).await;
    link.exchange().await;
    assert_eq!(came(&link.connection), most);
    let (caller, peer) = (mesh.clone(), link.bare.keys.node_id);
    let call =
        tokio::spawn(async move { caller.call(peer, "method", b"body", CallOptions::default()).await });
    link.accept(Kind::Call).await;
    call.abort();
    let is_lower = link.bare.keys.node_id < mesh.node_id();
    let streams: Vec<u64> = (0..6).map(|index| stream_id(index, Kind::Application, !is_lower)).collect();
    assert!(link.read_all(&streams).await.iter().all(|read| *read == data), "every byte once and in order");
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_takes_no_stream_from_whoever_does() {
    let (mesh, mut link) = Pair::dialled().await;
    let peer = link.bare.keys.node_id;
    // The last 256 are for calls.
    let most = MAX_STREAMS - 256;
    let mut open = Vec::new();
    for _ in 0..most {
        open.push(mesh.open_stream(peer).await.unwrap());
    }
    // Some of these are looked through when there is no room for more of them; not all of so many.
    for _ in 0..22 {
        let mut opening = Box::pin(mesh.open_stream(peer));
        assert!(opening.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // What was asked for before this has been looked at.
        assert!(mesh.stats().await.is_ok());
        assert!(opening.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let waits = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.open_stream(peer).await.unwrap().write_all(b"at last").await }
    });
    // Room for one more.
    link.deliver(&[Frame::MaxStreams(MAX_STREAMS + 1)]).await;
    within("the stream", waits).await.unwrap().unwrap();
    let is_lower = peer < mesh.node_id();
    link.accept(Kind::Application).await;
    assert_eq!(
        link.connection.opened(Kind::Application).last(),
        Some(stream_id(most, Kind::Application, !is_lower))
    );
}

#[tokio::test]
async fn a_stream_is_given_up_and_stopped_across_the_wire() {
    let (mesh, mut link) = Pair::dialled().await;
    let mut stream = mesh.open_stream(link.bare.keys.node_id).await.unwrap();
    stream.write_all(&pattern(PIECE)).await.unwrap();
    let id = link.accept(Kind::Application).await;
    // The node is asked to stop, and says that it did with the same code.
    link.deliver(&[Frame::Stop { stream: id, code: 70_000 }]).await;
    link.until("a reset", |connection| connection.streams[&id].reset() == Some(70_000)).await;
    stream.stop(71);
    link.until("a stop", |connection| connection.streams[&id].stopped == Some(71)).await;
    link.deliver(&[Frame::Reset { stream: id, code: 71, size: 0 }]).await;
    assert_bad_frames(&mesh, 0).await;
}
