//! From callers' outboxes into the node.

use std::sync::Arc;

use meshground_node::{Node, NodeId, SendError};

use super::clock::now;
use crate::mesh::outbox::{Outbox, Outboxes, recycle, split_message};

/// The task's end of the outboxes. When it goes, they are closed.
#[derive(Debug)]
pub(super) struct Pump {
    outboxes: Arc<Outboxes>,
    busy: Vec<Busy>,
    /// Scratch: outboxes that have become ready.
    ready: Vec<Arc<Outbox>>,
    /// An empty buffer to leave in the place of a full one.
    spare: Vec<u8>,
}

/// An outbox that may hold something.
#[derive(Debug)]
struct Busy {
    outbox: Arc<Outbox>,
    /// What was taken from it, and how much of that the node has.
    taken: Vec<u8>,
    done: usize,
    /// The node takes no more for this peer until it says so.
    full: bool,
}

impl Pump {
    pub(super) fn new(outboxes: Arc<Outboxes>) -> Self {
        Self { outboxes, busy: Vec::new(), ready: Vec::new(), spare: Vec::new() }
    }

    /// Whether there is something to do already.
    pub(super) fn has_work(&self) -> bool {
        self.busy.iter().any(|busy| !busy.full)
    }

    /// Whether there is nothing the node would take now or, by itself, later.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    pub(super) fn session_up(&mut self, peer: NodeId) {
        self.outboxes.open(peer);
        self.writable(peer);
    }

    pub(super) fn session_down(&mut self, peer: NodeId) {
        self.outboxes.close(peer);
        self.busy.retain(|busy| busy.outbox.peer() != peer);
    }

    /// The node takes messages for `peer` again.
    pub(super) fn writable(&mut self, peer: NodeId) {
        for busy in self.busy.iter_mut().filter(|busy| busy.outbox.peer() == peer) {
            busy.full = false;
        }
    }

    /// Hands the node a buffer of each outbox that has something, as far as it takes it.
    pub(super) fn run(&mut self, node: &mut Node) {
        self.outboxes.take_ready(&mut self.ready);
        let fresh = |outbox| Busy { outbox, taken: Vec::new(), done: 0, full: false };
        self.busy.extend(self.ready.drain(..).map(fresh));
        let spare = &mut self.spare;
        self.busy.retain_mut(|busy| busy.full || busy.hand_over(node, spare));
    }
}

impl Busy {
    /// Whether there may be more.
    fn hand_over(&mut self, node: &mut Node, spare: &mut Vec<u8>) -> bool {
        if self.done == self.taken.len() {
            self.done = 0;
            self.taken = std::mem::take(spare);
            if !self.outbox.take(&mut self.taken) {
                *spare = std::mem::take(&mut self.taken);
                return false;
            }
        }
        let (now, peer) = (now(), self.outbox.peer());
        while let Some((message, rest)) = split_message(&self.taken[self.done..]) {
            if let Err(SendError::Full { .. }) = node.send(now, peer, message) {
                self.full = true;
                return true;
            }
            // Any other error means that the session has just gone: lost, as what was under way is.
            self.done = self.taken.len() - rest.len();
        }
        recycle(&mut self.taken);
        self.done = 0;
        *spare = std::mem::take(&mut self.taken);
        !self.outbox.is_drained()
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.outboxes.close_all();
    }
}
