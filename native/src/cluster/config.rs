//! What a cluster is told at boot.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use meshground_node::{
    Capabilities, HandshakeConfig, LivenessConfig, MaintenanceConfig, MeshOsConfig, NodeConfig,
    admin::AdminVerifier,
};
use meshground_shared::{CommandId, LinkFault, Topology};

use super::ClusterError;
use crate::{
    log::{DEFAULT_CAPACITY, EventLog},
    random,
};

/// The most members a cluster may have, crashed ones included.
pub const MAX_NODES: usize = 1_024;

/// How many handshakes may be under way in a whole booting cluster, roughly. Keeps each one's answer well within the
/// first retransmission, however many nodes share the processor.
const DIALS_UNDER_WAY: usize = 512;

/// A node counts the time a dial waits for its turn, and all dials of a booting cluster wait for the same
/// processor; each pair adds this to every dial's time. A handshake takes a quarter of it or less.
const TURN: Duration = Duration::from_millis(2);

/// Says what the node with an index announces about itself. Asked each time a node is started.
pub type CapabilitiesOf = Arc<dyn Fn(usize) -> Capabilities + Send + Sync>;

/// What a cluster is told at boot. Each budget bounds one phase; when it runs out, the operation fails with
/// [`ClusterError::Timeout`] and what it had started is taken down again.
#[derive(Clone)]
pub struct ClusterConfig {
    /// The mesh's pre-shared key; random by default, so that no stranger can join.
    pub psk: [u8; 32],
    /// The first budget, 5 s by default: the longest a boot, add or restart waits for the next pair to come to a
    /// session. Big clusters may thus take longer in total as long as they get on. A single dial has at least as long.
    pub handshake_timeout: Duration,
    /// The second budget, 2 s by default: the time from the first moment at which every pair has a session at one end
    /// to the moment at which every running node holds a confirmed session with every other and sees it Healthy. It
    /// also bounds how long nodes may make no progress in getting to know of each other, how long
    /// [`converged`](super::ClusterHarness::converged) waits without any, and how long
    /// [`shutdown_node`](super::ClusterHarness::shutdown_node) waits for the others to let go.
    pub mesh_session_stable_timeout: Duration,
    /// The third budget, 3 s by default: the time from there until every running node's own snapshot shows the same.
    pub meshos_snapshot_stable_timeout: Duration,
    /// How often each node looks over what runs on it, 100 ms by default and at least 1 ms. What changes in between takes
    /// effect at once; this is for what only time changes.
    pub meshos_tick_interval: Duration,
    /// Who may command the cluster; everybody by default, signed or not.
    pub verifier: Option<AdminVerifier>,
    /// How long it may take a node to go out of service, and to come back.
    pub maintenance: MaintenanceConfig,
    /// Whether every node has the [bundled factories](crate::daemons) from the start, as by default.
    pub bundled_daemons: bool,
    /// How peers' lives are judged. `None` takes [`LivenessConfig`]'s default up to 64 nodes at boot, under which a
    /// crash is seen within 1.5 s, and stretches it beyond, so that the cluster's heartbeats stay as many as at 64.
    pub liveness: Option<LivenessConfig>,
    /// The largest datagram the nodes send, in bytes, from 512 to 65,507; 1,452 by default.
    pub max_datagram: usize,
    /// Grows every identity and every node's randomness from one number, so that the same seed gives the same ids.
    /// For tests only: anyone who knows the seed knows the keys. `None` takes the system's randomness.
    pub seed: Option<u64>,
    /// Who is linked with whom; everybody with everybody by default.
    pub topology: Topology,
    /// What happens to the datagrams on single links, from the boot on, by the index of who sends them and of whom to.
    pub faults: BTreeMap<(usize, usize), LinkFault>,
    /// The most members, crashed ones included; at most [`MAX_NODES`], which is the default.
    pub max_nodes: usize,
    /// Other pre-shared keys for single nodes, by index: for showing what happens to a stranger.
    pub psk_overrides: BTreeMap<usize, [u8; 32]>,
    /// What each node announces about itself from its start on, for others to find and place by;
    /// [`default_capabilities`](Self::default_capabilities) by default.
    pub capabilities: Option<CapabilitiesOf>,
    /// The log to write to; a new one by default. Successive clusters may share one.
    pub log: Option<Arc<EventLog>>,
    /// How many events a new log keeps; [`DEFAULT_CAPACITY`] by default, which tells what that costs.
    pub log_capacity: usize,
    /// The command the boot follows from; stands in its events as `cause`.
    pub cause: Option<CommandId>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            psk: random::bytes(),
            handshake_timeout: Duration::from_secs(5),
            mesh_session_stable_timeout: Duration::from_secs(2),
            meshos_snapshot_stable_timeout: Duration::from_secs(3),
            meshos_tick_interval: MeshOsConfig::default().tick_interval,
            verifier: None,
            maintenance: MaintenanceConfig::default(),
            bundled_daemons: true,
            liveness: None,
            max_datagram: NodeConfig::new([0; 32]).max_datagram,
            seed: None,
            topology: Topology::Full,
            faults: BTreeMap::new(),
            max_nodes: MAX_NODES,
            psk_overrides: BTreeMap::new(),
            capabilities: None,
            log: None,
            log_capacity: DEFAULT_CAPACITY,
            cause: None,
        }
    }
}

