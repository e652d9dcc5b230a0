//! Daemons, their states, migrations and groups: what cannot be done is refused, and nothing changes.

use meshground::{
    DaemonRuntime, DaemonRuntimeError, cluster::GroupConfig, daemons::bundled, meshos::random_keypair,
};
use meshground_node::{
    DaemonId, GroupError, GroupId, GroupRequest, MigrateError, MigrationId, PickStrategy, StateError,
};
use meshground_shared::GroupKind;
use meshground_tests::daemons::Idle;

use super::*;

/// Nothing has this id.
const NOTHING: u64 = u64::MAX;

async fn two_nodes() -> ClusterHarness {
    within("boot", ClusterHarness::with_config(2, ClusterConfig::default())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_and_migrations_that_cannot_be_had_are_refused_and_leave_the_daemon_where_it_is() {
    let cluster = two_nodes().await;
    let [here, there] = [0, 1].map(|index| cluster.nth(index).unwrap());
    let (runtime, nobody) = (here.daemon_runtime(), DaemonId(NOTHING));
    let echo = within("a start", runtime.spawn("echo", random_keypair(), "")).await.unwrap();
    let sdk = here.sdk();
    // Nothing that could make it anew is known.
    let ready_made = sdk.register_daemon(Box::new(Idle), random_keypair());
    let ready_made = within("a start", ready_made).await.unwrap();

    let state = |error| DaemonRuntimeError::Snapshot(error);
    let of_nobody = within("a refusal", runtime.snapshot(nobody)).await;
    assert_eq!(of_nobody.err(), Some(state(StateError::NotRunning(nobody))));
    let of_one_without = within("a refusal", runtime.snapshot(ready_made.id())).await;
    assert_eq!(of_one_without.err(), Some(state(StateError::None(ready_made.id()))));

    let refusals = [
        (nobody, there.node_id(), MigrateError::NotFound(nobody)),
        (echo, here.node_id(), MigrateError::SameNode(here.node_id())),
        (echo, NOBODY, MigrateError::Unreachable(NOBODY)),
        (ready_made.id(), there.node_id(), MigrateError::NotMovable(ready_made.id())),
    ];
    for (daemon, to, error) in refusals {
        let refused = within("a refusal", runtime.migrate(daemon, to)).await;
        assert_eq!(refused.err(), Some(DaemonRuntimeError::Migration(error)));
    }
    let begun = within("a refusal", runtime.begin_migration(nobody, there.node_id())).await;
    assert_eq!(begun.err(), Some(DaemonRuntimeError::NotFound(nobody)));
    let cancelled = within("a refusal", runtime.cancel_migration(MigrationId(NOTHING))).await;
    assert!(matches!(cancelled, Err(DaemonRuntimeError::Migration(_))), "{cancelled:?}");

    assert_eq!(runtime.migrations().await, Ok(Vec::new()));
    let still = runtime.daemons().await.unwrap().into_iter().map(|view| view.id).collect::<Vec<_>>();
    assert!(still.len() == 2 && still.contains(&echo) && still.contains(&ready_made.id()), "{still:?}");
    let delivered = within("a delivery", there.daemon_runtime().deliver(echo, "still", None)).await;
    assert_eq!(delivered.unwrap().replies, [b"still"]);
    within("shutdown", cluster.shutdown()).await.unwrap();
}

async fn group_refused(runtime: &DaemonRuntime, request: GroupRequest, error: GroupError) {
    let refused = within("a refusal", runtime.spawn_group(request)).await;
    assert_eq!(refused.err(), Some(DaemonRuntimeError::Group(error)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_make_no_sense_are_refused_and_the_others_stay_as_they_are() {
    let cluster = two_nodes().await;
    let runtime = cluster.nth(0).unwrap().daemon_runtime();
    let (_, echo) = bundled().find(|(kind, _)| *kind == "echo").expect("it is bundled");
    let seed = Some([7; 32]);
    let config = GroupConfig { count: 1, seed, ..GroupConfig::default() };
    let group = within("a group", cluster.spawn_replica_group(0, "echo", echo, config)).await.unwrap();
    let before = group.view().unwrap();

    let request = |kind, daemon: &str, count, seed: u8| GroupRequest {
        kind,
        daemon: daemon.to_owned(),
        args: String::new(),
        count,
        name: "of no use".to_owned(),
        seed: [seed; 32],
        parent: None,
        cause: None,
    };
    for count in [0, 65, u32::MAX] {
        group_refused(&runtime, request(GroupKind::Replica, "echo", count, 1), GroupError::BadCount(count))
            .await;
        let scaled = within("a refusal", group.scale_to(count)).await;
        assert_eq!(scaled, Err(DaemonRuntimeError::Group(GroupError::BadCount(count))));
    }
    let unknown = GroupError::KindNotFound("ehco".to_owned());
    group_refused(&runtime, request(GroupKind::Replica, "ehco", 1, 1), unknown).await;
    group_refused(&runtime, request(GroupKind::Replica, "echo", 1, 7), GroupError::SeedTaken(group.id()))
        .await;
    let orphan = GroupRequest { parent: Some(DaemonId(NOTHING)), ..request(GroupKind::Fork, "echo", 1, 1) };
    group_refused(&runtime, orphan, GroupError::ParentNotFound(DaemonId(NOTHING))).await;

    let nothing = GroupId(NOTHING);
    let unknown = Err(DaemonRuntimeError::Group(GroupError::NotFound(nothing)));
    assert_eq!(within("a refusal", runtime.scale_group(nothing, 1)).await, unknown);
    assert_eq!(within("a refusal", runtime.promote_group(nothing, None)).await, unknown);
    assert_eq!(within("a refusal", runtime.stop_group(nothing)).await, unknown);
    assert_eq!(runtime.pick_member(nothing, PickStrategy::RoundRobin).await, Ok(None));
    let promoted = within("a refusal", group.promote()).await;
    assert!(
        matches!(promoted, Err(DaemonRuntimeError::Group(GroupError::WrongKind(_)))),
        "nobody stands by: {promoted:?}"
    );

    assert_eq!(group.view(), Some(before));
    assert_eq!(cluster.snapshot().groups.len(), 1);
    within("shutdown", cluster.shutdown()).await.unwrap();
}
