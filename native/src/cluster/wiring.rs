//! Making the links that the topology names, and dropping those it does not.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use meshground_node::DialError;
use meshground_shared::{CommandId, EventKind, NodeId, Topology};

use super::{
    ClusterError, ClusterHarness,
    attempt::Attempt,
    hearing::Dropped,
    shared::Look,
    state::{Phase, State},
};
use crate::mesh::Mesh;

/// Links that an operation waits for, by index, lower end first, in order.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    all: Vec<(usize, usize)>,
    /// The last one that was not as wanted, as far as is known.
    at: usize,
}

/// What has to be done for the wanted links to come about.
#[must_use]
#[derive(Debug)]
pub(super) struct Wiring {
    /// Who is to dial whom.
    dials: Vec<(Mesh, Vec<(SocketAddr, NodeId)>)>,
    /// Those links that were not wanted before, or are the newcomers'.
    pub(super) news: Pairs,
}

impl Pairs {
    /// Whether `holds` is true of all of them. Begins with the one that was found wanting last, so that asking again
    /// and again costs next to nothing.
    fn all(&mut self, holds: impl Fn(usize, usize) -> bool) -> bool {
        for _ in 0..self.all.len() {
            let (one, other) = self.all[self.at];
            if !holds(one, other) {
                return false;
            }
            self.at = (self.at + 1) % self.all.len();
        }
        true
    }

    pub(super) fn contains(&self, one: usize, other: usize) -> bool {
        self.all.binary_search(&(one.min(other), one.max(other))).is_ok()
    }

    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.all.iter().copied()
    }
}

impl Wiring {
    /// Lets the dials begin. Waits for nothing.
    pub(super) fn begin(&mut self) {
        for (mesh, peers) in self.dials.drain(..) {
            mesh.begin_dial_all(peers);
        }
    }
}

impl State {
    /// Looks up whom the topology links now, and who has to dial whom for that. Newcomers dial everybody they are linked
    /// with; a session between others then follows from `cause`.
    pub(super) fn wire(&mut self, is_newcomer: impl Fn(usize) -> bool, cause: Option<CommandId>) -> Wiring {
        let before = self.rewire();
        let mut wiring = Wiring { dials: Vec::new(), news: Pairs::default() };
        let mut dials: Vec<Vec<(SocketAddr, NodeId)>> = Vec::new();
        let mut links = Vec::new();
        for (one, other) in self.links.iter() {
            if !self.is_running(one) || !self.is_running(other) || self.is_held(one, other) {
                continue;
            }
            let (Some(a), Some(b)) = (self.members.get(&one), self.members.get(&other)) else { continue };
            let newcomers = (is_newcomer(one), is_newcomer(other));
            let (from, to) = match newcomers {
                (true, false) => (a, b),
                (false, true) => (b, a),
                // From one side only, and about half of its links from each node.
                _ if (one + other).is_multiple_of(2) => (a, b),
                _ => (b, a),
            };
            if dials.len() <= from.node.index {
                dials.resize_with(from.node.index + 1, Vec::new);
            }
            dials[from.node.index].push((to.node.local_addr(), to.node.node_id()));
            if newcomers == (false, false) {
                links.push((a.node.node_id(), b.node.node_id()));
            }
            if newcomers != (false, false) || !before.contains(one, other) {
                wiring.news.all.push((one, other));
            }
        }
        for (one, other) in links {
            self.causes.linked(one, other, cause);
        }
        wiring.dials = (self.members.values())
            .filter_map(|member| {
                let peers = std::mem::take(dials.get_mut(member.node.index)?);
                (!peers.is_empty()).then(|| (member.node.mesh.clone(), peers))
            })
            .collect();
        wiring
    }

    /// Of these pairs, those whose dial ran out of time: who dialed whom. On a machine out of breath it may not even have
    /// had its turn; as long as others come about, that is no reason to give it up.
    fn late_dials(&self, pairs: &Pairs) -> impl Iterator<Item = (usize, usize)> {
        let late = self.failures.iter().filter(|(_, error)| matches!(error, DialError::TimedOut { .. }));
        late.map(|(&pair, _)| pair).filter(|&(from, to)| {
            let both_run = self.is_running(from) && self.is_running(to);
            both_run && pairs.contains(from, to) && !self.is_paired(from, to)
        })
    }

    /// Has those dials begin anew.
    fn dial_late(&mut self, pairs: &Pairs) -> Wiring {
        let mut dials: BTreeMap<usize, Vec<(SocketAddr, NodeId)>> = BTreeMap::new();
        for pair in self.late_dials(pairs).collect::<Vec<_>>() {
            self.failures.remove(&pair);
            if let Some(to) = self.members.get(&pair.1) {
                dials.entry(pair.0).or_default().push((to.node.local_addr(), to.node.node_id()));
            }
        }
        let its = |(from, peers)| Some((self.members.get(&from)?.node.mesh.clone(), peers));
        let dials = dials.into_iter().filter_map(its).collect();
        Wiring { dials, news: Pairs::default() }
    }

