//! Nodes as they are built: by seeds, names, times and factories of no use, and where there is nothing to run on.

use meshground::{DaemonRuntimeError, RuntimeState, daemons::bundled, meshos::random_keypair};
use meshground_node::{
    Capabilities, DaemonId, GroupRequest, LoggingDispatcher, MAX_NAME, MaintenanceConfig, MeshOsConfig,
    admin::{AdminVerifier, Operators},
};
use meshground_node::{Dispatch, PickStrategy};
use meshground_shared::{CommandId, GroupKind};
use meshground_tests::daemons::Idle;

use super::*;

fn builder() -> MeshBuilder {
    MeshBuilder::new(here(), PSK)
}

#[tokio::test]
async fn nodes_of_any_seed_come_to_a_session_unless_they_are_one_and_the_same() {
    let seeded = |seed| builder().identity(Identity::from_seed([seed; 32])).rng_seed([seed; 32]);
    let [none, most] = [0, u8::MAX].map(|seed| seeded(seed).build());
    let (none, most) = (none.await.unwrap(), most.await.unwrap());
    assert_eq!(within("a session", none.connect(most.local_addr())).await, Ok(most.node_id()));

    let double = seeded(0).build().await.unwrap();
    assert_eq!((double.node_id(), double.public_key()), (none.node_id(), none.public_key()));
    let refused = within("a refusal", double.connect(none.local_addr())).await.unwrap_err();
    assert!(matches!(refused, MeshError::Dial { error: DialError::Itself, .. }), "{refused}");
    for bytes in [0, 511, 65_508, usize::MAX] {
        let refused = builder().max_datagram(bytes).build().await.err();
        assert_eq!(refused, Some(MeshError::Config(ConfigError::MaxDatagram(bytes))));
    }
}

