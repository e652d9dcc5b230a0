//! Having daemons do something, and what comes of that.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use meshground_shared::{DaemonEnd, DaemonHealth, DaemonId, DaemonView, Lifecycle, LogLevel, NodeId};

use super::{
    super::{
        groups::LogEntry,
        inbox::{MAX_QUEUE, Queued, Worked},
        instance::{Instance, NoState, Planned},
    },
    Happening, MAX_ALARMS, Registry, WorkedOff,
};
use crate::{
    daemon::{
        Address, Control, DaemonEvent, DaemonOrder, DeliverError, Job, JobDone, JobKey, MAX_STATE, Outcome,
        Output, Place, Task, Verdict,
    },
    time::Instant,
};

/// How many events a job works off at most.
const BATCH: usize = 64;

/// From so many waiting events on a daemon is told that it is too slow, and until so few.
const CONGESTED: usize = 512;
const RELIEVED: usize = 64;

/// What a job is to do, and what that is for.
#[derive(Default)]
struct Work {
    plan: Vec<Planned>,
    tasks: Vec<Task>,
}

impl Work {
    fn add(&mut self, planned: Planned, task: Task) {
        self.plan.push(planned);
        self.tasks.push(task);
    }
}

/// What came of a job's tasks, beyond what takes effect at once.
#[derive(Default)]
struct Came {
    /// Senders can be told of events.
    settled: bool,
    /// The daemon has been shut down.
    finished: bool,
    /// It wants to stop.
    stopping: bool,
}

impl Registry {
    /// Gives a daemon something to do, if it has nothing to do and there is something.
    pub(super) fn pump(&mut self, id: DaemonId) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if instance.job.is_some() {
            return;
        }
        let mut work = Work::default();
        match instance.lifecycle {
            Lifecycle::Starting => {
                let place = instance.place(self.node, id);
                if instance.daemon.is_none() {
                    let factory = instance.kind.as_ref().and_then(|kind| self.factories.get(kind));
                    let Some(factory) = factory else { return };
                    let order = DaemonOrder { place, args: instance.args.clone() };
                    work.add(Planned::Make, Task::Make(Arc::clone(factory), order));
                }
                instance.plan_start(place, &mut work);
            }
            _ if instance.daemon.is_none() => return,
            // What it were told after its state was taken would stay behind.
            Lifecycle::Migrating if !instance.snapshot => return,
            _ => instance.plan_events(&mut work),
        }
        if std::mem::take(&mut instance.asked) && work.tasks.is_empty() && instance.is_taking_events() {
            work.add(Planned::Look, Task::Look);
        }
        if work.tasks.is_empty() {
            return;
        }
        self.serial += 1;
        instance.last_job = self.serial;
        instance.job = Some((self.serial, work.plan));
        self.jobs.push_back(Job::new(
            JobKey { daemon: id, serial: self.serial },
            instance.daemon.take(),
            work.tasks,
        ));
    }

    /// Takes what came of a job.
    pub(crate) fn handle_job(&mut self, now: Instant, done: JobDone) {
        let JobDone { key, daemon, outcomes, failure, rest, health, saturation } = done;
        let id = key.daemon;
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some((_, plan)) = instance.job.take_if(|(serial, _)| *serial == key.serial) else { return };
        let before = instance.view();
        // What the job before put out has been told by now.
        instance.inbox.settle_down();
        instance.daemon = daemon;
        (instance.health, instance.saturation, instance.stuck) = (health, saturation, false);
        let mut plan = plan.into_iter();
        let mut came = Came::default();
        // In this order, so that what comes after the last outcome stays in the plan.
        for (outcome, planned) in outcomes.into_iter().zip(plan.by_ref()) {
            instance.take_outcome(id, now, outcome, planned, &mut self.happenings, &mut came);
        }
        let failed = failure.map(|error| (plan.next(), error.to_string()));
        instance.take_back(plan.zip(rest));
        if let Some((at, reason)) = failed {
            came.settled = true;
            came.finished |= instance.lifecycle == Lifecycle::Stopping;
            self.crash(now, id, at.as_ref(), reason);
        } else if instance.held && instance.lifecycle == Lifecycle::Starting {
            self.happenings.push_back(Happening::Held { id });
        }
        self.conclude(now, id, &before, &came);
    }

    /// What follows from a job as a whole, and the next one.
    fn conclude(&mut self, now: Instant, id: DaemonId, before: &DaemonView, came: &Came) {
        if came.settled {
            self.happenings.push_back(Happening::Settled { id });
        }
        if came.finished {
            let end = self.instances.get(&id).map_or(DaemonEnd::Stopped, |instance| instance.end);
            return self.drop_instance(id, end);
        }
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.mind_congestion();
            if instance.view() != *before {
                self.happenings.push_back(Happening::Changed(id));
            }
        }
        self.mind_restart(id);
        if came.stopping {
            self.stop(now, id, Duration::from_secs(1));
        }
        self.pump(id);
    }

    /// A daemon crashed over what was planned `at` that point.
    fn crash(&mut self, now: Instant, id: DaemonId, at: Option<&Planned>, reason: String) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let starting = instance.lifecycle == Lifecycle::Starting;
        let unmakeable = matches!(at, Some(Planned::Make | Planned::Restore | Planned::Again(_)));
        match at {
            Some(Planned::Event(Some(receipt))) => {
                instance.inbox.settle(*receipt, Err(DeliverError::Crashed));
            }
            Some(Planned::Logged(receipt, event)) => {
                let (event, outcome) = (event.clone(), Err(DeliverError::Crashed));
                let entry = LogEntry { event, receipt: *receipt, outcome };
                let worked = Box::new(WorkedOff { entry, sends: Vec::new() });
                self.happenings.push_back(Happening::Worked { id, worked });
            }
            Some(Planned::Snapshot) => instance.snapshot = true,
            _ => {}
        }
        instance.daemon = None;
        instance.alarms.clear();
        instance.health = DaemonHealth::Unhealthy;
        instance.saturation = 0;
        if !std::mem::take(&mut instance.tags).is_empty() {
            self.happenings.push_back(Happening::Announced);
        }
        self.happenings.push_back(Happening::Crashed { id, reason: reason.clone() });
        // Whoever waits for its state is told that there is none.
        if std::mem::take(&mut instance.snapshot) {
            self.happenings.push_back(Happening::State { id, luggage: Err(NoState::Down) });
        }
        if instance.lifecycle == Lifecycle::Stopping {
            return;
        }
        if unmakeable || instance.kind.is_none() {
            instance.lifecycle = Lifecycle::Failed;
            instance.inbox.fail_all(&DeliverError::Down);
        } else {
            let (lifecycle, again) = match instance.supervision.crash(now) {
                Verdict::BackOff(at) => (Lifecycle::BackingOff, at),
                Verdict::Loop(at) => (Lifecycle::CrashLooping, at),
            };
            instance.lifecycle = lifecycle;
            instance.restart_at = Some(again);
        }
        if starting {
            self.happenings.push_back(Happening::Started { id, outcome: Err(reason) });
        }
    }
}