    /// The sessions between members that the topology does not name, at each end that is up: whose, and with whom.
    fn surplus(&self) -> Vec<(Mesh, Vec<NodeId>)> {
        let its = |index: usize, peer: NodeId| {
            self.by_id(peer).is_some_and(|peer| !self.links.contains(index, peer.node.index))
        };
        let all = self.up().map(|member| {
            let index = member.node.index;
            let peers: Vec<NodeId> = member.peers().filter(|&peer| its(index, peer)).collect();
            (member.node.mesh.clone(), peers)
        });
        all.filter(|(_, peers)| !peers.is_empty()).collect()
    }

    /// Lets every session end that the topology does not name. Waits for nothing.
    pub(super) fn begin_dropping_surplus(&mut self, cause: Option<CommandId>) {
        for (mesh, peers) in self.surplus() {
            for &peer in &peers {
                self.causes.linked(mesh.node_id(), peer, cause);
            }
            // Both ends are told, so that none depends on hearing from the other.
            mesh.begin_disconnect(peers);
        }
    }
}

impl ClusterHarness {
    /// Who is linked with whom.
    pub fn topology(&self) -> Topology {
        self.shared().state().topology
    }

    /// Links the members in another way: first lets the new links come about, then drops those that are no longer
    /// wanted. Returns when all of that is done. Links of crashed and paused members come about when these are back.
    ///
    /// # Errors
    /// `Invariant` when there is no such topology; nothing changed then. `Handshake` and `Timeout` when a new link does
    /// not come about, `Timeout` also when sessions that are no longer wanted do not end, or not all know of each other
    /// without them. The topology is then the former one again, and links of it that had been dropped are dialled anew, which
    /// [`converged`](Self::converged) waits for. So it is, too, when this future is dropped before the new links stand; after
    /// that the change goes on by itself.
    /// `Shutdown`.
    pub async fn set_topology(&self, topology: Topology) -> Result<(), ClusterError> {
        topology.validate().map_err(|error| ClusterError::Invariant(error.to_string()))?;
        let shared = self.shared();
        let _turn = shared.starting.lock().await;
        let begun = std::time::Instant::now();
        let (former, mut wiring) = shared.change(|state| {
            if state.phase != Phase::Up {
                return Err(ClusterError::Shutdown);
            }
            shared.log.append(None, self.cause, EventKind::TopologyChanged { topology });
            let former = std::mem::replace(&mut state.topology, topology);
            Ok((former, state.wire(|_| false, self.cause)))
        })?;
        wiring.begin();
        let mut attempt = Attempt::rewiring(shared, former, self.cause);
        let outcome = async {
            self.settle(wiring.news, Some(&attempt)).await?;
            attempt.stays();
            self.tidy_up(Dropped::default()).await
        };
        let outcome = outcome.await;
        attempt.finish(outcome).await?;
        self.log_convergence(begun);
        Ok(())
    }

    /// Waits until every one of these links stands, as far as both its ends run, and all whom links connect know of each
    /// other, within the configured budgets.
    pub(super) async fn settle(
        &self,
        mut pairs: Pairs,
        attempt: Option<&Attempt<'_>>,
    ) -> Result<(), ClusterError> {
        let shared = self.shared();
        let config = &shared.config;
        let interrupted = |state: &State| interrupted(state, attempt);
        let out = |state: &State, one, other| !state.is_running(one) || !state.is_running(other);

        let budget = config.handshake_timeout;
        loop {
            let paired = shared.watch(budget, |state| {
                if let Some(error) = interrupted(state).or_else(|| state.hopeless(&pairs)) {
                    return Look::Done(Err(error));
                }
                if pairs.all(|one, other| state.is_paired(one, other) || out(state, one, other)) {
                    return Look::Done(Ok(true));
                }
                if state.late_dials(&pairs).next().is_some() {
                    return Look::Done(Ok(false));
                }
                Look::Waiting { progress: state.tally().paired }
            });
            let paired = paired.await.unwrap_or_else(|| {
                let missing = shared.state().describe_unpaired(pairs.iter());
                Err(timeout(format!("no session came about: {missing}"), budget))
            })?;
            if paired {
                break;
            }
            // A dial has longer than this budget. So whoever gets here has got on within it, and who does not get on now
            // does not get here again.
            shared.change(|state| state.dial_late(&pairs)).begin();
        }

        let budget = config.mesh_session_stable_timeout;
        let stable = shared.watch(budget, |state| {
            if let Some(error) = interrupted(state) {
                return Look::Done(Err(error));
            }
            if pairs.all(|one, other| state.stands(one, other) || out(state, one, other)) {
                return Look::Done(Ok(()));
            }
            // The whole phase has one budget, so nothing counts as progress.
            Look::Waiting { progress: 0 }
        });
        let stable = stable.await;
        stable.unwrap_or_else(|| {
            let missing = shared.state().describe_unseen(pairs.iter());
            Err(timeout(format!("not all nodes see each other Healthy: {missing}"), budget))
        })?;
        self.get_acquainted(attempt).await?;

        self.mutually_seen(pairs.iter(), interrupted).await
    }

