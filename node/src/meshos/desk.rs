//! What one node's part of the system asks another's: remote calls, over sessions made for them where there are none.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{DaemonId, GroupId, NodeId};

use super::MeshOs;
use crate::{
    event::DialId,
    node::Node,
    rpc::{CallError, CallEvent, CallId},
    time::{Instant, Now},
};

/// What every method here begins with; what begins so is none of the application's business.
pub(super) const PREFIX: &str = "os.";

/// Brings a daemon events.
pub(super) const DELIVER: &str = "os.deliver";

/// Has a daemon's state signed for forks.
pub(super) const FORK: &str = "os.group.fork";

/// Fetches a piece of such a state.
pub(super) const STATE: &str = "os.group.state";

/// How long a question may take, the making of a session included.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was asked, for when the answer comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// To bring a daemon events.
    Deliver { daemon: DaemonId, count: usize },
    /// To sign a state for a group's forks.
    Fork { group: GroupId },
    /// For a piece of a state.
    State { hash: [u8; 32] },
}

/// A question that waits for a session.
#[derive(Debug)]
struct Waiting {
    method: &'static str,
    body: Vec<u8>,
    asked: Asked,
    until: Instant,
}

/// The questions under way.
#[derive(Debug, Default)]
pub(super) struct Desk {
    made: BTreeMap<CallId, (Asked, Vec<u8>)>,
    waiting: BTreeMap<NodeId, Vec<Waiting>>,
    dials: BTreeMap<DialId, NodeId>,
}

impl Desk {
    pub(super) fn is_own(&self, dial: DialId) -> bool {
        self.dials.contains_key(&dial)
    }

    pub(super) fn dialed(&mut self, dial: DialId) {
        self.dials.remove(&dial);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.values().flatten().map(|waiting| waiting.until).min()
    }
}

impl MeshOs {
    /// Asks another node. The answer comes to [`on_answer`](Self::on_answer).
    pub(super) fn ask(
        &mut self,
        now: Now,
        node: &mut Node,
        to: NodeId,
        method: &'static str,
        body: Vec<u8>,
        asked: Asked,
    ) {
        match node.call(now, to, method, &body, Some(PATIENCE)) {
            Ok(call) => _ = self.desk.made.insert(call, (asked, Vec::new())),
            Err(CallError::NoSession(_)) if node.route(to).is_some_and(|route| route.distance > 1) => {
                if !self.desk.waiting.contains_key(&to) {
                    let dial = node.connect_relayed(now, to);
                    self.desk.dials.insert(dial, to);
                }
                let until = now.instant + PATIENCE;
                self.desk.waiting.entry(to).or_default().push(Waiting { method, body, asked, until });
            }
            Err(error) => self.on_answer(now, node, to, asked, Err(error)),
        }
    }

    /// A session with `peer` stands: what waited for one is asked.
    pub(super) fn flush_asks(&mut self, now: Now, node: &mut Node, peer: NodeId) {
        for Waiting { method, body, asked, .. } in self.desk.waiting.remove(&peer).into_iter().flatten() {
            self.ask(now, node, peer, method, body, asked);
        }
    }

    /// No session came about.
    pub(super) fn on_dial_failed(&mut self, now: Now, node: &mut Node, dial: DialId) {
        let Some(to) = self.desk.dials.remove(&dial) else { return };
        for Waiting { asked, .. } in self.desk.waiting.remove(&to).into_iter().flatten() {
            self.on_answer(now, node, to, asked, Err(CallError::NoSession(to)));
        }
        self.settle(now, node);
    }

    /// What has waited too long for a session is given up.
    pub(super) fn expire_asks(&mut self, now: Now, node: &mut Node) {
        let mut late = Vec::new();
        self.desk.waiting.retain(|&to, waiting| {
            late.extend(waiting.extract_if(.., |one| one.until <= now.instant).map(|one| (to, one.asked)));
            !waiting.is_empty()
        });
        for (to, asked) in late {
            self.on_answer(now, node, to, asked, Err(CallError::Deadline(PATIENCE)));
        }
    }

    /// Something happened to a call. What is none of ours comes back.
    pub(super) fn on_call_event(&mut self, now: Now, node: &mut Node, event: CallEvent) -> Option<CallEvent> {
        match event {
            CallEvent::Requested { call, method, body, .. } if method.starts_with(PREFIX) => {
                self.on_request(now, node, call, &method, &body);
            }
            CallEvent::Item { call, body } if self.desk.made.contains_key(&call) => {
                node.release_items(now, call, 1, body.len());
                if let Some((_, answer)) = self.desk.made.get_mut(&call) {
                    *answer = body;
                }
            }
            CallEvent::Ended { call, outcome } if self.desk.made.contains_key(&call) => {
                if let Some((asked, answer)) = self.desk.made.remove(&call) {
                    self.on_answer(now, node, call.peer, asked, outcome.map(|()| answer));
                }
            }
            CallEvent::Abandoned { call } if self.abandon(call) => {}
            event => return Some(event),
        }
        self.settle(now, node);
        None
    }

    /// Another node asks something.
    fn on_request(&mut self, now: Now, node: &mut Node, call: CallId, method: &str, body: &[u8]) {
        match method {
            DELIVER => self.on_deliver(now, node, call, body),
            FORK => self.on_fork(now, node, call, body),
            STATE => self.on_state(now, node, call, body),
            _ => _ = node.end_reply(now, call, Err(CallError::UnknownMethod)),
        }
    }

    /// What came of a question.
    fn on_answer(
        &mut self,
        now: Now,
        node: &mut Node,
        from: NodeId,
        asked: Asked,
        answer: Result<Vec<u8>, CallError>,
    ) {
        match asked {
            Asked::Deliver { daemon, count } => self.on_delivered(now, node, from, daemon, count, answer),
            Asked::Fork { group } => self.on_forked(now, group, &answer),
            Asked::State { hash } => self.on_piece(now, node, hash, answer),
        }
    }
}

/// Answers a question with one item.
pub(super) fn answer(now: Now, node: &mut Node, call: CallId, body: &[u8]) {
    // One that nobody waits for any more is no error, and a single item is never too many.
    if node.reply(now, call, body).is_ok() {
        let _ = node.end_reply(now, call, Ok(()));
    }
}
