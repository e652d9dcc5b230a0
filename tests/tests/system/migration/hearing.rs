//! Daemons that have arrived where their source has not heard of it: they go nowhere else before it has, so that a source
//! which goes on with one is the only one that does.

use std::sync::atomic::{AtomicU32, Ordering};

use meshground_node::MaintenanceConfig;
use meshground_shared::{AdminVerb, Maintenance};

use super::*;
use crate::{
    all_acquainted,
    commanding::{maintenance, obeying, sign, submit},
    converged,
};

/// So long a target that runs a daemon has it go nowhere else, if the source is not heard.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Cuts what these say to each other, both ways.
fn cut(network: &mut Network, pairs: &[(usize, usize)]) {
    let addresses: Vec<_> = network.members.iter().map(|member| member.address).collect();
    let both = |&(a, b): &(usize, usize)| [(addresses[a], addresses[b]), (addresses[b], addresses[a])];
    network.cuts = pairs.iter().flat_map(both).collect();
}

/// Moves a daemon from 0 to 1, and has 0 hear and say nothing from when it runs there.
fn arrive_unheard(network: &mut Network, daemon: DaemonId) -> Ticket {
    let ticket = try_migrate(network, 0, daemon, 1).expect("it is tried");
    let is_live = |network: &Network| hosts(network, daemon).iter().any(|(number, _)| *number == 1);
    network.run_until(LIMIT, is_live).expect("the target has it");
    network.intercept();
    let others: Vec<(usize, usize)> = (1..network.members.len()).map(|other| (0, other)).collect();
    cut(network, &others);
    let runs = |network: &Network| hosts(network, daemon).contains(&(1, Lifecycle::Running));
    network.run_until(LIMIT, runs).expect("the target runs it");
    assert_eq!(under_way(network, 0).pop().map(|view| view.phase), Some(MigrationPhase::Cutover));
    ticket
}

/// Lets time pass in which a daemon never runs twice.
fn pass(network: &mut Network, daemon: DaemonId, time: Duration) {
    let until = network.now_at(2).instant + time;
    while network.now_at(2).instant < until {
        network.run_for(Duration::from_millis(20));
        let hosts = hosts(network, daemon);
        assert!(hosts.iter().filter(|(_, lifecycle)| lifecycle.is_live()).count() <= 1, "twice: {hosts:?}");
    }
}

/// A member leaves: what it runs ends, and everybody that it can reach is told.
fn leave(network: &mut Network, number: usize) {
    network.act(number, Node::leave);
    network.members[number].os.os = None;
    let has_left = |network: &Network| network.members[number].node.as_ref().is_none_or(Node::has_left);
    network.run_until(LIMIT, has_left).expect("it leaves");
    network.crash(number);
}

fn heal(network: &mut Network) {
    network.cuts.clear();
    for one in 0..network.members.len() {
        for other in 0..one {
            if [one, other].iter().all(|number| network.members[*number].node.is_some()) {
                network.dial(one, other);
            }
        }
    }
}

/// What a member wrote down that went wrong, as far as it says this.
fn failures(network: &Network, number: usize, what: &str) -> Vec<String> {
    let failures = &network.members[number].os.os.as_ref().expect("it runs").snapshot().failures;
    failures.iter().map(|failure| failure.what.clone()).filter(|it| it.contains(what)).collect()
}

#[test]
fn a_source_that_hears_only_its_targets_farewell_is_the_only_one_that_goes_on_wherever_that_would_have_moved_it()
 {
    for wait in [0, 2, 9, 30] {
        let mut network = mesh(4, Faults::NONE, 3);
        let daemon = spawn(&mut network, 0, 7);
        network.run_for(Duration::from_secs(1));
        let ticket = arrive_unheard(&mut network, daemon);
        let on = try_migrate(&mut network, 1, daemon, 2).expect("it is tried");
        pass(&mut network, daemon, Duration::from_secs(wait));
        if wait > 10 {
            let unheard = MigrateError::Unheard(network.id(0));
            assert!(unheard.to_string().contains(&network.id(0).to_string()), "{unheard}");
            assert_eq!(settled(&mut network, 1, on), Settlement::Migrated(Err(unheard.clone())));
            assert_eq!(try_migrate(&mut network, 1, daemon, 2), Err(unheard), "and at once from then on");
            assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Migrating), (1, Lifecycle::Running)]);
        }
        // The first that the source hears is that the target leaves, and it hears nobody else.
        cut(&mut network, &[(0, 2)]);
        leave(&mut network, 1);
        pass(&mut network, daemon, Duration::from_secs(10));
        let outcome = settled(&mut network, 0, ticket);
        let has_left = |outcome: &Settlement| matches!(outcome, Settlement::Migrated(Err(MigrateError::Failed(why))) if why.contains("left"));
        assert!(has_left(&outcome), "{outcome:?}");
        heal(&mut network);
        pass(&mut network, daemon, Duration::from_secs(5));
        assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Running)], "after {wait} s");
        let after = send(&mut network, 2, daemon, "after");
        assert!(matches!(settled(&mut network, 2, after), Settlement::Delivered(Ok(_))));
    }
}

