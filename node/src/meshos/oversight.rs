//! The loop: what time changes, what the probes say, and what is to be done about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{CommandId, DaemonId, EventKind, Health, Lifecycle, Maintenance, NodeId};

use super::{
    MeshOs, Settlement, Ticket,
    action::{Action, ActionRecord, FailureRecord, Recent},
    avoid::AvoidList,
    dispatching::Look,
    logging::LogTail,
    maintenance::{Notice, Service},
    probes::{HealthProbe, InventoryProbe, LocalityProbe, Probes},
    publishing::Publishing,
    reconcile::{Here, Situation, Taker, reconcile},
};
use crate::{
    capability::Capabilities,
    compute::{Instance, Inventory, MigrateError, NoState, Stated},
    daemon::{Control, MAX_STATE},
    node::Node,
    time::{Instant, Now},
};

/// How often daemons that do nothing are asked how they do.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How long a daemon that could not be moved away is left alone before it is tried again.
const REST: Duration = Duration::from_secs(2);

/// And one whose state was too large, as all of it is taken each time to see that, or that has to wait to be heard of first.
const LONG_REST: Duration = Duration::from_secs(10);

/// What the loop keeps from one turn to the next.
pub(super) struct Oversight {
    pub(super) service: Service,
    /// The command behind its last change.
    service_cause: Option<CommandId>,
    /// What was last told of it.
    told: (Maintenance, bool),
    /// Whether it was draining then: others are told that too.
    drained: bool,
    pub(super) avoided: AvoidList,
    /// Whom it was last said to avoid, and why.
    pub(super) told_avoided: BTreeMap<NodeId, String>,
    pub(super) probes: Probes,
    pub(super) frozen_until: Option<Instant>,
    pub(super) actions: Recent<ActionRecord>,
    pub(super) failures: Recent<FailureRecord>,
    pub(super) log: LogTail,
    /// The daemons that this node itself has on their way elsewhere, and where.
    moving: BTreeMap<Ticket, (DaemonId, NodeId)>,
    /// Those that did not get there.
    stayed: Vec<(DaemonId, NodeId, MigrateError)>,
    /// Daemons that could not be moved away a moment ago.
    resting: BTreeMap<DaemonId, Instant>,
    /// Direct or relayed peers that the mesh finds Unreachable.
    unreachable: BTreeSet<NodeId>,
    /// Nodes that were silent at the last turn.
    silent: BTreeSet<NodeId>,
    tick_at: Instant,
    /// When daemons are asked next how they do.
    look_at: Instant,
    /// Daemons here that run elsewhere too, and since when that is known.
    pub(super) doubles: BTreeMap<DaemonId, Instant>,
    pub(super) publishing: Publishing,
}

impl Oversight {
    pub(super) fn new(node: NodeId, epoch: u64, now: Instant) -> Self {
        Self {
            service: Service::default(),
            service_cause: None,
            told: (Maintenance::Active, false),
            drained: false,
            avoided: AvoidList::default(),
            told_avoided: BTreeMap::new(),
            probes: Probes::default(),
            frozen_until: None,
            actions: Recent::default(),
            failures: Recent::default(),
            log: LogTail::default(),
            moving: BTreeMap::new(),
            stayed: Vec::new(),
            resting: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            silent: BTreeSet::new(),
            tick_at: now,
            look_at: now + LOOK_AFTER,
            doubles: BTreeMap::new(),
            publishing: Publishing::new(node, epoch, now),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.frozen_until, self.publishing.poll_timeout(), Some(self.tick_at)].into_iter().flatten().min()
    }

    /// Something changed that is not only a figure.
    pub(super) fn touch(&mut self) {
        self.publishing.touch();
    }

    /// The mesh's verdict on a peer changed, or there is none any more.
    pub(super) fn judged(&mut self, peer: NodeId, verdict: Option<Health>) {
        if verdict == Some(Health::Unreachable) {
            self.unreachable.insert(peer);
        } else {
            self.unreachable.remove(&peer);
        }
        self.touch();
    }

    /// What could not be moved away a moment ago may be tried again at once.
    pub(super) fn rest_no_more(&mut self) {
        self.resting.clear();
    }

    /// A figure changed.
    pub(super) fn touch_figure(&mut self) {
        self.publishing.touch_figure();
    }
}

impl MeshOs {
    /// Asks another probe how far away other nodes are, in place of the mesh itself.
    pub fn install_locality_probe(&mut self, probe: Box<dyn LocalityProbe>) {
        self.oversight.probes.set_locality(probe);
    }

    /// Asks another probe how other nodes do, in place of the mesh's failure detector.
    pub fn install_health_probe(&mut self, probe: Box<dyn HealthProbe>) {
        self.oversight.probes.set_health(probe);
    }

