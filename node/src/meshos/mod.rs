//! `MeshOS`: what makes a mesh of nodes one system. It runs daemons, says what runs where, and brings to each what is
//! sent to it.
//!
//! [`MeshOs`] stands beside one [`Node`] and is as sans-IO as that: events of the node and what came of jobs go in,
//! jobs, events and calls over the node come out. It uses the node by its public surface alone.

mod action;
mod announcing;
mod avoid;
mod avoiding;
#[cfg(feature = "floor")]
pub(crate) mod bodies;
mod catching_up;
mod commanding;
mod config;
mod daemons;
mod delivering;
mod desk;
mod dispatching;
mod doubles;
#[cfg(feature = "floor")]
mod gauges;
mod grouping;
mod logging;
mod maintenance;
mod migrating;
mod oversight;
mod probes;
mod publishing;
mod reconcile;
mod saying;
mod snapshot;
#[cfg(test)]
mod testing;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use meshground_shared::{CommandId, DaemonId, EventKind, GroupId, Health, MigrationId, NodeId, SessionEnd};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

pub use self::{
    action::{Action, ActionRecord, FailureRecord},
    avoid::Avoided,
    commanding::Commanded,
    config::MeshOsConfig,
    daemons::{DaemonState, SpawnRequest, StateError},
    delivering::Delivered,
    dispatching::{Dispatch, LoggingDispatcher},
    grouping::GroupRequest,
    logging::LogLine,
    maintenance::MaintenanceConfig,
    probes::{HealthProbe, InventoryProbe, LocalityProbe, Resources},
    snapshot::{DaemonTiming, MeshOsSnapshot, PeerState},
};
use self::{
    commanding::Postponed,
    daemons::Followed,
    delivering::{ForWhom, Owed},
    desk::Desk,
    dispatching::Gate,
    grouping::Groups,
    migrating::Migrations,
    oversight::Oversight,
    saying::Saying,
};
use crate::{
    admin::{AdminCommit, CatchingUp, Nonce},
    capability::Capabilities,
    compute::{
        Deliveries, Directory, Inventory, MigrateError, Registry, SpawnError, Version, groups::GroupError,
    },
    daemon::{DeliverError, Job, JobDone},
    event::NodeEvent,
    node::Node,
    record::Topic,
    time::{Instant, Now},
};

/// Names something that was asked of a [`MeshOs`] until [`OsEvent::Settled`] says what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something happened. Fetch with [`MeshOs::poll_event`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OsEvent {
    /// For the cluster's log: as this node saw it.
    Happened {
        /// What.
        kind: EventKind,
        /// The command it followed from, if one.
        cause: Option<CommandId>,
    },
    /// What was asked for is done, or will not be.
    Settled {
        /// Which.
        ticket: Ticket,
        /// What came of it.
        outcome: Settlement,
    },
    /// A [`LoggingDispatcher`] is full: what is decided from here on is lost, until it is taken.
    DecisionsLost {
        /// How many decisions it has lost so far.
        dropped: u64,
    },
}

/// What came of something that was asked for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Settlement {
    /// Of a start: the daemon has dealt with its first event.
    Spawned(Result<DaemonId, SpawnError>),
    /// Of a stop: it is gone.
    Stopped(meshground_shared::DaemonEnd),
    /// Of something sent.
    Delivered(Result<Delivered, DeliverError>),
    /// Of a signed command.
    Commanded(Commanded),
    /// Of a question for a daemon's state.
    State(Result<DaemonState, StateError>),
    /// Of a migration: the target runs the daemon, or why not.
    Migrated(Result<MigrationId, MigrateError>),
    /// Of what was asked of a group.
    Group(Result<GroupId, GroupError>),
}

