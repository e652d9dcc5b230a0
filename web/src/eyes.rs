//! What one node sees, held against what the event log says.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::{
    DaemonId, GroupHealth, GroupId, GroupKind, GroupMember, GroupView, Health, Lifecycle, Maintenance,
    MigrationId, NodeId, NodeSnapshot, NodeState, NodeView, Snapshot,
};

/// The last answer to what a node sees.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Eyes {
    /// Whose eyes.
    pub(crate) node: NodeId,
    /// What they see, or why that is not known, with what to do about it.
    pub(crate) seen: Result<Seen, (String, String)>,
}

/// What a node sees, and how far that is true.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// What it sees.
    pub(crate) view: NodeView,
    /// The other nodes, those of the cluster by place, then those that are in it no more.
    pub(crate) others: Vec<Other>,
    /// Daemons it knows, wherever they are.
    pub(crate) daemons: usize,
    /// Copies that stand by in groups it knows, which are none of those.
    pub(crate) standbys: usize,
    /// Migrations under way that it knows, wherever they began.
    pub(crate) migrations: usize,
    /// What it sees otherwise than it is.
    pub(crate) differences: Vec<Difference>,
}

/// Another node, seen and in truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Other {
    /// Which.
    pub(crate) id: NodeId,
    /// Whether the node knows it at all.
    pub(crate) known: bool,
    /// The node's verdict; none without a session.
    pub(crate) verdict: Option<Health>,
    /// The round-trip time the node measures, in microseconds.
    pub(crate) rtt_us: Option<u64>,
    /// What it does in truth; none where it is no member.
    pub(crate) state: Option<NodeState>,
    /// Whether anything about it is otherwise than the node sees it.
    pub(crate) differs: bool,
}

/// Something that a node sees otherwise than it is by the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// It doubts a peer that runs; `cut` where nothing gets from there to here on purpose.
    Doubts { peer: NodeId, verdict: Health, cut: bool },
    /// It has not given up a peer that does not run.
    Trusts { peer: NodeId, verdict: Health, state: NodeState },
    /// It finds a peer Healthy that finds it otherwise; `cut` where nothing gets from here to there on purpose.
    Unrequited { peer: NodeId, verdict: Health, cut: bool },
    /// It has no verdict on a peer with which it holds a session.
    Verdictless { peer: NodeId },
    /// It does not know a member.
    Unaware { peer: NodeId },
    /// It knows somebody who is no member any more.
    Departed { peer: NodeId },
    /// It takes a node's service, or its own, for another than it is.
    Service { node: NodeId, seen: (Maintenance, bool), is: (Maintenance, bool) },
    /// It does not know that a daemon is there.
    DaemonUnknown { daemon: DaemonId, is: NodeId },
    /// It takes a daemon to be where none is.
    DaemonGone { daemon: DaemonId, seen: NodeId },
    /// It takes a daemon to be elsewhere than it is.
    DaemonElsewhere { daemon: DaemonId, seen: NodeId, is: NodeId },
    /// It takes a daemon to be doing something else than it does.
    DaemonDoes { daemon: DaemonId, node: NodeId, seen: Lifecycle, is: Lifecycle },
    /// It does not know a group.
    GroupUnknown { group: GroupId },
    /// It knows a group that there is no more.
    GroupGone { group: GroupId },
    /// It takes a group to be doing better or worse than it is.
    GroupHealth { group: GroupId, seen: GroupHealth, is: GroupHealth },
    /// It takes a group to be looked after by another node.
    GroupLeader { group: GroupId, seen: NodeId, is: NodeId },
    /// It has members of a group in other places.
    GroupPlaces { group: GroupId },
    /// It does not know that a daemon is moving.
    MigrationUnknown { daemon: DaemonId, target: NodeId },
    /// It takes a daemon to be moving that is not.
    MigrationOver { daemon: DaemonId, target: NodeId },
}

impl Difference {
    /// Which other node it is about, where it is about one.
    pub(crate) fn peer(&self) -> Option<NodeId> {
        match *self {
            Self::Doubts { peer, .. }
            | Self::Trusts { peer, .. }
            | Self::Unrequited { peer, .. }
            | Self::Verdictless { peer }
            | Self::Unaware { peer }
            | Self::Departed { peer } => Some(peer),
            Self::Service { node, .. } => Some(node),
            _ => None,
        }
    }