    /// Asks the mesh itself again how far away other nodes are and how they do, as at first.
    pub fn install_mesh_probes(&mut self) {
        self.oversight.probes.ask_mesh();
        self.oversight.touch();
    }

    /// Asks this probe how the machine does.
    pub fn install_inventory_probe(&mut self, probe: Box<dyn InventoryProbe>) {
        self.oversight.probes.set_inventory(probe);
    }

    /// Whether nothing may be placed, moved or restarted.
    pub(super) fn is_frozen(&self) -> bool {
        self.oversight.frozen_until.is_some()
    }

    /// Nothing is placed, moved or restarted here for this long; none ends that.
    pub(super) fn set_freeze(&mut self, now: Now, ttl: Option<Duration>, cause: Option<CommandId>) {
        let before = self.oversight.frozen_until.is_some();
        self.oversight.frozen_until = ttl.map(|ttl| now.instant + ttl);
        self.registry.set_frozen(now.instant, ttl.is_some());
        self.oversight.touch();
        if before || ttl.is_some() {
            let remaining_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            self.happened(EventKind::FreezeChanged { remaining_ms }, cause);
        }
    }

    /// Changes whether this node serves, and tells the daemons what that means for them.
    pub(super) fn change_service(
        &mut self,
        now: Now,
        cause: Option<CommandId>,
        change: impl FnOnce(&mut Service) -> Option<Notice>,
    ) {
        self.oversight.service_cause = cause;
        let before = self.oversight.service.state();
        let notice = change(&mut self.oversight.service);
        let to = self.oversight.service.state();
        if to != before {
            self.record(now, Action::CommitMaintenance { to });
        }
        self.notify_daemons(now.instant, notice, cause);
        self.tell_service(now);
    }

    /// Time has passed, and daemons may have gone: goes on to another state of service, if that is due.
    fn step_service(&mut self, now: Now, node: &mut Node) {
        // Only a node on its way out asks what is left, and copies are looked for in every group.
        let service = &self.oversight.service;
        let leaves = service.is_draining() || service.state() == Maintenance::EnteringMaintenance;
        let here = || self.registry.iter().count() + self.copies().len() + self.arriving();
        let left = if leaves { here() } else { 0 };
        let mut next = self.oversight.service;
        let notice = next.step(now.instant, left, &self.config.maintenance);
        let to = next.state();
        if to != self.oversight.service.state() && !self.dispatch(now, &Action::CommitMaintenance { to }) {
            return;
        }
        self.oversight.service = next;
        if notice == Some(Notice::Stay) {
            self.record_left(now, node);
        }
        self.notify_daemons(now.instant, notice, self.oversight.service_cause);
        self.tell_service(now);
    }

    fn notify_daemons(&mut self, now: Instant, notice: Option<Notice>, cause: Option<CommandId>) {
        let control = match notice {
            None => return,
            Some(Notice::Leave(by)) => Control::DrainStart { grace: by.saturating_since(now) },
            Some(Notice::Stay) => Control::DrainFinish,
        };
        let daemons: Vec<DaemonId> = self.registry.iter().map(|(id, _)| id).collect();
        for daemon in daemons {
            if let Some(instance) = self.registry.get_mut(daemon) {
                instance.cause = cause.or(instance.cause);
            }
            self.registry.control(daemon, control);
        }
    }

    /// A daemon began while everything is to move away: it is told so as the others were.
    pub(super) fn tell_drain(&mut self, now: Instant, daemon: DaemonId) {
        let runs = self.registry.get(daemon).is_some_and(|it| it.lifecycle == Lifecycle::Running);
        if let Some(grace) = self.oversight.service.drain_remaining(now).filter(|_| runs) {
            self.registry.control(daemon, Control::DrainStart { grace });
        }
    }

    /// Says whether this node serves, if that has changed.
    fn tell_service(&mut self, now: Now) {
        let service = &self.oversight.service;
        let (state, cordoned) = (service.state(), service.is_cordoned());
        if self.oversight.told != (state, cordoned) {
            self.oversight.told = (state, cordoned);
            self.happened(EventKind::MaintenanceChanged { state, cordoned }, self.oversight.service_cause);
            self.oversight.touch();
            self.say_soon(now);
        }
        let drains = self.oversight.service.is_draining();
        if std::mem::replace(&mut self.oversight.drained, drains) != drains {
            self.oversight.touch();
            self.say_soon(now);
        }
    }

    /// A turn of the loop begins by asking the probes, so that what is said of the machine in it is true from the first time on.
    pub(super) fn ask_probes(&mut self, now: Now, node: &Node) {
        if self.oversight.tick_at <= now.instant {
            self.oversight.probes.poll(|| node.peers().collect());
            self.tell_resources(now);
        }
    }

