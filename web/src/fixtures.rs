//! What several tests begin with.

use std::collections::BTreeMap;

use meshground_shared::{Maintenance, NodeSnapshot, NodeState, PublicKey};

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
        audit: Vec::new(),
    }
}
