//! Making things go wrong on links.

use std::collections::BTreeSet;

use meshground_shared::{CommandId, EventKind, FaultyLink, LinkFault, NodeId};

use super::{
    ClusterError, ClusterHarness,
    shared::Shared,
    state::{Phase, State},
};

impl ClusterHarness {
    /// From here on, this happens to the datagrams that `from` sends to `to`, in place of what did;
    /// [`LinkFault::default`] ends it. What comes back is a link of its own. A fault outlives restarts of both ends,
    /// under whichever identity, and goes when one of them is shut down.
    ///
    /// It need not be a link that the topology names. Health changes that follow carry this handle's command as cause.
    ///
    /// # Errors
    /// `Invariant` when a figure is out of range, or one of them is no member, or both are the same; nothing changed
    /// then. `Shutdown`.
    pub fn set_link_fault(&self, from: NodeId, to: NodeId, fault: LinkFault) -> Result<(), ClusterError> {
        self.spoil(&[(from, to)], |_| fault)
    }

    /// Cuts every link between two groups of members, both ways; whatever else happens on them is kept for when they
    /// are healed.
    ///
    /// # Errors
    /// `Invariant` when somebody is no member, or is on both sides; nothing changed then. `Shutdown`.
    pub fn partition(&self, one: &[NodeId], other: &[NodeId]) -> Result<(), ClusterError> {
        // Whoever names a member many times means it once: named pair by pair, a list could grow beyond all memory.
        let [one, other] = [one, other].map(|side| side.iter().copied().collect::<BTreeSet<NodeId>>());
        let links: Vec<_> =
            one.iter().flat_map(|&a| other.iter().flat_map(move |&b| [(a, b), (b, a)])).collect();
        self.spoil(&links, |fault| LinkFault { cut: true, ..fault })
    }

    /// Ends every fault there is.
    ///
    /// # Errors
    /// `Shutdown`.
    pub fn clear_faults(&self) -> Result<(), ClusterError> {
        let shared = self.shared();
        shared.change(|state| {
            if state.phase != Phase::Up {
                return Err(ClusterError::Shutdown);
            }
            let all: Vec<(usize, usize)> = state.faults.keys().copied().collect();
            for ends in all {
                shared.log_fault(state, ends, LinkFault::default(), self.cause);
            }
            state.expect_acquaintance();
            Ok(())
        })?;
        self.redial();
        Ok(())
    }

    /// Every fault there is, in order of its ends' ids.
    pub fn faults(&self) -> Vec<FaultyLink> {
        self.shared().log.with_snapshot(|snapshot| snapshot.faults().collect())
    }

    /// Changes what happens on all of these links, or on none.
    fn spoil(
        &self,
        links: &[(NodeId, NodeId)],
        change: impl Fn(LinkFault) -> LinkFault,
    ) -> Result<(), ClusterError> {
        let shared = self.shared();
        let mended = shared.change(|state| {
            if state.phase != Phase::Up {
                return Err(ClusterError::Shutdown);
            }
            let mut changes = Vec::with_capacity(links.len());
            for &(from, to) in links {
                let ends = (state.expect_member(from)?.node.index, state.expect_member(to)?.node.index);
                if from == to {
                    return Err(ClusterError::Invariant(format!(
                        "{from} has no link with itself to spoil; name two nodes"
                    )));
                }
                let fault = change(state.faults.get(&ends).copied().unwrap_or_default());
                fault.validate().map_err(|error| ClusterError::Invariant(error.to_string()))?;
                changes.push((ends, fault));
            }
            let mended = changes.iter().any(|(_, fault)| !fault.cut);
            for (ends, fault) in changes {
                shared.log_fault(state, ends, fault, self.cause);
            }
            state.expect_acquaintance();
            Ok(mended)
        })?;
        if mended {
            // A peer may have been forgotten while nothing came through.
            self.redial();
        }
        Ok(())
    }
}

impl Shared {
    /// Changes what happens on a link between two members, if that is a change, and says so in the log.
    fn log_fault(&self, state: &mut State, ends: (usize, usize), fault: LinkFault, cause: Option<CommandId>) {
        let (Some(from), Some(to)) = (state.members.get(&ends.0), state.members.get(&ends.1)) else { return };
        let (mesh, from, peer) = (from.node.mesh.clone(), from.node.node_id(), to.node.node_id());
        let fault = (!fault.is_none()).then_some(fault);
        let before = match fault {
            Some(fault) => state.faults.insert(ends, fault),
            None => state.faults.remove(&ends),
        };
        if before == fault {
            return;
        }
        state.causes.linked(from, peer, cause);
        self.log.append(Some(from), cause, EventKind::FaultChanged { peer, fault });
        mesh.set_faults(state.fault_table(ends.0));
    }
}
