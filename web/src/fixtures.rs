//! What several tests begin with.

use std::collections::BTreeMap;

use meshground_shared::{
    DaemonHealth, DaemonId, DaemonView, Lifecycle, Maintenance, NodeSnapshot, NodeState, PublicKey,
};

/// A member that runs, alone and with nothing on it.
pub(crate) fn member(index: u32) -> NodeSnapshot {
    NodeSnapshot {
        index,
        address: "127.0.0.1:4000".parse().unwrap(),
        public_key: PublicKey([0; 32]),
        state: NodeState::Running,
        started_us: 0,
        peers: BTreeMap::new(),
        faults: BTreeMap::new(),
        daemons: BTreeMap::new(),
        maintenance: Maintenance::Active,
        cordoned: false,
        frozen_until_us: None,
        avoided: Vec::new(),
        audit: Vec::new(),
    }
}

/// A daemon that runs and is well.
pub(crate) fn daemon(id: u64, name: &str) -> DaemonView {
    DaemonView {
        id: DaemonId(id),
        name: name.to_owned(),
        kind: Some(name.to_owned()),
        lifecycle: Lifecycle::Running,
        health: DaemonHealth::Healthy,
        saturation: 0,
        restarts: 0,
        generation: 1,
        member: None,
        processed: 0,
    }
}
