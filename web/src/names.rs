//! What people call nodes, daemons and groups.

use std::collections::BTreeMap;

use meshground_shared::{DaemonId, Event, EventKind, GroupId, NodeId, Snapshot};

/// Daemons and groups whose names are remembered; beyond, those that began with the lowest digits
/// are known by their digits only.
const MAX_NAMES: usize = 4_096;

/// The names of all that was heard of in this epoch, departed ones included, so that
/// the log can go on naming them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    nodes: BTreeMap<NodeId, u32>,
    daemons: BTreeMap<DaemonId, String>,
    groups: BTreeMap<GroupId, String>,
}

impl Names {
    /// Learns the name of everything there is.
    pub(crate) fn learn_all(&mut self, snapshot: &Snapshot) {
        self.nodes.extend(snapshot.nodes.iter().map(|(&id, node)| (id, node.index)));
        for daemon in snapshot.nodes.values().flat_map(|node| node.daemons.values()) {
            remember(&mut self.daemons, daemon.id, &daemon.name);
        }
        for group in snapshot.groups.values() {
            remember(&mut self.groups, group.id, &group.name);
        }
    }

    /// Learns from what happened.
    pub(crate) fn learn(&mut self, event: &Event) {
        match &event.kind {
            EventKind::NodeStarted { index, .. } => {
                if let Some(id) = event.node {
                    self.nodes.insert(id, *index);
                }
            }
            EventKind::DaemonChanged { daemon } => remember(&mut self.daemons, daemon.id, &daemon.name),
            EventKind::GroupChanged { group } => remember(&mut self.groups, group.id, &group.name),
            _ => {}
        }
    }

    /// Whether an event says a name that is not known yet.
    pub(crate) fn lacks(&self, event: &Event) -> bool {
        match &event.kind {
            EventKind::NodeStarted { .. } => true,
            EventKind::DaemonChanged { daemon } => self.daemons.get(&daemon.id) != Some(&daemon.name),
            EventKind::GroupChanged { group } => self.groups.get(&group.id) != Some(&group.name),
            _ => false,
        }
    }

    /// Forgets everyone: another epoch.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether this node was heard of before.
    pub(crate) fn knows(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// `node 3`, or the short id of a stranger.
    pub(crate) fn name(&self, id: NodeId) -> String {
        self.nodes.get(&id).map_or_else(|| format!("node {}", short_id(id)), |index| format!("node {index}"))
    }

    /// `counter 3f2a`: what it calls itself, and enough digits to tell it from its like.
    pub(crate) fn daemon(&self, id: DaemonId) -> String {
        let name = self.daemons.get(&id).filter(|name| !name.is_empty());
        format!("{} {}", name.map_or("daemon", String::as_str), &id.to_string()[..4])
    }

    /// `group web`, or its first digits.
    pub(crate) fn group(&self, id: GroupId) -> String {
        let name = self.groups.get(&id).filter(|name| !name.is_empty());
        format!("group {}", name.map_or_else(|| id.to_string()[..4].to_owned(), Clone::clone))
    }
}

fn remember<K: Ord>(names: &mut BTreeMap<K, String>, id: K, name: &str) {
    names.insert(id, name.to_owned());
    if names.len() > MAX_NAMES {
        names.pop_first();
    }
}

/// The first eight digits of an id: enough to tell nodes apart at a glance.
pub(crate) fn short_id(id: NodeId) -> String {
    let mut digits = id.to_string();
    digits.truncate(8);
    digits
}
