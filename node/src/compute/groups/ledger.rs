//! All groups, as one node knows them, and what it says of them to everyone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{GroupId, NodeId};
use serde::{Deserialize, Serialize};

use super::{Claim, Entry, MAX_GROUPS, MAX_MEMBERS, Required, Slot, Spec};
use crate::{
    compute::{MAX_ARGS, generation},
    daemon::MAX_NAME,
    record::MAX_BODY,
    time::Instant,
    wire::{self, WireError},
};

/// The most groups held. More than [`MAX_GROUPS`] come together where parts of a mesh that were divided meet.
pub(crate) const MAX_HELD: usize = 4 * MAX_GROUPS;

/// Of so many nodes it is remembered what they say: as many as there is room for the records of.
pub(crate) const MAX_SAID: usize = 2_048;

/// How many groups that are no more are remembered, and how many of them are told of.
pub(crate) const MAX_GONE: usize = 1_024;
const MAX_GONE_TOLD: usize = 128;

/// For so long whoever ended a group says so.
const MOURNING: Duration = Duration::from_mins(1);

/// After this, somebody who still says that a group lives needs to be told.
const SETTLED: Duration = Duration::from_secs(2);

/// What one node says of groups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// The nodes that members are placed on.
    hosts: Vec<u64>,
    groups: Vec<StatedGroup>,
    /// Groups that are no more. Their ids never come again.
    gone: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StatedGroup {
    id: u64,
    spec: Spec,
    claim: Claim,
    begun: u64,
    /// What members ask of a node; empty if that is not known.
    required: Vec<u8>,
    /// Each place's generation, and its node's place in the list, from 1; 0 for none.
    slots: Vec<(u64, u16)>,
}

/// A group that is no more.
#[derive(Debug)]
struct Gone {
    since: Instant,
    ended_here: bool,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    groups: BTreeMap<GroupId, Entry>,
    gone: BTreeMap<GroupId, Gone>,
    /// What the others say.
    said: BTreeMap<NodeId, BTreeMap<GroupId, Entry>>,
}

