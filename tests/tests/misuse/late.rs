//! What is asked with arguments of no use, or of nodes and daemons that are gone: refused by name, or nothing comes of it.

use std::collections::BTreeMap;

use meshground::{
    DaemonRuntimeError,
    cluster::{GroupConfig, RestartIdentity},
    daemons::bundled,
    meshos::random_keypair,
};
use meshground_node::{
    DaemonError, DaemonEvent, DaemonId, DaemonState, Dispatch, GroupId, Health, HealthProbe, InventoryProbe,
    LocalityProbe, LogLevel, MAX_ARGS, MeshDaemon, Outputs, PeerView, Resources, SpawnError,
    admin::{AdminCommand, AuditFilter, Nonce, OperatorKey},
};
use meshground_shared::{AdminVerb, Decision, IceVerb, MigrationId};

use super::*;

/// Nothing has this id.
const NOTHING: u64 = u64::MAX;

/// Was not made by a factory, and says of everything that it is as bad as can be said.
struct Absurd;

impl MeshDaemon for Absurd {
    fn name(&self) -> String {
        "absurd".repeat(1_000)
    }

    fn process(&mut self, _: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        Ok(())
    }

    fn saturation(&self) -> u16 {
        u16::MAX
    }
}

impl LocalityProbe for Absurd {
    fn round_trips(&mut self, _: &[PeerView]) -> BTreeMap<NodeId, Duration> {
        BTreeMap::from([(NOBODY, Duration::MAX)])
    }
}

impl HealthProbe for Absurd {
    fn verdicts(&mut self, _: &[PeerView]) -> BTreeMap<NodeId, Health> {
        BTreeMap::from([(NOBODY, Health::Unreachable)])
    }
}

impl InventoryProbe for Absurd {
    fn resources(&mut self) -> Resources {
        Resources { cpu: u16::MAX, memory: u16::MAX }
    }
}

