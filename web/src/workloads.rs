//! What runs, in the order in which people read it.

use meshground_shared::{
    DaemonSample, DaemonView, GroupKind, GroupMember, GroupView, Lifecycle, Maintenance, MigrationPhase,
    MigrationSnapshot, MigrationView, NodeId, NodeSnapshot, Snapshot,
};

/// Every daemon: by the nodes' places, then by name.
pub(crate) fn daemons(snapshot: &Snapshot) -> Vec<(NodeId, &DaemonView)> {
    let place = |id: &NodeId| snapshot.nodes.get(id).map_or(u32::MAX, |node| node.index);
    let mut all: Vec<(NodeId, &DaemonView)> = (snapshot.nodes.iter())
        .flat_map(|(&id, node)| node.daemons.values().map(move |daemon| (id, daemon)))
        .collect();
    all.sort_by(|(a, one), (b, other)| (place(a), &one.name, one.id).cmp(&(place(b), &other.name, other.id)));
    all
}

/// How busy a daemon is, in thousandths, and how many events it has worked off: as of its last change
/// or of its last sample, whichever came later.
pub(crate) fn load(daemon: &DaemonView, sample: Option<&DaemonSample>) -> (u16, u64) {
    match sample {
        Some(sample) if sample.processed >= daemon.processed => (sample.saturation, sample.processed),
        _ => (daemon.saturation, daemon.processed),
    }
}

/// Every group, by name.
pub(crate) fn groups(snapshot: &Snapshot) -> Vec<&GroupView> {
    let mut all: Vec<_> = snapshot.groups.values().collect();
    all.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
    all
}

/// Every migration: those under way first, then the latest first.
pub(crate) fn migrations(snapshot: &Snapshot) -> Vec<&MigrationSnapshot> {
    let mut all: Vec<_> = snapshot.migrations.values().collect();
    all.sort_by_key(|it| (it.view.phase.is_over(), std::cmp::Reverse(it.at_us), it.view.id));
    all
}

/// How much of a migration's state has arrived: bytes and their total. None while nobody knows.
pub(crate) fn progress(migration: &MigrationView) -> Option<(u64, u64)> {
    match migration.phase {
        MigrationPhase::Restore
        | MigrationPhase::Replay
        | MigrationPhase::Cutover
        | MigrationPhase::Complete => {
            // State of no size at all has arrived as well.
            let total = migration.bytes_total.max(1);
            Some((total, total))
        }
        _ if migration.bytes_total == 0 => None,
        _ => Some((migration.bytes_done.min(migration.bytes_total), migration.bytes_total)),
    }
}

/// What a member of a group is doing, for a person.
pub(crate) fn member_state(snapshot: &Snapshot, group: &GroupView, member: &GroupMember) -> &'static str {
    let Some(node) = member.node else { return "not placed" };
    if !member.running {
        return "not running";
    }
    if group.kind != GroupKind::Standby {
        return "running";
    }
    let daemon = snapshot.nodes.get(&node).and_then(|node| node.daemons.get(&member.daemon));
    match daemon.map(|daemon| daemon.lifecycle) {
        Some(Lifecycle::Standby) => "standby",
        Some(_) => "active",
        None => "running",
    }
}

/// Whether anything about a node's service is worth a mark: it is out of service or on its way, or
/// takes nothing new.
pub(crate) fn is_out_of_service(node: &NodeSnapshot) -> bool {
    node.maintenance != Maintenance::Active || node.cordoned
}

#[cfg(test)]
mod tests {
    use meshground_shared::{DaemonId, Epoch, GroupHealth, GroupId, MigrationId};

    use super::*;
    use crate::fixtures;

    fn cluster() -> Snapshot {
        let mut snapshot = Snapshot::new(Epoch(1));
        for (id, index) in [(7, 1), (8, 0)] {
            let mut node = fixtures::member(index);
            for (daemon_id, name) in [(1, "b"), (2, "a")] {
                let one = fixtures::daemon(id * 10 + daemon_id, name);
                node.daemons.insert(one.id, one);
            }
            snapshot.nodes.insert(NodeId(id), node);
        }
        snapshot
    }