impl Ledger {
    pub(crate) fn get(&self, id: GroupId) -> Option<&Entry> {
        self.groups.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: GroupId) -> Option<&mut Entry> {
        self.groups.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (GroupId, &Entry)> {
        self.groups.iter().map(|(&id, entry)| (id, entry))
    }

    pub(crate) fn ids(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.gone.is_empty()
    }

    /// Of how many nodes it is remembered what they say, and of how many groups that they are no more.
    #[cfg(any(test, feature = "floor"))]
    pub(crate) fn remembered(&self) -> (usize, usize) {
        (self.said.len(), self.gone.len())
    }

    /// Whether there was such a group.
    pub(crate) fn is_gone(&self, id: GroupId) -> bool {
        self.gone.contains_key(&id)
    }

    /// Takes on a new group, if there is room for it in what a node can say of all.
    pub(crate) fn add(&mut self, id: GroupId, entry: Entry) -> bool {
        if self.groups.len() >= MAX_GROUPS {
            return false;
        }
        self.groups.insert(id, entry);
        let fits = self.fits();
        if !fits {
            self.groups.remove(&id);
        }
        fits
    }

    /// What members of a group ask of a node has been learned. It is left out where there is no room for it in what a
    /// node can say. Whether it is news.
    pub(crate) fn require(&mut self, id: GroupId, required: Required) -> bool {
        let Some(entry) = self.groups.get_mut(&id) else { return false };
        let required = Some(required);
        if required <= entry.required {
            return false;
        }
        let before = std::mem::replace(&mut entry.required, required);
        let fits = self.fits();
        if let Some(entry) = self.groups.get_mut(&id).filter(|_| !fits) {
            entry.required = before;
        }
        fits
    }

    /// Whether one node could say all there is.
    fn fits(&self) -> bool {
        let all = state(self.groups.iter().map(|(&id, entry)| (id, entry)), &[]);
        wire::encode(&all).len() + 10 * MAX_GONE_TOLD <= MAX_BODY
    }

    /// A group is no more, because this node says so.
    pub(crate) fn end(&mut self, now: Instant, id: GroupId) -> Option<Entry> {
        let entry = self.groups.remove(&id)?;
        self.bury(id, Gone { since: now, ended_here: true });
        Some(entry)
    }

    fn bury(&mut self, id: GroupId, gone: Gone) {
        if self.gone.len() >= MAX_GONE
            && let Some(oldest) = self.gone.iter().min_by_key(|(_, gone)| gone.since).map(|(&id, _)| id)
        {
            self.gone.remove(&oldest);
        }
        self.gone.insert(id, gone);
    }

    /// Takes in what another node says; what cannot be read is taken for nothing said. Returns the groups that are no
    /// more since.
    pub(crate) fn hear(&mut self, now: Instant, from: NodeId, body: &[u8]) -> Vec<(GroupId, Entry)> {
        self.said.remove(&from);
        let Ok((entries, gone)) = read(body) else { return Vec::new() };
        let mut ended = Vec::new();
        for &id in &gone {
            if let Some(entry) = self.groups.remove(&id) {
                ended.push((id, entry));
            }
            if !self.gone.contains_key(&id) {
                self.bury(id, Gone { since: now, ended_here: false });
            }
        }
        for (id, entry) in &entries {
            if self.gone.contains_key(id) {
                continue;
            }
            if let Some(known) = self.groups.get_mut(id) {
                known.merge(entry);
            } else if self.groups.len() < MAX_HELD {
                self.groups.insert(*id, entry.clone().named());
            }
        }
        // Of somebody who says nothing nothing is kept; nor of who comes when it is full, who may be told things twice.
        if !entries.is_empty() && self.said.len() < MAX_SAID {
            self.said.insert(from, entries);
        }
        ended
    }

    /// What this node has to say: of the groups it looks after, and what others do not know yet. `leader` names who
    /// looks after a group, `is_here` says whom something said now reaches.
    pub(crate) fn statement(
        &self,
        now: Instant,
        local: NodeId,
        leader: impl Fn(GroupId, &Entry) -> NodeId,
        is_here: impl Fn(NodeId) -> bool,
    ) -> Vec<u8> {
        let is_told = |id: GroupId, entry: &Entry, by: NodeId| {
            self.said.get(&by).and_then(|said| said.get(&id)).is_some_and(|said| said.covers(entry))
        };
        let mut groups: Vec<(GroupId, &Entry)> = self
            .iter()
            .filter(|&(id, entry)| {
                let leader = leader(id, entry);
                leader == local || !is_told(id, entry, leader)
            })
            .collect();
        // Whether somebody still takes for alive what is gone.
        let lives = |id| {
            let mut said = self.said.iter().filter(|(node, _)| is_here(**node));
            said.any(|(_, said)| said.contains_key(&id))
        };
        let mut gone: Vec<(Instant, GroupId)> = self
            .gone
            .iter()
            .filter(|&(&id, gone)| {
                let age = now.saturating_since(gone.since);
                (gone.ended_here && age < MOURNING) || (age >= SETTLED && lives(id))
            })
            .map(|(&id, gone)| (gone.since, id))
            .collect();
        gone.sort_unstable();
        let gone: Vec<GroupId> = gone.into_iter().rev().take(MAX_GONE_TOLD).map(|(_, id)| id).collect();
        loop {
            let statement = state(groups.iter().copied(), &gone);
            if groups.is_empty() && gone.is_empty() {
                return Vec::new();
            }
            let bytes = wire::encode(&statement);
            // Only where parts of a mesh that were divided meet can there be more than fits.
            if bytes.len() <= MAX_BODY || groups.pop().is_none() {
                return bytes;
            }
        }
    }

    /// When [`statement`](Self::statement) may say something else by itself.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let times = self.gone.values().flat_map(|gone| [gone.since + SETTLED, gone.since + MOURNING]);
        times.filter(|at| *at > now).min()
    }
}

fn state<'a>(groups: impl Iterator<Item = (GroupId, &'a Entry)>, gone: &[GroupId]) -> Statement {
    let mut hosts: Vec<u64> = Vec::new();
    let mut known: BTreeMap<NodeId, u16> = BTreeMap::new();
    let mut number = |host: Option<NodeId>| {
        let Some(host) = host else { return 0 };
        *known.entry(host).or_insert_with(|| {
            hosts.push(host.0);
            // There are at most as many as places: 256 groups of 64.
            u16::try_from(hosts.len()).unwrap_or(0)
        })
    };
    let groups = groups
        .map(|(id, entry)| StatedGroup {
            id: id.0,
            spec: entry.spec.clone(),
            claim: entry.claim,
            begun: entry.begun,
            required: entry.required.as_ref().map_or_else(Vec::new, |required| required.bytes().to_vec()),
            slots: entry.slots().iter().map(|slot| (slot.generation, number(slot.host))).collect(),
        })
        .collect();
    Statement { hosts, groups, gone: gone.iter().map(|id| id.0).collect() }
}

