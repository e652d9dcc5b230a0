//! Sending messages to one peer, many at a time.

use std::{fmt, sync::Arc};

use meshground_node::{NodeId, SendError};
use tokio::sync::{mpsc, oneshot};

use super::{
    MeshError,
    outbox::{Outbox, Outboxes, Refusal},
};
use crate::driver::Command;

/// Sends messages to one peer. Cloning is cheap, and so is each [`send`](Self::send): it copies the message into a
/// buffer shared with the node's task.
///
/// It does not keep the node up. After a session has gone, it takes messages again as soon as there is another one with
/// the same peer; over other nodes, it makes that itself.
#[derive(Clone)]
pub struct MessageSender {
    outboxes: Arc<Outboxes>,
    commands: mpsc::Sender<Command>,
    peer: NodeId,
    max_message: usize,
    /// The one last used.
    outbox: Option<Arc<Outbox>>,
}

impl MessageSender {
    pub(super) fn new(
        outboxes: Arc<Outboxes>,
        commands: mpsc::Sender<Command>,
        peer: NodeId,
        max_message: usize,
    ) -> Self {
        Self { outboxes, commands, peer, max_message, outbox: None }
    }

    /// Whom it sends to.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Sends `payload` (at most [`Mesh::max_message`](super::Mesh::max_message) bytes). It may be lost on the way, but
    /// arrives unaltered and at most once. Returns when the message is queued, and waits while
    /// [`SEND_BUFFER`](super::SEND_BUFFER) bytes are. Without a session it first comes to one over other nodes, if there is
    /// a way. Cancel-safe: dropped before it returns, it has sent nothing.
    ///
    /// # Errors
    /// [`MeshError::Send`] without a session and a way to one, or when it is too large; [`MeshError::Closed`].
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), MeshError> {
        if payload.len() > self.max_message {
            return Err(SendError::TooLarge { len: payload.len(), max: self.max_message }.into());
        }
        loop {
            let outbox = if let Some(outbox) = &self.outbox {
                outbox
            } else {
                let found = self.find().await?;
                self.outbox.insert(found)
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

    /// The outbox of its peer; where there is none, it comes to a session first.
    async fn find(&self) -> Result<Arc<Outbox>, MeshError> {
        match self.outboxes.of(self.peer) {
            Err(MeshError::Send(SendError::NoSession(_))) => {
                self.reach().await?;
                self.outboxes.of(self.peer)
            }
            found => found,
        }
    }

    /// Comes to a session over other nodes.
    async fn reach(&self) -> Result<(), MeshError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Reach { peer: self.peer, reply };
        self.commands.send(command).await.map_err(|_| MeshError::Closed)?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SendError::NoSession(self.peer).into()),
            Err(_) => Err(MeshError::Closed),
        }
    }
}

impl fmt::Debug for MessageSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSender").field("peer", &self.peer).finish_non_exhaustive()
    }
}
