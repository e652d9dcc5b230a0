//! Starting and stopping daemons on this node, and telling whoever waits for them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meshground_shared::{
    CommandId, DaemonEnd, DaemonId, DaemonView, EventKind, Lifecycle, LogLevel, Maintenance,
};

use super::{Action, DaemonTiming, MeshOs, Settlement, Ticket};
use crate::{
    capability::Filter,
    compute::{Happening, NoState, SpawnError, SpawnOrder, generation},
    daemon::{Control, DaemonFactory, EntityKeypair, MAX_STATE, MeshDaemon},
    node::Node,
    time::{Instant, Now},
};

/// A change of saturation that is worth an event, in thousandths.
const SATURATED: u16 = 200;

/// What was told of a daemon here, and who waits for what comes next.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// What it was like when that was last told.
    told: Option<DaemonView>,
    /// Who waits for its first event.
    starting: Vec<Ticket>,
    /// Who waits for its end.
    stopping: Vec<Ticket>,
    /// Who waits for its state.
    asking: Vec<Ticket>,
}

/// A daemon to be started on this node.
#[derive(Debug)]
pub struct SpawnRequest {
    /// Who it will be.
    pub keypair: EntityKeypair,
    /// The factory that makes it.
    pub kind: String,
    /// What that is told, at most 4 KiB.
    pub args: String,
    /// A state of the same daemon that it takes over.
    pub state: Option<DaemonState>,
    /// The command behind it.
    pub cause: Option<CommandId>,
}

/// A daemon's state, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonState {
    /// Whose.
    pub origin: DaemonId,
    /// The state, at most [`MAX_STATE`] bytes.
    pub bytes: Vec<u8>,
}

/// Why a daemon's state cannot be had, or not be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It is not on this node, or not up.
    #[error("daemon {0} does not run on this node; check its id, or ask the node that it runs on")]
    NotRunning(DaemonId),
    /// It has none.
    #[error("daemon {0} has no state that could be taken; its kind must keep snapshots for that")]
    None(DaemonId),
    /// It has too large a one.
    #[error("daemon {daemon} has a state of {bytes} bytes; at most {MAX_STATE} are taken")]
    TooLarge {
        /// Whose.
        daemon: DaemonId,
        /// Its size, in bytes.
        bytes: usize,
    },
}

impl MeshOs {
    /// Takes on a factory, for daemons of its kind to be started here. Whether there was none of this kind, and the
    /// name has 1 to 64 bytes.
    pub fn register_factory(&mut self, now: Now, kind: &str, factory: Arc<dyn DaemonFactory>) -> bool {
        let is_new = self.registry.register(kind, factory);
        if is_new {
            self.say_soon(now);
        }
        is_new
    }

