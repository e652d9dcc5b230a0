//! Two nodes, and what can pass between them: a message, a stream, a call.
//!
//! `cargo run -p meshground --example echo`

use std::{error::Error, net::Ipv4Addr};

use meshground::{CallOptions, MeshBuilder, Request};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Whoever holds this key belongs to the mesh. Yours must be secret, and random.
    let key = [42; 32];
    let alice = MeshBuilder::new((Ipv4Addr::LOCALHOST, 0).into(), key).build().await?;
    let bob = MeshBuilder::new((Ipv4Addr::LOCALHOST, 0).into(), key).build().await?;

    // A message arrives once or not at all. Listen before it is sent.
    let mut messages = bob.messages();
    let peer = alice.connect(bob.local_addr()).await?;
    alice.send(peer, b"hello").await?;
    if let Some(message) = messages.recv().await {
        println!("bob got {:?} from {}", String::from_utf8_lossy(&message.payload), message.from);
    }

    // A stream arrives whole and in order.
    let (mut send, mut receive) = alice.open_stream(peer).await?.split();
    send.write_all(b"a long story").await?;
    send.end();
    if let Some(stream) = bob.accept_stream().await {
        let (mut back, mut story) = stream.split();
        back.write_all(&story.read_to_end(1_000).await?).await?;
        back.finish().await?;
    }
    println!("alice got back {:?}", String::from_utf8_lossy(&receive.read_to_end(1_000).await?));

    // A call is answered, or says why not.
    bob.serve("echo", async |request: Request| Ok(request.body));
    let answer = alice.call(peer, "echo", "anyone there?", CallOptions::default()).await?;
    println!("bob answered {:?}", String::from_utf8_lossy(&answer));

    alice.shutdown().await;
    bob.shutdown().await;
    Ok(())
}

#[test]
fn it_comes_to_its_end() {
    main().unwrap();
}
