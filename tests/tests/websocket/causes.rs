//! What happens to daemons, groups and migrations names the command it followed from.

use meshground_shared::{
    DaemonId, DaemonView, GroupHealth, GroupId, GroupKind, GroupView, Lifecycle, LinkFault, MigrationPhase,
    rpc::{
        CancelParams, ClearParams, DaemonSpawn, DaemonSpawnParams, DaemonStop, DaemonStopParams, FaultClear,
        FaultParams, FaultSet, GroupParams, GroupPromote, GroupScale, GroupSpawn, GroupSpawnParams,
        GroupStop, MigrateParams, MigrationCancel, MigrationStart, NodePause, NodeResume, ScaleParams,
    },
};

use super::*;

/// A client, and what it has seen.
struct Scene {
    client: Client,
    mirror: Mirror,
    /// The first event that nobody has looked at.
    looked: usize,
}

impl Scene {
    /// Follows until `found` is so, and looks at what happened meanwhile: everything that happened to workloads, and that
    /// is at least one thing, is to name `command`.
    async fn follows(&mut self, what: &str, command: CommandId, found: impl Fn(&Snapshot) -> bool) {
        self.follows_in_turn(what, &[command], found).await;
    }

    /// The same of commands that came one after the other: none comes back when a later one was named.
    async fn follows_in_turn(
        &mut self,
        what: &str,
        commands: &[CommandId],
        found: impl Fn(&Snapshot) -> bool,
    ) {
        // The answer may have come before the events.
        let seq = self.client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap().seq;
        let is_so = |snapshot: &Snapshot| snapshot.seq >= seq && found(snapshot);
        self.mirror.until_it_shows(&mut self.client, what, is_so).await;
        let events = &self.mirror.events[self.looked..];
        self.looked = self.mirror.events.len();
        let of_workloads = events.iter().filter(|event| {
            let value = serde_json::to_value(event).expect("an event is JSON");
            let kind = value["kind"].as_str().expect("it says what it is").to_owned();
            ["daemon_", "group_", "migration_"].iter().any(|what| kind.starts_with(what))
        });
        let mut turn = 0;
        for event in of_workloads {
            let named = commands.iter().position(|command| event.cause == Some(*command));
            assert!(named >= Some(turn), "{what}: of {commands:?} not the one that it should be: {event:?}");
            turn = named.unwrap_or(turn);
        }
        assert_eq!(turn + 1, commands.len(), "{what}: nothing followed from the last of {commands:?}");
        assert!(
            events.iter().any(|event| event.cause == commands.last().copied()),
            "{what}: nothing happened"
        );
    }

    fn group(&self, group: GroupId) -> &GroupView {
        &self.mirror.snapshot.groups[&group]
    }

    /// A node without members of groups which leads none.
    fn idle(&self) -> NodeId {
        let nodes = self.mirror.snapshot.nodes.iter();
        let mut idle = nodes.filter(|(id, node)| {
            let leads = self.mirror.snapshot.groups.values().any(|group| group.leader == **id);
            let hosts = node.daemons.values().any(|daemon| daemon.member.is_some());
            node.state == NodeState::Running && !leads && !hosts
        });
        *idle.next().expect("there are more nodes than members").0
    }

    /// The place of a member that is not where its group is looked after, and its node.
    fn outlying(&self, group: GroupId) -> (usize, NodeId) {
        let view = self.group(group);
        let mut places = view.members.iter().enumerate().filter_map(|(place, it)| Some((place, it.node?)));
        places.find(|(_, node)| *node != view.leader).expect("members are on different nodes")
    }
}

/// Where a daemon is.
fn copies(snapshot: &Snapshot, daemon: DaemonId) -> Vec<(NodeId, &DaemonView)> {
    let nodes = snapshot.nodes.iter();
    nodes.filter_map(|(&id, node)| Some((id, node.daemons.get(&daemon)?))).collect()
}

fn is_only_on(snapshot: &Snapshot, daemon: DaemonId, node: NodeId, does: Lifecycle) -> bool {
    matches!(copies(snapshot, daemon)[..], [(on, view)] if on == node && view.lifecycle == does)
}

fn runs_only_on(snapshot: &Snapshot, daemon: DaemonId, node: NodeId) -> bool {
    is_only_on(snapshot, daemon, node, Lifecycle::Running)
}

/// Whether a group has what it is to have, each member once and where the group says.
fn is_well(snapshot: &Snapshot, group: GroupId, count: usize) -> bool {
    let Some(view) = snapshot.groups.get(&group) else { return false };
    let all = view.members.iter().enumerate().all(|(place, member)| {
        let stands = view.kind == GroupKind::Standby && place > 0;
        let does = if stands { Lifecycle::Standby } else { Lifecycle::Running };
        member.node.is_some_and(|node| is_only_on(snapshot, member.daemon, node, does))
    });
    let members = snapshot.nodes.values().flat_map(|node| node.daemons.values());
    let members = members.filter(|daemon| daemon.member.is_some_and(|member| member.group == group));
    all && view.members.len() == count && view.health == GroupHealth::Healthy && members.count() == count
}

