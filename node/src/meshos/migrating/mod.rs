//! Moving daemons from node to node.

mod source;
mod target;

use std::collections::{BTreeMap, VecDeque};

use meshground_shared::{CommandId, DaemonId, MigrationId, MigrationPhase, NodeId};
use serde::{Deserialize, Serialize};

use super::{
    MeshOs, Ticket,
    desk::{Asked, answer},
};
use crate::{
    compute::{
        MigrateError,
        migration::{Advice, Incoming, Outgoing, Pieces, Replayed, Taken},
    },
    node::Node,
    rpc::{CallError, CallId},
    time::{Instant, Now},
    wire,
};

/// Asked of a daemon's host: to move it.
const START: &str = "os.migrate.start";

/// Asked of the target: to take a daemon.
const OFFER: &str = "os.migrate.offer";

/// Asked of the target: to take what came for the daemon meanwhile.
const REPLAY: &str = "os.migrate.replay";

/// Asked of the target: to run the daemon.
const CUTOVER: &str = "os.migrate.cutover";

/// Told the target: it is over.
const ABORT: &str = "os.migrate.abort";

/// Asked of the source: the daemon's state.
const FETCH: &str = "os.migrate.fetch";

/// Told the source: how far the target is.
const TELL: &str = "os.migrate.tell";

/// So many migrations that are over are remembered, so that no late offer begins one anew.
const MAX_ENDED: usize = 4_096;

/// So many are remembered at their source, so that a command that comes too late for one can be told from none of its business.
const MAX_DEPARTED: usize = 256;

/// A question about a migration, for when the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AboutMigration {
    Start { ticket: Ticket },
    Offer(MigrationId),
    Replay(MigrationId),
    Cutover(MigrationId),
    Abort,
    Fetch(MigrationId),
    Tell { migration: MigrationId, of_live: bool },
}

/// Who is told what came of a migration.
#[derive(Debug)]
enum Waiter {
    Ticket(Ticket),
    Call(CallId),
}

/// What [`START`] asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    daemon: u64,
    to: NodeId,
    cause: Option<CommandId>,
}

/// A migration that is over at its target.
#[derive(Debug, Clone, Copy)]
struct Ended {
    id: MigrationId,
    source: Option<NodeId>,
    /// How many events followed the daemon, if it went live.
    replayed: Option<u64>,
}

/// The migrations this node takes part in.
#[derive(Debug, Default)]
pub(super) struct Migrations {
    outgoing: BTreeMap<MigrationId, Outgoing>,
    incoming: BTreeMap<MigrationId, Incoming>,
    /// Those that are over, at their target, the latest last.
    ended: VecDeque<Ended>,
    /// Those that are over, at their source, the latest last.
    departed: VecDeque<MigrationId>,
    waiting: Vec<(MigrationId, Waiter)>,
    /// Targets that fetch, and how far they are.
    serving: BTreeMap<CallId, (MigrationId, Pieces)>,
}

impl Migrations {
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.outgoing.values_mut().for_each(|outgoing| outgoing.handle_timeout(now));
        self.incoming.values_mut().for_each(|incoming| incoming.handle_timeout(now));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let outgoing = self.outgoing.values().filter_map(Outgoing::poll_timeout);
        outgoing.chain(self.incoming.values().filter_map(Incoming::poll_timeout)).min()
    }

    /// The migration that takes this daemon away from here.
    fn leaving(&mut self, daemon: DaemonId) -> Option<&mut Outgoing> {
        self.outgoing.values_mut().find(|outgoing| outgoing.daemon == daemon)
    }

    /// Whether a migration takes this daemon away from here or brings it here.
    pub(super) fn concerns(&self, daemon: DaemonId) -> bool {
        self.outgoing.values().any(|outgoing| outgoing.daemon == daemon)
            || self.incoming.values().any(|it| it.daemon == daemon && it.is_under_way())
    }

    /// The node this daemon came from and that is not known to have heard that it arrived, if it is another than `to`, and until
    /// when a move there waits for that.
    fn origin_of(&self, daemon: DaemonId, to: NodeId) -> Option<(NodeId, Instant)> {
        let mut unheard = self.incoming.values().filter(|it| it.daemon == daemon && it.source != to);
        unheard.find_map(|incoming| Some((incoming.source, incoming.unheard()?)))
    }

    /// Those that this daemon came from are told at once again that it arrived.
    fn hurry_origins(&mut self, now: Instant, daemon: DaemonId) {
        let came = self.incoming.values_mut().filter(|it| it.daemon == daemon && it.unheard().is_some());
        came.for_each(|incoming| incoming.hurry(now));
    }

    /// This daemon has moved on, which it does only once it is heard that it arrived; or it went back to where it came from.
    fn moved_on(&mut self, daemon: DaemonId) {
        self.incoming.values_mut().filter(|it| it.daemon == daemon).for_each(Incoming::is_known_to_source);
    }

    /// The migration that brings this daemon here, until it runs.
    fn coming(&mut self, daemon: DaemonId) -> Option<&mut Incoming> {
        self.incoming.values_mut().find(|incoming| incoming.daemon == daemon && incoming.is_under_way())
    }
}

