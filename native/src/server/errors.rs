//! From the harness's errors to those that travel.

use std::ops::RangeInclusive;

use meshground_node::{DeliverError, GroupError, MigrateError, SpawnError, admin::CommandError};
use meshground_shared::{
    DaemonId, GroupId, MigrationId, NodeId, NodeState, Rejection, TopologyError,
    rpc::{ErrorCode, RpcError},
};

use crate::{cluster::ClusterError, mesh::MeshError, meshos::DaemonRuntimeError};

/// What a client is told when the harness fails.
pub(crate) fn cluster(error: &ClusterError) -> RpcError {
    let (code, hint) = match error {
        ClusterError::Invariant(_) => {
            (ErrorCode::Internal, "The cluster is as it was. Please report this defect.")
        }
        ClusterError::MeshBuild(_) => (
            ErrorCode::SystemFailure,
            "The machine has run out of something, most likely of open files; try fewer nodes.",
        ),
        // The machine is not to blame: somebody crashed the node or shut it down before it had joined.
        ClusterError::Spawn { .. } => (
            ErrorCode::WrongState,
            "Another command took it down: the event node_stopped names that as its cause. Look, then retry.",
        ),
        ClusterError::Handshake { .. } => (
            ErrorCode::HandshakeFailed,
            "What had been started is stopped again. Look at the rejected datagrams in the events, then retry.",
        ),
        ClusterError::Timeout { .. } => (
            ErrorCode::Timeout,
            "The machine may be busy, or a node may be down: look at the events, then retry.",
        ),
        ClusterError::Shutdown => return not_running("the cluster was shut down meanwhile"),
    };
    RpcError::new(code, error.to_string(), hint)
}

pub(crate) fn not_running(message: &str) -> RpcError {
    RpcError::new(ErrorCode::NotRunning, message, "Boot one with cluster.boot.")
}

pub(crate) fn busy() -> RpcError {
    RpcError::new(
        ErrorCode::Busy,
        "the cluster is just being booted or shut down by another command",
        "Wait for the event cluster_converged, cluster_stopped or cluster_failed, then retry.",
    )
}

pub(crate) fn already_running() -> RpcError {
    RpcError::new(
        ErrorCode::AlreadyRunning,
        "a cluster is running already",
        "Shut it down with cluster.shutdown, or boot with \"replace\": true.",
    )
}

pub(crate) fn node_not_found(node: NodeId) -> RpcError {
    RpcError::new(
        ErrorCode::NodeNotFound,
        format!("no member has the id {node}"),
        "The members are in the result of cluster.snapshot.",
    )
}

pub(crate) fn wrong_state(node: NodeId, state: NodeState) -> RpcError {
    let (is, hint) = match state {
        NodeState::Crashed => ("has crashed", "Start it again with node.restart."),
        NodeState::Paused => ("is paused", "Let it go on with node.resume."),
        NodeState::Leaving => ("is on its way out", "The members are in the result of cluster.snapshot."),
        NodeState::Running => ("runs", "Look at it with cluster.snapshot, then retry."),
    };
    RpcError::new(ErrorCode::WrongState, format!("node {node} {is}, which rules this out"), hint)
}

