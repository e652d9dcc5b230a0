//! What happened, as it happens.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use meshground_shared::{CommandId, Event, EventKind, NodeId};
use wasm_bindgen::JsValue;
use yew::prelude::*;

use super::Icon;
use crate::{
    names::Names,
    shared_ref::Shared,
    text::{self, Tone},
};

/// What the log is given.
#[derive(Properties, PartialEq)]
pub(crate) struct EventLogProps {
    /// The events, oldest first.
    pub(crate) log: Shared<VecDeque<Rc<Event>>>,
    /// What is true of it while there is nothing in it.
    pub(crate) silence: &'static str,
    /// What nodes are called.
    pub(crate) names: Shared<Names>,
    /// The commands behind them, by id, by name.
    pub(crate) causes: Shared<BTreeMap<CommandId, &'static str>>,
    /// The node being looked at.
    pub(crate) selected: Option<NodeId>,
}

/// Rows shown at a time; the filters reach further back.
const MAX_ROWS: usize = 120;

/// The event log, newest first.
#[component]
pub(crate) fn EventLog(props: &EventLogProps) -> Html {
    let frozen = use_state(|| None::<Shared<VecDeque<Rc<Event>>>>);
    let only_selected = use_state_eq(|| false);
    let without_sessions = use_state_eq(|| false);
    let only_cause = use_state_eq(|| None::<CommandId>);

    let log = frozen.as_ref().unwrap_or(&props.log);
    let node = props.selected.filter(|_| *only_selected);
    let fits = |event: &&Rc<Event>| {
        node.is_none_or(|node| concerns(event, node))
            && !(*without_sessions && text::tone(&event.kind) == Tone::Quiet)
            && only_cause.is_none_or(|cause| event.cause == Some(cause))
    };
    let found = log.iter().filter(fits).count();
    let row = |event: &Rc<Event>| {
        let tone = text::tone(&event.kind);
        html! {
            <li key={event.seq} class={classes!("event", tone.slug())} data-testid="event-row"
                data-seq={event.seq.to_string()} data-kind={kind(&event.kind)}>
                <time class="event-time">{ time_of_day(event.wall_us) }</time>
                <span class="event-mark" aria-hidden="true" />
                <p class="event-text">
                    { text::sentence(event, &props.names) }{ " " }
                    if let Some(cause) = event.cause {
                        { chip(cause, props.causes.get(&cause).copied(), &only_cause) }
                    }
                </p>
            </li>
        }
    };
    let missed = frozen.as_ref().map_or(0, |frozen| {
        let last = frozen.back().map_or(0, |event| event.seq);
        props.log.iter().filter(|event| event.seq > last).count()
    });
    let pause = {
        let (frozen, log) = (frozen.clone(), props.log.clone());
        Callback::from(move |_: MouseEvent| frozen.set(frozen.is_none().then(|| log.clone())))
    };
    let (icon, label) = if frozen.is_some() { ("play", "Go on") } else { ("pause", "Pause") };
    html! {
        <section class="panel events" aria-labelledby="events-title">
            <div class="panel-head">
                <h2 id="events-title">{ "Events" }</h2>
                if missed > 0 { <span class="missed">{ format!("{missed} new") }</span> }
                <button
                    type="button" class="button small quiet push" data-testid="event-pause"
                    aria-pressed={if frozen.is_some() { "true" } else { "false" }} onclick={pause}
                >
                    <Icon name={icon} /><span>{ label }</span>
                </button>
            </div>
            <div class="filters" role="group" aria-label="Filters">
                { toggle("Selected node", "event-only-selected", *only_selected, props.selected.is_none(), &only_selected) }
                { toggle("Hide sessions", "event-no-sessions", *without_sessions, false, &without_sessions) }
                if let Some(cause) = *only_cause {
                    <button type="button" class="toggle on" onclick={
                        let only_cause = only_cause.clone();
                        move |_| only_cause.set(None)
                    }>
                        { format!("Cause: {}", cause_word(cause, props.causes.get(&cause).copied())) }
                        <Icon name="close" />
                    </button>
                }
            </div>
            <ol class="scroll event-list" data-testid="event-log" reversed=true tabindex="0" aria-label="Events, newest first">
                { for log.iter().rev().filter(fits).take(MAX_ROWS).map(row) }
                if found == 0 {
                    <li class="event-none">{ if log.is_empty() { props.silence } else { "Nothing here fits the filters." } }</li>
                } else if found > MAX_ROWS {
                    <li class="event-none">{ format!("and {} before these", found - MAX_ROWS) }</li>
                }
            </ol>
        </section>
    }
}

fn toggle(
    label: &'static str,
    test: &'static str,
    on: bool,
    disabled: bool,
    state: &UseStateHandle<bool>,
) -> Html {
    let state = state.clone();
    html! {
        <button
            type="button" class={classes!("toggle", on.then_some("on"))} data-testid={test} {disabled}
            aria-pressed={if on { "true" } else { "false" }} onclick={move |_| state.set(!on)}
        >
            { label }
        </button>
    }
}

fn chip(cause: CommandId, word: Option<&'static str>, filter: &UseStateHandle<Option<CommandId>>) -> Html {
    let filter = filter.clone();
    html! {
        <button
            type="button" class="cause" title={format!("Caused by command {cause}. Show only what it caused.")}
            onclick={move |_| filter.set(Some(cause))}
        >
            { word.map_or_else(|| cause_word(cause, None), str::to_owned) }
        </button>
    }
}

