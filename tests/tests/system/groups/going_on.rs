//! A standby group that goes on in two places that do not see each other.

use std::time::Duration;

use meshground_node::{DaemonId, GroupId, Settlement, Ticket};
use meshground_shared::Lifecycle;
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{
    divide, mesh, rejoin,
    standbys::{Mail, active, keeps, move_active, standby, standing, stands},
    view,
};
use crate::{LIMIT, settled, try_group};

/// A standby group of three on five nodes, and what it was sent.
struct Scene {
    network: Network,
    group: GroupId,
    daemon: DaemonId,
    /// Where its daemon ran first.
    first: usize,
    /// Who stood by then, and who did not.
    in_sync: Vec<usize>,
    others: Vec<usize>,
    sent: Vec<(usize, Ticket, String)>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut network = mesh(seed, Faults::NONE, 5);
        let (group, daemon) = standing(&mut network);
        stands(&mut network, group);
        let first = active(&network, group).expect("it runs");
        Self::of(network, group, daemon, first)
    }

    fn of(network: Network, group: GroupId, daemon: DaemonId, first: usize) -> Self {
        let view = view(&network, 0, group).expect("it knows");
        let stands_by =
            |number: &usize| view.members[1..].iter().any(|it| it.node == Some(network.id(*number)));
        let (in_sync, others) = (0..5).filter(|number| *number != first).partition(stands_by);
        Self { network, group, daemon, first, in_sync, others, sent: Vec::new() }
    }

    fn send(&mut self, from: usize, text: &str) {
        let text = format!("{from}-{text}");
        self.sent.push((from, crate::send(&mut self.network, from, self.daemon, &text), text));
        self.network.run_for(Duration::from_millis(20));
    }

    fn moves(&mut self, from: usize, to: usize) {
        let moved = move_active(&mut self.network, from, to, self.daemon);
        assert!(matches!(settled(&mut self.network, from, moved), Settlement::Migrated(Ok(_))));
    }

    /// Waits until the last that was sent is acknowledged.
    fn is_answered(&mut self) {
        let (from, ticket, text) = self.sent.last().cloned().expect("something was sent");
        let outcome = settled(&mut self.network, from, ticket);
        assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{text}: {outcome:?}");
    }

    /// Ends the cut: the group is well, takes events, and has all that was ever sent, each once and in order.
    fn heals(mut self) {
        self.network.cuts.clear();
        self.network.dial_all();
        stands(&mut self.network, self.group);
        let senders = [self.others[0], self.in_sync[0]];
        for from in senders {
            self.send(from, "after");
        }
        for (from, ticket, text) in self.sent.clone() {
            let outcome = settled(&mut self.network, from, ticket);
            assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{text}: {outcome:?}");
        }
        for from in senders {
            let its = self.sent.iter().filter(|(by, ..)| *by == from).map(|(.., text)| text.clone());
            keeps(&mut self.network, self.group, self.daemon, &its.collect::<Vec<_>>());
        }
    }
}

#[test]
fn where_an_active_moved_while_those_in_sync_went_on_without_it_theirs_stays_and_everybody_is_answered() {
    each_seed(8, |seed| {
        let mut scene = Scene::new(seed);
        let (near, far) = (scene.others[0], scene.in_sync[0]);
        for round in ["first", "cut", "moved", "last"] {
            match round {
                "cut" => divide(&mut scene.network, &scene.in_sync),
                "moved" => scene.moves(scene.first, scene.others[1]),
                _ => {}
            }
            scene.send(near, round);
            scene.send(far, round);
        }
        scene.is_answered();
        scene.heals();
    });
}

#[test]
fn one_that_was_promoted_where_nobody_in_sync_is_does_not_supersede_whoever_took_over_with_them() {
    each_seed(12, |seed| {
        let mut scene = Scene::new(seed);
        let (near, far) = (scene.others[0], scene.in_sync[0]);
        scene.send(far, "before");
        scene.is_answered();
        divide(&mut scene.network, &scene.in_sync);
        // Others are given the places of those who are gone, and brought what there is.
        scene.network.run_for(Duration::from_secs(10));
        scene.send(far, "taken over");
        scene.is_answered();
        // Once or twice.
        let times = 1 + usize::try_from(seed % 2).expect("small");
        for to in scene.others.clone().into_iter().take(times) {
            let (group, to) = (scene.group, Some(scene.network.id(to)));
            let asked =
                scene.network.act_os(scene.first, |os, node, now| os.promote(now, node, group, to, None));
            assert!(asked.is_ok(), "{asked:?}");
            scene.network.run_for(Duration::from_secs(5));
        }
        scene.send(near, "promoted");
        scene.heals();
    });
}