fn group_of(kind: GroupKind, daemon: &str, anchor: NodeId) -> GroupSpawnParams {
    let (daemon, args) = (daemon.to_owned(), String::new());
    GroupSpawnParams { kind, daemon, count: 2, name: None, anchor: Some(anchor), parent: None, args }
}

async fn scene(nodes: u32) -> (RunningServer, Scene, Vec<NodeId>) {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let nodes = boot(&mut client, nodes).await.nodes;
    let mirror = client.mirror().await;
    (server, Scene { client, mirror, looked: 0 }, nodes)
}

async fn spawn_on(scene: &mut Scene, node: NodeId, kind: &str) -> DaemonId {
    let params = DaemonSpawnParams { node, kind: kind.to_owned(), args: String::new() };
    let spawned = scene.client.call::<DaemonSpawn>(&params).await.unwrap();
    let runs = |snapshot: &Snapshot| runs_only_on(snapshot, spawned.daemon, node);
    scene.follows("daemon.spawn", spawned.command, runs).await;
    spawned.daemon
}

async fn group_on(scene: &mut Scene, params: &GroupSpawnParams) -> GroupId {
    let spawned = scene.client.call::<GroupSpawn>(params).await.unwrap();
    let well = |snapshot: &Snapshot| is_well(snapshot, spawned.group, 2);
    scene.follows("group.spawn", spawned.command, well).await;
    spawned.group
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_daemon_and_its_moves_go_through_names_the_command_behind_it() {
    let (server, mut scene, nodes) = scene(3).await;
    let (from, to) = (nodes[0], nodes[2]);
    let daemon = spawn_on(&mut scene, from, "counter").await;

    let started = scene.client.call::<MigrationStart>(&MigrateParams { daemon, to }).await.unwrap();
    let is_over = |snapshot: &Snapshot| {
        let known = snapshot.migrations.get(&started.migration);
        known.is_some_and(|known| known.view.phase.is_over())
            && [from, to].into_iter().any(|node| runs_only_on(snapshot, daemon, node))
    };
    scene.follows("migration.start", started.command, is_over).await;
    let migration = &scene.mirror.snapshot.migrations[&started.migration].view;
    assert_eq!(migration.phase, MigrationPhase::Complete, "{migration:?}");

    // Called off, as nothing arrives.
    let cut = FaultParams { from, to, both_ways: true, fault: LinkFault::CUT };
    scene.client.call::<FaultSet>(&cut).await.unwrap();
    let started = scene.client.call::<MigrationStart>(&MigrateParams { daemon, to: from }).await.unwrap();
    let params = CancelParams { migration: started.migration };
    let cancelled = scene.client.call::<MigrationCancel>(&params).await.unwrap();
    let is_off = |snapshot: &Snapshot| {
        let known = snapshot.migrations.get(&started.migration);
        known.is_some_and(|known| known.view.phase == MigrationPhase::Cancelled)
            && runs_only_on(snapshot, daemon, to)
    };
    let commands = [started.command, cancelled.command];
    scene.follows_in_turn("migration.start and migration.cancel", &commands, is_off).await;
    scene.client.call::<FaultClear>(&ClearParams::default()).await.unwrap();
    scene.mirror.until_it_shows(&mut scene.client, "the link", Snapshot::is_converged).await;

    let stopped =
        scene.client.call::<DaemonStop>(&DaemonStopParams { daemon, grace_ms: 60_000 }).await.unwrap();
    scene.follows("daemon.stop", stopped.command, |snapshot| copies(snapshot, daemon).is_empty()).await;

    let daemon = spawn_on(&mut scene, to, "counter").await;
    let left = scene.client.call::<NodeShutdown>(&NodeParams { node: to }).await.unwrap();
    scene.follows("node.shutdown", left.command, |snapshot| copies(snapshot, daemon).is_empty()).await;
    spawn_on(&mut scene, from, "counter").await;
    let mut other = Client::connect(server.local_addr()).await;
    let ended = other.call::<ClusterShutdown>(&NoParams {}).await.unwrap();
    scene.follows("cluster.shutdown", ended.command, |snapshot| snapshot.phase == ClusterPhase::Empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_goes_through_names_the_command_behind_it() {
    let (_server, mut scene, nodes) = scene(5).await;
    let group = group_on(&mut scene, &group_of(GroupKind::Replica, "counter", nodes[1])).await;
    for count in [3, 2] {
        let scaled = scene.client.call::<GroupScale>(&ScaleParams { group, count }).await.unwrap();
        let well = |snapshot: &Snapshot| is_well(snapshot, group, count as usize);
        scene.follows("group.scale", scaled.command, well).await;
    }
    let (place, _) = scene.outlying(group);
    let (daemon, to) = (scene.group(group).members[place].daemon, scene.idle());
    let moved = scene.client.call::<MigrationStart>(&MigrateParams { daemon, to }).await.unwrap();
    let is_there = |snapshot: &Snapshot| {
        is_well(snapshot, group, 2)
            && snapshot.groups[&group].members[place].node == Some(to)
            && snapshot.migrations[&moved.migration].view.phase == MigrationPhase::Complete
    };
    scene.follows("migration.start", moved.command, is_there).await;
    let before = copies(&scene.mirror.snapshot, daemon)[0].1.generation;
    let stopped =
        scene.client.call::<DaemonStop>(&DaemonStopParams { daemon, grace_ms: 60_000 }).await.unwrap();
    let is_anew = |snapshot: &Snapshot| {
        is_well(snapshot, group, 2) && copies(snapshot, daemon)[0].1.generation > before
    };
    scene.follows("daemon.stop", stopped.command, is_anew).await;

    let standbys = group_on(&mut scene, &group_of(GroupKind::Standby, "counter", nodes[1])).await;
    let active = scene.group(standbys).members[0].node;
    let promoted = scene.client.call::<GroupPromote>(&GroupParams { group: standbys }).await.unwrap();
    let is_other = |snapshot: &Snapshot| {
        is_well(snapshot, standbys, 2) && snapshot.groups[&standbys].members[0].node != active
    };
    scene.follows("group.promote", promoted.command, is_other).await;

    for ended in [standbys, group] {
        let stopped = scene.client.call::<GroupStop>(&GroupParams { group: ended }).await.unwrap();
        let is_gone = |snapshot: &Snapshot| {
            let mut daemons = snapshot.nodes.values().flat_map(|node| node.daemons.values());
            !snapshot.groups.contains_key(&ended)
                && daemons.all(|daemon| daemon.member.is_none_or(|member| member.group != ended))
        };
        scene.follows("group.stop", stopped.command, is_gone).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_groups_do_when_nodes_go_names_the_command_that_made_them_go() {
    let (_server, mut scene, nodes) = scene(5).await;
    let group = group_on(&mut scene, &group_of(GroupKind::Replica, "echo", nodes[1])).await;
    let elsewhere = |gone: NodeId| {
        move |snapshot: &Snapshot| {
            let view = &snapshot.groups[&group];
            let daemons: Vec<_> = view.members.iter().map(|member| member.daemon).collect();
            let placed = |daemon| {
                let left = copies(snapshot, daemon).into_iter().filter(|(node, _)| *node != gone);
                left.filter(|(_, view)| view.lifecycle == Lifecycle::Running).count() == 1
            };
            view.health == GroupHealth::Healthy
                && view.members.iter().all(|member| member.node != Some(gone))
                && daemons.into_iter().all(placed)
        }
    };

    let (_, node) = scene.outlying(group);
    let paused = scene.client.call::<NodePause>(&NodeParams { node }).await.unwrap();
    scene.follows("node.pause", paused.command, elsewhere(node)).await;
    let resumed = scene.client.call::<NodeResume>(&NodeParams { node }).await.unwrap();
    scene.follows("node.resume", resumed.command, |snapshot| is_well(snapshot, group, 2)).await;

    let (_, node) = scene.outlying(group);
    let crashed = scene.client.call::<NodeCrash>(&NodeParams { node }).await.unwrap();
    scene.follows("node.crash", crashed.command, elsewhere(node)).await;

    let (_, node) = scene.outlying(group);
    let left = scene.client.call::<NodeShutdown>(&NodeParams { node }).await.unwrap();
    scene
        .follows("node.shutdown", left.command, |snapshot| {
            !snapshot.nodes.contains_key(&node) && elsewhere(node)(snapshot)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_move_for_balance_name_the_command_that_brought_the_node_they_move_to() {
    let (_server, mut scene, nodes) = scene(2).await;
    let groups = [
        group_on(&mut scene, &group_of(GroupKind::Replica, "counter", nodes[0])).await,
        group_on(&mut scene, &group_of(GroupKind::Replica, "counter", nodes[1])).await,
    ];
    let spawned = scene.client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
    let is_even = |snapshot: &Snapshot| {
        groups.iter().all(|&group| is_well(snapshot, group, 2))
            && snapshot.nodes.get(&spawned.node).is_some_and(|node| !node.daemons.is_empty())
            && snapshot.migrations.values().any(|known| known.view.phase == MigrationPhase::Complete)
    };
    scene.follows("node.spawn", spawned.command, is_even).await;
}