    /// What tests know it by.
    pub(crate) fn slug(&self) -> &'static str {
        match self {
            Self::Doubts { .. } => "doubts",
            Self::Trusts { .. } => "trusts",
            Self::Unrequited { .. } => "unrequited",
            Self::Verdictless { .. } => "verdictless",
            Self::Unaware { .. } => "unaware",
            Self::Departed { .. } => "departed",
            Self::Service { .. } => "service",
            Self::DaemonUnknown { .. }
            | Self::DaemonGone { .. }
            | Self::DaemonElsewhere { .. }
            | Self::DaemonDoes { .. } => "daemon",
            Self::GroupUnknown { .. }
            | Self::GroupGone { .. }
            | Self::GroupHealth { .. }
            | Self::GroupLeader { .. }
            | Self::GroupPlaces { .. } => "group",
            Self::MigrationUnknown { .. } | Self::MigrationOver { .. } => "migration",
        }
    }
}

impl Seen {
    /// Holds a view against the truth of the same moment.
    pub(crate) fn new(view: NodeView, truth: &Snapshot) -> Self {
        let differences = differences(&view, truth);
        let others = others(&view, truth, &differences);
        let (daemons, migrations) = (seen_daemons(&view).len(), seen_migrations(&view).len());
        let standbys = seen_standbys(&view);
        Self { view, others, daemons, standbys, migrations, differences }
    }
}

fn others(view: &NodeView, truth: &Snapshot, differences: &[Difference]) -> Vec<Other> {
    let differing: BTreeSet<NodeId> = differences.iter().filter_map(Difference::peer).collect();
    let ids: BTreeSet<NodeId> = truth.nodes.keys().chain(view.peers.keys()).copied().collect();
    let other = |id: NodeId| {
        let seen = view.peers.get(&id);
        Other {
            id,
            known: seen.is_some(),
            verdict: seen.and_then(|peer| peer.health),
            rtt_us: seen.and_then(|peer| peer.rtt_us),
            state: truth.nodes.get(&id).map(|node| node.state),
            differs: differing.contains(&id),
        }
    };
    let mut others: Vec<Other> = ids.into_iter().filter(|id| *id != view.node).map(other).collect();
    others.sort_by_key(|other| (truth.nodes.get(&other.id).map_or(u32::MAX, |node| node.index), other.id));
    others
}

/// What a node sees otherwise than it is: first of nodes, by place, then of what runs on them.
fn differences(view: &NodeView, truth: &Snapshot) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut members: Vec<(NodeId, &NodeSnapshot)> =
        truth.nodes.iter().map(|(&id, node)| (id, node)).collect();
    members.sort_by_key(|(_, node)| node.index);
    for (id, node) in members {
        if id == view.node {
            found.extend(of_service(id, (view.maintenance, view.cordoned), node));
        } else {
            found.extend(of_peer(view, id, node, truth.nodes.get(&view.node)));
            found.extend(view.peers.get(&id).and_then(|peer| {
                let said = !peer.kinds.is_empty();
                of_service(id, (peer.maintenance, peer.cordoned), node).filter(|_| said)
            }));
        }
    }
    let departed = view.peers.keys().filter(|id| !truth.nodes.contains_key(id));
    found.extend(departed.map(|&peer| Difference::Departed { peer }));
    found.extend(of_daemons(view, truth));
    found.extend(of_groups(view, truth));
    found.extend(of_migrations(view, truth));
    found
}

fn of_peer(
    view: &NodeView,
    peer: NodeId,
    node: &NodeSnapshot,
    own: Option<&NodeSnapshot>,
) -> Option<Difference> {
    if node.state == NodeState::Leaving {
        // Whether one has heard of that already makes no difference.
        return None;
    }
    let up = node.state == NodeState::Running;
    let Some(seen) = view.peers.get(&peer) else {
        // Who is down is forgotten by and by, and rightly.
        return (node.state != NodeState::Crashed).then_some(Difference::Unaware { peer });
    };
    let is_cut = |from: &NodeSnapshot, to: NodeId| from.faults.get(&to).is_some_and(|fault| fault.cut);
    match seen.health {
        None => {
            let holds = own.is_some_and(|own| own.peers.contains_key(&peer));
            (up && holds).then_some(Difference::Verdictless { peer })
        }
        Some(Health::Unreachable) if !up => None,
        Some(verdict) if !up => Some(Difference::Trusts { peer, verdict, state: node.state }),
        Some(Health::Healthy) => {
            // That nobody hears who stands still or is down goes without saying.
            let own = own.filter(|own| own.state == NodeState::Running)?;
            let back = node.peers.get(&view.node).map(|session| session.health);
            let verdict = back.filter(|back| *back != Health::Healthy)?;
            Some(Difference::Unrequited { peer, verdict, cut: is_cut(own, peer) })
        }
        Some(verdict) => Some(Difference::Doubts { peer, verdict, cut: is_cut(node, view.node) }),
    }
}