#[test]
fn a_daemon_that_was_stopped_where_it_arrived_unheard_is_not_brought_back_when_that_node_leaves() {
    for stopped in [true, false] {
        let mut network = mesh(5, Faults::NONE, 3);
        let daemon = spawn(&mut network, 0, 7);
        network.run_for(Duration::from_secs(1));
        arrive_unheard(&mut network, daemon);
        pass(&mut network, daemon, Duration::from_secs(1));
        if stopped {
            let stop = network.act_os(1, |os, node, now| os.stop(now, node, daemon, None, None));
            assert!(matches!(settled(&mut network, 1, stop.expect("it runs")), Settlement::Stopped(_)));
            pass(&mut network, daemon, Duration::from_secs(1));
        }
        // From here on the target is heard, which leaves.
        cut(&mut network, &[(0, 2)]);
        network.act_os(1, |os, node, now| os.close(now, node));
        leave(&mut network, 1);
        heal(&mut network);
        pass(&mut network, daemon, Duration::from_secs(10));
        let runs = hosts(&network, daemon);
        assert_eq!(runs, if stopped { vec![] } else { vec![(0, Lifecycle::Running)] }, "{stopped}");
    }
}

#[test]
fn a_move_that_begins_before_the_source_has_heard_of_the_last_one_goes_on_as_soon_as_it_has() {
    let mut network = mesh(5, Faults::NONE, 3);
    let daemon = spawn(&mut network, 0, 7);
    network.run_for(Duration::from_secs(1));
    let first = arrive_unheard(&mut network, daemon);
    let on = try_migrate(&mut network, 1, daemon, 2).expect("it is tried");
    pass(&mut network, daemon, Duration::from_secs(1));
    assert!(
        network.members[1].os.settlement(on).is_none() && !hosts(&network, daemon).iter().any(|it| it.0 == 2)
    );
    heal(&mut network);
    pass(&mut network, daemon, Duration::from_secs(5));
    assert!(matches!(settled(&mut network, 0, first), Settlement::Migrated(Ok(_))));
    assert!(matches!(settled(&mut network, 1, on), Settlement::Migrated(Ok(_))));
    assert_eq!(hosts(&network, daemon), [(2, Lifecycle::Running)]);
}

/// What ends the silence of a source.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Never,
    Heard,
    Left,
    Restarted,
}

#[test]
fn a_drain_waits_for_a_silent_source_to_hear_that_a_daemon_arrived_says_so_and_goes_on_once_it_has_or_is_gone()
 {
    for end in [End::Never, End::Heard, End::Left, End::Restarted] {
        let drain = Duration::from_secs(if end == End::Never { 15 } else { 120 });
        let config = MaintenanceConfig { drain, ramp: Duration::from_secs(5) };
        let mut network = converged(1, Faults::NONE, 4, &obeying(config));
        network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
        let daemon = spawn(&mut network, 0, 7);
        network.run_for(Duration::from_secs(1));
        arrive_unheard(&mut network, daemon);
        pass(&mut network, daemon, Duration::from_secs(20));
        let node = network.id(1);
        let enter = sign(&mut network, 2, AdminVerb::EnterMaintenance { node });
        assert_eq!(submit(&mut network, 2, &enter), Decision::Applied);
        pass(&mut network, daemon, Duration::from_secs(12));
        let source = format!("from node {}, which has not heard", network.id(0));
        let said = failures(&network, 1, &source);
        assert!(said.iter().any(|what| what.contains("was not moved away")), "{said:?}");
        let stays = |network: &Network| matches!(hosts(network, daemon)[..], [(0, Lifecycle::Migrating), (1, at)] if at.is_live());
        assert!(stays(&network), "{:?}", hosts(&network, daemon));
        match end {
            End::Never => {}
            End::Heard => heal(&mut network),
            End::Left => {
                network.cuts.clear();
                leave(&mut network, 0);
            }
            End::Restarted => {
                network.crash(0);
                network.restart_in_place(0);
                heal(&mut network);
            }
        }
        pass(&mut network, daemon, Duration::from_secs(20));
        if end == End::Never {
            assert_eq!(maintenance(&network, 1), Maintenance::DrainFailed);
            let said = failures(&network, 1, &source);
            assert!(said.iter().any(|what| what.contains("the drain failed")), "{said:?}");
            assert!(stays(&network), "{:?}", hosts(&network, daemon));
            continue;
        }
        assert_eq!(maintenance(&network, 1), Maintenance::Maintenance, "{end:?}");
        assert!(matches!(hosts(&network, daemon)[..], [(0 | 2 | 3, Lifecycle::Running)]), "{end:?}");
    }
}

