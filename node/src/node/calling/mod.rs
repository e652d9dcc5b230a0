//! Remote procedure calls: made here, and what happens to them; how they are served is in `serving`.

mod serving;

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::NodeId;

use super::Node;
use crate::{
    event::NodeEvent,
    rpc::{
        CallError, CallEvent, CallId, CallRecord, MAX_BODY, MAX_METHOD, Part, RequestReader, ResponseReader,
        encode_request_start,
    },
    stream::{StreamError, StreamEvent, StreamId, StreamKind, Streams},
    time::{Instant, Now},
    timers::Timer,
};

/// With this code a caller gives up, and a server whoever has given up.
const CANCELLED: u64 = 1;

/// With this one a server gives up whose deadline has come before the caller's.
const TOO_LATE: u64 = 3;

/// How many items, and how many bytes of them, may have been told without having been released.
const ITEMS_AHEAD: u32 = 64;
const ITEM_BYTES_AHEAD: usize = MAX_BODY;

/// How many bytes of an answer may wait here; one item may go beyond.
const REPLY_AHEAD: usize = 256 << 10;

/// How many bytes all requests that are still coming in may take; beyond, one of the caller that takes most of it goes.
const MAX_INCOMING: usize = 64 << 20;

/// The calls of a node.
#[derive(Debug, Default)]
pub(super) struct Calls {
    made: BTreeMap<CallId, Made>,
    served: BTreeMap<CallId, Served>,
    /// Bytes of requests that are still coming in: of all, and of each caller that has some.
    pub(super) incoming: usize,
    incoming_of: BTreeMap<NodeId, usize>,
}

impl Calls {
    /// So many more bytes of a request of `peer` came in.
    fn hold(&mut self, peer: NodeId, bytes: usize) {
        if bytes > 0 {
            self.incoming += bytes;
            *self.incoming_of.entry(peer).or_default() += bytes;
        }
    }

    /// A request of `peer` that had so many bytes is not coming in any more.
    fn release(&mut self, peer: NodeId, bytes: usize) {
        self.incoming -= bytes;
        if let Some(held) = self.incoming_of.get_mut(&peer) {
            *held -= bytes;
            if *held == 0 {
                self.incoming_of.remove(&peer);
            }
        }
    }

    /// Where all requests together take too much: the longest of whoever takes most. So nobody's unfinished requests
    /// stand in the way of those of another that asks for less.
    fn in_the_way(&self) -> Option<CallId> {
        if self.incoming <= MAX_INCOMING {
            return None;
        }
        let (&greediest, _) = self.incoming_of.iter().max_by_key(|(_, held)| **held)?;
        let len = |served: &Served| served.request.as_ref().map_or(0, RequestReader::len);
        let theirs = self.served.iter().filter(|(id, _)| id.peer == greediest);
        theirs.max_by_key(|(_, served)| len(served)).map(|(id, _)| *id)
    }
}

#[cfg(feature = "floor")]
impl Calls {
    /// Returns how many calls there are.
    pub(super) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) -> usize {
        // The piece that goes beyond is at most what a stream lets wait.
        let limit = MAX_INCOMING + (1 << 20);
        each(crate::audit::Gauge::new("bytes of requests", self.incoming, limit));
        self.made.len() + self.served.len()
    }
}

/// What both ends keep of a call.
#[derive(Debug)]
struct Call {
    method: String,
    begun: Instant,
    /// Bytes to write, of which `written` are.
    outgoing: Vec<u8>,
    written: usize,
    request_bytes: u64,
    items: u64,
    response_bytes: u64,
}

/// A call this node made.
#[derive(Debug)]
struct Made {
    call: Call,
    wait: Option<Duration>,
    reader: ResponseReader,
    /// Items told and not released, and their bytes.
    ahead: u32,
    ahead_bytes: usize,
}

impl Made {
    /// What a code that the peer answers means for this call.
    fn error(&self, code: u64, reason: String) -> CallError {
        CallError::from_wire(code, reason, self.wait, self.call.request_bytes)
    }
}

/// A call this node serves.
#[derive(Debug)]
struct Served {
    call: Call,
    /// The request, while it comes in.
    request: Option<RequestReader>,
    /// The answer is complete.
    ended: Option<Result<(), CallError>>,
    /// Whoever answers was told to wait.
    blocked: bool,
}

