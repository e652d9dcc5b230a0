//! Groups of daemons, as everybody sees them.

use serde::{Deserialize, Serialize};

use crate::id::{DaemonId, GroupId, NodeId};

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Which.
    pub id: GroupId,
    /// How its members belong together.
    pub kind: GroupKind,
    /// What it is called, at most 64 bytes.
    pub name: String,
    /// The factory its members are made by.
    pub daemon: String,
    /// How many members it is to have.
    pub desired: u32,
    /// The node that looks after it.
    pub leader: NodeId,
    /// The members, by place.
    pub members: Vec<GroupMember>,
    /// How it is doing.
    pub health: GroupHealth,
    /// Why it does not have what it is to have, for a person.
    pub lacking: Option<String>,
}

/// One place in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// Who does the work: the same identity wherever it is placed.
    pub daemon: DaemonId,
    /// The node it is placed on; absent while there is none.
    pub node: Option<NodeId>,
    /// Whether it is known to run there.
    pub running: bool,
    /// In a standby group, how many events it has in hand.
    pub synced: Option<u64>,
}

/// How the members of a group belong together.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 11): a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupKind {
    /// All do the same, each under its own identity.
    Replica,
    /// Each began from one parent's state, and can prove it.
    Fork,
    /// One works, the others hold its state.
    Standby,
}

/// How a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupHealth {
    /// It has every member it is to have.
    Healthy,
    /// Some are missing.
    Degraded {
        /// How many run and are well.
        healthy: u32,
        /// How many there are to be.
        total: u32,
    },
    /// None runs.
    Dead,
}

impl GroupHealth {
    /// The health of a group of which `healthy` of `total` members run and are well.
    pub fn of(healthy: u32, total: u32) -> Self {
        match healthy {
            0 => Self::Dead,
            healthy if healthy >= total => Self::Healthy,
            healthy => Self::Degraded { healthy, total },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_dead_without_anyone_and_healthy_with_all() {
        let degraded = |healthy, total| GroupHealth::Degraded { healthy, total };
        assert_eq!(GroupHealth::of(0, 3), GroupHealth::Dead);
        assert_eq!([GroupHealth::of(1, 3), GroupHealth::of(2, 3)], [degraded(1, 3), degraded(2, 3)]);
        assert_eq!([GroupHealth::of(3, 3), GroupHealth::of(1, 1)], [GroupHealth::Healthy; 2]);
        assert_eq!(GroupHealth::of(4, 3), GroupHealth::Healthy, "one too many does no harm");
    }
}
