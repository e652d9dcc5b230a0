//! Which member knows of which: a bit for each, and how many of those that matter are set.
//!
//! A big cluster has a great many pairs, and each of them is told of on its own. So noting one costs the same whatever the
//! size, and so does asking whether all is known; only where members come and go is everything counted anew, by words of
//! bits.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::NodeId;

use super::state::{State, list};

/// Bits in a word.
const WORD: usize = u64::BITS as usize;

/// A set of members, by index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Indexes(Vec<u64>);

/// Who knows of whom, and who is to.
#[derive(Debug, Default)]
pub(super) struct Acquaintance {
    known: BTreeMap<usize, Indexes>,
    /// Of whom each member is to know. Never of itself.
    wanted: BTreeMap<usize, Indexes>,
    /// How many pairs are wanted, and how many of those are known.
    total: usize,
    met: usize,
}

impl Indexes {
    pub(super) fn contains(&self, index: usize) -> bool {
        self.0.get(index / WORD).is_some_and(|word| word >> (index % WORD) & 1 == 1)
    }

    /// Returns whether that is a change.
    pub(super) fn insert(&mut self, index: usize) -> bool {
        if self.0.len() <= index / WORD {
            self.0.resize(index / WORD + 1, 0);
        }
        let before = self.0[index / WORD];
        self.0[index / WORD] |= 1 << (index % WORD);
        self.0[index / WORD] != before
    }

    /// Returns whether that is a change.
    pub(super) fn remove(&mut self, index: usize) -> bool {
        let had = self.contains(index);
        if had {
            self.0[index / WORD] &= !(1 << (index % WORD));
        }
        had
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            (0..WORD).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * WORD + bit)
        })
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many are in both.
    fn common(&self, other: &Self) -> usize {
        self.0.iter().zip(&other.0).map(|(one, other)| (one & other).count_ones() as usize).sum()
    }
}

impl FromIterator<usize> for Indexes {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut set = Self::default();
        for index in indexes {
            set.insert(index);
        }
        set
    }
}

impl Acquaintance {
    /// From here on, these are to know of these, and nobody else of anybody.
    pub(super) fn expect(&mut self, wanted: BTreeMap<usize, Indexes>) {
        self.wanted = wanted;
        self.total = self.wanted.values().map(Indexes::len).sum();
        self.met = self.wanted.keys().map(|&holder| self.met_by(holder)).sum();
    }

    /// `holder` knows of `subject` if so `told`, or no more. Returns whether that is a change that anybody waits for.
    pub(super) fn note(&mut self, holder: usize, subject: usize, told: bool) -> bool {
        let known = self.known.entry(holder).or_default();
        let changed = if told { known.insert(subject) } else { known.remove(subject) };
        let counts = changed && self.wanted.get(&holder).is_some_and(|wanted| wanted.contains(subject));
        if counts {
            self.met = if told { self.met + 1 } else { self.met - 1 };
        }
        counts
    }

    /// `holder` begins anew, and knows of nobody.
    pub(super) fn forget_all(&mut self, holder: usize) {
        self.met -= self.met_by(holder);
        self.known.remove(&holder);
    }

    /// Whoever was in this place is somebody else from here on, or nobody: no one knows of it, nor it of anyone.
    pub(super) fn vacate(&mut self, index: usize) {
        self.forget_all(index);
        for holder in self.known.keys().copied().collect::<Vec<_>>() {
            self.note(holder, index, false);
        }
    }

    /// Whether everything wanted is known.
    pub(super) fn is_complete(&self) -> bool {
        self.met == self.total
    }

    /// How many pairs that are wanted are known.
    pub(super) fn met(&self) -> usize {
        self.met
    }

    /// Whether `holder` knows of all it is to know of.
    pub(super) fn knows_all(&self, holder: usize) -> bool {
        self.wanted.get(&holder).map_or(0, Indexes::len) == self.met_by(holder)
    }

    fn met_by(&self, holder: usize) -> usize {
        let (known, wanted) = (self.known.get(&holder), self.wanted.get(&holder));
        known.zip(wanted).map_or(0, |(known, wanted)| known.common(wanted))
    }

    /// What is wanted and not known: by whom, and of whom.
    pub(super) fn missing(&self) -> impl Iterator<Item = (usize, usize)> {
        self.wanted.iter().flat_map(|(&holder, wanted)| {
            let known = self.known.get(&holder);
            let lacks = move |subject: &usize| !known.is_some_and(|known| known.contains(*subject));
            wanted.iter().filter(lacks).map(move |subject| (holder, subject))
        })
    }
}

impl State {
    /// Looks up anew who is to know of whom, now that members run or not, or links are others or are cut: all whom running
    /// members connect by links that are not. They are to know what each other can do, and, where they are not linked, to
    /// have a way to each other.
    pub(super) fn expect_acquaintance(&mut self) {
        let (mut indexes, mut routes) = (BTreeMap::new(), BTreeMap::new());
        for group in self.groups() {
            for index in group.iter() {
                let mut others = group.clone();
                others.remove(index);
                if !self.links.is_full() {
                    let mut afar = others.clone();
                    for neighbour in self.links.neighbours(index) {
                        afar.remove(neighbour);
                    }
                    routes.insert(index, afar);
                }
                indexes.insert(index, others);
            }
        }
        self.indexes.expect(indexes);
        self.routes.expect(routes);
    }

