//! One mesh node on one UDP socket.

mod builder;
pub(crate) mod call;
pub(crate) mod inbox;
pub(crate) mod lobby;
pub(crate) mod observed;
pub(crate) mod outbox;
mod place;
mod sender;
pub(crate) mod stream;
pub(crate) mod view;
pub(crate) mod wishes;

use std::{fmt, net::SocketAddr, sync::Arc};

use meshground_node::{
    CallError, ConfigError, DialError, Node, PeerView, PlacementError, RejectReason, ReplyError, SendError,
    StreamError,
};
use meshground_shared::{CommandId, DaemonId, NodeId, PublicKey};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
};

pub use self::{
    builder::MeshBuilder,
    call::{
        CALL_RECORDS, CallObserver, CallOptions, MAX_HANDLERS, MAX_HANDLERS_IN_ALL, Refusal, Request,
        Responder, Responses,
    },
    inbox::{MESSAGE_QUEUE, MESSAGE_QUEUE_BYTES, Message, Messages},
    outbox::SEND_BUFFER,
    sender::MessageSender,
    stream::{ACCEPT_QUEUE, REFUSED, ReceiveStream, STREAM_BUFFER, SendStream, Stream},
};
use self::{
    call::{Handler, Switchboard},
    inbox::Inboxes,
    lobby::Lobby,
    observed::Observed,
    outbox::Outboxes,
    stream::StreamDesk,
    view::View,
    wishes::Wishes,
};
use crate::{
    driver::{Command, Leave, Until},
    faults::FaultTable,
    meshos::{DaemonRuntime, Daemons, MeshOsDaemonSdk},
};

/// How many commands (connects, questions) may wait for a node's task; callers beyond that wait.
pub const COMMAND_QUEUE: usize = 256;

