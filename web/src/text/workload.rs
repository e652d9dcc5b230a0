//! Daemons, groups, migrations, calls and maintenance in words.

use meshground_shared::{
    CallOutcome, DaemonEnd, DaemonHealth, DaemonView, GroupHealth, GroupKind, GroupView, Lifecycle, LogLevel,
    Maintenance, MigrationPhase, MigrationView,
};

use super::{Tone, bytes, capital, count, duration};
use crate::names::Names;

/// What a daemon does, as people write it.
pub(crate) fn lifecycle(lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        Lifecycle::Starting => "Starting",
        Lifecycle::Running => "Running",
        Lifecycle::Draining => "Draining",
        Lifecycle::Migrating => "Migrating",
        Lifecycle::Standby => "Standby",
        Lifecycle::BackingOff => "Backing off",
        Lifecycle::CrashLooping => "Crash-looping",
        Lifecycle::Stopping => "Stopping",
        Lifecycle::Failed => "Failed",
    }
}

/// What a daemon says of itself.
pub(crate) fn daemon_health(health: DaemonHealth) -> &'static str {
    match health {
        DaemonHealth::Healthy => "Healthy",
        DaemonHealth::Degraded => "Degraded",
        DaemonHealth::Unhealthy => "Unhealthy",
    }
}

/// What a daemon says of itself, for colours and marks.
pub(crate) fn health_tone(health: DaemonHealth) -> Tone {
    match health {
        DaemonHealth::Healthy => Tone::Good,
        DaemonHealth::Degraded => Tone::Warn,
        DaemonHealth::Unhealthy => Tone::Bad,
    }
}

/// What a row has no room for: `Healthy, 12 % busy, 3 events, 1 restart`.
pub(crate) fn figures(daemon: &DaemonView, saturation: u16, processed: u64) -> String {
    let events = if processed == 1 { "event" } else { "events" };
    format!(
        "{}, {} % busy, {processed} {events}, {}",
        daemon_health(daemon.health),
        saturation / 10,
        count(daemon.restarts, "restart"),
    )
}

/// How a daemon is, for colours and marks.
pub(crate) fn daemon_tone(lifecycle: Lifecycle, health: DaemonHealth) -> Tone {
    match (lifecycle, health) {
        (Lifecycle::Failed | Lifecycle::CrashLooping, _) | (_, DaemonHealth::Unhealthy) => Tone::Bad,
        (Lifecycle::BackingOff, _) | (_, DaemonHealth::Degraded) => Tone::Warn,
        (Lifecycle::Running, DaemonHealth::Healthy) => Tone::Good,
        _ => Tone::Plain,
    }
}

/// `counter 3f2a on node 1 is running`.
pub(super) fn daemon_changed(daemon: &DaemonView, node: &str, names: &Names) -> String {
    let does = match daemon.lifecycle {
        Lifecycle::Starting => "is starting",
        Lifecycle::Running => "is running",
        Lifecycle::Draining => "takes nothing new and finishes what it has",
        Lifecycle::Migrating => "is on its way to another node",
        Lifecycle::Standby => "stands by",
        Lifecycle::BackingOff => "crashed and starts again after a pause",
        Lifecycle::CrashLooping => "crashed again and again and stays down for a while",
        Lifecycle::Stopping => "is stopping",
        Lifecycle::Failed => "crashed for good",
    };
    let mut said = format!("{} on {node} {does}", capital(&names.daemon(daemon.id)));
    if daemon.health != DaemonHealth::Healthy {
        said.push_str(", ");
        said.push_str(daemon_health(daemon.health));
    }
    said
}

/// How a daemon ended on a node.
pub(super) fn daemon_gone(who: &str, node: &str, reason: DaemonEnd) -> String {
    let who = capital(who);
    match reason {
        DaemonEnd::Stopped => format!("{who} stopped on {node}"),
        DaemonEnd::Killed => format!("{who} did not stop in time on {node} and was dropped"),
        DaemonEnd::Migrated => format!("{who} moved away from {node}"),
        DaemonEnd::Evicted => format!("{who} was taken from {node}; another node does its work"),
        DaemonEnd::Superseded => format!("{who} on {node} gave way to a newer incarnation elsewhere"),
    }
}

/// How a daemon's end is marked.
pub(super) fn end_tone(reason: DaemonEnd) -> Tone {
    match reason {
        DaemonEnd::Killed => Tone::Warn,
        DaemonEnd::Stopped | DaemonEnd::Migrated | DaemonEnd::Evicted | DaemonEnd::Superseded => Tone::Plain,
    }
}

