//! A chat without a server: every line typed goes to every peer.
//!
//! In one terminal `cargo run -p meshground --example chat -- secret`, which prints an address; in another
//! `cargo run -p meshground --example chat -- secret 127.0.0.1:PORT`.

use std::{error::Error, net::Ipv4Addr};

use aws_lc_rs::digest::{SHA256, digest};
use meshground::MeshBuilder;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let secret = arguments.next().ok_or("usage: chat SECRET [ADDRESS]...")?;
    // Enough for a demonstration: a real key is random, not made from a word.
    let key = digest(&SHA256, secret.as_bytes()).as_ref().try_into()?;
    let mesh = MeshBuilder::new((Ipv4Addr::LOCALHOST, 0).into(), key).build().await?;
    println!("I am {}, at {}", mesh.node_id(), mesh.local_addr());
    for address in arguments {
        println!("met {}", mesh.connect(address.parse()?).await?);
    }

    let mut messages = mesh.messages();
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            Some(message) = messages.recv() => {
                println!("{}: {}", message.from, String::from_utf8_lossy(&message.payload));
            }
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                for peer in mesh.peers().iter() {
                    // One that has just left hears nothing; that is no reason to stop talking.
                    if let Err(error) = mesh.send(peer.id, line.as_bytes()).await {
                        eprintln!("{} did not get that: {error}", peer.id);
                    }
                }
            }
        }
    }
    mesh.shutdown().await;
    Ok(())
}
