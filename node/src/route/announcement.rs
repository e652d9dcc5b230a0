//! When to announce one's links: soon, but not again and again while many change.

use std::time::Duration;

use crate::time::Instant;

/// Changes within this of each other are announced together.
const QUIET: Duration = Duration::from_millis(50);

/// Two announcements are at least this far apart.
const PAUSE: Duration = Duration::from_millis(250);

/// While links keep coming up, an announcement waits no longer than this; with handshakes under way, no longer than this
/// after the last of them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long links must have been settled where nobody waits to hear of them.
const SETTLED: Duration = Duration::from_secs(2);

/// The next announcement of this node's links.
#[derive(Debug, Default)]
pub(crate) struct Announcement {
    last: Option<Instant>,
    waits: Option<Waits>,
    /// It was due, and was put off until this.
    later: Option<Instant>,
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

/// Why links that came up need not be announced yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    /// More links are about to come up: it waits for so long after the last of them.
    Gathering(Duration),
    /// Nobody waits to hear of them, as everyone this node knows of is linked with everyone: it may take so much time
    /// beyond the usual.
    Leisure(Duration),
}

impl Announcement {
    /// A link came up.
    pub(crate) fn gained(&mut self, now: Instant) {
        self.waits.get_or_insert(Waits { since: now, up: None, lost: None }).up = Some(now);
    }

    /// A link has gone.
    pub(crate) fn lost(&mut self, now: Instant) {
        let waits = self.waits.get_or_insert(Waits { since: now, up: None, lost: None });
        // Before the first announcement nobody else knows of it.
        if self.last.is_some() || waits.up.is_none() {
            waits.lost.get_or_insert(now);
        }
        self.reconsider();
    }

    /// The reason for which it was put off may hold no more.
    pub(crate) fn reconsider(&mut self) {
        self.later = None;
    }

    /// When the links are to be announced, or that is to be [put off](Self::put_off), if they are.
    pub(crate) fn due(&self) -> Option<Instant> {
        let Waits { since, up, lost } = self.waits?;
        let gained = up.map(|up| self.later.unwrap_or((up + QUIET).min(since + PATIENCE)));
        let due = gained.into_iter().chain(lost.map(|lost| lost + QUIET)).min()?;
        Some(self.last.map_or(due, |last| due.max(last + PAUSE)))
    }

    /// Puts off what is due because links came up. Whether nothing is due any more.
    pub(crate) fn put_off(&mut self, now: Instant, delay: Delay) -> bool {
        let Some(up) = self.waits.and_then(|waits| waits.up) else { return false };
        let delay = match delay {
            Delay::Gathering(patience) => patience,
            Delay::Leisure(leisure) => SETTLED + leisure,
        };
        self.later = Some(up + delay);
        self.due().is_some_and(|due| due > now)
    }

    /// They have been announced.
    pub(crate) fn done(&mut self, now: Instant) {
        *self = Self { last: Some(now), ..Self::default() };
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
        assert_eq!(announcement.due(), None);
        announcement.gained(at(0));
        assert_eq!(announcement.due(), Some(at(50)));
        for millis in (0..=2_000).step_by(40) {
            announcement.gained(at(millis));
        }
        assert_eq!(announcement.due(), Some(at(1_000)));
        announcement.done(at(1_000));
        announcement.gained(at(1_010));
        assert_eq!(announcement.due(), Some(at(1_250)), "a pause between two");
    }

    #[test]
    fn where_everyone_is_linked_with_everyone_it_waits_until_all_is_settled() {
        let mut announcement = Announcement::default();
        announcement.gained(at(0));
        announcement.gained(at(900));
        let leisure = Delay::Leisure(Duration::from_millis(7));
        assert!(announcement.put_off(at(950), leisure));
        assert_eq!(announcement.due(), Some(at(2_907)));
        announcement.gained(at(2_000));
        assert_eq!(announcement.due(), Some(at(2_907)), "time enough to look again");
        assert!(announcement.put_off(at(2_907), leisure));
        assert_eq!(announcement.due(), Some(at(4_007)));
        announcement.reconsider();
        assert_eq!(announcement.due(), Some(at(1_000)), "somebody waits after all");
    }

    #[test]
    fn while_handshakes_are_under_way_it_waits_but_no_longer_than_a_second_after_the_last_success() {
        let mut announcement = Announcement::default();
        announcement.gained(at(0));
        assert!(announcement.put_off(at(50), Delay::Gathering(PATIENCE)));
        announcement.gained(at(800));
        assert_eq!(announcement.due(), Some(at(1_000)));
        assert!(announcement.put_off(at(1_000), Delay::Gathering(PATIENCE)));
        assert_eq!(announcement.due(), Some(at(1_800)));
        assert!(!announcement.put_off(at(1_800), Delay::Gathering(PATIENCE)));
    }

    #[test]
    fn a_lost_link_that_others_know_of_is_announced_soon_whatever_else_happens() {
        let mut announcement = Announcement::default();
        announcement.gained(at(0));
        announcement.lost(at(10));
        assert!(announcement.put_off(at(50), Delay::Gathering(PATIENCE)), "nobody was told of it yet");
        announcement.done(at(1_000));
        announcement.gained(at(2_000));
        announcement.lost(at(2_010));
        announcement.gained(at(2_059));
        assert_eq!(announcement.due(), Some(at(2_060)));
        assert!(!announcement.put_off(at(2_060), Delay::Gathering(PATIENCE)));
    }
}
