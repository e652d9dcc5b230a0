//! What the handles of a cluster and its nodes' tasks have in common.
//!
//! State and event log change together, under the state's lock (which is always taken before the log's), so that
//! nobody who looks at both can see one ahead of the other. Nothing under that lock waits, aborts a task or drops
//! one: a task's end takes the lock itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use meshground_node::{NodeEvent, Path};
use meshground_shared::{
    CommandId, EventKind, Health, NodeId, NodeState, RejectReason, SessionEnd, Snapshot, StopReason,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    ClusterConfig,
    factories::Factories,
    state::{Leaving, Member, Phase, State},
};
use crate::{driver::Observer, log::EventLog, mesh::Mesh};

/// Of the time that somebody has waited already, this part may pass between two looks: to look at every one of the
/// thousands of changes of a big boot would take more.
const LEISURE: u32 = 64;

/// Less than this is not worth a timer, and the clock of timers is no finer.
const LEAST_LEISURE: Duration = Duration::from_millis(1);

/// And no more than this.
const MOST_LEISURE: Duration = Duration::from_millis(10);

/// A cluster, apart from its handles.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ClusterConfig,
    /// How many nodes it was booted with; what depends on the size must be the same for all.
    pub(super) booted: usize,
    pub(super) log: Arc<EventLog>,
    state: Mutex<State>,
    /// What groups brought along.
    pub(super) factories: Factories,
    /// Says that the state has changed.
    changed: watch::Sender<()>,
    /// Held by whoever starts nodes, so that one that fails does not fail another.
    pub(super) starting: tokio::sync::Mutex<()>,
}

/// What a look at the state found.
pub(super) enum Look<T> {
    Done(T),
    /// Not yet; `progress` rises as it gets there.
    Waiting {
        progress: usize,
    },
}

impl Shared {
    pub(super) fn new(config: ClusterConfig, booted: usize) -> Arc<Self> {
        let log = config.log();
        let state = State::new(config.topology, config.faults.clone());
        Arc::new(Self {
            config,
            booted,
            log,
            state: Mutex::new(state),
            factories: Factories::default(),
            changed: watch::Sender::new(()),
            starting: tokio::sync::Mutex::new(()),
        })
    }

    /// The state, to look at.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes whoever waits for it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }

    /// Changes the state, and wakes whoever waits for it if `change` says that it matters.
    fn change_if(&self, change: impl FnOnce(&mut State) -> bool) {
        if change(&mut self.state()) {
            self.changed.send_replace(());
        }
    }

