//! What the simulated members' applications say to each other, and whether it arrives as it was said.
//!
//! - What is read from a stream is what was written to it, from its beginning, every byte once; at its end, all of it.
//! - A message arrives once at most, where it was sent to and nowhere else.
//! - A call is served once at most, with what was asked, and ends once; if well, with one answer to what was asked.
//!
//! Contents are computed, not kept: each direction of a stream and each call has a number from which they follow.

use std::collections::BTreeMap;

use meshground_node::{CallEvent, CallId, Node, NodeEvent, NodeId, Now, StreamError, StreamEvent, StreamId};

use super::Network;

const NUMBERED: &[u8; 8] = b"numbered";
const METHOD: &str = "echo";

/// Everything said so far.
#[derive(Debug, Default)]
pub(super) struct Talk {
    halves: BTreeMap<Half, Flow>,
    calls: BTreeMap<Half, Asked>,
    messages: Vec<Message>,
    buffer: Vec<u8>,
}

/// One direction of a stream; the request's, of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Half {
    writer: NodeId,
    reader: NodeId,
    stream: StreamId,
}

/// What has become of it.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "what has happened to it, in whatever order")]
struct Flow {
    salt: u64,
    /// The writer knows of the stream.
    known: bool,
    written: u64,
    read: u64,
    /// The writer has ended it.
    ended: bool,
    /// The writer was told that all of it has arrived.
    finished: bool,
    /// One of the two has given it up.
    given_up: bool,
    /// One of the two is gone, or was told that the other is.
    lost: bool,
}

#[derive(Debug, Default)]
struct Asked {
    salt: u64,
    len: usize,
    served: bool,
    answered: bool,
    over: bool,
}

#[derive(Debug)]
struct Message {
    from: NodeId,
    to: NodeId,
    arrived: bool,
}

/// The byte at `offset` of what has the number `salt`.
fn byte(salt: u64, offset: u64) -> u8 {
    let mixed = (salt << 32 | offset).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_le_bytes()[7]
}

fn content(salt: u64, from: u64, len: usize) -> Vec<u8> {
    (from..from + len as u64).map(|offset| byte(salt, offset)).collect()
}

impl Talk {
    fn flow(&mut self, writer: NodeId, reader: NodeId, stream: StreamId) -> &mut Flow {
        let half = Half { writer, reader, stream };
        self.halves.get_mut(&half).unwrap_or_else(|| panic!("nobody opened {half:?}"))
    }

    fn open(&mut self, one: NodeId, other: NodeId, stream: StreamId) {
        for (writer, reader) in [(one, other), (other, one)] {
            let flow = Flow { salt: self.halves.len() as u64, known: writer == one, ..Flow::default() };
            let before = self.halves.insert(Half { writer, reader, stream }, flow);
            assert!(before.is_none(), "a stream's name was given twice: {before:?}");
        }
    }

    /// A life ends, and what it had to say with it.
    pub(super) fn dies(&mut self, id: NodeId) {
        for (half, flow) in &mut self.halves {
            flow.lost |= half.writer == id || half.reader == id;
        }
        for (half, asked) in &mut self.calls {
            asked.over |= half.writer == id;
        }
    }

    /// A message came in.
    pub(super) fn receives(&mut self, at: NodeId, from: NodeId, payload: &[u8]) {
        let Some((NUMBERED, number)) = payload.split_first_chunk() else { return };
        let number = number.try_into().map(u64::from_le_bytes).expect("eight bytes follow");
        let message = &mut self.messages[usize::try_from(number).expect("few")];
        assert_eq!((message.from, message.to), (from, at), "message {number} came from or to somebody else");
        assert!(!std::mem::replace(&mut message.arrived, true), "message {number} came twice");
    }

