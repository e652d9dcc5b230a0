//! Groups: asking for them, and what every node does about those there are.
//!
//! Every node holds the whole [`Ledger`]. One looks after each group: it places the members. Every node starts and stops
//! what the ledger places on it.

mod asking;
mod balancing;
mod commanding;
pub(super) mod forking;
mod hosting;
mod leading;
pub(super) mod standing;
mod viewing;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{CommandId, DaemonId, EventKind, GroupId, GroupView, NodeId};

pub use self::asking::GroupRequest;
#[cfg(feature = "floor")]
use self::forking::MAX_KEPT;
use self::{
    asking::Pending, balancing::Relocation, commanding::Eviction, forking::Forks, standing::Standbys,
};
use super::{Avoided, MeshOs, Ticket, dispatching::Look};
#[cfg(feature = "floor")]
use crate::{
    audit::Gauge,
    compute::groups::ledger::{MAX_GONE, MAX_HELD, MAX_SAID},
};
use crate::{
    capability::Filter,
    compute::{
        MigrateError,
        groups::{Claim, Entry, Ledger, Slot, rank},
    },
    node::Node,
    record::Topic,
    time::{Instant, Now},
};

/// A node that cannot be reached is given so long to come back before its part is given to others: the failure
/// detector has waited for it already.
const GRACE: Duration = Duration::from_millis(300);

/// And so long if it was never reached from here, as when this node has just begun.
const FIRST_GRACE: Duration = Duration::from_secs(3);

/// What others say of their daemons, and who comes and goes, is looked at within this for each node known: a look goes over
/// all of them.
const LOOK_A_NODE: Duration = Duration::from_micros(200);

/// Where a node is, as far as this one can tell.
#[derive(Debug, Clone, Copy)]
struct Presence {
    is_here: bool,
    /// Since when that is so.
    since: Instant,
    was_here: bool,
}

/// A node on which a member did not start or stay.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    until: Instant,
    pause: Duration,
    /// The generation under which that was.
    of: u64,
    /// What happened there, to go on "member 1 of group 2".
    why: &'static str,
    /// Somebody commanded that this be forgotten: until it fails there again, nothing keeps it from there.
    pardoned: bool,
}

/// What a node knows of groups, and has to do with them.
#[derive(Debug, Default)]
pub(super) struct Groups {
    ledger: Ledger,
    presence: BTreeMap<NodeId, Presence>,
    refusals: BTreeMap<(GroupId, u32, NodeId), Refusal>,
    /// Members that signed commands take from their nodes, as long as nobody is known to have done that.
    evictions: BTreeMap<(GroupId, u32), Eviction>,
    /// Members that their node does not say it runs: where they should be, and since when that is so.
    missing: BTreeMap<(GroupId, u32), (Slot, Instant)>,
    /// The last generation of a member that ended here. It is not started again under that.
    ended: BTreeMap<DaemonId, u64>,
    /// Why a group that this node looks after does not have what it is to have.
    lacking: BTreeMap<GroupId, String>,
    /// What was told of the groups that this node looks after.
    told: BTreeMap<GroupId, GroupView>,
    /// When a member may next be moved for balance.
    balance_at: BTreeMap<GroupId, Instant>,
    /// The groups in which nothing was to be moved, and until when that is taken for granted if nothing stirs.
    at_rest: BTreeMap<GroupId, Instant>,
    /// Until when a group lets another one's member move first.
    yields: BTreeMap<GroupId, Instant>,
    /// Members without state that go on here, though they are placed elsewhere, until they run there; and how long at most.
    bridging: BTreeMap<DaemonId, Instant>,
    /// Members that this node has moved, as it looks after their groups.
    pub(super) relocating: BTreeMap<Ticket, Relocation>,
    /// Those that did not get there.
    stayed: Vec<(Relocation, MigrateError)>,
    /// Members that no node can take, until when that is taken for granted, and why it is so.
    unmovable: BTreeMap<(GroupId, u32), (Instant, String)>,
    /// What members ask of a node, by kind, as far as some were made here: a guess for groups of which none was.
    requirements: BTreeMap<String, Filter>,
    pending: Vec<Pending>,
    forks: Forks,
    standbys: Standbys,
    turns: BTreeMap<GroupId, u64>,
    /// What was last said to everyone.
    said: Vec<u8>,
    /// Something changed.
    dirty: bool,
    look_at: Option<Instant>,
    looked: Option<Instant>,
}

