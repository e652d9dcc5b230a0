//! Which standbys have to have an event before anybody is told that it was worked off; and who may take over, so that
//! none that was told of is lost.
//!
//! The one that works names them, in sets that follow one another; those of a set that is in force all hold what is
//! told of. Each set shares a member with every one before it that may still be in force, and is in force only once
//! all its members have heard of it. So whoever has asked all members of the latest set that any of them knows has
//! missed none, and asking a member has it listen no more to the one that worked before. What it names itself then has to share a
//! member with every set that one of those it asked was in and knew as the latest: that one may go on by it alone later, where it
//! hears of no other. A member that has forgotten
//! everything, as it began anew, cannot say whether there was a later set; then the one that named it has to.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

use super::{Follower, Incarnation, MAX_MEMBERS};

/// So many of the sets that one incarnation named may be open.
const MAX_CHAIN: usize = 64;

/// So many at most are gone on from: what the active had open when it moved, and what each of those in sync knew.
const MAX_BEFORE: usize = MAX_CHAIN + 2 * MAX_MEMBERS as usize;

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
    /// Those that may be in force as far as somebody knows, the latest last.
    chain: Vec<InSync>,
    /// The first of them is in force, and of this incarnation.
    holds: bool,
}

impl Guard {
    /// That of an incarnation which goes on from one whose sets these are.
    pub(crate) fn new(local: Incarnation, before: Vec<InSync>) -> Self {
        let without = before.into_iter().map(|mut set| {
            set.members.remove(&local.node.0);
            set
        });
        let mut chain: Vec<InSync> = without.filter(|set| !set.members.is_empty()).collect();
        chain.sort_unstable();
        chain.dedup();
        // There are more by malice only.
        chain.drain(..chain.len().saturating_sub(MAX_BEFORE));
        Self { local, chain, holds: false }
    }

    /// Whether nothing is open: those of the one set that is in force have what was told of, and nobody else need be asked.
    pub(crate) fn is_settled(&self) -> bool {
        self.chain.is_empty() || (self.holds && self.chain.len() == 1)
    }

    /// What standbys are to be told: the latest set of this incarnation.
    pub(crate) fn told(&self) -> Option<&InSync> {
        self.chain.last().filter(|set| set.by == self.local)
    }

    /// What a standby is to be told: whoever is left out keeps what it has until those that are not hold it.
    pub(crate) fn told_to(&self, node: NodeId) -> Option<&InSync> {
        let told = self.told()?;
        if told.has(node) { Some(told) } else { self.chain.first().filter(|_| self.holds) }
    }

    /// All that may be in force.
    pub(crate) fn chain(&self) -> &[InSync] {
        &self.chain
    }

