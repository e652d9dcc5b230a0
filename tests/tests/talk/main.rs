//! Streams and remote calls between real nodes over real sockets.

mod calls;
mod relays;
mod streams;

use std::{net::Ipv4Addr, time::Duration};

use meshground::{Mesh, MeshBuilder};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_mins(1);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}");
    };
    done
}

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
