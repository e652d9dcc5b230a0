//! Which command an event followed from.
//!
//! A node's driver knows no commands, and much of what it sees comes from timers long after a command was answered.
//! So the cluster remembers the last command that did something to each node, and later events look there.

use std::collections::BTreeMap;

use meshground_shared::{CommandId, NodeId};

/// The commands that last did something to each node.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Counts starts, to tell which of two is newer.
    starts: u64,
    nodes: BTreeMap<NodeId, Fate>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    /// When in the order of all starts it last started, and the command behind that.
    started: (u64, Option<CommandId>),
    /// The command behind its last crash, shutdown or restart.
    disturbed: Option<CommandId>,
}

impl Causes {
    /// `node` came up, for the first time.
    pub(super) fn started(&mut self, node: NodeId, cause: Option<CommandId>) {
        self.starts += 1;
        self.nodes.entry(node).or_default().started = (self.starts, cause);
    }

    /// `node` came up again.
    pub(super) fn restarted(&mut self, node: NodeId, cause: Option<CommandId>) {
        self.started(node, cause);
        self.stopped(node, cause);
    }

    /// `node` went down.
    pub(super) fn stopped(&mut self, node: NodeId, cause: Option<CommandId>) {
        self.nodes.entry(node).or_default().disturbed = cause;
    }

    /// `node` is gone for good, and nobody has anything to say about it any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    /// Why two nodes came to a session: the command behind the later of their starts.
    pub(super) fn of_session(&self, one: NodeId, other: NodeId) -> Option<CommandId> {
        let start = |node| self.nodes.get(&node).map(|fate| fate.started);
        start(one).max(start(other)).and_then(|(_, cause)| cause)
    }

    /// Why something is found about `subject`: the command behind its last crash, shutdown or restart.
    pub(super) fn of_finding(&self, subject: NodeId) -> Option<CommandId> {
        self.nodes.get(&subject).and_then(|fate| fate.disturbed)
    }
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
        assert_eq!(causes.of_finding(A), None, "booting does a node no harm");
        causes.stopped(A, LATER);
        assert_eq!(causes.of_finding(A), LATER);
        causes.restarted(A, BOOT);
        assert_eq!(causes.of_finding(A), BOOT);
        causes.stopped(A, None);
        assert_eq!(causes.of_finding(A), None, "a crash without a command hides the older one");
    }

    #[test]
    fn strangers_and_forgotten_nodes_have_no_cause() {
        let mut causes = Causes::default();
        causes.started(A, BOOT);
        causes.stopped(A, LATER);
        causes.forget(A);
        assert_eq!(causes.of_session(A, B), None);
        assert_eq!(causes.of_finding(A), None);
    }
}
