//! A node's part of the system, for tests of what it makes of what others say.

use std::sync::Arc;

use meshground_shared::{DaemonId, NodeId};

use super::{MeshOs, MeshOsConfig, SpawnRequest};
use crate::{
    config::NodeConfig,
    daemon::{DaemonError, DaemonEvent, DaemonOrder, EntityKeypair, MeshDaemon, Outputs},
    identity::Identity,
    node::Node,
    rpc::CallId,
    stream::StreamId,
    time::{Instant, Now, WallTime},
};

/// Answers nothing, and has an empty state.
struct Mute;

impl MeshDaemon for Mute {
    fn name(&self) -> String {
        "mute".to_owned()
    }

    fn process(&mut self, _: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), DaemonError> {
        Ok(())
    }
}

pub(super) fn at(seconds: u64) -> Now {
    Now {
        instant: Instant::from_micros(seconds * 1_000_000),
        wall: WallTime(1_700_000_000_000_000 + seconds * 1_000_000),
    }
}

/// A node that knows nobody, and can make daemons of the kind `mute`.
pub(super) fn alone() -> (MeshOs, Node) {
    let identity = Identity::from_seed([1; 32]);
    let node = Node::new(NodeConfig::new([42; 32]), identity, [2; 32], at(0)).expect("a sound configuration");
    let mut os = MeshOs::new(MeshOsConfig::default(), &node, [3; 32], at(0));
    let make = |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::new(Mute)) };
    os.register_factory(at(0), "mute", Arc::new(make));
    (os, node)
}

/// A node that knows nobody and runs one daemon, of the kind `mute`.
pub(super) fn with_a_daemon() -> (MeshOs, Node, DaemonId) {
    let (mut os, mut node) = alone();
    let keypair = EntityKeypair::from_seed([9; 32]);
    let daemon = keypair.origin_hash();
    let (kind, args) = ("mute".to_owned(), String::new());
    os.spawn(at(0), &mut node, SpawnRequest { keypair, kind, args, state: None, cause: None })
        .expect("nothing else runs");
    work_off(&mut os, &mut node);
    (os, node, daemon)
}

/// Has daemons do what they have been given.
pub(super) fn work_off(os: &mut MeshOs, node: &mut Node) {
    while let Some(job) = os.poll_job() {
        os.handle_job(at(0), node, job.run());
    }
}

/// A call of `peer`, as none that there is.
pub(super) fn call_of(peer: NodeId, number: u64) -> CallId {
    CallId { peer, stream: StreamId { connection: 1, wire: number } }
}
