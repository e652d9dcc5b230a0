//! Standbys: one daemon works, and nothing it worked off is told before those who stand by have it too.

mod going_on;
mod observing;
mod parted;
pub(in crate::meshos) mod syncing;
pub(in crate::meshos) mod taking;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use meshground_shared::{
    DaemonEnd, DaemonHealth, DaemonId, DaemonView, EventKind, GroupId, GroupKind, Lifecycle, Member, NodeId,
};

use self::parted::Parted;
use super::{super::MeshOs, leading::Counts};
use crate::{
    compute::{
        Luggage, Standing, WorkedOff,
        groups::{Census, Entry, Follower, Guard, Incarnation, Journal},
    },
    node::Node,
    time::{Instant, Now},
    wire::PIECE,
};

/// A standby that is silent for so long is waited for no longer than it takes the others to hear that, until it has
/// caught up.
const SILENCE: Duration = Duration::from_secs(1);

/// Whoever takes over waits so long at most for the last of what the one before it did, if that one is there.
pub(super) const HANDOVER: Duration = Duration::from_secs(5);

/// How long the leader waits for standbys to say what they hold.
const POLLED: Duration = Duration::from_secs(1);

/// After an answer that got nothing further, a standby is sent nothing for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// A standby that lacks no more events than this has caught up, and is waited for.
const NEAR: u64 = 256;

/// All nodes must have been here for so long before one that works goes by what it knows alone.
const REUNITED: Duration = Duration::from_secs(1);

/// What is known of standby groups here.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    journals: BTreeMap<GroupId, Journal>,
    /// Those whose daemon runs here, or ran here last.
    actives: BTreeMap<GroupId, Active>,
    /// Groups that this node is to take over.
    taking: BTreeMap<GroupId, Taking>,
    polls: BTreeMap<GroupId, Poll>,
    /// Those without whom nobody can be found to take a group over, as the last poll showed.
    awaited: BTreeMap<GroupId, BTreeSet<NodeId>>,
    parted: Parted,
    /// Where this node was last said to stand by.
    told: BTreeMap<DaemonId, DaemonView>,
}

impl Standbys {
    #[cfg(feature = "floor")]
    pub(super) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        use crate::{audit::Gauge, compute::groups::ledger::MAX_HELD};
        each(Gauge::new("journals", self.journals.len(), MAX_HELD + taking::MAX_AHEAD));
        each(Gauge::new("nodes that are gone", self.parted.len(), parted::MAX_PARTED));
    }

    /// The daemon that runs or last ran here, and its journal, unless that is somebody else's by now.
    fn active(&mut self, group: GroupId) -> Option<(&mut Active, &Journal)> {
        let (active, journal) = (self.actives.get_mut(&group)?, self.journals.get(&group)?);
        (journal.of == active.of).then_some((active, journal))
    }

    /// The group whose daemon this is, and its journal, if that goes on here.
    fn worked_by(&mut self, daemon: DaemonId) -> Option<(GroupId, &mut Active, &mut Journal)> {
        let (&group, active) = self.actives.iter_mut().find(|(_, active)| active.daemon == daemon)?;
        let journal = self.journals.get_mut(&group)?;
        let goes_on = !journal.sealed && journal.of == active.of;
        goes_on.then_some((group, active, journal))
    }

    /// What was asked of those who hold something of a group does not count any more.
    pub(super) fn end_poll(&mut self, group: GroupId) {
        self.polls.remove(&group);
    }

    /// Whoever does the work of a group is found.
    pub(super) fn is_found(&mut self, group: GroupId) {
        self.end_poll(group);
        self.awaited.remove(&group);
    }

    /// When something is to be sent again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let followers = self.actives.values().flat_map(|active| active.followers.values());
        followers.filter_map(|follower| follower.pause_until).min()
    }
}

#[derive(Debug)]
struct Active {
    daemon: DaemonId,
    /// The incarnation. A journal of another is not what it did.
    of: Incarnation,
    /// What was worked off and is not told yet, by number.
    unsynced: VecDeque<(u64, WorkedOff)>,
    /// Nobody is told anything before those who stand by have it up to here.
    hushed: Option<u64>,
    followers: BTreeMap<NodeId, Follower>,
    /// Which of them have to have an event before it is told of.
    guard: Guard,
    is_asking_state: bool,
}