/// What a client is told when something with a daemon on `node` came to nothing.
pub(crate) fn daemon(error: &DaemonRuntimeError, node: NodeId) -> RpcError {
    use DaemonRuntimeError as Error;
    let (code, hint) = match error {
        Error::NotReady => (ErrorCode::WrongState, "Wait until the node has started, then retry."),
        Error::ShuttingDown => {
            let message = format!("node {node} went down, or is going down");
            let hint = "Look at the events, and take another node.";
            return RpcError::new(ErrorCode::WrongState, message, hint);
        }
        Error::FactoryNotFound(_) | Error::KindName => {
            (ErrorCode::KindNotFound, "The kinds are in the result of daemon.kinds.")
        }
        Error::Migration(error) => return migration(error),
        Error::Group(error) => return group(error),
        Error::NotFound(daemon) | Error::Deliver(DeliverError::NotFound(daemon)) => {
            return daemon_not_found(*daemon);
        }
        Error::Deliver(DeliverError::NoMember(_)) => {
            (ErrorCode::DaemonNotFound, "Groups and their places are in the result of cluster.snapshot.")
        }
        Error::Spawn(SpawnError::TooMany) => {
            (ErrorCode::LimitExceeded, "Stop some daemons with daemon.stop, or take another node.")
        }
        Error::Spawn(SpawnError::Closed(_)) => (
            ErrorCode::WrongState,
            "Take another node, or let this one serve again; if all is frozen, thaw it.",
        ),
        Error::Spawn(_) => (
            ErrorCode::SpawnFailed,
            "Nothing is left of it. What its factory takes as `args` is in the result of daemon.kinds.",
        ),
        Error::Deliver(DeliverError::Crashed) => {
            (ErrorCode::CallFailed, "It is started again by itself, but is not given this again.")
        }
        Error::Deliver(DeliverError::Down) => {
            (ErrorCode::WrongState, "Wait for an event daemon_changed that says it runs, then retry.")
        }
        Error::Deliver(DeliverError::Overloaded) => (ErrorCode::LimitExceeded, "Retry a little later."),
        Error::Deliver(DeliverError::Unknown) => {
            (ErrorCode::Timeout, "It may have been worked off: look at what the daemon does before a retry.")
        }
        Error::Deliver(DeliverError::TooLarge(_)) => (ErrorCode::InvalidParams, "Send less at a time."),
        Error::FactoryAlreadyRegistered(_) | Error::SnapshotIdentityMismatch { .. } | Error::Snapshot(_) => {
            (ErrorCode::Internal, "Please report this defect.")
        }
    };
    RpcError::new(code, error.to_string(), hint)
}

/// What to do in a frozen cluster.
const THAW: &str = "Wait until the freeze is over, or end it with thaw_cluster.";

fn migration(error: &MigrateError) -> RpcError {
    use MigrateError as Error;
    let (code, hint) = match error {
        Error::NotFound(daemon) => return daemon_not_found(*daemon),
        Error::NotMigrating(migration) => return migration_not_found(*migration),
        Error::KindNotFound { .. } => {
            (ErrorCode::KindNotFound, "Take a node that has a factory of this kind.")
        }
        Error::Unreachable(_) | Error::Closed(_) | Error::Unsuitable(_) | Error::Occupied(_) => (
            ErrorCode::Unplaceable,
            "Take another node; what each is at is in the result of cluster.snapshot.",
        ),
        Error::TooMany => (ErrorCode::LimitExceeded, "Wait until some have arrived, then retry."),
        Error::Failed(_) | Error::Cancelled => {
            (ErrorCode::CallFailed, "The daemon runs where it did. Look at the events, then retry.")
        }
        Error::Frozen => (ErrorCode::WrongState, THAW),
        Error::StateTooLarge { .. } => {
            (ErrorCode::WrongState, "The daemon runs where it did. Have it keep less, then retry.")
        }
        Error::Unheard(_) => (
            ErrorCode::WrongState,
            "The daemon runs where it did. Once the node that it came from is heard again, or in ten minutes, retry; it can go \
             back there at any time.",
        ),
        _ => (ErrorCode::WrongState, "Look at the daemon and its migrations in cluster.snapshot."),
    };
    RpcError::new(code, error.to_string(), hint)
}

fn group(error: &GroupError) -> RpcError {
    use GroupError as Error;
    let (code, hint) = match error {
        Error::NotFound(group) => return group_not_found(*group),
        Error::ParentNotFound(daemon) => return daemon_not_found(*daemon),
        Error::BadCount(_) | Error::TooLong => {
            (ErrorCode::InvalidParams, "Give another `count`, a shorter `name` or shorter `args`.")
        }
        Error::WrongKind(_) => (
            ErrorCode::InvalidParams,
            "A \"parent\" goes with \"kind\": \"fork\" and with no other; only a standby group can be promoted.",
        ),
        Error::TooMany => (ErrorCode::LimitExceeded, "Stop some groups with group.stop."),
        Error::SeedTaken(_) => (
            ErrorCode::SeedTaken,
            "Stop the group that has it with group.stop, or take another seed: members' identities grow from it.",
        ),
        Error::KindNotFound(_) => (ErrorCode::KindNotFound, "The kinds are in the result of daemon.kinds."),
        Error::PlacementFailed { .. } => (
            ErrorCode::Unplaceable,
            "No two members share a node: ask for fewer, or add nodes with node.spawn. What stands by is ready after a while.",
        ),
        Error::Frozen => (ErrorCode::WrongState, THAW),
        Error::TimedOut(_) => (ErrorCode::Timeout, "Look at the events of its members, then retry."),
        _ => (ErrorCode::SpawnFailed, "Look at the events of its members, then retry."),
    };
    RpcError::new(code, error.to_string(), hint)
}

