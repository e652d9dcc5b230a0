//! What nodes say runs on them, and where to find a daemon.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
};

use meshground_shared::{
    DaemonHealth, DaemonId, GroupId, Lifecycle, Maintenance, Member, MigrationId, MigrationPhase, NodeId,
    StatedDaemon, StatedMigration,
};
use serde::{Deserialize, Serialize};

use super::{
    generation,
    groups::Incarnation,
    registry::{MAX_DAEMONS, Registry},
};
use crate::{
    record::MAX_BODY,
    wire::{self, WireError},
};

/// What a node in recovery counts as busy with.
const RAMP: u32 = 500;

/// What a node says of itself to everyone: its record of this topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Inventory {
    /// Tells lives of one identity apart.
    pub(crate) life: u64,
    /// The version of what runs it.
    pub(crate) version: Version,
    /// Whether it serves.
    pub(crate) maintenance: Maintenance,
    /// Whether nothing new is placed there.
    pub(crate) cordoned: bool,
    /// How busy its processor is, in thousandths.
    pub(crate) cpu: u16,
    /// How full its memory is, in thousandths.
    pub(crate) memory: u16,
    /// The kinds it has factories for.
    pub(crate) kinds: Kinds,
    /// What runs there.
    pub(crate) daemons: Vec<Stated>,
    /// What is on its way from there.
    pub(crate) moving: Vec<Moving>,
    /// What it holds of standby groups.
    pub(crate) standings: Vec<Standing>,
}

/// Kinds of daemons, in order. Most nodes of a mesh can make the same ones, so whoever keeps many inventories keeps each
/// such list once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct Kinds(Arc<[String]>);

/// The version of what runs a node, in its own words: up to 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) struct Version(Arc<str>);

/// A migration, as its source states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moving {
    pub(crate) migration: u64,
    pub(crate) daemon: u64,
    pub(crate) target: u64,
    pub(crate) phase: MigrationPhase,
}

/// What a node holds of a standby group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) group: u64,
    pub(crate) of: Incarnation,
    /// How many events, a short while ago.
    pub(crate) end: u64,
    /// That incarnation ended on this node.
    pub(crate) sealed: bool,
}

/// A daemon, as its node states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stated {
    pub(crate) id: u64,
    pub(crate) generation: u64,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) health: DaemonHealth,
    /// In hundredths, so that it does not change all the time.
    pub(crate) saturation: u8,
    pub(crate) restarts: u32,
    /// Where in which group.
    pub(crate) member: Option<(u64, u32)>,
    /// Its kind's place in the inventory's list; none if it was handed over.
    pub(crate) kind: Option<u16>,
}

impl Kinds {
    /// The list, to share.
    pub(crate) fn shared(&self) -> Arc<[String]> {
        Arc::clone(&self.0)
    }
}

impl Version {
    /// The longest, in bytes.
    const MAX_LEN: usize = 32;

    /// This one; of a longer one the beginning.
    pub(crate) fn new(version: &str) -> Self {
        Self(version[..version.floor_char_boundary(Self::MAX_LEN)].into())
    }

    /// It, to share.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl From<String> for Version {
    fn from(version: String) -> Self {
        Self(version.into())
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0.as_ref().to_owned()
    }
}

impl Deref for Kinds {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for Kinds {
    fn from(kinds: Vec<String>) -> Self {
        Self(kinds.into())
    }
}

impl From<Kinds> for Vec<String> {
    fn from(kinds: Kinds) -> Self {
        kinds.to_vec()
    }
}

impl Stated {
    /// The daemon.
    pub(crate) fn id(&self) -> DaemonId {
        DaemonId(self.id)
    }

    /// Its group, and its place there.
    pub(crate) fn member(&self) -> Option<(GroupId, u32)> {
        self.member.map(|(group, index)| (GroupId(group), index))
    }

    /// For others to see.
    fn view(&self) -> StatedDaemon {
        StatedDaemon {
            lifecycle: self.lifecycle,
            health: self.health,
            saturation: u16::from(self.saturation) * 10,
            restarts: self.restarts,
            member: self.member().map(|(group, index)| Member { group, index }),
        }
    }

