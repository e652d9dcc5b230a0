//! Whoever takes a standby group over asks all who may hold what was acknowledged, and those listen no more to the one
//! before. Chance does not find the moments in which that matters; they are made here.

use std::time::Duration;

use meshground_node::{DaemonId, GroupId, MeshOs, MeshOsConfig, Settlement, Ticket};
use meshground_shared::Health;
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{
    divide, mesh, really,
    standbys::{active, keeps, standby, stands},
    view,
};
use crate::{LIMIT, config, settled, try_group};

/// A standby group on nodes 1 to 3: who works, and the two who stand by. Node 0 looks after it and makes no diaries.
fn apart(seed: u64) -> (Network, GroupId, DaemonId, [usize; 3]) {
    let mut network = Network::new(seed, Faults::NONE);
    for number in 0..4 {
        network.add(config());
        network.equip(number, MeshOsConfig::default(), move |os, now| {
            if number > 0 {
                Diary::prepare(os, now);
            }
        });
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_for(Duration::from_secs(3));
    let group = try_group(&mut network, 0, standby(3)).expect("three nodes make diaries");
    stands(&mut network, group);
    let daemon = view(&network, 0, group).expect("it knows").members[0].daemon;
    let first = active(&network, group).expect("it runs");
    let others: Vec<usize> = (1..4).filter(|number| *number != first).collect();
    assert!(is_told(&mut network, first, daemon, "before"));
    (network, group, daemon, [first, others[0], others[1]])
}

/// Whether something that is sent is acknowledged.
fn is_told(network: &mut Network, from: usize, daemon: DaemonId, text: &str) -> bool {
    let ticket = crate::send(network, from, daemon, text);
    matches!(settled(network, from, ticket), Settlement::Delivered(Ok(_)))
}

/// Where the daemon runs, wherever it should.
fn working(network: &Network, group: GroupId) -> Vec<usize> {
    really(network, group).remove(&0).unwrap_or_default()
}

/// All are together again, and everything that was acknowledged is there.
fn reunite(network: &mut Network, group: GroupId, daemon: DaemonId, acknowledged: &[&str]) {
    network.cuts.clear();
    network.dial_all();
    network.run_for(Duration::from_secs(5));
    stands(network, group);
    let acknowledged: Vec<String> = acknowledged.iter().map(|text| (*text).to_owned()).collect();
    keeps(network, group, daemon, &acknowledged);
}

fn was_told(network: &Network, at: usize, ticket: Ticket) -> bool {
    matches!(network.members[at].os.settlement(ticket), Some(Settlement::Delivered(Ok(_))))
}

#[test]
fn a_standby_that_was_asked_by_the_next_does_not_help_the_one_before_to_acknowledge_anything() {
    each_seed(4, |seed| {
        let (mut network, group, daemon, [first, others @ ..]) = apart(seed);
        divide(&mut network, &[first]);
        let next = |network: &Network| working(network, group).into_iter().find(|at| *at != first);
        network.run_until(LIMIT, |network| next(network).is_some()).expect("one takes over");
        let next = next(&network).expect("just seen");
        let third = others.into_iter().find(|other| *other != next).expect("there are two");
        // It has asked the third a moment ago. What it says next is lost, and the third is with the first again, which
        // knows of nothing.
        network.intercept();
        network.cuts.clear();
        divide(&mut network, &[first, third]);
        let late = crate::send(&mut network, first, daemon, "late");
        let meet = |network: &Network| {
            [(first, third), (third, first)]
                .iter()
                .all(|&(a, b)| network.verdict(a, b) == Some(Health::Healthy))
        };
        network.run_until(LIMIT, meet).expect("they hear each other");
        assert_eq!(working(&network, group).len(), 2, "the first works on");
        // Not so long that those two find somebody who looks after the group on their side.
        network.run_for(Duration::from_millis(500));
        let kept: &[&str] = if was_told(&network, first, late) { &["before", "late"] } else { &["before"] };
        reunite(&mut network, group, daemon, kept);
    });
}

#[test]
fn whoever_is_to_take_over_waits_for_one_that_may_hold_more() {
    each_seed(4, |seed| {
        let (mut network, group, daemon, [first, next, third]) = apart(seed);
        divide(&mut network, &[first, third]);
        assert!(is_told(&mut network, first, daemon, "with the third"), "it was left to the third alone");
        network.run_for(Duration::from_secs(3));
        // It is put there on purpose, as somebody may on whose side the first seems gone.
        let to = network.id(next);
        let promote = |os: &mut MeshOs, node: &mut _, now| os.promote(now, node, group, Some(to), None);
        network.act_os(next, promote).expect("it holds a state");
        network.run_for(Duration::from_secs(12));
        assert_eq!(working(&network, group), [first], "it has not heard the third");
        assert!(is_told(&mut network, first, daemon, "and more"));
        reunite(&mut network, group, daemon, &["before", "with the third", "and more"]);
    });
}

/// Has the group be of so many, as asked at `at`.
fn scale(network: &mut Network, at: usize, group: GroupId, count: u32) {
    let scaled = network.act_os(at, |os, node, now| os.scale_group(now, node, group, count, None));
    scaled.expect("it is tried");
}

#[test]
fn one_that_is_to_work_alone_by_command_acknowledges_nothing_while_those_who_stood_by_may_go_on_without_it() {
    each_seed(4, |seed| {
        let (mut network, group, daemon, [first, others @ ..]) = apart(seed);
        divide(&mut network, &[first]);
        // Before or after others have gone on.
        network.run_for(Duration::from_secs(if seed % 2 == 0 { 0 } else { 20 }));
        scale(&mut network, first, group, 1);
        let alone = crate::send(&mut network, first, daemon, "alone");
        network.run_for(Duration::from_secs(8));
        assert!(!was_told(&network, first, alone), "nobody there has heard of it");
        network.run_for(Duration::from_secs(20));
        assert!(is_told(&mut network, others[0], daemon, "beyond"), "they go on");
        reunite(&mut network, group, daemon, &["before", "beyond"]);
        assert!(is_told(&mut network, others[0], daemon, "after"), "whoever has it works alone");
    });
}

#[test]
fn a_group_that_is_scaled_to_one_and_back_is_told_of_all_the_while_and_loses_nothing() {
    each_seed(4, |seed| {
        let (mut network, group, daemon, [first, ..]) = apart(seed);
        let mut sent = Vec::new();
        let mut number = 0;
        for count in [1, 3, 2, 1, 2] {
            scale(&mut network, 0, group, count);
            for _ in 0..50 {
                number += 1;
                let text = format!("{number}");
                sent.push((crate::send(&mut network, 0, daemon, &text), text));
                network.run_for(Duration::from_millis(if number % 50 < 40 { 2 } else { 50 }));
            }
            network.run_for(Duration::from_secs(1));
            let late: Vec<_> = sent.iter().filter(|(ticket, _)| !was_told(&network, 0, *ticket)).collect();
            assert!(late.is_empty(), "a second after the last was sent to {count}: {late:?}");
        }
        assert_eq!(working(&network, group), [first]);
        network.run_for(Duration::from_secs(1));
        network.crash(first);
        stands(&mut network, group);
        assert!(is_told(&mut network, 0, daemon, "at last"));
        let texts: Vec<String> = sent.into_iter().map(|(_, text)| text).collect();
        keeps(&mut network, group, daemon, &texts);
    });
}

/// Long enough to take a standby a while.
fn long(number: usize) -> String {
    format!("{number} {}", "x".repeat(60_000))
}

/// Ends all cuts: once the group is well everything that was acknowledged is there.
fn all_is_there(network: &mut Network, group: GroupId, daemon: DaemonId, texts: &[String]) {
    network.cuts.clear();
    network.dial_all();
    network.run_for(Duration::from_secs(5));
    stands(network, group);
    let at = active(network, group).expect("it runs");
    let held = crate::entries(network, at, daemon);
    let lost = texts.iter().filter(|text| !held.iter().any(|it| it == text.as_bytes())).count();
    assert_eq!(lost, 0, "of {} events", texts.len());
}

#[test]
fn one_that_has_only_some_of_what_was_told_of_does_not_go_on_alone_where_the_active_worked_alone() {
    // At any moment while it is brought what there is.
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults::NONE, 4);
        let group = try_group(&mut network, 0, standby(1)).expect("nodes make diaries");
        let daemon = view(&network, 0, group).expect("it knows").members[0].daemon;
        let first = active(&network, group).expect("it runs");
        let texts: Vec<String> = (0..16).map(long).collect();
        for text in &texts {
            assert!(is_told(&mut network, 0, daemon, text));
        }
        scale(&mut network, 0, group, 2);
        network.run_for(Duration::from_millis(4 * (seed % 20)));
        divide(&mut network, &[first]);
        network.run_for(Duration::from_secs(20));
        all_is_there(&mut network, group, daemon, &texts);
    });
}

