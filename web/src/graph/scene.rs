//! What stands where: the layout, and its way there.
//!
//! Members stand on a ring in the order of their index: in a full mesh no other
//! order says more, and a node's neighbours stay where they were when another one
//! crashes. Places are eased towards, so that a person can follow who went where.

use std::{
    collections::{BTreeMap, BTreeSet},
    f64::consts::{FRAC_PI_2, TAU},
};

use meshground_shared::{Health, NodeId, NodeState, Snapshot};

use super::camera::Point;
use crate::{
    text::{self, Tone},
    verdicts, workloads,
};

/// A node as drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Body {
    /// Its place in the cluster.
    pub(crate) index: u32,
    /// Where it is now, in the world.
    pub(crate) at: Point,
    /// Which way is outwards, for its label.
    pub(crate) outwards: Point,
    /// Whether it runs.
    pub(crate) state: NodeState,
    /// The worst that anyone says of it.
    pub(crate) verdict: Option<Health>,
    /// How many daemons it runs.
    pub(crate) daemons: usize,
    /// How far it is out of service; none while it is given work like any other.
    pub(crate) service: Option<Tone>,
    /// From 0, not yet or no longer there, to 1.
    pub(crate) presence: f64,
    /// Whether it is a member; where not, it is fading out.
    pub(crate) member: bool,
    target: Point,
}

/// A line as drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    /// The end with the lower id, or the holder of a half edge.
    pub(crate) from: NodeId,
    /// The other end.
    pub(crate) to: NodeId,
    /// The verdict it is coloured by.
    pub(crate) health: Health,
    /// From 0, just come up, to 1.
    pub(crate) presence: f64,
}

/// Everything to be drawn.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    bodies: BTreeMap<NodeId, Body>,
    edges: Vec<Line>,
    halves: Vec<Line>,
    ring_radius: f64,
}

/// How fast places are eased towards, per second; 1/e of the way is left after 1/RATE.
const RATE: f64 = 9.0;
/// Seconds in which a node or line fades in.
const FADE: f64 = 0.28;
/// Closer to its place than this, a node has arrived.
const CLOSE: f64 = 0.0005;

impl Scene {
    /// The nodes, by id.
    pub(crate) fn bodies(&self) -> &BTreeMap<NodeId, Body> {
        &self.bodies
    }

    /// The sessions both ends hold.
    pub(crate) fn edges(&self) -> &[Line] {
        &self.edges
    }

    /// The sessions only one end holds, as long as the other end is a member.
    pub(crate) fn halves(&self) -> &[Line] {
        &self.halves
    }

    /// The radius of the ring, in the world.
    pub(crate) fn ring_radius(&self) -> f64 {
        self.ring_radius
    }

    /// How many members there are.
    pub(crate) fn members(&self) -> usize {
        self.bodies.values().filter(|body| body.member).count()
    }

    /// The members in ring order.
    pub(crate) fn ring(&self) -> Vec<NodeId> {
        let mut ring: Vec<_> =
            self.bodies.iter().filter(|(_, body)| body.member).map(|(&id, body)| (body.index, id)).collect();
        ring.sort_unstable();
        ring.into_iter().map(|(_, id)| id).collect()
    }

    /// The member `step` places along the ring from `from`, or the first one.
    pub(crate) fn neighbour(&self, from: Option<NodeId>, step: isize) -> Option<NodeId> {
        let ring = self.ring();
        let place = from.and_then(|from| ring.iter().position(|&id| id == from));
        let len = isize::try_from(ring.len()).ok().filter(|&len| len > 0)?;
        let next = match place {
            Some(place) => (isize::try_from(place).ok()? + step).rem_euclid(len),
            None if step < 0 => len - 1,
            None => 0,
        };
        ring.get(usize::try_from(next).ok()?).copied()
    }

