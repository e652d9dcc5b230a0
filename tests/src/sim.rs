//! A simulated network of real nodes in virtual time.
//!
//! The nodes are the ones that run over UDP; only the network and the clock are made
//! up. Everything random grows from one seed, so a run replays exactly.
//!
//! After every step, whatever must always hold is checked: see `sim/watch.rs` and `sim/talk.rs`.

mod datagrams;
mod os;
mod seeds;
mod talk;
mod upheaval;
mod watch;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use meshground_node::{
    DialId, Health, Identity, Instant, Node, NodeConfig, NodeEvent, NodeId, Now, Role, WallTime,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

pub use datagrams::{Datagram, Faults, Filter};
use os::Jobs;
pub use os::OsSide;
use seeds::Seed;
pub use seeds::{each_seed, effort, seeds};
use talk::Talk;
pub use upheaval::Upheaval;
use watch::Watch;

/// Unix time at which virtual time begins.
const WALL_START_US: u64 = 1_700_000_000_000_000;

/// So many things happen at one moment at most.
const MOST_AT_ONCE: u64 = 10_000;

/// One simulated member.
#[derive(Debug)]
pub struct Member {
    /// The node; `None` while crashed.
    pub node: Option<Node>,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Everything it told, in order, with the virtual time.
    pub events: Vec<(Instant, NodeEvent)>,
    /// Every message it received, in order.
    pub messages: Vec<(NodeId, Vec<u8>)>,
    /// How far its wall clock is ahead, in microseconds.
    pub skew_us: u64,
    /// Its part of the system above the transport, if it was [equipped](Network::equip) with one.
    pub os: OsSide,
    /// What came in while it stood still, and the node meanwhile.
    still: Option<(Node, Vec<Datagram>)>,
    /// How many events it had told when its present life began.
    born_at: usize,
    /// How many messages it had received by then.
    received_before: usize,
    /// Its wall clock at that moment.
    incarnation: WallTime,
    config: NodeConfig,
    identity: Identity,
}

impl Member {
    fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    /// What it told in its present life, in order.
    pub fn told(&self) -> impl Iterator<Item = &NodeEvent> {
        self.events[self.born_at..].iter().map(|(_, event)| event)
    }

