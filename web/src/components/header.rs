//! Who this is, how the link is, how many of what, and the cluster's controls.

use meshground_shared::{ClusterPhase, Snapshot};
use yew::prelude::*;

use super::{Icon, controls::Controls};
use crate::{
    shared_ref::Shared,
    state::{Command, LinkState, Pending},
    text,
    theme::Theme,
};

/// What the header is given.
#[derive(Properties, PartialEq)]
pub(crate) struct HeaderProps {
    /// The link.
    pub(crate) link: LinkState,
    /// The cluster.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// The most nodes the server takes, once known.
    pub(crate) max_nodes: Option<u32>,
    /// Commands under way.
    pub(crate) pending: Vec<Pending>,
    /// Nodes and microseconds of the last convergence.
    pub(crate) converged: Option<(u32, u64)>,
    /// The theme.
    pub(crate) theme: Theme,
    /// Called with what the person wants done.
    pub(crate) on_command: Callback<Command>,
    /// Called when the person wants the other theme.
    pub(crate) on_theme: Callback<()>,
}

/// The page's header.
#[component]
pub(crate) fn Header(props: &HeaderProps) -> Html {
    let nodes = props.snapshot.as_ref().map_or(0, |snapshot| snapshot.nodes.len());
    let edges = use_memo(props.snapshot.clone(), |snapshot| {
        snapshot.as_ref().map_or(0, |snapshot| snapshot.edges().len())
    });
    let converged =
        use_memo(props.snapshot.clone(), |snapshot| snapshot.as_ref().is_some_and(|it| it.is_converged()));
    let phase = props.snapshot.as_ref().map_or(ClusterPhase::Empty, |snapshot| snapshot.phase);
    let dark = props.theme.is_dark();
    let other = if dark { "Switch to light" } else { "Switch to dark" };
    let on_theme = props.on_theme.clone();
    html! {
        <header class="header">
            <h1 class="brand">
                <svg class="logo" viewBox="0 0 24 24" aria-hidden="true">
                    <path d="M12 4 4.4 9.5l2.9 8.9h9.4l2.9-8.9zM12 4l4.7 14.4M12 4 7.3 18.4M4.4 9.5h15.2L7.3 18.4M4.4 9.5l12.3 8.9" />
                    <circle cx="12" cy="4" r="2.2" /><circle cx="4.4" cy="9.5" r="2.2" />
                    <circle cx="19.6" cy="9.5" r="2.2" /><circle cx="7.3" cy="18.4" r="2.2" />
                    <circle cx="16.7" cy="18.4" r="2.2" />
                </svg>
                { "Meshground" }
            </h1>
            <Status link={props.link} />
            <dl class="stats">
                <div>
                    <dt>{ "Nodes" }</dt>
                    <dd data-testid="count-nodes">{ nodes }</dd>
                </div>
                <div>
                    <dt>{ "Sessions" }</dt>
                    <dd data-testid="count-edges">{ *edges }</dd>
                </div>
                <div class="stat-phase">
                    <dt>{ "Cluster" }</dt>
                    <dd data-testid="phase" data-phase={phase_slug(phase)}>
                        { phase_word(phase) }
                        if phase == ClusterPhase::Running && nodes > 0 && !*converged {
                            <span class="took doubt">{ "not converged" }</span>
                        } else if let (ClusterPhase::Running, Some((_, took_us))) = (phase, props.converged) {
                            <span class="took">{ format!("converged in {}", text::duration(took_us)) }</span>
                        }
                    </dd>
                </div>
            </dl>
            <Controls
                live={props.link == LinkState::Live}
                {phase}
                topology={props.snapshot.as_ref().map(|snapshot| snapshot.topology).unwrap_or_default()}
                max_nodes={props.max_nodes}
                pending={props.pending.clone()}
                on_command={props.on_command.clone()}
            />
            <button
                type="button"
                class="icon-button theme"
                data-testid="theme"
                aria-label={other}
                title={other}
                onclick={move |_| on_theme.emit(())}
            >
                <Icon name={if dark { "sun" } else { "moon" }} />
            </button>
        </header>
    }
}

#[derive(Properties, PartialEq)]
struct StatusProps {
    link: LinkState,
}

#[component]
fn Status(props: &StatusProps) -> Html {
    let word = match props.link {
        LinkState::Connecting => "Connecting",
        LinkState::Live => "Live",
        LinkState::Reconnecting { .. } => "Reconnecting",
        LinkState::Gone { .. } => "Server gone",
    };
    let slug = props.link.slug();
    html! {
        <p class={classes!("status", slug)} role="status" data-testid="status" data-state={slug}>
            <span class="dot" aria-hidden="true" />{ word }
        </p>
    }
}

fn phase_slug(phase: ClusterPhase) -> &'static str {
    match phase {
        ClusterPhase::Empty => "empty",
        ClusterPhase::Booting => "booting",
        ClusterPhase::Running => "running",
        ClusterPhase::Stopping => "stopping",
    }
}

fn phase_word(phase: ClusterPhase) -> &'static str {
    match phase {
        ClusterPhase::Empty => "None",
        ClusterPhase::Booting => "Booting…",
        ClusterPhase::Running => "Running",
        ClusterPhase::Stopping => "Stopping…",
    }
}
