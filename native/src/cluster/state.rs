//! Who is a member, and who sees whom: what every barrier is decided by.
//!
//! Kept up to date by the nodes' own events, and always in step with the event log: both change under one lock. A few
//! counts are carried along, so that asking whether a cluster has converged costs nothing however big it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::{Add, Sub},
};

use meshground_node::{DialError, Identity};
use meshground_shared::{CommandId, Health, LinkFault, Links, NodeId, NodeState, Topology};

use super::{ClusterError, ClusterNode, acquaintance::Acquaintance, causes::Causes, wiring::Pairs};
use crate::{faults::FaultTable, mesh::Mesh};

/// After how many of a node's first messages that do not authenticate the pre-shared keys must be presumed to differ.
/// One could be a stray datagram; three are the first attempt and two repetitions of it.
const TELLING_REFUSALS: u64 = 3;

/// How many names a message for people lists before it says how many more there are.
const NAMES_LISTED: usize = 8;

/// A cluster's members and their links.
#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) members: BTreeMap<usize, Member>,
    index_of: BTreeMap<NodeId, usize>,
    /// The running members by address.
    address_of: BTreeMap<SocketAddr, usize>,
    /// The index of the next new member.
    pub(super) next_index: usize,
    /// How many members run.
    running: usize,
    /// Which rule says who is linked with whom.
    pub(super) topology: Topology,
    /// The links it names, as of the last time it was [looked up](Self::rewire).
    pub(super) links: Links,
    /// The links of running members.
    tally: Tally,
    /// Whose capability index knows whom.
    pub(super) indexes: Acquaintance,
    /// Who has a way to whom.
    pub(super) routes: Acquaintance,
    /// What happens to the datagrams on each link, by (who sends them, to whom).
    pub(super) faults: BTreeMap<(usize, usize), LinkFault>,
    pub(super) causes: Causes,
    /// First messages that did not authenticate, by (who dialled, who refused).
    refusals: BTreeMap<(usize, usize), u64>,
    /// Dials that came to nothing, by (who dialled, who was dialled).
    pub(super) failures: BTreeMap<(usize, usize), DialError>,
    /// Tasks that have not ended yet, those of former members included.
    pub(super) tasks: usize,
    /// Former members on their way out, by index and run. Whoever told one to leave may not stay to see it, and a mesh
    /// without a handle is aborted before it has said farewell.
    pub(super) leaving: BTreeMap<(usize, u64), Mesh>,
    /// What ran when the cluster began to stop.
    pub(super) stopping: Vec<Mesh>,
}

/// What a cluster is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Up,
    Stopping { cause: Option<CommandId> },
    Stopped,
}

/// A node that belongs to the cluster, running, paused or crashed.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) node: ClusterNode,
    pub(super) identity: Identity,
    pub(super) state: NodeState,
    /// How often it had been started before. Events of earlier runs are not listened to.
    pub(super) run: u64,
    /// What it was told and has not come to yet.
    pub(super) told: Option<Told>,
    /// Its confirmed direct sessions, by peer.
    links: BTreeMap<NodeId, Link>,
    /// With whom it holds sessions over others: no links, and nothing anybody waits for.
    relayed: BTreeSet<NodeId>,
}

/// A pause or a resumption, and the command behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told(pub(super) Option<CommandId>);

/// A session as its holder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Whether it is with the peer as it runs now, and not with a former run of it.
    current: bool,
    health: Health,
}

/// Counts over the links that the topology names between running members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// How many there are.
    pub(super) wanted: usize,
    /// Those with a session at one end at least.
    pub(super) paired: usize,
    /// Ends of them that hold a session and find the other Healthy; twice as many when all is well.
    pub(super) healthy: usize,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            wanted: self.wanted + other.wanted,
            paired: self.paired + other.paired,
            healthy: self.healthy + other.healthy,
        }
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            wanted: self.wanted - other.wanted,
            paired: self.paired - other.paired,
            healthy: self.healthy - other.healthy,
        }
    }
}

impl Member {
    /// Whether its task is there.
    pub(super) fn is_up(&self) -> bool {
        self.state != NodeState::Crashed
    }

    /// The peers it holds a direct session with.
    pub(super) fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.links.keys().copied()
    }
}

impl State {
    pub(super) fn new(topology: Topology, faults: BTreeMap<(usize, usize), LinkFault>) -> Self {
        Self {
            phase: Phase::Up,
            members: BTreeMap::new(),
            index_of: BTreeMap::new(),
            address_of: BTreeMap::new(),
            next_index: 0,
            running: 0,
            topology,
            links: Links::default(),
            tally: Tally::default(),
            indexes: Acquaintance::default(),
            routes: Acquaintance::default(),
            faults,
            causes: Causes::default(),
            refusals: BTreeMap::new(),
            failures: BTreeMap::new(),
            tasks: 0,
            leaving: BTreeMap::new(),
            stopping: Vec::new(),
        }
    }

