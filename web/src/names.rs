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
        format!("group {}", self.group_alone(id))
    }

    /// What a node noted down, with people's names for the nodes, daemons and groups that are known by them.
    pub(crate) fn in_words(&self, noted: &str) -> String {
        let mut said: Vec<String> = Vec::new();
        for word in noted.split(' ') {
            let digits = word.trim_end_matches([':', ',', ';', '.']);
            let name = match (said.last().map(String::as_str), digits.parse().map(|NodeId(id)| id)) {
                (Some("node"), Ok(id)) if self.knows(NodeId(id)) => self.name(NodeId(id)),
                (Some("daemon"), Ok(id)) => self.daemon(DaemonId(id)),
                (Some("group"), Ok(id)) => self.group(GroupId(id)),
                _ => {
                    said.push(word.to_owned());
                    continue;
                }
            };
            said.pop();
            said.push(name + &word[digits.len()..]);
        }
        said.join(" ")
    }

    /// `web`, where it is clear that a group is meant.
    pub(crate) fn group_alone(&self, id: GroupId) -> String {
        let name = self.groups.get(&id).filter(|name| !name.is_empty());
        name.map_or_else(|| id.to_string()[..4].to_owned(), Clone::clone)
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

#[cfg(test)]
mod tests {
    use meshground_shared::Epoch;

    use super::*;
    use crate::fixtures;

    #[test]
    fn what_a_node_noted_down_is_told_with_the_names_people_use() {
        let mut snapshot = Snapshot::new(Epoch(1));
        let mut node = fixtures::member(3);
        let counter = fixtures::daemon(0x3f2a << 48, "counter");
        node.daemons.insert(counter.id, counter);
        snapshot.nodes.insert(NodeId(7), node);
        let mut names = Names::default();
        names.learn_all(&snapshot);
        for (noted, said) in [
            ("avoid node 0000000000000007 for 60s: it went silent", "avoid node 3 for 60s: it went silent"),
            ("move daemon 3f2a000000000000 to node 0000000000000007", "move counter 3f2a to node 3"),
            ("take place 1 of group abcd000000000000 away", "take place 1 of group abcd away"),
            ("daemon 3f2a000000000000: no node 0000000000000008", "counter 3f2a: no node 0000000000000008"),
            ("go into  Maintenance", "go into  Maintenance"),
        ] {
            assert_eq!(names.in_words(noted), said);
        }
    }
}
