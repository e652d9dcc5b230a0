//! Streams and remote calls between real nodes over real sockets.

mod calls;
mod dropped;
mod relays;
mod streams;

use std::net::Ipv4Addr;

use meshground::{Mesh, MeshBuilder};
use meshground_tests::waiting::within;

async fn mesh() -> Mesh {
    MeshBuilder::new((Ipv4Addr::LOCALHOST, 0).into(), [7; 32]).build().await.unwrap()
}

/// Two nodes with a session.
async fn pair() -> (Mesh, Mesh) {
    let (a, b) = (mesh().await, mesh().await);
    let ends = async { tokio::try_join!(a.connect(b.local_addr()), b.accept()) };
    within("a session", ends).await.unwrap();
    (a, b)
}