fn of_service(id: NodeId, seen: (Maintenance, bool), node: &NodeSnapshot) -> Option<Difference> {
    let is = (node.maintenance, node.cordoned);
    let serves = matches!(node.state, NodeState::Running | NodeState::Paused);
    (serves && seen != is).then_some(Difference::Service { node: id, seen, is })
}

fn seen_daemons(view: &NodeView) -> BTreeMap<(DaemonId, NodeId), Lifecycle> {
    let own = view.daemons.iter().map(|(&id, own)| ((id, view.node), own.daemon.lifecycle));
    let stated = view.peers.iter().flat_map(|(&node, peer)| {
        peer.daemons.iter().map(move |(&id, stated)| ((id, node), stated.lifecycle))
    });
    own.chain(stated).collect()
}

/// How many copies stand by. To nodes those are members of their group; in the event log they are daemons besides.
fn seen_standbys(view: &NodeView) -> usize {
    let daemons = seen_daemons(view);
    let works =
        |member: &GroupMember| member.node.is_some_and(|node| daemons.contains_key(&(member.daemon, node)));
    let members = view.groups.iter().filter(|group| group.kind == GroupKind::Standby);
    members.flat_map(|group| &group.members).filter(|member| member.running && !works(member)).count()
}

fn of_daemons(view: &NodeView, truth: &Snapshot) -> Vec<Difference> {
    let seen = seen_daemons(view);
    // A copy that stands by is told as a daemon in the event log alone. To nodes it is a member of its group.
    let is: BTreeMap<(DaemonId, NodeId), Lifecycle> = (truth.nodes.iter())
        .flat_map(|(&node, one)| {
            one.daemons.values().map(move |daemon| ((daemon.id, node), daemon.lifecycle))
        })
        .filter(|(_, lifecycle)| *lifecycle != Lifecycle::Standby)
        .collect();
    let mut gone: BTreeMap<DaemonId, Vec<NodeId>> = BTreeMap::new();
    // It goes by nothing that those have said whom it has given up.
    let relied_on =
        |node: &NodeId| view.peers.get(node).is_none_or(|peer| peer.health != Some(Health::Unreachable));
    let stale = seen.keys().filter(|place| !is.contains_key(place)).filter(|(_, node)| relied_on(node));
    for (daemon, node) in stale {
        gone.entry(*daemon).or_default().push(*node);
    }
    let mut found = Vec::new();
    for (&(daemon, node), &does) in &is {
        match seen.get(&(daemon, node)) {
            Some(&seen) if seen == does => {}
            Some(&seen) => found.push(Difference::DaemonDoes { daemon, node, seen, is: does }),
            None => found.push(match gone.get_mut(&daemon).and_then(Vec::pop) {
                Some(seen) => Difference::DaemonElsewhere { daemon, seen, is: node },
                None => Difference::DaemonUnknown { daemon, is: node },
            }),
        }
    }
    let gone = gone.into_iter().flat_map(|(daemon, nodes)| nodes.into_iter().map(move |node| (daemon, node)));
    found.extend(gone.map(|(daemon, seen)| Difference::DaemonGone { daemon, seen }));
    found
}

fn of_groups(view: &NodeView, truth: &Snapshot) -> Vec<Difference> {
    let seen: BTreeMap<GroupId, &GroupView> = view.groups.iter().map(|group| (group.id, group)).collect();
    let places =
        |group: &GroupView| group.members.iter().map(|one| (one.daemon, one.node)).collect::<Vec<_>>();
    let mut found = Vec::new();
    for (&group, is) in &truth.groups {
        let Some(seen) = seen.get(&group) else {
            found.push(Difference::GroupUnknown { group });
            continue;
        };
        if seen.health != is.health {
            found.push(Difference::GroupHealth { group, seen: seen.health, is: is.health });
        }
        if seen.leader != is.leader {
            found.push(Difference::GroupLeader { group, seen: seen.leader, is: is.leader });
        }
        if places(seen) != places(is) {
            found.push(Difference::GroupPlaces { group });
        }
    }
    let gone = seen.into_keys().filter(|group| !truth.groups.contains_key(group));
    found.extend(gone.map(|group| Difference::GroupGone { group }));
    found
}