    #[test]
    fn daemons_stand_by_place_and_then_by_name() {
        let snapshot = cluster();
        let listed: Vec<_> = daemons(&snapshot).iter().map(|(_, daemon)| daemon.id.0).collect();
        assert_eq!(listed, [82, 81, 72, 71]);
    }

    #[test]
    fn of_two_figures_of_a_daemon_the_later_one_is_told() {
        let daemon = DaemonView { saturation: 10, processed: 5, ..fixtures::daemon(1, "a") };
        let sample =
            |processed| DaemonSample { node: NodeId(7), daemon: daemon.id, saturation: 90, processed };
        assert_eq!(load(&daemon, None), (10, 5));
        assert_eq!(load(&daemon, Some(&sample(4))), (10, 5), "it has changed since");
        assert_eq!(load(&daemon, Some(&sample(5))), (90, 5));
        assert_eq!(load(&daemon, Some(&sample(9))), (90, 9));
    }

    fn moving(id: u64, phase: MigrationPhase, at_us: u64) -> MigrationSnapshot {
        let view = MigrationView {
            id: MigrationId(id),
            daemon: DaemonId(1),
            source: NodeId(7),
            target: NodeId(8),
            phase,
            bytes_total: 0,
            bytes_done: 0,
            buffered: 0,
            retries: 0,
            elapsed_us: 0,
            phase_us: 0,
            reason: None,
        };
        MigrationSnapshot { view, at_us }
    }

    #[test]
    fn migrations_under_way_come_before_those_that_are_over() {
        let mut snapshot = cluster();
        for one in [
            moving(1, MigrationPhase::Complete, 10),
            moving(2, MigrationPhase::Failed, 20),
            moving(3, MigrationPhase::Transfer, 5),
        ] {
            snapshot.migrations.insert(one.view.id, one);
        }
        let listed: Vec<_> = migrations(&snapshot).iter().map(|it| it.view.id.0).collect();
        assert_eq!(listed, [3, 2, 1]);
    }

    #[test]
    fn progress_is_told_by_bytes_and_only_when_it_is_known() {
        let at = |phase, bytes_done, bytes_total| {
            progress(&MigrationView { bytes_done, bytes_total, ..moving(1, phase, 0).view })
        };
        assert_eq!(at(MigrationPhase::Snapshot, 0, 0), None);
        assert_eq!(at(MigrationPhase::Transfer, 3, 4), Some((3, 4)));
        assert_eq!(at(MigrationPhase::Transfer, 9, 4), Some((4, 4)), "never more than there is");
        assert_eq!(at(MigrationPhase::Replay, 0, 4), Some((4, 4)));
        assert_eq!(at(MigrationPhase::Complete, 0, 0), Some((1, 1)), "a state of no size");
        assert_eq!(at(MigrationPhase::Failed, 1, 4), Some((1, 4)));
    }

    #[test]
    fn of_a_standby_group_it_is_told_who_works() {
        let mut snapshot = cluster();
        let standby = DaemonView { lifecycle: Lifecycle::Standby, ..fixtures::daemon(72, "a") };
        snapshot.nodes.get_mut(&NodeId(7)).unwrap().daemons.insert(standby.id, standby);
        let member = |id, node: Option<u64>, running| GroupMember {
            daemon: DaemonId(id),
            node: node.map(NodeId),
            running,
            synced: None,
        };
        let mut group = GroupView {
            id: GroupId(5),
            kind: GroupKind::Standby,
            name: "web".into(),
            daemon: "counter".into(),
            desired: 4,
            leader: NodeId(7),
            members: vec![
                member(81, Some(8), true),
                member(72, Some(7), true),
                member(3, None, false),
                member(4, Some(7), false),
            ],
            health: GroupHealth::Healthy,
            lacking: None,
        };
        let states = |group: &GroupView| -> Vec<_> {
            group.members.iter().map(|member| member_state(&snapshot, group, member)).collect()
        };
        assert_eq!(states(&group), ["active", "standby", "not placed", "not running"]);
        group.kind = GroupKind::Replica;
        assert_eq!(states(&group), ["running", "running", "not placed", "not running"]);
    }
}
