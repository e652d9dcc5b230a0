//! Moving members so that nodes have equally many: with their state, as any daemon moves.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{GroupId, GroupKind, NodeId};
use rand_chacha::rand_core::RngCore;

use super::{
    super::{Action, MeshOs},
    FIRST_GRACE,
    leading::Counts,
};
use crate::{
    capability::{Capabilities, Filter},
    compute::{
        MigrateError,
        groups::{Entry, choose, rank},
    },
    node::Node,
    time::{Instant, Now},
};

/// The shortest time between two moves for balance in one group; up to as much again is added by chance, so that
/// groups do not move at once.
const BALANCE: Duration = Duration::from_secs(3);

/// Where nothing was to be moved, that is looked into again after this even if nothing stirs: a node may be avoided no
/// longer, or be trusted again.
const REST: Duration = Duration::from_secs(3);

/// So long a group lets members of others move first that would be moved to the same node: whoever looks after one
/// moves one in less, if at all. Two that each wait for a third, which moves none, do not have enough of that at once: up to
/// [`BALANCE`] is added by chance.
const YIELDS: Duration = Duration::from_secs(7);

/// A member whose state was too large to be moved is not asked for it again before this, as all of it is taken each time; nor
/// one that has not been heard of yet where it came from.
const UNMOVABLE: Duration = Duration::from_mins(1);

/// What a group's rank is asked for among those that would move a member to the same node.
const TURN: u32 = u32::MAX - 1;

/// A member on its way to another node, because whoever looks after its group had it moved.
#[derive(Debug, Clone, Copy)]
pub(in crate::meshos) struct Relocation {
    group: GroupId,
    index: u32,
    from: NodeId,
    to: NodeId,
}

impl Relocation {
    /// Which member, from where to where.
    pub(super) fn way(&self) -> ((GroupId, u32), (NodeId, NodeId)) {
        ((self.group, self.index), (self.from, self.to))
    }
}

/// Which member had better be elsewhere.
enum Misfit {
    /// It shares its node with another.
    Doubled(u32),
    /// Its node does not announce what it requires.
    Unsuited(u32),
    /// Its node has the most members.
    Crowded(u32),
}

impl MeshOs {
    /// Moves one member, if two share a node, if its node cannot do what it requires, or if its node has at least two
    /// more of all groups' members than another that could have it. Says why, if two share one and must go on doing so.
    pub(super) fn balance(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: &mut Entry,
    ) -> Option<String> {
        let waits =
            |until: &BTreeMap<GroupId, Instant>| until.get(&group).is_some_and(|at| *at > now.instant);
        if waits(&self.groups.balance_at) || waits(&self.groups.at_rest) {
            return None;
        }
        // Taken back where a member is moved, or had better be.
        self.groups.at_rest.insert(group, now.instant + REST);
        let placed = self.placed();
        let count = |host: NodeId| placed.get(&host).copied().unwrap_or(0);
        let misfit = self.misfit(now.instant, node, group, entry, &count)?;
        let (Misfit::Doubled(index) | Misfit::Unsuited(index) | Misfit::Crowded(index)) = misfit;
        let host = entry.slot(index).host?;
        if let Some((_, why)) = self.groups.unmovable.get(&(group, index)) {
            self.groups.at_rest.remove(&group);
            return Some(format!("member {index} had better not be on node {host}, but stays: {why}"));
        }
        // Most groups are even, and which nodes could have a member is a question to all of them.
        let is_emptier = |id: NodeId| count(id) + 2 <= count(host);
        let mut here = self.groups.presence.iter().filter(|(_, presence)| presence.is_here);
        if matches!(misfit, Misfit::Crowded(_)) && !here.any(|(&id, _)| is_emptier(id)) {
            self.groups.yields.remove(&group);
            return None;
        }
        let mut field = self.field(now.instant, node, group, entry, index, &Counts::default());
        let is_crowded = matches!(misfit, Misfit::Crowded(_));
        field
            .candidates
            .retain(|candidate| candidate.node != host && (!is_crowded || is_emptier(candidate.node)));
        let fewest = field.candidates.iter().map(|candidate| count(candidate.node)).min();
        field.candidates.retain(|candidate| Some(count(candidate.node)) == fewest);
        if let Some(to) = choose(group, index, &field.candidates) {
            if is_crowded && self.yields(now.instant, node, (group, host), to) {
                self.groups.at_rest.remove(&group);
                return None;
            }
            if self.dispatch(now, &Action::Rebalance { group, index, node: to }) {
                let chance = self.chance();
                self.groups.balance_at.insert(group, now.instant + BALANCE + chance);
                self.groups.yields.remove(&group);
                self.groups.wake();
                self.relocate(now, node, entry, Relocation { group, index, from: host, to });
            } else {
                // It stands until something changes, and is to be made again by every look.
                self.groups.at_rest.remove(&group);
            }
            return None;
        }
        // Whoever could have it may be avoided for a while: it takes its turn anew then.
        self.groups.yields.remove(&group);
        let Misfit::Doubled(_) = misfit else { return None };
        self.groups.at_rest.remove(&group);
        Some(format!("member {index} shares node {host}, and there is no other node for it: {}", field.why()))
    }

