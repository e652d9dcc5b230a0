//! What the two ends of a migration say to each other.

use meshground_shared::CommandId;
use serde::{Deserialize, Serialize};

use crate::{compute::Queued, daemon::GroupPlace};

/// The source asks the target to take a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) migration: u64,
    /// The seed of the daemon's keys.
    pub(crate) seed: [u8; 32],
    pub(crate) kind: String,
    pub(crate) args: String,
    pub(crate) member: Option<GroupPlace>,
    /// Which incarnation it will be.
    pub(crate) generation: u64,
    pub(crate) cause: Option<CommandId>,
    /// How many bytes there are to fetch.
    pub(crate) bytes: u64,
}

/// Whether it does.
pub(crate) type Taken = Result<(), Refusal>;

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// It makes no daemons of this kind.
    KindNotFound,
    /// It is cordoned or out of service.
    Closed,
    /// For another reason.
    Other(String),
}

/// The target tells the source how far it is, whenever that changes and every second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tell {
    pub(crate) migration: u64,
    pub(crate) daemon: u64,
    pub(crate) generation: u64,
    pub(crate) stage: Stage,
}

/// How far a target is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// It has so many bytes.
    Fetching(u64),
    /// It has all of them and makes the daemon anew.
    Restoring,
    /// The daemon is made and waits.
    Restored,
    /// It dropped what it had and will never run it.
    Failed(String),
    /// It runs the daemon.
    Live,
}

/// What the source says to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Advice {
    /// The migration is under way.
    GoOn,
    /// It is over, or was never heard of: what is not live is to be dropped.
    Over,
    /// The source has taken the daemon back by force, as a later incarnation: what is live is to be dropped too.
    Superseded,
}

/// The source sends after the daemon what came for it meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) migration: u64,
    /// How many came before these.
    pub(crate) from: u64,
    pub(crate) events: Vec<Queued>,
}

/// What the target says to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Replayed {
    /// It has so many in all.
    Upto(u64),
    /// It holds no such daemon and never will.
    Unknown,
    /// It knows of no such migration, as one that has begun anew: this life of it does not hold the daemon and never will.
    Forgotten,
}

/// The source gives the daemon away, with the last of what came for it.
pub(crate) type Cutover = Replay;
