//! A node's side of [`crate::audit`].

use meshground_shared::{NodeId, RejectReason};

use super::{Node, Slot};
use crate::audit::{Gauge, SessionView};

impl Node {
    /// Tells `each` how much the node holds of everything that is bounded.
    #[doc(hidden)]
    pub fn gauges(&self, each: &mut dyn FnMut(Gauge)) {
        let Self { config, slots, peers, timers, .. } = self;
        self.answers.gauge(config.handshake.max_answers, each);
        self.seen.gauge("first messages seen", each);
        self.stale.gauge("stale first messages", each);
        self.limits.gauges(each);
        self.news.gauges(each);
        self.rejections.gauge(RejectReason::ALL.len(), each);
        self.everyone.gauges(each);
        let calls = self.calls.gauges(each);
        // One per slot and per call, three per peer, four of the node's own.
        each(Gauge::new("timers", timers.len(), slots.len() + calls + 3 * peers.len() + 4));
        each(Gauge::new("paths", self.paths.len(), peers.len()));
        each(Gauge::new("datagrams to unwrap", self.inbox.len(), 0));
        for peer in peers.values() {
            peer.connection.gauges(each);
        }
    }

    /// The session in use with `peer`.
    #[doc(hidden)]
    pub fn session_with(&self, peer: NodeId) -> Option<SessionView> {
        let held = self.peers.get(&peer)?;
        let Some(Slot::Session(session)) = self.slots.get(&held.session) else { return None };
        Some(SessionView {
            index: held.session,
            remote_index: session.remote_index(),
            role: session.role,
            incarnation: session.incarnation,
            connection: held.connection_id,
        })
    }

    /// Whether this end can read what `peer` seals for `index`: over a session, one it has replaced, or one that waits
    /// for nothing but that.
    #[doc(hidden)]
    pub fn can_hear(&self, peer: NodeId, index: u32) -> bool {
        match self.slots.get(&index) {
            Some(Slot::Session(session)) => session.peer == peer && !session.closed,
            Some(Slot::HalfOpen(half)) => half.session.peer == peer,
            _ => false,
        }
    }
}
