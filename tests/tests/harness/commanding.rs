//! Signed commands, and members that were not there when they were given.

use meshground::meshos::{random_keypair, wall_time};
use meshground_node::admin::{
    AdminCommand, AdminVerifier, AuditFilter, IceProposal, Nonce, OperatorKey, Operators, SignedCommand,
};
use meshground_shared::{AdminVerb, Decision, IceVerb, Rejection};

use super::*;

fn demo(number: u8) -> OperatorKey {
    OperatorKey::demo(number).unwrap()
}

async fn command(node: &ClusterNode, command: SignedCommand) -> Decision {
    within("a decision", node.daemon_runtime().command(command)).await.unwrap().decision
}

/// Freezes a cluster for two minutes. Everybody may have to hear of the newest member first.
async fn freeze(node: &ClusterNode) {
    let verb = IceVerb::FreezeCluster { ttl_ms: 120_000 };
    let radius = node.daemon_runtime().simulate(verb.clone()).await.unwrap().expect("possible");
    let freeze = IceProposal::new(verb).simulated(radius).sign(wall_time(), Nonce([1; 16]), &demo(1));
    assert_eq!(command(node, freeze.cosign(&demo(2))).await, Decision::Applied);
}

async fn is_frozen(cluster: &ClusterHarness, id: NodeId) {
    let frozen = |snapshot: &Snapshot| snapshot.nodes[&id].frozen_until_us.is_some();
    until(cluster, "the freeze of a newcomer", frozen).await;
}

/// A routine that waits for the thaw is refused by whoever is asked, and nothing is started there either.
async fn refuses_what_a_freeze_refuses(node: &ClusterNode, about: NodeId, nonce: u8) {
    let drain = AdminCommand::new(AdminVerb::Drain { node: about }, wall_time(), Nonce([nonce; 16]));
    let decision = command(node, drain.sign(&demo(1))).await;
    assert_eq!(decision, Decision::Rejected(Rejection::FreezeInEffect));
    let refused = node.daemon_runtime().spawn("echo", random_keypair(), "").await.unwrap_err();
    assert!(refused.to_string().contains("frozen"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_or_starts_again_during_a_freeze_has_the_trail_and_is_frozen() {
    let config = ClusterConfig {
        verifier: Some(AdminVerifier::allow_demo(Operators::demo())),
        ..ClusterConfig::default()
    };
    let cluster = boot_with(3, config).await;
    let first = cluster.nth(0).unwrap();
    freeze(&first).await;

    let joined = within("a newcomer", cluster.add_node()).await.unwrap();
    is_frozen(&cluster, joined.node_id()).await;
    refuses_what_a_freeze_refuses(&joined, first.node_id(), 2).await;

    let crashed = cluster.nth(1).unwrap().node_id();
    within("a crash", cluster.crash_node(crashed)).await.unwrap();
    let again = within("a restart", cluster.restart_node(crashed)).await.unwrap();
    assert_eq!(again.node_id(), crashed);
    is_frozen(&cluster, crashed).await;
    refuses_what_a_freeze_refuses(&again, joined.node_id(), 3).await;

    let nonces = |snapshot: &Snapshot, id: &NodeId| {
        let entries = snapshot.nodes[id].audit.iter();
        entries.map(|entry| (entry.nonce.clone(), entry.decision)).collect::<BTreeMap<_, _>>()
    };
    let all_alike = |snapshot: &Snapshot| {
        snapshot.nodes.keys().all(|id| nonces(snapshot, id).len() == 3)
            && snapshot.nodes.keys().all(|id| nonces(snapshot, id) == nonces(snapshot, &crashed))
    };
    until(&cluster, "one trail", all_alike).await;
    let own = again.daemon_runtime().audit(AuditFilter::default()).await.unwrap();
    assert_eq!(own.len(), 3);
    cluster.shutdown().await.unwrap();
}
