//! The cluster and its nodes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    id::{CommandId, NodeId},
    topology::Topology,
};

/// Parameters of `cluster.boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootParams {
    /// How many nodes, from 1 to the server's `max_nodes`.
    pub nodes: u32,
    /// Shut a running cluster down first instead of refusing.
    #[serde(default)]
    pub replace: bool,
    /// Who is linked with whom; by default what the server was told, a full mesh unless it was told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
}

/// Parameters of `cluster.topology`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyParams {
    /// Who is to be linked with whom.
    pub topology: Topology,
}

/// Result of `cluster.boot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// The members, by index.
    pub nodes: Vec<NodeId>,
    /// Microseconds from the command to convergence.
    pub took_us: u64,
}

/// Parameters of what is done to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeParams {
    /// Which.
    pub node: NodeId,
}

/// Parameters of `node.restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartParams {
    /// Which.
    pub node: NodeId,
    /// Whether it comes back as somebody else: the old id is no member any more, its place is kept.
    #[serde(default)]
    pub fresh_identity: bool,
}

/// Result of `node.spawn` and `node.restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// The node.
    pub node: NodeId,
    /// Its place in the cluster.
    pub index: u32,
    /// The address it listens on.
    pub address: SocketAddr,
    /// Microseconds from the command to convergence.
    pub took_us: u64,
}
