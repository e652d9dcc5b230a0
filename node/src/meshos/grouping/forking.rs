//! Forks: a parent's state, signed by its host, and fetched by theirs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use meshground_shared::{DaemonId, GroupId, NodeId};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        MeshOs, Settlement, Ticket,
        desk::{Asked, FORK, STATE, answer},
    },
    asking::Wanted,
};
use crate::{
    compute::{
        Luggage, NoState,
        groups::{Entry, ForkPoint, GroupError, Lineage, root},
    },
    daemon::MAX_STATE,
    node::Node,
    rpc::{CallError, CallId},
    time::{Instant, Now},
    wire::{self, PIECE},
};

/// So many bytes of a state are asked for first; twice as many each time that went well.
const FIRST_PIECE: usize = 64 << 10;

/// And so many after it went wrong: where little gets through, little is asked for.
const SMALL_PIECE: usize = 8 << 10;

/// The most bytes of states kept for forks.
pub(super) const MAX_KEPT: usize = 4 * MAX_STATE;

/// The most who wait for one daemon's state to be signed.
const MAX_SIGNING: usize = 256;

/// A state is kept so long for a group that is not known yet.
const UNCLAIMED: Duration = Duration::from_secs(30);

/// Why there is no fork, as it travels.
const NO_STATE: &str = "it has no state that could be taken, or does not run";
const TOO_LARGE: &str = "its state is too large to be taken";
const TOO_MANY: &str = "more wait for it to be forked than may";
const TOO_FULL: &str = "its node keeps too many states already";

/// What forks need.
#[derive(Debug, Default)]
pub(super) struct Forks {
    /// States, by their hash.
    kept: BTreeMap<[u8; 32], Kept>,
    fetches: BTreeMap<[u8; 32], Fetch>,
    /// Who waits for a daemon's state to be signed.
    signing: BTreeMap<DaemonId, Vec<(Whom, [u8; 32])>>,
    /// Groups that wait for theirs.
    waiting: BTreeMap<GroupId, (Ticket, Entry)>,
}

impl Forks {
    /// How many bytes of states there are, those on their way included.
    pub(super) fn kept_bytes(&self) -> usize {
        let kept: usize = self.kept.values().map(|kept| kept.state.len()).sum();
        kept + self.fetches.values().map(|fetch| fetch.got.len()).sum::<usize>()
    }

    #[cfg(feature = "floor")]
    pub(super) fn fetches(&self) -> usize {
        self.fetches.len()
    }

    /// Whether there is nothing to let go of.
    pub(super) fn is_idle(&self) -> bool {
        self.kept.is_empty() && self.fetches.is_empty()
    }

    /// When a state has been kept for as long as it is without a group.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.kept.values().map(|kept| kept.since + UNCLAIMED).filter(|at| *at > now).min()
    }
}

#[derive(Debug)]
struct Kept {
    state: Arc<[u8]>,
    since: Instant,
}

/// A state on its way here.
#[derive(Debug)]
struct Fetch {
    got: Vec<u8>,
    /// How many bytes are asked for next.
    piece: usize,
    is_asking: bool,
    /// Counts the nodes asked in vain.
    failures: usize,
}

/// Who is told.
#[derive(Debug)]
enum Whom {
    /// A group of this node.
    Here(GroupId),
    Call(CallId),
}

/// What [`FORK`] asks.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::meshos) struct ForkQuestion {
    parent: u64,
    root: [u8; 32],
}

/// What [`STATE`] asks; the answer is a piece of the state, or none.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::meshos) struct StateQuestion {
    hash: [u8; 32],
    offset: u64,
    most: u64,
}

impl MeshOs {
    /// The proof of whom a fork was made of, if there is such a fork.
    pub fn lineage(&self, group: GroupId, index: u32) -> Option<Lineage> {
        let entry = self.groups.ledger.get(group).filter(|entry| entry.places().contains(&index))?;
        Some(entry.spec.fork.as_ref()?.lineage(&entry.spec.seed, index))
    }

