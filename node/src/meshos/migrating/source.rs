//! The source's part.

use meshground_shared::{
    CommandId, DaemonEnd, DaemonId, EventKind, Lifecycle, MigrationId, MigrationPhase, MigrationView, NodeId,
};
use rand_chacha::rand_core::RngCore;

use super::{
    super::{MeshOs, Settlement, Ticket},
    ABORT, AboutMigration, CUTOVER, MAX_DEPARTED, OFFER, REPLAY, START, Start, Waiter, read, say,
};
use crate::{
    compute::{
        Luggage, MAX_MIGRATIONS, MigrateError, NoState, generation,
        migration::{Advice, Offer, Order, Outgoing, Stage, Tell, Trouble},
    },
    node::Node,
    rpc::{APPLICATION_CODES, CallError, CallId, ReplyError},
    time::{Instant, Now},
    wire,
};

impl MeshOs {
    /// Moves a daemon, wherever it runs, to the node `to`. [`Settlement::Migrated`] follows when it runs there or stays
    /// where it was.
    ///
    /// # Errors
    /// When it cannot even be tried, as far as this node can tell. Nothing changed then.
    pub fn migrate(
        &mut self,
        now: Now,
        node: &mut Node,
        daemon: DaemonId,
        to: NodeId,
        cause: Option<CommandId>,
    ) -> Result<Ticket, MigrateError> {
        let ticket = self.begin_migration(now, node, daemon, to, cause)?;
        if let Some(outgoing) = self.migrations.leaving(daemon) {
            outgoing.announce();
        }
        self.settle(now, node);
        Ok(ticket)
    }

    /// As [`migrate`](Self::migrate), for whoever has everything settled that follows from it. Nobody is told of the
    /// migration before it is known that the daemon has a state.
    pub(in crate::meshos) fn begin_migration(
        &mut self,
        now: Now,
        node: &mut Node,
        daemon: DaemonId,
        to: NodeId,
        cause: Option<CommandId>,
    ) -> Result<Ticket, MigrateError> {
        if self.registry.get(daemon).is_some_and(|instance| !instance.held) {
            let id = self.depart(now, node, daemon, to, cause)?;
            let ticket = self.issue();
            self.migrations.waiting.push((id, Waiter::Ticket(ticket)));
            return Ok(ticket);
        }
        let (host, _) = self.directory.find(daemon).ok_or(MigrateError::NotFound(daemon))?;
        if host == to {
            return Err(MigrateError::SameNode(to));
        }
        if host == self.local || !self.is_reachable(node, host) {
            return Err(MigrateError::Unreachable(host));
        }
        let ticket = self.issue();
        let body = wire::encode(&Start { daemon: daemon.0, to, cause });
        self.ask_about(now, node, host, START, body, AboutMigration::Start { ticket });
        Ok(ticket)
    }

    /// Calls off a migration of which this node is the source, because of the command `cause` if one: the daemon stays here.
    ///
    /// # Errors
    /// When there is none, and from the cutover on.
    pub fn cancel_migration(
        &mut self,
        now: Now,
        node: &mut Node,
        migration: MigrationId,
        cause: Option<CommandId>,
    ) -> Result<(), MigrateError> {
        let outgoing = self.leaving_by(migration)?;
        outgoing.cancel(now.instant)?;
        outgoing.cause = cause.or(outgoing.cause);
        self.settle(now, node);
        Ok(())
    }

    /// Has a migration of which this node is the source not wait until few events wait for the daemon, as soon as the
    /// target has made it anew.
    ///
    /// # Errors
    /// When there is none, and from the cutover on.
    pub fn force_cutover(
        &mut self,
        now: Now,
        node: &mut Node,
        migration: MigrationId,
        cause: Option<CommandId>,
    ) -> Result<(), MigrateError> {
        let outgoing = self.leaving_by(migration)?;
        if outgoing.phase() >= MigrationPhase::Cutover {
            return Err(MigrateError::TooLate);
        }
        outgoing.force();
        outgoing.cause = cause.or(outgoing.cause);
        self.settle(now, node);
        Ok(())
    }

