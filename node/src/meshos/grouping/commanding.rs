//! What signed commands and drains do to groups: places that are given up, for whoever looks after the group to give
//! to others.
//!
//! Every node hears every command. Each takes note of the places it takes away, and whoever looks after their group, now or
//! a moment later, gives them up: so it makes no difference if another begins to do so just then.

use std::time::Duration;

use meshground_shared::{CommandId, GroupId, GroupKind, NodeId};

use super::{
    super::{Action, MeshOs},
    leading::AVOIDED,
};
use crate::{
    compute::groups::Slot,
    node::Node,
    time::{Instant, Now},
};

/// Somebody must have given a place up within this.
const CARRIED_OUT: Duration = Duration::from_secs(30);

/// Why a node is avoided that a member was taken from.
const WAS_TAKEN: &str = "was taken from there";

/// A place that a signed command takes from the node that has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eviction {
    /// Where it was.
    from: Slot,
    /// That is not to be given it again for a while.
    avoids: bool,
    cause: CommandId,
    until: Instant,
}

impl MeshOs {
    /// A member that this node cannot keep begins anew on another; here it ends as soon as it runs there. That of a standby
    /// group is given up instead, as only some nodes can go on with what it has done.
    pub(in super::super) fn replace_elsewhere(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        index: u32,
        to: NodeId,
    ) {
        let Some(entry) = self.groups.ledger.get(group) else { return };
        let is_here = entry.hosts().any(|place| place == (index, self.local));
        let to = Some(to).filter(|_| entry.spec.kind != GroupKind::Standby);
        let action = match to {
            Some(node) => Action::RequestPlacement { group, index, node },
            None => Action::EvictReplica { group, index },
        };
        if is_here && self.dispatch(now, &action) {
            if let Some(entry) = self.groups.ledger.get_mut(group) {
                entry.place(index, to);
            }
            self.look_at_groups(now, node);
        }
    }

    /// A member of a group is taken from the node that has it. That is not given it again for a while.
    pub(in super::super) fn evict_replica(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        index: u32,
        cause: CommandId,
    ) {
        if !self.take_away(now.instant, group, index, true, cause) && self.would_know(now.instant, group) {
            let why = "it is placed nowhere";
            self.record_failure(now, format!("member {index} of group {group} was not evicted: {why}"));
        }
        self.look_at_groups(now, node);
    }

    /// Every member of a group that a node has is taken from it.
    pub(in super::super) fn drop_replicas(
        &mut self,
        now: Now,
        node: &mut Node,
        host: NodeId,
        cause: CommandId,
    ) {
        let mut any = false;
        for group in self.groups.ledger.ids() {
            let Some(entry) = self.groups.ledger.get(group) else { continue };
            any |= entry.cause() == Some(cause);
            let its: Vec<u32> = entry.hosts().filter(|(_, at)| *at == host).map(|(index, _)| index).collect();
            for index in its {
                any |= self.take_away(now.instant, group, index, true, cause);
            }
        }
        if !any && host == self.local {
            self.record_failure(now, "no replicas were dropped: no member of a group is placed here");
        }
        self.look_at_groups(now, node);
    }

    /// Where each member of a group runs is decided anew.
    pub(in super::super) fn invalidate_placement(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        cause: CommandId,
    ) {
        let places = self.groups.ledger.get(group).map(|entry| {
            // Those who stand by hold what another goes on from.
            if entry.spec.kind == GroupKind::Standby { 0..1 } else { entry.places() }
        });
        let mut any = false;
        for index in places.into_iter().flatten() {
            any |= self.take_away(now.instant, group, index, false, cause);
        }
        if !any && self.would_know(now.instant, group) {
            self.record_failure(now, format!("group {group} was not placed anew: no member has a node"));
        }
        self.look_at_groups(now, node);
    }

    /// Takes note of a place to be given up. Whether there is one, or has been.
    fn take_away(
        &mut self,
        now: Instant,
        group: GroupId,
        index: u32,
        avoids: bool,
        cause: CommandId,
    ) -> bool {
        let Some(entry) = self.groups.ledger.get(group) else { return false };
        if entry.cause() == Some(cause) {
            // Whoever looks after the group has done that, and this node has heard of it first.
            return true;
        }
        let from = entry.slot(index);
        if from.host.is_none() {
            return false;
        }
        let eviction = Eviction { from, avoids, cause, until: now + CARRIED_OUT };
        self.groups.evictions.insert((group, index), eviction);
        true
    }

    /// Whether this node should know whether there is something to be given up in a group: it looks after it, or has heard of
    /// its end.
    fn would_know(&self, now: Instant, group: GroupId) -> bool {
        let entry = self.groups.ledger.get(group);
        entry.map_or_else(
            || self.groups.ledger.is_gone(group),
            |entry| self.groups.leader(now, group, entry) == self.local,
        )
    }

    /// Gives up what commands take away in a group that this node looks after.
    pub(super) fn carry_out_evictions(&mut self, now: Now, group: GroupId) {
        let its = self.groups.evictions.range((group, 0)..=(group, u32::MAX));
        let due: Vec<(u32, Eviction)> = its.map(|(&(_, index), &eviction)| (index, eviction)).collect();
        for (index, eviction) in due {
            let local = self.local;
            let Some(entry) = self.groups.ledger.get_mut(group) else { return };
            if !eviction.is_due(entry.slot(index)) {
                continue;
            }
            if let Some(host) = entry.slot(index).host.filter(|_| eviction.avoids) {
                self.refuse(now.instant, group, index, host, WAS_TAKEN);
                let until = now.instant + AVOIDED;
                let refusal = self.groups.refusals.entry((group, index, host));
                refusal.and_modify(|refusal| refusal.until = refusal.until.max(until));
            }
            if let Some(entry) = self.groups.ledger.get_mut(group) {
                entry.place(index, None);
                if entry.cause() != Some(eviction.cause) {
                    entry.respecify(local, |spec| spec.cause = Some(eviction.cause.0));
                }
            }
            self.record(now, Action::EvictReplica { group, index });
        }
    }

    /// Forgets what has been carried out, and says of what has not that it was not.
    pub(super) fn mind_evictions(&mut self, now: Now) {
        let (ledger, local) = (&self.groups.ledger, self.local);
        let mut late = Vec::new();
        self.groups.evictions.retain(|&(group, index), eviction| {
            let slot = ledger.get(group).map(|entry| entry.slot(index)).unwrap_or_default();
            let is_due = eviction.is_due(slot);
            if is_due && eviction.until <= now.instant && slot.host == Some(local) {
                late.push((group, index));
            }
            is_due && eviction.until > now.instant
        });
        for (group, index) in late {
            let what = format!("member {index} of group {group} was not taken away: nobody looks after it");
            self.record_failure(now, what);
        }
    }
}

impl Eviction {
    /// Whether the place is still where it was when this was commanded.
    fn is_due(&self, slot: Slot) -> bool {
        slot.host == self.from.host && slot.generation <= self.from.generation
    }
}