impl Groups {
    #[cfg(feature = "floor")]
    pub(super) fn gauges(&self, each: &mut dyn FnMut(Gauge)) {
        let (said, gone) = self.ledger.remembered();
        each(Gauge::new("groups", self.ledger.iter().count(), MAX_HELD));
        each(Gauge::new("statements of groups", said, MAX_SAID));
        each(Gauge::new("groups that are no more", gone, MAX_GONE));
        each(Gauge::new("bytes kept for forks", self.forks.kept_bytes(), MAX_KEPT));
        each(Gauge::new("fetches for forks", self.forks.fetches(), MAX_HELD));
        self.standbys.gauges(each);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Something that groups depend on may have changed.
    pub(super) fn stir(&mut self) {
        self.wake();
        self.look_again();
    }

    /// A member may have to be moved by now, where nothing was to be moved before.
    pub(super) fn wake(&mut self) {
        self.at_rest.clear();
    }

    /// It is time to look, though nothing may have changed.
    pub(super) fn look_again(&mut self) {
        self.dirty |= !self.ledger.is_empty() || !self.pending.is_empty() || !self.forks.is_idle();
    }

    /// Has what there is looked at by then.
    fn look_by(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |before| before.min(at)));
    }

    /// Something changed that groups depend on as one of `nodes` does: at once if that is the first for a while, together
    /// with what else changes otherwise. `figures`: by no more than how busy it is, for which no member is moved.
    pub(super) fn stir_together(&mut self, now: Instant, nodes: usize, figures: bool) {
        if !figures {
            self.wake();
        }
        let pause = LOOK_A_NODE.saturating_mul(u32::try_from(nodes).unwrap_or(u32::MAX));
        let due = self.looked.map_or(now, |looked| looked + pause);
        if due <= now {
            self.look_again();
        } else if !self.ledger.is_empty() || !self.pending.is_empty() {
            self.look_by(due);
        }
    }

    /// A member has moved, or will not.
    pub(super) fn relocated(&mut self, relocation: Relocation, outcome: Result<(), MigrateError>) {
        if let Err(error) = outcome {
            self.stayed.push((relocation, error));
        }
        self.dirty = true;
    }

    /// The daemon that works in a group's place.
    pub(super) fn worker(&self, group: GroupId, index: u32) -> Option<DaemonId> {
        self.ledger.get(group)?.worker(index)
    }

    /// The nodes that are avoided as members did not start or stay there.
    pub(super) fn refused(&self, now: Instant) -> impl Iterator<Item = (NodeId, Avoided)> {
        let refusals = self.refusals.iter().filter(move |(_, refusal)| refusal.until > now);
        refusals.map(move |((group, index, node), refusal)| {
            let reason = format!("member {index} of group {group} {}", refusal.why);
            (*node, Avoided { reason, remaining: refusal.until.saturating_since(now) })
        })
    }

    /// Members may be placed again where they did not start or stay.
    pub(super) fn pardon(&mut self, now: Instant) {
        let ledger = &self.ledger;
        self.refusals.retain(|(group, index, node), refusal| {
            let slot = ledger.get(*group).map(|entry| entry.slot(*index)).unwrap_or_default();
            // Where it still is, and is not well, it is not to be refused for that again.
            let is_there = slot.host == Some(*node) && refusal.until > now;
            let (of, pause) = (slot.generation, leading::AVOIDED);
            *refusal = Refusal { until: now, pause, of, pardoned: true, ..*refusal };
            is_there
        });
        self.stir();
    }

    fn is_here(&self, node: NodeId) -> bool {
        self.presence.get(&node).is_some_and(|presence| presence.is_here)
    }

    fn is_here_for(&self, now: Instant, node: NodeId, time: Duration) -> bool {
        let presence = self.presence.get(&node);
        presence.is_some_and(|presence| presence.is_here && now.saturating_since(presence.since) >= time)
    }

    /// Whether a node is gone for so long that others take over.
    fn is_lost(&self, now: Instant, node: NodeId) -> bool {
        self.presence.get(&node).is_none_or(|presence| {
            let grace = if presence.was_here { GRACE } else { FIRST_GRACE };
            !presence.is_here && now.saturating_since(presence.since) >= grace
        })
    }

    /// Who looks after a group: whoever did last, or, if that one is gone, the same for everyone who sees the same nodes.
    fn leader(&self, now: Instant, id: GroupId, entry: &Entry) -> NodeId {
        if !self.is_lost(now, entry.leader()) {
            return entry.leader();
        }
        let here = self.presence.iter().filter(|(_, presence)| presence.is_here).map(|(&node, _)| node);
        here.max_by_key(|&node| rank(id, u32::MAX, node)).unwrap_or(entry.leader())
    }
}

impl MeshOs {
    /// Another node says this of groups now.
    pub(super) fn hear_groups(&mut self, now: Now, from: NodeId, body: &[u8]) {
        for (id, entry) in self.groups.ledger.hear(now.instant, from, body) {
            // Whoever ended it knows the cause. What is known of it here is why it came to be, or last changed.
            self.group_gone(now.instant, id, &entry, None);
        }
        self.groups.dirty = true;
    }

