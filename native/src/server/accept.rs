//! TCP connections: taken, served and let go.
//!
//! axum's own loop cannot bound how long a client may take over the head of its request, and so would keep whoever opens
//! connections and never says anything for ever.

use std::{io, pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
    time::sleep,
};

use super::patience::Patient;

/// Where the system lets no more connections be taken, as where descriptors are short, some may have gone after this.
const BREATH: Duration = Duration::from_millis(250);

/// Nobody is waited for longer than that to have said what is asked.
const LONGEST_HEAD: Duration = Duration::from_hours(24);

/// The most connections that speak HTTP at a time; `WebSockets` are limited on their own. More wait until one of these ends.
pub const MAX_CONNECTIONS: usize = 256;

/// Answers everybody until `stop`; then takes nobody any more, lets every request under way be answered and returns.
///
/// A client that has not sent the head of its first request within `head_within`, or of the next one after an answer, is
/// hung up on, and so is one that reads nothing of an answer for `patience`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    head_within: Duration,
    patience: Duration,
    mut stop: oneshot::Receiver<()>,
) {
    let mut http = http1::Builder::new();
    // hyper adds it to the present, which must not end the count of time.
    http.timer(TokioTimer::new()).header_read_timeout(head_within.min(LONGEST_HEAD));
    let (closing, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                // Small messages, sent when they are written: waiting to fill packets would only add delay.
                let _ = socket.set_nodelay(true);
                let socket = Patient::new(socket, patience);
                connections.spawn(converse(socket, http.clone(), router.clone(), closing.subscribe()));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(_) => sleep(BREATH).await,
        }
    }
    drop(listener);
    closing.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// One connection, to its end. One that becomes a WebSocket goes on elsewhere.
async fn converse(
    socket: Patient<TcpStream>,
    http: http1::Builder,
    router: Router,
    mut closing: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service).with_upgrades());
    let ended = tokio::select! {
        // What a client does wrong is its own business.
        _ = connection.as_mut() => true,
        _ = closing.wait_for(|closing| *closing) => false,
    };
    if !ended {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Whether taking a connection failed because its client has gone again.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
