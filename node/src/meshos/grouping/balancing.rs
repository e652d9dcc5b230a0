//! Moving members so that nodes have equally many: with their state, as any daemon moves.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::{GroupId, GroupKind, NodeId};
use rand_chacha::rand_core::RngCore;

use super::{
    super::{Action, MeshOs},
    FIRST_GRACE,
};
use crate::{
    capability::{Capabilities, Filter},
    compute::{
        MigrateError,
        groups::{Entry, choose},
    },
    node::Node,
    time::{Instant, Now},
};

/// The shortest time between two moves for balance in one group; up to as much again is added by chance, so that
/// groups do not move at once.
const BALANCE: Duration = Duration::from_secs(3);

/// A member on its way to another node, because whoever looks after its group had it moved.
#[derive(Debug, Clone, Copy)]
pub(in crate::meshos) struct Relocation {
    group: GroupId,
    index: u32,
    from: NodeId,
    to: NodeId,
}

/// Which member had better be elsewhere.
enum Misfit {
    /// It shares its node with another.
    Doubled(u32),
    /// Its node does not announce what it requires.
    Unsuited(u32),
    /// Its node has the most members.
    Crowded(u32),
}

impl MeshOs {
    /// Moves one member, if two share a node, if its node cannot do what it requires, or if its node has at least two
    /// more of all groups' members than another that could have it. Says why, if two share one and must go on doing so.
    pub(super) fn balance(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: &mut Entry,
    ) -> Option<String> {
        if self.groups.balance_at.get(&group).is_some_and(|at| *at > now.instant) {
            return None;
        }
        let placed = self.placed();
        let count = |host: NodeId| placed.get(&host).copied().unwrap_or(0);
        let misfit = self.misfit(now.instant, node, entry, &count)?;
        let (Misfit::Doubled(index) | Misfit::Unsuited(index) | Misfit::Crowded(index)) = misfit;
        let host = entry.slot(index).host?;
        let mut field = self.field(now.instant, node, group, entry, index);
        let is_crowded = matches!(misfit, Misfit::Crowded(_));
        field.candidates.retain(|candidate| {
            candidate.node != host && (!is_crowded || count(candidate.node) + 2 <= count(host))
        });
        let fewest = field.candidates.iter().map(|candidate| count(candidate.node)).min();
        field.candidates.retain(|candidate| Some(count(candidate.node)) == fewest);
        if let Some(to) = choose(group, index, &field.candidates) {
            let chance = Duration::from_millis(u64::from(self.rng.next_u32()) % 3_000);
            self.groups.balance_at.insert(group, now.instant + BALANCE + chance);
            self.relocate(now, node, entry, Relocation { group, index, from: host, to });
            return None;
        }
        match misfit {
            Misfit::Doubled(_) => Some(format!(
                "member {index} shares node {host}, and there is no other node for it: {}",
                field.why()
            )),
            _ => None,
        }
    }

    fn misfit(
        &self,
        now: Instant,
        node: &Node,
        entry: &Entry,
        count: &impl Fn(NodeId) -> u32,
    ) -> Option<Misfit> {
        let mut hosts = BTreeSet::new();
        if let Some((index, _)) = entry.hosts().find(|(_, host)| !hosts.insert(*host)) {
            return Some(Misfit::Doubled(index));
        }
        // Moving a standby makes nothing even that counts.
        if entry.spec.kind == GroupKind::Standby {
            return None;
        }
        let any = Filter::any();
        let filter = self.required(entry).unwrap_or(&any);
        let (index, nothing) = (node.capabilities(), Capabilities::new());
        let is_unsuited = |host: NodeId| match index.get(host) {
            Some(announced) => !filter.matches(host, announced),
            // It may not have been heard yet.
            None => !filter.matches(host, &nothing) && self.groups.is_here_for(now, host, FIRST_GRACE),
        };
        if let Some((index, _)) = entry.hosts().find(|(_, host)| is_unsuited(*host)) {
            return Some(Misfit::Unsuited(index));
        }
        let fullest = entry.hosts().max_by_key(|&(index, host)| (count(host), index));
        fullest.map(|(index, _)| Misfit::Crowded(index))
    }

    /// What members of a group ask of a node, if anybody has said so.
    pub(super) fn required<'a>(&'a self, entry: &'a Entry) -> Option<&'a Filter> {
        let known = entry.required.as_ref().map(crate::compute::groups::Required::filter);
        known.or_else(|| self.groups.requirements.get(&entry.spec.daemon))
    }

    /// Has a member go to another node.
    fn relocate(&mut self, now: Now, node: &mut Node, entry: &mut Entry, relocation: Relocation) {
        let Relocation { group, index, to, .. } = relocation;
        self.record(now, Action::Rebalance { group, index, node: to });
        if entry.spec.kind == GroupKind::Standby && index > 0 {
            // It is brought there what it is to hold.
            entry.place(index, Some(to));
            return;
        }
        match self.begin_migration(now, node, entry.member(index), to, entry.cause()) {
            Ok(ticket) => _ = self.groups.relocating.insert(ticket, relocation),
            Err(error) => self.groups.stayed.push((relocation, error)),
        }
    }

    /// Members that did not get to where they were sent.
    pub(super) fn mind_relocations(&mut self, now: Now) {
        for (relocation, error) in std::mem::take(&mut self.groups.stayed) {
            let Relocation { group, index, from, to } = relocation;
            let Some(entry) = self.groups.ledger.get_mut(group) else { continue };
            let is_there = entry.slot(index).host == Some(from);
            match error {
                // It has nothing to take along: so it loses nothing if it begins anew.
                MigrateError::NoState(_) if is_there => entry.place(index, Some(to)),
                // It is not its target's fault.
                MigrateError::Frozen
                | MigrateError::TooMany
                | MigrateError::AlreadyMoving(_)
                | MigrateError::NotRunning(_)
                | MigrateError::NotFound(_) => {}
                error => {
                    let what = format!("member {index} of group {group} was not moved to node {to}: {error}");
                    self.record_failure(now, what);
                    self.refuse(now.instant, group, index, to, "could not be moved there");
                }
            }
        }
    }
}