pub(crate) fn group_not_found(group: GroupId) -> RpcError {
    RpcError::new(
        ErrorCode::GroupNotFound,
        format!("there is no group {group}"),
        "Those there are stand in the result of cluster.snapshot.",
    )
}

pub(crate) fn not_running_any() -> RpcError {
    RpcError::new(ErrorCode::WrongState, "no member runs", "Resume one, or start it again with node.restart.")
}

pub(crate) fn migration_not_found(migration: MigrationId) -> RpcError {
    RpcError::new(
        ErrorCode::MigrationNotFound,
        format!("no migration {migration} is under way"),
        "Those there are stand in the result of cluster.snapshot.",
    )
}

/// A migration ended in another way before it could be called off.
pub(crate) fn too_late(migration: MigrationId) -> RpcError {
    RpcError::new(
        ErrorCode::WrongState,
        format!("migration {migration} was over before it could be called off"),
        "Look where the daemon runs now, and move it back if you like.",
    )
}

pub(crate) fn daemon_not_found(daemon: DaemonId) -> RpcError {
    RpcError::new(
        ErrorCode::DaemonNotFound,
        format!("no node that can be reached runs daemon {daemon}"),
        "What runs where is in the result of cluster.snapshot.",
    )
}

/// What a client is told when a call from node to node came to nothing.
pub(crate) fn call(error: &MeshError) -> RpcError {
    RpcError::new(
        ErrorCode::CallFailed,
        error.to_string(),
        "Every node serves echo and time. If the other is down or cut off, the events say so.",
    )
}

pub(crate) fn no_mesh_method(what: &str) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        what,
        "Name two different nodes and a method one of them serves, such as echo.",
    )
}

pub(crate) fn out_of_range(what: &str, range: RangeInclusive<u32>) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        format!("`{what}` is out of range"),
        format!("Give it in milliseconds, from {} to {}.", range.start(), range.end()),
    )
}

pub(crate) fn too_many_bytes(what: &str, len: usize, most: usize) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        format!("`{what}` has {len} bytes; at most {most} are taken"),
        "Send less at a time.",
    )
}

pub(crate) fn no_topology(error: TopologyError) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        error.to_string(),
        "Take an `arity` of 1 or more, or a `degree` of 2 or more.",
    )
}

pub(crate) fn bad_fault(what: &str) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        what,
        "Name two different nodes; probabilities go from 0 to 1, and delay and jitter to 60 s together.",
    )
}

pub(crate) fn no_nodes() -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        "a cluster has at least one node",
        "Set `nodes` to 1 or more; to have none, use cluster.shutdown.",
    )
}

pub(crate) fn too_many_nodes(max: u32) -> RpcError {
    RpcError::new(
        ErrorCode::LimitExceeded,
        format!("this server runs at most {max} nodes, crashed ones included"),
        "Ask for fewer, or shut some down first.",
    )
}

