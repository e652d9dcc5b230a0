//! Who does the work of a standby group: promoting, taking over, and giving up.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map};

use meshground_shared::{CommandId, DaemonEnd, DaemonId, GroupId, GroupKind, NodeId};

use super::{
    super::{
        super::{
            MeshOs, Ticket,
            desk::{Asked, POLL, answer},
        },
        asking::Wanted,
        leading::Counts,
    },
    Active, POLLED, Poll, Taking,
    parted::MAX_PARTED,
};
use crate::{
    compute::{
        SpawnOrder, generation,
        groups::{
            Census, Entry, Follower, GroupError, Guard, Holding, InSync, Incarnation, Journal, choose,
            ledger::MAX_HELD,
        },
    },
    node::Node,
    rpc::{CallError, CallId},
    time::{Instant, Now},
    wire,
};

/// Of so many groups at most that it does not know a node keeps what it has promised.
pub(super) const MAX_AHEAD: usize = MAX_HELD;

/// What [`POLL`] asks: the group, and the generation under which whoever asks is to go on, if it is.
pub(in crate::meshos) type Question = (u64, Option<u64>);

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
            (standing.of >= active.incarnation()).then_some((standing.end, index, host))
        });
        let Some((_, index, host)) = ready.max() else {
            let why = "no other of its nodes holds the present state".to_owned();
            return Err(GroupError::PlacementFailed { wanted: 1, found: 0, why });
        };
        let local = self.local;
        if let Some(entry) = self.groups.ledger.get_mut(group) {
            if let Some(cause) = cause {
                entry.respecify(local, |spec| spec.cause = Some(cause.0));
            }
            entry.hand_over(host);
            entry.place(index, active.host);
        }
        let before = self.groups.ledger.get(group).map_or(1, |entry| entry.spec.desired);
        Ok(self.await_group(now, node, group, Wanted::Scale { before }))
    }

    /// Starts the daemon of a standby group here, from what is held of it.
    pub(in crate::meshos::grouping) fn start_active(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: &Entry,
    ) {
        let (id, slot) = (entry.member(0), entry.slot(0));
        let of = Incarnation::new(slot.generation, self.local);
        let begun = || Taking { of, since: now.instant, asked: BTreeMap::new(), census: Census::default() };
        let taking = self.groups.standbys.taking.entry(group).or_insert_with(begun);
        if taking.of != of {
            *taking = begun();
        }
        let waited = now.instant.saturating_since(taking.since);
        if !self.may_go_on(now, node, group, of, waited) {
            return;
        }
        let own = self.holding(group);
        let journal = self.groups.standbys.journals.get_mut(&group);
        let (luggage, events) = match journal.as_deref().and_then(Journal::resume) {
            Some((luggage, events)) => (Some(luggage), events),
            None if journal.as_deref().is_some_and(|journal| journal.base().is_some()) => {
                // What cannot be read is no state, and no reason to begin one that others would then give theirs up for.
                journal.into_iter().for_each(Journal::forget);
                return;
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
        self.registry.stand(id);
        self.registry.work_again(id, events);
        self.registry.release(id);
        let life = self.life;
        if is_fresh {
            let journal = self.groups.standbys.journals.entry(group);
            let journal = journal.or_insert_with(|| Journal::new(of, life));
            journal.begin_anew(of, life);
        } else if let Some(journal) = self.groups.standbys.journals.get_mut(&group) {
            journal.go_on(of, life);
        }
        let mut census =
            self.groups.standbys.taking.remove(&group).map_or_else(Census::default, |it| it.census);
        census.say(self.local, own);
        self.begin_active(now.instant, group, entry, id, census.sets().cloned().collect());
    }

    pub(super) fn begin_active(
        &mut self,
        now: Instant,
        group: GroupId,
        entry: &Entry,
        daemon: DaemonId,
        before: Vec<InSync>,
    ) {
        let hosts = entry.hosts().map(|(_, host)| host).filter(|host| *host != self.local);
        let followers = hosts.map(|host| (host, Follower::new(now))).collect();
        let journal = self.groups.standbys.journals.get(&group);
        let of = journal.map_or(Incarnation::NONE, |journal| journal.of);
        let told_of = journal.map_or(0, Journal::end);
        // Some of what it went on from may be known to nobody else, and none of that may be told.
        self.registry.hush(daemon, true);
        let active = Active {
            daemon,
            of,
            unsynced: VecDeque::new(),
            hushed: Some(told_of),
            followers,
            guard: Guard::new(of, self.life, before, told_of),
            is_asking_state: false,
        };
        self.groups.standbys.actives.insert(group, active);
        if let Some(known) = self.groups.ledger.get_mut(group) {
            known.begun = known.begun.max(entry.slot(0).generation);
        }
    }

    /// The daemon of a standby group runs here under another generation than its journal says, or without one: as after
    /// a move.
    pub(in crate::meshos::grouping) fn keep_active(&mut self, now: Instant, group: GroupId, id: DaemonId) {
        let Some(entry) = self.groups.ledger.get(group).cloned() else { return };
        let Some(instance) = self.registry.get(id) else { return };
        let (of, mut in_sync) = (Incarnation::new(instance.generation, self.local), instance.in_sync.clone());
        let journal = self.groups.standbys.journals.get(&group);
        let is_kept = self.groups.standbys.actives.contains_key(&group)
            && journal.is_some_and(|journal| journal.of == of && !journal.sealed);
        // Somebody took over while it was on its way here. The ledger says so, and what is held is theirs.
        let is_over = journal.is_some_and(|journal| journal.of > of || journal.is_fenced(of));
        if is_over {
            // Unless it was promised to whoever did before this node knew the group.
            return self.observe(group, journal.map_or(Incarnation::NONE, Journal::promised));
        }
        if is_kept {
            return;
        }
        self.registry.stand(id);
        // What nobody was told of yet is not told before the others have it from this journal.
        let last = self.groups.standbys.actives.remove(&group);
        in_sync.extend(last.iter().flat_map(|active| active.guard.chain()).cloned());
        in_sync.extend(journal.and_then(|journal| journal.in_sync.clone()));
        in_sync.sort_unstable();
        in_sync.dedup();
        let unsynced = last.filter(|active| active.daemon == id).map(|active| active.unsynced);
        let journal = self.groups.standbys.journals.remove(&group);
        let mut journal = journal.unwrap_or_else(|| Journal::new(of, self.life));
        journal.begin_anew(of, self.life);
        journal.note(in_sync.last().cloned());
        let unsynced = unsynced.into_iter().flatten().map(|(_, worked)| {
            journal.append(worked.entry.clone());
            (journal.end(), worked)
        });
        let unsynced = unsynced.collect();
        self.groups.standbys.journals.insert(group, journal);
        self.begin_active(now, group, &entry, id, in_sync);
        if let Some(active) = self.groups.standbys.actives.get_mut(&group) {
            active.unsynced = unsynced;
        }
    }

    /// The daemon of a standby group ends here and goes on elsewhere, with all it has done.
    pub(in crate::meshos) fn seal(&mut self, now: Now, id: DaemonId, end: DaemonEnd) {
        let mut actives = self.groups.standbys.actives.iter();
        let group = actives.find(|(_, active)| active.daemon == id).map(|(&group, _)| group);
        let generation = self.registry.get(id).map(|instance| instance.generation);
        let of = generation.map(|generation| Incarnation::new(generation, self.local));
        let is_member = self.registry.get(id).and_then(|instance| instance.member).is_some_and(|place| {
            let entry = self.groups.ledger.get(place.group);
            entry.is_some_and(|entry| entry.spec.kind == GroupKind::Standby)
        });
        if !is_member {
            return;
        }
        let journal = group.and_then(|group| self.groups.standbys.journals.get_mut(&group));
        if let (Some(journal), Some(of)) = (journal.filter(|journal| Some(journal.of) == of), of) {
            journal.sealed = true;
            let next = group.and_then(|group| self.groups.ledger.get(group)).map(|entry| entry.slot(0));
            let next = next.filter(|next| next.incarnation().continues(of)).and_then(|next| next.host);
            // With more than one set open, whoever goes on has to ask those of all of them.
            let active = group.and_then(|group| self.groups.standbys.actives.get(&group));
            let next = next.filter(|_| active.is_some_and(|active| active.guard.is_settled()));
            let life = |node| self.directory.get(node).map(|inventory| inventory.life);
            journal.heir = next.and_then(|node| Some((node, life(node)?)));
        }
        self.registry.take_out(id, end);
        self.groups.dirty = true;
        self.say_soon(now);
    }

    /// Finds whoever is to go on with the work of a group whose daemon is lost, and puts it there in `entry`. `None` if
    /// somebody may soon; `Err` says why nobody can. What was asked for that is kept until the [end of the
    /// poll](super::Standbys::end_poll).
    pub(in crate::meshos::grouping) fn replace_active(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: &mut Entry,
    ) -> Result<Option<NodeId>, String> {
        let hosts: BTreeSet<NodeId> = entry.hosts().map(|(_, host)| host).collect();
        if let btree_map::Entry::Vacant(vacant) = self.groups.standbys.polls.entry(group) {
            vacant.insert(Poll {
                until: now.instant + POLLED,
                asked: BTreeSet::new(),
                waiting: BTreeSet::new(),
                census: Census::default(),
            });
            let here = hosts.iter().copied().filter(|host| self.groups.is_here(*host)).collect();
            self.poll(now, node, group, here);
        }
        let all = self.all_nodes(group);
        let Some(poll) = self.groups.standbys.polls.get(&group) else { return Ok(None) };
        if !poll.waiting.is_empty() && poll.until > now.instant {
            return Ok(None);
        }
        let parted = &self.groups.standbys.parted;
        let mut missing = poll.census.missing(&all, |node| parted.contains(&node));
        if missing.is_empty() && poll.census.holders().next().is_none() {
            // Whoever holds something need not be known here as one that is to.
            let all = all.into_iter();
            missing = all.filter(|node| !poll.census.has(*node) && !parted.contains(node)).collect();
        }
        // Those who were in sync need not be those who are to be.
        let others: BTreeSet<NodeId> = missing.difference(&poll.asked).copied().collect();
        if !others.is_empty() && others.iter().all(|node| self.groups.is_here(*node)) {
            self.poll(now, node, group, others);
            return Ok(None);
        }
        if let Some(&away) = missing.first() {
            let awaited = self.groups.standbys.awaited.entry(group).or_default();
            // One answer that is late must not have the wait for those it names begin anew.
            if awaited.len() < MAX_PARTED {
                awaited.extend(missing);
            }
            return Err(format!("node {away} may hold more of its state than those that can be reached"));
        }
        let census = &poll.census;
        let best =
            census.holders().filter(|(host, _)| self.groups.is_here(*host)).max_by_key(|(host, holds)| {
                // Where it just crashed comes last of those that hold the same.
                (*holds, !self.is_refused(now.instant, group, 0, *host), *host)
            });
        if let Some((host, _)) = best {
            entry.place(0, Some(host));
            let also = entry.hosts().find(|&(index, its)| index > 0 && its == host);
            if let Some((index, _)) = also {
                entry.place(index, None);
            }
            return Ok(Some(host));
        }
        // All have been asked, and none holds anything: what it had done is lost, and it begins anew.
        let field = self.field(now.instant, node, group, entry, 0, &Counts::default());
        match choose(group, 0, &field.candidates) {
            Some(host) => {
                entry.place(0, Some(host));
                Ok(Some(host))
            }
            None => Err(self.lament(entry, 0, &field)),
        }
    }

    /// Asks these what they hold of a group.
    fn poll(&mut self, now: Now, node: &mut Node, group: GroupId, whom: BTreeSet<NodeId>) {
        let own = self.holding(group);
        for host in whom {
            let Some(poll) = self.groups.standbys.polls.get_mut(&group) else { return };
            poll.asked.insert(host);
            if host == self.local {
                poll.census.say(host, own.clone());
            } else {
                poll.waiting.insert(host);
                let question: Question = (group.0, None);
                self.ask(now, node, host, POLL, wire::encode(&question), Asked::Poll { group, host });
            }
        }
    }

    /// What this node holds of a group.
    pub(super) fn holding(&self, group: GroupId) -> Holding {
        let nothing = Holding { life: self.life, upto: None, in_sync: None };
        let journal = self.groups.standbys.journals.get(&group);
        journal.map_or(nothing, |journal| journal.holding(self.life))
    }

    /// Whoever looks after a group asks what this node holds of it, or whoever is to go on with it.
    pub(in crate::meshos) fn on_poll(&mut self, now: Now, node: &mut Node, call: CallId, body: &[u8]) {
        let question = wire::decode::<Question>(body).ok();
        let question = question.filter(|(_, claim)| claim.is_none_or(|claim| claim <= generation::LAST));
        let Some((group, claim)) = question else {
            _ = node.end_reply(now, call, Err(CallError::Malformed));
            return;
        };
        let group = GroupId(group);
        if let Some(by) = claim.map(|generation| Incarnation::new(generation, call.peer)) {
            if !self.promise(group, by) {
                // It is asked again.
                _ = node.end_reply(now, call, Err(CallError::Failed));
                return;
            }
            self.observe(group, by);
        }
        answer(now, node, call, &wire::encode(&self.holding(group)));
    }

    /// From now on this node listens to no incarnation before `by`, also of a group that it does not know: it may never hear
    /// of that, or only after it is asked. Whether it can promise that.
    pub(super) fn promise(&mut self, group: GroupId, by: Incarnation) -> bool {
        let (ledger, journals) = (&self.groups.ledger, &self.groups.standbys.journals);
        match ledger.get(group).map(|entry| entry.spec.kind) {
            Some(GroupKind::Standby) => {}
            // Nobody brings this node anything of it.
            Some(_) => return true,
            None => {
                if ledger.is_gone(group) {
                    return false;
                }
                let ahead =
                    journals.iter().filter(|(other, _)| ledger.get(**other).is_none() && **other != group);
                if ahead.clone().count() >= MAX_AHEAD {
                    // One whose claimer is gone for good gives way.
                    let parted = &self.groups.standbys.parted;
                    let mut owed_to_none =
                        ahead.filter(|(_, journal)| parted.contains(&journal.promised().node));
                    let Some(other) = owed_to_none.next().map(|(&other, _)| other) else { return false };
                    self.groups.standbys.journals.remove(&other);
                }
            }
        }
        let journals = &mut self.groups.standbys.journals;
        journals.entry(group).or_insert_with(|| Journal::new(Incarnation::NONE, self.life)).fence(by);
        true
    }

    pub(in crate::meshos) fn on_polled(
        &mut self,
        group: GroupId,
        host: NodeId,
        said: &Result<Vec<u8>, CallError>,
    ) {
        let Some(poll) = self.groups.standbys.polls.get_mut(&group) else { return };
        // One that cannot be asked now is waited for no longer than the others.
        if said.is_err() {
            return;
        }
        poll.waiting.remove(&host);
        if let Some(holding) = read(said) {
            poll.census.say(host, holding);
        }
        self.groups.dirty = true;
    }
}

/// What somebody says that it holds.
pub(super) fn read(said: &Result<Vec<u8>, CallError>) -> Option<Holding> {
    let holding = said.as_ref().ok().and_then(|body| wire::decode::<Holding>(body).ok())?;
    holding.in_sync.as_ref().is_none_or(InSync::is_sound).then_some(holding)
}
