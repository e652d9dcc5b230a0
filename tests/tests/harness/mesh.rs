//! Single meshes.

use std::net::{Ipv4Addr, Ipv6Addr};

use meshground::{Mesh, MeshError};

use super::*;

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Whether that has to wait. It is given up then.
async fn is_pending(future: impl Future) -> bool {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn two_meshes_connect_and_part_without_a_harness() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let mut inbox = a.messages();
    assert_eq!(within("connect", a.connect(b.local_addr())).await, Ok(b.node_id()));
    b.send(a.node_id(), b"hello").await.unwrap();
    assert_eq!(&*within("the message", inbox.recv()).await.unwrap().payload, b"hello");
    assert_eq!((a.peer_count(), b.peer_count()), (1, 1));
    let stats = a.stats().await.unwrap();
    assert_eq!(stats[0].id, b.node_id());
    assert!(stats[0].traffic.datagrams_in > 0);

    within("leave", a.shutdown()).await;
    within("leave again", a.shutdown()).await;
    assert!(a.is_closed());
    assert_eq!(a.connect(b.local_addr()).await, Err(meshground::MeshError::Closed));
    within("crash", b.crash()).await;
    assert!(b.is_closed());
}

#[tokio::test]
async fn meshes_meet_over_ipv6_as_well() {
    if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        // The machine has none.
        return;
    }
    let build = || MeshBuilder::new((Ipv6Addr::LOCALHOST, 0).into(), [42; 32]).build();
    let (a, b) = (build().await.unwrap(), build().await.unwrap());
    assert!(a.local_addr().is_ipv6());
    let mut inbox = b.messages();
    let peer = within("connect", a.connect(b.local_addr())).await.unwrap();
    // More than one datagram, so that runs of them are sent and received.
    a.send(peer, &vec![7; 100_000]).await.unwrap();
    let message = within("the message", inbox.recv()).await.unwrap();
    assert_eq!((message.from, message.payload.len()), (a.node_id(), 100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dialled_is_accepted_once_whenever_that_is_asked_for() {
    let host = MeshBuilder::new(HERE, [3; 32]).build().await.unwrap();
    let guest = async || MeshBuilder::new(HERE, [3; 32]).build().await.unwrap();
    let guests = [guest().await, guest().await, guest().await];
    let all: BTreeSet<NodeId> = guests.iter().map(Mesh::node_id).collect();
    let accept = || {
        let host = host.clone();
        tokio::spawn(async move { host.accept().await })
    };

    // Before they come, by as many as will come; one more gives up.
    let waiting = [accept(), accept(), accept()];
    assert!(is_pending(host.accept()).await);
    for guest in &guests {
        within("connect", guest.connect(host.local_addr())).await.unwrap();
    }
    let mut came = BTreeSet::new();
    for waiting in waiting {
        came.insert(within("a guest", waiting).await.unwrap().unwrap());
    }
    assert_eq!(came, all, "each by one");
    assert!(is_pending(host.accept()).await, "none of them twice");
    assert!(is_pending(guests[0].accept()).await, "nobody has dialled the guest");

    // After they have come, and again when they come again.
    for _ in 0..2 {
        for guest in &guests {
            within("disconnect", guest.disconnect(host.node_id())).await.unwrap();
            within("connect", guest.connect(host.local_addr())).await.unwrap();
        }
        let mut came = BTreeSet::new();
        for _ in &guests {
            came.insert(within("a guest", host.accept()).await.unwrap());
        }
        assert_eq!(came, all);
    }

    // A session that has ended is none to accept.
    let (fleeting, last) = (guest().await, guest().await);
    within("connect", fleeting.connect(host.local_addr())).await.unwrap();
    within("leave", fleeting.shutdown()).await;
    let gone = async {
        while host.peer_count() > guests.len() {
            tokio::task::yield_now().await;
        }
    };
    within("its end", gone).await;
    within("connect", last.connect(host.local_addr())).await.unwrap();
    assert_eq!(within("the last", host.accept()).await, Ok(last.node_id()));

    let waiting = [accept(), accept()];
    within("leave", host.shutdown()).await;
    for waiting in waiting {
        assert_eq!(within("the end", waiting).await.unwrap(), Err(MeshError::Closed));
    }
}

#[tokio::test]
async fn an_accepted_peer_can_be_talked_to_at_once() {
    let [a, b] = [0; 2].map(|_| MeshBuilder::new(HERE, [3; 32]));
    let (a, b) = (a.build().await.unwrap(), b.build().await.unwrap());
    let mut inbox = a.messages();
    for _ in 0..20 {
        let both = async { tokio::try_join!(a.connect(b.local_addr()), b.accept()) };
        assert_eq!(within("both ends", both).await, Ok((b.node_id(), a.node_id())));
        assert_eq!(b.peers()[0].id, a.node_id());
        b.send(a.node_id(), b"welcome").await.unwrap();
        assert_eq!(&*within("the message", inbox.recv()).await.unwrap().payload, b"welcome");
        within("disconnect", b.disconnect(a.node_id())).await.unwrap();
    }
}

#[tokio::test]
async fn a_busy_address_is_a_clear_error() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let first = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let error = MeshBuilder::new(first.local_addr(), [3; 32]).build().await.unwrap_err();
    assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
}

#[tokio::test]
async fn dialling_a_closed_port_fails_by_its_budget_and_the_node_lives_on() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let nobody = std::net::UdpSocket::bind(here).unwrap().local_addr().unwrap();
    let short = meshground_node::HandshakeConfig {
        budget: Duration::from_millis(300),
        retransmit: Duration::from_millis(50),
        ..Default::default()
    };
    let a = MeshBuilder::new(here, [3; 32]).handshake(short).build().await.unwrap();
    let error = within("the failure", a.connect(nobody)).await.unwrap_err();
    assert!(matches!(error, meshground::MeshError::Dial { address, .. } if address == nobody), "{error:?}");
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    assert_eq!(within("connect", a.connect(b.local_addr())).await, Ok(b.node_id()));
}

