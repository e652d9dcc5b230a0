//! What clients ask of daemons and of calls between nodes.

use std::time::Duration;

use meshground_node::{DeliverError, GroupError, GroupRequest, MAX_METHOD, SpawnError};
use meshground_shared::{
    CallOutcome, CommandId, DaemonId, EventKind, GroupId, GroupView, MigrationPhase, NodeId, NodeState,
    NodeView,
    rpc::{
        CallParams, Called, CancelParams, DaemonSpawnParams, DaemonSpawned, DaemonStopParams, DeliverParams,
        Delivered, Done, GroupParams, GroupSpawnParams, GroupSpawned, KindInfo, Kinds, MAX_ARGS_BYTES,
        MAX_BODY_BYTES, MAX_DEADLINE_MS, MAX_GRACE_MS, MAX_GROUP_NAME_BYTES, MAX_PAYLOAD_BYTES,
        MigrateParams, MigrationStarted, RpcError, ScaleParams,
    },
};
use tokio::time::Instant;

use super::{
    errors,
    room::{Room, micros},
};
use crate::{
    cluster::{ClusterHarness, ClusterNode, Subject},
    daemons,
    log::Subscription,
    mesh::CallOptions,
    meshos::{DaemonRuntime, DaemonRuntimeError, random_keypair, view_of},
    random,
};

/// How long something that is delivered may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest reason in an event, in bytes.
const MAX_REASON: usize = 1_024;

impl Room {
    /// The system through one node's eyes.
    pub(crate) fn node_view(&self, node: NodeId) -> Result<NodeView, RpcError> {
        let harness = self.harness()?;
        let member = harness.node(node).ok_or_else(|| errors::node_not_found(node))?;
        Ok(view_of(&member.daemon_runtime().system()))
    }

    /// The factories that nodes have.
    pub(crate) async fn daemon_kinds(&self) -> Result<Kinds, RpcError> {
        let node = self.harness().ok().and_then(|harness| {
            let nodes = harness.nodes();
            nodes.into_iter().find(|node| harness.member_state(node.node_id()) == Some(NodeState::Running))
        });
        let kinds = match node {
            Some(node) => on(&node, node.daemon_runtime().kinds()).await.ok().and_then(Result::ok),
            None => None,
        };
        // Without a cluster: those that the nodes of one will have.
        let kinds = kinds.unwrap_or_else(|| {
            daemons::bundled().map(|(kind, factory)| (kind.to_owned(), factory.about())).collect()
        });
        Ok(Kinds { kinds: kinds.into_iter().map(|(kind, about)| KindInfo { kind, about }).collect() })
    }

    /// Makes a daemon on a node.
    pub(crate) async fn spawn_daemon(&self, params: DaemonSpawnParams) -> Result<DaemonSpawned, RpcError> {
        let DaemonSpawnParams { node, kind, args } = params;
        at_most("args", args.len(), MAX_ARGS_BYTES)?;
        let harness = self.harness()?;
        let member = running(&harness, node)?;
        let (command, began) = (self.issue(), Instant::now());
        let runtime = member.daemon_runtime().caused_by(command);
        let spawned = on(&member, runtime.spawn(&kind, random_keypair(), &args)).await;
        let spawned = spawned.map_err(|state| errors::wrong_state(node, state).of(command))?;
        let daemon = spawned.map_err(|error| failed(&error, node, command))?;
        Ok(DaemonSpawned { command, daemon, node, took_us: micros(began) })
    }

