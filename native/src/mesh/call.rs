//! Remote calls: made and served.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use meshground_node::{APPLICATION_CODES, CallError, CallId, CallRecord, NodeId, ReplyError};
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot},
    time::Instant,
};

use super::MeshError;
use crate::lock::lock;

/// How many requests of one peer a node works on at a time; beyond, it answers [`CallError::Overloaded`].
pub const MAX_HANDLERS: usize = 1_024;

/// How many requests of all peers a node works on at a time. A peer gets at most as many of these places as are still free,
/// so that those who take many leave some to the others.
pub const MAX_HANDLERS_IN_ALL: usize = 4 * MAX_HANDLERS;

/// How many records of calls are kept for each [`CallObserver`]; when it is slower than that, the oldest are dropped.
pub const CALL_RECORDS: usize = 4_096;

/// How a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOptions {
    /// How long to wait for the end of the answer, 30 s by default; `None` waits for as long as the peer lives.
    pub deadline: Option<Duration>,
}

impl Default for CallOptions {
    fn default() -> Self {
        Self { deadline: Some(Duration::from_secs(30)) }
    }
}

/// What a peer asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks, authenticated.
    pub from: NodeId,
    /// What for.
    pub method: String,
    /// With what, at most [`MAX_BODY`](meshground_node::MAX_BODY) bytes.
    pub body: Vec<u8>,
    /// When nobody waits for the answer any more. Whatever works on it is dropped then.
    pub deadline: Option<Instant>,
}

/// A handler's "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The application's own code, from [`APPLICATION_CODES`] up; a lower one is raised to that.
    pub code: u64,
    /// Why, for a person; at most [`MAX_REASON`](meshground_node::MAX_REASON) bytes arrive.
    pub reason: String,
}

impl Refusal {
    /// A refusal with a code and a reason.
    pub fn new(code: u64, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    pub(crate) fn into_error(self) -> CallError {
        CallError::Refused { code: self.code.max(APPLICATION_CODES), reason: self.reason }
    }
}

/// Whatever works on a request.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, Refusal>> + Send>>;

/// Answers one method: a single item, or none but those it has sent itself.
pub(crate) type Handler = Arc<dyn Fn(Request, Responder) -> Work + Send + Sync>;

/// What a node's calls and its task have in common.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    orders: Mutex<Orders>,
    /// The task has something to do.
    work: Arc<Notify>,
    handlers: Mutex<Handlers>,
    next_token: AtomicU64,
}

#[derive(Debug, Default)]
struct Orders {
    waiting: Vec<Order>,
    /// The node is down: nobody will carry them out.
    down: bool,
}

#[derive(Default)]
struct Handlers(BTreeMap<String, Handler>);

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Names a call that was made here, before the node has named it.
pub(crate) type Token = u64;

/// What the task is asked to do about calls.
#[derive(Debug)]
pub(crate) enum Order {
    Call {
        token: Token,
        peer: NodeId,
        method: String,
        body: Vec<u8>,
        deadline: Option<Duration>,
        caller: Caller,
    },
    Cancel {
        token: Token,
        peer: NodeId,
    },
    Release {
        token: Token,
        bytes: usize,
    },
    Item {
        call: CallId,
        body: Vec<u8>,
        done: oneshot::Sender<Result<(), ReplyError>>,
    },
    /// A handler is done.
    Answer {
        call: CallId,
        outcome: Result<Option<Vec<u8>>, CallError>,
    },
}

/// Whoever waits for an answer.
#[derive(Debug)]
pub(crate) enum Caller {
    /// For one item and the end.
    Unary { reply: oneshot::Sender<Result<Vec<u8>, CallError>>, item: Option<Vec<u8>> },
    /// For each item, and the end: nothing, or an error. Without an end, the node has gone down.
    Streaming(mpsc::UnboundedSender<Result<Option<Vec<u8>>, CallError>>),
}

impl Switchboard {
    /// Without calls yet. The task is told by `work` when there are orders.
    pub(crate) fn new(work: Arc<Notify>) -> Self {
        Self { work, ..Self::default() }
    }

    pub(crate) fn order(&self, order: Order) {
        let mut orders = lock(&self.orders);
        // One that nobody will carry out is dropped, and whoever waits for it learns that.
        if !orders.down {
            orders.waiting.push(order);
            self.work.notify_one();
        }
    }

    pub(crate) fn take_orders(&self, orders: &mut Vec<Order>) {
        orders.append(&mut lock(&self.orders).waiting);
    }