#[tokio::test]
async fn a_slow_reader_loses_the_oldest_messages_and_is_told_how_many() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    within("connect", a.connect(b.local_addr())).await.unwrap();
    let (mut slow, mut quick) = (b.messages(), b.messages());
    let total = meshground::mesh::MESSAGE_QUEUE + 10_000;
    let mut sender = a.sender(b.node_id());
    let mut read = Vec::new();
    // Never more under way than the kernel has room for: nothing is lost on the way.
    for first in (0..total).step_by(1_000) {
        for number in first..first + 1_000 {
            within("room", sender.send(&(number as u64).to_be_bytes())).await.unwrap();
        }
        while read.len() < first + 1_000 {
            assert!(within("messages", quick.recv_many(&mut read, usize::MAX)).await > 0);
        }
    }
    within("the end", b.crash()).await;
    assert_eq!((within("the end", quick.recv_many(&mut read, 1)).await, quick.missed()), (0, 0));
    let mut kept = Vec::new();
    while let Some(message) = within("a kept message", slow.recv()).await {
        kept.push(message);
    }
    assert_eq!(kept.len(), meshground::mesh::MESSAGE_QUEUE);
    assert_eq!(slow.missed(), (read.len() - kept.len()) as u64);
    assert_eq!(kept, read[read.len() - kept.len()..], "the latest are kept, in order");
}

/// Two meshes that are connected.
async fn pair() -> (meshground::Mesh, meshground::Mesh) {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    within("connect", a.connect(b.local_addr())).await.unwrap();
    (a, b)
}

#[tokio::test]
async fn a_sender_waits_while_its_buffer_is_full_and_what_is_cancelled_was_not_sent() {
    let (a, b) = pair().await;
    let mut sender = a.sender(b.node_id());
    let mut inbox = b.messages();
    // There is one thread: the node's task does nothing until this one waits.
    let mut sent = 0_u32;
    loop {
        let mut payload = [0; 1_000];
        payload[..4].copy_from_slice(&sent.to_be_bytes());
        let mut sending = std::pin::pin!(sender.send(&payload));
        let waits = std::future::poll_fn(|context| {
            std::task::Poll::Ready(sending.as_mut().poll(context).is_pending())
        });
        if waits.await {
            break;
        }
        sent += 1;
    }
    let queued = usize::try_from(sent).unwrap() * 1_000;
    assert!(
        queued <= meshground::mesh::SEND_BUFFER && queued + 2_000 > meshground::mesh::SEND_BUFFER * 99 / 100
    );
    within("room", sender.send(b"the last")).await.unwrap();
    for number in 0..sent {
        let message = within("a message", inbox.recv()).await.unwrap();
        assert_eq!(message.payload[..4], number.to_be_bytes());
    }
    assert_eq!(&*within("the last", inbox.recv()).await.unwrap().payload, b"the last");
}

#[tokio::test]
async fn a_sender_fails_when_the_session_is_gone_and_works_again_with_the_next() {
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let identity = meshground_node::Identity::from_seed([8; 32]);
    let start = || MeshBuilder::new(here, [3; 32]).identity(identity.clone()).build();
    let a = MeshBuilder::new(here, [3; 32]).build().await.unwrap();
    let b = start().await.unwrap();
    within("connect", a.connect(b.local_addr())).await.unwrap();
    let mut sender = a.sender(b.node_id());
    within("a message", sender.send(b"one")).await.unwrap();
    within("leave", b.shutdown()).await;
    let gone = async {
        while a.peer_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the end of the session", gone).await;
    let no_session = meshground_node::SendError::NoSession(b.node_id());
    assert_eq!(sender.send(b"two").await, Err(no_session.clone().into()));
    assert_eq!(a.send(b.node_id(), b"two").await, Err(no_session.into()));

    let b = start().await.unwrap();
    let mut inbox = b.messages();
    within("connect again", a.connect(b.local_addr())).await.unwrap();
    within("a message", sender.send(b"again")).await.unwrap();
    assert_eq!(&*within("the message", inbox.recv()).await.unwrap().payload, b"again");
    within("crash", a.crash()).await;
    assert_eq!(sender.send(b"three").await, Err(meshground::MeshError::Closed));
    assert_eq!(a.send(b.node_id(), b"three").await, Err(meshground::MeshError::Closed));
}

#[tokio::test]
async fn who_waits_for_room_is_told_when_the_node_goes_down() {
    let (a, b) = pair().await;
    let mut sender = a.sender(b.node_id());
    let flood = async {
        loop {
            if let Err(error) = sender.send(&[7; 1_000]).await {
                return error;
            }
        }
    };
    let (error, ()) = within("the end", async { tokio::join!(flood, a.crash()) }).await;
    assert_eq!(error, meshground::MeshError::Closed);
}

#[tokio::test]
async fn what_was_handed_over_before_a_leave_arrives() {
    let (a, b) = pair().await;
    let mut inbox = b.messages();
    for number in 0..100_u8 {
        a.send(b.node_id(), &[number]).await.unwrap();
    }
    within("leave", a.shutdown()).await;
    for number in 0..100_u8 {
        assert_eq!(within("a message", inbox.recv()).await.unwrap().payload[..], [number]);
    }
}