    /// One turn of the loop. Turns that were missed are not made up for.
    pub(super) fn tick(&mut self, now: Now, node: &mut Node) {
        if self.oversight.frozen_until.is_some_and(|until| until <= now.instant) {
            self.set_freeze(now, None, None);
        }
        if self.oversight.tick_at > now.instant {
            return self.publish(now, node);
        }
        self.oversight.tick_at = now.instant + self.config.tick_interval;
        self.gate.begin(Look::Loop);
        if self.oversight.avoided.expire(now.instant) {
            self.oversight.touch();
        }
        self.oversight.resting.retain(|_, until| *until > now.instant);
        if self.oversight.look_at <= now.instant {
            self.oversight.look_at = now.instant + LOOK_AFTER;
            self.registry.look_after();
        }
        self.mind_doubles(now, node);

        self.step_service(now, node);
        self.mind_stayed(now, node);
        let situation = self.situation(node);
        for action in reconcile(&situation) {
            if self.dispatch(now, &action) {
                self.carry_out(now, node, action);
            }
        }
        self.tell_avoided(now, None);
        self.publish(now, node);
    }

    /// Writes down what a drain has left here when its time was over, daemons and copies of what others do, and why.
    fn record_left(&mut self, now: Now, node: &mut Node) {
        let why = |instance: &Instance| {
            let is_down = matches!(
                instance.lifecycle,
                Lifecycle::BackingOff | Lifecycle::CrashLooping | Lifecycle::Failed
            );
            if let Some(origin) = self.unheard_by(instance.id()).filter(|_| !is_down) {
                return format!("came from node {origin}, which has not heard that it arrived");
            }
            match (instance.lifecycle, instance.no_state) {
                _ if instance.kind.is_none() => "was handed over ready-made: no factory makes it elsewhere",
                _ if is_down => "crashed, and is down",
                (Lifecycle::Migrating, _) => "was still on its way",
                (_, Some(NoState::Stateless)) => "has no state that could be moved",
                (_, Some(NoState::TooLarge(bytes))) => {
                    return format!("has a state of {bytes} bytes; at most {MAX_STATE} are moved");
                }
                _ => "was taken by no other node",
            }
            .to_owned()
        };
        let mut left: Vec<String> = (self.registry.iter())
            .filter(|(_, instance)| !instance.held)
            .map(|(id, instance)| format!("the drain failed: daemon {id} {}", why(instance)))
            .collect();
        for (group, place) in self.copies() {
            let why = self.why_copy_stays(now.instant, node, group, place);
            left.push(format!("the drain failed: the copy of standby group {group} {why}"));
        }
        for what in left {
            self.record_failure(now, what);
        }
    }

    /// What there is, as far as it matters to what is to be done.
    fn situation(&mut self, node: &Node) -> Situation {
        let silent: BTreeSet<NodeId> = match self.oversight.probes.verdicts() {
            None => self.oversight.unreachable.clone(),
            Some(verdicts) => {
                let silent = verdicts.iter().filter(|(_, health)| **health == Health::Unreachable);
                silent.map(|(&node, _)| node).collect()
            }
        };
        let went_silent = silent.difference(&self.oversight.silent).copied().collect();
        // One that is forgotten is not heard.
        let is_heard = |id: &NodeId| self.verdict(node, *id) == Some(Health::Healthy);
        let heard_again = self.oversight.silent.difference(&silent).copied().filter(is_heard).collect();
        self.oversight.silent = silent;
        let draining = self.oversight.service.is_draining();
        let mut situation = Situation {
            frozen: self.is_frozen(),
            draining,
            went_silent,
            heard_again,
            ..Situation::default()
        };
        if draining {
            let here = self.registry.iter().map(|(id, instance)| Here {
                id,
                kind: instance.kind.clone(),
                barred: self.barred(instance).into_iter().chain(self.unsuited(node, instance)).collect(),
                moving: instance.lifecycle == Lifecycle::Migrating,
                // One that is down cannot move.
                resting: !instance.lifecycle.is_live()
                    || self.oversight.resting.contains_key(&id)
                    || (instance.no_state == Some(NoState::Stateless) && instance.member.is_none()),
            });
            situation.daemons = here.collect();
            situation.takers = self.takers(node);
        }
        situation
    }

    /// How another node does, as whoever is asked for that says.
    fn verdict(&self, node: &Node, id: NodeId) -> Option<Health> {
        match self.oversight.probes.verdicts() {
            None => node.peer(id).map(|peer| peer.health),
            Some(verdicts) => verdicts.get(&id).copied(),
        }
    }

