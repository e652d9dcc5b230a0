//! Shortest ways, by hops.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::NodeId;

use super::Links;
use crate::identity::short_hash;

/// So many of those who have something pass it on to whoever lacks it.
const COPIES: usize = 3;

const CHOICE_LABEL: &[u8] = b"meshground route 1";

/// How a node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Who.
    pub target: NodeId,
    /// The direct peer that datagrams for it go to; the target itself if it is one.
    pub next_hop: NodeId,
    /// How many hops away it is: 1 for a direct peer.
    pub distance: u16,
}

/// Who is linked with whom, and what follows from it for this node.
///
/// A link between two others counts when both announce it, so that nobody can draw traffic by claiming links that the
/// other end knows nothing of. This node's own links are what it holds sessions over. Ways are worked out when they are
/// asked for, and only anew when a link has changed.
#[derive(Debug)]
pub(crate) struct RouteTable {
    local: NodeId,
    direct: BTreeSet<NodeId>,
    announced: BTreeMap<NodeId, Links>,
    /// The ways that follow, as of the last search.
    found: BTreeMap<NodeId, Route>,
    /// A link has changed since.
    stale: bool,
}

impl RouteTable {
    pub(crate) fn new(local: NodeId) -> Self {
        Self {
            local,
            direct: BTreeSet::new(),
            announced: BTreeMap::new(),
            found: BTreeMap::new(),
            stale: false,
        }
    }

    /// A direct session is there, or is gone. Returns whether that is a change.
    pub(crate) fn set_direct(&mut self, peer: NodeId, is_linked: bool) -> bool {
        let changed = if is_linked { self.direct.insert(peer) } else { self.direct.remove(&peer) };
        self.stale |= changed;
        changed
    }

    /// A node announces its links; `None` when it announces them no more.
    pub(crate) fn announce(&mut self, node: NodeId, links: Option<Links>) {
        if node == self.local || self.announced.get(&node) == links.as_ref() {
            return;
        }
        match links {
            Some(links) => self.announced.insert(node, links),
            None => self.announced.remove(&node),
        };
        self.stale = true;
    }

    /// This node's own links.
    pub(crate) fn direct(&self) -> Links {
        self.direct.iter().copied().collect()
    }

    /// How many of them there are.
    pub(crate) fn direct_count(&self) -> usize {
        self.direct.len()
    }

    /// Whether this node is linked with `node`.
    pub(crate) fn is_direct(&self, node: NodeId) -> bool {
        self.direct.contains(&node)
    }

    /// What a node announces.
    pub(crate) fn announced(&self, node: NodeId) -> Option<&Links> {
        self.announced.get(&node)
    }

    /// Whether what `source` has sent to everyone it is linked with may be left to others of these to pass on to `peer`:
    /// where most are linked with most, everyone would send the same to the few who are not. Those who announce wrong
    /// links can keep something from nobody for longer than until digests are compared.
    pub(crate) fn leaves_to_others(&self, source: NodeId, peer: NodeId) -> bool {
        let Some(links) = self.announced(source) else { return false };
        let theirs = self.announced(peer);
        let own = duty(peer, self.local);
        let goes_before = |node: &NodeId| {
            duty(peer, *node) > own && *node != peer && theirs.is_none_or(|theirs| theirs.contains(*node))
        };
        links.iter().filter(goes_before).take(COPIES).count() == COPIES
    }

    /// What everybody announces.
    pub(crate) fn announcements(&self) -> impl Iterator<Item = (NodeId, &Links)> {
        self.announced.iter().map(|(node, links)| (*node, links))
    }

    /// Whom `node` is linked with: both ends say so, or this node itself is one of them.
    pub(crate) fn links_of(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let own = (node == self.local).then_some(&self.direct).into_iter().flatten().copied();
        let says = move |other: NodeId| self.announced.get(&other).is_some_and(|links| links.contains(node));
        let theirs =
            self.announced.get(&node).filter(|_| node != self.local).into_iter().flat_map(Links::iter);
        let theirs = theirs.filter(move |&other| other != self.local && says(other));
        let with_us = self.direct.contains(&node).then_some(self.local);
        own.chain(theirs).chain(with_us)
    }

