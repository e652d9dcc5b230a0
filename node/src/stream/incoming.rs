//! What the other end's frames do to streams.

use super::{MAX_RANGES, Stream, StreamEvent, StreamId, Streams, Violation};
use crate::packet::StreamPiece;

impl Streams {
    /// A piece came in.
    pub(crate) fn on_piece(&mut self, piece: &StreamPiece<'_>) -> Result<(), Violation> {
        let id = self.id(piece.stream);
        if !self.expect(id)? {
            return Ok(());
        }
        let allowed = self.receive_limit - self.received;
        let Some(stream) = self.open.get_mut(&id) else { return Ok(()) };
        if stream.receive.beyond(piece.offset + piece.data.len() as u64) > allowed {
            return Err(Violation);
        }
        if self.ranges >= MAX_RANGES && stream.receive.is_crumb(piece) {
            return Err(Violation);
        }
        self.received += stream.receive.insert(piece)?;
        self.after_receiving(id);
        Ok(())
    }

    /// The other end gave up its half of a stream.
    pub(crate) fn on_reset(&mut self, stream: u64, code: u64, size: u64) -> Result<(), Violation> {
        let id = self.id(stream);
        if !self.expect(id)? {
            return Ok(());
        }
        let allowed = self.receive_limit - self.received;
        let Some(stream) = self.open.get_mut(&id) else { return Ok(()) };
        if stream.receive.beyond(size) > allowed {
            return Err(Violation);
        }
        self.received += stream.receive.reset(code, size)?;
        self.after_receiving(id);
        Ok(())
    }

    /// The other end reads no further.
    pub(crate) fn on_stop(&mut self, stream: u64, code: u64) -> Result<(), Violation> {
        let id = self.id(stream);
        if self.expect(id)?
            && let Some(stream) = self.open.get_mut(&id)
            && stream.send.reset(code)
        {
            self.resets.insert(id);
            self.events.push_back(StreamEvent::Stopped(id, code));
        }
        Ok(())
    }

    /// The other end allows more bytes in all.
    pub(crate) fn on_max_data(&mut self, limit: u64) {
        if self.allow(limit) {
            let waiting: Vec<StreamId> = self.open.keys().copied().collect();
            for id in waiting {
                self.queue(id);
            }
        }
    }

    /// Raises that limit, if this does. Whether streams that waited for it may go on: only where there was no room and now is.
    /// Looking through all of them is much work, and a peer that raises the limit byte by byte is not to have it done each time.
    pub(super) fn allow(&mut self, limit: u64) -> bool {
        let may_send = |streams: &Self| [false, true].map(|bulk| streams.fresh(bulk) > 0);
        let before = may_send(self);
        self.send_limit = self.send_limit.max(limit);
        may_send(self) != before
    }

    /// The other end allows more bytes on one stream.
    pub(crate) fn on_max_stream_data(&mut self, stream: u64, limit: u64) -> Result<(), Violation> {
        let id = self.id(stream);
        if self.expect(id)?
            && let Some(stream) = self.open.get_mut(&id)
        {
            stream.send.allow(limit);
            self.queue(id);
        }
        Ok(())
    }

    /// The other end allows more streams.
    pub(crate) fn on_max_streams(&mut self, limit: u64) {
        if limit > self.open_limit {
            self.open_limit = limit;
            if std::mem::take(&mut self.open_blocked) {
                self.events.push_back(StreamEvent::MayOpen);
            }
        }
    }

    /// Whether a frame for `id` has a stream to go to, opening one if the other end may. One that is over takes none.
    fn expect(&mut self, id: StreamId) -> Result<bool, Violation> {
        if self.open.contains_key(&id) {
            return Ok(true);
        }
        if id.opener() == self.side {
            return if id.index() < self.next_index { Ok(false) } else { Err(Violation) };
        }
        if id.index() >= self.accept_limit {
            return Err(Violation);
        }
        if self.closed.contains(id.index()) {
            return Ok(false);
        }
        self.open.insert(id, Stream::new(id.kind()));
        self.events.push_back(StreamEvent::Opened(id));
        Ok(true)
    }

    fn after_receiving(&mut self, id: StreamId) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        self.consumed += stream.receive.forfeit();
        if stream.receive.waiting && stream.receive.is_readable() {
            stream.receive.waiting = false;
            self.events.push_back(StreamEvent::Readable(id));
        }
        self.count_ranges(id);
        self.update_limits(id);
        self.reap(id);
    }
}
