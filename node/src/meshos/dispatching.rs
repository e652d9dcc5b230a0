//! The gate that everything passes which this node decides of its own accord, and what stands behind it.
//!
//! What somebody asks for by a call or a signed command is done as asked and passes by. What the system makes of that,
//! and of whatever happens to it, passes: where members go, who starts and stops them, what comes of a crash, and so on.

use std::collections::BTreeMap;

use super::{
    MeshOs, OsEvent,
    action::{Action, ActionRecord},
};
use crate::time::Now;

/// How many turns of the loop a decision that is not made any more counts as the same if it is made again. Everything is
/// looked at once within two of them.
const STANDS: u64 = 2;

/// What becomes of what the system decides of its own accord.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dispatch {
    /// It is done.
    #[default]
    Execute,
    /// It is written down, and nothing of it is done: for tests of what is decided.
    Log(LoggingDispatcher),
}

/// Writes down what a node decides of its own accord, in place of its being done.
///
/// As nothing changes by that, the same is decided again and again. It is written down once for as long as it is.
///
/// It keeps the first of what is decided, up to its capacity. What comes when it is full is lost and counted, and the
/// node says so by [`OsEvent::DecisionsLost`] and in its snapshot; [`take`](Self::take) makes room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingDispatcher {
    capacity: usize,
    records: Vec<ActionRecord>,
    dropped: u64,
    /// Whether something was lost since there was room last.
    overflows: bool,
}

impl LoggingDispatcher {
    /// One that keeps so many decisions.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, records: Vec::new(), dropped: 0, overflows: false }
    }

    /// What was decided, in order, since it was [taken](Self::take) last.
    pub fn records(&self) -> &[ActionRecord] {
        &self.records
    }

    /// The same without the times.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.records.iter().map(|record| &record.action)
    }

    /// How many decisions were lost so far, as it was full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes out what was decided, in order, so that there is room again.
    pub fn take(&mut self) -> Vec<ActionRecord> {
        self.overflows = false;
        std::mem::take(&mut self.records)
    }

    /// Writes something down. Whether it is the first that is lost since there was room.
    fn note(&mut self, record: ActionRecord) -> bool {
        if self.records.len() < self.capacity {
            self.records.push(record);
            return false;
        }
        self.dropped = self.dropped.saturating_add(1);
        !std::mem::replace(&mut self.overflows, true)
    }
}

impl Default for LoggingDispatcher {
    /// One that keeps 1,024 decisions.
    fn default() -> Self {
        Self::new(1_024)
    }
}

/// What everything passes that is decided.
#[derive(Debug)]
pub(super) struct Gate {
    dispatch: Dispatch,
    /// What is decided again until it is done, and at which turn of the loop it was last. No more than the places, daemons
    /// and states there are, of a few turns.
    standing: BTreeMap<Action, u64>,
    turn: u64,
}

impl Gate {
    pub(super) fn new(dispatch: Dispatch) -> Self {
        Self { dispatch, standing: BTreeMap::new(), turn: 0 }
    }

    /// The loop turns.
    pub(super) fn turn(&mut self) {
        self.turn += 1;
        self.standing.retain(|_, last| self.turn - *last <= STANDS);
    }

    /// Whether this was not decided just before.
    fn is_news(&mut self, action: &Action) -> bool {
        !action.stands() || self.standing.insert(action.clone(), self.turn).is_none()
    }

    /// How many decisions were lost.
    pub(super) fn lost(&self) -> u64 {
        self.logged().map_or(0, LoggingDispatcher::dropped)
    }

    fn logged(&self) -> Option<&LoggingDispatcher> {
        match &self.dispatch {
            Dispatch::Execute => None,
            Dispatch::Log(log) => Some(log),
        }
    }
}

impl MeshOs {
    /// What becomes of what is decided from here on. What is under way goes on.
    pub fn set_dispatch(&mut self, dispatch: Dispatch) {
        self.gate = Gate::new(dispatch);
        self.oversight.touch_figure();
    }

    /// What was decided and not done; `None` if it is done.
    pub fn logged(&self) -> Option<&LoggingDispatcher> {
        self.gate.logged()
    }

    /// Takes out what was decided and not done, so that there is room for more; nothing if it is done.
    pub fn take_logged(&mut self) -> Vec<ActionRecord> {
        match &mut self.gate.dispatch {
            Dispatch::Execute => Vec::new(),
            Dispatch::Log(log) => log.take(),
        }
    }

    /// Something is decided. Whether it is to be done: by whoever decided it, and not otherwise.
    #[must_use]
    pub(super) fn dispatch(&mut self, now: Now, action: &Action) -> bool {
        let is_news = self.gate.is_news(action);
        if is_news {
            self.record(now, action.clone());
        }
        let Dispatch::Log(log) = &mut self.gate.dispatch else { return true };
        if is_news && log.note(ActionRecord { at: now.wall, action: action.clone() }) {
            let dropped = log.dropped();
            self.events.push_back(OsEvent::DecisionsLost { dropped });
            self.record_failure(now, "the log of decisions is full: what is decided from here on is lost");
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshground_shared::{DaemonId, NodeId};

    use super::*;
    use crate::time::WallTime;

    fn start(daemon: u64) -> Action {
        Action::StartDaemon { daemon: DaemonId(daemon) }
    }

    fn record(daemon: u64) -> ActionRecord {
        ActionRecord { at: WallTime(daemon), action: start(daemon) }
    }

    #[test]
    fn a_full_log_keeps_the_first_and_counts_what_it_loses_and_says_so_once_until_there_is_room() {
        let mut log = LoggingDispatcher::new(2);
        let overflows: Vec<bool> = (0..4).map(|number| log.note(record(number))).collect();
        assert_eq!(overflows, [false, false, true, false]);
        assert!(log.actions().eq(&[start(0), start(1)]));
        assert_eq!(log.dropped(), 2);
        assert_eq!(log.take(), [record(0), record(1)]);
        assert!(!log.note(record(4)) && !log.note(record(5)) && log.note(record(6)));
        assert_eq!((log.records(), log.dropped()), (&[record(4), record(5)][..], 3));
    }

    #[test]
    fn a_decision_is_news_once_for_as_long_as_it_is_made_at_every_turn() {
        let mut gate = Gate::new(Dispatch::Execute);
        assert!(gate.is_news(&start(1)) && gate.is_news(&start(2)) && !gate.is_news(&start(1)));
        for _ in 0..10 {
            gate.turn();
            gate.turn();
            assert!(!gate.is_news(&start(1)));
        }
        assert!(gate.is_news(&start(2)), "it was not made meanwhile");
        for _ in 0..3 {
            gate.turn();
        }
        assert!(gate.is_news(&start(1)));
    }

    #[test]
    fn what_follows_from_something_that_happened_is_news_each_time() {
        let mut gate = Gate::new(Dispatch::Execute);
        let crashed = Action::ApplyBackoff { daemon: DaemonId(1) };
        let ttl = Duration::from_secs(1);
        let silent = Action::MarkAvoid { node: NodeId(1), reason: "silent".to_owned(), ttl };
        for _ in 0..2 {
            assert!(gate.is_news(&crashed) && gate.is_news(&silent));
        }
    }
}