#[test]
fn what_a_source_acknowledged_that_took_its_daemon_back_stays_although_the_target_moved_it_on() {
    let tried = std::sync::atomic::AtomicU32::new(0);
    each_seed(24, |seed| {
        let mut scene = Scene::new(seed);
        let (first, far, daemon) = (scene.first, scene.in_sync[0], scene.daemon);
        // Moved on once, it is what the source has it be if that adds no more than a move, and the greater node has it.
        let by_id = |number: &usize| scene.network.id(*number);
        let next = scene.others.iter().copied().max_by_key(by_id).expect("there are two");
        let target = scene.others.iter().copied().min_by_key(by_id).expect("there are two");
        if scene.network.id(next) < scene.network.id(first) {
            return;
        }
        scene.send(far, "before");
        scene.is_answered();
        move_active(&mut scene.network, first, target, daemon);
        let is_there = |network: &Network| {
            let mut daemons = network.members[target].os.os.as_ref().expect("equipped").daemons();
            daemons.any(|it| it.id == daemon && it.lifecycle == Lifecycle::Running)
        };
        scene.network.run_until(LIMIT, is_there).expect("it gets there");
        // It is live, and its source is not to hear of it.
        scene.network.intercept();
        divide(&mut scene.network, &scene.others);
        scene.network.run_for(Duration::from_secs(2));
        let now = scene.network.now_at(first).instant;
        let os = scene.network.members[first].os.os.as_ref().expect("equipped");
        let Some(migration) = os.migrations(now).next().map(|it| it.id) else { return };
        tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Before that it would wait for the source to hear that it has arrived.
        scene.network.run_for(Duration::from_mins(10));
        scene.moves(target, next);
        let killed =
            scene.network.act_os(first, |os, node, now| os.kill_migration(now, node, migration, None));
        assert!(killed.is_ok(), "{killed:?}");
        scene.send(far, "taken back");
        scene.is_answered();
        scene.heals();
    });
    assert!(tried.into_inner() > 0 || std::env::var_os("MESHGROUND_SEED").is_some(), "all had heard of it");
}

#[test]
fn what_one_acknowledged_that_was_cut_off_from_all_who_were_to_stand_by_outlives_it_if_others_do_by_then() {
    let tried = std::sync::atomic::AtomicU32::new(0);
    each_seed(24, |seed| {
        let mut network = mesh(seed, Faults { jitter: Duration::from_millis(5), ..Faults::NONE }, 5);
        network.act_os(0, |os, node, now| os.spawn_group(now, node, standby(3))).expect("five nodes");
        let groups = |network: &Network| network.members[0].os.os.as_ref().and_then(|os| os.groups().next());
        let place = |network: &Network| groups(network)?.members[0].node;
        network.run_until(LIMIT, |network| place(network).is_some()).expect("there is room");
        let made = groups(&network).expect("just seen");
        let (group, daemon, place) = (made.id, made.members[0].daemon, place(&network));
        let first = (0..5).find(|number| place == Some(network.id(*number))).expect("it is one of them");
        // At some moment while it begins and those who are to stand by are told of it.
        let passed = network.below(20);
        network.run_for(Duration::from_millis(passed));
        let mut scene = Scene::of(network, group, daemon, first);
        let [far, near] = [scene.in_sync[0], scene.others[0]];
        divide(&mut scene.network, &scene.in_sync);
        scene.network.run_for(Duration::from_secs(20));
        scene.send(near, "on the nearer side");
        scene.network.run_for(Duration::from_secs(2));
        let (_, ticket, _) = &scene.sent[0];
        if !matches!(scene.network.members[near].os.settlement(*ticket), Some(Settlement::Delivered(Ok(_)))) {
            // Whoever is beyond the cut may go on without it: it has to wait, and is answered in the end.
            return scene.heals();
        }
        tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        scene.network.crash(first);
        scene.network.cuts.clear();
        for beyond in scene.in_sync.clone() {
            rejoin(&mut scene.network, beyond);
        }
        scene.send(far, "beyond");
        scene.is_answered();
        scene.network.restart_in_place(first);
        scene.heals();
    });
    assert!(tried.into_inner() > 0 || std::env::var_os("MESHGROUND_SEED").is_some(), "nobody acknowledged");
}

#[test]
fn nothing_that_was_acknowledged_is_lost_where_cuts_change_while_others_take_over() {
    each_seed(20, |seed| {
        let mut network = mesh(seed, Faults { jitter: Duration::from_millis(5), ..Faults::NONE }, 6);
        let group = try_group(&mut network, 0, standby(2 + u32::try_from(seed % 3).expect("small")));
        let group = group.expect("six nodes");
        let daemon = view(&network, 0, group).expect("it knows").members[0].daemon;
        stands(&mut network, group);
        let mut mail = Mail::default();
        for _ in 0..3 {
            let crash_at = network.below(60);
            let mut crashed = None;
            for phase in 0..80 {
                if network.below(3) > 0 {
                    network.cuts.clear();
                    // In up to four.
                    for _ in 0..network.below(3) {
                        let some: Vec<usize> = (0..6).filter(|_| network.below(2) == 0).collect();
                        divide(&mut network, &some);
                    }
                }
                if phase == crash_at {
                    let victim = active(&network, group);
                    let victim = victim.unwrap_or(usize::try_from(network.below(6)).expect("small"));
                    mail.close(&network, victim);
                    network.crash(victim);
                    // In its next life the same tickets name something else.
                    network.members[victim].os.events.clear();
                    crashed = Some(victim);
                }
                for _ in 0..2 {
                    let from = usize::try_from(network.below(6)).expect("small");
                    if network.members[from].node.is_some() {
                        mail.send(&mut network, from, daemon);
                    }
                }
                // Shorter than an answer takes, or long enough for somebody to be missed.
                let most = [20, 300, 3_000][usize::try_from(network.below(3)).expect("small")];
                let pause = network.below(most);
                network.run_for(Duration::from_millis(pause));
            }
            network.cuts.clear();
            if let Some(victim) = crashed {
                network.restart_in_place(victim);
            }
            network.dial_all();
            network.run_for(Duration::from_secs(3));
            stands(&mut network, group);
            mail.is_kept(&mut network, group, daemon);
        }
        assert!(mail.acknowledged.len() > 50, "much is acknowledged: {}", mail.acknowledged.len());
    });
}
