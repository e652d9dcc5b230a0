//! Nodes that were not there when something was commanded: they learn of it, and of what still stands.

use std::time::Duration;

use meshground_node::{
    CallEvent, MeshOsConfig, NodeEvent, NodeId,
    admin::{AdminCommand, AdminVerifier, IceProposal, OperatorKey, Operators, SignedCommand},
    vectors::history::{Claimed, page},
};
use meshground_shared::{AdminVerb, Decision, EventKind, Health, IceVerb, Maintenance, Rejection};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{
    BAD, LIMIT,
    commanding::{demo, maintenance, mesh, nonce, sign, submit, trails},
    config, settled, spawn,
};

/// How long until a node has caught up, once it has neighbours.
const SOON: Duration = Duration::from_secs(10);

/// A break-glass command that two operators have signed, as member `at` simulates it.
fn ice(network: &mut Network, at: usize, verb: IceVerb) -> SignedCommand {
    let (wall, nonce) = (network.now_at(at).wall, nonce(network));
    let picture = network.act_os(at, |os, node, _| os.picture(node));
    let simulated = IceProposal::new(verb).simulate(&picture).expect("possible");
    simulated.sign(wall, nonce, &demo(1)).cosign(&demo(2))
}

fn freeze(network: &mut Network, at: usize, seconds: u64) {
    let command = ice(network, at, IceVerb::FreezeCluster { ttl_ms: seconds * 1_000 });
    assert_eq!(submit(network, at, &command), Decision::Applied);
}

fn thaw(network: &mut Network, at: usize) {
    let command = ice(network, at, IceVerb::ThawCluster);
    assert_eq!(submit(network, at, &command), Decision::Applied);
}

/// Member `at` is given a command about member `who`.
fn told(
    network: &mut Network,
    at: usize,
    who: usize,
    verb: impl Fn(NodeId) -> AdminVerb,
    expected: Decision,
) {
    let command = sign(network, at, verb(network.id(who)));
    assert_eq!(submit(network, at, &command), expected);
}

/// One more member, that everybody dials.
fn join(network: &mut Network) -> usize {
    let late = network.add(config());
    let verifier = AdminVerifier::allow_demo(Operators::demo());
    network.equip(late, MeshOsConfig { verifier, ..MeshOsConfig::default() }, Diary::prepare);
    for other in 0..late {
        network.dial(late, other);
    }
    late
}

/// For how long each member is frozen yet, in seconds rounded up.
fn frozen(network: &Network) -> Vec<u64> {
    let left = |member: &meshground_tests::sim::Member| {
        let left = member.os.os.as_ref().expect("it runs").snapshot().freeze_remaining;
        left.unwrap_or_default().as_millis().div_ceil(1_000)
    };
    network.members.iter().map(|member| u64::try_from(left(member)).expect("small")).collect()
}

fn agree(network: &Network) -> bool {
    let trails = trails(network);
    trails.iter().all(|trail| trail == &trails[0])
}

fn all_frozen(network: &Network) -> bool {
    frozen(network).iter().all(|left| *left > 0)
}

/// A row of decisions of every kind, while a cluster of three is frozen.
fn eventful(network: &mut Network) {
    told(network, 0, 1, |node| AdminVerb::Cordon { node }, Decision::Applied);
    told(network, 1, 0, |node| AdminVerb::RestartAllDaemons { node }, Decision::Applied);
    freeze(network, 0, 60);
    told(network, 2, 1, |node| AdminVerb::Drain { node }, Decision::Rejected(Rejection::FreezeInEffect));
    let stranger = OperatorKey::from_seed("stranger", [1; 32]);
    let (node, nonce) = (network.id(1), nonce(network));
    let command = AdminCommand::new(AdminVerb::Drain { node }, network.now_at(0).wall, nonce);
    let command = command.sign(&stranger);
    assert_eq!(submit(network, 0, &command), Decision::Rejected(Rejection::NotAuthorized));
}

