//! What the system decides to do, and what becomes of that.

use std::{collections::VecDeque, fmt, time::Duration};

use meshground_shared::{DaemonId, GroupId, Maintenance, NodeId};

use crate::time::WallTime;

/// How many actions and failures are remembered.
const KEPT: usize = 64;

/// Something the system decides of its own accord.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// A daemon is started here.
    StartDaemon {
        /// Which.
        daemon: DaemonId,
    },
    /// A daemon here is stopped.
    StopDaemon {
        /// Which.
        daemon: DaemonId,
    },
    /// A place in a group is given to a node.
    RequestPlacement {
        /// The group.
        group: GroupId,
        /// The place.
        index: u32,
        /// The node.
        node: NodeId,
    },
    /// A place in a group is taken from the node that has it.
    EvictReplica {
        /// The group.
        group: GroupId,
        /// The place.
        index: u32,
    },
    /// A member of a group moves, with its state, so that nodes have equally many.
    Rebalance {
        /// The group.
        group: GroupId,
        /// The place.
        index: u32,
        /// Whither.
        node: NodeId,
    },
    /// A daemon here moves to another node.
    MoveAway {
        /// Which.
        daemon: DaemonId,
        /// Whither.
        to: NodeId,
    },
    /// Nothing is placed on a node for a while.
    MarkAvoid {
        /// Which.
        node: NodeId,
        /// Why.
        reason: String,
        /// For how long.
        ttl: Duration,
    },
    /// A daemon that crashed is started again after a pause.
    ApplyBackoff {
        /// Which.
        daemon: DaemonId,
    },
    /// This node goes into another state of service.
    CommitMaintenance {
        /// Which.
        to: Maintenance,
    },
}

/// An action, and when it was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRecord {
    /// When, by the node's wall clock.
    pub at: WallTime,
    /// What.
    pub action: Action,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureRecord {
    /// When, by the node's wall clock.
    pub at: WallTime,
    /// What, for a person.
    pub what: String,
}

/// The last things of one kind.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    list: VecDeque<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { list: VecDeque::new() }
    }
}

impl<T: Clone> Recent<T> {
    pub(crate) fn push(&mut self, thing: T) {
        if self.list.len() == KEPT {
            self.list.pop_front();
        }
        self.list.push_back(thing);
    }

    pub(crate) fn to_vec(&self) -> Vec<T> {
        self.list.iter().cloned().collect()
    }
}

impl Action {
    /// Whether it is decided again at every look, until it is done or something else is to be. What is not, follows from
    /// something that happened, once.
    pub(super) fn stands(&self) -> bool {
        match self {
            Self::StartDaemon { .. }
            | Self::StopDaemon { .. }
            | Self::RequestPlacement { .. }
            | Self::Rebalance { .. }
            | Self::MoveAway { .. }
            | Self::CommitMaintenance { .. } => true,
            Self::EvictReplica { .. } | Self::MarkAvoid { .. } | Self::ApplyBackoff { .. } => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartDaemon { daemon } => write!(f, "start daemon {daemon}"),
            Self::StopDaemon { daemon } => write!(f, "stop daemon {daemon}"),
            Self::RequestPlacement { group, index, node } => {
                write!(f, "give place {index} of group {group} to node {node}")
            }
            Self::EvictReplica { group, index } => write!(f, "take place {index} of group {group} away"),
            Self::Rebalance { group, index, node } => {
                write!(f, "move place {index} of group {group} to node {node} for balance")
            }
            Self::MoveAway { daemon, to } => write!(f, "move daemon {daemon} to node {to}"),
            Self::MarkAvoid { node, reason, ttl } => write!(f, "avoid node {node} for {ttl:?}: {reason}"),
            Self::ApplyBackoff { daemon } => write!(f, "start daemon {daemon} again after a pause"),
            Self::CommitMaintenance { to } => write!(f, "go into {to:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_everything_that_is_written_down_the_last_sixty_four_are_kept_in_order() {
        let mut recent = Recent::default();
        assert!(recent.to_vec().is_empty());
        (0..64).for_each(|number| recent.push(number));
        assert_eq!(recent.to_vec(), (0..64).collect::<Vec<_>>(), "all there is room for");
        (64..1_000).for_each(|number| recent.push(number));
        assert_eq!(recent.to_vec(), (936..1_000).collect::<Vec<_>>());
    }
}
