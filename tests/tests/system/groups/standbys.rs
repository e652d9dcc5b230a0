//! Standbys: nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use meshground_node::{DaemonId, DeliverError, GroupId, GroupRequest, MeshOs, Settlement, Ticket};
use meshground_shared::{GroupHealth, GroupKind};
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{divide, mesh, really, rejoin, request, running, view};
use crate::{BAD, LIMIT, group_outcome, settled, try_group};

pub(super) fn standby(count: u32) -> GroupRequest {
    GroupRequest { kind: GroupKind::Standby, ..request(count, 11) }
}

/// Where the daemon of a standby group really runs.
pub(super) fn active(network: &Network, group: GroupId) -> Option<usize> {
    match really(network, group).get(&0).map(Vec::as_slice) {
        Some(&[at]) => Some(at),
        _ => None,
    }
}

/// A standby group of three on five nodes, and its daemon.
pub(super) fn standing(network: &mut Network) -> (GroupId, DaemonId) {
    let group = try_group(network, 0, standby(3)).expect("five nodes");
    let daemon = view(network, 0, group).expect("it knows").members[0].daemon;
    (group, daemon)
}

pub(super) fn stands(network: &mut Network, group: GroupId) {
    let ready = |network: &Network| {
        active(network, group).is_some()
            && running(network).iter().all(|&number| {
                view(network, number, group).is_some_and(|view| view.health == GroupHealth::Healthy)
            })
    };
    let done = network.run_until(LIMIT, ready);
    let views: Vec<_> = running(network).into_iter().map(|number| view(network, number, group)).collect();
    assert!(done.is_some(), "after a minute still: {:?}, {views:?}", really(network, group));
}

/// Sends numbered entries from a node; those that were acknowledged, in order.
pub(super) fn acknowledged(network: &Network, from: usize, sent: &[(Ticket, String)]) -> Vec<String> {
    let was = |ticket: Ticket| {
        matches!(network.members[from].os.settlement(ticket), Some(Settlement::Delivered(Ok(_))))
    };
    sent.iter().filter(|(ticket, _)| was(*ticket)).map(|(_, text)| text.clone()).collect()
}

/// Everything acknowledged is there once and in order.
pub(super) fn keeps(network: &mut Network, group: GroupId, daemon: DaemonId, acknowledged: &[String]) {
    let at = active(network, group).expect("it runs");
    let entries: Vec<String> = crate::entries(network, at, daemon)
        .into_iter()
        .map(|entry| String::from_utf8(entry).expect("text"))
        .collect();
    let once: BTreeSet<&String> = entries.iter().collect();
    assert_eq!(once.len(), entries.len(), "nothing twice: {entries:?}");
    let kept: Vec<String> = entries.into_iter().filter(|entry| acknowledged.contains(entry)).collect();
    assert_eq!(kept, acknowledged, "all that was acknowledged, in order");
}

#[test]
fn what_was_acknowledged_outlives_the_node_that_did_the_work() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let mut sent = Vec::new();
        for round in 0..3 {
            let at = active(&network, group).expect("it runs");
            let from = running(&network).into_iter().find(|&number| number != at).expect("others");
            let from = if round == 0 {
                from
            } else {
                (0..5).find(|&n| n != at && network.members[n].node.is_some()).expect("others")
            };
            let mut batch = Vec::new();
            for number in 0..40 {
                let text = format!("{round}-{number}");
                batch.push((crate::send(&mut network, from, daemon, &text), text));
                let pause = network.below(8);
                network.run_for(Duration::from_millis(pause));
            }
            let pause = network.below(100);
            network.run_for(Duration::from_millis(pause));
            // Only so many can be lost; the last round loses none.
            if round < 2 {
                network.crash(at);
            }
            network.run_for(Duration::from_secs(12));
            sent.extend(acknowledged(&network, from, &batch));
            stands(&mut network, group);
            keeps(&mut network, group, daemon, &sent);
            if round < 2 {
                network.restart(at);
                rejoin(&mut network, at);
                network.run_for(Duration::from_secs(2));
                stands(&mut network, group);
            }
        }
        assert!(sent.len() > 100, "most is acknowledged in the end: {}", sent.len());
    });
}

