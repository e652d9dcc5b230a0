//! The daemons of this node: started, fed, supervised, stopped.
//!
//! There is one registry a node, and whatever runs is in it, whichever door it came in by.

mod moving;
mod restarting;
mod working;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use meshground_shared::{DaemonEnd, DaemonId, Lifecycle, LogLevel, NodeId};

use super::{
    groups::LogEntry,
    inbox::{Receipt, SenderKey, Settled},
    instance::{Instance, Luggage, NoState, SpawnOrder},
};
use crate::{
    daemon::{
        Address, Control, DaemonEvent, DaemonFactory, DeliverError, Job, MAX_NAME, MAX_STATE, MeshDaemon,
    },
    time::Instant,
};

/// The most daemons a node runs.
pub const MAX_DAEMONS: usize = 256;

/// The longest arguments of a daemon, in bytes.
pub const MAX_ARGS: usize = 4_096;

/// The most alarms one daemon may have set.
pub(crate) const MAX_ALARMS: usize = 1_024;

/// So many times in a row, a second apart, a daemon is seen at the same job before it is shown as too slow.
const STUCK: u32 = 5;

/// Why a daemon was not started. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum SpawnError {
    /// Nobody has registered a factory of this kind there.
    #[error("no factory is registered for daemons of kind {0:?}; register one, or check the name")]
    KindNotFound(String),
    /// It runs there already.
    #[error("daemon {0} is on this node already; take another key, or stop that one first")]
    Exists(DaemonId),
    /// The node runs as many as it may.
    #[error("the node runs {MAX_DAEMONS} daemons already; stop some, or take another node")]
    TooMany,
    /// The arguments are too long.
    #[error("arguments have up to {MAX_ARGS} bytes, a kind's name up to {MAX_NAME}; shorten them")]
    TooLong,
    /// The state that it was to take over is too large to be moved, drained or kept by standbys ever after.
    #[error(
        "the state has {0} bytes; at most {MAX_STATE} are taken: have the daemon keep the rest elsewhere"
    )]
    StateTooLarge(usize),
    /// The node is going down, or out of service.
    #[error("the node takes nothing new: it is {0}; take another node")]
    Closed(String),
    /// It could not be made, or crashed over its first event.
    #[error("it did not start: {0}; mend that, then start it again")]
    Failed(String),
    /// The node that should have started it cannot be reached.
    #[error("node {0} cannot be reached; check its id, or wait until it is back")]
    Unreachable(NodeId),
}

/// Something that happened to a daemon here.
#[derive(Debug)]
pub(crate) enum Happening {
    /// It came, or what is seen of it changed.
    Changed(DaemonId),
    /// It is no more here.
    Gone { instance: Box<Instance>, end: DaemonEnd },
    /// It has dealt with its first event, or never will.
    Started { id: DaemonId, outcome: Result<(), String> },
    /// It is made and has taken over its state, and waits to be released.
    Held { id: DaemonId },
    /// What came of some of its events is known.
    Settled { id: DaemonId },
    /// It sends something.
    Sent { id: DaemonId, to: Address, payload: Vec<u8>, token: Option<u64> },
    /// It worked off an event, and others stand by for it.
    Worked { id: DaemonId, worked: Box<WorkedOff> },
    /// It writes a line into its log.
    Logged { id: DaemonId, level: LogLevel, text: String },
    /// What it has its node announce changed.
    Announced,
    /// Its state, as it was asked for, or why there is none.
    State { id: DaemonId, luggage: Result<Box<Luggage>, NoState> },
    /// It can be made anew now, as it was asked to be when it could not.
    RestartDue(DaemonId),
    /// It crashed.
    Crashed { id: DaemonId, reason: String },
}

/// What a daemon that others stand by for worked off.
#[derive(Debug)]
pub(crate) struct WorkedOff {
    pub(crate) entry: LogEntry,
    /// What it sends, to whom, and what it calls the answer.
    pub(crate) sends: Vec<(Address, Vec<u8>, Option<u64>)>,
}

