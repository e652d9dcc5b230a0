//! Running on this node what the ledger places here, and nothing else.

use std::time::Duration;

use meshground_shared::{CommandId, DaemonEnd, DaemonId, GroupId, GroupKind, Lifecycle, NodeId};

use super::super::{Action, MeshOs};
use crate::{
    compute::{
        Instance, Luggage, NoState, SpawnOrder,
        groups::{Incarnation, Required, Slot},
    },
    node::Node,
    time::{Instant, Now},
};

/// A member that is replaced goes on so long at most, if it is not known to run at its new place.
const BRIDGED: Duration = Duration::from_secs(5);

/// What members require that start within this is said and looked at together: a look goes over all groups.
const LEARNED: Duration = Duration::from_millis(10);

impl MeshOs {
    /// Starts and stops members here.
    pub(super) fn host_members(&mut self, now: Now, node: &mut Node) {
        let members: Vec<(DaemonId, GroupId, u32)> = self
            .registry
            .iter()
            .filter(|(_, instance)| !instance.held)
            .filter_map(|(id, instance)| instance.member.map(|place| (id, place.group, place.index)))
            .collect();
        for (id, group, index) in members {
            self.keep_or_stop(now, id, group, index);
        }
        for group in self.groups.ledger.ids() {
            let Some(entry) = self.groups.ledger.get(group) else { continue };
            let mine: Vec<u32> =
                entry.hosts().filter(|(_, host)| *host == self.local).map(|(index, _)| index).collect();
            for index in mine {
                self.start_member(now, node, group, index);
            }
        }
    }

    /// Stops a member that is not to run here, and has the ledger say so of one that is.
    fn keep_or_stop(&mut self, now: Now, id: DaemonId, group: GroupId, index: u32) {
        let Some(instance) = self.registry.get(id) else { return };
        let (generation, lifecycle) = (instance.generation, instance.lifecycle);
        // One that is on its way to another node or to its end gets there.
        if matches!(lifecycle, Lifecycle::Migrating | Lifecycle::Stopping) {
            return;
        }
        let Some(entry) = self.groups.ledger.get_mut(group) else {
            // What was never heard of may yet be.
            if self.groups.ledger.is_gone(group) {
                self.stop_member(now, id, (DaemonEnd::Evicted, false), None);
            }
            return;
        };
        let cause = entry.cause();
        if !entry.places().contains(&index) || entry.member(index) != id {
            return self.stop_member(now, id, (DaemonEnd::Evicted, false), cause);
        }
        let (slot, is_standby) = (entry.slot(index), entry.spec.kind == GroupKind::Standby);
        let here = Slot { generation, host: Some(self.local) };
        if here > slot {
            // It was moved here: the ledger follows.
            entry.put(index, here);
        } else if slot.host != Some(self.local) {
            if !is_standby
                && slot.host.is_some_and(|host| self.bridges(now.instant, id, host, slot.generation))
            {
                return;
            }
            let Some(entry) = self.groups.ledger.get(group) else { return };
            let end = if slot.host.is_some() { DaemonEnd::Superseded } else { DaemonEnd::Evicted };
            let goes_on = entry.spec.kind == GroupKind::Standby;
            return self.stop_member(now, id, (end, goes_on), cause);
        } else if slot.generation > generation {
            if let Some(instance) = self.registry.get_mut(id) {
                instance.cause = cause.or(instance.cause);
            }
            if matches!(lifecycle, Lifecycle::Failed | Lifecycle::CrashLooping) {
                // It is placed here anew, and begins anew.
                if self.dispatch(now, &Action::StartDaemon { daemon: id }) {
                    self.registry.drop_instance(id, DaemonEnd::Superseded);
                }
            } else if is_standby && !slot.incarnation().continues(Incarnation::new(generation, self.local)) {
                // Others may have gone on meanwhile: it asks them like anybody who takes over.
                return self.stop_member(now, id, (DaemonEnd::Superseded, true), cause);
            } else if let Some(instance) = self.registry.get_mut(id) {
                instance.generation = slot.generation;
                self.tell_daemon(id);
                self.oversight.touch();
                self.say_soon(now);
            }
        }
        let entry = self.groups.ledger.get(group);
        if entry.is_some_and(|entry| entry.spec.kind == GroupKind::Standby) {
            self.keep_active(now.instant, group, id);
        }
    }

