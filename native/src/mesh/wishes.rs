//! What a node's task is to do for whoever does not wait for it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use meshground_node::NodeId;
use meshground_shared::{CommandId, DaemonId};
use tokio::sync::Notify;

/// Wishes that the task has not come to yet, as state and not in a queue: the last word about a peer counts. So however long
/// the task stands still, there is one for each peer at most and one for each daemon whose handle was dropped, and none
/// overtakes another.
#[derive(Debug)]
pub(crate) struct Wishes {
    known: Mutex<Known>,
    /// Rings when there is one.
    work: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    turn: u64,
    peers: BTreeMap<NodeId, Wish>,
    stops: BTreeMap<DaemonId, Option<CommandId>>,
}

/// What is to become of the session with a peer.
#[derive(Debug, Clone, Copy)]
struct Wish {
    /// When the last word was said.
    turn: u64,
    /// The session there is, is to end.
    disconnect: bool,
    /// Then another one is to come about, with whoever is there.
    dial: Option<SocketAddr>,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// To end the session with a peer.
    Disconnect(NodeId),
    /// To shake hands with a peer that is there.
    Dial(SocketAddr, NodeId),
    /// To have a daemon stop, because of a command if one is named.
    Stop(DaemonId, Option<CommandId>),
}

impl Wishes {
    pub(super) fn new(work: Arc<Notify>) -> Self {
        Self { known: Mutex::default(), work }
    }

    /// These peers are to be dialled, in this order.
    pub(super) fn dial(&self, peers: impl IntoIterator<Item = (SocketAddr, NodeId)>) {
        self.add(peers.into_iter().map(|(address, peer)| Deed::Dial(address, peer)));
    }

    /// The sessions with these peers are to end.
    pub(super) fn disconnect(&self, peers: impl IntoIterator<Item = NodeId>) {
        self.add(peers.into_iter().map(Deed::Disconnect));
    }

    /// A daemon is to stop.
    pub(super) fn stop(&self, daemon: DaemonId, cause: Option<CommandId>) {
        self.add([Deed::Stop(daemon, cause)]);
    }

    fn add(&self, deeds: impl IntoIterator<Item = Deed>) {
        let mut known = self.lock();
        for deed in deeds {
            known.add(deed);
        }
        drop(known);
        self.work.notify_one();
    }

    /// All that is to be done, in this order; it is left to whoever takes it.
    pub(crate) fn take(&self) -> Vec<Deed> {
        let mut known = self.lock();
        if known.peers.is_empty() && known.stops.is_empty() {
            return Vec::new();
        }
        let Known { peers, stops, .. } = std::mem::take(&mut *known);
        drop(known);
        let mut peers: Vec<(NodeId, Wish)> = peers.into_iter().collect();
        peers.sort_unstable_by_key(|(_, wish)| wish.turn);
        let mut deeds = Vec::new();
        for (peer, Wish { disconnect, dial, .. }) in peers {
            deeds.extend(disconnect.then_some(Deed::Disconnect(peer)));
            deeds.extend(dial.map(|address| Deed::Dial(address, peer)));
        }
        deeds.extend(stops.into_iter().map(|(daemon, cause)| Deed::Stop(daemon, cause)));
        deeds
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // What is guarded is consistent after every statement that could panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn add(&mut self, deed: Deed) {
        self.turn += 1;
        let turn = self.turn;
        match deed {
            Deed::Disconnect(peer) => {
                self.peers.insert(peer, Wish { turn, disconnect: true, dial: None });
            }
            Deed::Dial(address, peer) => {
                let wish = self.peers.entry(peer).or_insert(Wish { turn, disconnect: false, dial: None });
                *wish = Wish { turn, dial: Some(address), ..*wish };
            }
            Deed::Stop(daemon, cause) => {
                self.stops.insert(daemon, cause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mesh::{COMMAND_QUEUE, Mesh, MeshBuilder};

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn wishes_are_taken_in_the_order_of_the_last_word_about_each_peer() {
        let wishes = Wishes::new(Arc::default());
        assert_eq!(wishes.take(), []);
        wishes.dial([(address(9), NodeId(9)), (address(1), NodeId(1)), (address(2), NodeId(2))]);
        wishes.disconnect([NodeId(9), NodeId(3)]);
        wishes.dial([(address(4), NodeId(3))]);
        wishes.stop(DaemonId(5), Some(CommandId(6)));
        let expected = [
            Deed::Dial(address(1), NodeId(1)),
            Deed::Dial(address(2), NodeId(2)),
            Deed::Disconnect(NodeId(9)),
            Deed::Disconnect(NodeId(3)),
            Deed::Dial(address(4), NodeId(3)),
            Deed::Stop(DaemonId(5), Some(CommandId(6))),
        ];
        assert_eq!(wishes.take(), expected);
        assert_eq!(wishes.take(), [], "each once");
    }

    #[test]
    fn however_much_is_wanted_of_few_peers_little_is_kept() {
        let wishes = Wishes::new(Arc::default());
        for n in 0..10_000 {
            wishes.disconnect([NodeId(n % 8)]);
            wishes.dial([(address(1), NodeId(n % 8))]);
            wishes.stop(DaemonId(n % 8), None);
        }
        assert_eq!(wishes.take().len(), 3 * 8);
    }

    async fn mesh() -> Mesh {
        MeshBuilder::new(address(0), [7; 32]).build().await.unwrap()
    }

    /// Waits until there is a session, or none, as asked.
    async fn until(mesh: &Mesh, peer: NodeId, is_there: bool) {
        let wait = async {
            while mesh.peers().iter().any(|view| view.id == peer) != is_there {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the last word is kept");
    }

    #[tokio::test]
    async fn a_node_that_stood_still_while_more_was_wanted_than_its_queue_holds_keeps_to_the_last_word() {
        let (one, other) = (mesh().await, mesh().await);
        let (peer, at) = (other.node_id(), other.local_addr());
        for connected in [true, false] {
            one.begin_pause();
            one.until_paused(true).await;
            for _ in 0..2 * COMMAND_QUEUE {
                one.begin_disconnect(vec![peer]);
                one.begin_dial_all(vec![(at, peer)]);
            }
            if !connected {
                one.begin_disconnect(vec![peer]);
            }
            one.begin_resume();
            until(&one, peer, connected).await;
            // Whatever was wanted before this question was dealt with before it, too: nothing is left that could undo it.
            one.stats().await.unwrap();
            assert_eq!(one.inner.wishes.take(), []);
            until(&one, peer, connected).await;
        }
    }
}
