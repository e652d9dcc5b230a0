//! What one node's part of the system costs while it runs: hearing what others say, and its turns of the loop.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use meshground_node::{
    Dispatch, EntityKeypair, GroupRequest, Identity, Instant, LoggingDispatcher, MeshOs, MeshOsConfig, Node,
    NodeConfig, NodeEvent, Now, SpawnRequest, Topic, WallTime,
    admin::{AdminCommand, Nonce},
};
use meshground_shared::{AdminVerb, GroupKind};
use meshground_tests::daemons::Diary;

use crate::{
    measure::{Error, Figures, as_f64},
    suite::{Contender, MESHGROUND, Round, Topic as Table},
    table::{Better, Column, Unit},
};

const SIZES: [usize; 3] = [16, 64, 256];

/// Daemons on each node.
const DAEMONS: usize = 50;

/// One in so many nodes looks after a group.
const GROUP_EVERY: usize = 8;

/// So many turns are measured.
const TURNS: usize = 1_000;

/// In a second every node says once what runs on it: its daemons have become more or less busy.
const SAYING: Duration = Duration::from_secs(1);

/// Within so many milliseconds a node that is alone has said what runs on it.
const COMPOSURE: usize = 200;

/// No two nodes take longer than so many milliseconds to tell each other everything.
const PATIENCE: usize = 5_000;

pub(crate) fn topic() -> Table {
    let rounds = SIZES.into_iter().map(|n| Round {
        label: format!("{n} nodes"),
        contenders: vec![Contender::own(MESHGROUND, format!("meshos {n}"))],
    });
    Table {
        name: "meshos",
        title: "A turn of the system's loop",
        text: "One node's part of the system in a full mesh, without sockets: 50 daemons on every node, a group for every \
            eight of them, and every node says once a second what runs on it. Each 100 ms the node has its turn: it looks \
            over its daemons, asks its probes, decides what is to be done (`reconcile`), and publishes what it sees \
            (snapshot) if that is due. Every one of these nodes says something once a second, so there is always something new, \
            and it is due 5 ms and 2 ms for each peer after the last: at 16 nodes every turn publishes, at 64 one in two, at 256 one \
            in six; so those stand for themselves. In a drain \
            `reconcile` looks at all 50 daemons and all who would take one; what it decides is written down and not done. To hear an inventory is to decode it and to fold it into what is known (fold). The share \
            is that of all this in one core's time, for one node.",
        columns: vec![
            Column { heading: "a turn", key: "turn", unit: Unit::Time },
            Column { heading: "one that publishes", key: "published", unit: Unit::Time },
            Column { heading: "one in a drain", key: "draining", unit: Unit::Time },
            Column { heading: "the longest", key: "longest", unit: Unit::Time },
            Column { heading: "an inventory heard", key: "heard", unit: Unit::Time },
            Column { heading: "share of a core", key: "share", unit: Unit::Share },
        ],
        better: Better::Less,
        rounds: rounds.collect(),
    }
}

/// A node and its part of the system.
struct Side {
    node: Node,
    os: MeshOs,
    address: SocketAddr,
    /// What others were heard to say of late.
    heard: Vec<NodeEvent>,
}

/// The turns of one node among so many, and then of one that is to give away all it has.
pub(crate) fn turns(nodes: usize) -> Result<Figures, Error> {
    let resting = Turns::of(nodes, Side::prepared)?;
    let draining = Turns::of(nodes, Side::draining)?;
    let passed = MeshOsConfig::default().tick_interval.as_secs_f64() * as_f64(TURNS);
    Ok(vec![
        ("turn", mean(resting.all, TURNS)),
        ("published", mean(resting.published.0, resting.published.1)),
        ("draining", mean(draining.all, TURNS)),
        ("longest", resting.longest.as_secs_f64()),
        ("heard", mean(resting.heard.0, resting.heard.1)),
        ("share", (resting.all + resting.heard.0).as_secs_f64() / passed),
    ])
}

fn mean(all: Duration, count: usize) -> f64 {
    all.as_secs_f64() / as_f64(count.max(1))
}

