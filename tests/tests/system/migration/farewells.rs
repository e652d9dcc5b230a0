//! A node that leaves, stands still or is drained in the middle of a move, and moves that are killed: in every phase.

use super::*;
use crate::commanding::sign;

/// What befalls a migration from the first member to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// A member leaves as a node does that is shut down.
    Leave(usize),
    /// A member stands still for so many seconds.
    StandStill(usize, u64),
    /// An operator calls it off, also when it is past the point of no return.
    Kill,
    /// The target is to give everything away.
    DrainTarget,
}

const BLOWS: [Blow; 8] = [
    Blow::Leave(0),
    Blow::Leave(1),
    Blow::StandStill(0, 1),
    Blow::StandStill(1, 1),
    Blow::StandStill(0, 15),
    Blow::StandStill(1, 15),
    Blow::Kill,
    Blow::DrainTarget,
];

/// A daemon that moves from the first of four members to the second, while two others keep sending it something.
struct Scene {
    network: Network,
    daemon: DaemonId,
    streams: [Stream; 2],
    /// Whether there may be two of it for a moment, as one was taken back by force.
    may_be_two: bool,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut network = mesh(seed, BAD, 4);
        network.faults.loss = [0.0, 0.05, 0.1, 0.2][usize::try_from(network.below(4)).expect("small")];
        let len = [0, 3_000, 200_000][usize::try_from(network.below(3)).expect("small")];
        let daemon = spawn_with_state(&mut network, 0, len);
        let streams = [Stream::new(2), Stream::new(3)];
        network.run_for(Duration::from_secs(1));
        Self { network, daemon, streams, may_be_two: false }
    }

    fn live(&self) -> Vec<usize> {
        let running = hosts(&self.network, self.daemon).into_iter();
        running.filter(|(_, lifecycle)| lifecycle.is_live()).map(|(number, _)| number).collect()
    }

    /// Sends something from each, and lets a moment pass in which it never runs twice.
    fn tick(&mut self) {
        for stream in &mut self.streams {
            stream.send(&mut self.network, self.daemon);
        }
        let pause = Duration::from_micros(1_000 + self.network.below(20_000));
        self.network.run_for(pause);
        let live = self.live();
        assert!(live.len() <= 1 || self.may_be_two, "never two at once: {live:?}");
    }

    fn ticks(&mut self, time: Duration) {
        let until = self.network.now_at(0).instant + time;
        while self.network.now_at(0).instant < until {
            self.tick();
        }
    }

    /// Goes on until the move is in this phase, or over.
    fn reach(&mut self, phase: MigrationPhase) {
        let is_there = |network: &Network| told(network, 0).iter().any(|view| view.phase >= phase);
        for _ in 0..1_000 {
            if self.network.run_until(Duration::from_millis(5), is_there).is_some() {
                return;
            }
            self.tick();
        }
        panic!("it does not get to {phase:?}");
    }

    /// A member leaves: its daemons are told to stop first, and have two seconds for that.
    fn leave(&mut self, number: usize) {
        self.network.act_os(number, |os, node, now| {
            os.close(now, node);
            let daemons: Vec<DaemonId> = os.daemons().map(|view| view.id).collect();
            for daemon in daemons {
                os.stop(now, node, daemon, None, None);
            }
        });
        let is_idle = |network: &Network| {
            network.members[number].os.os.as_ref().is_some_and(|os| os.daemons().next().is_none())
        };
        for _ in 0..400 {
            if self.network.run_until(Duration::from_millis(5), is_idle).is_some() {
                break;
            }
        }
        // One whose farewell is lost is one that crashes for good, and its source waits for it to come back.
        let faults = std::mem::replace(&mut self.network.faults, Faults::NONE);
        self.network.act(number, Node::leave);
        self.network.faults = faults;
        self.network.crash(number);
    }

    fn has_run(&self, number: usize) -> bool {
        let is_it = |event: &OsEvent| matches!(event, OsEvent::Happened { kind: EventKind::DaemonChanged { daemon }, .. } if daemon.id == self.daemon);
        self.network.members[number].os.events.iter().any(|(_, event)| is_it(event))
    }
}

