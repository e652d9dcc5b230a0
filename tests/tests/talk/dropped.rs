//! Whoever gives up waiting loses nothing: futures are polled once, what they wait for comes, and they are dropped.

use std::{
    pin::{Pin, pin},
    task::Poll,
};

use meshground::{CallOptions, ClusterConfig, ClusterHarness, MeshError, Refusal};
use meshground_shared::EventKind;
use tokio::sync::mpsc;

use super::{mesh, pair, within};

/// Polls it once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Begins to wait for something that is not there yet, lets it come, and gives up without another look.
async fn give_up<T>(waiting: impl Future<Output = T>, comes: impl Future) {
    let mut waiting = pin!(waiting);
    assert!(poll_once(waiting.as_mut()).await.is_pending(), "nothing is there yet");
    within("what is waited for", comes).await;
}

#[tokio::test]
async fn whoever_gives_up_accepting_a_peer_or_a_stream_leaves_it_to_the_next() {
    let (host, guest) = (mesh().await, mesh().await);
    let arrives = async {
        guest.connect(host.local_addr()).await.unwrap();
        // Confirmed here as well, and so in the lobby.
        while host.peer_count() == 0 {
            host.stats().await.unwrap();
        }
        host.stats().await.unwrap();
    };
    give_up(host.accept(), arrives).await;
    assert_eq!(within("the guest", host.accept()).await, Ok(guest.node_id()));

    let mut there = guest.open_stream(host.node_id()).await.unwrap();
    // Others may read from one that waits to be accepted: its end arrives when it has.
    let arrives = async {
        there.write_all(b"hello").await.unwrap();
        there.finish().await.unwrap();
    };
    give_up(host.accept_stream(), arrives).await;
    let mut here = within("the stream", host.accept_stream()).await.unwrap();
    assert_eq!(within("all of it", here.read_to_end(10)).await, Ok(b"hello".to_vec()));
}

#[tokio::test]
async fn whoever_gives_up_opening_a_stream_leaves_none_open() {
    let (a, b) = pair().await;
    // More by far than the peer allows at a time.
    for number in 0..20_000 {
        if number % 64 == 0 {
            // The node's task has done what it was asked.
            a.stats().await.unwrap();
        }
        let mut opening = pin!(a.open_stream(b.node_id()));
        if let Poll::Ready(opened) = poll_once(opening.as_mut()).await {
            drop(opened.unwrap());
        }
    }
    let mut here = within("there is room", a.open_stream(b.node_id())).await.unwrap();
    here.write_all(b"hello").await.unwrap();
    here.end();
    let mut there = within("the stream", b.accept_stream()).await.unwrap();
    assert_eq!(within("all of it", there.read_to_end(10)).await, Ok(b"hello".to_vec()), "and only that one");
}

#[tokio::test]
async fn whoever_gives_up_reading_or_finishing_a_stream_finds_all_of_it_later() {
    let (a, b) = pair().await;
    let mut here = a.open_stream(b.node_id()).await.unwrap();
    here.write_all(b"!").await.unwrap();
    let mut there = within("the stream", b.accept_stream()).await.unwrap();
    assert_eq!(within("the first byte", there.read(&mut [0; 10])).await, Ok(1));

    let mut buffer = [0; 10];
    let (mut writing, mut reading) = here.split();
    let arrives = async {
        writing.write_all(b"hello").await.unwrap();
        // Acknowledged, and so there.
        while poll_once(pin!(writing.finish())).await.is_pending() {
            a.stats().await.unwrap();
        }
        writing.finish().await.unwrap();
        b.stats().await.unwrap();
    };
    // Given up half-way, it has ended all the same, and can be waited for again: that is what `arrives` does.
    give_up(there.read(&mut buffer), arrives).await;
    assert_eq!(within("all of it", there.read_to_end(10)).await, Ok(b"hello".to_vec()));

    // The same from the other end: given up once, it ends by itself.
    there.write_all(b"bye").await.unwrap();
    assert!(poll_once(pin!(there.finish())).await.is_pending(), "nobody has it yet");
    assert_eq!(within("all of it", reading.read_to_end(10)).await, Ok(b"bye".to_vec()));
    assert_eq!(within("that it was read", there.finish()).await, Ok(()));
}

#[tokio::test]
async fn whoever_gives_up_waiting_for_messages_or_events_finds_each_once_and_in_order() {
    let (a, b) = pair().await;
    let (mut inbox, mut other) = (b.messages(), b.messages());
    let mut many = Vec::new();
    for round in 0..10_u8 {
        let arrives = async {
            a.send(b.node_id(), &[round]).await.unwrap();
            // Every reader is told at the same time.
            other.recv().await.unwrap();
        };
        if round % 2 == 0 {
            give_up(inbox.recv(), arrives).await;
            assert_eq!(*within("the message", inbox.recv()).await.unwrap().payload, [round]);
        } else {
            give_up(inbox.recv_many(&mut many, 10), arrives).await;
            assert!(many.is_empty(), "it has taken nothing");
            assert_eq!(within("the message", inbox.recv_many(&mut many, 10)).await, 1);
            assert_eq!(*many.pop().unwrap().payload, [round]);
        }
    }

    let cluster = within("a boot", ClusterHarness::with_config(1, ClusterConfig::default())).await.unwrap();
    let mut events = cluster.events().events;
    let mut before = 0;
    for round in 0..5_u64 {
        let comes = async {
            cluster.log().append(None, None, EventKind::ClusterConverged { nodes: 1, took_us: round })
        };
        give_up(events.recv(), comes).await;
        let event = within("the event", events.recv()).await.unwrap();
        assert_eq!(event.kind, EventKind::ClusterConverged { nodes: 1, took_us: round });
        assert!(before == 0 || event.seq == before + 1, "one after the other");
        before = event.seq;
    }
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[tokio::test]
async fn whoever_gives_up_waiting_for_an_item_of_an_answer_gets_it_the_next_time() {
    let (a, b) = pair().await;
    let (sent, mut told) = mpsc::unbounded_channel();
    let (go, went) = mpsc::unbounded_channel::<u8>();
    let went = std::sync::Arc::new(tokio::sync::Mutex::new(went));
    b.serve_streaming("count", move |_, responder| {
        let (sent, went) = (sent.clone(), std::sync::Arc::clone(&went));
        async move {
            while let Some(number) = went.lock().await.recv().await {
                responder.send(vec![number]).await.map_err(|_| Refusal::new(1, ""))?;
                let _ = sent.send(());
            }
            Ok(())
        }
    });
    let mut items = a.call_streaming(b.node_id(), "count", "", CallOptions { deadline: None });
    for number in 0..10 {
        let comes = async {
            let before = a.stats().await.unwrap()[0].traffic.datagrams_in;
            go.send(number).unwrap();
            told.recv().await.unwrap();
            while a.stats().await.unwrap()[0].traffic.datagrams_in == before {
                tokio::task::yield_now().await;
            }
            a.stats().await.unwrap();
        };
        give_up(items.next(), comes).await;
        assert_eq!(within("the item", items.next()).await, Some(Ok(vec![number])));
    }
    drop(go);
    assert_eq!(within("the end", items.next()).await, None::<Result<Vec<u8>, MeshError>>);
}
