//! Which command an event followed from.
//!
//! A node's driver knows no commands, and much of what it sees comes from timers long after a command was answered.
//! So the cluster remembers the last command that did something to each node and to each link, and later events look
//! there.

use std::collections::BTreeMap;

use meshground_shared::{CommandId, DaemonEnd, EventKind, NodeId};

/// The commands that last did something to each node and link.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Counts what was done, to tell which of two things is newer.
    deeds: u64,
    nodes: BTreeMap<NodeId, Fate>,
    /// What was done to a link rather than to one of its ends, by its ends, the lower id first.
    links: BTreeMap<(NodeId, NodeId), Deed>,
    /// The last that was done to any node.
    latest: Deed,
}

/// Something that was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Deed {
    /// Its place in the order of all that was done; 0 for nothing.
    order: u64,
    /// The command behind it.
    cause: Option<CommandId>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    /// Its last start.
    started: Deed,
    /// Its last crash, shutdown, restart, pause or resumption.
    disturbed: Deed,
}

impl Causes {
    /// `node` came up, for the first time.
    pub(super) fn started(&mut self, node: NodeId, cause: Option<CommandId>) {
        let deed = self.deed(cause);
        self.nodes.entry(node).or_default().started = deed;
    }

    /// `node` came up again.
    pub(super) fn restarted(&mut self, node: NodeId, cause: Option<CommandId>) {
        self.started(node, cause);
        self.disturbed(node, cause);
    }

    /// `node` went down, stands still or goes on.
    pub(super) fn disturbed(&mut self, node: NodeId, cause: Option<CommandId>) {
        let deed = self.deed(cause);
        self.nodes.entry(node).or_default().disturbed = deed;
        self.latest = deed;
    }

    /// The link between two nodes was made, cut, spoilt or mended by itself, not through one of its ends.
    pub(super) fn linked(&mut self, one: NodeId, other: NodeId, cause: Option<CommandId>) {
        let deed = self.deed(cause);
        self.links.insert(ends(one, other), deed);
    }

    fn deed(&mut self, cause: Option<CommandId>) -> Deed {
        self.deeds += 1;
        Deed { order: self.deeds, cause }
    }

    /// `node` is gone for good, and nobody has anything to say about it any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.links.retain(|&(one, other), _| one != node && other != node);
    }

    /// Why two nodes came to a session: the last of their starts and of what was done to their link.
    pub(super) fn of_session(&self, one: NodeId, other: NodeId) -> Option<CommandId> {
        let start = |node| self.nodes.get(&node).map(|fate| fate.started).unwrap_or_default();
        start(one).max(start(other)).max(self.link(one, other)).cause
    }

    /// Why `finder` finds something about `subject`: the last of what was done to that and to their link.
    pub(super) fn of_finding(&self, finder: NodeId, subject: NodeId) -> Option<CommandId> {
        let disturbed = self.nodes.get(&subject).map(|fate| fate.disturbed).unwrap_or_default();
        disturbed.max(self.link(finder, subject)).cause
    }

    /// Why something that nobody asked for happens to what runs on nodes. What a group does by itself, it does because
    /// nodes came or went; what a daemon does by itself has no such reason.
    pub(super) fn of_workload(&self, kind: &EventKind) -> Option<CommandId> {
        let of_a_group = match kind {
            EventKind::GroupChanged { .. } | EventKind::GroupGone { .. } => true,
            EventKind::DaemonChanged { daemon } => daemon.member.is_some() && daemon.restarts == 0,
            EventKind::DaemonGone { reason, .. } => {
                matches!(reason, DaemonEnd::Evicted | DaemonEnd::Superseded)
            }
            _ => false,
        };
        if of_a_group { self.latest.cause } else { None }
    }

    fn link(&self, one: NodeId, other: NodeId) -> Deed {
        self.links.get(&ends(one, other)).copied().unwrap_or_default()
    }
}

fn ends(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const BOOT: Option<CommandId> = Some(CommandId(10));
    const LATER: Option<CommandId> = Some(CommandId(3));

    #[test]
    fn a_session_follows_from_the_later_start_of_its_two_ends() {
        let mut causes = Causes::default();
        causes.started(A, BOOT);
        causes.started(B, LATER);
        assert_eq!(causes.of_session(A, B), LATER);
        assert_eq!(causes.of_session(B, A), LATER);
        causes.restarted(A, None);
        assert_eq!(causes.of_session(A, B), None, "the newer start had no command behind it");
    }

    #[test]
    fn a_finding_follows_from_what_was_last_done_to_its_subject() {
        let mut causes = Causes::default();
        causes.started(A, BOOT);
        assert_eq!(causes.of_finding(B, A), None, "booting does a node no harm");
        causes.disturbed(A, LATER);
        assert_eq!(causes.of_finding(B, A), LATER);
        causes.restarted(A, BOOT);
        assert_eq!(causes.of_finding(B, A), BOOT);
        causes.disturbed(A, None);
        assert_eq!(causes.of_finding(B, A), None, "a crash without a command hides the older one");
    }

    #[test]
    fn what_is_done_to_a_link_is_found_by_its_two_ends_and_nobody_else() {
        const C: NodeId = NodeId(3);
        let mut causes = Causes::default();
        causes.started(A, BOOT);
        causes.disturbed(A, BOOT);
        causes.linked(B, A, LATER);
        assert_eq!((causes.of_finding(A, B), causes.of_finding(B, A)), (LATER, LATER));
        assert_eq!(causes.of_finding(C, A), BOOT);
        assert_eq!((causes.of_session(A, B), causes.of_session(A, C)), (LATER, BOOT));
        causes.disturbed(A, None);
        assert_eq!(causes.of_finding(B, A), None, "what came last counts");
        causes.forget(A);
        assert_eq!(causes.of_session(A, B), None);
    }

    #[test]
    fn strangers_and_forgotten_nodes_have_no_cause() {
        let mut causes = Causes::default();
        causes.started(A, BOOT);
        causes.disturbed(A, LATER);
        causes.forget(A);
        assert_eq!(causes.of_session(A, B), None);
        assert_eq!(causes.of_finding(B, A), None);
    }
}
