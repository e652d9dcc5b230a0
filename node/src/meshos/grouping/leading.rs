//! Looking after a group: placing its members, and placing them anew.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

use meshground_shared::{GroupId, GroupKind, Lifecycle, Maintenance, NodeId};

use super::{
    super::{Action, MeshOs},
    Refusal,
    balancing::Relocation,
    standing::HANDOVER,
};
use crate::{
    capability::{Capabilities, Filter},
    compute::{
        Inventory,
        groups::{Candidate, Entry, GroupError, choose},
    },
    node::Node,
    time::{Instant, Now},
};

/// A node is given so long to say that it runs what it is to run.
const SETTLING: Duration = Duration::from_secs(2);

/// A node is given a second for so many bytes of a state that it may have to fetch.
const FETCHED_A_SECOND: u64 = 4 << 20;

/// A node on which a member did not start or stay is avoided for so long; each further time for twice as long.
pub(super) const AVOIDED: Duration = Duration::from_secs(5);

/// And for so long at most.
const MAX_AVOIDED: Duration = Duration::from_mins(5);

/// Why a node is avoided on which a member did not start or stay.
const DID_NOT_STAY: &str = "did not start or stay there";

/// This many nodes at most are named in a reason.
const NAMED: usize = 8;

/// How many members are [placed](MeshOs::placed) on each node: counted once for all members of a group that look for a place,
/// and only if one does, as that goes over all members there are.
pub(super) type Counts = OnceCell<BTreeMap<NodeId, u32>>;

/// What is wrong with a place.
enum Verdict {
    /// Nothing.
    Runs,
    /// It may come to run.
    Comes,
    /// It must be placed.
    Homeless,
}

/// Which nodes a member could go to, and why to no others.
pub(super) struct Field {
    pub(super) candidates: Vec<Candidate>,
    excluded: Vec<(NodeId, &'static str)>,
}

impl Field {
    pub(super) fn why(&self) -> String {
        if self.excluded.is_empty() {
            return "no other node is known".to_owned();
        }
        let named = self.excluded.iter().take(NAMED).map(|(node, why)| format!("node {node} {why}"));
        let mut text = named.collect::<Vec<_>>().join(", ");
        if self.excluded.len() > NAMED {
            let _ = write!(text, ", and {} more", self.excluded.len() - NAMED);
        }
        text
    }
}

impl MeshOs {
    /// Places every member that has no place yet.
    ///
    /// # Errors
    /// When there are too few nodes.
    pub(super) fn place_all(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: &mut Entry,
    ) -> Result<(), GroupError> {
        let mut plan = entry.clone();
        let (mut placed, counts) = (Vec::new(), Counts::default());
        for index in entry.places() {
            let stays = index == 0 && has_state(entry);
            if stays || plan.slot(index).host.is_some_and(|host| !self.groups.is_lost(now.instant, host)) {
                continue;
            }
            let mut field = self.field(now.instant, node, group, &plan, index, &counts);
            self.level(entry, &mut field, &counts);
            let Some(host) = choose(group, index, &field.candidates) else {
                let (wanted, found) = (entry.spec.desired, index);
                return Err(GroupError::PlacementFailed { wanted, found, why: field.why() });
            };
            plan.place(index, Some(host));
            placed.push((index, host));
        }
        for (index, host) in placed {
            if self.dispatch(now, &Action::RequestPlacement { group, index, node: host }) {
                entry.put(index, plan.slot(index));
            }
        }
        Ok(())
    }

