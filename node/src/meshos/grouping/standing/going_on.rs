//! Whether a node that is to do the work of a standby group may go on with what it holds, and whom it asks before.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::{GroupId, NodeId};

use super::{
    super::super::{
        MeshOs,
        desk::{Asked, POLL},
    },
    HANDOVER,
    taking::{Question, read},
};
use crate::{
    compute::groups::{Census, Entry, Incarnation, Journal},
    node::Node,
    rpc::CallError,
    time::Now,
    wire,
};

/// Whoever does not answer is asked again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// What a node that is to go on with what it holds has to do first.
enum Step {
    /// Nothing: all that the one before it did is here, and was left to it.
    GoOn,
    /// To wait: for the last of what the one before it did, or for somebody who has taken over meanwhile or is to.
    Wait,
    /// To be one of those who take over: it is none yet.
    Supersede,
    /// To ask those who were in sync, who listen no more to the one before it then.
    Ask,
}

impl MeshOs {
    /// Whether this node may go on as this incarnation, for which it has `waited` so long. If not it does what there is to do for
    /// that.
    pub(super) fn may_go_on(
        &mut self,
        now: Now,
        node: &mut Node,
        group: GroupId,
        of: Incarnation,
        waited: Duration,
    ) -> bool {
        let journal = self.groups.standbys.journals.get(&group);
        let Some(journal) = journal.filter(|journal| journal.base().is_some()) else {
            return self.may_begin_anew(now, node, group, of.generation);
        };
        match self.step(group, journal, of, waited) {
            Step::GoOn => true,
            Step::Wait => false,
            Step::Supersede => {
                self.supersede(group);
                false
            }
            Step::Ask => self.holds_most(now, node, group),
        }
    }

    fn step(&self, group: GroupId, journal: &Journal, of: Incarnation, waited: Duration) -> Step {
        let begun = self.groups.ledger.get(group).map_or(0, |entry| entry.begun);
        let is_new = begun < of.generation;
        let source = journal.of.node;
        let life = self.directory.get(source).map(|inventory| inventory.life);
        let is_still_there =
            life == Some(journal.life) && source != self.local && self.groups.is_here(source);
        let more_may_come = is_still_there && !journal.sealed && waited < HANDOVER;
        if journal.of > of {
            // Somebody took over since, and the ledger says so.
            Step::Wait
        } else if is_new && journal.is_handed_over(of, self.life) {
            Step::GoOn
        } else if more_may_come || journal.is_fenced(of) {
            // Whoever has asked in order to go on may do so already, with what it was told is here.
            Step::Wait
        } else if is_new && of.has_taken_over() {
            Step::Ask
        } else {
            Step::Supersede
        }
    }

    /// Whether none of those who were in sync holds more than this node, or knows who may. Asks those who have not said.
    fn holds_most(&mut self, now: Now, node: &mut Node, group: GroupId) -> bool {
        let (own, all) = (self.holding(group), self.all_nodes(group));
        let upto = own.upto;
        let Some(taking) = self.groups.standbys.taking.get_mut(&group) else { return false };
        taking.census.say(self.local, own);
        let parted = &self.groups.standbys.parted;
        let missing = taking.census.missing(&all, |node| parted.contains(&node));
        if missing.is_empty() {
            // Otherwise whoever looks after the group finds somebody else.
            return taking.census.holders().all(|(_, theirs)| Some(theirs) <= upto);
        }
        self.claim(now, node, group, missing);
        false
    }

    /// This node is to go on, and it is not by a hand-over: it is to come after all that others may do who do not hear of it.
    fn supersede(&mut self, group: GroupId) {
        let (Some(entry), Some(taking)) =
            (self.groups.ledger.get_mut(group), self.groups.standbys.taking.get_mut(&group))
        else {
            return;
        };
        let before = entry.slot(0);
        entry.place(0, Some(self.local));
        self.groups.dirty |= entry.slot(0) != before;
        // What others said before does not bind them to this one.
        (taking.of, taking.census) = (entry.slot(0).incarnation(), Census::default());
        taking.asked.clear();
    }

    /// Whether this node, which holds nothing of a group, may begin its daemon from nothing: there was none yet, or all have
    /// been asked and none holds anything. It may have held something when it was chosen, and crashed since.
    fn may_begin_anew(&mut self, now: Now, node: &mut Node, group: GroupId, generation: u64) -> bool {
        let begun = self.groups.ledger.get(group).map_or(0, |entry| entry.begun);
        if begun == 0 || generation <= begun {
            return true;
        }
        let (own, all) = (self.holding(group), self.all_nodes(group));
        let Some(taking) = self.groups.standbys.taking.get_mut(&group) else { return false };
        taking.census.say(self.local, own);
        let parted = &self.groups.standbys.parted;
        let mut missing = taking.census.missing(&all, |node| parted.contains(&node));
        missing.extend(all.into_iter().filter(|host| !taking.census.has(*host) && !parted.contains(host)));
        if missing.is_empty() {
            return taking.census.holders().next().is_none();
        }
        self.claim(now, node, group, missing);
        false
    }

    /// All nodes that may hold something of a group: those met, and those it is placed on, whom one that has just begun may
    /// not have met yet.
    pub(super) fn all_nodes(&self, group: GroupId) -> BTreeSet<NodeId> {
        let placed = self.groups.ledger.get(group).map(Entry::hosts).into_iter().flatten();
        self.groups.presence.keys().copied().chain(placed.map(|(_, host)| host)).collect()
    }

    /// Asks these what they hold of a group that this node is to go on with, and to listen to nobody before it.
    fn claim(&mut self, now: Now, node: &mut Node, group: GroupId, whom: BTreeSet<NodeId>) {
        let Some(taking) = self.groups.standbys.taking.get_mut(&group) else { return };
        let generation = taking.of.generation;
        let mut questions = Vec::new();
        for host in whom {
            let is_due = taking.asked.get(&host).is_none_or(|at| now.instant.saturating_since(*at) >= AGAIN);
            if is_due {
                taking.asked.insert(host, now.instant);
                questions.push(host);
            }
        }
        for host in questions {
            let question: Question = (group.0, Some(generation));
            let asked = Asked::Claim { group, host, generation };
            self.ask(now, node, host, POLL, wire::encode(&question), asked);
        }
    }

    /// Somebody says what it holds of a group that this node is to go on with.
    pub(in crate::meshos) fn on_claimed(
        &mut self,
        group: GroupId,
        host: NodeId,
        generation: u64,
        said: &Result<Vec<u8>, CallError>,
    ) {
        let Some(taking) = self.groups.standbys.taking.get_mut(&group) else { return };
        let Some(holding) = read(said).filter(|_| taking.of.generation == generation) else { return };
        taking.census.say(host, holding);
        self.groups.dirty = true;
    }
}