    /// Whether it does its work.
    pub(crate) fn is_well(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Running | Lifecycle::Draining)
            && self.health != DaemonHealth::Unhealthy
    }
}

impl Moving {
    /// For others to see.
    fn view(&self) -> StatedMigration {
        let Self { migration, daemon, target, phase } = *self;
        StatedMigration {
            id: MigrationId(migration),
            daemon: DaemonId(daemon),
            target: NodeId(target),
            phase,
        }
    }
}

impl Inventory {
    /// What runs in `registry`, apart from what is held; the rest is for the caller to fill in.
    pub(crate) fn of(registry: &Registry) -> Self {
        let kinds = Kinds::from(registry.kinds().map(str::to_owned).collect::<Vec<_>>());
        let daemons = registry.iter().filter(|(_, instance)| !instance.held).map(|(id, instance)| {
            let kind = instance.kind.as_ref().and_then(|kind| kinds.iter().position(|known| known == kind));
            Stated {
                id: id.0,
                generation: instance.generation,
                lifecycle: instance.shown(),
                health: instance.health(),
                saturation: u8::try_from(instance.saturation() / 10).unwrap_or(100),
                restarts: instance.restarts,
                member: instance.member.map(|place| (place.group.0, place.index)),
                kind: kind.and_then(|kind| u16::try_from(kind).ok()),
            }
        });
        let daemons = daemons.collect();
        Self { kinds, daemons, ..Self::default() }
    }

    /// Leaves kinds out that are too many for others to be told of. How many.
    pub(crate) fn fit(&mut self) -> usize {
        let all = self.kinds.len();
        let mut kept = all.min(MAX_DAEMONS);
        while kept < self.kinds.len() || (kept > 0 && self.encode().len() > MAX_BODY) {
            kept = kept.min(self.kinds.len() - 1);
            self.kinds = self.kinds[..kept].to_vec().into();
        }
        all - self.kinds.len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// Reads what another node says.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let inventory: Self = wire::decode(bytes)?;
        let sane = inventory.daemons.len() <= MAX_DAEMONS
            && inventory.version.0.len() <= Version::MAX_LEN
            && inventory.standings.len() <= MAX_DAEMONS
            && inventory.kinds.len() <= MAX_DAEMONS
            && inventory.moving.len() <= MAX_DAEMONS
            && inventory.daemons.iter().all(|daemon| daemon.generation <= generation::LAST)
            && inventory.kinds.iter().all(|kind| kind.len() <= crate::daemon::MAX_NAME);
        if sane { Ok(inventory) } else { Err(WireError) }
    }

    /// Whether it differs from another in figures only.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&Stated, &Stated)| *a == Stated { saturation: a.saturation, ..b.clone() };
        (self.life, self.maintenance, self.cordoned) == (other.life, other.maintenance, other.cordoned)
            && self.version == other.version
            && self.kinds == other.kinds
            && self.moving == other.moving
            && self.standings.len() == other.standings.len()
            && self.standings.iter().zip(&other.standings).all(|(a, b)| *a == Standing { end: a.end, ..*b })
            && self.daemons.len() == other.daemons.len()
            && self.daemons.iter().zip(&other.daemons).all(same)
    }

    /// Whether it takes anything new.
    pub(crate) fn takes_new(&self) -> bool {
        !self.cordoned && matches!(self.maintenance, Maintenance::Active | Maintenance::Recovery)
    }

    /// How busy a node is for placement, in thousandths: what its daemons say, and a little for each.
    pub(crate) fn load(&self) -> u32 {
        let said: u32 = self.daemons.iter().map(|daemon| 10 + u32::from(daemon.saturation) * 10).sum();
        // Whoever has just come back is given less than its share for a while.
        let ramp = if self.maintenance == Maintenance::Recovery { RAMP } else { 0 };
        said.saturating_add(u32::from(self.cpu) / 4).saturating_add(ramp)
    }
}

