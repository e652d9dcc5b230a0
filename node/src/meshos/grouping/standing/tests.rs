//! One node of a standby group, and what it makes of what others say and ask.

use std::collections::BTreeMap;

use meshground_shared::{DaemonEnd, GroupId, GroupKind, NodeId};

use super::{
    Taking,
    syncing::{Push, What},
};
use crate::{
    compute::{
        Inventory, Luggage,
        groups::{Census, Guard, Holding, InSync, Incarnation, Lives, Piece},
    },
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
    let bytes = wire::encode(&Luggage::default());
    let piece = Piece { at: 0, len: bytes.len() as u64, offset: 0, bytes };
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

/// Sets that are open beside each other: of nodes 3 and 4, and of node 4 alone.
fn open_sets(of: Incarnation) -> Vec<InSync> {
    let mut guard = Guard::new(of, 1, Vec::new(), 0);
    for members in [&[3, 4][..], &[4]] {
        let members: Lives = members.iter().map(|&node| (node, 7)).collect();
        guard.propose(members, &Lives::new(), 1, |_, _| false);
    }
    guard.chain().to_vec()
}

#[test]
fn the_work_is_left_to_an_heir_by_name_only_if_it_is_plain_who_is_in_sync() {
    for is_plain in [true, false] {
        let (mut os, mut node, group) = with_group(GroupKind::Standby);
        let of = has_the_place(&os, group);
        let daemon = os.groups.ledger.get(group).expect("it is there").member(0);
        os.directory.set(OTHER, Some(Inventory { life: 7, ..Inventory::default() }));
        let active = os.groups.standbys.actives.get_mut(&group).expect("it runs");
        if !is_plain {
            active.guard = Guard::new(of, 1, open_sets(of), 0);
        }
        os.groups.ledger.get_mut(group).expect("it is there").hand_over(OTHER);
        os.seal(at(4), daemon, DaemonEnd::Superseded);
        os.handle_timeout(at(5), &mut node);
        let journal = os.groups.standbys.journals.get(&group).expect("it worked");
        assert_eq!((journal.sealed, journal.heir), (true, is_plain.then_some((OTHER, 7))));
    }
}

#[test]
fn whoever_takes_over_shares_with_every_set_that_those_it_asked_knew() {
    let (mut os, mut node, group) = with_group(GroupKind::Standby);
    let of = Incarnation::new(has_the_place(&os, group).generation, OTHER);
    brings(&mut os, &mut node, group, of);
    let local = os.local;
    let entry = os.groups.ledger.get_mut(group).expect("it is there");
    entry.place(0, Some(local));
    let entry = entry.clone();
    let of_this = entry.slot(0).incarnation();
    os.seal(at(4), entry.member(0), DaemonEnd::Superseded);
    let mut census = Census::default();
    for (node, set) in [3, 4].into_iter().zip(open_sets(of)) {
        census.say(NodeId(node), Holding { life: 7, upto: Some((of, 0)), in_sync: Some(set) });
    }
    let taking = Taking { of: of_this, since: at(4).instant, asked: BTreeMap::new(), census };
    os.groups.standbys.taking.insert(group, taking);
    os.start_active(at(5), &mut node, group, &entry);
    let active = os.groups.standbys.actives.get(&group).expect("it goes on");
    assert_eq!((active.of, active.guard.chain().len()), (of_this, 2));
}