/// How long [`TURNS`] took.
#[derive(Default)]
struct Turns {
    all: Duration,
    longest: Duration,
    /// Those that published a snapshot, and how many.
    published: (Duration, usize),
    /// To hear what others say, and how often they did.
    heard: (Duration, usize),
}

impl Turns {
    /// The turns of one node among so many, which all others have told what runs on them.
    fn of(nodes: usize, hub: fn(usize, &mut Clock) -> Result<Side, Error>) -> Result<Self, Error> {
        let mut clock = Clock::default();
        let mut hub = hub(0, &mut clock)?;
        let mut inventories = Vec::new();
        for number in 1..nodes {
            let other = Side::prepared(number, &mut clock)?;
            inventories.push(hub.meet(other, &mut clock)?);
        }

        let interval = MeshOsConfig::default().tick_interval;
        let others = inventories.len();
        let drains = hub.os.snapshot().drain_remaining.is_some();
        let mut turns = Self::default();
        for turn in 1..=TURNS {
            clock.pass(interval);
            let now = clock.now();
            // As many as the time that has passed is worth.
            let due = turn * others * millis(interval) / millis(SAYING);
            while turns.heard.1 < due {
                let event = inventories[turns.heard.1 % others].clone();
                let start = StdInstant::now();
                hub.os.handle_event(now, &mut hub.node, event);
                turns.heard.0 += start.elapsed();
                turns.heard.1 += 1;
            }
            let before = hub.os.snapshot();
            let start = StdInstant::now();
            hub.os.handle_timeout(now, &mut hub.node);
            while hub.os.poll_event().is_some() {}
            let took = start.elapsed();
            turns.all += took;
            turns.longest = turns.longest.max(took);
            if !Arc::ptr_eq(&before, &hub.os.snapshot()) {
                turns.published.0 += took;
                turns.published.1 += 1;
            }
            hub.forget_output(now);
        }
        let seen = hub.os.snapshot();
        if seen.healthy_peers() != others || seen.peers.values().any(|peer| peer.daemons.len() < DAEMONS) {
            return Err("not everything is known that the others said".into());
        }
        let decided = hub.os.logged().map_or(0, |log| log.records().len());
        if seen.drain_remaining.is_some() != drains || drains != (decided > 0) {
            return Err("what was to be moved away, and only that, is not decided to be".into());
        }
        Ok(turns)
    }
}

fn millis(duration: Duration) -> usize {
    usize::try_from(duration.as_millis()).unwrap_or(usize::MAX)
}

/// Virtual time.
#[derive(Default)]
struct Clock(Duration);

impl Clock {
    fn now(&self) -> Now {
        let micros = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX) + 1_000_000;
        Now { instant: Instant::from_micros(micros), wall: WallTime(micros) }
    }

    fn pass(&mut self, time: Duration) {
        self.0 += time;
    }
}

/// 32 bytes that differ between all these.
fn seed(node: usize, of: usize) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&node.to_le_bytes());
    seed[8..16].copy_from_slice(&of.to_le_bytes());
    seed
}

impl Side {
    /// Alone, with its daemons, and some with a group.
    fn prepared(number: usize, clock: &mut Clock) -> Result<Self, Error> {
        let (now, port) = (clock.now(), u16::try_from(1 + number)?);
        let identity = Identity::from_seed(seed(number, 0));
        let node = Node::new(NodeConfig::new([42; 32]), identity, seed(number, 1), now)?;
        let mut os = MeshOs::new(
            MeshOsConfig { founds: true, ..MeshOsConfig::default() },
            &node,
            seed(number, 2),
            now,
        );
        Diary::prepare(&mut os, now);
        let mut side = Self { node, os, address: ([127, 0, 0, 1], port).into(), heard: Vec::new() };
        // So that it knows what it can make itself.
        side.os.handle_timeout(now, &mut side.node);
        for daemon in 0..DAEMONS {
            let request = SpawnRequest {
                keypair: EntityKeypair::from_seed(seed(number, 3 + daemon)),
                kind: "diary".to_owned(),
                args: String::new(),
                state: None,
                cause: None,
            };
            side.os.spawn(now, &mut side.node, request)?;
        }
        if number % GROUP_EVERY == 1 {
            let request = GroupRequest {
                kind: GroupKind::Replica,
                daemon: "diary".to_owned(),
                args: String::new(),
                count: 1,
                name: "a group".to_owned(),
                seed: seed(number, 1_000),
                parent: None,
                cause: None,
            };
            side.os.spawn_group(now, &mut side.node, request)?;
        }
        for _ in 0..COMPOSURE {
            clock.pass(Duration::from_millis(1));
            side.go_on(clock.now());
        }
        Ok(side)
    }

