//! What comes in from peers: sealed packets, and what is in them.

use std::time::Duration;

use meshground_shared::{NodeId, RejectReason, SessionEnd};

use super::super::{
    Node, Slot,
    leaving::sealed_leave,
    news::{Before, Kind},
};
use crate::{
    event::NodeEvent,
    packet::{Frame, Frames},
    path::Path,
    session::Session,
    time::{Instant, Now},
};

impl Node {
    /// A sealed packet.
    pub(in crate::node) fn on_data(
        &mut self,
        now: Now,
        from: Path,
        index: u32,
        counter: u64,
        datagram: &mut [u8],
    ) -> Result<(), RejectReason> {
        let len = datagram.len() as u64;
        let (frames, id) = match self.slots.get_mut(&index) {
            Some(Slot::Session(session)) if session.closed => {
                let mut frames = session.open(counter, datagram)?;
                if frames.any(|frame| frame == Frame::Leave) {
                    // It was heard, but the answer was lost.
                    self.outbox.extend(sealed_leave(session));
                }
                return Ok(());
            }
            Some(Slot::Session(session)) => (session.open(counter, datagram)?, session.peer),
            Some(Slot::HalfOpen(half)) => {
                let frames = half.session.open(counter, datagram)?;
                let id = half.session.peer;
                let continues = frames.clone().any(|frame| frame == Frame::Continues);
                self.confirm_half_open(now, index, continues);
                if !matches!(self.slots.get(&index), Some(Slot::Session(session)) if !session.closed) {
                    // Another session has precedence, or this one came to nothing. What it carries is for a connection
                    // that this end does not have.
                    return Ok(());
                }
                (frames, id)
            }
            _ => return Err(RejectReason::UnknownIndex),
        };
        self.heard(now.instant, id);
        self.follow(id, from, |session| session.is_newest(counter), index);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.traffic.datagrams_in += 1;
            peer.traffic.bytes_in += len;
        }
        let mut elicits_ack = false;
        for frame in frames {
            elicits_ack |= frame.elicits_ack();
            if frame == Frame::Close {
                self.on_close(index, id);
                // Whatever session it was, it ends what follows it.
                break;
            }
            if let Err(reason) = self.on_frame(now, id, &frame) {
                // What stood before it has taken effect.
                self.after_input(now, id);
                return Err(reason);
            }
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.connection.received(now.instant, counter, elicits_ack);
            if elicits_ack {
                peer.active = now.instant;
            }
            self.after_input(now, id);
        }
        Ok(())
    }

    /// The peer has closed the session in this slot, and stays. It may have a newer one by now.
    fn on_close(&mut self, index: u32, id: NodeId) {
        if self.peers.get(&id).is_some_and(|peer| peer.session == index) {
            self.remove_peer(id, SessionEnd::Closed);
        }
    }

    fn on_frame(&mut self, now: Now, id: NodeId, frame: &Frame<'_>) -> Result<(), RejectReason> {
        // A leave within the packet ends what follows it.
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        match *frame {
            Frame::Ping { stamp, silence_ms } => {
                peer.connection.push_urgent(&Frame::Pong { stamp });
                peer.heartbeat = true;
                let silence = Duration::from_millis(silence_ms.into());
                if let Some(deaf) = peer.liveness.told_silence(now.instant, silence, &self.pace) {
                    self.events.push_back(NodeEvent::OneWay { peer: id, deaf });
                }
            }
            Frame::Pong { stamp } => {
                let sample = now.instant.saturating_since(Instant::from_micros(stamp));
                peer.liveness.measured(sample);
                peer.heartbeat = true;
            }
            Frame::Leave => {
                self.on_leave(now.instant, id);
                self.forget_records(now, id);
            }
            Frame::Record(_) | Frame::Digest(_) | Frame::Summary(_) => {
                self.on_spread_frame(now, id, frame).map_err(|_| RejectReason::BadFrame)?;
            }
            Frame::Relay(relay) => self.on_relay(id, relay)?,
            Frame::Message(payload) => {
                peer.traffic.messages_in += 1;
                self.received.push(id, payload);
            }
            _ => {
                let whole =
                    peer.connection.on_frame(now.instant, frame).map_err(|_| RejectReason::BadFrame)?;
                if let Some(whole) = whole {
                    self.on_parcel(now, id, &whole)?;
                }
            }
        }
        Ok(())
    }

    /// A frame that was longer than a packet is complete.
    fn on_parcel(&mut self, now: Now, id: NodeId, parcel: &[u8]) -> Result<(), RejectReason> {
        let mut frames = Frames::parse(parcel).map_err(|_| RejectReason::BadFrame)?;
        match (frames.next(), frames.next()) {
            (Some(frame @ (Frame::Message(_) | Frame::Record(_) | Frame::Summary(_))), None) => {
                self.on_frame(now, id, &frame)
            }
            _ => Err(RejectReason::BadFrame),
        }
    }

    /// Moves the session with `id` to `from`, if the slot `index` holds the one in use and `is_news` holds for it.
    ///
    /// Whoever copies packets and delivers them before the originals do can move it too, as in `WireGuard`, but not
    /// keep it: the next packet that comes in from where the peer really is moves it back.
    pub(in crate::node) fn follow(
        &mut self,
        id: NodeId,
        from: Path,
        is_news: impl FnOnce(&Session) -> bool,
        index: u32,
    ) {
        if self.peers.get(&id).is_none_or(|peer| peer.session != index) {
            return;
        }
        if let Some(Slot::Session(session)) = self.slots.get_mut(&index)
            && let (Path::Direct(before), Path::Direct(to)) = (session.path, from)
            && before != to
            && is_news(session)
        {
            session.path = from;
            self.paths.remove(&(Path::Direct(before), id));
            self.paths.insert((from, id));
            if self.may_tell(self.clock, Kind::Path, id, Before::At(before)) {
                self.events.push_back(NodeEvent::Roamed { peer: id, from: before, to });
            }
        }
    }
}
