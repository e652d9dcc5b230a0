//! The sessions, one row each.

use meshground_shared::{NodeId, Snapshot};
use yew::prelude::*;

use super::{
    node_table::sentence_case,
    parts::{self, Verdict},
    tick::use_now,
};
use crate::{
    names::Names,
    sessions::{self, Session},
    shared_ref::Shared,
    state::{LogClock, Rtts, Traffics},
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
    /// What was sent and received.
    pub(crate) traffic: Shared<Traffics>,
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
    let sessions = use_memo(props.snapshot.clone(), |snapshot| {
        Shared::new(snapshot.as_ref().map(|snapshot| sessions::list(snapshot)).unwrap_or_default())
    });
    // Gauges come ten times a second; people read, and rows are redrawn, once a second.
    #[allow(clippy::cast_possible_truncation)] // whole seconds
    let calm = use_memo((now_ms as i64, props.snapshot.clone()), |_| {
        (props.rtts.clone(), props.clock, props.traffic.clone())
    });
    let rows = if props.open || sessions.len() <= HIDDEN_ROWS {
        html! {
            <Rows
                sessions={(*sessions).clone()}
                rtts={calm.0.clone()}
                clock={calm.1}
                traffic={calm.2.clone()}
                {now_ms}
                names={props.names.clone()}
                on_select={props.on_select.clone()}
            />
        }
    } else {
        Html::default()
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
                    <th scope="col" class="number wide">
                        <abbr title="Bytes that the first node has sent and received">{ "Out / in" }</abbr>
                    </th>
                    <th scope="col" class="number wide">{ "Age" }</th>
                </tr>
            </thead>
            { rows }
        </table>
    }
}

#[derive(Properties, PartialEq)]
struct RowsProps {
    sessions: Shared<Vec<Session>>,
    rtts: Shared<Rtts>,
    traffic: Shared<Traffics>,
    clock: LogClock,
    now_ms: f64,
    names: Shared<Names>,
    on_select: Callback<Option<NodeId>>,
}

#[component]
fn Rows(props: &RowsProps) -> Html {
    let node = |id: NodeId| {
        let pick = props.on_select.reform(move |_: MouseEvent| Some(id));
        html! {
            <button type="button" class="row-button" onclick={pick}>
                { sentence_case(&props.names.name(id)) }
            </button>
        }
    };
    let rtt = |a: NodeId, b: NodeId| {
        let rtt = props.rtts.get(&(a, b)).or_else(|| props.rtts.get(&(b, a)));
        rtt.map_or_else(|| "–".to_owned(), |&us| text::duration(u64::from(us)))
    };
    let row = |session: &Session| {
        let &Session { from, to, health, both, deaf, since_us } = session;
        html! {
            <tr
                key={format!("{from}{to}")}
                data-testid={if both { "edge-row" } else { "half-edge-row" }}
                data-a={from.to_string()}
                data-b={to.to_string()}
                data-health={text::health_slug(health)}
                data-deaf={deaf.map(|deaf| deaf.to_string())}
            >
                <th scope="row">
                    { node(from) }
                    if deaf == Some(from) { <span class="aside">{ "does not hear the other" }</span> }
                </th>
                <td>
                    { node(to) }
                    if !both { <span class="aside">{ "does not hold it" }</span> }
                    if both && deaf == Some(to) { <span class="aside">{ "does not hear the other" }</span> }
                </td>
                <td><Verdict {health} /></td>
                <td class="number">{ if both { rtt(from, to) } else { "–".to_owned() } }</td>
                { parts::traffic(props.traffic.get(&(from, to))) }
                <td class="number wide">{ text::age(props.clock.elapsed_us(since_us, props.now_ms)) }</td>
            </tr>
        }
    };
    html! {
        <tbody>
            if props.sessions.is_empty() {
                <tr class="empty"><td colspan="6">{ "No sessions." }</td></tr>
            }
            { for props.sessions.iter().map(row) }
        </tbody>
    }
}
