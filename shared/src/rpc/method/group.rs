//! Groups of daemons.

use serde::{Deserialize, Serialize};

use crate::{
    group::{GroupKind, GroupMember},
    id::{CommandId, DaemonId, GroupId, NodeId},
};

/// Bytes of a group's name, at most.
pub const MAX_GROUP_NAME_BYTES: usize = 64;

/// Parameters of `group.spawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSpawnParams {
    /// How its members belong together.
    pub kind: GroupKind,
    /// The factory they are made by; one of `daemon.kinds`.
    pub daemon: String,
    /// How many there are to be, 1 or more.
    pub count: u32,
    /// What it is called, at most [`MAX_GROUP_NAME_BYTES`]; by default something made of its
    /// kind and its factory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The node that looks after it at first; by default the one of the lowest index that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<NodeId>,
    /// The daemon from whose state the members begin; needed for a fork group, refused for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<DaemonId>,
    /// What the factory is given for each of them, at most [`MAX_ARGS_BYTES`](super::MAX_ARGS_BYTES).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub args: String,
}

/// Result of `group.spawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpawned {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// Which group it is.
    pub group: GroupId,
    /// Its members, by place.
    pub members: Vec<GroupMember>,
    /// Microseconds it took.
    pub took_us: u64,
}

/// Parameters of `group.scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleParams {
    /// Which.
    pub group: GroupId,
    /// How many members it is to have, 1 or more.
    pub count: u32,
}

/// Parameters of what is done to one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupParams {
    /// Which.
    pub group: GroupId,
}
