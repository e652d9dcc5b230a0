//! What signed commands and drains do to groups: places that are given up, for whoever looks after the group to give
//! to others.

use meshground_shared::{GroupId, GroupKind, NodeId};

use super::super::{Action, MeshOs};
use crate::{node::Node, time::Now};

impl MeshOs {
    /// This node gives up a member that it is to run and cannot keep.
    pub(in super::super) fn vacate(&mut self, now: Now, node: &mut Node, group: GroupId, index: u32) {
        let entry = self.groups.ledger.get(group);
        let is_here = entry.is_some_and(|entry| entry.hosts().any(|place| place == (index, self.local)));
        if is_here && self.dispatch(now, &Action::EvictReplica { group, index }) {
            if let Some(entry) = self.groups.ledger.get_mut(group) {
                entry.place(index, None);
            }
            self.look_at_groups(now, node);
        }
    }

    /// A member of a group is taken from the node that has it. That is not given it again for a while.
    pub(in super::super) fn evict_replica(&mut self, now: Now, node: &mut Node, group: GroupId, index: u32) {
        let Some(entry) = self.groups.ledger.get(group) else { return };
        let Some(host) = entry.slot(index).host else { return };
        if self.groups.leader(now.instant, group, entry) == self.local {
            self.refuse(now.instant, group, index, host);
            self.give_up(now, node, group, |_, place| place == index);
        }
    }

    /// Every member of a group that a node has is taken from it.
    pub(in super::super) fn drop_replicas(&mut self, now: Now, node: &mut Node, host: NodeId) {
        for group in self.groups.ledger.ids() {
            let Some(entry) = self.groups.ledger.get(group) else { continue };
            if self.groups.leader(now.instant, group, entry) != self.local {
                continue;
            }
            let its: Vec<u32> = entry.hosts().filter(|(_, at)| *at == host).map(|(index, _)| index).collect();
            for index in its {
                self.refuse(now.instant, group, index, host);
            }
            self.give_up(now, node, group, |at, _| at == host);
        }
    }

    /// Every member of a group is placed anew.
    pub(in super::super) fn invalidate_placement(&mut self, now: Now, node: &mut Node, group: GroupId) {
        let Some(entry) = self.groups.ledger.get(group) else { return };
        if self.groups.leader(now.instant, group, entry) == self.local {
            // Those who stand by hold what another goes on from.
            let stand = entry.spec.kind == GroupKind::Standby;
            self.give_up(now, node, group, |_, place| !stand || place == 0);
        }
    }

    /// A command has the places of a group that `which` names be nobody's any more; whoever looks after it gives them to
    /// somebody.
    fn give_up(&mut self, now: Now, node: &mut Node, group: GroupId, which: impl Fn(NodeId, u32) -> bool) {
        let Some(entry) = self.groups.ledger.get_mut(group) else { return };
        let given: Vec<u32> =
            entry.hosts().filter(|(index, host)| which(*host, *index)).map(|(index, _)| index).collect();
        for &index in &given {
            entry.place(index, None);
        }
        for index in given {
            self.record(now, Action::EvictReplica { group, index });
        }
        self.look_at_groups(now, node);
    }
}
