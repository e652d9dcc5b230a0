//! A standby group of which nobody holds anything any more, and the nodes that are still named for it.

use std::time::Duration;

use meshground_node::{MeshOsConfig, Node};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{
    rejoin,
    standbys::{active, standby, stands},
};
use crate::{LIMIT, config, try_group};

/// Nodes of which the first makes no diaries.
fn mesh(seed: u64, count: usize) -> Network {
    let mut network = Network::new(seed, Faults::NONE);
    for number in 0..count {
        network.add(config());
        network.equip(number, MeshOsConfig { founds: true, ..MeshOsConfig::default() }, move |os, now| {
            if number > 0 {
                Diary::prepare(os, now);
            }
        });
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_for(Duration::from_secs(3));
    network
}

#[test]
fn a_node_that_comes_after_another_left_waits_for_it_no_longer_than_for_one_that_is_silent() {
    each_seed(3, |seed| {
        let mut network = mesh(seed, 3);
        let group = try_group(&mut network, 0, standby(2)).expect("two nodes make diaries");
        stands(&mut network, group);
        let first = active(&network, group).expect("it runs");
        let second = 3 - first;
        // Nobody takes over before both are gone, and with them all there was.
        network.act(second, Node::leave);
        network.run_for(Duration::from_millis(500));
        network.crash(second);
        network.crash(first);
        network.members[first].os.events.clear();
        network.run_for(Duration::from_secs(1));
        network.restart_in_place(first);
        rejoin(&mut network, first);
        let runs = |network: &Network| active(network, group).is_some();
        network.run_until(Duration::from_mins(6), runs).expect("it begins anew");
    });
}