    /// Does what there is to do about groups. Harmless at any time.
    pub(super) fn look_at_groups(&mut self, now: Now, node: &mut Node) {
        self.groups.dirty = false;
        self.groups.looked = Some(now.instant);
        self.tidy_states(now.instant);
        self.groups.look_at = self.groups.forks.poll_timeout(now.instant);
        if self.groups.ledger.is_empty() && self.groups.pending.is_empty() {
            return;
        }
        self.gate.begin(Look::Groups);
        self.survey(now.instant, node);
        self.mind_relocations(now);
        for id in self.groups.ledger.ids() {
            if self.take_lead(now.instant, id) {
                self.carry_out_evictions(now, id);
                // In a frozen cluster everything else stays as it is.
                if !self.is_frozen() {
                    self.lead(now, node, id);
                }
            } else {
                self.groups.lacking.remove(&id);
            }
        }
        self.mind_evictions(now);
        self.host_members(now, node);
        self.mind_standbys(now, node);
        self.say_groups(now, node);
        self.tell_groups(now.instant);
        self.mind_pending(now);
        let again = now.instant + self.config.tick_interval;
        let ledger = self.groups.ledger.poll_timeout(now.instant);
        let busy = self.groups.ledger.iter().next().is_some() || !self.groups.pending.is_empty();
        let retry = self.groups.standbys.poll_timeout().filter(|at| *at > now.instant);
        let states = self.groups.forks.poll_timeout(now.instant);
        self.groups.look_at = [busy.then_some(again), ledger, retry, states].into_iter().flatten().min();
    }

    /// Sees who is there.
    fn survey(&mut self, now: Instant, node: &mut Node) {
        let mut nodes: BTreeSet<NodeId> = self.directory.iter().map(|(id, _)| id).collect();
        nodes.insert(self.local);
        for (_, entry) in self.groups.ledger.iter() {
            nodes.insert(entry.leader());
            nodes.extend(entry.hosts().map(|(_, host)| host));
        }
        self.groups.presence.retain(|id, _| nodes.contains(id));
        for id in nodes {
            let is_here = id == self.local || (self.directory.get(id).is_some() && node.is_reachable(id));
            let new = Presence { is_here, since: now, was_here: is_here };
            let presence = self.groups.presence.entry(id).or_insert(new);
            if presence.is_here != is_here {
                *presence = Presence { was_here: true, ..new };
            }
        }
    }

    /// Whether this node looks after the group; it begins to if it is its turn.
    fn take_lead(&mut self, now: Instant, id: GroupId) -> bool {
        let Some(entry) = self.groups.ledger.get(id) else { return false };
        if self.groups.leader(now, id, entry) != self.local {
            return false;
        }
        if entry.leader() != self.local {
            let term = entry.claim.term.saturating_add(1);
            if let Some(entry) = self.groups.ledger.get_mut(id) {
                entry.claim = Claim { term, node: self.local.0 };
            }
        }
        true
    }

    /// Says what is to be said of groups, if it is not what was said last.
    fn say_groups(&mut self, now: Now, node: &mut Node) {
        let groups = &self.groups;
        let said = groups.ledger.statement(
            now.instant,
            self.local,
            |id, entry| groups.leader(now.instant, id, entry),
            |id| groups.is_here(id),
        );
        if said != self.groups.said {
            // It is bounded so that it fits.
            let _ = node.say(now, Topic::Groups, said.clone());
            self.groups.said = said;
        }
    }

    /// A group is no more, because of a command if one is known. Whoever looked after it says so.
    fn group_gone(&mut self, now: Instant, id: GroupId, entry: &Entry, cause: Option<CommandId>) {
        if self.groups.leader(now, id, entry) == self.local {
            self.happened(EventKind::GroupGone { group: id }, cause);
        }
        self.forget_standby(id);
        let groups = &mut self.groups;
        groups.told.remove(&id);
        groups.lacking.remove(&id);
        groups.balance_at.remove(&id);
        groups.at_rest.remove(&id);
        groups.yields.remove(&id);
        groups.unmovable.retain(|(group, _), _| *group != id);
        groups.turns.remove(&id);
        groups.missing.retain(|(group, _), _| *group != id);
        groups.evictions.retain(|(group, _), _| *group != id);
        groups.refusals.retain(|(group, ..), _| *group != id);
        for index in 0..u32::try_from(entry.slots().len()).unwrap_or(0) {
            groups.ended.remove(&entry.member(index));
            // Its end follows from the group's, and not from what made that.
            if let Some(instance) = self.registry.get_mut(entry.member(index)) {
                instance.cause = cause;
            }
        }
        groups.dirty = true;
    }
}
