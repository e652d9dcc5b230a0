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
mod tests {
    use meshground_shared::{AdminVerb, IceVerb, NodeId, Rejection};

    use super::*;
    use crate::admin::{AdminCommand, IceProposal};

    fn known(number: u16, decision: Decision, first_hand: bool) -> Known {
        let mut nonce = [0; 16];
        nonce[..2].copy_from_slice(&number.to_le_bytes());
        let issued = WallTime(1_000 + u64::from(number));
        let command =
            AdminCommand::new(AdminVerb::Drain { node: NodeId(1) }, issued, Nonce(nonce)).unsigned();
        Known { command, decision, decided: WallTime(2_000), first_hand }
    }

    fn of(numbers: impl IntoIterator<Item = u16>) -> History {
        let mut history = History::default();
        for number in numbers {
            history.note(known(number, Decision::Applied, true));
        }
        history
    }

    /// What one lacks of another, page by page, with the number of pages.
    fn fetch(here: &History, there: &History) -> (Vec<Key>, usize) {
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let question = Question::parse(&here.question(found.last().copied()).encode()).unwrap();
            let page = Page::parse(&there.page(&question).encode()).unwrap();
            pages += 1;
            found.extend(page.claims.iter().map(|it| key_of(&SignedCommand::parse(&it.command).unwrap())));
            if !page.more {
                return (found, pages);
            }
        }
    }

    #[test]
    fn who_knows_the_same_is_told_nothing_in_whatever_order_it_came() {
        let (one, other) = (of(0..300), of((0..300).rev()));
        assert!(!one.differs(&other.question(None)));
        assert_eq!(fetch(&one, &other), (vec![], 1));
    }

    #[test]
    fn what_one_lacks_is_told_page_by_page_and_little_beside_it() {
        let all = of(0..1_000);
        let (found, pages) = fetch(&of([]), &all);
        assert_eq!((found.len(), pages), (1_000, 16));
        assert!(found.is_sorted());
        let most = of((0..1_000).filter(|number| *number != 500));
        let (found, pages) = fetch(&most, &all);
        assert!(found.contains(&key_of(&known(500, Decision::Applied, true).command)));
        assert!(pages == 1 && found.len() < 64, "{} in {pages}", found.len());
    }

    #[test]
    fn the_latest_commands_are_kept_whoever_tells_of_them_when() {
        let most = u16::try_from(CAPACITY).unwrap();
        let (one, other) = (of(0..most + 10), of((0..most + 10).rev()));
        assert_eq!((one.len(), one.forgotten()), (CAPACITY, 10));
        assert!(!one.differs(&other.question(None)));
        let has_room = |number| {
            let Known { command, decision, .. } = known(number, Decision::Applied, true);
            one.has_room_for(&command, decision)
        };
        assert!(!has_room(5));
        assert!(has_room(most + 11));
    }

    /// A command that counts, as number so and so, long after the one before.
    fn applied(number: u16, verb: Verb) -> Known {
        applied_at(number, u64::from(number) * 400_000_000, verb)
    }

    fn applied_at(number: u16, issued: u64, verb: Verb) -> Known {
        let issued = WallTime(issued);
        let nonce = known(number, Decision::Applied, true).command.nonce();
        let command = match verb {
            Verb::Admin(verb) => AdminCommand::new(verb, issued, nonce).unsigned(),
            Verb::Ice(verb) => {
                let radius = meshground_shared::BlastRadius::default();
                IceProposal::new(verb).simulated(radius).unsigned(issued, nonce)
            }
        };
        Known { command, decision: Decision::Applied, decided: issued, first_hand: true }
    }

    #[test]
    fn what_still_stands_is_kept_however_much_comes_after_it_and_whoever_tells_of_it_when() {
        let [one, two] = [NodeId(1), NodeId(2)];
        let admin = |verb| Verb::Admin(verb);
        let first = [
            admin(AdminVerb::Cordon { node: one }),
            admin(AdminVerb::Uncordon { node: one }),
            admin(AdminVerb::Cordon { node: one }),
            admin(AdminVerb::EnterMaintenance { node: two }),
            Verb::Ice(IceVerb::ThawCluster),
            Verb::Ice(IceVerb::FreezeCluster { ttl_ms: 1 }),
        ];
        let most = u16::try_from(CAPACITY).unwrap();
        let mut all: Vec<Known> = (0..).zip(first).map(|(number, verb)| applied(number, verb)).collect();
        let restart = AdminVerb::RestartAllDaemons { node: one };
        all.extend((6..most + 50).map(|number| applied(number, admin(restart.clone()))));
        let (mut forth, mut back) = (History::default(), History::default());
        for known in &all {
            forth.note(known.clone());
        }
        for known in all.iter().rev() {
            assert_eq!(
                back.has_room_for(&known.command, known.decision),
                back.len() < CAPACITY
                    || [2, 3, 5].map(|it: usize| &all[it].command).contains(&&known.command),
            );
            back.note(known.clone());
        }
        for history in [&forth, &back] {
            assert_eq!((history.len(), history.forgotten()), (CAPACITY, 50));
            let first: Vec<Key> = history.known.keys().take(4).copied().collect();
            assert_eq!(first, [2, 3, 5, 53].map(|it: usize| key_of(&all[it].command)));
        }
        assert!(!forth.differs(&back.question(None)));
    }

    #[test]
    fn what_a_node_came_back_from_is_kept_with_its_coming_back() {
        let node = NodeId(1);
        let words = [
            AdminVerb::Cordon { node },
            AdminVerb::EnterMaintenance { node },
            AdminVerb::ExitMaintenance { node },
        ];
        let words: Vec<Known> =
            (0..).zip(words).map(|(number, verb)| applied(number, Verb::Admin(verb))).collect();
        let mut history = History::default();
        for known in &words {
            history.note(known.clone());
        }
        for number in 3..u16::try_from(CAPACITY).unwrap() + 50 {
            history.note(applied(number, Verb::Admin(AdminVerb::RestartAllDaemons { node })));
        }
        let first: Vec<Key> = history.known.keys().take(3).copied().collect();
        assert!(first.iter().copied().eq(words.iter().map(|it| key_of(&it.command))), "{first:?}");
    }

    #[test]
    fn nodes_whose_clocks_differ_keep_the_same_and_what_was_decided_last_among_it() {
        let node = NodeId(1);
        let second = 1_000_000;
        let words = [
            applied_at(0, 0, Verb::Admin(AdminVerb::EnterMaintenance { node })),
            applied_at(1, 1_000 * second, Verb::Admin(AdminVerb::ExitMaintenance { node })),
            applied_at(2, 1_010 * second, Verb::Admin(AdminVerb::EnterMaintenance { node })),
        ];
        let restart = Verb::Admin(AdminVerb::RestartAllDaemons { node });
        let keep = |decided: [u64; 3]| {
            let mut history = History::default();
            for (word, decided) in words.iter().zip(decided) {
                history.note(Known { decided: WallTime(decided * second), ..word.clone() });
            }
            for number in 10..u16::try_from(CAPACITY).unwrap() + 10 {
                history.note(applied(number, restart.clone()));
            }
            history
        };
        let [one, other] = [[5, 1_020, 1_025], [5, 1_020, 1_015]].map(keep);
        assert!(!one.differs(&other.question(None)));
        assert_eq!(
            one.known.keys().take(2).copied().collect::<Vec<_>>(),
            [1, 2].map(|it| key_of(&words[it].command))
        );
        assert!(!one.has_room_for(&words[0].command, Decision::Applied), "it was over before");
    }

    #[test]
    fn of_one_matter_a_few_are_kept_however_fast_it_changes() {
        let node = NodeId(1);
        let restart = Verb::Admin(AdminVerb::RestartAllDaemons { node });
        let mut history = History::default();
        for number in 0..100 {
            history.note(applied_at(number, number.into(), Verb::Admin(AdminVerb::Cordon { node })));
        }
        for number in 100..u16::try_from(CAPACITY).unwrap() + 100 {
            history.note(applied(number, restart.clone()));
        }
        let cordons = history.known.values().filter(|known| known.matter().is_some());
        assert_eq!(cordons.count(), MAX_WORDS);
    }

    #[test]
    fn of_many_matters_that_change_fast_no_more_is_kept_either_and_of_each_the_last() {
        let most = u16::try_from(CAPACITY).unwrap();
        let mut history = History::default();
        for number in 0..2 * most {
            let node = NodeId(u64::from(number % 300));
            history.note(applied_at(number, number.into(), Verb::Admin(AdminVerb::Cordon { node })));
        }
        assert_eq!((history.len(), history.standing(None).len()), (CAPACITY, MAX_STANDING));
        let kept: Vec<u64> = history.standing(None).iter().map(|(issued, _)| issued.0).collect();
        assert!(kept.iter().copied().eq(u64::from(most + most / 2)..u64::from(2 * most)), "{kept:?}");
    }

    #[test]
    fn so_much_that_stands_that_nothing_else_has_room_is_not_kept() {
        let most = u16::try_from(CAPACITY).unwrap();
        let mut history = History::default();
        for number in 0..2 * most {
            let node = NodeId(u64::from(number));
            history.note(applied(number, Verb::Admin(AdminVerb::Cordon { node })));
        }
        let restart = AdminVerb::RestartAllDaemons { node: NodeId(1) };
        for number in 2 * most..4 * most {
            history.note(applied(number, Verb::Admin(restart.clone())));
        }
        assert_eq!((history.len(), history.standing(None).len()), (CAPACITY, MAX_STANDING));
        let stands = applied(0, Verb::Admin(AdminVerb::Cordon { node: NodeId(9_999) }));
        assert!(!history.has_room_for(&stands.command, stands.decision));
    }

    #[test]
    fn what_this_node_decided_stays_and_what_it_heard_does_not_have_to() {
        let rejected = Decision::Rejected(Rejection::Unreachable);
        let mut history = History::default();
        let decision =
            |history: &History| history.get(&key_of(&known(1, rejected, true).command)).unwrap().decision;
        history.note(known(1, rejected, false));
        history.note(known(1, Decision::Applied, false));
        assert_eq!(decision(&history), Decision::Applied);
        history.note(known(1, rejected, true));
        assert_eq!(decision(&history), Decision::Applied, "another attempt does not undo it");
        history.note(known(1, rejected, false));
        assert_eq!(decision(&history), rejected, "it was not so");
        history.note(known(1, rejected, true));
        history.note(known(1, Decision::Applied, false));
        assert_eq!(decision(&history), rejected, "it was there");
        history.note(known(1, Decision::Applied, true));
        history.note(known(1, rejected, true));
        assert_eq!(decision(&history), Decision::Applied, "of two own ones");
        assert!(!history.differs(&of([1]).question(None)));
    }

    #[test]
    fn of_several_decisions_the_same_is_left_in_whatever_order_they_were_made() {
        let all = [
            Decision::Applied,
            Decision::Rejected(Rejection::NotApplicable),
            Decision::Rejected(Rejection::Unreachable),
        ];
        for (first, second) in all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other))) {
            let (mut one, mut other) = (History::default(), History::default());
            for decision in [first, second] {
                one.note(known(1, decision, true));
            }
            for decision in [second, first] {
                other.note(known(1, decision, true));
            }
            assert!(!one.differs(&other.question(None)), "{first:?} and {second:?}");
            // It was not there for the first, and was told.
            let mut late = History::default();
            late.note(known(1, first, false));
            late.note(known(1, second, true));
            assert!(!late.differs(&one.question(None)), "{first:?}, and {second:?} later");
        }
    }

    #[test]
    fn of_freeze_and_thaw_the_later_counts_and_of_both_at_once_the_one_issued_later() {
        let mut history = History::default();
        let mut ice = |verb, issued, decided| {
            let simulated = IceProposal::new(verb).simulated(meshground_shared::BlastRadius::default());
            let command = simulated.unsigned(WallTime(issued), Nonce([u8::try_from(issued).unwrap(); 16]));
            let decided = WallTime(decided);
            history.note(Known { command, decision: Decision::Applied, decided, first_hand: false });
            history.latest(|_| true).unwrap().command.verb().name()
        };
        let freeze = IceVerb::FreezeCluster { ttl_ms: 1 };
        assert_eq!(ice(freeze.clone(), 10, 50), "freeze_cluster");
        assert_eq!(ice(IceVerb::ThawCluster, 20, 40), "freeze_cluster");
        assert_eq!(ice(IceVerb::ThawCluster, 30, 50), "thaw_cluster");
        assert_eq!(ice(freeze, 5, 51), "freeze_cluster");
    }

    #[test]
    fn nobody_can_put_a_decision_where_it_cannot_have_been() {
        let known = known(0, Decision::Applied, true);
        let issued = known.command.issued().0 + 1_000_000_000;
        let command =
            AdminCommand::new(AdminVerb::Drain { node: NodeId(1) }, WallTime(issued), Nonce([1; 16]));
        let command = command.unsigned();
        let at = |decided| plausible(&command, WallTime(decided)).0.wrapping_sub(issued).cast_signed();
        assert_eq!(at(issued + 7), 7);
        assert_eq!(at(0), -30_000_000);
        assert_eq!(at(u64::MAX), 360_000_000);
    }
}
