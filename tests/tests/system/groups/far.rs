//! Daemons whose nodes have no session with each other: two ends of a line, a ring or a star, who alone can make them.

use std::time::Duration;

use meshground_node::{
    DaemonId, DaemonState, EntityKeypair, GroupRequest, MaintenanceConfig, Settlement, SpawnRequest,
};
use meshground_shared::{AdminVerb, Decision, GroupKind};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network},
};

use super::{heals, really, request, standbys, view};
use crate::{
    LIMIT,
    commanding::{hosts, obeying, sign, submit},
    config, entries, group_outcome, send, settled, try_group,
};

/// Five nodes of which only two can make diaries: the ends.
struct Shape {
    name: &'static str,
    links: &'static [(usize, usize)],
    ends: [usize; 2],
}

/// In the ring there are two ways from one end to the other, of different length.
const SHAPES: [Shape; 3] = [
    Shape { name: "line", links: &[(0, 1), (1, 2), (2, 3), (3, 4)], ends: [0, 4] },
    Shape { name: "ring", links: &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)], ends: [0, 2] },
    Shape { name: "star", links: &[(0, 1), (0, 2), (0, 3), (0, 4)], ends: [1, 4] },
];

impl Shape {
    fn network(&self) -> Network {
        let faults = Faults { delay: Duration::from_millis(2), ..Faults::NONE };
        let mut network = Network::new(1, faults);
        for number in 0..5 {
            network.add(config());
            if self.ends.contains(&number) {
                network.equip(number, obeying(MaintenanceConfig::default()), Diary::prepare);
            } else {
                network.equip(number, obeying(MaintenanceConfig::default()), |_, _| {});
            }
        }
        for (one, other) in self.links {
            network.dial(*one, *other);
        }
        network.run_for(Duration::from_secs(5));
        network
    }

    /// Nobody dialed anybody else.
    fn has_stayed(&self, network: &Network) {
        for one in 0..5 {
            let node = network.members[one].node.as_ref().expect("it runs");
            for other in (0..5).filter(|other| *other != one) {
                let is_linked = self.links.contains(&(one, other)) || self.links.contains(&(other, one));
                let is_direct = node.peer(network.id(other)).is_some_and(|peer| peer.path.is_direct());
                assert_eq!(is_direct, is_linked, "{}: {one} and {other}", self.name);
            }
        }
    }
}

/// Starts a diary of one entry that is 1 MiB long, with its head.
fn spawn(network: &mut Network, at: usize) -> DaemonId {
    let keypair = EntityKeypair::from_seed([9; 32]);
    let origin = keypair.origin_hash();
    let mut bytes = vec![b'x'; 1 << 20];
    bytes[..4].copy_from_slice(&((1_u32 << 20) - 4).to_le_bytes());
    let (kind, args, state) = ("diary".to_owned(), String::new(), Some(DaemonState { origin, bytes }));
    let request = SpawnRequest { keypair, kind, args, state, cause: None };
    let ticket = network.act_os(at, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    assert_eq!(settled(network, at, ticket), Settlement::Spawned(Ok(origin)));
    origin
}

/// Sends a daemon something, which arrives.
fn tell(network: &mut Network, from: usize, daemon: DaemonId, text: &str) {
    let ticket = send(network, from, daemon, text);
    let outcome = settled(network, from, ticket);
    assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "from {from}: {outcome:?}");
}

/// A diary's entries on the member it runs on, the long one left out.
fn short_entries(network: &mut Network, daemon: DaemonId, at: usize) -> Vec<Vec<u8>> {
    assert_eq!(hosts(network, daemon), [at]);
    let mut entries = entries(network, at, daemon);
    assert_eq!(entries.remove(0).len(), (1 << 20) - 4, "the long one came along");
    entries
}

#[test]
fn from_one_end_a_daemon_moves_to_the_other_and_is_drained_back_with_a_mebibyte_of_state() {
    for shape in SHAPES {
        let mut network = shape.network();
        let [here, there] = shape.ends;
        let (daemon, target) = (spawn(&mut network, here), network.id(there));
        network.run_for(Duration::from_secs(1));
        tell(&mut network, there, daemon, "before");
        let ticket = network.act_os(3, |os, node, now| os.migrate(now, node, daemon, target, None));
        let outcome = settled(&mut network, 3, ticket.expect("it is tried"));
        assert!(matches!(outcome, Settlement::Migrated(Ok(_))), "{}: {outcome:?}", shape.name);
        network.run_for(Duration::from_secs(1));
        tell(&mut network, here, daemon, "there");
        assert_eq!(short_entries(&mut network, daemon, there), [&b"before"[..], b"there"]);

        let drain = sign(&mut network, 3, AdminVerb::Drain { node: target });
        assert_eq!(submit(&mut network, 3, &drain), Decision::Applied);
        network.run_until(LIMIT, |network| hosts(network, daemon) == [here]).expect("it moves away");
        network.run_for(Duration::from_secs(1));
        tell(&mut network, 3, daemon, "back");
        assert_eq!(short_entries(&mut network, daemon, here), [&b"before"[..], b"there", b"back"]);
        shape.has_stayed(&network);
    }
}

#[test]
fn two_ends_hold_a_group_forks_and_a_standby_group_between_them() {
    for shape in SHAPES {
        let mut network = shape.network();
        let [one, other] = shape.ends;
        let parent = spawn(&mut network, other);
        network.run_for(Duration::from_secs(1));
        let replicas = try_group(&mut network, 3, request(2, 1)).expect("two can make them");
        heals(&mut network, replicas, 2);
        for member in view(&network, 3, replicas).expect("it knows").members {
            for from in 0..5 {
                tell(&mut network, from, member.daemon, "hello");
            }
        }

        let forks = GroupRequest { kind: GroupKind::Fork, parent: Some(parent), ..request(2, 9) };
        let forks = try_group(&mut network, one, forks).expect("two can make them");
        heals(&mut network, forks, 2);
        for (index, at) in really(&network, forks) {
            let daemon = view(&network, 3, forks).expect("it knows").members[index as usize].daemon;
            assert_eq!(short_entries(&mut network, daemon, at[0]), [b""; 0], "fork {index}");
        }

        let standby = try_group(&mut network, one, standbys::standby(2)).expect("two can make them");
        standbys::stands(&mut network, standby);
        let daemon = view(&network, 3, standby).expect("it knows").members[0].daemon;
        let mut kept = Vec::new();
        for round in 0..3 {
            let before = standbys::active(&network, standby).expect("it runs");
            for from in 0..5 {
                kept.push(format!("{round} {from}"));
                tell(&mut network, from, daemon, &format!("{round} {from}"));
            }
            let promote = network.act_os(3, |os, node, now| os.promote(now, node, standby, None, None));
            assert_eq!(group_outcome(&mut network, 3, promote.expect("somebody is ready")), Ok(standby));
            standbys::stands(&mut network, standby);
            let after = standbys::active(&network, standby);
            assert_eq!(after, Some(one + other - before), "{}: the other end works", shape.name);
            standbys::keeps(&mut network, standby, daemon, &kept);
        }
        shape.has_stayed(&network);
    }
}