fn seen_migrations(view: &NodeView) -> BTreeMap<MigrationId, (DaemonId, NodeId)> {
    let own = view.migrations.iter().filter(|own| !own.phase.is_over());
    let own = own.map(|own| (own.id, (own.daemon, own.target)));
    let stated = view.peers.values().flat_map(|peer| &peer.moving).filter(|one| !one.phase.is_over());
    own.chain(stated.map(|one| (one.id, (one.daemon, one.target)))).collect()
}

fn of_migrations(view: &NodeView, truth: &Snapshot) -> Vec<Difference> {
    let seen = seen_migrations(view);
    let is: BTreeMap<MigrationId, (DaemonId, NodeId)> = (truth.migrations.values())
        .filter(|one| !one.view.phase.is_over())
        .map(|one| (one.view.id, (one.view.daemon, one.view.target)))
        .collect();
    let unknown = is.iter().filter(|(id, _)| !seen.contains_key(id));
    let over = seen.iter().filter(|(id, _)| !is.contains_key(id));
    unknown
        .map(|(_, &(daemon, target))| Difference::MigrationUnknown { daemon, target })
        .chain(over.map(|(_, &(daemon, target))| Difference::MigrationOver { daemon, target }))
        .collect()
}

#[cfg(test)]
mod tests {
    use meshground_shared::{
        DaemonHealth, DaemonView, Epoch, LinkFault, MigrationPhase, MigrationSnapshot, MigrationView,
        PeerSeen, PeerSnapshot, Role, StatedDaemon, StatedMigration,
    };

    use super::*;
    use crate::fixtures;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    /// Three nodes that hold sessions with each other, and what the first of them sees: just that.
    fn calm() -> (NodeView, Snapshot) {
        let mut truth = Snapshot::new(Epoch(1));
        for (index, id) in (0..).zip([A, B, C]) {
            let mut node = fixtures::member(index);
            for peer in [A, B, C].into_iter().filter(|peer| *peer != id) {
                node.peers.insert(peer, session(Health::Healthy));
            }
            truth.nodes.insert(id, node);
        }
        let peers = [B, C].map(|id| (id, fixtures::seen(Some(Health::Healthy)))).into();
        (NodeView { peers, ..fixtures::view(A) }, truth)
    }

    fn session(health: Health) -> PeerSnapshot {
        let address = "127.0.0.1:4000".parse().unwrap();
        PeerSnapshot { address, role: Role::Initiator, health, since_us: 0, heard: true }
    }

    fn node(truth: &mut Snapshot, id: NodeId) -> &mut NodeSnapshot {
        truth.nodes.get_mut(&id).unwrap()
    }

    fn peer(view: &mut NodeView, id: NodeId) -> &mut PeerSeen {
        view.peers.get_mut(&id).unwrap()
    }

    #[test]
    fn who_sees_what_is_so_sees_no_differences() {
        let (view, truth) = calm();
        let seen = Seen::new(view, &truth);
        assert_eq!(seen.differences, []);
        assert_eq!(seen.others.iter().map(|other| other.id).collect::<Vec<_>>(), [B, C]);
        assert!(seen.others.iter().all(|other| other.known && !other.differs));
    }

    #[test]
    fn who_is_deaf_doubts_a_peer_that_runs_and_who_is_mute_trusts_one_that_doubts_it() {
        let (mut view, mut truth) = calm();
        node(&mut truth, B).faults.insert(A, LinkFault::CUT);
        node(&mut truth, A).peers.insert(B, session(Health::Unreachable));
        peer(&mut view, B).health = Some(Health::Unreachable);
        let doubts = Difference::Doubts { peer: B, verdict: Health::Unreachable, cut: true };
        let seen = Seen::new(view, &truth);
        assert_eq!(seen.differences, [doubts]);
        assert_eq!(seen.others.iter().map(|other| other.differs).collect::<Vec<_>>(), [true, false]);

        let peers = [A, C].map(|id| (id, fixtures::seen(Some(Health::Healthy)))).into();
        let other_end = NodeView { peers, ..fixtures::view(B) };
        let unrequited = Difference::Unrequited { peer: A, verdict: Health::Unreachable, cut: true };
        assert_eq!(Seen::new(other_end.clone(), &truth).differences, [unrequited]);
        node(&mut truth, B).state = NodeState::Paused;
        assert_eq!(
            Seen::new(other_end, &truth).differences,
            [],
            "of one that is paused there is nothing to hear"
        );
    }