impl Call {
    fn new(method: String, begun: Instant, request_bytes: usize) -> Self {
        Self {
            method,
            begun,
            outgoing: Vec::new(),
            written: 0,
            request_bytes: request_bytes as u64,
            items: 0,
            response_bytes: 0,
        }
    }

    /// Writes as much as the stream takes. Whether that was all.
    fn write(&mut self, streams: &mut Streams, stream: StreamId) -> bool {
        if let Ok(taken) = streams.write(stream, &self.outgoing[self.written..]) {
            self.written += taken;
        } else {
            // Nobody reads any more; what came of it is told otherwise.
            self.written = self.outgoing.len();
        }
        let all = self.written == self.outgoing.len();
        if all {
            (self.outgoing, self.written) = (Vec::new(), 0);
        }
        all
    }

    fn record(
        self,
        call: CallId,
        made_here: bool,
        outcome: Result<(), CallError>,
        now: Instant,
    ) -> CallRecord {
        CallRecord {
            call,
            made_here,
            method: self.method,
            outcome,
            took: now.saturating_since(self.begun),
            request_bytes: self.request_bytes,
            items: self.items,
            response_bytes: self.response_bytes,
        }
    }
}

impl Node {
    /// Asks `method` of `peer`. What comes of it is told in [`CallEvent`]s, the last of which is
    /// [`CallEvent::Ended`]; after `wait`, with [`CallError::Deadline`].
    ///
    /// # Errors
    /// Without a session, when body or name are too large, or when too many streams are open. Nothing follows then.
    pub fn call(
        &mut self,
        now: Now,
        peer: NodeId,
        method: &str,
        body: &[u8],
        wait: Option<Duration>,
    ) -> Result<CallId, CallError> {
        self.observe(now.instant);
        if method.is_empty() || method.len() > MAX_METHOD || body.len() > MAX_BODY {
            return Err(CallError::TooLarge(body.len()));
        }
        let to = self.peers.get_mut(&peer).ok_or(CallError::NoSession(peer))?;
        let streams = &mut to.connection.streams;
        let stream = streams.open(StreamKind::Call).map_err(|_| CallError::TooMany)?;
        let mut call = Call::new(method.to_owned(), now.instant, body.len());
        // 0 is for ever.
        let wait_us = wait.map_or(0, |wait| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(1));
        encode_request_start(wait_us, method, &mut call.outgoing);
        call.outgoing.extend_from_slice(body);
        if call.write(streams, stream) {
            let _ = streams.finish(stream);
        }
        let id = CallId { peer, stream };
        if let Some(wait) = wait {
            self.timers.set(Timer::Call(id), now.instant + wait);
        }
        let made = Made { call, wait, reader: ResponseReader::default(), ahead: 0, ahead_bytes: 0 };
        self.calls.made.insert(id, made);
        self.mark_dirty(peer);
        Ok(id)
    }

    /// Calls a call off: its [`CallEvent::Ended`] says [`CallError::Cancelled`], and the peer is told to stop. Does nothing to one that is over.
    pub fn cancel_call(&mut self, now: Now, call: CallId) {
        self.observe(now.instant);
        self.end_made(now.instant, call, Err(CallError::Cancelled));
    }

    /// Says that `count` items of an answer, of `bytes` together, have been put to use. While many are told and not
    /// released, no more are read, and the peer waits.
    pub fn release_items(&mut self, now: Now, call: CallId, count: u32, bytes: usize) {
        self.observe(now.instant);
        if let Some(made) = self.calls.made.get_mut(&call) {
            made.ahead = made.ahead.saturating_sub(count);
            made.ahead_bytes = made.ahead_bytes.saturating_sub(bytes);
            self.read_response(now.instant, call);
        }
    }

    fn read_response(&mut self, now: Instant, id: CallId) {
        let Some(made) = self.calls.made.get_mut(&id) else { return };
        let Some(peer) = self.peers.get_mut(&id.peer) else { return };
        let outcome = loop {
            if made.ahead >= ITEMS_AHEAD || made.ahead_bytes > ITEM_BYTES_AHEAD {
                break None;
            }
            match made.reader.next() {
                Some(Part::Item(body)) => {
                    made.call.items += 1;
                    made.call.response_bytes += body.len() as u64;
                    made.ahead += 1;
                    made.ahead_bytes += body.len();
                    self.events.push_back(NodeEvent::Call(CallEvent::Item { call: id, body }));
                    continue;
                }
                Some(Part::End(outcome)) => {
                    break Some(outcome.map_err(|(code, reason)| made.error(code, reason)));
                }
                None => {}
            }
            let Ok(missing) = made.reader.missing() else { break Some(Err(CallError::Malformed)) };
            // What is there anyway, up to a packet or so more than what is missing.
            match peer.connection.streams.read(id.stream, missing.max(2_048), made.reader.buffer()) {
                Ok(Some(0)) => break Some(Err(CallError::Malformed)),
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(StreamError::Reset(_, TOO_LATE)) => {
                    break Some(Err(CallError::Deadline(made.wait.unwrap_or_default())));
                }
                Err(StreamError::Reset(..)) => break Some(Err(CallError::Failed)),
                Err(_) => break Some(Err(CallError::Lost)),
            }
        };
        self.mark_dirty(id.peer);
        if let Some(outcome) = outcome {
            self.end_made(now, id, outcome);
        }
    }