#[test]
fn a_lost_standby_is_replaced_and_one_that_came_late_goes_on_with_everything() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let first = active(&network, group).expect("it runs");
        let mut sent = Vec::new();
        for round in 0..3 {
            for number in 0..15 {
                let text = format!("{round}-{number}");
                sent.push((crate::send(&mut network, first, daemon, &text), text));
            }
            network.run_for(Duration::from_secs(2));
            let view = view(&network, first, group).expect("it knows");
            let standby = view.members[1].node.expect("it stands");
            let synced: Vec<bool> = view.members.iter().map(|member| member.synced.is_some()).collect();
            assert_eq!(synced, [false, true, true]);
            if round < 2 {
                let is_it = |&number: &usize| network.id(number) == standby;
                let at = running(&network).into_iter().find(is_it).expect("it runs");
                network.crash(at);
                // It takes a while for anybody to see that.
                network.run_for(Duration::from_secs(5));
                stands(&mut network, group);
                assert_eq!(active(&network, group), Some(first), "the work stays where it is");
            }
        }
        let acknowledged = acknowledged(&network, first, &sent);
        assert_eq!(acknowledged.len(), sent.len());
        network.crash(first);
        let goes_on = |network: &Network| active(network, group).is_some();
        assert!(network.run_until(LIMIT, goes_on).is_some());
        network.run_for(Duration::from_secs(2));
        keeps(&mut network, group, daemon, &acknowledged);
    });
}

#[test]
fn a_standby_whose_node_is_back_before_it_is_missed_holds_everything_again_though_nothing_is_new() {
    let mut network = mesh(1, Faults::NONE, 5);
    let (group, daemon) = standing(&mut network);
    stands(&mut network, group);
    let first = active(&network, group).expect("it runs");
    let ticket = crate::send(&mut network, first, daemon, "kept");
    settled(&mut network, first, ticket);
    network.run_for(Duration::from_secs(2));
    let standby = view(&network, first, group).expect("it knows").members[1].node;
    let at = (0..5).find(|&number| Some(network.id(number)) == standby).expect("it stands");
    network.crash(at);
    network.restart_in_place(at);
    rejoin(&mut network, at);
    network.run_for(Duration::from_secs(2));
    stands(&mut network, group);
    for number in 0..5 {
        let member = view(&network, number, group).expect("it knows").members[1];
        assert_eq!((member.node, member.running, member.synced), (standby, true, Some(1)), "to {number}");
    }
}

#[test]
fn a_hand_over_loses_nothing_and_fails_nothing() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let mut sent = Vec::new();
        for number in 0..90_usize {
            let text = format!("{number}");
            sent.push((crate::send(&mut network, 3, daemon, &text), text));
            network.run_for(Duration::from_millis(5));
            if number % 30 == 15 {
                let before = active(&network, group);
                let promote = |os: &mut MeshOs, node: &mut _, now| os.promote(now, node, group, None, None);
                let at = (number / 30) % 5;
                let ticket = network.act_os(at, promote).expect("somebody is ready");
                assert_eq!(group_outcome(&mut network, at, ticket), Ok(group));
                stands(&mut network, group);
                assert_ne!(active(&network, group), before);
            }
        }
        network.run_for(Duration::from_secs(5));
        let acknowledged = acknowledged(&network, 3, &sent);
        assert_eq!(acknowledged.len(), 90);
        keeps(&mut network, group, daemon, &acknowledged);
    });
}

#[test]
fn what_one_crashed_over_is_told_so_once_and_the_next_goes_on_without_it() {
    let mut network = mesh(1, Faults::NONE, 4);
    let (group, daemon) = standing(&mut network);
    stands(&mut network, group);
    let began = network.now_at(3).instant;
    let sent: Vec<Ticket> =
        ["a", "crash", "b"].iter().map(|text| crate::send(&mut network, 3, daemon, text)).collect();
    let outcomes: Vec<Settlement> = sent.into_iter().map(|ticket| settled(&mut network, 3, ticket)).collect();
    assert!(
        matches!(
            &outcomes[..],
            [
                Settlement::Delivered(Ok(_)),
                Settlement::Delivered(Err(DeliverError::Crashed)),
                Settlement::Delivered(Ok(_)),
            ]
        ),
        "{outcomes:?}"
    );
    let took = network.now_at(3).instant.saturating_since(began);
    assert!(took < Duration::from_secs(4), "more is awaited from one that has crashed: {took:?}");
    stands(&mut network, group);
    keeps(&mut network, group, daemon, &["a".to_owned(), "b".to_owned()]);
}

/// What was sent by whom; of a node that crashes only what it had heard by then is known.
#[derive(Default)]
pub(super) struct Mail {
    under_way: Vec<(usize, Ticket, String)>,
    pub(super) acknowledged: Vec<(usize, String)>,
    count: u32,
}