    /// The way to a node, if there is one.
    pub(crate) fn route(&mut self, target: NodeId) -> Option<Route> {
        // Most of the time it is this, and needs no search.
        if self.direct.contains(&target) {
            return Some(Route { target, next_hop: target, distance: 1 });
        }
        self.routes().get(&target).copied()
    }

    /// The way on for what somebody at this `distance` from the target passes on: only one that is strictly shorter. So
    /// the distance falls with every hop, and nothing goes round, whatever anybody believes about links.
    pub(crate) fn route_nearer(&mut self, target: NodeId, distance: u16) -> Option<Route> {
        self.route(target).filter(|route| route.distance < distance)
    }

    /// The ways to all nodes that can be reached.
    pub(crate) fn routes(&mut self) -> &BTreeMap<NodeId, Route> {
        if std::mem::take(&mut self.stale) {
            self.found = self.search();
        }
        &self.found
    }

    /// Looks over the links ring by ring around this node (breadth first), noting for each node found over which of the
    /// direct peers the shortest ways to it lead.
    fn search(&self) -> BTreeMap<NodeId, Route> {
        let hops: Vec<NodeId> = self.direct.iter().copied().collect();
        let words = hops.len().div_ceil(64);
        let mut found: BTreeMap<NodeId, Route> =
            hops.iter().map(|&target| (target, Route { target, next_hop: target, distance: 1 })).collect();
        // The most there is to find: once all are found, the many links between them need not be looked at.
        let mut left = self.announced.keys().filter(|node| !self.direct.contains(node)).count();
        if left == 0 {
            return found;
        }
        let mut ring: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for (at, hop) in hops.iter().enumerate() {
            ring.entry(*hop).or_insert_with(|| vec![0; words])[at / 64] |= 1 << (at % 64);
        }
        let mut distance: u16 = 1;
        while left > 0 && !ring.is_empty() {
            distance = distance.saturating_add(1);
            let mut next: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
            for (node, over) in &ring {
                for target in self.announced.get(node).into_iter().flat_map(Links::iter) {
                    let counts = target != self.local
                        && !found.contains_key(&target)
                        && self.announced.get(&target).is_some_and(|links| links.contains(*node));
                    if counts {
                        let ways = next.entry(target).or_insert_with(|| vec![0; words]);
                        ways.iter_mut().zip(over).for_each(|(ways, over)| *ways |= over);
                    }
                }
            }
            for (target, over) in &next {
                let next_hop = hops
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| over[at / 64] >> (at % 64) & 1 == 1)
                    .map(|(_, hop)| *hop)
                    .max_by_key(|hop| preference(*target, *hop))
                    .expect("a node is found over at least one direct peer");
                found.insert(*target, Route { target: *target, next_hop, distance });
            }
            left -= next.len();
            ring = next;
        }
        found
    }
}

/// Of equally short ways the one over the peer with the highest preference is taken: targets spread evenly over the
/// peers, and one peer's coming or going moves only the targets that it is best for.
fn preference(target: NodeId, hop: NodeId) -> (u64, NodeId) {
    let mut both = [0; 16];
    both[..8].copy_from_slice(&target.0.to_le_bytes());
    both[8..].copy_from_slice(&hop.0.to_le_bytes());
    (short_hash(CHOICE_LABEL, &both), hop)
}

