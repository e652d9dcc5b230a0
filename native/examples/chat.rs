//! A chat without a server: every line typed goes to every peer.
//!
//! In one terminal `cargo run -p meshground --example chat -- secret`, which prints an address; in another
//! `cargo run -p meshground --example chat -- secret 127.0.0.1:PORT`.

use std::{error::Error, io, net::Ipv4Addr};

use aws_lc_rs::digest::{SHA256, digest};
use meshground::{Mesh, MeshBuilder};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let secret = arguments.next().ok_or("usage: chat SECRET [ADDRESS]...")?;
    let mesh = join(&secret).await?;
    println!("I am {}, at {}", mesh.node_id(), mesh.local_addr());
    for address in arguments {
        println!("met {}", mesh.connect(address.parse()?).await?);
    }
    chat(&mesh, BufReader::new(stdin())).await?;
    mesh.shutdown().await;
    Ok(())
}

/// A node of those who know the secret.
async fn join(secret: &str) -> Result<Mesh, Box<dyn Error>> {
    // Enough for a demonstration: a real key is random, not made from a word.
    let key = digest(&SHA256, secret.as_bytes()).as_ref().try_into()?;
    Ok(MeshBuilder::new((Ipv4Addr::LOCALHOST, 0).into(), key).build().await?)
}

/// Tells every peer each line of `input`, and prints what they say, until there is no more.
async fn chat(mesh: &Mesh, input: impl AsyncBufRead + Unpin) -> io::Result<()> {
    let mut messages = mesh.messages();
    let mut lines = input.lines();
    loop {
        tokio::select! {
            Some(message) = messages.recv() => {
                println!("{}: {}", message.from, String::from_utf8_lossy(&message.payload));
            }
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                for peer in mesh.peers().iter() {
                    // One that has just left hears nothing; that is no reason to stop talking.
                    if let Err(error) = mesh.send(peer.id, line.as_bytes()).await {
                        eprintln!("{} did not get that: {error}", peer.id);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn what_one_types_the_other_is_told() {
    let (alice, bob) = (join("secret").await.unwrap(), join("secret").await.unwrap());
    tokio::try_join!(alice.connect(bob.local_addr()), bob.accept()).unwrap();
    let mut told = bob.messages();
    chat(&alice, &b"hello\nanyone there?\n"[..]).await.unwrap();
    for line in [&b"hello"[..], b"anyone there?"] {
        assert_eq!(&*told.recv().await.unwrap().payload, line);
    }
    alice.shutdown().await;
    bob.shutdown().await;
}