/// Takes what a daemon sends out of what happened from the `from`-th on.
fn take_sends(happenings: &mut VecDeque<Happening>, from: usize) -> Vec<(Address, Vec<u8>, Option<u64>)> {
    let mut sends = Vec::new();
    for happening in happenings.split_off(from) {
        match happening {
            Happening::Sent { to, payload, token, .. } => sends.push((to, payload, token)),
            other => happenings.push_back(other),
        }
    }
    sends
}

impl Instance {
    fn place(&self, node: NodeId, daemon: DaemonId) -> Place {
        Place {
            node,
            daemon,
            generation: self.generation,
            member: self.member,
            restored: self.restored || self.restore.is_some(),
        }
    }

    /// Whether it is given what waits for it.
    fn is_taking_events(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Running | Lifecycle::Draining)
    }

    /// What it begins with once it is made: its state, and then, unless it is held, what it is to work off first.
    fn plan_start(&mut self, place: Place, work: &mut Work) {
        if let Some(state) = self.restore.take() {
            work.add(Planned::Restore, Task::Restore(state));
        }
        if self.held {
            return;
        }
        work.add(Planned::Start, Task::Event(DaemonEvent::Started(place)));
        for event in self.again.drain(..) {
            let alarm = match &event {
                DaemonEvent::Alarm { token } => Some(*token),
                _ => None,
            };
            work.add(Planned::Again(alarm), Task::Event(event));
        }
    }

    /// What it is to be told, and then the taking of its state or a batch of what waits for it.
    fn plan_events(&mut self, work: &mut Work) {
        for control in self.controls.drain(..) {
            work.add(Planned::Control(control), Task::Control(control));
        }
        if std::mem::take(&mut self.snapshot) {
            work.add(Planned::Snapshot, Task::Snapshot);
        } else if self.is_taking_events() {
            for _ in 0..BATCH {
                let Some(Queued { event, receipt }) = self.inbox.pop() else { break };
                let planned = if self.stands {
                    Planned::Logged(receipt, event.clone())
                } else {
                    Planned::Event(receipt)
                };
                work.add(planned, Task::Event(event));
            }
        }
    }

    /// One task of a job is done.
    fn take_outcome(
        &mut self,
        id: DaemonId,
        now: Instant,
        outcome: Outcome,
        planned: Planned,
        happenings: &mut VecDeque<Happening>,
        came: &mut Came,
    ) {
        match outcome {
            Outcome::Made(made) => {
                (self.name, self.requirements, self.no_state) = (made.name, made.requirements, None);
            }
            Outcome::Restored => self.restored = true,
            Outcome::State(state) => {
                let state = match state {
                    None => Err(NoState::Stateless),
                    Some(state) if state.len() > MAX_STATE => Err(NoState::TooLarge(state.len())),
                    Some(state) => Ok(state),
                };
                self.no_state = state.as_ref().err().copied();
                let luggage = state.map(|state| Box::new(self.luggage(state, now)));
                happenings.push_back(Happening::State { id, luggage });
            }
            Outcome::Done(outputs) => {
                let outputs = self.silence(&planned, outputs);
                let said = happenings.len();
                let replies = self.take_effect(id, now, outputs, happenings, &mut came.stopping);
                match planned {
                    Planned::Start => {
                        // It may have been told to stop meanwhile.
                        if self.lifecycle == Lifecycle::Starting {
                            self.lifecycle = Lifecycle::Running;
                        }
                        happenings.push_back(Happening::Started { id, outcome: Ok(()) });
                    }
                    Planned::Event(receipt) => {
                        self.processed = self.processed.saturating_add(1);
                        if let Some(receipt) = receipt {
                            self.inbox.settle(receipt, Ok(Worked { place: self.processed, replies }));
                            came.settled = true;
                        }
                    }
                    Planned::Logged(receipt, event) => {
                        self.processed = self.processed.saturating_add(1);
                        let outcome = Ok(Worked { place: self.processed, replies });
                        let sends = take_sends(happenings, said);
                        let worked =
                            Box::new(WorkedOff { entry: LogEntry { event, receipt, outcome }, sends });
                        happenings.push_back(Happening::Worked { id, worked });
                    }
                    Planned::Again(_) => self.processed = self.processed.saturating_add(1),
                    Planned::Control(Control::Shutdown { .. }) => came.finished = true,
                    _ => {}
                }
            }
        }
    }

    /// What a job did not begin waits again, where it was.
    fn take_back(&mut self, rest: impl Iterator<Item = (Planned, Task)>) {
        let mut again = Vec::new();
        for (planned, task) in rest {
            match (planned, task) {
                (Planned::Event(receipt) | Planned::Logged(receipt, _), Task::Event(event)) => {
                    again.push(Queued { event, receipt });
                }
                (Planned::Snapshot, _) => self.snapshot = true,
                _ => {}
            }
        }
        self.inbox.unpop(again.into_iter());
    }

    /// What takes effect of what a daemon puts out. Of an event it works off once more that is what it has to itself:
    /// the rest took effect before.
    fn silence(&mut self, planned: &Planned, outputs: Vec<Output>) -> Vec<Output> {
        let Planned::Again(alarm) = planned else { return outputs };
        if let Some(token) = alarm {
            self.alarms.clear_one(*token);
        }
        let own = |output: &Output| matches!(output, Output::Alarm { .. } | Output::Announce { .. });
        outputs.into_iter().filter(own).collect()
    }

    /// Whether its alarms go off.
    pub(super) fn is_working(&self) -> bool {
        !self.held && self.is_taking_events()
    }

    /// What it put out takes effect; returns what it told whoever sent the event.
    fn take_effect(
        &mut self,
        id: DaemonId,
        now: Instant,
        outputs: Vec<Output>,
        happenings: &mut VecDeque<Happening>,
        stopping: &mut bool,
    ) -> Vec<Vec<u8>> {
        let mut replies = Vec::new();
        for output in outputs {
            match output {
                Output::Reply(payload) => replies.push(payload),
                Output::Send { to, payload, token } => {
                    happenings.push_back(Happening::Sent { id, to, payload, token });
                }
                Output::Alarm { after, token } => {
                    if self.alarms.len() < MAX_ALARMS || self.alarms.contains(token) {
                        self.alarms.set(token, now + after);
                    } else {
                        let text = format!("an alarm beyond {MAX_ALARMS} was not set");
                        happenings.push_back(Happening::Logged { id, level: LogLevel::Warn, text });
                    }
                }
                Output::Log { level, text } => happenings.push_back(Happening::Logged { id, level, text }),
                Output::Announce { tags } => {
                    self.tags = tags;
                    happenings.push_back(Happening::Announced);
                }
                Output::Stop => *stopping = true,
            }
        }
        replies
    }

    /// Tells it when events come faster than it works them off, and when it has caught up.
    fn mind_congestion(&mut self) {
        let waiting = self.inbox.len();
        if !self.congested && waiting >= CONGESTED {
            self.congested = true;
            let level = u16::try_from(waiting * 1_000 / MAX_QUEUE).unwrap_or(1_000).min(1_000);
            self.controls.push(Control::BackpressureOn { level });
        } else if self.congested && waiting <= RELIEVED {
            self.congested = false;
            self.controls.push(Control::BackpressureOff);
        }
    }
}
