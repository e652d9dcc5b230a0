//! Its `ClusterHarness`.

use std::time::{Duration, Instant};

use net_sdk::testing::{ClusterConfig, ClusterHarness};
use tokio::{runtime::Builder, time::sleep};

use super::pair;
use crate::measure::{self, Error, Figures};

/// Its own budgets do not suffice from about 32 nodes up, on a slow machine; they have no other effect.
fn patient() -> ClusterConfig {
    let ample = Duration::from_secs(100);
    ClusterConfig {
        handshake_timeout: ample,
        mesh_session_stable_timeout: ample,
        meshos_snapshot_stable_timeout: ample,
        ..ClusterConfig::default()
    }
}

/// From `ClusterHarness::with_config` to its return.
pub(crate) async fn boot(nodes: usize) -> Result<Figures, Error> {
    // What the first cluster of a process pays once is no node's.
    ClusterHarness::new(2).await?.shutdown().await?;
    let (before, start) = (measure::processor_time()?, Instant::now());
    let cluster = ClusterHarness::with_config(nodes, patient()).await?;
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

/// What it costs when nothing happens.
pub(crate) async fn idle(nodes: usize) -> Result<Figures, Error> {
    ClusterHarness::new(2).await?.shutdown().await?;
    let before = measure::resident()?;
    let start = Instant::now();
    let cluster = ClusterHarness::with_config(nodes, patient()).await?;
    let booted = start.elapsed().as_secs_f64();
    let mut figures = measure::idle(nodes, before).await?;
    figures.push(("boot", booted));
    drop(cluster);
    Ok(figures)
}

/// From a node's silent death to the verdict of its peer that it failed.
pub(crate) async fn crash() -> Result<Figures, Error> {
    // Its tasks die with their runtime, without a word to anybody.
    let doomed = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (survivor, other) = pair(Some(doomed.handle())).await?;
    // So long that both have heard each other's regular heartbeats.
    sleep(Duration::from_secs(6)).await;
    let id = other.node_id();
    let start = Instant::now();
    doomed.shutdown_background();
    let mut suspected = None;
    loop {
        let detector = survivor.node().failure_detector();
        if suspected.is_none() && detector.suspected_nodes().contains(&id) {
            suspected = Some(start.elapsed());
        }
        if detector.failed_nodes().contains(&id) {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let failed = start.elapsed();
    Ok(vec![("suspected", suspected.unwrap_or(failed).as_secs_f64()), ("detected", failed.as_secs_f64())])
}