    /// A node told something: its application does what it does.
    pub(super) fn learns(&mut self, node: &mut Node, now: Now, event: &NodeEvent) {
        let local = node.id();
        match event {
            NodeEvent::Stream { peer, event } => match *event {
                StreamEvent::Opened(stream) => {
                    let known = std::mem::replace(&mut self.flow(local, *peer, stream).known, true);
                    assert!(!known, "{stream} is opened twice");
                    self.read(node, now, *peer, stream);
                }
                StreamEvent::Readable(stream) => self.read(node, now, *peer, stream),
                StreamEvent::Finished(stream) => {
                    let flow = self.flow(local, *peer, stream);
                    assert!(flow.ended && !flow.finished, "{stream} has arrived: {flow:?}");
                    assert!(flow.given_up || flow.read == flow.written, "{stream} has not arrived: {flow:?}");
                    flow.finished = true;
                }
                StreamEvent::Stopped(stream, _) => {
                    let flow = self.flow(local, *peer, stream);
                    assert!(flow.given_up, "nobody stopped {stream}: {flow:?}");
                }
                StreamEvent::Lost(stream) => {
                    self.flow(local, *peer, stream).lost = true;
                    self.flow(*peer, local, stream).lost = true;
                }
                _ => {}
            },
            NodeEvent::Call(event) => self.learns_of_call(node, now, event),
            _ => {}
        }
    }

