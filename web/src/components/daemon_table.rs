//! The daemons, one row each, and what can be done with them.

use meshground_shared::{
    DaemonView, NodeId,
    rpc::{DaemonSpawnParams, DeliverParams, MigrateParams},
};
use yew::prelude::*;

use super::desk::{Desk, RowButton, choice, chosen, mark, no_rows, on_submit, typed};
use crate::{shared_ref::Shared, state::Loads, text::workload, work::Work, workloads};

/// What the table is given.
#[derive(Properties, PartialEq)]
pub(crate) struct DaemonTableProps {
    /// Whether anyone can see it.
    pub(crate) open: bool,
    /// What every table of workloads is given.
    pub(crate) desk: Desk,
    /// How busy daemons are.
    pub(crate) loads: Shared<Loads>,
}

const COLUMNS: usize = 10;
/// From this many thousandths on, a daemon is marked as busy.
const FULL: u16 = 900;
/// The kind that is offered first: it needs no arguments, and has something to show.
pub(super) const FIRST_KIND: &str = "counter";

/// The daemons of every node.
#[component]
pub(crate) fn DaemonTable(props: &DaemonTableProps) -> Html {
    let unfolded = use_state_eq(|| None::<(NodeId, meshground_shared::DaemonId)>);
    if !props.open {
        return Html::default();
    }
    let desk = &props.desk;
    let daemons = desk.snapshot.as_ref().map(|snapshot| workloads::daemons(snapshot)).unwrap_or_default();
    let row = |&(node, daemon): &(NodeId, &DaemonView)| {
        let key = (node, daemon.id);
        let open = *unfolded == Some(key);
        let name = desk.names.daemon(daemon.id);
        let toggle = {
            let unfolded = unfolded.clone();
            move |_: MouseEvent| unfolded.set((!open).then_some(key))
        };
        let stop = RowButton {
            work: Work::StopDaemon(daemon.id),
            test: "daemon-stop",
            label: "Stop",
            name: format!("Stop {name}"),
        };
        let place = daemon.member.map_or_else(
            || html! { <span class="none">{ "–" }</span> },
            |member| {
                let group = desk.names.group_alone(member.group);
                html! { <><span class="member-of" title={group.clone()}>{ group }</span>{ format!(" · {}", member.index) }</> }
            },
        );
        let (saturation, processed) = workloads::load(daemon, props.loads.get(&key));
        let detail = format!("daemon-{node}-{}", daemon.id);
        html! {
            <>
                <tr
                    key={format!("{node}{}", daemon.id)} data-testid="daemon-row" data-daemon={daemon.id.to_string()}
                    data-node={node.to_string()} data-lifecycle={slug(daemon)}
                >
                    <th scope="row" title={daemon.id.to_string()}>{ &name }</th>
                    <td>{ desk.node(node) }</td>
                    <td class="widest">{ daemon.kind.clone().unwrap_or_else(|| "–".to_owned()) }</td>
                    <td>{ mark(workload::daemon_tone(daemon.lifecycle, <_>::default()), workload::lifecycle(daemon.lifecycle)) }</td>
                    <td class="medium">{ mark(workload::health_tone(daemon.health), workload::daemon_health(daemon.health)) }</td>
                    <td class="number wide">{ busy(saturation, &name) }</td>
                    <td class="number wide" data-testid="daemon-restarts">{ daemon.restarts }</td>
                    <td class="widest">{ place }</td>
                    <td class="number medium" data-testid="daemon-events">{ processed }</td>
                    <td class="row-actions">
                        <button
                            type="button" class="link-button" data-testid="daemon-more"
                            aria-expanded={if open { "true" } else { "false" }} aria-controls={detail.clone()}
                            aria-label={format!("Move or use {name}")} onclick={toggle}
                        >
                            { if open { "Less" } else { "More" } }
                        </button>
                        <span class="wide">{ desk.button(stop, true) }</span>
                    </td>
                </tr>
                if open {
                    <tr key={detail.clone()} id={detail} class="detail">
                        <td colspan={COLUMNS.to_string()}>
                            <Detail {node} daemon={daemon.clone()} {saturation} {processed} desk={desk.clone()} />
                        </td>
                    </tr>
                }
            </>
        }
    };
    html! {
        <>
            <SpawnForm desk={desk.clone()} />
            <table data-testid="daemon-table">
                <caption class="sr-only">{ "Daemons, by node" }</caption>
                <thead>
                    <tr>
                        <th scope="col">{ "Daemon" }</th>
                        <th scope="col">{ "Node" }</th>
                        <th scope="col" class="widest">{ "Kind" }</th>
                        <th scope="col">{ "State" }</th>
                        <th scope="col" class="medium"><abbr title="What it says of itself">{ "Health" }</abbr></th>
                        <th scope="col" class="number wide"><abbr title="How busy it says it is">{ "Busy" }</abbr></th>
                        <th scope="col" class="number wide"><abbr title="How often it was started again after a crash">{ "Restarts" }</abbr></th>
                        <th scope="col" class="widest"><abbr title="The group it belongs to, and its place there">{ "Member of" }</abbr></th>
                        <th scope="col" class="number medium"><abbr title="Events it has worked off">{ "Events" }</abbr></th>
                        <th scope="col"><span class="sr-only">{ "Actions" }</span></th>
                    </tr>
                </thead>
                <tbody>
                    if daemons.is_empty() { { no_rows(COLUMNS, "No daemon runs anywhere.") } }
                    { for daemons.iter().map(row) }
                </tbody>
            </table>
        </>
    }
}

