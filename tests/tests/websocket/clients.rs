//! Clients that are not what they should be.

use super::*;

#[tokio::test]
async fn programs_and_the_servers_own_page_may_connect_and_other_pages_may_not() {
    let server = server().await;
    let address = server.local_addr();
    let port = address.port();
    let own = format!("http://127.0.0.1:{port}");
    let local = format!("localhost:{port}");
    let local_origin = format!("http://localhost:{port}");
    let v6 = format!("[::1]:{port}");
    let v6_origin = format!("http://[::1]:{port}");
    let rebound = format!("rebound.evil.com:{port}");
    let rebound_origin = format!("http://{rebound}");
    let suffixed = format!("localhost.evil.com:{port}");
    let other_port = format!("http://127.0.0.1:{}", port ^ 1);
    let secure = format!("https://127.0.0.1:{port}");
    for (welcome, headers) in [
        (true, vec![]),
        (true, vec![("origin", own.as_str())]),
        (true, vec![("host", local.as_str())]),
        (true, vec![("host", local.as_str()), ("origin", &local_origin)]),
        (true, vec![("host", v6.as_str()), ("origin", &v6_origin)]),
        (true, vec![("host", "127.0.0.1:9000"), ("origin", "http://127.0.0.1:9000")]),
        (false, vec![("origin", "null")]),
        (false, vec![("origin", "http://evil.com")]),
        (false, vec![("origin", other_port.as_str())]),
        (false, vec![("origin", secure.as_str())]),
        (false, vec![("origin", local_origin.as_str())]),
        (false, vec![("host", local.as_str()), ("origin", own.as_str())]),
        (false, vec![("host", rebound.as_str())]),
        (false, vec![("host", rebound.as_str()), ("origin", &rebound_origin)]),
        (false, vec![("host", suffixed.as_str())]),
        (false, vec![("host", "192.168.1.2:7777")]),
        (false, vec![("host", "0.0.0.0:7777")]),
    ] {
        match Client::connect_with(address, &headers).await {
            Ok(mut client) => {
                assert!(welcome, "{headers:?} was let in");
                client.is_alive().await;
            }
            Err((status, text)) => {
                assert!(!welcome, "{headers:?} was refused: {text}");
                assert_eq!(status, 403, "{headers:?}");
                assert!(text.len() > 20, "{text:?} does not say why");
            }
        }
    }
}

#[tokio::test]
async fn the_guard_stands_before_every_path() {
    let server = server().await;
    let host = server.local_addr().to_string();
    for path in ["/", "/healthz", "/ws", "/index.html", "/nowhere"] {
        let refused = get(server.local_addr(), path, "evil.com", &[]).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.body);
        let refused = get(server.local_addr(), path, &host, &["Origin: http://evil.com"]).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.body);
    }
    let two_hosts = get(server.local_addr(), "/healthz", &host, &["Host: evil.com"]).await;
    assert!(matches!(two_hosts.status, 400 | 403), "{two_hosts:?}");
}

#[tokio::test]
async fn the_subprotocol_is_selected_if_offered_and_an_unknown_one_is_refused() {
    let server = server().await;
    let address = server.local_addr();
    for offer in [SUBPROTOCOL, "graphql-ws, meshground.v1+json"] {
        let mut client = Client::connect_with(address, &[("sec-websocket-protocol", offer)]).await.unwrap();
        client.is_alive().await;
    }
    Client::connect_with(address, &[]).await.expect("none offered, none needed").is_alive().await;
    let refused = Client::connect_with(address, &[("sec-websocket-protocol", "graphql-ws")]).await;
    let (status, text) = refused.expect_err("a client that speaks something else");
    assert_eq!(status, 400);
    assert!(text.contains(SUBPROTOCOL));
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_may_come_when_another_has_left() {
    let server = started(ServerConfig { max_clients: 2, ..ServerConfig::default() }).await;
    let address = server.local_addr();
    let mut one = Client::connect(address).await;
    let two = Client::connect(address).await;
    let (status, text) = Client::connect_with(address, &[]).await.expect_err("there are two already");
    assert_eq!(status, 503);
    assert!(text.contains('2'), "{text}");
    one.is_alive().await;
    two.vanish();
    in_time("the place to become free", async {
        // Each attempt goes to the server and back.
        while Client::connect_with(address, &[]).await.is_err() {}
    })
    .await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_slows_nobody_down_and_learns_what_it_missed() {
    // Far more than the sockets' buffers, the queue and the log's ring can hold together.
    const EVENTS: u64 = 40_000;
    const BATCH: u64 = 1_000;
    let server = started(with_a_short_log()).await;
    let mut slow = Client::connect_narrow(server.local_addr()).await;
    let mut behind = slow.mirror().await;
    let mut quick = Client::connect(server.local_addr()).await;
    let mut mirror = quick.mirror().await;
    for batch in 1..=EVENTS / BATCH {
        for count in 0..BATCH {
            server.log().append(None, None, noise(count));
        }
        mirror.up_to(&mut quick, batch * BATCH).await;
    }

    // It reads again: first what was on its way, then what became of the rest.
    let dropped = loop {
        match slow.next_push().await {
            Push::Event(delivery) => drop(behind.take(delivery)),
            Push::Dropped(dropped) => break dropped,
            Push::Telemetry(unasked) => panic!("{unasked:?}"),
        }
    };
    assert_eq!(dropped.count, dropped.snapshot.seq - behind.snapshot.seq);
    assert!(dropped.count > 0);
    let mut behind = Mirror::new(dropped.snapshot);
    server.log().append(None, None, noise(0));
    behind.up_to(&mut slow, EVENTS + 1).await;
    mirror.up_to(&mut quick, EVENTS + 1).await;
    assert_eq!(behind.snapshot, mirror.snapshot);
}

#[tokio::test]
async fn a_client_that_gives_no_sign_of_life_is_let_go_and_one_that_answers_pings_is_not() {
    let keepalive = Duration::from_millis(100);
    let server = started(ServerConfig { keepalive, max_clients: 2, ..ServerConfig::default() }).await;
    let address = server.local_addr();
    let mut awake = Client::connect(address).await;
    let _mirror = awake.mirror().await;
    let mut asleep = Client::connect(address).await;
    // To answer a ping, a client only has to read. One of the two does, for as long as it takes for the other's place to
    // become free; and once more, which is twice as long as it would have had.
    for _ in 0..2 {
        let next = async {
            loop {
                if let Ok(client) = Client::connect_with(address, &[]).await {
                    break client;
                }
            }
        };
        let next = tokio::select! {
            next = in_time("the place to become free", next) => next,
            push = awake.next_push() => panic!("{push:?}, though nothing happened"),
        };
        assert_eq!(asleep.left_unanswered().await, Some(CloseCode::Policy), "it is told why");
        asleep = next;
    }
    awake.is_alive().await;
}
