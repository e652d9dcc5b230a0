//! What may be asked of groups.

use std::time::Duration;

use meshground_shared::{CommandId, DaemonId, GroupId, GroupKind, NodeId};
use rand_chacha::rand_core::RngCore;

use super::super::{MeshOs, Settlement, Ticket};
use crate::{
    compute::{
        Inventory, MAX_ARGS,
        groups::{Choice, Claim, Entry, GroupError, MAX_MEMBERS, PickStrategy, Spec, pick},
    },
    daemon::MAX_NAME,
    node::Node,
    time::{Instant, Now},
};

/// After the end of a group its members are given so long to be gone, besides their grace.
const CLEARED: Duration = Duration::from_secs(2);

/// A group to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRequest {
    /// How its members are to belong together.
    pub kind: GroupKind,
    /// The factory they are made by.
    pub daemon: String,
    /// What that is told, at most 4 KiB.
    pub args: String,
    /// How many, 1 to 64. No two share a node.
    pub count: u32,
    /// What it is called, at most 64 bytes.
    pub name: String,
    /// What the members' identities grow from: 32 random bytes, or those of a group that is no more for the same identities.
    /// Everyone in the mesh can read it, so that anyone can take over.
    pub seed: [u8; 32],
    /// For forks, the daemon they are made of.
    pub parent: Option<DaemonId>,
    /// The command behind it.
    pub cause: Option<CommandId>,
}

/// Somebody waits for something to come about.
#[derive(Debug)]
pub(super) struct Pending {
    ticket: Ticket,
    group: GroupId,
    what: Wanted,
    until: Instant,
}

#[derive(Debug)]
pub(super) enum Wanted {
    /// All members run.
    Spawn,
    /// So many as now are wanted run, and there were so many before.
    Scale { before: u32 },
    /// Nothing is left.
    Stop,
    /// Nothing is left, after this.
    Undo(GroupError),
}

impl MeshOs {
    /// Makes a group. [`Settlement::Group`] follows: with the group once every member runs, or with an error, and then
    /// nothing is left of it.
    ///
    /// # Errors
    /// When it cannot even be tried.
    pub fn spawn_group(
        &mut self,
        now: Now,
        node: &mut Node,
        request: GroupRequest,
    ) -> Result<Ticket, GroupError> {
        let GroupRequest { kind, daemon, args, count, name, seed, parent, cause } = request;
        match (kind, parent) {
            (GroupKind::Fork, None) => {
                return Err(GroupError::WrongKind("forks need a daemon they are made of".to_owned()));
            }
            (GroupKind::Replica | GroupKind::Standby, Some(_)) => {
                return Err(GroupError::WrongKind("only forks are made of a daemon".to_owned()));
            }
            _ => {}
        }
        if !(1..=MAX_MEMBERS).contains(&count) {
            return Err(GroupError::BadCount(count));
        }
        if self.is_frozen() {
            return Err(GroupError::Frozen);
        }
        if name.len() > MAX_NAME || daemon.len() > MAX_NAME || args.len() > MAX_ARGS {
            return Err(GroupError::TooLong);
        }
        // Members' identities grow from it alone, and none may run twice.
        if let Some((other, _)) = self.groups.ledger.iter().find(|(_, entry)| entry.spec.seed == seed) {
            return Err(GroupError::SeedTaken(other));
        }
        self.survey(now.instant, node);
        let offers = |(id, inventory): (NodeId, &Inventory)| {
            self.groups.is_here(id) && inventory.kinds.contains(&daemon)
        };
        if !self.directory.iter().any(offers) {
            return Err(GroupError::KindNotFound(daemon));
        }
        let author = self.local.0;
        let cause_id = cause.map(|cause| cause.0);
        let spec = Spec {
            version: 1,
            author,
            desired: count,
            kind,
            name,
            daemon,
            args,
            seed,
            cause: cause_id,
            fork: None,
        };
        let mut entry = Entry::new(spec, Claim { term: 1, node: author });
        let id = GroupId(self.rng.next_u64());
        self.place_all(now, node, id, &mut entry)?;
        if let Some(parent) = parent {
            return self.spawn_forks(now, node, id, entry, parent);
        }
        if !self.groups.ledger.add(id, entry) {
            return Err(GroupError::TooMany);
        }
        Ok(self.await_group(now, node, id, Wanted::Spawn))
    }

    /// Has a group have another number of members. [`Settlement::Group`] follows: once every one of them runs and no
    /// other, or with an error, and then it is to have as many as before.
    ///
    /// # Errors
    /// When it cannot even be tried.
    pub fn scale_group(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        count: u32,
        cause: Option<CommandId>,
    ) -> Result<Ticket, GroupError> {
        if !(1..=MAX_MEMBERS).contains(&count) {
            return Err(GroupError::BadCount(count));
        }
        if self.is_frozen() {
            return Err(GroupError::Frozen);
        }
        self.survey(now.instant, node);
        let mut entry = self.groups.ledger.get(group).ok_or(GroupError::NotFound(group))?.clone();
        let before = entry.spec.desired;
        self.respecify(&mut entry, count, cause);
        // Where they once were says nothing any more.
        for index in before..count {
            entry.place(index, None);
        }
        self.place_all(now, node, group, &mut entry)?;
        if let Some(known) = self.groups.ledger.get_mut(group) {
            known.merge(&entry);
        }
        Ok(self.await_group(now, node, group, Wanted::Scale { before }))
    }

