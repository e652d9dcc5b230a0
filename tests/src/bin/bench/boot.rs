//! From nothing to a converged cluster.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use meshground::cluster::ClusterHarness;
use meshground_node::floor::HandshakeFloor;

use crate::{
    measure::{self, Error, Figures},
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

const SIZES: [usize; 5] = [5, 16, 32, 64, 128];

/// How often Meshground and its floors are measured, in turn: they are compared closely, and each is over soon.
const OFTEN: usize = 9;

pub(crate) fn topic() -> Topic {
    let rounds = SIZES.into_iter().map(|n| {
        let own = |name, what: &str| Contender::own(name, format!("{what} {n}")).times(OFTEN);
        let mut contenders = vec![
            own(MESHGROUND, "boot"),
            own("floor: handshakes", "boot-floor"),
            own("floor: handshakes, announcements' signatures", "boot-floor-signatures"),
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
            other Healthy, knows what it can do, and the snapshot shows it. The floors are bare cryptography with the same \
            primitives, spread over all cores; no sockets, no timers, no tasks. The lower one is what a full mesh cannot do \
            without: n(n-1)/2 handshakes, each end verifying the other's signed identity. The other adds that each node \
            checks the signature under every other's announcement of what it can do: n(n-1) more. Meshground does not check \
            these in a full mesh: it hears each from its origin over the session that has just proved who that is, and a \
            signature is checked before a record is passed on, which there none has to be. Meshground and the floors ran nine \
            times each, in turn. net-mesh-sdk is given more time than it gives itself: with its own budgets it fails at 64, on \
            a slow machine at 32.",
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

/// What a booting mesh is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Handshakes, identities verified.
    Handshakes,
    /// The same, and both ends check the signature under what the other announces.
    WithAnnouncements,
}

/// The cryptography of a full mesh of `nodes`, on every core at once.
pub(crate) fn floor(nodes: usize, floor: Floor) -> Result<Figures, Error> {
    let total = nodes * (nodes - 1) / 2;
    let cores = thread::available_parallelism()?.get();
    let start = Instant::now();
    let work = move |core: usize| -> Result<Duration, Error> {
        let mut pair = HandshakeFloor::new(core as u64);
        for _ in 0..total / cores + usize::from(core < total % cores) {
            pair.run();
            if floor == Floor::WithAnnouncements {
                pair.check_announcements();
            }
        }
        measure::running(&fs::read_to_string("/proc/thread-self/schedstat")?)
    };
    let worked = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || work(core))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("it does not panic"))
            .sum::<Result<Duration, Error>>()
    })?;
    Ok(vec![("boot", start.elapsed().as_secs_f64()), ("processor", worked.as_secs_f64())])
}
