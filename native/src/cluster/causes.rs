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

    /// Why something happens to what runs on nodes, of which `said` is the command that the node names, `known` the
    /// daemon on that node before this, and `group` the one it belongs to, there or elsewhere.
    ///
    /// What a group does by itself, it does because of the last that was done to it, to one of its members, or to nodes
    /// and links, but the node goes by the command that made it what it is to be. What a daemon does by itself has no
    /// such reason.
    pub(super) fn of_workload(
        &mut self,
        kind: &EventKind,
        known: Option<&DaemonView>,
        group: Option<GroupId>,
        said: Option<CommandId>,
    ) -> Option<CommandId> {
        let deed = said.map(|cause| self.first_seen(cause)).unwrap_or_default();
        let group = group_of(kind).or(group);
        let its = group.and_then(|group| self.groups.get(&group)).copied().unwrap_or_default();
        let (latest, cause) = match kind {
            // It is no command that has the group change then.
            EventKind::DaemonChanged { daemon } if has_crashed(daemon.lifecycle) => (self.deed(None), said),
            kind if is_of_a_group(kind, known, group, said) => {
                let latest = its.max(deed).max(self.latest);
                (latest, latest.cause)
            }
            // It is told before the daemon itself is, when that comes because its group moved it.
            EventKind::DaemonLog { .. } => (its.max(deed), said.or(its.cause)),
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
        EventKind::DaemonGone { daemon, .. } | EventKind::DaemonLog { daemon, .. } => Some(*daemon),
        EventKind::MigrationChanged { migration } => Some(migration.daemon),
        _ => None,
    }
}

/// The group that something happened to, if that says it.
fn group_of(kind: &EventKind) -> Option<GroupId> {
    match kind {
        EventKind::GroupChanged { group } => Some(group.id),
        EventKind::GroupGone { group } => Some(*group),
        EventKind::DaemonChanged { daemon } => daemon.member.map(|place| place.group),
        _ => None,
    }
}

/// Whether it may be the doing of a group.
fn is_of_a_group(
    kind: &EventKind,
    known: Option<&DaemonView>,
    group: Option<GroupId>,
    said: Option<CommandId>,
) -> bool {
    match kind {
        EventKind::GroupChanged { .. } | EventKind::GroupGone { .. } => true,
        EventKind::DaemonChanged { daemon } => {
            let is_told = matches!(daemon.lifecycle, Lifecycle::Migrating | Lifecycle::Stopping);
            let is_other = known.is_none_or(|known| known.lifecycle != daemon.lifecycle);
            daemon.member.is_some() && is_other && (is_told || daemon.restarts == 0)
        }
        EventKind::DaemonGone { reason, .. } => match reason {
            DaemonEnd::Evicted | DaemonEnd::Superseded => true,
            DaemonEnd::Migrated => group.is_some(),
            DaemonEnd::Stopped | DaemonEnd::Killed => false,
        },
        EventKind::MigrationChanged { .. } => group.is_some() && said.is_none(),
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
    use meshground_shared::{DaemonHealth, LogLevel, Member};

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

    const GROUP: GroupId = GroupId(7);

    fn member(lifecycle: Lifecycle) -> DaemonView {
        DaemonView {
            id: DaemonId(1),
            name: String::new(),
            kind: None,
            lifecycle,
            health: DaemonHealth::Healthy,
            saturation: 0,
            restarts: 0,
            generation: 1,
            member: Some(Member { group: GROUP, index: 0 }),
            processed: 0,
        }
    }

    fn changed(lifecycle: Lifecycle) -> EventKind {
        EventKind::DaemonChanged { daemon: member(lifecycle) }
    }

    /// What becomes of the group, which was made because of `BOOT`.
    fn of_the_group(causes: &mut Causes) -> Option<CommandId> {
        causes.of_workload(&EventKind::GroupGone { group: GROUP }, None, None, BOOT)
    }

    #[test]
    fn what_a_group_does_follows_from_the_last_that_was_done_to_it_its_members_nodes_or_links() {
        const LAST: Option<CommandId> = Some(CommandId(1));
        let mut causes = Causes::default();
        assert_eq!(of_the_group(&mut causes), BOOT);
        causes.disturbed(A, LATER);
        assert_eq!(of_the_group(&mut causes), LATER);
        let running = member(Lifecycle::Running);
        assert_eq!(causes.of_workload(&changed(Lifecycle::Stopping), Some(&running), None, LAST), LAST);
        assert_eq!(of_the_group(&mut causes), LAST, "a member was stopped");
        assert_eq!(
            causes.of_workload(&changed(Lifecycle::Starting), None, None, BOOT),
            LAST,
            "and is replaced"
        );
        causes.linked(A, B, LATER);
        assert_eq!(of_the_group(&mut causes), LATER);
        causes.disturbed(B, None);
        assert_eq!(of_the_group(&mut causes), None, "a crash without a command hides the older ones");
    }

    #[test]
    fn what_a_daemon_does_by_itself_follows_from_nothing_that_was_done_to_nodes() {
        let mut causes = Causes::default();
        assert_eq!(of_the_group(&mut causes), BOOT);
        causes.disturbed(A, LATER);
        let running = member(Lifecycle::Running);
        assert_eq!(
            causes.of_workload(&changed(Lifecycle::Running), Some(&running), None, BOOT),
            BOOT,
            "a figure"
        );
        assert_eq!(causes.of_workload(&changed(Lifecycle::BackingOff), Some(&running), None, BOOT), BOOT);
        assert_eq!(of_the_group(&mut causes), None, "it crashed, and nobody had it do so");
    }

    #[test]
    fn a_move_that_nobody_commands_follows_from_what_was_done_last_and_another_from_its_command() {
        let mut causes = Causes::default();
        let running = member(Lifecycle::Running);
        assert_eq!(of_the_group(&mut causes), BOOT);
        causes.changed(LATER);
        let gone = EventKind::DaemonGone { daemon: DaemonId(1), reason: DaemonEnd::Migrated };
        assert_eq!(causes.of_workload(&gone, Some(&running), Some(GROUP), BOOT), LATER);
        let line = EventKind::DaemonLog { daemon: DaemonId(1), level: LogLevel::Info, text: String::new() };
        assert_eq!(causes.of_workload(&line, None, Some(GROUP), None), LATER, "of one that just comes");
        let alone = DaemonView { member: None, ..running };
        assert_eq!(causes.of_workload(&gone, Some(&alone), None, BOOT), BOOT);
    }
}