    /// The running members, by whom they are connected with.
    pub(super) fn groups(&self) -> Vec<Indexes> {
        let mut left: BTreeSet<usize> = self.running().map(|member| member.node.index).collect();
        let mut groups = Vec::new();
        while let Some(first) = left.pop_first() {
            let mut group = Indexes::from_iter([first]);
            let mut next = vec![first];
            while let Some(at) = next.pop().filter(|_| !left.is_empty()) {
                for other in self.links.neighbours(at) {
                    if left.contains(&other) && !self.is_cut(at, other) {
                        left.remove(&other);
                        group.insert(other);
                        next.push(other);
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        [(one, other), (other, one)].iter().any(|ends| self.faults.get(ends).is_some_and(|fault| fault.cut))
    }

    /// `index` knows what `node` can do, or no more. Returns whether anybody waits for that.
    pub(super) fn note_capabilities(&mut self, index: usize, node: NodeId, known: bool) -> bool {
        self.index_of(node).is_some_and(|subject| self.indexes.note(index, subject, known))
    }

    /// `index` has a way to `target`, or none any more. Returns whether anybody waits for that.
    pub(super) fn note_route(&mut self, index: usize, target: NodeId, is_there: bool) -> bool {
        self.index_of(target).is_some_and(|subject| self.routes.note(index, subject, is_there))
    }

    /// Whether all who are to know of each other do.
    pub(super) fn is_acquainted(&self) -> bool {
        self.indexes.is_complete() && self.routes.is_complete()
    }

    /// Rises as they get to know each other.
    pub(super) fn acquaintances(&self) -> usize {
        self.indexes.met() + self.routes.met()
    }

    /// Who does not know whom, for a person.
    pub(super) fn describe_strangers(&self) -> String {
        let unknown = describe(self.indexes.missing(), "does not know what", "can do");
        let unreached = describe(self.routes.missing(), "has no way to", "");
        [unknown, unreached].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

/// Names these pairs by who lacks the others.
fn describe(pairs: impl Iterator<Item = (usize, usize)>, verb: &str, end: &str) -> String {
    let mut lacking: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (holder, subject) in pairs {
        lacking.entry(holder).or_default().push(subject);
    }
    let clause = |(holder, subjects): (usize, Vec<usize>)| {
        let nodes = if subjects.len() == 1 { "node" } else { "nodes" };
        format!("node {holder} {verb} {nodes} {} {end}", list(&subjects, ", ")).trim_end().to_owned()
    };
    list(&lacking.into_iter().map(clause).collect::<Vec<_>>(), "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(members: &[usize]) -> BTreeMap<usize, Indexes> {
        let others = |of: usize| members.iter().copied().filter(move |&other| other != of).collect();
        members.iter().map(|&of| (of, others(of))).collect()
    }

    /// What the counts must be, from scratch.
    fn assert_counts(acquaintance: &Acquaintance) {
        let missing: Vec<(usize, usize)> = acquaintance.missing().collect();
        assert_eq!(acquaintance.total - acquaintance.met, missing.len());
        assert_eq!(acquaintance.is_complete(), missing.is_empty());
        for &holder in acquaintance.wanted.keys() {
            assert_eq!(acquaintance.knows_all(holder), missing.iter().all(|&(it, _)| it != holder));
        }
    }

    #[test]
    fn all_is_known_once_every_wanted_pair_is_whatever_else_is() {
        let mut acquaintance = Acquaintance::default();
        assert!(acquaintance.is_complete(), "nobody is to know anything");
        acquaintance.note(0, 70, true);
        acquaintance.expect(all_of(&[0, 3, 70]));
        assert_eq!(acquaintance.met(), 1, "what was known before counts");
        for (holder, subject) in [(0, 3), (3, 0), (3, 70), (70, 0), (0, 9), (0, 0)] {
            acquaintance.note(holder, subject, true);
            assert_counts(&acquaintance);
        }
        assert_eq!(acquaintance.missing().collect::<Vec<_>>(), [(70, 3)]);
        assert!(acquaintance.note(70, 3, true) && !acquaintance.note(70, 3, true));
        assert!(acquaintance.is_complete());
        assert!(!acquaintance.note(0, 9, false), "nobody waits for that");
        assert!(acquaintance.note(0, 3, false));
        assert_counts(&acquaintance);
    }

    #[test]
    fn whoever_lacks_others_is_named_with_them() {
        assert_eq!(describe([].into_iter(), "has no way to", ""), "");
        let text = describe([(0, 3), (2, 0), (2, 1)].into_iter(), "has no way to", "");
        assert_eq!(text, "node 0 has no way to node 3; node 2 has no way to nodes 0, 1");
        let text = describe([(0, 3)].into_iter(), "does not know what", "can do");
        assert_eq!(text, "node 0 does not know what node 3 can do");
    }

    #[test]
    fn who_begins_anew_knows_nobody_but_is_known_and_who_makes_way_is_not() {
        let mut acquaintance = Acquaintance::default();
        acquaintance.expect(all_of(&[0, 1, 2]));
        for (holder, subject) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            acquaintance.note(holder, subject, true);
        }
        acquaintance.forget_all(1);
        assert_eq!(acquaintance.missing().collect::<Vec<_>>(), [(1, 0), (1, 2)]);
        assert_counts(&acquaintance);
        acquaintance.vacate(2);
        assert_eq!(acquaintance.missing().count(), 5);
        assert_counts(&acquaintance);
        acquaintance.expect(all_of(&[0, 1]));
        assert_eq!(acquaintance.missing().collect::<Vec<_>>(), [(1, 0)]);
        assert_counts(&acquaintance);
    }
}
