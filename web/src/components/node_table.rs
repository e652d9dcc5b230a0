//! The nodes, one row each.

use meshground_shared::{NodeId, NodeSnapshot, Snapshot};
use yew::prelude::*;

use super::{
    parts::{Life, Service, Verdict, life},
    tick::use_now,
};
use crate::{
    names::{Names, short_id},
    shared_ref::Shared,
    state::LogClock,
    text, verdicts,
};

/// What the table is given.
#[derive(Properties, PartialEq)]
pub(crate) struct NodeTableProps {
    /// The cluster.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// What nodes are called.
    pub(crate) names: Shared<Names>,
    /// The log's clock.
    pub(crate) clock: LogClock,
    /// The node being looked at.
    pub(crate) selected: Option<NodeId>,
    /// Called when a person picks a node, or none.
    pub(crate) on_select: Callback<Option<NodeId>>,
}

/// The graph's nodes as a table.
#[component]
pub(crate) fn NodeTable(props: &NodeTableProps) -> Html {
    let now_ms = use_now(1_000.0);
    let mut rows: Vec<(NodeId, &NodeSnapshot)> = (props.snapshot.iter())
        .flat_map(|snapshot| snapshot.nodes.iter().map(|(&id, node)| (id, node)))
        .collect();
    rows.sort_by_key(|(_, node)| node.index);
    let verdicts = props.snapshot.as_ref().map(|snapshot| verdicts::worst(snapshot)).unwrap_or_default();
    let row = |(id, node): (NodeId, &NodeSnapshot)| {
        let chosen = props.selected == Some(id);
        let health = verdicts.get(&id).copied();
        let pick = {
            let on_select = props.on_select.clone();
            Callback::from(move |_: MouseEvent| on_select.emit((!chosen).then_some(id)))
        };
        html! {
            <tr
                key={id.0}
                data-node={id.to_string()}
                data-state={life(node.state).0}
                data-health={health.map(text::health_slug)}
                class={classes!(chosen.then_some("chosen"))}
                onclick={pick}
            >
                <th scope="row">
                    // The row's own click handler takes this click, and the keyboard's.
                    <button type="button" class="row-button" aria-pressed={if chosen { "true" } else { "false" }}>
                        { sentence_case(&props.names.name(id)) }
                    </button>
                </th>
                <td class="mono medium">{ short_id(id) }</td>
                <td class="mono wide">{ node.address.to_string() }</td>
                <td><Life state={node.state} /></td>
                <td class="medium">
                    <Service
                        state={node.maintenance} cordoned={node.cordoned}
                        frozen_us={props.clock.frozen_us(node, now_ms)}
                    />
                </td>
                <td class="number wide">{ node.daemons.len() }</td>
                <td class="number">{ node.peers.len() }</td>
                <td><Verdict {health} /></td>
            </tr>
        }
    };
    html! {
        <table data-testid="node-table">
            <caption class="sr-only">{ "Nodes of the cluster" }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "Node" }</th>
                    <th scope="col" class="medium">{ "Id" }</th>
                    <th scope="col" class="wide">{ "Address" }</th>
                    <th scope="col">{ "State" }</th>
                    <th scope="col" class="medium"><abbr title="Whether it may be given work">{ "Service" }</abbr></th>
                    <th scope="col" class="number wide">{ "Daemons" }</th>
                    <th scope="col" class="number">
                        <abbr title="Sessions this node holds">{ "Sessions" }</abbr>
                    </th>
                    <th scope="col"><abbr title="The worst verdict any peer holds on it">{ "Seen as" }</abbr></th>
                </tr>
            </thead>
            <tbody>
                if rows.is_empty() {
                    <tr class="empty"><td colspan="8">{ "No nodes. Boot a cluster to see them here." }</td></tr>
                } else {
                    { for rows.into_iter().map(row) }
                }
            </tbody>
        </table>
    }
}

/// `node 3` as the beginning of a cell.
pub(crate) fn sentence_case(name: &str) -> String {
    name.strip_prefix("node ").map_or_else(|| name.to_owned(), |rest| format!("Node {rest}"))
}