/// A signed command that every node rejected.
pub(crate) fn rejected(reason: Rejection) -> RpcError {
    let hint = match reason {
        Rejection::NotAuthorized => "Have it signed by an operator this cluster knows.",
        Rejection::SignatureInvalid => "Sign exactly what is sent, with the key of the operator it names.",
        Rejection::InsufficientSignatures => {
            "Have more different operators sign it; break-glass commands need two."
        }
        Rejection::EnvelopeExpired => "Sign it anew: a command is good for 300 s.",
        Rejection::EnvelopeFromFuture => "Set the signer's clock: it is more than 30 s ahead.",
        Rejection::SimulationRequired => {
            "Simulate it again with ice.simulate in a second: its blast radius is another by now, or a node that it concerns \
             knows of something, such as its own drain, that the one asked had not heard of yet."
        }
        Rejection::IceCooldownActive => "Wait: the same target was just subject to one of its kind.",
        Rejection::FreezeInEffect => THAW,
        Rejection::NonceReplayed => "Sign it anew, with a nonce that was not used before.",
        Rejection::NotApplicable => {
            "Look at cluster.snapshot: what it names is not there, or in no state for it; or it is a freeze of no time or more \
             than an hour."
        }
        Rejection::Unreachable => {
            "Sign it anew and try again in a moment: every live node has a say, and one did not answer. One that has just \
             crashed counts as live for a second or two. If it is the node that the command names, wait until that is back."
        }
        Rejection::Overloaded => "Wait until those under way are decided, then retry.",
    };
    let named = serde_json::to_value(reason).ok().and_then(|name| name.as_str().map(str::to_owned));
    let message = format!("every node rejected the command: {}", named.unwrap_or_default());
    RpcError::new(ErrorCode::Rejected, message, hint)
}

/// A break-glass command that no node was asked to carry out, because the one that simulates it finds that none could.
pub(crate) fn not_applicable() -> RpcError {
    RpcError::new(
        ErrorCode::Rejected,
        "the command cannot be carried out as things are: not_applicable",
        "Look at cluster.snapshot: what it names is not there, or in no state for it. A freeze lasts from 1 to 3,600,000 ms.",
    )
}

/// A break-glass command that was not even signed, because it has another blast radius than was looked at.
pub(crate) fn not_simulated() -> RpcError {
    RpcError::new(
        ErrorCode::Rejected,
        "the command was not signed, as its blast radius is not the simulated one: simulation_required",
        "Simulate it again with ice.simulate, look at the blast radius, and give what that answers as `simulation`.",
    )
}

pub(crate) fn no_operator(name: &str) -> RpcError {
    let name: String = name.chars().take(80).collect();
    RpcError::new(
        ErrorCode::InvalidParams,
        format!("the playground has no operator {name:?}"),
        "Its operators are \"demo-1\", \"demo-2\" and \"demo-3\"; \"demo\" is the first. Others submit what they have \
         signed themselves with admin.submit.",
    )
}

pub(crate) fn no_operators() -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        "a command needs somebody who signs it",
        "Leave `operators` out, or name at least one.",
    )
}

pub(crate) fn too_many_operators(most: usize) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        format!("a command is signed by at most {most} operators"),
        "Name each of them once.",
    )
}

pub(crate) fn no_envelope(error: CommandError) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidParams,
        format!("the envelope is no signed command: {error}"),
        "Give the bytes of SignedCommand::encode as hexadecimal digits; PROTOCOL.md has the layout.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_meets_a_freeze_is_told_how_to_end_it() {
        for error in [group(&GroupError::Frozen), migration(&MigrateError::Frozen)] {
            assert!(error.is(ErrorCode::WrongState) && error.data.hint.contains("thaw"), "{error:?}");
        }
    }

    #[test]
    fn whoever_takes_a_seed_that_another_group_has_is_told_which_one_and_what_to_do() {
        let error = group(&GroupError::SeedTaken(GroupId(7)));
        assert!(error.is(ErrorCode::SeedTaken) && error.data.name == "seed_taken", "{error:?}");
        assert!(error.message.contains(&GroupId(7).to_string()), "{error:?}");
        assert!(error.data.hint.contains("seed") && error.data.hint.contains("group.stop"), "{error:?}");
    }

    #[test]
    fn a_node_taken_down_while_it_joins_is_not_blamed_on_the_machine() {
        let reason = "it went down while it was joining the mesh".to_owned();
        let error = cluster(&ClusterError::Spawn { node_index: 5, reason });
        assert!(error.is(ErrorCode::WrongState), "{error:?}");
        assert!(!error.data.hint.contains("machine"), "{error:?}");
    }
}
