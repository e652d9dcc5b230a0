//! The system through one node's eyes, and where that is not how it is.

use meshground_shared::{DaemonLine, NodeId, NodeState, NodeView, Remark};
use yew::prelude::*;

use super::{
    desk::mark,
    event_log::time_of_day,
    node_table::sentence_case,
    parts::{Life, Service, Verdict},
};
use crate::{
    eyes::{self, Other, Seen},
    names::Names,
    shared_ref::Shared,
    text::{self, Tone, admin, eyes as words, workload},
};

/// Differences told one by one; of more, how many.
const MAX_TOLD: usize = 12;
/// What it decided and what failed, the latest of each.
const MAX_REMARKS: usize = 8;

/// What the panel is given.
#[derive(Properties, PartialEq)]
pub(crate) struct EyesProps {
    /// Whose eyes.
    pub(crate) node: NodeId,
    /// Whether it runs.
    pub(crate) state: NodeState,
    /// What they see, once that is known.
    pub(crate) eyes: Option<Shared<eyes::Eyes>>,
    /// What nodes, daemons and groups are called.
    pub(crate) names: Shared<Names>,
    /// Called when a person picks a node, or none.
    pub(crate) on_select: Callback<Option<NodeId>>,
}

/// What the node itself sees, anew about once a second.
#[component]
pub(crate) fn Eyes(props: &EyesProps) -> Html {
    let Some(eyes) = props.eyes.as_ref().filter(|eyes| eyes.node == props.node) else {
        return html! { <p class="tip plain" role="status">{ "Asking what it sees…" }</p> };
    };
    let seen = match &eyes.seen {
        Ok(seen) => seen,
        Err((why, hint)) => {
            return html! {
                <div class="tip plain" role="status" data-testid="eyes-error">
                    <p>{ format!("What it sees is not known: {why}.") }</p>
                    <p>{ hint }</p>
                </div>
            };
        }
    };
    html! {
        <div data-testid="eyes" data-differences={seen.differences.len().to_string()}>
            if let Some(why) = words::standstill(props.state) {
                <p class="tip plain" data-testid="eyes-standstill">{ why }</p>
            }
            { differences(seen, &props.names) }
            { facts(seen, &props.names) }
            { others(props, seen) }
            { remarks(&seen.view, &props.names) }
            { log(&seen.view, &props.names) }
        </div>
    }
}

fn differences(seen: &Seen, names: &Names) -> Html {
    let many = seen.differences.len();
    let (tone, word) = if many == 0 { (Tone::Good, "Agrees") } else { (Tone::Warn, "Differs") };
    html! {
        <>
            <p class="eyes-verdict" role="status" data-testid="eyes-verdict">
                { mark(tone, word) }
                <span title="Held against the event log, which is what happened. No node has it.">{ words::verdict(many) }</span>
            </p>
            if many > 0 {
                <ul class="eyes-list differences">
                    { for seen.differences.iter().take(MAX_TOLD).map(|one| html! {
                        <li data-testid="eyes-difference" data-about={one.slug()}>{ words::difference(one, names) }</li>
                    }) }
                    if many > MAX_TOLD { <li class="none">{ format!("and {} more", many - MAX_TOLD) }</li> }
                </ul>
            }
        </>
    }
}

#[allow(clippy::cast_precision_loss)] // shown in seconds
fn facts(seen: &Seen, names: &Names) -> Html {
    let view = &seen.view;
    let frozen_us = view.freeze_remaining_ms.map(|ms| ms.div_ceil(1_000) * 1_000_000);
    html! {
        <dl class="facts">
            <div>
                <dt>{ "Its life" }</dt>
                <dd title="Another one after every restart"><code data-testid="eyes-epoch">{ view.epoch.to_string() }</code></dd>
            </div>
            <div><dt>{ "Version" }</dt><dd>{ &view.version }</dd></div>
            <div><dt>{ "Changes it has seen" }</dt><dd data-testid="eyes-generation">{ view.generation }</dd></div>
            <div>
                <dt>{ "Service" }</dt>
                <dd>
                    <Service state={view.maintenance} cordoned={view.cordoned} {frozen_us} />
                    if let Some(ms) = view.drain_remaining_ms {
                        <span class="aside">{ format!("drains for at most {}", text::age(ms as f64 * 1e3)) }</span>
                    }
                </dd>
            </div>
            <div><dt>{ "Machine" }</dt><dd>{ words::machine(view) }</dd></div>
            if !view.tags.is_empty() {
                <div class="long"><dt>{ "Announces" }</dt><dd>{ view.tags.join(", ") }</dd></div>
            }
            <div class="long"><dt>{ "Knows" }</dt><dd data-testid="eyes-knows">{ words::knows(seen) }</dd></div>
            if !view.avoided.is_empty() {
                <div class="long"><dt>{ "Avoids" }</dt><dd>{ admin::avoided(&view.avoided, names) }</dd></div>
            }
        </dl>
    }
}

