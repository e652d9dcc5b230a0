//! Signed commands, handed to one node.

use meshground_node::{
    Commanded, MeshOsSnapshot, Settlement, WallTime,
    admin::{AuditFilter, SignedCommand},
};
use meshground_shared::{AuditEntry, BlastRadius, IceVerb};

use super::{DaemonRuntime, DaemonRuntimeError, runtime::settle};
use crate::{driver::now, log::wall_us};

/// The wall clock, for the time at which a command is issued.
pub fn wall_time() -> WallTime {
    WallTime(wall_us())
}

impl DaemonRuntime {
    /// Puts a signed command to every node it names; returns when each has taken note of what became of it. It takes
    /// effect on all of them, or is rejected on all for the same reason. Dropping the future does not call it off.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn command(&self, command: SignedCommand) -> Result<Commanded, DaemonRuntimeError> {
        let submit = move |os: &mut meshground_node::MeshOs, node: &mut meshground_node::Node| {
            Ok::<_, DaemonRuntimeError>(os.submit(now(), node, &command))
        };
        match settle(self.ask(submit).await??).await? {
            Settlement::Commanded(commanded) => Ok(commanded),
            _ => Err(DaemonRuntimeError::ShuttingDown),
        }
    }

    /// What a break-glass command would do now, as this node sees it; `None` if it cannot be carried out. Cancel-safe:
    /// it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn simulate(&self, verb: IceVerb) -> Result<Option<BlastRadius>, DaemonRuntimeError> {
        self.act(move |os, node| os.simulate(node, &verb)).await
    }

    /// What this node decided on signed commands, the oldest first, as far as `filter` lets it through. Cancel-safe:
    /// it only asks.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown).
    pub async fn audit(&self, filter: AuditFilter) -> Result<Vec<AuditEntry>, DaemonRuntimeError> {
        self.act(move |os, _| os.audit().filter(&filter).cloned().collect()).await
    }

    /// What this node decided after the entry with the number `seq`, the oldest first; 0 for all. Waits until there is
    /// something. Whoever follows the trail asks again with the last number it got; numbers that are left out between
    /// two are of entries that were gone by then. Cancel-safe.
    ///
    /// # Errors
    /// [`ShuttingDown`](DaemonRuntimeError::ShuttingDown), also while it waits.
    pub async fn audit_after(&self, seq: u64) -> Result<Vec<AuditEntry>, DaemonRuntimeError> {
        let is_news = |seen: &MeshOsSnapshot| seen.audit.last().is_some_and(|entry| entry.seq > seq);
        loop {
            let news = self.act(move |os, _| os.audit().after(seq).cloned().collect::<Vec<_>>()).await?;
            if !news.is_empty() {
                return Ok(news);
            }
            tokio::select! {
                () = self.until_seen(is_news) => {}
                () = self.mesh().closed() => return Err(DaemonRuntimeError::ShuttingDown),
            }
        }
    }
}
