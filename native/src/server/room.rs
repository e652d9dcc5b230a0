//! A room: one event log, and the clusters that come and go in it.
//!
//! One command at a time may boot or shut down the cluster; meanwhile the others
//! are told that it is busy. Commands on single nodes run side by side. Each runs
//! on a task of its own, so a client that disconnects cancels nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use meshground_shared::{
    CommandId, NodeId, NodeState, Snapshot,
    rpc::{BootParams, Booted, Done, RpcError, Spawned},
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Duration, Instant, timeout},
};

use super::{
    errors,
    telemetry::{Frame, Sampler},
};
use crate::{
    cluster::{ClusterConfig, ClusterError, ClusterHarness, ClusterNode},
    log::EventLog,
};

/// How long a closing room waits for its cluster to take leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// A crash is never promised to be noticed sooner, however short the limits are.
const DETECTION: Duration = Duration::from_millis(1_500);

/// One event log and at most one cluster.
#[derive(Debug)]
pub(crate) struct Room {
    log: Arc<EventLog>,
    /// What every cluster here is booted with.
    template: ClusterConfig,
    max_nodes: u32,
    last_command: AtomicU64,
    stage: watch::Sender<Stage>,
    /// Set once, when the server goes down.
    closing: watch::Sender<bool>,
    sampler: Arc<Sampler>,
    sampling: AbortHandle,
}

#[derive(Debug, Clone)]
enum Stage {
    Empty,
    Running(Running),
    /// A boot or shutdown is under way.
    Changing,
}

#[derive(Debug, Clone)]
struct Running {
    harness: ClusterHarness,
    /// The size at boot, which decides how fast a crash is noticed.
    booted: usize,
    /// Spawns under way: nodes that are no members yet.
    spawning: Arc<AtomicU32>,
}

/// The right to change the stage. Without a call of [`finish`](Self::finish) it leaves an empty room.
struct Change<'a>(&'a watch::Sender<Stage>);

impl Change<'_> {
    fn finish(self, running: Running) {
        self.0.send_replace(Stage::Running(running));
        std::mem::forget(self);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Stage::Empty);
    }
}

