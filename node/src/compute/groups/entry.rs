//! One group, as the ledger holds it.

use meshground_shared::{CommandId, DaemonId, GroupId, GroupKind, NodeId};
use serde::{Deserialize, Serialize};

use super::{ForkPoint, Incarnation, MAX_MEMBERS, Required};
use crate::{
    compute::generation,
    daemon::{EntityKeypair, GroupPlace},
};

/// What a group is to be. Of two the greater counts: the newer one, and of equally new ones the same one everywhere.
///
/// The seed is readable by every member of the mesh, as the record it travels in is: whoever holds the pre-shared key
/// can be any member of a group. That is what lets any node take over any place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Counts what it was to be before, from 1.
    pub(crate) version: u64,
    /// The node that said so.
    pub(crate) author: u64,
    /// How many members it is to have.
    pub(crate) desired: u32,
    /// How they belong together.
    pub(crate) kind: GroupKind,
    /// What it is called.
    pub(crate) name: String,
    /// The factory they are made by.
    pub(crate) daemon: String,
    /// What that is told.
    pub(crate) args: String,
    /// What the members' identities grow from.
    pub(crate) seed: [u8; 32],
    /// The command behind it.
    pub(crate) cause: Option<u64>,
    /// For forks, what they go on from.
    pub(crate) fork: Option<ForkPoint>,
}

/// Who looks after a group. Of two the greater counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Counts those who did before.
    pub(crate) term: u64,
    pub(crate) node: u64,
}

/// Where a member is. Of two the greater counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Slot {
    /// Counts the incarnations of the member.
    pub(crate) generation: u64,
    /// The node that is to run it.
    pub(crate) host: Option<NodeId>,
}

impl Slot {
    /// What runs there, in a standby group's first place.
    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation::new(self.generation, self.host.unwrap_or(NodeId(0)))
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) spec: Spec,
    pub(crate) claim: Claim,
    /// The last generation of a standby group's daemon that is known to have begun. What begins from nothing must have a
    /// higher one.
    pub(crate) begun: u64,
    /// What its members ask of a node, once one was made and if that is short enough. Of two the greater counts.
    pub(crate) required: Option<Required>,
    slots: Vec<Slot>,
    /// The members' ids: they follow from the seed.
    ids: Vec<DaemonId>,
}

impl Entry {
    /// One without places yet.
    pub(crate) fn new(spec: Spec, claim: Claim) -> Self {
        Self::told(spec, claim).named()
    }

    /// One that somebody tells of, whose members have no names yet: each costs a pair of keys, and most of what is told is
    /// known already.
    pub(super) fn told(spec: Spec, claim: Claim) -> Self {
        Self { spec, claim, begun: 0, required: None, slots: Vec::new(), ids: Vec::new() }
    }

    /// The same with names.
    pub(super) fn named(mut self) -> Self {
        self.name_members();
        self
    }

    /// The places it is to have.
    pub(crate) fn places(&self) -> std::ops::Range<u32> {
        0..self.spec.desired.min(MAX_MEMBERS)
    }

    /// Where the member of a place is.
    pub(crate) fn slot(&self, index: u32) -> Slot {
        self.slots.get(index as usize).copied().unwrap_or_default()
    }

    /// All places that ever were, in order.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Puts a place somewhere, if that is newer than where it is. Whether it was.
    pub(crate) fn put(&mut self, index: u32, slot: Slot) -> bool {
        if index >= MAX_MEMBERS || self.slot(index) >= slot {
            return false;
        }
        if self.slots.len() <= index as usize {
            self.slots.resize(index as usize + 1, Slot::default());
        }
        self.slots[index as usize] = slot;
        true
    }

    /// Gives a place to `host`, under the next generation.
    pub(crate) fn place(&mut self, index: u32, host: Option<NodeId>) {
        let generation = self.slot(index).generation;
        let takes_over = self.spec.kind == GroupKind::Standby && index == 0;
        let generation =
            if takes_over { generation::taken_over(generation) } else { generation::next(generation) };
        self.put(index, Slot { generation, host });
    }

    /// Gives the first place of a standby group to `host`, for whoever has it to hand over what it has done.
    pub(crate) fn hand_over(&mut self, host: NodeId) {
        let generation = generation::next(self.slot(0).generation);
        self.put(0, Slot { generation, host: Some(host) });
    }

    /// Who the member of a place is.
    pub(crate) fn member(&self, index: u32) -> DaemonId {
        self.ids.get(index as usize).copied().unwrap_or(DaemonId(0))
    }

    /// The daemon that works in a place, wherever it is; there is none in a place that only stands by.
    pub(crate) fn worker(&self, index: u32) -> Option<DaemonId> {
        let stands_by = self.spec.kind == GroupKind::Standby && index > 0;
        (self.places().contains(&index) && !stands_by).then(|| self.member(index))
    }

