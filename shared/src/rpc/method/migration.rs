//! Daemons on their way.

use serde::{Deserialize, Serialize};

use crate::id::{CommandId, DaemonId, MigrationId, NodeId};

/// Parameters of `migration.start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrateParams {
    /// Who is to move, from wherever it runs.
    pub daemon: DaemonId,
    /// Whither.
    pub to: NodeId,
}

/// Result of `migration.start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MigrationStarted {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// Which migration it is.
    pub migration: MigrationId,
}

/// Parameters of `migration.cancel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelParams {
    /// Which.
    pub migration: MigrationId,
}
