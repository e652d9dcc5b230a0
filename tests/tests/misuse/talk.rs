//! Streams, calls, capabilities, placement and sessions over other nodes.

use std::{error::Error, fmt::Debug};

use meshground::{CallOptions, Refusal, Request, SendStream, Stream};
use meshground_node::{
    CallError, Capabilities, CapabilityError, Comparison, Filter, MAX_REASON, PlacementError,
    PlacementStrategy, StreamError,
};

use super::*;

const FOR_EVER: CallOptions = CallOptions { deadline: None };

/// Two nodes with a session.
async fn pair() -> (Mesh, Mesh) {
    let (a, b) = (mesh().await, mesh().await);
    let ends = async { tokio::try_join!(a.connect(b.local_addr()), b.accept()) };
    within("a session", ends).await.unwrap();
    (a, b)
}

/// The error, which says `word`.
#[track_caller]
fn refused<T: Debug, E: Error>(outcome: Result<T, E>, word: &str) -> E {
    let error = outcome.expect_err("it cannot be done");
    assert!(error.to_string().contains(word), "`{error}` does not say `{word}`");
    error
}

async fn stream(a: &Mesh, b: &Mesh) -> (Stream, Stream) {
    let mut here = within("a stream", a.open_stream(b.node_id())).await.unwrap();
    here.write_all(b"!").await.unwrap();
    let there = within("its other end", b.accept_stream()).await.unwrap();
    (here, there)
}

