//! The tables under the graph.

use meshground_shared::{NodeId, Snapshot};
use yew::prelude::*;

use super::{node_table::NodeTable, session_table::SessionTable};
use crate::{
    names::Names,
    shared_ref::Shared,
    state::{LogClock, Rtts, Traffics},
};

/// What the tables are given.
#[derive(Properties, PartialEq)]
pub(crate) struct FleetProps {
    /// The cluster.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// Round-trip times.
    pub(crate) rtts: Shared<Rtts>,
    /// What was sent and received.
    pub(crate) traffic: Shared<Traffics>,
    /// What nodes are called.
    pub(crate) names: Shared<Names>,
    /// The log's clock.
    pub(crate) clock: LogClock,
    /// The node being looked at.
    pub(crate) selected: Option<NodeId>,
    /// Called when a person picks a node, or none.
    pub(crate) on_select: Callback<Option<NodeId>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tab {
    Nodes,
    Sessions,
}

/// The graph in words: one tab per table.
#[component]
pub(crate) fn Fleet(props: &FleetProps) -> Html {
    let tab = use_state_eq(|| Tab::Nodes);
    let tab_button = |which: Tab, id: &'static str, controls: &'static str, label: &'static str| {
        let chosen = *tab == which;
        let choose = {
            let tab = tab.clone();
            Callback::from(move |_: MouseEvent| tab.set(which))
        };
        let onkeydown = {
            let tab = tab.clone();
            Callback::from(move |event: KeyboardEvent| {
                if matches!(event.key().as_str(), "ArrowLeft" | "ArrowRight") {
                    let (other, id) = match which {
                        Tab::Nodes => (Tab::Sessions, "tab-sessions"),
                        Tab::Sessions => (Tab::Nodes, "tab-nodes"),
                    };
                    tab.set(other);
                    crate::dom::focus(id);
                }
            })
        };
        html! {
            <button
                type="button" role="tab" {id} data-testid={id} aria-controls={controls}
                aria-selected={if chosen { "true" } else { "false" }}
                tabindex={if chosen { "0" } else { "-1" }}
                class="tab" onclick={choose} {onkeydown}
            >
                { label }
            </button>
        }
    };
    let nodes = *tab == Tab::Nodes;
    html! {
        <section class="panel fleet" aria-label="The graph in words">
            <div class="panel-head tabs" role="tablist" aria-label="Tables">
                { tab_button(Tab::Nodes, "tab-nodes", "panel-nodes", "Nodes") }
                { tab_button(Tab::Sessions, "tab-sessions", "panel-sessions", "Sessions") }
            </div>
            <div id="panel-nodes" class="scroll" role="tabpanel" aria-labelledby="tab-nodes" hidden={!nodes}>
                <NodeTable
                    snapshot={props.snapshot.clone()}
                    names={props.names.clone()}
                    selected={props.selected}
                    on_select={props.on_select.clone()}
                />
            </div>
            <div id="panel-sessions" class="scroll" role="tabpanel" aria-labelledby="tab-sessions" hidden={nodes}>
                <SessionTable
                    open={!nodes}
                    snapshot={props.snapshot.clone()}
                    rtts={props.rtts.clone()}
                    traffic={props.traffic.clone()}
                    names={props.names.clone()}
                    clock={props.clock}
                    on_select={props.on_select.clone()}
                />
            </div>
        </section>
    }
}
