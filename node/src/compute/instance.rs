//! One daemon on this node.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{CommandId, DaemonEnd, DaemonHealth, DaemonId, DaemonView, Lifecycle, Member};
use serde::{Deserialize, Serialize};

use super::{
    alarms::Alarms,
    groups::{InSync, can_be_open},
    inbox::{Inbox, Receipt, SenderKey, Settled},
    registry::MAX_ALARMS,
};
use crate::{
    capability::Filter,
    daemon::{Control, DaemonEvent, EntityKeypair, GroupPlace, MeshDaemon, Supervision},
    time::Instant,
};

/// What is to be started.
#[derive(Debug)]
pub(crate) struct SpawnOrder {
    /// Who it will be.
    pub(crate) keypair: EntityKeypair,
    /// The factory that makes it; `None` if it is handed over.
    pub(crate) kind: Option<String>,
    /// What the factory is told.
    pub(crate) args: String,
    /// Its place in a group.
    pub(crate) member: Option<GroupPlace>,
    /// Which incarnation of its identity it is.
    pub(crate) generation: u64,
    /// The command behind it.
    pub(crate) cause: Option<CommandId>,
    /// What it brings along from an earlier incarnation.
    pub(crate) luggage: Option<Luggage>,
    /// It is made and takes over its state, but works off nothing before it is [released](super::Registry::release).
    pub(crate) held: bool,
}

/// What a daemon takes along to another node, besides the events that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Luggage {
    /// Its own state.
    pub(crate) state: Vec<u8>,
    /// How many events it has worked off.
    pub(crate) processed: u64,
    /// What is known of its senders.
    pub(crate) inbox: Inbox,
    /// For how many microseconds its alarms have still to wait, by token.
    pub(crate) alarms: BTreeMap<u64, u64>,
    /// Of one that others stand by for: who has to have what is told of.
    pub(crate) in_sync: Vec<InSync>,
}

impl Luggage {
    /// One that came from another node, if it can be what a daemon had there.
    pub(crate) fn arrived(self) -> Option<Self> {
        let inbox = self.inbox.arrived()?;
        let is_sound = self.alarms.len() <= MAX_ALARMS && can_be_open(&self.in_sync);
        is_sound.then_some(Self { inbox, ..self })
    }
}

/// Why there is no state of a daemon to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoState {
    /// It has none.
    Stateless,
    /// It has one, of so many bytes: more than is taken.
    TooLarge(usize),
    /// It was stopped, or crashed, meanwhile.
    Down,
}

/// A daemon on this node.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Instance {
    pub(crate) keypair: EntityKeypair,
    pub(crate) kind: Option<String>,
    pub(crate) args: String,
    pub(crate) name: String,
    pub(crate) member: Option<GroupPlace>,
    pub(crate) generation: u64,
    pub(crate) cause: Option<CommandId>,
    pub(crate) requirements: Filter,
    pub(crate) lifecycle: Lifecycle,
    /// It is ready and waits to be released.
    pub(crate) held: bool,
    /// It is about to be another node's: nothing new is taken for it, and nothing asked of it.
    pub(crate) sealed: bool,
    /// What it was doing before it was about to move.
    pub(super) before_moving: Lifecycle,
    /// It is to move if it has a state, and nobody is told of that yet: it looks as before.
    pub(super) unseen: bool,
    /// Why there was none when it was last asked for its state.
    pub(crate) no_state: Option<NoState>,
    /// Between jobs.
    pub(super) daemon: Option<Box<dyn MeshDaemon>>,
    /// The job under way, and what it does.
    pub(super) job: Option<(u64, Vec<Planned>)>,
    pub(crate) inbox: Inbox,
    /// Others stand by for it: what it works off is [told](super::Happening::Worked), and takes effect when they have
    /// it too.
    pub(super) stands: bool,
    /// Not all that it went on from is known to be held by those who stand by: nobody is told what came of anything yet,
    /// also not of what the incarnation before worked off.
    pub(super) hushed: bool,
    /// Who was in sync with the incarnation it goes on from.
    pub(crate) in_sync: Vec<InSync>,
    /// What it has to work off once more, in silence, when it has begun.
    pub(super) again: Vec<DaemonEvent>,
    pub(super) controls: Vec<Control>,
    /// A state to take over when it is made.
    pub(super) restore: Option<Vec<u8>>,
    pub(super) restored: bool,
    /// Its state is wanted.
    pub(super) snapshot: bool,
    pub(super) supervision: Supervision,
    pub(super) restart_at: Option<Instant>,
    /// By then it is gone, whatever it does.
    pub(super) kill_at: Option<Instant>,
    /// What that is called, if it stops before.
    pub(super) end: DaemonEnd,
    pub(super) alarms: Alarms,
    pub(super) congested: bool,
    pub(crate) tags: Vec<String>,
    pub(super) health: DaemonHealth,
    pub(super) saturation: u16,
    /// How it does is to be asked.
    pub(super) asked: bool,
    /// The last job that it was given.
    pub(super) last_job: u64,
    /// The last job that was seen when it was to be asked, and how often it was under way then.
    pub(super) seen: (u64, u32),
    /// It has been at the same job for long.
    pub(super) stuck: bool,
    /// It is to be made anew as soon as it can be.
    pub(super) restart_wanted: bool,
    /// When this incarnation came to this node.
    pub(super) since: Instant,
    pub(crate) restarts: u32,
    pub(crate) processed: u64,
}