    /// Whether a member of another group is to be moved to a node first, for as long as it may take. Else everybody who looks
    /// after a group would move one there at once, and some of them away again.
    fn yields(&mut self, now: Instant, node: &Node, (group, host): (GroupId, NodeId), to: NodeId) -> bool {
        if !self.comes_later(now, node, (group, host), to) {
            self.groups.yields.remove(&group);
            return false;
        }
        let chance = self.chance();
        now < *self.groups.yields.entry(group).or_insert(now + YIELDS + chance)
    }

    /// Whether another group would move one to that node that comes first: from a node with more members, or of as many by
    /// rank.
    fn comes_later(&self, now: Instant, node: &Node, (group, host): (GroupId, NodeId), to: NodeId) -> bool {
        let placed = self.placed();
        let count = |host: NodeId| placed.get(&host).copied().unwrap_or(0);
        let nothing = Capabilities::new();
        let announced = node.capabilities().get(to).unwrap_or(&nothing);
        let kinds = self.directory.get(to).map(|inventory| inventory.kinds.clone()).unwrap_or_default();
        let could_go = |entry: &Entry| {
            entry.hosts().all(|(_, host)| host != to)
                && kinds.contains(&entry.spec.daemon)
                && self.required(entry).is_none_or(|filter| filter.matches(to, announced))
        };
        let mine = (count(host), rank(group, TURN, to));
        // What this node moves itself, it counts at once.
        let others = self.groups.ledger.iter().filter(|(id, entry)| {
            entry.spec.kind != GroupKind::Standby && self.groups.leader(now, *id, entry) != self.local
        });
        let mut others = others.filter_map(|(id, entry)| {
            let fullest = entry.hosts().map(|(_, host)| count(host)).max()?;
            (count(to) + 2 <= fullest && could_go(entry)).then(|| (fullest, rank(id, TURN, to)))
        });
        others.any(|other| other > mine)
    }