/// Whether a node takes what another says of groups.
#[cfg(feature = "floor")]
pub(crate) fn is_sound(body: &[u8]) -> bool {
    read(body).is_ok()
}

type Read = (BTreeMap<GroupId, Entry>, BTreeSet<GroupId>);

fn read(body: &[u8]) -> Result<Read, WireError> {
    if body.is_empty() {
        return Ok(Read::default());
    }
    let statement: Statement = wire::decode(body)?;
    let mut groups = BTreeMap::new();
    for StatedGroup { id, spec, claim, begun, required, slots } in statement.groups {
        let is_sound = (1..=MAX_MEMBERS).contains(&spec.desired)
            && spec.name.len() <= MAX_NAME
            && spec.daemon.len() <= MAX_NAME
            && spec.args.len() <= MAX_ARGS
            && slots.len() <= MAX_MEMBERS as usize
            && slots.iter().all(|&(generation, _)| generation <= generation::LAST)
            && begun <= slots.first().map_or(0, |&(generation, _)| generation);
        if !is_sound {
            return Err(WireError);
        }
        let mut entry = Entry::told(spec, claim);
        entry.begun = begun;
        entry.required = Required::read(required)?;
        for (index, (generation, host)) in (0..).zip(slots) {
            let host = match host {
                0 => None,
                number => Some(NodeId(*statement.hosts.get(usize::from(number) - 1).ok_or(WireError)?)),
            };
            entry.put(index, Slot { generation, host });
        }
        groups.insert(GroupId(id), entry);
    }
    if groups.len() > MAX_HELD || statement.gone.len() > MAX_GONE {
        return Err(WireError);
    }
    Ok((groups, statement.gone.into_iter().map(GroupId).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{capability::Filter, compute::groups::entry::tests::spec};

    const ID: GroupId = GroupId(5);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn entry(count: u32) -> Entry {
        let mut entry = Entry::new(spec(1, count), Claim { term: 1, node: 1 });
        for index in entry.places() {
            entry.place(index, Some(NodeId(u64::MAX - u64::from(index))));
        }
        entry
    }

    fn say(ledger: &Ledger, now: Instant, local: u64) -> Vec<u8> {
        ledger.statement(now, NodeId(local), |_, entry| entry.leader(), |_| true)
    }

    #[test]
    fn what_the_leader_says_is_held_by_all_and_repeated_by_nobody() {
        let (mut leader, mut other) = (Ledger::default(), Ledger::default());
        assert!(leader.add(ID, entry(3)));
        other.hear(at(1), NodeId(1), &say(&leader, at(1), 1));
        assert_eq!(other.get(ID), leader.get(ID));
        assert_eq!(say(&other, at(1), 2), b"");
    }

    #[test]
    fn nobody_is_believed_that_a_place_was_given_more_often_than_can_be_or_begun_before_it_was_given() {
        let sound = || {
            let mut entry = entry(2);
            entry.put(0, Slot { generation: generation::LAST, host: Some(NodeId(3)) });
            entry.begun = generation::LAST;
            entry
        };
        let hears = |entry: Entry| {
            let (mut one, mut other) = (Ledger::default(), Ledger::default());
            one.add(ID, entry);
            other.hear(at(1), NodeId(1), &say(&one, at(1), 1));
            other.get(ID).is_some()
        };
        assert!(hears(sound()));
        let mut beyond = sound();
        beyond.put(1, Slot { generation: generation::LAST + 1, host: None });
        assert!(!hears(beyond));
        let mut early = entry(2);
        early.begun = early.slot(0).generation + 1;
        assert!(!hears(early));
    }

    #[test]
    fn what_the_leader_does_not_know_yet_is_said_until_it_does() {
        let (mut leader, mut other) = (Ledger::default(), Ledger::default());
        leader.add(ID, entry(3));
        other.hear(at(1), NodeId(1), &say(&leader, at(1), 1));
        other.get_mut(ID).unwrap().place(0, Some(NodeId(9)));
        let news = say(&other, at(1), 2);
        leader.hear(at(1), NodeId(2), &news);
        assert_eq!(leader.get(ID).unwrap().slot(0).host, Some(NodeId(9)));
        other.hear(at(1), NodeId(1), &say(&leader, at(1), 1));
        assert_eq!(say(&other, at(1), 2), b"");
    }

    #[test]
    fn a_group_that_ended_does_not_come_back_with_somebody_who_missed_that() {
        let (mut here, mut there) = (Ledger::default(), Ledger::default());
        there.add(ID, entry(3));
        here.hear(at(1), NodeId(1), &say(&there, at(1), 1));
        here.end(at(2), ID);
        here.hear(at(200), NodeId(1), &say(&there, at(200), 1));
        assert!(here.get(ID).is_none() && here.is_gone(ID));
        let ended = there.hear(at(200), NodeId(2), &say(&here, at(200), 2));
        assert_eq!(ended.len(), 1, "it is told");
        here.hear(at(201), NodeId(1), &say(&there, at(201), 1));
        assert_eq!(say(&here, at(201), 2), b"", "and once is enough");
    }

    #[test]
    fn there_are_never_more_groups_than_one_node_can_tell_of() {
        let mut ledger = Ledger::default();
        let count = (0..1_000).take_while(|id| ledger.add(GroupId(*id), entry(MAX_MEMBERS))).count();
        assert!((32..=MAX_GROUPS).contains(&count), "{count}");
        assert!(say(&ledger, at(1), 1).len() <= MAX_BODY);
    }

    #[test]
    fn what_members_require_reaches_everybody_and_is_left_out_where_there_is_no_room() {
        let (mut leader, mut other) = (Ledger::default(), Ledger::default());
        leader.add(ID, entry(3));
        other.hear(at(1), NodeId(1), &say(&leader, at(1), 1));
        let gpu = Required::new(&Filter::any().with_tag("gpu")).unwrap();
        other.require(ID, gpu.clone());
        leader.hear(at(1), NodeId(2), &say(&other, at(1), 2));
        assert_eq!(leader.get(ID).unwrap().required, Some(gpu.clone()));
        other.require(ID, Required::new(&Filter::any()).unwrap());
        assert_eq!(other.get(ID).unwrap().required, Some(gpu), "the greater counts, whichever comes last");
        let mut full = Ledger::default();
        let count = (0..1_000).take_while(|id| full.add(GroupId(*id), entry(MAX_MEMBERS))).count();
        for id in 0..count as u64 {
            full.require(GroupId(id), Required::new(&Filter::any().with_tag("x".repeat(200))).unwrap());
        }
        assert!(say(&full, at(1), 1).len() <= MAX_BODY);
        assert!(full.iter().any(|(_, entry)| entry.required.is_none()));
    }

    #[test]
    fn of_those_who_say_nothing_nothing_is_kept_and_of_the_others_no_more_than_may_be() {
        let (mut leader, mut other) = (Ledger::default(), Ledger::default());
        for node in 0..10 {
            other.hear(at(1), NodeId(node), b"");
            other.hear(at(1), NodeId(node), b"what is this");
        }
        assert_eq!(other.remembered(), (0, 0));
        leader.add(ID, entry(3));
        let body = say(&leader, at(1), 1);
        for node in 0..=MAX_SAID as u64 {
            other.hear(at(1), NodeId(node), &body);
        }
        assert_eq!(other.remembered(), (MAX_SAID, 0));
        other.hear(at(2), NodeId(0), b"");
        assert_eq!(other.remembered(), (MAX_SAID - 1, 0), "its record is over");
    }

    #[test]
    fn what_cannot_be_read_is_taken_for_nothing() {
        let mut ledger = Ledger::default();
        ledger.add(ID, entry(3));
        let bytes = say(&ledger, at(1), 1);
        let mut other = Ledger::default();
        for len in 0..bytes.len() {
            other.hear(at(1), NodeId(1), &bytes[..len]);
            assert!(other.get(ID).is_none(), "{len} bytes");
        }
        let mut crowded = entry(3);
        crowded.spec.desired = MAX_MEMBERS + 1;
        let statement = state([(ID, &crowded)].into_iter(), &[]);
        other.hear(at(1), NodeId(1), &wire::encode(&statement));
        assert!(other.get(ID).is_none());
    }
}
