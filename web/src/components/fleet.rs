//! The tables under the graph.

use std::{collections::VecDeque, rc::Rc};

use meshground_shared::{Event, NodeId};
use yew::prelude::*;

use super::{
    audit_table::AuditTable, call_table::CallTable, daemon_table::DaemonTable, desk::Desk,
    group_table::GroupTable, migration_table::MigrationTable, node_table::NodeTable,
    session_table::SessionTable, tick::use_now,
};
use crate::{
    dom,
    shared_ref::Shared,
    state::{Loads, Rtts, Traffics},
};

/// What the tables are given.
#[derive(Properties, PartialEq)]
pub(crate) struct FleetProps {
    /// What all of them are given.
    pub(crate) desk: Desk,
    /// Whether the server knows daemons and what belongs to them.
    pub(crate) has_daemons: bool,
    /// Round-trip times.
    pub(crate) rtts: Shared<Rtts>,
    /// What was sent and received.
    pub(crate) traffic: Shared<Traffics>,
    /// How busy daemons are.
    pub(crate) loads: Shared<Loads>,
    /// The last calls, oldest first.
    pub(crate) calls: Shared<VecDeque<Rc<Event>>>,
    /// The node being looked at.
    pub(crate) selected: Option<NodeId>,
}

/// A tab: its panel's part of every id, and its label.
type Tab = (&'static str, &'static str);

const TABS: [Tab; 7] = [
    ("nodes", "Nodes"),
    ("sessions", "Sessions"),
    ("daemons", "Daemons"),
    ("groups", "Groups"),
    ("migrations", "Migrations"),
    ("calls", "Calls"),
    ("audit", "Operators"),
];

/// The tabs of a server that knows no daemons.
const MESH_TABS: usize = 2;

/// The cluster in words: one tab per table.
#[component]
pub(crate) fn Fleet(props: &FleetProps) -> Html {
    let open = use_state_eq(|| "nodes");
    let now_ms = use_now(1_000.0);
    // Gauges come, and set the clock, ten times a second; tables only count seconds.
    #[allow(clippy::cast_possible_truncation)] // whole seconds
    let calm =
        use_memo((now_ms as i64, props.desk.snapshot.clone()), |_| (props.desk.clock, props.loads.clone()));
    let desk = Desk { clock: calm.0, ..props.desk.clone() };
    let tabs = if props.has_daemons { &TABS[..] } else { &TABS[..MESH_TABS] };
    let open_now = tabs.iter().find(|(name, _)| *name == *open).map_or("nodes", |(name, _)| *name);
    let tab_button = |(place, &(name, label)): (usize, &Tab)| {
        let chosen = open_now == name;
        let choose = {
            let open = open.clone();
            Callback::from(move |_: MouseEvent| open.set(name))
        };
        let onkeydown = {
            let open = open.clone();
            Callback::from(move |event: KeyboardEvent| {
                let Some(next) = next_tab(&event.key(), place, tabs.len()) else { return };
                event.prevent_default();
                open.set(tabs[next].0);
                dom::focus(&format!("tab-{}", tabs[next].0));
            })
        };
        html! {
            <button
                key={name} type="button" role="tab" id={format!("tab-{name}")} data-testid={format!("tab-{name}")}
                aria-controls={format!("panel-{name}")} aria-selected={if chosen { "true" } else { "false" }}
                tabindex={if chosen { "0" } else { "-1" }} class="tab" onclick={choose} {onkeydown}
            >
                { label }
                if let Some(many) = count(name, props) { <span class="tab-count">{ many }</span> }
            </button>
        }
    };
    let panel = |&(name, _): &Tab| {
        let open = open_now == name;
        html! {
            <div
                key={name} id={format!("panel-{name}")} class="scroll" role="tabpanel"
                aria-labelledby={format!("tab-{name}")} hidden={!open}
            >
                { table(name, open, &desk, &calm.1, props) }
            </div>
        }
    };
    let tall = TABS[MESH_TABS..].iter().any(|(name, _)| *name == open_now);
    html! {
        <section class={classes!("panel", "fleet", tall.then_some("tall"))} aria-label="The cluster in words">
            <div class="panel-head tabs" role="tablist" aria-label="Tables">
                { for tabs.iter().enumerate().map(tab_button) }
            </div>
            { for tabs.iter().map(panel) }
        </section>
    }
}

/// The tab that a key leads to.
pub(super) fn next_tab(key: &str, from: usize, tabs: usize) -> Option<usize> {
    Some(match key {
        "ArrowRight" => (from + 1) % tabs,
        "ArrowLeft" => (from + tabs - 1) % tabs,
        "Home" => 0,
        "End" => tabs - 1,
        _ => return None,
    })
}

/// How many of what a tab shows, where that is worth knowing before it is opened.
fn count(tab: &str, props: &FleetProps) -> Option<usize> {
    let snapshot = props.desk.snapshot.as_ref()?;
    let many = match tab {
        "daemons" => snapshot.nodes.values().map(|node| node.daemons.len()).sum(),
        "groups" => snapshot.groups.len(),
        "migrations" => snapshot.migrations.values().filter(|it| !it.view.phase.is_over()).count(),
        _ => 0,
    };
    (many > 0).then_some(many)
}

fn table(tab: &str, open: bool, desk: &Desk, loads: &Shared<Loads>, props: &FleetProps) -> Html {
    let desk = desk.clone();
    match tab {
        "nodes" => html! {
            <NodeTable
                snapshot={desk.snapshot.clone()} names={desk.names.clone()} clock={desk.clock}
                selected={props.selected} on_select={desk.on_select.clone()}
            />
        },
        "sessions" => html! {
            <SessionTable
                {open} snapshot={desk.snapshot.clone()} rtts={props.rtts.clone()} traffic={props.traffic.clone()}
                names={desk.names.clone()} clock={desk.clock} on_select={desk.on_select.clone()}
            />
        },
        "daemons" => html! { <DaemonTable {open} {desk} loads={loads.clone()} /> },
        "groups" => html! { <GroupTable {open} {desk} /> },
        "migrations" => html! { <MigrationTable {open} {desk} /> },
        "calls" => html! { <CallTable {open} {desk} calls={props.calls.clone()} /> },
        "audit" => html! { <AuditTable {open} {desk} /> },
        _ => Html::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_round_the_tabs_and_home_and_end_to_their_ends() {
        let next = |key, from| next_tab(key, from, TABS.len());
        assert_eq!((next("ArrowRight", 6), next("ArrowLeft", 0)), (Some(0), Some(6)));
        assert_eq!((next("Home", 3), next("End", 3), next("a", 3)), (Some(0), Some(6), None));
    }
}