/// Everybody's inventories, and where in them each daemon is.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    nodes: BTreeMap<NodeId, Known>,
    /// Where each daemon is, the newest incarnation last.
    places: BTreeMap<DaemonId, BTreeSet<(u64, NodeId)>>,
    /// The lists of kinds in them, each once, and some that were.
    kinds: BTreeSet<Kinds>,
}

/// A node's inventory.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) inventory: Inventory,
    /// What it says runs there, for all who look at it.
    pub(crate) daemons: Arc<BTreeMap<DaemonId, StatedDaemon>>,
    /// And what it says is on its way from there.
    pub(crate) moving: Arc<[StatedMigration]>,
}

impl Directory {
    /// Of how many nodes something is known.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node says this now, or nothing any more.
    pub(crate) fn set(&mut self, node: NodeId, inventory: Option<Inventory>) {
        let before = self.nodes.remove(&node).map(|known| known.inventory.daemons).unwrap_or_default();
        let after = inventory.as_ref().map(|inventory| &inventory.daemons[..]).unwrap_or_default();
        let place = |daemon: &Stated| (daemon.id(), daemon.generation);
        // Mostly its daemons have only become more or less busy.
        if !before.iter().map(place).eq(after.iter().map(place)) {
            for (daemon, generation) in before.iter().map(place) {
                if let Some(places) = self.places.get_mut(&daemon) {
                    places.remove(&(generation, node));
                    if places.is_empty() {
                        self.places.remove(&daemon);
                    }
                }
            }
            for (daemon, generation) in after.iter().map(place) {
                self.places.entry(daemon).or_default().insert((generation, node));
            }
        }
        if let Some(mut inventory) = inventory {
            inventory.kinds = self.share(inventory.kinds);
            let daemons = inventory.daemons.iter().map(|daemon| (daemon.id(), daemon.view())).collect();
            let moving = inventory.moving.iter().map(Moving::view).collect();
            self.nodes.insert(node, Known { inventory, daemons: Arc::new(daemons), moving });
        }
    }

