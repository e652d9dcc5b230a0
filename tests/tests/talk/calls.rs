//! Remote calls.

use std::{sync::Arc, time::Duration};

use meshground::{CallOptions, Mesh, MeshError, Refusal, Request, mesh::MAX_HANDLERS};
use meshground_node::{CallError, MAX_BODY, ReplyError};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{mesh, pair, within};

const FOR_EVER: CallOptions = CallOptions { deadline: None };

async fn echo(request: Request) -> Result<Vec<u8>, Refusal> {
    Ok(request.body)
}

/// Says so when it is dropped.
struct Guard(Option<oneshot::Sender<()>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

#[tokio::test]
async fn a_call_is_answered_and_observed_at_both_ends() {
    let (a, b) = pair().await;
    b.serve("echo", echo);
    let (mut made, mut served) = (a.calls(), b.calls());
    let answer = within("the answer", a.call(b.node_id(), "echo", "hello", CallOptions::default())).await;
    assert_eq!(answer, Ok(b"hello".to_vec()));
    for (record, made_here) in [(made.next().await.unwrap(), true), (served.next().await.unwrap(), false)] {
        assert_eq!((record.made_here, &*record.method, &record.outcome), (made_here, "echo", &Ok(())));
        assert_eq!((record.request_bytes, record.items, record.response_bytes), (5, 1, 5));
    }
    assert_eq!(made.missed(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_up_to_four_mebibytes_arrive_and_longer_ones_are_refused() {
    let (a, b) = pair().await;
    b.serve("echo", echo);
    b.serve("too much", async |_| Ok(vec![0; MAX_BODY + 1]));
    let body: Vec<u8> = (0..MAX_BODY).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let answer = within("the answer", a.call(b.node_id(), "echo", body.clone(), FOR_EVER)).await.unwrap();
    assert!(answer == body);
    let error = a.call(b.node_id(), "echo", vec![0; MAX_BODY + 1], FOR_EVER).await.unwrap_err();
    assert_eq!(error, MeshError::Call(CallError::TooLarge(MAX_BODY + 1)));
    let error = within("the refusal", a.call(b.node_id(), "too much", "", FOR_EVER)).await.unwrap_err();
    assert!(matches!(error, MeshError::Call(CallError::TooLarge(_))), "{error}");
}

#[tokio::test]
async fn what_goes_wrong_at_the_peer_is_told_by_its_kind() {
    let (a, b) = pair().await;
    b.serve("refuse", async |_| Err(Refusal::new(300, "not on a Sunday")));
    b.serve("panic at once", async |_| panic!("on purpose"));
    b.serve("panic later", async |_| {
        tokio::task::yield_now().await;
        panic!("on purpose")
    });
    b.serve("echo", echo);
    let refused = CallError::Refused { code: 300, reason: "not on a Sunday".to_owned() };
    for (method, expected) in [
        ("refuse", refused),
        ("panic at once", CallError::Failed),
        ("panic later", CallError::Failed),
        ("nothing of the kind", CallError::UnknownMethod),
    ] {
        let error = within(method, a.call(b.node_id(), method, "", FOR_EVER)).await.unwrap_err();
        assert_eq!(error, MeshError::Call(expected), "{method}");
    }
    let error = a.call(a.node_id(), "echo", "", FOR_EVER).await.unwrap_err();
    assert_eq!(error, MeshError::Call(CallError::NoSession(a.node_id())));
    let answer = within("the answer", a.call(b.node_id(), "echo", "still there", FOR_EVER)).await;
    assert_eq!(answer, Ok(b"still there".to_vec()));
}

#[tokio::test]
async fn a_deadline_and_a_caller_that_goes_both_stop_the_work() {
    let (a, b) = pair().await;
    let (dropped, mut drops) = mpsc::unbounded_channel();
    b.serve("sleep", move |_| {
        let (sender, receiver) = oneshot::channel();
        dropped.send(receiver).unwrap();
        let guard = Guard(Some(sender));
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let wait = Duration::from_millis(50);
    let options = CallOptions { deadline: Some(wait) };
    let error = within("the deadline", a.call(b.node_id(), "sleep", "", options)).await.unwrap_err();
    assert_eq!(error, MeshError::Call(CallError::Deadline(wait)));
    within("the end of the work", drops.recv().await.unwrap()).await.unwrap();

    let call = tokio::spawn({
        let (a, peer) = (a.clone(), b.node_id());
        async move { a.call(peer, "sleep", "", FOR_EVER).await }
    });
    let stopped = within("the beginning of the work", drops.recv()).await.unwrap();
    call.abort();
    within("the end of the work", stopped).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_many_items_arrives_in_order_and_waits_for_its_reader() {
    let (a, b) = pair().await;
    let (counted, mut counts) = mpsc::unbounded_channel();
    b.serve_streaming("count", move |request, responder| {
        let counted = counted.clone();
        async move {
            let end = u32::from_le_bytes(request.body[..].try_into().unwrap());
            for n in 0..end {
                responder
                    .send([&n.to_le_bytes()[..], &[0; 10_000]].concat())
                    .await
                    .map_err(|_| Refusal::new(1, ""))?;
                let _ = counted.send(n);
            }
            Ok(())
        }
    });
    let mut items = a.call_streaming(b.node_id(), "count", 2_000_u32.to_le_bytes(), FOR_EVER);
    let mut expected = 0_u32;
    while let Some(item) = within("the next item", items.next()).await {
        let item = item.unwrap();
        assert_eq!((&item[..4], item.len()), (&expected.to_le_bytes()[..], 10_004));
        expected += 1;
        if expected == 1 {
            // Nobody takes any for a while: the sender must stop somewhere.
            while tokio::time::timeout(Duration::from_secs(1), counts.recv()).await.is_ok() {}
            assert!(counts.is_empty());
        }
    }
    assert_eq!(expected, 2_000);
    drop(items);

    let mut items = a.call_streaming(b.node_id(), "nothing of the kind", "", FOR_EVER);
    let error = within("the refusal", items.next()).await.unwrap().unwrap_err();
    assert_eq!(error, MeshError::Call(CallError::UnknownMethod));
    assert!(items.next().await.is_none());
}

#[tokio::test]
async fn an_answer_that_its_caller_drops_ends_for_its_sender() {
    let (a, b) = pair().await;
    let (ended, end) = oneshot::channel();
    let ended = std::sync::Mutex::new(Some(Guard(Some(ended))));
    b.serve_streaming("for ever", move |_, responder| {
        let guard = ended.lock().unwrap().take();
        async move {
            let _guard = guard;
            loop {
                match responder.send(vec![7; 100]).await {
                    Ok(()) => {}
                    Err(MeshError::Reply(ReplyError::Over)) => return Ok(()),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    let mut items = a.call_streaming(b.node_id(), "for ever", "", FOR_EVER);
    assert!(within("the first", items.next()).await.unwrap().is_ok());
    drop(items);
    within("the end of the work", end).await.unwrap();
}

/// Has `a` call `echo` of `b` so many times at once.
async fn each_of_so_many_is_answered(a: &Mesh, b: &Mesh, count: u32) {
    let asking = (0..count).map(|n| {
        let (a, peer) = (a.clone(), b.node_id());
        tokio::spawn(async move {
            let answer = a.call(peer, "echo", n.to_le_bytes(), FOR_EVER).await;
            assert_eq!(answer, Ok(n.to_le_bytes().to_vec()));
        })
    });
    for task in asking.collect::<Vec<_>>() {
        within("every answer", task).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_calls_at_once_are_each_answered() {
    let (a, b) = pair().await;
    b.serve("echo", async |request: Request| {
        tokio::task::yield_now().await;
        Ok(request.body)
    });
    each_of_so_many_is_answered(&a, &b, 640).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_calls_at_once_wait_their_turn_and_are_each_answered() {
    let (a, b) = pair().await;
    b.serve("echo", async |request: Request| Ok(request.body));
    each_of_so_many_is_answered(&a, &b, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_never_gets_its_turn_ends_at_its_deadline_and_one_that_is_dropped_leaves_it_to_others() {
    let (a, b) = pair().await;
    let (here, mut taken) = (b.node_id(), Vec::new());
    // As many streams as the peer allows, and in the places that are left to calls as many of those.
    while let Ok(stream) = tokio::time::timeout(Duration::from_secs(1), a.open_stream(here)).await {
        taken.push(stream.unwrap());
        assert!(taken.len() < 100_000, "it never waits");
    }
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    b.serve("hold", move |_| {
        let _ = arrived.send(());
        std::future::pending::<Result<Vec<u8>, Refusal>>()
    });
    let held: Vec<_> =
        (0..4_096 - taken.len()).map(|_| a.call_streaming(here, "hold", "", FOR_EVER)).collect();
    for _ in &held {
        within("a call's arrival", arrivals.recv()).await.unwrap();
    }
    b.serve("echo", async |request: Request| Ok(request.body));
    let wait = Duration::from_millis(50);
    let error = within("the deadline", a.call(here, "echo", "", CallOptions { deadline: Some(wait) })).await;
    assert_eq!(error, Err(MeshError::Call(CallError::Deadline(wait))));
    let mut items = a.call_streaming(here, "echo", "", CallOptions { deadline: Some(wait) });
    let error = within("the deadline", items.next()).await.unwrap();
    assert_eq!(error, Err(MeshError::Call(CallError::Deadline(wait))));

    let dropped =
        tokio::time::timeout(Duration::from_millis(50), a.call(here, "echo", "first", FOR_EVER)).await;
    assert!(dropped.is_err(), "it waits for its turn");
    let second = tokio::spawn({
        let a = a.clone();
        async move { a.call(here, "echo", "second", FOR_EVER).await }
    });
    drop(taken);
    assert_eq!(within("its turn", second).await.unwrap(), Ok(b"second".to_vec()));
}

#[tokio::test]
async fn calls_to_a_node_that_goes_end_with_it() {
    let (a, b) = pair().await;
    let begun = Arc::new(Notify::new());
    b.serve("sleep", {
        let begun = Arc::clone(&begun);
        move |_| {
            begun.notify_one();
            std::future::pending()
        }
    });
    let mut served = b.calls();
    let call = tokio::spawn({
        let (a, peer) = (a.clone(), b.node_id());
        async move { a.call(peer, "sleep", "", FOR_EVER).await }
    });
    within("the call's arrival", begun.notified()).await;
    b.shutdown().await;
    let outcome = within("the loss", call).await.unwrap();
    assert_eq!(outcome, Err(MeshError::Call(CallError::Lost)));
    assert!(served.next().await.is_some(), "the one that was lost");
    assert!(served.next().await.is_none());
    let error = b.call(a.node_id(), "echo", "", FOR_EVER).await;
    assert_eq!(error, Err(MeshError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_requests_take_every_place_it_can_get_leaves_places_to_others() {
    let ((a, b), c) = (pair().await, mesh().await);
    within("the session", c.connect(b.local_addr())).await.unwrap();
    b.serve("sleep", async |_| std::future::pending().await);
    b.serve("echo", echo);
    let mut served = b.calls();
    for _ in 0..=MAX_HANDLERS {
        let (a, peer) = (a.clone(), b.node_id());
        tokio::spawn(async move { a.call(peer, "sleep", "", FOR_EVER).await });
    }
    let refused = within("the first that finds no place", served.next()).await.unwrap();
    assert_eq!((refused.call.peer, &refused.outcome), (a.node_id(), &Err(CallError::Overloaded)));
    let answer = within("the answer", c.call(b.node_id(), "echo", "hello", FOR_EVER)).await;
    assert_eq!(answer, Ok(b"hello".to_vec()));
}
