//! What the system knows of the network and of its own machine: asked of probes, once a tick.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use meshground_shared::{Health, NodeId};

use crate::event::PeerView;

/// Says how far away other nodes are.
pub trait LocalityProbe: Send {
    /// Round-trip times, of those that are known.
    fn round_trips(&mut self, peers: &[PeerView]) -> BTreeMap<NodeId, Duration>;
}

/// Says how other nodes do.
pub trait HealthProbe: Send {
    /// Verdicts, on those it has one on.
    fn verdicts(&mut self, peers: &[PeerView]) -> BTreeMap<NodeId, Health>;
}

/// Says how this node's machine does.
pub trait InventoryProbe: Send {
    /// How busy the processor and how full the memory are.
    fn resources(&mut self) -> Resources;
}

/// How a machine does, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// How busy its processor is.
    pub cpu: u16,
    /// How full its memory is.
    pub memory: u16,
}

/// The probes of one node, and what they said last. Where nothing else was installed, the mesh itself is asked when
/// something is to be known: to copy every turn what it has to say on every peer would cost the most of a turn.
#[derive(Default)]
pub(crate) struct Probes {
    locality: Option<Box<dyn LocalityProbe>>,
    health: Option<Box<dyn HealthProbe>>,
    inventory: Option<Box<dyn InventoryProbe>>,
    round_trips: BTreeMap<NodeId, Duration>,
    verdicts: BTreeMap<NodeId, Health>,
    pub(crate) resources: Resources,
    /// How often one panicked; what it had said before stands.
    pub(crate) panics: u64,
}

impl Probes {
    pub(crate) fn set_locality(&mut self, probe: Box<dyn LocalityProbe>) {
        self.locality = Some(probe);
    }

    pub(crate) fn set_health(&mut self, probe: Box<dyn HealthProbe>) {
        self.health = Some(probe);
    }

    /// Asks no others about the network any more.
    pub(crate) fn ask_mesh(&mut self) {
        (self.locality, self.health) = (None, None);
        self.round_trips.clear();
        self.verdicts.clear();
    }

    pub(crate) fn set_inventory(&mut self, probe: Box<dyn InventoryProbe>) {
        self.inventory = Some(probe);
    }

    /// Asks all that were installed. `peers` is looked up only for those who want to know.
    pub(crate) fn poll(&mut self, peers: impl FnOnce() -> Vec<PeerView>) {
        let Self { locality, health, inventory, panics, .. } = self;
        let peers = if locality.is_some() || health.is_some() { peers() } else { Vec::new() };
        let round_trips = locality.as_mut().and_then(|probe| isolated(panics, || probe.round_trips(&peers)));
        let verdicts = health.as_mut().and_then(|probe| isolated(panics, || probe.verdicts(&peers)));
        let resources = inventory.as_mut().and_then(|probe| isolated(panics, || probe.resources()));
        if let Some(round_trips) = round_trips {
            self.round_trips = round_trips;
        }
        if let Some(verdicts) = verdicts {
            self.verdicts = verdicts;
        }
        if let Some(resources) = resources {
            self.resources = resources;
        }
    }

    /// How far away others are, as a probe said that was installed for it.
    pub(crate) fn round_trips(&self) -> Option<&BTreeMap<NodeId, Duration>> {
        self.locality.is_some().then_some(&self.round_trips)
    }

    /// How others do, as a probe said that was installed for it.
    pub(crate) fn verdicts(&self) -> Option<&BTreeMap<NodeId, Health>> {
        self.health.is_some().then_some(&self.verdicts)
    }
}

