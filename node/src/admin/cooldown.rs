//! Break-glass commands leave their target alone for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{DaemonId, GroupId, IceVerb, MigrationId};

use crate::time::Instant;

/// How long after one break-glass command the next of its kind and target is refused.
pub(super) const COOLDOWN: Duration = Duration::from_mins(5);

/// The most targets that cool down at a time.
const CAPACITY: usize = 4_096;

/// What a break-glass command is about: its kind with its target, or the whole cluster. Commands about different subjects
/// do not wait for each other; so a migration whose cutover was forced can still be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// Whether the cluster is frozen. A thaw is about this too, and only it is exempt from cooling down.
    Freeze,
    /// All avoid lists.
    AvoidLists,
    /// A member of a group.
    Replica(GroupId, u32),
    /// A daemon's restart.
    Daemon(DaemonId),
    /// A migration's cutover.
    Cutover(MigrationId),
    /// A migration's end.
    Kill(MigrationId),
}

impl Subject {
    pub(super) fn of(verb: &IceVerb) -> Self {
        match *verb {
            IceVerb::FreezeCluster { .. } | IceVerb::ThawCluster => Self::Freeze,
            IceVerb::FlushAvoidLists => Self::AvoidLists,
            IceVerb::ForceEvictReplica { group, index } => Self::Replica(group, index),
            IceVerb::ForceRestartDaemon { daemon } => Self::Daemon(daemon),
            IceVerb::ForceCutover { migration } => Self::Cutover(migration),
            IceVerb::KillMigration { migration } => Self::Kill(migration),
        }
    }
}

/// Subjects that cool down, and those that a prepared command holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Cooldowns {
    until: BTreeMap<Subject, Instant>,
    held: BTreeSet<Subject>,
}

impl Cooldowns {
    /// Holds a subject for a command. Returns whether that may be: nobody else holds it and, unless `exempt`, it has
    /// cooled down.
    pub(super) fn hold(&mut self, now: Instant, subject: Subject, exempt: bool) -> bool {
        self.until.retain(|_, until| *until > now);
        let free = !self.held.contains(&subject);
        let cool = exempt || !self.until.contains_key(&subject);
        let room = self.until.len() + self.held.len() < CAPACITY;
        free && cool && room && self.held.insert(subject)
    }

    /// How many subjects are held or cool down.
    #[cfg(feature = "floor")]
    pub(super) fn gauge(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        // One that is carried out is let go and cools down.
        each(crate::audit::Gauge::new("subjects", self.until.len() + self.held.len(), CAPACITY));
    }

    /// Has a subject cool down until then at least, whoever holds it. Of too many, none more.
    pub(super) fn cool(&mut self, until: Instant, subject: Subject) {
        if self.until.len() + self.held.len() < CAPACITY || self.until.contains_key(&subject) {
            let known = self.until.entry(subject).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// Lets a subject go, and has it cool down if the command was carried out and is not exempt.
    pub(super) fn release(&mut self, subject: Subject, cool_from: Option<Instant>) {
        self.held.remove(&subject);
        if let Some(now) = cool_from {
            self.until.insert(subject, now + COOLDOWN);
        }
    }
}