impl Mail {
    pub(super) fn send(&mut self, network: &mut Network, from: usize, daemon: DaemonId) {
        let text = format!("{from}-{}", self.count);
        self.count += 1;
        self.under_way.push((from, crate::send(network, from, daemon, &text), text));
    }

    /// Takes note of what was acknowledged to a node, which hears of nothing else that it has sent so far.
    pub(super) fn close(&mut self, network: &Network, of: usize) {
        let (its, others) = self.under_way.drain(..).partition(|(from, ..)| *from == of);
        self.under_way = others;
        let its: Vec<(usize, Ticket, String)> = its;
        for (from, ticket, text) in its {
            if matches!(network.members[from].os.settlement(ticket), Some(Settlement::Delivered(Ok(_)))) {
                self.acknowledged.push((from, text));
            }
        }
    }

    /// Everything acknowledged is there once, and that of each sender in order.
    pub(super) fn is_kept(&mut self, network: &mut Network, group: GroupId, daemon: DaemonId) {
        for number in 0..network.members.len() {
            self.close(network, number);
        }
        let at = active(network, group).expect("it runs");
        let entries = crate::entries(network, at, daemon);
        let entries: Vec<String> =
            entries.into_iter().map(|entry| String::from_utf8(entry).expect("text")).collect();
        let once: BTreeSet<&String> = entries.iter().collect();
        assert_eq!(once.len(), entries.len(), "nothing twice: {entries:?}");
        for sender in 0..network.members.len() {
            let its = self.acknowledged.iter().filter(|(from, _)| *from == sender).map(|(_, text)| text);
            let its: Vec<&String> = its.collect();
            let kept: Vec<&String> = entries.iter().filter(|entry| its.contains(entry)).collect();
            assert_eq!(kept, its, "all that was acknowledged to {sender}, in order");
        }
    }
}

