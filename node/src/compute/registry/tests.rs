use meshground_shared::DaemonHealth;

use super::*;
use crate::daemon::{DaemonError, DaemonOrder, EntityKeypair, Outputs, Sender};

const SENDER: SenderKey = SenderKey { node: NodeId(2), life: 5 };

/// Keeps what it was last sent, and has no patience with relief.
#[derive(Default)]
struct Note(Vec<u8>);

impl MeshDaemon for Note {
    fn name(&self) -> String {
        "note".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { payload, .. } = event {
            self.0 = payload;
        }
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        self.0 = state.to_vec();
        Ok(())
    }

    fn on_control(&mut self, control: Control, _: &mut Outputs) -> Result<(), DaemonError> {
        match control {
            Control::BackpressureOff => Err(DaemonError::new("as it was told")),
            _ => Ok(()),
        }
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn order(luggage: Option<Luggage>, held: bool) -> SpawnOrder {
    SpawnOrder {
        keypair: EntityKeypair::from_seed([1; 32]),
        kind: Some("note".to_owned()),
        args: String::new(),
        member: None,
        generation: 1,
        cause: None,
        luggage,
        held,
    }
}

/// A registry with a note in it, none of whose jobs has been run.
fn spawned(luggage: Option<Luggage>, held: bool) -> (Registry, DaemonId) {
    let make =
        |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::new(Note::default())) };
    let mut registry = Registry::new(NodeId(1));
    assert!(registry.register("note", Arc::new(make)));
    let id = registry.spawn(at(0), order(luggage, held), None).unwrap();
    (registry, id)
}

fn run(registry: &mut Registry) {
    while let Some(job) = registry.poll_job() {
        registry.handle_job(at(1), job.run());
    }
}

fn deliver(registry: &mut Registry, id: DaemonId, number: u64) {
    let event = DaemonEvent::Message { from: Sender::Node(NodeId(2)), payload: vec![7] };
    registry.deliver(id, SENDER, number, vec![event]).unwrap();
}

/// The states told since the last time; an empty one for none.
fn states(registry: &mut Registry) -> Vec<Vec<u8>> {
    let mut states = Vec::new();
    while let Some(happening) = registry.poll_happening() {
        if let Happening::State { luggage, .. } = happening {
            states.push(luggage.map(|luggage| luggage.state).unwrap_or_default());
        }
    }
    states
}

#[test]
fn one_that_takes_over_a_state_or_waits_with_one_is_not_restarted_without_it() {
    for held in [true, false] {
        let luggage = Luggage { state: b"state".to_vec(), ..Luggage::default() };
        let (mut registry, id) = spawned(Some(luggage), held);
        assert!(!registry.restart(at(1), id));
        run(&mut registry);
        if held {
            assert!(!registry.restart(at(1), id));
            registry.release(id);
            run(&mut registry);
        }
        assert!(registry.take_state(id, false));
        run(&mut registry);
        assert_eq!(states(&mut registry), [b"state"]);
        assert!(registry.restart(at(1), id), "now it is like any other");
    }
}

#[test]
fn a_restart_tells_whoever_sent_what_was_under_way_that_nobody_knows() {
    let (mut registry, id) = spawned(None, false);
    run(&mut registry);
    deliver(&mut registry, id, 1);
    let lost = registry.poll_job().unwrap();
    deliver(&mut registry, id, 2);
    assert!(registry.restart(at(1), id));
    let told = |registry: &Registry, number| registry.outcomes(id, SENDER, number, 1)?.next();
    assert_eq!(told(&registry, 1), Some(Err(DeliverError::Unknown)));
    registry.handle_job(at(1), lost.run());
    run(&mut registry);
    assert!(matches!(told(&registry, 2), Some(Ok(_))), "what waited is worked off");
}

#[test]
fn whoever_waits_for_a_state_is_told_when_it_is_not_to_be_had() {
    let (mut registry, id) = spawned(None, false);
    run(&mut registry);
    deliver(&mut registry, id, 1);
    // While that is under way.
    registry.control(id, Control::BackpressureOff);
    registry.take_state(id, false);
    run(&mut registry);
    assert_eq!(registry.get(id).unwrap().lifecycle, Lifecycle::BackingOff);
    assert_eq!(states(&mut registry), [b""]);
    registry.handle_timeout(at(60));
    run(&mut registry);
    registry.take_state(id, false);
    registry.drop_instance(id, DaemonEnd::Killed);
    assert_eq!(states(&mut registry), [b""]);
}

#[test]
fn of_two_graces_the_shorter_one_counts() {
    let (mut registry, id) = spawned(None, false);
    run(&mut registry);
    deliver(&mut registry, id, 1);
    for grace in [60, 2, 30] {
        assert!(registry.stop(at(1), id, Duration::from_secs(grace)));
    }
    assert_eq!(registry.poll_timeout(), Some(at(3)));
}

#[test]
fn one_that_is_closed_starts_nothing_and_drops_what_is_on_its_way() {
    let (mut registry, _) = spawned(None, true);
    registry.close();
    assert_eq!(registry.iter().count(), 0);
    assert!(matches!(registry.spawn(at(1), order(None, false), None), Err(SpawnError::Closed(_))));
}

