//! Between the handles of streams and the node.

use std::{collections::BTreeMap, sync::Arc};

use meshground_node::{Node, NodeId, StreamError, StreamEvent, StreamId};
use tokio::sync::oneshot;

use super::{clock::now, reach::Reach};
use crate::mesh::stream::{End, REFUSED, STREAM_BUFFER, Shared, Stream, StreamDesk};

/// Whoever waits for a stream to be opened.
pub(crate) type Opening = oneshot::Sender<Result<Stream, StreamError>>;

/// The task's end of the streams. When it goes, they are lost.
#[derive(Debug)]
pub(super) struct Streams {
    desk: Arc<StreamDesk>,
    open: BTreeMap<(NodeId, StreamId), Arc<Shared>>,
    /// Openings that wait until fewer are open, or for a session over others, by peer.
    waiting: Vec<(NodeId, Opening)>,
    ready: Vec<Arc<Shared>>,
}

impl Streams {
    pub(super) fn new(desk: Arc<StreamDesk>) -> Self {
        Self { desk, open: BTreeMap::new(), waiting: Vec::new(), ready: Vec::new() }
    }

    /// Opens a stream, as soon as the peer allows another, and if need be as soon as it is reached over others.
    pub(super) fn open(&mut self, node: &mut Node, reach: &mut Reach, peer: NodeId, opening: Opening) {
        if opening.is_closed() {
            return;
        }
        let outcome = match node.open_stream(now(), peer) {
            Err(StreamError::TooMany) => return self.hold(peer, opening),
            Err(StreamError::NoSession(_)) if reach.begin(node, peer) => return self.hold(peer, opening),
            Ok(id) => Ok(Stream::new(self.insert(peer, id), Arc::clone(&self.desk))),
            Err(error) => Err(error),
        };
        // One that nobody waits for any more is given up as it is dropped.
        let _ = opening.send(outcome);
    }

    fn hold(&mut self, peer: NodeId, opening: Opening) {
        // Whoever gives up and asks again, for as long as nothing can be opened, must not make this grow.
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|(_, opening)| !opening.is_closed());
        }
        self.waiting.push((peer, opening));
    }

    fn insert(&mut self, peer: NodeId, id: StreamId) -> Arc<Shared> {
        let shared = Shared::new(peer, id);
        self.open.insert((peer, id), Arc::clone(&shared));
        shared
    }

    /// Does what the handles ask for.
    pub(super) fn run(&mut self, node: &mut Node) {
        let mut ready = std::mem::take(&mut self.ready);
        self.desk.take_ready(&mut ready);
        for shared in ready.drain(..) {
            self.serve(node, &shared);
        }
        self.ready = ready;
    }

    /// Moves what can be moved between one handle and the node.
    fn serve(&mut self, node: &mut Node, shared: &Arc<Shared>) {
        let (peer, id) = (shared.peer, shared.id);
        let mut state = shared.state();
        if !state.outgoing.is_empty() {
            match node.write_stream(now(), peer, id, &state.outgoing) {
                Ok(taken) => drop(state.outgoing.drain(..taken)),
                // What came of it was told, or is about to be.
                Err(_) => state.outgoing.clear(),
            }
            if state.outgoing.len() <= STREAM_BUFFER / 2 {
                shared.wake_writer();
            }
        }
        match state.end {
            Some(End::Finish) if state.outgoing.is_empty() => _ = node.finish_stream(now(), peer, id),
            Some(End::Reset(code)) => {
                _ = node.reset_stream(now(), peer, id, code);
                state.write_error.get_or_insert(StreamError::Ended(id));
                shared.wake_writer();
            }
            Some(End::Finish) | None => {}
        }
        if let Some(code) = state.stop.take() {
            let _ = node.stop_stream(now(), peer, id, code);
        }
        let mut came = Vec::new();
        while state.closing.is_none() && state.incoming.len() < STREAM_BUFFER {
            came.clear();
            match node.read_stream(now(), peer, id, STREAM_BUFFER - state.incoming.len(), &mut came) {
                Ok(None) => break,
                Ok(Some(0)) => state.closing = Some(Ok(())),
                Ok(Some(_)) => state.incoming.extend(&came),
                Err(error) => state.closing = Some(Err(error)),
            }
            shared.wake_reader();
        }
        let over = state.closing.is_some() && (state.finished || state.write_error.is_some());
        drop(state);
        if over {
            self.open.remove(&(peer, id));
        }
    }

    /// Something happened to a stream.
    pub(super) fn on_event(&mut self, node: &mut Node, reach: &mut Reach, peer: NodeId, event: StreamEvent) {
        match event {
            StreamEvent::Opened(id) => {
                let shared = self.insert(peer, id);
                if let Some(refused) = self.desk.arrive(&shared) {
                    let (peer, id) = (refused.peer, refused.id);
                    self.open.remove(&(peer, id));
                    let _ = node.reset_stream(now(), peer, id, REFUSED);
                    let _ = node.stop_stream(now(), peer, id, REFUSED);
                }
            }
            StreamEvent::Readable(id) | StreamEvent::Writable(id) => {
                if let Some(shared) = self.open.get(&(peer, id)).cloned() {
                    self.serve(node, &shared);
                }
            }
            StreamEvent::Finished(id) => self.conclude(node, peer, id, None),
            StreamEvent::Stopped(id, code) => {
                self.conclude(node, peer, id, Some(StreamError::Stopped(id, code)));
            }
            StreamEvent::Lost(id) => {
                if let Some(shared) = self.open.remove(&(peer, id)) {
                    shared.lose(StreamError::NoSession(peer));
                }
            }
            StreamEvent::MayOpen => self.session_up(node, reach, peer),
            _ => {}
        }
    }

    /// The sending half is over.
    fn conclude(&mut self, node: &mut Node, peer: NodeId, id: StreamId, error: Option<StreamError>) {
        let Some(shared) = self.open.get(&(peer, id)).cloned() else { return };
        {
            let mut state = shared.state();
            state.finished = error.is_none();
            state.write_error = state.write_error.or(error);
        }
        shared.wake_writer();
        self.serve(node, &shared);
    }

    /// There is a session with `peer`, perhaps in the place of one under which too many were open.
    pub(super) fn session_up(&mut self, node: &mut Node, reach: &mut Reach, peer: NodeId) {
        let (openings, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(other, _)| *other == peer);
        self.waiting = waiting;
        for (peer, opening) in openings {
            self.open(node, reach, peer, opening);
        }
    }

    /// There is no session with `peer` any more, or none comes about: nobody needs to wait for it.
    pub(super) fn session_down(&mut self, peer: NodeId) {
        let (gone, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(other, _)| *other == peer);
        self.waiting = waiting;
        for (_, opening) in gone {
            let _ = opening.send(Err(StreamError::NoSession(peer)));
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.desk.close();
        for ((peer, _), shared) in std::mem::take(&mut self.open) {
            shared.lose(StreamError::NoSession(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_that_were_given_up_do_not_pile_up_and_those_that_were_not_stay() {
        let mut streams = Streams::new(Arc::default());
        let mut waiting = Vec::new();
        for number in 0..10_000 {
            let (opening, waits) = oneshot::channel();
            streams.hold(NodeId(1), opening);
            if number % 1_000 == 0 {
                waiting.push(waits);
            }
        }
        assert!(streams.waiting.len() < 100, "{}", streams.waiting.len());
        assert_eq!(streams.waiting.iter().filter(|(_, opening)| !opening.is_closed()).count(), waiting.len());
    }
}
