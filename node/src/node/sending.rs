//! What goes out to peers: frames into packets, packets into datagrams.

use meshground_shared::NodeId;

use super::{Node, Slot};
use crate::{
    connection::MAX_PARCEL,
    event::{NodeEvent, SendError, Transmit},
    packet::{Frame, MESSAGE_OVERHEAD},
    path::Path,
    session::Session,
    time::{Instant, Now},
    timers::Timer,
};

/// So many packets in a row go to one peer before another gets its turn.
const BURST: u32 = 64;

impl Node {
    /// Sends `payload` to `peer` as one unreliable message: it arrives whole and once, or not at all, in any order.
    ///
    /// # Errors
    /// Without a confirmed session, when it is longer than [`max_message`](Self::max_message), or when as much waits
    /// for `peer` as may.
    pub fn send(&mut self, now: Now, peer: NodeId, payload: &[u8]) -> Result<(), SendError> {
        self.observe(now.instant);
        let to = self.peers.get_mut(&peer).ok_or(SendError::NoSession(peer))?;
        let max = MAX_PARCEL - MESSAGE_OVERHEAD;
        if payload.len() > max {
            return Err(SendError::TooLarge { len: payload.len(), max });
        }
        if !to.connection.push_message(&Frame::Message(payload)) {
            return Err(SendError::Full { peer, queued: to.connection.queued() });
        }
        self.mark_dirty(peer);
        Ok(())
    }

    /// The longest message [`send`](Self::send) takes, in bytes. One that does not fit a datagram travels in pieces.
    pub fn max_message(&self) -> usize {
        MAX_PARCEL - MESSAGE_OVERHEAD
    }

    /// How many bytes of messages wait to be sent, to all peers together.
    pub fn queued(&self) -> usize {
        self.peers.values().map(|peer| peer.connection.queued()).sum()
    }

    /// Has the next packet to `peer` carry `frame`, whatever the congestion.
    pub(super) fn push_urgent(&mut self, peer: NodeId, frame: &Frame<'_>) {
        if let Some(to) = self.peers.get_mut(&peer) {
            to.connection.push_urgent(frame);
            self.mark_dirty(peer);
        }
    }

    /// There may be something to send to `peer`.
    pub(super) fn mark_dirty(&mut self, peer: NodeId) {
        if let Some(to) = self.peers.get_mut(&peer)
            && !to.is_dirty
        {
            to.is_dirty = true;
            self.dirty.push_back(peer);
        }
    }

    /// The next packet of whichever connection has one.
    pub(super) fn poll_connections(&mut self, now: Now, buffer: &mut Vec<u8>) -> Option<Transmit> {
        while let Some(&id) = self.dirty.front() {
            if self.burst == BURST && self.dirty.len() > 1 {
                self.dirty.rotate_left(1);
                self.burst = 0;
                continue;
            }
            if let Some((path, len)) = self.write_packet(now.instant, id, buffer) {
                self.burst += 1;
                match path {
                    Path::Direct(to) => return Some(Transmit { to, len }),
                    Path::Relayed(target) => {
                        let datagram = buffer.split_off(buffer.len() - len);
                        self.send_relayed(target, &datagram);
                        continue;
                    }
                }
            }
            self.dirty.pop_front();
            self.burst = 0;
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.is_dirty = false;
                if std::mem::take(&mut peer.heartbeat) {
                    // At rest this is all there is: left as it was, the timer would go off twice for nothing between two pings.
                    self.timers.set(Timer::Peer(id), peer.liveness.next_check(&self.pace));
                }
                if peer.connection.unblock_messages() {
                    self.events.push_back(NodeEvent::Writable { peer: id });
                }
                self.arm(id);
            }
        }
        None
    }

    fn write_packet(&mut self, now: Instant, id: NodeId, buffer: &mut Vec<u8>) -> Option<(Path, usize)> {
        let peer = self.peers.get_mut(&id)?;
        let Some(Slot::Session(session)) = self.slots.get_mut(&peer.session) else { return None };
        let start = buffer.len();
        let (number, packet) = session.seal(buffer, |out| peer.connection.write(now, out))?;
        let (path, index, len) = (session.path, peer.session, buffer.len() - start);
        if packet.elicits_ack {
            peer.active = now;
        }
        peer.connection.sent(now, number, packet, len);
        peer.liveness.sent(now);
        peer.traffic.datagrams_out += 1;
        peer.traffic.bytes_out += len as u64;
        self.count_sealed(now, id, index);
        Some((path, len))
    }

    /// Sets a connection's timer to when it next wants attention. One that goes off too early is set anew then: moving it with
    /// every packet would cost more.
    ///
    /// What nothing can be sealed for waits for other keys, and not for a time that would have come at once, again and again.
    fn arm(&mut self, id: NodeId) {
        if !self.current_session(id).is_some_and(Session::may_seal) {
            return;
        }
        let Some(due) = self.peers.get(&id).and_then(|peer| peer.connection.timeout()) else { return };
        let timer = Timer::Connection(id);
        if self.timers.at(timer).is_none_or(|at| due < at) {
            self.timers.set(timer, due);
        }
    }

    pub(super) fn on_connection_timeout(&mut self, now: Now, id: NodeId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.connection.handle_timeout(now.instant);
            self.after_input(now, id);
        }
    }

    /// Something changed in the connection with `id`: tells what came of it and has it send what it may.
    pub(super) fn after_input(&mut self, now: Now, id: NodeId) {
        self.tell_stream_events(now.instant, id);
        self.mark_dirty(id);
    }

    fn tell_stream_events(&mut self, now: Instant, id: NodeId) {
        while let Some(event) = self.peers.get_mut(&id).and_then(|peer| peer.connection.streams.poll_event())
        {
            self.on_stream_event(now, id, event);
        }
    }
}
