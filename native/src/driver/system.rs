//! What runs daemons, beside the node.
//!
//! No daemon is ever called, made or dropped in the node's task: jobs run on the runtime's blocking threads, and what
//! comes of them comes back through a queue that wakes the task.

use std::{collections::BTreeMap, fmt, sync::Arc};

use meshground_node::{DaemonId, Instant, JobDone, MeshOs, Node, NodeEvent, OsEvent, Settlement, Ticket};
use meshground_shared::{CommandId, EventKind};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{Observer, clock::now};
use crate::meshos::{Daemons, RuntimeState};

/// A deed, by which something that is asked of the system is brought to the node's task.
pub(crate) struct OsAct(pub(crate) OsDeed);

/// Something quick to do with the system.
pub(crate) type OsDeed = Box<dyn FnOnce(&mut MeshOs, &mut Node, &mut Tickets) + Send>;

impl fmt::Debug for OsAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsAct")
    }
}

/// Who waits for what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Tickets(BTreeMap<Ticket, oneshot::Sender<Settlement>>);

impl Tickets {
    /// From here on `holder` waits for what comes of `ticket`.
    pub(crate) fn hold(&mut self, ticket: Ticket, holder: oneshot::Sender<Settlement>) {
        self.0.insert(ticket, holder);
    }
}

/// The task's end of the system.
#[derive(Debug)]
pub(crate) struct System {
    os: MeshOs,
    runtime: Handle,
    /// For the jobs to say what came of them.
    done: mpsc::UnboundedSender<JobDone>,
    results: mpsc::UnboundedReceiver<JobDone>,
    tickets: Tickets,
    daemons: Daemons,
}

impl System {
    pub(crate) fn new(os: MeshOs, runtime: Handle, daemons: Daemons) -> Self {
        // Of one daemon there is one job at a time, so that this never holds more than there are daemons.
        let (done, results) = mpsc::unbounded_channel();
        Self { os, runtime, done, results, tickets: Tickets::default(), daemons }
    }

    /// The next job that is done. Cancel-safe.
    pub(super) async fn finished(system: &mut Option<Self>) -> JobDone {
        let next = match system {
            // It holds a sender itself, so the queue never ends.
            Some(system) => system.results.recv().await,
            None => None,
        };
        match next {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Takes what came of this job, and of others that are done.
    pub(super) fn take_results(&mut self, node: &mut Node, first: Option<JobDone>) {
        if let Some(done) = first {
            self.os.handle_job(now(), node, done);
        }
        while let Ok(done) = self.results.try_recv() {
            self.os.handle_job(now(), node, done);
        }
    }

    pub(super) fn carry_out(&mut self, node: &mut Node, OsAct(act): OsAct) {
        act(&mut self.os, node, &mut self.tickets);
    }

    /// Lets it hear what the node told. What is none of its business comes back.
    pub(super) fn hear(&mut self, node: &mut Node, event: NodeEvent) -> Option<NodeEvent> {
        self.os.handle_event(now(), node, event)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.os.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, node: &mut Node) {
        self.os.handle_timeout(now(), node);
    }

    /// Lets the jobs begin, and tells what happened to whoever wants to know.
    pub(super) fn let_out(&mut self, observer: Option<&mut (dyn Observer + 'static)>) {
        while let Some(job) = self.os.poll_job() {
            let done = self.done.clone();
            self.runtime.spawn_blocking(move || {
                // Should the node be gone, so is what came of it.
                let _ = done.send(job.run());
            });
        }
        let seen = self.os.snapshot();
        if !Arc::ptr_eq(&seen, &self.daemons.view.load()) {
            self.daemons.view.store(seen);
            self.daemons.viewed.send_replace(());
        }
        let mut observer = observer;
        let mut settled = Vec::new();
        while let Some(event) = self.os.poll_event() {
            match event {
                OsEvent::Happened { kind, cause } => {
                    if let Some(observer) = &mut observer {
                        observer.happened(kind, cause);
                    }
                }
                OsEvent::DecisionsLost { dropped } => {
                    if let Some(observer) = &mut observer {
                        observer.happened(EventKind::DecisionsLost { dropped }, None);
                    }
                }
                OsEvent::Settled { ticket, outcome } => {
                    settled.extend(self.tickets.0.remove(&ticket).map(|holder| (holder, outcome)));
                }
                _ => {}
            }
        }
        // Last, so that whoever waits for something finds it in the log when it is done.
        for (holder, outcome) in settled {
            // One who waits no more is no error.
            let _ = holder.send(outcome);
        }
    }

    /// Tells every daemon to stop, because of a command if one is named. None is started any more by whoever asks here.
    pub(super) fn begin_stop(&mut self, node: &mut Node, cause: Option<CommandId>) {
        self.daemons.state.send_replace(RuntimeState::ShuttingDown);
        self.os.close(now(), node);
        let ids: Vec<DaemonId> = self.os.daemons().map(|view| view.id).collect();
        for id in ids {
            self.os.stop(now(), node, id, None, cause);
        }
    }

    /// Whether no daemon is left.
    pub(super) fn is_idle(&self) -> bool {
        self.os.daemons().next().is_none()
    }
}

impl Drop for System {
    /// Nothing is asked of it any more.
    fn drop(&mut self) {
        self.daemons.state.send_replace(RuntimeState::ShuttingDown);
    }
}
