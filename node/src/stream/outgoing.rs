//! What goes out on streams, and what becomes of it.

use super::{Carried, DATA_WINDOW, MAX_STREAMS, StreamEvent, Streams};
use crate::packet::{Frame, StreamPiece};

/// The longest control frame.
const CONTROL_LEN: usize = 1 + 8 + 8 + 8;

impl Streams {
    /// Whether there may be something to send.
    pub(crate) fn has_output(&self) -> bool {
        self.has_control() || !self.ready.is_empty()
    }

    fn has_control(&self) -> bool {
        self.tell_data_limit
            || self.tell_open_limit
            || !(self.resets.is_empty() && self.stops.is_empty() && self.limits.is_empty())
    }

    /// Appends what there is to send, at most `room` bytes, and names it in `carried`.
    pub(crate) fn send(&mut self, room: usize, out: &mut Vec<u8>, carried: &mut Vec<Carried>) {
        let end = out.len() + room;
        self.send_control(end, out, carried);
        while let Some(&id) = self.ready.front() {
            let room = end - out.len();
            let fresh = [false, true].map(|bulk| self.fresh(bulk));
            let Some(stream) = self.open.get_mut(&id) else {
                self.ready.pop_front();
                continue;
            };
            let fresh = fresh[usize::from(stream.bulk)];
            let before = stream.send.sent_to();
            let overhead = StreamPiece::overhead(id.wire, stream.send.size(), room);
            let piece = if room > overhead { stream.send.next(room - overhead, fresh) } else { None };
            if let Some(piece) = piece {
                StreamPiece::put_start(id.wire, piece.offset, piece.end, piece.len, out);
                stream.send.copy(piece.offset, piece.len, out);
                let len = piece.len as u64;
                carried.push(Carried::Stream { stream: id.wire, offset: piece.offset, len, end: piece.end });
            }
            let sent = stream.send.sent_to() - before;
            self.sent += sent;
            let more = stream.send.has_output(fresh - sent);
            self.ready.pop_front();
            stream.queued = more;
            match (more, piece) {
                (true, Some(_)) => self.ready.push_back(id),
                (true, None) => {
                    // It has something, and there is no room: the next packet begins with it.
                    self.ready.push_front(id);
                    return;
                }
                (false, _) => {}
            }
        }
    }

    fn send_control(&mut self, end: usize, out: &mut Vec<u8>, carried: &mut Vec<Carried>) {
        while self.has_control() && end - out.len() >= CONTROL_LEN {
            if std::mem::take(&mut self.tell_data_limit) {
                self.receive_limit = self.consumed + DATA_WINDOW;
                Frame::MaxData { limit: self.receive_limit }.encode(out);
                carried.push(Carried::MaxData);
            } else if std::mem::take(&mut self.tell_open_limit) {
                self.accept_limit = self.closed_count + MAX_STREAMS;
                Frame::MaxStreams { limit: self.accept_limit }.encode(out);
                carried.push(Carried::MaxStreams);
            } else if let Some(id) = self.resets.pop_first() {
                if let Some(stream) = self.open.get_mut(&id)
                    && let Some(code) = stream.send.reset_to_send()
                {
                    stream.send.reset_sent();
                    Frame::ResetStream { stream: id.wire, code, size: stream.send.sent_to() }.encode(out);
                    carried.push(Carried::ResetStream { stream: id.wire });
                }
            } else if let Some((id, code)) = self.stops.pop_first() {
                if self.open.contains_key(&id) {
                    Frame::StopSending { stream: id.wire, code }.encode(out);
                    carried.push(Carried::StopSending { stream: id.wire, code });
                }
            } else if let Some(id) = self.limits.pop_first()
                && let Some(limit) = self.open.get_mut(&id).and_then(|stream| stream.receive.tell_limit())
            {
                Frame::MaxStreamData { stream: id.wire, limit }.encode(out);
                carried.push(Carried::MaxStreamData { stream: id.wire });
            }
        }
    }

    /// What a packet carried has arrived.
    pub(crate) fn acked(&mut self, carried: Carried) {
        match carried {
            Carried::Stream { stream, offset, len, end } => {
                let id = self.id(stream);
                let Some(stream) = self.open.get_mut(&id) else { return };
                stream.send.acked(offset, len, end);
                if stream.send.unblock() {
                    self.events.push_back(StreamEvent::Writable(id));
                }
                if stream.send.is_done() && !stream.send.was_reset() && !stream.finished {
                    stream.finished = true;
                    self.events.push_back(StreamEvent::Finished(id));
                }
                self.reap(id);
            }
            Carried::ResetStream { stream } => {
                let id = self.id(stream);
                if let Some(stream) = self.open.get_mut(&id) {
                    stream.send.reset_acked();
                }
                self.reap(id);
            }
            Carried::StopSending { .. }
            | Carried::MaxData
            | Carried::MaxStreamData { .. }
            | Carried::MaxStreams => {}
        }
    }

    /// What a packet carried was lost, or may be: it comes again, as it is then.
    pub(crate) fn lost(&mut self, carried: Carried) {
        match carried {
            Carried::Stream { stream, offset, len, end } => {
                let id = self.id(stream);
                if let Some(stream) = self.open.get_mut(&id) {
                    stream.send.lost(offset, len, end);
                }
                self.queue(id);
            }
            Carried::ResetStream { stream } => {
                let id = self.id(stream);
                if let Some(stream) = self.open.get_mut(&id) {
                    stream.send.reset_lost();
                    self.resets.insert(id);
                }
            }
            Carried::StopSending { stream, code } => {
                let id = self.id(stream);
                if self.open.contains_key(&id) {
                    self.stops.insert(id, code);
                }
            }
            Carried::MaxData => self.tell_data_limit = true,
            Carried::MaxStreams => self.tell_open_limit = true,
            Carried::MaxStreamData { stream } => {
                if self.open.contains_key(&self.id(stream)) {
                    self.limits.insert(self.id(stream));
                }
            }
        }
    }
}
