//! Streams between two peers: reliable, ordered, as many as needed, each with its own flow control (the model is RFC
//! 9000, sections 2 to 4).
//!
//! Every stream runs both ways. Nothing here knows packets or time: what is to be sent is written into room that is
//! offered, and what became of it is told later, piece by piece.

mod carried;
mod id;
mod receive;
mod send;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use carried::Carried;
pub(crate) use id::Side;
pub use id::{StreamId, StreamKind};
use receive::{Read, ReceiveHalf, STREAM_WINDOW};
use send::SendHalf;

use crate::{
    packet::{Frame, StreamPiece},
    ranges::RangeSet,
};

/// How many bytes may be under way or unread on all streams together.
pub(crate) const DATA_WINDOW: u64 = 4 << 20;

/// How many streams each end may have open that it opened itself.
pub(crate) const MAX_STREAMS: u64 = 4_096;

/// How many runs of bytes, with gaps between them, are remembered of all streams together; a piece that would be another
/// is a violation, so that its packet counts as lost and it comes again later. One that goes on where the application
/// reads is taken all the same. Losses among as many packets as may be under way make fewer.
pub(crate) const MAX_RANGES: usize = 8_192;

/// The longest control frame.
const CONTROL_LEN: usize = 1 + 8 + 8 + 8;

/// Something happened to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The peer opened it.
    Opened(StreamId),
    /// A reader that found nothing would find something now: data, the end or a reset.
    Readable(StreamId),
    /// A writer that found no room would find some now.
    Writable(StreamId),
    /// Everything written, and the end, has arrived.
    Finished(StreamId),
    /// The peer will not read any further; what was written after that is lost. Its code.
    Stopped(StreamId, u64),
    /// It is gone, with whatever was under way: the peer has left, was forgotten or has started anew.
    Lost(StreamId),
    /// One that found too many streams open may open another.
    MayOpen,
}

/// Why something cannot be done to a stream. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no confirmed session with the peer.
    #[error("there is no session with node {0}; connect to it first")]
    NoSession(meshground_shared::NodeId),
    /// There is no such stream: it never was, or all of it is over.
    #[error("stream {0} is not open any more; open another")]
    Unknown(StreamId),
    /// This half was ended or given up before.
    #[error("stream {0} takes no more data: it was ended, given up, or the peer stopped reading")]
    Ended(StreamId),
    /// As many streams are open as the peer allows; [`StreamEvent::MayOpen`] follows when one may be opened.
    #[error("too many streams are open; wait until one is over")]
    TooMany,
    /// The peer gave it up before its end, with this code.
    #[error("the peer gave up stream {0}, with code {1}")]
    Reset(StreamId, u64),
    /// The peer reads no further, for this code.
    #[error("the peer reads stream {0} no further, with code {1}")]
    Stopped(StreamId, u64),
    /// A code above 2^62 - 1.
    #[error("the code {0} is too large; at most 2^62 - 1 can be told")]
    Code(u64),
}

/// The other end did what no honest one does; the frame has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation;

impl From<receive::Violation> for Violation {
    fn from(_: receive::Violation) -> Self {
        Self
    }
}

/// One stream.
#[derive(Debug)]
struct Stream {
    send: SendHalf,
    receive: ReceiveHalf,
    /// It stands in `ready`.
    queued: bool,
    /// Its end was told to have arrived.
    finished: bool,
    /// How many runs of its bytes are counted in the connection's.
    ranges: usize,
}

impl Stream {
    fn new() -> Self {
        Self {
            send: SendHalf::new(STREAM_WINDOW),
            receive: ReceiveHalf::default(),
            queued: false,
            finished: false,
            ranges: 0,
        }
    }
}

/// The streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    connection: u64,
    side: Side,
    open: BTreeMap<StreamId, Stream>,
    /// The index of the next stream opened here, and how many the other end allows.
    next_index: u64,
    open_limit: u64,
    open_blocked: bool,
    /// The indexes of the other end's streams that are over, and how many it may use.
    closed: RangeSet,
    closed_count: u64,
    accept_limit: u64,
    /// Bytes sent for the first time, and how many may be.
    sent: u64,
    send_limit: u64,
    /// Bytes received or skipped, read or given up, and how many may be received.
    received: u64,
    consumed: u64,
    receive_limit: u64,
    /// Runs of bytes that came in, on all streams.
    ranges: usize,
    /// Streams that may have something to send, in turn.
    ready: VecDeque<StreamId>,
    resets: BTreeSet<StreamId>,
    stops: BTreeMap<StreamId, u64>,
    limits: BTreeSet<StreamId>,
    tell_data_limit: bool,
    tell_open_limit: bool,
    events: VecDeque<StreamEvent>,
}

