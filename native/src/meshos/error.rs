//! What can go wrong with daemons.

use meshground_node::{DaemonId, DeliverError, GroupError, MigrateError, SpawnError, StateError};

/// Why something was not done with a daemon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DaemonRuntimeError {
    /// Factories are still being registered: nothing is started yet.
    #[error("the runtime is not started yet; start it when all factories are registered")]
    NotReady,
    /// The node is going down, or its daemons are.
    #[error("the runtime is shutting down; ask another node")]
    ShuttingDown,
    /// Nobody has registered a factory of this kind on the node.
    #[error("no factory is registered for daemons of kind {0:?}; register one, or check the name")]
    FactoryNotFound(String),
    /// There is a factory of this kind already.
    #[error("a factory is registered for daemons of kind {0:?} already; give this one another name")]
    FactoryAlreadyRegistered(String),
    /// A kind's name is empty or too long.
    #[error("the name of a kind has 1 to {max} bytes", max = meshground_node::MAX_NAME)]
    KindName,
    /// A state can be taken over by the daemon it is of, and nobody else.
    #[error(
        "the state is that of daemon {found}, not of daemon {expected}; start it with the key of the daemon that it is of"
    )]
    SnapshotIdentityMismatch {
        /// Who was to take it over.
        expected: DaemonId,
        /// Whose it is.
        found: DaemonId,
    },
    /// It does not run on this node.
    #[error("daemon {0} does not run on this node; check its id, or ask the node that it runs on")]
    NotFound(DaemonId),
    /// It did not start.
    #[error(transparent)]
    Spawn(SpawnError),
    /// Its state cannot be had.
    #[error(transparent)]
    Snapshot(#[from] StateError),
    /// What was sent did not come to an end.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    /// A migration came to nothing.
    #[error(transparent)]
    Migration(#[from] MigrateError),
    /// What was asked of a group was not done.
    #[error(transparent)]
    Group(#[from] GroupError),
}

impl From<SpawnError> for DaemonRuntimeError {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::KindNotFound(kind) => Self::FactoryNotFound(kind),
            error => Self::Spawn(error),
        }
    }
}
