//! What is served over plain HTTP.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthz_says_how_the_cluster_is() {
    let server = server().await;
    let host = server.local_addr().to_string();
    let mut client = Client::connect(server.local_addr()).await;
    let empty = get(server.local_addr(), "/healthz", &host, &[]).await;
    assert_eq!(empty.status, 200);
    assert!(empty.headers.contains("content-type: application/json"), "{}", empty.headers);
    assert_eq!(empty.json()["status"], "ok");
    assert_eq!(empty.json()["nodes"], 0);
    let booted = boot(&mut client, 2).await;
    let full = get(server.local_addr(), "/healthz", &host, &[]).await.json();
    assert_eq!((&full["nodes"], &full["converged"]), (&json!(2), &json!(true)));
    client.call::<NodeCrash>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    let broken = get(server.local_addr(), "/healthz", &host, &[]).await.json();
    assert_eq!((&broken["nodes"], &broken["converged"]), (&json!(2), &json!(false)));
}

#[tokio::test]
async fn the_page_is_served_as_browsers_want_it() {
    let page =
        Page::from_files([("index.html", "<!doctype html>"), ("boot.js", "go()"), ("app.wasm", "\0asm")]);
    let server = started(ServerConfig { page, ..ServerConfig::default() }).await;
    let host = server.local_addr().to_string();
    for (path, mime) in [
        ("/", "text/html; charset=utf-8"),
        ("/boot.js", "text/javascript; charset=utf-8"),
        ("/app.wasm", "application/wasm"),
    ] {
        let answer = get(server.local_addr(), path, &host, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        for line in [
            &format!("content-type: {mime}"),
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-cache",
            "content-security-policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval';",
            &format!("connect-src 'self' ws://{host};"),
        ] {
            assert!(answer.headers.contains(line), "{path} lacks {line:?}: {}", answer.headers);
        }
    }
    assert_eq!(get(server.local_addr(), "/nope", &host, &[]).await.status, 404);
    assert_eq!(get(server.local_addr(), "/ws", &host, &[]).await.status, 426);
}

#[tokio::test]
async fn a_server_without_a_page_names_the_command_that_builds_it() {
    let server = started(ServerConfig { page: Page::default(), ..ServerConfig::default() }).await;
    let answer = get(server.local_addr(), "/", &server.local_addr().to_string(), &[]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("cargo xtask demo"), "{}", answer.body);
    Client::connect(server.local_addr()).await.is_alive().await;
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let server = server().await;
    let port = server.local_addr().port();
    let error = Server::bind(ServerConfig { port, ..ServerConfig::default() }).await.unwrap_err();
    assert!(matches!(error, ServerError::PortInUse { port: taken } if taken == port));
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("--port 0") && !text.contains('\n'), "{text}");
}

/// A snapshot of a cluster this size would fill every buffer on its way; see the unit
/// test of the connection for what happens to its requests.
#[tokio::test]
async fn a_large_snapshot_arrives_whole() {
    let server = server().await;
    for index in 0..2_000_u32 {
        let kind = EventKind::NodeStarted {
            index,
            address: "127.0.0.1:9".parse().unwrap(),
            public_key: PublicKey([1; 32]),
        };
        server.log().append(Some(NodeId(index.into())), None, kind);
    }
    let mut client = Client::connect(server.local_addr()).await;
    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    assert_eq!(snapshot, server.log().snapshot());
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_hung_up_on_and_no_other() {
    assert!(ServerConfig::default().request_head_timeout <= Duration::from_secs(10));
    let head_timeout = Duration::from_millis(200);
    let server =
        started(ServerConfig { request_head_timeout: head_timeout, ..ServerConfig::default() }).await;
    let address = server.local_addr();
    let mut client = Client::connect(address).await;
    let open = async || in_time("a connection", TcpStream::connect(address)).await.unwrap();

    let (mut silent, mut half, mut slow) = (open().await, open().await, open().await);
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").await.unwrap();
    let mut answer = Vec::new();
    // Whether it ends with a word or a reset: it ends.
    let _ = in_time("the end of one that is silent", silent.read_to_end(&mut answer)).await;
    let _ = in_time("the end of one that has stopped half-way", half.read_to_end(&mut answer)).await;
    let trickle = async {
        // Something comes all the time, but never the end of the head.
        slow.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await?;
        loop {
            slow.write_all(b"y").await?;
            // Not so fast that the head grows too long: once for each time that the server answers another.
            client.is_alive().await;
        }
    };
    let ended: std::io::Result<()> = in_time("the end of one that trickles", trickle).await;
    assert!(ended.is_err());

    client.is_alive().await;
    let health = get(address, "/healthz", &address.to_string(), &[]).await;
    assert_eq!(health.status, 200, "others are answered");
    server.stop().await;
}

#[tokio::test]
async fn so_many_connections_are_taken_at_a_time_and_the_next_when_one_ends() {
    let head_timeout = Duration::from_mins(10);
    let server =
        started(ServerConfig { request_head_timeout: head_timeout, ..ServerConfig::default() }).await;
    let address = server.local_addr();
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(in_time("a connection", TcpStream::connect(address)).await.unwrap());
    }
    let host = address.to_string();
    let mut health = std::pin::pin!(get(address, "/healthz", &host, &[]));
    assert!(tokio::time::timeout(Duration::from_millis(300), health.as_mut()).await.is_err(), "one too many");
    idle.pop();
    assert_eq!(in_time("an answer", health).await.status, 200);
}