impl Streams {
    pub(crate) fn new(connection: u64, side: Side) -> Self {
        Self {
            connection,
            side,
            open: BTreeMap::new(),
            next_index: 0,
            open_limit: MAX_STREAMS,
            open_blocked: false,
            closed: RangeSet::default(),
            closed_count: 0,
            accept_limit: MAX_STREAMS,
            sent: 0,
            send_limit: DATA_WINDOW,
            received: 0,
            consumed: 0,
            receive_limit: DATA_WINDOW,
            ranges: 0,
            ready: VecDeque::new(),
            resets: BTreeSet::new(),
            stops: BTreeMap::new(),
            limits: BTreeSet::new(),
            tell_data_limit: false,
            tell_open_limit: false,
            events: VecDeque::new(),
        }
    }

    #[cfg(feature = "floor")]
    pub(crate) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        use crate::audit::Gauge;
        // Each end's own, and those of which only the other end knows that they are over.
        let most = usize::try_from(MAX_STREAMS).unwrap_or(usize::MAX);
        each(Gauge::new("streams", self.open.len(), 3 * most));
        each(Gauge::new("streams to send on", self.ready.len(), 3 * most));
        let unread = self.received.saturating_sub(self.consumed);
        // One that begins where the application reads, of each, may come on top.
        each(Gauge::new("ranges of streams", self.ranges, MAX_RANGES + 3 * most));
        each(Gauge { what: "bytes of streams unread", held: unread, limit: DATA_WINDOW });
    }

    // The application's side.

    /// Opens a stream. The other end learns of it with the first byte, the end or a reset.
    pub(crate) fn open(&mut self, kind: StreamKind) -> Result<StreamId, StreamError> {
        if self.next_index >= self.open_limit {
            self.open_blocked = true;
            return Err(StreamError::TooMany);
        }
        let id = StreamId::new(self.connection, self.next_index, kind, self.side);
        self.next_index += 1;
        self.open.insert(id, Stream::new());
        Ok(id)
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

    // The other end's side.

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
        if limit > self.send_limit {
            // While there is room left, no stream waits for more of it.
            let was_exhausted = self.sent >= self.send_limit;
            self.send_limit = limit;
            if !was_exhausted {
                return;
            }
            let waiting: Vec<StreamId> = self.open.keys().copied().collect();
            for id in waiting {
                self.queue(id);
            }
        }
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
        self.open.insert(id, Stream::new());
        self.events.push_back(StreamEvent::Opened(id));
        Ok(true)
    }

    fn id(&self, wire: u64) -> StreamId {
        StreamId { wire, connection: self.connection }
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

    // What goes out, and what becomes of it.

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
            let fresh = self.send_limit - self.sent;
            let Some(stream) = self.open.get_mut(&id) else {
                self.ready.pop_front();
                continue;
            };
            let before = stream.send.sent_to();
            let overhead = StreamPiece::overhead(id.wire, stream.send.size(), room);
            let piece = if room > overhead { stream.send.next(room - overhead, fresh) } else { None };
            if let Some(piece) = piece {
                StreamPiece::put_start(id.wire, piece.offset, piece.end, piece.len, out);
                stream.send.copy(piece.offset, piece.len, out);
                self.sent += stream.send.sent_to() - before;
                let len = piece.len as u64;
                carried.push(Carried::Stream { stream: id.wire, offset: piece.offset, len, end: piece.end });
            }
            let more = stream.send.has_output(self.send_limit - self.sent);
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

    // Housekeeping.

    fn queue(&mut self, id: StreamId) {
        let fresh = self.send_limit - self.sent;
        if let Some(stream) = self.open.get_mut(&id)
            && !stream.queued
            && stream.send.has_output(fresh)
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    fn count_ranges(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            self.ranges -= std::mem::replace(&mut stream.ranges, stream.receive.ranges());
            self.ranges += stream.ranges;
        }
    }

    fn update_limits(&mut self, id: StreamId) {
        if self.open.get(&id).is_some_and(|stream| stream.receive.has_new_limit()) {
            self.limits.insert(id);
        }
        if self.consumed + DATA_WINDOW - self.receive_limit >= DATA_WINDOW / 2 {
            self.tell_data_limit = true;
        }
    }

    /// Lets go of a stream of which both halves are over.
    fn reap(&mut self, id: StreamId) {
        let over = |stream: &Stream| stream.send.is_done() && stream.receive.is_done();
        if !self.open.get(&id).is_some_and(over) {
            return;
        }
        if let Some(stream) = self.open.remove(&id) {
            self.ranges -= stream.ranges;
        }
        self.limits.remove(&id);
        self.stops.remove(&id);
        if id.opener() != self.side {
            self.closed.insert(id.index()..id.index() + 1);
            self.closed_count += 1;
            if self.closed_count + MAX_STREAMS - self.accept_limit >= MAX_STREAMS / 2 {
                self.tell_open_limit = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
