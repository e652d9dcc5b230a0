//! What commands are called in the log.

use std::collections::BTreeMap;

use meshground_shared::{CommandId, Event, EventKind, MigrationPhase, StopReason, Verb};

use crate::names::Names;

/// Commands whose names are remembered for the log's cause chips.
const MAX_CAUSES: usize = 200;

/// Tells from the first events of a command which one it was: those of other clients,
/// and of this page before it was reloaded, say so nowhere else. Of what is recalled
/// the first events may be missing, and its nodes are known already.
pub(super) fn learn(
    event: &Event,
    recalled: bool,
    names: &Names,
    causes: &mut BTreeMap<CommandId, &'static str>,
) {
    let Some(id) = event.cause else { return };
    let word = match (&event.kind, causes.get(&id).copied()) {
        (EventKind::ClusterBooting { .. }, Some("stop")) => "reboot",
        (EventKind::NodeStarted { .. }, Some("shutdown")) => "restart",
        (EventKind::ClusterBooting { .. }, None) => "boot",
        (EventKind::ClusterStopping, None) => "stop",
        (EventKind::TopologyChanged { .. }, None) => "topology",
        (EventKind::NodePaused, None) => "pause",
        (EventKind::NodeResumed, None) => "resume",
        (EventKind::FaultChanged { fault: Some(fault), .. }, None) => {
            if fault.cut {
                "cut"
            } else {
                "fault"
            }
        }
        (EventKind::FaultChanged { fault: None, .. }, None) => "heal",
        (EventKind::AdminDecided { entry }, None) => match entry.verb {
            Verb::Admin(_) => "admin",
            Verb::Ice(_) => "ice",
        },
        (EventKind::CallFinished { .. }, None) => "call",
        (EventKind::MigrationChanged { migration }, None) if migration.phase == MigrationPhase::Snapshot => {
            "migrate"
        }
        (
            EventKind::NodeLeaving { reason: StopReason::Replaced }
            | EventKind::NodeStopped { reason: StopReason::Replaced },
            None,
        ) => "replace",
        (EventKind::NodeStopped { reason: StopReason::Crash }, None) => "crash",
        (
            EventKind::NodeLeaving { reason: StopReason::Shutdown }
            | EventKind::NodeStopped { reason: StopReason::Shutdown },
            None,
        ) if !recalled => "shutdown",
        (EventKind::NodeStarted { .. }, None) if !recalled => {
            if event.node.is_some_and(|node| names.knows(node)) { "restart" } else { "spawn" }
        }
        _ => return,
    };
    remember(id, word, causes);
}

/// Remembers what a command is called; the oldest make room.
pub(super) fn remember(id: CommandId, word: &'static str, causes: &mut BTreeMap<CommandId, &'static str>) {
    causes.insert(id, word);
    while causes.len() > MAX_CAUSES {
        causes.pop_first();
    }
}