impl Active {
    /// Has what is brought elsewhere with a state know what came of the events that the state has seen and nobody was told
    /// of yet.
    fn teach(&self, luggage: &mut Luggage) {
        for (_, WorkedOff { entry, .. }) in &self.unsynced {
            if let Some(receipt) = entry.receipt {
                luggage.inbox.learn(receipt, entry.outcome.clone());
            }
        }
    }
}

/// This node is to go on with the work of another.
#[derive(Debug)]
struct Taking {
    /// As what.
    of: Incarnation,
    since: Instant,
    /// Whoever was asked, and when last.
    asked: BTreeMap<NodeId, Instant>,
    census: Census,
}

/// The leader asks what standbys hold.
#[derive(Debug)]
struct Poll {
    until: Instant,
    asked: BTreeSet<NodeId>,
    waiting: BTreeSet<NodeId>,
    census: Census,
}

impl MeshOs {
    /// What a node says it holds of a standby group.
    pub(super) fn standing_at(&self, host: NodeId, group: GroupId) -> Option<&Standing> {
        let inventory = self.directory.get(host).filter(|_| self.groups.is_here(host))?;
        inventory.standings.iter().find(|standing| standing.group == group.0)
    }

    /// The groups that this node stands by for, or is counted on to, and at which place.
    pub(in crate::meshos) fn copies(&self) -> Vec<(GroupId, Option<u32>)> {
        let journals = &self.groups.standbys.journals;
        let copy = |(group, entry): (GroupId, &Entry)| {
            if entry.spec.kind != GroupKind::Standby {
                return None;
            }
            let mut places = entry.hosts().filter(|&(index, host)| index > 0 && host == self.local);
            let place = places.next().map(|(index, _)| index);
            // Whatever it worked off itself went along with the daemon.
            let held = journals.get(&group).filter(|it| it.base().is_some() && it.of.node != self.local);
            let counts = held.and_then(|it| it.in_sync.as_ref()).is_some_and(|set| set.has(self.local));
            (place.is_some() || counts).then_some((group, place))
        };
        self.groups.ledger.iter().filter_map(copy).collect()
    }

    /// Why a copy is still here at the end of a drain.
    pub(in crate::meshos) fn why_copy_stays(
        &self,
        now: Instant,
        node: &mut Node,
        group: GroupId,
        place: Option<u32>,
    ) -> String {
        let placed = place.and_then(|index| Some((index, self.groups.ledger.get(group)?)));
        let field =
            placed.map(|(index, entry)| self.field(now, node, group, entry, index, &Counts::default()));
        match field.filter(|field| field.candidates.is_empty()) {
            Some(field) => format!("has no other node for it: {}", field.why()),
            None => "is needed here until another has all of it".to_owned(),
        }
    }

    /// What this node holds, for its inventory.
    pub(in crate::meshos) fn standings(&self) -> Vec<Standing> {
        let standbys = &self.groups.standbys;
        let held = standbys.journals.iter().filter(|(_, journal)| journal.base().is_some() || journal.sealed);
        let standing = |(group, journal): (&GroupId, &Journal)| {
            let sealed = journal.sealed && journal.of.node == self.local;
            let held = journal.holds().map_or(Incarnation::NONE, |(of, _)| of);
            Standing {
                group: group.0,
                of: if sealed { journal.of } else { held },
                end: journal.end(),
                sealed,
            }
        };
        held.map(standing).collect()
    }

