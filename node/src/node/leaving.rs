//! Leaving: told to everyone, and told again until they have heard it.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{Health, NodeId, SessionEnd};

use super::{Node, Slot};
use crate::{
    event::{DialError, NodeEvent},
    packet::{Frame, Header},
    path::Path,
    session::Session,
    stream::StreamEvent,
    time::{Instant, Now},
    timers::Timer,
};

/// The pauses after each telling but the last. Nobody waits for them unless someone does not answer.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
];

/// What a node that has left still has to do.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    /// The sessions, by their index here, whose other end has not answered yet.
    waiting: BTreeMap<u32, Session>,
    /// How often they were told.
    told: usize,
}

impl Node {
    /// Announces to every peer that this node leaves, and drops every session. A peer that hears it says so; until all
    /// have, or 300 ms have passed, it is told again. Go on driving the node while [`has_left`](Self::has_left) does not hold.
    pub fn leave(&mut self, now: Now) {
        self.observe(now.instant);
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        for request in self.take_dials() {
            self.fail_dial(&request, DialError::Left);
        }
        self.keep_last_words();
        self.withdraw(now);
        self.say_relayed_farewells();
        self.timers.clear_all();
        self.drop_all_peers(now.instant);
        self.tell_farewells(now.instant);
    }

    /// Whether the node has left and has nothing to wait for any more. Flush what [`poll_transmit`](Self::poll_transmit)
    /// still has; nothing else will follow.
    pub fn has_left(&self) -> bool {
        self.left && self.farewells.waiting.is_empty()
    }

    /// Of what waits to be sent, drops handshakes. The rest are closes and answers to leaves, which nobody says again; those
    /// to go over others are wrapped while there is still somebody to send them.
    fn keep_last_words(&mut self) {
        for (path, datagram) in std::mem::take(&mut self.outbox) {
            match path {
                _ if !matches!(Header::parse(&datagram), Ok(Header::Data { .. })) => {}
                Path::Direct(_) => self.outbox.push_back((path, datagram)),
                Path::Relayed(target) => self.send_relayed(target, &datagram),
            }
        }
    }

    /// Seals what waits for every peer, and keeps the sessions whose other end is to hear of the leave.
    fn drop_all_peers(&mut self, now: Instant) {
        for (id, mut peer) in std::mem::take(&mut self.peers) {
            if let Some(Slot::Session(mut session)) = self.slots.remove(&peer.session) {
                let mut datagram = Vec::new();
                while let Some((number, packet)) =
                    session.seal(&mut datagram, |out| peer.connection.write(now, out))
                {
                    // What it is not told of, it would go on sending, without regard to congestion and without end.
                    peer.connection.sent(now, number, packet, datagram.len());
                    self.outbox.push_back((session.path, std::mem::take(&mut datagram)));
                }
                self.take_leave_of(peer.session, *session, peer.liveness.health() != Health::Unreachable);
            }
            for stream in peer.connection.streams.ids() {
                self.on_stream_event(now, id, StreamEvent::Lost(stream));
            }
            if self.news.end(id) {
                self.events.push_back(NodeEvent::SessionDown { peer: id, reason: SessionEnd::Closed });
            }
        }
        // Whoever has message 3 holds a session already, though this end has not heard of it yet: untold, it would keep
        // that until it forgets.
        for (index, slot) in std::mem::take(&mut self.slots) {
            if let Slot::HalfOpen(half) = slot {
                self.take_leave_of(index, half.session, half.request.is_some());
            }
        }
        self.dirty.clear();
        self.paths.clear();
    }

    /// Waits for an answer over `session`, or, where none is to be expected, takes leave once.
    fn take_leave_of(&mut self, index: u32, mut session: Session, answers: bool) {
        if answers {
            self.farewells.waiting.insert(index, session);
        } else {
            self.outbox.extend(sealed_leave(&mut session));
        }
    }

    /// Tells those who have not answered, as often as there are pauses.
    pub(super) fn tell_farewells(&mut self, now: Instant) {
        let Farewells { waiting, told } = &mut self.farewells;
        let pause = PAUSES.get(*told);
        // The last telling has no pause after it, and then nobody is waited for.
        *told += 1;
        self.outbox.extend(waiting.values_mut().filter_map(sealed_leave));
        match pause {
            Some(pause) if !waiting.is_empty() => self.timers.set(Timer::Farewells, now + *pause),
            _ => waiting.clear(),
        }
    }

    /// A datagram for a node that has left: only an answer to its farewell, or another's farewell, means anything.
    pub(super) fn on_datagram_after_leave(&mut self, datagram: &mut [u8]) {
        let Ok(Header::Data { receiver, counter }) = Header::parse(datagram) else { return };
        let Some(session) = self.farewells.waiting.get_mut(&receiver) else { return };
        let peer = session.peer;
        let Ok(mut frames) = session.open(counter, datagram) else { return };
        if frames.any(|frame| frame == Frame::Leave) {
            // It may be the other's own, which waits for an answer itself.
            self.outbox.extend(sealed_leave(session));
            self.farewells.waiting.retain(|_, session| session.peer != peer);
            if self.farewells.waiting.is_empty() {
                self.timers.clear(Timer::Farewells);
            }
        }
    }

    /// The peer leaves: says that it was heard, and stays for a while to say it again, should that be lost.
    pub(super) fn on_leave(&mut self, now: Instant, id: NodeId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let indexes: Vec<u32> = peer.replaced.iter().copied().chain([peer.session]).collect();
        let sessions: Vec<(u32, Slot)> =
            indexes.iter().filter_map(|index| Some((*index, self.slots.remove(index)?))).collect();
        for (_, slot) in &sessions {
            if let Slot::Session(session) = slot {
                self.paths.remove(&(session.path, id));
            }
        }
        self.remove_peer(id, SessionEnd::Left);
        for (index, slot) in sessions {
            let Slot::Session(mut session) = slot else { continue };
            self.outbox.extend(sealed_leave(&mut session));
            self.keep_closed(now, index, session);
        }
    }
}

/// A leave over `session`, unless another session has replaced it: with whom it goes to.
pub(super) fn sealed_leave(session: &mut Session) -> Option<(Path, Vec<u8>)> {
    let mut datagram = Vec::new();
    session.seal(&mut datagram, |out| {
        Frame::Leave.encode(out);
        Some(())
    })?;
    Some((session.path, datagram))
}
