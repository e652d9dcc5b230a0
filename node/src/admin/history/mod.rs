//! What operators commanded and what became of it, in a form that nodes can compare: one entry per command, the same on
//! every node that knows it.
//!
//! The audit trail is one node's diary. This is the part of it that others can check and take over: commands that enough
//! operators signed and whose nonce was used up thereby. What nobody had authorised, or came too late, too early or twice,
//! is not in it, for of that anybody could make up as much as they like.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{AdminVerb, Decision, IceVerb, NodeId, Rejection, Verb};
use serde::{Deserialize, Serialize};

use super::{
    Nonce, SignedCommand,
    verifier::{MAX_AGE, MAX_AHEAD},
};
use crate::{identity::short_hash, time::WallTime, wire};

/// The first byte of questions and pages.
const VERSION: u8 = 1;

/// The most commands known; of more, those that still stand, and of the others those issued last.
pub(super) const CAPACITY: usize = 1_024;

/// The most of them that are kept because they stand, those issued last.
const MAX_STANDING: usize = CAPACITY / 2;

/// The most of them that are kept of one matter.
const MAX_WORDS: usize = 4;

/// Into so many parts it is split, so that only those are told in which something differs.
const BUCKETS: usize = 32;

/// The most commands on a page.
pub(super) const MAX_ON_PAGE: usize = 64;

/// How much longer than a command is good for it may take until it is decided everywhere.
const LATE: Duration = Duration::from_mins(1);

/// A command that was issued longer than this before another was decided before it, whoever says when that was.
const REACH: Duration = Duration::from_secs(MAX_AHEAD.as_secs() + MAX_AGE.as_secs() + LATE.as_secs());

const DIGEST_LABEL: &[u8] = b"meshground history 1";

/// The order of commands: by issue, which its operators signed.
pub(crate) type Key = (WallTime, Nonce);

/// A command, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) command: SignedCommand,
    pub(super) decision: Decision,
    /// When, by the clock of whoever decided.
    pub(super) decided: WallTime,
    /// Whether this node was there, in this life.
    pub(super) first_hand: bool,
}

/// The commands that this node knows of.
#[derive(Debug, Default)]
pub(super) struct History {
    known: BTreeMap<Key, Known>,
    /// For each part, the exclusive or over its entries.
    digests: [u64; BUCKETS],
    /// How many there was no room for.
    forgotten: u64,
}

/// What the last applied command of a kind decides until the next. All that stands of what was commanded follows from the last
/// word on each: what nodes serve, from those of the three kinds about each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    /// Whether the cluster is frozen.
    Freeze,
    /// That a node goes out of service; and that it comes back, which means nothing without that.
    Leave(NodeId),
    Return(NodeId),
    /// Whether anything is placed on a node.
    Cordon(NodeId),
}

/// What one node asks another: what is in those parts that differ, after this one?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    digests: Vec<u64>,
    after: Option<(u64, [u8; 16])>,
}

/// Some of what is asked for, by issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) claims: Vec<Claim>,
    /// Whether there is more after that.
    pub(crate) more: bool,
}

/// What one node says of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) command: Vec<u8>,
    pub(crate) decision: Decision,
    pub(crate) decided_us: u64,
}

/// By what a command is known, in order.
pub(super) fn key_of(command: &SignedCommand) -> Key {
    (command.issued(), command.nonce())
}

/// Which of several decisions on one command counts: the lowest. What was applied was, whoever rejected it besides.
pub(super) fn rank(decision: Decision) -> Option<Rejection> {
    match decision {
        Decision::Applied => None,
        Decision::Rejected(reason) => Some(reason),
    }
}

/// The time a command was decided at, if somebody says it was then: whatever they say, not before it could be, nor much
/// later than that.
pub(super) fn plausible(command: &SignedCommand, decided: WallTime) -> WallTime {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let issued = command.issued().0;
    let (first, last) =
        (issued.saturating_sub(micros(MAX_AHEAD)), issued.saturating_add(micros(MAX_AGE + LATE)));
    WallTime(decided.0.clamp(first, last))
}

pub(crate) fn digest((issued, nonce): &Key, decision: Decision) -> u64 {
    let mut bytes = issued.0.to_le_bytes().to_vec();
    bytes.extend_from_slice(&nonce.0);
    bytes.extend_from_slice(&wire::encode(&decision));
    short_hash(DIGEST_LABEL, &bytes)
}

/// The part an entry is in.
pub(crate) fn bucket((_, nonce): &Key) -> usize {
    usize::from(nonce.0.iter().fold(0, |all, byte| all ^ byte)) % BUCKETS
}

impl History {
    /// Takes note of a command that this node decided on, or has come to believe others about. What was decided here is not
    /// changed by others.
    ///
    /// One command can be decided on several times, as it can be handed in at several nodes. In whatever order this node is there
    /// for that, the same is left: that it was applied, or the reason with the lowest number.
    pub(super) fn note(&mut self, known: Known) {
        let key = key_of(&known.command);
        if self.known.get(&key).is_some_and(|before| !before.gives_way_to(&known)) {
            return;
        }
        self.remove(&key);
        self.digests[bucket(&key)] ^= digest(&key, known.decision);
        self.known.insert(key, known);
        if self.known.len() > CAPACITY
            && let Some(first) = self.first_to_go()
        {
            self.remove(&first);
            self.forgotten += 1;
        }
    }