    /// Tells a daemon to stop.
    pub(crate) async fn stop_daemon(&self, params: DaemonStopParams) -> Result<Done, RpcError> {
        let DaemonStopParams { daemon, grace_ms } = params;
        if grace_ms > MAX_GRACE_MS {
            return Err(errors::out_of_range("grace_ms", 0..=MAX_GRACE_MS));
        }
        let harness = self.harness()?;
        let member = running(&harness, self.holder(daemon)?)?;
        let (command, began) = (self.issue(), Instant::now());
        let runtime = member.daemon_runtime().caused_by(command);
        let node = member.node_id();
        let stopped = on(&member, runtime.stop(daemon, Duration::from_millis(grace_ms.into()))).await;
        let stopped = stopped.map_err(|state| errors::wrong_state(node, state).of(command))?;
        stopped.map_err(|error| failed(&error, node, command))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Gives a daemon something to work off. A member of a group that is nowhere just now, as its node has crashed, is waited
    /// for.
    pub(crate) async fn deliver(&self, params: DeliverParams) -> Result<Delivered, RpcError> {
        let DeliverParams { daemon, payload, via } = params;
        at_most("payload", payload.len(), MAX_PAYLOAD_BYTES)?;
        let harness = self.harness()?;
        let member = match (via, self.whereabouts(daemon)?) {
            (Some(node), _) | (None, Whereabouts::On(node)) => running(&harness, node)?,
            // Who looks after its group is the first to know where it comes back.
            (None, Whereabouts::Between(group)) => {
                harness.spokesman(Some(&group)).ok_or_else(errors::not_running_any)?
            }
        };
        let node = member.node_id();
        let (command, began) = (self.issue(), Instant::now());
        let runtime = member.daemon_runtime().caused_by(command);
        let delivered = on(&member, runtime.deliver(daemon, payload, Some(PATIENCE))).await;
        let delivered = delivered.map_err(|state| errors::wrong_state(node, state).of(command))?;
        let delivered = delivered.map_err(|error| failed(&error, node, command))?;
        let outputs = delivered.replies.iter().map(|reply| String::from_utf8_lossy(reply).into_owned());
        Ok(Delivered {
            command,
            processed: delivered.place,
            outputs: outputs.collect(),
            took_us: micros(began),
        })
    }

    /// Makes a group.
    pub(crate) async fn spawn_group(&self, params: GroupSpawnParams) -> Result<GroupSpawned, RpcError> {
        let GroupSpawnParams { kind, daemon, count, name, anchor, parent, args } = params;
        at_most("args", args.len(), MAX_ARGS_BYTES)?;
        at_most("name", name.as_ref().map_or(0, String::len), MAX_GROUP_NAME_BYTES)?;
        let harness = self.harness()?;
        let member = match anchor {
            Some(anchor) => running(&harness, anchor)?,
            None => harness.spokesman(None).ok_or_else(errors::not_running_any)?,
        };
        let node = member.node_id();
        let known = async {
            harness.offers_known(&member, &daemon).await;
            if let Some(parent) = parent {
                harness.heard(&member, Subject::Daemon(parent)).await;
            }
        };
        on(&member, known).await.map_err(|state| errors::wrong_state(node, state))?;
        let (command, began) = (self.issue(), Instant::now());
        let name = name.unwrap_or_else(|| daemon.clone());
        let cause = Some(command);
        let seed = random::bytes();
        let request = GroupRequest { kind, daemon, args, count, name, seed, parent, cause };
        let spawned = on(&member, member.daemon_runtime().spawn_group(request)).await;
        let spawned = spawned.map_err(|state| errors::wrong_state(node, state).of(command))?;
        let group = spawned.map_err(|error| failed(&error, node, command))?;
        let view = self.log().with_snapshot(|snapshot| snapshot.groups.get(&group).cloned());
        let members = view.map(|view| view.members).unwrap_or_default();
        Ok(GroupSpawned { command, group, members, took_us: micros(began) })
    }

    /// Gives a group more members or fewer.
    pub(crate) async fn scale_group(&self, params: ScaleParams) -> Result<Done, RpcError> {
        let ScaleParams { group, count } = params;
        self.on_group(group, true, async |runtime| runtime.scale_group(group, count).await).await
    }

    /// Stops a group.
    pub(crate) async fn stop_group(&self, params: GroupParams) -> Result<Done, RpcError> {
        let GroupParams { group } = params;
        self.on_group(group, false, async |runtime| runtime.stop_group(group).await).await
    }

    /// Hands the work of a standby group over to the best of its standbys.
    pub(crate) async fn promote_group(&self, params: GroupParams) -> Result<Done, RpcError> {
        let GroupParams { group } = params;
        self.on_group(group, false, async |runtime| runtime.promote_group(group, None).await).await
    }

    /// Does something to a group, by whoever looks after it; where members are `placed` for it, it knows where they can be.
    async fn on_group(
        &self,
        group: GroupId,
        placed: bool,
        act: impl AsyncFnOnce(DaemonRuntime) -> Result<(), DaemonRuntimeError>,
    ) -> Result<Done, RpcError> {
        let harness = self.harness()?;
        let view = self.log().with_snapshot(|snapshot| snapshot.groups.get(&group).cloned());
        let view = view.ok_or_else(|| errors::group_not_found(group))?;
        let member = harness.spokesman(Some(&view)).ok_or_else(errors::not_running_any)?;
        let node = member.node_id();
        let known = async {
            harness.heard(&member, Subject::Group(group)).await;
            if placed {
                harness.offers_known(&member, &view.daemon).await;
            }
        };
        on(&member, known).await.map_err(|state| errors::wrong_state(node, state))?;
        let (command, began) = (self.issue(), Instant::now());
        let done = on(&member, act(member.daemon_runtime().caused_by(command))).await;
        let done = done.map_err(|state| errors::wrong_state(node, state).of(command))?;
        done.map_err(|error| failed(&error, node, command))?;
        Ok(Done { command, took_us: micros(began) })
    }

    /// Begins to move a daemon.
    pub(crate) async fn migrate(&self, params: MigrateParams) -> Result<MigrationStarted, RpcError> {
        let MigrateParams { daemon, to } = params;
        let harness = self.harness_with(&[to])?;
        let member = running(&harness, self.holder(daemon)?)?;
        running(&harness, to)?;
        let node = member.node_id();
        let kind = self
            .log()
            .with_snapshot(|snapshot| snapshot.nodes.get(&node)?.daemons.get(&daemon)?.kind.clone());
        // One that came with its host cannot be moved anywhere.
        if let Some(kind) = kind {
            let known = on(&member, harness.offer_known(&member, to, &kind)).await;
            known.map_err(|state| errors::wrong_state(node, state))?;
        }
        let command = self.issue();
        let runtime = member.daemon_runtime().caused_by(command);
        let begun = on(&member, runtime.begin_migration(daemon, to)).await;
        let begun = begun.map_err(|state| errors::wrong_state(node, state))?;
        let migration = begun.map_err(|error| failed(&error, node, command))?;
        Ok(MigrationStarted { command, migration })
    }

    /// Calls a migration off, and waits until it is over.
    pub(crate) async fn cancel_migration(&self, params: CancelParams) -> Result<Done, RpcError> {
        let CancelParams { migration } = params;
        let harness = self.harness()?;
        let Subscription { snapshot, mut events } = self.log().subscribe();
        let known = snapshot.migrations.get(&migration).filter(|known| !known.view.phase.is_over());
        let source = known.ok_or_else(|| errors::migration_not_found(migration))?.view.source;
        let member = running(&harness, source)?;
        let (command, began) = (self.issue(), Instant::now());
        let runtime = member.daemon_runtime().caused_by(command);
        let cancelled = on(&member, runtime.cancel_migration(migration)).await;
        let cancelled = cancelled.map_err(|state| errors::wrong_state(source, state))?;
        cancelled.map_err(|error| failed(&error, source, command))?;
        let end = async {
            loop {
                // One who reads too slowly has missed the end as well; then it is over.
                let Ok(event) = events.recv().await else { return MigrationPhase::Cancelled };
                match &event.kind {
                    EventKind::MigrationChanged { migration: view }
                        if view.id == migration && view.phase.is_over() =>
                    {
                        return view.phase;
                    }
                    _ => {}
                }
            }
        };
        let end = on(&member, end).await;
        match end.map_err(|state| errors::wrong_state(source, state).of(command))? {
            MigrationPhase::Complete => Err(errors::too_late(migration).of(command)),
            _ => Ok(Done { command, took_us: micros(began) }),
        }
    }

    /// Has one node call another.
    pub(crate) async fn call(&self, params: CallParams) -> Result<Called, RpcError> {
        let CallParams { from, to, method, body, deadline_ms } = params;
        at_most("body", body.len(), MAX_BODY_BYTES)?;
        if method.is_empty() || method.len() > MAX_METHOD {
            return Err(errors::no_mesh_method(&format!("a method's name has 1 to {MAX_METHOD} bytes")));
        }
        if method.starts_with("os.") {
            return Err(errors::no_mesh_method(
                "methods that begin with \"os.\" are the nodes' own business",
            ));
        }
        if deadline_ms == 0 || deadline_ms > MAX_DEADLINE_MS {
            return Err(errors::out_of_range("deadline_ms", 1..=MAX_DEADLINE_MS));
        }
        if from == to {
            return Err(errors::no_mesh_method("a node does not call itself"));
        }
        let harness = self.harness_with(&[from, to])?;
        let member = running(&harness, from)?;
        let command = self.issue();
        let deadline = Duration::from_millis(deadline_ms.into());
        let request_bytes = body.len() as u64;
        let began = Instant::now();
        let work = member.mesh().call(to, &method, body, CallOptions { deadline: Some(deadline) });
        let outcome = match on(&member, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err((error.to_string(), errors::call(&error))),
            // Nobody waits for the answer any more, whatever the other end does.
            Err(state) => {
                let error = errors::wrong_state(from, state);
                Err((format!("the caller is gone: {}", error.message), error))
            }
        };
        let took_us = micros(began);
        let finished = EventKind::CallFinished {
            peer: to,
            method,
            outcome: match &outcome {
                Ok(_) => CallOutcome::Ok,
                Err((why, _)) => CallOutcome::Error(shortened(why.clone())),
            },
            took_us,
            request_bytes,
            response_bytes: outcome.as_ref().map_or(0, |answer| answer.len() as u64),
        };
        self.log().append(Some(from), Some(command), finished);
        let answer = outcome.map_err(|(_, error)| error.of(command))?;
        Ok(Called { command, body: String::from_utf8_lossy(&answer).into_owned(), took_us })
    }

    /// The member on which the newest incarnation of a daemon runs, as the log has it.
    fn holder(&self, daemon: DaemonId) -> Result<NodeId, RpcError> {
        match self.whereabouts(daemon)? {
            Whereabouts::On(node) => Ok(node),
            Whereabouts::Between(_) => Err(errors::daemon_not_found(daemon)),
        }
    }

    /// Where a daemon is, as the log has it.
    fn whereabouts(&self, daemon: DaemonId) -> Result<Whereabouts, RpcError> {
        let known = self.log().with_snapshot(|snapshot| {
            let holders = snapshot
                .nodes
                .iter()
                .filter_map(|(&id, node)| Some((node.daemons.get(&daemon)?.generation, id)));
            let has_it = |group: &&GroupView| group.members.iter().any(|member| member.daemon == daemon);
            let on = holders.max().map(|(_, id)| Whereabouts::On(id));
            on.or_else(|| {
                Some(Whereabouts::Between(Box::new(snapshot.groups.values().find(has_it)?.clone())))
            })
        });
        known.ok_or_else(|| errors::daemon_not_found(daemon))
    }
}

/// Where a daemon is.
enum Whereabouts {
    /// On this node, in its newest incarnation.
    On(NodeId),
    /// Nowhere yet or any more, but it is a member of this group, which places it.
    Between(Box<GroupView>),
}

/// The member with this id, which must run.
pub(super) fn running(harness: &ClusterHarness, id: NodeId) -> Result<ClusterNode, RpcError> {
    match (harness.node(id), harness.member_state(id)) {
        (Some(node), Some(NodeState::Running)) => Ok(node),
        (_, Some(state)) => Err(errors::wrong_state(id, state)),
        (_, None) => Err(errors::node_not_found(id)),
    }
}

/// Does something with a node, for as long as it does not stand still.
pub(super) async fn on<T>(node: &ClusterNode, work: impl Future<Output = T>) -> Result<T, NodeState> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = node.mesh().until_paused(true) => {
            Err(if node.mesh().is_closed() { NodeState::Crashed } else { NodeState::Paused })
        }
    }
}