/// Asks a probe, which may panic.
fn isolated<T>(panics: &mut u64, ask: impl FnOnce() -> T) -> Option<T> {
    let said = catch_unwind(AssertUnwindSafe(ask)).ok();
    *panics += u64::from(said.is_none());
    said
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{
        meshos::{
            MeshOsConfig,
            testing::{alone, at},
        },
        time::{Instant, Now},
    };

    struct Panicking;

    impl InventoryProbe for Panicking {
        fn resources(&mut self) -> Resources {
            panic!("as it was told")
        }
    }

    impl LocalityProbe for Panicking {
        fn round_trips(&mut self, _: &[PeerView]) -> BTreeMap<NodeId, Duration> {
            panic!("as it was told")
        }
    }

    impl HealthProbe for Panicking {
        fn verdicts(&mut self, _: &[PeerView]) -> BTreeMap<NodeId, Health> {
            panic!("as it was told")
        }
    }

    #[test]
    fn those_for_the_network_may_panic_too_and_what_they_said_before_stands() {
        let (round_trips, verdicts) = ([(NodeId(1), Duration::from_secs(1))], [(NodeId(2), Health::Suspect)]);
        let (round_trips, verdicts) = (BTreeMap::from(round_trips), BTreeMap::from(verdicts));
        let mut probes = Probes {
            round_trips: round_trips.clone(),
            verdicts: verdicts.clone(),
            resources: Resources { cpu: 1, memory: 2 },
            ..Probes::default()
        };
        probes.set_locality(Box::new(Panicking));
        probes.poll(Vec::new);
        assert_eq!((probes.panics, probes.round_trips()), (1, Some(&round_trips)));
        probes.set_health(Box::new(Panicking));
        probes.poll(Vec::new);
        assert_eq!((probes.panics, probes.round_trips()), (3, Some(&round_trips)));
        assert_eq!(probes.verdicts(), Some(&verdicts));
    }

    #[test]
    fn a_panicking_probe_is_counted_and_harms_nobody() {
        let mut probes = Probes { resources: Resources { cpu: 1, memory: 2 }, ..Probes::default() };
        probes.set_inventory(Box::new(Panicking));
        probes.poll(Vec::new);
        probes.poll(Vec::new);
        assert_eq!((probes.panics, probes.resources), (2, Resources { cpu: 1, memory: 2 }));
    }

    /// Counts how often it is asked.
    struct Counting(Arc<AtomicUsize>);

    impl InventoryProbe for Counting {
        fn resources(&mut self) -> Resources {
            self.0.fetch_add(1, Ordering::Relaxed);
            Resources::default()
        }
    }

    #[test]
    fn turns_of_the_loop_that_were_missed_are_not_made_up_for() {
        let (mut os, mut node) = alone();
        let asked = Arc::new(AtomicUsize::new(0));
        os.install_inventory_probe(Box::new(Counting(Arc::clone(&asked))));
        let mut run = |now: Now| {
            let before = asked.load(Ordering::Relaxed);
            // It is called as long as it says that it wants to be.
            for _ in 0..1_000 {
                os.handle_timeout(now, &mut node);
                if os.poll_timeout().is_none_or(|due| due > now.instant) {
                    break;
                }
            }
            asked.load(Ordering::Relaxed) - before
        };
        assert_eq!(run(at(1)), 1);
        assert_eq!(run(at(11)), 1, "it stood still for a hundred turns");
        let next = Now { instant: at(11).instant + MeshOsConfig::default().tick_interval, ..at(11) };
        assert_eq!(run(next), 1, "and from there on goes on as before");
    }

    /// Says that the memory is as full as it was told.
    struct Gauge(Arc<AtomicUsize>);

    impl InventoryProbe for Gauge {
        fn resources(&mut self) -> Resources {
            let memory = self.0.load(Ordering::Relaxed).try_into().expect("thousandths");
            Resources { cpu: 0, memory }
        }
    }

    /// A node alone with a gauge of its memory, and turns of its loop until a tenth of a second, each followed by what it
    /// then says of its memory.
    fn gauged() -> (Arc<AtomicUsize>, impl FnMut(u64) -> Vec<u16>) {
        let (mut os, mut node) = alone();
        let memory = Arc::new(AtomicUsize::new(0));
        os.install_inventory_probe(Box::new(Gauge(Arc::clone(&memory))));
        let mut tenth = 0;
        let run = move |until: u64| {
            let from = std::mem::replace(&mut tenth, until);
            let mut turn = |tenth: u64| {
                let now = Now { instant: Instant::from_micros(tenth * 100_000), ..at(tenth / 10) };
                os.handle_timeout(now, &mut node);
                os.saying.said.memory
            };
            (from..until).map(&mut turn).collect()
        };
        (memory, run)
    }

    #[test]
    fn the_first_that_is_said_of_a_machine_is_how_it_does() {
        let (memory, mut run) = gauged();
        memory.store(340, Ordering::Relaxed);
        assert_eq!(run(1), [300]);
    }

    #[test]
    fn that_a_machine_does_otherwise_for_a_moment_is_not_said_and_what_lasts_is() {
        let (memory, mut run) = gauged();
        memory.store(340, Ordering::Relaxed);
        run(10);
        for moment in 1..10 {
            memory.store(900, Ordering::Relaxed);
            let during = run(moment * 10 + 3);
            memory.store(340, Ordering::Relaxed);
            let after = run(moment * 10 + 10);
            assert!(during.iter().chain(&after).all(|said| *said == 300), "{during:?} {after:?}");
        }
        memory.store(900, Ordering::Relaxed);
        let said = run(120);
        assert_eq!((said[0], said.last()), (300, Some(&900)), "{said:?}");
    }
}