    /// A daemon is not to move away from here now, if that can still be helped.
    pub(in crate::meshos) fn stop_moving(&mut self, now: Instant, daemon: DaemonId) {
        if let Some(outgoing) = self.migrations.leaving(daemon) {
            // From the cutover on it is too late.
            let _ = outgoing.cancel(now);
        }
    }

    /// Calls off a migration of which this node is the source, even after the cutover: then the daemon goes on here as
    /// of before, as a later incarnation, and the target drops its own as soon as it hears of that. What the target may
    /// have worked off is lost.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_migration(
        &mut self,
        now: Now,
        node: &mut Node,
        migration: MigrationId,
        cause: Option<CommandId>,
    ) -> Result<(), MigrateError> {
        let outgoing = self.leaving_by(migration)?;
        outgoing.kill(now.instant);
        outgoing.cause = cause.or(outgoing.cause);
        self.settle(now, node);
        Ok(())
    }

    /// The migrations under way of which this node is the source, by id. One that nobody asked for here is
    /// among them when the daemon's state is there, or has not been for a second.
    pub fn migrations(&self, now: Instant) -> impl Iterator<Item = MigrationView> {
        let outgoing = self.migrations.outgoing.values().filter(|outgoing| outgoing.is_told());
        outgoing.map(move |outgoing| self.view_of(now, outgoing))
    }

    fn view_of(&self, now: Instant, outgoing: &Outgoing) -> MigrationView {
        let buffered = self.registry.get(outgoing.daemon).map_or(0, |instance| instance.inbox.len());
        outgoing.view(now, buffered)
    }

    /// Whether this node is, or was a short while ago, the source of a migration.
    pub(in crate::meshos) fn is_source(&self, migration: MigrationId) -> bool {
        self.migrations.outgoing.contains_key(&migration) || self.migrations.departed.contains(&migration)
    }

    fn leaving_by(&mut self, migration: MigrationId) -> Result<&mut Outgoing, MigrateError> {
        self.migrations.outgoing.get_mut(&migration).ok_or(MigrateError::NotMigrating(migration))
    }

    /// Begins to move a daemon away.
    fn depart(
        &mut self,
        now: Now,
        node: &mut Node,
        daemon: DaemonId,
        to: NodeId,
        cause: Option<CommandId>,
    ) -> Result<MigrationId, MigrateError> {
        let instance = self.registry.get(daemon).filter(|instance| !instance.held);
        let instance = instance.ok_or(MigrateError::NotFound(daemon))?;
        if self.is_frozen() {
            return Err(MigrateError::Frozen);
        }
        if self.migrations.outgoing.values().any(|outgoing| outgoing.daemon == daemon) {
            return Err(MigrateError::AlreadyMoving(daemon));
        }
        let kind = instance.kind.as_ref().ok_or(MigrateError::NotMovable(daemon))?;
        if to == self.local {
            return Err(MigrateError::SameNode(to));
        }
        if self.migrations.outgoing.len() >= MAX_MIGRATIONS {
            return Err(MigrateError::TooMany);
        }
        let there = self.directory.get(to).ok_or(MigrateError::Unreachable(to))?;
        if !there.takes_new() {
            return Err(MigrateError::Closed(to));
        }
        if !there.kinds.contains(kind) {
            return Err(MigrateError::KindNotFound { node: to, kind: kind.clone() });
        }
        let announced = node.capabilities().get(to).cloned().unwrap_or_default();
        if !instance.requirements.matches(to, &announced) {
            return Err(MigrateError::Unsuitable(to));
        }
        if self.barred(instance).contains(&to) {
            return Err(MigrateError::Occupied(to));
        }
        if !node.is_reachable(to) {
            return Err(MigrateError::Unreachable(to));
        }
        let generation = generation::next(instance.generation);
        if let Some((origin, _)) =
            self.migrations.origin_of(daemon, to).filter(|(_, until)| *until <= now.instant)
        {
            // Nothing would come of it but a pause. Should that node be back just now, it is heard before the next attempt.
            self.migrations.hurry_origins(now.instant, daemon);
            return Err(MigrateError::Unheard(origin));
        }
        if !self.registry.take_state(daemon, true) {
            return Err(MigrateError::NotRunning(daemon));
        }
        if let Some(instance) = self.registry.get_mut(daemon) {
            instance.cause = cause.or(instance.cause);
        }
        let id = MigrationId(self.rng.next_u64());
        let outgoing = Outgoing::new(now.instant, id, daemon, [self.local, to], generation, cause);
        self.migrations.outgoing.insert(id, outgoing);
        Ok(id)
    }

    /// The state of a daemon that moves is there, or it is known why there is none.
    pub(in crate::meshos) fn on_moving_state(
        &mut self,
        now: Now,
        daemon: DaemonId,
        luggage: Result<Box<Luggage>, NoState>,
    ) {
        let luggage = luggage.map(|mut luggage| {
            self.pack_standing(daemon, &mut luggage);
            *luggage
        });
        if let Some(outgoing) = self.migrations.leaving(daemon) {
            outgoing.snapshot(now.instant, luggage);
        }
    }

    /// Has one do what it is time for. Whether anything happened.
    pub(super) fn pump_outgoing(&mut self, now: Now, node: &mut Node, id: MigrationId) -> bool {
        let mut happened = false;
        loop {
            let Some(outgoing) = self.migrations.outgoing.get(&id) else { return happened };
            let daemon = outgoing.daemon;
            let origin = (outgoing.phase() <= MigrationPhase::Transfer)
                .then(|| self.migrations.origin_of(daemon, outgoing.target))
                .flatten();
            let Some(outgoing) = self.migrations.outgoing.get_mut(&id) else { return happened };
            outgoing.await_origin(now.instant, origin);
            let instance = self.registry.get(daemon);
            if instance.is_none_or(|instance| instance.lifecycle != Lifecycle::Migrating) {
                let reason = "the daemon was stopped, or crashed, meanwhile";
                outgoing.fail(now.instant, MigrateError::Failed(reason.to_owned()));
            }
            if outgoing.is_news(now.instant) {
                let migration = outgoing.view(now.instant, instance.map_or(0, |it| it.inbox.len()));
                let cause = outgoing.cause;
                self.registry.show_moving(daemon);
                self.happened(EventKind::MigrationChanged { migration }, cause);
                self.oversight.touch();
                self.say_soon(now);
                happened = true;
                continue;
            }
            if let Some(trouble) = outgoing.trouble(now.instant) {
                let what = troubled(outgoing, trouble);
                self.record_failure(now, what);
                happened = true;
                continue;
            }
            let Some(order) = outgoing.next(instance.map(|instance| &instance.inbox), now.instant) else {
                return happened;
            };
            let target = outgoing.target;
            match order {
                Order::Offer => {
                    let Some(offer) = self.offer_of(id) else { return happened };
                    let body = wire::encode(&offer);
                    self.ask_about(now, node, target, OFFER, body, AboutMigration::Offer(id));
                }
                Order::Replay(replay) => {
                    let body = wire::encode(&replay);
                    self.ask_about(now, node, target, REPLAY, body, AboutMigration::Replay(id));
                }
                Order::Cutover(cutover) => {
                    let body = wire::encode(&cutover);
                    self.ask_about(now, node, target, CUTOVER, body, AboutMigration::Cutover(id));
                }
                Order::Seal if self.registry.seal(daemon) => outgoing.sealed(),
                // As soon as nothing is under way with it.
                Order::Seal => return happened,
                Order::Stay | Order::Drop => self.conclude(now, node, id),
            }
            happened = true;
        }
    }

    /// Who keeps a daemon from leaving this node for another, as it came from there and has not heard that it arrived.
    pub(in crate::meshos) fn unheard_by(&self, daemon: DaemonId) -> Option<NodeId> {
        self.migrations.origin_of(daemon, self.local).map(|(origin, _)| origin)
    }

    fn offer_of(&self, id: MigrationId) -> Option<Offer> {
        let outgoing = self.migrations.outgoing.get(&id)?;
        let instance = self.registry.get(outgoing.daemon)?;
        Some(Offer {
            migration: id.0,
            seed: instance.keypair.seed(),
            kind: instance.kind.clone()?,
            args: instance.args.clone(),
            member: instance.member,
            generation: outgoing.generation,
            cause: outgoing.cause,
            bytes: outgoing.bytes(),
        })
    }

    /// One is over.
    fn conclude(&mut self, now: Now, node: &mut Node, id: MigrationId) {
        let Some(outgoing) = self.migrations.outgoing.remove(&id) else { return };
        if self.migrations.departed.len() == MAX_DEPARTED {
            self.migrations.departed.pop_front();
        }
        self.migrations.departed.push_back(id);
        let daemon = outgoing.daemon;
        if let Some(instance) = self.registry.get_mut(daemon) {
            instance.cause = outgoing.cause.or(instance.cause);
            instance.generation = outgoing.new_generation().unwrap_or(instance.generation);
        }
        if outgoing.phase() == MigrationPhase::Complete {
            self.migrations.moved_on(daemon);
            self.registry.drop_instance(daemon, DaemonEnd::Migrated);
        } else {
            self.registry.stay(daemon);
            self.deliveries.hurry(daemon);
            let body = wire::encode(&id.0);
            // If this is lost, the target asks.
            self.ask_about(now, node, outgoing.target, ABORT, body, AboutMigration::Abort);
        }
        let calls: Vec<CallId> = self
            .migrations
            .serving
            .extract_if(.., |_, (served, _)| *served == id)
            .map(|(call, _)| call)
            .collect();
        for call in calls {
            _ = node.end_reply(now, call, Err(over()));
        }
        let outcome = outgoing.outcome().cloned().unwrap_or(Ok(())).map(|()| id);
        let waiters: Vec<_> = self.migrations.waiting.extract_if(.., |(which, _)| *which == id).collect();
        for (_, waiter) in waiters {
            match waiter {
                Waiter::Ticket(ticket) => self.settled(ticket, Settlement::Migrated(outcome.clone())),
                Waiter::Call(call) => say(now, node, call, &outcome.clone().map(|id| id.0)),
            }
        }
    }

    /// Another node asks to move a daemon of this one.
    pub(super) fn on_start(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let Start { daemon, to, cause } = read(body)?;
        match self.depart(now, node, DaemonId(daemon), to, cause) {
            Ok(id) => self.migrations.waiting.push((id, Waiter::Call(call))),
            Err(error) => say(now, node, call, &Err::<u64, _>(error)),
        }
        Ok(())
    }

    /// The target fetches.
    pub(super) fn on_fetch(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let (id, from): (u64, u64) = read(body)?;
        let id = MigrationId(id);
        let outgoing = self.migrations.outgoing.get_mut(&id);
        let outgoing = outgoing.filter(|outgoing| outgoing.target == call.peer).ok_or_else(over)?;
        let pieces = outgoing.fetch(now.instant, from).ok_or_else(over)?;
        let stale: Vec<CallId> = self
            .migrations
            .serving
            .extract_if(.., |_, (served, _)| *served == id)
            .map(|(call, _)| call)
            .collect();
        for call in stale {
            _ = node.end_reply(now, call, Err(CallError::Failed));
        }
        self.migrations.serving.insert(call, (id, pieces));
        self.serve(now, node, call);
        Ok(())
    }

    /// Whether this call is a target's that fetches.
    pub(in crate::meshos) fn serves(&self, call: CallId) -> bool {
        self.migrations.serving.contains_key(&call)
    }

    /// Gives a target as much as there is room for.
    pub(in crate::meshos) fn serve(&mut self, now: Now, node: &mut Node, call: CallId) {
        let Some((id, pieces)) = self.migrations.serving.get_mut(&call) else { return };
        let Some(packed) = self.migrations.outgoing.get_mut(id).and_then(Outgoing::packed) else { return };
        loop {
            match packed.next(pieces, |item| node.reply(now, call, item)) {
                Ok(true) => {}
                Ok(false) => {
                    self.migrations.serving.remove(&call);
                    _ = node.end_reply(now, call, Ok(()));
                    return;
                }
                // It is told when there is room again.
                Err(ReplyError::Full) => return,
                Err(_) => {
                    self.migrations.serving.remove(&call);
                    return;
                }
            }
        }
    }

    /// The target tells how far it is.
    pub(super) fn on_tell(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let Tell { migration, daemon, generation, stage } = read(body)?;
        let outgoing = self.migrations.outgoing.get_mut(&MigrationId(migration));
        let advice = if let Some(outgoing) = outgoing.filter(|outgoing| outgoing.target == call.peer) {
            outgoing.told_by_target(now.instant, stage);
            Advice::GoOn
        } else {
            let here = self.registry.get(DaemonId(daemon)).filter(|instance| !instance.held);
            let newer = here.is_some_and(|instance| instance.generation > generation);
            if newer && stage == Stage::Live { Advice::Superseded } else { Advice::Over }
        };
        say(now, node, call, &advice);
        Ok(())
    }

    /// What `who` says runs there may tell that a daemon has arrived.
    pub(in crate::meshos) fn learn_incarnations(&mut self, now: Instant, who: NodeId) {
        let Some(inventory) = self.directory.get(who).filter(|_| who != self.local) else { return };
        for daemon in &inventory.daemons {
            if let Some(outgoing) = self.migrations.leaving(daemon.id()) {
                outgoing.seen_live(now, daemon.generation);
            }
        }
    }

    /// A node has left: what was on its way there is not.
    pub(in crate::meshos) fn target_left(&mut self, now: Instant, target: NodeId) {
        let there = self.migrations.outgoing.values_mut().filter(|outgoing| outgoing.target == target);
        there.for_each(|outgoing| outgoing.target_left(now));
    }

    /// Nobody waits for this answer any more. Whether there was one.
    pub(in crate::meshos) fn abandon_migration(&mut self, call: CallId) -> bool {
        let before = self.migrations.waiting.len();
        self.migrations
            .waiting
            .retain(|(_, waiter)| !matches!(waiter, Waiter::Call(other) if *other == call));
        self.migrations.serving.remove(&call).is_some() || self.migrations.waiting.len() < before
    }
}

/// What is written down of one that goes on neither here nor, as far as is known, there.
fn troubled(outgoing: &Outgoing, trouble: Trouble) -> String {
    let Outgoing { id, daemon, target, .. } = outgoing;
    match trouble {
        Trouble::Silent => format!(
            "migration {id} waits: node {target} was given daemon {daemon} and has not said that it runs it; wait until that \
             node is back, or kill the migration to have the daemon go on here without what it did there"
        ),
        Trouble::Gone(why) => format!(
            "migration {id} waits: node {target} was given daemon {daemon}, and {why}, so long after that that the daemon may \
             have moved on from there; if it runs nowhere, kill the migration to have it go on here"
        ),
    }
}

/// What a target is told that fetches what is not there any more.
fn over() -> CallError {
    CallError::Refused { code: APPLICATION_CODES, reason: "the migration is over".to_owned() }
}
