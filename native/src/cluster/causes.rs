//! Which command an event followed from.
//!
//! A node's driver knows no commands, and much of what it sees comes from timers long after a command was answered.
//! So the cluster remembers the last command that did something to each node and to each link, and later events look
//! there.

use std::collections::BTreeMap;

use meshground_shared::{
    CommandId, DaemonEnd, DaemonId, DaemonView, EventKind, GroupId, Lifecycle, NodeId, NodeSnapshot, Snapshot,
};

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
    seen: BTreeMap<CommandId, Deed>,
    /// The last that was seen to be done to each group or to members of it.
    groups: BTreeMap<GroupId, Deed>,
    /// What brought members to where they run that name no command.
    arrivals: BTreeMap<DaemonId, Deed>,
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

    /// Why something happens on `node` to what runs there, of which `said` is the command that the node names; `before` is
    /// what the log has shown until now.
    ///
    /// A node goes by the command that made a group or a daemon what it is to be. But what a group does by itself, it does
    /// because of the last that was done to it, to one of its members, or to nodes and links; all but its end, of which whoever
    /// ended it knows the cause, if there is one. What a daemon does by itself has no such reason, but what it says follows from
    /// what brought it to where it runs.
    pub(super) fn of_workload(
        &mut self,
        before: &Snapshot,
        node: NodeId,
        kind: &EventKind,
        said: Option<CommandId>,
    ) -> Option<CommandId> {
        let known = before.nodes.get(&node).and_then(|node| subject(kind, node));
        // What moves in is known elsewhere.
        let anywhere = || known.or_else(|| before.nodes.values().find_map(|node| subject(kind, node)));
        let group = group_of(kind).or_else(|| Some(anywhere()?.member?.group));

        let told = said.map(|command| self.first_seen(command)).unwrap_or_default();
        let done = match kind {
            // What becomes of its members follows from that, or from no command.
            EventKind::GroupGone { .. } => self.deed(said),
            // It is no command that has a group replace a member that crashed.
            _ if is_crash(kind) => self.deed(None),
            _ => self.last_done_to(group).max(told),
        };
        if let Some(group) = group {
            remember(&mut self.groups, group, done);
        }
        let deed = done.max(self.latest);
        match kind {
            // It moved in, or was made, without a command.
            EventKind::DaemonChanged { daemon } if known.is_none() && group.is_some() && said.is_none() => {
                remember(&mut self.arrivals, daemon.id, deed);
            }
            EventKind::DaemonLog { daemon, .. } if known.is_some() && group.is_some() && said.is_none() => {
                return self.arrivals.get(daemon)?.cause;
            }
            _ => {}
        }
        if is_of_a_group(kind, known, group, said) { deed.cause } else { said }
    }

    fn last_done_to(&self, group: Option<GroupId>) -> Deed {
        group.and_then(|group| self.groups.get(&group)).copied().unwrap_or_default()
    }

    /// A command may be named again and again, long after another.
    fn first_seen(&mut self, command: CommandId) -> Deed {
        if let Some(&deed) = self.seen.get(&command) {
            return deed;
        }
        let deed = self.deed(Some(command));
        remember(&mut self.seen, command, deed);
        deed
    }

    fn link(&self, one: NodeId, other: NodeId) -> Deed {
        self.links.get(&ends(one, other)).copied().unwrap_or_default()
    }
}

/// The daemon that something happened to, as it is shown on a node.
fn subject<'a>(kind: &EventKind, node: &'a NodeSnapshot) -> Option<&'a DaemonView> {
    let daemon = match kind {
        EventKind::DaemonChanged { daemon } => daemon.id,
        EventKind::DaemonGone { daemon, .. } | EventKind::DaemonLog { daemon, .. } => *daemon,
        EventKind::MigrationChanged { migration } => migration.daemon,
        _ => return None,
    };
    node.daemons.get(&daemon)
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
        EventKind::GroupChanged { .. } => true,
        EventKind::DaemonChanged { daemon } => {
            let is_told = matches!(daemon.lifecycle, Lifecycle::Migrating | Lifecycle::Stopping);
            let is_other = known.is_none_or(|known| known.lifecycle != daemon.lifecycle);
            let is_by_itself = is_crash(kind) || daemon.restarts > 0 && !is_told;
            daemon.member.is_some() && is_other && !is_by_itself
        }
        EventKind::DaemonGone { reason, .. } => match reason {
            DaemonEnd::Evicted | DaemonEnd::Superseded => true,
            DaemonEnd::Migrated => group.is_some(),
            DaemonEnd::Stopped | DaemonEnd::Killed => false,
        },
        // Nobody commands a move for balance; and lines of a member that moves in may be told before the daemon is.
        EventKind::MigrationChanged { .. } | EventKind::DaemonLog { .. } => group.is_some() && said.is_none(),
        _ => false,
    }
}