fn cordon_nobody(nonce: u8) -> meshground_node::admin::SignedCommand {
    let verb = AdminVerb::Cordon { node: NOBODY };
    let key = OperatorKey::demo(1).expect("there are some");
    AdminCommand::new(verb, meshground::meshos::wall_time(), Nonce([nonce; 16])).sign(&key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_or_shown_as_it_is_said_and_does_no_harm() {
    let cluster = within("boot", ClusterHarness::with_config(2, ClusterConfig::default())).await.unwrap();
    let [here, there] = [0, 1].map(|index| cluster.nth(index).unwrap());
    let (runtime, sdk) = (here.daemon_runtime(), here.sdk());

    let of_nobody = within("a decision", runtime.command(cordon_nobody(1))).await.unwrap();
    assert!(matches!(of_nobody.decision, Decision::Rejected(_)), "{:?}", of_nobody.decision);
    for verb in [
        IceVerb::ForceEvictReplica { group: GroupId(NOTHING), index: u32::MAX },
        IceVerb::ForceRestartDaemon { daemon: DaemonId(NOTHING) },
        IceVerb::ForceCutover { migration: MigrationId(NOTHING) },
        IceVerb::KillMigration { migration: MigrationId(NOTHING) },
        IceVerb::FreezeCluster { ttl_ms: 0 },
        IceVerb::FreezeCluster { ttl_ms: u64::MAX },
    ] {
        assert_eq!(within("a look", runtime.simulate(verb.clone())).await, Ok(None), "{verb:?}");
    }
    let all = within("the trail", runtime.audit(AuditFilter::default())).await.unwrap();
    assert_eq!(all.len(), 1);
    let backwards =
        AuditFilter { from: Some(WallTime(u64::MAX)), before: Some(WallTime(0)), ..Default::default() };
    for filter in [backwards, AuditFilter { kind: Some("no such verb".to_owned()), ..Default::default() }] {
        assert_eq!(within("the trail", runtime.audit(filter)).await, Ok(Vec::new()));
    }
    assert_eq!(within("no lineage", runtime.lineage(GroupId(NOTHING), u32::MAX)).await, Ok(None));
    assert_eq!(within("nobody", runtime.offering(&"x".repeat(1 << 20))).await, Ok(Vec::new()));

    let keys = random_keypair();
    let id = keys.origin_hash();
    let long = "x".repeat(MAX_ARGS + 1);
    let refused = within("a refusal", runtime.spawn("echo", keys.clone(), &long)).await;
    assert_eq!(refused, Err(DaemonRuntimeError::Spawn(SpawnError::TooLong)));
    let of_another = DaemonState { origin: DaemonId(NOTHING), bytes: Vec::new() };
    let refused =
        within("a refusal", runtime.spawn_from_snapshot("echo", keys.clone(), "", of_another)).await;
    let found = DaemonId(NOTHING);
    assert_eq!(refused, Err(DaemonRuntimeError::SnapshotIdentityMismatch { expected: id, found }));
    let garbage = DaemonState { origin: id, bytes: vec![0xff; 3] };
    let refused = within("a refusal", runtime.spawn_from_snapshot("counter", keys, "", garbage)).await;
    assert!(matches!(refused, Err(DaemonRuntimeError::Spawn(SpawnError::Failed(_)))), "{refused:?}");
    assert!(runtime.daemons().await.unwrap().is_empty());

    let absurd = within("a start", sdk.register_daemon(Box::new(Absurd), random_keypair())).await.unwrap();
    absurd.publish_log(LogLevel::Info, "x".repeat(1 << 20)).await.unwrap();
    absurd.publish_capabilities(vec!["x".repeat(1 << 16); 1_000]).await.unwrap();
    absurd.publish_capabilities(Vec::<String>::new()).await.unwrap();
    sdk.install_inventory_probe(Box::new(Absurd)).await.unwrap();
    sdk.install_locality_probe(Box::new(Absurd)).await.unwrap();
    sdk.install_health_probe(Box::new(Absurd)).await.unwrap();
    let shows = async {
        while cluster.views()[&0].resources.cpu != u16::MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("what it says", shows).await;
    let view = cluster.views()[&0].clone();
    assert!(view.peers.contains_key(&there.node_id()) && !view.peers.contains_key(&NOBODY));
    assert!(view.log.back().is_some_and(|line| line.text.len() == 1_024), "the line is cut");
    sdk.install_mesh_probes().await.unwrap();
    within("convergence", cluster.converged()).await.unwrap();

    let (_, echo) = bundled().find(|(kind, _)| *kind == "echo").expect("it is bundled");
    let one = || GroupConfig { count: 1, ..GroupConfig::default() };
    let nobody = DaemonId(NOTHING);
    for anchor in [2, usize::MAX] {
        assert_refused(cluster.spawn_standby_group(anchor, "echo", Arc::clone(&echo), one()).await.map(drop));
        let forks = cluster.spawn_fork_group(anchor, "echo", Arc::clone(&echo), nobody, one()).await;
        assert_refused(forks.map(drop));
    }
    let none = GroupConfig { count: 0, ..GroupConfig::default() };
    let standby = cluster.spawn_standby_group(0, "echo", echo, none).await.map(drop);
    assert!(matches!(standby, Err(ClusterError::Spawn { node_index: 0, .. })), "{standby:?}");
    for identity in [RestartIdentity::Same, RestartIdentity::Fresh] {
        assert_refused(cluster.restart_node_as(NOBODY, identity).await);
    }
    assert_eq!(cluster.len(), 2);
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_too_late_is_told_so() {
    let cluster = within("boot", ClusterHarness::with_config(2, ClusterConfig::default())).await.unwrap();
    let here = cluster.nth(0).unwrap();
    let (id, runtime, sdk) = (here.node_id(), here.daemon_runtime(), here.sdk());
    let handle = within("a start", sdk.register_daemon(Box::new(Absurd), random_keypair())).await.unwrap();
    let stopped = within("the end", runtime.stop(handle.id(), Duration::from_secs(5))).await;
    assert!(stopped.is_ok(), "{stopped:?}");
    let gone = Err(DaemonRuntimeError::NotFound(handle.id()));
    assert_eq!(handle.publish_log(LogLevel::Info, "late").await, gone);
    assert_eq!(handle.publish_capabilities(["late"]).await, gone);

    within("shutdown", cluster.shutdown()).await.unwrap();
    let late = DaemonRuntimeError::ShuttingDown;
    assert_eq!(handle.publish_log(LogLevel::Info, "late").await, Err(late.clone()));
    assert_eq!(handle.publish_capabilities(["late"]).await, Err(late.clone()));
    assert_eq!(sdk.install_inventory_probe(Box::new(Absurd)).await, Err(late.clone()));
    assert_eq!(sdk.install_locality_probe(Box::new(Absurd)).await, Err(late.clone()));
    assert_eq!(sdk.install_health_probe(Box::new(Absurd)).await, Err(late.clone()));
    assert_eq!(sdk.install_mesh_probes().await, Err(late.clone()));
    assert_eq!(runtime.set_dispatch(Dispatch::Execute).await, Err(late.clone()));
    assert_eq!(runtime.command(cordon_nobody(2)).await.err(), Some(late.clone()));
    assert_eq!(runtime.simulate(IceVerb::ThawCluster).await, Err(late.clone()));
    assert_eq!(runtime.audit(AuditFilter::default()).await, Err(late.clone()));
    assert_eq!(within("no more comes", runtime.audit_after(0)).await, Err(late.clone()));
    assert_eq!(runtime.lineage(GroupId(NOTHING), 0).await.err(), Some(late.clone()));
    assert_eq!(runtime.offering("echo").await, Err(late.clone()));
    let state = DaemonState { origin: DaemonId(NOTHING), bytes: Vec::new() };
    let keys = random_keypair();
    let state = DaemonState { origin: keys.origin_hash(), ..state };
    assert_eq!(runtime.spawn_from_snapshot("counter", keys, "", state).await, Err(late));

    let down = Some(ClusterError::Shutdown);
    let never = |_: &meshground::ClusterNode| -> Box<dyn MeshDaemon> { panic!("nothing is to be made") };
    assert_eq!(cluster.spawn_where(never, |_, _| true).await.err(), down);
    assert_eq!(cluster.spawn_per_node(never).await.err(), down);
    let (_, echo) = bundled().find(|(kind, _)| *kind == "echo").expect("it is bundled");
    let standby = cluster.spawn_standby_group(0, "echo", Arc::clone(&echo), GroupConfig::default()).await;
    assert_eq!(standby.err(), down);
    let forks = cluster.spawn_fork_group(0, "echo", echo, DaemonId(NOTHING), GroupConfig::default()).await;
    assert_eq!(forks.err(), down);
    assert_eq!(cluster.restart_node_as(id, RestartIdentity::Fresh).await.err(), down);
    assert_eq!(cluster.nodes().len(), 0);
}