    /// Whether a node is in a set that may be in force.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.chain.iter().any(|set| set.has(node))
    }

    /// The nodes in sets that may be in force.
    pub(crate) fn members(&self) -> BTreeSet<NodeId> {
        self.chain.iter().flat_map(InSync::members).map(|(node, _)| node).collect()
    }

    /// Names another set, if that is needed and may be: `ready` are the nodes it had better have, which are to be `places`;
    /// `lasting` those that it has besides until they are so many, or to share a member with those before. Of lives that
    /// are `gone` nothing can come any more.
    pub(crate) fn propose(
        &mut self,
        ready: Lives,
        lasting: &Lives,
        places: usize,
        gone: impl Fn(NodeId, u64) -> bool,
    ) {
        let shares = |wanted: &Lives| {
            self.chain.iter().all(|set| {
                let mut members = set.members();
                let is_shared = members.any(|(node, life)| wanted.get(&node.0) == Some(&life));
                is_shared || set.members().all(|(node, life)| gone(node, life))
            })
        };
        let mut wanted = ready;
        if wanted.len() < places || !shares(&wanted) {
            wanted.extend(lasting);
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

    /// Standbys have heard of sets: the latest of which all have heard is in force.
    pub(crate) fn heard(&mut self, followers: &BTreeMap<NodeId, Follower>) {
        let all_know = |set: &InSync| {
            let knows = |(node, life)| {
                let follower = followers.get(&node);
                follower.is_some_and(|follower| follower.life == life && follower.knows >= set.version)
            };
            set.by == self.local && set.members().all(knows)
        };
        if let Some(at) = self.chain.iter().rposition(all_know) {
            self.chain.drain(..at);
            self.holds = true;
        }
    }

    /// The last event that all have who have to; `None` as long as no set is in force or one of it has nothing.
    pub(crate) fn confirmed(&self, followers: &BTreeMap<NodeId, Follower>) -> Option<u64> {
        let set = self.chain.first().filter(|_| self.holds)?;
        let have = |(node, life)| {
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

    /// The sets that somebody may go on by: the latest, and those that whoever says so is in itself. A set without itself a node
    /// is told of only when all who are in it know it.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &InSync> {
        let own = self.said.iter().filter_map(|(node, holding)| {
            holding.in_sync.as_ref().filter(|set| set.members.get(&node.0) == Some(&holding.life))
        });
        own.chain(self.latest())
    }

    /// The latest set that anybody knows.
    pub(crate) fn latest(&self) -> Option<&InSync> {
        self.said.values().filter_map(|holding| holding.in_sync.as_ref()).max()
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
        for (node, life) in latest.members() {
            match self.said.get(&node) {
                Some(holding) => forgot |= holding.life != life,
                None if gone(node) => forgot = true,
                None => _ = missing.insert(node),
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

    fn in_force(nodes: &[u64]) -> Guard {
        let mut guard = Guard::new(incarnation(1, 9), Vec::new());
        guard.propose(lives(nodes), &Lives::new(), 0, |_, _| false);
        guard.heard(&nodes.iter().map(|node| (NodeId(*node), follower(1, 5))).collect());
        guard
    }

    fn names(guard: &Guard, nodes: &[u64]) -> bool {
        guard.told().is_some_and(|told| told.members == lives(nodes))
    }

    #[test]
    fn nothing_is_told_before_a_set_is_in_force_and_all_of_it_have_it() {
        let mut guard = Guard::new(incarnation(1, 9), Vec::new());
        guard.propose(lives(&[1, 2]), &Lives::new(), 0, |_, _| false);
        let mut followers = BTreeMap::from([(NodeId(1), follower(1, 5)), (NodeId(2), follower(0, 5))]);
        guard.heard(&followers);
        assert_eq!(guard.confirmed(&followers), None);
        followers.insert(NodeId(2), follower(1, 3));
        guard.heard(&followers);
        assert_eq!(guard.confirmed(&followers), Some(3));
        followers.insert(NodeId(2), Follower { life: 2, ..follower(1, 9) });
        assert_eq!(guard.confirmed(&followers), None, "it began anew, and may have forgotten who is in sync");
    }

    #[test]
    fn a_set_shares_a_member_with_those_before_unless_all_of_them_are_gone() {
        let mut guard = in_force(&[1]);
        guard.propose(lives(&[2]), &Lives::new(), 0, |_, _| false);
        assert!(names(&guard, &[1]), "the only one is away, and may take over");
        guard.propose(lives(&[2]), &lives(&[1]), 0, |_, _| false);
        assert!(names(&guard, &[1, 2]), "by way of both");
        let mut guard = in_force(&[1, 2]);
        guard.propose(lives(&[2]), &lives(&[1]), 2, |_, _| false);
        assert!(names(&guard, &[1, 2]), "1 stays until whoever has its place is ready");
        guard.propose(lives(&[2, 3]), &lives(&[1]), 2, |_, _| false);
        assert!(names(&guard, &[2, 3]));
        let mut guard = in_force(&[1]);
        guard.propose(lives(&[2]), &Lives::new(), 0, |node, _| node == NodeId(1));
        assert!(names(&guard, &[2]));
        // The next incarnation, on node 1, goes on from there.
        let guard = Guard::new(incarnation(2, 1), in_force(&[1, 2]).chain().to_vec());
        assert!(guard.told().is_none() && guard.has(NodeId(2)) && !guard.has(NodeId(1)));
    }

    #[test]
    fn what_was_open_before_has_to_be_shared_with_also_if_others_knew_more() {
        let mut before = in_force(&[1, 2, 3]);
        assert!(before.is_settled());
        before.propose(lives(&[3]), &Lives::new(), 0, |_, _| false);
        before.propose(lives(&[1, 2, 3]), &Lives::new(), 0, |_, _| false);
        assert!(!before.is_settled(), "3 may go on by itself, as far as it knows");
        let mut next = Guard::new(incarnation(2, 1), before.chain().to_vec());
        next.propose(lives(&[2]), &Lives::new(), 0, |_, _| false);
        assert!(next.told().is_none());
        next.propose(lives(&[2, 3]), &Lives::new(), 0, |_, _| false);
        assert!(names(&next, &[2, 3]));
        let many = |most: u64| -> Vec<InSync> {
            let set = |version| InSync { by: incarnation(1, 9), version, members: lives(&[version + 1]) };
            (1..=most).map(set).collect()
        };
        let all: Lives = (2..=1_001).map(|node| (node, 1)).collect();
        let mut next = Guard::new(incarnation(2, 1), many(120));
        next.propose((3..=121).map(|node| (node, 1)).collect(), &Lives::new(), 0, |_, _| false);
        assert!(next.told().is_none(), "none is forgotten");
        next.propose(all.clone(), &Lives::new(), 0, |_, _| false);
        assert!(next.told().is_some(), "and there is room for others");
        assert_eq!(Guard::new(incarnation(2, 1), many(1_000)).chain().len(), MAX_BEFORE);
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
        later.propose(lives(&[2]), &Lives::new(), 0, |_, _| false);
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
}
