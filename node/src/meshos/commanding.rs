//! Signed commands: brought to every node, judged there, and carried out here.

use std::time::Duration;

use meshground_shared::{
    AdminVerb, AuditEntry, BlastRadius, CommandId, DaemonEnd, DaemonId, Decision, EventKind, Health, IceVerb,
    Lifecycle, MigrationId, NodeId, Rejection, Verb,
};

use super::{
    MeshOs, Settlement, Ticket,
    desk::{ADMIN, Asked, answer},
};
use crate::{
    admin::{
        AdminEffect, AuditTrail, ClusterPicture, DaemonPicture, MigrationPicture, NodePicture, Nonce,
        Question, SignedCommand, simulate,
    },
    compute::{Inventory, MigrateError},
    node::Node,
    rpc::{CallError, CallId},
    time::{Instant, Now},
};

/// How many of them a snapshot shows.
const AUDIT_SHOWN: usize = 64;

/// A thaw that comes while a freeze is being decided on waits so long at most for that.
const POSTPONED: Duration = Duration::from_secs(4);

/// The most that wait so.
const MAX_POSTPONED: usize = 16;

/// The most that wait for this node to catch up with what was commanded before.
pub(super) const MAX_HELD: usize = 64;

/// A command that waits for another to be decided on, or for this node to know what was commanded before.
#[derive(Debug)]
pub(super) struct Postponed {
    ticket: Ticket,
    command: SignedCommand,
    until: Instant,
}

/// What became of a signed command on every node it was put to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commanded {
    /// The command's nonce.
    pub nonce: Nonce,
    /// What became of it: the same everywhere.
    pub decision: Decision,
}

impl Nonce {
    /// The command id that everything carries which follows from a signed command: the nonce's first 8 bytes, big-endian.
    pub fn command(&self) -> CommandId {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        CommandId(u64::from_be_bytes(first))
    }
}

impl MeshOs {
    /// Puts a signed command to every node it names. [`Settlement::Commanded`] says what became of it: applied on all of
    /// them, or rejected on all.
    ///
    /// A node that may not know yet what was commanded before its life does so as soon as it knows, after 10 s at the latest;
    /// or 3 s if it has no neighbours. At most 64 wait for that; more are overloaded, which nobody writes down.
    pub fn submit(&mut self, now: Now, node: &mut Node, command: &SignedCommand) -> Ticket {
        let ticket = self.issue();
        let is_behind = self.is_behind(now, node);
        if is_behind && self.postponed.len() >= MAX_HELD {
            let (nonce, decision) = (command.nonce(), Decision::Rejected(Rejection::Overloaded));
            self.settled(ticket, Settlement::Commanded(Commanded { nonce, decision }));
        } else if is_behind || self.admin.must_wait(command) && self.postponed.len() < MAX_POSTPONED {
            let until = now.instant + POSTPONED;
            self.postponed.push(Postponed { ticket, command: command.clone(), until });
        } else {
            self.put_to_all(now, node, ticket, command);
        }
        self.settle(now, node);
        ticket
    }

    fn put_to_all(&mut self, now: Now, node: &mut Node, ticket: Ticket, command: &SignedCommand) {
        let picture = self.picture(node);
        let attempt = self.admin.submit(now, command, &picture);
        self.commanding.insert(attempt, (ticket, command.nonce()));
    }

    /// What a break-glass command would do now; `None` if it cannot be carried out.
    pub fn simulate(&self, node: &mut Node, verb: &IceVerb) -> Option<BlastRadius> {
        simulate(verb, &self.picture(node))
    }

    /// What this node decided on signed commands, and when.
    pub fn audit(&self) -> &AuditTrail {
        self.admin.trail()
    }

