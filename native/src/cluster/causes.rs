//! Which command an event followed from.
//!
//! A node's driver knows no commands, and much of what it sees comes from timers long after a command was answered.
//! So the cluster remembers the last command that did something to each node and to each link, and later events look
//! there.

use std::collections::BTreeMap;

use meshground_shared::{CommandId, DaemonEnd, DaemonId, DaemonView, EventKind, GroupId, Lifecycle, NodeId};

/// How many commands behind workloads, and how many groups, are remembered.
const REMEMBERED: usize = 4_096;

/// The commands that last did something to each node and link.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// Counts what was done, to tell which of two things is newer.
    deeds: u64,
    nodes: BTreeMap<NodeId, Fate>,
    /// What was done to a link rather than to one of its ends, by its ends, the lower id first.
    links: BTreeMap<(NodeId, NodeId), Deed>,
    /// The last that was done to any node or link.
    latest: Deed,
    /// When commands were first seen behind something that happened to workloads.
    seen: BTreeMap<CommandId, u64>,
    /// The last that was done to each group or to members of it, as far as that was seen.
    groups: BTreeMap<GroupId, Deed>,
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
        self.latest = deed;
    }

    /// The cluster has another member, or stops.
    pub(super) fn changed(&mut self, cause: Option<CommandId>) {
        self.latest = self.deed(cause);
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

    /// Why something happens to what runs on nodes, of which `said` is the command that the node names, and `known` the
    /// daemon on that node before this.
    ///
    /// What a group does by itself, it does because of the last that was done to it, to one of its members, or to nodes
    /// and links, but the node goes by the command that made it what it is to be. What a daemon does by itself has no
    /// such reason.
    pub(super) fn of_workload(
        &mut self,
        kind: &EventKind,
        known: Option<&DaemonView>,
        said: Option<CommandId>,
    ) -> Option<CommandId> {
        let deed = said.map(|cause| self.first_seen(cause)).unwrap_or_default();
        let group = group_of(kind, known);
        let its = group.and_then(|group| self.groups.get(&group)).copied().unwrap_or_default();
        let (latest, cause) = match kind {
            // It is no command that has the group change then.
            EventKind::DaemonChanged { daemon } if has_crashed(daemon.lifecycle) => (self.deed(None), said),
            kind if is_of_a_group(kind, known, said) => (its.max(deed), its.max(deed).max(self.latest).cause),
            _ => (its.max(deed), said),
        };
        if let Some(group) = group {
            self.groups.insert(group, latest);
            drop_oldest(&mut self.groups, |deed| deed.order);
        }
        cause
    }

    fn first_seen(&mut self, cause: CommandId) -> Deed {
        if let Some(&order) = self.seen.get(&cause) {
            return Deed { order, cause: Some(cause) };
        }
        let deed = self.deed(Some(cause));
        self.seen.insert(cause, deed.order);
        drop_oldest(&mut self.seen, |order| *order);
        deed
    }

    fn link(&self, one: NodeId, other: NodeId) -> Deed {
        self.links.get(&ends(one, other)).copied().unwrap_or_default()
    }
}

/// The daemon that something happened to.
pub(super) fn subject(kind: &EventKind) -> Option<DaemonId> {
    match kind {
        EventKind::DaemonChanged { daemon } => Some(daemon.id),
        EventKind::DaemonGone { daemon, .. } => Some(*daemon),
        EventKind::MigrationChanged { migration } => Some(migration.daemon),
        _ => None,
    }
}

/// The group that something happened to.
fn group_of(kind: &EventKind, known: Option<&DaemonView>) -> Option<GroupId> {
    let member = match kind {
        EventKind::GroupChanged { group } => return Some(group.id),
        EventKind::GroupGone { group } => return Some(*group),
        EventKind::DaemonChanged { daemon } => daemon.member,
        _ => known?.member,
    };
    member.map(|place| place.group)
}

/// Whether it may be the doing of a group.
fn is_of_a_group(kind: &EventKind, known: Option<&DaemonView>, said: Option<CommandId>) -> bool {
    let was_member = known.is_some_and(|known| known.member.is_some());
    match kind {
        EventKind::GroupChanged { .. } | EventKind::GroupGone { .. } => true,
        EventKind::DaemonChanged { daemon } => {
            let is_told = matches!(daemon.lifecycle, Lifecycle::Migrating | Lifecycle::Stopping);
            let is_other = known.is_none_or(|known| known.lifecycle != daemon.lifecycle);
            daemon.member.is_some() && is_other && (is_told || daemon.restarts == 0)
        }
        EventKind::DaemonGone { reason, .. } => match reason {
            DaemonEnd::Evicted | DaemonEnd::Superseded => true,
            DaemonEnd::Migrated => was_member,
            DaemonEnd::Stopped | DaemonEnd::Killed => false,
        },
        EventKind::MigrationChanged { .. } => was_member && said.is_none(),
        _ => false,
    }
}

fn has_crashed(lifecycle: Lifecycle) -> bool {
    matches!(lifecycle, Lifecycle::BackingOff | Lifecycle::CrashLooping | Lifecycle::Failed)
}

fn drop_oldest<K: Copy + Ord, V>(known: &mut BTreeMap<K, V>, order: impl Fn(&V) -> u64) {
    if known.len() > REMEMBERED
        && let Some(oldest) = known.iter().min_by_key(|(_, it)| order(it)).map(|(&key, _)| key)
    {
        known.remove(&oldest);
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