fn others(props: &EyesProps, seen: &Seen) -> Html {
    if seen.others.is_empty() {
        return html! { <p class="tip">{ "It knows of no other node, and there is none." }</p> };
    }
    let row = |other: &Other| {
        let (id, name) = (other.id, sentence_case(&props.names.name(other.id)));
        html! {
            <tr
                key={id.0} class={classes!(other.differs.then_some("differs"))} data-testid="eyes-row"
                data-peer={id.to_string()} data-verdict={other.verdict.map_or("none", text::health_slug)}
                data-differs={if other.differs { "true" } else { "false" }}
            >
                <th scope="row">
                    if other.state.is_some() {
                        <button
                            type="button" class="row-button"
                            onclick={props.on_select.reform(move |_: MouseEvent| Some(id))}
                        >
                            { name }
                        </button>
                    } else {
                        { name }
                    }
                </th>
                <td>
                    if other.verdict.is_some() {
                        <Verdict health={other.verdict} />
                    } else {
                        <span class="none">{ if other.known { "No session" } else { "Not known" } }</span>
                    }
                </td>
                <td>
                    if let Some(state) = other.state { <Life {state} /> } else { <span class="none">{ "Has left" }</span> }
                    if other.differs { <span class="differs-mark" title="Otherwise than it sees">{ "≠" }<span class="sr-only">{ "otherwise than it sees" }</span></span> }
                </td>
                <td class="number">{ other.rtt_us.map_or_else(|| "–".to_owned(), text::duration) }</td>
            </tr>
        }
    };
    html! {
        <table class="eyes-table" data-testid="eyes-table">
            <caption class="sr-only">{ "The other nodes, as this one sees them and as they are" }</caption>
            <thead>
                <tr>
                    <th scope="col">{ "Node" }</th>
                    <th scope="col"><abbr title="This node's own verdict">{ "It sees" }</abbr></th>
                    <th scope="col"><abbr title="By the event log">{ "In truth" }</abbr></th>
                    <th scope="col" class="number"><abbr title="Round-trip time as it measures it">{ "RTT" }</abbr></th>
                </tr>
            </thead>
            <tbody>{ for seen.others.iter().map(row) }</tbody>
        </table>
    }
}

/// What it did of its own accord, and what went wrong, the latest first.
fn remarks(view: &NodeView, names: &Names) -> Html {
    let latest = |of: &[Remark], tone: Tone| {
        of.iter()
            .rev()
            .take(MAX_REMARKS)
            .map(|one| (one.at_us, tone, text::capital(&names.in_words(&one.what))))
            .collect::<Vec<_>>()
    };
    let mut told = latest(&view.actions, Tone::Plain);
    told.extend(latest(&view.failures, Tone::Bad));
    told.sort_by_key(|(at_us, ..)| std::cmp::Reverse(*at_us));
    if told.is_empty() {
        return Html::default();
    }
    html! {
        <>
            <h3 class="eyes-title">{ "What it decided, and what failed" }</h3>
            <ol class="eyes-lines" data-testid="eyes-remarks">
                { for told.into_iter().map(|(at_us, tone, what)| line(at_us, tone, what)) }
            </ol>
        </>
    }
}

/// The last lines of its daemons' logs, the latest first.
fn log(view: &NodeView, names: &Names) -> Html {
    let each = |DaemonLine { at_us, daemon, level, text }: &DaemonLine| {
        line(*at_us, workload::log_tone(*level), format!("{}: {text}", text::capital(&names.daemon(*daemon))))
    };
    html! {
        <>
            <h3 class="eyes-title">{ "Its daemons' log" }</h3>
            if view.log.is_empty() {
                <p class="tip plain">{ "Nothing has been written on this node." }</p>
            } else {
                <ol class="eyes-lines" data-testid="eyes-log">{ for view.log.iter().rev().map(each) }</ol>
            }
        </>
    }
}

fn line(at_us: u64, tone: Tone, what: String) -> Html {
    html! {
        <li class={classes!("event", tone.slug())}>
            <time class="event-time">{ time_of_day(at_us) }</time>
            <span class="event-mark" aria-hidden="true" />
            <p class="event-text">{ what }</p>
        </li>
    }
}
