//! The loop's view of the system: when it is looked at anew, and what is then published.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meshground_shared::NodeId;

use super::{
    MeshOs,
    oversight::Oversight,
    snapshot::{MeshOsSnapshot, PeerState},
};
use crate::{
    capability::Capabilities,
    node::Node,
    time::{Instant, Now},
};

/// Changes within this are published together, and within [`TOGETHER_A_PEER`] more for each peer, as looking at all of them
/// costs that much more; the first change after a while at once.
const TOGETHER: Duration = Duration::from_millis(5);

/// See [`TOGETHER`].
const TOGETHER_A_PEER: Duration = Duration::from_millis(2);

/// How old figures in the snapshot get when nothing else changes.
const REFRESH: Duration = Duration::from_secs(1);

/// What was last published, and whether something has changed since.
pub(super) struct Publishing {
    /// Something changed that is not only a figure.
    changed: bool,
    /// A figure changed.
    stale: bool,
    refreshed: Instant,
    snapshot: Arc<MeshOsSnapshot>,
}

impl Publishing {
    pub(super) fn new(node: NodeId, epoch: u64, now: Instant) -> Self {
        Self {
            changed: true,
            stale: false,
            refreshed: now,
            snapshot: Arc::new(MeshOsSnapshot::empty(node, epoch)),
        }
    }

    /// Something changed that is not only a figure.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    /// A figure changed.
    pub(super) fn touch_figure(&mut self) {
        self.stale = true;
    }

    /// When what changed is due, if something did.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.is_outdated().then(|| self.refreshed + self.together())
    }

    fn is_outdated(&self) -> bool {
        self.changed || self.stale
    }

    fn together(&self) -> Duration {
        let peers = u32::try_from(self.snapshot.peers.len()).unwrap_or(u32::MAX);
        (TOGETHER + TOGETHER_A_PEER * peers).min(REFRESH)
    }

    /// Whether it is time to look anew: something changed, or figures are old.
    fn is_due(&self, now: Instant) -> bool {
        let age = now.saturating_since(self.refreshed);
        (self.is_outdated() && age >= self.together()) || age >= REFRESH
    }

    fn publish(&mut self, now: Instant, mut snapshot: MeshOsSnapshot) {
        // What may have changed need not have.
        let changed = self.changed && !snapshot.is_like(&self.snapshot);
        snapshot.generation = self.snapshot.generation + u64::from(changed);
        *self = Self { changed: false, stale: false, refreshed: now, snapshot: Arc::new(snapshot) };
    }
}

impl MeshOs {
    /// The system through this node's eyes, as of the last turn of its loop or the last structural change.
    pub fn snapshot(&self) -> Arc<MeshOsSnapshot> {
        Arc::clone(&self.oversight.publishing.snapshot)
    }

    /// Publishes what changed, however little time ago something else was published: for those who cannot wait.
    pub fn refresh(&mut self, now: Now, node: &Node) {
        if self.oversight.publishing.is_outdated() {
            self.publish_now(now, node);
        }
    }

    /// Publishes what is seen, if it changed or is old.
    pub(super) fn publish(&mut self, now: Now, node: &Node) {
        if self.oversight.publishing.is_due(now.instant) {
            self.publish_now(now, node);
        }
    }

    fn publish_now(&mut self, now: Now, node: &Node) {
        let snapshot = self.look(now, node);
        self.oversight.publishing.publish(now.instant, snapshot);
    }

    fn look(&self, now: Now, node: &Node) -> MeshOsSnapshot {
        let Oversight { service, probes, actions, failures, .. } = &self.oversight;
        let mut peers: BTreeMap<NodeId, PeerState> = (self.directory.known())
            .filter(|(id, _)| *id != self.local)
            .map(|(id, known)| (id, PeerState::of(known)))
            .collect();
        // Both go by id; those who have said nothing yet are few.
        let mut silent = Vec::new();
        let mut said = peers.iter_mut().peekable();
        for peer in node.peers() {
            while said.next_if(|(id, _)| **id < peer.id).is_some() {}
            match said.next_if(|(id, _)| **id == peer.id) {
                Some((_, state)) => (state.health, state.rtt) = (Some(peer.health), peer.rtt),
                None => silent.push(peer),
            }
        }
        for peer in silent {
            let state = PeerState { health: Some(peer.health), rtt: peer.rtt, ..PeerState::default() };
            peers.insert(peer.id, state);
        }
        for (id, peer) in &mut peers {
            peer.tags = node.capabilities().get(*id).map(Capabilities::shared_tags).unwrap_or_default();
        }
        if let Some(verdicts) = probes.verdicts() {
            for (id, peer) in peers.iter_mut().filter(|(_, peer)| peer.health.is_some()) {
                peer.health = verdicts.get(id).copied().or(peer.health);
            }
        }
        if let Some(round_trips) = probes.round_trips() {
            for (id, peer) in &mut peers {
                peer.rtt = round_trips.get(id).copied();
            }
        }
        MeshOsSnapshot {
            daemons: self.daemons().collect(),
            timings: self.timings(now.instant),
            groups: self.groups().collect(),
            migrations: self.migrations(now.instant).collect(),
            audit: self.last_audit(),
            commands_forgotten: self.admin.forgotten(),
            version: self.version.shared(),
            peers,
            avoided: self.avoided(now.instant),
            maintenance: service.state(),
            cordoned: service.is_cordoned(),
            drain_remaining: service.drain_remaining(now.instant),
            freeze_remaining: self.oversight.frozen_until.map(|until| until.saturating_since(now.instant)),
            resources: probes.resources,
            load: self.load_of(self.local),
            tags: self.announced.shared_tags(),
            actions: actions.to_vec(),
            failures: failures.to_vec(),
            log: self.oversight.log.shared(),
            decisions_lost: self.gate.lost(),
            probe_panics: probes.panics,
            ..MeshOsSnapshot::empty(self.local, self.life)
        }
    }
}
