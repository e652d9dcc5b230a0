//! Remote calls between a mesh node and the bare peer.

use std::time::Duration;

use meshground::{CallOptions, Mesh, MeshError, Refusal, Request as Asked};
use meshground_node::CallError;
use meshground_tests::{
    bare::{Answer, End, Kind, Request},
    waiting::within,
};

use super::peer::{Link, Pair, assert_bad_frames, pattern};

/// Calls `method` of the node. What stands on the stream.
async fn call(link: &mut Link, method: &str, body: &[u8], wait_us: u64) -> u64 {
    let stream = link.connection.open_stream(Kind::Call).unwrap();
    let request = Request { wait_us, method: method.to_owned(), body: body.to_vec() };
    link.send_on(stream, 0, &request.encode(), true).await;
    stream
}

async fn answer(link: &mut Link, stream: u64) -> Answer {
    Answer::read(&link.read(stream).await).unwrap()
}

#[tokio::test]
async fn the_bare_peer_calls_a_node() {
    let (mesh, mut link) = Pair::dialled().await;
    let id = link.bare.keys.node_id;
    mesh.serve("reverse", move |request: Asked| async move {
        assert_eq!((request.from, &*request.method), (id, "reverse"));
        let left = request.deadline.expect("the caller does not wait for ever") - tokio::time::Instant::now();
        assert!(left > Duration::from_mins(50) && left < Duration::from_hours(1), "{left:?}");
        Ok(request.body.into_iter().rev().collect())
    });
    mesh.serve("refuse", |_| async { Err(Refusal::new(300, "not today")) });
    let body = pattern(100_000);
    let stream = call(&mut link, "reverse", &body, 3_600_000_000).await;
    let reversed = body.iter().rev().copied().collect();
    assert_eq!(answer(&mut link, stream).await, Answer { items: vec![reversed], end: End::Well });

    let stream = call(&mut link, "refuse", b"", 0).await;
    let end = End::NotWell { code: 300, reason: "not today".to_owned() };
    assert_eq!(answer(&mut link, stream).await, Answer { items: Vec::new(), end });

    let stream = call(&mut link, "unheard of", b"", 0).await;
    let Answer { items, end: End::NotWell { code: 1, .. } } = answer(&mut link, stream).await else {
        panic!("no such method")
    };
    assert_eq!(items, Vec::<Vec<u8>>::new());
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_node_stops_answering_the_bare_peer_when_it_has_waited_long_enough() {
    let (mesh, mut link) = Pair::dialled().await;
    mesh.serve("wait", |_| std::future::pending());
    let stream = call(&mut link, "wait", b"", 1_000).await;
    link.until("the deadline", |connection| {
        connection.streams.get(&stream).is_some_and(|half| half.reset() == Some(3))
    })
    .await;
    assert_bad_frames(&mesh, 0).await;
}

/// Has the bare peer take the next call and answer it. What was asked.
async fn serve(link: &mut Link, answer: Answer) -> Request {
    let stream = link.accept(Kind::Call).await;
    let request = Request::read(&link.read(stream).await).unwrap();
    link.send_on(stream, 0, &answer.encode(), true).await;
    request
}

fn begin_call(mesh: &Mesh, link: &Link, body: &[u8]) -> tokio::task::JoinHandle<Result<Vec<u8>, MeshError>> {
    let (mesh, id, body) = (mesh.clone(), link.bare.keys.node_id, body.to_vec());
    tokio::spawn(async move { mesh.call(id, "ask", body, CallOptions::default()).await })
}

#[tokio::test]
async fn a_node_calls_the_bare_peer() {
    let (mesh, mut link) = Pair::answered().await;
    let (question, reply) = (pattern(100_000), pattern(200_000));
    let call = begin_call(&mesh, &link, &question);
    let asked = serve(&mut link, Answer { items: vec![reply.clone()], end: End::Well }).await;
    // It waits for 30 s unless it is told otherwise.
    assert_eq!(asked, Request { wait_us: 30_000_000, method: "ask".to_owned(), body: question });
    assert_eq!(within("the answer", call).await.unwrap(), Ok(reply));
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn a_node_learns_that_the_bare_peer_refuses() {
    let (mesh, mut link) = Pair::answered().await;
    let call = begin_call(&mesh, &link, b"please");
    let end = End::NotWell { code: 256, reason: "no".to_owned() };
    serve(&mut link, Answer { items: Vec::new(), end }).await;
    let refused = CallError::Refused { code: 256, reason: "no".to_owned() };
    assert_eq!(within("the answer", call).await.unwrap(), Err(MeshError::Call(refused)));
    assert_bad_frames(&mesh, 0).await;
}

#[tokio::test]
async fn the_bare_peer_streams_many_items_to_a_node() {
    let (mesh, mut link) = Pair::answered().await;
    let mut responses = mesh.call_streaming(link.bare.keys.node_id, "list", b"", CallOptions::default());
    let items: Vec<Vec<u8>> = (0..5).map(|item| vec![item; 1_000 * usize::from(item)]).collect();
    serve(&mut link, Answer { items: items.clone(), end: End::Well }).await;
    for item in items {
        assert_eq!(within("an item", responses.next()).await, Some(Ok(item)));
    }
    assert_eq!(within("the end", responses.next()).await, None);
}

#[tokio::test]
async fn the_bare_peer_hears_that_a_node_calls_its_call_off() {
    let (mesh, mut link) = Pair::answered().await;
    let call = begin_call(&mesh, &link, b"in vain");
    let stream = link.accept(Kind::Call).await;
    link.read(stream).await;
    link.exchange().await;
    call.abort();
    link.until("the stop", |connection| connection.streams[&stream].stopped == Some(1)).await;
    // All of the request was acknowledged, so that nothing is left to be reset.
    link.exchange().await;
    assert_eq!(link.connection.streams[&stream].reset(), None);
    assert_bad_frames(&mesh, 0).await;
}
