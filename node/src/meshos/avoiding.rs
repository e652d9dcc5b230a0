//! Whom this node avoids, on every account: nodes that went silent, and nodes on which members of the groups it looks after
//! did not start or stay.

use std::collections::BTreeMap;

use meshground_shared::{AvoidedNode, CommandId, EventKind, NodeId};

use super::{Avoided, MeshOs};
use crate::time::{Instant, Now};

/// So many reasons at most are named for one node.
const NAMED: usize = 4;

impl MeshOs {
    /// Whom this node avoids, why, and for how long yet.
    pub(super) fn avoided(&self, now: Instant) -> BTreeMap<NodeId, Avoided> {
        let mut all: BTreeMap<NodeId, Vec<Avoided>> = BTreeMap::new();
        for (node, avoided) in self.oversight.avoided.view(now).into_iter().chain(self.groups.refused(now)) {
            all.entry(node).or_default().push(avoided);
        }
        all.into_iter().map(|(node, reasons)| (node, together(reasons))).collect()
    }

    /// Says whom this node avoids, if that is others than before or for another reason.
    pub(super) fn tell_avoided(&mut self, now: Now, cause: Option<CommandId>) {
        let avoided = self.avoided(now.instant);
        let told = &self.oversight.told_avoided;
        let same = avoided.len() == told.len()
            && avoided.iter().zip(told).all(|((a, it), (b, reason))| a == b && it.reason == *reason);
        if same {
            return;
        }
        self.oversight.told_avoided =
            avoided.iter().map(|(&node, avoided)| (node, avoided.reason.clone())).collect();
        let avoided = avoided.into_iter().map(|(node, Avoided { reason, remaining })| AvoidedNode {
            node,
            reason,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        });
        self.happened(EventKind::AvoidChanged { avoided: avoided.collect() }, cause);
        self.oversight.touch();
    }

    /// Avoids nobody any more, on whatever account, and tries again what did not work a moment ago.
    pub(super) fn stop_avoiding(&mut self, now: Now, cause: Option<CommandId>) {
        self.oversight.avoided.clear();
        self.oversight.rest_no_more();
        self.groups.pardon(now.instant);
        self.tell_avoided(now, cause);
    }
}

/// All that is to be said of one node: for as long as the longest of it lasts.
fn together(mut reasons: Vec<Avoided>) -> Avoided {
    reasons.sort_by_key(|avoided| std::cmp::Reverse(avoided.remaining));
    let remaining = reasons.first().map(|longest| longest.remaining).unwrap_or_default();
    let more = reasons.len().saturating_sub(NAMED);
    let mut named: Vec<String> = reasons.into_iter().take(NAMED).map(|avoided| avoided.reason).collect();
    // Not by what lasts longest, which changes as time passes.
    named.sort_unstable();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    Avoided { reason: named.join(", "), remaining }
}