    /// Waits until all whom links of running members connect know what each other can do, and have ways to each other.
    /// However many there are and however far apart, only a standstill of a whole budget ends that.
    pub(super) async fn get_acquainted(&self, attempt: Option<&Attempt<'_>>) -> Result<(), ClusterError> {
        let shared = self.shared();
        let budget = shared.config.mesh_session_stable_timeout;
        let acquainted = shared.watch(budget, |state| {
            if let Some(error) = interrupted(state, attempt) {
                return Look::Done(Err(error));
            }
            if state.is_acquainted() {
                return Look::Done(Ok(()));
            }
            Look::Waiting { progress: state.acquaintances() }
        });
        acquainted.await.unwrap_or_else(|| {
            let missing = shared.state().describe_strangers();
            Err(timeout(format!("not all nodes know of each other: {missing}"), budget))
        })
    }

    /// After links have been made: drops those in whose place they are, and waits until all know of each other without
    /// them, and without those that are `gone` already.
    pub(super) async fn tidy_up(&self, mut gone: Dropped) -> Result<(), ClusterError> {
        gone.add(self.shared().state().surplus());
        self.drop_surplus().await?;
        self.get_acquainted(None).await?;
        self.hear_of(&gone).await
    }

    /// Drops every session that the topology does not name, and waits for that.
    pub(super) async fn drop_surplus(&self) -> Result<(), ClusterError> {
        let shared = self.shared();
        if shared.state().surplus().is_empty() {
            return Ok(());
        }
        shared.change(|state| state.begin_dropping_surplus(self.cause));
        let budget = shared.config.mesh_session_stable_timeout;
        let mut first = None;
        let dropped = shared.watch(budget, |state| {
            let left = state.surplus();
            let left: usize =
                left.iter().filter(|(mesh, _)| !mesh.is_paused()).map(|(_, peers)| peers.len()).sum();
            let first = *first.get_or_insert(left);
            match left {
                0 => Look::Done(()),
                left => Look::Waiting { progress: first.saturating_sub(left) },
            }
        });
        let late = || timeout("sessions that are no longer wanted do not end".to_owned(), budget);
        dropped.await.ok_or_else(late)
    }

    /// Lets every wanted link be dialled anew that has no session at one of its ends. Waits for nothing.
    pub(super) fn redial(&self) {
        self.shared().change(|state| state.wire(|_| false, self.cause)).begin();
    }
}

/// Why waiting is pointless, if it is.
fn interrupted(state: &State, attempt: Option<&Attempt<'_>>) -> Option<ClusterError> {
    match attempt {
        Some(attempt) => attempt.interrupted(state),
        None => (state.phase != Phase::Up).then_some(ClusterError::Shutdown),
    }
}

pub(super) fn timeout(what: String, budget: Duration) -> ClusterError {
    ClusterError::Timeout { what, budget_ms: u64::try_from(budget.as_millis()).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use meshground_shared::LinkFault;

    use super::*;
    use crate::{cluster::ClusterConfig, faults::FaultTable};

    #[tokio::test]
    async fn a_dial_that_ran_out_of_time_is_dialled_again_by_whoever_waits_for_its_link() {
        let budget = Duration::from_secs(2);
        let config = ClusterConfig { handshake_timeout: budget, ..ClusterConfig::default() };
        let cluster = ClusterHarness::with_config(2, config).await.unwrap();
        let [from, to] = [0, 1].map(|index| cluster.nth(index).unwrap());
        let shared = cluster.shared();
        from.mesh().disconnect(to.node_id()).await.unwrap();
        to.mesh().disconnect(from.node_id()).await.unwrap();
        // Nothing that it sends arrives. Behind the cluster's back, which has links dialled anew when a cut is healed.
        from.mesh().set_faults([(to.local_addr(), LinkFault::CUT)].into_iter().collect());
        from.mesh().begin_dial_all(vec![(to.local_addr(), to.node_id())]);
        let late = shared.watch(Duration::from_secs(30), |state| match state.failures.get(&(0, 1)) {
            Some(error) => Look::Done(error.clone()),
            None => Look::Waiting { progress: 0 },
        });
        assert!(matches!(late.await, Some(DialError::TimedOut { .. })));
        assert_eq!((from.mesh().peer_count(), to.mesh().peer_count()), (0, 0));

        // Nobody dials but whoever waits for the link.
        from.mesh().set_faults(FaultTable::new());
        cluster.settle(Pairs { all: vec![(0, 1)], at: 0 }, None).await.unwrap();
        assert!(cluster.health().fully_converged());
        cluster.shutdown().await.unwrap();
    }

    #[test]
    fn all_is_said_only_when_every_pair_is_as_wanted_at_the_same_time() {
        let mut pairs = Pairs { all: vec![(0, 1), (0, 2), (1, 2)], at: 0 };
        assert!(!pairs.all(|one, other| (one, other) != (1, 2)));
        assert!(!pairs.all(|one, other| (one, other) != (0, 1)), "one that was fine is looked at again");
        assert!(pairs.all(|_, _| true));
        assert!(pairs.contains(2, 1) && !pairs.contains(1, 1));
        assert!(Pairs::default().all(|_, _| false));
    }
}
