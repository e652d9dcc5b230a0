//! Why something asked of a group was not done.

use meshground_shared::{DaemonId, GroupId};

use super::{MAX_GROUPS, MAX_MEMBERS};
use crate::{compute::MAX_ARGS, daemon::MAX_NAME};

/// Why something asked of a group was not done. Nothing is left of the attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There is no such group.
    #[error("there is no group {0}; check its id")]
    NotFound(GroupId),
    /// A number of members that no group has.
    #[error("a group has 1 to {MAX_MEMBERS} members, not {0}")]
    BadCount(u32),
    /// A name or the arguments are too long.
    #[error("names have up to {MAX_NAME} bytes, arguments up to {MAX_ARGS}; shorten them")]
    TooLong,
    /// There are too many groups, or they take too much to be told to everyone.
    #[error("there are {MAX_GROUPS} groups already, or more than a node can tell of; stop some")]
    TooMany,
    /// Another group has this seed: the members of both would be the same.
    #[error("group {0} has grown from this seed; take another, or stop that group first")]
    SeedTaken(GroupId),
    /// No node that can be reached has a factory of this kind.
    #[error(
        "no node that can be reached has a factory for daemons of kind {0:?}; register one, or check the name"
    )]
    KindNotFound(String),
    /// There are too few nodes for the members, of which no two share one.
    #[error(
        "{wanted} members need as many nodes, and there are {found}: {why}; ask for fewer, add nodes, or wait"
    )]
    PlacementFailed {
        /// How many are wanted.
        wanted: u32,
        /// How many could be placed.
        found: u32,
        /// Which nodes are out of the question, and why.
        why: String,
    },
    /// The daemon that forks are to be made of is not known to run.
    #[error("daemon {0}, of which forks are to be made, is not known to run; check its id")]
    ParentNotFound(DaemonId),
    /// What was asked makes no sense for a group of this kind.
    #[error("that cannot be asked of this kind of group: {0}")]
    WrongKind(String),
    /// Nothing is placed at present.
    #[error("the cluster is frozen: nothing is placed before it thaws")]
    Frozen,
    /// It did not come about in time.
    #[error("it did not come about in time: {0}; look into that, then ask again")]
    TimedOut(String),
    /// It was stopped meanwhile.
    #[error("group {0} was stopped meanwhile; found another")]
    Stopped(GroupId),
}