/// The daemons of a node.
#[derive(Debug)]
pub(crate) struct Registry {
    node: NodeId,
    factories: BTreeMap<String, Arc<dyn DaemonFactory>>,
    instances: BTreeMap<DaemonId, Instance>,
    serial: u64,
    jobs: VecDeque<Job>,
    happenings: VecDeque<Happening>,
    /// Nothing is started again while this holds.
    frozen: bool,
    /// Nothing is started any more.
    closed: bool,
}

impl Registry {
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            node,
            factories: BTreeMap::new(),
            instances: BTreeMap::new(),
            serial: 0,
            jobs: VecDeque::new(),
            happenings: VecDeque::new(),
            frozen: false,
            closed: false,
        }
    }

    /// Takes on a factory. Whether there was none of this kind.
    pub(crate) fn register(&mut self, kind: &str, factory: Arc<dyn DaemonFactory>) -> bool {
        if kind.is_empty() || kind.len() > MAX_NAME || self.factories.contains_key(kind) {
            return false;
        }
        self.factories.insert(kind.to_owned(), factory);
        true
    }

    /// The kinds there are factories for, and what each makes.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// What the factory of this kind makes, for a person.
    pub(crate) fn about(&self, kind: &str) -> Option<String> {
        Some(self.factories.get(kind)?.about())
    }

    pub(crate) fn offers(&self, kind: &str) -> bool {
        self.factories.contains_key(kind)
    }

    pub(crate) fn get(&self, id: DaemonId) -> Option<&Instance> {
        self.instances.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: DaemonId) -> Option<&mut Instance> {
        self.instances.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (DaemonId, &Instance)> {
        self.instances.iter().map(|(&id, instance)| (id, instance))
    }

    /// Starts a daemon: one that is handed over, or one that its factory makes. How that went is told by
    /// [`Happening::Started`], or by [`Happening::Held`] first.
    pub(crate) fn spawn(
        &mut self,
        now: Instant,
        order: SpawnOrder,
        daemon: Option<Box<dyn MeshDaemon>>,
    ) -> Result<DaemonId, SpawnError> {
        let id = order.keypair.origin_hash();
        if self.closed {
            return Err(SpawnError::Closed("going down".to_owned()));
        }
        if self.instances.contains_key(&id) {
            return Err(SpawnError::Exists(id));
        }
        if self.instances.len() >= MAX_DAEMONS {
            return Err(SpawnError::TooMany);
        }
        if order.args.len() > MAX_ARGS {
            return Err(SpawnError::TooLong);
        }
        match &order.kind {
            Some(kind) if daemon.is_none() && !self.offers(kind) => {
                return Err(SpawnError::KindNotFound(kind.clone()));
            }
            None if daemon.is_none() => return Err(SpawnError::KindNotFound(String::new())),
            _ => {}
        }
        let mut instance = Instance::new(order, daemon, now);
        instance.supervision.start(now);
        if let Some(daemon) = &instance.daemon {
            // Not run as a job: whoever hands a daemon over stands behind what it says of itself.
            let mut name = daemon.name();
            crate::daemon::cut_name(&mut name);
            (instance.name, instance.requirements) = (name, daemon.requirements());
        }
        self.instances.insert(id, instance);
        self.happenings.push_back(Happening::Changed(id));
        self.pump(id);
        Ok(id)
    }

    /// Others stand by for a daemon from here on.
    pub(crate) fn stand(&mut self, id: DaemonId) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.stands = true;
        }
    }

    /// Nobody is told what came of anything at a daemon, until this is taken back.
    pub(crate) fn hush(&mut self, id: DaemonId, hushed: bool) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.hushed = hushed;
        }
    }

    /// When a daemon begins, it first works these off once more, in silence.
    pub(crate) fn work_again(&mut self, id: DaemonId, events: Vec<DaemonEvent>) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.again = events;
        }
    }

    /// Those who stand by have this too: whoever sent it may be told. Ask [`outcomes`](Self::outcomes).
    pub(crate) fn settle(&mut self, id: DaemonId, receipt: Receipt, outcome: Settled) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.inbox.settle_down();
            instance.inbox.settle(receipt, outcome);
        }
    }

    /// Takes a daemon out at once. What waits for it does not fail: whoever sent it finds it elsewhere.
    pub(crate) fn take_out(&mut self, id: DaemonId, end: DaemonEnd) {
        if let Some(instance) = self.instances.remove(&id) {
            self.part_with(id, instance, end);
        }
    }

    fn part_with(&mut self, id: DaemonId, instance: Instance, end: DaemonEnd) {
        let (announced, owes_state) = (!instance.tags.is_empty(), instance.owes_state());
        self.happenings.push_back(Happening::Gone { instance: Box::new(instance), end });
        if announced {
            self.happenings.push_back(Happening::Announced);
        }
        if owes_state {
            self.happenings.push_back(Happening::State { id, luggage: Err(NoState::Down) });
        }
    }

    /// Takes what a sender sends a daemon, to be worked off in order. What comes of it, ask
    /// [`outcomes`](Self::outcomes) after [`Happening::Settled`].
    pub(crate) fn deliver(
        &mut self,
        id: DaemonId,
        sender: SenderKey,
        first: u64,
        events: Vec<DaemonEvent>,
    ) -> Result<(), DeliverError> {
        let instance = self.instances.get_mut(&id).ok_or(DeliverError::NotFound(id))?;
        // What was settled before is told again even by one that is down.
        if instance.inbox.outcomes(sender, first, events.len()).is_some() {
            return Ok(());
        }
        match instance.lifecycle {
            _ if instance.held || instance.sealed => return Err(DeliverError::NotFound(id)),
            Lifecycle::Starting | Lifecycle::Running | Lifecycle::Draining | Lifecycle::Migrating => {}
            _ => return Err(DeliverError::Down),
        }
        instance.inbox.take(sender, first, events)?;
        self.pump(id);
        Ok(())
    }

    /// What came of a sender's events, as soon as all of them are settled.
    pub(crate) fn outcomes(
        &self,
        id: DaemonId,
        sender: SenderKey,
        first: u64,
        count: usize,
    ) -> Option<impl Iterator<Item = Settled>> {
        self.instances.get(&id)?.outcomes(sender, first, count)
    }

    /// Tells a daemon something, ahead of what waits for it.
    pub(crate) fn control(&mut self, id: DaemonId, control: Control) {
        if let Some(instance) = self.instances.get_mut(&id) {
            // One that is on its way may stay, and is then as it would be by now.
            let lifecycle = match instance.lifecycle {
                Lifecycle::Migrating => &mut instance.before_moving,
                _ => &mut instance.lifecycle,
            };
            match control {
                Control::DrainStart { .. } if *lifecycle == Lifecycle::Running => {
                    *lifecycle = Lifecycle::Draining;
                    self.happenings.push_back(Happening::Changed(id));
                }
                Control::DrainFinish if *lifecycle == Lifecycle::Draining => {
                    *lifecycle = Lifecycle::Running;
                    self.happenings.push_back(Happening::Changed(id));
                }
                _ => {}
            }
            instance.controls.push(control);
            self.pump(id);
        }
    }

    /// Has a daemon stop, within `grace`. What waits for it fails. Whether there is one.
    pub(crate) fn stop(&mut self, now: Instant, id: DaemonId, grace: Duration) -> bool {
        self.stop_as(now, id, grace, DaemonEnd::Stopped)
    }

    /// As [`stop`](Self::stop); if it does so in time, this is said to be its end.
    pub(crate) fn stop_as(&mut self, now: Instant, id: DaemonId, grace: Duration, end: DaemonEnd) -> bool {
        let Some(instance) = self.instances.get_mut(&id) else { return false };
        if instance.sealed {
            return false;
        }
        if instance.lifecycle == Lifecycle::Stopping {
            // Of two graces the shorter one counts.
            instance.kill_at = instance.kill_at.map(|at| at.min(now + grace));
            return true;
        }
        let down = instance.daemon.is_none() && instance.job.is_none();
        instance.lifecycle = Lifecycle::Stopping;
        instance.restart_at = None;
        instance.alarms.clear();
        instance.inbox.fail_all(&DeliverError::Down);
        instance.end = end;
        instance.kill_at = Some(now + grace);
        instance.controls.push(Control::Shutdown { grace });
        self.happenings.push_back(Happening::Changed(id));
        self.happenings.push_back(Happening::Settled { id });
        if down {
            self.drop_instance(id, end);
        } else {
            self.pump(id);
        }
        true
    }

    /// Drops a daemon at once, whatever it is doing.
    pub(crate) fn drop_instance(&mut self, id: DaemonId, end: DaemonEnd) {
        if let Some(mut instance) = self.instances.remove(&id) {
            // What waits for one that moved is worked off where it is now.
            if end != DaemonEnd::Migrated {
                instance.inbox.fail_all(&DeliverError::Down);
            }
            self.part_with(id, instance, end);
        }
    }

    /// Has every daemon asked how it does that has done nothing since the last time; they say so whenever they have done
    /// something. One that is at the same thing for [`STUCK`] times is seen to be.
    pub(crate) fn look_after(&mut self) {
        let ids: Vec<DaemonId> = self.instances.keys().copied().collect();
        for id in ids {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            let at = instance.job.as_ref().map_or(instance.last_job, |(serial, _)| *serial);
            let is_same = std::mem::replace(&mut instance.seen.0, at) == at;
            if instance.job.is_some() {
                instance.seen.1 = if is_same { instance.seen.1 + 1 } else { 0 };
                if instance.seen.1 >= STUCK && !std::mem::replace(&mut instance.stuck, true) {
                    self.happenings.push_back(Happening::Changed(id));
                }
            } else if is_same {
                instance.asked = true;
                self.pump(id);
            }
        }
    }

    /// Starts nothing again, or does again.
    pub(crate) fn set_frozen(&mut self, now: Instant, frozen: bool) {
        self.frozen = frozen;
        self.handle_timeout(now);
    }

    /// Starts nothing any more, and drops what has not arrived yet.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        let held = self.instances.iter().filter(|(_, instance)| instance.held).map(|(&id, _)| id);
        for id in held.collect::<Vec<_>>() {
            self.drop_instance(id, DaemonEnd::Killed);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn poll_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    pub(crate) fn poll_happening(&mut self) -> Option<Happening> {
        self.happenings.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = self.instances.values().flat_map(|instance| {
            let restart = instance.restart_at.filter(|_| !self.frozen);
            let alarm = instance.alarms.next().filter(|_| instance.is_working());
            [restart, instance.kill_at, alarm].into_iter().flatten()
        });
        times.min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let ids: Vec<DaemonId> = self.instances.keys().copied().collect();
        for id in ids {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            if instance.kill_at.is_some_and(|at| at <= now) {
                self.drop_instance(id, DaemonEnd::Killed);
                continue;
            }
            if !self.frozen && instance.restart_at.is_some_and(|at| at <= now) {
                instance.restart_at = None;
                instance.lifecycle = Lifecycle::Starting;
                instance.restarts += 1;
                instance.supervision.start(now);
                self.happenings.push_back(Happening::Changed(id));
            }
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            if instance.is_working() {
                while let Some(token) = instance.alarms.take_due(now) {
                    instance.inbox.push(DaemonEvent::Alarm { token });
                }
            }
            self.pump(id);
        }
    }
}

#[cfg(test)]
mod tests;
