//! Learning from an incarnation itself that it has the place.

use meshground_shared::{GroupId, GroupKind};

use super::super::super::MeshOs;
use crate::compute::groups::{Incarnation, Slot};

impl MeshOs {
    /// An incarnation of a standby group's daemon is there, or is about to be, and this node listens to none before it from
    /// now on. So it has the place in the ledger too: whoever placed it there may be gone, and nobody else know of it.
    pub(super) fn observe(&mut self, group: GroupId, of: Incarnation) {
        let entry = self.groups.ledger.get_mut(group);
        if let Some(entry) = entry.filter(|entry| entry.spec.kind == GroupKind::Standby)
            && entry.put(0, Slot { generation: of.generation, host: Some(of.node) })
        {
            self.groups.dirty = true;
        }
    }

    /// What comes from an incarnation says that it has begun, also where nobody else has said so yet.
    pub(super) fn has_begun(&mut self, group: GroupId, of: Incarnation) {
        if let Some(entry) = self.groups.ledger.get_mut(group)
            && entry.begun < of.generation
            && of.generation <= entry.slot(0).generation
        {
            entry.begun = of.generation;
            self.groups.dirty = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use meshground_shared::{DaemonEnd, GroupId, GroupKind, NodeId};

    use super::super::syncing::{Push, What};
    use crate::{
        compute::groups::{Incarnation, Piece},
        meshos::{
            GroupRequest, MeshOs,
            testing::{alone, at, call_of},
        },
        node::Node,
        wire,
    };

    /// Of two incarnations with one generation, that on this node is the later.
    const OTHER: NodeId = NodeId(u64::MAX);

    fn with_group(kind: GroupKind) -> (MeshOs, Node, GroupId) {
        let (mut os, mut node) = alone();
        os.handle_timeout(at(0), &mut node);
        let request = GroupRequest {
            kind,
            daemon: "mute".to_owned(),
            args: String::new(),
            count: 1,
            name: "group".to_owned(),
            seed: [5; 32],
            parent: None,
            cause: None,
        };
        os.spawn_group(at(1), &mut node, request).expect("there is room");
        os.handle_timeout(at(2), &mut node);
        let group = os.groups().next().expect("just made").id;
        (os, node, group)
    }

    fn has_the_place(os: &MeshOs, group: GroupId) -> Incarnation {
        os.groups.ledger.get(group).expect("it is there").slot(0).incarnation()
    }

    #[test]
    fn whoever_asks_in_order_to_go_on_has_the_place_here_unless_a_later_one_does() {
        let (mut os, mut node, group) = with_group(GroupKind::Standby);
        let before = has_the_place(&os, group);
        let call = call_of(OTHER, 1);
        let mut ask = |os: &mut MeshOs, generation: Option<u64>| {
            os.on_poll(at(3), &mut node, call, &wire::encode(&(group.0, generation)));
            has_the_place(os, group)
        };
        assert_eq!(ask(&mut os, None), before, "it only looks");
        assert_eq!(ask(&mut os, Some(before.generation - 1)), before);
        let later = Incarnation::new(before.generation + 1, OTHER);
        assert_eq!(ask(&mut os, Some(later.generation)), later);
    }

    /// An incarnation brings all there is of its state.
    fn brings(os: &mut MeshOs, node: &mut Node, group: GroupId, of: Incarnation) {
        let piece = Piece { at: 0, len: 5, offset: 0, bytes: b"state".to_vec() };
        let push = Push {
            group: group.0,
            generation: of.generation,
            life: 7,
            before: None,
            end: None,
            in_sync: None,
            what: What::Piece(piece),
        };
        os.on_sync(at(3), node, call_of(of.node, 1), &wire::encode(&push));
    }

    #[test]
    fn whoever_brings_a_state_has_the_place_here_unless_a_later_one_does() {
        let (mut os, mut node, group) = with_group(GroupKind::Standby);
        let before = has_the_place(&os, group);
        brings(&mut os, &mut node, group, Incarnation::new(before.generation - 1, OTHER));
        assert_eq!(has_the_place(&os, group), before);
        let later = Incarnation::new(before.generation, OTHER);
        brings(&mut os, &mut node, group, later);
        assert_eq!(has_the_place(&os, group), later);
    }

    #[test]
    fn one_that_ends_here_does_not_close_the_journal_of_one_with_its_generation_elsewhere() {
        let (mut os, mut node, group) = with_group(GroupKind::Standby);
        let before = has_the_place(&os, group);
        let daemon = os.groups.ledger.get(group).expect("it is there").member(0);
        let theirs = Incarnation::new(before.generation, OTHER);
        brings(&mut os, &mut node, group, theirs);
        os.seal(at(4), daemon, DaemonEnd::Evicted);
        let journal = os.groups.standbys.journals.get(&group).expect("it was brought");
        assert_eq!((journal.of, journal.sealed), (theirs, false), "more may come from there");
    }

    #[test]
    fn in_other_groups_nobody_goes_on_for_another() {
        let (mut os, mut node, group) = with_group(GroupKind::Replica);
        let before = has_the_place(&os, group);
        let call = call_of(OTHER, 1);
        os.on_poll(at(3), &mut node, call, &wire::encode(&(group.0, Some(before.generation + 1))));
        assert_eq!(has_the_place(&os, group), before);
    }
}
