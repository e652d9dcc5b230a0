//! Streams, as an application uses them.

use meshground_shared::NodeId;

use super::Node;
use crate::{
    packet::varint,
    stream::{StreamError, StreamId, StreamKind, Streams},
    time::Now,
};

impl Node {
    /// Opens a stream to `peer`: reliable, ordered, both ways. The peer learns of it with the first byte, the end or a
    /// reset.
    ///
    /// # Errors
    /// Without a confirmed session; or when as many are open as the peer allows, after which
    /// [`StreamEvent::MayOpen`](crate::StreamEvent::MayOpen) follows.
    pub fn open_stream(&mut self, now: Now, peer: NodeId) -> Result<StreamId, StreamError> {
        self.with_streams(now, peer, |streams| streams.open(StreamKind::Plain))
    }

    /// Writes to a stream as much of `data` as there is room for; how many bytes that was. When fewer than all,
    /// [`StreamEvent::Writable`](crate::StreamEvent::Writable) follows.
    ///
    /// # Errors
    /// When there is no such stream, or this half of it has ended.
    pub fn write_stream(
        &mut self,
        now: Now,
        peer: NodeId,
        stream: StreamId,
        data: &[u8],
    ) -> Result<usize, StreamError> {
        self.with_streams(now, peer, |streams| streams.write(stream, data))
    }

    /// Ends this half of a stream: everything written still arrives, then
    /// [`StreamEvent::Finished`](crate::StreamEvent::Finished) says so.
    ///
    /// # Errors
    /// When there is no such stream.
    pub fn finish_stream(&mut self, now: Now, peer: NodeId, stream: StreamId) -> Result<(), StreamError> {
        self.with_streams(now, peer, |streams| streams.finish(stream))
    }

    /// Gives this half of a stream up, with a code for the peer: what has not arrived never will.
    ///
    /// # Errors
    /// When there is no such stream, or the code exceeds 2^62 - 1.
    pub fn reset_stream(
        &mut self,
        now: Now,
        peer: NodeId,
        stream: StreamId,
        code: u64,
    ) -> Result<(), StreamError> {
        check_code(code)?;
        self.with_streams(now, peer, |streams| streams.reset(stream, code))
    }

    /// Reads a stream no further, and asks the peer with a code to send no more.
    ///
    /// # Errors
    /// When there is no such stream, or the code exceeds 2^62 - 1.
    pub fn stop_stream(
        &mut self,
        now: Now,
        peer: NodeId,
        stream: StreamId,
        code: u64,
    ) -> Result<(), StreamError> {
        check_code(code)?;
        self.with_streams(now, peer, |streams| streams.stop(stream, code))
    }

    /// Appends at most `most` bytes that came in on a stream to `out`. `None` when there is nothing yet, and
    /// [`StreamEvent::Readable`](crate::StreamEvent::Readable) follows; 0 at the stream's end.
    ///
    /// # Errors
    /// When there is no such stream, or the peer gave it up.
    pub fn read_stream(
        &mut self,
        now: Now,
        peer: NodeId,
        stream: StreamId,
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, StreamError> {
        self.with_streams(now, peer, |streams| streams.read(stream, most, out))
    }

    /// How many streams are open with all peers together, those of calls included.
    pub fn open_streams(&self) -> usize {
        self.peers.values().map(|peer| peer.connection.streams.ids().count()).sum()
    }

    fn with_streams<T>(
        &mut self,
        now: Now,
        peer: NodeId,
        act: impl FnOnce(&mut Streams) -> Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        self.observe(now.instant);
        let to = self.peers.get_mut(&peer).ok_or(StreamError::NoSession(peer))?;
        let outcome = act(&mut to.connection.streams)?;
        if to.connection.streams.has_output() {
            self.mark_dirty(peer);
        }
        Ok(outcome)
    }
}

fn check_code(code: u64) -> Result<(), StreamError> {
    if code > varint::MAX { Err(StreamError::Code(code)) } else { Ok(()) }
}
