//! Groups on simulated nodes: made, scaled, broken, healed.

mod beginning_anew;
mod far;
mod fencing;
mod forks;
mod going_on;
mod healing;
mod making;
mod moving;
mod promoting;
mod returning;
mod settling;
mod standbys;
mod too_large;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meshground_node::{DaemonId, GroupId, GroupRequest, NodeId};
use meshground_shared::{GroupHealth, GroupKind, GroupView};
use meshground_tests::sim::{Faults, Network};

use crate::{LIMIT, diaries};

/// A converged mesh in which everybody has heard what everybody runs.
fn mesh(seed: u64, faults: Faults, count: usize) -> Network {
    let mut network = crate::mesh(seed, faults, count);
    network.run_for(Duration::from_secs(3));
    network
}

fn request(count: u32, seed: u8) -> GroupRequest {
    diaries(GroupKind::Replica, count, seed)
}

fn running(network: &Network) -> Vec<usize> {
    (0..network.members.len()).filter(|&number| network.members[number].node.is_some()).collect()
}

fn view(network: &Network, at: usize, group: GroupId) -> Option<GroupView> {
    network.members[at].os.os.as_ref()?.group(group)
}

/// Where members of a group really run: by place.
fn really(network: &Network, group: GroupId) -> BTreeMap<u32, Vec<usize>> {
    let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for number in running(network) {
        for daemon in network.members[number].os.os.as_ref().expect("equipped").daemons() {
            if let Some(member) = daemon.member.filter(|member| member.group == group) {
                places.entry(member.index).or_default().push(number);
            }
        }
    }
    places
}

/// What is wrong with a group of which every running node should know, if anything.
fn wrong(network: &Network, group: GroupId, desired: u32) -> Option<String> {
    let places = really(network, group);
    if !places.keys().copied().eq(0..desired) {
        return Some(format!("these places run: {places:?}"));
    }
    if let Some(twice) = places.iter().find(|(_, at)| at.len() > 1) {
        return Some(format!("one runs twice: {twice:?}"));
    }
    let nodes: BTreeSet<usize> = places.values().flatten().copied().collect();
    if nodes.len() < desired as usize {
        return Some(format!("two share a node: {places:?}"));
    }
    let mut views = Vec::new();
    for number in running(network) {
        let Some(view) = view(network, number, group) else { return Some(format!("{number} knows of none")) };
        if view.health != GroupHealth::Healthy {
            return Some(format!("{number} sees {view:?}"));
        }
        let at: Vec<Option<NodeId>> = view.members.iter().map(|member| member.node).collect();
        views.push((view.leader, view.desired, at));
    }
    views.dedup();
    (views.len() > 1).then(|| format!("they see it differently: {views:?}"))
}

fn heals(network: &mut Network, group: GroupId, desired: u32) -> Duration {
    network.run_until(LIMIT, |network| wrong(network, group, desired).is_none()).unwrap_or_else(|| {
        panic!("after a minute still: {:?}", wrong(network, group, desired));
    })
}

/// No daemon runs on two nodes.
fn nobody_runs_twice(network: &Network) {
    let mut seen: BTreeMap<DaemonId, usize> = BTreeMap::new();
    for number in running(network) {
        for daemon in network.members[number].os.os.as_ref().expect("equipped").daemons() {
            let before = seen.insert(daemon.id, number);
            assert_eq!(before, None, "{daemon:?} runs on {number} too");
        }
    }
}

fn rejoin(network: &mut Network, number: usize) {
    for other in running(network) {
        if other != number {
            network.dial(number, other);
        }
    }
}

/// Cuts the members in two, or heals that.
fn divide(network: &mut Network, some: &[usize]) {
    for a in 0..network.members.len() {
        for b in 0..network.members.len() {
            if some.contains(&a) != some.contains(&b) {
                network.cuts.push((network.members[a].address, network.members[b].address));
            }
        }
    }
}
