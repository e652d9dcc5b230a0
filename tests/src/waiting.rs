//! How tests over real sockets wait: for events, with generous deadlines.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What a future comes to.
///
/// # Panics
/// When that takes longer than [`PATIENCE`]; `what` says what it was.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}");
    };
    done
}

/// Any free port of this machine.
pub fn here() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