    /// Looks at what changes until `look` is done; at changes close to each other, together. `None` when `budget` has passed since the last progress: since
    /// `look` said more than ever before.
    pub(super) async fn watch<T>(
        &self,
        budget: Duration,
        mut look: impl FnMut(&State) -> Look<T>,
    ) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let begun = Instant::now();
        let mut best = None;
        let mut deadline = None;
        loop {
            changed.borrow_and_update();
            let looked = Instant::now();
            match look(&self.state()) {
                Look::Done(result) => return Some(result),
                Look::Waiting { progress } if Some(progress) > best => {
                    best = Some(progress);
                    // `None` lies beyond what the clock can name.
                    deadline = Instant::now().checked_add(budget);
                }
                Look::Waiting { .. } => {}
            }
            // The sender lives in `self`, so only the time can run out.
            match deadline {
                Some(deadline) if timeout_at(deadline, changed.changed()).await.is_err() => return None,
                Some(_) => {}
                None => drop(changed.changed().await),
            }
            let leisure = ((looked - begun) / LEISURE).min(MOST_LEISURE);
            if leisure >= LEAST_LEISURE {
                sleep_until(looked + leisure).await;
            }
        }
    }

    /// Whether the log's snapshot shows the ends of all these links seeing each other Healthy, each where it runs now,
    /// as far as they run.
    pub(super) fn is_folded(&self, state: &State, mut pairs: impl Iterator<Item = (usize, usize)>) -> bool {
        self.log.with_snapshot(|snapshot| {
            pairs.all(|(one, other)| {
                if !state.is_running(one) || !state.is_running(other) {
                    return true;
                }
                let (Some(one), Some(other)) = (state.members.get(&one), state.members.get(&other)) else {
                    return true;
                };
                shows_healthy(snapshot, one.node.node_id(), &other.node)
                    && shows_healthy(snapshot, other.node.node_id(), &one.node)
            })
        })
    }

    // Ends.

    /// Takes a member that is up out of the cluster, and says in the log that it is on its way out. The caller then ends
    /// its task, and wires the others.
    pub(super) fn log_shutdown(
        &self,
        state: &mut State,
        index: usize,
        cause: Option<CommandId>,
    ) -> Option<Mesh> {
        state.faults.retain(|&(from, to), _| from != index && to != index);
        self.take_out(state, index, StopReason::Shutdown, cause)
    }

    /// Takes a member out whose place is for another identity, and says so in the log. The caller then ends its task, if
    /// there is one.
    pub(super) fn log_replaced(
        &self,
        state: &mut State,
        index: usize,
        cause: Option<CommandId>,
    ) -> Option<Mesh> {
        self.take_out(state, index, StopReason::Replaced, cause)
    }

    /// Takes a member out. One whose task is there stays known until that is gone.
    fn take_out(
        &self,
        state: &mut State,
        index: usize,
        reason: StopReason,
        cause: Option<CommandId>,
    ) -> Option<Mesh> {
        let id = state.members.get(&index)?.node.node_id();
        state.causes.disturbed(id, cause);
        let member = state.remove(index)?;
        let mesh = member.node.mesh.clone();
        if member.is_up() {
            self.see_off(state, &member, reason, cause);
        } else {
            self.log.append(Some(id), cause, EventKind::NodeStopped { reason });
        }
        Some(mesh)
    }

    /// One that was a member is on its way out.
    fn see_off(&self, state: &mut State, former: &Member, reason: StopReason, cause: Option<CommandId>) {
        let Member { node, run, .. } = former;
        self.log.append(Some(node.node_id()), cause, EventKind::NodeLeaving { reason });
        state.leaving.insert((node.index, *run), Leaving { _mesh: node.mesh.clone(), reason, cause });
    }

    /// Marks a member that is up as crashed, and says so in the log. The caller then ends its task.
    pub(super) fn log_crash(
        &self,
        state: &mut State,
        index: usize,
        cause: Option<CommandId>,
    ) -> Option<Mesh> {
        let member = state.members.get(&index)?;
        let (id, mesh) = (member.node.node_id(), member.node.mesh.clone());
        self.log.append(Some(id), cause, EventKind::NodeStopped { reason: StopReason::Crash });
        state.causes.disturbed(id, cause);
        state.crash(index);
        Some(mesh)
    }

    /// Begins to stop the whole cluster, if nobody has, and says so in the log; `leave` also says that every running
    /// node leaves. Returns the meshes to end.
    pub(super) fn begin_stop(&self, cause: Option<CommandId>, leave: bool) -> Vec<Mesh> {
        self.change(|state| {
            if state.phase != Phase::Up {
                return Vec::new();
            }
            state.phase = Phase::Stopping { cause };
            state.causes.changed(cause);
            self.log.append(None, cause, EventKind::ClusterStopping);
            let members = state.remove_all();
            for member in members.iter().filter(|member| member.is_up()) {
                if leave {
                    self.see_off(state, member, StopReason::Shutdown, cause);
                } else {
                    let stopped = EventKind::NodeStopped { reason: StopReason::Crash };
                    self.log.append(Some(member.node.node_id()), cause, stopped);
                }
            }
            state.stopping = members.into_iter().map(|member| member.node.mesh).collect();
            self.stop_if_over(state);
            state.stopping.clone()
        })
    }

    /// Says that the cluster has stopped, or why it did not come about, once its last task is gone.
    pub(super) fn stop_if_over(&self, state: &mut State) {
        if let Phase::Stopping { cause } = state.phase
            && state.tasks == 0
        {
            state.phase = Phase::Stopped;
            let end = match state.failed.take() {
                Some(reason) => EventKind::ClusterFailed { reason },
                None => EventKind::ClusterStopped,
            };
            self.log.append(None, cause, end);
        }
    }
}

