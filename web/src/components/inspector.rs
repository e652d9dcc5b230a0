//! One node, closely.

use meshground_shared::{NodeId, NodeSnapshot, NodeState, PeerSnapshot, Snapshot};
use yew::prelude::*;

use super::{
    Icon,
    eyes::Eyes,
    fleet::next_tab,
    node_table::sentence_case,
    parts::{self, Copy, Life, Service, Verdict, labelled},
    tick::use_now,
};
use crate::{
    dom, eyes,
    names::Names,
    shared_ref::Shared,
    state::{Command, LogClock, Pending, Rtts, Traffics},
    text,
};

/// What the inspector is given.
#[derive(Properties, PartialEq)]
pub(crate) struct InspectorProps {
    /// The node.
    pub(crate) node: NodeId,
    /// The cluster it is in.
    pub(crate) snapshot: Shared<Snapshot>,
    /// Round-trip times.
    pub(crate) rtts: Shared<Rtts>,
    /// What was sent and received.
    pub(crate) traffic: Shared<Traffics>,
    /// What nodes are called.
    pub(crate) names: Shared<Names>,
    /// The log's clock.
    pub(crate) clock: LogClock,
    /// Whether commands can be given.
    pub(crate) live: bool,
    /// Commands under way.
    pub(crate) pending: Vec<Pending>,
    /// Called with what the person wants done.
    pub(crate) on_command: Callback<Command>,
    /// Called when a person picks a node, or none.
    pub(crate) on_select: Callback<Option<NodeId>>,
    /// Whether the server can tell what the node sees.
    pub(crate) has_eyes: bool,
    /// What the node sees, once that is known.
    pub(crate) eyes: Option<Shared<eyes::Eyes>>,
    /// Called with the node through whose eyes the person looks, or none.
    pub(crate) on_look: Callback<Option<NodeId>>,
}

/// The two ways to look at a node: as it is by the event log, and as it sees everything itself.
const TABS: [(&str, &str); 2] = [("truth", "As it is"), ("eyes", "As this node sees it")];

/// Everything known about one node, and what can be done with it.
#[component]
pub(crate) fn Inspector(props: &InspectorProps) -> Html {
    let now_ms = use_now(1_000.0);
    let id = props.node;
    let wanted = use_state_eq(|| TABS[0].0);
    let open = if props.has_eyes { *wanted } else { TABS[0].0 };
    let looks = open == "eyes" && props.snapshot.nodes.contains_key(&id);
    {
        let on_look = props.on_look.clone();
        use_effect_with((id, looks), move |&(id, looks)| {
            on_look.emit(looks.then_some(id));
            move || on_look.emit(None)
        });
    }
    let Some(node) = props.snapshot.nodes.get(&id) else { return Html::default() };
    let close = props.on_select.reform(|_: MouseEvent| None);
    html! {
        <section
            class="panel inspector" data-testid="inspector" data-node={id.to_string()}
            aria-labelledby="inspector-title"
        >
            <div class="panel-head">
                <h2 id="inspector-title">{ sentence_case(&props.names.name(id)) }</h2>
                <Life state={node.state} />
                <button type="button" class="icon-button push" aria-label="Close" title="Close" onclick={close}>
                    <Icon name="close" />
                </button>
            </div>
            <Actions
                node={id} state={node.state} live={props.live} pending={props.pending.clone()}
                on_command={props.on_command.clone()}
            />
            if props.has_eyes { { tabs(open, &wanted) } }
            if open == "eyes" {
                <div
                    class="scroll eyes" id="look-panel-eyes" role="tabpanel" aria-labelledby="look-eyes" tabindex="0"
                >
                    <Eyes
                        node={id} state={node.state} eyes={props.eyes.clone()} names={props.names.clone()}
                        on_select={props.on_select.clone()}
                    />
                </div>
            } else {
                <div
                    class="truth" id="look-panel-truth" role={props.has_eyes.then_some("tabpanel")}
                    aria-labelledby={props.has_eyes.then_some("look-truth")}
                >
                    { facts(props, node, now_ms) }
                    { peers(props, node, now_ms) }
                </div>
            }
        </section>
    }
}