/// How busy a daemon says it is, from 0 to 1000, as a bar and a number.
fn busy(saturation: u16, name: &str) -> Html {
    let full = (saturation >= FULL).then_some("full");
    html! {
        <span class={classes!("load", full)}>
            <progress aria-label={format!("How busy {name} is")} value={saturation.to_string()} max="1000" />
            <span>{ format!("{} %", saturation / 10) }</span>
        </span>
    }
}

/// The state's name in the contract.
fn slug(daemon: &DaemonView) -> String {
    serde_json::to_value(daemon.lifecycle)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[derive(Properties, PartialEq)]
struct FormProps {
    desk: Desk,
}

#[component]
fn SpawnForm(props: &FormProps) -> Html {
    let desk = &props.desk;
    let (node, args) = (use_state(String::new), use_state(String::new));
    let kind = use_state(|| FIRST_KIND.to_owned());
    let (nodes, kinds) = (desk.nodes(), desk.kinds());
    let params = chosen(&node, &nodes).parse().ok().filter(|_| !kinds.is_empty()).map(|node| {
        DaemonSpawnParams { node, kind: chosen(&kind, &kinds).to_owned(), args: (*args).clone() }
    });
    let ready = params.is_some();
    let about = desk.about(chosen(&kind, &kinds));
    let onsubmit = {
        let desk = desk.clone();
        on_submit(move || {
            if let Some(params) = &params {
                desk.give(Work::SpawnDaemon(params.clone()));
            }
        })
    };
    let pending = desk.is_pending(|work| matches!(work, Work::SpawnDaemon(_)));
    html! {
        <form class="work-form" aria-label="Spawn a daemon" {onsubmit}>
            { choice("Kind", "daemon-kind", &kind, &kinds) }
            { choice("On", "daemon-node", &node, &nodes) }
            { typed("Arguments", "daemon-args", &args, "none", None) }
            { desk.submit("daemon-spawn", "Spawn daemon", pending, ready) }
            if let Some(about) = about { <p class="about">{ about }</p> }
        </form>
    }
}

#[derive(Properties, PartialEq)]
struct DetailProps {
    node: NodeId,
    daemon: DaemonView,
    saturation: u16,
    processed: u64,
    desk: Desk,
}

/// What can be done with one daemon, and what it said last.
#[component]
fn Detail(props: &DetailProps) -> Html {
    let DetailProps { node, daemon, saturation, processed, desk } = props;
    let (to, payload, via) = (use_state(String::new), use_state(String::new), use_state(String::new));
    let here = node.to_string();
    let others: Vec<_> = desk.nodes().into_iter().filter(|(id, _)| *id != here).collect();
    let (id, target) = (daemon.id, chosen(&to, &others).parse::<NodeId>().ok());
    // An event may be handed in anywhere; it finds its way.
    let nodes: Vec<_> =
        std::iter::once((String::new(), "its node".to_owned())).chain(others.clone()).collect();
    let migrate = {
        let desk = desk.clone();
        on_submit(move || {
            if let Some(to) = target {
                desk.give(Work::Migrate(MigrateParams { daemon: id, to }));
            }
        })
    };
    let deliver = {
        let (desk, payload) = (desk.clone(), payload.clone());
        let via = chosen(&via, &nodes).parse().ok();
        on_submit(move || {
            let payload = (*payload).clone();
            desk.give(Work::Deliver(DeliverParams { daemon: id, payload, via }));
        })
    };
    let stop = RowButton {
        work: Work::StopDaemon(id),
        test: "daemon-stop-below",
        label: "Stop",
        name: format!("Stop {}", desk.names.daemon(id)),
    };
    let migrating = desk.is_pending(|work| matches!(work, Work::Migrate(params) if params.daemon == id));
    let delivering = desk.is_pending(|work| matches!(work, Work::Deliver(params) if params.daemon == id));
    let answer = desk.answers.delivered.get(&id).map(|delivered| {
        let outputs = match delivered.outputs.as_slice() {
            [] => "nothing".to_owned(),
            outputs => outputs.join(" · "),
        };
        (delivered.processed, outputs)
    });
    html! {
        <div class="detail-forms">
            <p class="figures narrow-only">{ workload::figures(daemon, *saturation, *processed) }</p>
            <form class="work-form" aria-label="Move it" onsubmit={migrate}>
                { choice("Move to", "daemon-to", &to, &others) }
                { desk.submit("daemon-migrate", "Move", migrating, target.is_some()) }
            </form>
            <form class="work-form" aria-label="Deliver an event" onsubmit={deliver}>
                { typed("Payload", "daemon-payload", &payload, "any text", None) }
                { choice("By way of", "daemon-via", &via, &nodes) }
                { desk.submit("daemon-deliver", "Deliver", delivering, true) }
            </form>
            <div class="work-form narrow-only">{ desk.button(stop, true) }</div>
            <p class="answer" role="status" data-testid="daemon-answer">
                if let Some((processed, outputs)) = answer {
                    { format!("Event {processed}: it put out ") }<code>{ outputs }</code>
                }
            </p>
        </div>
    }
}
