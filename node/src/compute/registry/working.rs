//! Having daemons do something, and what comes of that.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use meshground_shared::{DaemonEnd, DaemonHealth, DaemonId, Lifecycle, LogLevel};

use super::{
    super::{
        groups::LogEntry,
        inbox::{MAX_QUEUE, Queued, Worked},
        instance::{Instance, Planned},
    },
    Happening, MAX_ALARMS, Registry, WorkedOff,
};
use crate::{
    daemon::{
        Address, Control, DaemonEvent, DaemonOrder, DeliverError, Job, JobDone, JobKey, Outcome, Output,
        Place, Task, Verdict,
    },
    time::Instant,
};

/// How many events a job works off at most.
const BATCH: usize = 64;

/// From so many waiting events on a daemon is told that it is too slow, and until so few.
const CONGESTED: usize = 512;
const RELIEVED: usize = 64;

impl Registry {
    /// Gives a daemon something to do, if it has nothing to do and there is something.
    pub(super) fn pump(&mut self, id: DaemonId) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if instance.job.is_some() {
            return;
        }
        let mut tasks = Vec::new();
        let mut plan = Vec::new();
        let mut add = |planned, task| {
            plan.push(planned);
            tasks.push(task);
        };
        let place = Place {
            node: self.node,
            daemon: id,
            generation: instance.generation,
            member: instance.member,
            restored: instance.restored || instance.restore.is_some(),
        };
        match instance.lifecycle {
            Lifecycle::Starting => {
                if instance.daemon.is_none() {
                    let factory = instance.kind.as_ref().and_then(|kind| self.factories.get(kind));
                    let Some(factory) = factory else { return };
                    let order = DaemonOrder { place, args: instance.args.clone() };
                    add(Planned::Make, Task::Make(Arc::clone(factory), order));
                }
                if let Some(state) = instance.restore.take() {
                    add(Planned::Restore, Task::Restore(state));
                }
                if !instance.held {
                    add(Planned::Start, Task::Event(DaemonEvent::Started(place)));
                    for event in instance.again.drain(..) {
                        let alarm = match &event {
                            DaemonEvent::Alarm { token } => Some(*token),
                            _ => None,
                        };
                        add(Planned::Again(alarm), Task::Event(event));
                    }
                }
            }
            _ if instance.daemon.is_none() => return,
            // What it were told after its state was taken would stay behind.
            Lifecycle::Migrating if !instance.snapshot => return,
            lifecycle => {
                for control in instance.controls.drain(..) {
                    add(Planned::Control(control), Task::Control(control));
                }
                if std::mem::take(&mut instance.snapshot) {
                    add(Planned::Snapshot, Task::Snapshot);
                } else if matches!(lifecycle, Lifecycle::Running | Lifecycle::Draining) {
                    for _ in 0..BATCH {
                        let Some(Queued { event, receipt }) = instance.inbox.pop() else { break };
                        let planned = if instance.stands {
                            Planned::Logged(receipt, event.clone())
                        } else {
                            Planned::Event(receipt)
                        };
                        add(planned, Task::Event(event));
                    }
                }
            }
        }
        if std::mem::take(&mut instance.asked)
            && tasks.is_empty()
            && matches!(instance.lifecycle, Lifecycle::Running | Lifecycle::Draining)
        {
            plan.push(Planned::Look);
            tasks.push(Task::Look);
        }
        if tasks.is_empty() {
            return;
        }
        self.serial += 1;
        instance.last_job = self.serial;
        instance.job = Some((self.serial, plan));
        self.jobs.push_back(Job::new(
            JobKey { daemon: id, serial: self.serial },
            instance.daemon.take(),
            tasks,
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
        let mut settled = false;
        let mut finished = false;
        let mut stopping = false;
        // In this order, so that what comes after the last outcome stays in the plan.
        for (outcome, planned) in outcomes.into_iter().zip(plan.by_ref()) {
            let outputs = match outcome {
                Outcome::Made(made) => {
                    (instance.name, instance.requirements) = (made.name, made.requirements);
                    continue;
                }
                Outcome::Restored => {
                    instance.restored = true;
                    continue;
                }
                Outcome::State(state) => {
                    let luggage = state.map(|state| Box::new(instance.luggage(state, now)));
                    self.happenings.push_back(Happening::State { id, luggage });
                    continue;
                }
                Outcome::Done(outputs) => outputs,
            };
            let outputs = instance.silence(&planned, outputs);
            let said = self.happenings.len();
            let replies = instance.take_effect(id, now, outputs, &mut self.happenings, &mut stopping);
            match planned {
                Planned::Start => {
                    // It may have been told to stop meanwhile.
                    if instance.lifecycle == Lifecycle::Starting {
                        instance.lifecycle = Lifecycle::Running;
                    }
                    self.happenings.push_back(Happening::Started { id, outcome: Ok(()) });
                }
                Planned::Event(receipt) => {
                    instance.processed = instance.processed.saturating_add(1);
                    if let Some(receipt) = receipt {
                        instance.inbox.settle(receipt, Ok(Worked { place: instance.processed, replies }));
                        settled = true;
                    }
                }
                Planned::Logged(receipt, event) => {
                    instance.processed = instance.processed.saturating_add(1);
                    let outcome = Ok(Worked { place: instance.processed, replies });
                    let sends = take_sends(&mut self.happenings, said);
                    let worked = Box::new(WorkedOff { entry: LogEntry { event, receipt, outcome }, sends });
                    self.happenings.push_back(Happening::Worked { id, worked });
                }
                Planned::Again(_) => instance.processed = instance.processed.saturating_add(1),
                Planned::Control(Control::Shutdown { .. }) => finished = true,
                _ => {}
            }
        }
        let failed = failure.map(|error| (plan.next(), error.to_string()));
        // What was not begun waits again, where it was.
        let mut again = Vec::new();
        for (planned, task) in plan.zip(rest) {
            match (planned, task) {
                (Planned::Event(receipt) | Planned::Logged(receipt, _), Task::Event(event)) => {
                    again.push(Queued { event, receipt });
                }
                (Planned::Snapshot, _) => instance.snapshot = true,
                _ => {}
            }
        }
        instance.inbox.unpop(again.into_iter());
        if let Some((at, reason)) = failed {
            settled = true;
            finished |= instance.lifecycle == Lifecycle::Stopping;
            self.crash(now, id, at.as_ref(), reason);
        } else if instance.held && instance.lifecycle == Lifecycle::Starting {
            self.happenings.push_back(Happening::Held { id });
        }
        if settled {
            self.happenings.push_back(Happening::Settled { id });
        }
        if finished {
            let end = self.instances.get(&id).map_or(DaemonEnd::Stopped, |instance| instance.end);
            return self.drop_instance(id, end);
        }
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.mind_congestion();
            let now_seen = instance.view();
            if now_seen != before {
                self.happenings.push_back(Happening::Changed(id));
            }
        }
        self.mind_restart(id);
        if stopping {
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
            self.happenings.push_back(Happening::State { id, luggage: None });
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
    /// What takes effect of what a daemon puts out. Of an event it works off once more that is what it has to itself:
    /// the rest took effect before.
    fn silence(&mut self, planned: &Planned, outputs: Vec<Output>) -> Vec<Output> {
        let Planned::Again(alarm) = planned else { return outputs };
        if let Some(token) = alarm {
            self.alarms.remove(token);
        }
        let own = |output: &Output| matches!(output, Output::Alarm { .. } | Output::Announce { .. });
        outputs.into_iter().filter(own).collect()
    }

    /// Whether its alarms go off.
    pub(super) fn is_working(&self) -> bool {
        !self.held && matches!(self.lifecycle, Lifecycle::Running | Lifecycle::Draining)
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
                    if self.alarms.len() < MAX_ALARMS || self.alarms.contains_key(&token) {
                        self.alarms.insert(token, now + after);
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
