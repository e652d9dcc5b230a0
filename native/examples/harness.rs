//! Five nodes with real sockets and real handshakes, as a test would use them.
//!
//! `cargo run -p meshground --example harness`

use std::error::Error;

use meshground::ClusterHarness;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = ClusterHarness::new(5).await?;
    println!("booted: {:?}", cluster.health());

    // A node that crashes says nothing; the others find out by its silence.
    let victim = cluster.nth(2).ok_or("five were booted")?.node_id();
    cluster.crash_node(victim).await?;
    println!("node 2 is down: {:?}", cluster.health());

    cluster.restart_node(victim).await?;
    println!("and up again: {:?}", cluster.health());
    cluster.shutdown().await?;
    Ok(())
}

#[test]
fn it_comes_to_its_end() {
    main().unwrap();
}
