//! What can be done with the whole cluster.

use meshground_shared::{ClusterPhase, Topology};
use web_sys::{HtmlInputElement, HtmlSelectElement, SubmitEvent};
use yew::prelude::*;

use super::parts::labelled;
use crate::state::{Command, Pending};

/// What the controls are given.
#[derive(Properties, PartialEq)]
pub(crate) struct ControlsProps {
    /// Whether commands can be given.
    pub(crate) live: bool,
    /// What the cluster is doing.
    pub(crate) phase: ClusterPhase,
    /// Who is linked with whom.
    pub(crate) topology: Topology,
    /// The most nodes the server takes, once known.
    pub(crate) max_nodes: Option<u32>,
    /// Commands under way.
    pub(crate) pending: Vec<Pending>,
    /// Called with what the person wants done.
    pub(crate) on_command: Callback<Command>,
}

const DEFAULT_NODES: u32 = 5;

/// The topologies to choose from, by the value and the label of their option.
const TOPOLOGIES: [(&str, &str, Topology); 6] = [
    ("full", "Full mesh", Topology::Full),
    ("ring", "Ring", Topology::Ring),
    ("star", "Star", Topology::Star),
    ("line", "Line", Topology::Line),
    ("tree", "Binary tree", Topology::Tree { arity: 2 }),
    ("random", "Random, 4 links", Topology::RandomRegular { degree: 4, seed: 1 }),
];

/// Boot, spawn, shut down.
#[component]
pub(crate) fn Controls(props: &ControlsProps) -> Html {
    let typed = use_state(|| DEFAULT_NODES.to_string());
    let topology = use_state_eq(|| Topology::Full);
    let chosen = *topology;
    let nodes = parse(&typed, props.max_nodes);
    let is_pending =
        |which: fn(&Command) -> bool| props.pending.iter().any(|pending| which(&pending.command));
    let booting = is_pending(|command| matches!(command, Command::Boot { .. }));
    let stopping = is_pending(|command| *command == Command::Stop);
    let spawning = is_pending(|command| *command == Command::Spawn);
    let relinking = is_pending(|command| matches!(command, Command::Relink(_)));
    let running = props.phase != ClusterPhase::Empty;
    let between = matches!(props.phase, ClusterPhase::Booting | ClusterPhase::Stopping);
    let idle = props.live && !booting && !stopping && !between;

    let oninput = {
        let typed = typed.clone();
        Callback::from(move |event: InputEvent| {
            typed.set(event.target_unchecked_into::<HtmlInputElement>().value());
        })
    };
    let onsubmit = {
        let (on_command, nodes) = (props.on_command.clone(), nodes.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            if let Ok(nodes) = nodes
                && idle
            {
                on_command.emit(Command::Boot { nodes, replace: running, topology: chosen });
            }
        })
    };
    let onchange = {
        let topology = topology.clone();
        Callback::from(move |event: Event| {
            let value = event.target_unchecked_into::<HtmlSelectElement>().value();
            if let Some((.., choice)) = TOPOLOGIES.iter().find(|(name, ..)| *name == value) {
                topology.set(*choice);
            }
        })
    };
    let option = |&(value, label, choice): &(&'static str, &'static str, Topology)| {
        html! { <option {value} selected={choice == chosen}>{ label }</option> }
    };
    let give = |command: Command| {
        let on_command = props.on_command.clone();
        move |_: MouseEvent| on_command.emit(command.clone())
    };
    let label = match (&nodes, booting || props.phase == ClusterPhase::Booting, running) {
        (_, true, _) => "Booting…".to_owned(),
        (Ok(nodes), false, true) => format!("Reboot with {nodes}"),
        (Ok(nodes), false, false) => format!("Boot {nodes}"),
        (Err(_), false, _) => "Boot".to_owned(),
    };
    let complaint = nodes.as_ref().err().cloned();
    html! {
        <div class="controls">
            <form class="boot" {onsubmit} novalidate=true>
                <label class="field">
                    <span class="field-label">{ "Nodes" }</span>
                    <input
                        type="number"
                        inputmode="numeric"
                        min="1"
                        max={props.max_nodes.map(|max| max.to_string())}
                        data-testid="boot-count"
                        value={(*typed).clone()}
                        aria-invalid={complaint.is_some().then_some("true")}
                        aria-describedby="boot-complaint"
                        {oninput}
                    />
                </label>
                <select
                    class="choice" aria-label="Who is linked with whom" data-testid="topology" {onchange}
                >
                    { for TOPOLOGIES.iter().map(option) }
                </select>
                <button
                    type="submit"
                    class={classes!("button", (!running).then_some("primary"))}
                    data-testid="boot"
                    disabled={!idle || complaint.is_some()}
                    aria-busy={booting.then_some("true")}
                >
                    { labelled(booting, if running { "restart" } else { "play" }, label.into()) }
                </button>
                <p id="boot-complaint" class="complaint" role="alert">{ complaint }</p>
            </form>
            if running && chosen != props.topology {
                <button
                    type="button"
                    class="button"
                    data-testid="relink"
                    title="Link the running nodes this way"
                    disabled={!idle || relinking}
                    aria-busy={relinking.then_some("true")}
                    onclick={give(Command::Relink(chosen))}
                >
                    { labelled(relinking, "fit", if relinking { "Relinking…" } else { "Relink" }.into()) }
                </button>
            }
            <button
                type="button"
                class={classes!("button", running.then_some("primary"))}
                data-testid="spawn"
                disabled={!props.live || spawning || props.phase != ClusterPhase::Running}
                aria-busy={spawning.then_some("true")}
                onclick={give(Command::Spawn)}
            >
                { labelled(spawning, "plus", if spawning { "Spawning…" } else { "Spawn node" }.into()) }
            </button>
            <button
                type="button"
                class="button quiet"
                data-testid="cluster-shutdown"
                disabled={!props.live || stopping || !running || props.phase == ClusterPhase::Stopping}
                aria-busy={stopping.then_some("true")}
                onclick={give(Command::Stop)}
            >
                { labelled(stopping, "power", if stopping { "Stopping…" } else { "Shut down" }.into()) }
            </button>
        </div>
    }
}

fn parse(typed: &str, max: Option<u32>) -> Result<u32, String> {
    let within = |nodes: &u32| *nodes >= 1 && max.is_none_or(|max| *nodes <= max);
    typed.trim().parse().ok().filter(within).ok_or_else(|| match max {
        Some(max) => format!("A whole number from 1 to {max}, please."),
        None => "A whole number from 1 up, please.".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_a_topology_there_is_under_a_name_of_its_own() {
        for (at, (value, label, topology)) in TOPOLOGIES.iter().enumerate() {
            assert_eq!(topology.validate(), Ok(()));
            assert!(TOPOLOGIES[at + 1..].iter().all(|other| other.0 != *value && other.1 != *label));
        }
    }

    #[test]
    fn only_a_whole_number_within_the_servers_limit_is_taken() {
        assert_eq!(parse(" 5 ", Some(64)), Ok(5));
        for typed in ["", "0", "-1", "2.5", "65", "five", "99999999999"] {
            assert!(parse(typed, Some(64)).is_err(), "{typed:?} was taken");
        }
        assert_eq!(parse("65", None), Ok(65), "the server has not said yet");
    }
}
