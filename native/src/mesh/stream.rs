//! Streams to peers: reliable, ordered, both ways.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use meshground_node::{MAX_CODE, NodeId, StreamError, StreamId};
use tokio::sync::Notify;

use super::MeshError;
use crate::lock::lock;

/// How many bytes wait between a stream's handle and the node's task, each way; beyond, a writer waits, and the peer is
/// held back. What the node keeps itself comes on top.
pub const STREAM_BUFFER: usize = 256 << 10;

/// How many streams of peers wait to be accepted: as many as one peer may have open. Beyond, the last of whoever has most of
/// them waiting is reset with [`REFUSED`].
pub const ACCEPT_QUEUE: usize = 4_096;

/// The code with which a stream is given up that nobody accepts.
pub const REFUSED: u64 = 2;

/// What a node's streams and its task have in common.
#[derive(Debug, Default)]
pub(crate) struct StreamDesk {
    registry: Mutex<Registry>,
    /// The task has something to do.
    work: Arc<Notify>,
    /// A stream waits to be accepted, or none ever will.
    arrival: Notify,
}

#[derive(Debug, Default)]
struct Registry {
    ready: Vec<Arc<Shared>>,
    arrived: VecDeque<Arc<Shared>>,
    /// How many of these are whose.
    arrived_of: BTreeMap<NodeId, usize>,
    down: bool,
}

impl Registry {
    fn push(&mut self, stream: Arc<Shared>) {
        *self.arrived_of.entry(stream.peer).or_default() += 1;
        self.arrived.push_back(stream);
    }

    fn pop(&mut self) -> Option<Arc<Shared>> {
        self.remove(0)
    }

    /// Takes the last stream of the peer that has most of them waiting out of the queue.
    fn drop_greedy(&mut self) -> Option<Arc<Shared>> {
        let (&greedy, _) = self.arrived_of.iter().max_by_key(|(_, count)| **count)?;
        let last = self.arrived.iter().rposition(|stream| stream.peer == greedy)?;
        self.remove(last)
    }

    fn remove(&mut self, place: usize) -> Option<Arc<Shared>> {
        let stream = self.arrived.remove(place)?;
        if let Some(count) = self.arrived_of.get_mut(&stream.peer) {
            *count -= 1;
            if *count == 0 {
                self.arrived_of.remove(&stream.peer);
            }
        }
        Some(stream)
    }
}

/// What the two halves of a stream and the node's task have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) peer: NodeId,
    pub(crate) id: StreamId,
    pub(crate) state: Mutex<State>,
    reader: Notify,
    writer: Notify,
}

/// Where a stream stands between its handle and the node.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Written, and not taken by the task yet.
    pub(crate) outgoing: Vec<u8>,
    /// How the writing ended, as asked for.
    pub(crate) end: Option<End>,
    /// Everything arrived at the peer.
    pub(crate) finished: bool,
    /// Why no more can be written.
    pub(crate) write_error: Option<StreamError>,
    /// Read from the node, and not taken by the reader yet.
    pub(crate) incoming: VecDeque<u8>,
    /// What follows that: the end, or an error.
    pub(crate) closing: Option<Result<(), StreamError>>,
    /// The reader wants no more; the code to say so with.
    pub(crate) stop: Option<u64>,
    /// The task has been told to look.
    known: bool,
}

/// How a sending half ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finish,
    Reset(u64),
}

impl StreamDesk {
    /// Without streams yet. The task is told by `work` when it has something to do.
    pub(crate) fn new(work: Arc<Notify>) -> Self {
        Self { work, ..Self::default() }
    }

    pub(crate) fn take_ready(&self, ready: &mut Vec<Arc<Shared>>) {
        ready.append(&mut lock(&self.registry).ready);
    }

    /// A peer opened a stream. Returns the one there is no room for, if any.
    pub(crate) fn arrive(&self, stream: &Arc<Shared>) -> Option<Arc<Shared>> {
        let mut registry = lock(&self.registry);
        registry.push(Arc::clone(stream));
        let refused = if registry.arrived.len() > ACCEPT_QUEUE { registry.drop_greedy() } else { None };
        drop(registry);
        self.arrival.notify_one();
        refused
    }

    /// The node is down.
    pub(crate) fn close(&self) {
        let mut registry = lock(&self.registry);
        registry.down = true;
        registry.ready.clear();
        registry.arrived.clear();
        registry.arrived_of.clear();
        drop(registry);
        self.arrival.notify_waiters();
    }

