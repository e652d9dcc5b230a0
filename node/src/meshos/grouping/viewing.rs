//! Groups, as everybody sees them.

use meshground_shared::{
    DaemonId, EventKind, GroupHealth, GroupId, GroupKind, GroupMember, GroupView, Lifecycle, NodeId,
};

use super::super::MeshOs;
use crate::{
    admin::GroupPicture,
    compute::{Stated, groups::Entry},
    time::Instant,
};

impl MeshOs {
    /// The groups there are, by id, as this node sees them.
    pub fn groups(&self) -> impl Iterator<Item = GroupView> {
        self.groups.ledger.iter().map(|(id, entry)| self.view_group(id, entry))
    }

    /// The same, as far as commands depend on them.
    pub(in crate::meshos) fn group_pictures(&self) -> impl Iterator<Item = (GroupId, GroupPicture)> {
        self.groups.ledger.iter().map(|(id, entry)| {
            let members = entry.places().map(|index| entry.member(index)).collect();
            (id, GroupPicture { leader: entry.leader(), members })
        })
    }

    /// One of them.
    pub fn group(&self, id: GroupId) -> Option<GroupView> {
        self.groups.ledger.get(id).map(|entry| self.view_group(id, entry))
    }

    fn view_group(&self, id: GroupId, entry: &Entry) -> GroupView {
        let members: Vec<GroupMember> = entry
            .places()
            .map(|index| GroupMember {
                daemon: entry.member(index),
                node: entry.slot(index).host,
                running: self.runs(id, entry, index),
                synced: self.synced(id, entry, index),
            })
            .collect();
        let healthy = u32::try_from(members.iter().filter(|member| member.running).count()).unwrap_or(0);
        let health = GroupHealth::of(healthy, entry.spec.desired);
        let lacking = self.groups.lacking.get(&id).cloned();
        let lacking = lacking.or_else(|| (health != GroupHealth::Healthy).then(|| self.shortfall(id, entry)));
        GroupView {
            id,
            kind: entry.spec.kind,
            name: entry.spec.name.clone(),
            daemon: entry.spec.daemon.clone(),
            desired: entry.spec.desired,
            leader: entry.leader(),
            members,
            health,
            lacking,
        }
    }

    /// What the node of a place says of its member.
    fn stated_at(&self, host: NodeId, daemon: DaemonId, generation: u64) -> Option<&Stated> {
        let inventory = self.directory.get(host).filter(|_| self.groups.is_here(host))?;
        inventory.daemons.iter().find(|stated| stated.id() == daemon && stated.generation >= generation)
    }

    /// Whether a node says that a daemon does its work there, in this incarnation or a later one.
    pub(super) fn runs_at(&self, host: NodeId, daemon: DaemonId, generation: u64) -> bool {
        self.stated_at(host, daemon, generation).is_some_and(Stated::is_well)
    }

    /// How many events a standby has in hand, a short while ago.
    fn synced(&self, id: GroupId, entry: &Entry, index: u32) -> Option<u64> {
        let stands = entry.spec.kind == GroupKind::Standby && index > 0;
        let host = entry.slot(index).host.filter(|_| stands)?;
        self.standing_at(host, id).map(|standing| standing.end)
    }

    /// Whether the member of a place is known to do its work there.
    fn runs(&self, id: GroupId, entry: &Entry, index: u32) -> bool {
        let slot = entry.slot(index);
        if entry.spec.kind == GroupKind::Standby && index > 0 {
            let standing = slot.host.and_then(|host| self.standing_at(host, id));
            return standing.is_some_and(|standing| standing.of >= entry.slot(0).incarnation());
        }
        let stated = slot.host.and_then(|host| self.stated_at(host, entry.member(index), slot.generation));
        stated.is_some_and(Stated::is_well)
    }

    /// Whether every member runs, and none is left that is not to be.
    pub(super) fn is_complete(&self, id: GroupId, entry: &Entry) -> bool {
        let mut inventories = self.directory.iter().filter(|(node, _)| self.groups.is_here(*node));
        let surplus = inventories.any(|(_, inventory)| {
            let mut members = inventory.daemons.iter().filter_map(Stated::member);
            members.any(|(group, index)| group == id && !entry.places().contains(&index))
        });
        !surplus && entry.places().all(|index| self.runs(id, entry, index))
    }

    /// Why a group does not have what it is to have, for a person.
    pub(super) fn shortfall(&self, id: GroupId, entry: &Entry) -> String {
        let why = |index: u32| {
            let slot = entry.slot(index);
            let Some(host) = slot.host else { return "has no node".to_owned() };
            if !self.groups.is_here(host) {
                return format!("is on node {host}, which cannot be reached");
            }
            if entry.spec.kind == GroupKind::Standby && index > 0 {
                return format!("does not hold the state yet on node {host}");
            }
            match self.stated_at(host, entry.member(index), slot.generation).map(|stated| stated.lifecycle) {
                None => format!("has not begun on node {host}"),
                Some(Lifecycle::Starting) => format!("is starting on node {host}"),
                Some(Lifecycle::BackingOff) => format!("crashed on node {host} and starts again soon"),
                Some(Lifecycle::CrashLooping) => format!("crashes again and again on node {host}"),
                Some(Lifecycle::Failed) => format!("could not be made on node {host}"),
                Some(_) => format!("is not well on node {host}"),
            }
        };
        let lacking = entry.places().filter(|&index| !self.runs(id, entry, index));
        let mut reasons: Vec<String> =
            lacking.map(|index| format!("member {index} {}", why(index))).collect();
        let more = reasons.len().saturating_sub(4);
        reasons.truncate(4);
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        if reasons.is_empty() {
            "members that are too many have not stopped yet".to_owned()
        } else {
            reasons.join(", ")
        }
    }

    /// Tells of changes of the groups that this node looks after.
    pub(super) fn tell_groups(&mut self, now: Instant) {
        let mut news = Vec::new();
        for (id, entry) in self.groups.ledger.iter() {
            if self.groups.leader(now, id, entry) != self.local {
                continue;
            }
            let view = self.view_group(id, entry);
            if self.groups.told.get(&id) != Some(&view) {
                news.push((view, entry.cause()));
            }
        }
        let groups = &mut self.groups;
        groups.told.retain(|id, _| groups.ledger.get(*id).is_some_and(|entry| entry.leader() == self.local));
        for (view, cause) in news {
            self.groups.told.insert(view.id, view.clone());
            self.happened(EventKind::GroupChanged { group: view }, cause);
        }
    }
}
