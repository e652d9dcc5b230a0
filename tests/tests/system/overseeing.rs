//! What a node tells its daemons and asks them, and what it makes of the answers: here with all that a node has, over
//! minutes of virtual time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use meshground_node::{
    Control, DaemonError, DaemonEvent, DaemonId, DeliverError, EntityKeypair, MeshDaemon, MeshOsSnapshot,
    OsEvent, Outputs, Settlement,
};
use meshground_shared::{AdminVerb, DaemonHealth, EventKind, Lifecycle, Maintenance};
use meshground_tests::sim::{Faults, Network};

use super::{
    LIMIT,
    commanding::{hosts, maintenance, mesh},
    daemons::lifecycle,
    send, settled, spawn,
    verbs::{command, group, member, seen},
};

/// What a [`Mirror`] was told, and what it is to say of itself.
#[derive(Debug, Default)]
struct Reflection {
    told: Vec<Control>,
    health: DaemonHealth,
    saturation: u16,
}

/// Writes down what its node tells it, and says of itself what whoever tests it wants it to.
struct Mirror(Arc<Mutex<Reflection>>);

impl MeshDaemon for Mirror {
    fn name(&self) -> String {
        "mirror".to_owned()
    }

    fn process(&mut self, _: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        Ok(())
    }

    fn health(&self) -> DaemonHealth {
        self.0.lock().expect("nobody panicked").health
    }

    fn saturation(&self) -> u16 {
        self.0.lock().expect("nobody panicked").saturation
    }

    fn on_control(&mut self, control: Control, _: &mut Outputs) -> Result<(), DaemonError> {
        self.0.lock().expect("nobody panicked").told.push(control);
        Ok(())
    }
}

/// A mirror that was handed to a node. Nothing can make another, so it stays there.
fn mirror(network: &mut Network, at: usize) -> (DaemonId, Arc<Mutex<Reflection>>) {
    let reflection = Arc::new(Mutex::new(Reflection::default()));
    let keypair = EntityKeypair::from_seed([5; 32]);
    let (id, daemon) = (keypair.origin_hash(), Box::new(Mirror(Arc::clone(&reflection))));
    let register = network.act_os(at, |os, node, now| os.register_daemon(now, node, daemon, keypair, None));
    assert_eq!(settled(network, at, register.expect("there is room")), Settlement::Spawned(Ok(id)));
    network.run_for(Duration::from_secs(1));
    (id, reflection)
}

#[test]
fn daemons_are_told_when_a_drain_begins_with_the_time_they_have_and_when_it_is_over() {
    let mut network = mesh(1, Faults::NONE, 3);
    let (daemon, reflection) = mirror(&mut network, 1);
    let told = || std::mem::take(&mut reflection.lock().expect("nobody panicked").told);
    assert_eq!(told(), []);
    let node = network.id(1);
    command(&mut network, AdminVerb::Drain { node });
    let Control::DrainStart { grace } = told()[..].try_into().map(|[one]: [Control; 1]| one).expect("once")
    else {
        panic!("something else")
    };
    let minutes = Duration::from_mins(10);
    assert!(grace <= minutes && grace + Duration::from_secs(1) > minutes, "{grace:?}");
    assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::Draining));
    network.run_for(LIMIT);
    assert_eq!(told(), [], "nothing twice");
    command(&mut network, AdminVerb::Uncordon { node });
    assert_eq!(told(), [Control::DrainFinish]);
    assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::Running));

    // And when the time is up.
    command(&mut network, AdminVerb::EnterMaintenance { node });
    assert!(matches!(told()[..], [Control::DrainStart { .. }]));
    network.run_for(Duration::from_secs(598));
    assert_eq!((told(), maintenance(&network, 1)), (vec![], Maintenance::EnteringMaintenance));
    network.run_for(Duration::from_secs(3));
    assert_eq!((told(), maintenance(&network, 1)), (vec![Control::DrainFinish], Maintenance::DrainFailed));
}

#[test]
fn what_a_daemon_says_of_itself_is_asked_each_second_and_shown_here_and_elsewhere() {
    let mut network = mesh(1, Faults::NONE, 2);
    let (daemon, reflection) = mirror(&mut network, 1);
    let node = network.id(1);
    let here = |seen: &MeshOsSnapshot| {
        seen.daemons.iter().find(|view| view.id == daemon).map(|it| (it.health, it.saturation))
    };
    let there =
        |seen: &MeshOsSnapshot| seen.peers[&node].daemons.get(&daemon).map(|it| (it.health, it.saturation));
    let events = |network: &Network| {
        let is_its = |event: &OsEvent| matches!(event, OsEvent::Happened { kind: EventKind::DaemonChanged { daemon: it }, .. } if it.id == daemon);
        network.members[1].os.events.iter().filter(|(_, event)| is_its(event)).count()
    };
    let mut before = events(&network);
    let healthy = DaemonHealth::Healthy;
    // Small changes are figures and no event of their own.
    for (health, saturation, is_event) in [
        (healthy, 150, false),
        (healthy, 340, true),
        (DaemonHealth::Degraded, 340, true),
        (DaemonHealth::Unhealthy, 1_000, true),
        (healthy, 0, true),
    ] {
        {
            let mut reflection = reflection.lock().expect("nobody panicked");
            (reflection.health, reflection.saturation) = (health, saturation);
        }
        let said = Some((health, saturation));
        let shown = |network: &Network| here(&seen(network, 1)) == said;
        let took = network.run_until(LIMIT, shown).expect("it is asked");
        assert!(took <= Duration::from_millis(1_250), "each second, not after {took:?}");
        let known = |network: &Network| there(&seen(network, 0)) == said;
        network.run_until(LIMIT, known).expect("others hear of it");
        network.run_for(Duration::from_secs(3));
        assert_eq!(events(&network) > before, is_event, "{said:?}");
        before = events(&network);
    }
}

