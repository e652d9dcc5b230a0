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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_tells_how_soon_a_crash_is_noticed_by_as_many_as_there_are_now() {
    // A budget that each node more makes heartbeats rarer by.
    let liveness = LivenessConfig { budget: 10, ..LivenessConfig::default() };
    let cluster = ClusterConfig { liveness: Some(liveness), ..ClusterConfig::default() };
    let server = started(ServerConfig { cluster, ..ServerConfig::default() }).await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 3).await;
    let mut told = vec![client.call::<SessionHello>(&NoParams {}).await.unwrap().detection_ms];
    for _ in 0..2 {
        client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
        told.push(client.call::<SessionHello>(&NoParams {}).await.unwrap().detection_ms);
    }
    assert!(told.is_sorted_by(|fewer, more| fewer < more), "{told:?}");
    client.call::<NodeShutdown>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    let fewer = client.call::<SessionHello>(&NoParams {}).await.unwrap().detection_ms;
    assert_eq!(fewer, told[1]);
}
