//! Peers that dialled this node and wait to be accepted.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use meshground_node::NodeId;
use tokio::sync::Notify;

/// The way from the node's task to whoever accepts. A peer waits here at most once and only while its session stands, so
/// that there are never more than the node has peers, whether anybody accepts them or not.
#[derive(Debug, Default)]
pub(crate) struct Lobby {
    waiting: Mutex<Waiting>,
    /// Somebody waits to be accepted, or nobody ever will.
    arrival: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// When each came: a number that rises.
    peers: BTreeMap<NodeId, u64>,
    arrivals: u64,
    down: bool,
}

impl Waiting {
    /// Takes whoever came first.
    fn pop(&mut self) -> Option<NodeId> {
        let (&first, _) = self.peers.iter().min_by_key(|(_, arrival)| **arrival)?;
        self.peers.remove(&first);
        Some(first)
    }
}

impl Lobby {
    /// A session stands that `peer` dialled.
    pub(crate) fn arrive(&self, peer: NodeId) {
        let mut waiting = self.lock();
        waiting.arrivals += 1;
        let arrival = waiting.arrivals;
        // Whoever has come again keeps its place.
        waiting.peers.entry(peer).or_insert(arrival);
        drop(waiting);
        self.arrival.notify_one();
    }

    /// There is no session with `peer` any more.
    pub(crate) fn leave(&self, peer: NodeId) {
        self.lock().peers.remove(&peer);
    }

    /// The node is down.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.peers.clear();
        waiting.down = true;
        drop(waiting);
        self.arrival.notify_waiters();
    }

    /// The next of them; `None` once the node is down. Cancel-safe.
    pub(super) async fn accept(&self) -> Option<NodeId> {
        loop {
            let mut arrival = pin!(self.arrival.notified());
            arrival.as_mut().enable();
            {
                let mut waiting = self.lock();
                if let Some(peer) = waiting.pop() {
                    // Whoever else waits may find the next.
                    self.arrival.notify_one();
                    return Some(peer);
                }
                if waiting.down {
                    return None;
                }
            }
            arrival.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // What is guarded is consistent after every statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What comes of it at once.
    fn now<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn each_is_accepted_once_in_the_order_of_arrival_and_never_after_it_has_left() {
        let lobby = Lobby::default();
        assert_eq!(now(lobby.accept()), Poll::Pending);
        for peer in [9, 4, 7, 9, 2] {
            lobby.arrive(NodeId(peer));
        }
        lobby.leave(NodeId(4));
        for peer in [9, 7, 2] {
            assert_eq!(now(lobby.accept()), Poll::Ready(Some(NodeId(peer))));
        }
        assert_eq!(now(lobby.accept()), Poll::Pending);
        lobby.arrive(NodeId(9));
        assert_eq!(now(lobby.accept()), Poll::Ready(Some(NodeId(9))), "it has dialled again");
    }

    #[test]
    fn one_who_gives_up_takes_nobody_along_and_all_are_told_of_the_end() {
        let lobby = Lobby::default();
        let mut context = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (Box::pin(lobby.accept()), Box::pin(lobby.accept()));
        assert!(
            first.as_mut().poll(&mut context).is_pending() && second.as_mut().poll(&mut context).is_pending()
        );
        // The first is woken and goes before it has looked.
        lobby.arrive(NodeId(1));
        drop(first);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(Some(NodeId(1))));
        let mut third = Box::pin(lobby.accept());
        assert!(third.as_mut().poll(&mut context).is_pending());
        lobby.close();
        assert_eq!(third.as_mut().poll(&mut context), Poll::Ready(None));
        assert_eq!(now(lobby.accept()), Poll::Ready(None));
    }
}
