//! What nodes wrote down about commands: whether they agree on it, and what follows from it.

use meshground_node::NodeId;
use meshground_shared::{AdminVerb, AuditEntry, Decision, Verb};

/// What was decided on which command, by nonce: in an order that is the same for every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail(Vec<(String, Decision)>);

impl<'a> FromIterator<&'a AuditEntry> for Trail {
    fn from_iter<T: IntoIterator<Item = &'a AuditEntry>>(entries: T) -> Self {
        let mut trail: Vec<_> =
            entries.into_iter().map(|entry| (entry.nonce.clone(), entry.decision)).collect();
        trail.sort_by_cached_key(|(nonce, decision)| (nonce.clone(), format!("{decision:?}")));
        Self(trail)
    }
}

impl Trail {
    /// What was decided on a command.
    pub fn decision(&self, nonce: &str) -> Option<Decision> {
        self.0.iter().find(|(its, _)| its == nonce).map(|(_, decision)| *decision)
    }

    /// A command that was decided on more than once, if there is one.
    pub fn twice(&self) -> Option<&str> {
        self.0.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| &*pair[0].0)
    }

    /// What another has not, or not as often.
    pub fn beyond(&self, other: &Self) -> Vec<&(String, Decision)> {
        let count = |all: &Self, it: &(String, Decision)| all.0.iter().filter(|other| *other == it).count();
        self.0.iter().filter(|it| count(self, it) > count(other, it)).collect()
    }
}

/// How a node serves, by what it wrote down as applied.
#[derive(Debug, Default)]
pub struct Told<'a> {
    /// Nothing new is placed on it.
    pub cordoned: bool,
    /// It is out of service.
    pub out: bool,
    /// The commands that named it, in order.
    pub verbs: Vec<&'a AdminVerb>,
}

impl<'a> Told<'a> {
    /// What a node was told, as it wrote that down.
    pub fn new(node: NodeId, trail: impl IntoIterator<Item = &'a AuditEntry>) -> Self {
        let mut told = Self::default();
        for entry in trail.into_iter().filter(|entry| entry.decision == Decision::Applied) {
            let Verb::Admin(verb) = &entry.verb else { continue };
            if verb.node() == Some(node) {
                told.add(verb);
            }
        }
        told
    }

    fn add(&mut self, verb: &'a AdminVerb) {
        match verb {
            AdminVerb::Cordon { .. } | AdminVerb::Drain { .. } => self.cordoned = true,
            AdminVerb::EnterMaintenance { .. } => (self.cordoned, self.out) = (true, true),
            AdminVerb::ExitMaintenance { .. } => {
                (self.cordoned, self.out) = (self.cordoned && !self.out, false);
            }
            // Out of service is out of service: it says that this came too late.
            AdminVerb::Uncordon { .. } => self.cordoned &= self.out,
            _ => {}
        }
        self.verbs.push(verb);
    }
}