/// What a task of a job was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Planned {
    Make,
    Restore,
    Start,
    Event(Option<Receipt>),
    /// An event that others are to have too.
    Logged(Option<Receipt>, DaemonEvent),
    /// One that it has worked off before.
    Again(Option<u64>),
    Control(Control),
    Snapshot,
    /// To be asked how it does, and nothing else.
    Look,
}

impl Instance {
    pub(super) fn new(order: SpawnOrder, daemon: Option<Box<dyn MeshDaemon>>, now: Instant) -> Self {
        let mut instance = Self {
            keypair: order.keypair,
            name: order.kind.clone().unwrap_or_default(),
            kind: order.kind,
            args: order.args,
            member: order.member,
            generation: order.generation,
            cause: order.cause,
            requirements: Filter::any(),
            lifecycle: Lifecycle::Starting,
            held: order.held,
            sealed: false,
            before_moving: Lifecycle::Running,
            unseen: false,
            no_state: None,
            daemon,
            job: None,
            inbox: Inbox::default(),
            stands: false,
            hushed: false,
            in_sync: Vec::new(),
            again: Vec::new(),
            controls: Vec::new(),
            restore: None,
            restored: false,
            snapshot: false,
            supervision: Supervision::default(),
            restart_at: None,
            kill_at: None,
            end: DaemonEnd::Stopped,
            alarms: Alarms::default(),
            congested: false,
            tags: Vec::new(),
            health: DaemonHealth::Healthy,
            saturation: 0,
            asked: false,
            last_job: 0,
            seen: (0, 0),
            stuck: false,
            restart_wanted: false,
            since: now,
            restarts: 0,
            processed: 0,
        };
        if let Some(luggage) = order.luggage {
            instance.restore = Some(luggage.state);
            instance.processed = luggage.processed;
            instance.inbox = luggage.inbox;
            instance.hushed = !luggage.in_sync.is_empty();
            instance.in_sync = luggage.in_sync;
            instance.alarms = luggage
                .alarms
                .into_iter()
                .map(|(token, wait_us)| (token, now + Duration::from_micros(wait_us)))
                .collect();
        }
        instance
    }

    pub(crate) fn id(&self) -> DaemonId {
        self.keypair.origin_hash()
    }

    /// What it is doing, as far as others are told.
    pub(crate) fn shown(&self) -> Lifecycle {
        match self.lifecycle {
            Lifecycle::Migrating if self.unseen => self.before_moving,
            lifecycle => lifecycle,
        }
    }

    /// Whether it is being made out of a state that is nowhere else.
    pub(super) fn is_taking_over(&self) -> bool {
        let takes_over = |planned: &Planned| matches!(planned, Planned::Restore | Planned::Again(_));
        self.job.as_ref().is_some_and(|(_, plan)| plan.iter().any(takes_over))
    }

    /// How it does: what it said last, or worse if it has not come back since it was given something to do.
    pub(crate) fn health(&self) -> DaemonHealth {
        match self.health {
            DaemonHealth::Healthy if self.stuck => DaemonHealth::Degraded,
            said => said,
        }
    }

    /// How busy it is, in thousandths.
    pub(crate) fn saturation(&self) -> u16 {
        if self.stuck { 1_000 } else { self.saturation }
    }

    /// Whether it could be made anew at once.
    pub(super) fn can_restart(&self) -> bool {
        !matches!(self.lifecycle, Lifecycle::Stopping | Lifecycle::Migrating)
            && !self.held
            && !self.is_taking_over()
    }

    /// For how long this incarnation has been on this node, and in how long it is started again if it is down.
    pub(crate) fn timing(&self, now: Instant) -> (Duration, Option<Duration>) {
        let wait = |at: Instant| at.saturating_since(now);
        (now.saturating_since(self.since), self.restart_at.map(wait))
    }

    /// Whether somebody waits for its state.
    pub(super) fn owes_state(&self) -> bool {
        self.snapshot || self.job.as_ref().is_some_and(|(_, plan)| plan.contains(&Planned::Snapshot))
    }

    /// What it brings along to another node, with this state.
    pub(crate) fn luggage(&self, state: Vec<u8>, now: Instant) -> Luggage {
        let wait = |at: Instant| u64::try_from(at.saturating_since(now).as_micros()).unwrap_or(u64::MAX);
        Luggage {
            state,
            processed: self.processed,
            inbox: self.inbox.ledger(),
            alarms: self.alarms.iter().map(|(token, at)| (token, wait(at))).collect(),
            in_sync: Vec::new(),
        }
    }

    /// What came of a sender's events, if all of them are settled and that may be told.
    pub(crate) fn outcomes(
        &self,
        sender: SenderKey,
        first: u64,
        count: usize,
    ) -> Option<impl Iterator<Item = Settled>> {
        if self.hushed { None } else { self.inbox.outcomes(sender, first, count) }
    }

    /// Has it take over this state when it is made again.
    pub(crate) fn begin_with(&mut self, state: Vec<u8>) {
        self.restore = Some(state);
    }

    /// As everybody sees it.
    pub(crate) fn view(&self) -> DaemonView {
        DaemonView {
            id: self.id(),
            name: self.name.clone(),
            kind: self.kind.clone(),
            lifecycle: self.shown(),
            health: self.health(),
            saturation: self.saturation(),
            restarts: self.restarts,
            generation: self.generation,
            member: self.member.map(|place| Member { group: place.group, index: place.index }),
            processed: self.processed,
        }
    }
}