fn tabs(open: &'static str, wanted: &UseStateHandle<&'static str>) -> Html {
    let tab = |(place, &(name, label)): (usize, &(&'static str, &'static str))| {
        let chosen = open == name;
        let choose = {
            let wanted = wanted.clone();
            move |_: MouseEvent| wanted.set(name)
        };
        let onkeydown = {
            let wanted = wanted.clone();
            Callback::from(move |event: KeyboardEvent| {
                let Some(next) = next_tab(&event.key(), place, TABS.len()) else { return };
                event.prevent_default();
                wanted.set(TABS[next].0);
                dom::focus(&format!("look-{}", TABS[next].0));
            })
        };
        html! {
            <button
                key={name} type="button" role="tab" id={format!("look-{name}")} data-testid={format!("look-{name}")}
                aria-controls={chosen.then(|| format!("look-panel-{name}"))}
                aria-selected={if chosen { "true" } else { "false" }} tabindex={if chosen { "0" } else { "-1" }}
                class="tab" onclick={choose} {onkeydown}
            >
                { label }
            </button>
        }
    };
    html! {
        <div class="panel-head tabs" role="tablist" aria-label="Ways to look at this node">
            { for TABS.iter().enumerate().map(tab) }
        </div>
    }
}

fn facts(props: &InspectorProps, node: &NodeSnapshot, now_ms: f64) -> Html {
    let id = props.node;
    let key = node.public_key.to_string();
    let running = node.state != NodeState::Crashed;
    let up = text::age(props.clock.elapsed_us(node.started_us, now_ms));
    html! {
            <dl class="facts">
                <div>
                    <dt>{ "Id" }</dt>
                    <dd><code>{ id.to_string() }</code><Copy text={id.to_string()} what="id" /></dd>
                </div>
                <div>
                    <dt>{ "Address" }</dt>
                    <dd><code>{ node.address.to_string() }</code><Copy text={node.address.to_string()} what="address" /></dd>
                </div>
                <div class="long">
                    <dt>{ "Public key" }</dt>
                    <dd>
                        <code class="key">{ &key }</code>
                        <Copy text={key.clone()} what="public key" />
                    </dd>
                </div>
                <div>
                    <dt>{ "Uptime" }</dt>
                    <dd data-testid="uptime">{ if running { up } else { "–".to_owned() } }</dd>
                </div>
                <div>
                    <dt>{ "Service" }</dt>
                    <dd data-testid="service">
                        <Service
                            state={node.maintenance} cordoned={node.cordoned}
                            frozen_us={props.clock.frozen_us(node, now_ms)}
                        />
                    </dd>
                </div>
                if !node.daemons.is_empty() {
                    <div class="long">
                        <dt>{ "Daemons" }</dt>
                        <dd data-testid="node-daemons">
                            { node.daemons.keys().map(|&id| props.names.daemon(id)).collect::<Vec<_>>().join(", ") }
                        </dd>
                    </div>
                }
            </dl>
    }
}