/// Tells how it does out of what it shares with whoever tests it.
struct Patient(Arc<std::sync::atomic::AtomicBool>);

impl MeshDaemon for Patient {
    fn name(&self) -> String {
        "patient".to_owned()
    }

    fn process(&mut self, _: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        Ok(())
    }

    fn health(&self) -> DaemonHealth {
        let is_ill = self.0.load(std::sync::atomic::Ordering::Relaxed);
        if is_ill { DaemonHealth::Unhealthy } else { DaemonHealth::Healthy }
    }
}

fn patient() -> (Registry, DaemonId, Arc<std::sync::atomic::AtomicBool>) {
    let ill = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut registry = Registry::new(NodeId(1));
    let order = SpawnOrder {
        keypair: EntityKeypair::from_seed([1; 32]),
        kind: None,
        args: String::new(),
        member: None,
        generation: 1,
        cause: None,
        luggage: None,
        held: false,
    };
    let id = registry.spawn(at(0), order, Some(Box::new(Patient(Arc::clone(&ill))))).unwrap();
    run(&mut registry);
    (registry, id, ill)
}

#[test]
fn an_idle_daemon_that_falls_ill_is_seen_to_be() {
    let (mut registry, id, ill) = patient();
    registry.look_after();
    run(&mut registry);
    ill.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(registry.get(id).unwrap().health(), DaemonHealth::Healthy);
    registry.look_after();
    run(&mut registry);
    assert_eq!(registry.get(id).unwrap().health(), DaemonHealth::Unhealthy);
}

#[test]
fn a_daemon_that_does_not_come_back_from_a_job_is_shown_as_degraded_and_full_until_it_does() {
    let (mut registry, id, _) = patient();
    deliver(&mut registry, id, 1);
    let job = registry.poll_job().unwrap();
    let shown = |registry: &Registry| {
        let view = registry.get(id).unwrap().view();
        (view.health, view.saturation)
    };
    for _ in 0..STUCK {
        registry.look_after();
        assert_eq!(shown(&registry), (DaemonHealth::Healthy, 0));
    }
    registry.look_after();
    assert_eq!(shown(&registry), (DaemonHealth::Degraded, 1_000));
    assert!(registry.poll_job().is_none(), "nothing more is asked of it");
    registry.handle_job(at(9), job.run());
    assert_eq!(shown(&registry), (DaemonHealth::Healthy, 0));
}

#[test]
fn one_that_is_to_be_made_anew_while_it_moves_says_when_it_can_be() {
    let (mut registry, id) = spawned(None, false);
    run(&mut registry);
    assert!(!registry.restart_later(id), "it can be now");
    registry.take_state(id, true);
    run(&mut registry);
    assert!(!registry.restart(at(1), id));
    assert!(registry.restart_later(id));
    let due = |registry: &mut Registry| {
        let mut due = false;
        while let Some(happening) = registry.poll_happening() {
            due |= matches!(happening, Happening::RestartDue(_));
        }
        due
    };
    assert!(!due(&mut registry));
    registry.stay(id);
    assert!(due(&mut registry));
    assert!(registry.restart(at(1), id));
}

/// What a daemon was told, as seen from outside.
#[allow(clippy::disallowed_types, reason = "a test looks at what its daemon has")]
type Told = Arc<std::sync::Mutex<Vec<Control>>>;

/// Writes down what it is told.
struct Listener(Told);

impl MeshDaemon for Listener {
    fn name(&self) -> String {
        "listener".to_owned()
    }

    fn process(&mut self, _: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        Ok(())
    }

    fn on_control(&mut self, control: Control, _: &mut Outputs) -> Result<(), DaemonError> {
        self.0.lock().unwrap().push(control);
        Ok(())
    }
}

#[test]
fn a_daemon_is_told_when_so_much_waits_that_it_is_too_slow_and_when_it_has_caught_up() {
    let told = Told::default();
    let mut registry = Registry::new(NodeId(1));
    let order = SpawnOrder { kind: None, ..order(None, false) };
    let id = registry.spawn(at(0), order, Some(Box::new(Listener(Arc::clone(&told))))).unwrap();
    run(&mut registry);
    let step = |registry: &mut Registry| {
        let job = registry.poll_job().expect("there is something to do");
        registry.handle_job(at(1), job.run());
    };
    // All but the first wait while that is worked off.
    for number in 1..=512 {
        deliver(&mut registry, id, number);
    }
    run(&mut registry);
    assert_eq!(*told.lock().unwrap(), [], "that was not too much");
    for number in 513..=1_025 {
        deliver(&mut registry, id, number);
    }
    step(&mut registry);
    assert_eq!(*told.lock().unwrap(), [], "it hears so with what it is given next");
    step(&mut registry);
    assert_eq!(*told.lock().unwrap(), [Control::BackpressureOn { level: 125 }]);
    // 448 are left by now, and 64 after six more batches.
    for _ in 0..6 {
        step(&mut registry);
        assert_eq!(told.lock().unwrap().len(), 1, "neither twice nor too early");
    }
    run(&mut registry);
    let all = told.lock().unwrap().clone();
    assert_eq!(all, [Control::BackpressureOn { level: 125 }, Control::BackpressureOff]);
}
