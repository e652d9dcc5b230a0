//! What daemons here write into their logs.

use std::{collections::VecDeque, sync::Arc};

use meshground_shared::{DaemonId, EventKind, LogLevel};

use super::MeshOs;
use crate::{
    daemon::cut_line,
    time::{Now, WallTime},
};

/// How many lines are remembered.
const KEPT: usize = 64;

/// A line of a daemon's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, by the node's wall clock.
    pub at: WallTime,
    /// By which daemon, or about which, as when it crashed.
    pub daemon: DaemonId,
    /// How important it is.
    pub level: LogLevel,
    /// The line, at most 1,024 bytes. All snapshots that show it share this.
    pub text: Arc<str>,
}

/// The last lines of all daemons here, shared with the snapshots that show them: as long as none is written, another
/// snapshot costs nothing.
#[derive(Debug, Default)]
pub(super) struct LogTail {
    lines: Arc<VecDeque<LogLine>>,
}

impl LogTail {
    fn push(&mut self, line: LogLine) {
        let lines = Arc::make_mut(&mut self.lines);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn shared(&self) -> Arc<VecDeque<LogLine>> {
        Arc::clone(&self.lines)
    }
}

impl MeshOs {
    /// Writes a line into the log of a daemon here, as it does itself. Whether it is here.
    pub fn log_for(&mut self, now: Now, daemon: DaemonId, level: LogLevel, mut text: String) -> bool {
        if self.registry.get(daemon).is_none() {
            return false;
        }
        cut_line(&mut text);
        self.log_line(now, daemon, level, text);
        true
    }

    /// A daemon here writes a line, or there is one to be written about it.
    pub(super) fn log_line(&mut self, now: Now, daemon: DaemonId, level: LogLevel, text: String) {
        let line = LogLine { at: now.wall, daemon, level, text: text.as_str().into() };
        self.oversight.log.push(line);
        self.oversight.touch_figure();
        let cause = self.registry.get(daemon).and_then(|instance| instance.cause);
        self.happened(EventKind::DaemonLog { daemon, level, text }, cause);
    }
}