fn peers(props: &InspectorProps, node: &NodeSnapshot, now_ms: f64) -> Html {
    let mut peers: Vec<(NodeId, &PeerSnapshot)> = node.peers.iter().map(|(&id, peer)| (id, peer)).collect();
    peers.sort_by_key(|(id, _)| props.snapshot.nodes.get(id).map_or(u32::MAX, |node| node.index));
    if peers.is_empty() {
        let why = if node.state == NodeState::Crashed {
            "Crashed: it holds no sessions. Its peers keep theirs for a while, in case it comes back."
        } else {
            "It holds no session with anyone."
        };
        return html! { <p class="tip">{ why }</p> };
    }
    let is_cut = |from: NodeId, to: NodeId| {
        let faults = props.snapshot.nodes.get(&from).map(|node| &node.faults);
        faults.is_some_and(|faults| faults.get(&to).is_some_and(|fault| fault.cut))
    };
    let link_button = |id: NodeId| {
        let cut = is_cut(props.node, id) || is_cut(id, props.node);
        let (command, label, test) = if cut {
            (Command::Heal(props.node, id), "Heal", "link-heal")
        } else {
            (Command::Cut(props.node, id), "Cut", "link-cut")
        };
        let pending = props.pending.iter().any(|pending| pending.command == command);
        let name = format!("{label} the link with {}", props.names.name(id));
        html! {
            <button
                type="button" class={classes!("link-button", cut.then_some("cut"))} data-testid={test}
                aria-label={name.clone()} title={name} disabled={!props.live || pending}
                onclick={props.on_command.reform(move |_: MouseEvent| command.clone())}
            >
                { label }
            </button>
        }
    };
    let row = |(id, peer): (NodeId, &PeerSnapshot)| {
        let rtt = props.rtts.get(&(props.node, id));
        html! {
            <tr key={id.0} data-testid="peer-row" data-peer={id.to_string()} data-health={text::health_slug(peer.health)} data-heard={peer.heard.to_string()}>
                <th scope="row">
                    <button type="button" class="row-button" onclick={props.on_select.reform(move |_: MouseEvent| Some(id))}>
                        { sentence_case(&props.names.name(id)) }
                    </button>
                    if !peer.heard { <span class="aside">{ "does not hear this node" }</span> }
                </th>
                <td><Verdict health={peer.health} /></td>
                <td class="number">{ rtt.map_or_else(|| "–".to_owned(), |&us| text::duration(u64::from(us))) }</td>
                { parts::traffic(props.traffic.get(&(props.node, id))) }
                <td class="role">{ text::role(peer.role) }</td>
                <td class="number">{ text::age(props.clock.elapsed_us(peer.since_us, now_ms)) }</td>
                <td>{ link_button(id) }</td>
            </tr>
        }
    };
    html! {
        <div class="scroll peers">
            <table data-testid="peer-table">
                <caption class="sr-only">{ "Its sessions, as it sees them" }</caption>
                <thead>
                    <tr>
                        <th scope="col">{ "Peer" }</th>
                        <th scope="col"><abbr title="This node's verdict">{ "Health" }</abbr></th>
                        <th scope="col" class="number"><abbr title="Smoothed round-trip time">{ "RTT" }</abbr></th>
                        <th scope="col" class="number wide">
                            <abbr title="Bytes that this node has sent and received">{ "Out / in" }</abbr>
                        </th>
                        <th scope="col" class="role"><abbr title="This node's part in the handshake">{ "Role" }</abbr></th>
                        <th scope="col" class="number">{ "Age" }</th>
                        <th scope="col"><abbr title="Both ways">{ "Link" }</abbr></th>
                    </tr>
                </thead>
                <tbody>{ for peers.into_iter().map(row) }</tbody>
            </table>
        </div>
    }
}

#[derive(Properties, PartialEq)]
struct ActionsProps {
    node: NodeId,
    state: NodeState,
    live: bool,
    pending: Vec<Pending>,
    on_command: Callback<Command>,
}

#[component]
fn Actions(props: &ActionsProps) -> Html {
    let (node, down) = (props.node, props.state == NodeState::Crashed);
    let up = matches!(props.state, NodeState::Running | NodeState::Paused);
    let busy = props.pending.iter().any(|pending| pending.command.node() == Some(node));
    let button = |command: Command,
                  test: &'static str,
                  fits: bool,
                  look: &'static str,
                  icon: &'static str,
                  label: &'static str| {
        let pending = props.pending.iter().any(|pending| pending.command == command);
        let on_command = props.on_command.clone();
        html! {
            <button
                type="button"
                class={classes!("button", look)}
                data-testid={test}
                disabled={!props.live || busy || !fits}
                aria-busy={pending.then_some("true")}
                onclick={move |_| on_command.emit(command.clone())}
            >
                { labelled(pending, icon, label.into()) }
            </button>
        }
    };
    html! {
        <div class="actions" role="group" aria-label="What to do with this node">
            { button(Command::Crash(node), "node-crash", up, "danger", "bolt", "Crash") }
            { button(Command::Shutdown(node), "node-shutdown", up, "", "leave", "Shut down") }
            if props.state == NodeState::Paused {
                { button(Command::Resume(node), "node-resume", true, "primary", "play", "Resume") }
            } else {
                { button(Command::Pause(node), "node-pause", up, "", "pause", "Pause") }
            }
            { button(Command::Restart(node), "node-restart", down, "", "restart", "Restart") }
            { button(Command::Replace(node), "node-replace", up || down, "", "restart", "Restart as new") }
        </div>
    }
}