impl fmt::Debug for ClusterConfig {
    /// Leaves the pre-shared keys and the seed out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("handshake_timeout", &self.handshake_timeout)
            .field("mesh_session_stable_timeout", &self.mesh_session_stable_timeout)
            .field("meshos_snapshot_stable_timeout", &self.meshos_snapshot_stable_timeout)
            .field("meshos_tick_interval", &self.meshos_tick_interval)
            .field("bundled_daemons", &self.bundled_daemons)
            .field("liveness", &self.liveness)
            .field("max_datagram", &self.max_datagram)
            .field("topology", &self.topology)
            .field("faults", &self.faults)
            .field("max_nodes", &self.max_nodes)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl ClusterConfig {
    /// The log it names, or a new one.
    pub(crate) fn log(&self) -> Arc<EventLog> {
        self.log.clone().unwrap_or_else(|| EventLog::with_capacity(self.log_capacity))
    }

    /// The liveness limits of a cluster with `nodes` running nodes.
    pub fn liveness_of(&self, nodes: usize) -> LivenessConfig {
        self.liveness.clone().unwrap_or_default().for_peers(nodes.saturating_sub(1))
    }

    /// What the node with this index announces unless told otherwise: the tags `meshground` and `node`, and its index under
    /// `index`. There is ample room to add to it.
    pub fn default_capabilities(index: usize) -> Capabilities {
        let mut its = Capabilities::new();
        let added = its
            .add_tag("meshground")
            .and_then(|()| its.add_tag("node"))
            .and_then(|()| its.set_metadata("index", index.to_string()));
        debug_assert_eq!(added, Ok(()), "two tags and one entry are within every bound");
        its
    }

    /// What the node with this index is to announce.
    pub(super) fn capabilities_of(&self, index: usize) -> Capabilities {
        match &self.capabilities {
            Some(of) => of(index),
            None => Self::default_capabilities(index),
        }
    }

    /// What the node with this index is told, in a cluster booted with `nodes` nodes.
    pub(super) fn node_config(&self, index: usize, nodes: usize) -> NodeConfig {
        let pairs = u32::try_from(nodes * nodes.saturating_sub(1) / 2).unwrap_or(u32::MAX);
        NodeConfig {
            max_datagram: self.max_datagram,
            handshake: HandshakeConfig {
                budget: self.handshake_timeout.saturating_add(TURN.saturating_mul(pairs)),
                max_dials: (DIALS_UNDER_WAY / nodes.max(1)).clamp(1, 16),
                ..HandshakeConfig::default()
            },
            liveness: self.liveness.clone().unwrap_or_default(),
            ..NodeConfig::new(self.psk_overrides.get(&index).copied().unwrap_or(self.psk))
        }
    }

    /// What the part of every node is told that runs daemons, whether it `founds` the cluster included.
    pub(super) fn meshos_config(&self, founds: bool) -> MeshOsConfig {
        MeshOsConfig {
            founds,
            tick_interval: self.meshos_tick_interval,
            maintenance: self.maintenance,
            verifier: self.verifier.clone().unwrap_or_else(AdminVerifier::open),
            ..MeshOsConfig::default()
        }
    }

    /// 32 bytes for `purpose`, distinct by index and by how many times the node has been started.
    pub(super) fn entropy(&self, purpose: &str, index: usize, start: u64) -> [u8; 32] {
        let Some(seed) = self.seed else { return random::bytes() };
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"meshground cluster seed: ");
        hash.update(purpose.as_bytes());
        for number in [seed, index as u64, start] {
            hash.update(&number.to_le_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        bytes
    }

    /// Checks what can be checked before anything is started.
    pub(super) fn validate(&self, nodes: usize) -> Result<(), ClusterError> {
        if nodes == 0 {
            return Err(ClusterError::Invariant("a cluster needs at least one node".to_owned()));
        }
        if self.max_nodes > MAX_NODES {
            return Err(ClusterError::Invariant(format!("`max_nodes` is at most {MAX_NODES}")));
        }
        if nodes > self.max_nodes {
            let most = self.max_nodes;
            return Err(ClusterError::Invariant(format!(
                "{nodes} nodes are too many; at most {most} may run"
            )));
        }
        if self.meshos_tick_interval < Duration::from_millis(1) {
            return Err(ClusterError::Invariant("`meshos_tick_interval` is at least 1 ms".to_owned()));
        }
        self.topology.validate().map_err(|error| ClusterError::Invariant(error.to_string()))?;
        for (&(from, to), fault) in &self.faults {
            if from == to {
                return Err(ClusterError::Invariant(format!(
                    "node {from} has no link with itself to spoil; name two nodes"
                )));
            }
            fault.validate().map_err(|error| ClusterError::Invariant(error.to_string()))?;
        }
        let (config, system) = (self.node_config(0, nodes), self.meshos_config(true));
        config
            .validate()
            .and_then(|()| system.validate())
            .map_err(|error| ClusterError::Invariant(format!("the configuration is unusable: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_allowed_has_a_usable_configuration() {
        for nodes in [1, 2, 16, 64, 65, 71, 100, 256, MAX_NODES] {
            assert_eq!(ClusterConfig::default().validate(nodes), Ok(()), "{nodes} nodes");
        }
    }

    #[test]
    fn none_and_too_many_are_refused() {
        for nodes in [0, MAX_NODES + 1, usize::MAX] {
            assert!(matches!(ClusterConfig::default().validate(nodes), Err(ClusterError::Invariant(_))));
        }
    }

    #[test]
    fn a_seed_gives_the_same_bytes_again_but_never_the_same_twice_within_a_cluster() {
        let seeded = |seed| ClusterConfig { seed: Some(seed), ..ClusterConfig::default() };
        assert_eq!(seeded(1).entropy("identity", 0, 0), seeded(1).entropy("identity", 0, 0));
        let all = [
            seeded(1).entropy("identity", 0, 0),
            seeded(2).entropy("identity", 0, 0),
            seeded(1).entropy("rng", 0, 0),
            seeded(1).entropy("identity", 1, 0),
            seeded(1).entropy("identity", 0, 1),
            ClusterConfig::default().entropy("identity", 0, 0),
            ClusterConfig::default().entropy("identity", 0, 0),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(one));
        }
    }

    #[test]
    fn keys_and_seed_stay_out_of_debug_output() {
        let config = ClusterConfig { psk: [0xab; 32], seed: Some(777_777), ..ClusterConfig::default() };
        let text = format!("{config:?}");
        assert!(!text.contains("171") && !text.contains("777"), "{text}");
    }
}
