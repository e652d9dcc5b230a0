//! A node's peers, for whoever looks from outside its task.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use meshground_node::{NodeId, PeerView};

use crate::lock::lock;

/// The peers as they were last told: the task tells of each that changed, and they are put together when somebody asks.
/// So a boot, in which nobody asks but every session is a change, costs each of them the same however many there are.
#[derive(Debug, Default)]
pub(crate) struct View(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    peers: BTreeMap<NodeId, PeerView>,
    /// All of them, if nothing has changed since somebody asked.
    all: Option<Arc<[PeerView]>>,
}

impl View {
    /// These peers have changed, or are none any more.
    pub(crate) fn update(&self, changed: impl IntoIterator<Item = (NodeId, Option<PeerView>)>) {
        let mut known = lock(&self.0);
        for (id, peer) in changed {
            match peer {
                Some(peer) => known.peers.insert(id, peer),
                None => known.peers.remove(&id),
            };
            known.all = None;
        }
    }

    /// All of them, by id.
    pub(super) fn peers(&self) -> Arc<[PeerView]> {
        let mut known = lock(&self.0);
        let Known { peers, all } = &mut *known;
        Arc::clone(all.get_or_insert_with(|| peers.values().copied().collect()))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).peers.len()
    }
}