    /// Alone, with its daemons, all of which are to move away. It writes down which it would move, and moves none.
    fn draining(number: usize, clock: &mut Clock) -> Result<Self, Error> {
        let mut side = Self::prepared(number, clock)?;
        side.os.set_dispatch(Dispatch::Log(LoggingDispatcher::new(DAEMONS)));
        let verb = AdminVerb::Drain { node: side.node.id() };
        let drain = AdminCommand::new(verb, clock.now().wall, Nonce([1; 16])).unsigned();
        side.os.submit(clock.now(), &mut side.node, &drain);
        for _ in 0..COMPOSURE {
            clock.pass(Duration::from_millis(1));
            side.go_on(clock.now());
        }
        if side.os.snapshot().drain_remaining.is_none() {
            return Err("a node alone does not drain when it is told to".into());
        }
        Ok(side)
    }

    /// Some time has passed.
    fn go_on(&mut self, now: Now) {
        self.node.handle_timeout(now);
        self.os.handle_timeout(now, &mut self.node);
        self.settle(now);
    }

    /// Has everything happen that follows from what just did, save what goes to others.
    fn settle(&mut self, now: Now) {
        loop {
            let mut more = false;
            while let Some(event) = self.node.poll_event() {
                more = true;
                if let NodeEvent::Said { .. } = &event {
                    self.heard.push(event.clone());
                }
                self.os.handle_event(now, &mut self.node, event);
            }
            while let Some(job) = self.os.poll_job() {
                more = true;
                self.os.handle_job(now, &mut self.node, job.run());
            }
            while self.os.poll_event().is_some() {}
            if !more {
                return;
            }
        }
    }

    /// Comes to a session with `other`, which then goes its way, and hears all that has to say. Returns what it said of
    /// its daemons. Time does not pass for this one's sessions, lest those who went their way are missed.
    fn meet(&mut self, mut other: Self, clock: &mut Clock) -> Result<NodeEvent, Error> {
        self.heard.clear();
        let leads = other.os.groups().next().is_some();
        other.node.connect(clock.now(), self.address, Some(self.node.id()));
        for _ in 0..PATIENCE {
            let now = clock.now();
            other.go_on(now);
            while self.send_to(&mut other, now) | other.send_to(self, now) {}
            self.os.handle_timeout(now, &mut self.node);
            let heard = |wanted: Topic| {
                self.heard
                    .iter()
                    .find(|event| matches!(event, NodeEvent::Said { topic, .. } if *topic == wanted))
            };
            if let Some(inventory) = heard(Topic::Inventory)
                && (!leads || heard(Topic::Groups).is_some())
            {
                return Ok(inventory.clone());
            }
            clock.pass(Duration::from_millis(1));
        }
        Err("two nodes do not get to know each other".into())
    }

    /// Lets `to` have what is for it; what is for those who went their way is lost. Whether there was any.
    fn send_to(&mut self, to: &mut Self, now: Now) -> bool {
        let (mut buffer, mut sent) = (Vec::new(), false);
        while let Some(transmit) = self.node.poll_transmit(now, &mut buffer) {
            if transmit.to == to.address {
                sent = true;
                to.node.handle_datagram(now, self.address, &mut buffer);
                to.settle(now);
            }
            buffer.clear();
        }
        sent
    }

    fn forget_output(&mut self, now: Now) {
        self.settle(now);
        let mut buffer = Vec::new();
        while self.node.poll_transmit(now, &mut buffer).is_some() {
            buffer.clear();
        }
    }
}