    /// Sees to it that a group that this node looks after has what it is to have.
    pub(super) fn lead(&mut self, now: Now, node: &mut Node, group: GroupId) {
        // What is decided is put into this, and that into the ledger if it is to be done.
        let Some(mut entry) = self.groups.ledger.get(group).cloned() else { return };
        let mut lacking = None;
        let (mut all_run, mut is_done) = (true, true);
        let counts = Counts::default();
        for index in entry.places() {
            match self.judge(now.instant, group, &entry, index) {
                Verdict::Runs if index == 0 => self.groups.standbys.is_found(group),
                verdict @ (Verdict::Runs | Verdict::Comes) => {
                    let away = self.moves_copy(now, node, group, &mut entry, index, &counts);
                    if let Some(host) = away {
                        let action = Action::RequestPlacement { group, index, node: host };
                        is_done &= self.dispatch(now, &action);
                    }
                    all_run &= matches!(verdict, Verdict::Runs) && away.is_none();
                }
                Verdict::Homeless if index == 0 && has_state(&entry) => {
                    all_run = false;
                    let found = self.replace_active(now, node, group, &mut entry);
                    let is_over = match found {
                        Ok(None) => false,
                        Ok(Some(host)) => {
                            let action = Action::RequestPlacement { group, index, node: host };
                            is_done &= self.dispatch(now, &action);
                            is_done
                        }
                        Err(_) => true,
                    };
                    if is_over {
                        self.groups.standbys.end_poll(group);
                    }
                    if let Err(why) = found {
                        lacking.get_or_insert(why);
                    }
                }
                Verdict::Homeless => {
                    all_run = false;
                    let mut field = self.field(now.instant, node, group, &entry, index, &counts);
                    self.level(&entry, &mut field, &counts);
                    if let Some(host) = choose(group, index, &field.candidates) {
                        entry.place(index, Some(host));
                        let action = Action::RequestPlacement { group, index, node: host };
                        is_done &= self.dispatch(now, &action);
                    } else {
                        lacking.get_or_insert_with(|| self.lament(&entry, index, &field));
                    }
                }
            }
        }
        if all_run {
            lacking = self.balance(now, node, group, &mut entry);
        }
        match lacking {
            Some(lacking) => _ = self.groups.lacking.insert(group, lacking),
            None => _ = self.groups.lacking.remove(&group),
        }
        if is_done && let Some(known) = self.groups.ledger.get_mut(group) {
            known.merge(&entry);
        }
    }

    /// A standby's node goes out of service: what it holds is to be held by another, if there is one. It keeps that, and stays
    /// in sync, until the other is. Which one.
    fn moves_copy(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: &mut Entry,
        index: u32,
        counts: &Counts,
    ) -> Option<NodeId> {
        let leaves = |host: NodeId| {
            let maintenance = self.directory.get(host).map(|inventory| inventory.maintenance);
            matches!(maintenance, Some(Maintenance::EnteringMaintenance | Maintenance::Maintenance))
        };
        let is_copy = entry.spec.kind == GroupKind::Standby && index > 0;
        if !is_copy || !entry.slot(index).host.is_some_and(leaves) {
            return None;
        }
        let field = self.field(now.instant, node, group, entry, index, counts);
        let host = choose(group, index, &field.candidates)?;
        entry.place(index, Some(host));
        Some(host)
    }

    /// Says why a member has no place.
    pub(super) fn lament(&self, entry: &Entry, index: u32, field: &Field) -> String {
        let was = match entry.slot(index).host {
            None => "has no node".to_owned(),
            Some(host) if self.groups.is_here(host) => format!("does not run on node {host}"),
            Some(host) => format!("was on node {host}, which cannot be reached"),
        };
        format!("member {index} {was}, and there is no other node for it: {}", field.why())
    }

