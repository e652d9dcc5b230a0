//! Who does the work of a standby group: promoting, taking over, and giving up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use meshground_shared::{CommandId, DaemonEnd, DaemonId, GroupId, GroupKind, NodeId};

use super::{
    super::{
        super::{
            Action, MeshOs, Ticket,
            desk::{Asked, POLL, answer},
        },
        asking::Wanted,
    },
    Active, HANDOVER, POLLED, Poll, follower,
};
use crate::{
    compute::{
        SpawnOrder,
        groups::{Entry, Follower, GroupError, Journal, choose},
    },
    node::Node,
    rpc::{CallError, CallId},
    time::{Instant, Now},
    wire,
};

impl MeshOs {
    /// Hands the work of a standby group over to another of its nodes, or to the one that holds most. Everything worked
    /// off goes along. [`Settlement::Group`](crate::Settlement::Group) follows.
    ///
    /// # Errors
    /// When there is nobody it could go to.
    pub fn promote(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        to: Option<NodeId>,
        cause: Option<CommandId>,
    ) -> Result<Ticket, GroupError> {
        if self.is_frozen() {
            return Err(GroupError::Frozen);
        }
        self.survey(now.instant, node);
        let entry = self.groups.ledger.get(group).ok_or(GroupError::NotFound(group))?;
        if entry.spec.kind != GroupKind::Standby {
            return Err(GroupError::WrongKind("only standby groups have somebody to promote".to_owned()));
        }
        let active = entry.slot(0);
        let ready = entry.hosts().filter(|&(index, host)| {
            index > 0 && Some(host) != active.host && to.is_none_or(|to| to == host)
        });
        let ready = ready.filter_map(|(index, host)| {
            let standing = self.standing_at(host, group)?;
            (standing.generation >= active.generation).then_some((standing.end, index, host))
        });
        let Some((_, index, host)) = ready.max() else {
            let why = "no other of its nodes holds the present state".to_owned();
            return Err(GroupError::PlacementFailed { wanted: 1, found: 0, why });
        };
        if let Some(entry) = self.groups.ledger.get_mut(group) {
            entry.spec.cause = cause.map(|cause| cause.0).or(entry.spec.cause);
            entry.place(0, Some(host));
            entry.place(index, active.host);
        }
        let before = self.groups.ledger.get(group).map_or(1, |entry| entry.spec.desired);
        Ok(self.await_group(now, node, group, Wanted::Scale { before }))
    }

    /// Starts the daemon of a standby group here, from what is held of it.
    pub(in crate::meshos::grouping) fn start_active(&mut self, now: Now, group: GroupId, entry: &Entry) {
        let (id, slot) = (entry.member(0), entry.slot(0));
        let since = self.groups.standbys.taking.entry(group).or_insert((slot.generation, now.instant));
        if since.0 != slot.generation {
            *since = (slot.generation, now.instant);
        }
        let waited = now.instant.saturating_since(since.1);
        let journal = self.groups.standbys.journals.get(&group);
        let resumed = journal.and_then(|journal| Some((journal, journal.resume()?)));
        let (luggage, events) = match resumed {
            Some((journal, resumed)) => {
                let life = self.directory.get(journal.source).map(|inventory| inventory.life);
                let more_comes = !journal.sealed
                    && journal.source != self.local
                    && self.groups.is_here(journal.source)
                    && life == Some(journal.life);
                if more_comes && waited < HANDOVER {
                    return;
                }
                (Some(resumed.0), resumed.1)
            }
            // Somebody else may hold what it had done. Who looks after the group finds out.
            None if slot.generation <= entry.begun => return,
            None => (None, Vec::new()),
        };
        // It goes on from what it is now, also if it is made anew.
        let is_fresh = luggage.is_none();
        let order = SpawnOrder {
            keypair: entry.keypair(0),
            kind: Some(entry.spec.daemon.clone()),
            args: entry.spec.args.clone(),
            member: Some(entry.group_place(group, 0)),
            generation: slot.generation,
            cause: entry.cause(),
            luggage,
            held: true,
        };
        if self.registry.spawn(now.instant, order, None).is_err() {
            self.groups.ended.insert(id, slot.generation);
            return;
        }
        self.record(now, Action::StartDaemon { daemon: id });
        self.registry.stand(id);
        self.registry.work_again(id, events);
        self.registry.release(id);
        let (local, life) = (self.local, self.life);
        if is_fresh {
            self.groups.standbys.journals.insert(group, Journal::new(slot.generation, local, life));
        } else if let Some(journal) = self.groups.standbys.journals.get_mut(&group) {
            journal.go_on(slot.generation, local, life);
        }
        self.begin_active(now.instant, group, entry, id);
    }

    pub(super) fn begin_active(&mut self, now: Instant, group: GroupId, entry: &Entry, daemon: DaemonId) {
        let hosts = entry.hosts().map(|(_, host)| host).filter(|host| *host != self.local);
        let followers = hosts
            .map(|host| (host, Follower { counts: self.groups.is_here(host), ..follower(now) }))
            .collect();
        let generation = self.groups.standbys.journals.get(&group).map_or(0, |journal| journal.generation);
        let active =
            Active { daemon, generation, unsynced: VecDeque::new(), followers, is_asking_state: false };
        self.groups.standbys.actives.insert(group, active);
        if let Some(known) = self.groups.ledger.get_mut(group) {
            known.begun = known.begun.max(entry.slot(0).generation);
        }
    }