#[test]
fn a_node_that_joins_late_has_the_same_trail_and_is_frozen_as_long_as_the_others() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { corruption: 0.0, ..BAD }, 3);
        eventful(&mut network);
        let late = join(&mut network);
        let caught_up = |network: &Network| trails(network)[late].len() == 4 && frozen(network)[late] > 0;
        network.run_until(LIMIT, caught_up).expect("it catches up");
        // What no operator signed is not handed on: anybody could make that up.
        let trails = trails(&network);
        let without = |number: usize| {
            let mut trail = trails[number].clone();
            trail.retain(|_, decision| *decision != Decision::Rejected(Rejection::NotAuthorized));
            trail
        };
        assert!((0..3).all(|number| trails[number].len() == 5 && without(number) == trails[late]));
        network.run_for(Duration::from_secs(2));
        let left = frozen(&network);
        assert!(left.iter().all(|one| one.abs_diff(left[0]) <= 1), "{left:?}");
        told(
            &mut network,
            late,
            0,
            |node| AdminVerb::Drain { node },
            Decision::Rejected(Rejection::FreezeInEffect),
        );
        network.run_for(Duration::from_secs(left[0]));
        assert!(frozen(&network).iter().all(|left| *left == 0), "it is over for all");
        assert_eq!(frozen(&network), [0; 4]);
    });
}

#[test]
fn a_node_that_starts_again_has_its_trail_again_and_is_frozen_and_cordoned_again_but_nothing_is_done_twice() {
    each_seed(10, |seed| {
        let mut network = mesh(seed, Faults { corruption: 0.0, ..BAD }, 3);
        told(&mut network, 0, 1, |node| AdminVerb::RestartAllDaemons { node }, Decision::Applied);
        told(&mut network, 0, 1, |node| AdminVerb::Drain { node }, Decision::Applied);
        network.run_for(Duration::from_secs(1));
        freeze(&mut network, 0, 60);
        network.crash(1);
        network.run_for(Duration::from_secs(1));
        network.restart_in_place(1);
        let born = network.members[1].os.events.len();
        for other in [0, 2] {
            network.dial(1, other);
        }
        let same =
            |network: &Network| agree(network) && all_frozen(network) && !trails(network)[0].is_empty();
        network.run_until(LIMIT, same).expect("it catches up");
        network.run_for(Duration::from_secs(2));
        let snapshot = network.members[1].os.os.as_ref().expect("it runs").snapshot();
        assert!(snapshot.cordoned, "a drain cordons, and that stands");
        assert_eq!((snapshot.drain_remaining, snapshot.maintenance), (None, Maintenance::Active));
        let happened = network.members[1].os.events[born..].iter().filter(|(_, event)| {
            let meshground_node::OsEvent::Happened { kind, .. } = event else { return false };
            matches!(kind, EventKind::FreezeChanged { .. } | EventKind::MaintenanceChanged { .. })
        });
        assert_eq!(happened.count(), 2, "each of the two once");
        // An uncordon since counts.
        told(&mut network, 2, 1, |node| AdminVerb::Uncordon { node }, Decision::Applied);
        network.crash(1);
        network.run_for(Duration::from_secs(1));
        network.restart_in_place(1);
        for other in [0, 2] {
            network.dial(1, other);
        }
        network.run_until(LIMIT, same).expect("it catches up");
        network.run_for(Duration::from_secs(2));
        assert!(!network.members[1].os.os.as_ref().expect("it runs").snapshot().cordoned);
    });
}

#[test]
fn a_node_that_was_out_of_service_is_so_again_after_a_restart_until_it_is_told_to_come_back() {
    let mut network = mesh(1, Faults::NONE, 3);
    told(&mut network, 0, 1, |node| AdminVerb::EnterMaintenance { node }, Decision::Applied);
    let is = |state| move |network: &Network| maintenance(network, 1) == state;
    network.run_until(LIMIT, is(Maintenance::Maintenance)).expect("it has nothing to move");
    network.crash(1);
    network.run_for(Duration::from_secs(1));
    network.restart_in_place(1);
    for other in [0, 2] {
        network.dial(1, other);
    }
    assert_eq!(maintenance(&network, 1), Maintenance::Active);
    network.run_until(SOON, is(Maintenance::Maintenance)).expect("it hears so from the others");
    told(&mut network, 2, 1, |node| AdminVerb::ExitMaintenance { node }, Decision::Applied);
    network.run_until(LIMIT * 10, is(Maintenance::Active)).expect("it comes back by and by");
}

