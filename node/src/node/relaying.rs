//! Datagrams over other nodes: passing on those of others, sending and receiving one's own.
//!
//! A relay frame carries a datagram as it would stand alone, sealed between its two ends. Each hop says how far the
//! target is from it, and the next takes the frame only if it is nearer itself: so the distance falls with every hop,
//! and nothing can go round in circles, whatever anybody believes or claims about links.

use std::time::Duration;

use meshground_shared::{NodeId, RejectReason, SessionEnd};

use super::{
    Node, Slot,
    dialing::{DialRequest, Purpose, Waiting},
};
use crate::{
    event::{DialError, DialId},
    packet::{Frame, RELAY_OVERHEAD, Relay},
    path::Path,
    session::PACKET_OVERHEAD,
    time::{Instant, Now},
};

/// A session over other nodes that has carried nothing but heartbeats for this long is closed.
const IDLE: Duration = Duration::from_mins(1);

impl Node {
    /// Starts a handshake with `target` over other nodes, as [`connect`](Self::connect) does with an address: for a node
    /// there is a [`route`](Self::route) to, but no session with. Such a session ends when it has carried nothing for a
    /// minute, and gives way to a direct one.
    ///
    /// It does not replace a direct session, unless that was Unreachable already when this began.
    pub fn connect_relayed(&mut self, now: Now, target: NodeId) -> DialId {
        let path = Path::Relayed(target);
        let (id, request) = self.new_dial(now, path, Some(target));
        if self.left {
            self.fail_dial(&request, DialError::Left);
        } else if target == self.id() {
            self.fail_dial(&request, DialError::Itself);
        } else {
            self.queued_dials.push_back(Waiting::New(request));
            self.start_dials(now);
        }
        id
    }

    pub(super) fn new_dial(&mut self, now: Now, path: Path, expect: Option<NodeId>) -> (DialId, DialRequest) {
        self.observe(now.instant);
        let id = DialId(self.next_dial);
        self.next_dial += 1;
        let deadline = now.instant + self.config.handshake.budget;
        (id, DialRequest::new(Purpose::Asked(id), path, expect, deadline))
    }

    /// The longest datagram that can be sent over `path`.
    pub(super) fn max_datagram(&self, path: Path) -> usize {
        match path {
            Path::Direct(_) => self.config.max_datagram,
            Path::Relayed(_) => self.config.max_datagram - PACKET_OVERHEAD - RELAY_OVERHEAD,
        }
    }

    /// Whether the session in use with `id` is direct.
    pub(super) fn is_direct(&self, id: NodeId) -> bool {
        self.current_session(id).is_some_and(|session| session.path.is_direct())
    }

    /// Sends this node's own datagram to `target` over whoever is next on the way. Without a way it is lost, as it
    /// would be on a network.
    pub(super) fn send_relayed(&mut self, target: NodeId, datagram: &[u8]) {
        let source = self.id();
        if let Some(route) = self.everyone.routes.route(target) {
            let relay = Relay { distance: route.distance, source, target, datagram };
            self.push_relay(route.next_hop, relay);
        }
    }

    /// A relay frame came in from the peer `from`.
    pub(super) fn on_relay(&mut self, from: NodeId, relay: Relay<'_>) -> Result<(), RejectReason> {
        let Relay { distance, source, target, datagram } = relay;
        // Relayed sessions carry none: nothing is wrapped twice.
        if !self.is_direct(from) || source == self.id() {
            return Err(RejectReason::NoRoute);
        }
        if target == self.id() {
            self.inbox.push_back((source, datagram.to_vec()));
            return Ok(());
        }
        let route = self.everyone.routes.route_nearer(target, distance).ok_or(RejectReason::NoRoute)?;
        let onward = Relay { distance: route.distance, source, target, datagram };
        if self.push_relay(route.next_hop, onward) { Ok(()) } else { Err(RejectReason::NoRoute) }
    }

    /// Whether there was room. What there is none for is dropped: its ends will notice.
    fn push_relay(&mut self, next_hop: NodeId, relay: Relay<'_>) -> bool {
        let Some(peer) = self.peers.get_mut(&next_hop) else { return false };
        let had_room = peer.connection.push_urgent(&Frame::Relay(relay));
        self.mark_dirty(next_hop);
        had_room
    }

    /// Closes the session with `id` if it is relayed and has long carried nothing. Returns whether it did.
    pub(super) fn close_if_idle(&mut self, now: Instant, id: NodeId) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        let idle =
            now.saturating_since(peer.active) >= IDLE && peer.connection.streams.ids().next().is_none();
        idle && self.current_session(id).is_some_and(|session| !session.path.is_direct())
            && self.close(now, id)
    }

    /// Takes leave of those who are reached over others, while the others are still there to pass it on.
    pub(super) fn say_relayed_farewells(&mut self) {
        let relayed: Vec<NodeId> = self.peers.keys().copied().filter(|id| !self.is_direct(*id)).collect();
        for id in relayed {
            let Some(index) = self.peers.get(&id).map(|peer| peer.session) else { continue };
            let Some(Slot::Session(session)) = self.slots.get_mut(&index) else { continue };
            let mut datagram = Vec::new();
            let leave = |out: &mut Vec<u8>| {
                Frame::Leave.encode(out);
                Some(())
            };
            if session.seal(&mut datagram, leave).is_some() {
                self.send_relayed(id, &datagram);
            }
            self.remove_peer(id, SessionEnd::Closed);
        }
    }
}