    /// Does what time asks for in standby groups here.
    pub(super) fn mind_standbys(&mut self, now: Now, node: &mut Node) {
        self.miss_unmet(now.instant, node);
        let groups: Vec<GroupId> = self.groups.standbys.actives.keys().copied().collect();
        for group in groups {
            let Some(entry) = self.groups.ledger.get(group) else { continue };
            let hosts: BTreeSet<NodeId> =
                entry.hosts().map(|(_, host)| host).filter(|host| *host != self.local).collect();
            let standbys = &mut self.groups.standbys;
            let Some(active) = standbys.actives.get_mut(&group) else { continue };
            let presence = &self.groups.presence;
            let is_here = |host: &NodeId| presence.get(host).is_some_and(|presence| presence.is_here);
            // Whoever was in sync keeps what it has until it hears that it is no more.
            let parted = &standbys.parted;
            active.followers.retain(|host, follower| {
                let is_in_sync = active.guard.has(*host);
                follower.was_in_sync |= is_in_sync;
                let told = active.guard.told_to(*host).map_or(0, |told| told.version_of(active.of));
                let is_unaware = follower.knows < told && !follower.has_resigned;
                let is_awaited = follower.was_in_sync && !parted.contains(host);
                let owes = is_unaware && (is_awaited || (follower.have.is_some() && is_here(host)));
                hosts.contains(host) || is_in_sync || owes
            });
            for host in hosts.iter().copied().chain(active.guard.others()) {
                active.followers.entry(host).or_insert_with(|| Follower::new(now.instant));
            }
            for (host, follower) in &mut active.followers {
                if !is_here(host) || now.instant.saturating_since(follower.heard) >= SILENCE {
                    follower.counts = false;
                }
            }
            let wants_state = standbys
                .journals
                .get(&group)
                .is_some_and(|journal| !journal.sealed && (journal.is_long() || journal.needs_own_state()));
            if wants_state && !active.is_asking_state {
                let daemon = active.daemon;
                active.is_asking_state = self.registry.take_state(daemon, false);
            }
            self.sync(now, node, group);
        }
        let held = self.groups.standbys.journals.iter().filter(|(_, journal)| journal.base().is_some());
        let spare: BTreeSet<GroupId> =
            held.map(|(&group, _)| group).filter(|it| self.is_spare(*it)).collect();
        let (ledger, local) = (&self.groups.ledger, self.local);
        let is_mine = |group: &GroupId| {
            ledger.get(*group).is_some_and(|entry| entry.hosts().any(|(_, host)| host == local))
        };
        let standbys = &mut self.groups.standbys;
        // Whoever gave the work away stays until it has given all, or those follow whoever has it.
        let registry = &self.registry;
        standbys.actives.retain(|group, active| {
            let done = active.followers.values().all(|follower| follower.knows_end);
            let moved = registry.get(active.daemon).is_none();
            let journal = standbys.journals.get(group);
            let is_its = journal.is_some_and(|journal| journal.of == active.of);
            let sealed = journal.is_none_or(|journal| journal.sealed);
            ledger.get(*group).is_some() && is_its && !((sealed || moved) && done)
        });
        // Somebody may need what was in sync, also where it is not to be any more; or what whoever took over holds alone for now.
        let is_needed = |group: &GroupId, journal: &Journal| {
            let was_in_sync = journal.in_sync.as_ref().is_some_and(|it| it.has(local));
            let is_spare = journal.base().is_none() || spare.contains(group);
            ledger.get(*group).is_some() && (was_in_sync || !is_spare)
        };
        standbys.journals.retain(|group, journal| {
            let keeps = is_mine(group) || standbys.actives.contains_key(group) || is_needed(group, journal);
            if !keeps && journal.base().is_some() {
                journal.forget();
            }
            // What it promised of a group before it hears of that counts as well.
            keeps || (!ledger.is_gone(*group) && journal.is_bound())
        });
        standbys.taking.retain(|group, _| is_mine(group));
        standbys.polls.retain(|group, _| ledger.get(*group).is_some());
        standbys.awaited.retain(|group, _| ledger.get(*group).is_some());
        self.tell_standbys();
    }

    /// Whether what a node holds of a group that is not to stand by for it is needed no more: somebody else does, and has all
    /// that whoever does the work now went on from. Until then a crash of that one could lose what it was told of as well.
    fn is_spare(&self, group: GroupId) -> bool {
        let Some(entry) = self.groups.ledger.get(group) else { return true };
        let (at, active) = (entry.slot(0).host, entry.slot(0).incarnation());
        // Whoever has just been given the work may have its place as a standby still.
        let mut standbys = entry.hosts().filter(|&(index, host)| index > 0 && Some(host) != at);
        entry.spec.desired == 1
            || standbys.any(|(_, host)| self.standing_at(host, group).is_some_and(|it| it.of >= active))
    }