#[test]
fn all_that_a_node_was_told_of_its_service_counts_after_a_restart_not_the_last_word_alone() {
    let mut network = mesh(1, Faults::NONE, 3);
    told(&mut network, 0, 1, |node| AdminVerb::EnterMaintenance { node }, Decision::Applied);
    let is = |state| move |network: &Network| maintenance(network, 1) == state;
    network.run_until(LIMIT, is(Maintenance::Maintenance)).expect("it has nothing to move");
    told(&mut network, 0, 1, |node| AdminVerb::Cordon { node }, Decision::Applied);
    let restart = |network: &mut Network| {
        network.crash(1);
        network.run_for(Duration::from_secs(1));
        network.restart_in_place(1);
        for other in [0, 2] {
            network.dial(1, other);
        }
        network.run_for(SOON);
    };
    restart(&mut network);
    assert_eq!(maintenance(&network, 1), Maintenance::Maintenance);
    told(&mut network, 2, 1, |node| AdminVerb::ExitMaintenance { node }, Decision::Applied);
    network.run_for(Duration::from_secs(1));
    let is_cordoned = |network: &Network| network.members[1].os.os.as_ref().unwrap().snapshot().cordoned;
    assert!(!is_cordoned(&network));
    // Whatever was before that is over.
    restart(&mut network);
    assert_eq!((maintenance(&network, 1), is_cordoned(&network)), (Maintenance::Active, false));
    told(&mut network, 0, 1, |node| AdminVerb::Cordon { node }, Decision::Applied);
    restart(&mut network);
    assert_eq!((maintenance(&network, 1), is_cordoned(&network)), (Maintenance::Active, true));
}

/// Member 1 starts again, and is alone with member 3, which knows only what was commanded before it was cut off; then it gets to
/// the others.
fn restarted_between_rounds(before: &[Service], after: &[Service]) -> (Maintenance, bool) {
    let mut network = mesh(1, Faults::NONE, 4);
    let addresses: Vec<_> = network.members.iter().map(|member| member.address).collect();
    let cut = |network: &mut Network, a: usize, b: usize| {
        network.cuts.extend([(addresses[a], addresses[b]), (addresses[b], addresses[a])]);
    };
    let command = |network: &mut Network, verbs: &[Service]| {
        for verb in verbs {
            told(network, 0, 1, verb, Decision::Applied);
            network.run_for(Duration::from_secs(1));
        }
    };
    command(&mut network, before);
    for other in 0..3 {
        cut(&mut network, other, 3);
    }
    let silent =
        |network: &Network| (0..3).all(|other| network.verdict(other, 3) == Some(Health::Unreachable));
    network.run_until(LIMIT, silent).expect("they notice");
    network.run_for(Duration::from_secs(10));
    command(&mut network, after);
    network.crash(1);
    network.cuts.clear();
    for (a, b) in [(0, 1), (1, 2), (0, 3), (2, 3)] {
        cut(&mut network, a, b);
    }
    network.run_for(Duration::from_secs(1));
    network.restart_in_place(1);
    network.dial(1, 3);
    let first = |network: &Network| trails(network)[1].len() == before.len();
    network.run_until(LIMIT, first).expect("it hears of the first");
    network.run_for(Duration::from_secs(1));
    let stands = |network: &Network| {
        let snapshot = network.members[1].os.os.as_ref().expect("it runs").snapshot();
        (snapshot.maintenance, snapshot.cordoned)
    };
    assert!(stands(&network).1, "all that it has heard of has it take nothing new: {:?}", stands(&network));
    network.cuts.clear();
    network.dial(1, 0);
    let rest = |network: &Network| trails(network)[1].len() == before.len() + after.len();
    network.run_until(LIMIT, rest).expect("it hears of the rest");
    network.run_for(LIMIT * 10);
    stands(&network)
}