#[test]
fn one_that_has_only_some_of_what_was_told_of_does_not_go_on_alone_where_the_active_took_over() {
    each_seed(20, |seed| {
        let (mut network, group, daemon, [first, next, third]) = apart(seed);
        divide(&mut network, &[third]);
        let texts: Vec<String> = (0..24).map(long).collect();
        for text in &texts {
            assert!(is_told(&mut network, 0, daemon, text));
        }
        network.run_for(Duration::from_secs(2));
        divide(&mut network, &[first]);
        let works = |network: &Network| working(network, group).contains(&next);
        network.run_until(LIMIT, works).expect("it takes over");
        network.run_for(Duration::from_secs(1));
        // The third is back, and at some moment while it is brought what there is, alone.
        network.cuts.clear();
        divide(&mut network, &[first]);
        network.dial_all();
        let hear = |network: &Network, a, b| network.verdict(a, b) == Some(Health::Healthy);
        let meet = |network: &Network| hear(network, next, third) && hear(network, third, next);
        network.run_until(LIMIT, meet).expect("they hear each other");
        network.run_for(Duration::from_millis(6 * (seed % 20)));
        divide(&mut network, &[next]);
        network.run_for(Duration::from_secs(25));
        all_is_there(&mut network, group, daemon, &texts);
    });
}