/// A running mesh node. Cloning is cheap; all clones are the same node.
///
/// The node runs in a task of its own, which owns its socket, until [`shutdown`](Self::shutdown),
/// [`crash`](Self::crash) or the last clone's drop, which is a crash. It works under any tokio runtime with I/O and
/// time enabled, a current-thread one as well.
///
/// Every future may be dropped. One that waits for something ([`accept`](Self::accept), say) has then taken nothing; one
/// that asks or changes something ([`stats`](Self::stats), [`announce_capabilities`](Self::announce_capabilities)) has
/// either done so or not; and where dropping it calls nothing off, or loses something, that is said.
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
    view: Arc<View>,
    outboxes: Arc<Outboxes>,
    inboxes: Arc<Inboxes>,
    lobby: Arc<Lobby>,
    desk: Arc<StreamDesk>,
    switchboard: Arc<Switchboard>,
    observed: Arc<Observed>,
    os: Option<Daemons>,
    leave: Arc<Leave>,
    pause: watch::Sender<bool>,
    paused: watch::Receiver<bool>,
    faults: watch::Sender<FaultTable>,
    wishes: Arc<Wishes>,
    task: AbortHandle,
    /// Never changes; its sender goes when the task is gone and the socket closed.
    closed: watch::Receiver<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a mesh did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// A figure of the configuration is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The UDP socket could not be opened.
    #[error(
        "cannot open a UDP socket on {address}: {reason}; take an address of this machine, and port 0 for one that is free"
    )]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's reason.
        reason: String,
    },
    /// There is no tokio runtime with I/O and time to run on.
    #[error("a mesh node needs a tokio runtime to run on; build it within one that has I/O and time enabled")]
    NoRuntime,
    /// A dial came to nothing.
    #[error("cannot connect to {address}: {error}")]
    Dial {
        /// Whither.
        address: SocketAddr,
        /// Why.
        error: DialError,
    },
    /// A dial over other nodes came to nothing.
    #[error("cannot reach node {target} over others: {error}")]
    Relay {
        /// Whom.
        target: NodeId,
        /// Why.
        error: DialError,
    },
    /// No node could be chosen.
    #[error(transparent)]
    Place(#[from] PlacementError),
    /// A message was not sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A stream could not be opened, or came to an end.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What comes in on a stream is longer than its reader wants it.
    #[error("the stream has more than {limit} bytes; allow for more, or read it piece by piece")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// A remote call came to nothing.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An item of an answer was not sent.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The node is down.
    #[error("the node is down; build another")]
    Closed,
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
    /// [`MeshError::Dial`] when no session comes about within [`HandshakeConfig::budget`](meshground_node::HandshakeConfig::budget); [`MeshError::Closed`].
    pub async fn connect(&self, address: SocketAddr) -> Result<NodeId, MeshError> {
        let outcome = self.ask(|reply| Command::Connect { address, reply }).await?;
        outcome.map_err(|error| MeshError::Dial { address, error })
    }

    /// The next peer that has dialled this node, once the session with it stands; in the order in which they came. So this
    /// is the other end of [`connect`](Self::connect), but nothing has to be done for peers to come in: a node answers from
    /// its [`build`](MeshBuilder::build) on, whether anybody accepts or not.
    ///
    /// Whoever comes between two calls is kept for the next one, at most once and only for as long as its session stands;
    /// so no more can wait than the node has peers. One that dials again, after it was started anew or had lost its
    /// session, is returned again. Where two nodes dial each other at the same time, the one whose handshake counts is accepted by the
    /// other. Cancel-safe, and each peer goes to one caller, however many wait.
    ///
    /// # Errors
    /// [`MeshError::Closed`] once the node is down.
    ///
    /// # Example
    /// ```
    /// # use meshground::{MeshBuilder, MeshError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), MeshError> {
    /// let (here, key) = (([127, 0, 0, 1], 0).into(), [42; 32]);
    /// let alice = MeshBuilder::new(here, key).build().await?;
    /// let bob = MeshBuilder::new(here, key).build().await?;
    /// let (dialled, came) = tokio::try_join!(alice.connect(bob.local_addr()), bob.accept())?;
    /// assert_eq!((dialled, came), (bob.node_id(), alice.node_id()));
    /// bob.send(came, b"welcome").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn accept(&self) -> Result<NodeId, MeshError> {
        self.inner.lobby.accept().await.ok_or(MeshError::Closed)
    }

    /// Ends the session with `peer`, and tells it once; returns when this end has. Does nothing without one. Either end
    /// may connect again. Dropped before it returns, it may happen all the same.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn disconnect(&self, peer: NodeId) -> Result<(), MeshError> {
        self.ask(|reply| Command::Disconnect { peer, reply }).await
    }

    /// Stands still, as a process does under SIGSTOP: the socket stays open, but nothing is read, sent or timed, and
    /// whoever asks it something waits. Returns when it does, or is down. It can still be
    /// [shut down](Self::shutdown) and [crashed](Self::crash). Dropping the future does not call it off.
    pub async fn pause(&self) {
        self.begin_pause();
        self.until_paused(true).await;
    }

    /// Goes on where it stood still; the time in between is not counted against its peers. Returns when it does, or is
    /// down. Dropping the future does not call it off.
    pub async fn resume(&self) {
        self.begin_resume();
        self.until_paused(false).await;
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        *self.inner.paused.borrow() && !self.is_closed()
    }

    /// With how many peers it holds a confirmed session. 0 once it is down.
    pub fn peer_count(&self) -> usize {
        if self.is_closed() { 0 } else { self.inner.view.count() }
    }

    /// The peers it holds a confirmed session with, by id, each with its figures as of when its session came up or moved
    /// and the last change of the verdict on it; for present figures ask [`stats`](Self::stats). Empty once it is down.
    pub fn peers(&self) -> Arc<[PeerView]> {
        if self.is_closed() {
            return Arc::from([]);
        }
        self.inner.view.peers()
    }

    /// The peers it holds a confirmed session with, by id, with round-trip times and traffic as of now. Cancel-safe:
    /// it only asks.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn stats(&self) -> Result<Vec<PeerView>, MeshError> {
        self.ask(|reply| Command::Stats { reply }).await
    }

    /// How many datagrams it has thrown away for `reason`. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn rejected(&self, reason: RejectReason) -> Result<u64, MeshError> {
        self.ask(|reply| Command::Rejected { reason, reply }).await
    }

    /// Sends `payload` (at most [`max_message`](Self::max_message) bytes) to `peer`. It may be lost on the way, but
    /// arrives unaltered and at most once. Returns when the message is queued, and waits while [`SEND_BUFFER`] bytes
    /// are. Cancel-safe: dropped before it returns, it has sent nothing. For many messages to one peer a
    /// [`sender`](Self::sender) is faster.
    ///
    /// To a node it holds no session with, but has a [way](Self::routes) to, it first comes to a session over others by
    /// itself, within the handshake budget; so do [`open_stream`](Self::open_stream), [`call`](Self::call) and
    /// [`call_streaming`](Self::call_streaming). See [`connect_relayed`](Self::connect_relayed).
    ///
    /// # Errors
    /// [`MeshError::Send`] without a session and a way to one, or when it is too large; [`MeshError::Closed`].
    pub async fn send(&self, peer: NodeId, payload: &[u8]) -> Result<(), MeshError> {
        self.sender(peer).send(payload).await
    }

    /// A handle for sending many messages to `peer`. Whether there is a session shows when it sends.
    pub fn sender(&self, peer: NodeId) -> MessageSender {
        let Inner { outboxes, commands, max_message, .. } = &*self.inner;
        MessageSender::new(Arc::clone(outboxes), commands.clone(), peer, *max_message)
    }

    /// The messages of peers from now on. Every call gives a receiver of its own, and each gets every message.
    pub fn messages(&self) -> Messages {
        self.inner.inboxes.listen()
    }

    /// Opens a stream to `peer`; waits while as many are open as the peer allows, and where need be for a session over
    /// others. The peer learns of it with the first byte, the end or a reset. Cancel-safe.
    ///
    /// # Errors
    /// [`MeshError::Stream`] without a session and a way to one; [`MeshError::Closed`].
    pub async fn open_stream(&self, peer: NodeId) -> Result<Stream, MeshError> {
        Ok(self.ask(|opening| Command::OpenStream { peer, opening }).await??)
    }

    /// The next stream a peer opens; `None` once the node is down. At most [`ACCEPT_QUEUE`] wait; more are reset. What
    /// nobody reads holds up the peer: once 3 MiB of all its streams wait here, no more comes of any; calls go on.
    /// Cancel-safe, and each stream is accepted once, however many callers wait.
    pub async fn accept_stream(&self) -> Option<Stream> {
        self.inner.desk.accept().await
    }

    /// Answers the calls of `method` by `handler`, in place of whatever did before. A handler that has its answer at
    /// once gives it from within the node's task, so it must not block; one that waits goes on in a task of its own.
    /// It is dropped half-way when nobody waits for the answer any more: after the deadline, when the caller calls it off, or is gone. One that panics answers [`CallError::Failed`].
    pub fn serve<F, W>(&self, method: &str, handler: F)
    where
        F: Fn(Request) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<u8>, Refusal>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request, _| {
            let work = handler(request);
            Box::pin(async move { work.await.map(Some) })
        });
        self.inner.switchboard.serve(method, handler);
    }

    /// As [`serve`](Self::serve), but the handler sends as many items as it likes through its [`Responder`].
    pub fn serve_streaming<F, W>(&self, method: &str, handler: F)
    where
        F: Fn(Request, Responder) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request, responder| {
            let work = handler(request, responder);
            Box::pin(async move { work.await.map(|()| None) })
        });
        self.inner.switchboard.serve(method, handler);
    }

    /// Asks `method` of `peer` with `body` (at most [`MAX_BODY`](meshground_node::MAX_BODY) bytes), and returns the
    /// answer. Waits its turn while as many calls and streams are open as the peer allows, and where need be for a session
    /// over others; the deadline counts from the beginning. Dropping the future calls the call off, at the peer as well.
    ///
    /// # Errors
    /// [`MeshError::Call`] says why no answer came; [`MeshError::Closed`].
    pub async fn call(
        &self,
        peer: NodeId,
        method: &str,
        body: impl Into<Vec<u8>>,
        options: CallOptions,
    ) -> Result<Vec<u8>, MeshError> {
        self.inner.switchboard.call(peer, method, body.into(), options).await
    }

    /// As [`call`](Self::call), for an answer of many items. What is wrong is told by the first of them.
    pub fn call_streaming(
        &self,
        peer: NodeId,
        method: &str,
        body: impl Into<Vec<u8>>,
        options: CallOptions,
    ) -> Responses {
        self.inner.switchboard.call_streaming(peer, method, body.into(), options)
    }

    /// The records of calls from now on, made and served here, as they end.
    pub fn calls(&self) -> CallObserver {
        CallObserver { records: self.inner.observed.subscribe(), missed: 0 }
    }

    /// For running daemons on it; `None` unless it was [built](MeshBuilder::meshos) for that.
    pub fn os(&self) -> Option<MeshOsDaemonSdk> {
        let state = self.inner.os.clone()?;
        Some(MeshOsDaemonSdk::new(DaemonRuntime::new(self.clone(), state)))
    }

    /// Leaves gracefully: has its daemons stop, announces it to every peer, closes the socket and ends the task; returns when all of that
    /// is done. Does nothing on a node that is down. Dropping the future does not call it off.
    pub async fn shutdown(&self) {
        self.begin_shutdown(None);
        self.closed().await;
    }

    /// Vanishes without a word, as a crash would; returns when the task is gone and the socket closed. Does nothing
    /// on a node that is down. Dropping the future does not call it off.
    pub async fn crash(&self) {
        self.begin_crash();
        self.closed().await;
    }

    /// Waits until the node is down, whoever brought it down: its task is gone and its socket closed. Cancel-safe.
    pub async fn closed(&self) {
        let mut closed = self.inner.closed.clone();
        while closed.changed().await.is_ok() {}
    }

    /// Whether the node is down.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.has_changed().is_err()
    }

    /// Has it leave, because of a command if one is named. Waits for nothing.
    pub(crate) fn begin_shutdown(&self, cause: Option<CommandId>) {
        self.inner.leave.tell(cause);
    }

    pub(crate) fn begin_crash(&self) {
        self.inner.task.abort();
    }

    pub(crate) fn begin_pause(&self) {
        self.inner.pause.send_replace(true);
    }

    pub(crate) fn begin_resume(&self) {
        self.inner.pause.send_replace(false);
    }

    /// Waits until it stands still, or goes on, as asked; or is down.
    pub(crate) async fn until_paused(&self, paused: bool) {
        // An error means that the task is gone.
        let _ = self.inner.paused.clone().wait_for(|now| *now == paused).await;
    }

    /// What happens from here on to the datagrams it sends, in place of what did.
    pub(crate) fn set_faults(&self, faults: FaultTable) {
        self.inner.faults.send_if_modified(|known| {
            let changed = *known != faults;
            *known = faults;
            changed
        });
    }

    /// Starts handshakes with all of `addresses`, each expecting the given node there. What comes of them is left to
    /// the observer. Waits for nothing.
    pub(crate) fn begin_dial_all(&self, peers: Vec<(SocketAddr, NodeId)>) {
        self.inner.wishes.dial(peers);
    }

    /// Ends the sessions with `peers`. Waits for nothing.
    pub(crate) fn begin_disconnect(&self, peers: Vec<NodeId>) {
        self.inner.wishes.disconnect(peers);
    }

    /// Returns when something is true of the node, which is looked at whenever anything has happened to it.
    pub(crate) async fn until(
        &self,
        wanted: impl FnMut(&mut Node) -> bool + Send + 'static,
    ) -> Result<(), MeshError> {
        self.ask(|reply| Command::Until(Until { wanted: Box::new(wanted), reply })).await
    }

    /// Has a daemon stop, because of a command if one is named. Waits for nothing.
    pub(crate) fn begin_stop(&self, daemon: DaemonId, cause: Option<CommandId>) {
        self.inner.wishes.stop(daemon, cause);
    }

    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, MeshError> {
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
