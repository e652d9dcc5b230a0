//! Which members of a cluster are to hold sessions with each other.
//!
//! A [`Topology`] names the links of any set of members by a pure function, the same
//! in the server and in the page, so that no list of links ever travels. Members come
//! and go, so their indexes have gaps; every topology connects whatever members there
//! are, and changes as few links as it sensibly can when one of them goes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A rule for who is linked with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Topology {
    /// Everybody with everybody.
    #[default]
    Full,
    /// Each with the next, and the last with the first.
    Ring,
    /// Everybody with the hub, the member with the lowest index.
    Star,
    /// Each with the next.
    Line,
    /// Each with its parent. Member `i` is a child of `(i - 1) / arity`, or of its
    /// nearest ancestor that is still a member; without any, of the member with the lowest
    /// index. So a node that leaves hands its children to its parent, and nobody else is
    /// touched.
    Tree {
        /// Children per node as long as nobody has left, 1 or more; 2 by default.
        #[serde(default = "default_arity")]
        arity: u32,
    },
    /// A ring in random order, and random chords: each member has `degree` links. Where
    /// there are no more than `degree` others it has all of them, and where an odd number
    /// of members are to have an odd number of links each, one has one link less.
    RandomRegular {
        /// Links per node, 2 or more: with fewer, more than two nodes cannot be connected.
        degree: u32,
        /// The same seed gives the same links for the same members.
        #[serde(default)]
        seed: u32,
    },
}

fn default_arity() -> u32 {
    2
}

/// Why there is no such topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A tree without branches.
    #[error("a tree needs an arity of 1 or more")]
    Arity,
    /// Too few links to connect more than two nodes.
    #[error("a random regular topology needs a degree of 2 or more, or it cannot be connected")]
    Degree,
}

/// The links of one set of members, by index. Every link is named once, lower end first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Each of these members with each: listed, they would be too many to keep at hand.
    All(BTreeSet<usize>),
    /// The neighbours of each member that has any.
    Listed(BTreeMap<usize, BTreeSet<usize>>),
}

impl Default for Links {
    /// Those of nobody.
    fn default() -> Self {
        Self(Kind::All(BTreeSet::new()))
    }
}

impl Topology {
    /// Checks its figures.
    ///
    /// # Errors
    /// When no set of members could be linked that way.
    pub fn validate(self) -> Result<(), TopologyError> {
        match self {
            Self::Tree { arity: 0 } => Err(TopologyError::Arity),
            Self::RandomRegular { degree: 0 | 1, .. } => Err(TopologyError::Degree),
            _ => Ok(()),
        }
    }

    /// The links of these members: always connected, for every topology that is
    /// [valid](Self::validate).
    pub fn links(self, members: impl IntoIterator<Item = usize>) -> Links {
        let members: BTreeSet<usize> = members.into_iter().collect();
        let order: Vec<usize> = members.iter().copied().collect();
        match self {
            Self::Full => Links(Kind::All(members)),
            Self::Ring => {
                let mut links = Links::of_pairs(consecutive(&order));
                links.close(&order);
                links
            }
            Self::Line => Links::of_pairs(consecutive(&order)),
            Self::Star => {
                let hub = order.first().copied().unwrap_or_default();
                Links::of_pairs(order.iter().skip(1).map(|&other| (hub, other)))
            }
            Self::Tree { arity } => {
                let arity = (arity as usize).max(1);
                let children = order.iter().skip(1);
                Links::of_pairs(children.map(|&child| (parent(&members, order[0], child, arity), child)))
            }
            Self::RandomRegular { degree, seed } => random_regular(members, degree as usize, seed),
        }
    }
}

/// The nearest ancestor of `child` that is a member, or else `lowest`.
fn parent(members: &BTreeSet<usize>, lowest: usize, child: usize, arity: usize) -> usize {
    let mut at = child;
    while at > 0 {
        at = (at - 1) / arity;
        if members.contains(&at) {
            return at;
        }
    }
    lowest
}

