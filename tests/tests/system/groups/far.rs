//! Daemons whose nodes have no session of their own: the two ends of a line, who alone can make them.

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

/// A line of five of which only the ends can make diaries.
fn line() -> Network {
    let faults = Faults { delay: Duration::from_millis(2), ..Faults::NONE };
    let mut network = Network::new(1, faults);
    for number in 0..5 {
        network.add(config());
        if number % 4 == 0 {
            network.equip(number, obeying(MaintenanceConfig::default()), Diary::prepare);
        } else {
            network.equip(number, obeying(MaintenanceConfig::default()), |_, _| {});
        }
    }
    for number in 0..4 {
        network.dial(number, number + 1);
    }
    network.run_for(Duration::from_secs(5));
    network
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
fn from_one_end_of_a_line_a_daemon_moves_to_the_other_and_is_drained_back_with_a_mebibyte_of_state() {
    let mut network = line();
    let ends = [network.id(0), network.id(4)];
    let daemon = spawn(&mut network, 0);
    network.run_for(Duration::from_secs(1));
    tell(&mut network, 4, daemon, "before");
    let ticket = network.act_os(2, |os, node, now| os.migrate(now, node, daemon, ends[1], None));
    let outcome = settled(&mut network, 2, ticket.expect("it is tried"));
    assert!(matches!(outcome, Settlement::Migrated(Ok(_))), "{outcome:?}");
    network.run_for(Duration::from_secs(1));
    tell(&mut network, 0, daemon, "there");
    assert_eq!(short_entries(&mut network, daemon, 4), [&b"before"[..], b"there"]);

    let drain = sign(&mut network, 1, AdminVerb::Drain { node: ends[1] });
    assert_eq!(submit(&mut network, 1, &drain), Decision::Applied);
    network.run_until(LIMIT, |network| hosts(network, daemon) == [0]).expect("it moves away");
    network.run_for(Duration::from_secs(1));
    tell(&mut network, 3, daemon, "back");
    assert_eq!(short_entries(&mut network, daemon, 0), [&b"before"[..], b"there", b"back"]);
}

#[test]
fn the_ends_of_a_line_hold_a_group_forks_and_a_standby_group_between_them() {
    let mut network = line();
    let parent = spawn(&mut network, 4);
    network.run_for(Duration::from_secs(1));
    let replicas = try_group(&mut network, 2, request(2, 1)).expect("two can make them");
    heals(&mut network, replicas, 2);
    for member in view(&network, 2, replicas).expect("it knows").members {
        for from in 0..5 {
            tell(&mut network, from, member.daemon, "hello");
        }
    }

    let forks = GroupRequest { kind: GroupKind::Fork, parent: Some(parent), ..request(2, 9) };
    let forks = try_group(&mut network, 0, forks).expect("two can make them");
    heals(&mut network, forks, 2);
    for (index, at) in really(&network, forks) {
        let daemon = view(&network, 2, forks).expect("it knows").members[index as usize].daemon;
        assert_eq!(short_entries(&mut network, daemon, at[0]), [b""; 0], "fork {index}");
    }

    let standby = try_group(&mut network, 0, standbys::standby(2)).expect("two can make them");
    standbys::stands(&mut network, standby);
    let daemon = view(&network, 2, standby).expect("it knows").members[0].daemon;
    let mut kept = Vec::new();
    for round in 0..3 {
        let before = standbys::active(&network, standby).expect("it runs");
        for from in 0..5 {
            kept.push(format!("{round} {from}"));
            tell(&mut network, from, daemon, &format!("{round} {from}"));
        }
        let promote = network.act_os(2, |os, node, now| os.promote(now, node, standby, None, None));
        assert_eq!(group_outcome(&mut network, 2, promote.expect("somebody is ready")), Ok(standby));
        standbys::stands(&mut network, standby);
        assert_eq!(standbys::active(&network, standby), Some(4 - before), "the other end works");
        standbys::keeps(&mut network, standby, daemon, &kept);
    }
    let has_own = |one: usize, other: usize| {
        let node = network.members[one].node.as_ref().expect("it runs");
        node.peer(network.id(other)).is_some_and(|peer| peer.path.is_direct())
    };
    assert!(!has_own(0, 4) && !has_own(4, 0), "and nobody dialed the other");
}