    // Who is there.

    pub(super) fn by_id(&self, id: NodeId) -> Option<&Member> {
        self.members.get(self.index_of.get(&id)?)
    }

    /// The index of the member with this id.
    pub(super) fn index_of(&self, id: NodeId) -> Option<usize> {
        self.index_of.get(&id).copied()
    }

    /// The member that may be operated on.
    pub(super) fn expect_member(&self, id: NodeId) -> Result<&Member, ClusterError> {
        if self.phase != Phase::Up {
            return Err(ClusterError::Shutdown);
        }
        self.by_id(id).ok_or_else(|| ClusterError::Invariant(format!("no member has the id {id}")))
    }

    /// The member that may be operated on and has not crashed.
    pub(super) fn expect_up(&self, id: NodeId, verb: &str) -> Result<&Member, ClusterError> {
        let member = self.expect_member(id)?;
        if member.is_up() {
            return Ok(member);
        }
        let index = member.node.index;
        Err(ClusterError::Invariant(format!(
            "node {index} ({id}) is crashed; it cannot be {verb}, only restarted"
        )))
    }

    /// The member that may be operated on, is in this state and has not been told to leave it.
    pub(super) fn expect_in(
        &mut self,
        wanted: NodeState,
        id: NodeId,
        verb: &str,
    ) -> Result<&mut Member, ClusterError> {
        let member = self.expect_up(id, verb)?;
        let index = member.node.index;
        let is = match (member.state == wanted, member.told, wanted) {
            (true, None, _) => {
                return self.members.get_mut(&index).ok_or(ClusterError::Shutdown);
            }
            (true, Some(_), _) => "is just being",
            (false, _, NodeState::Running) => "is paused and cannot be",
            (false, _, _) => "runs and cannot be",
        };
        Err(ClusterError::Invariant(format!("node {index} ({id}) {is} {verb}")))
    }