    /// Reads all there is.
    fn read(&mut self, node: &mut Node, now: Now, peer: NodeId, stream: StreamId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let flow = self.flow(peer, node.id(), stream);
        loop {
            buffer.clear();
            match node.read_stream(now, peer, stream, 4_096, &mut buffer) {
                Ok(Some(0)) => {
                    assert!(flow.ended && flow.read == flow.written, "{stream} ends early: {flow:?}");
                    break;
                }
                Ok(Some(len)) => {
                    assert_eq!(len, buffer.len());
                    for got in &buffer {
                        assert_eq!(*got, byte(flow.salt, flow.read), "{stream}: {flow:?}");
                        flow.read += 1;
                    }
                    assert!(flow.read <= flow.written, "{stream} has more than was written: {flow:?}");
                }
                Err(StreamError::Reset(..)) => {
                    assert!(flow.given_up, "nobody gave {stream} up: {flow:?}");
                    break;
                }
                // Nothing yet, or all of it is over.
                Ok(None) | Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    fn learns_of_call(&mut self, node: &mut Node, now: Now, event: &CallEvent) {
        let local = node.id();
        match event {
            CallEvent::Requested { call, method, body, .. } => {
                let asked = self.asked(call.peer, local, call.stream);
                assert!(!asked.served, "{call:?} was served twice");
                assert_eq!((method.as_str(), body), (METHOD, &content(asked.salt, 0, asked.len)));
                asked.served = true;
                node.reply(now, *call, body).expect("the call has just begun");
                node.end_reply(now, *call, Ok(())).expect("it goes on");
            }
            CallEvent::Item { call, body } => {
                let asked = self.asked(local, call.peer, call.stream);
                assert!(asked.served && !asked.answered, "{call:?} is answered: {asked:?}");
                assert!(*body == content(asked.salt, 0, asked.len), "{call:?} has another's answer");
                asked.answered = true;
                node.release_items(now, *call, 1, body.len());
            }
            CallEvent::Ended { call, outcome } => {
                let asked = self.asked(local, call.peer, call.stream);
                assert!(!asked.over, "{call:?} ends twice");
                assert!(asked.answered || outcome.is_err(), "{call:?} ends well without an answer");
                asked.over = true;
            }
            _ => {}
        }
    }

    fn asked(&mut self, writer: NodeId, reader: NodeId, stream: StreamId) -> &mut Asked {
        let half = Half { writer, reader, stream };
        self.calls.get_mut(&half).unwrap_or_else(|| panic!("nobody called {half:?}"))
    }
}

impl Network {
    /// Has one member open a stream to another. `None` if it cannot.
    pub fn open_stream(&mut self, from: usize, to: usize) -> Option<StreamId> {
        let (local, peer) = (self.id(from), self.id(to));
        let stream = self.act(from, |node, now| node.open_stream(now, peer)).ok()?;
        self.talk.open(local, peer, stream);
        Some(stream)
    }

    /// The streams a member can write to, with whom each is.
    pub fn writable_streams(&self, number: usize) -> Vec<(NodeId, StreamId)> {
        let id = self.id(number);
        let open = |flow: &Flow| flow.known && !(flow.ended || flow.given_up || flow.lost);
        let halves = self.talk.halves.iter().filter(|(half, flow)| half.writer == id && open(flow));
        halves.map(|(half, _)| (half.reader, half.stream)).collect()
    }

    /// Has a member write `len` more bytes to a stream, as far as there is room; how many that was.
    pub fn write_stream(&mut self, number: usize, peer: NodeId, stream: StreamId, len: usize) -> usize {
        let local = self.id(number);
        let flow = self.talk.flow(local, peer, stream);
        let data = content(flow.salt, flow.written, len);
        let written = self.act(number, |node, now| node.write_stream(now, peer, stream, &data)).unwrap_or(0);
        self.talk.flow(local, peer, stream).written += written as u64;
        written
    }

    /// Has a member end its half of a stream.
    pub fn finish_stream(&mut self, number: usize, peer: NodeId, stream: StreamId) {
        let local = self.id(number);
        self.talk.flow(local, peer, stream).ended = true;
        // One that is over already cannot be ended any more, and need not.
        let _ = self.act(number, |node, now| node.finish_stream(now, peer, stream));
    }

    /// Has a member give its half of a stream up.
    pub fn reset_stream(&mut self, number: usize, peer: NodeId, stream: StreamId) {
        let local = self.id(number);
        self.talk.flow(local, peer, stream).given_up = true;
        let _ = self.act(number, |node, now| node.reset_stream(now, peer, stream, 7));
    }

    /// Has a member read a stream no further.
    pub fn stop_stream(&mut self, number: usize, peer: NodeId, stream: StreamId) {
        let local = self.id(number);
        self.talk.flow(peer, local, stream).given_up = true;
        let _ = self.act(number, |node, now| node.stop_stream(now, peer, stream, 7));
    }

    /// Has one member call another with `len` bytes, which come back. `None` if it cannot.
    ///
    /// # Panics
    /// When the call has another's name.
    pub fn ask(&mut self, from: usize, to: usize, len: usize) -> Option<CallId> {
        let (local, peer) = (self.id(from), self.id(to));
        let salt = self.talk.calls.len() as u64;
        let body = content(salt, 0, len);
        let call = self.act(from, |node, now| node.call(now, peer, METHOD, &body, None)).ok()?;
        let asked = Asked { salt, len, ..Asked::default() };
        let half = Half { writer: local, reader: peer, stream: call.stream };
        let before = self.talk.calls.insert(half, asked);
        assert!(before.is_none(), "a call's name was given twice: {before:?}");
        Some(call)
    }

    /// Has one member send another a message unlike any other. Whether it was taken.
    pub fn say(&mut self, from: usize, to: usize) -> bool {
        let (local, peer) = (self.id(from), self.id(to));
        let number = self.talk.messages.len() as u64;
        let payload = [&NUMBERED[..], &number.to_le_bytes()].concat();
        self.talk.messages.push(Message { from: local, to: peer, arrived: false });
        self.act(from, |node, now| node.send(now, peer, &payload)).is_ok()
    }

    /// After long enough a calm: every call has ended, and whatever was written to streams that were neither given up nor
    /// lost has been read.
    ///
    /// # Panics
    /// When that is not so.
    pub fn nothing_hangs(&self) {
        for (half, flow) in &self.talk.halves {
            let settled = flow.given_up || flow.lost || flow.read == flow.written;
            assert!(
                settled && (flow.finished || !flow.ended || flow.given_up || flow.lost),
                "{half:?} hangs: {flow:?}"
            );
        }
        for (half, asked) in &self.talk.calls {
            assert!(asked.over, "the call {half:?} hangs: {asked:?}");
        }
    }

    /// How many bytes were read from streams and how many calls were answered so far.
    pub fn heard(&self) -> (u64, usize) {
        let read = self.talk.halves.values().map(|flow| flow.read).sum();
        (read, self.talk.calls.values().filter(|asked| asked.answered).count())
    }
}
