//! What groups of a cluster's own daemons are made by, on every node there is or will be.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use meshground_node::DaemonFactory;

use super::{ClusterHarness, ClusterNode};
use crate::meshos::DaemonRuntimeError;

/// The factories that were brought along with groups, by kind: a node that starts or goes on later offers them too, or it
/// could not take the place of another.
#[derive(Default)]
pub(super) struct Factories {
    kept: Mutex<BTreeMap<String, Arc<dyn DaemonFactory>>>,
}

impl Factories {
    /// Keeps a factory, and returns the one of this kind that counts: the first.
    fn keep(&self, kind: &str, factory: Arc<dyn DaemonFactory>) -> Arc<dyn DaemonFactory> {
        Arc::clone(self.kept().entry(kind.to_owned()).or_insert(factory))
    }

    /// All that are kept, by kind.
    pub(super) fn all(&self) -> Vec<(String, Arc<dyn DaemonFactory>)> {
        self.kept().iter().map(|(kind, factory)| (kind.clone(), Arc::clone(factory))).collect()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn DaemonFactory>>> {
        // Every change is one call.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Factories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kept().keys()).finish()
    }
}

impl ClusterHarness {
    /// Has every member make daemons of this kind from here on, whenever it starts; of a kind that there is already it
    /// stays with the first factory. `anchor` is asked first: what it refuses is not kept.
    pub(super) async fn offer(
        &self,
        anchor: &ClusterNode,
        kind: &str,
        factory: Arc<dyn DaemonFactory>,
    ) -> Result<(), DaemonRuntimeError> {
        register(anchor, kind, &factory).await?;
        // A node that is just being started has asked for those that are kept, and is not among those that run.
        let _turn = self.shared().starting.lock().await;
        let factory = self.shared().factories.keep(kind, factory);
        let running: Vec<ClusterNode> =
            self.shared().state().running().map(|member| member.node.clone()).collect();
        for node in running {
            register(&node, kind, &factory).await?;
        }
        Ok(())
    }

    /// Has a member that goes on make what others came to make while it stood still.
    pub(super) async fn offer_kept(&self, node: &ClusterNode) {
        for (kind, factory) in self.shared().factories.all() {
            // All of these kinds are valid, and it may go down again.
            let _ = register(node, &kind, &factory).await;
        }
    }
}

/// Registers a factory, unless the node has one of this kind, goes down, or stands still: it is then told when it goes on.
async fn register(
    node: &ClusterNode,
    kind: &str,
    factory: &Arc<dyn DaemonFactory>,
) -> Result<(), DaemonRuntimeError> {
    let runtime = node.daemon_runtime();
    let registered = tokio::select! {
        registered = runtime.register_factory(kind, Arc::clone(factory)) => registered,
        () = node.mesh().until_paused(true) => Ok(()),
    };
    match registered {
        Err(DaemonRuntimeError::FactoryAlreadyRegistered(_) | DaemonRuntimeError::ShuttingDown) => Ok(()),
        other => other,
    }
}