    /// Has the parent's host sign its state; then the group begins.
    pub(super) fn spawn_forks(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        entry: Entry,
        parent: DaemonId,
    ) -> Result<Ticket, GroupError> {
        let at = self.host_of(parent).ok_or(GroupError::ParentNotFound(parent))?;
        let (ticket, root) = (self.issue(), root(&entry.spec.seed));
        self.groups.forks.waiting.insert(group, (ticket, entry));
        if at == self.local {
            self.sign_fork(now, node, parent, Whom::Here(group), root);
        } else {
            let body = wire::encode(&ForkQuestion { parent: parent.0, root });
            self.ask(now, node, at, FORK, body, Asked::Fork { group });
        }
        self.settle(now, node);
        Ok(ticket)
    }

    /// Another node wants forks of a daemon here.
    pub(in super::super) fn on_fork(&mut self, now: Now, node: &mut Node, call: CallId, body: &[u8]) {
        match wire::decode::<ForkQuestion>(body) {
            Ok(ForkQuestion { parent, root }) => {
                self.sign_fork(now, node, DaemonId(parent), Whom::Call(call), root);
            }
            Err(_) => _ = node.end_reply(now, call, Err(CallError::Malformed)),
        }
    }

    fn sign_fork(&mut self, now: Now, node: &mut Node, parent: DaemonId, whom: Whom, root: [u8; 32]) {
        if self.groups.forks.signing.get(&parent).is_some_and(|signing| signing.len() >= MAX_SIGNING) {
            self.forked(now, node, &whom, Err(TOO_MANY));
        } else if self.registry.take_state(parent, false) {
            self.groups.forks.signing.entry(parent).or_default().push((whom, root));
        } else {
            self.forked(now, node, &whom, Err(NO_STATE));
        }
    }

    /// A daemon's state was taken: whoever waits for forks of it gets them. It is one moment for all who asked.
    pub(in super::super) fn offer_state(
        &mut self,
        now: Now,
        node: &mut Node,
        id: DaemonId,
        luggage: Result<&Luggage, NoState>,
    ) {
        self.rebase(now, node, id, luggage.ok());
        let Some(signing) = self.groups.forks.signing.remove(&id) else { return };
        let keypair = self.registry.get(id).map(|instance| instance.keypair.clone());
        let taken = luggage.and_then(|luggage| Ok((luggage, keypair.ok_or(NoState::Down)?)));
        for (whom, root) in signing {
            let outcome = match &taken {
                Err(NoState::TooLarge(_)) => Err(TOO_LARGE),
                Err(_) => Err(NO_STATE),
                Ok((luggage, _)) if self.kept_bytes() + luggage.state.len() > MAX_KEPT => Err(TOO_FULL),
                Ok((luggage, keypair)) => {
                    let (state, processed) = (&luggage.state, luggage.processed);
                    let point = ForkPoint::sign(keypair, processed, state, self.local.0, &root);
                    self.keep_state(now.instant, point.state_hash, state.as_slice().into());
                    Ok(point)
                }
            };
            self.forked(now, node, &whom, outcome);
        }
    }

    fn forked(&mut self, now: Now, node: &mut Node, whom: &Whom, outcome: Result<ForkPoint, &'static str>) {
        match *whom {
            Whom::Here(group) => self.begin_forks(now, group, outcome.map_err(str::to_owned)),
            Whom::Call(call) => {
                answer(now, node, call, &wire::encode(&outcome.map_err(str::to_owned)));
            }
        }
    }

