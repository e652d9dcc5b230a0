//! What a person can ask for.

use meshground_shared::{NodeId, Topology};

use crate::{names::Names, text, work::Work};

/// Something a person asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Boot a cluster, in place of a running one where `replace`.
    Boot {
        /// How many nodes.
        nodes: u32,
        /// Whether a running cluster makes way.
        replace: bool,
        /// Who is linked with whom.
        topology: Topology,
    },
    /// Link the nodes in another way.
    Relink(Topology),
    /// Shut the cluster down.
    Stop,
    /// Add a node.
    Spawn,
    /// Let a node leave.
    Shutdown(NodeId),
    /// Let a node vanish.
    Crash(NodeId),
    /// Start a node again.
    Restart(NodeId),
    /// Start a node again as somebody else.
    Replace(NodeId),
    /// Let a node stand still.
    Pause(NodeId),
    /// Let a paused node go on.
    Resume(NodeId),
    /// Cut the link between two nodes, both ways.
    Cut(NodeId, NodeId),
    /// Mend the link between two nodes, both ways.
    Heal(NodeId, NodeId),
    /// Mend every link.
    HealAll,
    /// Do something with what runs on nodes.
    Work(Work),
}

impl Command {
    /// The node it is about, if one.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match self {
            // A link's own buttons tell when they wait; its ends go on being usable.
            Self::Cut(..)
            | Self::Heal(..)
            | Self::HealAll
            | Self::Boot { .. }
            | Self::Relink(_)
            | Self::Stop
            | Self::Spawn
            | Self::Work(_) => None,
            Self::Shutdown(node)
            | Self::Crash(node)
            | Self::Restart(node)
            | Self::Replace(node)
            | Self::Pause(node)
            | Self::Resume(node) => Some(*node),
        }
    }

    /// One word for the log's cause chip.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Boot { replace: false, .. } => "boot",
            Self::Boot { replace: true, .. } => "reboot",
            Self::Stop => "stop",
            Self::Spawn => "spawn",
            Self::Shutdown(_) => "shutdown",
            Self::Crash(_) => "crash",
            Self::Restart(_) => "restart",
            Self::Replace(_) => "replace",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Relink(_) => "topology",
            Self::Cut(..) => "cut",
            Self::Heal(..) | Self::HealAll => "heal",
            Self::Work(work) => work.word(),
        }
    }

    /// What could not be done, for a notice.
    pub(crate) fn failure(&self, names: &Names) -> String {
        match self {
            Self::Boot { nodes: 1, .. } => "Could not boot 1 node".to_owned(),
            Self::Boot { nodes, .. } => format!("Could not boot {nodes} nodes"),
            Self::Stop => "Could not shut the cluster down".to_owned(),
            Self::Spawn => "Could not spawn a node".to_owned(),
            Self::Shutdown(node) => format!("Could not shut {} down", names.name(*node)),
            Self::Crash(node) => format!("Could not crash {}", names.name(*node)),
            Self::Restart(node) => format!("Could not restart {}", names.name(*node)),
            Self::Replace(node) => {
                format!("Could not restart {} as somebody else", names.name(*node))
            }
            Self::Pause(node) => format!("Could not pause {}", names.name(*node)),
            Self::Resume(node) => format!("Could not resume {}", names.name(*node)),
            Self::Relink(topology) => {
                format!("Could not link the nodes as a {}", text::shape(*topology))
            }
            Self::Cut(a, b) => of_link(names, "cut", *a, *b),
            Self::Heal(a, b) => of_link(names, "mend", *a, *b),
            Self::HealAll => "Could not mend every link".to_owned(),
            Self::Work(work) => format!("Could not {}", work.title(names)),
        }
    }
}

fn of_link(names: &Names, verb: &str, a: NodeId, b: NodeId) -> String {
    format!("Could not {verb} the link between {} and {}", names.name(a), names.name(b))
}