    /// Tells of the places at which this node began or ceased to stand by.
    fn tell_standbys(&mut self) {
        let mut stands = BTreeMap::new();
        for (&group, journal) in &self.groups.standbys.journals {
            let Some(entry) = self.groups.ledger.get(group) else { continue };
            let active = entry.slot(0).incarnation();
            let holds = journal.holds().is_some_and(|(of, _)| of >= active);
            let place = entry.hosts().find(|&(index, host)| index > 0 && host == self.local);
            if let Some((index, _)) = place.filter(|_| holds) {
                let daemon = DaemonView {
                    id: entry.member(index),
                    name: entry.spec.daemon.clone(),
                    kind: Some(entry.spec.daemon.clone()),
                    lifecycle: Lifecycle::Standby,
                    health: DaemonHealth::Healthy,
                    saturation: 0,
                    restarts: 0,
                    processed: 0,
                    member: Some(Member { group, index }),
                    generation: active.generation,
                };
                stands.insert(entry.member(index), (daemon, entry.cause()));
            }
        }
        let before = std::mem::take(&mut self.groups.standbys.told);
        for (&daemon, view) in before.iter().filter(|(daemon, _)| !stands.contains_key(daemon)) {
            let entry = view.member.and_then(|member| self.groups.ledger.get(member.group));
            let cause = entry.and_then(Entry::cause);
            self.happened(EventKind::DaemonGone { daemon, reason: DaemonEnd::Superseded }, cause);
        }
        for (id, (daemon, cause)) in &stands {
            if before.get(id) != Some(daemon) {
                self.happened(EventKind::DaemonChanged { daemon: daemon.clone() }, *cause);
            }
        }
        self.groups.standbys.told = stands.into_iter().map(|(id, (daemon, _))| (id, daemon)).collect();
    }

    /// A node is there, in this life. What it held in another it has forgotten, and nobody may have anything new to send it
    /// by which that would be seen.
    pub(in crate::meshos) fn standby_met(&mut self, node: NodeId, life: u64) {
        let standbys = &mut self.groups.standbys;
        standbys.parted.remove(node);
        for active in standbys.actives.values_mut() {
            if let Some(follower) = active.followers.get_mut(&node)
                && follower.life != 0
                && follower.life != life
            {
                (follower.have, follower.base_at, follower.offset) = (None, 0, 0);
                follower.counts = false;
                self.groups.dirty = true;
            }
        }
    }

    /// A node is gone for good, or long silent: nobody waits for what it may hold.
    pub(in crate::meshos) fn standby_parted(&mut self, node: NodeId) {
        if self.groups.ledger.is_empty() {
            return;
        }
        let Standbys { journals, actives, taking, polls, awaited, parted, .. } = &mut self.groups.standbys;
        let ledger = &self.groups.ledger;
        parted.insert(node, |node| {
            let is_host = |entry: &Entry| entry.hosts().any(|(_, host)| host == node);
            let census = taking.values().map(|taking| &taking.census);
            let mut censuses = census.chain(polls.values().map(|poll| &poll.census));
            ledger.iter().any(|(_, entry)| is_host(entry))
                || actives.values().any(|it| it.guard.has(node) || it.followers.contains_key(&node))
                || journals.values().any(|it| it.in_sync.as_ref().is_some_and(|set| set.names(node)))
                || censuses.any(|census| census.known().any(|set| set.names(node)))
                || awaited.values().any(|nodes| nodes.contains(&node))
        });
        self.groups.dirty = true;
    }

    /// Has what a daemon takes along to another node say what others are not told of yet, and who has to have that before
    /// they are.
    pub(in crate::meshos) fn pack_standing(&self, daemon: DaemonId, luggage: &mut Luggage) {
        let mut actives = self.groups.standbys.actives.values();
        let Some(active) = actives.find(|active| active.daemon == daemon) else { return };
        luggage.in_sync = active.guard.chain().to_vec();
        // Without any of them nobody has to: whoever sends it is told nothing, rather than too much.
        if !luggage.in_sync.is_empty() {
            active.teach(luggage);
        }
    }

    /// Nothing is held of a group any more.
    pub(super) fn forget_standby(&mut self, group: GroupId) {
        let standbys = &mut self.groups.standbys;
        standbys.journals.remove(&group);
        standbys.actives.remove(&group);
        standbys.polls.remove(&group);
        standbys.awaited.remove(&group);
        standbys.taking.remove(&group);
    }
}
