//! Streams between two peers: reliable, ordered, as many as needed, each with its own flow control (the model is RFC
//! 9000, sections 2 to 4).
//!
//! Every stream runs both ways. Nothing here knows packets or time: what is to be sent is written into room that is
//! offered, and what became of it is told later, piece by piece. What the application does with its streams is in
//! `application`, what the other end's frames do in `incoming`, and what goes out in `outgoing`.

mod application;
mod carried;
mod id;
mod incoming;
mod outgoing;
mod receive;
mod send;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use carried::Carried;
pub(crate) use id::Side;
pub use id::{StreamId, StreamKind};
pub(crate) use receive::Violation;
use receive::{ReceiveHalf, STREAM_WINDOW};
use send::SendHalf;

use crate::{packet::varint, ranges::RangeSet};

/// How many bytes may be under way or unread on all streams together.
pub(crate) const DATA_WINDOW: u64 = 4 << 20;

/// How many streams each end may have open that it opened itself.
pub(crate) const MAX_STREAMS: u64 = 4_096;

/// The last so many of the bytes and of the streams that the other end allows are left to calls: what its application does
/// not read or accept must not keep its node from being asked.
const DATA_APART: u64 = DATA_WINDOW / 4;
const STREAMS_APART: u64 = MAX_STREAMS / 16;

/// How many runs of bytes, with gaps between them, are remembered of all streams together; a piece that would be another
/// is a violation, so that its packet counts as lost and it comes again later. One that goes on where the application
/// reads is taken all the same. Losses among as many packets as may be under way make fewer.
pub(crate) const MAX_RANGES: usize = 8_192;

/// The largest code that can be told with a reset or a stop.
pub const MAX_CODE: u64 = varint::MAX;

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
    #[error(
        "stream {0} takes no more data: it was ended, given up, or the peer stopped reading; open another"
    )]
    Ended(StreamId),
    /// As many streams are open as the peer allows; [`StreamEvent::MayOpen`] follows when one may be opened.
    #[error("too many streams are open; wait until one is over")]
    TooMany,
    /// The peer gave it up before its end, with this code.
    #[error("the peer gave up stream {0}, with code {1}; ask it why, or open another")]
    Reset(StreamId, u64),
    /// The peer reads no further, for this code.
    #[error("the peer reads stream {0} no further, with code {1}; ask it why, or open another")]
    Stopped(StreamId, u64),
    /// A code above 2^62 - 1.
    #[error("the code {0} is too large; at most 2^62 - 1 can be told")]
    Code(u64),
}

/// One stream.
#[derive(Debug)]
struct Stream {
    send: SendHalf,
    receive: ReceiveHalf,
    /// It goes as fast as an application reads, so that it leaves [`DATA_APART`] alone.
    bulk: bool,
    /// It stands in `ready`.
    queued: bool,
    /// Its end was told to have arrived.
    finished: bool,
    /// How many runs of its bytes are counted in the connection's.
    ranges: usize,
}

impl Stream {
    fn new(kind: StreamKind) -> Self {
        Self {
            send: SendHalf::new(STREAM_WINDOW),
            receive: ReceiveHalf::default(),
            bulk: kind == StreamKind::Plain,
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

    /// The stream that the other end calls so.
    fn id(&self, wire: u64) -> StreamId {
        StreamId { wire, connection: self.connection }
    }

    /// How many bytes may be sent for the first time.
    fn fresh(&self, bulk: bool) -> u64 {
        (self.send_limit - self.sent).saturating_sub(if bulk { DATA_APART } else { 0 })
    }

    fn queue(&mut self, id: StreamId) {
        let fresh = [false, true].map(|bulk| self.fresh(bulk));
        if let Some(stream) = self.open.get_mut(&id)
            && !stream.queued
            && stream.send.has_output(fresh[usize::from(stream.bulk)])
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
        // By what calls have to themselves, if that is all there is.
        if self.consumed + DATA_WINDOW - self.receive_limit >= DATA_APART / 2 {
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
            if self.closed_count + MAX_STREAMS - self.accept_limit >= STREAMS_APART / 2 {
                self.tell_open_limit = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
