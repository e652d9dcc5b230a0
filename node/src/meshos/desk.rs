//! What one node's part of the system asks another's: remote calls, over sessions made for them where there are none.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{DaemonId, GroupId, NodeId};

use super::{MeshOs, migrating::AboutMigration};
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

/// Says something about a signed command.
pub(super) const ADMIN: &str = "os.admin";

/// Asks what was commanded that this node does not know of.
pub(super) const AUDIT: &str = "os.audit";

/// What every method of migrations begins with.
pub(super) const MIGRATE: &str = "os.migrate.";

/// Has a daemon's state signed for forks.
pub(super) const FORK: &str = "os.group.fork";

/// Fetches a piece of such a state.
pub(super) const STATE: &str = "os.group.state";

/// Brings a standby what it is to hold.
pub(super) const SYNC: &str = "os.group.sync";

/// Asks what somebody holds of a standby group.
pub(super) const POLL: &str = "os.group.poll";

/// How long a question may take, the making of a session included.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was asked, for when the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To bring a daemon events.
    Deliver { daemon: DaemonId, count: usize },
    /// Nothing that anybody waits for: it was said, and is said again if need be.
    Admin,
    /// What was commanded.
    Audit,
    /// Something about a migration.
    Migrate(AboutMigration),
    /// To sign a state for a group's forks.
    Fork { group: GroupId },
    /// For a piece of a state.
    State { hash: [u8; 32] },
    /// To hold something of a standby group.
    Sync { group: GroupId, to: NodeId },
    /// What somebody holds of it.
    Poll { group: GroupId, host: NodeId },
    /// The same, to go on with it under this generation.
    Claim { group: GroupId, host: NodeId, generation: u64 },
}

impl Asked {
    /// Whether each item of the answer is told as it comes; of the others only the last counts.
    fn is_streamed(&self) -> bool {
        matches!(self, Self::Migrate(AboutMigration::Fetch(_)))
    }

    /// Whether the answer may take longer than others.
    fn is_lasting(&self) -> bool {
        matches!(self, Self::Migrate(AboutMigration::Fetch(_) | AboutMigration::Start { .. }))
    }
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

    /// The call this is asked by, if it is under way.
    pub(super) fn call_of(&self, asked: &Asked) -> Option<CallId> {
        self.made.iter().find(|(_, (other, _))| other == asked).map(|(&call, _)| call)
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
        // What lasts as long as it lasts ends with the session at the latest.
        let patience = Some(PATIENCE).filter(|_| !asked.is_lasting());
        match node.call(now, to, method, &body, patience) {
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
                if let Some((asked, answer)) = self.desk.made.get_mut(&call) {
                    if asked.is_streamed() {
                        let asked = *asked;
                        self.on_item(now, &asked, &body);
                    } else {
                        *answer = body;
                    }
                }
            }
            CallEvent::Ended { call, outcome } if self.desk.made.contains_key(&call) => {
                if let Some((asked, answer)) = self.desk.made.remove(&call) {
                    self.on_answer(now, node, call.peer, asked, outcome.map(|()| answer));
                }
            }
            CallEvent::Abandoned { call } if self.abandon(call) || self.abandon_migration(call) => {}
            CallEvent::ReplyWritable { call } if self.serves(call) => self.serve(now, node, call),
            event => return Some(event),
        }
        self.settle(now, node);
        None
    }

    /// Another node asks something.
    fn on_request(&mut self, now: Now, node: &mut Node, call: CallId, method: &str, body: &[u8]) {
        match method {
            DELIVER => self.on_deliver(now, node, call, body),
            ADMIN => self.on_admin(now, node, call, body),
            AUDIT => self.on_audit(now, node, call, body),
            method if method.starts_with(MIGRATE) => self.on_migrate_request(now, node, call, method, body),
            FORK => self.on_fork(now, node, call, body),
            STATE => self.on_state(now, node, call, body),
            SYNC => self.on_sync(now, node, call, body),
            POLL => self.on_poll(now, node, call, body),
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
            Asked::Deliver { daemon, count } => self.on_delivered(now, from, daemon, count, answer),
            Asked::Admin => {}
            Asked::Audit => self.on_audited(now, node, from, &answer),
            Asked::Fork { group } => self.on_forked(now, group, &answer),
            Asked::Sync { group, to } => self.on_synced(now, node, group, to, &answer),
            Asked::Poll { group, host } => self.on_polled(group, host, &answer),
            Asked::Claim { group, host, generation } => self.on_claimed(group, host, generation, &answer),
            Asked::State { hash } => self.on_piece(now, node, hash, answer),
            Asked::Migrate(about) => self.on_migrate_answer(now, from, about, answer),
        }
    }

    /// An item of an answer of which each counts.
    fn on_item(&mut self, now: Now, asked: &Asked, item: &[u8]) {
        if let Asked::Migrate(AboutMigration::Fetch(migration)) = asked {
            self.on_fetched_item(now.instant, *migration, item);
        }
    }
}

/// Answers a question with one item.
pub(super) fn answer(now: Now, node: &mut Node, call: CallId, body: &[u8]) {
    // One that nobody waits for any more is no error, and a single item is never too many.
    let outcome = node.reply(now, call, body).map_err(|_| CallError::Failed);
    let _ = node.end_reply(now, call, outcome);
}
