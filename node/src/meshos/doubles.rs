//! One identity, one daemon: what is to be done about a second one.
//!
//! Whoever has a keypair can start its daemon on two nodes, at once or while these cannot hear each other. Both say so to
//! everyone, and each can tell from that which of the two stays: one that is not down for good, then the later incarnation,
//! then the one on the node with the higher id. The other stops. Members of groups are none of this: the ledger says whose
//! they are; nor are daemons on their way, of which two are stated for a moment.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{DaemonEnd, DaemonId, Lifecycle, LogLevel, NodeId};

use super::{Action, MeshOs};
use crate::{node::Node, time::Now};

/// For so long another node has to say so before the daemon here stops: what was said of a migration or a crash may be late.
const GRACE: Duration = Duration::from_secs(2);

impl MeshOs {
    /// Stops daemons that run on another node that is reached, and are to stay there.
    pub(super) fn mind_doubles(&mut self, now: Now, node: &mut Node) {
        let rivals = self.rivals(node);
        let doubles = &mut self.oversight.doubles;
        doubles.retain(|daemon, _| rivals.contains_key(daemon));
        for (daemon, (host, generation)) in rivals {
            let since = *self.oversight.doubles.entry(daemon).or_insert(now.instant);
            let is_due = now.instant.saturating_since(since) >= GRACE;
            if !is_due || !self.dispatch(now, &Action::StopDaemon { daemon }) {
                continue;
            }
            self.oversight.doubles.remove(&daemon);
            let text = format!("stops: the same daemon runs on node {host}, as incarnation {generation}");
            self.record_failure(now, format!("daemon {daemon} {text}"));
            self.log_line(now, daemon, LogLevel::Warn, text);
            self.registry.stop_as(now.instant, daemon, self.config.grace, DaemonEnd::Superseded);
        }
    }

    /// The daemons here that are to stop for one elsewhere: where that is, and which incarnation.
    fn rivals(&self, node: &mut Node) -> BTreeMap<DaemonId, (NodeId, u64)> {
        let mut rivals = BTreeMap::new();
        for (id, instance) in self.registry.iter() {
            let is_settled = !matches!(instance.lifecycle, Lifecycle::Stopping | Lifecycle::Migrating);
            if !is_settled || instance.held || instance.member.is_some() {
                continue;
            }
            let mine = (instance.lifecycle != Lifecycle::Failed, instance.generation, self.local);
            let others = self.directory.elsewhere(id, self.local).filter(|(_, stated)| {
                !matches!(stated.lifecycle, Lifecycle::Stopping | Lifecycle::Migrating)
            });
            let others = others.map(|(host, it)| (it.lifecycle != Lifecycle::Failed, it.generation, host));
            if let Some((_, generation, host)) = others.max().filter(|others| *others > mine)
                && !self.migrations.concerns(id)
                && self.is_reachable(node, host)
            {
                rivals.insert(id, (host, generation));
            }
        }
        rivals
    }
}