    /// Of the commands that do not stand the one issued first: the next to be forgotten.
    fn first_to_go(&self) -> Option<Key> {
        let standing = self.standing(None);
        self.known.keys().find(|key| !standing.contains(key)).copied()
    }

    /// The last words on each matter, if there were another as well. Also those that end something: without them what they
    /// ended would stand again, here or where somebody still knows of that.
    ///
    /// By what operators signed, for all who know the same are to keep the same; when a command was decided each says by its own
    /// clock, or makes up. So those are kept among which the one decided last must be, and for this the one issued last of all
    /// goes before all others.
    fn standing(&self, another: Option<(Matter, Key)>) -> BTreeSet<Key> {
        let mut words: Vec<(Matter, Key)> =
            self.known.iter().filter_map(|(key, known)| Some((known.matter()?, *key))).collect();
        words.extend(another);
        words.sort_unstable();
        let (mut last, mut before) = (BTreeSet::new(), BTreeSet::new());
        for words in words.chunk_by(|(one, _), (other, _)| one == other) {
            let Some(((_, latest), earlier)) = words.split_last() else { continue };
            let close = |key: &Key| latest.0.abs_diff(key.0) <= REACH;
            let earlier = earlier.iter().rev().map(|(_, key)| *key).take(MAX_WORDS - 1);
            before.extend(earlier.filter(close));
            last.insert(*latest);
        }
        while last.len() > MAX_STANDING {
            last.pop_first();
        }
        while last.len() + before.len() > MAX_STANDING {
            before.pop_first();
        }
        last.append(&mut before);
        last
    }

    fn remove(&mut self, key: &Key) {
        if let Some(known) = self.known.remove(key) {
            self.digests[bucket(key)] ^= digest(key, known.decision);
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Known> {
        self.known.get(key)
    }

    /// Whether a command that is not known has its place here: there is room, or it was issued after others that do not stand,
    /// or it stands itself.
    pub(super) fn has_room_for(&self, command: &SignedCommand, decision: Decision) -> bool {
        let key = key_of(command);
        if self.known.len() < CAPACITY || self.first_to_go().is_some_and(|first| first < key) {
            return true;
        }
        matter_of(command.verb(), decision)
            .is_some_and(|matter| self.standing(Some((matter, key))).contains(&key))
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// How many commands were known and are not any more, or never were, as there was no room.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The commands applied among those that `counts` chooses, in that order; of two at the same time, the one issued first
    /// comes first.
    pub(super) fn applied(&self, counts: impl Fn(&Verb) -> bool) -> Vec<&Known> {
        let all = self.known.values().filter(|known| known.decision == Decision::Applied);
        let mut applied: Vec<&Known> = all.filter(|known| counts(known.command.verb())).collect();
        applied.sort_by_key(|known| known.decided);
        applied
    }

    /// The last of them.
    pub(super) fn latest(&self, counts: impl Fn(&Verb) -> bool) -> Option<&Known> {
        self.applied(counts).pop()
    }

    /// The question for what differs, after this command.
    pub(super) fn question(&self, after: Option<Key>) -> Question {
        let after = after.map(|(issued, nonce)| (issued.0, nonce.0));
        Question { digests: self.digests.to_vec(), after }
    }

    /// Whether whoever asks knows other things.
    pub(super) fn differs(&self, question: &Question) -> bool {
        question.digests != self.digests
    }

    /// The answer.
    pub(super) fn page(&self, question: &Question) -> Page {
        let after = question.after.map(|(issued, nonce)| (WallTime(issued), Nonce(nonce)));
        let differs = |key: &Key| question.digests.get(bucket(key)) != Some(&self.digests[bucket(key)]);
        let mut asked =
            self.known.iter().filter(|(key, _)| after.is_none_or(|after| **key > after) && differs(key));
        let claims = (asked.by_ref().take(MAX_ON_PAGE))
            .map(|(_, known)| Claim {
                command: known.command.encode(),
                decision: known.decision,
                decided_us: known.decided.0,
            })
            .collect();
        Page { claims, more: asked.next().is_some() }
    }
}

impl Known {
    fn gives_way_to(&self, other: &Self) -> bool {
        if !other.first_hand {
            return !self.first_hand;
        }
        let (own, its) = (rank(self.decision), rank(other.decision));
        its < own || its == own && !self.first_hand
    }

    fn matter(&self) -> Option<Matter> {
        matter_of(self.command.verb(), self.decision)
    }
}

/// What a command has the last word on until another does, if it was applied.
fn matter_of(verb: &Verb, decision: Decision) -> Option<Matter> {
    if decision != Decision::Applied {
        return None;
    }
    match verb {
        Verb::Ice(IceVerb::FreezeCluster { .. } | IceVerb::ThawCluster) => Some(Matter::Freeze),
        Verb::Admin(AdminVerb::EnterMaintenance { node }) => Some(Matter::Leave(*node)),
        Verb::Admin(AdminVerb::ExitMaintenance { node }) => Some(Matter::Return(*node)),
        Verb::Admin(
            AdminVerb::Drain { node } | AdminVerb::Cordon { node } | AdminVerb::Uncordon { node },
        ) => Some(Matter::Cordon(*node)),
        _ => None,
    }
}

impl Question {
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::versioned(VERSION, self)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        wire::decode(rest).ok().filter(|question: &Self| question.digests.len() == BUCKETS)
    }
}

impl Page {
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::versioned(VERSION, self)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        wire::decode(rest).ok().filter(|page: &Self| page.claims.len() <= MAX_ON_PAGE)
    }
}

#[cfg(test)]
mod tests;