/// Whether `snapshot` shows that the node `holder` sees `peer` Healthy where it runs now.
pub(super) fn shows_healthy(snapshot: &Snapshot, holder: NodeId, peer: &super::ClusterNode) -> bool {
    let holder = snapshot.nodes.get(&holder).filter(|holder| holder.state == NodeState::Running);
    holder
        .and_then(|holder| holder.peers.get(&peer.node_id()))
        .is_some_and(|session| session.health == Health::Healthy && session.address == peer.local_addr())
}

/// Listens to one run of one node, in the node's task, and keeps state and log up to date.
pub(super) struct Listener {
    shared: Arc<Shared>,
    id: NodeId,
    index: usize,
    run: u64,
}

impl Listener {
    pub(super) fn new(shared: Arc<Shared>, id: NodeId, index: usize, run: u64) -> Self {
        shared.state().tasks += 1;
        Self { shared, id, index, run }
    }

    /// It stands still, or goes on: `turn` says so in the state and tells why.
    fn turned(&self, turn: impl FnOnce(&mut State, usize) -> Option<CommandId>, kind: &EventKind) {
        self.shared.change(|state| {
            if state.is_current(self.index, self.run) {
                let cause = turn(state, self.index);
                state.causes.disturbed(self.id, cause);
                self.shared.log.append(Some(self.id), cause, kind.clone());
            }
        });
    }

    /// The direct session with `peer` is no more. Whether there is another way, the node tells then.
    fn log_link_down(&self, state: &mut State, peer: NodeId, reason: SessionEnd) {
        let cause = state.causes.of_finding(self.id, peer);
        self.shared.log.append(Some(self.id), cause, EventKind::SessionDown { peer, reason });
        state.link_down(self.index, peer);
        state.note_route(self.index, peer, false);
    }

    /// Who knows of whom. Of this there is much, and most of it nobody waits for.
    fn note(&self, state: &mut State, event: &NodeEvent) -> bool {
        match *event {
            NodeEvent::CapabilitiesChanged { node } => state.note_capabilities(self.index, node, true),
            NodeEvent::CapabilitiesExpired { node } => state.note_capabilities(self.index, node, false),
            NodeEvent::RouteChanged { target, distance } => {
                state.note_route(self.index, target, distance.is_some())
            }
            _ => false,
        }
    }

    fn record(&self, state: &mut State, event: &NodeEvent) {
        let Self { shared, id, index, .. } = self;
        let (id, index) = (*id, *index);
        match *event {
            NodeEvent::SessionUp { peer, path: Path::Direct(address), role } => {
                let cause = state.causes.of_session(id, peer);
                shared.log.append(Some(id), cause, EventKind::SessionUp { peer, address, role });
                state.set_relayed(index, peer, false);
                state.link_up(index, peer, address);
                state.note_route(index, peer, true);
            }
            // A session over others is no link, and the log tells of links.
            NodeEvent::SessionUp { peer, path: Path::Relayed(_), .. } => {
                state.set_relayed(index, peer, true);
                if state.is_linked(index, peer) {
                    self.log_link_down(state, peer, SessionEnd::Closed);
                }
            }
            NodeEvent::SessionDown { peer, reason } => {
                let was_relayed = state.set_relayed(index, peer, false);
                if !was_relayed {
                    self.log_link_down(state, peer, reason);
                }
            }
            NodeEvent::Health { peer, .. } | NodeEvent::OneWay { peer, .. }
                if !state.is_linked(index, peer) => {}
            NodeEvent::OneWay { peer, deaf } => {
                let cause = state.causes.of_finding(id, peer);
                shared.log.append(Some(id), cause, EventKind::OneWay { peer, deaf });
            }
            NodeEvent::Health { peer, from, to, silence } => {
                let silence_us = u64::try_from(silence.as_micros()).unwrap_or(u64::MAX);
                let cause = state.causes.of_finding(id, peer);
                shared.log.append(Some(id), cause, EventKind::PeerHealth { peer, from, to, silence_us });
                state.set_health(index, peer, to);
            }
            NodeEvent::Roamed { peer, to, .. } => state.link_moved(index, peer, to),
            NodeEvent::Rejected { address, reason, count } => {
                shared.log.append(Some(id), None, EventKind::DatagramRejected { address, reason, count });
                if reason == RejectReason::PskMismatch {
                    state.note_refusal(index, address, count);
                }
            }
            NodeEvent::DialFailed { path: Path::Direct(address), ref error, .. } => {
                state.note_failure(index, address, error.clone());
            }
            // Messages and successful dials are the mesh's own business.
            _ => {}
        }
    }
}