/// Something with a daemon came to nothing. What was refused had no consequences, and hence no command.
pub(super) fn failed(error: &DaemonRuntimeError, node: NodeId, command: CommandId) -> RpcError {
    let is_refused = matches!(
        error,
        DaemonRuntimeError::NotReady
            | DaemonRuntimeError::FactoryNotFound(_)
            | DaemonRuntimeError::KindName
            | DaemonRuntimeError::NotFound(_)
            | DaemonRuntimeError::Spawn(SpawnError::TooMany | SpawnError::Closed(_))
            | DaemonRuntimeError::Deliver(DeliverError::Overloaded | DeliverError::Down)
            | DaemonRuntimeError::Migration(_)
            | DaemonRuntimeError::Group(
                GroupError::NotFound(_)
                    | GroupError::BadCount(_)
                    | GroupError::TooLong
                    | GroupError::TooMany
                    | GroupError::SeedTaken(_)
                    | GroupError::KindNotFound(_)
                    | GroupError::PlacementFailed { .. }
                    | GroupError::ParentNotFound(_)
                    | GroupError::WrongKind(_)
                    | GroupError::Frozen
            )
    );
    let told = errors::daemon(error, node);
    if is_refused { told } else { told.of(command) }
}

fn at_most(what: &str, len: usize, most: usize) -> Result<(), RpcError> {
    if len <= most { Ok(()) } else { Err(errors::too_many_bytes(what, len, most)) }
}

/// Cut to what an event may hold, between characters.
fn shortened(mut text: String) -> String {
    let end = (0..=MAX_REASON.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(end);
    text
}