fn consecutive(order: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    order.windows(2).map(|pair| (pair[0], pair[1]))
}

/// A ring in the order of the members' hashes connects them. The chords are chosen best pair
/// first, by the pairs' hashes, while both ends want more: of all pairs only those near a member
/// that comes or goes are then chosen differently. Who is left wanting takes ends of chords over.
fn random_regular(members: BTreeSet<usize>, degree: usize, seed: u32) -> Links {
    if members.len() <= degree + 1 {
        return Links(Kind::All(members));
    }
    let hash = |index: usize| mix(mix(u64::from(seed)) ^ index as u64);
    let mut order: Vec<usize> = members.into_iter().collect();
    order.sort_unstable_by_key(|&index| (hash(index), index));
    let mut links = Links::of_pairs(consecutive(&order));
    links.close(&order);
    let ring = links.clone();

    let mut wants: BTreeMap<usize, usize> =
        order.iter().map(|&index| (index, degree.saturating_sub(2))).collect();
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (at, &one) in order.iter().enumerate() {
        for &other in &order[at + 1..] {
            let (low, high) = (one.min(other), one.max(other));
            pairs.push((mix(hash(low).wrapping_add(hash(high).rotate_left(32))), low, high));
        }
    }
    pairs.sort_unstable();
    for (_, one, other) in pairs {
        if wants[&one] > 0 && wants[&other] > 0 && !links.contains(one, other) {
            links.insert(one, other);
            for end in [one, other] {
                wants.entry(end).and_modify(|more| *more -= 1);
            }
        }
    }
    while let Some((one, other)) = take_over(&mut links, &ring, &wants) {
        for end in [one, other] {
            wants.entry(end).and_modify(|more| *more -= 1);
        }
    }
    links
}

/// Puts one chord's two ends on two members that want more links (or on one that wants two more).
fn take_over(links: &mut Links, ring: &Links, wants: &BTreeMap<usize, usize>) -> Option<(usize, usize)> {
    let wanting: Vec<usize> =
        wants.iter().flat_map(|(&index, &more)| std::iter::repeat_n(index, more.min(2))).collect();
    let chords: Vec<(usize, usize)> = links.iter().filter(|&(a, b)| !ring.contains(a, b)).collect();
    for (at, &one) in wanting.iter().enumerate() {
        for &other in &wanting[at + 1..] {
            if one != other && !links.contains(one, other) {
                links.insert(one, other);
                return Some((one, other));
            }
            let fits = |&(x, y): &(usize, usize)| {
                ![one, other].contains(&x)
                    && ![one, other].contains(&y)
                    && !links.contains(one, x)
                    && !links.contains(other, y)
            };
            let turned = chords.iter().map(|&(a, b)| (b, a));
            if let Some((x, y)) = chords.iter().copied().chain(turned).find(fits) {
                links.remove(x, y);
                links.insert(one, x);
                links.insert(other, y);
                return Some((one, other));
            }
        }
    }
    None
}

