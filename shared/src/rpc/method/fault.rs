//! What is done to links.

use serde::{Deserialize, Serialize};

use crate::{
    fault::{FaultyLink, LinkFault},
    id::NodeId,
};

/// Parameters of `fault.set`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultParams {
    /// The member whose datagrams suffer.
    pub from: NodeId,
    /// The member they are sent to.
    pub to: NodeId,
    /// Whether the other direction suffers the same.
    #[serde(default)]
    pub both_ways: bool,
    /// What happens to them, in place of what happened before.
    pub fault: LinkFault,
}

/// Parameters of `fault.partition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionParams {
    /// The members on the one side.
    pub one: Vec<NodeId>,
    /// The members on the other.
    pub other: Vec<NodeId>,
}

/// Parameters of `fault.clear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearParams {
    /// Whose; absent for every fault there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<ClearLink>,
}

/// A link whose faults are to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearLink {
    /// The member whose datagrams suffer.
    pub from: NodeId,
    /// The member they are sent to.
    pub to: NodeId,
    /// Whether the other direction is meant as well.
    #[serde(default)]
    pub both_ways: bool,
}

/// Result of `fault.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// All of them, in order of their ends' ids.
    pub faults: Vec<FaultyLink>,
}
