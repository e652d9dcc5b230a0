//! Groups of daemons: what every node knows of them, and how that spreads.
//!
//! A group is an entry in a ledger that every node holds. Entries only ever grow in a merge in which the order does not
//! matter, so that all nodes come to hold the same, whatever was lost or divided in between.

mod entry;
mod error;
mod in_sync;
mod incarnation;
mod journal;
pub(crate) mod ledger;
mod lineage;
mod pick;
mod placing;
mod required;

pub(crate) use self::{
    entry::{Claim, Entry, Slot, Spec},
    in_sync::{Census, Guard, Holding, InSync, Lives, can_be_open},
    incarnation::Incarnation,
    journal::{Follower, Journal, LogEntry, Piece},
    ledger::Ledger,
    lineage::{ForkPoint, root},
    pick::{Choice, pick},
    placing::{Candidate, choose, rank},
    required::Required,
};
pub use self::{
    error::GroupError,
    lineage::{Lineage, LineageError},
    pick::PickStrategy,
};

/// The most groups there may be.
pub const MAX_GROUPS: usize = 64;

/// The most places a group may have.
pub const MAX_MEMBERS: u32 = 64;