    /// The node is down.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut orders = lock(&self.orders);
            orders.down = true;
            std::mem::take(&mut orders.waiting)
        };
        drop(dropped);
    }

    pub(crate) fn handler(&self, method: &str) -> Option<Handler> {
        lock(&self.handlers).0.get(method).cloned()
    }

    pub(super) fn serve(&self, method: &str, handler: Handler) {
        lock(&self.handlers).0.insert(method.to_owned(), handler);
    }

    fn token(&self) -> Token {
        self.next_token.fetch_add(1, Ordering::Relaxed)
    }

    fn make(
        self: &Arc<Self>,
        peer: NodeId,
        method: &str,
        body: Vec<u8>,
        options: CallOptions,
        caller: Caller,
    ) -> Pending {
        let token = self.token();
        let (method, deadline) = (method.to_owned(), options.deadline);
        self.order(Order::Call { token, peer, method, body, deadline, caller });
        Pending { switchboard: Arc::clone(self), token, peer, over: false }
    }

    pub(super) async fn call(
        self: &Arc<Self>,
        peer: NodeId,
        method: &str,
        body: Vec<u8>,
        options: CallOptions,
    ) -> Result<Vec<u8>, MeshError> {
        let (reply, answer) = oneshot::channel();
        let mut pending = self.make(peer, method, body, options, Caller::Unary { reply, item: None });
        let outcome = answer.await;
        pending.over = true;
        Ok(outcome.map_err(|_| MeshError::Closed)??)
    }

    pub(super) fn call_streaming(
        self: &Arc<Self>,
        peer: NodeId,
        method: &str,
        body: Vec<u8>,
        options: CallOptions,
    ) -> Responses {
        let (sender, items) = mpsc::unbounded_channel();
        let pending = self.make(peer, method, body, options, Caller::Streaming(sender));
        Responses { items, pending }
    }
}

/// A call under way; dropped before it is over, it is called off.
#[derive(Debug)]
struct Pending {
    switchboard: Arc<Switchboard>,
    token: Token,
    peer: NodeId,
    over: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.over {
            self.switchboard.order(Order::Cancel { token: self.token, peer: self.peer });
        }
    }
}

/// The items of an answer, as they come. Dropped before the end, the call is called off.
#[derive(Debug)]
pub struct Responses {
    items: mpsc::UnboundedReceiver<Result<Option<Vec<u8>>, CallError>>,
    pending: Pending,
}

impl Responses {
    /// The next item; `None` after the last. An error is the last. Cancel-safe. While a few dozen items wait to be
    /// taken, the peer is held back.
    ///
    /// # Errors
    /// [`MeshError::Call`] says why no more comes; [`MeshError::Closed`].
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, MeshError>> {
        if self.pending.over {
            return None;
        }
        match self.items.recv().await {
            Some(Ok(Some(item))) => {
                let release = Order::Release { token: self.pending.token, bytes: item.len() };
                self.pending.switchboard.order(release);
                Some(Ok(item))
            }
            Some(Ok(None)) => {
                self.pending.over = true;
                None
            }
            Some(Err(error)) => {
                self.pending.over = true;
                Some(Err(error.into()))
            }
            // What is there of an answer that was cut off must not pass for all of it.
            None => {
                self.pending.over = true;
                Some(Err(MeshError::Closed))
            }
        }
    }
}

/// Sends the items of an answer.
#[derive(Debug, Clone)]
pub struct Responder {
    pub(crate) call: CallId,
    pub(crate) switchboard: Arc<Switchboard>,
}

impl Responder {
    /// Sends one item (at most [`MAX_BODY`](meshground_node::MAX_BODY) bytes); returns when the node has taken it, and
    /// waits while the caller is slower. Dropped before it returns, the item is sent all the same.
    ///
    /// # Errors
    /// [`MeshError::Reply`] when it is too large or the call is over; [`MeshError::Closed`].
    pub async fn send(&self, item: Vec<u8>) -> Result<(), MeshError> {
        let (done, taken) = oneshot::channel();
        self.switchboard.order(Order::Item { call: self.call, body: item, done });
        Ok(taken.await.map_err(|_| MeshError::Closed)??)
    }
}

/// The records of calls that are over, made and served, as they end.
#[derive(Debug)]
pub struct CallObserver {
    pub(super) records: broadcast::Receiver<Arc<CallRecord>>,
    pub(super) missed: u64,
}

impl CallObserver {
    /// The next record, as soon as there is one; `None` once the node is down. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<CallRecord>> {
        loop {
            match self.records.recv().await {
                Ok(record) => return Some(record),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many records were dropped because this observer was too slow.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