    /// The messages it received in its present life, in order.
    pub fn received(&self) -> &[(NodeId, Vec<u8>)] {
        &self.messages[self.received_before..]
    }
}

/// The network and its members.
#[derive(Debug)]
pub struct Network {
    /// What happens to datagrams sent from now on.
    pub faults: Faults,
    /// The members, by number.
    pub members: Vec<Member>,
    /// Every datagram ever sent, if asked for.
    pub tap: Option<Vec<Datagram>>,
    /// Pairs of addresses between which nothing passes, first to second.
    pub cuts: Vec<(SocketAddr, SocketAddr)>,
    /// Which datagrams pass at all; every one if not given.
    pub filter: Option<Filter>,
    /// How often a node's timer went off.
    pub timeouts: u64,
    /// How many things have happened.
    pub steps: u64,
    /// Whether the members' applications take part: read their streams and answer calls.
    pub talks: bool,
    /// How many of them at the present moment.
    at_once: u64,
    jobs: Jobs,
    watch: Watch,
    talk: Talk,
    seed: Seed,
    now: Instant,
    rng: ChaCha20Rng,
    under_way: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
    next_port: u16,
    buffer: Vec<u8>,
}

impl Network {
    /// An empty network. The seed decides everything.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults,
            members: Vec::new(),
            tap: None,
            cuts: Vec::new(),
            filter: None,
            timeouts: 0,
            steps: 0,
            at_once: 0,
            talks: false,
            jobs: Jobs::default(),
            watch: Watch::default(),
            talk: Talk::default(),
            seed: Seed { seed, now: Instant::from_micros(1) },
            now: Instant::from_micros(1),
            rng: ChaCha20Rng::seed_from_u64(seed),
            under_way: BTreeMap::new(),
            sent: 0,
            next_port: 10_000,
            buffer: Vec::new(),
        }
    }

    /// Adds a member with a fresh identity; its number.
    pub fn add(&mut self, config: NodeConfig) -> usize {
        let identity = Identity::from_seed(self.random_seed());
        let address = self.fresh_address();
        let member = Member {
            node: None,
            address,
            events: Vec::new(),
            messages: Vec::new(),
            skew_us: 0,
            os: OsSide::default(),
            still: None,
            born_at: 0,
            received_before: 0,
            incarnation: WallTime::default(),
            config,
            identity,
        };
        self.members.push(member);
        let number = self.members.len() - 1;
        self.start(number);
        number
    }

    /// Takes a member away without a word.
    pub fn crash(&mut self, number: usize) {
        self.members[number].node = None;
        self.members[number].os.end();
        self.talk.dies(self.members[number].id());
    }

    /// Starts a crashed member under the same identity at a new address.
    pub fn restart(&mut self, number: usize) {
        self.members[number].address = self.fresh_address();
        self.start(number);
    }

    /// Starts a crashed member under the same identity where it was.
    pub fn restart_in_place(&mut self, number: usize) {
        self.start(number);
    }

    /// Gives a member another address: what it sends comes from there from now on, and what goes to the old one is lost.
    pub fn move_away(&mut self, number: usize) {
        self.members[number].address = self.fresh_address();
    }

    /// Has a running member stand still, as on a blocked thread: datagrams wait for it.
    pub fn freeze(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.still = member.node.take().map(|node| (node, Vec::new()));
    }

    /// Has it go on: what waited first, then its timers, as a driver does.
    pub fn thaw(&mut self, number: usize) {
        let member = &mut self.members[number];
        let Some((node, waiting)) = member.still.take() else { return };
        member.node = Some(node);
        for datagram in &waiting {
            self.inject(datagram);
        }
        self.act(number, Node::handle_timeout);
    }

    /// Starts a crashed member under the same identity where it was, by a clock that is `by` behind at that moment, and
    /// with a driver that does not remember its last life.
    pub fn restart_set_back(&mut self, number: usize, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        let mut now = self.now_at(number);
        now.wall.0 -= by;
        self.start_at(number, now);
    }

    fn start(&mut self, number: usize) {
        let mut now = self.now_at(number);
        let member = &mut self.members[number];
        // A driver must see to it that no life begins before an earlier one did.
        if now.wall <= member.incarnation {
            member.skew_us += member.incarnation.0 - now.wall.0 + 1;
            now.wall = WallTime(member.incarnation.0 + 1);
        }
        self.start_at(number, now);
    }

    fn start_at(&mut self, number: usize, now: Now) {
        let seed = self.random_seed();
        let member = &mut self.members[number];
        member.incarnation = now.wall;
        member.born_at = member.events.len();
        member.received_before = member.messages.len();
        let node = Node::new(member.config.clone(), member.identity.clone(), seed, now);
        let node = node.expect("the test's configuration is valid");
        member.os.begin(&node, seed, now);
        member.node = Some(node);
        self.watch.begin(number);
        self.talk.dies(self.members[number].id());
        self.drain(number);
    }

    /// Has one member dial another's address.
    pub fn dial(&mut self, from: usize, to: usize) -> DialId {
        let address = self.members[to].address;
        self.act(from, |node, now| node.connect(now, address, None))
    }

    /// Has every pair dial, each in a random direction, some in both at once.
    pub fn dial_all(&mut self) {
        for a in 0..self.members.len() {
            for b in a + 1..self.members.len() {
                match self.below(4) {
                    0 => _ = self.dial(a, b),
                    1 => _ = self.dial(b, a),
                    _ => {
                        self.dial(a, b);
                        self.dial(b, a);
                    }
                }
            }
        }
    }

    /// Does something with a running member's node, and lets its consequences out.
    ///
    /// # Panics
    /// When the member is crashed.
    pub fn act<T>(&mut self, number: usize, action: impl FnOnce(&mut Node, Now) -> T) -> T {
        let now = self.now_at(number);
        let node = self.members[number].node.as_mut().expect("the member is running");
        let outcome = action(node, now);
        self.drain(number);
        outcome
    }

    /// Hands a datagram to whoever has its address, now and unharmed.
    pub fn inject(&mut self, datagram: &Datagram) {
        let still =
            self.members.iter_mut().filter(|m| m.address == datagram.to).find_map(|m| m.still.as_mut());
        if let Some((_, waiting)) = still {
            waiting.push(datagram.clone());
            return;
        }
        let Some(number) = self.members.iter().position(|m| m.address == datagram.to && m.node.is_some())
        else {
            return;
        };
        let (now, mut bytes) = (self.now_at(number), datagram.bytes.clone());
        if let Some(node) = &mut self.members[number].node {
            node.handle_datagram(now, datagram.from, &mut bytes);
            self.watch.listens(number, node, now.instant);
        }
        self.drain(number);
    }

    /// Runs until `done` holds, checked after every step, or until `limit` has passed.
    /// Returns the virtual time it took.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let (start, end) = (self.now, self.now + limit);
        while !done(self) {
            if !self.step(end) {
                return None;
            }
        }
        Some(self.now.saturating_since(start))
    }

    /// Runs for `time`.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// The next thing that happens, if it happens by `end`; otherwise time moves to `end`.
    fn step(&mut self, end: Instant) -> bool {
        let arrival = self.under_way.keys().next().map(|(at, _)| *at);
        let timeout = (0..self.members.len())
            .filter_map(|number| Some((self.members[number].node.as_ref()?.poll_timeout()?, number)))
            .min();
        let os_timeout = (0..self.members.len())
            .filter(|number| self.members[*number].node.is_some())
            .filter_map(|number| Some((self.members[number].os.os.as_ref()?.poll_timeout()?, number)))
            .min();
        let job = self.jobs.next();
        let others = [timeout, os_timeout].into_iter().flatten().map(|(at, _)| at).chain(job);
        let next = arrival.into_iter().chain(others).min();
        let Some(next) = next.filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.steps += 1;
        self.at_once = if next > self.now { 0 } else { self.at_once + 1 };
        assert!(self.at_once < MOST_AT_ONCE, "time stands still: somebody's timer goes off again and again");
        self.now = self.now.max(next);
        if arrival == Some(next) {
            if let Some((_, datagram)) = self.under_way.pop_first() {
                self.inject(&datagram);
            }
        } else if job == Some(next) {
            self.finish_job();
        } else if let Some((_, number)) = os_timeout.filter(|(at, _)| *at == next) {
            self.act_os(number, |os, node, now| os.handle_timeout(now, node));
        } else if let Some((_, number)) = timeout {
            self.timeouts += 1;
            self.act(number, Node::handle_timeout);
        }
        true
    }

    /// Lets everything out of a member that it has to tell and to send, and checks what must hold then.
    fn drain(&mut self, number: usize) {
        let now = self.now_at(number);
        self.seed.now = now.instant;
        let Member { address: from, config, .. } = &self.members[number];
        let (from, liveness, longest) = (*from, config.liveness.clone(), config.max_datagram);
        loop {
            self.buffer.clear();
            let member = &mut self.members[number];
            let Some(node) = member.node.as_mut() else { return };
            while let Some(event) = node.poll_event() {
                let Some(event) = member.os.hear(now, node, event) else { continue };
                self.watch.hears_of(number, node, &liveness, now.instant, &event);
                if self.talks {
                    self.talk.learns(node, now, &event);
                }
                member.events.push((now.instant, event));
            }
            let received = node.take_messages();
            assert_eq!(received.missed(), 0, "messages are taken after every step");
            for (peer, payload) in received.iter() {
                self.talk.receives(node.id(), peer, &payload);
                member.messages.push((peer, payload.to_vec()));
            }
            let Some(transmit) = node.poll_transmit(now, &mut self.buffer) else { break };
            assert_eq!(transmit.len, self.buffer.len(), "a transmit's length is what was appended");
            assert!(transmit.len <= longest, "no datagram exceeds the limit");
            self.watch.sends(number, &self.buffer);
            let datagram = Datagram { from, to: transmit.to, bytes: self.buffer.clone() };
            if let Some(tap) = &mut self.tap {
                tap.push(datagram.clone());
            }
            self.carry(&datagram);
        }
        self.drain_os(number);
        watch::check(&self.members, number);
    }

    fn carry(&mut self, datagram: &Datagram) {
        let passes = self.filter.as_ref().is_none_or(|Filter(passes)| passes(datagram));
        let cut = self.cuts.contains(&(datagram.from, datagram.to));
        if !passes || cut || self.chance(self.faults.loss) {
            return;
        }
        let copies = if self.chance(self.faults.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let jitter = u64::try_from(self.faults.jitter.as_micros()).unwrap_or(u64::MAX);
            let delay = self.faults.delay + Duration::from_micros(self.below(jitter + 1));
            let mut copy = datagram.clone();
            if self.chance(self.faults.corruption) {
                let bit = usize::try_from(self.below(8 * copy.bytes.len() as u64)).expect("small");
                copy.bytes[bit / 8] ^= 1 << (bit % 8);
            }
            self.sent += 1;
            self.under_way.insert((self.now + delay, self.sent), copy);
        }
    }

    /// The present, as a member's clocks show it.
    pub fn now_at(&self, number: usize) -> Now {
        let skew = self.members.get(number).map_or(0, |member| member.skew_us);
        Now { instant: self.now, wall: WallTime(WALL_START_US + self.now.as_micros() + skew) }
    }

    /// A member's id.
    pub fn id(&self, number: usize) -> NodeId {
        self.members[number].identity.node_id()
    }

    /// One member's verdict on another: `None` without a session.
    pub fn verdict(&self, from: usize, on: usize) -> Option<Health> {
        let id = self.id(on);
        self.members[from].node.as_ref()?.peers().find(|peer| peer.id == id).map(|peer| peer.health)
    }

    /// Whether every running member holds a Healthy session with every other.
    pub fn is_converged(&self) -> bool {
        let running: Vec<usize> =
            (0..self.members.len()).filter(|number| self.members[*number].node.is_some()).collect();
        running
            .iter()
            .all(|&a| running.iter().all(|&b| a == b || self.verdict(a, b) == Some(Health::Healthy)))
    }

    /// Both ends of every session, as `(initiator, responder)`, sorted; for comparing.
    pub fn sessions(&self) -> Vec<(NodeId, NodeId)> {
        let mut sessions = Vec::new();
        for (number, member) in self.members.iter().enumerate() {
            for peer in member.node.iter().flat_map(Node::peers) {
                sessions.push(match peer.role {
                    Role::Initiator => (self.id(number), peer.id),
                    Role::Responder => (peer.id, self.id(number)),
                });
            }
        }
        sessions.sort_unstable();
        sessions
    }

    /// The messages a member received, in order.
    pub fn messages(&self, number: usize) -> Vec<(NodeId, Vec<u8>)> {
        self.members[number].messages.clone()
    }

    /// A random number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.rng.next_u32()) < probability * f64::from(u32::MAX)
    }

    fn random_seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }

    fn fresh_address(&mut self) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::from(([127, 0, 0, 1], self.next_port))
    }

    /// Everything that is under way, taken off the network.
    pub fn intercept(&mut self) -> VecDeque<Datagram> {
        std::mem::take(&mut self.under_way).into_values().collect()
    }
}
