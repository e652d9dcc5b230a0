//! One node of a standby group, and what it makes of what others say and ask.

use std::collections::BTreeMap;

use meshground_shared::{DaemonEnd, GroupId, GroupKind, NodeId};

use super::{
    Taking,
    syncing::{Push, What},
    taking::MAX_AHEAD,
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

#[test]
fn what_is_promised_of_a_group_before_this_node_hears_of_it_is_kept_when_it_does() {
    let (others, _, group) = with_group(GroupKind::Standby);
    let mut placed = others.groups.ledger.get(group).expect("just made").clone();
    placed.place(0, Some(OTHER));
    let later = Incarnation::new(placed.slot(0).generation + 2, OTHER);
    for is_asked in [false, true] {
        let (mut os, mut node) = alone();
        // There is something to look after.
        let mut another = placed.clone();
        another.respecify(OTHER, |spec| spec.kind = GroupKind::Replica);
        assert!(os.groups.ledger.add(GroupId(!group.0), another));
        if is_asked {
            let claim = wire::encode(&(group.0, Some(later.generation)));
            os.on_poll(at(1), &mut node, call_of(OTHER, 1), &claim);
        }
        os.groups.dirty = true;
        os.handle_timeout(at(2), &mut node);
        let mut placed = placed.clone();
        placed.respecify(OTHER, |spec| spec.desired = 2);
        placed.place(1, Some(os.local));
        assert!(os.groups.ledger.add(group, placed));
        brings(&mut os, &mut node, group, Incarnation::new(later.generation - 1, OTHER));
        let holds = os.groups.standbys.journals.get(&group).is_some_and(|journal| journal.base().is_some());
        assert_eq!(holds, !is_asked, "whoever asked comes later than what is brought");
        if is_asked {
            let place = os.groups.ledger.get(group).map(|entry| entry.slot(0).incarnation());
            assert_eq!(place, Some(later), "and has the place, as nobody else may know of it");
        }
    }
}

#[test]
fn of_so_many_unknown_groups_and_of_none_that_is_no_more_is_anything_promised() {
    let (mut os, mut node, known) = with_group(GroupKind::Standby);
    let by = Incarnation::new(9, OTHER);
    let first = known.0.wrapping_add(1);
    for number in 0..MAX_AHEAD as u64 {
        assert!(os.promise(GroupId(first.wrapping_add(number)), by));
    }
    assert!(!os.promise(GroupId(known.0.wrapping_sub(1)), by));
    assert!(os.promise(GroupId(first), by) && os.promise(known, by), "of these something is known");
    os.stop_group(at(3), &mut node, known, None).expect("it is there");
    os.handle_timeout(at(4), &mut node);
    assert!(!os.promise(known, by));
    let another = GroupId(known.0.wrapping_sub(1));
    assert!(!os.promise(another, by));
    os.groups.standbys.parted.insert(OTHER, |_| true);
    assert!(os.promise(another, by), "those of a node that is gone for good give way");
    assert!(os.groups.standbys.journals.len() <= MAX_AHEAD + 1);
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
fn whoever_brings_a_state_has_begun() {
    let (mut os, mut node, group) = with_group(GroupKind::Standby);
    let begun = |os: &MeshOs| os.groups.ledger.get(group).expect("it is there").begun;
    let before = begun(&os);
    brings(&mut os, &mut node, group, Incarnation::new(before + 5, OTHER));
    assert_eq!(begun(&os), before + 5, "nobody else has said so");
    brings(&mut os, &mut node, group, Incarnation::new(before + 4, OTHER));
    assert_eq!(begun(&os), before + 5);
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
        guard.propose(members, &Lives::new(), 1, &BTreeMap::new(), |_, _| false);
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