#[tokio::test]
async fn what_a_node_announces_may_be_nothing_or_all_there_is_room_for() {
    let mut full = Capabilities::new();
    let mut number = 0;
    while full.add_tag(format!("{number:064}")).is_ok() {
        number += 1;
    }
    while full.set_metadata(format!("{number:064}"), "v".repeat(256)).is_ok() {
        number += 1;
    }
    let listener = mesh().await;
    for announced in [Capabilities::new(), full] {
        let node = builder().capabilities(announced.clone()).build().await.unwrap();
        within("a session", node.connect(listener.local_addr())).await.unwrap();
        let heard = async {
            while listener.capabilities_of(node.node_id()).await.unwrap().as_ref() != Some(&announced) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within("what it announces", heard).await;
    }
}

fn request() -> GroupRequest {
    GroupRequest {
        kind: GroupKind::Replica,
        daemon: "echo".to_owned(),
        args: String::new(),
        count: 1,
        name: "one".to_owned(),
        seed: [7; 32],
        parent: None,
        cause: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_times_are_nothing_or_next_to_it_or_for_ever_runs_daemons_and_ends() {
    let (_, echo) = bundled().find(|(kind, _)| *kind == "echo").expect("it is bundled");
    for (time, version) in [(Duration::ZERO, String::new()), (Duration::MAX, "v".repeat(1 << 20))] {
        // None at all of these is refused (`harness/errors.rs`).
        let some = time.max(Duration::from_millis(1));
        let config = MeshOsConfig {
            tick_interval: some,
            maintenance: MaintenanceConfig { drain: some, ramp: time },
            verifier: AdminVerifier::allow_demo(Operators::demo()),
            grace: time,
            patience: some,
            group_budget: some,
            version,
            ..MeshOsConfig::default()
        };
        let node = builder().meshos(config).factory("", Arc::clone(&echo)).factory("echo", Arc::clone(&echo));
        let node = node.factory("echo", Idle::factory()).factory("x".repeat(MAX_NAME + 1), Idle::factory());
        let node = node.build().await.unwrap();
        let sdk = node.os().expect("it was built for that");
        let runtime = sdk.daemon_runtime().caused_by(CommandId(u64::MAX));
        assert_eq!(runtime.state(), RuntimeState::Registering);
        let waits = DaemonRuntimeError::NotReady;
        assert_eq!(runtime.spawn("echo", random_keypair(), "").await, Err(waits.clone()));
        assert_eq!(runtime.deliver(DaemonId(1), "", None).await, Err(waits.clone()));
        assert_eq!(runtime.spawn_group(request()).await, Err(waits.clone()));
        let early = sdk.register_daemon(Box::new(Idle), random_keypair()).await;
        assert_eq!(early.err(), Some(waits));
        for _ in 0..2 {
            runtime.start().expect("once is as good as twice");
        }
        let kinds = runtime.kinds().await.unwrap();
        assert_eq!(kinds.iter().map(|(kind, _)| &**kind).collect::<Vec<_>>(), ["echo"]);

        let daemon = within("a start", runtime.spawn("echo", random_keypair(), "")).await.unwrap();
        let patience = Some(Duration::MAX);
        let delivered = within("a delivery", runtime.deliver(daemon, "the first of them", patience)).await;
        assert_eq!(delivered.unwrap().replies, [b"the first of them"], "the first of a kind counts");
        let hasty = runtime.deliver(daemon, "no time", Some(Duration::ZERO));
        let _ = within("an answer, whichever", hasty).await;
        let founded = within("an answer, whichever", runtime.spawn_group(request())).await;
        if let Ok(group) = founded {
            within("its end", runtime.stop_group(group)).await.unwrap();
        }
        runtime.set_dispatch(Dispatch::Log(LoggingDispatcher::new(0))).await.unwrap();
        let picked =
            within("an answer", runtime.pick_member(meshground_node::GroupId(1), PickStrategy::Random));
        assert_eq!(picked.await, Ok(None));
        let log = within("what was decided", runtime.logged()).await.unwrap().expect("it logs");
        assert!(log.records().is_empty() && log.actions().next().is_none(), "there is no room");
        assert_eq!(sdk.runtime().snapshot().node, node.node_id());
        let version = runtime.system().version.len();
        assert!(version <= 32, "{version} bytes");

        // The end takes as long as a daemon may take, which one without anything to do does not.
        within("the end of all", runtime.shutdown()).await;
        within("no second end", sdk.shutdown()).await;
        assert_eq!(runtime.state(), RuntimeState::ShuttingDown);
        let late = Some(DaemonRuntimeError::ShuttingDown);
        assert_eq!(runtime.start().err(), late);
        assert_eq!(runtime.spawn("echo", random_keypair(), "").await.err(), late);
        within("shutdown", node.shutdown()).await;
        assert_eq!(runtime.logged().await.err(), late);
        assert_eq!(node.os().expect("it still says so").daemon_runtime().logged().await.err(), late);
        assert_eq!(runtime.system().node, node.node_id(), "the last there was");
        assert_eq!(sdk.runtime().snapshot().node, node.node_id());
    }
    let without = mesh().await;
    assert!(without.os().is_none(), "it was not built for that");
    within("shutdown", without.shutdown()).await;
    assert!(without.os().is_none());
}

#[test]
fn a_runtime_without_io_or_time_is_told_from_one_with_both() {
    let lacking: [fn() -> tokio::runtime::Builder; 3] = [
        tokio::runtime::Builder::new_current_thread,
        || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time();
            builder
        },
        || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_io();
            builder
        },
    ];
    for lacking in lacking {
        let built = lacking().build().unwrap().block_on(builder().build());
        assert_eq!(built.err(), Some(MeshError::NoRuntime));
    }
    let both = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let built = both.block_on(builder().build());
    assert!(built.is_ok(), "{built:?}");
}

#[test]
fn daemons_and_factories_are_handed_over_from_outside_the_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(builder().meshos(MeshOsConfig::default()).build()).unwrap();
    let sdk = node.os().expect("it was built for that");
    let daemons = sdk.daemon_runtime();
    daemons.start().unwrap();
    outside(daemons.register_factory("idle", Idle::factory())).unwrap();
    outside(daemons.spawn("idle", random_keypair(), "")).unwrap();
    let handle = outside(sdk.register_daemon(Box::new(Idle), random_keypair())).unwrap();
    assert_eq!(handle.node(), node.node_id());
    assert_eq!(outside(daemons.daemons()).map(|daemons| daemons.len()), Ok(2));
    outside(node.shutdown());
    drop(runtime);
    assert_eq!(outside(daemons.daemons()), Err(DaemonRuntimeError::ShuttingDown));
    drop(handle);
}
