//! Messages that are not what they should be.

use super::*;

#[tokio::test]
async fn a_wrong_message_gets_a_clear_error_and_the_connection_lives_on() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let request = |method: &str, params: Value| {
        json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).to_string()
    };
    let id = || Some(Id::String("x".into()));
    for (text, id, code) in [
        ("nonsense".to_owned(), None, ErrorCode::ParseError),
        (String::new(), None, ErrorCode::ParseError),
        ("\"text\"".to_owned(), None, ErrorCode::InvalidRequest),
        ("[]".to_owned(), None, ErrorCode::InvalidRequest),
        (format!("[{}]", request("session.hello", json!({}))), None, ErrorCode::InvalidRequest),
        ("{}".to_owned(), None, ErrorCode::InvalidRequest),
        (
            json!({"jsonrpc": "2.0", "id": null, "method": "session.hello"}).to_string(),
            None,
            ErrorCode::InvalidRequest,
        ),
        (
            json!({"jsonrpc": "2.0", "id": 1.5, "method": "session.hello"}).to_string(),
            None,
            ErrorCode::InvalidRequest,
        ),
        (
            json!({"jsonrpc": "2.0", "id": [1], "method": "session.hello"}).to_string(),
            None,
            ErrorCode::InvalidRequest,
        ),
        (
            json!({"jsonrpc": "1.0", "id": "x", "method": "session.hello"}).to_string(),
            id(),
            ErrorCode::InvalidRequest,
        ),
        (json!({"id": "x", "method": "session.hello"}).to_string(), id(), ErrorCode::InvalidRequest),
        (request("no.such.method", json!({})), id(), ErrorCode::MethodNotFound),
        (request("cluster.boot", json!({"nodes": "five"})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 2, "replace": 1})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 2, "nodez": 3})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!([5])), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 0})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": -1})), id(), ErrorCode::InvalidParams),
        (request("cluster.boot", json!({"nodes": 257})), id(), ErrorCode::LimitExceeded),
        (request("cluster.boot", json!({"nodes": 1_000_000})), id(), ErrorCode::LimitExceeded),
        (request("node.crash", json!({"node": 1})), id(), ErrorCode::InvalidParams),
        (request("node.crash", json!({"node": "1"})), id(), ErrorCode::InvalidParams),
        (request("node.crash", json!({"node": "00000000DEADBEEF"})), id(), ErrorCode::InvalidParams),
        (request("events.subscribe", json!({"topics": ["weather"]})), id(), ErrorCode::InvalidParams),
        (
            request("events.subscribe", json!({"resume": {"epoch": "x", "seq": 1}})),
            id(),
            ErrorCode::InvalidParams,
        ),
    ] {
        client.send_text(text.clone()).await;
        let (answered, error) = client.next_error().await;
        assert_eq!(answered, id, "{text}");
        assert_error(&error, code);
        client.is_alive().await;
    }
    assert_eq!(server.log().snapshot().seq, 0, "none of it changed anything");
}

#[tokio::test]
async fn a_binary_frame_gets_a_clear_error() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    client.send(Message::binary(b"{}".to_vec())).await;
    let (id, error) = client.next_error().await;
    assert_eq!(id, None);
    assert_error(&error, ErrorCode::InvalidRequest);
    assert!(error.message.contains("binary"));
    client.is_alive().await;
}

#[tokio::test]
async fn a_large_message_gets_an_error_under_its_own_id_and_the_connection_lives_on() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let padding = "x".repeat(2 * 1024 * 1024);
    let large =
        json!({"jsonrpc": "2.0", "method": "session.hello", "params": {"padding": padding}, "id": 77});
    client.send_text(large.to_string()).await;
    let (id, error) = client.next_error().await;
    assert_eq!(id, Some(Id::Number(77)));
    assert_error(&error, ErrorCode::MessageTooLarge);
    client.is_alive().await;

    client.send_text(padding).await;
    let (id, error) = client.next_error().await;
    assert_eq!(id, None);
    assert_error(&error, ErrorCode::MessageTooLarge);
    client.is_alive().await;

    let small = json!({"jsonrpc": "2.0", "method": "session.hello", "id": 78});
    let mut fits = small.to_string();
    fits.extend(std::iter::repeat_n(' ', 1024 * 1024 - fits.len()));
    client.send_text(fits).await;
    assert_eq!(client.next_answer().await.id, Some(Id::Number(78)));
}

#[tokio::test]
async fn a_message_beyond_all_measure_ends_the_connection_with_1009() {
    let server = server().await;
    let mut bystander = Client::connect(server.local_addr()).await;
    for size in [4 * 1024 * 1024 + 1, 5 * 1024 * 1024, 40 * 1024 * 1024] {
        let mut client = Client::connect(server.local_addr()).await;
        client.is_alive().await;
        // It is not cut off in the middle: not every client could read the reason then.
        client.send(Message::text("x".repeat(size))).await;
        let frame = client.closed().await.expect("a reason");
        assert_eq!(frame.code, CloseCode::Size, "{size} bytes");
    }
    bystander.is_alive().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_id_is_carried_out_and_not_answered() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    for quiet in [
        json!({"jsonrpc": "2.0", "method": "session.hello"}),
        json!({"jsonrpc": "2.0", "method": "no.such.method"}),
        json!({"jsonrpc": "2.0", "method": "cluster.boot", "params": {"nodes": 0}}),
        json!({"jsonrpc": "2.0", "method": "cluster.boot", "params": {"nodes": 2}}),
    ] {
        client.send_text(quiet.to_string()).await;
    }
    mirror.until_it_shows(&mut client, "the boot", |fold| fold.phase == ClusterPhase::Running).await;
    // An answer to any of them would be an answer to nothing, at which the client panics.
    client.is_alive().await;
}