#[test]
fn a_node_that_is_back_is_given_less_than_its_share_for_five_minutes() {
    let mut network = mesh(1, Faults::NONE, 4);
    let node = network.id(2);
    command(&mut network, AdminVerb::EnterMaintenance { node });
    let is = |state| move |network: &Network| maintenance(network, 2) == state;
    network.run_until(LIMIT, is(Maintenance::Maintenance)).expect("it has nothing to move");
    command(&mut network, AdminVerb::ExitMaintenance { node });
    network.run_until(LIMIT, is(Maintenance::Recovery)).expect("it comes back");
    network.run_for(Duration::from_secs(2));
    let place = |network: &mut Network, seed| {
        let group = group(network, 0, 1, seed);
        let daemon = member(network, group, 0).0.daemon;
        hosts(network, daemon)
    };
    for seed in 60..66 {
        assert!(matches!(place(&mut network, seed)[..], [0 | 1 | 3]), "the others are busier, and still");
    }
    network.run_for(Duration::from_mins(4));
    assert_eq!(maintenance(&network, 2), Maintenance::Recovery);
    network.run_for(LIMIT);
    assert_eq!(maintenance(&network, 2), Maintenance::Active);
    network.run_for(Duration::from_secs(2));
    // Members may have been moved there for balance meanwhile, so that it need not be the idlest.
    let mut next = (70..74).map(|seed| place(&mut network, seed));
    assert!(next.any(|host| host == [2]), "now it is given as much as the others");
}

fn crash(network: &mut Network, daemon: DaemonId) {
    let is_up = |network: &Network| lifecycle(network, 1, daemon) == Some(Lifecycle::Running);
    network.run_until(LIMIT, is_up).expect("it comes back");
    let crash = send(network, 1, daemon, "crash");
    assert_eq!(settled(network, 1, crash), Settlement::Delivered(Err(DeliverError::Crashed)));
    network.run_for(Duration::from_millis(100));
}

fn restarts_in(network: &Network, daemon: DaemonId) -> Option<Duration> {
    seen(network, 1).timings[&daemon].restarts_in
}

#[test]
fn one_that_crashed_in_a_loop_is_started_again_after_five_minutes() {
    let mut network = mesh(1, Faults::NONE, 2);
    let daemon = spawn(&mut network, 1, 7);
    for _ in 0..5 {
        crash(&mut network, daemon);
    }
    let rests = |network: &Network| lifecycle(network, 1, daemon) == Some(Lifecycle::CrashLooping);
    assert!(rests(&network));
    network.run_for(Duration::from_secs(299));
    assert!(rests(&network), "not sooner");
    network.run_for(Duration::from_secs(2));
    assert_eq!(lifecycle(&network, 1, daemon), Some(Lifecycle::Running));
    let sent = send(&mut network, 0, daemon, "after");
    assert!(matches!(settled(&mut network, 0, sent), Settlement::Delivered(Ok(_))));
    crash(&mut network, daemon);
    assert!(
        restarts_in(&network, daemon).is_some_and(|it| it <= Duration::from_millis(500)),
        "it begins anew"
    );
}

#[test]
fn one_that_ran_for_a_minute_is_started_again_as_soon_as_after_its_first_crash() {
    for (runs, pause) in [(55_000, 8_000), (61_000, 500)] {
        let mut network = mesh(1, Faults::NONE, 2);
        let daemon = spawn(&mut network, 1, 7);
        for _ in 0..4 {
            crash(&mut network, daemon);
        }
        let is_up = |network: &Network| lifecycle(network, 1, daemon) == Some(Lifecycle::Running);
        network.run_until(LIMIT, is_up).expect("it comes back");
        // The first crashes are more than a minute ago by then, either way.
        network.run_for(Duration::from_millis(runs));
        crash(&mut network, daemon);
        let wait = restarts_in(&network, daemon).expect("it is down");
        let most = Duration::from_millis(pause);
        assert!(wait <= most && wait + Duration::from_millis(300) > most, "{wait:?} after {runs} ms");
    }
}