    pub(super) async fn accept(self: &Arc<Self>) -> Option<Stream> {
        loop {
            let arrival = self.arrival.notified();
            let mut arrival = std::pin::pin!(arrival);
            arrival.as_mut().enable();
            {
                let mut registry = lock(&self.registry);
                if let Some(shared) = registry.pop() {
                    // Whoever else waits may find the next.
                    self.arrival.notify_one();
                    return Some(Stream::new(shared, Arc::clone(self)));
                }
                if registry.down {
                    return None;
                }
            }
            arrival.await;
        }
    }

    /// Has the task look at a stream.
    fn call_for(&self, stream: &Arc<Shared>, state: &mut State) {
        if !std::mem::replace(&mut state.known, true) {
            lock(&self.registry).ready.push(Arc::clone(stream));
            self.work.notify_one();
        }
    }
}

impl Shared {
    pub(crate) fn new(peer: NodeId, id: StreamId) -> Arc<Self> {
        Arc::new(Self { peer, id, state: Mutex::default(), reader: Notify::new(), writer: Notify::new() })
    }

    /// The state, for the task to look at: it is told of what comes next.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        state.known = false;
        state
    }

    pub(crate) fn wake_reader(&self) {
        self.reader.notify_waiters();
    }

    pub(crate) fn wake_writer(&self) {
        self.writer.notify_waiters();
    }

    /// Nothing more comes or goes.
    pub(crate) fn lose(&self, error: StreamError) {
        let mut state = self.state();
        state.outgoing = Vec::new();
        state.write_error.get_or_insert(error);
        state.closing.get_or_insert(Err(error));
        drop(state);
        self.wake_reader();
        self.wake_writer();
    }
}

/// A stream: both its halves. [`split`](Self::split) it to use them apart.
///
/// Dropped, a sending half that was not finished is reset with code 0, and a receiving half that was not read to its end
/// is stopped with code 0.
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    receive: ReceiveStream,
}

/// The sending half of a stream.
pub struct SendStream {
    shared: Arc<Shared>,
    desk: Arc<StreamDesk>,
}

/// The receiving half of a stream.
pub struct ReceiveStream {
    shared: Arc<Shared>,
    desk: Arc<StreamDesk>,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, desk: Arc<StreamDesk>) -> Self {
        let send = SendStream { shared: Arc::clone(&shared), desk: Arc::clone(&desk) };
        Self { send, receive: ReceiveStream { shared, desk } }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> NodeId {
        self.send.shared.peer
    }

    /// Its halves.
    pub fn split(self) -> (SendStream, ReceiveStream) {
        (self.send, self.receive)
    }

    /// As [`SendStream::write_all`].
    ///
    /// # Errors
    /// As there.
    pub async fn write_all(&mut self, data: &[u8]) -> Result<(), MeshError> {
        self.send.write_all(data).await
    }

    /// As [`SendStream::end`].
    pub fn end(&mut self) {
        self.send.end();
    }

    /// As [`SendStream::finish`].
    ///
    /// # Errors
    /// As there.
    pub async fn finish(&mut self) -> Result<(), MeshError> {
        self.send.finish().await
    }

    /// As [`SendStream::reset`].
    pub fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    /// As [`ReceiveStream::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, MeshError> {
        self.receive.read(buffer).await
    }

    /// As [`ReceiveStream::read_to_end`].
    ///
    /// # Errors
    /// As there.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>, MeshError> {
        self.receive.read_to_end(limit).await
    }

    /// As [`ReceiveStream::stop`].
    pub fn stop(&mut self, code: u64) {
        self.receive.stop(code);
    }
}

impl SendStream {
    /// Writes all of `data`; returns when it is queued, and waits while [`STREAM_BUFFER`] bytes are. Dropped before it
    /// returns, it may have written a part.
    ///
    /// # Errors
    /// [`MeshError::Stream`] when this half has ended, the peer has stopped reading or is gone; [`MeshError::Closed`]
    /// is not told apart from that.
    pub async fn write_all(&mut self, mut data: &[u8]) -> Result<(), MeshError> {
        loop {
            let room = self.shared.writer.notified();
            let mut room = std::pin::pin!(room);
            {
                let mut state = lock(&self.shared.state);
                if let Some(error) = state.write_error {
                    return Err(error.into());
                }
                if state.end.is_some() {
                    return Err(StreamError::Ended(self.shared.id).into());
                }
                let len = data.len().min(STREAM_BUFFER.saturating_sub(state.outgoing.len()));
                state.outgoing.extend_from_slice(&data[..len]);
                data = &data[len..];
                if len > 0 {
                    self.desk.call_for(&self.shared, &mut state);
                }
                if data.is_empty() {
                    return Ok(());
                }
                room.as_mut().enable();
            }
            room.await;
        }
    }

