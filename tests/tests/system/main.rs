//! The system above the transport, on simulated nodes in virtual time. A failing seed replays exactly:
//! `MESHGROUND_SEED=17 cargo test -p meshground-tests --test system`. `MESHGROUND_EFFORT=25` tries 25 times as many.

mod aftermath;
mod catching_up;
mod commanding;
mod daemons;
mod dispatching;
mod frozen;
mod groups;
mod migration;
mod overseeing;
mod refusals;
mod seeing;
mod upheaval;
mod verbs;

use std::time::Duration;

use meshground_node::{
    DaemonId, EntityKeypair, GroupError, GroupId, GroupRequest, MeshOsConfig, NodeConfig, Settlement,
    SpawnRequest, Ticket,
};
use meshground_shared::GroupKind;
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network},
};

/// How long anything may take, in virtual time.
const LIMIT: Duration = Duration::from_mins(1);

/// A network on which nothing can be relied on.
const BAD: Faults = Faults {
    loss: 0.2,
    duplication: 0.1,
    corruption: 0.02,
    delay: Duration::from_millis(2),
    jitter: Duration::from_millis(10),
};

fn config() -> NodeConfig {
    let mut config = NodeConfig::new([42; 32]);
    config.handshake.budget = LIMIT;
    config
}

/// A converged full mesh of equipped nodes, each of which has heard what the others can make.
fn mesh(seed: u64, faults: Faults, count: usize) -> Network {
    let mut network = converged(seed, faults, count, &MeshOsConfig::default());
    network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
    network
}

/// A converged full mesh of nodes that are equipped like this, and can make diaries.
fn converged(seed: u64, faults: Faults, count: usize, os: &MeshOsConfig) -> Network {
    let mut network = Network::new(seed, faults);
    for number in 0..count {
        network.add(config());
        network.equip(number, MeshOsConfig { founds: true, ..os.clone() }, Diary::prepare);
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network
}

/// Whether every member knows what every other can make.
fn all_acquainted(network: &Network) -> bool {
    let others = network.members.len() - 1;
    network
        .members
        .iter()
        .filter_map(|member| member.os.os.as_ref())
        .all(|os| os.snapshot().peers.values().filter(|peer| !peer.kinds.is_empty()).count() >= others)
}

/// Starts a diary.
fn spawn(network: &mut Network, number: usize, seed: u8) -> DaemonId {
    let keypair = EntityKeypair::from_seed([seed; 32]);
    let id = keypair.origin_hash();
    let request =
        SpawnRequest { keypair, kind: "diary".to_owned(), args: String::new(), state: None, cause: None };
    let ticket = network.act_os(number, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    assert_eq!(settled(network, number, ticket), Settlement::Spawned(Ok(id)));
    id
}

/// A group of diaries, as one asks for it.
fn diaries(kind: GroupKind, count: u32, seed: u8) -> GroupRequest {
    GroupRequest {
        kind,
        daemon: "diary".to_owned(),
        args: String::new(),
        count,
        name: format!("group {seed}"),
        seed: [seed; 32],
        parent: None,
        cause: None,
    }
}

/// Makes a group, if that is possible.
fn try_group(network: &mut Network, at: usize, request: GroupRequest) -> Result<GroupId, GroupError> {
    let ticket = network.act_os(at, |os, node, now| os.spawn_group(now, node, request))?;
    group_outcome(network, at, ticket)
}

/// What came of something that was done to a group.
fn group_outcome(network: &mut Network, at: usize, ticket: Ticket) -> Result<GroupId, GroupError> {
    match settled(network, at, ticket) {
        Settlement::Group(outcome) => outcome,
        other => panic!("not about a group: {other:?}"),
    }
}

/// Waits until what was asked for is settled.
fn settled(network: &mut Network, number: usize, ticket: Ticket) -> Settlement {
    let is_settled = |network: &Network| network.members[number].os.settlement(ticket).is_some();
    network.run_until(LIMIT, is_settled).expect("it is settled");
    network.members[number].os.settlement(ticket).cloned().expect("just seen")
}

/// Sends a daemon something.
fn send(network: &mut Network, from: usize, to: DaemonId, payload: &str) -> Ticket {
    let payload = payload.as_bytes().to_vec();
    network.act_os(from, |os, node, now| os.deliver(now, node, to, payload, None)).expect("small")
}

/// What a diary on this node says.
fn entries(network: &mut Network, number: usize, daemon: DaemonId) -> Vec<Vec<u8>> {
    let ticket = network.act_os(number, |os, node, now| os.state_of(now, node, daemon)).expect("it runs");
    match settled(network, number, ticket) {
        Settlement::State(Ok(state)) => Diary::read(&state.bytes),
        other => panic!("no state: {other:?}"),
    }
}