fn serves(network: &Network, number: usize) -> bool {
    matches!(maintenance(network, number), Maintenance::Active | Maintenance::Recovery)
}

/// What a command says of a node's service.
type Service = fn(NodeId) -> AdminVerb;

#[test]
fn what_a_node_hears_in_one_round_ends_by_what_it_hears_in_a_later_one() {
    let enter: Service = |node| AdminVerb::EnterMaintenance { node };
    let exit: Service = |node| AdminVerb::ExitMaintenance { node };
    let cordon: Service = |node| AdminVerb::Cordon { node };
    let uncordon: Service = |node| AdminVerb::Uncordon { node };
    let drain: Service = |node| AdminVerb::Drain { node };
    assert_eq!(restarted_between_rounds(&[enter], &[exit]), (Maintenance::Active, false));
    assert_eq!(restarted_between_rounds(&[cordon], &[uncordon]), (Maintenance::Active, false));
    assert_eq!(restarted_between_rounds(&[drain], &[enter, exit]), (Maintenance::Active, false));
    assert_eq!(restarted_between_rounds(&[enter], &[exit, cordon]), (Maintenance::Active, true));
    assert_eq!(restarted_between_rounds(&[enter, exit, cordon], &[enter]), (Maintenance::Maintenance, true));
}

#[test]
fn what_still_stands_is_told_to_whoever_comes_back_however_much_was_commanded_since() {
    let mut network = mesh(1, Faults::NONE, 2);
    told(&mut network, 0, 1, |node| AdminVerb::EnterMaintenance { node }, Decision::Applied);
    let is_out = |network: &Network| maintenance(network, 1) == Maintenance::Maintenance;
    network.run_until(LIMIT, is_out).expect("it has nothing to move");
    network.run_for(Duration::from_secs(1));
    freeze(&mut network, 0, 3_600);
    let forgotten = |network: &Network, number: usize| {
        let os = network.members[number].os.os.as_ref().expect("it runs");
        os.snapshot().commands_forgotten
    };
    assert_eq!(forgotten(&network, 0), 0);
    for _ in 0..1_030 {
        told(&mut network, 0, 0, |node| AdminVerb::ClearAvoidList { node }, Decision::Applied);
    }
    network.run_for(Duration::from_secs(1));
    assert_eq!([0, 1].map(|number| forgotten(&network, number)), [8; 2], "and it is said");
    network.crash(1);
    network.run_for(Duration::from_secs(1));
    network.restart_in_place(1);
    network.dial(1, 0);
    let stands = |network: &Network| frozen_at(network, 1) && !serves(network, 1);
    network.run_until(LIMIT, stands).expect("it is out of service and frozen again");
    assert_eq!(forgotten(&network, 1), 0);
}

#[test]
fn a_freeze_that_is_over_or_was_ended_is_history() {
    let mut network = mesh(1, Faults::NONE, 3);
    freeze(&mut network, 0, 30);
    network.run_for(Duration::from_secs(1));
    thaw(&mut network, 1);
    let late = join(&mut network);
    network.run_until(SOON, |network| trails(network)[late].len() == 2).expect("it catches up");
    network.run_for(Duration::from_secs(1));
    assert_eq!(frozen(&network), [0; 4]);
    // Past the time in which another is refused.
    network.run_for(Duration::from_secs(301));
    freeze(&mut network, 0, 2);
    network.run_for(Duration::from_secs(3));
    let later = join(&mut network);
    network.run_until(SOON, |network| trails(network)[later].len() == 3).expect("it catches up");
    network.run_for(Duration::from_secs(1));
    assert_eq!(frozen(&network), [0; 5]);
}

/// Nothing passes between the first `count` members and the others.
fn divide(network: &mut Network, count: usize) {
    let addresses: Vec<_> = network.members.iter().map(|member| member.address).collect();
    for (a, first) in addresses.iter().enumerate() {
        for (b, second) in addresses.iter().enumerate() {
            if (a < count) != (b < count) {
                network.cuts.push((*first, *second));
            }
        }
    }
}

