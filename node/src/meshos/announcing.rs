//! What this node can do, with what its daemons add to that.

use meshground_shared::{DaemonId, NodeId};

use super::MeshOs;
use crate::{capability::Capabilities, compute::Inventory, node::Node, time::Now};

impl MeshOs {
    /// Announces what this node can do, in place of what it announced before, and besides what the daemons here have it
    /// announce. Take this and not [`Node::announce`], which knows nothing of daemons.
    pub fn announce(&mut self, now: Now, node: &mut Node, capabilities: Capabilities) {
        self.capabilities = capabilities;
        let all = self.all_capabilities();
        self.announce_all(now, node, all);
    }

    /// Has the node announce these tags, besides all others, for as long as a daemon here runs; in place of what the
    /// daemon had it announce before. Whether the daemon is here.
    pub fn announce_for(&mut self, now: Now, daemon: DaemonId, tags: Vec<String>) -> bool {
        let Some(instance) = self.registry.get_mut(daemon) else { return false };
        instance.tags = tags;
        self.say_soon(now);
        true
    }

    /// How busy a node is for placement, in thousandths, by what it says of its daemons and its machine; 0 if it says
    /// nothing.
    pub fn load_of(&self, node: NodeId) -> u32 {
        self.directory.get(node).map_or(0, Inventory::load)
    }

    /// The nodes of which this one knows that they have a factory of this kind, itself included, by id.
    pub fn offering(&self, kind: &str) -> impl Iterator<Item = NodeId> {
        let offers = move |kinds: &[String]| kinds.iter().any(|offered| offered == kind);
        let all = self.directory.iter().filter(move |(_, inventory)| offers(&inventory.kinds));
        all.map(|(node, _)| node)
    }

    /// The node on which a daemon runs, its newest incarnation if there are several, as far as this one knows.
    pub fn host_of(&self, daemon: DaemonId) -> Option<NodeId> {
        let is_here = self.registry.get(daemon).is_some_and(|instance| !instance.held);
        if is_here { Some(self.local) } else { self.directory.find(daemon).map(|(at, _)| at) }
    }

    /// Announces what is not as it was announced last.
    pub(super) fn announce_changes(&mut self, now: Now, node: &mut Node) {
        let all = self.all_capabilities();
        if all != self.announced {
            self.announce_all(now, node, all);
        }
    }

    fn announce_all(&mut self, now: Now, node: &mut Node, all: Capabilities) {
        node.announce(now, all.clone());
        self.announced = all;
        self.oversight.touch();
        self.groups.wake();
    }

    /// What goes beyond the bounds of an announcement is left out.
    fn all_capabilities(&self) -> Capabilities {
        let mut all = self.capabilities.clone();
        for (_, instance) in self.registry.iter().filter(|(_, instance)| !instance.held) {
            for tag in &instance.tags {
                let _ = all.add_tag(tag);
            }
        }
        all
    }
}