    /// Its keys.
    pub(crate) fn keypair(&self, index: u32) -> EntityKeypair {
        EntityKeypair::of_member(&self.spec.seed, index)
    }

    /// What it is told of its place.
    pub(crate) fn group_place(&self, group: GroupId, index: u32) -> GroupPlace {
        GroupPlace { group, index, count: self.spec.desired }
    }

    /// The nodes it is placed on, by place.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (u32, NodeId)> {
        self.places().filter_map(|index| Some((index, self.slot(index).host?)))
    }

    pub(crate) fn leader(&self) -> NodeId {
        NodeId(self.claim.node)
    }

    pub(crate) fn cause(&self) -> Option<CommandId> {
        self.spec.cause.map(CommandId)
    }

    /// Changes what it is to be.
    pub(crate) fn respecify(&mut self, author: NodeId, change: impl FnOnce(&mut Spec)) {
        change(&mut self.spec);
        self.spec.version = self.spec.version.saturating_add(1);
        self.spec.author = author.0;
        self.name_members();
    }

    /// Takes in what another holds of it. Whether anything of that was new.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let mut news = false;
        if other.spec > self.spec {
            self.spec.clone_from(&other.spec);
            self.name_members();
            news = true;
        }
        if other.claim > self.claim {
            self.claim = other.claim;
            news = true;
        }
        if other.begun > self.begun {
            self.begun = other.begun;
            news = true;
        }
        if other.required > self.required {
            self.required.clone_from(&other.required);
            news = true;
        }
        for (index, slot) in (0..).zip(&other.slots) {
            news |= self.put(index, *slot);
        }
        news
    }

    /// Whether a merge of `other` would add nothing.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.spec >= other.spec
            && self.claim >= other.claim
            && self.begun >= other.begun
            && self.required >= other.required
            && (0..).zip(&other.slots).all(|(index, slot)| self.slot(index) >= *slot)
    }

    fn name_members(&mut self) {
        // The seed of a group never changes.
        for index in self.places().skip(self.ids.len()) {
            self.ids.push(self.keypair(index).origin_hash());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn spec(version: u64, desired: u32) -> Spec {
        Spec {
            version,
            author: 1,
            desired,
            kind: GroupKind::Replica,
            name: "group".to_owned(),
            daemon: "diary".to_owned(),
            args: String::new(),
            seed: [7; 32],
            cause: None,
            fork: None,
        }
    }

    fn slot(generation: u64, host: u64) -> Slot {
        Slot { generation, host: Some(NodeId(host)) }
    }

    #[test]
    fn a_merge_comes_to_the_same_in_any_order_and_however_often() {
        let mut entries = Vec::new();
        for (version, desired, term, slots) in [
            (1, 2, 1, vec![slot(1, 1), slot(1, 2)]),
            (1, 2, 2, vec![slot(2, 3), slot(1, 2)]),
            (2, 3, 1, vec![slot(2, 4), slot(1, 2), slot(1, 3)]),
        ] {
            let mut entry = Entry::new(spec(version, desired), Claim { term, node: term });
            for (index, slot) in (0..).zip(slots) {
                entry.put(index, slot);
            }
            entries.push(entry);
        }
        let merged = |order: &[usize]| {
            let mut entry = entries[order[0]].clone();
            for &other in &order[1..] {
                entry.merge(&entries[other]);
            }
            entry
        };
        let once = merged(&[0, 1, 2]);
        for order in [&[2, 1, 0][..], &[1, 0, 2], &[1, 2, 1, 0, 2]] {
            assert_eq!(merged(order), once);
        }
        assert_eq!(once.slot(0), slot(2, 4), "of two at one generation the same wins everywhere");
        assert_eq!((once.claim.term, once.spec.desired), (2, 3));
        assert!(entries.iter().all(|entry| once.covers(entry)) && !entries[0].covers(&once));
        assert_ne!(once.member(2), DaemonId(0));
    }

    #[test]
    fn a_daemon_works_in_every_place_there_is_and_in_a_standby_group_in_the_first_alone() {
        let mut entry = Entry::new(spec(1, 3), Claim::default());
        let members = [0, 1, 2].map(|index| Some(entry.member(index)));
        assert_eq!([0, 1, 2].map(|index| entry.worker(index)), members);
        assert_eq!((entry.worker(3), entry.worker(u32::MAX)), (None, None));
        entry.respecify(NodeId(1), |spec| spec.desired = 2);
        assert_eq!([1, 2].map(|index| entry.worker(index)), [members[1], None], "it was too many");
        entry.respecify(NodeId(1), |spec| spec.kind = GroupKind::Standby);
        assert_eq!([0, 1].map(|index| entry.worker(index)), [members[0], None]);
    }
}
