//! A node's snapshot as what travels to clients.

use std::time::Duration;

use meshground_node::{ActionRecord, Avoided, FailureRecord, LogLine, MeshOsSnapshot, PeerState, Resources};
use meshground_shared::{
    AvoidedNode, DaemonLine, Epoch, NodeId, NodeView, OwnDaemon, PeerSeen, Remark, ResourcesView,
};

/// What a client is told of a snapshot.
pub(crate) fn view_of(snapshot: &MeshOsSnapshot) -> NodeView {
    let daemons = snapshot.daemons.iter().map(|daemon| {
        let timing = snapshot.timings.get(&daemon.id).copied().unwrap_or_default();
        let own = OwnDaemon {
            daemon: daemon.clone(),
            age_ms: millis(timing.age),
            restarts_in_ms: timing.restarts_in.map(millis),
        };
        (daemon.id, own)
    });
    NodeView {
        node: snapshot.node,
        epoch: Epoch(snapshot.epoch),
        version: snapshot.version.to_string(),
        generation: snapshot.generation,
        maintenance: snapshot.maintenance,
        cordoned: snapshot.cordoned,
        drain_remaining_ms: snapshot.drain_remaining.map(millis),
        freeze_remaining_ms: snapshot.freeze_remaining.map(millis),
        resources: resources(snapshot.resources),
        load: snapshot.load,
        tags: snapshot.tags.iter().cloned().collect(),
        daemons: daemons.collect(),
        peers: snapshot.peers.iter().map(|(&id, peer)| (id, seen(peer))).collect(),
        groups: snapshot.groups.clone(),
        migrations: snapshot.migrations.clone(),
        avoided: snapshot.avoided.iter().map(|(&id, avoided)| avoided_node(id, avoided)).collect(),
        actions: snapshot.actions.iter().map(action).collect(),
        decisions_lost: snapshot.decisions_lost,
        failures: snapshot.failures.iter().map(failure).collect(),
        log: snapshot.log.iter().map(line).collect(),
        audit: snapshot.audit.clone(),
        commands_forgotten: snapshot.commands_forgotten,
        probe_panics: snapshot.probe_panics,
    }
}

fn seen(peer: &PeerState) -> PeerSeen {
    PeerSeen {
        health: peer.health,
        rtt_us: peer.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        version: peer.version.to_string(),
        maintenance: peer.maintenance,
        cordoned: peer.cordoned,
        resources: resources(peer.resources),
        load: peer.load,
        tags: peer.tags.iter().cloned().collect(),
        kinds: peer.kinds.to_vec(),
        daemons: (*peer.daemons).clone(),
        moving: peer.moving.to_vec(),
    }
}

fn avoided_node(node: NodeId, avoided: &Avoided) -> AvoidedNode {
    AvoidedNode { node, reason: avoided.reason.clone(), remaining_ms: millis(avoided.remaining) }
}

fn action(record: &ActionRecord) -> Remark {
    Remark { at_us: record.at.0, what: record.action.to_string() }
}

fn failure(record: &FailureRecord) -> Remark {
    Remark { at_us: record.at.0, what: record.what.clone() }
}

fn line(LogLine { at, daemon, level, text }: &LogLine) -> DaemonLine {
    DaemonLine { at_us: at.0, daemon: *daemon, level: *level, text: text.to_string() }
}

fn resources(Resources { cpu, memory }: Resources) -> ResourcesView {
    ResourcesView { cpu, memory }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