    /// The kinds there are factories for on this node.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.registry.kinds()
    }

    /// What the factory of this kind makes, for a person; `None` without one.
    pub fn about(&self, kind: &str) -> Option<String> {
        self.registry.about(kind)
    }

    /// What runs on this node, by id.
    pub fn daemons(&self) -> impl Iterator<Item = DaemonView> {
        self.registry.iter().filter(|(_, instance)| !instance.held).map(|(_, instance)| instance.view())
    }

    /// The times of what runs on this node.
    pub(super) fn timings(&self, now: Instant) -> BTreeMap<DaemonId, DaemonTiming> {
        let here = self.registry.iter().filter(|(_, instance)| !instance.held);
        here.map(|(id, instance)| {
            let (age, restarts_in) = instance.timing(now);
            (id, DaemonTiming { age, restarts_in })
        })
        .collect()
    }

    /// What the node must announce for a daemon here to be placed on it, as it says itself.
    pub fn requirements(&self, daemon: DaemonId) -> Option<&Filter> {
        self.registry.get(daemon).map(|instance| &instance.requirements)
    }

    /// Starts a daemon here, made by its factory. [`Settlement::Spawned`] follows.
    ///
    /// # Errors
    /// When it cannot even be tried. Nothing changed then.
    pub fn spawn(&mut self, now: Now, node: &mut Node, request: SpawnRequest) -> Result<Ticket, SpawnError> {
        self.takes_new()?;
        let SpawnRequest { keypair, kind, args, state, cause } = request;
        let luggage = match state {
            Some(state) if state.origin != keypair.origin_hash() => {
                return Err(SpawnError::Failed(format!("the state is that of daemon {}", state.origin)));
            }
            // It could never leave this node again.
            Some(state) if state.bytes.len() > MAX_STATE => {
                return Err(SpawnError::StateTooLarge(state.bytes.len()));
            }
            state => state.map(|state| crate::compute::Luggage { state: state.bytes, ..Default::default() }),
        };
        let order = SpawnOrder {
            keypair,
            kind: Some(kind),
            args,
            member: None,
            generation: 1,
            cause,
            luggage,
            held: false,
        };
        self.start(now, node, order, None)
    }

    /// Takes on a daemon that somebody made. After a crash nothing can make it anew. [`Settlement::Spawned`] follows.
    ///
    /// # Errors
    /// When the node has it already, or too many.
    pub fn register_daemon(
        &mut self,
        now: Now,
        node: &mut Node,
        daemon: Box<dyn MeshDaemon>,
        keypair: EntityKeypair,
        cause: Option<CommandId>,
    ) -> Result<Ticket, SpawnError> {
        self.takes_new()?;
        let order = SpawnOrder {
            keypair,
            kind: None,
            args: String::new(),
            member: None,
            generation: 1,
            cause,
            luggage: None,
            held: false,
        };
        self.start(now, node, order, Some(daemon))
    }

    /// Whether anything may be started here.
    fn takes_new(&self) -> Result<(), SpawnError> {
        let service = &self.oversight.service;
        if self.is_frozen() {
            return Err(SpawnError::Closed("frozen".to_owned()));
        }
        match service.state() {
            Maintenance::Active | Maintenance::Recovery if service.is_cordoned() => {
                Err(SpawnError::Closed("cordoned".to_owned()))
            }
            Maintenance::Active | Maintenance::Recovery => Ok(()),
            _ => Err(SpawnError::Closed("out of service".to_owned())),
        }
    }

    fn start(
        &mut self,
        now: Now,
        node: &mut Node,
        order: SpawnOrder,
        daemon: Option<Box<dyn MeshDaemon>>,
    ) -> Result<Ticket, SpawnError> {
        // Where one of this identity was before may still be in the books of others, as when its node has crashed.
        let known = self.directory.find(order.keypair.origin_hash()).map_or(0, |(_, generation)| generation);
        let order = SpawnOrder { generation: generation::next(known), ..order };
        let id = self.registry.spawn(now.instant, order, daemon)?;
        let ticket = self.issue();
        self.followed.entry(id).or_default().starting.push(ticket);
        self.settle(now, node);
        Ok(ticket)
    }

    /// Has a daemon here stop within `grace`; [`Settlement::Stopped`] follows as soon as it is gone. `None` if it is not
    /// here.
    pub fn stop(
        &mut self,
        now: Now,
        node: &mut Node,
        daemon: DaemonId,
        grace: Option<Duration>,
        cause: Option<CommandId>,
    ) -> Option<Ticket> {
        // One that has been given away is stopped where it is now.
        let instance = self.registry.get_mut(daemon).filter(|instance| !instance.sealed)?;
        instance.cause = cause.or(instance.cause);
        let ticket = self.issue();
        self.followed.entry(daemon).or_default().stopping.push(ticket);
        self.registry.stop(now.instant, daemon, grace.unwrap_or(self.config.grace));
        self.settle(now, node);
        Some(ticket)
    }

    /// Tells a daemon here something. Whether it is here.
    pub fn control(&mut self, now: Now, node: &mut Node, daemon: DaemonId, control: Control) -> bool {
        let is_here = self.registry.get(daemon).is_some();
        if let Control::Shutdown { grace } = control {
            self.registry.stop(now.instant, daemon, grace);
        } else {
            self.registry.control(daemon, control);
        }
        self.settle(now, node);
        is_here
    }

    /// Asks for a daemon's state, as of between two events; it goes on meanwhile. [`Settlement::State`] follows.
    ///
    /// # Errors
    /// When it does not run here.
    pub fn state_of(&mut self, now: Now, node: &mut Node, daemon: DaemonId) -> Result<Ticket, StateError> {
        if !self.registry.take_state(daemon, false) {
            return Err(StateError::NotRunning(daemon));
        }
        let ticket = self.issue();
        self.followed.entry(daemon).or_default().asking.push(ticket);
        self.settle(now, node);
        Ok(ticket)
    }

    /// Starts nothing here any more, whoever asks: what is on its way here stays where it was, and nobody places anything
    /// here. What runs goes on; [`stop`](Self::stop) it.
    pub fn close(&mut self, now: Now, node: &mut Node) {
        self.registry.close();
        self.tell_of_ended(now.instant);
        self.say_soon(now);
        self.settle(now, node);
    }

    /// Something happened to a daemon here.
    pub(super) fn on_happening(&mut self, now: Now, node: &mut Node, happening: Happening) {
        match happening {
            Happening::Changed(id) => {
                if self.tell_daemon(id) {
                    self.oversight.touch();
                } else {
                    self.oversight.touch_figure();
                }
                self.say_soon(now);
            }
            Happening::Gone { instance, end } => {
                let id = instance.id();
                self.on_moving_gone(now, id, instance.generation);
                self.pay_last(now, node, &instance);
                self.oversight.touch();
                self.member_gone(&instance);
                self.gone(id, end, instance.cause, instance.held);
                self.say_soon(now);
            }
            Happening::Started { id, outcome } => {
                self.learn_requirements(now.instant, id);
                if outcome.is_ok() {
                    self.tell_drain(now.instant, id);
                }
                let outcome = outcome.map(|()| id).map_err(SpawnError::Failed);
                for ticket in self.take_waiting(id, |it| &mut it.starting) {
                    self.settled(ticket, Settlement::Spawned(outcome.clone()));
                }
            }
            Happening::Held { id } => self.on_held(id),
            Happening::RestartDue(id) => {
                let cause = self.registry.get(id).and_then(|instance| instance.cause);
                self.restart_daemon(now, id, cause);
            }
            Happening::Settled { id } => self.pay(now, node, id),
            Happening::Sent { id, to, payload, token } => self.send_from(now.instant, id, to, payload, token),
            Happening::Worked { id, worked } => self.worked_off(now, node, id, *worked),
            Happening::Logged { id, level, text } => self.log_line(now, id, level, text),
            Happening::Announced => self.say_soon(now),
            Happening::State { id, luggage } => {
                self.offer_state(now, node, id, luggage.as_deref().map_err(|why| *why));
                // Everybody who has asked so far: the daemon has worked off nothing since.
                for ticket in self.take_waiting(id, |it| &mut it.asking) {
                    let state = match luggage.as_ref().map_err(|why| *why) {
                        Ok(luggage) => Ok(DaemonState { origin: id, bytes: luggage.state.clone() }),
                        Err(NoState::Stateless) => Err(StateError::None(id)),
                        Err(NoState::TooLarge(bytes)) => Err(StateError::TooLarge { daemon: id, bytes }),
                        Err(NoState::Down) => Err(StateError::NotRunning(id)),
                    };
                    self.settled(ticket, Settlement::State(state));
                }
                self.on_moving_state(now, id, luggage);
            }
            Happening::Crashed { id, reason } => {
                self.on_moving_crashed(now, id, &reason);
                self.refit(id);
                self.seal(now, id, DaemonEnd::Evicted);
                let lifecycle = self.registry.get(id).map(|instance| instance.lifecycle);
                if matches!(lifecycle, Some(Lifecycle::BackingOff | Lifecycle::CrashLooping))
                    && !self.dispatch(now, &Action::ApplyBackoff { daemon: id })
                {
                    self.registry.leave_down(id);
                }
                let text = format!("crashed: {reason}");
                self.record_failure(now, format!("daemon {id} {text}"));
                self.log_line(now, id, LogLevel::Error, text);
            }
        }
    }

    /// Those who wait for this of a daemon here, as it has come.
    fn take_waiting(
        &mut self,
        id: DaemonId,
        which: impl Fn(&mut Followed) -> &mut Vec<Ticket>,
    ) -> Vec<Ticket> {
        self.followed.get_mut(&id).map(|followed| std::mem::take(which(followed))).unwrap_or_default()
    }

    fn gone(&mut self, id: DaemonId, end: DaemonEnd, cause: Option<CommandId>, held: bool) {
        let Followed { told, starting, stopping, asking } = self.followed.remove(&id).unwrap_or_default();
        for ticket in starting {
            let reason = "it was stopped before it had started".to_owned();
            self.settled(ticket, Settlement::Spawned(Err(SpawnError::Failed(reason))));
        }
        for ticket in asking {
            self.settled(ticket, Settlement::State(Err(StateError::NotRunning(id))));
        }
        for ticket in stopping {
            self.settled(ticket, Settlement::Stopped(end));
        }
        if told.is_some() && !held {
            self.happened(EventKind::DaemonGone { daemon: id, reason: end }, cause);
        }
    }

    /// Says what a daemon is like now, if that is worth an event. Whether more than a figure changed.
    pub(super) fn tell_daemon(&mut self, id: DaemonId) -> bool {
        let Some(instance) = self.registry.get(id).filter(|instance| !instance.held) else { return false };
        let (view, cause) = (instance.view(), instance.cause);
        let told = &mut self.followed.entry(id).or_default().told;
        let is_other = told.as_ref().is_none_or(|told| {
            DaemonView { saturation: view.saturation, processed: view.processed, ..told.clone() } != view
        });
        if is_other
            || told.as_ref().is_some_and(|told| told.saturation.abs_diff(view.saturation) >= SATURATED)
        {
            *told = Some(view.clone());
            self.happened(EventKind::DaemonChanged { daemon: view }, cause);
        }
        is_other
    }
}
