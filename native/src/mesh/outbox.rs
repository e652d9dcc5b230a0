//! Messages on their way from callers to the node's task: one bounded buffer a peer.
//!
//! A caller appends to the buffer of its peer, and wakes the task only when nothing waited there before. The task
//! takes whole buffers. The locks are held for as long as it takes to copy a message or to swap a buffer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use meshground_node::{NodeId, SendError};
use tokio::sync::Notify;

use super::MeshError;
use crate::lock::lock;

/// How many bytes of messages wait for a peer until the node's task takes them, unless it is a single longer one;
/// callers beyond that wait. What the
/// task has taken is bounded apart from this, by the node ([`max_queued`](meshground_node::NodeConfig::max_queued)).
pub const SEND_BUFFER: usize = 256 << 10;

/// Bytes before each message: its length.
const PREFIX: usize = size_of::<u32>();

/// An emptied buffer up to this size is kept whatever it was last used for.
const SMALL: usize = 4_096;

/// The outboxes of one node.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    registry: Mutex<Registry>,
    /// An outbox is ready.
    work: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Registry {
    /// One for each peer with a session.
    open: BTreeMap<NodeId, Arc<Outbox>>,
    /// Those with messages the task has not heard of.
    ready: Vec<Arc<Outbox>>,
    down: bool,
}

/// One peer's.
#[derive(Debug)]
pub(crate) struct Outbox {
    peer: NodeId,
    queue: Mutex<Queue>,
    /// There is room again, or never will be.
    space: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each message, preceded by its length.
    bytes: Vec<u8>,
    /// The task knows that there is something in it.
    known: bool,
    closed: bool,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No room.
    Full,
    /// The session is gone.
    Closed,
}

impl Outboxes {
    /// None yet. The task is told by `work` when there is something in one.
    pub(crate) fn new(work: Arc<Notify>) -> Self {
        Self { work, ..Self::default() }
    }

    /// The outbox of a peer there is a session with.
    pub(super) fn of(&self, peer: NodeId) -> Result<Arc<Outbox>, MeshError> {
        let registry = lock(&self.registry);
        match registry.open.get(&peer) {
            Some(outbox) => Ok(Arc::clone(outbox)),
            None if registry.down => Err(MeshError::Closed),
            None => Err(SendError::NoSession(peer).into()),
        }
    }

    /// Appends a message to `outbox`, and tells the task if need be.
    pub(super) fn push(&self, outbox: &Arc<Outbox>, payload: &[u8]) -> Result<(), Refusal> {
        if outbox.push(payload)? {
            lock(&self.registry).ready.push(Arc::clone(outbox));
            self.work.notify_one();
        }
        Ok(())
    }

    /// Moves the outboxes that have become ready to the end of `known`.
    pub(crate) fn take_ready(&self, known: &mut Vec<Arc<Outbox>>) {
        known.append(&mut lock(&self.registry).ready);
    }

    /// There is a session with `peer`: messages are taken for it.
    pub(crate) fn open(&self, peer: NodeId) {
        let outbox = || Arc::new(Outbox { peer, queue: Mutex::default(), space: Notify::new() });
        lock(&self.registry).open.entry(peer).or_insert_with(outbox);
    }

    /// There is no session with `peer` any more: what waited for it is lost, and who waits is told.
    pub(crate) fn close(&self, peer: NodeId) {
        let closed = lock(&self.registry).open.remove(&peer);
        if let Some(outbox) = closed {
            outbox.close();
        }
    }

    /// The node is down.
    pub(crate) fn close_all(&self) {
        let mut registry = lock(&self.registry);
        registry.down = true;
        registry.ready.clear();
        let closed = std::mem::take(&mut registry.open);
        drop(registry);
        for outbox in closed.values() {
            outbox.close();
        }
    }
}

impl Outbox {
    /// Whose messages these are.
    pub(crate) fn peer(&self) -> NodeId {
        self.peer
    }

    /// Appends a message. Whether the task is to be told.
    fn push(&self, payload: &[u8]) -> Result<bool, Refusal> {
        let len = u32::try_from(payload.len()).map_err(|_| Refusal::Full)?;
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(Refusal::Closed);
        }
        // An empty buffer takes any message.
        if !queue.bytes.is_empty() && queue.bytes.len() + PREFIX + payload.len() > SEND_BUFFER {
            return Err(Refusal::Full);
        }
        queue.bytes.extend_from_slice(&len.to_le_bytes());
        queue.bytes.extend_from_slice(payload);
        Ok(!std::mem::replace(&mut queue.known, true))
    }

    /// Exchanges what waits for the empty `buffer`. Whether anything waited; if not, the task will be told of what
    /// comes next.
    pub(crate) fn take(&self, buffer: &mut Vec<u8>) -> bool {
        let mut queue = lock(&self.queue);
        if queue.bytes.is_empty() {
            queue.known = false;
            return false;
        }
        std::mem::swap(&mut queue.bytes, buffer);
        drop(queue);
        self.space.notify_waiters();
        true
    }

    /// Whether nothing waits; then the task will be told of what comes next.
    pub(crate) fn is_drained(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.known = !queue.bytes.is_empty();
        !queue.known
    }

    /// Waits until `attempt` succeeds or fails for good; tries again whenever there may be room.
    pub(super) async fn when_there_is_room(
        &self,
        mut attempt: impl FnMut() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        loop {
            let space = self.space.notified();
            let mut space = std::pin::pin!(space);
            // From here on it hears of room that comes between the attempt and the wait.
            space.as_mut().enable();
            match attempt() {
                Err(Refusal::Full) => space.await,
                outcome => return outcome,
            }
        }
    }

    fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.bytes = Vec::new();
        drop(queue);
        self.space.notify_waiters();
    }
}

/// Splits the first message off what an outbox held.
pub(crate) fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

/// Empties a buffer for its next use, and gives memory back that the last one made little use of.
pub(crate) fn recycle(buffer: &mut Vec<u8>) {
    let used = buffer.len();
    buffer.clear();
    if buffer.capacity() > SMALL && used < buffer.capacity() / 4 {
        buffer.shrink_to(SMALL.max(2 * used));
    }
}