#[test]
fn a_daemon_moves_straight_back_to_a_source_that_has_not_heard_that_it_arrived() {
    let mut network = mesh(6, Faults::NONE, 3);
    let daemon = spawn(&mut network, 0, 7);
    network.run_for(Duration::from_secs(1));
    let there = arrive_unheard(&mut network, daemon);
    pass(&mut network, daemon, Duration::from_secs(20));
    network.cuts.clear();
    let source = network.id(0);
    let mut waited = 0;
    while !network.act(1, |node, _| node.is_reachable(source)) {
        network.run_for(Duration::from_millis(1));
        waited += 1;
        assert!(waited < 60_000, "it is heard");
    }
    assert_eq!(
        try_migrate(&mut network, 1, daemon, 2),
        Err(MigrateError::Unheard(source)),
        "not yet of this"
    );
    let back = try_migrate(&mut network, 1, daemon, 0).expect("it is tried");
    pass(&mut network, daemon, Duration::from_secs(5));
    assert!(matches!(settled(&mut network, 0, there), Settlement::Migrated(Ok(_))));
    assert!(matches!(settled(&mut network, 1, back), Settlement::Migrated(Ok(_))));
    assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Running)]);
    // And on from there, as the target has been heard since.
    migrate(&mut network, 0, daemon, 2);
}

/// Three members that remember silent ones for half an hour.
fn patient(seed: u64) -> Network {
    let mut network = Network::new(seed, Faults::NONE);
    for number in 0..3 {
        let mut config = config();
        config.liveness.forget = Duration::from_mins(30);
        network.add(config);
        network.equip(number, MeshOsConfig { founds: true, ..MeshOsConfig::default() }, Diary::prepare);
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
    network
}

#[test]
fn a_source_whose_target_leaves_or_begins_anew_long_after_the_cutover_does_not_go_on_beside_where_it_went() {
    for leaves in [true, false] {
        let mut network = patient(7);
        let daemon = spawn(&mut network, 0, 7);
        network.run_for(Duration::from_secs(1));
        let ticket = arrive_unheard(&mut network, daemon);
        network.run_for(REMEMBERED.saturating_sub(Duration::from_secs(5)));
        let source = network.id(0);
        assert_eq!(try_migrate(&mut network, 1, daemon, 2), Err(MigrateError::Unheard(source)));
        network.run_for(Duration::from_secs(6));
        migrate(&mut network, 1, daemon, 2);
        cut(&mut network, &[(0, 2), (1, 2)]);
        network.cuts.truncate(if leaves { 2 } else { 4 });
        if leaves {
            leave(&mut network, 1);
        } else {
            network.crash(1);
            network.restart_in_place(1);
            network.dial(0, 1);
        }
        pass(&mut network, daemon, Duration::from_secs(20));
        let why = if leaves { "the target has left" } else { "the target has begun anew" };
        let said = failures(&network, 0, why);
        assert!(said.len() == 1 && said[0].contains("kill the migration"), "{said:?}");
        assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Migrating), (2, Lifecycle::Running)]);
        heal(&mut network);
        pass(&mut network, daemon, Duration::from_secs(10));
        assert!(matches!(settled(&mut network, 0, ticket), Settlement::Migrated(Ok(_))));
        assert_eq!(hosts(&network, daemon), [(2, Lifecycle::Running)]);
    }
}