    /// The daemon of a standby group runs here under another generation than its journal says, or without one: as after
    /// a move.
    pub(in crate::meshos::grouping) fn keep_active(&mut self, now: Instant, group: GroupId, id: DaemonId) {
        let Some(entry) = self.groups.ledger.get(group).cloned() else { return };
        let Some(generation) = self.registry.get(id).map(|instance| instance.generation) else { return };
        let journal = self.groups.standbys.journals.get(&group);
        let is_kept = self.groups.standbys.actives.contains_key(&group)
            && journal.is_some_and(|journal| journal.generation == generation && !journal.sealed);
        if is_kept {
            return;
        }
        self.registry.stand(id);
        // What nobody was told of yet is not told before the others have it from this journal.
        let before = self.groups.standbys.actives.remove(&group);
        let unsynced = before.filter(|active| active.daemon == id).map(|active| active.unsynced);
        let mut journal = Journal::new(generation, self.local, self.life);
        let unsynced = unsynced.into_iter().flatten().map(|(_, worked)| {
            journal.append(worked.entry.clone());
            (journal.end(), worked)
        });
        let unsynced = unsynced.collect();
        self.groups.standbys.journals.insert(group, journal);
        self.begin_active(now, group, &entry, id);
        if let Some(active) = self.groups.standbys.actives.get_mut(&group) {
            active.unsynced = unsynced;
        }
    }

    /// The daemon of a standby group ends here and goes on elsewhere, with all it has done.
    pub(in crate::meshos) fn seal(&mut self, now: Now, id: DaemonId, end: DaemonEnd) {
        let mut actives = self.groups.standbys.actives.iter();
        let group = actives.find(|(_, active)| active.daemon == id).map(|(&group, _)| group);
        let generation = self.registry.get(id).map(|instance| instance.generation);
        let is_member = self.registry.get(id).and_then(|instance| instance.member).is_some_and(|place| {
            let entry = self.groups.ledger.get(place.group);
            entry.is_some_and(|entry| entry.spec.kind == GroupKind::Standby)
        });
        if !is_member {
            return;
        }
        let journal = group.and_then(|group| self.groups.standbys.journals.get_mut(&group));
        if let Some(journal) = journal.filter(|journal| Some(journal.generation) == generation) {
            journal.sealed = true;
        }
        self.registry.take_out(id, end);
        self.groups.dirty = true;
        self.say_soon(now);
    }

    /// Finds whoever is to go on with the work of a group whose daemon is lost. `Err` says why nobody can; `Ok` that
    /// somebody does, or may soon.
    pub(in crate::meshos::grouping) fn replace_active(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: &mut Entry,
    ) -> Result<(), String> {
        let hosts: BTreeSet<NodeId> = entry.hosts().map(|(_, host)| host).collect();
        if !self.groups.standbys.polls.contains_key(&group) {
            let waiting = hosts.iter().copied().filter(|host| self.groups.is_here(*host)).collect();
            let poll = Poll { until: now.instant + POLLED, waiting, said: BTreeMap::new() };
            for &host in &poll.waiting {
                if host != self.local {
                    self.ask(now, node, host, POLL, wire::encode(&group.0), Asked::Poll { group, of: host });
                }
            }
            self.groups.standbys.polls.insert(group, poll);
        }
        let own = self.holding(group);
        let Some(poll) = self.groups.standbys.polls.get_mut(&group) else { return Ok(()) };
        if poll.waiting.remove(&self.local)
            && let Some(own) = own
        {
            poll.said.insert(self.local, own);
        }
        if !poll.waiting.is_empty() && poll.until > now.instant {
            return Ok(());
        }
        let said = std::mem::take(&mut poll.said);
        self.groups.standbys.polls.remove(&group);
        let best = said.iter().filter(|(host, _)| self.groups.is_here(**host)).max_by_key(|(host, holds)| {
            // Where it just crashed comes last of those that hold the same.
            (**holds, !self.is_refused(now.instant, group, 0, **host), **host)
        });
        if let Some((&host, _)) = best {
            entry.place(0, Some(host));
            let also = entry.hosts().find(|&(index, its)| index > 0 && its == host);
            if let Some((index, _)) = also {
                entry.place(index, None);
            }
            return Ok(());
        }
        if let Some(away) = hosts.iter().find(|host| !self.groups.is_here(**host)) {
            return Err(format!("nobody that can be reached holds its state; node {away} may"));
        }
        // All are there, and none holds anything: what it had done is lost, and it begins anew.
        let field = self.field(now.instant, node, group, entry, 0);
        match choose(group, 0, &field.candidates) {
            Some(host) => {
                entry.place(0, Some(host));
                Ok(())
            }
            None => Err(self.lament(entry, 0, &field)),
        }
    }

    /// What this node holds of a group.
    pub(super) fn holding(&self, group: GroupId) -> Option<(u64, u64)> {
        self.groups.standbys.journals.get(&group)?.holds()
    }

    /// Whoever looks after a group asks what this node holds of it.
    pub(in crate::meshos) fn on_poll(&mut self, now: Now, node: &mut Node, call: CallId, body: &[u8]) {
        let holds = wire::decode::<u64>(body).ok().and_then(|group| self.holding(GroupId(group)));
        answer(now, node, call, &wire::encode(&holds));
    }

    pub(in crate::meshos) fn on_polled(
        &mut self,
        group: GroupId,
        of: NodeId,
        said: &Result<Vec<u8>, CallError>,
    ) {
        let Some(poll) = self.groups.standbys.polls.get_mut(&group) else { return };
        // One that cannot be asked now is waited for no longer than the others.
        let Ok(said) = said else { return };
        poll.waiting.remove(&of);
        let holds = Some(said).and_then(|body| wire::decode::<Option<(u64, u64)>>(body).ok());
        if let Some(holds) = holds.flatten() {
            poll.said.insert(of, holds);
        }
        self.groups.dirty = true;
    }
}
