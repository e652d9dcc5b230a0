//! The signed commands, one row each, with what every node made of them.

use meshground_shared::Decision;
use yew::prelude::*;

use super::{
    desk::{Desk, DeskProps, mark, no_rows},
    event_log::time_of_day,
    operator_forms::{AdminForm, IceForm},
};
use crate::{
    audit::{self, Row},
    names::Names,
    text::{Tone, admin},
};

const COLUMNS: usize = 4;

/// The audit trails of all nodes, merged.
#[component]
pub(crate) fn AuditTable(props: &DeskProps) -> Html {
    if !props.open {
        return Html::default();
    }
    let desk = &props.desk;
    let rows = desk.snapshot.as_ref().map(|snapshot| audit::merge(snapshot)).unwrap_or_default();
    html! {
        <>
            <AdminForm desk={desk.clone()} />
            <IceForm desk={desk.clone()} />
            { decided(desk) }
            <table class="cards audit" data-testid="audit-table">
                <caption class="sr-only">{ "Signed commands, newest first, as all nodes remember them" }</caption>
                <thead>
                    <tr>
                        <th scope="col" class="medium">{ "Time" }</th>
                        <th scope="col">{ "Command" }</th>
                        <th scope="col" class="wide">{ "Signed by" }</th>
                        <th scope="col">{ "Decisions" }</th>
                    </tr>
                </thead>
                <tbody>
                    if rows.is_empty() { { no_rows(COLUMNS, "No node has decided on a signed command yet.") } }
                    { for rows.iter().map(|row| one(row, &desk.names)) }
                </tbody>
            </table>
        </>
    }
}

fn one(row: &Row, names: &Names) -> Html {
    html! {
        <tr
            key={format!("{}{}", row.nonce, row.repeat)} data-testid="audit-row" data-nonce={row.nonce.clone()}
            data-agreed={if row.agreed { "true" } else { "false" }}
            class={classes!((!row.agreed).then_some("disputed"))}
        >
            <td class="medium time">{ time_of_day(row.wall_us) }</td>
            <th scope="row" title={format!("Nonce {}", row.nonce)}>{ admin::verb_capital(&row.verb, names) }</th>
            <td class="wide signers">{ admin::operators(&row.operators) }</td>
            <td class="decisions">
                if !row.agreed { { mark(Tone::Bad, "The nodes disagree") } }
                { for gathered(row).into_iter().map(|(decision, nodes)| {
                    let who = nodes.iter().map(|&node| short(&names.name(node))).collect::<Vec<_>>().join(", ");
                    html! {
                        <span class="decision">
                            { mark(admin::decision_tone(decision), admin::decision(decision)) }
                            <span class="aside">{ format!("{} {who}", if nodes.len() == 1 { "node" } else { "nodes" }) }</span>
                        </span>
                    }
                }) }
            </td>
        </tr>
    }
}

/// Who decided what, nodes that decided alike together.
fn gathered(row: &Row) -> Vec<(Decision, Vec<meshground_shared::NodeId>)> {
    let mut all: Vec<(Decision, Vec<_>)> = Vec::new();
    for &(node, decision) in &row.decisions {
        match all.iter_mut().find(|(known, _)| *known == decision) {
            Some((_, nodes)) => nodes.push(node),
            None => all.push((decision, vec![node])),
        }
    }
    all
}

fn short(name: &str) -> String {
    name.strip_prefix("node ").unwrap_or(name).to_owned()
}

/// What became of the last command that this page signed.
fn decided(desk: &Desk) -> Html {
    let said = desk.answers.decided.as_ref().map(|decided| {
        // Who submitted what was signed elsewhere learns from the trails what it was.
        let nonce = &decided.1.nonce;
        let entries =
            desk.snapshot.iter().flat_map(|snapshot| snapshot.nodes.values()).flat_map(|node| &node.audit);
        let verb = decided
            .0
            .as_ref()
            .or_else(|| entries.into_iter().find(|entry| entry.nonce == *nonce).map(|entry| &entry.verb));
        admin::answered(verb, &decided.1, &desk.names)
    });
    html! { <p class="answer standing" role="status" data-testid="admin-answer">{ said }</p> }
}