    /// Whether a member without state goes on here until it runs at its new place: nothing is lost by that, and the group
    /// does not lack it meanwhile. Not for long, whatever becomes of it there.
    fn bridges(&mut self, now: Instant, id: DaemonId, host: NodeId, generation: u64) -> bool {
        let instance = self.registry.get(id);
        let works = instance.is_some_and(|it| {
            it.no_state == Some(NoState::Stateless)
                && matches!(it.lifecycle, Lifecycle::Running | Lifecycle::Draining)
        });
        if !works || !self.groups.is_here(host) || self.runs_at(host, id, generation) {
            self.groups.bridging.remove(&id);
            return false;
        }
        now < *self.groups.bridging.entry(id).or_insert(now + BRIDGED)
    }

    /// A member is not to run here, because of a command if one is named. If what it has done goes on elsewhere, it gives that
    /// away.
    fn stop_member(
        &mut self,
        now: Now,
        id: DaemonId,
        (end, goes_on): (DaemonEnd, bool),
        cause: Option<CommandId>,
    ) {
        if !self.dispatch(now, &Action::StopDaemon { daemon: id }) {
            return;
        }
        if let Some(instance) = self.registry.get_mut(id) {
            instance.cause = cause.or(instance.cause);
        }
        if goes_on {
            self.seal(now, id, end);
        } else {
            self.registry.stop_as(now.instant, id, self.config.grace, end);
        }
    }

    fn start_member(&mut self, now: Now, node: &mut Node, group: GroupId, index: u32) {
        let Some(entry) = self.groups.ledger.get(group).cloned() else { return };
        let is_standby = entry.spec.kind == GroupKind::Standby;
        if is_standby && index > 0 {
            // It holds what it is brought.
            return;
        }
        let (id, slot) = (entry.member(index), entry.slot(index));
        let is_over = self.groups.ended.get(&id).is_some_and(|ended| *ended >= slot.generation);
        if is_over {
            return;
        }
        if self.registry.get(id).is_some() {
            // One that was moved here would begin again with this after a crash.
            if let Some(point) = &entry.spec.fork {
                self.fork_state(now, node, &entry, point);
            }
            return;
        }
        // Before anything is fetched for it, or asked of others.
        if !self.dispatch(now, &Action::StartDaemon { daemon: id }) {
            return;
        }
        if is_standby {
            return self.start_active(now, node, group, &entry);
        }
        let luggage = match &entry.spec.fork {
            None => None,
            Some(point) => match self.fork_state(now, node, &entry, point) {
                None => return,
                Some(state) => Some(Luggage { state: state.to_vec(), ..Luggage::default() }),
            },
        };
        let order = SpawnOrder {
            keypair: entry.keypair(index),
            kind: Some(entry.spec.daemon.clone()),
            args: entry.spec.args.clone(),
            member: Some(entry.group_place(group, index)),
            generation: slot.generation,
            cause: entry.cause(),
            luggage,
            held: false,
        };
        if self.registry.spawn(now.instant, order, None).is_err() {
            // That it is not here is seen by whoever looks after the group.
            self.groups.ended.insert(id, slot.generation);
        }
    }

    /// A daemon is no more here.
    pub(in super::super) fn member_gone(&mut self, instance: &Instance) {
        let Some(place) = instance.member else { return };
        self.groups.bridging.remove(&instance.id());
        if self.groups.ledger.get(place.group).is_some() && !instance.held {
            let ended = self.groups.ended.entry(instance.id()).or_default();
            *ended = instance.generation.max(*ended);
        }
        self.groups.dirty = true;
    }

    /// A daemon here has dealt with its first event.
    pub(in super::super) fn learn_requirements(&mut self, now: Instant, id: DaemonId) {
        let Some(instance) = self.registry.get(id) else { return };
        if let (Some(kind), Some(place)) = (&instance.kind, instance.member) {
            let required = Required::new(&instance.requirements);
            if required.is_some_and(|required| self.groups.ledger.require(place.group, required)) {
                self.groups.look_by(now + LEARNED);
            }
            self.groups.requirements.insert(kind.clone(), instance.requirements.clone());
        }
    }
}
