//! Waiting until a node has heard of what was done elsewhere.
//!
//! What a cluster does is in its log at once, but its nodes hear of each other's daemons and groups by and by, within some
//! dozen milliseconds. A node that is asked for something with what another has just made would find that there is no such
//! thing. So whoever asks one waits here first: only for what is there by the log, and not for ever.

use std::time::Duration;

use meshground_node::{DaemonId, GroupId, MeshOs, MigrationId, Node, NodeId};
use meshground_shared::{IceVerb, Snapshot};
use tokio::time::timeout;

use super::{ClusterHarness, ClusterNode};
use crate::log::EventLog;

/// How long it may take, as long as a delivery to a daemon may.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// How long what nodes offer may take to be known to another. Less, as one may have said all it will ever offer.
const OFFERED_WITHIN: Duration = Duration::from_secs(2);

/// What a node has to have heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// That a daemon runs, and where.
    Daemon(DaemonId),
    /// That there is a group.
    Group(GroupId),
    /// That a daemon moves.
    Migration(MigrationId),
}

impl Subject {
    /// What a break-glass command is about, apart from nodes.
    pub(crate) fn of(verb: &IceVerb) -> Option<Self> {
        match *verb {
            IceVerb::FreezeCluster { .. } | IceVerb::ThawCluster | IceVerb::FlushAvoidLists => None,
            IceVerb::ForceEvictReplica { group, .. } => Some(Self::Group(group)),
            IceVerb::ForceRestartDaemon { daemon } => Some(Self::Daemon(daemon)),
            IceVerb::ForceCutover { migration } | IceVerb::KillMigration { migration } => {
                Some(Self::Migration(migration))
            }
        }
    }

    /// Whether it is there at all, by the log.
    fn is_there(self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Daemon(id) => snapshot.nodes.values().any(|node| node.daemons.contains_key(&id)),
            Self::Group(id) => snapshot.groups.contains_key(&id),
            Self::Migration(id) => {
                snapshot.migrations.get(&id).is_some_and(|known| !known.view.phase.is_over())
            }
        }
    }

    /// Whether a node has heard of it.
    fn is_known(self, os: &MeshOs, node: &mut Node) -> bool {
        match self {
            Self::Daemon(id) => os.host_of(id).is_some(),
            Self::Group(id) => os.group(id).is_some(),
            Self::Migration(id) => os.picture(node).migrations.contains_key(&id),
        }
    }
}

impl ClusterHarness {
    /// Waits until `node` has heard of `subject`; for 10 s at most, and only for as long as that is there by the log. What
    /// became of it, whoever asks the node is told.
    pub(crate) async fn heard(&self, node: &ClusterNode, subject: Subject) {
        let (runtime, log) = (node.daemon_runtime(), self.log());
        let heard = runtime.until_known(move |os, node| subject.is_known(os, node));
        let either = async {
            tokio::select! {
                biased;
                () = is_gone(&log, subject) => {}
                () = heard => {}
            }
        };
        let _ = timeout(HEARD_WITHIN, either).await;
    }

    /// Waits until `node` knows that every running member makes daemons of this kind; for 2 s at most, as a placement tells
    /// who is missing.
    pub(crate) async fn offers_known(&self, node: &ClusterNode, kind: &str) {
        let by_all = |offering: &[NodeId]| {
            let known = |node: &ClusterNode| offering.contains(&node.node_id());
            self.running_nodes().is_ok_and(|nodes| nodes.iter().all(known))
        };
        self.offered(node, kind, by_all).await;
    }

    /// Waits until `node` knows that `other` makes daemons of this kind; for 2 s at most.
    pub(crate) async fn offer_known(&self, node: &ClusterNode, other: NodeId, kind: &str) {
        self.offered(node, kind, |offering| offering.contains(&other)).await;
    }

    async fn offered(&self, node: &ClusterNode, kind: &str, wanted: impl Fn(&[NodeId]) -> bool) {
        // Whoever is not known by then may be known to be gone.
        let _ = timeout(OFFERED_WITHIN, node.daemon_runtime().until_offered(kind, wanted)).await;
    }
}

/// Returns when the log does not tell of `subject`, or not any more.
async fn is_gone(log: &EventLog, subject: Subject) {
    let mut events = log.subscribe().events;
    while log.with_snapshot(|snapshot| subject.is_there(snapshot)) {
        // One who has missed some looks again all the same.
        let _ = events.recv().await;
    }
}
