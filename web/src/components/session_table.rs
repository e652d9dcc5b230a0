//! The sessions, one row each.

use meshground_shared::{Edge, Health, NodeId, Snapshot};
use yew::prelude::*;

use super::{node_table::sentence_case, parts::Verdict, tick::use_now};
use crate::{
    names::Names,
    shared_ref::Shared,
    state::{LogClock, Rtts},
    text,
};

/// What the table is given.
#[derive(Properties, PartialEq)]
pub(crate) struct SessionTableProps {
    /// Whether anyone can see it.
    pub(crate) open: bool,
    /// The cluster.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// Round-trip times.
    pub(crate) rtts: Shared<Rtts>,
    /// What nodes are called.
    pub(crate) names: Shared<Names>,
    /// The log's clock.
    pub(crate) clock: LogClock,
    /// Called when a person picks a node, or none.
    pub(crate) on_select: Callback<Option<NodeId>>,
}

/// While nobody can see the table, it keeps its rows up to this many; a thousand
/// hidden rows would make every event of a big boot dear.
const HIDDEN_ROWS: usize = 300;

/// The graph's edges as a table.
#[component]
pub(crate) fn SessionTable(props: &SessionTableProps) -> Html {
    let now_ms = use_now(1_000.0);
    let edges = use_memo(props.snapshot.clone(), |snapshot| {
        snapshot.as_ref().map(|snapshot| (snapshot.edges(), snapshot.half_edges())).unwrap_or_default()
    });
    let (edges, halves) = &*edges;
    if !props.open && edges.len() + halves.len() > HIDDEN_ROWS {
        return Html::default();
    }
    let Some(snapshot) = &props.snapshot else { return Html::default() };
    let node = |id: NodeId| {
        let on_select = props.on_select.clone();
        html! {
            <button type="button" class="row-button" onclick={move |_| on_select.emit(Some(id))}>
                { sentence_case(&props.names.name(id)) }
            </button>
        }
    };
    let since = |holder: NodeId, peer: NodeId| {
        let session = snapshot.nodes.get(&holder).and_then(|node| node.peers.get(&peer));
        session.map(|session| text::age(props.clock.elapsed_us(session.since_us, now_ms)))
    };
    let rtt = |a: NodeId, b: NodeId| {
        let rtt = props.rtts.get(&(a, b)).or_else(|| props.rtts.get(&(b, a)));
        rtt.map_or_else(|| "–".to_owned(), |&us| text::duration(u64::from(us)))
    };
    let whole = |&Edge { a, b, health }: &Edge| {
        html! {
            <tr key={format!("{a}{b}")} data-testid="edge-row" data-a={a.to_string()} data-b={b.to_string()}
                data-health={text::health_slug(health)}>
                <th scope="row">{ node(a) }</th>
                <td>{ node(b) }</td>
                <td><Verdict {health} /></td>
                <td class="number">{ rtt(a, b) }</td>
                <td class="number wide">{ since(a, b) }</td>
            </tr>
        }
    };
    let half = |&(holder, peer, health): &(NodeId, NodeId, Health)| {
        html! {
            <tr key={format!("{holder}{peer}")} class="half" data-testid="half-edge-row"
                data-a={holder.to_string()} data-b={peer.to_string()} data-health={text::health_slug(health)}>
                <th scope="row">{ node(holder) }</th>
                <td>{ node(peer) }<span class="aside">{ "does not hold it" }</span></td>
                <td><Verdict {health} /></td>
                <td class="number">{ "–" }</td>
                <td class="number wide">{ since(holder, peer) }</td>
            </tr>
        }
    };
    html! {
        <table data-testid="session-table">
            <caption class="sr-only">{ "Sessions between nodes" }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "Node" }</th>
                    <th scope="col">{ "Peer" }</th>
                    <th scope="col"><abbr title="The worse of the two ends' verdicts">{ "Health" }</abbr></th>
                    <th scope="col" class="number"><abbr title="Smoothed round-trip time">{ "RTT" }</abbr></th>
                    <th scope="col" class="number wide">{ "Age" }</th>
                </tr>
            </thead>
            <tbody>
                if edges.is_empty() && halves.is_empty() {
                    <tr class="empty"><td colspan="5">{ "No sessions." }</td></tr>
                }
                { for edges.iter().map(whole) }
                { for halves.iter().map(half) }
            </tbody>
        </table>
    }
}