/// One node's part of the system.
pub struct MeshOs {
    config: MeshOsConfig,
    local: NodeId,
    /// The version of what runs it.
    version: Version,
    /// Tells this life from others of the same node.
    life: u64,
    rng: ChaCha20Rng,
    next_ticket: u64,
    registry: Registry,
    directory: Directory,
    desk: Desk,
    deliveries: Deliveries<ForWhom>,
    migrations: Migrations,
    groups: Groups,
    /// Answers that wait for daemons to work something off.
    owed: Vec<Owed>,
    /// What was told of each daemon here, and who waits for more.
    followed: BTreeMap<DaemonId, Followed>,
    saying: Saying,
    admin: AdminCommit,
    catching_up: CatchingUp,
    /// Who waits for what becomes of a signed command.
    commanding: BTreeMap<crate::admin::Ticket, (Ticket, Nonce)>,
    /// What everything passes that is decided here.
    gate: Gate,
    /// Signed commands that wait for another to be decided on.
    postponed: Vec<Postponed>,
    oversight: Oversight,
    /// What this node can do apart from its daemons, and what was last announced with them.
    capabilities: Capabilities,
    announced: Capabilities,
    events: VecDeque<OsEvent>,
}

impl MeshOs {
    /// The part that stands beside `node`. Give each another `rng_seed`, also in another life of the same node.
    pub fn new(config: MeshOsConfig, node: &Node, rng_seed: [u8; 32], now: Now) -> Self {
        let config = config.bounded();
        let mut rng = ChaCha20Rng::from_seed(rng_seed);
        let (local, life) = (node.id(), rng.next_u64());
        let admin = AdminCommit::new(local, life, config.verifier.clone());
        let gate = Gate::new(config.dispatch.clone());
        let version = Version::new(&config.version);
        let catching_up = CatchingUp::new(local, now.instant, config.founds);
        Self {
            config,
            local,
            life,
            version,
            rng,
            next_ticket: 0,
            registry: Registry::new(local),
            directory: Directory::default(),
            desk: Desk::default(),
            deliveries: Deliveries::default(),
            migrations: Migrations::default(),
            groups: Groups::default(),
            owed: Vec::new(),
            followed: BTreeMap::new(),
            saying: Saying::new(now.instant),
            admin,
            catching_up,
            commanding: BTreeMap::new(),
            gate,
            postponed: Vec::new(),
            oversight: Oversight::new(local, life, now.instant),
            capabilities: Capabilities::new(),
            announced: Capabilities::new(),
            events: VecDeque::new(),
        }
    }

    /// The node it stands beside.
    pub fn node_id(&self) -> NodeId {
        self.local
    }

    /// The node told this. What is none of the driver's business does not come back.
    pub fn handle_event(&mut self, now: Now, node: &mut Node, event: NodeEvent) -> Option<NodeEvent> {
        let event = match event {
            NodeEvent::Call(call) => self.on_call_event(now, node, call).map(NodeEvent::Call)?,
            NodeEvent::Dialed { dial, .. } if self.desk.is_own(dial) => {
                self.desk.dialed(dial);
                return None;
            }
            NodeEvent::DialFailed { dial, .. } if self.desk.is_own(dial) => {
                self.on_dial_failed(now, node, dial);
                return None;
            }
            event => event,
        };
        let mut figures = false;
        match &event {
            NodeEvent::SessionUp { peer, .. } => {
                self.oversight.judged(*peer, Some(Health::Healthy));
                self.catching_up.hurry(now.instant);
                self.flush_asks(now, node, *peer);
            }
            NodeEvent::SessionDown { peer, reason } => {
                // One that is still reached over others is not gone.
                if *reason == SessionEnd::Left
                    || (*reason == SessionEnd::Forgotten && !self.is_reachable(node, *peer))
                {
                    self.part(now, *peer);
                }
                if *reason == SessionEnd::Left {
                    self.target_left(now.instant, *peer);
                    self.source_left(*peer);
                }
                self.oversight.judged(*peer, None);
            }
            NodeEvent::Health { peer, to, .. } => {
                self.oversight.judged(*peer, Some(*to));
                if *to == Health::Healthy {
                    self.catching_up.hurry(now.instant);
                }
            }
            NodeEvent::Said { node: who, topic: Topic::Inventory, body } => {
                // One that cannot be read is taken for nothing said.
                let inventory = Inventory::decode(body).ok().filter(|_| !body.is_empty());
                let known = inventory.as_ref().zip(self.directory.get(*who));
                figures = known.is_some_and(|(new, old)| new.is_like(old));
                if figures {
                    self.oversight.touch_figure();
                } else {
                    self.oversight.touch();
                }
                match &inventory {
                    Some(inventory) => self.meet(now, *who, inventory.life),
                    None => self.part(now, *who),
                }
                self.directory.set(*who, inventory);
                self.hurry_deliveries(*who);
                self.learn_incarnations(now.instant, *who);
            }
            NodeEvent::CapabilitiesChanged { .. } | NodeEvent::CapabilitiesExpired { .. } => {
                self.oversight.touch();
                self.groups.wake();
            }
            NodeEvent::Said { node: who, topic: Topic::Groups, body } => self.hear_groups(now, *who, body),
            _ => {}
        }
        if matches!(
            event,
            NodeEvent::SessionUp { .. }
                | NodeEvent::SessionDown { .. }
                | NodeEvent::Health { .. }
                | NodeEvent::RouteChanged { .. }
                | NodeEvent::Said { .. }
        ) {
            self.groups.stir_together(now.instant, self.directory.len(), figures);
        }
        self.settle(now, node);
        Some(event)
    }

