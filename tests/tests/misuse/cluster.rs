//! Links, topologies, factories and ends of daemons: figures of no use, and what is asked when all is over.

use meshground::{DaemonRuntimeError, cluster::GroupConfig, daemons::bundled, meshos::random_keypair};
use meshground_node::{MAX_NAME, PickStrategy};
use meshground_shared::{Topology, fault::MAX_DELAY_US};

use super::*;

fn fault(change: impl FnOnce(&mut LinkFault)) -> LinkFault {
    let mut fault = LinkFault::default();
    change(&mut fault);
    fault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_topologies_and_factories_that_cannot_be_are_refused_and_nothing_changes() {
    let cluster = within("boot", ClusterHarness::with_config(3, ClusterConfig::default())).await.unwrap();
    let [one, two] = [0, 1].map(|index| cluster.nth(index).unwrap());
    let (a, b) = (one.node_id(), two.node_id());
    for wrong in [
        fault(|fault| fault.loss = f64::NAN),
        fault(|fault| fault.loss = -f64::MIN_POSITIVE),
        fault(|fault| fault.duplication = 1.1),
        fault(|fault| fault.corruption = f64::INFINITY),
        fault(|fault| fault.delay_us = u64::MAX),
        fault(|fault| (fault.delay_us, fault.jitter_us) = (MAX_DELAY_US, u64::MAX)),
    ] {
        assert_refused(cluster.set_link_fault(a, b, wrong));
    }
    assert!(cluster.faults().is_empty());
    cluster.clear_faults().expect("there is none, and none is left");
    cluster.partition(&[], &[]).expect("nobody is cut off from nobody");
    assert!(cluster.faults().is_empty());

    let before = cluster.topology();
    for wrong in [
        Topology::Tree { arity: 0 },
        Topology::RandomRegular { degree: 0, seed: 0 },
        Topology::RandomRegular { degree: 1, seed: u32::MAX },
    ] {
        assert_refused(cluster.set_topology(wrong).await);
        assert_eq!(cluster.topology(), before);
    }
    for huge in [Topology::Tree { arity: u32::MAX }, Topology::RandomRegular { degree: u32::MAX, seed: 1 }] {
        within("a topology of more links than there are", cluster.set_topology(huge)).await.unwrap();
    }
    within("convergence", cluster.converged()).await.unwrap();

    let runtime = one.daemon_runtime();
    let (_, echo) = bundled().find(|(kind, _)| *kind == "echo").expect("it is bundled");
    let long = "x".repeat(MAX_NAME + 1);
    for name in ["", &*long] {
        let refused = runtime.register_factory(name, Arc::clone(&echo)).await;
        assert_eq!(refused, Err(DaemonRuntimeError::KindName));
    }
    let kinds = runtime.kinds().await.unwrap();
    let again = runtime.register_factory("echo", Arc::clone(&echo)).await;
    assert_eq!(again, Err(DaemonRuntimeError::FactoryAlreadyRegistered("echo".to_owned())));
    assert_eq!(runtime.kinds().await.unwrap(), kinds);
    runtime.register_factory(&long[1..], echo).await.expect("a name may be as long as that");
    within("shutdown", cluster.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_cluster_that_is_down_is_refused_or_shown_to_be_empty() {
    let cluster = within("boot", ClusterHarness::with_config(2, ClusterConfig::default())).await.unwrap();
    let here = cluster.nth(0).unwrap();
    let (_, echo) = bundled().find(|(kind, _)| *kind == "echo").expect("it is bundled");
    let config = GroupConfig { count: 1, ..GroupConfig::default() };
    let founded = cluster.spawn_replica_group(0, "echo", Arc::clone(&echo), config.clone());
    let group = within("a group", founded).await.unwrap();
    assert!(group.lineage(u32::MAX).await.unwrap().is_none());
    let runtime = here.daemon_runtime();
    let daemon = within("a start", runtime.spawn("echo", random_keypair(), "")).await.unwrap();
    let mut inbox = here.mesh().messages();
    assert_eq!(inbox.recv_many(&mut Vec::new(), 0).await, 0, "none is asked for");

    within("shutdown", cluster.shutdown()).await.unwrap();
    let down = Some(ClusterError::Shutdown);
    assert_eq!(cluster.set_topology(Topology::Ring).await.err(), down);
    assert_eq!(cluster.clear_faults().err(), down);
    let (a, fault) = (here.node_id(), LinkFault::default());
    assert_eq!(cluster.set_link_fault(a, a, fault).err(), down);
    assert_eq!(cluster.spawn_replica_group(0, "echo", Arc::clone(&echo), config).await.err(), down);
    assert!(cluster.links().await.is_empty() && cluster.traffic().await.is_empty());
    assert!(cluster.daemon_loads().await.is_empty() && cluster.faults().is_empty());
    assert!(cluster.member_state(NOBODY).is_none());
    within("a second shutdown", cluster.shutdown()).await.unwrap();

    let late = DaemonRuntimeError::ShuttingDown;
    assert_eq!(runtime.register_factory("late", echo).await, Err(late.clone()));
    assert_eq!(runtime.kinds().await.err(), Some(late.clone()));
    assert_eq!(runtime.start(), Err(late.clone()));
    assert_eq!(runtime.snapshot(daemon).await.err(), Some(late.clone()));
    assert_eq!(runtime.deliver(daemon, "late", Some(Duration::ZERO)).await.err(), Some(late.clone()));
    assert_eq!(runtime.migrate(daemon, NOBODY).await.err(), Some(late.clone()));
    assert_eq!(runtime.stop(daemon, Duration::MAX).await.err(), Some(late.clone()));
    assert_eq!(runtime.migrations().await.err(), Some(late.clone()));
    assert_eq!(runtime.daemons().await.err(), Some(late.clone()));
    assert_eq!(runtime.spawn("echo", random_keypair(), "").await.err(), Some(late.clone()));
    assert_eq!(group.pick(PickStrategy::RoundRobin).await, Err(late.clone()));
    assert_eq!(group.lineage(0).await.err(), Some(late.clone()));
    assert_eq!(group.scale_to(2).await, Err(late.clone()));
    assert_eq!(group.promote().await, Err(late.clone()));
    assert_eq!(group.stop().await, Err(late));
    let mut messages = Vec::new();
    assert_eq!(within("the end", inbox.recv_many(&mut messages, usize::MAX)).await, 0);
}
