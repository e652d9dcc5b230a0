//! What a node's part of the system is told at construction.

use std::time::Duration;

use crate::{admin::AdminVerifier, config::ConfigError};

use super::{dispatching::Dispatch, maintenance::MaintenanceConfig};

/// Everything it depends on, besides the node and its inputs.
#[derive(Debug, Clone)]
pub struct MeshOsConfig {
    /// How often it looks over everything, 100 ms by default and at least 1 ms. What changes in between takes effect at
    /// once; this is for what only time changes.
    pub tick_interval: Duration,
    /// How long it may take a node to go out of service, and to come back.
    pub maintenance: MaintenanceConfig,
    /// Who may command the cluster; everybody by default.
    pub verifier: AdminVerifier,
    /// Whether it is one of the nodes that a cluster begins with, so that nothing was commanded before its life; not by default.
    /// Any other decides on no command until a neighbour has told it what was: for 10 s at most, or 3 s without neighbours.
    pub founds: bool,
    /// What becomes of what it decides of its own accord: it is done, by default.
    pub dispatch: Dispatch,
    /// How long a daemon may take to stop when nobody says otherwise, 2 s by default. With none at all it is ended at once.
    pub grace: Duration,
    /// How long something sent to a daemon is tried when nobody says otherwise, 10 s by default and at least 1 ms.
    pub patience: Duration,
    /// The version of what runs the node, told to all others, for people: whatever is said here changes nothing. That of this
    /// crate by default; of a longer one the first 32 bytes.
    pub version: String,
    /// How long a group may take to come about, 10 s by default and at least 1 ms. After that nothing is left of it.
    pub group_budget: Duration,
}

/// In less than this nothing is done, and who looks over everything so often does nothing else.
const LEAST: Duration = Duration::from_millis(1);

impl MeshOsConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// The first figure that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (name, time) in [
            ("tick_interval", self.tick_interval),
            ("maintenance.drain", self.maintenance.drain),
            ("patience", self.patience),
            ("group_budget", self.group_budget),
        ] {
            if time < LEAST {
                return Err(ConfigError::MeshOs(name));
            }
        }
        Ok(())
    }

    /// The same with every figure within its bounds, for whoever has not asked whether they are.
    pub(super) fn bounded(mut self) -> Self {
        // Without any time in between, nothing else would come in turn.
        self.tick_interval = self.tick_interval.max(LEAST);
        self
    }
}

impl Default for MeshOsConfig {
    fn default() -> Self {
        Self {
            tick_interval: Duration::from_millis(100),
            verifier: AdminVerifier::open(),
            founds: false,
            maintenance: MaintenanceConfig::default(),
            dispatch: Dispatch::Execute,
            grace: Duration::from_secs(2),
            patience: Duration::from_secs(10),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            group_budget: Duration::from_secs(10),
        }
    }
}
