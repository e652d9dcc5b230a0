//! Clusters under way to ruin, by the thousand: messages are lost, repeated, delayed and reordered, nodes are cut off, crash,
//! restart and leave, and commands come at the same time at different nodes. Whatever happens, those that live through it
//! agree.

use std::collections::{BTreeMap, BTreeSet};

use meshground_shared::{
    AdminVerb, BlastRadius, DaemonId, Decision, GroupId, Health, IceVerb, Maintenance, Member as Place,
    NodeId, Rejection,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::*;
use crate::admin::{
    AdminCommand, ClusterPicture, DaemonPicture, GroupPicture, IceProposal, NodePicture,
    envelope::SignedCommand as Command,
};
use crate::time::WallTime;

const SEEDS: u64 = 5_000;

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;

/// When all is well again.
const PEACE: u64 = 20 * SECOND;

/// When everything must be over.
const END: u64 = 120 * SECOND;

/// How long a silent node is remembered; no cut lasts as long.
const FORGET: u64 = 8 * SECOND;

/// What is going to happen.
#[derive(Debug)]
enum Happening {
    Deliver {
        from: (usize, u64),
        to: (usize, u64),
        bytes: Vec<u8>,
    },
    /// A node hears that another is there in that life, or gone.
    Notice {
        at: usize,
        about: usize,
        incarnation: Option<u64>,
    },
    Submit {
        at: usize,
    },
    Stop {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Cut {
        side: BTreeSet<usize>,
    },
    Heal,
}

/// One node, in its present life.
struct Node {
    incarnation: u64,
    /// Whether it has been there from the beginning.
    lived: bool,
    wall_offset: u64,
    commit: AdminCommit,
    effects: Vec<Nonce>,
    submitted: BTreeMap<Ticket, Nonce>,
    outcomes: Vec<(Nonce, Decision)>,
}

struct World {
    rng: ChaCha20Rng,
    now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    nodes: Vec<Option<Node>>,
    lives: Vec<u64>,
    /// Those on one side of a cut.
    side: BTreeSet<usize>,
    loss_percent: u64,
    slowest: u64,
    /// Commands so far, so that some come twice.
    commands: Vec<Command>,
    /// How many may still stop in the midst of a command.
    doomed: u64,
}

/// What all worlds together have been through.
#[derive(Debug, Default)]
struct Tally {
    applied: usize,
    rejected: BTreeMap<Rejection, usize>,
    /// Applied by one that coordinated and did not live to see it.
    inherited: usize,
}

#[test]
fn whatever_happens_those_that_live_through_it_agree() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.run();
        world.check(seed, &mut tally);
    }
    // Worlds in which nothing happens prove nothing.
    assert!(tally.applied > 3_000, "{tally:?}");
    assert!(tally.inherited > 20, "{tally:?}");
    for reason in [
        Rejection::NotApplicable,
        Rejection::Unreachable,
        Rejection::NonceReplayed,
        Rejection::IceCooldownActive,
        Rejection::FreezeInEffect,
        Rejection::SimulationRequired,
        Rejection::EnvelopeExpired,
    ] {
        assert!(tally.rejected.get(&reason).is_some_and(|count| *count > 20), "{reason:?}: {tally:?}");
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let count = usize::try_from(2 + rng.next_u64() % 5).unwrap();
        let loss_percent = [0, 10, 40][usize::try_from(rng.next_u64() % 3).unwrap()];
        let slowest = [5 * MS, 300 * MS, 1_500 * MS][usize::try_from(rng.next_u64() % 3).unwrap()];
        let doomed = rng.next_u64() % 4;
        let mut world = Self {
            rng,
            now: 1,
            order: 0,
            queue: BTreeMap::new(),
            nodes: Vec::new(),
            lives: vec![1; count],
            side: BTreeSet::new(),
            loss_percent,
            slowest,
            commands: Vec::new(),
            doomed,
        };
        for index in 0..count {
            let node = world.life(index, 1, true);
            world.nodes.push(Some(node));
        }
        for at in 0..count {
            for about in 0..count {
                world.notice(at, about, Some(1));
            }
        }
        world.plan(count);
        world
    }

    fn plan(&mut self, count: usize) {
        for _ in 0..12 {
            let (when, at) = (self.below(PEACE), self.pick(count));
            self.at(when, Happening::Submit { at });
            // Some come at nearly the same time elsewhere.
            if self.below(3) == 0 {
                let (soon, at) = (self.below(20 * MS), self.pick(count));
                self.at(when + soon, Happening::Submit { at });
            }
        }
        for _ in 0..self.below(3) {
            let (when, node) = (self.below(PEACE), self.pick(count));
            self.at(when, Happening::Stop { node });
            if self.below(2) == 0 {
                let later = when + self.below(6 * SECOND);
                self.at(later, Happening::Restart { node });
            }
        }
        for _ in 0..self.below(4) {
            let when = self.below(PEACE - 5 * SECOND);
            let side = (0..count).filter(|_| self.below(2) == 0).collect();
            self.at(when, Happening::Cut { side });
            let heals = when + self.below(5 * SECOND);
            self.at(heals, Happening::Heal);
        }
        self.at(PEACE, Happening::Heal);
    }

    fn life(&mut self, index: usize, incarnation: u64, lived: bool) -> Node {
        let wall_offset = 1_000_000 * SECOND + self.below(5 * SECOND);
        let commit = AdminCommit::new(id(index), incarnation, AdminVerifier::open());
        let (effects, submitted, outcomes) = (Vec::new(), BTreeMap::new(), Vec::new());
        Node { incarnation, lived, wall_offset, commit, effects, submitted, outcomes }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }

    fn at(&mut self, when: u64, happening: Happening) {
        self.order += 1;
        self.queue.insert((when.max(self.now), self.order), happening);
    }

    fn time(&self, node: usize) -> Now {
        let offset = self.nodes[node].as_ref().map_or(0, |node| node.wall_offset);
        Now { instant: Instant::from_micros(self.now), wall: WallTime(offset + self.now) }
    }

    fn run(&mut self) {
        loop {
            let timeouts = self.nodes.iter().enumerate();
            let timeouts =
                timeouts.filter_map(|(index, node)| Some((node.as_ref()?.commit.poll_timeout()?, index)));
            let timeout = timeouts.min().map(|(at, index)| (at.as_micros(), index));
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = [timeout.map(|(at, _)| at), next].into_iter().flatten().min();
            let Some(due) = due.filter(|due| *due <= END) else { return };
            self.now = self.now.max(due);
            if let Some((_, index)) = timeout.filter(|(at, _)| next.is_none_or(|next| *at < next)) {
                let now = self.time(index);
                self.nodes[index].as_mut().unwrap().commit.handle_timeout(now);
                self.drain(index);
            } else {
                let (_, happening) = self.queue.pop_first().unwrap();
                self.happen(happening);
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { from, to, bytes } => self.deliver(from, to, &bytes),
            Happening::Notice { at, about, incarnation } => {
                // Nothing is heard over a cut.
                if self.is_cut(at, about) {
                    return self.at(self.now + 100 * MS, Happening::Notice { at, about, incarnation });
                }
                self.notice(at, about, incarnation);
            }
            Happening::Submit { at } => self.submit(at),
            Happening::Stop { node } => self.stop(node),
            Happening::Restart { node } => self.restart(node),
            Happening::Cut { side } => self.side = side,
            Happening::Heal => {
                self.side.clear();
                if self.now >= PEACE {
                    self.loss_percent = 0;
                }
            }
        }
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.side.contains(&a) != self.side.contains(&b)
    }

    /// Sessions bind both lives: nothing goes to or comes from another.
    fn deliver(&mut self, from: (usize, u64), to: (usize, u64), bytes: &[u8]) {
        let now = self.time(to.0);
        let picture = self.picture(to.0);
        let Some(node) = self.nodes[to.0].as_mut().filter(|node| node.incarnation == to.1) else { return };
        if node.commit.peers.get(&id(from.0)) == Some(&from.1) {
            if let Some(question) = node.commit.on_message(now, id(from.0), bytes).unwrap() {
                node.commit.judge_for(now, question, &picture);
            }
            self.drain(to.0);
        }
    }

    fn notice(&mut self, at: usize, about: usize, incarnation: Option<u64>) {
        let now = self.time(at);
        // A dead node shakes no hands.
        let life = self.nodes.get(about).and_then(Option::as_ref).map(|node| node.incarnation);
        if incarnation.is_some() && incarnation != life {
            return;
        }
        let Some(node) = self.nodes[at].as_mut().filter(|_| at != about) else { return };
        match incarnation {
            Some(incarnation)
                if node.commit.peers.get(&id(about)).is_none_or(|known| *known < incarnation) =>
            {
                node.commit.on_peer_up(now, id(about), incarnation);
            }
            None => {
                // News of an earlier life that a later one has overtaken.
                let known = node.commit.peers.get(&id(about)).copied();
                if known.is_some_and(|known| known < self.lives[about] || self.nodes[about].is_none()) {
                    self.nodes[at].as_mut().unwrap().commit.on_peer_gone(now, id(about));
                }
            }
            Some(_) => {}
        }
        self.drain(at);
    }

    fn stop(&mut self, node: usize) {
        if self.nodes[node].take().is_none() {
            return;
        }
        let leaves = self.below(2) == 0;
        for at in 0..self.nodes.len() {
            let late = if self.below(3) == 0 { 3 * SECOND } else { 300 * MS };
            let delay = if leaves { self.below(late) } else { FORGET + self.below(2 * SECOND) };
            self.at(self.now + delay, Happening::Notice { at, about: node, incarnation: None });
        }
    }

    fn restart(&mut self, node: usize) {
        if self.nodes[node].is_some() {
            return;
        }
        self.lives[node] += 1;
        let incarnation = self.lives[node];
        let life = self.life(node, incarnation, false);
        self.nodes[node] = Some(life);
        for other in 0..self.nodes.len() {
            let (here, there) = (self.below(SECOND), self.below(SECOND));
            self.at(
                self.now + there,
                Happening::Notice { at: other, about: node, incarnation: Some(incarnation) },
            );
            if let Some(life) = self.nodes[other].as_ref().map(|node| node.incarnation) {
                self.at(
                    self.now + here,
                    Happening::Notice { at: node, about: other, incarnation: Some(life) },
                );
            }
        }
    }

    /// What a node knows. That another is dead it has noticed, that it is cut off it has not.
    fn picture(&self, at: usize) -> ClusterPicture {
        let mut picture = ClusterPicture::new(id(at));
        let Some(node) = &self.nodes[at] else { return picture };
        for (index, other) in self.nodes.iter().enumerate() {
            if index == at || node.commit.peers.contains_key(&id(index)) {
                let health = if other.is_some() { Health::Healthy } else { Health::Unreachable };
                picture.nodes.insert(id(index), NodePicture { health, maintenance: Maintenance::Active });
            }
        }
        let members: Vec<DaemonId> = (0..3).map(DaemonId).collect();
        for (index, daemon) in (0..).zip(&members) {
            let member = Some(Place { group: GroupId(1), index });
            picture
                .daemons
                .insert(*daemon, DaemonPicture { node: id(0), member, healthy: true, restartable: true });
        }
        picture.groups.insert(GroupId(1), GroupPicture { leader: id(1), members });
        picture
    }

    fn submit(&mut self, at: usize) {
        let Some(node) = &self.nodes[at] else { return };
        // One that has just come back and does not know everyone would not name everyone.
        let lived = |(index, other): (usize, &Option<Node>)| {
            other.as_ref().is_some_and(|other| other.lived).then_some(index)
        };
        let everyone: Vec<usize> = self.nodes.iter().enumerate().filter_map(lived).collect();
        if !everyone.iter().all(|other| *other == at || node.commit.peers.contains_key(&id(*other))) {
            return;
        }
        let picture = self.picture(at);
        let command = self.command(at, &picture);
        let now = self.time(at);
        let nonce = command.nonce();
        self.commands.push(command.clone());
        let node = self.nodes[at].as_mut().unwrap();
        let ticket = node.commit.submit(now, &command, &picture);
        node.submitted.insert(ticket, nonce);
        self.drain(at);
        // The narrow gaps are between the last vote and the last acknowledgement.
        for node in [at, self.pick(self.nodes.len())] {
            if self.doomed > 0 && self.below(3) == 0 {
                self.doomed -= 1;
                let when = self.now + self.below(5 * self.slowest);
                self.at(when, Happening::Stop { node });
            }
        }
    }

    fn command(&mut self, at: usize, picture: &ClusterPicture) -> Command {
        let (kind, mut issued) = (self.below(16), self.time(at).wall);
        let nonce = Nonce(u128::from(self.rng.next_u64()).to_le_bytes());
        let index = u32::try_from(self.below(5)).unwrap();
        let target = self.pick(self.nodes.len());
        let verb = match kind {
            0 if !self.commands.is_empty() => {
                let again = self.pick(self.commands.len());
                return self.commands[again].clone();
            }
            1 => {
                issued = WallTime(issued.0 - 400 * SECOND);
                IceVerb::ThawCluster
            }
            2 => IceVerb::FreezeCluster { ttl_ms: 5_000 },
            3 => IceVerb::ThawCluster,
            4 => {
                let command = IceProposal::new(IceVerb::FlushAvoidLists).simulated(BlastRadius::default());
                return command.unsigned(issued, nonce);
            }
            5..8 => IceVerb::ForceEvictReplica { group: GroupId(1), index },
            8 => IceVerb::FlushAvoidLists,
            _ => return AdminCommand::new(AdminVerb::Drain { node: id(target) }, issued, nonce).unsigned(),
        };
        let proposal = IceProposal::new(verb);
        let simulated = proposal.clone().simulate(picture);
        simulated.unwrap_or_else(|| proposal.simulated(BlastRadius::default())).unsigned(issued, nonce)
    }

    /// Carries what a node has to say.
    fn drain(&mut self, at: usize) {
        let Some(node) = self.nodes[at].as_mut() else { return };
        while let Some(effect) = node.commit.poll_effect() {
            node.effects.push(effect.nonce);
        }
        while node.commit.poll_decided().is_some() {}
        while let Some((ticket, decision)) = node.commit.poll_outcome() {
            let nonce = node.submitted.remove(&ticket).expect("an outcome comes once for each ticket");
            node.outcomes.push((nonce, decision));
        }
        let from = (at, node.incarnation);
        let mut messages = Vec::new();
        while let Some((to, bytes)) = node.commit.poll_message() {
            let incarnation = node.commit.peers.get(&to).copied();
            messages.push((index(to), incarnation, bytes));
        }
        for (to, incarnation, bytes) in messages {
            let copies = if self.below(10) == 0 { 2 } else { 1 };
            for _ in 0..copies {
                let (lost, delay) = (self.below(100) < self.loss_percent, 1 + self.below(self.slowest));
                // A cut takes what is sent while it lasts; what is under way gets through.
                if let Some(incarnation) = incarnation.filter(|_| !lost && !self.is_cut(at, to)) {
                    let bytes = bytes.clone();
                    self.at(self.now + delay, Happening::Deliver { from, to: (to, incarnation), bytes });
                }
            }
        }
    }

    fn check(&self, seed: u64, tally: &mut Tally) {
        let mut agreed: Option<Vec<(String, Decision)>> = None;
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            assert_eq!(node.commit.poll_timeout(), None, "seed {seed}: something is left at node {index}");
            assert!(node.submitted.is_empty(), "seed {seed}: node {index} owes {:?}", node.submitted);
            let trail: Vec<_> =
                node.commit.trail().iter().map(|entry| (entry.nonce.clone(), entry.decision)).collect();
            let mut applied: Vec<_> = trail
                .iter()
                .filter(|(_, decision)| *decision == Decision::Applied)
                .map(|(nonce, _)| nonce.clone())
                .collect();
            let mut effects: Vec<_> = node.effects.iter().map(Nonce::to_string).collect();
            applied.sort_unstable();
            effects.sort_unstable();
            assert_eq!(applied, effects, "seed {seed}: node {index} does not do what it writes down");
            effects.dedup();
            assert_eq!(applied.len(), effects.len(), "seed {seed}: node {index} applied something twice");
            for (nonce, decision) in &node.outcomes {
                assert!(
                    trail.contains(&(nonce.to_string(), *decision)),
                    "seed {seed}: node {index} answered otherwise"
                );
            }
            if node.lived {
                let mut trail = trail;
                trail.sort_unstable_by_key(|(nonce, decision)| (nonce.clone(), format!("{decision:?}")));
                let first = agreed.get_or_insert_with(|| trail.clone());
                assert_eq!(*first, trail, "seed {seed}: node {index} remembers otherwise");
            }
        }
        let reported: BTreeSet<_> = self
            .nodes
            .iter()
            .flatten()
            .flat_map(|node| &node.outcomes)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(nonce, _)| nonce.to_string())
            .collect();
        for (nonce, decision) in agreed.into_iter().flatten() {
            match decision {
                Decision::Applied => {
                    tally.applied += 1;
                    tally.inherited += usize::from(!reported.contains(&nonce));
                }
                Decision::Rejected(reason) => *tally.rejected.entry(reason).or_default() += 1,
            }
        }
    }
}

fn id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

fn index(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).unwrap()
}