/// Cuts some of what is between nodes, in one of many ways.
fn part(network: &mut Network, group: GroupId) {
    let at = active(network, group);
    let address = |network: &Network, number: usize| network.members[number].address;
    match network.below(6) {
        0 => {}
        1 | 2 => {
            let some: Vec<usize> = (0..5).filter(|_| network.below(2) == 0).collect();
            divide(network, &some);
        }
        3 => divide(network, &[at.unwrap_or(0)]),
        // Some links of the one that works, or one way of them.
        way => {
            let at = at.unwrap_or(0);
            for other in (0..5).filter(|other| *other != at) {
                if network.below(2) == 0 {
                    network.cuts.push((address(network, at), address(network, other)));
                    if way == 4 {
                        network.cuts.push((address(network, other), address(network, at)));
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost_over_crashes_and_partitions() {
    each_seed(40, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let count = 2 + u32::try_from(seed % 3).expect("small");
        let group = try_group(&mut network, 0, standby(count)).expect("five nodes");
        let daemon = view(&network, 0, group).expect("it knows").members[0].daemon;
        stands(&mut network, group);
        let mut mail = Mail::default();
        for _ in 0..4 {
            part(&mut network, group);
            let mut crash_at = (network.below(2) == 0).then(|| network.below(80));
            let promote_at = (network.below(2) == 0).then(|| network.below(100));
            let mut crashed: Option<(usize, u64)> = None;
            for step in 0..100 {
                if crash_at.is_some_and(|at| at <= step) {
                    crash_at = None;
                    let victim = if network.below(2) == 0 { active(&network, group) } else { None };
                    let victim = victim.unwrap_or(usize::try_from(network.below(5)).expect("small"));
                    mail.close(&network, victim);
                    network.crash(victim);
                    // In its next life the same tickets name something else.
                    network.members[victim].os.events.clear();
                    crashed = Some((victim, step + network.below(60)));
                }
                if let Some((victim, until)) = crashed
                    && until <= step
                    && network.members[victim].node.is_none()
                {
                    network.restart_in_place(victim);
                    rejoin(&mut network, victim);
                }
                let from = usize::try_from(network.below(5)).expect("small");
                if network.members[from].node.is_some() {
                    mail.send(&mut network, from, daemon);
                    if promote_at.is_some_and(|at| at <= step && step < at + 5) {
                        // Somebody that this one does not know to be ready is refused.
                        let to = usize::try_from(network.below(5)).expect("small");
                        let to = Some(network.id(to)).filter(|_| network.below(2) == 0);
                        _ = network.act_os(from, |os, node, now| os.promote(now, node, group, to, None));
                    }
                }
                let pause = network.below(120);
                network.run_for(Duration::from_millis(pause));
            }
            network.cuts.clear();
            if let Some((victim, _)) = crashed
                && network.members[victim].node.is_none()
            {
                network.restart_in_place(victim);
            }
            network.dial_all();
            network.run_for(Duration::from_secs(3));
            stands(&mut network, group);
            mail.is_kept(&mut network, group, daemon);
        }
        assert!(mail.acknowledged.len() > 100, "most is acknowledged: {}", mail.acknowledged.len());
        for from in 0..5 {
            let ticket = crate::send(&mut network, from, daemon, "at last");
            let outcome = settled(&mut network, from, ticket);
            let places = really(&network, group);
            let sees = view(&network, from, group);
            assert!(
                matches!(outcome, Settlement::Delivered(Ok(_))),
                "from {from} to {places:?}: {outcome:?}, {sees:?}"
            );
        }
    });
}

#[test]
fn one_that_is_cut_off_from_all_who_stand_by_acknowledges_nothing_while_another_takes_over() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.02, ..Faults::NONE }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let first = active(&network, group).expect("it runs");
        let other = (first + 1) % 5;
        let mut mail = Mail::default();
        for from in [first, other] {
            mail.send(&mut network, from, daemon);
        }
        network.run_for(Duration::from_secs(1));
        divide(&mut network, &[first]);
        let alone = crate::send(&mut network, first, daemon, "alone");
        network.run_for(Duration::from_secs(8));
        let there: Vec<Ticket> = (0..3)
            .map(|number| crate::send(&mut network, other, daemon, &format!("there {number}")))
            .collect();
        for ticket in there {
            let outcome = settled(&mut network, other, ticket);
            assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
        }
        let outcome = settled(&mut network, first, alone);
        assert_eq!(outcome, Settlement::Delivered(Err(DeliverError::Unknown)), "nobody can know yet");
        network.cuts.clear();
        network.dial_all();
        network.run_for(Duration::from_secs(3));
        stands(&mut network, group);
        mail.is_kept(&mut network, group, daemon);
    });
}

#[test]
fn a_standby_that_is_gone_for_good_does_not_keep_others_waiting_for_ever() {
    // The other one knows that it counts no more; an only one has to be given up as lost first.
    for (count, within) in [(3, Duration::from_secs(5)), (2, Duration::from_mins(6))] {
        let mut network = mesh(u64::from(count), Faults::NONE, 5);
        let group = try_group(&mut network, 0, standby(count)).expect("five nodes");
        let view = view(&network, 0, group).expect("it knows");
        stands(&mut network, group);
        let first = active(&network, group).expect("it runs");
        let is_it = |number: &usize| Some(network.id(*number)) == view.members[1].node;
        let lost = (0..5).find(is_it).expect("it stands somewhere");
        network.crash(lost);
        network.run_for(within);
        let ticket = crate::send(&mut network, first, view.members[0].daemon, "after");
        let outcome = settled(&mut network, first, ticket);
        assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "of {count}: {outcome:?}");
        assert_eq!(active(&network, group), Some(first), "the work stays where it is");
    }
}

/// Has the daemon of a standby group move from `from` to `to`.
pub(super) fn move_active(network: &mut Network, from: usize, to: usize, daemon: DaemonId) -> Ticket {
    let to = network.id(to);
    network.act_os(from, |os, node, now| os.migrate(now, node, daemon, to, None)).expect("it is tried")
}

#[test]
fn a_standby_makes_room_for_the_active_that_is_moved_to_its_node_and_is_whole_elsewhere() {
    each_seed(5, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let before = crate::send(&mut network, 0, daemon, "before");
        assert!(matches!(settled(&mut network, 0, before), Settlement::Delivered(Ok(_))), "seed {seed}");
        let at = active(&network, group).expect("it runs");
        let view = view(&network, 0, group).expect("it knows");
        let beside = view.members[1].node.expect("it has one");
        let beside = (0..5).find(|&number| network.id(number) == beside).expect("one of these");
        let moved = move_active(&mut network, at, beside, daemon);
        assert!(matches!(settled(&mut network, at, moved), Settlement::Migrated(Ok(_))), "seed {seed}");
        network.run_for(Duration::from_secs(3));
        stands(&mut network, group);
        assert_eq!(active(&network, group), Some(beside));
        keeps(&mut network, group, daemon, &["before".to_owned()]);
    });
}

