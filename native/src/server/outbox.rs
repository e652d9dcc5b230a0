//! What is on its way to one client: a bounded queue and the task that empties it.
//!
//! Whoever has something to say waits here until the client has read enough, and
//! nobody else waits with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{Sink, SinkExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// Messages that may wait for one client. Small: the event log itself remembers
/// more, and for longer, than any queue should.
const QUEUE: usize = 64;

/// The client is gone, or has read nothing for so long that its socket gave it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// The sending end. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ClientOutbox {
    queue: mpsc::Sender<Item>,
    /// One place: of the messages that hold a whole snapshot only one exists at a
    /// time, so that a client that does not read costs one snapshot, not many.
    bulky: Arc<Semaphore>,
    /// Something waits for the client to read.
    writing: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Item {
    Text(String, Held),
    Ping,
    Close(CloseCode, &'static str),
}

/// The places that a message keeps occupied until it has been written.
pub(crate) type Held = Vec<OwnedSemaphorePermit>;

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Queue {
    items: mpsc::Receiver<Item>,
    writing: Arc<AtomicBool>,
}

pub(crate) fn outbox() -> (ClientOutbox, Queue) {
    let (queue, items) = mpsc::channel(QUEUE);
    let writing = Arc::new(AtomicBool::new(false));
    let bulky = Arc::new(Semaphore::new(1));
    (ClientOutbox { queue, bulky, writing: Arc::clone(&writing) }, Queue { items, writing })
}

impl ClientOutbox {
    /// Waits for room and puts `text` there.
    pub(crate) async fn send(&self, text: String, held: Held) -> Result<(), Gone> {
        self.queue.send(Item::Text(text, held)).await.map_err(|_| Gone)
    }

    /// Waits until no other snapshot is on its way to this client.
    pub(crate) async fn bulk(&self) -> Result<OwnedSemaphorePermit, Gone> {
        let place = Arc::clone(&self.bulky).acquire_owned();
        tokio::select! {
            place = place => place.map_err(|_| Gone),
            () = self.queue.closed() => Err(Gone),
        }
    }

    /// Waits until nothing can be sent any more.
    pub(crate) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Whether something is on its way that the client has yet to read. Its socket sees to it that it does.
    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// Asks the client for a sign of life, if there is room. If there is none, the
    /// client has other things to read.
    pub(crate) fn ping(&self) {
        let _ = self.queue.try_send(Item::Ping);
    }

    /// Says goodbye. Nothing is sent after it.
    pub(crate) async fn close(&self, code: CloseCode, reason: &'static str) -> Result<(), Gone> {
        self.queue.send(Item::Close(code, reason)).await.map_err(|_| Gone)
    }
}

impl Queue {
    /// Writes what comes until told to close or until the client is gone. Gives the sink back.
    pub(crate) async fn write_to<S: Sink<Message> + Unpin>(mut self, mut sink: S) -> S {
        while let Some(first) = self.items.recv().await {
            self.writing.store(true, Ordering::Relaxed);
            let mut next = Some(first);
            // Everything that waits goes into one flush.
            while let Some(item) = next {
                let done = matches!(item, Item::Close(..));
                let (message, held) = item.into_message();
                if sink.feed(message).await.is_err() {
                    return sink;
                }
                drop(held);
                if done {
                    let _ = sink.flush().await;
                    return sink;
                }
                next = self.items.try_recv().ok();
            }
            if sink.flush().await.is_err() {
                return sink;
            }
            self.writing.store(false, Ordering::Relaxed);
        }
        sink
    }
}

impl Item {
    fn into_message(self) -> (Message, Held) {
        match self {
            Self::Text(text, held) => (Message::text(text), held),
            Self::Ping => (Message::Ping(Vec::new().into()), Held::new()),
            Self::Close(code, reason) => {
                let frame = CloseFrame { code, reason: reason.into() };
                (Message::Close(Some(frame)), Held::new())
            }
        }
    }
}
