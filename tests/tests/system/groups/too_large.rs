//! Members whose state is larger than any that is moved: they stay where they are, and so does what they know.

use std::{sync::Arc, time::Duration};

use meshground_node::{
    DaemonError, DaemonEvent, DaemonId, DaemonOrder, GroupId, GroupRequest, MAX_STATE, MaintenanceConfig,
    MeshDaemon, Outputs, Settlement,
};
use meshground_shared::{AdminVerb, Decision, GroupHealth, GroupKind, Maintenance};
use meshground_tests::sim::{Faults, Network};

use super::{really, rejoin, view};
use crate::{
    LIMIT, all_acquainted,
    commanding::{obeying, sign, submit},
    config, diaries, send, settled, try_group,
};

/// Counts what it is sent, in a state of a byte too much.
#[derive(Default)]
struct Hoard(u8);

impl Hoard {
    fn equip(network: &mut Network, number: usize) {
        let drain = MaintenanceConfig { drain: Duration::from_secs(15), ramp: Duration::from_secs(5) };
        network.equip(number, obeying(drain), |os, now| {
            let make =
                |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::new(Self(0))) };
            os.register_factory(now, "hoard", Arc::new(make));
        });
    }
}

impl MeshDaemon for Hoard {
    fn name(&self) -> String {
        "hoard".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { .. } = event {
            self.0 += 1;
            outputs.reply([self.0]);
        }
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(vec![self.0; MAX_STATE + 1])
    }
}

fn mesh(count: usize) -> Network {
    let mut network = Network::new(1, Faults::NONE);
    for _ in 0..count {
        let number = network.add(config());
        Hoard::equip(&mut network, number);
    }
    network.dial_all();
    network.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
    network.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
    network
}

fn hoard(network: &mut Network, at: usize, count: u32, seed: u8) -> GroupId {
    let request = GroupRequest { daemon: "hoard".to_owned(), ..diaries(GroupKind::Replica, count, seed) };
    try_group(network, at, request).expect("there are enough nodes")
}

fn count(network: &mut Network, daemon: DaemonId) -> u8 {
    let ticket = send(network, 0, daemon, "more");
    match settled(network, 0, ticket) {
        Settlement::Delivered(Ok(done)) => done.replies[0][0],
        other => panic!("{other:?}"),
    }
}

fn failures(network: &Network, number: usize) -> Vec<String> {
    let os = network.members[number].os.os.as_ref().expect("it runs");
    os.snapshot().failures.iter().map(|it| it.what.clone()).collect()
}

const TOO_LARGE: &str = "a state of 67108865 bytes";

#[test]
fn a_drain_leaves_a_member_with_too_large_a_state_where_it_is_with_all_it_knows_and_says_why() {
    let mut network = mesh(3);
    let group = hoard(&mut network, 0, 1, 1);
    let member = view(&network, 0, group).expect("just made").members[0];
    let node = member.node.expect("it is placed");
    let host = (0..3).find(|number| network.id(*number) == node).expect("one of them");
    assert_eq!([count(&mut network, member.daemon), count(&mut network, member.daemon)], [1, 2]);
    let other = (host + 1) % 3;
    let enter = sign(&mut network, other, AdminVerb::EnterMaintenance { node });
    assert_eq!(submit(&mut network, other, &enter), Decision::Applied);
    let state =
        |network: &Network| network.members[host].os.os.as_ref().expect("it runs").snapshot().maintenance;
    network
        .run_until(LIMIT, |network| state(network) == Maintenance::DrainFailed)
        .expect("the drain does not wait for ever");
    assert_eq!(really(&network, group)[&0], [host]);
    assert_eq!(count(&mut network, member.daemon), 3, "nothing is lost");
    let told = failures(&network, host);
    let named = |what: &String| what.contains(TOO_LARGE) && what.contains(&member.daemon.to_string());
    assert!(told.last().is_some_and(|what| named(what) && what.starts_with("the drain failed")), "{told:?}");
    assert!(told.iter().filter(|what| named(what)).count() <= 4, "it is not asked all the time: {told:?}");
}

#[test]
fn balance_leaves_members_with_too_large_a_state_where_they_are_with_all_they_know_and_says_why() {
    let mut network = mesh(2);
    let groups = [1, 2, 3].map(|seed| hoard(&mut network, 0, 2, seed));
    let members = groups.map(|group| view(&network, 0, group).expect("just made").members);
    let daemons: Vec<DaemonId> = members.iter().flatten().map(|member| member.daemon).collect();
    for daemon in &daemons {
        assert_eq!(count(&mut network, *daemon), 1);
    }
    let third = network.add(config());
    Hoard::equip(&mut network, third);
    rejoin(&mut network, third);
    network.run_for(Duration::from_secs(30));
    for (group, members) in groups.iter().zip(&members) {
        let seen = view(&network, third, *group).expect("it knows");
        assert_eq!((seen.health, &seen.members), (GroupHealth::Healthy, members));
    }
    for daemon in &daemons {
        assert_eq!(count(&mut network, *daemon), 2, "nothing is lost");
    }
    let told = [0, 1].map(|number| failures(&network, number)).concat();
    assert!(told.iter().any(|what| what.contains(TOO_LARGE) && what.starts_with("member ")), "{told:?}");
    assert!(told.len() <= 6, "each is asked once: {told:?}");
}
