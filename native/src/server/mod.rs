//! The playground server: the page, the WebSocket and `/healthz` on one loopback port.
//!
//! A [`Server`] is bound, then run until told to stop:
//!
//! ```no_run
//! # async fn demo() -> Result<(), meshground::server::ServerError> {
//! use meshground::server::{Server, ServerConfig};
//!
//! let server = Server::bind(ServerConfig { port: 0, ..ServerConfig::default() }).await?;
//! println!("http://{}", server.local_addr());
//! let running = server.start();
//! running.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! What crosses the WebSocket is defined in `meshground-shared`.

mod accept;
mod commanding;
mod connection;
mod dispatch;
mod errors;
mod guard;
mod headers;
mod http;
mod outbox;
mod page;
mod patience;
mod room;
mod subscription;
mod telemetry;
mod upgrade;
mod workload;

use std::{future::Future, io, net::Ipv4Addr, net::SocketAddr, sync::Arc, time::Duration};

use meshground_shared::rpc::{BootParams, Booted, Limits, RpcError};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{Semaphore, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

pub use accept::MAX_CONNECTIONS;
pub use page::Page;

use crate::{
    cluster::{ClusterConfig, MAX_NODES},
    log::EventLog,
    tokio_runtime::{self, enabled},
};
use room::Room;

/// The port that is asked for unless another one is.
pub const DEFAULT_PORT: u16 = 7777;
/// Messages beyond this get an error.
const MAX_MESSAGE_BYTES: u32 = 1024 * 1024;
/// Messages beyond this end the connection.
const HARD_MESSAGE_BYTES: u32 = 4 * 1024 * 1024;
/// How long a stopping server waits for its clients to hang up.
const CLIENTS_LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// What a server is told when it is made.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The loopback port; 0 lets the system choose one. 7777 by default.
    pub port: u16,
    /// The most members a cluster may have, crashed ones included; 256 by default, at
    /// most [`MAX_NODES`]. With 0, none can be booted.
    pub max_nodes: u32,
    /// The most WebSocket clients at a time; 64 by default. With 0, all are turned away.
    pub max_clients: u32,
    /// A client that is silent for this long is pinged, and given up after three times
    /// as much; 20 s by default, more than nothing. Also three times this is how long a client may read
    /// nothing at all while there is something to read.
    pub keepalive: Duration,
    /// How long a client may take over the head of a request; 10 s by default, more than nothing. One that takes longer is hung up on.
    pub request_head_timeout: Duration,
    /// What clusters are booted with. Its `log` becomes the room's; its `cause` is not used.
    pub cluster: ClusterConfig,
    /// The page at `/`; the one embedded in this binary by default.
    pub page: Page,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            port: DEFAULT_PORT,
            max_nodes: 256,
            max_clients: 64,
            keepalive: Duration::from_secs(20),
            request_head_timeout: Duration::from_secs(10),
            cluster: ClusterConfig::default(),
            page: Page::embedded(),
        }
    }
}

impl ServerConfig {
    fn validate(&self) -> Result<(), ServerError> {
        let most = u32::try_from(MAX_NODES).unwrap_or(u32::MAX);
        let fail = |figure, range| Err(ServerError::Config { figure, range });
        match self {
            _ if self.max_nodes > most => fail("max_nodes", "at most 1,024"),
            _ if self.keepalive.is_zero() => fail("keepalive", "more than nothing"),
            _ if self.request_head_timeout.is_zero() => fail("request_head_timeout", "more than nothing"),
            _ => Ok(()),
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no tokio runtime with I/O and time to run on.
    #[error("a server needs a tokio runtime to run on; bind it within one that has I/O and time enabled")]
    NoRuntime,
    /// A figure is out of range.
    #[error("`{figure}` is out of range: {range}")]
    Config {
        /// Which one.
        figure: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// Somebody else listens on the port.
    #[error(
        "port {port} is in use, perhaps by another meshground; take another with --port, or let the system \
         choose with --port 0"
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The system does not let us listen on the port.
    #[error(
        "cannot listen on 127.0.0.1:{port}: {source}; take another port with --port, or let the system choose \
         with --port 0"
    )]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
}

/// A server that listens, but does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    runtime: Handle,
}

/// What every request and every connection shares.
#[derive(Debug)]
struct App {
    room: Arc<Room>,
    page: Page,
    limits: Limits,
    keepalive: Duration,
    request_head_timeout: Duration,
    /// One place per client.
    clients: Arc<Semaphore>,
    /// Set once: every connection says goodbye and ends.
    closing: watch::Sender<bool>,
}