impl Observer for Listener {
    fn observe(&mut self, events: &[NodeEvent]) {
        // The packet path: nothing shared is touched.
        let is_shared = |event: &&NodeEvent| {
            !matches!(
                event,
                NodeEvent::Dialed { .. }
                    | NodeEvent::Writable { .. }
                    | NodeEvent::Stream { .. }
                    | NodeEvent::Said { .. }
                    | NodeEvent::Call(_)
            )
        };
        if !events.iter().any(|event| is_shared(&event)) {
            return;
        }
        self.shared.change_if(|state| {
            if !state.is_current(self.index, self.run) {
                return false;
            }
            let mut changed = false;
            for event in events.iter().filter(is_shared) {
                changed |= match event {
                    NodeEvent::CapabilitiesChanged { .. }
                    | NodeEvent::CapabilitiesExpired { .. }
                    | NodeEvent::RouteChanged { .. } => self.note(state, event),
                    event => {
                        self.record(state, event);
                        true
                    }
                };
            }
            changed
        });
    }

    /// A former member that is on its way out has its last words.
    fn happened(&mut self, kind: EventKind, cause: Option<CommandId>) {
        let Self { shared, id, index, run } = self;
        let mut state = shared.state();
        // Of groups there is nothing to say any more when the whole cluster goes.
        let is_leaving = state.leaving.contains_key(&(*index, *run))
            && (state.phase == Phase::Up || !matches!(kind, EventKind::GroupChanged { .. }));
        if is_leaving || state.is_current(*index, *run) {
            let cause =
                shared.log.with_snapshot(|before| state.causes.of_workload(before, *id, &kind, cause));
            shared.log.append(Some(*id), cause, kind);
        }
    }

    /// Does nothing when the cluster told it to leave: then it is no member any more.
    fn leaving(&mut self) {
        let wiring = self.shared.change(|state| {
            state.is_current(self.index, self.run).then(|| {
                self.shared.log_shutdown(state, self.index, None);
                state.wire(|_| false, None)
            })
        });
        if let Some(mut wiring) = wiring {
            wiring.begin();
        }
    }

    fn paused(&mut self) {
        self.turned(State::pause, &EventKind::NodePaused);
    }

    fn resumed(&mut self) {
        self.turned(State::resume, &EventKind::NodeResumed);
    }
}

impl Drop for Listener {
    /// The task is gone, and the socket closed. If nobody had told it to go, that was a crash.
    fn drop(&mut self) {
        let left = self.shared.change(|state| {
            if state.is_current(self.index, self.run) {
                self.shared.log_crash(state, self.index, None);
            }
            let left = state.leaving.remove(&(self.index, self.run));
            if let Some(&Leaving { reason, cause, .. }) = left.as_ref() {
                self.shared.log.append(Some(self.id), cause, EventKind::NodeStopped { reason });
            }
            state.tasks -= 1;
            self.shared.stop_if_over(state);
            left
        });
        // Not under the lock: it may be the last handle, which aborts the task.
        drop(left);
    }
}