#[test]
fn a_source_whose_target_leaves_within_five_minutes_of_the_cutover_goes_on_and_later_waits_to_be_told_to() {
    for (minutes, goes_on) in [(4, true), (6, false)] {
        let mut network = patient(8);
        let daemon = spawn(&mut network, 0, 7);
        network.run_for(Duration::from_secs(1));
        arrive_unheard(&mut network, daemon);
        network.run_for(Duration::from_mins(minutes));
        cut(&mut network, &[(0, 2)]);
        leave(&mut network, 1);
        pass(&mut network, daemon, Duration::from_secs(20));
        if !goes_on {
            let said = failures(&network, 0, "the target has left");
            assert!(said.len() == 1 && said[0].contains("kill the migration"), "{said:?}");
            let view = under_way(&network, 0).pop().expect("it is not over");
            assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Migrating)]);
            network
                .act_os(0, |os, node, now| os.kill_migration(now, node, view.id, None))
                .expect("it is under way");
            network.run_for(Duration::from_secs(1));
        }
        assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Running)], "after {minutes} minutes");
    }
}

#[test]
fn a_daemon_that_is_wanted_elsewhere_when_its_source_falls_silent_never_runs_twice_whoever_leaves_or_starts_anew()
 {
    let (moved_on, went_back) = (AtomicU32::new(0), AtomicU32::new(0));
    each_seed(120, |seed| {
        let faults = if seed % 2 == 0 { Faults { loss: 0.0, corruption: 0.0, ..BAD } } else { LOSSY };
        let mut network = mesh(seed, faults, 4);
        let len = [0, 3_000, 100_000][usize::try_from(network.below(3)).expect("small")];
        let daemon = spawn_with_state(&mut network, 0, len);
        network.run_for(Duration::from_secs(1));
        try_migrate(&mut network, 0, daemon, 1).expect("it is tried");
        let phase = MigrationPhase::Cutover;
        let is_given = |network: &Network| told(network, 0).iter().any(|view| view.phase >= phase);
        network.run_until(LIMIT, is_given).expect("it gets there");
        let pause = Duration::from_micros(network.below(30_000));
        pass_finely(&mut network, daemon, pause);
        let isolated = [(0, 1), (0, 2), (0, 3)];
        let many = 1 + 2 * usize::try_from(network.below(2)).expect("small");
        cut(&mut network, &isolated[..many]);
        match network.below(4) {
            // What the source says is not heard, or what it is told.
            0 => network.cuts = network.cuts.iter().step_by(2).copied().collect(),
            1 => network.cuts = network.cuts.iter().skip(1).step_by(2).copied().collect(),
            _ => {}
        }
        let longest = [50, 1_000, 4_000, 15_000][usize::try_from(network.below(4)).expect("small")];
        let [before, meanwhile] = [0, 1].map(|_| Duration::from_millis(network.below(longest)));
        pass(&mut network, daemon, before);
        let _ = try_migrate(&mut network, 1, daemon, 2);
        pass(&mut network, daemon, meanwhile);
        // From here on the source may hear of the target, but not of where the daemon may have gone from there.
        let blow = network.below(5);
        let went = hosts(&network, daemon).iter().any(|(number, it)| *number == 2 && it.is_live());
        let faults = std::mem::replace(&mut network.faults, Faults::NONE);
        cut(&mut network, &[(0, 2), (0, 3)]);
        match blow {
            0 | 1 => leave(&mut network, 1),
            2 => {
                network.crash(1);
                network.restart_in_place(1);
                network.dial(0, 1);
            }
            3 => leave(&mut network, 0),
            _ => {
                network.crash(0);
                network.restart_in_place(0);
                network.dial(0, 1);
            }
        }
        network.faults = faults;
        pass(&mut network, daemon, Duration::from_secs(12));
        heal(&mut network);
        pass(&mut network, daemon, Duration::from_secs(40));
        let story = hosts(&network, daemon);
        assert!(matches!(story[..], [] | [(_, Lifecycle::Running)]), "{story:?}");
        // It was lost with the one node that had it, and with no other.
        assert!(!went || story == [(2, Lifecycle::Running)], "{story:?}");
        match story[..] {
            [(2, _)] => _ = moved_on.fetch_add(1, Ordering::Relaxed),
            [(0, _)] => _ = went_back.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
    });
    let seen = [moved_on.into_inner(), went_back.into_inner()];
    let is_one = std::env::var_os("MESHGROUND_SEED").is_some();
    assert!(is_one || seen.iter().all(|count| *count > 0), "both were seen: {seen:?}");
}

/// As [`pass`], but looks every millisecond.
fn pass_finely(network: &mut Network, daemon: DaemonId, time: Duration) {
    let until = network.now_at(2).instant + time;
    while network.now_at(2).instant < until {
        network.run_for(Duration::from_millis(1));
        let live = hosts(network, daemon).into_iter().filter(|(_, lifecycle)| lifecycle.is_live()).count();
        assert!(live <= 1, "twice");
    }
}