    /// The cluster, as far as commands depend on it.
    pub fn picture(&self, node: &mut Node) -> ClusterPicture {
        let mut picture = ClusterPicture::new(self.local);
        let own = Inventory {
            maintenance: self.stated_maintenance(),
            moving: self.saying.said.moving.clone(),
            ..Inventory::of(&self.registry)
        };
        let others = self.directory.iter().filter(|(id, _)| *id != self.local);
        for (id, inventory) in others.chain([(self.local, &own)]) {
            let health = if self.is_reachable(node, id) { Health::Healthy } else { Health::Unreachable };
            picture.nodes.insert(id, NodePicture { health, maintenance: inventory.maintenance });
            for moving in &inventory.moving {
                let its = MigrationPicture {
                    daemon: DaemonId(moving.daemon),
                    source: id,
                    target: NodeId(moving.target),
                    phase: moving.phase,
                };
                picture.migrations.insert(MigrationId(moving.migration), its);
            }
            for daemon in &inventory.daemons {
                let newer =
                    self.directory.find(daemon.id()).is_some_and(|(at, _)| at != id && id != self.local);
                if newer {
                    continue;
                }
                let member = daemon.member().map(|(group, index)| meshground_shared::Member { group, index });
                let healthy = daemon.is_well();
                let restartable = daemon.kind.is_some() && daemon.lifecycle != Lifecycle::Stopping;
                picture.daemons.insert(daemon.id(), DaemonPicture { node: id, member, healthy, restartable });
            }
        }
        picture.groups.extend(self.group_pictures());
        picture.frozen = self.is_frozen();
        picture
    }

    /// The latest of what this node decided on signed commands.
    pub(super) fn last_audit(&self) -> Vec<AuditEntry> {
        let mut last: Vec<AuditEntry> = self.admin.trail().iter().rev().take(AUDIT_SHOWN).cloned().collect();
        last.reverse();
        last
    }

    /// Another node says something about a command.
    pub(super) fn on_admin(&mut self, now: Now, node: &mut Node, call: CallId, body: &[u8]) {
        let Ok(question) = self.admin.on_message(now, call.peer, body) else {
            _ = node.end_reply(now, call, Err(CallError::Malformed));
            return;
        };
        // Whether it serves, a node that is behind does not know itself. It is asked again.
        let is_of_service = |question: &Question| self.admin.is_of_service(question);
        if question.as_ref().is_some_and(is_of_service) && self.is_behind(now, node) {
            return answer(now, node, call, &[]);
        }
        if let Some(question) = question {
            let picture = self.picture(node);
            self.admin.judge_for(now, question, &picture);
        }
        answer(now, node, call, &[]);
    }

    /// A node is there, in this life.
    pub(super) fn meet(&mut self, now: Now, node: NodeId, life: u64) {
        self.standby_met(node, life);
        self.admin.on_peer_up(now, node, life);
    }

    /// A node is gone for good, or long silent.
    pub(super) fn part(&mut self, now: Now, node: NodeId) {
        self.standby_parted(node);
        self.admin.on_peer_gone(now, node);
    }

    /// Sends what is to be said about commands, and carries out what was decided. Whether anything happened here.
    pub(super) fn pump_commands(&mut self, now: Now, node: &mut Node) -> bool {
        let mut happened = false;
        let is_behind = !self.postponed.is_empty() && self.is_behind(now, node);
        let admin = &self.admin;
        let is_due =
            |it: &mut Postponed| !is_behind && (!admin.must_wait(&it.command) || it.until <= now.instant);
        let due: Vec<Postponed> = self.postponed.extract_if(.., is_due).collect();
        for Postponed { ticket, command, .. } in due {
            self.put_to_all(now, node, ticket, &command);
            happened = true;
        }
        while let Some((to, message)) = self.admin.poll_message() {
            // It is said again if need be, so nobody waits for an answer.
            self.ask(now, node, to, ADMIN, message, Asked::Admin);
            happened = true;
        }
        while let Some(effect) = self.admin.poll_effect() {
            self.take_effect(now, node, &effect);
            happened = true;
        }
        while let Some(standing) = self.admin.poll_standing() {
            self.let_stand(now, &standing);
            happened = true;
        }
        while let Some(entry) = self.admin.poll_decided() {
            let cause = parse_nonce(&entry.nonce).map(|nonce| nonce.command());
            self.oversight.touch();
            self.happened(EventKind::AdminDecided { entry }, cause);
            happened = true;
        }
        while let Some((attempt, decision)) = self.admin.poll_outcome() {
            if let Some((ticket, nonce)) = self.commanding.remove(&attempt) {
                self.settled(ticket, Settlement::Commanded(Commanded { nonce, decision }));
            }
            happened = true;
        }
        happened
    }

