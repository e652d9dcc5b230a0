//! The calls from node to node, one row each.

use std::{collections::VecDeque, rc::Rc};

use meshground_shared::{
    CallOutcome, Event, EventKind, NodeId,
    rpc::{CallParams, DEFAULT_DEADLINE_MS},
};
use yew::prelude::*;

use super::{
    desk::{Desk, choice, chosen, mark, no_rows, on_submit, typed},
    event_log::time_of_day,
};
use crate::{
    shared_ref::Shared,
    text::{self, Tone},
    work::Work,
};

/// What the table is given.
#[derive(Properties, PartialEq)]
pub(crate) struct CallTableProps {
    /// Whether anyone can see it.
    pub(crate) open: bool,
    /// What every table of workloads is given.
    pub(crate) desk: Desk,
    /// The last calls, oldest first.
    pub(crate) calls: Shared<VecDeque<Rc<Event>>>,
}

const COLUMNS: usize = 6;

/// The last calls, newest first.
#[component]
pub(crate) fn CallTable(props: &CallTableProps) -> Html {
    if !props.open {
        return Html::default();
    }
    let desk = &props.desk;
    let row = |event: &Rc<Event>| {
        let EventKind::CallFinished { peer, method, outcome, took_us, request_bytes, response_bytes } =
            &event.kind
        else {
            return Html::default();
        };
        let (tone, word, why) = match outcome {
            CallOutcome::Ok => (Tone::Good, "Answered", None),
            CallOutcome::Error(why) => (Tone::Bad, "Failed", Some(why)),
        };
        html! {
            <tr key={event.seq} data-testid="call-row" data-ok={if why.is_none() { "true" } else { "false" }}>
                <td class="medium">{ time_of_day(event.wall_us) }</td>
                <td class="way">
                    if let Some(from) = event.node { { desk.node(from) } }
                    { desk.onwards(*peer) }
                </td>
                <td class="method"><code>{ method }</code></td>
                <td class="outcome">
                    { mark(tone, word) }
                    if let Some(why) = why { <p class="lacking">{ why }</p> }
                </td>
                <td class="number took-cell">{ text::duration(*took_us) }</td>
                <td class="number wide">
                    { format!("{} / {}", text::bytes(*request_bytes), text::bytes(*response_bytes)) }
                </td>
            </tr>
        }
    };
    html! {
        <>
            <CallForm desk={desk.clone()} />
            <table class="cards calls" data-testid="call-table">
                <caption class="sr-only">{ "Calls from node to node, newest first" }</caption>
                <thead>
                    <tr>
                        <th scope="col" class="medium">{ "Time" }</th>
                        <th scope="col">{ "Way" }</th>
                        <th scope="col">{ "Method" }</th>
                        <th scope="col">{ "Outcome" }</th>
                        <th scope="col" class="number">{ "Took" }</th>
                        <th scope="col" class="number wide"><abbr title="Bytes of the question and of the answer">{ "Out / back" }</abbr></th>
                    </tr>
                </thead>
                <tbody>
                    if props.calls.is_empty() { { no_rows(COLUMNS, "No calls yet.") } }
                    { for props.calls.iter().rev().map(row) }
                </tbody>
            </table>
        </>
    }
}

#[derive(Properties, PartialEq)]
struct FormProps {
    desk: Desk,
}

#[component]
fn CallForm(props: &FormProps) -> Html {
    let desk = &props.desk;
    let (from, to) = (use_state(String::new), use_state(String::new));
    let (method, body) = (use_state(|| "echo".to_owned()), use_state(|| "hello".to_owned()));
    let nodes = desk.nodes();
    let caller = chosen(&from, &nodes).parse::<NodeId>().ok();
    let others: Vec<_> = nodes.iter().filter(|(id, _)| id != chosen(&from, &nodes)).cloned().collect();
    let callee = chosen(&to, &others).parse::<NodeId>().ok();
    let named = !method.trim().is_empty();
    let params = caller.zip(callee).filter(|_| named).map(|(from, to)| CallParams {
        from,
        to,
        method: method.trim().to_owned(),
        body: (*body).clone(),
        deadline_ms: DEFAULT_DEADLINE_MS,
    });
    let ready = params.is_some();
    let onsubmit = {
        let desk = desk.clone();
        on_submit(move || {
            if let Some(params) = &params {
                desk.give(Work::Call(params.clone()));
            }
        })
    };
    let pending = desk.is_pending(|work| matches!(work, Work::Call(_)));
    html! {
        <form class="work-form" aria-label="Call a node" {onsubmit}>
            { choice("From", "call-from", &from, &nodes) }
            { choice("To", "call-to", &to, &others) }
            { typed("Method", "call-method", &method, "echo", None) }
            { typed("Body", "call-body", &body, "empty", None) }
            { desk.submit("call", "Call", pending, ready) }
            <p class="answer" role="status" data-testid="call-answer">
                if let Some(called) = &desk.answers.called {
                    { format!("{} answered ", text::capital(&desk.names.name(called.0.to))) }
                    <code>{ &called.1.body }</code>
                    { format!(" in {}", text::duration(called.1.took_us)) }
                }
            </p>
        </form>
    }
}