    /// What came of a [`Job`].
    pub fn handle_job(&mut self, now: Now, node: &mut Node, done: JobDone) {
        self.registry.handle_job(now.instant, done);
        self.settle(now, node);
    }

    /// The time [`poll_timeout`](Self::poll_timeout) named has come. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Now, node: &mut Node) {
        self.registry.handle_timeout(now.instant);
        let (registry, directory) = (&self.registry, &self.directory);
        self.deliveries
            .handle_timeout(now.instant, |id| registry.get(id).is_some() || directory.find(id).is_some());
        self.migrations.handle_timeout(now.instant);
        self.expire_asks(now, node);
        if self.groups.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.groups.look_again();
        }
        self.ask_probes(now, node);
        if self.saying.at.is_some_and(|at| at <= now.instant) {
            self.say_inventory(now, node);
            self.announce_changes(now, node);
        }
        self.admin.handle_timeout(now);
        self.catch_up(now, node);
        self.tick(now, node);
        self.settle(now, node);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let times = [
            self.registry.poll_timeout(),
            self.deliveries.poll_timeout(),
            self.desk.poll_timeout(),
            self.migrations.poll_timeout(),
            self.groups.poll_timeout(),
            self.saying.at,
            self.oversight.poll_timeout(),
            self.admin.poll_timeout(),
            Some(self.catching_up.poll_timeout()),
        ];
        times.into_iter().flatten().min()
    }

    /// The next job to run, wherever a slow daemon does no harm; hand what comes of it to
    /// [`handle_job`](Self::handle_job). Of one daemon there is one at a time.
    pub fn poll_job(&mut self) -> Option<Job> {
        self.registry.poll_job()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<OsEvent> {
        self.events.pop_front()
    }

    /// Deals with everything that follows from what just happened, until nothing more does.
    fn settle(&mut self, now: Now, node: &mut Node) {
        loop {
            while let Some(happening) = self.registry.poll_happening() {
                self.on_happening(now, node, happening);
            }
            let groups = self.groups.is_dirty();
            if groups {
                self.look_at_groups(now, node);
            }
            let moved = self.pump_migrations(now, node);
            let delivered = self.pump_deliveries(now, node);
            if !self.pump_commands(now, node) && !delivered && !moved && !groups {
                return;
            }
        }
    }

    fn issue(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn settled(&mut self, ticket: Ticket, outcome: Settlement) {
        if !self.own_settled(ticket, &outcome) {
            self.events.push_back(OsEvent::Settled { ticket, outcome });
        }
    }

    fn happened(&mut self, kind: EventKind, cause: Option<CommandId>) {
        self.events.push_back(OsEvent::Happened { kind, cause });
    }
}

impl fmt::Debug for MeshOs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshOs").field("node", &self.local).finish_non_exhaustive()
    }
}