/// The finalizer of `SplitMix64`: every bit of the result depends on every bit of `x`.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Links {
    fn of_pairs(pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut links = Self(Kind::Listed(BTreeMap::new()));
        for (one, other) in pairs {
            links.insert(one, other);
        }
        links
    }

    /// Links the last with the first, where that is not a link already.
    fn close(&mut self, order: &[usize]) {
        if let [first, _, .., last] = *order {
            self.insert(first, last);
        }
    }

    fn insert(&mut self, one: usize, other: usize) {
        if let Kind::Listed(neighbours) = &mut self.0 {
            neighbours.entry(one).or_default().insert(other);
            neighbours.entry(other).or_default().insert(one);
        }
    }

    fn remove(&mut self, one: usize, other: usize) {
        if let Kind::Listed(neighbours) = &mut self.0 {
            for (from, to) in [(one, other), (other, one)] {
                if let Some(known) = neighbours.get_mut(&from) {
                    known.remove(&to);
                }
            }
        }
    }

    /// Whether everybody is linked with everybody, by the topology's definition.
    pub fn is_full(&self) -> bool {
        matches!(self.0, Kind::All(_))
    }

    /// Whether these two are linked.
    pub fn contains(&self, one: usize, other: usize) -> bool {
        match &self.0 {
            Kind::All(members) => one != other && members.contains(&one) && members.contains(&other),
            Kind::Listed(neighbours) => neighbours.get(&one).is_some_and(|known| known.contains(&other)),
        }
    }

    /// Whom this member is linked with, in order.
    pub fn neighbours(&self, of: usize) -> impl Iterator<Item = usize> {
        let known = match &self.0 {
            Kind::All(members) => members.contains(&of).then_some(members),
            Kind::Listed(neighbours) => neighbours.get(&of),
        };
        known.into_iter().flatten().copied().filter(move |&other| other != of)
    }

    /// Every link once, lower end first, in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let members: Box<dyn Iterator<Item = usize>> = match &self.0 {
            Kind::All(members) => Box::new(members.iter().copied()),
            Kind::Listed(neighbours) => Box::new(neighbours.keys().copied()),
        };
        members.flat_map(move |one| {
            self.neighbours(one).filter(move |&other| one < other).map(move |other| (one, other))
        })
    }

    /// How many links there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::All(members) => members.len() * members.len().saturating_sub(1) / 2,
            Kind::Listed(neighbours) => neighbours.values().map(BTreeSet::len).sum::<usize>() / 2,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(degree: u32, seed: u32) -> Topology {
        Topology::RandomRegular { degree, seed }
    }

    fn tree(arity: u32) -> Topology {
        Topology::Tree { arity }
    }

    fn all() -> Vec<Topology> {
        let mut all = vec![Topology::Full, Topology::Ring, Topology::Star, Topology::Line];
        all.extend([1, 2, 3, 7].map(tree));
        all.extend([2, 3, 4, 5, 8].map(|degree| random(degree, 9)));
        all
    }

    /// Sets of members, with gaps and without.
    fn sets() -> Vec<Vec<usize>> {
        let mut sets: Vec<Vec<usize>> = (0..=33).map(|n| (0..n).collect()).collect();
        sets.extend((1..=33).map(|n| (0..n).map(|i| 5 + i * i).collect()));
        // The root and half of the others are gone.
        sets.push((1..200).filter(|i| mix(*i as u64).is_multiple_of(2)).collect());
        sets
    }

    fn pairs(topology: Topology, members: &[usize]) -> BTreeSet<(usize, usize)> {
        topology.links(members.iter().copied()).iter().collect()
    }

    fn is_connected(links: &Links, members: &[usize]) -> bool {
        let mut reached = BTreeSet::new();
        let mut next: Vec<usize> = members.first().copied().into_iter().collect();
        while let Some(at) = next.pop() {
            if reached.insert(at) {
                next.extend(links.neighbours(at));
            }
        }
        reached.len() == members.len()
    }

    #[test]
    fn every_topology_connects_every_set_of_members_and_nobody_else() {
        for topology in all() {
            for members in sets() {
                let links = topology.links(members.iter().copied());
                assert!(is_connected(&links, &members), "{topology:?} of {members:?}");
                for (one, other) in links.iter() {
                    assert!(one < other && members.contains(&one) && members.contains(&other));
                    assert!(links.contains(one, other) && links.contains(other, one));
                }
                assert_eq!(links.iter().count(), links.len(), "{topology:?} of {members:?}");
                assert_eq!(links.is_empty(), members.len() < 2);
            }
        }
    }

    #[test]
    fn each_topology_is_what_it_is_called() {
        let of = |topology, n: usize| pairs(topology, &(0..n).collect::<Vec<_>>());
        assert_eq!(of(Topology::Full, 4).len(), 6);
        assert_eq!(of(Topology::Ring, 4), BTreeSet::from([(0, 1), (1, 2), (2, 3), (0, 3)]));
        assert_eq!(of(Topology::Ring, 2), BTreeSet::from([(0, 1)]));
        assert_eq!(of(Topology::Line, 4), BTreeSet::from([(0, 1), (1, 2), (2, 3)]));
        assert_eq!(of(Topology::Star, 4), BTreeSet::from([(0, 1), (0, 2), (0, 3)]));
        assert_eq!(of(tree(2), 6), BTreeSet::from([(0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]));
        assert_eq!(of(tree(1), 4), of(Topology::Line, 4));
        for n in 1..40 {
            assert_eq!(of(tree(3), n).len(), n - 1);
        }
    }

    #[test]
    fn a_random_regular_topology_is_regular_wherever_there_can_be_one() {
        for members in sets() {
            for degree in 2..12 {
                for seed in 0..4 {
                    let links = random(degree, seed).links(members.iter().copied());
                    let wanted = (degree as usize).min(members.len().saturating_sub(1));
                    let odd = !(wanted * members.len()).is_multiple_of(2);
                    let lacking: usize = members.iter().map(|&m| wanted - links.neighbours(m).count()).sum();
                    assert_eq!(lacking, usize::from(odd), "{degree} links, seed {seed}, {members:?}");
                }
            }
        }
    }

    #[test]
    fn the_seed_alone_decides_which_links_are_chosen() {
        let members: Vec<usize> = (0..24).collect();
        assert_eq!(pairs(random(4, 1), &members), pairs(random(4, 1), &members));
        assert_ne!(pairs(random(4, 1), &members), pairs(random(4, 2), &members));
    }

    #[test]
    fn a_member_that_leaves_moves_few_links_of_the_others() {
        let members: Vec<usize> = (0..40).collect();
        for (topology, most) in
            [(Topology::Full, 0), (Topology::Ring, 1), (Topology::Line, 1), (tree(2), 2), (tree(3), 3)]
        {
            for leaver in 1..40 {
                assert!(moved(topology, &members, leaver) <= most, "{topology:?} without {leaver}");
            }
        }
        for leaver in 1..40 {
            assert_eq!(moved(Topology::Star, &members, leaver), 0, "the hub stays");
        }
        let total: usize = (0..40).map(|leaver| moved(random(4, 7), &members, leaver)).sum();
        assert!(total < 40 * 8, "{total} links of 80 were made anew when each of 40 nodes left once");
    }

    /// How many links among the others are new once `leaver` is gone.
    fn moved(topology: Topology, members: &[usize], leaver: usize) -> usize {
        let rest: Vec<usize> = members.iter().copied().filter(|&member| member != leaver).collect();
        pairs(topology, &rest).difference(&pairs(topology, members)).count()
    }

    #[test]
    fn what_cannot_be_linked_is_refused() {
        assert_eq!(tree(0).validate(), Err(TopologyError::Arity));
        assert_eq!(random(0, 1).validate(), Err(TopologyError::Degree));
        assert_eq!(random(1, 1).validate(), Err(TopologyError::Degree));
        for topology in all() {
            assert_eq!(topology.validate(), Ok(()));
        }
    }

    #[test]
    fn a_topology_travels_under_its_name() {
        for (topology, json) in [
            (Topology::Ring, r#""ring""#),
            (tree(3), r#"{"tree":{"arity":3}}"#),
            (random(4, 7), r#"{"random_regular":{"degree":4,"seed":7}}"#),
        ] {
            assert_eq!(serde_json::to_string(&topology).unwrap(), json);
            assert_eq!(serde_json::from_str::<Topology>(json).unwrap(), topology);
        }
        assert_eq!(serde_json::from_str::<Topology>(r#"{"tree":{}}"#).unwrap(), tree(2));
        assert!(serde_json::from_str::<Topology>(r#"{"tree":{"width":2}}"#).is_err());
        assert!(serde_json::from_str::<Topology>(r#""torus""#).is_err());
    }
}
