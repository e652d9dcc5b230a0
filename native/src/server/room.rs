//! A room: one event log, and the clusters that come and go in it.
//!
//! One command at a time may boot or shut down the cluster; meanwhile the others
//! are told that it is busy. Commands on single nodes run side by side. Each runs
//! on a task of its own, so a client that disconnects cancels nothing.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use meshground_node::{
    MaintenanceConfig,
    admin::{AdminVerifier, Operators},
};
use meshground_shared::{
    CommandId, LinkFault, NodeId, NodeState, Snapshot,
    rpc::{
        BootParams, Booted, ClearParams, Done, FaultParams, Faults, PartitionParams, RestartParams, RpcError,
        Spawned, TopologyParams,
    },
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
    cluster::{ClusterConfig, ClusterError, ClusterHarness, ClusterNode, MAX_NODES, RestartIdentity},
    log::EventLog,
};

/// How long a closing room waits for its cluster to take leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// A crash is never promised to be noticed sooner, however short the limits are.
const DETECTION: Duration = Duration::from_millis(1_500);

/// How long it takes a node of a playground to go out of service, and to come back.
const PLAYGROUND_MAINTENANCE: MaintenanceConfig =
    MaintenanceConfig { drain: Duration::from_secs(20), ramp: Duration::from_secs(5) };

/// What can still be taken down.
const IS_UP: &[NodeState] = &[NodeState::Running, NodeState::Paused];

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
    Running(ClusterHarness),
    /// A boot or shutdown is under way.
    Changing,
}

/// The right to change the stage. Without a call of [`finish`](Self::finish) it leaves an empty room.
struct Change<'a>(&'a watch::Sender<Stage>);

impl Change<'_> {
    fn finish(self, harness: ClusterHarness) {
        self.0.send_replace(Stage::Running(harness));
        std::mem::forget(self);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Stage::Empty);
    }
}