fn cause_word(cause: CommandId, word: Option<&'static str>) -> String {
    let digits = cause.to_string();
    let tail = digits.trim_start_matches('0');
    let tail = &tail[tail.len().saturating_sub(4)..];
    word.map_or_else(|| format!("#{tail}"), |word| format!("{word} #{tail}"))
}

fn concerns(event: &Event, node: NodeId) -> bool {
    event.node == Some(node)
        || match &event.kind {
            EventKind::FaultChanged { peer, .. }
            | EventKind::SessionUp { peer, .. }
            | EventKind::SessionDown { peer, .. }
            | EventKind::PeerHealth { peer, .. }
            | EventKind::OneWay { peer, .. }
            | EventKind::CallFinished { peer, .. } => *peer == node,
            EventKind::MigrationChanged { migration } => migration.source == node || migration.target == node,
            EventKind::GroupChanged { group } => group.members.iter().any(|member| member.node == Some(node)),
            _ => false,
        }
}

/// The kind's name in the contract.
fn kind(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::ClusterBooting { .. } => "cluster_booting",
        EventKind::ClusterConverged { .. } => "cluster_converged",
        EventKind::ClusterFailed { .. } => "cluster_failed",
        EventKind::ClusterStopping => "cluster_stopping",
        EventKind::ClusterStopped => "cluster_stopped",
        EventKind::NodeStarted { .. } => "node_started",
        EventKind::TopologyChanged { .. } => "topology_changed",
        EventKind::NodeLeaving { .. } => "node_leaving",
        EventKind::NodeStopped { .. } => "node_stopped",
        EventKind::NodePaused => "node_paused",
        EventKind::NodeResumed => "node_resumed",
        EventKind::FaultChanged { .. } => "fault_changed",
        EventKind::SessionUp { .. } => "session_up",
        EventKind::SessionDown { .. } => "session_down",
        EventKind::PeerHealth { .. } => "peer_health",
        EventKind::OneWay { .. } => "one_way",
        EventKind::DatagramRejected { .. } => "datagram_rejected",
        EventKind::DaemonChanged { .. } => "daemon_changed",
        EventKind::DaemonGone { .. } => "daemon_gone",
        EventKind::DaemonLog { .. } => "daemon_log",
        EventKind::GroupChanged { .. } => "group_changed",
        EventKind::GroupGone { .. } => "group_gone",
        EventKind::MigrationChanged { .. } => "migration_changed",
        EventKind::MaintenanceChanged { .. } => "maintenance_changed",
        EventKind::FreezeChanged { .. } => "freeze_changed",
        EventKind::AvoidChanged { .. } => "avoid_changed",
        EventKind::DecisionsLost { .. } => "decisions_lost",
        EventKind::AdminDecided { .. } => "admin_decided",
        EventKind::CallFinished { .. } => "call_finished",
    }
}

/// The time of day here, to the millisecond.
#[allow(clippy::cast_precision_loss)] // exact for 285 years from 1970
pub(super) fn time_of_day(wall_us: u64) -> String {
    let date = js_sys::Date::new(&JsValue::from_f64(wall_us as f64 / 1e3));
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        date.get_hours(),
        date.get_minutes(),
        date.get_seconds(),
        date.get_milliseconds()
    )
}

#[cfg(test)]
mod tests {
    use meshground_shared::{CallOutcome, DaemonId, MigrationId, MigrationPhase, MigrationView};
    use serde_json::json;

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { seq: 1, at_us: 1, wall_us: 1, node: Some(NodeId(1)), cause: None, kind }
    }

    fn moving() -> EventKind {
        let migration = MigrationView {
            id: MigrationId(6),
            daemon: DaemonId(9),
            source: NodeId(1),
            target: NodeId(2),
            phase: MigrationPhase::Snapshot,
            bytes_total: 0,
            bytes_done: 0,
            buffered: 0,
            retries: 0,
            elapsed_us: 0,
            phase_us: 0,
            reason: None,
        };
        EventKind::MigrationChanged { migration }
    }

    fn called() -> EventKind {
        EventKind::CallFinished {
            peer: NodeId(2),
            method: "echo".into(),
            outcome: CallOutcome::Ok,
            took_us: 1,
            request_bytes: 1,
            response_bytes: 1,
        }
    }

    #[test]
    fn what_happens_between_two_nodes_concerns_both_and_nobody_else() {
        for kind in [moving(), called()] {
            let event = event(kind);
            let concerned = [1, 2, 3].map(|node| concerns(&event, NodeId(node)));
            assert_eq!(concerned, [true, true, false], "{event:?}");
        }
    }

    #[test]
    fn a_row_carries_its_kind_as_the_contract_calls_it() {
        let daemon = DaemonId(9);
        for event in [
            event(moving()),
            event(called()),
            event(EventKind::DaemonGone { daemon, reason: meshground_shared::DaemonEnd::Stopped }),
            event(EventKind::FreezeChanged { remaining_ms: None }),
            event(EventKind::GroupGone { group: meshground_shared::GroupId(5) }),
        ] {
            assert_eq!(serde_json::to_value(&event).unwrap()["kind"], json!(kind(&event.kind)));
        }
    }
}
