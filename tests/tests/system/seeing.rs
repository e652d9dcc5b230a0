//! What a node's snapshot shows of machines, and what counts as another state of things in it.

use std::time::Duration;

use meshground_node::{InventoryProbe, MeshOsConfig, Resources};
use meshground_shared::{AdminVerb, Health};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network},
};

use super::{
    LIMIT, all_acquainted, commanding, config, settled, spawn,
    verbs::{command, seen},
};

/// Says of its machine what it was told.
struct Gauge(Resources);

impl InventoryProbe for Gauge {
    fn resources(&mut self) -> Resources {
        self.0
    }
}

#[test]
fn how_its_machine_does_and_what_runs_it_is_seen_here_exactly_and_elsewhere_in_hundreds() {
    let mut network = Network::new(1, Faults::NONE);
    for number in 0..2 {
        network.add(config());
        let version = format!("{number}.5.{number}");
        network.equip(number, MeshOsConfig { version, ..MeshOsConfig::default() }, Diary::prepare);
    }
    network.dial_all();
    network.run_until(LIMIT, all_acquainted).expect("each hears of the other");
    let (cpu, memory) = (437, 861);
    network.act_os(1, |os, _, _| os.install_inventory_probe(Box::new(Gauge(Resources { cpu, memory }))));
    network.run_for(Duration::from_secs(3));

    let own = seen(&network, 1);
    assert_eq!((own.resources, &*own.version), (Resources { cpu, memory }, "1.5.1"));
    let [here, there] = [0, 1].map(|number| network.id(number));
    let seen_there = &seen(&network, 0).peers[&there];
    assert_eq!(seen_there.resources, Resources { cpu: 400, memory: 800 }, "in steps");
    assert_eq!(&*seen_there.version, "1.5.1");
    let unasked = &own.peers[&here];
    assert_eq!((unasked.resources, &*unasked.version), (Resources::default(), "0.5.0"));
}

/// Lets something happen and looks at a member's snapshot before and after: it is another generation then, and was none
/// as long as nothing happened.
fn is_structural(network: &mut Network, number: usize, what: &str, happen: impl FnOnce(&mut Network)) {
    network.run_for(Duration::from_secs(3));
    let before = seen(network, number).generation;
    network.run_for(Duration::from_secs(3));
    assert_eq!(seen(network, number).generation, before, "before {what} all is calm");
    happen(network);
    network.run_for(Duration::from_secs(2));
    assert!(seen(network, number).generation > before, "{what} is another state of things");
}

#[test]
fn whatever_changes_what_is_there_makes_another_generation() {
    let mut network = commanding::mesh(1, Faults::NONE, 3);
    let nodes = [0, 1, 2].map(|number| network.id(number));
    let (mut here, mut there) = (None, None);
    is_structural(&mut network, 0, "a start", |network| here = Some(spawn(network, 0, 50)));
    is_structural(&mut network, 0, "a start elsewhere", |network| there = Some(spawn(network, 1, 51)));
    for (number, daemon) in [(0, here), (1, there)] {
        is_structural(&mut network, 0, &format!("a stop on node {number}"), |network| {
            let daemon = daemon.expect("it was started");
            let stop = network.act_os(number, |os, node, now| os.stop(now, node, daemon, None, None));
            settled(network, number, stop.expect("it is there"));
        });
    }
    for node in &nodes[..2] {
        let name = format!("a cordon of {node}");
        is_structural(&mut network, 0, &name, |network| command(network, AdminVerb::Cordon { node: *node }));
    }
    is_structural(&mut network, 0, "a freeze", |network| {
        let freeze = meshground_shared::IceVerb::FreezeCluster { ttl_ms: 60_000 };
        let freeze = commanding::break_glass(network, 0, &freeze).expect("it is possible");
        commanding::submit(network, 0, &freeze);
    });
    // Only the first verdict on the way to silence: it is not avoided yet.
    let sees = |network: &Network| network.verdict(0, 2) != Some(Health::Healthy);
    network.run_for(Duration::from_secs(3));
    let before = seen(&network, 0).generation;
    network.crash(2);
    network.run_until(LIMIT, sees).expect("it is missed");
    network.run_for(Duration::from_millis(20));
    let after = seen(&network, 0);
    assert_eq!(after.peers[&nodes[2]].health, Some(Health::Suspect));
    assert!(after.avoided.is_empty() && after.generation > before, "a verdict is another state of things");
}
