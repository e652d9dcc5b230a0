//! When to announce one's links: soon, but not again and again while many change.

use std::time::Duration;

use crate::time::Instant;

/// Changes within this of each other are announced together.
const QUIET: Duration = Duration::from_millis(50);

/// Two announcements are at least this far apart.
const PAUSE: Duration = Duration::from_millis(250);

/// While links keep coming up, an announcement waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long links must have been settled where nobody waits to hear of them.
const SETTLED: Duration = Duration::from_secs(2);

/// The next announcement of this node's links.
#[derive(Debug, Default)]
pub(crate) struct Announcement {
    last: Option<Instant>,
    waits: Option<Waits>,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    /// The first change it is to tell of.
    since: Instant,
    /// The last link that came up.
    up: Option<Instant>,
    /// The first link that has gone: somebody may send into the void.
    lost: Option<Instant>,
}

impl Announcement {
    /// A link came up.
    pub(crate) fn gained(&mut self, now: Instant) {
        self.waits.get_or_insert(Waits { since: now, up: None, lost: None }).up = Some(now);
    }

    /// A link has gone.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.waits.get_or_insert(Waits { since: now, up: None, lost: None }).lost.get_or_insert(now);
    }

    /// When the links are to be announced, if they are. `leisure` says that nobody waits to hear of them, as everyone
    /// this node knows of is linked with everyone, and how long it may take beyond the usual.
    pub(crate) fn due(&self, leisure: Option<Duration>) -> Option<Instant> {
        let Waits { since, up, lost } = self.waits?;
        let gained = up.map(|up| match leisure {
            Some(leisure) => up + SETTLED + leisure,
            None => (up + QUIET).min(since + PATIENCE),
        });
        let due = gained.into_iter().chain(lost.map(|lost| lost + QUIET)).min()?;
        Some(self.last.map_or(due, |last| due.max(last + PAUSE)))
    }

    /// They have been announced.
    pub(crate) fn done(&mut self, now: Instant) {
        *self = Self { last: Some(now), waits: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn changes_are_announced_together_but_none_waits_for_ever() {
        let mut announcement = Announcement::default();
        assert_eq!(announcement.due(None), None);
        announcement.gained(at(0));
        assert_eq!(announcement.due(None), Some(at(50)));
        for millis in (0..=2_000).step_by(40) {
            announcement.gained(at(millis));
        }
        assert_eq!(announcement.due(None), Some(at(1_000)));
        announcement.done(at(1_000));
        announcement.gained(at(1_010));
        assert_eq!(announcement.due(None), Some(at(1_250)), "a pause between two");
    }

    #[test]
    fn where_everyone_is_linked_with_everyone_it_waits_until_all_is_settled() {
        let mut announcement = Announcement::default();
        announcement.gained(at(0));
        announcement.gained(at(900));
        assert_eq!(announcement.due(Some(Duration::from_millis(7))), Some(at(2_907)));
    }

    #[test]
    fn a_lost_link_is_announced_soon_whatever_else_happens() {
        let mut announcement = Announcement::default();
        announcement.gained(at(0));
        announcement.lost(at(10));
        announcement.gained(at(59));
        assert_eq!(announcement.due(Some(Duration::ZERO)), Some(at(60)));
    }
}