/// Four of which two and two have noticed that they are cut off from each other.
fn two_halves(seed: u64) -> Network {
    let mut network = mesh(seed, Faults { corruption: 0.0, loss: 0.02, ..BAD }, 4);
    divide(&mut network, 2);
    let apart = |network: &Network| {
        [(0, 2), (0, 3), (1, 2), (1, 3)].into_iter().all(|(a, b)| {
            network.verdict(a, b) == Some(Health::Unreachable)
                && network.verdict(b, a) == Some(Health::Unreachable)
        })
    };
    network.run_until(LIMIT, apart).expect("they notice");
    network.run_for(Duration::from_secs(10));
    network
}

#[test]
fn when_a_partition_heals_the_trails_agree_and_the_later_of_freeze_and_thaw_counts() {
    each_seed(10, |seed| {
        let mut network = two_halves(seed);
        told(&mut network, 0, 1, |node| AdminVerb::Cordon { node }, Decision::Applied);
        freeze(&mut network, 1, 200);
        network.run_for(Duration::from_secs(2));
        told(&mut network, 2, 3, |node| AdminVerb::Cordon { node }, Decision::Applied);
        if seed.is_multiple_of(2) {
            thaw(&mut network, 3);
        }
        network.cuts.clear();
        let one = |network: &Network| {
            let all = if seed.is_multiple_of(2) { 4 } else { 3 };
            agree(network) && trails(network)[0].len() == all
        };
        network.run_until(LIMIT, one).expect("they tell each other");
        network.run_for(Duration::from_secs(1));
        let left = frozen(&network);
        if seed.is_multiple_of(2) {
            assert_eq!(left, [0; 4], "the thaw came after the freeze");
        } else {
            assert!(left.iter().all(|one| *one > 100), "{left:?}");
        }
    });
}

#[test]
fn what_was_commanded_gets_along_a_line() {
    let mut network = Network::new(1, Faults::NONE);
    for number in 0..5 {
        network.add(config());
        let verifier = AdminVerifier::allow_demo(Operators::demo());
        network.equip(number, MeshOsConfig { verifier, ..MeshOsConfig::default() }, Diary::prepare);
    }
    // Two that are linked, and three.
    for (a, b) in [(0, 1), (2, 3), (3, 4)] {
        network.dial(a, b);
    }
    network.run_for(Duration::from_secs(5));
    freeze(&mut network, 0, 60);
    network.dial(1, 2);
    network.run_until(SOON, |network| agree(network) && all_frozen(network)).expect("it gets to the end");
}

#[test]
fn what_others_broke_glass_for_cools_down_for_those_who_only_heard_of_it_as_well() {
    let mut network = mesh(1, Faults::NONE, 2);
    let flush = ice(&mut network, 0, IceVerb::FlushAvoidLists);
    assert_eq!(submit(&mut network, 0, &flush), Decision::Applied);
    let done = network.now_at(0).instant;
    network.run_for(Duration::from_mins(1));
    let late = join(&mut network);
    network.run_until(LIMIT, |network| trails(network)[late].len() == 1).expect("it catches up");
    // Nobody is left who did it, and would remember.
    (0..late).for_each(|number| network.crash(number));
    network.run_for(Duration::from_mins(2));
    let again = |network: &mut Network| {
        let flush = ice(network, late, IceVerb::FlushAvoidLists);
        submit(network, late, &flush)
    };
    assert_eq!(again(&mut network), Decision::Rejected(Rejection::IceCooldownActive));
    let restart = ice(&mut network, late, IceVerb::FreezeCluster { ttl_ms: 1 });
    assert_eq!(submit(&mut network, late, &restart), Decision::Applied, "nobody did that");
    let passed = network.now_at(late).instant.saturating_since(done);
    network.run_for(Duration::from_secs(298).saturating_sub(passed));
    assert_eq!(again(&mut network), Decision::Rejected(Rejection::IceCooldownActive));
    network.run_for(Duration::from_secs(4));
    assert_eq!(again(&mut network), Decision::Applied, "it counts from when it was done, not heard of");
}

