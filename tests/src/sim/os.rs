//! The system above the transport, in the simulator: every member's [`MeshOs`], and the jobs it gives out.

use std::{cell::Cell, collections::BTreeMap, fmt, sync::Arc, time::Duration};

use meshground_node::{
    Instant, Job, MeshOs, MeshOsConfig, Node, NodeEvent, Now, OsEvent, Settlement, Ticket,
};
use rand_chacha::rand_core::RngCore;

use super::Network;

/// The longest a job takes, in virtual microseconds.
const LONGEST_JOB_US: u64 = 3_000;

/// After so long it is seen whether a member that stands still goes on.
const STILL: Duration = Duration::from_millis(1);

/// Makes a member's part of the system, at each of its starts.
type Equip = Arc<dyn Fn(&Node, [u8; 32], Now) -> MeshOs>;

/// A member's part of the system.
#[derive(Default)]
pub struct OsSide {
    equip: Option<Equip>,
    /// It; `None` while the member is crashed or not equipped.
    pub os: Option<MeshOs>,
    /// Everything it told, in order, with the virtual time.
    pub events: Vec<(Instant, OsEvent)>,
    /// Counts its lives, so that no job of one comes back to another.
    life: u64,
}

impl fmt::Debug for OsSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsSide").field("os", &self.os).finish_non_exhaustive()
    }
}

/// The jobs under way: when each is done, whose it is, and in which of its lives.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    under_way: BTreeMap<(Instant, u64), (usize, u64, Job)>,
    count: u64,
}

impl Jobs {
    /// When the next is done.
    pub(super) fn next(&self) -> Option<Instant> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }
}

impl OsSide {
    /// Its member starts.
    pub(super) fn begin(&mut self, node: &Node, seed: [u8; 32], now: Now) {
        self.life += 1;
        self.os = self.equip.as_ref().map(|equip| equip(node, seed, now));
    }

    /// Its member is gone.
    pub(super) fn end(&mut self) {
        self.life += 1;
        self.os = None;
    }

    /// Lets it hear what its node told. What is none of its business comes back.
    pub(super) fn hear(&mut self, now: Now, node: &mut Node, event: NodeEvent) -> Option<NodeEvent> {
        match &mut self.os {
            Some(os) => os.handle_event(now, node, event),
            None => Some(event),
        }
    }

    /// What came of something that was asked of it, in this or an earlier life.
    pub fn settlement(&self, ticket: Ticket) -> Option<&Settlement> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            OsEvent::Settled { ticket: settled, outcome } if *settled == ticket => Some(outcome),
            _ => None,
        })
    }
}

impl Network {
    /// Gives a member, from its next start on and now as well if it runs, a part of the system that `prepare` makes
    /// ready. Only in the first of these lives it founds its cluster, if it is to.
    pub fn equip(
        &mut self,
        number: usize,
        config: MeshOsConfig,
        prepare: impl Fn(&mut MeshOs, Now) + 'static,
    ) {
        let is_first = Cell::new(true);
        let equip = move |node: &Node, seed: [u8; 32], now: Now| {
            let founds = is_first.replace(false) && config.founds;
            let mut os = MeshOs::new(MeshOsConfig { founds, ..config.clone() }, node, seed, now);
            prepare(&mut os, now);
            os
        };
        self.members[number].os.equip = Some(Arc::new(equip));
        let (now, seed) = (self.now_at(number), self.random_seed());
        let member = &mut self.members[number];
        if let Some(node) = &member.node {
            member.os.begin(node, seed, now);
        }
        self.drain(number);
    }

    /// Does something with a running member's part of the system, and lets its consequences out.
    ///
    /// # Panics
    /// When the member is crashed or not equipped.
    pub fn act_os<T>(&mut self, number: usize, action: impl FnOnce(&mut MeshOs, &mut Node, Now) -> T) -> T {
        let now = self.now_at(number);
        let member = &mut self.members[number];
        let node = member.node.as_mut().expect("the member is running");
        let os = member.os.os.as_mut().expect("the member is equipped");
        let outcome = action(os, node, now);
        self.drain(number);
        outcome
    }

    /// Takes what a member's part of the system has to say and to do.
    pub(super) fn drain_os(&mut self, number: usize) {
        let now = self.now_at(number).instant;
        let side = &mut self.members[number].os;
        let Some(os) = &mut side.os else { return };
        while let Some(event) = os.poll_event() {
            side.events.push((now, event));
        }
        while let Some(job) = os.poll_job() {
            let takes = Duration::from_micros(self.rng.next_u64() % LONGEST_JOB_US);
            self.jobs.count += 1;
            self.jobs.under_way.insert((now + takes, self.jobs.count), (number, side.life, job));
        }
    }

    /// Does the job whose time has come.
    pub(super) fn finish_job(&mut self) {
        let Some(((at, count), (number, life, job))) = self.jobs.under_way.pop_first() else { return };
        if self.members[number].still.is_some() {
            // It is done, but nobody takes note of it yet.
            self.jobs.under_way.insert((at + STILL, count), (number, life, job));
            return;
        }
        let done = job.run();
        let side = &self.members[number].os;
        if side.life == life && side.os.is_some() && self.members[number].node.is_some() {
            self.act_os(number, |os, node, now| os.handle_job(now, node, done));
        }
    }
}