/// In which order nodes serve `peer`, the highest first. Ids are hashes already; this only has other peers served by
/// others.
fn duty(peer: NodeId, node: NodeId) -> (u64, NodeId) {
    ((node.0 ^ peer.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15), node)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node's table over these links, announced by both ends.
    fn table(local: u64, links: &[(u64, u64)]) -> RouteTable {
        let mut table = RouteTable::new(NodeId(local));
        for (a, b) in links {
            set(&mut table, *a, *b, true);
        }
        table
    }

    fn set(table: &mut RouteTable, a: u64, b: u64, is_linked: bool) {
        for (from, to) in [(a, b), (b, a)] {
            if NodeId(from) == table.local {
                table.set_direct(NodeId(to), is_linked);
            }
            announce_one(table, from, to, is_linked);
        }
    }

    fn announce_one(table: &mut RouteTable, from: u64, to: u64, is_linked: bool) {
        let before: BTreeSet<NodeId> =
            table.announced(NodeId(from)).into_iter().flat_map(Links::iter).collect();
        let after = before.into_iter().chain([NodeId(to)]).filter(|it| is_linked || it.0 != to);
        table.announce(NodeId(from), Some(after.collect()));
    }

    fn way(table: &mut RouteTable, target: u64) -> Option<(u64, u16)> {
        table.route(NodeId(target)).map(|route| (route.next_hop.0, route.distance))
    }

    #[test]
    fn the_shortest_way_is_found_again_after_each_change() {
        let ring_of_six = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)];
        let mut table = table(0, &ring_of_six);
        assert_eq!(way(&mut table, 1), Some((1, 1)));
        assert_eq!(way(&mut table, 2), Some((1, 2)));
        assert_eq!(way(&mut table, 4), Some((5, 2)));
        assert_eq!(way(&mut table, 3).unwrap().1, 3);
        assert_eq!(table.routes().len(), 5, "and none to itself");
        set(&mut table, 1, 2, false);
        assert_eq!(way(&mut table, 2), Some((5, 4)));
        set(&mut table, 0, 5, false);
        assert_eq!(way(&mut table, 2), None, "cut off");
        assert_eq!(table.routes().len(), 1);
        set(&mut table, 1, 2, true);
        assert_eq!(way(&mut table, 2), Some((1, 2)));
        assert_eq!(way(&mut table, 5), Some((1, 5)));
    }

    #[test]
    fn of_many_who_could_pass_something_on_three_do() {
        let (source, peer) = (NodeId(100), NodeId(200));
        let between: Vec<NodeId> = (0..20).map(NodeId).collect();
        let serving = |known: &[NodeId]| {
            let serves = |local: &&NodeId| {
                let mut table = RouteTable::new(**local);
                assert!(!table.leaves_to_others(source, peer), "nothing is known of the source");
                table.announce(source, Some(between.iter().copied().collect()));
                if !known.is_empty() {
                    table.announce(peer, Some(known.iter().copied().collect()));
                }
                !table.leaves_to_others(source, peer)
            };
            between.iter().filter(serves).copied().collect::<Vec<_>>()
        };
        assert_eq!(serving(&[]).len(), COPIES);
        let linked = serving(&between[4..12]);
        assert!(linked.iter().filter(|node| between[4..12].contains(node)).count() == COPIES);
        assert!(
            between[..2].iter().all(|node| serving(&between[..2]).contains(node)),
            "these are all there are"
        );
    }

    #[test]
    fn a_link_that_only_one_end_announces_does_not_count() {
        let mut table = table(0, &[(0, 1), (1, 2)]);
        announce_one(&mut table, 2, 3, true);
        assert_eq!(way(&mut table, 3), None);
        announce_one(&mut table, 3, 9, true);
        assert_eq!(way(&mut table, 3), None);
        announce_one(&mut table, 3, 2, true);
        assert_eq!(way(&mut table, 3), Some((1, 3)));
        table.announce(NodeId(3), None);
        assert_eq!(way(&mut table, 3), None);
    }

    #[test]
    fn whoever_is_linked_with_somebody_is_told_as_ways_count_it() {
        let mut table = table(0, &[(0, 1), (1, 2), (2, 3)]);
        announce_one(&mut table, 1, 9, true);
        announce_one(&mut table, 1, 0, true);
        let of =
            |table: &RouteTable, node| table.links_of(NodeId(node)).map(|id| id.0).collect::<BTreeSet<_>>();
        assert_eq!(of(&table, 0), [1].into());
        assert_eq!(of(&table, 1), [0, 2].into(), "nobody else says that it is linked with 9");
        assert_eq!((of(&table, 3), of(&table, 9)), ([2].into(), [].into()));
        table.set_direct(NodeId(1), false);
        assert_eq!((of(&table, 0), of(&table, 1)), ([].into(), [2].into()));
        announce_one(&mut table, 3, 2, false);
        assert_eq!((of(&table, 2), of(&table, 3)), ([1].into(), [].into()), "one end is enough to end it");
    }

    #[test]
    fn own_links_are_those_of_sessions_whatever_is_announced() {
        let mut table = RouteTable::new(NodeId(0));
        table.announce(NodeId(1), Some([NodeId(0)].into_iter().collect()));
        table.announce(NodeId(0), Some([NodeId(1)].into_iter().collect()));
        assert_eq!(way(&mut table, 1), None);
        table.set_direct(NodeId(2), true);
        assert_eq!(way(&mut table, 2), Some((2, 1)), "before its announcement has come");
    }

    #[test]
    fn equally_short_ways_are_spread_by_target_and_stay_put() {
        // Eight peers, each linked with all of a hundred others.
        let mut links: Vec<(u64, u64)> = (1..=8).map(|hop| (0, hop)).collect();
        links.extend((1..=8).flat_map(|hop| (100..200).map(move |target| (hop, target))));
        let mut table = table(0, &links);
        let before = table.routes().clone();
        let mut load = BTreeMap::new();
        for target in 100..200 {
            let route = before[&NodeId(target)];
            assert_eq!(route.distance, 2);
            *load.entry(route.next_hop).or_insert(0) += 1;
        }
        assert!(load.len() == 8 && load.values().all(|count| *count < 30), "{load:?}");
        table.set_direct(NodeId(8), false);
        for (target, route) in table.routes() {
            let before = before[target];
            assert!(before.next_hop == NodeId(8) || before == *route, "{before:?} became {route:?}");
        }
    }

    #[test]
    fn nothing_goes_round_though_everyone_believes_something_else() {
        let mut state: u64 = 1;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let (mut delivered, mut dropped) = (0, 0);
        for _ in 0..200 {
            // Everyone has its own idea of who is linked with whom: news under way, and lies.
            let mut tables: Vec<RouteTable> = (0..10)
                .map(|local| {
                    let links: Vec<(u64, u64)> = (0..14).map(|_| (below(10), below(10))).collect();
                    table(local, &links.into_iter().filter(|(a, b)| a != b).collect::<Vec<_>>())
                })
                .collect();
            for (from, target) in (0..10).flat_map(|from| (0..10).map(move |target| (from, target))) {
                let Some(first) = tables[from].route(NodeId(target)) else { continue };
                let (mut at, mut hops) = (first, 1);
                while at.next_hop != NodeId(target) {
                    let hop = usize::try_from(at.next_hop.0).unwrap();
                    let Some(next) = tables[hop].route_nearer(NodeId(target), at.distance) else { break };
                    (at, hops) = (next, hops + 1);
                    assert!(hops <= first.distance, "{from} to {target}");
                }
                if at.next_hop == NodeId(target) { delivered += 1 } else { dropped += 1 }
            }
        }
        assert!(delivered > 100 && dropped > 100, "{delivered} delivered, {dropped} dropped");
    }

    #[test]
    fn every_hop_is_strictly_nearer_where_all_know_the_same_links() {
        let right = (0..25).filter(|at| at % 5 < 4).map(|at| (at, at + 1));
        let down = (0..20).map(|at| (at, at + 5));
        let grid: Vec<(u64, u64)> = right.chain(down).collect();
        let mut tables: Vec<RouteTable> = (0..25).map(|local| table(local, &grid)).collect();
        for from in 0..25 {
            for target in (0..25).filter(|target| *target != from) {
                let route = tables[from].route(NodeId(target as u64)).unwrap();
                let apart = (from % 5).abs_diff(target % 5) + (from / 5).abs_diff(target / 5);
                assert_eq!(usize::from(route.distance), apart);
                let hop = usize::try_from(route.next_hop.0).unwrap();
                let there = tables[hop].route(NodeId(target as u64)).map_or(0, |route| route.distance);
                assert_eq!(there + 1, route.distance, "from {from} over {hop} to {target}");
            }
        }
    }
}
