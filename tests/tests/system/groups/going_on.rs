//! A standby group that goes on in two places that do not see each other.

use std::time::Duration;

use meshground_node::{DaemonId, GroupId, Settlement, Ticket};
use meshground_shared::Lifecycle;
use meshground_tests::sim::{Faults, Network, each_seed};

use super::{
    divide, mesh,
    standbys::{active, keeps, move_active, standing, stands},
    view,
};
use crate::{LIMIT, settled};

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
        let view = view(&network, 0, group).expect("it knows");
        let first = active(&network, group).expect("it runs");
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
    each_seed(8, |seed| {
        let mut scene = Scene::new(seed);
        let (first, far, daemon) = (scene.first, scene.in_sync[0], scene.daemon);
        let [target, next] = [scene.others[0], scene.others[1]];
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
        scene.moves(target, next);
        let killed =
            scene.network.act_os(first, |os, node, now| os.kill_migration(now, node, migration, None));
        assert!(killed.is_ok(), "{killed:?}");
        scene.send(far, "taken back");
        scene.is_answered();
        scene.heals();
    });
    assert!(tried.into_inner() > 0, "all had heard of it");
}
