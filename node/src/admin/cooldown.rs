//! Break-glass commands leave their target alone for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{DaemonId, GroupId, IceVerb, MigrationId, Rejection};

use crate::time::Instant;

/// How long after one break-glass command the next of its kind and target is refused.
pub(super) const COOLDOWN: Duration = Duration::from_mins(5);

/// The most targets that cool down at a time.
const CAPACITY: usize = 4_096;

/// What a break-glass command is about: its kind with its target, or the whole cluster. Commands about different subjects
/// do not wait for each other; so a migration whose cutover was forced can still be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// Whether the cluster is frozen.
    Freeze,
    /// That it is not any more. Only this never cools down, and any number of them are held at a time; but never along with a
    /// freeze, or nodes could end up differing.
    Thaw,
    /// All avoid lists.
    AvoidLists,
    /// A member of a group.
    Replica(GroupId, u32),
    /// A daemon's restart.
    Daemon(DaemonId),
    /// A migration's cutover.
    Cutover(Moved),
    /// A migration's end.
    Kill(Moved),
}

/// What a migration is of. The daemon is the target of a command about it: another migration of the same daemon is not another
/// target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moved {
    Daemon(DaemonId),
    /// Of a migration that this node knows nothing of. Whoever is concerned does.
    By(MigrationId),
}

impl Subject {
    /// What a command is about; `moved` is the daemon of the migration that it names, if that is known.
    pub(super) fn of(verb: &IceVerb, moved: Option<DaemonId>) -> Self {
        let of = |migration| moved.map_or(Moved::By(migration), Moved::Daemon);
        match *verb {
            IceVerb::FreezeCluster { .. } => Self::Freeze,
            IceVerb::ThawCluster => Self::Thaw,
            IceVerb::FlushAvoidLists => Self::AvoidLists,
            IceVerb::ForceEvictReplica { group, index } => Self::Replica(group, index),
            IceVerb::ForceRestartDaemon { daemon } => Self::Daemon(daemon),
            IceVerb::ForceCutover { migration } => Self::Cutover(of(migration)),
            IceVerb::KillMigration { migration } => Self::Kill(of(migration)),
        }
    }
}

/// Subjects that cool down, and those that a prepared command holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Cooldowns {
    until: BTreeMap<Subject, Instant>,
    held: BTreeSet<Subject>,
    /// How many prepared thaws there are.
    thaws: usize,
    /// Until then some cool down that there was no room for: so whatever is not known may be one of them.
    crowded_until: Option<Instant>,
}

impl Cooldowns {
    /// Holds a subject for a command.
    ///
    /// # Errors
    /// When somebody else holds it, or it has not cooled down, or may not have; or when there are too many.
    pub(super) fn hold(&mut self, now: Instant, subject: Subject) -> Result<(), Rejection> {
        if subject == Subject::Thaw {
            // Whatever else there is, it is the way out.
            if self.is_freezing() {
                return Err(Rejection::IceCooldownActive);
            }
            self.thaws += 1;
            return Ok(());
        }
        self.until.retain(|_, until| *until > now);
        self.crowded_until = self.crowded_until.filter(|until| *until > now);
        let is_free = !self.held.contains(&subject) && (subject != Subject::Freeze || self.thaws == 0);
        let is_cool = !self.until.contains_key(&subject) && self.crowded_until.is_none();
        if !is_free || !is_cool {
            return Err(Rejection::IceCooldownActive);
        }
        if self.until.len() + self.held.len() >= CAPACITY {
            return Err(Rejection::Overloaded);
        }
        self.held.insert(subject);
        Ok(())
    }

    /// Whether a freeze is being decided on.
    pub(super) fn is_freezing(&self) -> bool {
        self.held.contains(&Subject::Freeze)
    }

    /// How many subjects are held or cool down.
    #[cfg(feature = "floor")]
    pub(super) fn gauge(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        // One that is carried out is let go and cools down.
        each(crate::audit::Gauge::new("subjects", self.until.len() + self.held.len(), CAPACITY));
    }

    /// Has a subject cool down until then at least, whoever holds it. Of one too many nothing is remembered but until when: so
    /// long nothing is held that is not known to have cooled down.
    pub(super) fn cool(&mut self, until: Instant, subject: Subject) {
        if self.until.len() + self.held.len() < CAPACITY || self.until.contains_key(&subject) {
            let known = self.until.entry(subject).or_insert(until);
            *known = until.max(*known);
        } else {
            self.crowded_until = self.crowded_until.max(Some(until));
        }
    }

    /// Lets a subject go, and has it cool down if the command was carried out.
    pub(super) fn release(&mut self, subject: Subject, cool_from: Option<Instant>) {
        if subject == Subject::Thaw {
            self.thaws = self.thaws.saturating_sub(1);
            return;
        }
        self.held.remove(&subject);
        if let Some(now) = cool_from {
            self.until.insert(subject, now + COOLDOWN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn some(number: usize) -> Subject {
        Subject::Daemon(DaemonId(number as u64))
    }

    #[test]
    fn where_too_many_cool_down_nothing_is_done_again_too_early_and_a_thaw_goes_through() {
        let mut cooldowns = Cooldowns::default();
        for number in 0..CAPACITY {
            cooldowns.hold(at(0), some(number)).unwrap();
            cooldowns.release(some(number), Some(at(0)));
        }
        assert_eq!(cooldowns.hold(at(1), some(CAPACITY)), Err(Rejection::Overloaded));
        assert_eq!(cooldowns.hold(at(1), Subject::Thaw), Ok(()));
        // Others did this, so it is no matter of room here.
        cooldowns.cool(at(400), some(CAPACITY));
        assert_eq!(cooldowns.hold(at(399), some(CAPACITY)), Err(Rejection::IceCooldownActive));
        assert_eq!(cooldowns.hold(at(400), some(CAPACITY)), Ok(()));
    }

    #[test]
    fn thaws_are_held_side_by_side_but_never_along_with_a_freeze() {
        let mut cooldowns = Cooldowns::default();
        cooldowns.hold(at(0), Subject::Thaw).unwrap();
        cooldowns.hold(at(0), Subject::Thaw).unwrap();
        cooldowns.release(Subject::Thaw, None);
        assert_eq!(cooldowns.hold(at(0), Subject::Freeze), Err(Rejection::IceCooldownActive));
        cooldowns.release(Subject::Thaw, None);
        assert_eq!(cooldowns.hold(at(0), Subject::Freeze), Ok(()));
        assert_eq!(cooldowns.hold(at(0), Subject::Thaw), Err(Rejection::IceCooldownActive));
        cooldowns.release(Subject::Freeze, None);
        assert_eq!(cooldowns.hold(at(0), Subject::Thaw), Ok(()));
    }
}
