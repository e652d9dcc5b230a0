//! Which standbys have to have an event before anybody is told that it was worked off; and who may take over, so that
//! none that was told of is lost.
//!
//! The one that works names them, in sets that follow one another; those of a set that is in force all hold what is
//! told of. Each set shares a member with every one before it that may still be in force, and is in force only once
//! all its members have heard of it. So whoever has asked all members of the latest set that any of them knows has
//! missed none of what the one that worked before told of, and asking a member has it listen no more to that one. But somebody else
//! may have asked before, who knew of an earlier set only, as that latest one was not in force; and named others since. So all
//! members of that earlier set are asked as well, and so on: until all of a set know it, or a later one. What is named then has to
//! share a member with every set that one of those asked was in and knew as the latest: that one may go on by it alone later,
//! where it hears of no other. Before a set takes the place of those before, its members have all that was told of by them, and one
//! of them has when it is named: the one that works itself, if nobody else does. One that works alone, as it is to, is a set of itself. A member that has forgotten
//! everything, as it began anew, cannot say whether there was a later set; then the one that named it has to.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

use super::{Follower, Incarnation, MAX_MEMBERS};

/// So many of the sets that one incarnation named may be open.
const MAX_CHAIN: usize = 64;

/// So many at most are gone on from: what the active had open when it moved, and what each of those in sync knew. An active that
/// moves may bring along as many and its own.
const MAX_BEFORE: usize = MAX_CHAIN + 2 * MAX_MEMBERS as usize;

/// Whether these can be the sets that an active had open when it moved.
pub(crate) fn can_be_open(sets: &[InSync]) -> bool {
    sets.len() <= MAX_BEFORE + MAX_CHAIN && sets.iter().all(InSync::is_sound)
}

/// Nodes, and the life of each.
pub(crate) type Lives = BTreeMap<u64, u64>;

/// One of these sets. Of two the greater is the later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct InSync {
    /// Who named it.
    by: Incarnation,
    /// Counts those it named, from 1.
    version: u64,
    members: Lives,
}

impl InSync {
    /// Which of an incarnation's sets it is; 0 if it is another's.
    pub(crate) fn version_of(&self, by: Incarnation) -> u64 {
        if self.by == by { self.version } else { 0 }
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.members.contains_key(&node.0)
    }

    /// Whether a node is in it, or named it.
    pub(crate) fn names(&self, node: NodeId) -> bool {
        self.has(node) || self.by.node == node
    }

    /// Those in it, and who named it.
    pub(crate) fn named(&self) -> impl Iterator<Item = NodeId> {
        self.members().map(|(node, _)| node).chain([self.by.node])
    }

    fn members(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.members.iter().map(|(&node, &life)| (NodeId(node), life))
    }

    /// Whether it can be what somebody named.
    pub(crate) fn is_sound(&self) -> bool {
        (1..=2 * MAX_MEMBERS as usize).contains(&self.members.len())
    }
}

/// The sets as the one that works knows them.
#[derive(Debug)]
pub(crate) struct Guard {
    local: Incarnation,
    /// In which life of its node.
    life: u64,
    /// Those that may be in force as far as somebody knows, the latest last.
    chain: Vec<InSync>,
    /// Which of them is in force, of this incarnation. Those before it count until all of it have what was told of.
    in_force: Option<usize>,
    /// The last event that somebody may have been told of.
    told_of: u64,
}

impl Guard {
    /// That of an incarnation, in this life of its node, which goes on from one whose sets these are, after the event
    /// `told_of`.
    pub(crate) fn new(local: Incarnation, life: u64, before: Vec<InSync>, told_of: u64) -> Self {
        let without = before.into_iter().map(|mut set| {
            set.members.remove(&local.node.0);
            set
        });
        let mut chain: Vec<InSync> = without.filter(|set| !set.members.is_empty()).collect();
        chain.sort_unstable();
        chain.dedup();
        // There are more by malice only.
        chain.drain(..chain.len().saturating_sub(MAX_BEFORE));
        Self { local, life, chain, in_force: None, told_of }
    }

