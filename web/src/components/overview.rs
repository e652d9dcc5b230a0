//! The side panel while no node is selected.

use meshground_shared::{NodeState, Snapshot, rpc::Hello};
use yew::prelude::*;

use super::parts::labelled;
use crate::{
    shared_ref::Shared,
    state::{Command, Pending},
    text, verdicts,
};

/// What the overview is given.
#[derive(Properties, PartialEq)]
pub(crate) struct OverviewProps {
    /// Who the server is.
    pub(crate) hello: Option<Shared<Hello>>,
    /// Whether what is known is current.
    pub(crate) live: bool,
    /// The cluster.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// Nodes and microseconds of the last convergence.
    pub(crate) converged: Option<(u32, u64)>,
    /// Commands under way.
    pub(crate) pending: Vec<Pending>,
    /// Called with what the person wants done.
    pub(crate) on_command: Callback<Command>,
}

/// How the cluster is, on the whole.
#[component]
pub(crate) fn Overview(props: &OverviewProps) -> Html {
    let row = |label: &'static str, value: Html| html! { <div><dt>{ label }</dt><dd>{ value }</dd></div> };
    let faulty = props.snapshot.as_ref().map_or(0, |snapshot| snapshot.faults().count());
    let healing = props.pending.iter().any(|pending| pending.command == Command::HealAll);
    html! {
        <section class="panel overview" data-testid="overview" aria-labelledby="overview-title">
            <div class="panel-head"><h2 id="overview-title">{ "Cluster" }</h2></div>
            <p class="verdict-line">
                if !props.live && props.snapshot.is_some() { { "As it was last seen. " } }
                { verdict(props.snapshot.as_deref()) }
            </p>
            if faulty > 0 {
                <p class="verdict-line faulty">
                    { format!("{} faulty on purpose. ", text::count(number(faulty), "one-way link")) }
                    <button
                        type="button" class="button small" data-testid="heal-all" disabled={!props.live || healing}
                        onclick={props.on_command.reform(|_: MouseEvent| Command::HealAll)}
                    >
                        { labelled(healing, "check", "Heal all".into()) }
                    </button>
                </p>
            }
            if let Some(hello) = &props.hello {
                <dl class="facts">
                    if let Some((_, took_us)) = props.converged {
                        { row("Last converged in", text::duration(took_us).into()) }
                    }
                    { row("Server", html! { format!("{} {}", hello.server.name, hello.server.version) }) }
                    { row("Protocol", html! { <code>{ &hello.protocol }</code> }) }
                    { row("A crash is noticed within", text::duration(u64::from(hello.detection_ms) * 1_000).into()) }
                    { row("Room for", text::count(hello.limits.max_nodes, "node").into()) }
                </dl>
            }
            if props.snapshot.as_ref().is_some_and(|snapshot| !snapshot.nodes.is_empty()) {
                <p class="tip">{ "Select a node, in the graph or in the table, to inspect it, crash it or let it leave." }</p>
            }
        </section>
    }
}

fn number(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}

fn verdict(snapshot: Option<&Snapshot>) -> String {
    let Some(snapshot) = snapshot else { return "Not known yet.".to_owned() };
    if snapshot.nodes.is_empty() {
        return "There is none.".to_owned();
    }
    if snapshot.is_converged() {
        return format!(
            "Converged as a {}: every link is Healthy at both ends.",
            text::shape(snapshot.topology)
        );
    }
    let in_state = |state| snapshot.nodes.values().filter(|node| node.state == state).count();
    let paused = in_state(NodeState::Paused);
    let crashed = in_state(NodeState::Crashed);
    let doubted = verdicts::worst(snapshot)
        .values()
        .filter(|health| **health > meshground_shared::Health::Healthy)
        .count();
    let mut said = Vec::new();
    if crashed > 0 {
        said.push(format!("{} crashed", number(crashed)));
    }
    if paused > 0 {
        said.push(format!("{} paused", number(paused)));
    }
    if doubted > 0 {
        said.push(format!("{} under doubt", number(doubted)));
    }
    if said.is_empty() { "Converging…".to_owned() } else { format!("Not converged: {}.", said.join(", ")) }
}