impl Room {
    /// An empty room. Must be called within a Tokio runtime.
    pub(crate) fn new(mut template: ClusterConfig, log: Arc<EventLog>, max_nodes: u32) -> Arc<Self> {
        template.max_nodes = MAX_NODES.min(max_nodes as usize);
        // A playground: everybody may be an operator, and somebody watches.
        template.verifier.get_or_insert_with(|| AdminVerifier::allow_demo(Operators::demo()));
        if template.maintenance == MaintenanceConfig::default() {
            template.maintenance = PLAYGROUND_MAINTENANCE;
        }
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

    /// How soon a crashed node is Unreachable for its peers, as many as there are now.
    pub(crate) fn detection(&self) -> Duration {
        let nodes = match &*self.stage.borrow() {
            Stage::Running(harness) => harness.len(),
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
        let topology = params.topology.unwrap_or(self.template.topology);
        topology.validate().map_err(errors::no_topology)?;
        let (change, before) = self.change(|before| match before {
            // Whoever closes the room waits for none but those that have begun.
            _ if *self.closing.borrow() => Err(errors::not_running("the server goes down")),
            Some(_) if !params.replace => Err(errors::already_running()),
            _ => Ok(()),
        })?;
        let (command, began) = (self.issue(), Instant::now());
        let failed = |error: ClusterError| errors::cluster(&error).of(command);
        if let Some(before) = before {
            before.caused_by(command).shutdown().await.map_err(failed)?;
        }
        let nodes = params.nodes as usize;
        let config = ClusterConfig {
            log: Some(Arc::clone(&self.log)),
            cause: Some(command),
            topology,
            ..self.template.clone()
        };
        let mut closing = self.closing.subscribe();
        let booted = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => Err(ClusterError::Shutdown),
            booted = ClusterHarness::with_config(nodes, config) => booted,
        };
        let harness = booted.map_err(failed)?;
        let members = harness.nodes().iter().map(ClusterNode::node_id).collect();
        change.finish(harness);
        Ok(Booted { command, nodes: members, took_us: micros(began) })
    }

    /// Shuts the cluster down, if there is one.
    pub(crate) async fn shutdown(&self) -> Result<Done, RpcError> {
        let (_change, before) = self.change(|_| Ok(()))?;
        let (command, began) = (self.issue(), Instant::now());
        if let Some(before) = before {
            let done = before.caused_by(command).shutdown().await;
            done.map_err(|error| errors::cluster(&error).of(command))?;
        }
        Ok(Done { command, took_us: micros(began) })
    }

    /// Links the members in another way.
    pub(crate) async fn set_topology(&self, params: TopologyParams) -> Result<Done, RpcError> {
        params.topology.validate().map_err(errors::no_topology)?;
        let harness = self.harness()?;
        let (command, began) = (self.issue(), Instant::now());
        let done = harness.caused_by(command).set_topology(params.topology).await;
        done.map_err(|error| errors::cluster(&error).of(command))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Adds a node.
    pub(crate) async fn spawn(&self) -> Result<Spawned, RpcError> {
        let harness = self.harness()?;
        let is_full = |harness: &ClusterHarness| harness.len() >= self.max_nodes as usize;
        if is_full(&harness) {
            return Err(errors::too_many_nodes(self.max_nodes));
        }
        let (command, began) = (self.issue(), Instant::now());
        let node = harness.caused_by(command).add_node().await;
        let node = node.map_err(|error| match error {
            // Others that waited for the same turn took the last places.
            ClusterError::Invariant(_) if is_full(&harness) => errors::too_many_nodes(self.max_nodes),
            error => errors::cluster(&error).of(command),
        })?;
        Ok(spawned(command, &node, began))
    }

    /// Makes a node take its leave.
    pub(crate) async fn shutdown_node(&self, node: NodeId) -> Result<Done, RpcError> {
        self.on_node(node, IS_UP, async |harness| harness.shutdown_node(node).await).await
    }

    /// Makes a node vanish.
    pub(crate) async fn crash_node(&self, node: NodeId) -> Result<Done, RpcError> {
        self.on_node(node, IS_UP, async |harness| harness.crash_node(node).await).await
    }

    /// Makes a node stand still.
    pub(crate) async fn pause_node(&self, node: NodeId) -> Result<Done, RpcError> {
        self.on_node(node, &[NodeState::Running], async |harness| harness.pause_node(node).await).await
    }

    /// Makes a paused node go on.
    pub(crate) async fn resume_node(&self, node: NodeId) -> Result<Done, RpcError> {
        self.on_node(node, &[NodeState::Paused], async |harness| harness.resume_node(node).await).await
    }

    /// Starts a node again, as itself or as somebody new.
    pub(crate) async fn restart_node(&self, params: RestartParams) -> Result<Spawned, RpcError> {
        let RestartParams { node, fresh_identity } = params;
        let harness = self.harness_with(&[node])?;
        let identity = if fresh_identity { RestartIdentity::Fresh } else { RestartIdentity::Same };
        let (command, began) = (self.issue(), Instant::now());
        let restarted = harness.caused_by(command).restart_node_as(node, identity).await;
        let restarted = restarted.map_err(|error| node_error(&harness, node, &error).of(command))?;
        Ok(spawned(command, &restarted, began))
    }

    /// Changes what happens on a link.
    pub(crate) fn set_fault(&self, params: &FaultParams) -> Result<Done, RpcError> {
        let &FaultParams { from, to, both_ways, fault } = params;
        fault.validate().map_err(|error| errors::bad_fault(&error.to_string()))?;
        self.on_link(from, to, both_ways, fault)
    }

    /// Cuts every link between two groups of nodes.
    pub(crate) fn partition(&self, params: &PartitionParams) -> Result<Done, RpcError> {
        let PartitionParams { one, other } = params;
        let [one, other] = [one, other].map(|side| side.iter().copied().collect::<BTreeSet<NodeId>>());
        let harness = self.harness_with(&one.union(&other).copied().collect::<Vec<_>>())?;
        if !one.is_disjoint(&other) {
            return Err(errors::bad_fault("a node is on both sides"));
        }
        let (command, began) = (self.issue(), Instant::now());
        let [one, other] = [one, other].map(|side| side.into_iter().collect::<Vec<_>>());
        let done = harness.caused_by(command).partition(&one, &other);
        done.map_err(|error| errors::cluster(&error).of(command))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Ends the faults of one link, or all.
    pub(crate) fn clear_faults(&self, params: ClearParams) -> Result<Done, RpcError> {
        if let Some(link) = params.link {
            return self.on_link(link.from, link.to, link.both_ways, LinkFault::default());
        }
        let harness = self.harness()?;
        let (command, began) = (self.issue(), Instant::now());
        harness.caused_by(command).clear_faults().map_err(|error| errors::cluster(&error).of(command))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// The faults there are.
    pub(crate) fn faults(&self) -> Result<Faults, RpcError> {
        Ok(Faults { faults: self.harness()?.faults() })
    }

    fn on_link(&self, from: NodeId, to: NodeId, both_ways: bool, fault: LinkFault) -> Result<Done, RpcError> {
        let harness = self.harness_with(&[from, to])?;
        if from == to {
            return Err(errors::bad_fault("a node has no link with itself"));
        }
        let (command, began) = (self.issue(), Instant::now());
        let caused = harness.caused_by(command);
        let done = caused.set_link_fault(from, to, fault);
        let back = if both_ways { caused.set_link_fault(to, from, fault) } else { Ok(()) };
        done.and(back).map_err(|error| errors::cluster(&error).of(command))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Does something to a node that is in one of these states.
    async fn on_node(
        &self,
        node: NodeId,
        states: &[NodeState],
        act: impl AsyncFnOnce(ClusterHarness) -> Result<(), ClusterError>,
    ) -> Result<Done, RpcError> {
        let harness = self.harness_with(&[node])?;
        match harness.member_state(node) {
            Some(state) if states.contains(&state) => {}
            Some(state) => return Err(errors::wrong_state(node, state)),
            None => return Err(errors::node_not_found(node)),
        }
        let (command, began) = (self.issue(), Instant::now());
        let done = act(harness.caused_by(command)).await;
        done.map_err(|error| node_error(&harness, node, &error).of(command))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Takes the cluster down for good. A boot under way is given up.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.sampling.abort();
        let leave = async {
            let mut stage = self.stage.subscribe();
            loop {
                // The sender lives in `self`, so waiting cannot fail.
                let _ = stage.wait_for(|stage| !matches!(stage, Stage::Changing)).await;
                // Somebody else may have been quicker, and is waited for as well.
                if self.shutdown().await.is_ok() {
                    break;
                }
            }
        };
        let _ = timeout(LEAVE_WITHIN, leave).await;
    }

    pub(super) fn issue(&self) -> CommandId {
        CommandId(self.last_command.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Takes the right to boot or shut down, if `admit` has no objection to what runs.
    fn change(
        &self,
        admit: impl FnOnce(Option<&ClusterHarness>) -> Result<(), RpcError>,
    ) -> Result<(Change<'_>, Option<ClusterHarness>), RpcError> {
        let mut outcome = Err(errors::busy());
        self.stage.send_if_modified(|stage| {
            let before = match stage {
                Stage::Changing => return false,
                Stage::Empty => None,
                Stage::Running(harness) => Some(harness.clone()),
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

    pub(super) fn harness(&self) -> Result<ClusterHarness, RpcError> {
        match &*self.stage.borrow() {
            Stage::Running(harness) => Ok(harness.clone()),
            Stage::Empty => Err(errors::not_running("there is no cluster")),
            Stage::Changing => Err(errors::busy()),
        }
    }

    /// The cluster, which these nodes must be members of.
    pub(super) fn harness_with(&self, nodes: &[NodeId]) -> Result<ClusterHarness, RpcError> {
        let harness = self.harness()?;
        match nodes.iter().find(|&&node| harness.member_state(node).is_none()) {
            Some(&stranger) => Err(errors::node_not_found(stranger)),
            None => Ok(harness),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}

async fn sample(stage: &watch::Receiver<Stage>, log: &EventLog) -> Frame {
    let harness = match &*stage.borrow() {
        Stage::Running(harness) => Some(harness.clone()),
        Stage::Empty | Stage::Changing => None,
    };
    let (links, traffic, daemons) = match harness {
        Some(harness) => {
            let (links, traffic) = harness.gauges().await;
            (links, traffic, harness.daemon_loads().await)
        }
        None => Default::default(),
    };
    Frame { at_us: log.now_us(), links: links.into(), traffic: traffic.into(), daemons: daemons.into() }
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

pub(super) fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_room_that_closes_lets_nobody_boot_any_more() {
        let config = ClusterConfig::default();
        let log = config.log();
        let room = Room::new(config, log, 4);
        room.closing.send_replace(true);
        let booted = room.boot(BootParams { nodes: 1, replace: true, topology: None }).await;
        let error = booted.expect_err("it closes");
        assert!(error.message.contains("goes down"), "{error}");
        assert!(matches!(&*room.stage.borrow(), Stage::Empty));
    }
}