/// How a line of a daemon's log is marked.
pub(crate) fn log_tone(level: LogLevel) -> Tone {
    match level {
        LogLevel::Debug => Tone::Quiet,
        LogLevel::Info => Tone::Plain,
        LogLevel::Warn => Tone::Warn,
        LogLevel::Error => Tone::Bad,
    }
}

/// How a group's members belong together, as people write it.
pub(crate) fn group_kind(kind: GroupKind) -> &'static str {
    match kind {
        GroupKind::Replica => "Replica",
        GroupKind::Fork => "Fork",
        GroupKind::Standby => "Standby",
    }
}

/// How a group is, as people write it.
pub(crate) fn group_health(health: GroupHealth) -> String {
    match health {
        GroupHealth::Healthy => "Healthy".to_owned(),
        GroupHealth::Degraded { healthy, total } => format!("Degraded, {healthy} of {total}"),
        GroupHealth::Dead => "Dead".to_owned(),
    }
}

/// How a group is, for colours and marks.
pub(crate) fn group_tone(health: GroupHealth) -> Tone {
    match health {
        GroupHealth::Healthy => Tone::Good,
        GroupHealth::Degraded { .. } => Tone::Warn,
        GroupHealth::Dead => Tone::Bad,
    }
}

/// `Group web has all of its 3 members`.
pub(super) fn group_changed(group: &GroupView, names: &Names) -> String {
    let has = match group.health {
        GroupHealth::Healthy if group.desired == 1 => "has its 1 member".to_owned(),
        GroupHealth::Healthy => format!("has all of its {}", count(group.desired, "member")),
        GroupHealth::Degraded { healthy, total } => {
            format!("has {healthy} of its {}", count(total, "member"))
        }
        GroupHealth::Dead => format!("has none of its {}", count(group.desired, "member")),
    };
    let lacking = group.lacking.as_ref().map_or_else(String::new, |why| format!(": {}", names.in_words(why)));
    format!("Group {} {has}{lacking}", group.name)
}

/// How far a migration is, as people write it.
pub(crate) fn phase(phase: MigrationPhase) -> &'static str {
    match phase {
        MigrationPhase::Snapshot => "Snapshot",
        MigrationPhase::Transfer => "Transfer",
        MigrationPhase::Restore => "Restore",
        MigrationPhase::Replay => "Replay",
        MigrationPhase::Cutover => "Cutover",
        MigrationPhase::Complete => "Complete",
        MigrationPhase::Cancelled => "Cancelled",
        MigrationPhase::Failed => "Failed",
    }
}