    fn judge(&mut self, now: Instant, group: GroupId, entry: &Entry, index: u32) -> Verdict {
        let slot = entry.slot(index);
        let Some(host) = slot.host else { return Verdict::Homeless };
        if self.groups.is_lost(now, host) {
            return Verdict::Homeless;
        }
        if !self.groups.is_here(host) {
            return Verdict::Comes;
        }
        if entry.spec.kind == GroupKind::Standby {
            let standing = self.standing_at(host, group).copied();
            let active = entry.slot(0).incarnation();
            if index > 0 && entry.slot(0).host == Some(host) {
                // The one that works was moved there: with that node both would be gone.
                return Verdict::Homeless;
            }
            if index > 0 {
                let holds = standing.is_some_and(|standing| standing.of >= active);
                return if holds { Verdict::Runs } else { Verdict::Comes };
            }
            // It crashed there, or was stopped.
            if standing.is_some_and(|standing| standing.sealed && standing.of >= active) {
                self.refuse(now, group, index, host, DID_NOT_STAY);
                return Verdict::Homeless;
            }
        }
        let daemons = self.directory.get(host).into_iter().flat_map(|inventory| &inventory.daemons);
        let stated = daemons.filter(|daemon| daemon.member() == Some((group, index)));
        let stated = stated.max_by_key(|daemon| daemon.generation);
        match stated {
            // It goes on under the new generation as soon as it hears of it.
            Some(stated) if stated.generation < slot.generation => return Verdict::Comes,
            Some(stated) => {
                let (lifecycle, is_well) = (stated.lifecycle, stated.is_well());
                self.groups.missing.remove(&(group, index));
                return match lifecycle {
                    Lifecycle::Failed | Lifecycle::CrashLooping => {
                        self.refuse(now, group, index, host, DID_NOT_STAY);
                        let rests = lifecycle == Lifecycle::CrashLooping;
                        let refusal = self.groups.refusals.get_mut(&(group, index, host));
                        if let Some(refusal) = refusal.filter(|refusal| rests && !refusal.pardoned)
                            && refusal.until <= now + AVOIDED / 2
                        {
                            // Where it is it starts again when it has rested, and not before, unless somebody says so.
                            refusal.until = now + AVOIDED;
                        }
                        Verdict::Homeless
                    }
                    _ if is_well => Verdict::Runs,
                    _ => Verdict::Comes,
                };
            }
            None => {}
        }
        let missing = self.groups.missing.entry((group, index)).or_insert((slot, now));
        if missing.0 != slot {
            *missing = (slot, now);
        }
        // A fork's node may have to fetch its state first.
        let fetching = entry.spec.fork.as_ref().map_or(0, |point| point.state_len / FETCHED_A_SECOND);
        // Whoever goes on for another waits for the last that one did.
        let handing = if has_state(entry) { HANDOVER } else { Duration::ZERO };
        if now.saturating_since(missing.1) < SETTLING + Duration::from_secs(fetching) + handing {
            return Verdict::Comes;
        }
        self.refuse(now, group, index, host, DID_NOT_STAY);
        Verdict::Homeless
    }

    /// A member did not start or stay on a node: that is avoided for a while. Once for each time that it was placed there,
    /// so that it may be placed there again when that is over, if nowhere else.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        group: GroupId,
        index: u32,
        host: NodeId,
        why: &'static str,
    ) {
        let of = self.groups.ledger.get(group).map_or(0, |entry| entry.slot(index).generation);
        let known = self.groups.refusals.get(&(group, index, host)).copied();
        if known.is_none_or(|refusal| refusal.until <= now && refusal.of != of) {
            let pause = known.map_or(AVOIDED, |refusal| refusal.pause);
            let pause_after = (pause * 2).min(MAX_AVOIDED);
            let refusal = Refusal { until: now + pause, pause: pause_after, of, why, pardoned: false };
            self.groups.refusals.insert((group, index, host), refusal);
        }
    }

    pub(super) fn is_refused(&self, now: Instant, group: GroupId, index: u32, host: NodeId) -> bool {
        self.groups.refusals.get(&(group, index, host)).is_some_and(|refusal| refusal.until > now)
    }

    /// How many members are placed on each node. One that this node has moved counts where it goes.
    pub(super) fn placed(&self) -> BTreeMap<NodeId, u32> {
        let ways: BTreeMap<_, _> = self.groups.relocating.values().map(Relocation::way).collect();
        let mut placed = BTreeMap::new();
        for (group, entry) in self.groups.ledger.iter() {
            for (index, host) in entry.hosts() {
                let way = ways.get(&(group, index)).filter(|(from, _)| *from == host);
                *placed.entry(way.map_or(host, |(_, to)| *to)).or_default() += 1;
            }
        }
        placed
    }

