//! Every verb does what it says: each is signed, put to all by one node, and looked at on every node it concerns; what
//! follows names it as its cause; and nothing else is touched.

use std::time::Duration;

use meshground_node::{
    DaemonId, DaemonState, EntityKeypair, GroupId, GroupRequest, MeshOs, MeshOsSnapshot, MigrationId,
    OsEvent, Settlement, SpawnRequest,
};
use meshground_shared::{
    AdminVerb, DaemonView, Decision, EventKind, GroupHealth, GroupKind, GroupMember, GroupView, IceVerb,
    Lifecycle, Maintenance, MigrationPhase, Verb,
};
use meshground_tests::sim::{Faults, Network};

use super::{
    LIMIT,
    commanding::{break_glass, hosts, maintenance, mesh, sign, submit},
    send, settled, spawn,
};

/// Who submits the command. Nothing happens to it.
pub(super) const SENDER: usize = 3;

/// A verb in a scene in which it has something to do.
struct Case {
    verb: Verb,
    /// Whether it has been done, on every node it concerns. It has not in the beginning.
    done: Box<dyn Fn(&Network) -> bool>,
    /// Whether everything it does not concern is as it was.
    spared: Box<dyn Fn(&Network) -> bool>,
    /// Whether something that a node tells follows from it. Something does, and all that does names it.
    follows: Box<Follows>,
}

impl Case {
    fn new(verb: Verb, done: impl Fn(&Network) -> bool + 'static) -> Self {
        Self { verb, done: Box::new(done), spared: Box::new(|_| true), follows: Box::new(|_, _| true) }
    }

    fn sparing(self, spared: impl Fn(&Network) -> bool + 'static) -> Self {
        Self { spared: Box::new(spared), ..self }
    }

    fn telling(self, follows: impl Fn(usize, &EventKind) -> bool + 'static) -> Self {
        Self { follows: Box::new(follows), ..self }
    }
}

/// Whether something that this node tells follows from a command.
type Follows = dyn Fn(usize, &EventKind) -> bool;

