//! How fast virtual time passes: what a night of simulation covers.

use std::{
    thread,
    time::{Duration, Instant},
};

use meshground_node::NodeConfig;
use meshground_tests::sim::{Faults, Network, Upheaval};

use crate::{
    measure::{Error, Figures},
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

/// How long is simulated.
const SIMULATING: Duration = Duration::from_secs(4);

/// After so much virtual time somebody looks at the clock.
const SLICE: Duration = Duration::from_secs(10);

/// So many things befall a network before it gets its calm.
const BLOWS: u64 = 80;

const NODES: u64 = 5;

pub(crate) fn topic() -> Topic {
    let rounds = ["at-rest", "in-upheaval"].into_iter().map(|how| Round {
        label: format!("{NODES} nodes, {}", how.replace('-', " ")),
        contenders: vec![Contender::own(MESHGROUND, format!("sim {how}"))],
    });
    Topic {
        name: "sim",
        title: "The simulator",
        text: "Virtual hours of a cluster that pass in a minute on all cores, each simulating networks of its own, with every \
            property checked after every step. At rest, nodes send heartbeats and renew their keys. In upheaval, they crash, come \
            back, leave, talk and lose datagrams and each other, as in the tests.",
        columns: vec![
            Column { heading: "cluster-hours a minute", key: "hours", unit: Unit::Count },
            Column { heading: "times as fast as time", key: "speed", unit: Unit::Count },
        ],
        better: Better::More,
        rounds: rounds.collect(),
    }
}

/// Simulates on all cores for a while, and says how much virtual time that was.
pub(crate) fn sim(how: &str) -> Result<Figures, Error> {
    let simulate: fn(u64, Instant) -> Duration = match how {
        "at-rest" => at_rest,
        "in-upheaval" => in_upheaval,
        _ => return Err("it simulates at-rest or in-upheaval".into()),
    };
    let cores = thread::available_parallelism()?.get() as u64;
    let start = Instant::now();
    let virtual_time: Duration = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || simulate(core, start))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    let speed = virtual_time.as_secs_f64() / start.elapsed().as_secs_f64();
    Ok(vec![("hours", speed / 60.0), ("speed", speed)])
}

fn at_rest(seed: u64, start: Instant) -> Duration {
    let mut net = Network::new(seed, Faults::NONE);
    for _ in 0..NODES {
        net.add(NodeConfig::new([42; 32]));
    }
    net.dial_all();
    let mut passed = Duration::ZERO;
    while start.elapsed() < SIMULATING {
        net.run_for(SLICE);
        passed += SLICE;
    }
    assert!(net.is_converged(), "nothing has happened");
    passed
}

fn in_upheaval(core: u64, start: Instant) -> Duration {
    let mut passed = Duration::ZERO;
    for round in 0.. {
        if start.elapsed() >= SIMULATING {
            break;
        }
        let mut upheaval = Upheaval::new(core << 32 | round, Some(NODES));
        upheaval.everyone_dials();
        upheaval.suffer(BLOWS);
        upheaval.calm_down();
        passed += Duration::from_micros(upheaval.net.now_at(0).instant.as_micros());
    }
    passed
}
