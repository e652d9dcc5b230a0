//! What a cluster costs in which nothing happens.

use std::time::Instant;

use meshground::cluster::ClusterHarness;

use crate::{
    measure::{self, Error, Figures},
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

const BESIDE_OTHERS: [usize; 2] = [16, 64];

const GROWING: [usize; 4] = [16, 64, 128, 256];

pub(crate) fn topic() -> Topic {
    let rounds = BESIDE_OTHERS.into_iter().map(|n| Round {
        label: format!("{n} nodes"),
        contenders: vec![
            Contender::own(MESHGROUND, format!("idle {n}")),
            Contender::peers("net-mesh-sdk", format!("net-mesh idle {n}")),
        ],
    });
    Topic {
        name: "idle",
        title: "A cluster at rest",
        text: "What a process grows by when it boots a cluster, read after ten idle seconds, a cluster of two having come and \
            gone before; and its processor time (user and system) during these ten seconds, 100% being one core. Every pair \
            of nodes has two session ends.",
        columns: vec![
            Column { heading: "memory a node", key: "memory_a_node", unit: Unit::Bytes },
            Column { heading: "memory a session end", key: "memory_a_session_end", unit: Unit::Bytes },
            Column { heading: "processor", key: "idle_processor", unit: Unit::Share },
        ],
        better: Better::Less,
        rounds: rounds.collect(),
    }
}

/// The same, of Meshground alone, in ever greater clusters.
pub(crate) fn growth() -> Topic {
    let rounds = GROWING.into_iter().map(|n| Round {
        label: format!("{n} nodes"),
        contenders: vec![Contender::own(MESHGROUND, format!("idle {n}"))],
    });
    Topic {
        name: "growth",
        title: "As a cluster grows",
        text: "The same, session by session: a flat column means that no session pays for the others. 1 ppm of a core is a \
            microsecond a second. Above 64 nodes heartbeats stretch, so that their total stays that of 64.",
        columns: vec![
            Column { heading: "memory a session end", key: "memory_a_session_end", unit: Unit::Bytes },
            Column { heading: "memory a node", key: "memory_a_node", unit: Unit::Bytes },
            Column {
                heading: "processor a session end",
                key: "idle_processor_a_session_end",
                unit: Unit::Tiny,
            },
            Column { heading: "processor", key: "idle_processor", unit: Unit::Share },
            Column { heading: "boot", key: "boot", unit: Unit::Time },
        ],
        better: Better::Less,
        rounds: rounds.collect(),
    }
}

/// One cluster, left alone.
pub(crate) async fn idle(nodes: usize) -> Result<Figures, Error> {
    ClusterHarness::new(2).await?.shutdown().await?;
    let before = measure::resident()?;
    let start = Instant::now();
    let cluster = ClusterHarness::new(nodes).await?;
    let booted = start.elapsed().as_secs_f64();
    let mut figures = measure::idle(nodes, before).await?;
    if !cluster.health().fully_converged() {
        return Err(format!("while idle, {:?}", cluster.health()).into());
    }
    figures.push(("boot", booted));
    cluster.shutdown().await?;
    Ok(figures)
}