    /// These kinds, in the list that is kept of them.
    fn share(&mut self, kinds: Kinds) -> Kinds {
        if let Some(kept) = self.kinds.get(&kinds) {
            return kept.clone();
        }
        if self.kinds.len() > 2 * self.nodes.len() {
            self.kinds.retain(|kept| Arc::strong_count(&kept.0) > 1);
        }
        self.kinds.insert(kinds.clone());
        kinds
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Inventory> {
        self.nodes.get(&node).map(|known| &known.inventory)
    }

    /// Nothing new is placed on a node, which will say so itself in a moment.
    pub(crate) fn cordon(&mut self, node: NodeId) {
        if let Some(known) = self.nodes.get_mut(&node) {
            known.inventory.cordoned = true;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Inventory)> {
        self.known().map(|(node, known)| (node, &known.inventory))
    }

    /// The same, with what is kept for those who look at it.
    pub(crate) fn known(&self) -> impl Iterator<Item = (NodeId, &Known)> {
        self.nodes.iter().map(|(&node, known)| (node, known))
    }

    /// Where the newest incarnation of a daemon is.
    pub(crate) fn find(&self, daemon: DaemonId) -> Option<(NodeId, u64)> {
        self.places.get(&daemon)?.last().map(|&(generation, node)| (node, generation))
    }

    /// The other nodes than `this` that say they have a daemon, and what they say of it.
    pub(crate) fn elsewhere(
        &self,
        daemon: DaemonId,
        this: NodeId,
    ) -> impl Iterator<Item = (NodeId, &Stated)> {
        let places = self.places.get(&daemon).into_iter().flatten().filter(move |(_, node)| *node != this);
        places.filter_map(move |(_, node)| {
            let stated = self.get(*node)?.daemons.iter().find(|stated| stated.id() == daemon)?;
            Some((*node, stated))
        })
    }

    /// What its node says of a daemon's newest incarnation.
    pub(crate) fn stated(&self, daemon: DaemonId) -> Option<(NodeId, &Stated)> {
        let (node, generation) = self.find(daemon)?;
        let stated = self.get(node)?.daemons.iter();
        let mut stated = stated.filter(|stated| stated.id() == daemon && stated.generation == generation);
        stated.next().map(|stated| (node, stated))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(id: u64, generation: u64) -> Stated {
        Stated {
            id,
            generation,
            lifecycle: Lifecycle::Running,
            health: DaemonHealth::Healthy,
            saturation: 100,
            restarts: u32::MAX,
            member: Some((u64::MAX, u32::MAX)),
            kind: Some(255),
        }
    }

    #[test]
    fn a_daemon_is_found_where_its_newest_incarnation_is() {
        let mut directory = Directory::default();
        let inventory =
            |generation| Inventory { daemons: vec![stated(7, generation)], ..Inventory::default() };
        directory.set(NodeId(1), Some(inventory(2)));
        directory.set(NodeId(2), Some(inventory(1)));
        assert_eq!(directory.find(DaemonId(7)), Some((NodeId(1), 2)));
        directory.set(NodeId(1), None);
        assert_eq!(directory.stated(DaemonId(7)), Some((NodeId(2), &stated(7, 1))));
        directory.set(NodeId(2), None);
        assert_eq!(directory.find(DaemonId(7)), None);
    }

    #[test]
    fn of_kinds_that_many_can_make_one_list_is_kept_and_of_those_that_none_can_none_for_long() {
        let mut directory = Directory::default();
        let inventory = |kind: &str| {
            let kinds = vec![kind.to_owned(), "echo".to_owned()].into();
            Some(Inventory { kinds, ..Inventory::default() })
        };
        for node in 0..8 {
            directory.set(NodeId(node), inventory("counter"));
        }
        let lists: Vec<_> = directory.iter().map(|(_, inventory)| inventory.kinds.shared()).collect();
        assert!(lists.iter().all(|list| Arc::ptr_eq(list, &lists[0])));
        assert_eq!(*lists[0], ["counter", "echo"]);
        for turn in 0..1_000 {
            directory.set(NodeId(8), inventory(&turn.to_string()));
        }
        assert!(directory.kinds.len() < 32, "{}", directory.kinds.len());
        assert_eq!(*directory.get(NodeId(8)).unwrap().kinds, ["999", "echo"]);
    }

    #[test]
    fn a_version_is_cut_where_a_character_ends_and_a_longer_one_is_not_read() {
        assert_eq!(*Version::new("1.2.3").0, *"1.2.3");
        assert_eq!(Version::new(&"\u{20ac}".repeat(20)).0.len(), 30);
        let long = Inventory { version: Version("v".repeat(33).into()), ..Inventory::default() };
        assert_eq!(Inventory::decode(&long.encode()), Err(WireError));
        let daemons = vec![stated(1, generation::LAST + 1)];
        let beyond = Inventory { daemons, ..Inventory::default() };
        assert_eq!(Inventory::decode(&beyond.encode()), Err(WireError));
    }

    #[test]
    fn the_fullest_node_can_say_so() {
        let kinds = (0..32).map(|i| format!("{i:064}")).collect::<Vec<_>>().into();
        let daemons = (0..MAX_DAEMONS).map(|_| stated(u64::MAX, generation::LAST)).collect();
        let version = Version::new(&"v".repeat(100));
        let mut inventory = Inventory { kinds, daemons, version, life: u64::MAX, ..Inventory::default() };
        let bytes = inventory.encode();
        assert!(bytes.len() <= MAX_BODY, "{}", bytes.len());
        assert_eq!(Inventory::decode(&bytes), Ok(inventory.clone()));
        assert_eq!(inventory.fit(), 0);
        // More kinds than there is room for.
        inventory.kinds = (0..300).map(|i| format!("{i:064}")).collect::<Vec<_>>().into();
        let left_out = inventory.fit();
        assert!(left_out > 0 && inventory.kinds.len() + left_out == 300);
        let bytes = inventory.encode();
        assert!(bytes.len() <= MAX_BODY, "{}", bytes.len());
        assert_eq!(Inventory::decode(&bytes), Ok(inventory));
    }
}