    /// Takes over what the cluster looks like now.
    pub(crate) fn sync(&mut self, snapshot: &Snapshot) {
        let mut order: Vec<_> = snapshot.nodes.iter().map(|(&id, node)| (node.index, id)).collect();
        order.sort_unstable();
        self.ring_radius = ring_radius(order.len());
        let verdicts = verdicts::worst(snapshot);
        for body in self.bodies.values_mut() {
            body.member = false;
        }
        for (place, &(index, id)) in order.iter().enumerate() {
            let (target, outwards) = slot(place, order.len());
            let node = &snapshot.nodes[&id];
            let body = self.bodies.entry(id).or_insert_with(|| Body {
                index,
                at: Point::new(target.x * 0.9, target.y * 0.9),
                outwards,
                state: node.state,
                verdict: None,
                daemons: 0,
                service: None,
                presence: 0.0,
                member: true,
                target,
            });
            body.index = index;
            body.outwards = outwards;
            body.state = node.state;
            body.verdict = verdicts.get(&id).copied();
            body.daemons = node.daemons.len();
            body.service = workloads::is_out_of_service(node)
                .then(|| text::workload::maintenance_tone(node.maintenance, node.cordoned));
            body.member = true;
            body.target = target;
        }
        let known: BTreeMap<(NodeId, NodeId), f64> = (self.edges.iter().chain(&self.halves))
            .map(|line| ((line.from.min(line.to), line.from.max(line.to)), line.presence))
            .collect();
        let line = |from: NodeId, to: NodeId, health| {
            let presence = known.get(&(from.min(to), from.max(to))).copied().unwrap_or(0.0);
            Line { from, to, health, presence }
        };
        self.edges = snapshot.edges().into_iter().map(|edge| line(edge.a, edge.b, edge.health)).collect();
        self.halves = (snapshot.half_edges().into_iter())
            .filter(|(_, peer, _)| snapshot.nodes.contains_key(peer))
            .map(|(holder, peer, health)| line(holder, peer, health))
            .collect();
    }

    /// Moves everything on by `seconds`; at once to the end where `at_once`. Says
    /// whether anything is still on its way.
    pub(crate) fn advance(&mut self, seconds: f64, at_once: bool) -> bool {
        let (near, fade) = if at_once { (1.0, 1.0) } else { (1.0 - (-RATE * seconds).exp(), seconds / FADE) };
        let mut moving = false;
        self.bodies.retain(|_, body| {
            body.at.x += (body.target.x - body.at.x) * near;
            body.at.y += (body.target.y - body.at.y) * near;
            if body.at.distance(body.target) < CLOSE {
                body.at = body.target;
            }
            let step = if body.member { fade } else { -fade };
            body.presence = (body.presence + step).clamp(0.0, 1.0);
            let settled = body.at == body.target && body.member && body.presence >= 1.0;
            let gone = !body.member && body.presence <= 0.0;
            moving |= !settled && !gone;
            !gone
        });
        for line in self.edges.iter_mut().chain(&mut self.halves) {
            line.presence = (line.presence + fade).min(1.0);
            moving |= line.presence < 1.0;
        }
        moving
    }

    /// The ends of every line that touches `node`, itself included.
    pub(crate) fn neighbourhood(&self, node: NodeId) -> BTreeSet<NodeId> {
        let mut near: BTreeSet<_> = (self.edges.iter().chain(&self.halves))
            .filter(|line| line.from == node || line.to == node)
            .flat_map(|line| [line.from, line.to])
            .collect();
        near.insert(node);
        near
    }
}

/// Small rings are drawn smaller, so that two nodes are not a screen apart.
fn ring_radius(nodes: usize) -> f64 {
    match nodes {
        0 | 1 => 0.0,
        2 => 0.66,
        3 => 0.82,
        4 => 0.92,
        _ => 1.0,
    }
}

