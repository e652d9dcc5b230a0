//! Received messages on their way from the node's task to whoever listens, in whole batches.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem::replace,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use meshground_node::{NodeId, Received};

use crate::lock::lock;

/// How many received messages are kept for each receiver of [`Mesh::messages`](super::Mesh::messages).
pub const MESSAGE_QUEUE: usize = 65_536;

/// How many bytes of payload are kept for each of them, give or take a batch.
pub const MESSAGE_QUEUE_BYTES: usize = 8 << 20;

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it, authenticated.
    pub from: NodeId,
    /// What. It shares memory with the messages that came in together with it: who keeps a few for long copies them.
    pub payload: Bytes,
}

/// A stream of received messages. It keeps the latest [`MESSAGE_QUEUE`] of them and [`MESSAGE_QUEUE_BYTES`] of payload
/// (received together, a few more bytes), whichever is less; when its reader is slower than that, the oldest are
/// dropped and counted.
#[derive(Debug)]
pub struct Messages {
    inbox: Arc<Inbox>,
    /// What is being read, and how far.
    batch: Arc<Received>,
    read: usize,
}

/// Who listens to one node.
#[derive(Debug, Default)]
pub(crate) struct Inboxes(Mutex<InboxListeners>);

#[derive(Debug, Default)]
struct InboxListeners {
    inboxes: Vec<Weak<Inbox>>,
    down: bool,
}

/// One receiver's queue.
#[derive(Debug, Default)]
struct Inbox(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Arc<Received>>,
    /// How many messages of the first batch have been dropped.
    dropped: usize,
    messages: usize,
    bytes: usize,
    missed: u64,
    ended: bool,
    reader: Option<Waker>,
}

impl Inboxes {
    /// A stream of what is received from now on.
    pub(super) fn listen(&self) -> Messages {
        let inbox = Arc::new(Inbox::default());
        let mut listeners = lock(&self.0);
        if listeners.down {
            lock(&inbox.0).ended = true;
        } else {
            listeners.inboxes.retain(|inbox| inbox.strong_count() > 0);
            listeners.inboxes.push(Arc::downgrade(&inbox));
        }
        Messages { inbox, batch: Arc::default(), read: 0 }
    }

    /// Gives everybody a batch.
    pub(crate) fn deliver(&self, received: Received) {
        if received.is_empty() {
            return;
        }
        let mut listeners = lock(&self.0);
        if listeners.inboxes.is_empty() {
            return;
        }
        let batch = Arc::new(received);
        listeners.inboxes.retain(|inbox| inbox.upgrade().inspect(|inbox| inbox.push(&batch)).is_some());
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        let mut listeners = lock(&self.0);
        listeners.down = true;
        for inbox in listeners.inboxes.drain(..).filter_map(|inbox| inbox.upgrade()) {
            inbox.change(|queue| queue.ended = true);
        }
    }
}

impl Inbox {
    fn push(&self, batch: &Arc<Received>) {
        self.change(|queue| queue.push(Arc::clone(batch)));
    }

    /// Changes the queue, then wakes its reader.
    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.0);
        change(&mut queue);
        let reader = queue.reader.take();
        drop(queue);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Queue {
    fn push(&mut self, batch: Arc<Received>) {
        self.messages += batch.len();
        self.bytes += batch.payload_bytes();
        self.missed += batch.missed();
        self.batches.push_back(batch);
        while self.bytes > MESSAGE_QUEUE_BYTES && self.batches.len() > 1 {
            let left = self.batches.front().map_or(0, |batch| batch.len() - self.dropped);
            self.drop_oldest(left);
        }
        while self.messages > MESSAGE_QUEUE {
            self.drop_oldest(self.messages - MESSAGE_QUEUE);
        }
    }

    /// Drops the oldest messages, at most `count` and at most what is left of the first batch.
    fn drop_oldest(&mut self, count: usize) {
        let Some(first) = self.batches.front() else { return };
        let left = first.len() - self.dropped;
        if count < left {
            self.dropped += count;
            self.messages -= count;
            self.missed += count as u64;
        } else {
            self.missed += left as u64;
            self.pop();
        }
    }

    /// The first batch, and how many of its messages have been dropped.
    fn pop(&mut self) -> Option<(Arc<Received>, usize)> {
        let batch = self.batches.pop_front()?;
        let dropped = replace(&mut self.dropped, 0);
        self.messages -= batch.len() - dropped;
        self.bytes -= batch.payload_bytes();
        Some((batch, dropped))
    }
}

impl Messages {
    /// The next message, as soon as there is one; `None` once the node is down and everything it received has been
    /// taken. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Message> {
        if self.read == self.batch.len() && !poll_fn(|context| self.poll_batch(context)).await {
            return None;
        }
        self.read_one()
    }

    /// Appends the next messages to `messages`, at most `limit`, as soon as there is one. Returns how many; 0 once the
    /// node is down and everything it received has been taken, or when `limit` is 0. Cancel-safe: dropped before it
    /// returns, it has taken nothing.
    pub async fn recv_many(&mut self, messages: &mut Vec<Message>, limit: usize) -> usize {
        if limit == 0 || (self.read == self.batch.len() && !poll_fn(|context| self.poll_batch(context)).await)
        {
            return 0;
        }
        let before = messages.len();
        let count = limit.min(self.batch.len() - self.read);
        messages.reserve(count);
        messages.extend((0..count).map_while(|_| self.read_one()));
        messages.len() - before
    }

    /// How many messages were dropped because this reader was too slow.
    pub fn missed(&self) -> u64 {
        lock(&self.inbox.0).missed
    }

    fn read_one(&mut self) -> Option<Message> {
        let (from, payload) = self.batch.get(self.read)?;
        self.read += 1;
        Some(Message { from, payload })
    }

    /// Fetches the next batch: whether there is one.
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut queue = lock(&self.inbox.0);
        if let Some((batch, dropped)) = queue.pop() {
            drop(queue);
            (self.batch, self.read) = (batch, dropped);
            return Poll::Ready(true);
        }
        if queue.ended {
            return Poll::Ready(false);
        }
        queue.reader = Some(context.waker().clone());
        // Nothing is kept that has been read.
        drop(queue);
        (self.batch, self.read) = (Arc::default(), 0);
        Poll::Pending
    }
}