    /// Whether nothing is open: those of the one set that is in force have what was told of, and nobody else need be asked.
    pub(crate) fn is_settled(&self) -> bool {
        self.chain.is_empty() || (self.in_force == Some(0) && self.chain.len() == 1)
    }

    /// What standbys are to be told: the latest set of this incarnation.
    pub(crate) fn told(&self) -> Option<&InSync> {
        self.chain.last().filter(|set| set.by == self.local)
    }

    /// What a standby is to be told: whoever is left out keeps what it has until those that are not hold it.
    pub(crate) fn told_to(&self, node: NodeId) -> Option<&InSync> {
        let told = self.told()?;
        if told.has(node) { Some(told) } else { self.chain.first().filter(|_| self.in_force == Some(0)) }
    }

    /// All that may be in force.
    pub(crate) fn chain(&self) -> &[InSync] {
        &self.chain
    }

    /// Whether a node is in a set that may be in force.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.chain.iter().any(|set| set.has(node))
    }

    /// The other nodes in sets that may be in force.
    pub(crate) fn others(&self) -> BTreeSet<NodeId> {
        let members = self.chain.iter().flat_map(InSync::members).map(|(node, _)| node);
        members.filter(|node| *node != self.local.node).collect()
    }

    /// Names another set, if that is needed and may be: `ready` are the nodes it had better have, which are to be `places`, or
    /// none if this one is to work alone; `lasting` those that it has besides until they are so many, or to share a member with
    /// those before. One of them has all that was told of, as the `followers` say. Of lives that are `gone` nothing can come any more.
    pub(crate) fn propose(
        &mut self,
        ready: Lives,
        lasting: &Lives,
        places: usize,
        followers: &BTreeMap<NodeId, Follower>,
        gone: impl Fn(NodeId, u64) -> bool,
    ) {
        let own = self.local.node.0;
        let has_gone = |set: &InSync| set.members().all(|(node, life)| gone(node, life));
        if self.own() >= MAX_CHAIN {
            // What is in force counts until the next is, and the next is counted from the last.
            let open = self.in_force.map_or(0, |at| at + 1)..self.chain.len() - 1;
            let mut at = 0..;
            self.chain.retain(|set| !at.next().is_some_and(|at| open.contains(&at)) || !has_gone(set));
        }
        // Whoever asks all of a set finds somebody who has what was told of.
        let has_all = |node: u64, life: u64| {
            let follower = followers.get(&NodeId(node)).filter(|follower| follower.life == life);
            self.told_of == 0 || node == own || follower.is_some_and(|it| it.have >= Some(self.told_of))
        };
        let shares = |wanted: &Lives| {
            let shares_with = |set: &InSync| {
                let mut members = set.members();
                members.any(|(node, life)| wanted.get(&node.0) == Some(&life)) || has_gone(set)
            };
            wanted.iter().any(|(&node, &life)| has_all(node, life)) && self.chain.iter().all(shares_with)
        };
        let mut wanted = ready;
        if places == 0 {
            if self.chain.is_empty() {
                return;
            }
            wanted = Lives::from([(own, self.life)]);
        }
        if wanted.len() < places || !shares(&wanted) {
            wanted.extend(lasting);
        }
        if !wanted.is_empty() && !shares(&wanted) {
            wanted.insert(own, self.life);
        }
        let is_news = self.told().is_none_or(|told| told.members != wanted);
        if wanted.is_empty() || !is_news || self.own() >= MAX_CHAIN || !shares(&wanted) {
            return;
        }
        let version = self.told().map_or(1, |told| told.version + 1);
        let set = InSync { by: self.local, version, members: wanted };
        self.chain.push(set);
    }

    /// How many of its own sets are open.
    fn own(&self) -> usize {
        self.chain.iter().filter(|set| set.by == self.local).count()
    }

    /// Standbys have heard of sets: the latest of which all have heard is in force. Up to the event `end` there are some.
    pub(crate) fn heard(&mut self, followers: &BTreeMap<NodeId, Follower>, end: u64) {
        let local = self.local;
        let all_know = |set: &InSync| {
            let knows = |(node, life)| {
                let follower = followers.get(&node);
                node == local.node || follower.is_some_and(|it| it.life == life && it.knows >= set.version)
            };
            set.by == local && set.members().all(knows)
        };
        self.in_force = self.in_force.max(self.chain.iter().rposition(all_know));
        if let Some(at) = self.in_force
            && self.held_by_all(followers, end) >= Some(self.told_of)
        {
            self.chain.drain(..at);
            self.in_force = Some(0);
        }
    }

    /// The last event that all have who have to, which somebody may be told of from now on; `None` as long as no set is in
    /// force or one of it has nothing. One that is to work `alone`, and always was, has to ask nobody.
    pub(crate) fn confirm(
        &mut self,
        followers: &BTreeMap<NodeId, Follower>,
        alone: bool,
        end: u64,
    ) -> Option<u64> {
        let is_free = alone && self.chain.is_empty();
        let confirmed = if is_free { end } else { self.held_by_all(followers, end)? };
        self.told_of = self.told_of.max(confirmed);
        Some(confirmed)
    }

    /// The last event that all have of the set in force.
    fn held_by_all(&self, followers: &BTreeMap<NodeId, Follower>, end: u64) -> Option<u64> {
        let set = self.chain.get(self.in_force?)?;
        let have = |(node, life)| {
            if node == self.local.node {
                return Some(end);
            }
            let follower = followers.get(&node).filter(|follower| follower.life == life);
            follower.and_then(|follower| follower.have)
        };
        set.members().map(have).min().flatten()
    }
}

