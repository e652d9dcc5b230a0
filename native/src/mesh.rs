//! One mesh node on one UDP socket.

use std::{fmt, net::SocketAddr, sync::Arc};

use meshground_node::{
    ConfigError, DialError, HandshakeConfig, Identity, LivenessConfig, Node, NodeConfig, PeerView,
    RejectReason, SendError,
};
use meshground_shared::{NodeId, PublicKey};
use tokio::{
    runtime::Handle,
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    task::AbortHandle,
};

use crate::{
    driver::{Command, Driver, Observer, birth},
    random,
};

/// How many commands (connects, sends, questions) may wait for a node's task; callers beyond that wait.
pub const COMMAND_QUEUE: usize = 256;

/// How many received messages are kept for each receiver of [`Mesh::messages`].
pub const MESSAGE_QUEUE: usize = 1_024;

/// Builds a [`Mesh`].
pub struct MeshBuilder {
    address: SocketAddr,
    config: NodeConfig,
    identity: Option<Identity>,
    rng_seed: Option<[u8; 32]>,
    observer: Option<Box<dyn Observer>>,
}

/// A running mesh node. Cloning is cheap; all clones are the same node.
///
/// The node runs in a task of its own, which owns its socket, until [`shutdown`](Self::shutdown),
/// [`crash`](Self::crash) or the last clone's drop, which is a crash. It works under any tokio runtime with I/O and
/// time enabled, a current-thread one as well.
#[derive(Clone)]
pub struct Mesh {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: NodeId,
    public_key: PublicKey,
    local_addr: SocketAddr,
    max_message: usize,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<[PeerView]>>,
    messages: broadcast::WeakSender<Message>,
    leave: Arc<Notify>,
    task: AbortHandle,
    /// Never changes; its sender goes when the task is gone and the socket closed.
    closed: watch::Receiver<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it, authenticated.
    pub from: NodeId,
    /// What.
    pub payload: Arc<[u8]>,
}

/// A stream of received messages. It keeps the latest [`MESSAGE_QUEUE`]; when its reader is slower than that, the
/// oldest are dropped and counted.
#[derive(Debug)]
pub struct Messages {
    receiver: broadcast::Receiver<Message>,
    missed: u64,
}

/// Why a mesh did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// A figure of the configuration is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The UDP socket could not be opened.
    #[error("cannot open a UDP socket on {address}: {reason}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's reason.
        reason: String,
    },
    /// There is no tokio runtime with I/O and time to run on.
    #[error("a mesh node needs a tokio runtime to run on")]
    NoRuntime,
    /// A dial came to nothing.
    #[error("cannot connect to {address}: {error}")]
    Dial {
        /// Whither.
        address: SocketAddr,
        /// Why.
        error: DialError,
    },
    /// A message was not sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The node is down.
    #[error("the node is down")]
    Closed,
}

impl MeshBuilder {
    /// A node that will listen on `address` (port 0 lets the system choose) and speak to those who hold `psk`.
    pub fn new(address: SocketAddr, psk: [u8; 32]) -> Self {
        Self { address, config: NodeConfig::new(psk), identity: None, rng_seed: None, observer: None }
    }

    /// Who the node is; a fresh random identity by default.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Grows the node's randomness from `seed` instead of the system's. For tests only, and never twice the same
    /// within one mesh: whoever knows the seed can compute every session key.
    #[must_use]
    pub fn rng_seed(mut self, seed: [u8; 32]) -> Self {
        self.rng_seed = Some(seed);
        self
    }

    /// The largest datagram to send, in bytes, from 512 to 65,507.
    #[must_use]
    pub fn max_datagram(mut self, bytes: usize) -> Self {
        self.config.max_datagram = bytes;
        self
    }

    /// How handshakes are paced.
    #[must_use]
    pub fn handshake(mut self, handshake: HandshakeConfig) -> Self {
        self.config.handshake = handshake;
        self
    }

    /// How peers' lives are judged.
    #[must_use]
    pub fn liveness(mut self, liveness: LivenessConfig) -> Self {
        self.config.liveness = liveness;
        self
    }

    /// The whole configuration at once, the pre-shared key included.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// Who is told of everything that happens, in the node's task.
    pub(crate) fn observer(mut self, observer: Box<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Opens the socket and starts the node.
    ///
    /// # Errors
    /// When the configuration is out of range, the socket cannot be opened, or there is no runtime.
    // Async because it must run within a runtime, and so that it may come to need one.
    #[allow(clippy::unused_async)]
    pub async fn build(self) -> Result<Mesh, MeshError> {
        self.start()
    }

    pub(crate) fn start(self) -> Result<Mesh, MeshError> {
        let runtime = Handle::try_current().map_err(|_| MeshError::NoRuntime)?;
        let identity = self.identity.unwrap_or_else(|| Identity::from_seed(random::bytes()));
        let rng_seed = self.rng_seed.unwrap_or_else(random::bytes);
        let node = Node::new(self.config, identity, rng_seed, birth())?;
        let bind = |address| {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            let local_addr = socket.local_addr()?;
            Ok((tokio::net::UdpSocket::from_std(socket)?, local_addr))
        };
        let (socket, local_addr) = bind(self.address).map_err(|error: std::io::Error| MeshError::Bind {
            address: self.address,
            reason: error.to_string(),
        })?;

        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let (publisher, view) = watch::channel(Arc::from([]));
        let (messages, _) = broadcast::channel(MESSAGE_QUEUE);
        let (closing, closed) = watch::channel(());
        let leave = Arc::new(Notify::new());
        let (node_id, public_key, max_message) = (node.id(), node.public_key(), node.max_message());
        let weak_messages = messages.downgrade();
        let driver =
            Driver::new(socket, node, queue, Arc::clone(&leave), publisher, messages, self.observer, closing);
        let task = runtime.spawn(driver.run()).abort_handle();
        let inner = Inner {
            node_id,
            public_key,
            local_addr,
            max_message,
            commands,
            view,
            messages: weak_messages,
            leave,
            task,
            closed,
        };
        Ok(Mesh { inner: Arc::new(inner) })
    }
}

impl Mesh {
    /// Its id.
    pub fn node_id(&self) -> NodeId {
        self.inner.node_id
    }

