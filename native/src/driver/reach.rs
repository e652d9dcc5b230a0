//! Sessions over other nodes, made because somebody wants to talk to a node there is none with.

use std::collections::BTreeMap;

use meshground_node::{DialId, Node, NodeId};
use tokio::sync::oneshot;

use super::clock::now;

/// Whoever waits for a session, and is told whether it came about.
pub(crate) type Reaching = oneshot::Sender<bool>;

/// The task's dials to that end, one a target at most. Each ends within the handshake budget, and nobody waits longer.
#[derive(Debug, Default)]
pub(super) struct Reach {
    dials: BTreeMap<NodeId, DialId>,
    waiting: BTreeMap<NodeId, Vec<Reaching>>,
}

impl Reach {
    /// Whether a session with `peer` is coming about: shakes hands with it over others if there is a way and this is not
    /// under way already.
    pub(super) fn begin(&mut self, node: &mut Node, peer: NodeId) -> bool {
        if self.dials.contains_key(&peer) {
            return true;
        }
        if peer == node.id() || node.route(peer).is_none() {
            return false;
        }
        self.dials.insert(peer, node.connect_relayed(now(), peer));
        true
    }

    /// Tells `reply` when there is a session with `peer`, or that there will be none.
    pub(super) fn ask(&mut self, node: &mut Node, peer: NodeId, reply: Reaching) {
        // One that nobody waits for any more is no error, here and below.
        if is_up(node, peer) {
            let _ = reply.send(true);
        } else if self.begin(node, peer) {
            self.waiting.entry(peer).or_default().push(reply);
        } else {
            let _ = reply.send(false);
        }
    }

    /// There is a session with `peer`.
    pub(super) fn session_up(&mut self, peer: NodeId) {
        self.tell(peer, true);
    }

    /// A dial has ended. Whom it was to reach, if it was one of these and there is no session with that.
    pub(super) fn dial_ended(&mut self, node: &Node, dial: DialId) -> Option<NodeId> {
        let peer = self.dials.iter().find(|(_, its)| **its == dial).map(|(&peer, _)| peer)?;
        self.dials.remove(&peer);
        let up = is_up(node, peer);
        self.tell(peer, up);
        (!up).then_some(peer)
    }

    fn tell(&mut self, peer: NodeId, up: bool) {
        for reply in self.waiting.remove(&peer).into_iter().flatten() {
            let _ = reply.send(up);
        }
    }
}

fn is_up(node: &Node, peer: NodeId) -> bool {
    node.peer(peer).is_some()
}