/// Has a member that is not equipped answer what it is asked for history, for as long as `done` does not hold.
fn lie(
    network: &mut Network,
    liar: usize,
    limit: Duration,
    mut answer: impl FnMut(&mut Network, NodeId) -> Vec<u8>,
    done: impl Fn(&Network) -> bool,
) -> usize {
    let mut answered = 0;
    let mut passed = Duration::ZERO;
    let mut seen = 0;
    while passed < limit && !done(network) {
        network.run_for(Duration::from_millis(20));
        passed += Duration::from_millis(20);
        let asked: Vec<_> = network.members[liar].events[seen..]
            .iter()
            .filter_map(|(_, event)| match event {
                NodeEvent::Call(CallEvent::Requested { call, method, .. }) if method == "os.audit" => {
                    Some(*call)
                }
                _ => None,
            })
            .collect();
        seen = network.members[liar].events.len();
        for call in asked {
            let body = answer(network, call.peer);
            network.act(liar, |node, now| {
                let _ = node.reply(now, call, &body);
                let _ = node.end_reply(now, call, Ok(()));
            });
            answered += 1;
        }
    }
    answered
}

/// Three that have decided, a liar that they let in, and one that comes late.
fn with_a_liar(network: &mut Network) -> (usize, usize) {
    let liar = network.add(config());
    for other in 0..3 {
        network.dial(liar, other);
    }
    network.run_for(Duration::from_secs(2));
    let late = join(network);
    (liar, late)
}

#[test]
fn an_insider_that_makes_commands_up_is_not_believed_and_makes_nobody_grow() {
    let mut network = mesh(1, Faults::NONE, 3);
    freeze(&mut network, 0, 100);
    let (liar, late) = with_a_liar(&mut network);
    let mut made_up = 0_u64;
    let answer = |network: &mut Network, _: NodeId| {
        let wall = network.now_at(0).wall;
        let mut claims: Vec<Claimed> = (0..40)
            .map(|number| {
                made_up += 1;
                let node = network.id(late);
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&made_up.to_be_bytes());
                let command =
                    AdminCommand::new(AdminVerb::Drain { node }, wall, meshground_node::admin::Nonce(bytes));
                let command = match number % 4 {
                    0 => command.unsigned(),
                    1 => command.sign(&OperatorKey::from_seed("demo-1", [1; 32])),
                    _ => command.sign(&demo(1)),
                };
                let mut encoded = command.encode();
                if number % 4 == 2 {
                    // A signature that does not hold.
                    *encoded.last_mut().expect("not empty") ^= 1;
                }
                if number % 4 == 3 {
                    encoded.truncate(encoded.len() - 1);
                }
                (encoded, Decision::Applied, wall.0)
            })
            .collect();
        claims.rotate_left(usize::try_from(network.below(4)).expect("small"));
        page(claims, true)
    };
    let caught_up = |network: &Network| frozen_at(network, late);
    let answered = lie(&mut network, liar, LIMIT, answer, caught_up);
    assert!(answered > 0, "it was asked");
    let answer = |_: &mut Network, _: NodeId| vec![1; 4_000];
    let answered = lie(&mut network, liar, Duration::from_mins(1), answer, |_| false);
    assert!((1..200).contains(&answered), "it is asked now and then: {answered}");
    network.run_for(Duration::from_secs(2));
    for member in network.members.iter().filter_map(|member| member.os.os.as_ref()) {
        assert_eq!(member.audit().iter().len(), 1, "the freeze alone");
        assert_eq!(member.snapshot().drain_remaining, None);
    }
}

fn frozen_at(network: &Network, number: usize) -> bool {
    network.members[number].os.os.as_ref().is_some_and(|os| os.snapshot().freeze_remaining.is_some())
}