fn is_crash(kind: &EventKind) -> bool {
    let EventKind::DaemonChanged { daemon } = kind else { return false };
    matches!(daemon.lifecycle, Lifecycle::BackingOff | Lifecycle::CrashLooping | Lifecycle::Failed)
}

/// The oldest makes room.
fn remember<K: Copy + Ord>(deeds: &mut BTreeMap<K, Deed>, of: K, deed: Deed) {
    deeds.insert(of, deed);
    if deeds.len() > REMEMBERED
        && let Some((&oldest, _)) = deeds.iter().min_by_key(|(_, deed)| deed.order)
    {
        deeds.remove(&oldest);
    }
}

fn ends(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use meshground_shared::{
        DaemonHealth, Epoch, Event, GroupHealth, GroupKind, GroupView, LogLevel, Member, PublicKey,
    };

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
    const MEMBER: DaemonId = DaemonId(1);

    fn member(lifecycle: Lifecycle) -> DaemonView {
        DaemonView {
            id: MEMBER,
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

    /// What the log shows while this runs on `A`.
    fn showing(daemon: Option<DaemonView>) -> Snapshot {
        let mut snapshot = Snapshot::new(Epoch(1));
        let started = EventKind::NodeStarted {
            index: 0,
            address: ([127, 0, 0, 1], 1).into(),
            public_key: PublicKey([0; 32]),
        };
        let changed = daemon.map(|daemon| EventKind::DaemonChanged { daemon });
        for (seq, kind) in (1..).zip([started].into_iter().chain(changed)) {
            snapshot.apply(&Event { seq, at_us: 0, wall_us: 0, node: Some(A), cause: None, kind });
        }
        snapshot
    }

    impl Causes {
        /// Why something happens on `A` while this runs there.
        fn of(
            &mut self,
            running: Option<DaemonView>,
            kind: &EventKind,
            said: Option<CommandId>,
        ) -> Option<CommandId> {
            self.of_workload(&showing(running), A, kind, said)
        }

        /// Why the group changes, which was made because of `BOOT`.
        fn of_the_group(&mut self) -> Option<CommandId> {
            self.of(None, &EventKind::GroupChanged { group: the_group() }, BOOT)
        }
    }

    fn the_group() -> GroupView {
        GroupView {
            id: GROUP,
            kind: GroupKind::Replica,
            name: String::new(),
            daemon: String::new(),
            desired: 1,
            leader: A,
            members: Vec::new(),
            health: GroupHealth::Dead,
            lacking: None,
        }
    }

    fn changed(lifecycle: Lifecycle) -> EventKind {
        EventKind::DaemonChanged { daemon: member(lifecycle) }
    }

    #[test]
    fn what_a_group_does_follows_from_the_last_that_was_done_to_it_its_members_nodes_or_links() {
        const LAST: Option<CommandId> = Some(CommandId(1));
        let mut causes = Causes::default();
        assert_eq!(causes.of_the_group(), BOOT);
        causes.disturbed(A, LATER);
        assert_eq!(causes.of_the_group(), LATER);
        let running = member(Lifecycle::Running);
        assert_eq!(causes.of(Some(running), &changed(Lifecycle::Stopping), LAST), LAST);
        assert_eq!(causes.of_the_group(), LAST, "a member was stopped");
        assert_eq!(causes.of(None, &changed(Lifecycle::Starting), BOOT), LAST, "and is replaced");
        causes.linked(A, B, LATER);
        assert_eq!(causes.of_the_group(), LATER);
        causes.disturbed(B, None);
        assert_eq!(causes.of_the_group(), None, "a crash without a command hides the older ones");
    }

    #[test]
    fn the_end_of_a_group_and_of_its_members_follows_from_what_ended_it_or_from_nothing() {
        let gone = EventKind::GroupGone { group: GROUP };
        let evicted = EventKind::DaemonGone { daemon: MEMBER, reason: DaemonEnd::Evicted };
        for ended in [LATER, None] {
            let mut causes = Causes::default();
            causes.disturbed(A, BOOT);
            assert_eq!(causes.of_the_group(), BOOT);
            // Its members may be told to stop before it is said that it ends, and what is done elsewhere is no reason.
            causes.of(Some(member(Lifecycle::Running)), &changed(Lifecycle::Stopping), ended);
            causes.disturbed(B, BOOT);
            assert_eq!(causes.of(None, &gone, ended), ended);
            let running = member(Lifecycle::Running);
            assert_eq!(causes.of(Some(running), &changed(Lifecycle::Stopping), None), ended);
            assert_eq!(causes.of(Some(member(Lifecycle::Stopping)), &evicted, None), ended);
        }
    }

    #[test]
    fn what_a_daemon_does_by_itself_follows_from_nothing_that_was_done_to_nodes() {
        let mut causes = Causes::default();
        assert_eq!(causes.of_the_group(), BOOT);
        causes.disturbed(A, LATER);
        let running = || Some(member(Lifecycle::Running));
        assert_eq!(causes.of(running(), &changed(Lifecycle::Running), BOOT), BOOT, "a figure");
        assert_eq!(causes.of(running(), &changed(Lifecycle::BackingOff), BOOT), BOOT);
        assert_eq!(causes.of_the_group(), None, "it crashed, and nobody had it do so");
        let again = DaemonView { restarts: 1, ..member(Lifecycle::Starting) };
        let again = EventKind::DaemonChanged { daemon: again };
        assert_eq!(causes.of(Some(member(Lifecycle::BackingOff)), &again, BOOT), BOOT, "it is made anew");
    }

    #[test]
    fn a_move_that_nobody_commands_follows_from_what_was_done_last_and_another_from_its_command() {
        let mut causes = Causes::default();
        assert_eq!(causes.of_the_group(), BOOT);
        causes.changed(LATER);
        let running = member(Lifecycle::Running);
        let gone = EventKind::DaemonGone { daemon: MEMBER, reason: DaemonEnd::Migrated };
        assert_eq!(causes.of(Some(running.clone()), &gone, BOOT), LATER);
        let line = EventKind::DaemonLog { daemon: MEMBER, level: LogLevel::Info, text: String::new() };
        let elsewhere = showing(Some(running.clone()));
        assert_eq!(causes.of_workload(&elsewhere, B, &line, None), LATER, "of one that just comes");
        assert_eq!(causes.of_workload(&elsewhere, B, &line, BOOT), BOOT);
        assert_eq!(
            causes.of(Some(running.clone()), &line, None),
            None,
            "nothing brought it here that is known"
        );
        assert_eq!(causes.of(None, &changed(Lifecycle::Running), None), LATER, "it has come");
        causes.disturbed(B, BOOT);
        assert_eq!(causes.of(Some(running.clone()), &line, None), LATER, "and not what was done since");
        let alone = Some(DaemonView { member: None, ..running });
        assert_eq!(causes.of(alone.clone(), &gone, BOOT), BOOT);
        assert_eq!(causes.of(alone, &line, None), None);
    }

    #[test]
    fn of_all_commands_and_groups_there_ever_were_the_latest_are_remembered() {
        let mut causes = Causes::default();
        for number in 1..=10_000 {
            let gone = EventKind::GroupGone { group: GroupId(number) };
            let command = Some(CommandId(number));
            assert_eq!(causes.of(None, &gone, command), command);
        }
        assert_eq!((causes.seen.len(), causes.groups.len()), (REMEMBERED, REMEMBERED));
        assert!(causes.groups.contains_key(&GroupId(10_000)) && !causes.groups.contains_key(&GroupId(1)));
    }
}
