//! What the system above the transport costs: starting daemons, placing groups, moving daemons, commanding nodes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use meshground::{
    ClusterConfig,
    cluster::{ClusterHarness, ClusterNode},
    meshos::{random_keypair, wall_time},
};
use meshground_node::{
    DaemonError, DaemonEvent, DaemonOrder, GroupRequest, MeshDaemon, Outputs,
    admin::{AdminCommand, AdminVerifier, Nonce, OperatorKey, Operators},
};
use meshground_shared::{AdminVerb, Decision, GroupKind};

use crate::{
    measure::{Error, Figures},
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

/// The nodes of a cluster that is not about to move something between two of them.
const NODES: usize = 16;

pub(crate) fn topic() -> Topic {
    let own = |label: &str, what: String| Round {
        label: label.to_owned(),
        contenders: vec![Contender::own(MESHGROUND, format!("system {what}"))],
    };
    Topic {
        name: "system",
        title: "Daemons, groups, migrations and commands",
        text: "Over loopback, all nodes in one process. Daemons: all asked for at once, until each has dealt with its first \
            event. A group: until all its members run on as many of 16 nodes. A migration, between two nodes: until the \
            target runs the daemon with its whole state. A signed command to 16 nodes: until each has applied it and \
            said so.",
        columns: vec![Column { heading: "took", key: "took", unit: Unit::Time }],
        better: Better::Less,
        rounds: vec![
            own("50 daemons on each of 16 nodes", "daemons 50".to_owned()),
            own("a group of 3", "group 3".to_owned()),
            own("a group of 16", "group 16".to_owned()),
            own("migration of 1 KiB", format!("migration {}", 1 << 10)),
            own("migration of 400 KB", "migration 400000".to_owned()),
            own("migration of 1 MiB", format!("migration {}", 1 << 20)),
            own("migration of 64 MiB", format!("migration {}", 64 << 20)),
            own("a signed command", "command".to_owned()),
        ],
    }
}

/// So many daemons on each node.
pub(crate) async fn daemons(each: usize) -> Result<Figures, Error> {
    let cluster = ClusterHarness::new(NODES).await?;
    let nodes = cluster.nodes();
    let start = Instant::now();
    let spawns = nodes.iter().flat_map(|node| (0..each).map(move |_| spawn(node)));
    try_join_all(spawns).await?;
    let took = start.elapsed();
    cluster.shutdown().await?;
    Ok(vec![("took", took.as_secs_f64())])
}

async fn spawn(node: &ClusterNode) -> Result<(), Error> {
    node.daemon_runtime().spawn("counter", random_keypair(), "").await?;
    Ok(())
}

/// A group of so many.
pub(crate) async fn group(count: u32) -> Result<Figures, Error> {
    let cluster = ClusterHarness::new(NODES).await?;
    let node = cluster.nth(0).ok_or("there is a first node")?;
    until_offered(&node, "echo", NODES).await?;
    let request = GroupRequest {
        kind: GroupKind::Replica,
        daemon: "echo".to_owned(),
        args: String::new(),
        count,
        name: "bench".to_owned(),
        seed: [7; 32],
        parent: None,
        cause: None,
    };
    let start = Instant::now();
    node.daemon_runtime().spawn_group(request).await?;
    let took = start.elapsed();
    cluster.shutdown().await?;
    Ok(vec![("took", took.as_secs_f64())])
}

/// Moves a daemon with a state of so many bytes.
pub(crate) async fn migration(bytes: usize) -> Result<Figures, Error> {
    let cluster = ClusterHarness::new(2).await?;
    let (from, to) = (cluster.nth(0).ok_or("two nodes")?, cluster.nth(1).ok_or("two nodes")?);
    for node in [&from, &to] {
        let make = move |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> {
            Ok(Box::new(Ballast(vec![0x5a; bytes])))
        };
        node.daemon_runtime().register_factory("ballast", Arc::new(make)).await?;
    }
    let daemon = from.daemon_runtime().spawn("ballast", random_keypair(), "").await?;
    until_offered(&from, "ballast", 2).await?;
    let start = Instant::now();
    from.daemon_runtime().migrate(daemon, to.node_id()).await?;
    let took = start.elapsed();
    cluster.shutdown().await?;
    Ok(vec![("took", took.as_secs_f64())])
}

/// A signed command to all nodes.
pub(crate) async fn command() -> Result<Figures, Error> {
    let verifier = Some(AdminVerifier::allow_demo(Operators::demo()));
    let cluster =
        ClusterHarness::with_config(NODES, ClusterConfig { verifier, ..ClusterConfig::default() }).await?;
    let node = cluster.nth(0).ok_or("there is a first node")?;
    until_offered(&node, "echo", NODES).await?;
    let key = OperatorKey::demo(1).ok_or("there is a first operator")?;
    let verb = AdminVerb::Cordon { node: node.node_id() };
    let signed = AdminCommand::new(verb, wall_time(), Nonce([9; 16])).sign(&key);
    let start = Instant::now();
    let commanded = node.daemon_runtime().command(signed).await?;
    let took = start.elapsed();
    if commanded.decision != Decision::Applied {
        return Err(format!("{:?}", commanded.decision).into());
    }
    cluster.shutdown().await?;
    Ok(vec![("took", took.as_secs_f64())])
}

/// Waits until a node knows that so many make daemons of a kind.
async fn until_offered(node: &ClusterNode, kind: &str, nodes: usize) -> Result<(), Error> {
    while node.daemon_runtime().offering(kind).await?.len() < nodes {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Has nothing but a state.
struct Ballast(Vec<u8>);

impl MeshDaemon for Ballast {
    fn name(&self) -> String {
        "ballast".to_owned()
    }

    fn process(&mut self, _event: DaemonEvent, _outputs: &mut Outputs) -> Result<(), DaemonError> {
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        self.0 = state.to_vec();
        Ok(())
    }
}
