//! What several tests begin with.

use std::collections::BTreeMap;

use meshground_shared::{
    DaemonHealth, DaemonId, DaemonView, Epoch, Health, Lifecycle, Maintenance, NodeId, NodeSnapshot,
    NodeState, NodeView, PeerSeen, PublicKey, ResourcesView,
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

/// What a node sees that knows nobody and has nothing on it.
pub(crate) fn view(node: NodeId) -> NodeView {
    NodeView {
        node,
        epoch: Epoch(7),
        version: "0.1.0".to_owned(),
        generation: 1,
        maintenance: Maintenance::Active,
        cordoned: false,
        drain_remaining_ms: None,
        freeze_remaining_ms: None,
        resources: ResourcesView::default(),
        load: 0,
        tags: Vec::new(),
        daemons: BTreeMap::new(),
        peers: BTreeMap::new(),
        groups: Vec::new(),
        migrations: Vec::new(),
        avoided: Vec::new(),
        actions: Vec::new(),
        decisions_lost: 0,
        failures: Vec::new(),
        log: Vec::new(),
        audit: Vec::new(),
        commands_forgotten: 0,
        probe_panics: 0,
    }
}

/// A peer as another node sees it, in service and with nothing on it.
pub(crate) fn seen(health: Option<Health>) -> PeerSeen {
    PeerSeen {
        health,
        rtt_us: Some(100),
        version: "0.1.0".to_owned(),
        maintenance: Maintenance::Active,
        cordoned: false,
        resources: ResourcesView::default(),
        load: 0,
        tags: Vec::new(),
        kinds: vec!["counter".to_owned()],
        daemons: BTreeMap::new(),
        moving: Vec::new(),
    }
}
