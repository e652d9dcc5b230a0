//! What the application does with its streams.

use super::{STREAMS_APART, Stream, StreamError, StreamEvent, StreamId, StreamKind, Streams, receive::Read};

impl Streams {
    /// Opens a stream. The other end learns of it with the first byte, the end or a reset.
    pub(crate) fn open(&mut self, kind: StreamKind) -> Result<StreamId, StreamError> {
        let apart = if kind == StreamKind::Plain { STREAMS_APART } else { 0 };
        if self.next_index + apart >= self.open_limit {
            self.open_blocked = true;
            return Err(StreamError::TooMany);
        }
        let id = StreamId::new(self.connection, self.next_index, kind, self.side);
        self.next_index += 1;
        self.open.insert(id, Stream::new(kind));
        Ok(id)
    }

    /// What is written to this one goes as fast as the other end's application reads, whatever its kind.
    pub(crate) fn set_bulk(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.bulk = true;
        }
    }

    /// Takes as much of `data` as there is room for.
    pub(crate) fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, StreamError> {
        let stream = self.open.get_mut(&id).ok_or(StreamError::Unknown(id))?;
        if !stream.send.is_open() {
            return Err(StreamError::Ended(id));
        }
        let taken = stream.send.write(data);
        self.queue(id);
        Ok(taken)
    }

    /// Ends this end's half: everything written still arrives. Ending twice is no error.
    pub(crate) fn finish(&mut self, id: StreamId) -> Result<(), StreamError> {
        let stream = self.open.get_mut(&id).ok_or(StreamError::Unknown(id))?;
        stream.send.end();
        self.queue(id);
        Ok(())
    }

    /// Gives up this end's half: what has not arrived never will.
    pub(crate) fn reset(&mut self, id: StreamId, code: u64) -> Result<(), StreamError> {
        let stream = self.open.get_mut(&id).ok_or(StreamError::Unknown(id))?;
        if stream.send.reset(code) {
            self.resets.insert(id);
        }
        Ok(())
    }

    /// Reads no further: what comes is dropped, and the other end is told to send no more.
    pub(crate) fn stop(&mut self, id: StreamId, code: u64) -> Result<(), StreamError> {
        let stream = self.open.get_mut(&id).ok_or(StreamError::Unknown(id))?;
        if stream.receive.stop() {
            self.stops.insert(id, code);
        }
        self.consumed += stream.receive.forfeit();
        self.count_ranges(id);
        self.update_limits(id);
        self.reap(id);
        Ok(())
    }

    /// Appends at most `most` bytes that came in to `out`. `None` when there is nothing yet, 0 at the end.
    pub(crate) fn read(
        &mut self,
        id: StreamId,
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, StreamError> {
        let stream = self.open.get_mut(&id).ok_or(StreamError::Unknown(id))?;
        let outcome = match stream.receive.read(most, out) {
            Read::Bytes(len) => {
                self.consumed += len as u64;
                Ok(Some(len))
            }
            Read::Nothing => Ok(None),
            Read::End => Ok(Some(0)),
            Read::Reset(code) => Err(StreamError::Reset(id, code)),
        };
        self.count_ranges(id);
        self.update_limits(id);
        self.reap(id);
        outcome
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// The open streams.
    pub(crate) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.open.keys().copied()
    }
}
