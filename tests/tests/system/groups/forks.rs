//! Forks, and what they can prove.

use std::time::Duration;

use meshground_node::{
    DaemonId, GroupError, GroupRequest, MeshOs,
    admin::{IceProposal, Nonce},
};
use meshground_shared::{GroupKind, IceVerb};
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{heals, mesh, really, request, running, view};
use crate::{group_outcome, settled, try_group};

fn forks(count: u32, parent: DaemonId) -> GroupRequest {
    GroupRequest { kind: GroupKind::Fork, parent: Some(parent), ..request(count, 9) }
}

#[test]
fn forks_go_on_from_one_state_of_their_parent_and_can_prove_it_even_when_that_is_gone() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 6);
        let parent = crate::spawn(&mut network, 1, 7);
        // More than fits into one answer.
        for number in 0..3 {
            let text = format!("{number}{}", "x".repeat(200_000));
            let ticket = crate::send(&mut network, 0, parent, &text);
            settled(&mut network, 0, ticket);
        }
        let group = try_group(&mut network, 0, forks(2, parent)).expect("six nodes");
        heals(&mut network, group, 2);
        let state_of = |network: &mut Network, index: u32| {
            let at = really(network, group)[&index][0];
            let member = view(network, at, group).expect("it runs there").members[index as usize].daemon;
            crate::entries(network, at, member)
        };
        let begun = crate::entries(&mut network, 1, parent);
        assert_eq!(begun.len(), 3);
        assert_eq!((state_of(&mut network, 0), state_of(&mut network, 1)), (begun.clone(), begun.clone()));

        // The parent goes, and with it whoever is beside it; others begin where the first did.
        network.crash(1);
        heals(&mut network, group, 2);
        let lost = really(&network, group)[&1][0];
        network.crash(lost);
        let at = running(&network)[0];
        heals(&mut network, group, 2);
        assert_eq!(state_of(&mut network, 1), begun);
        let scale = |os: &mut MeshOs, node: &mut _, now| os.scale_group(now, node, group, 3, None);
        let ticket = network.act_os(at, scale).expect("four nodes");
        assert_eq!(group_outcome(&mut network, at, ticket), Ok(group));
        heals(&mut network, group, 3);
        assert_eq!(state_of(&mut network, 2), begun);
        for index in 0..3 {
            let lineage = network.members[at].os.os.as_ref().unwrap().lineage(group, index).expect("a fork");
            assert_eq!((lineage.verify(), lineage.parent, lineage.processed), (Ok(()), parent, 3));
            let member = view(&network, at, group).expect("it knows").members[index as usize].daemon;
            assert_eq!(lineage.child(), member);
        }
    });
}

#[test]
fn a_fork_that_crashes_begins_again_where_it_began() {
    let mut network = mesh(1, Faults::NONE, 3);
    let parent = crate::spawn(&mut network, 1, 7);
    let ticket = crate::send(&mut network, 0, parent, "before");
    settled(&mut network, 0, ticket);
    let group = try_group(&mut network, 0, forks(1, parent)).expect("three nodes");
    let fork = view(&network, 0, group).expect("it knows").members[0].daemon;
    for text in ["after", "crash"] {
        let ticket = crate::send(&mut network, 0, fork, text);
        settled(&mut network, 0, ticket);
    }
    network.run_for(Duration::from_millis(100));
    heals(&mut network, group, 1);
    let at = really(&network, group)[&0][0];
    assert_eq!(crate::entries(&mut network, at, fork), [b"before"]);
}

#[test]
fn nothing_is_left_of_forks_of_a_daemon_that_is_not_there_or_has_no_say() {
    let mut network = mesh(1, Faults::NONE, 3);
    let nobody = DaemonId(1);
    let refused = try_group(&mut network, 0, forks(2, nobody));
    assert_eq!(refused, Err(GroupError::ParentNotFound(nobody)));
    let without = GroupRequest { kind: GroupKind::Fork, ..request(2, 1) };
    assert!(matches!(try_group(&mut network, 0, without), Err(GroupError::WrongKind(_))));
    let parent = crate::spawn(&mut network, 1, 7);
    network.run_for(Duration::from_secs(1));
    crate::send(&mut network, 0, parent, "crash");
    network.run_for(Duration::from_millis(100));
    let refused = try_group(&mut network, 0, forks(2, parent));
    assert!(matches!(&refused, Err(GroupError::TimedOut(why)) if why.contains("state")), "{refused:?}");
    assert_eq!(network.members[0].os.os.as_ref().unwrap().groups().count(), 0);
}

#[test]
fn a_freeze_before_the_parent_has_answered_keeps_forks_from_starting() {
    let mut network = mesh(1, Faults::NONE, 3);
    let parent = crate::spawn(&mut network, 1, 7);
    network.run_for(Duration::from_secs(1));
    let ticket = network
        .act_os(0, |os, node, now| os.spawn_group(now, node, forks(2, parent)))
        .expect("not frozen yet");
    let verb = IceVerb::FreezeCluster { ttl_ms: 60_000 };
    let wall = network.now_at(0).wall;
    let picture = network.act_os(0, |os, node, _| os.picture(node));
    let freeze = IceProposal::new(verb).simulate(&picture).expect("possible").unsigned(wall, Nonce([1; 16]));
    // It is quicker than the answer, which is held up.
    let address = network.members[1].address;
    network.cuts.extend([(address, network.members[0].address)]);
    network.act_os(2, |os, node, now| os.submit(now, node, &freeze));
    network.run_until(crate::LIMIT, |network| {
        network.members[0].os.os.as_ref().unwrap().snapshot().freeze_remaining.is_some()
    });
    network.cuts.clear();
    assert_eq!(group_outcome(&mut network, 0, ticket), Err(GroupError::Frozen));
    network.run_for(Duration::from_secs(5));
    assert!(network.members.iter().all(|member| member.os.os.as_ref().unwrap().groups().count() == 0));
}
