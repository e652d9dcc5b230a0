//! From nothing to a converged cluster.

use std::{thread, time::Instant};

use meshground::cluster::ClusterHarness;
use meshground_node::floor::HandshakeFloor;

use crate::{
    measure::{self, Error, Figures},
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

const SIZES: [usize; 5] = [5, 16, 32, 64, 128];

pub(crate) fn topic() -> Topic {
    let rounds = SIZES.into_iter().map(|n| {
        let mut contenders = vec![
            Contender::own(MESHGROUND, format!("boot {n}")),
            Contender::own("floor", format!("boot-floor {n}")),
        ];
        match n {
            ..64 => contenders.push(Contender::peers("net-mesh-sdk", format!("net-mesh boot {n}"))),
            // The processes of the idle cluster: a boot takes them half a minute.
            64 => contenders.push(Contender::peers("net-mesh-sdk", format!("net-mesh idle {n}"))),
            _ => {}
        }
        Round { label: format!("{n} nodes"), contenders }
    });
    Topic {
        name: "boot",
        title: "Boot to converged",
        text: "From `ClusterHarness::new(n)` until it returns: every pair holds a session confirmed at both ends, finds the \
            other Healthy, and the snapshot shows it. The floor is the bare cryptography that a full mesh cannot do \
            without: n(n-1)/2 handshakes with the same primitives, each end verifying the other's signed identity, spread \
            over all cores; no sockets, no timers, no tasks. It checks no signatures of capability records, for the mesh can do \
            without: each node signs what it can do, but hears it from its origin over the session that has just proved who \
            that is, and a signature is checked only before a record is passed on, which in a full mesh none has to be. \
            net-mesh-sdk is given more time than it gives itself: with its own budgets it fails at 64, on a slow machine at 32.",
        columns: vec![
            Column { heading: "boot", key: "boot", unit: Unit::Time },
            Column { heading: "processor time", key: "processor", unit: Unit::Time },
            Column { heading: "shutdown", key: "shutdown", unit: Unit::Time },
        ],
        better: Better::Less,
        rounds: rounds.collect(),
    }
}

/// One cluster.
pub(crate) async fn boot(nodes: usize) -> Result<Figures, Error> {
    // What the first cluster of a process pays once is no node's.
    ClusterHarness::new(2).await?.shutdown().await?;
    let (before, start) = (measure::processor_time()?, Instant::now());
    let cluster = ClusterHarness::new(nodes).await?;
    let booted = start.elapsed();
    let worked = measure::processor_time()?.saturating_sub(before);
    if !cluster.health().fully_converged() {
        return Err(format!("booted, but {:?}", cluster.health()).into());
    }
    let start = Instant::now();
    cluster.shutdown().await?;
    Ok(vec![
        ("boot", booted.as_secs_f64()),
        ("processor", worked.as_secs_f64()),
        ("shutdown", start.elapsed().as_secs_f64()),
    ])
}

/// As many handshakes as a full mesh of `nodes` needs, on every core at once.
pub(crate) fn floor(nodes: usize) -> Result<Figures, Error> {
    let total = nodes * (nodes - 1) / 2;
    let cores = thread::available_parallelism()?.get();
    let start = Instant::now();
    thread::scope(|scope| {
        for core in 0..cores {
            let share = total / cores + usize::from(core < total % cores);
            scope.spawn(move || {
                let mut pair = HandshakeFloor::new(core as u64);
                (0..share).for_each(|_| pair.run());
            });
        }
    });
    Ok(vec![("boot", start.elapsed().as_secs_f64())])
}