/// How a migration is, for colours and marks.
pub(crate) fn phase_tone(phase: MigrationPhase) -> Tone {
    match phase {
        MigrationPhase::Complete => Tone::Good,
        MigrationPhase::Cancelled => Tone::Warn,
        MigrationPhase::Failed => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// `counter 3f2a moves from node 0 to node 2: transfer, 1.0 MB of 4.2 MB`.
pub(super) fn migration_changed(migration: &MigrationView, names: &Names) -> String {
    let who = capital(&names.daemon(migration.daemon));
    let (source, target) = (names.name(migration.source), names.name(migration.target));
    let why = migration.reason.as_ref().map_or_else(String::new, |why| format!(": {}", names.in_words(why)));
    match migration.phase {
        MigrationPhase::Complete => {
            let took = duration(migration.elapsed_us);
            format!("{who} moved from {source} to {target} in {took}, {}", bytes(migration.bytes_total))
        }
        MigrationPhase::Cancelled => {
            format!("{who} stays on {source}; its way to {target} was called off{why}")
        }
        MigrationPhase::Failed => format!("{who} stays on {source}; it did not get to {target}{why}"),
        under_way => {
            let mut said =
                format!("{who} moves from {source} to {target}: {}", phase(under_way).to_lowercase());
            if under_way == MigrationPhase::Transfer && migration.bytes_total > 0 {
                let (done, total) = (bytes(migration.bytes_done), bytes(migration.bytes_total));
                said = format!("{said}, {done} of {total}");
            }
            said
        }
    }
}

/// Whether a node serves, as people write it.
pub(crate) fn maintenance(state: Maintenance) -> &'static str {
    match state {
        Maintenance::Active => "Active",
        Maintenance::EnteringMaintenance => "Entering maintenance",
        Maintenance::Maintenance => "Maintenance",
        Maintenance::DrainFailed => "Drain failed",
        Maintenance::ExitingMaintenance => "Leaving maintenance",
        Maintenance::Recovery => "Recovery",
    }
}

/// Whether a node serves, for colours and marks.
pub(crate) fn maintenance_tone(state: Maintenance, cordoned: bool) -> Tone {
    match (state, cordoned) {
        (Maintenance::Active, false) => Tone::Good,
        (Maintenance::DrainFailed, _) => Tone::Bad,
        (Maintenance::EnteringMaintenance | Maintenance::Maintenance, _) | (_, true) => Tone::Warn,
        (Maintenance::ExitingMaintenance | Maintenance::Recovery, false) => Tone::Plain,
    }
}

/// `Node 1 is out of service`.
pub(super) fn maintenance_changed(who: &str, state: Maintenance, cordoned: bool) -> String {
    let is = match (state, cordoned) {
        (Maintenance::Active, false) => "is in service",
        (Maintenance::Active, true) => "is in service, cordoned: nothing new is placed on it",
        (Maintenance::EnteringMaintenance, _) => "is being drained",
        (Maintenance::Maintenance, _) => "is out of service: maintenance",
        (Maintenance::DrainFailed, _) => "could not be drained in time",
        (Maintenance::ExitingMaintenance, _) => "is coming back into service",
        (Maintenance::Recovery, _) => "is back and is given work by and by",
    };
    format!("{who} {is}")
}

/// `Node 0 called echo on node 2: answered in 250 µs`.
pub(super) fn call_finished(
    who: &str,
    peer: &str,
    method: &str,
    outcome: &CallOutcome,
    took_us: u64,
    (there, back): (u64, u64),
) -> String {
    let took = duration(took_us);
    match outcome {
        CallOutcome::Ok => {
            let (there, back) = (bytes(there), bytes(back));
            format!("{who} called {method} on {peer}: answered in {took}, {there} out, {back} back")
        }
        CallOutcome::Error(why) => format!("{who} called {method} on {peer} in vain, after {took}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use meshground_shared::{CommandId, DaemonId, Event, EventKind, GroupId, MigrationId, NodeId, PublicKey};

    use super::*;
    use crate::{
        fixtures,
        text::{sentence, tone},
    };

    const COUNTER: DaemonId = DaemonId(0x3f2a << 48 | 7);

    #[test]
    fn a_daemons_figures_read_as_one_line() {
        let mut daemon = fixtures::daemon(7, "counter");
        assert_eq!(figures(&daemon, 0, 1), "Healthy, 0 % busy, 1 event, 0 restarts");
        (daemon.health, daemon.restarts) = (DaemonHealth::Degraded, 1);
        assert_eq!(figures(&daemon, 129, 5_000_000_000), "Degraded, 12 % busy, 5000000000 events, 1 restart");
    }

    #[test]
    fn a_daemons_life_reads_as_a_story() {
        for (lifecycle, health, said, marked) in [
            (Lifecycle::Running, DaemonHealth::Healthy, "is running", Tone::Good),
            (Lifecycle::Running, DaemonHealth::Degraded, "is running, Degraded", Tone::Warn),
            (Lifecycle::Running, DaemonHealth::Unhealthy, "is running, Unhealthy", Tone::Bad),
            (Lifecycle::Standby, DaemonHealth::Healthy, "stands by", Tone::Plain),
            (
                Lifecycle::BackingOff,
                DaemonHealth::Healthy,
                "crashed and starts again after a pause",
                Tone::Warn,
            ),
            (Lifecycle::Failed, DaemonHealth::Healthy, "crashed for good", Tone::Bad),
        ] {
            let kind = EventKind::DaemonChanged { daemon: DaemonView { lifecycle, health, ..counter() } };
            assert_eq!(tone(&kind), marked, "{lifecycle:?}, {health:?}");
            assert_eq!(told(kind), format!("Counter 3f2a on node 1 {said}"));
        }
        let gone = EventKind::DaemonGone { daemon: COUNTER, reason: DaemonEnd::Killed };
        assert_eq!(told(gone), "Counter 3f2a did not stop in time on node 1 and was dropped");
        let log = EventKind::DaemonLog { daemon: COUNTER, level: LogLevel::Error, text: "no disk".into() };
        assert_eq!(tone(&log), Tone::Bad);
        assert_eq!(told(log), "Counter 3f2a on node 1: no disk");
    }

    #[test]
    fn a_group_says_what_it_has_and_what_it_lacks() {
        for (health, lacking, said) in [
            (GroupHealth::Healthy, None, "Group web has all of its 3 members"),
            (
                GroupHealth::of(2, 3),
                Some("member 2 was on node 0000000000000002, which cannot be reached"),
                "Group web has 2 of its 3 members: member 2 was on node 2, which cannot be reached",
            ),
            (GroupHealth::Dead, None, "Group web has none of its 3 members"),
        ] {
            let group = GroupView { health, lacking: lacking.map(str::to_owned), ..web() };
            let kind = EventKind::GroupChanged { group };
            assert_eq!(tone(&kind), group_tone(health));
            assert_eq!(told(kind), said);
        }
        assert_eq!(told(EventKind::GroupGone { group: GroupId(5) }), "Group web is no more");
    }

    #[test]
    fn a_migration_says_how_far_it_is_and_how_it_ended() {
        let moving = MigrationView {
            id: MigrationId(6),
            daemon: COUNTER,
            source: NodeId(1),
            target: NodeId(2),
            phase: MigrationPhase::Transfer,
            bytes_total: 4 << 20,
            bytes_done: 1 << 20,
            buffered: 0,
            retries: 0,
            elapsed_us: 1_500_000,
            phase_us: 0,
            reason: None,
        };
        let said = |migration: MigrationView| told(EventKind::MigrationChanged { migration });
        assert_eq!(
            said(moving.clone()),
            "Counter 3f2a moves from node 1 to node 2: transfer, 1.0 MB of 4.2 MB"
        );
        let at = |phase, reason: Option<&str>| MigrationView {
            phase,
            reason: reason.map(str::to_owned),
            ..moving.clone()
        };
        assert_eq!(
            said(at(MigrationPhase::Complete, None)),
            "Counter 3f2a moved from node 1 to node 2 in 1.50 s, 4.2 MB"
        );
        assert_eq!(
            said(at(MigrationPhase::Failed, Some("node 0000000000000002 crashed"))),
            "Counter 3f2a stays on node 1; it did not get to node 2: node 2 crashed"
        );
        assert_eq!(phase_tone(MigrationPhase::Failed), Tone::Bad);
    }

    #[test]
    fn service_freezes_and_calls_read_as_sentences() {
        let state = |state, cordoned| EventKind::MaintenanceChanged { state, cordoned };
        assert_eq!(told(state(Maintenance::Active, false)), "Node 1 is in service");
        assert_eq!(tone(&state(Maintenance::Active, true)), Tone::Warn);
        assert_eq!(told(state(Maintenance::DrainFailed, true)), "Node 1 could not be drained in time");
        let freeze = |remaining_ms| EventKind::FreezeChanged { remaining_ms };
        assert_eq!(told(freeze(Some(30_000))), "Node 1 is frozen for at most 30 s");
        assert_eq!(told(freeze(None)), "Node 1 is no longer frozen");
        let call = |outcome| EventKind::CallFinished {
            peer: NodeId(2),
            method: "echo".into(),
            outcome,
            took_us: 250,
            request_bytes: 2,
            response_bytes: 2_048,
        };
        assert_eq!(
            told(call(CallOutcome::Ok)),
            "Node 1 called echo on node 2: answered in 250 µs, 2 B out, 2.0 kB back"
        );
        assert_eq!(
            told(call(CallOutcome::Error("no such method".into()))),
            "Node 1 called echo on node 2 in vain, after 250 µs: no such method"
        );
    }

    fn told(kind: EventKind) -> String {
        let mut names = Names::default();
        for index in 1..3 {
            names.learn(&event(index, started(index)));
        }
        names.learn(&event(1, EventKind::DaemonChanged { daemon: counter() }));
        names.learn(&event(1, EventKind::GroupChanged { group: web() }));
        sentence(&event(1, kind), &names)
    }

    fn event(node: u32, kind: EventKind) -> Event {
        let node = Some(NodeId(node.into()));
        Event { seq: 1, at_us: 1, wall_us: 1, node, cause: Some(CommandId(1)), kind }
    }

    fn started(index: u32) -> EventKind {
        EventKind::NodeStarted {
            index,
            address: "127.0.0.1:1".parse().unwrap(),
            public_key: PublicKey([0; 32]),
        }
    }

    fn counter() -> DaemonView {
        fixtures::daemon(COUNTER.0, "counter")
    }

    fn web() -> GroupView {
        GroupView {
            id: GroupId(5),
            kind: GroupKind::Replica,
            name: "web".into(),
            daemon: "counter".into(),
            desired: 3,
            leader: NodeId(1),
            members: Vec::new(),
            health: GroupHealth::Healthy,
            lacking: None,
        }
    }
}
