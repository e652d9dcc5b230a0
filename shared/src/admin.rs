//! Signed commands, what became of them, and the states they bring nodes into.

use serde::{Deserialize, Serialize};

use crate::id::{DaemonId, GroupId, MigrationId, NodeId};

/// What one operator's signature is enough for.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 10): a new one goes to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminVerb {
    /// Everything that runs on the node moves elsewhere, and nothing new comes.
    Drain {
        /// Which.
        node: NodeId,
    },
    /// Drains the node and then keeps it out of service.
    EnterMaintenance {
        /// Which.
        node: NodeId,
    },
    /// Brings the node back into service, by and by.
    ExitMaintenance {
        /// Which.
        node: NodeId,
    },
    /// Nothing new is placed on the node; what runs goes on.
    Cordon {
        /// Which.
        node: NodeId,
    },
    /// Things may be placed on the node again.
    Uncordon {
        /// Which.
        node: NodeId,
    },
    /// The node gives up its members of groups; they are placed anew, here as well if nowhere else.
    DropReplicas {
        /// Which.
        node: NodeId,
    },
    /// Where each member of the group runs is decided anew. One whose node is chosen again goes on there; any other begins
    /// anew elsewhere. Of a standby group the one that works is given to whoever holds most of what it did.
    InvalidatePlacement {
        /// Which.
        group: GroupId,
    },
    /// Every daemon on the node is stopped and started again.
    RestartAllDaemons {
        /// Which.
        node: NodeId,
    },
    /// The node avoids nobody any more, on whatever account, and tries again what did not work a moment ago.
    ClearAvoidList {
        /// Which.
        node: NodeId,
    },
}

impl AdminVerb {
    /// The node it names, if it names one.
    #[must_use]
    pub const fn node(&self) -> Option<NodeId> {
        match *self {
            Self::Drain { node }
            | Self::EnterMaintenance { node }
            | Self::ExitMaintenance { node }
            | Self::Cordon { node }
            | Self::Uncordon { node }
            | Self::DropReplicas { node }
            | Self::RestartAllDaemons { node }
            | Self::ClearAvoidList { node } => Some(node),
            Self::InvalidatePlacement { .. } => None,
        }
    }
}

/// What needs several operators, and a look at what it will do.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 10): a new one goes to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IceVerb {
    /// Nothing is placed, moved or restarted anywhere until it is over. What is on its way by then gets there.
    FreezeCluster {
        /// Milliseconds, at most an hour.
        ttl_ms: u64,
    },
    /// Ends a freeze.
    ThawCluster,
    /// Nobody avoids anybody any more: as [`AdminVerb::ClearAvoidList`], on every node.
    FlushAvoidLists,
    /// A member of a group is taken from the node that has it, at once.
    ForceEvictReplica {
        /// The group.
        group: GroupId,
        /// The member's place.
        index: u32,
    },
    /// A daemon is dropped and started again, without being asked.
    ForceRestartDaemon {
        /// Which.
        daemon: DaemonId,
    },
    /// A migration goes over to the target now, without waiting for more events.
    ForceCutover {
        /// Which.
        migration: MigrationId,
    },
    /// A migration is called off, even after its cutover: then the daemon goes on at its source as of before.
    KillMigration {
        /// Which.
        migration: MigrationId,
    },
}

/// A command of either kind.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 10): a new one goes to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// By one operator.
    Admin(AdminVerb),
    /// By several.
    Ice(IceVerb),
}

impl Verb {
    /// The verb's name, as it travels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Admin(verb) => match verb {
                AdminVerb::Drain { .. } => "drain",
                AdminVerb::EnterMaintenance { .. } => "enter_maintenance",
                AdminVerb::ExitMaintenance { .. } => "exit_maintenance",
                AdminVerb::Cordon { .. } => "cordon",
                AdminVerb::Uncordon { .. } => "uncordon",
                AdminVerb::DropReplicas { .. } => "drop_replicas",
                AdminVerb::InvalidatePlacement { .. } => "invalidate_placement",
                AdminVerb::RestartAllDaemons { .. } => "restart_all_daemons",
                AdminVerb::ClearAvoidList { .. } => "clear_avoid_list",
            },
            Self::Ice(verb) => match verb {
                IceVerb::FreezeCluster { .. } => "freeze_cluster",
                IceVerb::ThawCluster => "thaw_cluster",
                IceVerb::FlushAvoidLists => "flush_avoid_lists",
                IceVerb::ForceEvictReplica { .. } => "force_evict_replica",
                IceVerb::ForceRestartDaemon { .. } => "force_restart_daemon",
                IceVerb::ForceCutover { .. } => "force_cutover",
                IceVerb::KillMigration { .. } => "kill_migration",
            },
        }
    }
}