#[tokio::test]
async fn streams_refuse_what_they_cannot_do() {
    let (a, b) = pair().await;
    for nobody in [NOBODY, NodeId(0), a.node_id()] {
        refused(a.open_stream(nobody).await, "connect to it first");
    }
    let (mut here, mut there) = stream(&a, &b).await;
    here.write_all(&[]).await.expect("nothing at all can be written");
    assert_eq!(within("no room", there.read(&mut [])).await, Ok(0));
    let error = refused(within("too much", there.read_to_end(0)).await, "allow for more");
    assert_eq!(error, MeshError::TooLong { limit: 0 });
    assert_eq!(within("after that", there.read(&mut [0; 9])).await, Ok(0), "it reads no further");
    there.stop(9);
    there.stop(u64::MAX);

    let (mut here, mut there) = stream(&a, &b).await;
    for _ in 0..2 {
        within("the end", here.finish()).await.expect("ending twice is ending");
        here.end();
        refused(here.write_all(b"more").await, "takes no more data");
    }
    assert_eq!(within("all of it", there.read_to_end(usize::MAX)).await, Ok(b"!".to_vec()));
    assert_eq!(within("again", there.read_to_end(0)).await, Ok(vec![]));

    let (mut here, mut there) = stream(&a, &b).await;
    here.reset(u64::MAX);
    here.reset(0);
    let told = async {
        loop {
            match there.read(&mut [0; 9]).await {
                Ok(0) => panic!("it was given up"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    };
    let error = within("the reset", told).await;
    assert!(matches!(error, MeshError::Stream(StreamError::Reset(..))), "{error}");
    refused(here.write_all(b"more").await, "takes no more data");
    assert!(within("a half that was given up", here.finish()).await.is_err());
}

/// Why no more can be written, once that is known here.
async fn write_until_refused(send: &mut SendStream) -> MeshError {
    let refusal = async {
        loop {
            match send.write_all(&[7; 1_000]).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    within("the end of writing", refusal).await
}

#[tokio::test]
async fn the_halves_of_a_stream_end_apart_and_whoever_is_at_the_other_end_is_told_of_each() {
    let (a, b) = pair().await;
    let (here, there) = stream(&a, &b).await;
    assert_eq!((here.peer(), there.peer()), (b.node_id(), a.node_id()));
    let ((mut send, receive), (mut back, mut read)) = (here.split(), there.split());
    drop(receive);
    let stopped = write_until_refused(&mut back).await;
    assert!(matches!(stopped, MeshError::Stream(StreamError::Stopped(_, 0))), "{stopped}");
    send.write_all(b"on").await.expect("the other half lives");
    within("the end", send.finish()).await.unwrap();
    assert_eq!(within("all of it", read.read_to_end(9)).await, Ok(b"!on".to_vec()));
    read.stop(u64::MAX);
    send.reset(u64::MAX);
    within("what has been", send.finish()).await.expect("everything had arrived");

    let (here, there) = stream(&a, &b).await;
    let ((send, mut receive), (mut back, mut read)) = (here.split(), there.split());
    drop(send);
    let error = within("the reset", read.read_to_end(usize::MAX)).await.unwrap_err();
    assert!(matches!(error, MeshError::Stream(StreamError::Reset(_, 0))), "{error}");
    receive.stop(u64::MAX);
    assert_eq!(within("no more", receive.read(&mut [0; 9])).await, Ok(0));
    let stopped = write_until_refused(&mut back).await;
    let most = meshground_node::MAX_CODE;
    assert!(matches!(stopped, MeshError::Stream(StreamError::Stopped(_, code)) if code == most), "{stopped}");

    let (here, there) = stream(&a, &b).await;
    within("crash", a.crash()).await;
    let (mut send, mut receive) = here.split();
    refused(send.write_all(b"late").await, "connect to it first");
    refused(within("finish", send.finish()).await, "connect to it first");
    refused(within("read", receive.read_to_end(9)).await, "connect to it first");
    drop((send, receive));
    drop(there.split());
}

#[tokio::test]
async fn the_items_of_an_answer_are_refused_when_they_are_too_large_or_nobody_waits_for_them() {
    let (a, b) = pair().await;
    let (kept, mut responders) = tokio::sync::mpsc::unbounded_channel();
    b.serve_streaming("items", move |_, responder| {
        let kept = kept.clone();
        async move {
            responder.send(Vec::new()).await.expect("nothing is an item too");
            refused(responder.send(vec![0; MAX_BODY + 1]).await, "at most 4 MiB");
            kept.send(responder).expect("the test goes on");
            Ok(())
        }
    });
    let mut items = a.call_streaming(b.node_id(), "items", "", FOR_EVER);
    assert_eq!(within("the item", items.next()).await, Some(Ok(Vec::new())));
    assert_eq!(within("the end", items.next()).await, None);
    let late = responders.recv().await.expect("the handler has kept it");
    refused(within("a refusal", late.send(b"late".to_vec())).await, "nobody waits for more");
    within("shutdown", b.shutdown()).await;
    refused(within("a refusal", late.send(b"late".to_vec())).await, "build another");
}

#[tokio::test]
async fn whoever_listens_or_sends_at_a_node_that_is_down_has_missed_nothing_and_sends_nothing() {
    let (a, b) = pair().await;
    let (mut calls, mut messages) = (a.calls(), a.messages());
    let (mut to_nobody, mut to_peer) = (a.sender(NOBODY), a.sender(b.node_id()));
    assert_eq!((to_nobody.peer(), to_peer.peer()), (NOBODY, b.node_id()));
    refused(within("a refusal", to_nobody.send(&[])).await, "connect to it first");
    to_peer.send(&[]).await.expect("nothing at all can be sent");
    assert_eq!(a.peers().len(), 1);
    within("shutdown", a.shutdown()).await;
    assert!(within("no record", calls.next()).await.is_none() && calls.missed() == 0);
    assert!(within("no message", messages.recv()).await.is_none() && messages.missed() == 0);
    refused(within("a refusal", to_peer.send(&[])).await, "build another");
    assert!(a.peers().is_empty());
}

#[tokio::test]
async fn streams_of_a_node_that_is_down_say_so() {
    for own in [true, false] {
        let (a, b) = pair().await;
        let (mut here, mut there) = stream(&a, &b).await;
        within("shutdown", async { if own { a.shutdown().await } else { b.shutdown().await } }).await;
        let ended = async {
            while here.write_all(&[7; 1_000]).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        within("the end of writing", ended).await;
        refused(here.write_all(b"late").await, "connect to it first");
        refused(within("finish", here.finish()).await, "connect to it first");
        refused(within("read", here.read(&mut [0; 9])).await, "connect to it first");
        refused(within("read", there.read_to_end(9)).await, "connect to it first");
        here.reset(u64::MAX);
        here.stop(u64::MAX);
        there.reset(0);
        there.stop(0);
        let down = if own { &a } else { &b };
        refused(down.open_stream(NOBODY).await, "build another");
        assert!(within("accept", down.accept_stream()).await.is_none());
    }
}

#[tokio::test]
async fn calls_refuse_what_they_cannot_do() {
    let (a, b) = pair().await;
    b.serve("echo", async |request: Request| Ok(request.body));
    b.serve("", async |_| panic!("nobody can call it"));
    b.serve(&"m".repeat(1 << 20), async |_| panic!("nobody can call it"));
    b.serve("no", async |_| Err(Refusal::new(0, "because ".repeat(1 << 16))));
    b.serve("never", async |_| Err(Refusal::new(u64::MAX, "")));
    b.serve_streaming("nothing", async |_, _| Ok(()));
    let peer = b.node_id();
    let (long, longest) = ("m".repeat(MAX_METHOD + 1), "m".repeat(MAX_METHOD));
    for (to, method, body, word) in [
        (peer, "", 0, "1 to 256 bytes"),
        (peer, &*long, 0, "1 to 256 bytes"),
        (peer, "echo", MAX_BODY + 1, "at most 4 MiB"),
        (NOBODY, "echo", 0, "connect to it first"),
        (a.node_id(), "echo", 0, "connect to it first"),
        (peer, &*longest, 0, "no method of this name"),
    ] {
        refused(within("a refusal", a.call(to, method, vec![0; body], FOR_EVER)).await, word);
        let mut items = a.call_streaming(to, method, vec![0; body], FOR_EVER);
        refused(within("a refusal", items.next()).await.expect("one error"), word);
        assert!(within("the end", items.next()).await.is_none());
        assert!(within("the end", items.next()).await.is_none());
    }
    let hasty = CallOptions { deadline: Some(Duration::ZERO) };
    refused(within("no time", a.call(peer, "echo", "", hasty)).await, "no answer within");
    let patient = CallOptions { deadline: Some(Duration::MAX) };
    assert_eq!(within("all the time", a.call(peer, "echo", "x", patient)).await, Ok(b"x".to_vec()));

    let error = refused(within("a no", a.call(peer, "no", "", FOR_EVER)).await, "because");
    let MeshError::Call(CallError::Refused { code, reason }) = error else { panic!("{error}") };
    assert_eq!((code, reason.len()), (meshground_node::APPLICATION_CODES, MAX_REASON));
    let error = within("a no", a.call(peer, "never", "", FOR_EVER)).await.unwrap_err();
    assert!(matches!(error, MeshError::Call(CallError::Refused { .. })), "{error}");
    assert!(within("an answer without items", a.call(peer, "nothing", "", FOR_EVER)).await.is_err());
    let mut items = a.call_streaming(peer, "nothing", "", FOR_EVER);
    assert!(within("the end", items.next()).await.is_none());
}

#[tokio::test]
async fn calls_of_a_node_that_is_down_say_so() {
    let (a, b) = pair().await;
    let mut begun = a.call_streaming(b.node_id(), "echo", "", FOR_EVER);
    within("crash", a.crash()).await;
    refused(within("the one that had begun", begun.next()).await.expect("it was cut off"), "build another");
    assert!(within("the end", begun.next()).await.is_none());
    for _ in 0..2 {
        refused(a.call(b.node_id(), "echo", "", CallOptions::default()).await, "build another");
        let mut items = a.call_streaming(b.node_id(), "echo", "", FOR_EVER);
        refused(within("the error", items.next()).await.expect("one error"), "build another");
        assert!(within("the end", items.next()).await.is_none());
        assert!(within("no record", a.calls().next()).await.is_none());
        a.serve("late", async |_| Ok(vec![]));
    }
}

#[tokio::test]
async fn capabilities_and_placement_refuse_what_they_cannot_do() {
    let (a, b) = pair().await;
    let none = Capabilities::new;
    let errors = [
        (none().with_tag("").unwrap_err(), "1 to 64 bytes"),
        (none().with_tag("x".repeat(1 << 20)).unwrap_err(), "1 to 64 bytes"),
        (none().with_metadata("", "").unwrap_err(), "1 to 64 bytes"),
        (none().with_metadata("k".repeat(65), "").unwrap_err(), "1 to 64 bytes"),
        (none().with_metadata("k", "v".repeat(257)).unwrap_err(), "up to 256 bytes"),
    ];
    for (error, word) in errors {
        refused(Err::<(), CapabilityError>(error), word);
    }
    a.announce_capabilities(none()).await.expect("nothing can be announced, too");
    a.announce_capabilities(none().with_metadata("memory", "lots").unwrap()).await.unwrap();
    assert_eq!(a.capabilities_of(NOBODY).await, Ok(None));
    let absurd = Filter::any().with_tag("").any_of(Vec::<String>::new()).metadata_is("", "").number(
        "memory",
        Comparison::AtLeast,
        f64::NAN,
    );
    assert_eq!(a.find(absurd.clone()).await, Ok(vec![]));
    let strategy = PlacementStrategy::default;
    refused(a.place(absurd, strategy()).await, "ask for less");
    refused(a.place(Filter::any().only([NOBODY]), strategy()).await, "ask for less");
    refused(a.place(Filter::any(), PlacementStrategy::Pinned(NOBODY)).await, "cannot be reached");
    let used = vec![NOBODY, a.node_id(), b.node_id(), a.node_id()];
    let error = refused(a.place_with_spread(Filter::any(), strategy(), used).await, "used already");
    let MeshError::Place(PlacementError::PlacementFailed { excluded }) = error else { panic!("{error}") };
    assert!(excluded.contains(&a.node_id()) && !excluded.contains(&NOBODY));

    within("shutdown", a.shutdown()).await;
    for _ in 0..2 {
        refused(a.announce_capabilities(none()).await, "build another");
        refused(a.capabilities_of(NOBODY).await, "build another");
        refused(a.find(Filter::any()).await, "build another");
        refused(a.place(Filter::any(), strategy()).await, "build another");
        refused(a.place_with_spread(Filter::any(), strategy(), vec![]).await, "build another");
        refused(a.routes().await, "build another");
    }
}

#[tokio::test]
async fn sessions_over_others_are_refused_to_where_there_is_no_way() {
    let hasty = HandshakeConfig { budget: Duration::from_millis(300), ..HandshakeConfig::default() };
    let a = MeshBuilder::new(here(), PSK).handshake(hasty).build().await.unwrap();
    let b = mesh().await;
    refused(within("to itself", a.connect_relayed(a.node_id())).await, "this node's own");
    refused(within("to nobody", a.connect_relayed(NOBODY)).await, "over others");
    within("a session", a.connect(b.local_addr())).await.unwrap();
    refused(within("to nobody", a.connect_relayed(NodeId(0))).await, "over others");
    // With a direct session it is not needed; the direct one stays, whatever comes of it.
    let _ = within("to a peer", a.connect_relayed(b.node_id())).await;
    let direct = a.stats().await.unwrap();
    assert!(direct.iter().all(|peer| peer.path.is_direct()) && direct.len() == 1, "{direct:?}");
    within("shutdown", a.shutdown()).await;
    refused(a.connect_relayed(b.node_id()).await, "build another");
}
