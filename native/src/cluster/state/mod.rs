//! Who is a member, and who sees whom: what every barrier is decided by.
//!
//! Kept up to date by the nodes' own events, and always in step with the event log: both change under one lock. A few
//! counts are carried along, so that asking whether a cluster has converged costs nothing however big it is.

mod links;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::{Add, Sub},
};

use meshground_node::{DialError, Identity};
use meshground_shared::{CommandId, Health, LinkFault, Links, NodeId, NodeState, StopReason, Topology};

use super::{ClusterError, ClusterNode, acquaintance::Acquaintance, causes::Causes};
use crate::mesh::Mesh;
pub(super) use trouble::list;

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
    pub(super) leaving: BTreeMap<(usize, u64), Leaving>,
    /// What ran when the cluster began to stop.
    pub(super) stopping: Vec<Mesh>,
    /// Why a boot came to nothing, once it has.
    pub(super) failed: Option<String>,
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

/// A former member on its way out.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Kept, as the last handle to go aborts the task.
    pub(super) _mesh: Mesh,
    /// How it will have gone.
    pub(super) reason: StopReason,
    /// The command behind it.
    pub(super) cause: Option<CommandId>,
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
            failed: None,
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
        self.by_id(id).ok_or_else(|| ClusterError::Invariant(format!("no member has the id {id}; check it")))
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
        let (is, remedy) = match (member.state == wanted, member.told, wanted) {
            (true, None, _) => {
                return self.members.get_mut(&index).ok_or(ClusterError::Shutdown);
            }
            (true, Some(_), _) => ("is just being", "wait until it is"),
            (false, _, NodeState::Running) => ("is paused and cannot be", "resume it first"),
            (false, _, _) => ("runs and cannot be", "pause it first"),
        };
        Err(ClusterError::Invariant(format!("node {index} ({id}) {is} {verb}; {remedy}")))
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
}