    /// Its Noise static public key.
    pub fn public_key(&self) -> PublicKey {
        self.inner.public_key
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr
    }

    /// The longest message [`send`](Self::send) takes, in bytes.
    pub fn max_message(&self) -> usize {
        self.inner.max_message
    }

    /// Shakes hands with whoever listens at `address`, and returns who that is. Dropping the future does not call
    /// the handshake off.
    ///
    /// # Errors
    /// [`MeshError::Dial`] when no session comes about within [`HandshakeConfig::budget`]; [`MeshError::Closed`].
    pub async fn connect(&self, address: SocketAddr) -> Result<NodeId, MeshError> {
        let outcome = self.ask(|reply| Command::Connect { address, reply }).await?;
        outcome.map_err(|error| MeshError::Dial { address, error })
    }

    /// With how many peers it holds a confirmed session. 0 once it is down.
    pub fn peer_count(&self) -> usize {
        self.peers().len()
    }

    /// The peers it holds a confirmed session with, by id, as of the last session that came or went and the last
    /// change of a verdict; for present figures ask [`stats`](Self::stats). Empty once it is down.
    pub fn peers(&self) -> Arc<[PeerView]> {
        if self.is_closed() {
            return Arc::from([]);
        }
        Arc::clone(&self.inner.view.borrow())
    }

    /// The peers it holds a confirmed session with, by id, with round-trip times and traffic as of now.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn stats(&self) -> Result<Vec<PeerView>, MeshError> {
        self.ask(|reply| Command::Stats { reply }).await
    }

    /// How many datagrams it has thrown away for `reason`.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn rejected(&self, reason: RejectReason) -> Result<u64, MeshError> {
        self.ask(|reply| Command::Rejected { reason, reply }).await
    }

    /// Sends `payload` (at most [`max_message`](Self::max_message) bytes) to `peer`. It may be lost on the way, but
    /// arrives unaltered and at most once. Returns when the node has sealed it; dropping the future before may or may
    /// not send it.
    ///
    /// # Errors
    /// [`MeshError::Send`] without a session or when it is too large; [`MeshError::Closed`].
    pub async fn send(&self, peer: NodeId, payload: &[u8]) -> Result<(), MeshError> {
        let payload = payload.to_vec();
        Ok(self.ask(|reply| Command::Send { peer, payload, reply }).await??)
    }

    /// The messages of peers from now on. Every call gives a receiver of its own, and each gets every message.
    pub fn messages(&self) -> Messages {
        let receiver = match self.inner.messages.upgrade() {
            Some(sender) => sender.subscribe(),
            // The node is down: a stream that has ended.
            None => broadcast::channel(1).1,
        };
        Messages { receiver, missed: 0 }
    }

    /// Leaves gracefully: announces it to every peer, closes the socket and ends the task; returns when all of that
    /// is done. Does nothing on a node that is down. Dropping the future does not call it off.
    pub async fn shutdown(&self) {
        self.begin_shutdown();
        self.closed().await;
    }

    /// Vanishes without a word, as a crash would; returns when the task is gone and the socket closed. Does nothing
    /// on a node that is down. Dropping the future does not call it off.
    pub async fn crash(&self) {
        self.begin_crash();
        self.closed().await;
    }

    /// Waits until the node is down, whoever brought it down: its task is gone and its socket closed.
    pub async fn closed(&self) {
        let mut closed = self.inner.closed.clone();
        while closed.changed().await.is_ok() {}
    }

    /// Whether the node is down.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.has_changed().is_err()
    }

    pub(crate) fn begin_shutdown(&self) {
        self.inner.leave.notify_one();
    }

    pub(crate) fn begin_crash(&self) {
        self.inner.task.abort();
    }

    /// Starts handshakes with all of `addresses`, each expecting the given node there. What comes of them is left to
    /// the observer.
    pub(crate) async fn dial_all(&self, peers: Vec<(SocketAddr, NodeId)>) -> Result<(), MeshError> {
        self.inner.commands.send(Command::DialAll { peers }).await.map_err(|_| MeshError::Closed)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, MeshError> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(command(reply)).await.map_err(|_| MeshError::Closed)?;
        answer.await.map_err(|_| MeshError::Closed)
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("node_id", &self.inner.node_id)
            .field("local_addr", &self.inner.local_addr)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MeshBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshBuilder")
            .field("address", &self.address)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Messages {
    /// The next message, as soon as there is one; `None` once the node is down and everything it received has been
    /// taken. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Message> {
        loop {
            match self.receiver.recv().await {
                Ok(message) => return Some(message),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many messages were dropped because this reader was too slow.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