/// A place in the cluster, taken for a node to come.
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    /// An empty room. Must be called within a Tokio runtime.
    pub(crate) fn new(template: ClusterConfig, log: Arc<EventLog>, max_nodes: u32) -> Arc<Self> {
        let stage = watch::Sender::new(Stage::Empty);
        let sampler = Sampler::new();
        let sampling = {
            let (stage, log) = (stage.subscribe(), Arc::clone(&log));
            let sample = move || {
                let (stage, log) = (stage.clone(), Arc::clone(&log));
                async move { sample(&stage, &log).await }
            };
            tokio::spawn(Arc::clone(&sampler).run(sample)).abort_handle()
        };
        Arc::new(Self {
            log,
            template,
            max_nodes,
            last_command: AtomicU64::new(0),
            stage,
            closing: watch::Sender::new(false),
            sampler,
            sampling,
        })
    }

    /// What happened here, and what comes.
    pub(crate) fn log(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// Gauges, from the next frame on.
    pub(crate) fn telemetry(&self) -> watch::Receiver<Frame> {
        self.sampler.subscribe()
    }

    /// The cluster as it stands.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.log.snapshot()
    }

    /// How soon a crashed node is Unreachable for its peers.
    pub(crate) fn detection(&self) -> Duration {
        let nodes = match &*self.stage.borrow() {
            Stage::Running(running) => running.booted,
            Stage::Empty | Stage::Changing => 1,
        };
        self.template.liveness_of(nodes).unreachable.max(DETECTION)
    }

    /// Boots a cluster.
    pub(crate) async fn boot(&self, params: BootParams) -> Result<Booted, RpcError> {
        if params.nodes == 0 {
            return Err(errors::no_nodes());
        }
        if params.nodes > self.max_nodes {
            return Err(errors::too_many_nodes(self.max_nodes));
        }
        let (change, before) = self.change(|before| match before {
            Some(_) if !params.replace => Err(errors::already_running()),
            _ => Ok(()),
        })?;
        let (command, began) = (self.issue(), Instant::now());
        if let Some(before) = before {
            before.harness.caused_by(command).shutdown().await.map_err(|error| errors::cluster(&error))?;
        }
        let nodes = params.nodes as usize;
        let config =
            ClusterConfig { log: Some(Arc::clone(&self.log)), cause: Some(command), ..self.template.clone() };
        let mut closing = self.closing.subscribe();
        let booted = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(ClusterError::Shutdown),
            booted = ClusterHarness::with_config(nodes, config) => booted,
        };
        let harness = booted.map_err(|error| errors::cluster(&error))?;
        let members = harness.nodes().iter().map(ClusterNode::node_id).collect();
        change.finish(Running { harness, booted: nodes, spawning: Arc::default() });
        Ok(Booted { command, nodes: members, took_us: micros(began) })
    }

    /// Shuts the cluster down, if there is one.
    pub(crate) async fn shutdown(&self) -> Result<Done, RpcError> {
        let (_change, before) = self.change(|_| Ok(()))?;
        let (command, began) = (self.issue(), Instant::now());
        if let Some(before) = before {
            before.harness.caused_by(command).shutdown().await.map_err(|error| errors::cluster(&error))?;
        }
        Ok(Done { command, took_us: micros(began) })
    }

    /// Adds a node.
    pub(crate) async fn spawn(&self) -> Result<Spawned, RpcError> {
        let (harness, _place) = self.place()?;
        let (command, began) = (self.issue(), Instant::now());
        let node = harness.caused_by(command).add_node().await;
        node.map(|node| spawned(command, &node, began)).map_err(|error| errors::cluster(&error))
    }

    /// Makes a node take its leave.
    pub(crate) async fn shutdown_node(&self, node: NodeId) -> Result<Done, RpcError> {
        let harness = self.running_node(node)?;
        let (command, began) = (self.issue(), Instant::now());
        let done = harness.caused_by(command).shutdown_node(node).await;
        done.map_err(|error| node_error(&harness, node, &error))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Makes a node vanish.
    pub(crate) async fn crash_node(&self, node: NodeId) -> Result<Done, RpcError> {
        let harness = self.running_node(node)?;
        let (command, began) = (self.issue(), Instant::now());
        let done = harness.caused_by(command).crash_node(node).await;
        done.map_err(|error| node_error(&harness, node, &error))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Starts a node again under the identity it has.
    pub(crate) async fn restart_node(&self, node: NodeId) -> Result<Spawned, RpcError> {
        let harness = self.harness()?;
        if harness.member_state(node).is_none() {
            return Err(errors::node_not_found(node));
        }
        let (command, began) = (self.issue(), Instant::now());
        let restarted = harness.caused_by(command).restart_node(node).await;
        let restarted = restarted.map_err(|error| node_error(&harness, node, &error))?;
        Ok(spawned(command, &restarted, began))
    }

    /// Takes the cluster down for good. A boot under way is given up.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.sampling.abort();
        let leave = async {
            let mut stage = self.stage.subscribe();
            // The sender lives in `self`, so waiting cannot fail.
            let _ = stage.wait_for(|stage| !matches!(stage, Stage::Changing)).await;
            let _ = self.shutdown().await;
        };
        let _ = timeout(LEAVE_WITHIN, leave).await;
    }

    fn issue(&self) -> CommandId {
        CommandId(self.last_command.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Takes the right to boot or shut down, if `admit` has no objection to what runs.
    fn change(
        &self,
        admit: impl FnOnce(Option<&Running>) -> Result<(), RpcError>,
    ) -> Result<(Change<'_>, Option<Running>), RpcError> {
        let mut outcome = Err(errors::busy());
        self.stage.send_if_modified(|stage| {
            let before = match stage {
                Stage::Changing => return false,
                Stage::Empty => None,
                Stage::Running(running) => Some(running.clone()),
            };
            outcome = admit(before.as_ref()).map(|()| before);
            let admitted = outcome.is_ok();
            if admitted {
                *stage = Stage::Changing;
            }
            admitted
        });
        outcome.map(|before| (Change(&self.stage), before))
    }

    fn harness(&self) -> Result<ClusterHarness, RpcError> {
        match &*self.stage.borrow() {
            Stage::Running(running) => Ok(running.harness.clone()),
            Stage::Empty => Err(errors::not_running("there is no cluster")),
            Stage::Changing => Err(errors::busy()),
        }
    }

    fn running_node(&self, node: NodeId) -> Result<ClusterHarness, RpcError> {
        let harness = self.harness()?;
        match harness.member_state(node) {
            Some(NodeState::Running) => Ok(harness),
            Some(NodeState::Crashed) => Err(errors::wrong_state(node, NodeState::Crashed)),
            None => Err(errors::node_not_found(node)),
        }
    }

    /// Takes a place for one more node.
    fn place(&self) -> Result<(ClusterHarness, Place), RpcError> {
        let mut outcome = Err(errors::busy());
        // Counted and taken in one step, under the stage's lock.
        self.stage.send_if_modified(|stage| {
            outcome = match stage {
                Stage::Running(Running { harness, spawning, .. }) => {
                    let taken = harness.len() + spawning.load(Ordering::Relaxed) as usize;
                    if taken < self.max_nodes as usize {
                        spawning.fetch_add(1, Ordering::Relaxed);
                        Ok((harness.clone(), Place(Arc::clone(spawning))))
                    } else {
                        Err(errors::too_many_nodes(self.max_nodes))
                    }
                }
                Stage::Empty => Err(errors::not_running("there is no cluster")),
                Stage::Changing => Err(errors::busy()),
            };
            false
        });
        outcome
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}

async fn sample(stage: &watch::Receiver<Stage>, log: &EventLog) -> Frame {
    let harness = match &*stage.borrow() {
        Stage::Running(running) => Some(running.harness.clone()),
        Stage::Empty | Stage::Changing => None,
    };
    let links = match harness {
        Some(harness) => harness.links().await,
        None => Vec::new(),
    };
    Frame { at_us: log.now_us(), links: links.into() }
}

/// An operation on one node failed: if another command came first, that is the reason.
fn node_error(harness: &ClusterHarness, node: NodeId, error: &ClusterError) -> RpcError {
    match (error, harness.member_state(node)) {
        (ClusterError::Invariant(_), None) => errors::node_not_found(node),
        (ClusterError::Invariant(_), Some(state)) => errors::wrong_state(node, state),
        _ => errors::cluster(error),
    }
}

fn spawned(command: CommandId, node: &ClusterNode, began: Instant) -> Spawned {
    Spawned {
        command,
        node: node.node_id(),
        index: u32::try_from(node.index()).unwrap_or(u32::MAX),
        address: node.local_addr(),
        took_us: micros(began),
    }
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}
