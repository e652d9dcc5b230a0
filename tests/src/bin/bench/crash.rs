//! How soon a silent death is noticed.

use std::time::{Duration, Instant};

use meshground::cluster::ClusterHarness;
use meshground_shared::{EventKind, Health};
use tokio::time::sleep;

use crate::{
    measure::{Error, Figures},
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

/// How many nodes, and how long they have been up.
const CRASHES: [(usize, Duration); 3] =
    [(5, Duration::ZERO), (64, Duration::ZERO), (64, Duration::from_secs(1))];

pub(crate) fn topic() -> Topic {
    let rounds = CRASHES.into_iter().map(|(n, up)| {
        let seconds = up.as_secs();
        let mut contenders = vec![Contender::own(MESHGROUND, format!("crash {n} {seconds}"))];
        if n == 5 {
            contenders.push(Contender::peers("net-mesh-sdk, two nodes", "net-mesh crash").slow());
        }
        let when = if up.is_zero() { String::new() } else { format!(", up for {seconds} s") };
        Round { label: format!("{n} nodes{when}"), contenders }
    });
    Topic {
        name: "crash",
        title: "Noticing a crash",
        text: "From a node's death without a word to the moment when the last of its peers has the verdict: Suspect \
            (net-mesh-sdk: Suspected), then Unreachable (Failed). Where nothing else is said, it dies as soon as the cluster has booted, while \
            its peers may still be reading what it sent then.",
        columns: vec![
            Column { heading: "unreachable", key: "detected", unit: Unit::Time },
            Column { heading: "suspect", key: "suspected", unit: Unit::Time },
        ],
        better: Better::Less,
        rounds: rounds.collect(),
    }
}

/// One crash in a cluster of `nodes` that has been up for so many `seconds`.
pub(crate) async fn crash(nodes: usize, seconds: u64) -> Result<Figures, Error> {
    let cluster = ClusterHarness::new(nodes).await?;
    sleep(Duration::from_secs(seconds)).await;
    let victim = cluster.nth(0).ok_or("there is a first node")?.node_id();
    let mut events = cluster.events().events;
    let start = Instant::now();
    cluster.crash_node(victim).await?;
    let (mut suspecting, mut certain) = (0, 0);
    let mut suspected = None;
    while certain < nodes - 1 {
        if let EventKind::PeerHealth { peer, to, .. } = events.recv().await?.kind {
            if peer == victim && to == Health::Suspect {
                suspecting += 1;
            } else if peer == victim && to == Health::Unreachable {
                certain += 1;
            }
        }
        if suspecting >= nodes - 1 && suspected.is_none() {
            suspected = Some(start.elapsed());
        }
    }
    let detected = start.elapsed();
    cluster.shutdown().await?;
    Ok(vec![("detected", detected.as_secs_f64()), ("suspected", suspected.unwrap_or(detected).as_secs_f64())])
}