#[test]
fn what_an_active_takes_along_that_is_not_acknowledged_yet_is_acknowledged_where_it_is_then() {
    each_seed(5, |seed| {
        let mut network = mesh(seed, Faults::NONE, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let view = view(&network, 0, group).expect("it knows");
        let is_one = |number: usize| view.members.iter().any(|it| it.node == Some(network.id(number)));
        let (members, others): (Vec<usize>, Vec<usize>) = (0..5).partition(|number| is_one(*number));
        let first = active(&network, group).expect("it runs");
        let lagging: Vec<usize> = members.into_iter().filter(|number| *number != first).collect();
        let mut sent = Vec::new();
        for number in 0..6 {
            if number == 3 {
                divide(&mut network, &lagging);
            }
            for from in [first, others[0]] {
                let text = format!("{from}-{number}");
                sent.push((from, crate::send(&mut network, from, daemon, &text), text));
            }
            network.run_for(Duration::from_millis(20));
        }
        let moved = move_active(&mut network, first, others[1], daemon);
        assert!(matches!(settled(&mut network, first, moved), Settlement::Migrated(Ok(_))));
        // Before anybody there would take over.
        network.run_for(Duration::from_millis(seed % 5 * 300));
        network.cuts.clear();
        network.dial_all();
        stands(&mut network, group);
        for (from, ticket, text) in &sent {
            let outcome = settled(&mut network, *from, *ticket);
            assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{text}: {outcome:?}");
        }
        assert_eq!(active(&network, group), Some(others[1]));
        for from in [first, others[0]] {
            let its = sent.iter().filter(|(by, ..)| *by == from).map(|(.., text)| text.clone());
            keeps(&mut network, group, daemon, &its.collect::<Vec<_>>());
        }
        // Those who stand by follow the daemon where it is; where it was says no more to them than any other node.
        network.run_for(Duration::from_secs(5));
        network.tap = Some(Vec::new());
        network.run_for(Duration::from_secs(10));
        let seen = network.tap.take().expect("just set");
        let [source, another] = [first, others[0]].map(|number| network.members[number].address);
        for number in lagging {
            let to = network.members[number].address;
            let said = |from| seen.iter().filter(|it| it.from == from && it.to == to).count();
            assert!(said(source) <= 2 * said(another), "{} and {}", said(source), said(another));
        }
    });
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_an_active_has_just_moved_and_its_new_node_crashes() {
    each_seed(30, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.05, ..BAD }, 6);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let mut mail = Mail::default();
        let step = |network: &mut Network, mail: &mut Mail| {
            for from in running(network) {
                mail.send(network, from, daemon);
            }
            let pause = network.below(10);
            network.run_for(Duration::from_millis(pause));
        };
        (0..60).for_each(|_| step(&mut network, &mut mail));
        let first = active(&network, group).expect("it runs");
        let is_lagging = |network: &Network, number: usize| {
            let view = view(network, first, group).expect("it knows");
            view.members[1..].iter().any(|member| member.node == Some(network.id(number)))
        };
        let (standbys, others): (Vec<usize>, Vec<usize>) =
            (0..6).filter(|it| *it != first).partition(|number| is_lagging(&network, *number));
        // None, one or both hear nothing for a while; at times it moves to one who stands by.
        let lagging = &standbys[..usize::try_from(seed % 3).expect("small")];
        divide(&mut network, lagging);
        (0..network.below(20)).for_each(|_| step(&mut network, &mut mail));
        let to = if seed % 4 == 3 && lagging.len() < 2 { standbys[1] } else { others[0] };
        move_active(&mut network, first, to, daemon);
        let runs = |network: &Network| really(network, group).get(&0).is_some_and(|at| at.contains(&to));
        for _ in 0..2_000 {
            if network.run_until(Duration::from_millis(2), runs).is_some() {
                break;
            }
            step(&mut network, &mut mail);
        }
        assert!(runs(&network), "it gets there");
        for _ in 0..network.below(4) * network.below(30) {
            step(&mut network, &mut mail);
        }
        mail.close(&network, to);
        network.crash(to);
        network.members[to].os.events.clear();
        (0..50).for_each(|_| step(&mut network, &mut mail));
        network.cuts.clear();
        network.restart_in_place(to);
        network.dial_all();
        network.run_for(Duration::from_secs(5));
        stands(&mut network, group);
        network.run_for(Duration::from_secs(2));
        mail.is_kept(&mut network, group, daemon);
        assert!(mail.acknowledged.len() > 50, "most is acknowledged: {}", mail.acknowledged.len());
    });
}