impl MeshOs {
    /// Has every migration do what it is time for. Whether anything happened.
    pub(super) fn pump_migrations(&mut self, now: Now, node: &mut Node) -> bool {
        let mut happened = false;
        let outgoing: Vec<MigrationId> = self.migrations.outgoing.keys().copied().collect();
        for id in outgoing {
            happened |= self.pump_outgoing(now, node, id);
        }
        let incoming: Vec<MigrationId> = self.migrations.incoming.keys().copied().collect();
        for id in incoming {
            happened |= self.pump_incoming(now, node, id);
        }
        happened
    }

    /// Another node asks something about a migration.
    pub(super) fn on_migrate_request(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        method: &str,
        body: &[u8],
    ) {
        let done = match method {
            START => self.on_start(now, node, call, body),
            FETCH => self.on_fetch(now, node, call, body),
            TELL => self.on_tell(now, node, call, body),
            OFFER => self.on_offer(now, node, call, body),
            REPLAY => self.on_replay(now, node, call, body),
            CUTOVER => self.on_cutover(now, node, call, body),
            ABORT => self.on_abort(now, node, call, body),
            _ => Err(CallError::UnknownMethod),
        };
        if let Err(error) = done {
            _ = node.end_reply(now, call, Err(error));
        }
    }

    /// What came of a question about a migration.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "it is done with, as every question is once it is answered"
    )]
    pub(super) fn on_migrate_answer(
        &mut self,
        now: Now,
        from: NodeId,
        about: AboutMigration,
        said: Result<Vec<u8>, CallError>,
    ) {
        let now = now.instant;
        match about {
            AboutMigration::Start { ticket } => {
                let outcome = said.map(|body| wire::decode::<Result<u64, MigrateError>>(&body));
                let outcome = match outcome {
                    Ok(Ok(outcome)) => outcome.map(MigrationId),
                    _ => Err(MigrateError::Unreachable(from)),
                };
                self.settled(ticket, super::Settlement::Migrated(outcome));
            }
            AboutMigration::Offer(id) => {
                let Some(outgoing) = self.migrations.outgoing.get_mut(&id) else { return };
                match said.map(|body| wire::decode::<Taken>(&body)) {
                    Ok(Ok(taken)) => {
                        let kind = self.registry.get(outgoing.daemon).and_then(|it| it.kind.as_deref());
                        outgoing.offered(now, kind.unwrap_or_default(), taken);
                    }
                    _ => outgoing.unanswered(now),
                }
            }
            AboutMigration::Replay(id) | AboutMigration::Cutover(id) => {
                let Some(outgoing) = self.migrations.outgoing.get_mut(&id) else { return };
                match said.map(|body| wire::decode::<Replayed>(&body)) {
                    Ok(Ok(replayed)) if about == AboutMigration::Cutover(id) => outgoing.cut(now, replayed),
                    Ok(Ok(replayed)) => outgoing.replayed(now, replayed),
                    _ => outgoing.unanswered(now),
                }
            }
            AboutMigration::Abort => {}
            AboutMigration::Fetch(id) => {
                if let Some(incoming) = self.migrations.incoming.get_mut(&id) {
                    incoming.fetched(now, matches!(said, Err(CallError::Refused { .. })));
                }
            }
            AboutMigration::Tell { migration, of_live } => {
                if let Some(incoming) = self.migrations.incoming.get_mut(&migration) {
                    let advice = said.ok().and_then(|body| wire::decode::<Advice>(&body).ok());
                    incoming.advised(now, of_live, advice);
                }
            }
        }
    }

    /// A daemon is gone from this node.
    pub(super) fn on_moving_gone(&mut self, now: Now, daemon: DaemonId, generation: u64) {
        if let Some(incoming) = self.migrations.coming(daemon)
            && incoming.offer.generation == generation
        {
            incoming.fail(now.instant, "it was dropped at the target".to_owned());
        }
        if let Some(outgoing) = self.migrations.leaving(daemon) {
            if outgoing.phase() == MigrationPhase::Cutover {
                // One that has been given away is dropped only for a later incarnation.
                let generation = outgoing.generation;
                outgoing.seen_live(now.instant, generation);
            } else {
                // Nothing is left to be sent, and nothing to go on with.
                outgoing.kill(now.instant);
            }
        }
    }

    /// A daemon crashed.
    pub(super) fn on_moving_crashed(&mut self, now: Now, daemon: DaemonId, reason: &str) {
        if let Some(incoming) = self.migrations.coming(daemon) {
            incoming.fail(now.instant, format!("it could not be made anew: {reason}"));
        }
        if let Some(outgoing) = self.migrations.leaving(daemon) {
            outgoing.fail(now.instant, MigrateError::Failed(format!("the daemon crashed: {reason}")));
        }
    }

    fn ask_about(
        &mut self,
        now: Now,
        node: &mut Node,
        to: NodeId,
        method: &'static str,
        body: Vec<u8>,
        about: AboutMigration,
    ) {
        self.ask(now, node, to, method, body, Asked::Migrate(about));
    }
}

/// Answers a question about a migration.
fn say<T: Serialize>(now: Now, node: &mut Node, call: CallId, value: &T) {
    answer(now, node, call, &wire::encode(value));
}

/// Reads a question about one.
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    wire::decode(body).map_err(|_| CallError::Malformed)
}