/// Why a command was rejected.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 10): a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// It is not signed by an operator this cluster knows, or not signed at all.
    NotAuthorized,
    /// A signature is not by the operator it names.
    SignatureInvalid,
    /// Too few different operators signed.
    InsufficientSignatures,
    /// It was issued too long ago.
    EnvelopeExpired,
    /// It was issued in the future.
    EnvelopeFromFuture,
    /// It names no simulated blast radius, or another one than it has.
    SimulationRequired,
    /// Its target was just subject to one of its kind.
    IceCooldownActive,
    /// The cluster is frozen.
    FreezeInEffect,
    /// It was carried out before, or is just being.
    NonceReplayed,
    /// It cannot be carried out: what it names is not there, or in no state for it.
    NotApplicable,
    /// A node it names could not be asked; nobody carries it out.
    Unreachable,
    /// Too many commands are under way. Try again when some are over.
    Overloaded,
}

/// What became of a command on one node.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 10): a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It took effect.
    Applied,
    /// It did not.
    Rejected(Rejection),
}

impl Decision {
    /// Whether it used the command's nonce up, so that there is one only, and every node is to hear of it, those that were not
    /// there included.
    pub fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Rejected(
                Rejection::NotAuthorized
                    | Rejection::SignatureInvalid
                    | Rejection::InsufficientSignatures
                    | Rejection::EnvelopeExpired
                    | Rejection::EnvelopeFromFuture
                    | Rejection::NonceReplayed
            )
        )
    }
}

/// What became of a command, for those who look for it in an audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It took effect.
    Applied,
    /// It did not, for whatever reason.
    Rejected,
    /// It did not, for this reason.
    RejectedFor(Rejection),
}

impl AuditOutcome {
    /// Whether a decision is one of those that are looked for.
    pub fn matches(self, decision: Decision) -> bool {
        match self {
            Self::Applied => decision == Decision::Applied,
            Self::Rejected => matches!(decision, Decision::Rejected(_)),
            Self::RejectedFor(reason) => decision == Decision::Rejected(reason),
        }
    }
}

/// One entry of a node's audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place in the node's trail, from 1, dense.
    pub seq: u64,
    /// When it was decided, by the wall clock of the node, or of others if it was not there; in Unix microseconds.
    pub wall_us: u64,
    /// The command's nonce, by which the same command is known on every node; 32 hexadecimal digits.
    pub nonce: String,
    /// The command.
    pub verb: Verb,
    /// Who signed it, by the names the cluster knows them by.
    pub operators: Vec<String>,
    /// What became of it.
    pub decision: Decision,
}

/// What a break-glass command would do now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlastRadius {
    /// The nodes it touches, by id.
    pub nodes: Vec<NodeId>,
    /// The members of groups it touches.
    pub replicas: Vec<DaemonId>,
    /// The daemons it touches, those included.
    pub daemons: Vec<DaemonId>,
    /// How long it delays drains that are under way, in milliseconds.
    pub drain_delay_ms: u64,
    /// What to think of before, for a person.
    pub warnings: Vec<String>,
}

/// A node that another places nothing on for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvoidedNode {
    /// Which.
    pub node: NodeId,
    /// Why, for a person.
    pub reason: String,
    /// For how long yet, in milliseconds.
    pub remaining_ms: u64,
}

/// Whether a node serves, and if not, on its way whither.
///
/// Nodes send its number in this order (`PROTOCOL.md`, section 13): a new one goes to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maintenance {
    /// It serves.
    #[default]
    Active,
    /// What runs on it is moving away.
    EnteringMaintenance,
    /// Nothing runs on it, and nothing comes.
    Maintenance,
    /// Not all of it moved away in time.
    DrainFailed,
    /// It has been told to come back.
    ExitingMaintenance,
    /// It is back, and is given work by and by.
    Recovery,
}