    fn chance(&mut self) -> Duration {
        let most = u64::try_from(BALANCE.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(u64::from(self.rng.next_u32()) % most)
    }

    fn misfit(
        &self,
        now: Instant,
        node: &Node,
        group: GroupId,
        entry: &Entry,
        count: &impl Fn(NodeId) -> u32,
    ) -> Option<Misfit> {
        let mut hosts = BTreeSet::new();
        if let Some((index, _)) = entry.hosts().find(|(_, host)| !hosts.insert(*host)) {
            return Some(Misfit::Doubled(index));
        }
        // Moving a standby makes nothing even that counts.
        if entry.spec.kind == GroupKind::Standby {
            return None;
        }
        let any = Filter::any();
        let filter = self.required(entry).unwrap_or(&any);
        let (index, nothing) = (node.capabilities(), Capabilities::new());
        let is_unsuited = |host: NodeId| match index.get(host) {
            Some(announced) => !filter.matches(host, announced),
            // It may not have been heard yet.
            None => !filter.matches(host, &nothing) && self.groups.is_here_for(now, host, FIRST_GRACE),
        };
        if let Some((index, _)) = entry.hosts().find(|(_, host)| is_unsuited(*host)) {
            return Some(Misfit::Unsuited(index));
        }
        let is_movable = |index: u32| !self.groups.unmovable.contains_key(&(group, index));
        let movable = entry.hosts().filter(|(index, _)| is_movable(*index));
        let fullest = movable.max_by_key(|&(index, host)| (count(host), index));
        fullest.map(|(index, _)| Misfit::Crowded(index))
    }

    /// What members of a group ask of a node, if anybody has said so.
    pub(super) fn required<'a>(&'a self, entry: &'a Entry) -> Option<&'a Filter> {
        let known = entry.required.as_ref().map(crate::compute::groups::Required::filter);
        known.or_else(|| self.groups.requirements.get(&entry.spec.daemon))
    }

    /// Has a member go to another node.
    fn relocate(&mut self, now: Now, node: &mut Node, entry: &mut Entry, relocation: Relocation) {
        let Relocation { index, to, .. } = relocation;
        if entry.spec.kind == GroupKind::Standby && index > 0 {
            // It is brought there what it is to hold.
            entry.place(index, Some(to));
            return;
        }
        // Nobody commands it: who is there has changed, or what they have to do.
        match self.begin_migration(now, node, entry.member(index), to, None) {
            Ok(ticket) => _ = self.groups.relocating.insert(ticket, relocation),
            Err(error) => self.groups.stayed.push((relocation, error)),
        }
    }

    /// Members that did not get to where they were sent.
    pub(super) fn mind_relocations(&mut self, now: Now) {
        self.groups.unmovable.retain(|_, (until, _)| *until > now.instant);
        for (relocation, error) in std::mem::take(&mut self.groups.stayed) {
            let Relocation { group, index, from, to } = relocation;
            let Some(entry) = self.groups.ledger.get_mut(group) else { continue };
            let is_there = entry.slot(index).host == Some(from);
            match error {
                // It has nothing to take along: so it loses nothing if it begins anew.
                MigrateError::NoState(_) if is_there => entry.place(index, Some(to)),
                // No node can take it, for a while at least, and what it has is not to be lost.
                MigrateError::StateTooLarge { .. } | MigrateError::Unheard(_) => {
                    let what = format!("member {index} of group {group} was not moved to node {to}: {error}");
                    self.record_failure(now, what);
                    let until = now.instant + UNMOVABLE;
                    self.groups.unmovable.insert((group, index), (until, error.to_string()));
                }
                // It is not its target's fault.
                MigrateError::Frozen
                | MigrateError::TooMany
                | MigrateError::AlreadyMoving(_)
                | MigrateError::NotRunning(_)
                | MigrateError::NotFound(_) => {}
                error => {
                    let what = format!("member {index} of group {group} was not moved to node {to}: {error}");
                    self.record_failure(now, what);
                    self.refuse(now.instant, group, index, to, "could not be moved there");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::Presence, *};
    use crate::{
        compute::{
            Inventory,
            groups::{Claim, Spec},
        },
        config::NodeConfig,
        daemon::{DaemonError, DaemonEvent, DaemonOrder, MeshDaemon, Outputs},
        identity::Identity,
        meshos::{GroupRequest, MeshOsConfig},
        time::WallTime,
    };

    struct Idle;

    impl MeshDaemon for Idle {
        fn name(&self) -> String {
            "idle".to_owned()
        }

        fn process(&mut self, _: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
            Ok(())
        }
    }

    /// A group of one that does nothing.
    fn request(seed: u8) -> GroupRequest {
        GroupRequest {
            kind: GroupKind::Replica,
            daemon: "idle".to_owned(),
            args: String::new(),
            count: 1,
            name: "group".to_owned(),
            seed: [seed; 32],
            parent: None,
            cause: None,
        }
    }

    /// One node alone.
    struct Alone {
        now: Now,
        node: Node,
        os: MeshOs,
    }

    impl Alone {
        fn new() -> Self {
            let now = Now { instant: Instant::from_micros(1), wall: WallTime(1_000_000_000) };
            let identity = Identity::from_seed([1; 32]);
            let mut node = Node::new(NodeConfig::new([2; 32]), identity, [3; 32], now).unwrap();
            let mut os = MeshOs::new(MeshOsConfig::default(), &node, [4; 32], now);
            let make = |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::new(Idle)) };
            os.register_factory(now, "idle", Arc::new(make));
            os.handle_timeout(now, &mut node);
            Self { now, node, os }
        }

        /// Lets a group run to which nothing happens.
        fn with_group() -> (Self, GroupId) {
            let mut alone = Self::new();
            alone.os.spawn_group(alone.now, &mut alone.node, request(5)).unwrap();
            alone.ticks(20, |_| {});
            let group = alone.os.groups().next().unwrap();
            assert!(group.members[0].running, "{group:?}");
            (alone, group.id)
        }

        /// Lets time pass in steps of a tick, and looks at it after each.
        fn ticks(&mut self, count: u32, mut look: impl FnMut(&MeshOs)) {
            for _ in 0..count {
                self.now.instant += self.os.config.tick_interval;
                self.os.handle_timeout(self.now, &mut self.node);
                while let Some(job) = self.os.poll_job() {
                    self.os.handle_job(self.now, &mut self.node, job.run());
                }
                look(&self.os);
            }
        }

        /// When the group's balance was last looked into, as far as can be told.
        fn rests(&mut self, group: GroupId, ticks: u32) -> BTreeSet<Option<Instant>> {
            let mut rests = BTreeSet::new();
            self.ticks(ticks, |os| _ = rests.insert(os.groups.at_rest.get(&group).copied()));
            rests
        }
    }

    #[test]
    fn where_nothing_is_to_be_moved_nobody_looks_into_it_at_every_tick() {
        let (mut alone, group) = Alone::with_group();
        let rests = alone.rests(group, 300);
        assert!(rests.len() <= 11, "in 30 s, a rest being 3 s: {}", rests.len());
        assert!(!rests.contains(&None));
    }

    #[test]
    fn what_stirs_has_balance_looked_into_at_once_and_mere_figures_do_not() {
        let (mut alone, group) = Alone::with_group();
        let rest = |alone: &Alone| alone.os.groups.at_rest.get(&group).copied();
        alone.os.groups.stir();
        alone.ticks(5, |_| {});
        let before = rest(&alone);
        alone.os.groups.stir_together(alone.now.instant, 1, true);
        alone.ticks(1, |_| {});
        assert_eq!(rest(&alone), before, "figures");
        alone.os.groups.stir_together(alone.now.instant, 1, false);
        alone.ticks(1, |_| {});
        assert!(rest(&alone) > before, "{before:?}, {:?}", rest(&alone));
    }

    #[test]
    fn groups_that_wait_for_others_to_move_first_do_not_all_wait_equally_long_and_each_once() {
        let mut alone = Alone::new();
        let (local, fuller, to) = (alone.os.local, NodeId(7), NodeId(8));
        let kinds = vec!["idle".to_owned()].into();
        alone.os.directory.set(to, Some(Inventory { kinds, ..Inventory::default() }));
        // Somebody else looks after a group with two members on one node, and would move one of those.
        let since = alone.now.instant;
        alone.os.groups.presence.insert(fuller, Presence { is_here: true, since, was_here: true });
        let spec = Spec {
            version: 1,
            author: fuller.0,
            desired: 2,
            kind: GroupKind::Replica,
            name: "group".to_owned(),
            daemon: "idle".to_owned(),
            args: String::new(),
            seed: [6; 32],
            cause: None,
            fork: None,
        };
        let mut first = Entry::new(spec, Claim { term: 1, node: fuller.0 });
        first.place(0, Some(fuller));
        first.place(1, Some(fuller));
        assert!(alone.os.groups.ledger.add(GroupId(1), first));
        let mut yields = |seconds: u64, group: u64| {
            let now = since + Duration::from_secs(seconds);
            let waits = alone.os.yields(now, &alone.node, (GroupId(group), local), to);
            (waits, alone.os.groups.yields[&GroupId(group)].saturating_since(since))
        };
        let first: Vec<(bool, Duration)> = (2..10).map(|group| yields(0, group)).collect();
        assert!(first.iter().all(|&(waits, long)| waits && (YIELDS..YIELDS + BALANCE).contains(&long)));
        let distinct: BTreeSet<Duration> = first.iter().map(|(_, long)| *long).collect();
        assert!(distinct.len() > 4, "{distinct:?}");
        let (waits, long) = yields(6, 2);
        assert!(waits && long == first[0].1, "it waits no longer for having been asked again");
        assert!(!yields(10, 2).0);
    }

    #[test]
    fn members_that_start_together_do_not_each_have_all_groups_looked_at() {
        let mut alone = Alone::new();
        for number in 1..=32 {
            alone.os.spawn_group(alone.now, &mut alone.node, request(number)).unwrap();
        }
        let before = alone.os.gate.looks();
        alone.ticks(1, |_| {});
        let all_run = |os: &MeshOs| os.groups().all(|group| group.members[0].running);
        let looks = alone.os.gate.looks() - before;
        alone.ticks(3, |_| {});
        assert!(all_run(&alone.os) && alone.os.groups().count() == 32);
        assert!(alone.os.groups.ledger.iter().all(|(_, entry)| entry.required.is_some()));
        assert!(looks <= 4, "{looks}");
    }
}
