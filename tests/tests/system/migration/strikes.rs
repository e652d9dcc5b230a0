//! Crashes, restarts, cuts and commands in the middle of a move.

use super::*;

/// What befalls a migration.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Nothing,
    CutOff,
    Silence(usize),
    Isolate(usize),
    Crash { number: usize, for_good: bool },
    Cancel,
    Force,
}

#[test]
#[allow(clippy::too_many_lines, reason = "one story, from its beginning to its end")]
fn whatever_befalls_it_one_copy_is_left_that_holds_every_acknowledged_event_in_order() {
    each_seed(150, |seed| {
        let mut network = mesh(seed, BAD, 4);
        network.faults.loss = [0.05, 0.1, 0.15, 0.2][usize::try_from(network.below(4)).expect("small")];
        let len = [0, 3_000, 200_000][usize::try_from(network.below(3)).expect("small")];
        let daemon = spawn_with_state(&mut network, 0, len);
        let mut streams = [Stream::new(2), Stream::new(3)];
        let mut tick = |network: &mut Network| {
            for stream in &mut streams {
                stream.send(network, daemon);
            }
            let pause = Duration::from_micros(1_000 + network.below(20_000));
            network.run_for(pause);
            let running = hosts(network, daemon);
            let running = running.iter().filter(|(_, lifecycle)| lifecycle.is_live()).count();
            assert!(running <= 1, "never two at once");
        };
        (0..40).for_each(|_| tick(&mut network));
        // It may not have heard of the target yet; then this is a quiet run.
        let _ = try_migrate(&mut network, 0, daemon, 1);
        let id = under_way(&network, 0).first().map_or(MigrationId(0), |view| view.id);
        // Each phase has its turn; some take moments only.
        let phase = PHASES[usize::try_from(seed).expect("small") % PHASES.len()];
        let is_there = |network: &Network| told(network, 0).iter().any(|view| view.phase >= phase);
        for _ in 0..1_000 {
            if network.run_until(Duration::from_millis(5), is_there).is_some() {
                break;
            }
            tick(&mut network);
        }
        let pause = Duration::from_micros(network.below(20_000) * network.below(2));
        network.run_for(pause);
        let blow = match network.below(10) {
            0 => Blow::Nothing,
            1 => Blow::CutOff,
            2 => Blow::Silence(usize::try_from(network.below(2)).expect("small")),
            3 => Blow::Isolate(usize::try_from(network.below(2)).expect("small")),
            4 | 5 => Blow::Crash { number: 0, for_good: network.below(3) == 0 },
            6 | 7 => Blow::Crash { number: 1, for_good: network.below(3) == 0 },
            8 => Blow::Cancel,
            _ => Blow::Force,
        };
        let [source, target] = [0, 1].map(|number| network.members[number].address);
        let mut crashed = None;
        match blow {
            Blow::Nothing => {}
            Blow::CutOff => network.cuts.extend([(target, source), (source, target)]),
            Blow::Isolate(number) | Blow::Silence(number) => {
                let address = network.members[number].address;
                let others: Vec<_> = network.members.iter().map(|member| member.address).collect();
                network.cuts.extend(others.iter().map(|other| (address, *other)));
                if let Blow::Isolate(_) = blow {
                    network.cuts.extend(others.iter().map(|other| (*other, address)));
                }
            }
            Blow::Crash { number, .. } => {
                crashed = Some(number);
                network.crash(number);
            }
            Blow::Cancel => {
                _ = network.act_os(0, |os, node, now| os.cancel_migration(now, node, id, None));
            }
            Blow::Force => _ = network.act_os(0, |os, node, now| os.force_cutover(now, node, id, None)),
        }
        // Long enough for either end to lose its patience, now and then.
        let pause = match blow {
            Blow::CutOff | Blow::Isolate(_) | Blow::Silence(_) => 700 + network.below(1_000),
            _ => network.below(300),
        } * if seed % 10 == 4 { 6 } else { 1 };
        (0..pause).for_each(|_| tick(&mut network));
        network.cuts.clear();
        if let Blow::Crash { number, for_good: false } = blow {
            network.restart_in_place(number);
        }
        let is_up = |network: &Network, number: usize| network.members[number].node.is_some();
        for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            if is_up(&network, a) && is_up(&network, b) {
                network.dial(a, b);
            }
        }
        (0..100).for_each(|_| tick(&mut network));
        let target_lost = crashed == Some(1) && !is_up(&network, 1);
        let is_over = |network: &Network| under_way(network, 0).is_empty();
        if !target_lost {
            network.run_until(LIMIT * 2, is_over).expect("every migration comes to an end");
        }
        network.run_for(LIMIT + Duration::from_secs(20));
        assert!(streams.iter().all(|stream| stream.is_settled(&network)));

        let has_run = |number: usize| {
            let mut events = network.members[number].os.events.iter();
            let is_it = |kind: &EventKind| matches!(kind, EventKind::DaemonChanged { daemon: view } if view.id == daemon);
            events.any(|(_, event)| matches!(event, OsEvent::Happened { kind, .. } if is_it(kind)))
        };
        let arrived = has_run(1);
        let mut hosts = hosts(&network, daemon);
        if target_lost && hosts == [(0, Lifecycle::Migrating)] {
            hosts = taken_back(&mut network, daemon);
        }
        let story = format!("{blow:?} in {phase:?}, then {pause}: {hosts:?}, arrived: {arrived}");
        // A copy that crashed with its node is lost.
        let may_be_none = crashed == Some(0) && !arrived || crashed == Some(1) && arrived;
        match hosts[..] {
            [(number, Lifecycle::Running)] => {
                let entries = entries(&mut network, number, daemon);
                let all = !(crashed == Some(1) && arrived);
                for stream in &streams {
                    stream.check(&network, &entries, all);
                }
                assert!(streams.iter().all(|stream| !stream.acknowledged(&network).is_empty()), "{story}");
            }
            [] => assert!(may_be_none, "{story}"),
            _ => panic!("{story}"),
        }
    });
}