    /// What came of asking the parent's host.
    pub(in super::super) fn on_forked(
        &mut self,
        now: Now,
        group: GroupId,
        said: &Result<Vec<u8>, CallError>,
    ) {
        let outcome = match said.as_ref().map(|body| wire::decode::<Result<ForkPoint, String>>(body)) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("its node gave no answer that could be read".to_owned()),
            Err(error) => Err(format!("its node did not answer: {error}")),
        };
        self.begin_forks(now, group, outcome);
    }

    fn begin_forks(&mut self, now: Now, group: GroupId, outcome: Result<ForkPoint, String>) {
        let Some((ticket, mut entry)) = self.groups.forks.waiting.remove(&group) else { return };
        let error = match outcome {
            // Frozen since it was asked for: nobody is placed.
            _ if self.is_frozen() => GroupError::Frozen,
            Ok(point) => {
                entry.spec.fork = Some(point);
                if self.groups.ledger.add(group, entry) {
                    return self.wait_for(now, ticket, group, Wanted::Spawn);
                }
                GroupError::TooMany
            }
            Err(why) => GroupError::TimedOut(format!("the parent was not forked: {why}")),
        };
        self.settled(ticket, Settlement::Group(Err(error)));
    }

    /// The state that a group's forks begin with, if it is here; if it is not, it is fetched.
    pub(super) fn fork_state(
        &mut self,
        now: Now,
        node: &mut Node,
        entry: &Entry,
        point: &ForkPoint,
    ) -> Option<Arc<[u8]>> {
        if let Some(kept) = self.groups.forks.kept.get(&point.state_hash) {
            return Some(Arc::clone(&kept.state));
        }
        let forks = &self.groups.forks;
        let own = forks.fetches.get(&point.state_hash).map_or(0, |fetch| fetch.got.len());
        let others = forks.kept_bytes() - own;
        let too_much =
            usize::try_from(point.state_len).map_or(true, |len| len > MAX_STATE || others + len > MAX_KEPT);
        if !too_much {
            self.fetch(now, node, entry, point);
        }
        None
    }

    /// Asks for the next piece of a state.
    fn fetch(&mut self, now: Now, node: &mut Node, entry: &Entry, point: &ForkPoint) {
        let mut sources = vec![NodeId(point.source)];
        sources.extend(entry.hosts().map(|(_, host)| host));
        sources.retain(|source| *source != self.local && self.groups.is_here(*source));
        let fetch = self.groups.forks.fetches.entry(point.state_hash);
        let begun = Fetch { got: Vec::new(), piece: FIRST_PIECE, is_asking: false, failures: 0 };
        let fetch = fetch.or_insert(begun);
        if fetch.is_asking || sources.is_empty() {
            return;
        }
        fetch.is_asking = true;
        let source = sources[fetch.failures % sources.len()];
        let hash = point.state_hash;
        let (offset, most) = (fetch.got.len() as u64, fetch.piece as u64);
        let body = wire::encode(&StateQuestion { hash, offset, most });
        self.ask(now, node, source, STATE, body, Asked::State { hash });
    }

    /// Another node wants a piece of a state.
    pub(in super::super) fn on_state(&mut self, now: Now, node: &mut Node, call: CallId, body: &[u8]) {
        let Ok(StateQuestion { hash, offset, most }) = wire::decode::<StateQuestion>(body) else {
            _ = node.end_reply(now, call, Err(CallError::Malformed));
            return;
        };
        let piece = self.groups.forks.kept.get(&hash).and_then(|kept| {
            let rest = kept.state.get(usize::try_from(offset).ok()?..)?;
            let most = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
            Some(rest[..rest.len().min(most)].to_vec())
        });
        answer(now, node, call, &wire::encode(&piece));
    }

    /// A piece of a state came, or did not.
    pub(in super::super) fn on_piece(
        &mut self,
        now: Now,
        node: &mut Node,
        hash: [u8; 32],
        said: Result<Vec<u8>, CallError>,
    ) {
        let found = self.groups.ledger.iter().find_map(|(_, entry)| {
            let point = entry.spec.fork.as_ref().filter(|point| point.state_hash == hash)?;
            Some((entry.clone(), point.clone()))
        });
        let Some((entry, point)) = found else {
            // Its group is no more.
            self.groups.forks.fetches.remove(&hash);
            return;
        };
        let held = self.kept_bytes();
        let Some(fetch) = self.groups.forks.fetches.get_mut(&hash) else { return };
        fetch.is_asking = false;
        let piece = said.ok().and_then(|body| wire::decode::<Option<Vec<u8>>>(&body).ok().flatten());
        match piece {
            // Others came at the same time. The next look begins anew if there is room.
            Some(piece) if held + piece.len() > MAX_KEPT => _ = self.groups.forks.fetches.remove(&hash),
            Some(piece) if (fetch.got.len() + piece.len()) as u64 <= point.state_len => {
                let is_empty = piece.is_empty();
                fetch.got.extend_from_slice(&piece);
                if fetch.got.len() as u64 == point.state_len {
                    let got = std::mem::take(&mut fetch.got);
                    if Lineage::state_hash(&got) == hash {
                        self.groups.forks.fetches.remove(&hash);
                        self.keep_state(now.instant, hash, got.into());
                        self.groups.dirty = true;
                    } else {
                        // Somebody gave something else. Another may not.
                        fetch.failures += 1;
                    }
                } else if is_empty {
                    fetch.failures += 1;
                } else {
                    fetch.piece = (fetch.piece * 2).min(PIECE);
                    self.fetch(now, node, &entry, &point);
                }
            }
            // The next look asks another.
            _ => {
                fetch.failures += 1;
                fetch.piece = SMALL_PIECE;
            }
        }
    }

    fn kept_bytes(&self) -> usize {
        self.groups.forks.kept_bytes()
    }

    fn keep_state(&mut self, now: Instant, hash: [u8; 32], state: Arc<[u8]>) {
        self.groups.forks.kept.insert(hash, Kept { state, since: now });
        // Also where no group is known, and none may come.
        self.groups.look_by(now + UNCLAIMED);
    }

    /// Lets go of states that nobody will begin with.
    pub(super) fn tidy_states(&mut self, now: Instant) {
        let (ledger, local) = (&self.groups.ledger, self.local);
        let is_wanted = |hash: &[u8; 32]| {
            ledger.iter().any(|(_, entry)| {
                let point = entry.spec.fork.as_ref().filter(|point| point.state_hash == *hash);
                point.is_some_and(|point| {
                    point.source == local.0 || entry.hosts().any(|(_, host)| host == local)
                })
            })
        };
        let forks = &mut self.groups.forks;
        forks.kept.retain(|hash, kept| now.saturating_since(kept.since) < UNCLAIMED || is_wanted(hash));
        forks.fetches.retain(|hash, _| is_wanted(hash));
    }

    /// A fork crashed: it begins again where it began.
    pub(in super::super) fn refit(&mut self, id: DaemonId) {
        let Some(place) = self.registry.get(id).and_then(|instance| instance.member) else { return };
        let entry = self.groups.ledger.get(place.group);
        let Some(point) = entry.and_then(|entry| entry.spec.fork.as_ref()) else { return };
        if let (Some(kept), Some(instance)) =
            (self.groups.forks.kept.get(&point.state_hash), self.registry.get_mut(id))
        {
            instance.begin_with(kept.state.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::testing::{alone, at, call_of, with_a_daemon},
        *,
    };

    #[test]
    fn a_state_for_a_group_that_never_comes_is_let_go_where_there_is_no_group() {
        let (mut os, mut node) = alone();
        os.keep_state(at(1).instant, [7; 32], vec![1; 10].into());
        let mut now = at(1);
        while now.instant < at(31).instant {
            assert_eq!(os.kept_bytes(), 10);
            let due = os.poll_timeout().expect("it ticks").max(now.instant + Duration::from_millis(1));
            now.instant = due.min(at(31).instant);
            os.handle_timeout(now, &mut node);
        }
        assert_eq!(os.kept_bytes(), 0);
        assert_eq!(os.groups.poll_timeout(), None);
    }

    #[test]
    fn a_state_without_a_group_has_the_time_named_when_it_is_let_go() {
        let (mut os, mut node) = alone();
        os.keep_state(at(1).instant, [7; 32], vec![1; 10].into());
        assert_eq!(os.groups.poll_timeout(), Some(at(31).instant));
        os.groups.stir();
        os.settle(at(2), &mut node);
        assert_eq!((os.kept_bytes(), os.groups.poll_timeout()), (10, Some(at(31).instant)));
    }

    #[test]
    fn no_more_wait_for_a_daemon_to_be_forked_than_may() {
        let (mut os, mut node, parent) = with_a_daemon();
        let body = wire::encode(&ForkQuestion { parent: parent.0, root: [1; 32] });
        for number in 0..=MAX_SIGNING as u64 {
            os.on_fork(at(0), &mut node, call_of(NodeId(77), number), &body);
        }
        assert_eq!(os.groups.forks.signing[&parent].len(), MAX_SIGNING);
    }
}