    /// Says that nothing more will be written; everything written still arrives. Does not wait for that.
    pub fn end(&mut self) {
        self.end_with(End::Finish);
    }

    /// [Ends](Self::end) it and waits until the peer's node has everything. Cancel-safe.
    ///
    /// # Errors
    /// [`MeshError::Stream`] when the peer stopped reading or is gone before that.
    pub async fn finish(&mut self) -> Result<(), MeshError> {
        self.end();
        loop {
            let change = self.shared.writer.notified();
            let mut change = std::pin::pin!(change);
            change.as_mut().enable();
            {
                let state = lock(&self.shared.state);
                if state.finished {
                    return Ok(());
                }
                if let Some(error) = state.write_error {
                    return Err(error.into());
                }
            }
            change.await;
        }
    }

    /// Gives this half up: what has not arrived never will, and the peer's reader is told `code` (at most 2^62 - 1;
    /// a larger one is cut to that).
    pub fn reset(&mut self, code: u64) {
        self.end_with(End::Reset(code.min(MAX_CODE)));
    }

    fn end_with(&mut self, end: End) {
        let mut state = lock(&self.shared.state);
        if let End::Reset(_) = end
            && !state.finished
        {
            state.end = Some(end);
            state.outgoing = Vec::new();
        } else if state.end.is_none() {
            state.end = Some(end);
        }
        self.desk.call_for(&self.shared, &mut state);
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if lock(&self.shared.state).end.is_none() {
            self.reset(0);
        }
    }
}

impl ReceiveStream {
    /// Reads at least one byte into `buffer`; 0 at the end, or when `buffer` is empty. Cancel-safe.
    ///
    /// # Errors
    /// [`MeshError::Stream`] when the peer gave the stream up or is gone.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, MeshError> {
        loop {
            let change = self.shared.reader.notified();
            let mut change = std::pin::pin!(change);
            {
                let mut state = lock(&self.shared.state);
                let len = buffer.len().min(state.incoming.len());
                if len > 0 || buffer.is_empty() {
                    let was_full = state.incoming.len() > STREAM_BUFFER / 2;
                    let (front, back) = state.incoming.as_slices();
                    let split = len.min(front.len());
                    buffer[..split].copy_from_slice(&front[..split]);
                    buffer[split..len].copy_from_slice(&back[..len - split]);
                    state.incoming.drain(..len);
                    if was_full && state.incoming.len() <= STREAM_BUFFER / 2 {
                        self.desk.call_for(&self.shared, &mut state);
                    }
                    return Ok(len);
                }
                match state.closing {
                    Some(Ok(())) => return Ok(0),
                    Some(Err(error)) => return Err(error.into()),
                    None => change.as_mut().enable(),
                };
            }
            change.await;
        }
    }

    /// Reads everything up to the end. Dropped before it returns, what it has read is lost.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`MeshError::TooLong`] when there are more than `limit` bytes; the stream is stopped
    /// then.
    pub async fn read_to_end(&mut self, limit: usize) -> Result<Vec<u8>, MeshError> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
        loop {
            let len = self.read(&mut buffer).await?;
            if len == 0 {
                return Ok(all);
            }
            if all.len() + len > limit {
                self.stop(0);
                return Err(MeshError::TooLong { limit });
            }
            all.extend_from_slice(&buffer[..len]);
        }
    }

    /// Reads no further, and tells the peer's writer `code` (at most 2^62 - 1; a larger one is cut to that).
    pub fn stop(&mut self, code: u64) {
        let mut state = lock(&self.shared.state);
        state.incoming = VecDeque::new();
        if state.closing.is_none() {
            state.closing = Some(Ok(()));
            state.stop = Some(code.min(MAX_CODE));
            self.desk.call_for(&self.shared, &mut state);
        }
    }
}

impl Drop for ReceiveStream {
    fn drop(&mut self) {
        self.stop(0);
    }
}

impl fmt::Debug for SendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendStream").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReceiveStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveStream").field("peer", &self.shared.peer).finish_non_exhaustive()
    }
}
