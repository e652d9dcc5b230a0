//! Signed commands, handed to the nodes of a cluster.

use meshground::{
    DaemonRuntime, DaemonRuntimeError,
    meshos::{random_keypair, wall_time},
};
use meshground_node::{
    MeshOsConfig, SpawnError,
    admin::{
        AdminCommand, AdminVerifier, AuditFilter, IceProposal, Nonce, OperatorKey, Operators, SignedCommand,
    },
};
use meshground_shared::{AdminVerb, Decision, IceVerb, Rejection, Verb};

use super::*;

async fn command(runtime: &DaemonRuntime, command: SignedCommand) -> Decision {
    within("a decision", runtime.command(command)).await.unwrap().decision
}

/// A break-glass command by the first so many operators, who have looked at what it does.
async fn broken(runtime: &DaemonRuntime, verb: IceVerb, nonce: u8, operators: u8) -> SignedCommand {
    let radius = within("a look", runtime.simulate(verb.clone())).await.unwrap().expect("it is possible");
    let proposal = IceProposal::new(verb).simulated(radius);
    let unsigned = proposal.unsigned(wall_time(), Nonce([nonce; 16]));
    (1..=operators).fold(unsigned, |signed, number| signed.cosign(&OperatorKey::demo(number).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_threads_through_and_two_operators_can_break_glass() {
    let verifier = Some(AdminVerifier::allow_demo(Operators::demo()));
    let cluster = boot_with(3, ClusterConfig { verifier, ..ClusterConfig::default() }).await;
    let nodes = cluster.nodes();
    let runtime = nodes[0].daemon_runtime();
    let cordon = |nonce| {
        AdminCommand::new(AdminVerb::Cordon { node: nodes[1].node_id() }, wall_time(), Nonce([nonce; 16]))
    };
    let refused = command(&runtime, cordon(1).unsigned()).await;
    assert_eq!(refused, Decision::Rejected(Rejection::NotAuthorized));
    assert_eq!(command(&runtime, cordon(2).sign(&OperatorKey::demo(1).unwrap())).await, Decision::Applied);

    let freeze = IceVerb::FreezeCluster { ttl_ms: 600_000 };
    let alone = broken(&runtime, freeze.clone(), 3, 1).await;
    assert_eq!(command(&runtime, alone).await, Decision::Rejected(Rejection::InsufficientSignatures));
    let both = broken(&runtime, freeze, 4, 2).await;
    assert_eq!(command(&runtime, both).await, Decision::Applied);
    let other = nodes[2].daemon_runtime();
    let spawned = within("a spawn", other.spawn("echo", random_keypair(), "")).await;
    assert!(matches!(spawned, Err(DaemonRuntimeError::Spawn(SpawnError::Closed(_)))), "{spawned:?}");
    let thaw = broken(&other, IceVerb::ThawCluster, 5, 2).await;
    assert_eq!(command(&other, thaw).await, Decision::Applied);
    within("a spawn", other.spawn("echo", random_keypair(), "")).await.unwrap();

    let mut trails = Vec::new();
    for node in &nodes {
        let trail = within("a trail", node.daemon_runtime().audit(AuditFilter::default())).await.unwrap();
        trails.push(trail.into_iter().map(|entry| (entry.nonce, entry.decision)).collect::<BTreeMap<_, _>>());
    }
    assert!(trails.iter().all(|trail| trail.len() == 5 && trail == &trails[0]), "{trails:?}");
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_is_followed_without_a_cluster_until_its_node_goes_down() {
    let build =
        || MeshBuilder::new(([127, 0, 0, 1], 0).into(), [3; 32]).meshos(MeshOsConfig::default()).build();
    let [mesh, other] = [build().await.unwrap(), build().await.unwrap()];
    within("a session", other.connect(mesh.local_addr())).await.unwrap();
    let [runtime, others] = [&mesh, &other].map(|mesh| mesh.os().unwrap().daemon_runtime());
    let known = async {
        while !runtime.system().sees_healthy(other.node_id()) || !others.system().sees_healthy(mesh.node_id())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("each other's view", known).await;
    let follower = others.clone();
    let follow = |seq| {
        let follower = follower.clone();
        tokio::spawn(async move { follower.audit_after(seq).await })
    };
    let mut awaited = follow(0);
    let verbs = [AdminVerb::Cordon { node: mesh.node_id() }, AdminVerb::Uncordon { node: mesh.node_id() }];
    for (nonce, verb) in (1..).zip(verbs) {
        assert!(!awaited.is_finished(), "there is nothing yet");
        let signed = AdminCommand::new(verb.clone(), wall_time(), Nonce([nonce; 16])).unsigned();
        assert_eq!(command(&runtime, signed).await, Decision::Applied);
        let news = within("what was decided", awaited).await.unwrap().unwrap();
        let [entry] = &news[..] else { panic!("{news:?}") };
        assert_eq!((entry.seq, &entry.verb), (u64::from(nonce), &Verb::Admin(verb)));
        awaited = follow(entry.seq);
    }
    let all = within("what was decided", others.audit_after(0)).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    within("the end", other.shutdown()).await;
    let ended = within("the last answer", awaited).await.unwrap();
    assert_eq!(ended, Err(DaemonRuntimeError::ShuttingDown));
    assert_eq!(others.audit_after(0).await, Err(DaemonRuntimeError::ShuttingDown));
    within("the end", mesh.shutdown()).await;
}
