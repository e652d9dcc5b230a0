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
    /// What is decided at every look until it is done: by which look, and at which of them it was last. No more than the
    /// places, daemons and states there are.
    standing: BTreeMap<Action, (Look, u64)>,
    turns: u64,
    looks: u64,
}

/// What looks at what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The system's loop.
    Loop,
    /// Whatever there is to do about groups.
    Groups,
}

impl Gate {
    pub(super) fn new(dispatch: Dispatch) -> Self {
        Self { dispatch, standing: BTreeMap::new(), turns: 0, looks: 0 }
    }

    /// Another look begins. What was not decided at the last one is news if it is again.
    pub(super) fn begin(&mut self, look: Look) {
        let count = self.count(look);
        *count += 1;
        let count = *count;
        self.standing.retain(|_, (by, last)| *by != look || count - *last <= 1);
    }

    /// Whether this was not decided just before.
    fn is_news(&mut self, look: Look, action: &Action) -> bool {
        let count = *self.count(look);
        !action.stands() || self.standing.insert(action.clone(), (look, count)).is_none()
    }

    fn count(&mut self, look: Look) -> &mut u64 {
        match look {
            Look::Loop => &mut self.turns,
            Look::Groups => &mut self.looks,
        }
    }

    /// How often all groups were looked at.
    #[cfg(test)]
    pub(super) fn looks(&self) -> u64 {
        self.looks
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
        let is_news = self.gate.is_news(self.decides(action), action);
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

    /// By which look an action is decided.
    fn decides(&self, action: &Action) -> Look {
        let is_member = |daemon| self.registry.get(daemon).is_some_and(|instance| instance.member.is_some());
        match action {
            Action::StopDaemon { daemon } if !is_member(*daemon) => Look::Loop,
            Action::StartDaemon { .. }
            | Action::StopDaemon { .. }
            | Action::RequestPlacement { .. }
            | Action::EvictReplica { .. }
            | Action::Rebalance { .. } => Look::Groups,
            Action::MoveAway { .. }
            | Action::MarkAvoid { .. }
            | Action::ApplyBackoff { .. }
            | Action::CommitMaintenance { .. } => Look::Loop,
        }
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
    fn a_decision_is_news_once_for_as_long_as_it_is_made_at_every_look() {
        let mut gate = Gate::new(Dispatch::Execute);
        let is_news = |gate: &mut Gate, daemon| gate.is_news(Look::Groups, &start(daemon));
        assert!(is_news(&mut gate, 1) && is_news(&mut gate, 2) && !is_news(&mut gate, 1));
        for _ in 0..10 {
            gate.begin(Look::Groups);
            assert!(!is_news(&mut gate, 1));
        }
        assert!(is_news(&mut gate, 2), "it was not made meanwhile");
        for _ in 0..10 {
            gate.begin(Look::Loop);
        }
        assert!(!is_news(&mut gate, 1), "nobody looked");
        for _ in 0..2 {
            gate.begin(Look::Groups);
        }
        assert!(is_news(&mut gate, 1));
    }

    #[test]
    fn what_follows_from_something_that_happened_is_news_each_time() {
        let mut gate = Gate::new(Dispatch::Execute);
        let crashed = Action::ApplyBackoff { daemon: DaemonId(1) };
        let ttl = Duration::from_secs(1);
        let silent = Action::MarkAvoid { node: NodeId(1), reason: "silent".to_owned(), ttl };
        for _ in 0..2 {
            assert!(gate.is_news(Look::Loop, &crashed) && gate.is_news(Look::Loop, &silent));
        }
    }
}
