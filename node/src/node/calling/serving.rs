//! Calls that peers make of this node: their requests read, and answered.

use std::time::Duration;

use super::{CANCELLED, Node, REPLY_AHEAD, TOO_LATE};
use crate::{
    event::NodeEvent,
    rpc::{CallError, CallEvent, CallId, MAX_BODY, ReplyError, RequestReader, encode_end, encode_item_start},
    time::{Instant, Now},
    timers::Timer,
};

impl Node {
    /// Adds an item to the answer to a request.
    ///
    /// # Errors
    /// When the call is over, the item is too large, or the caller takes items more slowly than they come: then
    /// [`CallEvent::ReplyWritable`] follows.
    pub fn reply(&mut self, now: Now, call: CallId, item: &[u8]) -> Result<(), ReplyError> {
        self.observe(now.instant);
        let served = self.calls.served.get_mut(&call).filter(|served| served.ended.is_none());
        let served = served.ok_or(ReplyError::Over)?;
        if item.len() > MAX_BODY {
            return Err(ReplyError::TooLarge(item.len()));
        }
        let waiting = served.call.outgoing.len() - served.call.written;
        if waiting > 0 && waiting + item.len() > REPLY_AHEAD {
            served.blocked = true;
            return Err(ReplyError::Full);
        }
        encode_item_start(item.len(), &mut served.call.outgoing);
        served.call.outgoing.extend_from_slice(item);
        served.call.items += 1;
        served.call.response_bytes += item.len() as u64;
        if served.call.items > 1
            && let Some(peer) = self.peers.get_mut(&call.peer)
        {
            // The caller takes one item at once, and more as it can.
            peer.connection.streams.set_bulk(call.stream);
        }
        self.write_reply(now.instant, call);
        Ok(())
    }

    /// Ends the answer to a request. What was added to it still arrives.
    ///
    /// # Errors
    /// When the call is over.
    pub fn end_reply(
        &mut self,
        now: Now,
        call: CallId,
        outcome: Result<(), CallError>,
    ) -> Result<(), ReplyError> {
        self.observe(now.instant);
        let served = self.calls.served.get_mut(&call).filter(|served| served.ended.is_none());
        let served = served.ok_or(ReplyError::Over)?;
        encode_end(outcome.as_ref().copied().map_err(CallError::to_wire), &mut served.call.outgoing);
        served.ended = Some(outcome);
        self.write_reply(now.instant, call);
        Ok(())
    }

    pub(super) fn write_reply(&mut self, now: Instant, id: CallId) {
        let Some(served) = self.calls.served.get_mut(&id) else { return };
        let Some(peer) = self.peers.get_mut(&id.peer) else { return };
        let streams = &mut peer.connection.streams;
        let all = served.call.write(streams, id.stream);
        if all && served.blocked && served.ended.is_none() {
            served.blocked = false;
            self.events.push_back(NodeEvent::Call(CallEvent::ReplyWritable { call: id }));
        }
        let ended = if all { served.ended.take() } else { None };
        if ended.is_some() {
            let _ = streams.finish(id.stream);
        }
        self.mark_dirty(id.peer);
        if let Some(outcome) = ended {
            self.end_served(now, id, outcome);
        }
    }

    pub(super) fn read_request(&mut self, now: Instant, id: CallId) {
        let Some(served) = self.calls.served.get_mut(&id) else { return };
        let Some(peer) = self.peers.get_mut(&id.peer) else { return };
        let Some(request) = &mut served.request else { return };
        let before = request.len();
        let end = loop {
            let (buffer, room) = request.buffer();
            match peer.connection.streams.read(id.stream, room, buffer) {
                Ok(None) => break None,
                Ok(Some(0)) => break Some(Ok(())),
                Ok(Some(_)) if request.is_too_large() => break Some(Err(CallError::TooLarge(request.len()))),
                Ok(Some(_)) => {}
                // The caller gave up.
                Err(_) => break Some(Err(CallError::Cancelled)),
            }
        };
        let more = request.len() - before;
        // The caller waits from when it called; this end can only count from when it heard.
        let wait_us = request.wait_us().filter(|wait_us| *wait_us > 0);
        let deadline = wait_us.map(|wait_us| served.call.begun + Duration::from_micros(wait_us));
        if let Some(deadline) = deadline {
            self.timers.set(Timer::Call(id), deadline);
        }
        let request = if end == Some(Ok(())) { served.request.take() } else { None };
        self.calls.hold(id.peer, more);
        self.mark_dirty(id.peer);
        match end {
            None => {
                if let Some(other) = self.calls.in_the_way() {
                    self.refuse(now, other, CallError::Overloaded);
                }
            }
            Some(Ok(())) => {
                let Some(request) = request else { return };
                self.calls.release(id.peer, request.len());
                match request.finish() {
                    Ok(request) => {
                        if let Some(served) = self.calls.served.get_mut(&id) {
                            served.call.method.clone_from(&request.method);
                            served.call.request_bytes = request.body.len() as u64;
                        }
                        let (method, body) = (request.method, request.body);
                        let requested = CallEvent::Requested { call: id, method, body, deadline };
                        self.events.push_back(NodeEvent::Call(requested));
                    }
                    Err(_) => self.refuse(now, id, CallError::Malformed),
                }
            }
            Some(Err(error)) => self.refuse(now, id, error),
        }
    }

    /// Ends a call whose request nobody gets to see.
    fn refuse(&mut self, now: Instant, id: CallId, error: CallError) {
        let Some(peer) = self.peers.get_mut(&id.peer) else { return };
        let mut end = Vec::new();
        encode_end(Err(error.to_wire()), &mut end);
        let streams = &mut peer.connection.streams;
        // What these say when the caller is gone already does not matter.
        let _ = streams.write(id.stream, &end);
        let _ = streams.finish(id.stream);
        let _ = streams.stop(id.stream, CANCELLED);
        self.mark_dirty(id.peer);
        self.end_served(now, id, Err(error));
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&mut self, now: Instant, id: CallId, why: CallError) {
        let Some(served) = self.calls.served.get(&id) else { return };
        if served.request.is_none() {
            self.events.push_back(NodeEvent::Call(CallEvent::Abandoned { call: id }));
        }
        let code = if matches!(why, CallError::Deadline(_)) { TOO_LATE } else { CANCELLED };
        if let Some(peer) = self.peers.get_mut(&id.peer) {
            let _ = peer.connection.streams.reset(id.stream, code);
            let _ = peer.connection.streams.stop(id.stream, code);
            self.mark_dirty(id.peer);
        }
        self.end_served(now, id, Err(why));
    }

    fn end_served(&mut self, now: Instant, id: CallId, outcome: Result<(), CallError>) {
        let Some(served) = self.calls.served.remove(&id) else { return };
        self.timers.clear(Timer::Call(id));
        self.calls.release(id.peer, served.request.as_ref().map_or(0, RequestReader::len));
        let record = served.call.record(id, false, outcome, now);
        self.events.push_back(NodeEvent::Call(CallEvent::Observed(record)));
    }
}
