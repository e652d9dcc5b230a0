//! To whom the work of a standby group goes when nobody says to whom.

use std::time::Duration;

use meshground_node::{DaemonId, GroupError, GroupId, Settlement};
use meshground_shared::Health;
use meshground_tests::sim::{Faults, Network};

use super::{
    mesh,
    standbys::{acknowledged, active, keeps, standby, standing, stands},
    view,
};
use crate::{LIMIT, group_outcome, settled, try_group};

/// The members that stand by for a group, by place.
fn standbys(network: &Network, group: GroupId) -> Vec<usize> {
    let view = view(network, 0, group).expect("it knows");
    let hosts = view.members[1..].iter().map(|member| member.node.expect("it stands"));
    hosts
        .map(|host| (0..network.members.len()).find(|&number| network.id(number) == host).expect("a member"))
        .collect()
}

/// Has entries written of which one of two standbys hears nothing, and hands the work over before that is noticed.
fn hand_over_past(behind: usize) {
    let mut network = mesh(1, Faults::NONE, 5);
    let (group, daemon): (GroupId, DaemonId) = standing(&mut network);
    stands(&mut network, group);
    let first = active(&network, group).expect("it runs");
    let lagging = standbys(&network, group)[behind];
    let ahead = standbys(&network, group)[1 - behind];
    let from = (0..5).find(|number| ![first, lagging, ahead].contains(number)).expect("five nodes");
    let [one, other] = [first, lagging].map(|number| network.members[number].address);
    network.cuts = vec![(one, other), (other, one)];
    let sent: Vec<_> = (0..20)
        .map(|number| {
            let text = number.to_string();
            (crate::send(&mut network, from, daemon, &text), text)
        })
        .collect();
    // It says so within a second, and a way around the cut is found a little later.
    let is_behind = |network: &Network| {
        let held = view(network, from, group).expect("it knows").members;
        held[1 + behind].synced < held[2 - behind].synced
    };
    network.run_until(Duration::from_millis(1_200), is_behind).expect("one says that it holds more");
    let promote = network.act_os(from, |os, node, now| os.promote(now, node, group, None, None));
    let chosen = view(&network, from, group).expect("it knows").members[0].node;
    assert_eq!(chosen, Some(network.id(ahead)), "not node {lagging}, which holds less");
    assert_eq!(group_outcome(&mut network, from, promote.expect("somebody is ready")), Ok(group));
    assert_eq!(active(&network, group), Some(ahead));
    network.cuts.clear();
    network.dial_all();
    for (ticket, _) in &sent {
        let outcome = settled(&mut network, from, *ticket);
        assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
    }
    stands(&mut network, group);
    let sent = acknowledged(&network, from, &sent);
    keeps(&mut network, group, daemon, &sent);
}

#[test]
fn the_standby_that_holds_most_is_promoted_whichever_place_it_has() {
    hand_over_past(0);
    hand_over_past(1);
}

#[test]
fn nobody_is_promoted_whose_node_cannot_be_reached() {
    let mut network = mesh(1, Faults::NONE, 2);
    let group = try_group(&mut network, 0, standby(2)).expect("two nodes");
    stands(&mut network, group);
    let (first, lost) = (active(&network, group).expect("it runs"), standbys(&network, group)[0]);
    let host = network.id(lost);
    network.crash(lost);
    let is_missed = |network: &Network| network.verdict(first, lost) == Some(Health::Unreachable);
    network.run_until(LIMIT, is_missed).expect("it is missed");
    for to in [None, Some(host)] {
        let refused = network.act_os(first, |os, node, now| os.promote(now, node, group, to, None));
        assert!(matches!(refused, Err(GroupError::PlacementFailed { found: 0, .. })), "{to:?}: {refused:?}");
    }
    network.run_for(Duration::from_secs(1));
    assert_eq!(active(&network, group), Some(first), "the work stays where it is");
}