/// What a node holds of a standby group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    /// The node's life.
    pub(crate) life: u64,
    /// The incarnation and its last event, if there is a state.
    pub(crate) upto: Option<(Incarnation, u64)>,
    /// The latest set it has heard of.
    pub(crate) in_sync: Option<InSync>,
}

/// What those hold who were asked.
#[derive(Debug, Default)]
pub(crate) struct Census {
    said: BTreeMap<NodeId, Holding>,
}

impl Census {
    pub(crate) fn say(&mut self, node: NodeId, holding: Holding) {
        self.said.insert(node, holding);
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.said.contains_key(&node)
    }

    /// The sets that somebody may go on by: the latest, and those that whoever says so is in itself. Of a set without itself a
    /// standby hears only when all who are in it know it.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &InSync> {
        let own = self.said.iter().filter_map(|(node, holding)| {
            holding.in_sync.as_ref().filter(|set| set.members.get(&node.0) == Some(&holding.life))
        });
        own.chain(self.latest())
    }

    /// The latest set that anybody knows.
    pub(crate) fn latest(&self) -> Option<&InSync> {
        self.known().max()
    }

    /// The latest set that each knows who was asked.
    pub(crate) fn known(&self) -> impl Iterator<Item = &InSync> {
        self.said.values().filter_map(|holding| holding.in_sync.as_ref())
    }

    /// Who may hold something that was told of, or know who does, and has not been asked; `all` are the nodes there are. Of
    /// those that are `gone` nothing can come any more.
    pub(crate) fn missing(&self, all: &BTreeSet<NodeId>, gone: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
        let mut missing = BTreeSet::new();
        let newest = self.holders().map(|(_, (of, _))| of).max();
        if self.latest().map(|latest| latest.by) < newest {
            // Others may have been told who is in sync with the newest incarnation: anybody, where it was cut off and given
            // others to stand by before these heard of it.
            missing.extend(all.iter().copied().filter(|node| !self.said.contains_key(node) && !gone(*node)));
        }
        let Some(latest) = self.latest() else { return missing };
        let mut forgot = false;
        let mut asked = BTreeSet::from([latest]);
        let mut sets = vec![latest];
        while let Some(set) = sets.pop() {
            for (node, life) in set.members() {
                match self.said.get(&node) {
                    // A set that not all of its own know yet: whoever took over by the one before does not know it either.
                    Some(Holding { life: its, in_sync, .. }) if *its == life => {
                        sets.extend(in_sync.iter().filter(|known| asked.insert(known)));
                    }
                    Some(_) => forgot = true,
                    None if gone(node) => forgot = true,
                    None => _ = missing.insert(node),
                }
            }
        }
        if forgot {
            // It may have been the only one of these that knew of a later set: anybody may be in that.
            let others = all.iter().copied().chain([latest.by.node]);
            missing.extend(others.filter(|node| !self.said.contains_key(node) && !gone(*node)));
        }
        missing
    }

    /// Those who hold a state, and up to where.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (NodeId, (Incarnation, u64))> {
        self.said.iter().filter_map(|(&node, holding)| Some((node, holding.upto?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    fn incarnation(generation: u64, node: u64) -> Incarnation {
        Incarnation::new(generation, NodeId(node))
    }

    fn follower(knows: u64, have: u64) -> Follower {
        Follower { knows, have: Some(have), life: 1, ..Follower::new(Instant::from_micros(0)) }
    }

    fn lives(nodes: &[u64]) -> Lives {
        nodes.iter().map(|&node| (node, 1)).collect()
    }

    fn none() -> BTreeMap<NodeId, Follower> {
        BTreeMap::new()
    }

    /// One without standbys, of whose events somebody was told up to this one.
    fn alone(told_of: u64) -> Guard {
        Guard::new(incarnation(1, 9), 1, Vec::new(), told_of)
    }

    fn in_force(nodes: &[u64]) -> Guard {
        let mut guard = alone(0);
        guard.propose(lives(nodes), &Lives::new(), 1, &none(), |_, _| false);
        guard.heard(&nodes.iter().map(|node| (NodeId(*node), follower(1, 5))).collect(), 9);
        guard
    }

    fn names(guard: &Guard, nodes: &[u64]) -> bool {
        guard.told().is_some_and(|told| told.members == lives(nodes))
    }

    #[test]
    fn nothing_is_told_before_a_set_is_in_force_and_all_of_it_have_it() {
        let mut guard = alone(0);
        guard.propose(lives(&[1, 2]), &Lives::new(), 1, &none(), |_, _| false);
        let mut followers = BTreeMap::from([(NodeId(1), follower(1, 5)), (NodeId(2), follower(0, 5))]);
        guard.heard(&followers, 9);
        assert_eq!(guard.confirm(&followers, false, 9), None);
        followers.insert(NodeId(2), follower(1, 3));
        guard.heard(&followers, 9);
        assert_eq!(guard.confirm(&followers, false, 9), Some(3));
        followers.insert(NodeId(2), Follower { life: 2, ..follower(1, 9) });
        assert_eq!(
            guard.confirm(&followers, false, 9),
            None,
            "it began anew, and may have forgotten who is in sync"
        );
    }

    #[test]
    fn a_set_takes_the_place_of_those_before_when_all_of_it_have_what_was_told_of() {
        let mut guard = in_force(&[1]);
        let mut followers = BTreeMap::from([(NodeId(1), follower(2, 7)), (NodeId(2), follower(1, 3))]);
        assert_eq!(guard.confirm(&followers, false, 9), Some(7));
        guard.propose(lives(&[1, 2]), &Lives::new(), 2, &followers, |_, _| false);
        followers.insert(NodeId(2), follower(2, 6));
        guard.heard(&followers, 9);
        assert_eq!(guard.confirm(&followers, false, 9), Some(6), "no more than both have");
        guard.propose(lives(&[2]), &Lives::new(), 1, &followers, |_, _| false);
        assert!(names(&guard, &[1, 2]) && guard.chain().len() == 2, "node 2 alone would lose an event");
        followers.insert(NodeId(2), follower(2, 7));
        guard.heard(&followers, 9);
        guard.propose(lives(&[2]), &Lives::new(), 1, &followers, |_, _| false);
        assert!(names(&guard, &[2]));
    }

    #[test]
    fn one_that_is_to_work_alone_has_those_before_hear_of_it_and_counts_until_others_have_all() {
        let mut guard = in_force(&[1, 2]);
        guard.propose(Lives::new(), &Lives::new(), 0, &none(), |_, _| false);
        guard.heard(&none(), 9);
        assert_eq!(guard.confirm(&none(), true, 9), None, "they may go on without it");
        guard.propose(Lives::new(), &lives(&[2]), 0, &none(), |_, _| false);
        assert!(names(&guard, &[2, 9]));
        guard.heard(&BTreeMap::from([(NodeId(2), follower(2, 5))]), 9);
        guard.propose(Lives::new(), &lives(&[2]), 0, &none(), |_, _| false);
        guard.heard(&none(), 9);
        assert!(names(&guard, &[9]) && guard.is_settled() && guard.others().is_empty());
        assert_eq!(guard.confirm(&none(), true, 9), Some(9));
        // And no more.
        guard.propose(lives(&[1]), &Lives::new(), 1, &none(), |_, _| false);
        assert!(names(&guard, &[1, 9]));
        let version = guard.told().expect("just named").version;
        let followers = BTreeMap::from([(NodeId(1), follower(version, 8))]);
        guard.heard(&followers, 9);
        guard.propose(lives(&[1]), &Lives::new(), 1, &followers, |_, _| false);
        assert!(names(&guard, &[1, 9]), "node 1 lacks one that somebody was told of");
        let followers = BTreeMap::from([(NodeId(1), follower(version, 9))]);
        guard.heard(&followers, 9);
        guard.propose(lives(&[1]), &Lives::new(), 1, &followers, |_, _| false);
        assert!(names(&guard, &[1]));
    }

    #[test]
    fn one_that_was_alone_from_the_first_asks_nobody_and_counts_until_others_have_all() {
        let mut guard = alone(0);
        guard.propose(Lives::new(), &Lives::new(), 0, &none(), |_, _| false);
        assert!(guard.told().is_none());
        assert_eq!(guard.confirm(&none(), false, 9), None, "it is not to be alone");
        assert_eq!(guard.confirm(&none(), true, 9), Some(9));
        guard.propose(lives(&[1]), &Lives::new(), 1, &none(), |_, _| false);
        assert!(names(&guard, &[1, 9]));
        let mut fresh = alone(0);
        fresh.propose(lives(&[1]), &Lives::new(), 1, &none(), |_, _| false);
        assert!(names(&fresh, &[1]), "nobody was told of anything");
    }

    #[test]
    fn whoever_took_over_is_in_every_set_of_which_nobody_else_has_all_that_was_told_of() {
        let both = {
            let mut before = in_force(&[1]);
            before.propose(lives(&[1, 3]), &Lives::new(), 2, &none(), |_, _| false);
            before
        };
        for before in [in_force(&[1]), both] {
            let mut guard = Guard::new(incarnation(1 << 20, 1), 1, before.chain().to_vec(), 9);
            let lacks = BTreeMap::from([(NodeId(3), follower(0, 8))]);
            for _ in 0..2 {
                guard.propose(lives(&[3]), &Lives::new(), 1, &lacks, |_, _| false);
                assert!(names(&guard, &[1, 3]), "also when that is named already");
            }
            let has = BTreeMap::from([(NodeId(3), follower(0, 9))]);
            guard.propose(lives(&[3]), &Lives::new(), 1, &has, |_, _| false);
            assert!(names(&guard, &[3]));
        }
    }

    #[test]
    fn a_set_shares_a_member_with_those_before_unless_all_of_them_are_gone() {
        let mut guard = in_force(&[1]);
        guard.propose(lives(&[2]), &Lives::new(), 1, &none(), |_, _| false);
        assert!(names(&guard, &[1]), "the only one is away, and may take over");
        guard.propose(lives(&[2]), &lives(&[1]), 1, &none(), |_, _| false);
        assert!(names(&guard, &[1, 2]), "by way of both");
        let mut guard = in_force(&[1, 2]);
        guard.propose(lives(&[2]), &lives(&[1]), 2, &none(), |_, _| false);
        assert!(names(&guard, &[1, 2]), "1 stays until whoever has its place is ready");
        guard.propose(lives(&[2, 3]), &lives(&[1]), 2, &none(), |_, _| false);
        assert!(names(&guard, &[2, 3]));
        let mut guard = in_force(&[1]);
        guard.propose(lives(&[2]), &Lives::new(), 1, &none(), |node, _| node == NodeId(1));
        assert!(names(&guard, &[2]));
        // The next incarnation, on node 1, goes on from there.
        let guard = Guard::new(incarnation(2, 1), 1, in_force(&[1, 2]).chain().to_vec(), 0);
        assert!(guard.told().is_none() && guard.has(NodeId(2)) && !guard.has(NodeId(1)));
    }

    #[test]
    fn what_was_open_before_has_to_be_shared_with_also_if_others_knew_more() {
        let mut before = in_force(&[1, 2, 3]);
        assert!(before.is_settled());
        before.propose(lives(&[3]), &Lives::new(), 1, &none(), |_, _| false);
        before.propose(lives(&[1, 2, 3]), &Lives::new(), 1, &none(), |_, _| false);
        assert!(!before.is_settled(), "3 may go on by itself, as far as it knows");
        let mut next = Guard::new(incarnation(2, 1), 1, before.chain().to_vec(), 0);
        next.propose(lives(&[2]), &Lives::new(), 1, &none(), |_, _| false);
        assert!(next.told().is_none());
        next.propose(lives(&[2, 3]), &Lives::new(), 1, &none(), |_, _| false);
        assert!(names(&next, &[2, 3]));
        let many = |most: u64| -> Vec<InSync> {
            let set = |version| InSync { by: incarnation(1, 9), version, members: lives(&[version + 1]) };
            (1..=most).map(set).collect()
        };
        let all: Lives = (2..=1_001).map(|node| (node, 1)).collect();
        let mut next = Guard::new(incarnation(2, 1), 1, many(120), 0);
        next.propose((3..=121).map(|node| (node, 1)).collect(), &Lives::new(), 1, &none(), |_, _| false);
        assert!(next.told().is_none(), "none is forgotten");
        next.propose(all.clone(), &Lives::new(), 1, &none(), |_, _| false);
        assert!(next.told().is_some(), "and there is room for others");
        assert_eq!(Guard::new(incarnation(2, 1), 1, many(1_000), 0).chain().len(), MAX_BEFORE);
    }

    #[test]
    fn an_active_with_as_many_open_sets_as_may_be_names_another_once_those_of_some_are_gone() {
        let mut guard = in_force(&[1, 2]);
        for node in 3..=65 {
            guard.propose(lives(&[1, node]), &Lives::new(), 2, &none(), |_, _| false);
        }
        assert_eq!(guard.chain().len(), MAX_CHAIN);
        guard.propose(lives(&[1, 70]), &Lives::new(), 2, &none(), |_, _| false);
        assert!(names(&guard, &[1, 65]), "as many are open as may be");
        guard.propose(lives(&[2]), &Lives::new(), 1, &none(), |node, _| node != NodeId(2));
        assert!(names(&guard, &[2]));
        let versions: Vec<u64> = guard.chain().iter().map(|set| set.version).collect();
        assert_eq!(versions, [1, 64, 65], "what is in force stays, and no version is given twice");
    }

    #[test]
    fn somebody_may_go_on_by_the_latest_set_and_by_one_it_is_in_itself() {
        let mut census = Census::default();
        let set = |version, nodes: &[u64]| InSync { by: incarnation(1, 9), version, members: lives(nodes) };
        let mut say = |node, life, set: &InSync| {
            census.say(NodeId(node), Holding { life, upto: None, in_sync: Some(set.clone()) });
        };
        let [left, own, latest] = [set(1, &[5, 6]), set(2, &[1, 2]), set(3, &[2, 3])];
        say(4, 1, &left);
        say(1, 1, &own);
        say(2, 2, &set(1, &[2]));
        say(3, 1, &latest);
        let sets: BTreeSet<&InSync> = census.sets().collect();
        assert_eq!(sets, BTreeSet::from([&own, &latest]), "node 2 has forgotten, and node 4 is in none");
    }

    #[test]
    fn whoever_takes_over_has_to_have_asked_all_of_the_latest_set() {
        let guard = in_force(&[1, 2]);
        let mut later = in_force(&[1, 2]);
        later.propose(lives(&[2]), &Lives::new(), 1, &none(), |_, _| false);
        let holding = |guard: &Guard| Holding {
            life: 1,
            upto: Some((incarnation(1, 9), 3)),
            in_sync: guard.told().cloned(),
        };
        let all = BTreeSet::from([NodeId(1), NodeId(2), NodeId(4)]);
        let missing = |census: &Census| census.missing(&all, |_| false).into_iter().collect::<Vec<_>>();
        let mut census = Census::default();
        census.say(NodeId(1), holding(&guard));
        assert_eq!(missing(&census), [NodeId(2)]);
        assert!(census.missing(&all, |_| true).is_empty());
        census.say(NodeId(2), Holding { life: 2, upto: None, in_sync: None });
        assert_eq!(
            missing(&census),
            [NodeId(4), NodeId(9)],
            "one forgot who came after it, so all have to say"
        );
        census.say(NodeId(2), holding(&later));
        assert_eq!(missing(&census), []);
        let mut census = Census::default();
        census.say(NodeId(2), holding(&later));
        assert_eq!(missing(&census), [], "node 1 has nothing that this one lacks");
        let mut census = Census::default();
        census.say(
            NodeId(1),
            Holding { life: 1, upto: Some((incarnation(2, 1), 0)), in_sync: guard.told().cloned() },
        );
        census.say(NodeId(2), holding(&guard));
        assert_eq!(missing(&census), [NodeId(4)], "it may know who is in sync with the second");
    }

    #[test]
    fn where_not_all_of_the_latest_set_know_it_those_of_the_one_before_are_asked_as_well() {
        let all = BTreeSet::from([1, 2, 3, 4].map(NodeId));
        let named = |version, nodes: &[u64]| InSync { by: incarnation(1, 9), version, members: lives(nodes) };
        let [before, latest] = [named(1, &[1, 2]), named(2, &[1, 3])];
        let mut census = Census::default();
        let mut say = |node, set: &InSync| {
            let upto = Some((incarnation(1, 9), 5));
            census.say(NodeId(node), Holding { life: 1, upto, in_sync: Some(set.clone()) });
            census.missing(&all, |_| false).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(say(3, &latest), [NodeId(1)]);
        assert_eq!(
            say(1, &before),
            [NodeId(2)],
            "somebody may have asked the first two before 1 could hear of the latest, and have named 2 alone since"
        );
        let theirs = InSync { by: incarnation(2, 4), version: 1, members: lives(&[2]) };
        assert_eq!(say(2, &theirs), [], "as has happened");
        assert_eq!(census.latest(), Some(&theirs));
        assert_eq!(census.sets().collect::<BTreeSet<_>>(), BTreeSet::from([&before, &latest, &theirs]));
    }
}
