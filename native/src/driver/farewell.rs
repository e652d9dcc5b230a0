//! Taking leave: what callers handed over goes first.

use std::time::Duration;

use meshground_node::Node;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Driver, clock::std_instant, now};

/// How long a leaving node tries to get its announcements out.
const FAREWELL: Duration = Duration::from_millis(500);

impl Driver {
    /// Sends what callers had handed over, then takes leave.
    pub(super) async fn say_farewell(&mut self) {
        let end = Instant::now() + FAREWELL;
        let _ = timeout_at(end, self.drain(|node| node.queued() == 0)).await;
        self.node.leave(now());
        self.publish();
        let _ = timeout_at(end, self.drain(Node::has_left)).await;
    }

    /// Sends until the node is done and nothing is left. Goes on reading meanwhile: how much may go depends on what has arrived.
    async fn drain(&mut self, is_done: fn(&Node) -> bool) {
        loop {
            self.work_off();
            let is_blocked = self.egress.is_blocked();
            let held = self.egress.shaper.as_ref().and_then(|shaper| shaper.next_due());
            if self.pump.is_idle() && is_done(&self.node) && !is_blocked && held.is_none() {
                return;
            }
            let due =
                self.node.poll_timeout().into_iter().chain(held).min().map(|due| std_instant(due).into());
            tokio::select! {
                outcome = self.socket.ready(is_blocked) => if outcome.is_err() { return },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let emptied = self.receive();
            self.tick(emptied);
        }
    }
}