    #[test]
    fn of_one_that_is_leaving_nothing_is_seen_otherwise() {
        let (mut view, mut truth) = calm();
        node(&mut truth, C).state = NodeState::Leaving;
        for verdict in [Some(Health::Healthy), Some(Health::Suspect), None] {
            peer(&mut view, C).health = verdict;
            peer(&mut view, C).cordoned = true;
            assert_eq!(Seen::new(view.clone(), &truth).differences, []);
        }
    }

    #[test]
    fn a_crash_is_seen_otherwise_until_the_peer_is_given_up() {
        let (mut view, mut truth) = calm();
        let state = NodeState::Crashed;
        node(&mut truth, C).state = state;
        for verdict in [Health::Healthy, Health::Suspect] {
            peer(&mut view, C).health = Some(verdict);
            let trusts = Difference::Trusts { peer: C, verdict, state };
            assert_eq!(Seen::new(view.clone(), &truth).differences, [trusts]);
        }
        for verdict in [Some(Health::Unreachable), None] {
            peer(&mut view, C).health = verdict;
            assert_eq!(Seen::new(view.clone(), &truth).differences, []);
        }
        view.peers.remove(&C);
        let seen = Seen::new(view, &truth);
        assert_eq!(seen.differences, [], "it has forgotten it, and rightly");
        assert!(seen.others.iter().any(|other| other.id == C && !other.known));
    }

    #[test]
    fn strangers_and_the_departed_are_told_apart() {
        let (mut view, mut truth) = calm();
        view.peers.remove(&C);
        truth.nodes.remove(&B);
        let seen = Seen::new(view, &truth);
        assert_eq!(seen.differences, [Difference::Unaware { peer: C }, Difference::Departed { peer: B }]);
        assert_eq!(
            seen.others.iter().map(|other| other.state).collect::<Vec<_>>(),
            [Some(NodeState::Running), None]
        );
    }

    #[test]
    fn a_peer_without_a_link_needs_no_verdict_and_one_with_a_session_does() {
        let (mut view, mut truth) = calm();
        peer(&mut view, B).health = None;
        assert_eq!(Seen::new(view.clone(), &truth).differences, [Difference::Verdictless { peer: B }]);
        node(&mut truth, A).peers.remove(&B);
        node(&mut truth, B).peers.remove(&A);
        assert_eq!(Seen::new(view, &truth).differences, []);
    }

    #[test]
    fn service_is_compared_once_a_peer_has_said_anything_and_as_long_as_it_is_up() {
        let (mut view, mut truth) = calm();
        node(&mut truth, B).cordoned = true;
        let (seen, is) = ((Maintenance::Active, false), (Maintenance::Active, true));
        assert_eq!(Seen::new(view.clone(), &truth).differences, [Difference::Service { node: B, seen, is }]);
        peer(&mut view, B).kinds.clear();
        assert_eq!(Seen::new(view.clone(), &truth).differences, []);
        view.cordoned = true;
        assert_eq!(
            Seen::new(view, &truth).differences,
            [Difference::Service { node: A, seen: is, is: seen }]
        );
    }

    #[test]
    fn a_daemon_is_missed_stale_elsewhere_or_doing_something_else() {
        let (mut view, mut truth) = calm();
        let running = Lifecycle::Running;
        for (id, host) in [(1, A), (2, B), (3, C)] {
            node(&mut truth, host).daemons.insert(DaemonId(id), fixtures::daemon(id, "counter"));
        }
        let standby = DaemonView { lifecycle: Lifecycle::Standby, ..fixtures::daemon(5, "counter") };
        node(&mut truth, B).daemons.insert(standby.id, standby);
        // The first is not known; the second is known where it was; the third as it was.
        peer(&mut view, C).daemons.insert(DaemonId(2), stated(running));
        peer(&mut view, C).daemons.insert(DaemonId(3), stated(Lifecycle::BackingOff));
        peer(&mut view, C).daemons.insert(DaemonId(4), stated(running));
        let seen = Seen::new(view, &truth);
        assert_eq!(seen.daemons, 3);
        assert_eq!(
            seen.differences,
            [
                Difference::DaemonUnknown { daemon: DaemonId(1), is: A },
                Difference::DaemonElsewhere { daemon: DaemonId(2), seen: C, is: B },
                Difference::DaemonDoes {
                    daemon: DaemonId(3),
                    node: C,
                    seen: Lifecycle::BackingOff,
                    is: running
                },
                Difference::DaemonGone { daemon: DaemonId(4), seen: C },
            ]
        );
    }