    /// Ends a group. [`Settlement::Group`] follows when none of its members is left on any node that can be reached.
    ///
    /// # Errors
    /// When there is none.
    pub fn stop_group(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        cause: Option<CommandId>,
    ) -> Result<Ticket, GroupError> {
        self.groups.ledger.get(group).ok_or(GroupError::NotFound(group))?;
        self.end_group(now.instant, group, cause);
        Ok(self.await_group(now, node, group, Wanted::Stop))
    }

    /// A member of a group that is well, for something to do.
    pub fn pick_member(&mut self, group: GroupId, strategy: PickStrategy) -> Option<DaemonId> {
        let entry = self.groups.ledger.get(group)?;
        let choices: Vec<Choice> = entry
            .places()
            .filter_map(|index| {
                let daemon = entry.member(index);
                let (host, stated) = self.directory.stated(daemon)?;
                let is_well = stated.is_well() && self.groups.is_here(host);
                is_well.then_some(Choice { index, daemon, saturation: stated.saturation })
            })
            .collect();
        let turn = self.groups.turns.entry(group).or_default();
        *turn = turn.wrapping_add(1);
        pick(group, &choices, strategy, *turn - 1, self.rng.next_u64())
    }

    fn respecify(&self, entry: &mut Entry, count: u32, cause: Option<CommandId>) {
        entry.respecify(self.local, |spec| {
            spec.desired = count;
            spec.cause = cause.map(|cause| cause.0).or(spec.cause);
        });
    }

    fn end_group(&mut self, now: Instant, group: GroupId, cause: Option<CommandId>) {
        if let Some(entry) = self.groups.ledger.end(now, group) {
            self.group_gone(now, group, &entry, cause);
        }
    }

    pub(super) fn await_group(&mut self, now: Now, node: &mut Node, group: GroupId, what: Wanted) -> Ticket {
        let ticket = self.issue();
        self.wait_for(now, ticket, group, what);
        self.settle(now, node);
        ticket
    }

    /// The holder of a ticket waits for something to come about.
    pub(super) fn wait_for(&mut self, now: Now, ticket: Ticket, group: GroupId, what: Wanted) {
        let budget = match what {
            Wanted::Spawn | Wanted::Scale { .. } => self.config.group_budget,
            Wanted::Stop | Wanted::Undo(_) => self.config.grace.saturating_add(CLEARED),
        };
        self.groups.pending.push(Pending { ticket, group, what, until: now.instant + budget });
        self.groups.stir();
    }

    /// Tells whoever waits for something that has come about, or will not.
    pub(super) fn mind_pending(&mut self, now: Now) {
        for mut pending in std::mem::take(&mut self.groups.pending) {
            let late = pending.until <= now.instant;
            let outcome = match &pending.what {
                Wanted::Spawn | Wanted::Scale { .. } => match self.came_about(pending.group, late) {
                    None => None,
                    Some(Ok(())) => Some(Ok(pending.group)),
                    Some(Err(error)) => {
                        self.undo(now, &mut pending, error);
                        self.groups.dirty = true;
                        None
                    }
                },
                Wanted::Stop if self.is_cleared(pending.group) || late => Some(Ok(pending.group)),
                Wanted::Undo(error) if self.is_cleared(pending.group) || late => Some(Err(error.clone())),
                Wanted::Stop | Wanted::Undo(_) => None,
            };
            match outcome {
                Some(outcome) => self.settled(pending.ticket, Settlement::Group(outcome)),
                None => self.groups.pending.push(pending),
            }
        }
    }

    /// Whether a group has what it is to have, or never will; `None` if it may yet.
    fn came_about(&self, group: GroupId, late: bool) -> Option<Result<(), GroupError>> {
        let Some(entry) = self.groups.ledger.get(group) else {
            return Some(Err(GroupError::Stopped(group)));
        };
        let lacking = self.groups.lacking.get(&group);
        if self.is_complete(group, entry) {
            Some(Ok(()))
        } else if late || lacking.is_some() {
            let why = lacking.cloned().unwrap_or_else(|| self.shortfall(group, entry));
            Some(Err(GroupError::TimedOut(why)))
        } else {
            None
        }
    }

    fn undo(&mut self, now: Now, pending: &mut Pending, error: GroupError) {
        if let Wanted::Scale { before } = pending.what {
            if let Some(mut entry) = self.groups.ledger.get(pending.group).cloned() {
                self.respecify(&mut entry, before, None);
                if let Some(known) = self.groups.ledger.get_mut(pending.group) {
                    known.merge(&entry);
                }
            }
            // Nothing more is to be waited for: the members there were are still there.
            pending.until = now.instant;
        } else {
            let cause = self.groups.ledger.get(pending.group).and_then(Entry::cause);
            self.end_group(now.instant, pending.group, cause);
            pending.until = now.instant + self.config.grace + CLEARED;
        }
        pending.what = Wanted::Undo(error);
    }

    /// Whether no member of a group is left, as far as can be seen.
    fn is_cleared(&self, group: GroupId) -> bool {
        let here = self.registry.iter().any(|(_, it)| it.member.is_some_and(|place| place.group == group));
        let mut others = self.directory.iter().filter(|(node, _)| self.groups.is_here(*node));
        !here
            && !others.any(|(_, inventory)| {
                let mut members = inventory.daemons.iter().filter_map(crate::compute::Stated::member);
                members.any(|(its, _)| its == group)
            })
    }
}