/// A verb's name, and the scene.
type Row = (&'static str, fn(&mut Network) -> Case);

const ROWS: [Row; 16] = [
    ("drain", drain),
    ("enter_maintenance", enter_maintenance),
    ("exit_maintenance", exit_maintenance),
    ("cordon", cordon),
    ("uncordon", uncordon),
    ("drop_replicas", drop_replicas),
    ("invalidate_placement", invalidate_placement),
    ("restart_all_daemons", restart_all_daemons),
    ("clear_avoid_list", clear_avoid_list),
    ("freeze_cluster", freeze_cluster),
    ("thaw_cluster", thaw_cluster),
    ("flush_avoid_lists", flush_avoid_lists),
    ("force_evict_replica", force_evict_replica),
    ("force_restart_daemon", force_restart_daemon),
    ("force_cutover", force_cutover),
    ("kill_migration", kill_migration),
];

#[test]
fn every_verb_does_what_it_says_where_it_says_and_what_follows_names_it() {
    for (name, scene) in ROWS {
        act_out(name, scene);
    }
}

fn act_out(name: &str, scene: fn(&mut Network) -> Case) {
    let faults = Faults { delay: Duration::from_millis(10), ..Faults::NONE };
    let mut network = mesh(7, faults, 4);
    let case = scene(&mut network);
    assert_eq!(case.verb.name(), name);
    assert!(!(case.done)(&network), "{name}: there is nothing to be done");
    assert!((case.spared)(&network), "{name}: the scene is not set");
    let command = match &case.verb {
        Verb::Admin(verb) => sign(&mut network, SENDER, verb.clone()),
        Verb::Ice(verb) => break_glass(&mut network, SENDER, verb).expect("it is possible"),
    };
    let before: Vec<usize> = network.members.iter().map(|member| member.os.events.len()).collect();
    let ticket = network.act_os(SENDER, |os, node, now| os.submit(now, node, &command));
    let mut waited = Duration::ZERO;
    while !(case.done)(&network) {
        assert!(waited < LIMIT / 3, "{name}: not done within {waited:?}");
        network.run_for(Duration::from_millis(1));
        waited += Duration::from_millis(1);
    }
    let Settlement::Commanded(commanded) = settled(&mut network, SENDER, ticket) else { panic!("{name}") };
    assert_eq!(commanded.decision, Decision::Applied, "{name}");
    network.run_for(Duration::from_secs(1));
    assert!((case.done)(&network), "{name}: it does not stay done");
    assert!((case.spared)(&network), "{name}: something else was touched");
    let nonce = command.nonce().to_string();
    for number in 0..network.members.len() {
        let entries = os(&network, number).audit().iter().filter(|entry| entry.nonce == nonce);
        let decisions: Vec<Decision> = entries.map(|entry| entry.decision).collect();
        assert_eq!(decisions, [Decision::Applied], "{name}: the trail of {number}");
    }
    let mut followed = 0;
    for (number, member) in network.members.iter().enumerate() {
        for (_, event) in &member.os.events[before[number]..] {
            if let OsEvent::Happened { kind, cause } = event
                && (case.follows)(number, kind)
            {
                followed += 1;
                assert_eq!(*cause, Some(command.nonce().command()), "{name}: {kind:?} at {number}");
            }
        }
    }
    assert!(followed > 0, "{name}: nothing tells of it");
}

pub(super) fn os(network: &Network, number: usize) -> &MeshOs {
    network.members[number].os.os.as_ref().expect("it runs")
}

pub(super) fn seen(network: &Network, number: usize) -> std::sync::Arc<MeshOsSnapshot> {
    os(network, number).snapshot()
}

pub(super) fn number_of(network: &Network, node: meshground_node::NodeId) -> usize {
    (0..network.members.len()).find(|&number| network.id(number) == node).expect("it is a member")
}

/// A daemon as its node sees it.
pub(super) fn view(network: &Network, daemon: DaemonId) -> Option<DaemonView> {
    let mut all = network.members.iter().filter_map(|member| member.os.os.as_ref()).flat_map(MeshOs::daemons);
    all.find(|view| view.id == daemon)
}

fn group_view(network: &Network, group: GroupId) -> GroupView {
    os(network, SENDER).group(group).expect("it is known everywhere")
}

/// Whether all see a group have all it is to have.
fn is_whole(network: &Network, group: GroupId) -> bool {
    (0..network.members.len()).all(|number| {
        let view = os(network, number).group(group).expect("it is known everywhere");
        view.health == GroupHealth::Healthy && view.members.iter().all(|member| member.node.is_some())
    })
}

/// A group, made at `at`, which looks after it.
pub(super) fn group(network: &mut Network, at: usize, count: u32, seed: u8) -> GroupId {
    let request = GroupRequest {
        kind: GroupKind::Replica,
        daemon: "diary".to_owned(),
        args: String::new(),
        count,
        name: format!("group {seed}"),
        seed: [seed; 32],
        parent: None,
        cause: None,
    };
    let ticket = network.act_os(at, |os, node, now| os.spawn_group(now, node, request)).expect("tried");
    let Settlement::Group(Ok(group)) = settled(network, at, ticket) else { panic!("no group") };
    network.run_until(LIMIT, |network| is_whole(network, group)).expect("all see it whole");
    network.run_for(Duration::from_secs(1));
    group
}

/// The member at a place of a group, and what is seen of it.
pub(super) fn member(network: &Network, group: GroupId, index: usize) -> (GroupMember, DaemonView) {
    let member = group_view(network, group).members[index];
    (member, view(network, member.daemon).expect("it runs"))
}

fn is_about(kind: &EventKind, wanted: DaemonId) -> bool {
    match kind {
        EventKind::DaemonChanged { daemon } => daemon.id == wanted,
        EventKind::DaemonGone { daemon, .. } => *daemon == wanted,
        EventKind::MigrationChanged { migration } => migration.daemon == wanted,
        _ => false,
    }
}

fn is_of_service(kind: &EventKind) -> bool {
    matches!(kind, EventKind::MaintenanceChanged { .. })
}

/// Signs and submits something that is to be so before.
pub(super) fn command(network: &mut Network, verb: AdminVerb) {
    let command = sign(network, 0, verb);
    assert_eq!(submit(network, 0, &command), Decision::Applied);
    network.run_for(Duration::from_millis(500));
}

fn drain(network: &mut Network) -> Case {
    let [moves, stays] = [(1, 50), (2, 51)].map(|(at, seed)| spawn(network, at, seed));
    network.run_for(Duration::from_secs(1));
    let verb = Verb::Admin(AdminVerb::Drain { node: network.id(1) });
    Case::new(verb, move |network| {
        let here = seen(network, 1);
        let is_drained = here.cordoned && here.drain_remaining.is_none() && here.daemons.is_empty();
        is_drained && maintenance(network, 1) == Maintenance::Active && hosts(network, moves).len() == 1
    })
    .sparing(move |network| {
        hosts(network, stays) == [2] && [0, 2, 3].iter().all(|&number| !seen(network, number).cordoned)
    })
    .telling(move |_, kind| is_about(kind, moves) || is_of_service(kind))
}

fn enter_maintenance(network: &mut Network) -> Case {
    let [moves, stays] = [(1, 50), (2, 51)].map(|(at, seed)| spawn(network, at, seed));
    network.run_for(Duration::from_secs(1));
    let verb = Verb::Admin(AdminVerb::EnterMaintenance { node: network.id(1) });
    Case::new(verb, move |network| {
        maintenance(network, 1) == Maintenance::Maintenance && hosts(network, moves).len() == 1
    })
    .sparing(move |network| {
        let serves = |number: &usize| maintenance(network, *number) == Maintenance::Active;
        hosts(network, stays) == [2] && [0, 2, 3].iter().all(serves)
    })
    .telling(move |_, kind| is_about(kind, moves) || is_of_service(kind))
}

fn exit_maintenance(network: &mut Network) -> Case {
    for number in [1, 2] {
        let node = network.id(number);
        command(network, AdminVerb::EnterMaintenance { node });
        network
            .run_until(LIMIT, |network| maintenance(network, number) == Maintenance::Maintenance)
            .expect("it has nothing to move");
    }
    let verb = Verb::Admin(AdminVerb::ExitMaintenance { node: network.id(1) });
    Case::new(verb, |network| maintenance(network, 1) == Maintenance::Recovery && !seen(network, 1).cordoned)
        .sparing(|network| maintenance(network, 2) == Maintenance::Maintenance)
        .telling(|_, kind| is_of_service(kind))
}

fn cordon(network: &mut Network) -> Case {
    let daemon = spawn(network, 1, 50);
    let verb = Verb::Admin(AdminVerb::Cordon { node: network.id(1) });
    Case::new(verb, |network| seen(network, 1).cordoned)
        .sparing(move |network| {
            hosts(network, daemon) == [1] && [0, 2, 3].iter().all(|&number| !seen(network, number).cordoned)
        })
        .telling(|_, kind| is_of_service(kind))
}

fn uncordon(network: &mut Network) -> Case {
    for number in [1, 2] {
        let node = network.id(number);
        command(network, AdminVerb::Cordon { node });
    }
    let verb = Verb::Admin(AdminVerb::Uncordon { node: network.id(1) });
    Case::new(verb, |network| !seen(network, 1).cordoned)
        .sparing(|network| seen(network, 2).cordoned)
        .telling(|_, kind| is_of_service(kind))
}

fn drop_replicas(network: &mut Network) -> Case {
    let group = group(network, 0, 3, 60);
    let (dropped, _) = member(network, group, 1);
    let others = [0, 2].map(|index| member(network, group, index));
    let from = dropped.node.expect("it has a node");
    let host = number_of(network, from);
    let verb = Verb::Admin(AdminVerb::DropReplicas { node: from });
    Case::new(verb, move |network| {
        let at = hosts(network, dropped.daemon);
        is_whole(network, group) && at.len() == 1 && at != [host] && os(network, host).daemons().count() == 0
    })
    .sparing(move |network| {
        let is_as_before = |(member, before): &(GroupMember, DaemonView)| {
            view(network, member.daemon).as_ref() == Some(before)
        };
        others.iter().all(is_as_before)
    })
    .telling(move |_, kind| is_about(kind, dropped.daemon) || matches!(kind, EventKind::GroupChanged { .. }))
}

fn invalidate_placement(network: &mut Network) -> Case {
    let [group, other] = [(2, 60), (2, 61)].map(|(count, seed)| group(network, 0, count, seed));
    let of = |network: &Network, group| [0, 1].map(|index| member(network, group, index));
    let (before, spared) = (of(network, group), of(network, other));
    let ids = before.clone().map(|(member, _)| member.daemon);
    let verb = Verb::Admin(AdminVerb::InvalidatePlacement { group });
    Case::new(verb, move |network| {
        let is_anew = |(member, before): &(GroupMember, DaemonView)| {
            let view = view(network, member.daemon);
            let runs = |view: &DaemonView| view.lifecycle == Lifecycle::Running;
            view.is_some_and(|view| view.generation > before.generation && runs(&view))
        };
        is_whole(network, group) && before.iter().all(is_anew)
    })
    .sparing(move |network| {
        spared.iter().all(|(member, before)| view(network, member.daemon).as_ref() == Some(before))
    })
    .telling(move |_, kind| {
        let is_group = matches!(kind, EventKind::GroupChanged { group: view } if view.id == group);
        is_group || ids.iter().any(|id| is_about(kind, *id))
    })
}

/// Whether a daemon was made anew so many times, and runs.
pub(super) fn was_restarted(network: &Network, daemon: DaemonId, times: u32) -> bool {
    view(network, daemon).is_some_and(|it| it.restarts == times && it.lifecycle == Lifecycle::Running)
}

fn restart_all_daemons(network: &mut Network) -> Case {
    let [a, b, other] = [(1, 50), (1, 51), (2, 52)].map(|(at, seed)| spawn(network, at, seed));
    network.run_for(Duration::from_secs(1));
    let verb = Verb::Admin(AdminVerb::RestartAllDaemons { node: network.id(1) });
    Case::new(verb, move |network| [a, b].iter().all(|daemon| was_restarted(network, *daemon, 1)))
        .sparing(move |network| was_restarted(network, other, 0))
        .telling(move |_, kind| is_about(kind, a) || is_about(kind, b))
}

/// A group on all four nodes, looked after by `at`, of which one crashes again and again where it is: that node is avoided,
/// and there is no other.
fn ailing_group(network: &mut Network, at: usize, seed: u8) -> GroupId {
    let group = group(network, at, 4, seed);
    let (ailing, _) = member(network, group, 0);
    for _ in 0..5 {
        let crash = send(network, SENDER, ailing.daemon, "crash");
        settled(network, SENDER, crash);
        network.run_for(Duration::from_secs(5));
    }
    let host = ailing.node.expect("it has a node");
    let avoided = seen(network, at).avoided.get(&host).cloned().expect("it is avoided there");
    assert!(avoided.reason.contains(&format!("member 0 of group {group}")), "{}", avoided.reason);
    assert!(!avoided.remaining.is_zero());
    group
}

fn is_avoid_list(kind: &EventKind) -> bool {
    matches!(kind, EventKind::AvoidChanged { .. })
}

fn clear_avoid_list(network: &mut Network) -> Case {
    let [group, other] = [(1, 60), (2, 61)].map(|(at, seed)| ailing_group(network, at, seed));
    let verb = Verb::Admin(AdminVerb::ClearAvoidList { node: network.id(1) });
    Case::new(verb, move |network| seen(network, 1).avoided.is_empty() && is_whole(network, group))
        .sparing(move |network| !seen(network, 2).avoided.is_empty() && !is_whole(network, other))
        .telling(|_, kind| is_avoid_list(kind))
}

fn flush_avoid_lists(network: &mut Network) -> Case {
    let groups = [(1, 60), (2, 61)].map(|(at, seed)| ailing_group(network, at, seed));
    Case::new(Verb::Ice(IceVerb::FlushAvoidLists), move |network| {
        let is_empty = |number| seen(network, number).avoided.is_empty();
        (0..4).all(is_empty) && groups.iter().all(|group| is_whole(network, *group))
    })
    .telling(|_, kind| is_avoid_list(kind))
}

fn is_frozen(network: &Network, number: usize) -> bool {
    seen(network, number).freeze_remaining.is_some()
}

fn is_freeze(kind: &EventKind) -> bool {
    matches!(kind, EventKind::FreezeChanged { .. })
}

fn freeze_cluster(_: &mut Network) -> Case {
    let verb = Verb::Ice(IceVerb::FreezeCluster { ttl_ms: 60_000 });
    Case::new(verb, |network| (0..4).all(|number| is_frozen(network, number)))
        .telling(|_, kind| is_freeze(kind))
}

fn thaw_cluster(network: &mut Network) -> Case {
    let freeze = IceVerb::FreezeCluster { ttl_ms: 600_000 };
    let freeze = break_glass(network, 0, &freeze).expect("it is possible");
    assert_eq!(submit(network, 0, &freeze), Decision::Applied);
    network.run_for(Duration::from_millis(500));
    assert!((0..4).all(|number| is_frozen(network, number)));
    Case::new(Verb::Ice(IceVerb::ThawCluster), |network| (0..4).all(|number| !is_frozen(network, number)))
        .telling(|_, kind| is_freeze(kind))
}

fn force_evict_replica(network: &mut Network) -> Case {
    let group = group(network, 0, 2, 60);
    let [(stays, before), (evicted, _)] = [0, 1].map(|index| member(network, group, index));
    let host = number_of(network, evicted.node.expect("it has a node"));
    Case::new(Verb::Ice(IceVerb::ForceEvictReplica { group, index: 1 }), move |network| {
        let at = hosts(network, evicted.daemon);
        is_whole(network, group) && at.len() == 1 && at != [host]
    })
    .sparing(move |network| view(network, stays.daemon).as_ref() == Some(&before))
    .telling(move |_, kind| is_about(kind, evicted.daemon) || matches!(kind, EventKind::GroupChanged { .. }))
}

fn force_restart_daemon(network: &mut Network) -> Case {
    let [daemon, other] = [50, 51].map(|seed| spawn(network, 1, seed));
    network.run_for(Duration::from_secs(1));
    Case::new(Verb::Ice(IceVerb::ForceRestartDaemon { daemon }), move |network| {
        was_restarted(network, daemon, 1)
    })
    .sparing(move |network| was_restarted(network, other, 0))
    .telling(move |_, kind| is_about(kind, daemon))
}

/// The migration under way from a node, and how far it is.
fn migration(network: &Network, from: usize) -> Option<(MigrationId, MigrationPhase)> {
    let now = network.now_at(from).instant;
    let migration = os(network, from).migrations(now).next();
    migration.map(|view| (view.id, view.phase))
}

/// Starts a diary on node 1 whose state has so many bytes, and begins to move it to node 0. Waits until the others know of that.
pub(super) fn begin_move(network: &mut Network, len: u32) -> (DaemonId, MigrationId) {
    let keypair = EntityKeypair::from_seed([50; 32]);
    let daemon = keypair.origin_hash();
    let mut bytes = vec![0; len as usize];
    bytes[..4].copy_from_slice(&(len - 4).to_le_bytes());
    let state = Some(DaemonState { origin: daemon, bytes });
    let request = SpawnRequest { keypair, kind: "diary".to_owned(), args: String::new(), state, cause: None };
    let ticket = network.act_os(1, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    settled(network, 1, ticket);
    network.run_for(Duration::from_secs(1));
    let to = network.id(0);
    network.act_os(1, |os, node, now| os.migrate(now, node, daemon, to, None)).expect("it is tried");
    let (id, _) = migration(network, 1).expect("it is under way");
    let verb = IceVerb::KillMigration { migration: id };
    while network.act_os(SENDER, |os, node, _| os.simulate(node, &verb)).is_none() {
        network.run_for(Duration::from_millis(1));
        assert!(migration(network, 1).is_some(), "the others hear of it before it is over");
    }
    (daemon, id)
}

/// It would get there without as well. That it no longer waits for events is for the tests of a migration at its source; here
/// it is seen that the word gets through to it in time.
fn force_cutover(network: &mut Network) -> Case {
    let (daemon, id) = begin_move(network, 8 << 20);
    Case::new(Verb::Ice(IceVerb::ForceCutover { migration: id }), move |network| {
        hosts(network, daemon) == [0] && migration(network, 1).is_none()
    })
    .telling(|number, kind| {
        number == 1 && matches!(kind, EventKind::MigrationChanged { migration } if migration.phase.is_over())
    })
}

fn kill_migration(network: &mut Network) -> Case {
    let (daemon, id) = begin_move(network, 24 << 20);
    Case::new(Verb::Ice(IceVerb::KillMigration { migration: id }), move |network| {
        migration(network, 1).is_none()
            && view(network, daemon).is_some_and(|it| it.lifecycle == Lifecycle::Running)
    })
    .sparing(move |network| hosts(network, daemon) == [1])
    .telling(|_, kind| {
        matches!(kind, EventKind::MigrationChanged { migration } if migration.phase.is_over())
            || matches!(kind, EventKind::DaemonChanged { daemon } if daemon.lifecycle == Lifecycle::Running)
    })
}