impl App {
    fn new(config: ServerConfig) -> Arc<Self> {
        let log = config.cluster.log();
        let limits = Limits {
            max_nodes: config.max_nodes,
            max_message_bytes: MAX_MESSAGE_BYTES,
            hard_message_bytes: HARD_MESSAGE_BYTES,
            max_clients: config.max_clients,
            resume_events: u32::try_from(log.capacity()).unwrap_or(u32::MAX),
        };
        Arc::new(Self {
            room: Room::new(config.cluster, log, config.max_nodes),
            page: config.page,
            limits,
            keepalive: config.keepalive,
            request_head_timeout: config.request_head_timeout,
            clients: Arc::new(Semaphore::new(config.max_clients as usize)),
            closing: watch::Sender::new(false),
        })
    }
}

impl Server {
    /// Listens on the loopback port that `config` asks for. Dropped, it listens nowhere.
    ///
    /// # Errors
    /// When a figure is out of range, the port is in use or may not be listened on, or there is no runtime.
    #[allow(
        clippy::unused_async,
        reason = "it must run within a runtime, and may come to wait for something"
    )]
    pub async fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        config.validate()?;
        let runtime = tokio_runtime::current().ok_or(ServerError::NoRuntime)?;
        let port = config.port;
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::PortInUse { port },
            _ => ServerError::Listen { port, source },
        };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let listener =
            enabled(|| TcpListener::from_std(listener)).ok_or(ServerError::NoRuntime)?.map_err(fail)?;
        let address = listener.local_addr().map_err(|source| ServerError::Listen { port, source })?;
        Ok(Self { listener, address, app: App::new(config), runtime })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The event log of the main room. It outlives the clusters that are booted there.
    pub fn log(&self) -> Arc<EventLog> {
        Arc::clone(self.app.room.log())
    }

    /// A handle that can boot a cluster while the server runs.
    pub fn booter(&self) -> Booter {
        Booter(Arc::clone(&self.app.room))
    }

    /// Answers, within the runtime, until `stop` is ready; then takes the cluster down, says goodbye to every
    /// client and returns. Dropped before that, it takes no new clients any more; those that are there stay until they
    /// go.
    ///
    /// # Errors
    /// When listening fails in the middle, which is not known to happen.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { listener, app, .. } = self;
        let (accept_no_more, stopped) = oneshot::channel::<()>();
        let router = http::router(Arc::clone(&app));
        let patience = app.keepalive.saturating_mul(connection::SILENT_PERIODS);
        let mut serving =
            tokio::spawn(accept::serve(listener, router, app.request_head_timeout, patience, stopped));
        tokio::select! {
            () = stop => {}
            ended = &mut serving => return ended.map_err(io::Error::other),
        }
        let _ = accept_no_more.send(());
        // Clients are still there to see the cluster take its leave.
        app.room.close().await;
        app.closing.send_replace(true);
        let _ = timeout(CLIENTS_LEAVE_WITHIN, app.clients.acquire_many(app.limits.max_clients)).await;
        // An HTTP connection that keeps sending half a request must not keep us.
        if timeout(Duration::from_secs(1), &mut serving).await.is_err() {
            serving.abort();
        }
        Ok(())
    }

    /// Runs it on a task of its own, on the runtime it was bound in.
    pub fn start(self) -> RunningServer {
        let (address, runtime) = (self.address, self.runtime.clone());
        let log = self.log();
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(self.run(async {
            let _ = stopped.await;
        }));
        RunningServer { address, log, stop, task }
    }
}

/// Boots clusters in the main room from within the process.
#[derive(Debug, Clone)]
pub struct Booter(Arc<Room>);

impl Booter {
    /// Does what `cluster.boot` does. Dropped before it returns, what it had started is taken down again.
    ///
    /// # Errors
    /// As `cluster.boot`.
    pub async fn boot(&self, nodes: u32) -> Result<Booted, RpcError> {
        self.0.boot(BootParams { nodes, replace: false, topology: None }).await
    }
}

/// A server that answers. Dropping this stops it too, in the background.
#[derive(Debug)]
pub struct RunningServer {
    address: SocketAddr,
    log: Arc<EventLog>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl RunningServer {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The event log of the main room.
    pub fn log(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// Stops it; returns when the cluster is down and every client is gone. Dropping the future does not call it off.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