    /// Whether this run of this member is what runs now.
    pub(super) fn is_current(&self, index: usize, run: u64) -> bool {
        self.members.get(&index).is_some_and(|member| member.is_up() && member.run == run)
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.state == NodeState::Running)
    }

    pub(super) fn is_running(&self, index: usize) -> bool {
        self.members.get(&index).is_some_and(|member| member.state == NodeState::Running)
    }

    /// Those whose tasks are there: running or paused.
    pub(super) fn up(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.is_up())
    }

    /// Whether every member runs, every link stands and is Healthy at both ends, and all know of each other.
    pub(super) fn is_whole(&self) -> bool {
        self.running == self.members.len() && self.is_converged() && self.is_acquainted()
    }

    // Coming and going.

    /// A node came up: a new member, or a new run of a crashed one. Whom it is linked with is for
    /// [`rewire`](Self::rewire) to say.
    pub(super) fn start(&mut self, node: ClusterNode, identity: Identity, run: u64) {
        let (index, id, address) = (node.index, node.node_id(), node.local_addr());
        self.next_index = self.next_index.max(index + 1);
        self.refusals.retain(|&(from, to), _| from != index && to != index);
        self.failures.retain(|&(from, to), _| from != index && to != index);
        let member = Member {
            node,
            identity,
            state: NodeState::Running,
            run,
            told: None,
            links: BTreeMap::new(),
            relayed: BTreeSet::new(),
        };
        self.indexes.forget_all(index);
        self.routes.forget_all(index);
        // It has no sessions yet, and those that others hold with a former run of it are not current.
        self.members.insert(index, member);
        self.index_of.insert(id, index);
        self.address_of.insert(address, index);
        self.running += 1;
    }

    /// A member that was up crashed.
    pub(super) fn crash(&mut self, index: usize) {
        self.stop(index);
        if let Some(member) = self.members.get_mut(&index) {
            member.state = NodeState::Crashed;
            member.told = None;
            member.links.clear();
            member.relayed.clear();
        }
        self.expect_acquaintance();
    }

    /// A running member stands still. It keeps its sessions, but no link of it counts.
    pub(super) fn pause(&mut self, index: usize) -> Option<CommandId> {
        let its = self.tally_of(index);
        let member = self.members.get_mut(&index).filter(|member| member.state == NodeState::Running)?;
        member.state = NodeState::Paused;
        self.tally = self.tally - its;
        self.running -= 1;
        let cause = member.told.take().and_then(|Told(cause)| cause);
        self.expect_acquaintance();
        cause
    }

    /// A paused member goes on.
    pub(super) fn resume(&mut self, index: usize) -> Option<CommandId> {
        let member = self.members.get_mut(&index).filter(|member| member.state == NodeState::Paused)?;
        member.state = NodeState::Running;
        let cause = member.told.take().and_then(|Told(cause)| cause);
        self.tally = self.tally + self.tally_of(index);
        self.running += 1;
        self.expect_acquaintance();
        cause
    }

    /// A member is none any more, whether it was up or not. Whom the others are linked with then is for
    /// [`rewire`](Self::rewire) to say.
    pub(super) fn remove(&mut self, index: usize) -> Option<Member> {
        self.stop(index);
        let member = self.members.remove(&index)?;
        let id = member.node.node_id();
        self.index_of.remove(&id);
        self.indexes.vacate(index);
        self.routes.vacate(index);
        self.forget_if_gone(id);
        Some(member)
    }

    /// Every member goes.
    pub(super) fn remove_all(&mut self) -> Vec<Member> {
        self.index_of.clear();
        self.address_of.clear();
        self.running = 0;
        self.links = Links::default();
        self.tally = Tally::default();
        self.indexes = Acquaintance::default();
        self.routes = Acquaintance::default();
        std::mem::take(&mut self.members).into_values().collect()
    }

    fn stop(&mut self, index: usize) {
        self.tally = self.tally - self.tally_of(index);
        let Some(member) = self.members.get(&index) else { return };
        let (id, address) = (member.node.node_id(), member.node.local_addr());
        self.address_of.remove(&address);
        self.running -= usize::from(member.state == NodeState::Running);
        for other in self.members.values_mut() {
            if let Some(link) = other.links.get_mut(&id) {
                link.current = false;
            }
        }
    }

    // Links.

    /// `index` has come to a session with `peer` at `address`.
    pub(super) fn link_up(&mut self, index: usize, peer: NodeId, address: SocketAddr) {
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
    pub(super) fn link_moved(&mut self, index: usize, peer: NodeId, address: SocketAddr) {
        let current = self.by_id(peer).is_some_and(|member| member.node.local_addr() == address);
        let link = self.members.get(&index).and_then(|member| member.links.get(&peer)).copied();
        // Who was there once is the same run still, wherever a copied packet may seem to come from.
        if let Some(link) = link.filter(|link| !link.current) {
            self.set_link(index, peer, Some(Link { current, ..link }));
        }
    }

    /// `index` comes to a session with `peer` over others, or holds it no more. Returns whether that is a change.
    pub(super) fn set_relayed(&mut self, index: usize, peer: NodeId, is_relayed: bool) -> bool {
        let Some(member) = self.members.get_mut(&index) else { return false };
        if is_relayed { member.relayed.insert(peer) } else { member.relayed.remove(&peer) }
    }

    /// Whether `index` holds a direct session with `peer`.
    pub(super) fn is_linked(&self, index: usize, peer: NodeId) -> bool {
        self.members.get(&index).is_some_and(|member| member.links.contains_key(&peer))
    }

    /// `index` holds no session with `peer` any more.
    pub(super) fn link_down(&mut self, index: usize, peer: NodeId) {
        self.set_link(index, peer, None);
        self.forget_if_gone(peer);
    }

    /// `index` changed its verdict on `peer`.
    pub(super) fn set_health(&mut self, index: usize, peer: NodeId, health: Health) {
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
    pub(super) fn fault_table(&self, from: usize) -> FaultTable {
        let its = self.faults.range((from, 0)..=(from, usize::MAX));
        its.filter_map(|(&(_, to), &fault)| Some((self.members.get(&to)?.node.local_addr(), fault))).collect()
    }

    /// The running members that hold a session with `peer`.
    pub(super) fn holders(&self, peer: NodeId) -> impl Iterator<Item = usize> {
        self.running().filter(move |member| member.links.contains_key(&peer)).map(|member| member.node.index)
    }

    fn forget_if_gone(&mut self, id: NodeId) {
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
    pub(super) fn stands(&self, one: usize, other: usize) -> bool {
        self.sees(one, other) && self.sees(other, one)
    }

    /// Whether both ends hold a session.
    pub(super) fn is_held(&self, one: usize, other: usize) -> bool {
        self.link(one, other).is_some() && self.link(other, one).is_some()
    }

    /// Whether one end holds a session.
    pub(super) fn is_paired(&self, one: usize, other: usize) -> bool {
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

    fn tally_of(&self, index: usize) -> Tally {
        self.links
            .neighbours(index)
            .map(|other| self.tally_between(index, other))
            .fold(Tally::default(), Add::add)
    }

    /// Looks up whom the topology links now that members or topology have changed; returns what it named before.
    pub(super) fn rewire(&mut self) -> Links {
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

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether every link of running members stands and is Healthy at both ends.
    pub(super) fn is_converged(&self) -> bool {
        self.tally.healthy == 2 * self.tally.wanted
    }

    // What goes wrong.

    /// `index` was sent `count` first messages from `address` that do not authenticate.
    pub(super) fn note_refusal(&mut self, index: usize, address: SocketAddr, count: u64) {
        if let Some(&from) = self.address_of.get(&address)
            && !self.is_paired(from, index)
            // Where bits are flipped, that says nothing about keys.
            && self.faults.get(&(from, index)).is_none_or(|fault| fault.corruption == 0.0)
        {
            *self.refusals.entry((from, index)).or_default() += count;
        }
    }

    /// A dial of `index` came to nothing.
    pub(super) fn note_failure(&mut self, index: usize, address: SocketAddr, error: DialError) {
        if let Some(&to) = self.address_of.get(&address)
            && !self.is_paired(index, to)
        {
            self.failures.insert((index, to), error);
        }
    }

    /// What makes waiting for these pairs' sessions pointless.
    pub(super) fn hopeless(&self, pairs: &Pairs) -> Option<ClusterError> {
        let told = self.refusals.iter().find(|&(&(from, to), &count)| {
            count >= TELLING_REFUSALS && pairs.contains(from, to) && !self.is_paired(from, to)
        });
        if let Some((&(from, to), _)) = told {
            return Some(ClusterError::Handshake { from, to, reason: self.describe_refusal(from, to) });
        }
        let failed = self.failures.iter().find(|&(&(from, to), error)| {
            // One that timed out is for the budget to report, with everybody else who is missing.
            !matches!(error, DialError::TimedOut { .. })
                && pairs.contains(from, to)
                && !self.is_paired(from, to)
        });
        let (&(from, to), error) = failed?;
        Some(ClusterError::Handshake { from, to, reason: error.to_string() })
    }

    fn describe_refusal(&self, from: usize, to: usize) -> String {
        let lonely = |index: usize| self.members.get(&index).is_some_and(|member| member.links.is_empty());
        let suspect = match (lonely(from), lonely(to)) {
            (true, false) => {
                format!("; node {from} has no session with anyone, so the wrong key is probably its own")
            }
            (false, true) => {
                format!("; node {to} has no session with anyone, so the wrong key is probably its own")
            }
            _ => String::new(),
        };
        format!(
            "node {to} cannot read what node {from} sends: most likely they hold different pre-shared keys{suspect}"
        )
    }

    /// Which of these links of running members lack a session, for a person.
    pub(super) fn describe_unpaired(&self, pairs: impl Iterator<Item = (usize, usize)>) -> String {
        self.describe(pairs.filter(|&(one, other)| !self.is_paired(one, other)))
    }

    /// Which of these links of running members are not Healthy, for a person.
    pub(super) fn describe_unseen(&self, pairs: impl Iterator<Item = (usize, usize)>) -> String {
        self.describe(pairs.filter(|&(one, other)| !self.stands(one, other)))
    }

    /// Names these pairs, as far as they run, by the members that are in most of them.
    fn describe(&self, pairs: impl Iterator<Item = (usize, usize)>) -> String {
        let mut lacking: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (one, other) in pairs.filter(|&(one, other)| self.is_running(one) && self.is_running(other)) {
            lacking.entry(one).or_default().push(other);
            lacking.entry(other).or_default().push(one);
        }
        let mut groups = Vec::new();
        // Whoever lacks most comes first, and the pairs named there are not named again.
        while let Some((&worst, _)) =
            lacking.iter().max_by_key(|(index, others)| (others.len(), usize::MAX - **index))
        {
            let Some(others) = lacking.remove(&worst) else { break };
            for other in &others {
                if let Some(back) = lacking.get_mut(other) {
                    back.retain(|&index| index != worst);
                }
            }
            lacking.retain(|_, others| !others.is_empty());
            let nodes = if others.len() == 1 { "node" } else { "nodes" };
            groups.push(format!("node {worst} with {nodes} {}", list(&others, ", ")));
        }
        list(&groups, "; ")
    }
}

/// The first few of them, and how many more there are.
pub(super) fn list(things: &[impl ToString], separator: &str) -> String {
    let shown: Vec<String> = things.iter().take(NAMES_LISTED).map(ToString::to_string).collect();
    let more = things.len() - shown.len();
    let shown = shown.join(separator);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_end_in_a_figure() {
        assert_eq!(list(&[1, 2], ", "), "1, 2");
        let many: Vec<usize> = (0..20).collect();
        assert_eq!(list(&many, ", "), "0, 1, 2, 3, 4, 5, 6, 7 and 12 more");
    }
}