    fn end_made(&mut self, now: Instant, id: CallId, outcome: Result<(), CallError>) {
        let Some(made) = self.calls.made.remove(&id) else { return };
        self.timers.clear(Timer::Call(id));
        if let Some(peer) = self.peers.get_mut(&id.peer) {
            let streams = &mut peer.connection.streams;
            // The end of the stream comes with the end of the answer, or something is wrong.
            if !matches!(streams.read(id.stream, 1, &mut Vec::new()), Ok(Some(0)) | Err(_)) {
                let _ = streams.stop(id.stream, CANCELLED);
            }
            if !made.call.outgoing.is_empty() {
                let _ = streams.reset(id.stream, CANCELLED);
            }
            self.mark_dirty(id.peer);
        }
        self.events.push_back(NodeEvent::Call(CallEvent::Ended { call: id, outcome: outcome.clone() }));
        let record = made.call.record(id, true, outcome, now);
        self.events.push_back(NodeEvent::Call(CallEvent::Observed(record)));
    }

    // What happens meanwhile.

    /// Something happened to a stream: if it is a call's, that is dealt with here, else it is told.
    pub(super) fn on_stream_event(&mut self, now: Instant, peer: NodeId, event: StreamEvent) {
        let (StreamEvent::Opened(stream)
        | StreamEvent::Readable(stream)
        | StreamEvent::Writable(stream)
        | StreamEvent::Finished(stream)
        | StreamEvent::Stopped(stream, _)
        | StreamEvent::Lost(stream)) = event
        else {
            self.events.push_back(NodeEvent::Stream { peer, event });
            return;
        };
        if stream.kind() == StreamKind::Plain {
            self.events.push_back(NodeEvent::Stream { peer, event });
            return;
        }
        let id = CallId { peer, stream };
        match event {
            StreamEvent::Opened(_) => {
                let call = Call::new(String::new(), now, 0);
                let request = Some(RequestReader::default());
                self.calls.served.insert(id, Served { call, request, ended: None, blocked: false });
            }
            StreamEvent::Readable(_) => {
                self.read_request(now, id);
                self.read_response(now, id);
            }
            StreamEvent::Writable(_) => {
                self.write_reply(now, id);
                self.write_request(id);
            }
            StreamEvent::Stopped(..) => {
                self.abandon(now, id, CallError::Cancelled);
                if let Some(made) = self.calls.made.get_mut(&id) {
                    // The peer answers without having read all of it.
                    made.call.outgoing = Vec::new();
                    made.call.written = 0;
                }
            }
            StreamEvent::Lost(_) => {
                self.abandon(now, id, CallError::Lost);
                self.end_made(now, id, Err(CallError::Lost));
            }
            StreamEvent::Finished(_) | StreamEvent::MayOpen => {}
        }
    }

    fn write_request(&mut self, id: CallId) {
        if let Some(made) = self.calls.made.get_mut(&id)
            && !made.call.outgoing.is_empty()
            && let Some(peer) = self.peers.get_mut(&id.peer)
        {
            let streams = &mut peer.connection.streams;
            if made.call.write(streams, id.stream) {
                let _ = streams.finish(id.stream);
            }
            self.mark_dirty(id.peer);
        }
    }

    pub(super) fn on_call_timeout(&mut self, now: Instant, id: CallId) {
        if let Some(wait) = self.calls.made.get(&id).and_then(|made| made.wait) {
            self.end_made(now, id, Err(CallError::Deadline(wait)));
        }
        if let Some(served) = self.calls.served.get(&id) {
            let waited = now.saturating_since(served.call.begun);
            self.abandon(now, id, CallError::Deadline(waited));
        }
    }
}