/// The place of member number `place` of `nodes`, and which way is outwards there.
#[allow(clippy::cast_precision_loss)] // a few hundred nodes at most
fn slot(place: usize, nodes: usize) -> (Point, Point) {
    if nodes <= 1 {
        return (Point::default(), Point::new(0.0, 1.0));
    }
    // The first one on top; two of them side by side.
    let start = if nodes == 2 { TAU / 2.0 } else { -FRAC_PI_2 };
    let angle = start + TAU * place as f64 / nodes as f64;
    let outwards = Point::new(angle.cos(), angle.sin());
    let radius = ring_radius(nodes);
    (Point::new(outwards.x * radius, outwards.y * radius), outwards)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meshground_shared::{Epoch, Maintenance, NodeSnapshot, PeerSnapshot, Role};

    use super::*;
    use crate::fixtures;

    fn mesh(nodes: u64) -> Snapshot {
        let mut snapshot = Snapshot::new(Epoch(1));
        let address = "127.0.0.1:4000".parse().unwrap();
        for id in 0..nodes {
            let session =
                PeerSnapshot { address, role: Role::Initiator, health: Health::Healthy, since_us: 0 };
            let peers: BTreeMap<_, _> =
                (0..nodes).filter(|&peer| peer != id).map(|peer| (NodeId(peer), session.clone())).collect();
            let index = u32::try_from(id).unwrap();
            let node = NodeSnapshot { peers, ..fixtures::member(index) };
            snapshot.nodes.insert(NodeId(id), node);
        }
        snapshot
    }

    fn settle(scene: &mut Scene) {
        for _ in 0..10_000 {
            if !scene.advance(0.016, false) {
                return;
            }
        }
        panic!("the scene never comes to rest");
    }

    #[test]
    fn members_settle_on_the_ring_and_apart_from_each_other() {
        for nodes in [2, 3, 5, 64] {
            let mut scene = Scene::default();
            scene.sync(&mesh(nodes));
            settle(&mut scene);
            let places: Vec<_> = scene.bodies().values().map(|body| body.at).collect();
            for (i, a) in places.iter().enumerate() {
                assert!((a.distance(Point::default()) - scene.ring_radius()).abs() < 1e-6);
                assert!(places[..i].iter().all(|b| a.distance(*b) > 0.05));
            }
        }
    }

    #[test]
    fn one_node_stands_in_the_middle() {
        let mut scene = Scene::default();
        scene.sync(&mesh(1));
        settle(&mut scene);
        assert_eq!(scene.bodies()[&NodeId(0)].at, Point::default());
    }

    #[test]
    fn a_departed_node_fades_and_then_is_gone() {
        let mut scene = Scene::default();
        scene.sync(&mesh(3));
        settle(&mut scene);
        scene.sync(&mesh(2));
        assert_eq!((scene.members(), scene.bodies().len()), (2, 3));
        settle(&mut scene);
        assert_eq!(scene.bodies().len(), 2);
    }

    #[test]
    fn with_reduced_motion_everything_is_there_at_once() {
        let mut scene = Scene::default();
        scene.sync(&mesh(5));
        assert!(!scene.advance(0.0, true));
        assert!(scene.bodies().values().all(|body| body.at == body.target && body.presence >= 1.0));
    }

    #[test]
    fn a_crash_turns_edges_into_half_edges_without_fading_them_in_again() {
        let mut snapshot = mesh(3);
        let mut scene = Scene::default();
        scene.sync(&snapshot);
        settle(&mut scene);
        let dead = snapshot.nodes.get_mut(&NodeId(2)).unwrap();
        dead.state = NodeState::Crashed;
        dead.peers.clear();
        scene.sync(&snapshot);
        assert_eq!((scene.edges().len(), scene.halves().len()), (1, 2));
        assert!(scene.halves().iter().all(|line| line.presence >= 1.0));
    }

    #[test]
    fn arrows_walk_the_ring_both_ways_round() {
        let mut scene = Scene::default();
        scene.sync(&mesh(3));
        assert_eq!(scene.neighbour(None, 1), Some(NodeId(0)));
        assert_eq!(scene.neighbour(None, -1), Some(NodeId(2)));
        assert_eq!(scene.neighbour(Some(NodeId(2)), 1), Some(NodeId(0)));
        assert_eq!(scene.neighbour(Some(NodeId(0)), -1), Some(NodeId(2)));
        assert_eq!(Scene::default().neighbour(None, 1), None);
    }

    #[test]
    fn a_body_tells_what_runs_on_it_and_whether_it_is_out_of_service() {
        let mut snapshot = mesh(3);
        let mut scene = Scene::default();
        scene.sync(&snapshot);
        assert_eq!((scene.bodies()[&NodeId(1)].daemons, scene.bodies()[&NodeId(1)].service), (0, None));
        let node = snapshot.nodes.get_mut(&NodeId(1)).unwrap();
        node.maintenance = Maintenance::DrainFailed;
        let daemon = fixtures::daemon(9, "counter");
        node.daemons.insert(daemon.id, daemon);
        snapshot.nodes.get_mut(&NodeId(2)).unwrap().cordoned = true;
        scene.sync(&snapshot);
        let told: Vec<_> = scene.bodies().values().map(|body| (body.daemons, body.service)).collect();
        assert_eq!(told, [(0, None), (1, Some(Tone::Bad)), (0, Some(Tone::Warn))]);
    }
}