/// What is left when everything is over, as it should be.
fn befallen(seed: u64, blow: Blow, phase: MigrationPhase) {
    let mut scene = Scene::new(seed);
    (0..20).for_each(|_| scene.tick());
    try_migrate(&mut scene.network, 0, scene.daemon, 1).expect("it is tried");
    let id = under_way(&scene.network, 0)[0].id;
    scene.reach(phase);
    let pause = Duration::from_micros(scene.network.below(20_000) * scene.network.below(2));
    scene.network.run_for(pause);
    let past = told(&scene.network, 0).iter().any(|view| view.phase >= MigrationPhase::Cutover);
    let (mut killed, mut drain) = (false, None);
    match blow {
        Blow::Leave(number) => scene.leave(number),
        Blow::StandStill(number, seconds) => {
            scene.network.freeze(number);
            scene.ticks(Duration::from_secs(seconds));
            scene.network.thaw(number);
        }
        Blow::Kill => {
            let kill = scene.network.act_os(0, |os, node, now| os.kill_migration(now, node, id, None));
            killed = kill.is_ok();
            scene.may_be_two = killed && past;
        }
        Blow::DrainTarget => {
            let node = scene.network.id(1);
            let command = sign(&mut scene.network, 2, meshground_shared::AdminVerb::Drain { node });
            drain = Some(scene.network.act_os(2, |os, node, now| os.submit(now, node, &command)));
        }
    }
    scene.ticks(Duration::from_secs(3));
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        if [one, other].iter().all(|number| scene.network.members[*number].node.is_some()) {
            scene.network.dial(one, other);
        }
    }
    scene.ticks(Duration::from_secs(2));
    if scene.network.members[0].node.is_some() {
        let is_over = |network: &Network| under_way(network, 0).is_empty();
        scene.network.run_until(LIMIT * 2, is_over).expect("every migration comes to an end");
    }
    scene.may_be_two = false;
    scene.network.run_for(LIMIT + Duration::from_secs(20));
    assert!(scene.streams.iter().all(|stream| stream.is_settled(&scene.network)));

    let arrived = scene.has_run(1);
    let hosts = hosts(&scene.network, scene.daemon);
    // On a network as bad as this it may come to nothing.
    let is_applied = |ticket: Ticket| matches!(scene.network.members[2].os.settlement(ticket), Some(Settlement::Commanded(Commanded { decision, .. })) if *decision == Decision::Applied);
    let drained = drain.is_some_and(is_applied);
    let story = format!("{blow:?} in {phase:?}: {hosts:?}, arrived: {arrived}, past: {past}, {drained}");
    // One that was stopped with its node is gone with it, and nothing else is.
    let may_be_none = blow == Blow::Leave(0) && !arrived || blow == Blow::Leave(1) && arrived;
    match hosts[..] {
        [(number, Lifecycle::Running)] => {
            let entries = entries(&mut scene.network, number, scene.daemon);
            // What was worked off where it was stopped, or taken from by force, is not known elsewhere.
            let all = !(blow == Blow::Leave(1) && arrived || killed && past);
            for stream in &scene.streams {
                assert!(!stream.acknowledged(&scene.network).is_empty(), "{story}");
                stream.check(&scene.network, &entries, all);
            }
            match blow {
                Blow::Kill if killed => assert_eq!(number, 0, "{story}"),
                Blow::DrainTarget if drained => assert_ne!(number, 1, "{story}"),
                Blow::StandStill(_, 1) | Blow::Kill => assert_eq!(number, 1, "{story}"),
                _ => {}
            }
        }
        [] => assert!(may_be_none, "{story}"),
        _ => panic!("{story}"),
    }
}

#[test]
fn whoever_leaves_stands_still_or_is_drained_one_copy_is_left_that_holds_every_acknowledged_event_in_order() {
    each_seed(4 * 48, |seed| {
        let number = usize::try_from(seed).expect("small");
        befallen(seed, BLOWS[number / 6 % 8], PHASES[number % 6]);
    });
}
