//! Streams.

use std::time::Duration;

use meshground::{
    Mesh, MeshError, ReceiveStream, SendStream, Stream,
    mesh::{ACCEPT_QUEUE, REFUSED, STREAM_BUFFER},
};
use meshground_node::StreamError;

use super::{mesh, pair, within};

/// A stream from `a` to `b`, that `b` has accepted.
async fn stream(a: &Mesh, b: &Mesh) -> (Stream, Stream) {
    let mut here = a.open_stream(b.node_id()).await.unwrap();
    here.write_all(b"!").await.unwrap();
    let mut there = within("the stream", b.accept_stream()).await.unwrap();
    assert_eq!(there.peer(), a.node_id());
    assert_eq!(within("the first byte", there.read(&mut [0; 10])).await, Ok(1));
    (here, there)
}

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 3 + i / 1_000 + seed) % 251).unwrap()).collect()
}

async fn write(mut half: SendStream, data: Vec<u8>) {
    for piece in data.chunks(10_007) {
        half.write_all(piece).await.unwrap();
    }
    half.finish().await.unwrap();
}

async fn read(mut half: ReceiveStream, expected: Vec<u8>) {
    let got = half.read_to_end(expected.len()).await.unwrap();
    assert!(got == expected, "every byte once and in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_mebibytes_go_both_ways_at_once() {
    let (a, b) = pair().await;
    let (here, there) = stream(&a, &b).await;
    let ((send_a, receive_a), (send_b, receive_b)) = (here.split(), there.split());
    let (up, down) = (content(1, 16 << 20), content(2, 16 << 20));
    let all = async {
        tokio::join!(
            write(send_a, up.clone()),
            write(send_b, down.clone()),
            read(receive_b, up.clone()),
            read(receive_a, down.clone())
        )
    };
    within("both ways", all).await;
}

#[tokio::test]
async fn a_slow_reader_makes_the_writer_wait_and_loses_nothing() {
    let (a, b) = pair().await;
    let (mut here, mut there) = stream(&a, &b).await;
    let mut written = 0_usize;
    let piece = vec![7; 64 << 10];
    // Nobody reads: at some point, writing waits.
    while tokio::time::timeout(Duration::from_secs(1), here.write_all(&piece)).await.is_ok() {
        written += piece.len();
        assert!(written < 64 << 20, "it never waits");
    }
    assert!(written >= 2 * STREAM_BUFFER);
    here.end();
    let rest = async {
        let got = there.read_to_end(64 << 20).await.unwrap();
        assert!(got.len() >= written, "what was written before the wait, and perhaps part of the last");
    };
    within("the rest", rest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_streams_at_once_each_keep_their_own() {
    let (a, b) = pair().await;
    let echo = {
        let b = b.clone();
        tokio::spawn(async move {
            while let Some(stream) = b.accept_stream().await {
                tokio::spawn(async move {
                    let (mut send, mut receive) = stream.split();
                    let got = receive.read_to_end(1_000).await.unwrap();
                    send.write_all(&got).await.unwrap();
                    send.finish().await.unwrap();
                });
            }
        })
    };
    let asking = (0..2_000_usize).map(|n| {
        let (a, peer) = (a.clone(), b.node_id());
        tokio::spawn(async move {
            let (mut send, mut receive) = a.open_stream(peer).await.unwrap().split();
            send.write_all(&content(n, n % 900)).await.unwrap();
            send.finish().await.unwrap();
            assert!(receive.read_to_end(1_000).await.unwrap() == content(n, n % 900), "stream {n}");
        })
    });
    for task in asking.collect::<Vec<_>>() {
        within("every stream", task).await.unwrap();
    }
    b.shutdown().await;
    within("the end of accepting", echo).await.unwrap();
}

#[tokio::test]
async fn a_reset_reaches_the_reader_and_a_stop_the_writer() {
    let (a, b) = pair().await;
    let (mut here, mut there) = stream(&a, &b).await;
    here.reset(42);
    let error = within("the reset", there.read(&mut [0; 10])).await.unwrap_err();
    assert!(matches!(error, MeshError::Stream(StreamError::Reset(_, 42))), "{error}");
    assert!(here.write_all(b"more").await.is_err(), "this half is over");

    let (mut here, mut there) = stream(&a, &b).await;
    there.stop(43);
    let stopped = async {
        loop {
            match here.write_all(&[7; 1_000]).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    let error = within("the stop", stopped).await;
    assert!(matches!(error, MeshError::Stream(StreamError::Stopped(_, 43))), "{error}");
}

#[tokio::test]
async fn a_dropped_stream_is_given_up_at_both_ends() {
    let (a, b) = pair().await;
    let (here, mut there) = stream(&a, &b).await;
    drop(here);
    let error = within("the end", there.read(&mut [0; 10])).await.unwrap_err();
    assert!(matches!(error, MeshError::Stream(StreamError::Reset(_, 0))), "{error}");
    let error = within("the end", there.finish()).await.unwrap_err();
    assert!(matches!(error, MeshError::Stream(StreamError::Stopped(_, 0))), "{error}");
}

#[tokio::test]
async fn the_streams_of_a_node_that_goes_end_with_it() {
    let (a, b) = pair().await;
    let (mut here, mut there) = stream(&a, &b).await;
    b.shutdown().await;
    let error = within("the loss", here.read(&mut [0; 10])).await.unwrap_err();
    assert!(matches!(error, MeshError::Stream(StreamError::NoSession(_))), "{error}");
    assert!(within("here too", there.read(&mut [0; 10])).await.is_err());
    assert!(a.open_stream(b.node_id()).await.is_err());
    assert!(matches!(b.open_stream(a.node_id()).await, Err(MeshError::Closed)));
    assert!(b.accept_stream().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_opens_streams_nobody_accepts_leaves_room_for_anothers() {
    let ((a, b), c, d) = (pair().await, mesh().await, mesh().await);
    for other in [&c, &d] {
        within("the session", other.connect(b.local_addr())).await.unwrap();
    }
    let open = async |mesh: &Mesh, count: usize| {
        let mut opened = Vec::new();
        for _ in 0..count {
            let mut stream = within("a stream", mesh.open_stream(b.node_id())).await.unwrap();
            stream.write_all(b"a").await.unwrap();
            opened.push(stream);
        }
        opened
    };
    let few = 500;
    let mut unwanted = open(&a, ACCEPT_QUEUE - few).await;
    let _others = open(&d, few).await;
    // One too many, whenever it arrives, costs the peer with most of them its last.
    let mut wanted = c.open_stream(b.node_id()).await.unwrap();
    wanted.write_all(b"c").await.unwrap();
    let last = unwanted.last_mut().unwrap();
    let error = within("the end of the one too many", last.read(&mut [0; 1])).await.unwrap_err();
    assert!(matches!(error, MeshError::Stream(StreamError::Reset(_, REFUSED))), "{error}");
    let found = async { while b.accept_stream().await.unwrap().peer() != c.node_id() {} };
    within("the other's stream", found).await;
}
