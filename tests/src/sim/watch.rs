//! What must hold after every step of a simulation, whatever happens in it.
//!
//! - Both ends of a session agree on it, as far as what is under way allows.
//! - No packet number is used twice under one key.
//! - Whatever is bounded stays within its bound.
//! - A verdict against a peer stands on as long a silence as the configuration asks for.
//!
//! Only the member that has just done something is looked at: nothing else can have changed. What members say to each
//! other is checked by [`super::talk`].

use std::collections::BTreeMap;

use meshground_node::{Health, Instant, LivenessConfig, Node, NodeEvent, NodeId};

use super::Member;

/// What is remembered of every member's present life.
#[derive(Debug, Default)]
pub(super) struct Watch {
    lives: Vec<Life>,
}

#[derive(Debug, Default)]
struct Life {
    /// The last number sealed, by the receiver's index: that names a key.
    sealed: BTreeMap<u32, u64>,
    peers: BTreeMap<NodeId, Heard>,
}

/// When a peer was last heard.
#[derive(Debug)]
struct Heard {
    /// Since when there is a session with this life of it.
    since: Instant,
    datagrams: u64,
    at: Instant,
}

impl Watch {
    /// A member begins a life.
    pub(super) fn begin(&mut self, number: usize) {
        if self.lives.len() <= number {
            self.lives.resize_with(number + 1, Life::default);
        }
        self.lives[number] = Life::default();
    }

    /// A member sends a datagram.
    pub(super) fn sends(&mut self, number: usize, datagram: &[u8]) {
        let [4, 0, 0, 0, i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7, ..] = *datagram else { return };
        let index = u32::from_le_bytes([i0, i1, i2, i3]);
        let counter = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
        // They only rise, so the last one stands for all of them.
        let before = self.lives[number].sealed.insert(index, counter);
        assert!(
            before.is_none_or(|before| before < counter),
            "member {number} sealed number {counter} for index {index} after {before:?}"
        );
    }

    /// A member has taken in a datagram: whoever it has counted one of was heard.
    pub(super) fn listens(&mut self, number: usize, node: &Node, now: Instant) {
        let peers = &mut self.lives[number].peers;
        for peer in node.peers() {
            let datagrams = peer.traffic.datagrams_in;
            let fresh = Heard { since: peer.since, datagrams, at: now };
            let heard = peers.entry(peer.id).or_insert(fresh);
            if (heard.since, heard.datagrams) != (peer.since, datagrams) {
                *heard = Heard { since: peer.since, datagrams, at: now };
            }
        }
    }

    /// A member tells something.
    pub(super) fn hears_of(
        &self,
        number: usize,
        node: &Node,
        config: &LivenessConfig,
        now: Instant,
        event: &NodeEvent,
    ) {
        let NodeEvent::Health { peer, to, silence, .. } = *event else { return };
        let pace = config.for_peers(node.peers().count());
        let least = match to {
            Health::Healthy => return,
            Health::Suspect => pace.suspect,
            Health::Unreachable => pace.unreachable,
        };
        let heard = self.lives[number].peers.get(&peer).map(|heard| heard.at);
        let real = heard.map(|at| now.saturating_since(at));
        assert!(
            silence >= least && real.is_none_or(|real| real >= least),
            "member {number} calls {peer} {to:?} after {real:?}, as it says after {silence:?}; it must be {least:?}"
        );
    }
}

/// Checks a member after something happened to it.
pub(super) fn check(members: &[Member], number: usize) {
    let member = &members[number];
    let Some(node) = &member.node else { return };
    node.gauges(&mut |gauge| {
        assert!(gauge.held <= gauge.limit, "member {number} holds too much: {gauge:?}");
    });
    if let Some(os) = &member.os.os {
        os.gauges(&mut |gauge| {
            assert!(gauge.held <= gauge.limit, "the system of member {number} holds too much: {gauge:?}");
        });
    }
    for (other, its) in members.iter().enumerate() {
        if other != number && its.node.is_some() {
            agree(number, member, other, its);
        }
    }
}

/// Whether two members that both claim a session with each other's present life can still come to agree on it: at least
/// one of the two that they use is known at both ends. If both use the same one, they also agree on what goes over it.
fn agree(number: usize, a: &Member, other: usize, b: &Member) {
    let (Some(at_a), Some(at_b)) = (&a.node, &b.node) else { return };
    let (Some(from_a), Some(from_b)) = (at_a.session_with(b.id()), at_b.session_with(a.id())) else { return };
    if (from_a.incarnation, from_b.incarnation) != (b.incarnation.0, a.incarnation.0) {
        // One of them does not know yet that the other has started anew.
        return;
    }
    let who = format_args!("members {number} and {other}");
    assert!(
        at_b.can_hear(a.id(), from_a.remote_index) || at_a.can_hear(b.id(), from_b.remote_index),
        "{who} are deaf to each other: {from_a:?}, {from_b:?}"
    );
    if (from_a.index, from_a.remote_index) == (from_b.remote_index, from_b.index) {
        assert_ne!(from_a.role, from_b.role, "{who} play one part in one session");
        assert_eq!(from_a.connection, from_b.connection, "{who} take one connection for two");
    }
}
