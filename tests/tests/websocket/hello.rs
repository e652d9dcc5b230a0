//! The greeting and the goodbye.

use super::*;

#[tokio::test]
async fn hello_tells_who_is_there_and_what_may_be_asked() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let hello = client.call::<SessionHello>(&NoParams {}).await.unwrap();
    assert_eq!(hello.server.name, "meshground");
    assert_eq!(hello.protocol, SUBPROTOCOL);
    assert_eq!(hello.epoch, server.log().epoch());
    assert_eq!(hello.methods, METHODS);
    assert_eq!(hello.limits.max_nodes, 256);
    assert_eq!(hello.limits.max_message_bytes, 1024 * 1024);
    assert_eq!(hello.limits.hard_message_bytes, 4 * 1024 * 1024);
    assert_eq!(hello.limits.resume_events, 65_536);
    assert_eq!(hello.detection_ms, 1500);
}

#[tokio::test]
async fn a_stopped_server_says_goodbye_to_its_clients() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    client.is_alive().await;
    let address = server.local_addr();
    let ((), frame) = tokio::join!(in_time("the server to stop", server.stop()), client.closed());
    assert_eq!(frame.expect("a goodbye").code, CloseCode::Away);
    let free_again = Server::bind(ServerConfig { port: address.port(), ..ServerConfig::default() }).await;
    assert!(free_again.is_ok(), "{free_again:?}");
}