    fn stated(lifecycle: Lifecycle) -> StatedDaemon {
        StatedDaemon { lifecycle, health: DaemonHealth::Healthy, saturation: 0, restarts: 0, member: None }
    }

    fn group(id: u64) -> GroupView {
        GroupView {
            id: GroupId(id),
            kind: GroupKind::Replica,
            name: "web".into(),
            daemon: "echo".into(),
            desired: 1,
            leader: A,
            members: vec![GroupMember { daemon: DaemonId(9), node: Some(B), running: true, synced: None }],
            health: GroupHealth::Healthy,
            lacking: None,
        }
    }

    #[test]
    fn a_group_is_compared_by_what_everybody_can_know_of_it() {
        let (mut view, mut truth) = calm();
        truth.groups = [1, 2].map(|id| (GroupId(id), group(id))).into();
        view.groups = vec![group(2), group(3)];
        // How far a standby is, only its active knows.
        view.groups[0].members[0].synced = Some(7);
        let (unknown, gone) =
            (Difference::GroupUnknown { group: GroupId(1) }, Difference::GroupGone { group: GroupId(3) });
        assert_eq!(Seen::new(view.clone(), &truth).differences, [unknown, gone]);

        truth.groups.remove(&GroupId(1));
        let other = &mut view.groups[0];
        (other.health, other.leader, other.members[0].node) = (GroupHealth::Dead, B, None);
        view.groups.truncate(1);
        let group = GroupId(2);
        assert_eq!(
            Seen::new(view, &truth).differences,
            [
                Difference::GroupHealth { group, seen: GroupHealth::Dead, is: GroupHealth::Healthy },
                Difference::GroupLeader { group, seen: B, is: A },
                Difference::GroupPlaces { group },
            ]
        );
    }

    #[test]
    fn copies_that_stand_by_are_counted_besides_the_one_that_works() {
        let (mut view, truth) = calm();
        let member = |id, node, running| GroupMember { daemon: DaemonId(id), node, running, synced: None };
        let members = vec![
            member(9, Some(B), true),
            member(8, Some(A), true),
            member(7, Some(C), false),
            member(6, None, false),
        ];
        view.groups = vec![GroupView { kind: GroupKind::Standby, members, ..group(1) }, group(2)];
        peer(&mut view, B).daemons.insert(DaemonId(9), stated(Lifecycle::Running));
        let seen = Seen::new(view, &truth);
        assert_eq!((seen.daemons, seen.standbys), (1, 1));
    }

    #[test]
    fn of_migrations_those_under_way_count() {
        let (mut view, mut truth) = calm();
        let moving = |id, phase| MigrationView {
            id: MigrationId(id),
            daemon: DaemonId(id),
            source: A,
            target: B,
            phase,
            bytes_total: 0,
            bytes_done: 0,
            buffered: 0,
            retries: 0,
            elapsed_us: 0,
            phase_us: 0,
            reason: None,
        };
        for (id, phase) in [(1, MigrationPhase::Transfer), (2, MigrationPhase::Complete)] {
            let one = MigrationSnapshot { view: moving(id, phase), at_us: 0 };
            truth.migrations.insert(MigrationId(id), one);
        }
        let stated =
            |id, phase| StatedMigration { id: MigrationId(id), daemon: DaemonId(id), target: B, phase };
        peer(&mut view, C).moving =
            vec![stated(2, MigrationPhase::Replay), stated(3, MigrationPhase::Cancelled)];
        let seen = Seen::new(view.clone(), &truth);
        assert_eq!(seen.migrations, 1);
        assert_eq!(
            seen.differences,
            [
                Difference::MigrationUnknown { daemon: DaemonId(1), target: B },
                Difference::MigrationOver { daemon: DaemonId(2), target: B },
            ]
        );
        peer(&mut view, C).moving.clear();
        view.migrations = vec![moving(1, MigrationPhase::Transfer)];
        assert_eq!(Seen::new(view, &truth).differences, []);
    }
}
