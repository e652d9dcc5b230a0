//! Sending messages to one peer, many at a time.

use std::{fmt, sync::Arc};

use meshground_node::{NodeId, SendError};

use super::{
    MeshError,
    outbox::{Outbox, Outboxes, Refusal},
};

/// Sends messages to one peer. Cloning is cheap, and so is each [`send`](Self::send): it copies the message into a
/// buffer shared with the node's task.
///
/// It does not keep the node up. After a session has gone, it takes messages again as soon as there is another one with
/// the same peer.
#[derive(Clone)]
pub struct MessageSender {
    outboxes: Arc<Outboxes>,
    peer: NodeId,
    max_message: usize,
    /// The one last used.
    outbox: Option<Arc<Outbox>>,
}

impl MessageSender {
    pub(super) fn new(outboxes: Arc<Outboxes>, peer: NodeId, max_message: usize) -> Self {
        Self { outboxes, peer, max_message, outbox: None }
    }

    /// Whom it sends to.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Sends `payload` (at most [`Mesh::max_message`](super::Mesh::max_message) bytes). It may be lost on the way, but
    /// arrives unaltered and at most once. Returns when the message is queued, and waits while
    /// [`SEND_BUFFER`](super::SEND_BUFFER) bytes are. Cancel-safe: dropped before it returns, it has sent nothing.
    ///
    /// # Errors
    /// [`MeshError::Send`] without a session or when it is too large; [`MeshError::Closed`].
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), MeshError> {
        if payload.len() > self.max_message {
            return Err(SendError::TooLarge { len: payload.len(), max: self.max_message }.into());
        }
        loop {
            let outbox = match &self.outbox {
                Some(outbox) => outbox,
                None => self.outbox.insert(self.outboxes.of(self.peer)?),
            };
            let push = || self.outboxes.push(outbox, payload);
            let outcome = match push() {
                Err(Refusal::Full) => outbox.when_there_is_room(push).await,
                outcome => outcome,
            };
            if outcome.is_ok() {
                return Ok(());
            }
            // The session has gone; there may be another one.
            self.outbox = None;
        }
    }
}

impl fmt::Debug for MessageSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSender").field("peer", &self.peer).finish_non_exhaustive()
    }
}