#[test]
fn an_insider_that_tells_of_a_command_otherwise_than_most_is_outvoted_and_lengthens_no_freeze() {
    each_seed(5, |seed| {
        let mut network = mesh(seed, Faults::NONE, 3);
        let long = ice(&mut network, 0, IceVerb::FreezeCluster { ttl_ms: 50_000 });
        assert_eq!(submit(&mut network, 0, &long), Decision::Applied);
        network.run_for(Duration::from_secs(1));
        // Signed by enough, and rejected: two operators, but shown something else.
        let (wall, nonce) = (network.now_at(0).wall, nonce(&mut network));
        let thaw =
            IceProposal::new(IceVerb::ThawCluster).simulated(meshground_shared::BlastRadius::default());
        let thaw = thaw.sign(wall, nonce, &demo(1)).cosign(&demo(2));
        assert_eq!(submit(&mut network, 0, &thaw), Decision::Rejected(Rejection::SimulationRequired));
        network.run_for(Duration::from_secs(1));
        let (liar, late) = with_a_liar(&mut network);
        let answer = |network: &mut Network, _: NodeId| {
            let later = network.now_at(0).wall.0 + 3_000_000_000;
            let unauthorised = Decision::Rejected(Rejection::Unreachable);
            let mut claims = vec![
                (&long, (long.encode(), if seed % 2 == 0 { unauthorised } else { Decision::Applied }, later)),
                (&thaw, (thaw.encode(), Decision::Applied, later)),
            ];
            claims.sort_by_key(|(command, _)| (command.issued(), command.nonce()));
            page(claims.into_iter().map(|(_, claim)| claim).collect(), false)
        };
        lie(&mut network, liar, Duration::from_secs(8), answer, |_| false);
        let trails = trails(&network);
        assert_eq!(trails.len(), 4, "the liar keeps none");
        assert!(trails.iter().all(|trail| trail == &trails[0] && trail.len() == 2), "{trails:?}");
        let left = |number: usize| {
            let snapshot = network.members[number].os.os.as_ref().expect("it runs").snapshot();
            snapshot.freeze_remaining.expect("it is frozen")
        };
        assert!(left(late).abs_diff(left(0)) < Duration::from_secs(2), "{:?} {:?}", left(late), left(0));
    });
}

#[test]
fn a_freeze_goes_through_though_not_all_have_heard_of_a_drain_yet_but_not_past_the_one_that_drains() {
    let mut network = mesh(1, Faults::NONE, 3);
    let daemon = spawn(&mut network, 1, 50);
    for number in [0, 2] {
        told(&mut network, 0, number, |node| AdminVerb::Cordon { node }, Decision::Applied);
    }
    // A freeze that was thought of before the drain is refused by the one that drains.
    let before = ice(&mut network, 0, IceVerb::FreezeCluster { ttl_ms: 5_000 });
    told(&mut network, 1, 1, |node| AdminVerb::Drain { node }, Decision::Applied);
    // Nobody but the one that drains knows of it yet.
    let (wall, nonce) = (network.now_at(1).wall, nonce(&mut network));
    let picture = network.act_os(1, |os, node, _| os.picture(node));
    let known =
        IceProposal::new(IceVerb::FreezeCluster { ttl_ms: 5_000 }).simulate(&picture).expect("possible");
    assert_eq!(known.radius().drain_delay_ms, 5_000);
    let known = known.sign(wall, nonce, &demo(1)).cosign(&demo(2));
    let first = network.act_os(1, |os, node, now| os.submit(now, node, &before));
    let second = network.act_os(1, |os, node, now| os.submit(now, node, &known));
    let outcome = |network: &mut Network, ticket| match settled(network, 1, ticket) {
        meshground_node::Settlement::Commanded(commanded) => commanded.decision,
        other => panic!("{other:?}"),
    };
    assert_eq!(outcome(&mut network, first), Decision::Rejected(Rejection::SimulationRequired));
    assert_eq!(outcome(&mut network, second), Decision::Applied);
    assert!(
        network.members[1]
            .os
            .os
            .iter()
            .flat_map(meshground_node::MeshOs::daemons)
            .any(|view| view.id == daemon)
    );
}
