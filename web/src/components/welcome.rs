//! What stands where the graph will be, while there is none.

use meshground_shared::{ClusterPhase, Topology};
use yew::prelude::*;

use super::parts::labelled;
use crate::state::Command;

/// What the welcome is given.
#[derive(Properties, PartialEq)]
pub(crate) struct WelcomeProps {
    /// Whether commands can be given.
    pub(crate) live: bool,
    /// Whether the server has told how things stand yet.
    pub(crate) known: bool,
    /// What the cluster is doing.
    pub(crate) phase: ClusterPhase,
    /// Whether a boot is under way.
    pub(crate) booting: bool,
    /// Called with what the person wants done.
    pub(crate) on_command: Callback<Command>,
}

/// A call to boot a cluster, or to wait for the server.
#[component]
pub(crate) fn Welcome(props: &WelcomeProps) -> Html {
    let (title, text) = if !props.known {
        ("Looking for the server", "This page talks to the meshground process that served it.")
    } else if props.phase == ClusterPhase::Booting {
        ("Booting", "Sockets are being bound; handshakes follow.")
    } else if props.phase == ClusterPhase::Running {
        ("The last node has left", "The cluster still runs, with nobody in it. Spawn a node, or reboot.")
    } else {
        (
            "No cluster is running",
            "Boot a few nodes: real UDP sockets on loopback, real Noise handshakes between every pair. \
             Then crash one and watch the others find out.",
        )
    };
    let empty = props.known && props.phase == ClusterPhase::Empty;
    let boot = |nodes: u32| {
        let on_command = props.on_command.clone();
        let command = Command::Boot { nodes, replace: false, topology: Topology::Full };
        move |_: MouseEvent| on_command.emit(command.clone())
    };
    let idle = props.live && !props.booting;
    html! {
        <div class="welcome">
            <svg class="welcome-art" viewBox="0 0 120 120" aria-hidden="true">
                <circle class="art-ring" cx="60" cy="60" r="46" />
                <path d="M60 14 16.3 45.8 33 97.2h54l16.7-51.4zM60 14l27 83.2M60 14 33 97.2M16.3 45.8h87.4L33 97.2M16.3 45.8 87 97.2" />
                <circle class="art-node" cx="60" cy="14" r="6" /><circle class="art-node" cx="16.3" cy="45.8" r="6" />
                <circle class="art-node" cx="103.7" cy="45.8" r="6" /><circle class="art-node" cx="33" cy="97.2" r="6" />
                <circle class="art-node" cx="87" cy="97.2" r="6" />
            </svg>
            <h2>{ title }</h2>
            <p>{ text }</p>
            if empty {
                <div class="welcome-actions">
                    <button type="button" class="button primary" disabled={!idle} onclick={boot(5)}>
                        { labelled(props.booting, "play", "Boot five nodes".into()) }
                    </button>
                    <button type="button" class="button" disabled={!idle} onclick={boot(16)}>{ "or sixteen" }</button>
                </div>
            }
        </div>
    }
}
