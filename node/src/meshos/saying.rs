//! What this node says to everyone of itself: what runs here, what is on its way, whether it serves and how its machine does.

use std::time::Duration;

use meshground_shared::{Maintenance, MigrationView};

use super::{MeshOs, probes::Resources};
use crate::{
    compute::{Inventory, Moving},
    node::Node,
    record::Topic,
    time::{Instant, Now},
};

/// Changes of the inventory within this are said together.
const TOGETHER: Duration = Duration::from_millis(10);

/// How long a machine's figures wait to be said.
const UNHURRIED: Duration = Duration::from_secs(1);

/// How much longer for each pair of nodes: if all have it to say, each pair exchanges two datagrams over it, and in a mesh of
/// any size no more go out a second.
const UNHURRIED_A_PAIR: Duration = Duration::from_micros(800);

/// And how long at most.
const UNHURRIED_AT_MOST: Duration = Duration::from_mins(1);

/// The steps in which a machine's figures are said, in thousandths.
const STEP: u16 = 100;

/// What was said, and when it is looked at again.
#[derive(Debug)]
pub(super) struct Saying {
    /// What was last said.
    pub(super) said: Inventory,
    /// When to look whether that still holds.
    pub(super) at: Option<Instant>,
    /// Since when the machine does otherwise than was said.
    resources_news_since: Option<Instant>,
}

impl Saying {
    /// Nothing was said yet, and something is to be.
    pub(super) fn new(now: Instant) -> Self {
        Self { said: Inventory::default(), at: Some(now), resources_news_since: None }
    }
}

impl MeshOs {
    /// What runs here is to be said to everyone, if it is not what was said last.
    pub(super) fn say_soon(&mut self, now: Now) {
        self.say_within(now, TOGETHER);
    }

    /// The same, within this time.
    pub(super) fn say_within(&mut self, now: Now, wait: Duration) {
        let at = now.instant + wait;
        self.saying.at = Some(self.saying.at.map_or(at, |before| before.min(at)));
    }

    /// How the machine does is to be said, if it has been well beyond the step that was said last for a while: that it is busy
    /// for a moment is not worth a word to everyone.
    pub(super) fn tell_resources(&mut self, now: Now) {
        let Resources { cpu, memory } = self.oversight.probes.resources;
        let said = &self.saying.said;
        let is_news = |is: u16, said: u16| is.abs_diff(said.saturating_add(STEP / 2)) > STEP;
        if !is_news(cpu, said.cpu) && !is_news(memory, said.memory) {
            self.saying.resources_news_since = None;
            return;
        }
        let since = *self.saying.resources_news_since.get_or_insert(now.instant);
        if now.instant >= since + self.unhurried() {
            self.say_soon(now);
        }
    }

    /// How long figures of the machine wait. All nodes of a machine have the same to say at once, so each has another part
    /// of that time, from half of it up.
    fn unhurried(&self) -> Duration {
        let nodes = u32::try_from(self.directory.iter().count()).unwrap_or(u32::MAX);
        let most = UNHURRIED + UNHURRIED_A_PAIR.saturating_mul(nodes.saturating_mul(nodes));
        let [lot, ..] = self.local.0.to_be_bytes();
        most.min(UNHURRIED_AT_MOST) * (256 + u32::from(lot)) / 512
    }

    pub(super) fn say_inventory(&mut self, now: Now, node: &mut Node) {
        self.saying.at = None;
        let service = &self.oversight.service;
        let resources = self.oversight.probes.resources;
        let mut inventory = Inventory {
            life: self.life,
            version: self.version.clone(),
            maintenance: self.stated_maintenance(),
            cordoned: service.is_cordoned() || self.registry.is_closed(),
            // In steps, so that it is not said anew all the time.
            cpu: resources.cpu / STEP * STEP,
            memory: resources.memory / STEP * STEP,
            standings: self.standings(),
            moving: self.stated_migrations(now.instant),
            ..Inventory::of(&self.registry)
        };
        let left_out = inventory.fit();
        if inventory != self.saying.said {
            if left_out > 0 {
                let what =
                    format!("too many kinds of daemons: the other nodes are not told of {left_out} of them");
                self.record_failure(now, what);
            }
            // It is bounded so that it fits.
            let _ = node.say(now, Topic::Inventory, inventory.encode());
            self.saying.said = inventory.clone();
            self.groups.stir();
        }
        self.directory.set(self.local, Some(inventory));
    }

    /// What this node says of its daemons that are on their way.
    pub(super) fn stated_migrations(&self, now: Instant) -> Vec<Moving> {
        let stated = |view: MigrationView| Moving {
            migration: view.id.0,
            daemon: view.daemon.0,
            target: view.target.0,
            phase: view.phase,
        };
        self.migrations(now).filter(|view| !view.phase.is_over()).map(stated).collect()
    }

    /// What this node says of whether it serves: on its way out of service from the beginning of a drain.
    pub(super) fn stated_maintenance(&self) -> Maintenance {
        let service = &self.oversight.service;
        if service.is_draining() { Maintenance::EnteringMaintenance } else { service.state() }
    }
}
