//! Starting nodes or linking them in another way, all or nothing.

use std::{mem, sync::Arc};

use meshground_shared::{CommandId, EventKind, Topology};

use super::{
    ClusterError,
    shared::Shared,
    state::{Phase, State},
};
use crate::mesh::Mesh;

/// What was started by one operation. Unless that [`finish`](Self::finish)es well, all of it is taken down again;
/// also when the operation's future is dropped half-way.
pub(super) struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    kind: Kind,
    cause: Option<CommandId>,
    /// The index and run of each node started.
    nodes: Vec<(usize, u64)>,
    /// Whether it stays when it is called off.
    stays: bool,
    settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boot,
    Addition,
    Restart,
    /// Away from this topology.
    Rewiring(Topology),
}

impl<'a> Attempt<'a> {
    pub(super) fn boot(shared: &'a Arc<Shared>, cause: Option<CommandId>) -> Self {
        Self::of(Kind::Boot, shared, cause)
    }

    pub(super) fn addition(shared: &'a Arc<Shared>, cause: Option<CommandId>) -> Self {
        Self::of(Kind::Addition, shared, cause)
    }

    pub(super) fn restart(shared: &'a Arc<Shared>, cause: Option<CommandId>) -> Self {
        Self::of(Kind::Restart, shared, cause)
    }

    pub(super) fn rewiring(shared: &'a Arc<Shared>, from: Topology, cause: Option<CommandId>) -> Self {
        Self::of(Kind::Rewiring(from), shared, cause)
    }

    fn of(kind: Kind, shared: &'a Arc<Shared>, cause: Option<CommandId>) -> Self {
        Self { shared, kind, cause, nodes: Vec::new(), stays: false, settled: false }
    }

    /// Whether what it starts are the cluster's first nodes.
    pub(super) fn is_boot(&self) -> bool {
        self.kind == Kind::Boot
    }

    /// This run of this node was started.
    pub(super) fn add(&mut self, index: usize, run: u64) {
        self.nodes.push((index, run));
    }

    /// What was to come about has, and what it is in place of is being dropped. It is still undone when that fails, but not
    /// when it is called off: links that are about to end cannot be dialled anew yet.
    pub(super) fn stays(&mut self) {
        self.stays = true;
    }

    /// Why waiting for it is pointless, if something else has taken down what it started.
    pub(super) fn interrupted(&self, state: &State) -> Option<ClusterError> {
        if state.phase != Phase::Up {
            return Some(ClusterError::Shutdown);
        }
        let &(node_index, _) = self.nodes.iter().find(|&&(index, run)| !state.is_current(index, run))?;
        Some(ClusterError::Spawn {
            node_index,
            reason: "it went down while it was joining the mesh; look who took it down, then try again"
                .to_owned(),
        })
    }

    /// Ends the attempt: when `outcome` is an error, returns once everything it started is down again.
    pub(super) async fn finish<T>(mut self, outcome: Result<T, ClusterError>) -> Result<T, ClusterError> {
        match outcome {
            Ok(done) => {
                self.settled = true;
                Ok(done)
            }
            Err(error) => {
                for mesh in self.take_down(&error.to_string()) {
                    mesh.closed().await;
                }
                Err(error)
            }
        }
    }

    /// Takes everything down that is still up, and says so in the log. Nothing here waits.
    fn take_down(&mut self, reason: &str) -> Vec<Mesh> {
        if mem::replace(&mut self.settled, true) {
            return Vec::new();
        }
        let Self { shared, kind, cause, ref nodes, .. } = *self;
        let (meshes, wiring) = shared.change(|state| {
            let mut meshes: Vec<Mesh> = Vec::new();
            for &(index, run) in nodes {
                if state.is_current(index, run) {
                    meshes.extend(match kind {
                        Kind::Boot | Kind::Addition => shared.log_shutdown(state, index, cause),
                        Kind::Restart | Kind::Rewiring(_) => shared.log_crash(state, index, cause),
                    });
                }
            }
            if state.phase != Phase::Up {
                return (meshes, None);
            }
            if kind == Kind::Boot {
                // Said when the last of it is down.
                state.failed = Some(reason.to_owned());
                state.phase = Phase::Stopping { cause };
                shared.stop_if_over(state);
                return (meshes, None);
            }
            shared.log.append(None, cause, EventKind::ClusterFailed { reason: reason.to_owned() });
            if let Kind::Rewiring(former) = kind {
                state.topology = former;
                shared.log.append(None, cause, EventKind::TopologyChanged { topology: former });
            }
            // What had been made is not wanted, and what may have been dropped for it is.
            let wiring = state.wire(|_| false, cause);
            state.begin_dropping_surplus(cause);
            (meshes, Some(wiring))
        });
        if let Some(mut wiring) = wiring {
            wiring.begin();
        }
        for mesh in &meshes {
            match kind {
                Kind::Boot | Kind::Addition => mesh.begin_shutdown(cause),
                Kind::Restart | Kind::Rewiring(_) => mesh.begin_crash(),
            }
        }
        meshes
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.stays {
            self.take_down("it was called off");
        }
    }
}