/// Kills the one migration that waits for a target which is no more, as the source says that one can. Where the daemon is then.
fn taken_back(network: &mut Network, daemon: DaemonId) -> Vec<(usize, Lifecycle)> {
    let migration = under_way(network, 0)[0].id;
    let failures = network.members[0].os.os.as_ref().expect("it runs").snapshot().failures.clone();
    let says = |what: &str| what.contains(&migration.to_string()) && what.contains("kill the migration");
    assert_eq!(failures.iter().filter(|failure| says(&failure.what)).count(), 1, "{failures:?}");
    network
        .act_os(0, |os, node, now| os.kill_migration(now, node, migration, None))
        .expect("it is under way");
    network.run_for(Duration::from_secs(5));
    assert!(under_way(network, 0).is_empty());
    hosts(network, daemon)
}

#[test]
fn a_daemon_whose_target_is_gone_for_good_before_it_could_take_it_over_is_taken_back_by_hand_with_all_it_had()
{
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { loss: 0.0, corruption: 0.0, ..BAD }, 3);
        let daemon = spawn(&mut network, 0, 7);
        network.run_for(Duration::from_secs(1));
        let before = send(&mut network, 2, daemon, "before");
        assert!(matches!(settled(&mut network, 2, before), Settlement::Delivered(Ok(_))));
        try_migrate(&mut network, 0, daemon, 1).expect("the target is there");
        let is_given = |network: &Network| {
            under_way(network, 0).first().is_some_and(|view| view.phase == MigrationPhase::Cutover)
        };
        network.run_until(LIMIT, is_given).expect("it gets there");
        network.crash(1);
        network.run_for(LIMIT);
        assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Migrating)], "it may run there");
        assert_eq!(taken_back(&mut network, daemon), [(0, Lifecycle::Running)]);
        let after = send(&mut network, 2, daemon, "after");
        assert!(matches!(settled(&mut network, 2, after), Settlement::Delivered(Ok(_))));
        assert_eq!(entries(&mut network, 0, daemon), [b"before".to_vec(), b"after".to_vec()]);
    });
}