    /// The nodes that would take a daemon, the least busy first.
    fn takers(&self, node: &Node) -> Vec<Taker> {
        let is_healthy = |id: &NodeId| self.verdict(node, *id) == Some(Health::Healthy);
        let mut takers: Vec<(u32, Taker)> = (self.directory.iter())
            .filter(|(node, inventory)| {
                is_healthy(node) && inventory.takes_new() && !self.oversight.avoided.contains(*node)
            })
            .map(|(node, inventory)| {
                (inventory.load(), Taker { node, kinds: inventory.kinds.iter().cloned().collect() })
            })
            .collect();
        takers.sort_by_key(|(load, taker)| (*load, taker.node));
        takers.into_iter().map(|(_, taker)| taker).collect()
    }

    fn carry_out(&mut self, now: Now, node: &mut Node, action: Action) {
        match action {
            Action::MarkAvoid { node, reason, ttl } => {
                let pushed_out = self.oversight.avoided.mark(now.instant, node, ttl, reason);
                self.oversight.touch();
                if let Some(node) = pushed_out {
                    let what = format!("too many nodes to avoid: node {node} no longer is, before its time");
                    self.record_failure(now, what);
                }
            }
            Action::MoveAway { daemon, to } => self.move_away(now, node, daemon, to),
            // The others are done by those who decide them.
            _ => {}
        }
    }

    /// Writes down something that is decided, or done on command, for people.
    pub(super) fn record(&mut self, now: Now, action: Action) {
        self.oversight.actions.push(ActionRecord { at: now.wall, action });
        self.oversight.touch();
    }

    /// Writes down something that went wrong.
    pub(super) fn record_failure(&mut self, now: Now, what: impl Into<String>) {
        self.oversight.failures.push(FailureRecord { at: now.wall, what: what.into() });
        self.oversight.touch();
    }

    /// Moves a daemon to another node.
    fn move_away(&mut self, now: Now, node: &mut Node, daemon: DaemonId, to: NodeId) {
        let cause = self.oversight.service_cause;
        match self.begin_migration(now, node, daemon, to, cause) {
            Ok(ticket) => _ = self.oversight.moving.insert(ticket, (daemon, to)),
            Err(error) => self.oversight.stayed.push((daemon, to, error)),
        }
    }

    /// What this node had asked for itself is settled. Comes back if it was somebody else.
    pub(super) fn own_settled(&mut self, ticket: Ticket, outcome: &Settlement) -> bool {
        if let Some(relocation) = self.groups.relocating.remove(&ticket) {
            if let Settlement::Migrated(outcome) = outcome {
                self.groups.relocated(relocation, outcome.clone().map(|_| ()));
            }
            return true;
        }
        let Some((daemon, to)) = self.oversight.moving.remove(&ticket) else { return false };
        if let Settlement::Migrated(Err(error)) = outcome {
            self.oversight.stayed.push((daemon, to, error.clone()));
        }
        true
    }

    /// What could not be moved away: a member of a group that has no state begins anew where it was to go. Anything else is
    /// tried again, unless it has no state to be moved: why that is left is said when the drain is over.
    fn mind_stayed(&mut self, now: Now, node: &mut Node) {
        for (daemon, to, error) in std::mem::take(&mut self.oversight.stayed) {
            let lasts = matches!(error, MigrateError::StateTooLarge { .. } | MigrateError::Unheard(_));
            self.rest(now, daemon, if lasts { LONG_REST } else { REST });
            if !matches!(error, MigrateError::NoState(_)) {
                self.record_failure(now, format!("daemon {daemon} was not moved away: {error}"));
                continue;
            }
            let member = self.registry.get(daemon).and_then(|instance| instance.member);
            if let Some(place) = member {
                self.replace_elsewhere(now, node, place.group, place.index, to);
            }
        }
    }

    /// The nodes that have other members of a daemon's group.
    pub(super) fn barred(&self, instance: &Instance) -> BTreeSet<NodeId> {
        let Some(place) = instance.member else { return BTreeSet::new() };
        let has_one = |inventory: &Inventory| {
            inventory.daemons.iter().filter_map(Stated::member).any(|(group, _)| group == place.group)
        };
        self.directory.iter().filter(|(_, inventory)| has_one(inventory)).map(|(node, _)| node).collect()
    }

    /// The nodes that do not announce what a daemon requires.
    fn unsuited(&self, node: &Node, instance: &Instance) -> BTreeSet<NodeId> {
        let (announced, nothing) = (node.capabilities(), Capabilities::new());
        let suits = |id: NodeId| instance.requirements.matches(id, announced.get(id).unwrap_or(&nothing));
        self.directory.iter().map(|(id, _)| id).filter(|id| !suits(*id)).collect()
    }

    /// A daemon could not be moved away: it is left alone for a while.
    fn rest(&mut self, now: Now, daemon: DaemonId, pause: Duration) {
        self.oversight.resting.insert(daemon, now.instant + pause);
    }
}