    /// Does this node's part of what a command says.
    fn take_effect(&mut self, now: Now, node: &mut Node, effect: &AdminEffect) {
        let command = effect.nonce.command();
        let cause = Some(command);
        let local = self.local;
        let config = self.config.maintenance;
        let instant = now.instant;
        if let Verb::Admin(
            AdminVerb::Drain { node } | AdminVerb::EnterMaintenance { node } | AdminVerb::Cordon { node },
        ) = effect.verb
        {
            // Whoever was told that this is applied may have something placed before the node has said so everywhere.
            self.directory.cordon(node);
        }
        match &effect.verb {
            Verb::Admin(verb) => match *verb {
                AdminVerb::Drain { node } if node == local => {
                    self.change_service(now, cause, |service| Some(service.drain(instant, &config)));
                }
                AdminVerb::EnterMaintenance { node } if node == local => {
                    self.change_service(now, cause, |service| service.enter(instant, &config));
                }
                AdminVerb::ExitMaintenance { node } if node == local => {
                    self.change_service(now, cause, super::maintenance::Service::exit);
                }
                AdminVerb::Cordon { node } if node == local => {
                    self.change_service(now, cause, |service| {
                        service.cordon();
                        None
                    });
                }
                AdminVerb::Uncordon { node } if node == local => {
                    self.change_service(now, cause, super::maintenance::Service::uncordon);
                    if self.oversight.service.is_cordoned() {
                        self.record_failure(now, "not uncordoned: the node is on its way out of service");
                    }
                }
                AdminVerb::RestartAllDaemons { node } if node == local => {
                    let here = self.registry.iter().filter(|(_, instance)| !instance.held);
                    let daemons: Vec<_> = here.map(|(id, _)| id).collect();
                    for daemon in daemons {
                        self.restart_daemon(now, daemon, cause);
                    }
                }
                AdminVerb::ClearAvoidList { node } if node == local => self.stop_avoiding(now, cause),
                AdminVerb::DropReplicas { node: host } => self.drop_replicas(now, node, host, command),
                AdminVerb::InvalidatePlacement { group } => {
                    self.invalidate_placement(now, node, group, command);
                }
                _ => {}
            },
            Verb::Ice(verb) => match *verb {
                IceVerb::FreezeCluster { ttl_ms } => {
                    self.set_freeze(now, Some(Duration::from_millis(ttl_ms)), cause);
                }
                IceVerb::ThawCluster => self.set_freeze(now, None, cause),
                IceVerb::FlushAvoidLists => self.stop_avoiding(now, cause),
                IceVerb::ForceEvictReplica { group, index } => {
                    self.evict_replica(now, node, group, index, command);
                }
                IceVerb::ForceRestartDaemon { daemon } => self.restart_daemon(now, daemon, cause),
                IceVerb::ForceCutover { migration } => {
                    let forced = self.force_cutover(now, node, migration, cause);
                    self.mind_late(now, migration, "its cutover was not forced", &forced);
                }
                IceVerb::KillMigration { migration } => {
                    let killed = self.kill_migration(now, node, migration, cause);
                    self.mind_late(now, migration, "it was not killed", &killed);
                }
            },
        }
    }

    /// A command about a migration came to nothing, if it did. Only its source knows of it; to everybody else it is none of
    /// their business.
    fn mind_late(
        &mut self,
        now: Now,
        migration: MigrationId,
        what: &str,
        outcome: &Result<(), MigrateError>,
    ) {
        if outcome.is_err() && self.is_source(migration) {
            let phase = "that had come too far, or was over";
            self.record_failure(now, format!("migration {migration}: {what}, as {phase}"));
        }
    }

    /// Has a daemon here made anew: now, or as soon as it neither moves nor takes over a state.
    pub(super) fn restart_daemon(&mut self, now: Now, daemon: DaemonId, cause: Option<CommandId>) {
        let Some(instance) = self.registry.get_mut(daemon) else { return };
        instance.cause = cause;
        if self.registry.restart_later(daemon) {
            // Up to the cutover it stays for that. From there on it may be the target's, which is told the same.
            self.stop_moving(now.instant, daemon);
            return;
        }
        let Some(instance) = self.registry.get(daemon) else { return };
        if instance.lifecycle.is_live() {
            // Others hold what it has done: one of them goes on with that, as after a crash.
            self.seal(now, daemon, DaemonEnd::Evicted);
            if self.registry.get(daemon).is_none() {
                return;
            }
        }
        self.refit(daemon);
        if !self.registry.restart(now.instant, daemon) {
            let why = "nothing makes it anew, or it was stopping";
            self.record_failure(now, format!("daemon {daemon} was not restarted: {why}"));
        }
    }
}

fn parse_nonce(text: &str) -> Option<Nonce> {
    let mut bytes = [0; 16];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    (text.len() == 32).then_some(Nonce(bytes))
}
