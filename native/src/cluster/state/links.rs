//! Who holds a session with whom and what each finds of the other, and the counts that follow from it.

use std::{net::SocketAddr, ops::Add};

use meshground_shared::{Health, Links, NodeId, NodeState};

use super::{Link, State, Tally};
use crate::faults::FaultTable;

impl State {
    /// `index` has come to a session with `peer` at `address`.
    pub(in crate::cluster) fn link_up(&mut self, index: usize, peer: NodeId, address: SocketAddr) {
        // An old session's event may come after the peer was restarted; its address gives it away.
        let current = self.by_id(peer).is_some_and(|member| member.node.local_addr() == address);
        self.set_link(index, peer, Some(Link { current, health: Health::Healthy }));
        if let Some(&other) = self.index_of.get(&peer).filter(|_| current) {
            for pair in [(index, other), (other, index)] {
                self.refusals.remove(&pair);
                self.failures.remove(&pair);
            }
        }
    }

    /// `index` finds `peer` at another `address`.
    pub(in crate::cluster) fn link_moved(&mut self, index: usize, peer: NodeId, address: SocketAddr) {
        let current = self.by_id(peer).is_some_and(|member| member.node.local_addr() == address);
        let link = self.members.get(&index).and_then(|member| member.links.get(&peer)).copied();
        // Who was there once is the same run still, wherever a copied packet may seem to come from.
        if let Some(link) = link.filter(|link| !link.current) {
            self.set_link(index, peer, Some(Link { current, ..link }));
        }
    }

    /// `index` comes to a session with `peer` over others, or holds it no more. Returns whether that is a change.
    pub(in crate::cluster) fn set_relayed(&mut self, index: usize, peer: NodeId, is_relayed: bool) -> bool {
        let Some(member) = self.members.get_mut(&index) else { return false };
        if is_relayed { member.relayed.insert(peer) } else { member.relayed.remove(&peer) }
    }

    /// Whether `index` holds a direct session with `peer`.
    pub(in crate::cluster) fn is_linked(&self, index: usize, peer: NodeId) -> bool {
        self.members.get(&index).is_some_and(|member| member.links.contains_key(&peer))
    }

    /// `index` holds no session with `peer` any more.
    pub(in crate::cluster) fn link_down(&mut self, index: usize, peer: NodeId) {
        self.set_link(index, peer, None);
        self.forget_if_gone(peer);
    }

    /// `index` changed its verdict on `peer`.
    pub(in crate::cluster) fn set_health(&mut self, index: usize, peer: NodeId, health: Health) {
        let link = self.members.get(&index).and_then(|member| member.links.get(&peer)).copied();
        if let Some(link) = link {
            self.set_link(index, peer, Some(Link { health, ..link }));
        }
    }

    fn set_link(&mut self, index: usize, peer: NodeId, link: Option<Link>) {
        let other = self.index_of.get(&peer).copied();
        let before = other.map(|other| self.tally_between(index, other)).unwrap_or_default();
        if let Some(member) = self.members.get_mut(&index) {
            match link {
                Some(link) => member.links.insert(peer, link),
                None => member.links.remove(&peer),
            };
        }
        let after = other.map(|other| self.tally_between(index, other)).unwrap_or_default();
        self.tally = self.tally + after - before;
    }

    /// What happens to the datagrams that a member sends, by where the others are now.
    pub(in crate::cluster) fn fault_table(&self, from: usize) -> FaultTable {
        let its = self.faults.range((from, 0)..=(from, usize::MAX));
        its.filter_map(|(&(_, to), &fault)| Some((self.members.get(&to)?.node.local_addr(), fault))).collect()
    }

    /// The running members that hold a session with `peer`.
    pub(in crate::cluster) fn holders(&self, peer: NodeId) -> impl Iterator<Item = usize> {
        self.running().filter(move |member| member.links.contains_key(&peer)).map(|member| member.node.index)
    }

    pub(super) fn forget_if_gone(&mut self, id: NodeId) {
        if !self.index_of.contains_key(&id) && self.holders(id).next().is_none() {
            self.causes.forget(id);
        }
    }

    /// `holder`'s session with `peer` as it is now, neither end being down or another run.
    fn link(&self, holder: usize, peer: usize) -> Option<Link> {
        let (holder, peer) = (self.members.get(&holder)?, self.members.get(&peer)?);
        let link = holder.links.get(&peer.node.node_id())?;
        let valid = holder.state == NodeState::Running && peer.state == NodeState::Running && link.current;
        valid.then_some(*link)
    }

    fn sees(&self, holder: usize, peer: usize) -> bool {
        self.link(holder, peer).is_some_and(|link| link.health == Health::Healthy)
    }

    /// Whether both ends see each other Healthy.
    pub(in crate::cluster) fn stands(&self, one: usize, other: usize) -> bool {
        self.sees(one, other) && self.sees(other, one)
    }

    /// Whether both ends hold a session.
    pub(in crate::cluster) fn is_held(&self, one: usize, other: usize) -> bool {
        self.link(one, other).is_some() && self.link(other, one).is_some()
    }

    /// Whether one end holds a session.
    pub(in crate::cluster) fn is_paired(&self, one: usize, other: usize) -> bool {
        self.link(one, other).is_some() || self.link(other, one).is_some()
    }

    // Counting.

    fn tally_between(&self, one: usize, other: usize) -> Tally {
        if !self.links.contains(one, other) {
            return Tally::default();
        }
        Tally {
            wanted: usize::from(self.is_running(one) && self.is_running(other)),
            paired: usize::from(self.is_paired(one, other)),
            healthy: usize::from(self.sees(one, other)) + usize::from(self.sees(other, one)),
        }
    }

    pub(super) fn tally_of(&self, index: usize) -> Tally {
        self.links
            .neighbours(index)
            .map(|other| self.tally_between(index, other))
            .fold(Tally::default(), Add::add)
    }

    /// Looks up whom the topology links now that members or topology have changed; returns what it named before.
    pub(in crate::cluster) fn rewire(&mut self) -> Links {
        let links = self.topology.links(self.members.keys().copied());
        let before = std::mem::replace(&mut self.links, links);
        self.tally = if before.is_full() && self.links.is_full() {
            // Whoever came has no sessions yet, and whoever went has been counted out.
            Tally { wanted: self.running * self.running.saturating_sub(1) / 2, ..self.tally }
        } else {
            self.links
                .iter()
                .map(|(one, other)| self.tally_between(one, other))
                .fold(Tally::default(), Add::add)
        };
        self.expect_acquaintance();
        before
    }

    pub(in crate::cluster) fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether every link of running members stands and is Healthy at both ends.
    pub(in crate::cluster) fn is_converged(&self) -> bool {
        self.tally.healthy == 2 * self.tally.wanted
    }
}