    /// Of the nodes a member could go to, leaves those with the fewest members: from any other it would soon be moved again.
    /// Those who stand by are not moved for that. A node that has just come back to service is to have less than its share, and
    /// so is none to go by.
    fn level(&self, entry: &Entry, field: &mut Field, counts: &Counts) {
        if entry.spec.kind == GroupKind::Standby {
            return;
        }
        let placed = counts.get_or_init(|| self.placed());
        let count = |candidate: &Candidate| placed.get(&candidate.node).copied().unwrap_or(0);
        let is_back = |candidate: &&Candidate| {
            self.directory.get(candidate.node).is_some_and(|it| it.maintenance == Maintenance::Recovery)
        };
        let (back, others): (Vec<&Candidate>, Vec<&Candidate>) = field.candidates.iter().partition(is_back);
        let measure = if others.is_empty() { back } else { others };
        let fewest = measure.into_iter().map(count).min();
        field.candidates.retain(|candidate| Some(count(candidate)) <= fewest);
    }

    /// The nodes a member could go to.
    pub(super) fn field(
        &self,
        now: Instant,
        node: &mut Node,
        group: GroupId,
        entry: &Entry,
        index: u32,
        counts: &Counts,
    ) -> Field {
        let used: BTreeSet<NodeId> =
            entry.hosts().filter(|(other, _)| *other != index).map(|(_, host)| host).collect();
        let any = Filter::any();
        let filter = self.required(entry).unwrap_or(&any);
        let placed = counts.get_or_init(|| self.placed());
        let near = node.placer(|_| 0);
        let nothing = Capabilities::new();
        let mut field = Field { candidates: Vec::new(), excluded: Vec::new() };
        for (&id, presence) in &self.groups.presence {
            let inventory = self.directory.get(id);
            let able = near.index.get(id).unwrap_or(&nothing);
            let why_not = match inventory {
                _ if !presence.is_here => Some("cannot be reached"),
                None => Some("says nothing yet"),
                Some(_) if used.contains(&id) => Some("has another member"),
                Some(inventory) if !serves(inventory) => Some("is out of service"),
                Some(inventory) if inventory.cordoned => Some("is cordoned"),
                Some(inventory) if !inventory.kinds.contains(&entry.spec.daemon) => {
                    Some("has no factory for it")
                }
                Some(_) if !filter.matches(id, able) => Some("cannot do what it requires"),
                Some(_) if self.oversight.avoided.contains(id) => Some("is avoided for a while"),
                Some(_) if self.is_refused(now, group, index, id) => {
                    Some("could not keep it running a short time ago")
                }
                Some(_) => None,
            };
            match (inventory, why_not) {
                (Some(inventory), None) => {
                    let known = inventory.daemons.iter().filter(|daemon| daemon.member.is_some()).count();
                    let known = u32::try_from(known).unwrap_or(u32::MAX);
                    let coming = placed.get(&id).copied().unwrap_or(0).saturating_sub(known);
                    let load = inventory.load().saturating_add(10 * coming);
                    let rtt = (near.view)(id).map(|view| view.rtt).unwrap_or_default();
                    field.candidates.push(Candidate { node: id, load, rtt });
                }
                (_, why_not) => field.excluded.push((id, why_not.unwrap_or_default())),
            }
        }
        field
    }
}

/// Whether a group's first place is that of a daemon whose state must not be lost.
fn has_state(entry: &Entry) -> bool {
    entry.spec.kind == GroupKind::Standby && entry.begun > 0
}

/// Whether anything new may be placed there.
fn serves(inventory: &Inventory) -> bool {
    matches!(inventory.maintenance, Maintenance::Active | Maintenance::Recovery)
}
