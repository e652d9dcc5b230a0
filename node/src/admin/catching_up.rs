//! Learning what was commanded while this node was not there: whom it asks, when, and whom it believes.
//!
//! In a *round* a node asks a few of its neighbours at the same time what they know that it does not, page by page. What
//! operators commanded they prove by the signed command. What became of it rests on their word: on that of most of them,
//! and nothing is believed before all have answered or had the time to. So one that lies is outvoted where others know
//! better; and where nobody does, it can have nothing believed but what operators have signed.
//!
//! A node that begins its life does not know which nonces are used up, nor what is frozen. Until a neighbour has told it all, it
//! is *behind*: it had better decide on no command, and tell nobody what it knows, or another that is behind as well would take
//! that for everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_shared::{Decision, NodeId};

use super::{
    AdminCommit, SignedCommand,
    history::{CAPACITY, Key, MAX_ON_PAGE, Page, key_of},
};
use crate::{
    identity::keyed_hash,
    time::{Instant, Now, WallTime},
};

/// The most neighbours asked in a round.
const INFORMANTS: usize = 5;

/// How long they have.
const BUDGET: Duration = Duration::from_secs(2);

/// How long a round waits after its cause, for others to come up beside it.
const DELAY: Duration = Duration::from_millis(200);

/// How long after a round the next begins, if there is a cause: it brought something.
const AFTER_NEWS: Duration = Duration::from_millis(500);

/// The same, if it did not; twice as long each time it differs and brings nothing.
const AFTER_NOTHING: Duration = Duration::from_secs(2);

/// The most often that is doubled.
const MOST_DOUBLINGS: u32 = 5;

/// How long after a round the next begins without a cause.
const REGULARLY: Duration = Duration::from_mins(1);

/// The same for a node that is behind, if nobody answered.
const AFTER_SILENCE: Duration = Duration::from_millis(500);

/// How long after it is not behind any more it asks once more: what was being decided on when it first asked is decided then.
const ONCE_MORE: Duration = Duration::from_secs(5);

/// How long a node is behind at most. Whoever could have told it is not to be reached, or began its life as late.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for one that has nobody to ask.
const ALONE: Duration = Duration::from_secs(3);

const CHOICE_LABEL: &[u8] = b"meshground informants 1";

/// Something that others say of a command, whose signatures hold.
#[derive(Debug)]
pub(super) struct Hearsay {
    pub(super) command: SignedCommand,
    /// What they say became of it, and when.
    pub(super) votes: Vec<(Decision, Vec<WallTime>)>,
}

/// When and whom this node asks, and what it was told so far.
#[derive(Debug)]
pub struct CatchingUp {
    me: NodeId,
    round: Option<Round>,
    /// Counts rounds, so that others are asked each time.
    count: u64,
    due: Instant,
    not_before: Instant,
    fruitless: u32,
    born: Instant,
    /// Since when a neighbour has told it all there was.
    caught_up: Option<Instant>,
}

#[derive(Debug)]
struct Round {
    informants: BTreeMap<NodeId, Informant>,
    hearsay: BTreeMap<Key, Hearsay>,
    /// Whether anybody knows anything else.
    differs: bool,
    until: Instant,
}

#[derive(Debug, Default)]
struct Informant {
    /// The last command it told.
    last: Option<Key>,
    told: usize,
    /// Whether it has no more to say, does not answer, or has said what cannot be.
    is_done: bool,
    has_answered: bool,
    has_told_all: bool,
}

impl CatchingUp {
    /// That of a node which begins its life; with others that have no more behind them if it `founds` a cluster.
    pub fn new(me: NodeId, now: Instant, founds: bool) -> Self {
        Self {
            me,
            round: None,
            count: 0,
            due: now + DELAY,
            not_before: now,
            fruitless: 0,
            born: now,
            caught_up: founds.then_some(now),
        }
    }

    /// Whether this node may not know yet what was commanded before its life, and somebody may still tell it. It is so for 10 s
    /// at most, and for 3 s while it has no neighbours.
    pub fn is_behind(&self, now: Instant, has_neighbours: impl FnOnce() -> bool) -> bool {
        let is_new = self.caught_up.is_none() && now < self.born + PATIENCE;
        is_new && (now < self.born + ALONE || has_neighbours())
    }

    /// There is a cause to ask: a node is there, or there again, or knows other things.
    pub fn hurry(&mut self, now: Instant) {
        self.due = self.due.min((now + DELAY).max(self.not_before));
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Instant {
        self.round.as_ref().map_or(self.due, |round| round.until)
    }

    /// Does what is due. `neighbours` are those that can be asked. Returns the questions; answers go to
    /// [`on_page`](Self::on_page).
    pub fn handle_timeout(
        &mut self,
        now: Now,
        admin: &mut AdminCommit,
        neighbours: impl FnOnce() -> Vec<NodeId>,
    ) -> Vec<(NodeId, Vec<u8>)> {
        if self.poll_timeout() > now.instant {
            return Vec::new();
        }
        if self.round.is_some() {
            self.conclude(now, admin);
            return Vec::new();
        }
        self.count += 1;
        let chosen = self.choose(neighbours());
        if chosen.is_empty() {
            self.due = now.instant + REGULARLY;
            return Vec::new();
        }
        let informants = chosen.iter().map(|node| (*node, Informant::default())).collect();
        let until = now.instant + BUDGET;
        self.round = Some(Round { informants, hearsay: BTreeMap::new(), differs: false, until });
        let question = admin.ask_for_history(None);
        chosen.into_iter().map(|node| (node, question.clone())).collect()
    }

    /// Others in each round, as chance has it.
    fn choose(&self, neighbours: Vec<NodeId>) -> BTreeSet<NodeId> {
        let lot = |node: &NodeId| {
            let bytes = [self.me.0.to_le_bytes(), self.count.to_le_bytes(), node.0.to_le_bytes()].concat();
            keyed_hash(CHOICE_LABEL, &bytes)
        };
        let mut neighbours: Vec<NodeId> = neighbours.into_iter().filter(|node| *node != self.me).collect();
        neighbours.sort_by_cached_key(lot);
        neighbours.truncate(INFORMANTS);
        neighbours.into_iter().collect()
    }

    /// A neighbour has answered, or does not. Returns the next question for it, if there is one.
    pub fn on_page(
        &mut self,
        now: Now,
        from: NodeId,
        answer: Option<&[u8]>,
        admin: &mut AdminCommit,
    ) -> Option<Vec<u8>> {
        let round = self.round.as_mut()?;
        let informant = round.informants.get_mut(&from).filter(|informant| !informant.is_done)?;
        let page = answer.and_then(Page::parse);
        informant.has_answered |= page.is_some();
        let sound = page.is_some_and(|page| {
            round.differs |= !page.claims.is_empty();
            let more = page.more && !page.claims.is_empty();
            let is_sound = read(now, page, informant, &mut round.hearsay, admin);
            informant.has_told_all = is_sound && !more;
            is_sound && more
        });
        if sound && informant.told <= CAPACITY + MAX_ON_PAGE {
            return Some(admin.ask_for_history(informant.last));
        }
        informant.is_done = true;
        if round.informants.values().all(|informant| informant.is_done) {
            self.conclude(now, admin);
        }
        None
    }

    /// All have answered, or had the time to.
    fn conclude(&mut self, now: Now, admin: &mut AdminCommit) {
        let Some(round) = self.round.take() else { return };
        let answered = round.informants.values().filter(|informant| informant.has_answered).count();
        let learned = admin.believe(now, answered, round.hearsay);
        self.fruitless = if round.differs && !learned { self.fruitless.saturating_add(1) } else { 0 };
        let pause =
            if learned { AFTER_NEWS } else { AFTER_NOTHING * 2_u32.pow(self.fruitless.min(MOST_DOUBLINGS)) };
        self.not_before = now.instant + pause;
        if round.informants.values().any(|informant| informant.has_told_all) {
            self.caught_up.get_or_insert(now.instant);
        }
        self.due = match self.caught_up {
            None if answered == 0 && now.instant < self.born + PATIENCE => {
                self.not_before = now.instant + AFTER_SILENCE;
                self.not_before
            }
            _ if learned => self.not_before,
            // Whoever was asked sees that something differs, if it still does.
            Some(since) if now.instant < since + ONCE_MORE && since != self.born => now.instant + ONCE_MORE,
            _ => now.instant + REGULARLY,
        };
    }

    /// How many commands others have told in the round under way, for whoever checks bounds.
    pub fn held(&self) -> usize {
        self.round.as_ref().map_or(0, |round| round.hearsay.len())
    }
}

/// Takes what a page says, up to the first thing that cannot be. Whether all of it could.
fn read(
    now: Now,
    page: Page,
    informant: &mut Informant,
    hearsay: &mut BTreeMap<Key, Hearsay>,
    admin: &AdminCommit,
) -> bool {
    for claim in page.claims {
        let Ok(command) = SignedCommand::parse(&claim.command) else { return false };
        let key = key_of(&command);
        if informant.last.is_some_and(|last| key <= last) || !claim.decision.is_final() {
            return false;
        }
        informant.last = Some(key);
        informant.told += 1;
        if !admin.wants_to_hear(&command, claim.decision) {
            continue;
        }
        if !hearsay.contains_key(&key) {
            if hearsay.len() >= CAPACITY {
                return false;
            }
            if !admin.vouches_for(now, &command) {
                return false;
            }
            hearsay.insert(key, Hearsay { command: command.clone(), votes: Vec::new() });
        }
        let Some(heard) = hearsay.get_mut(&key).filter(|heard| heard.command.says_the_same(&command)) else {
            continue;
        };
        let decided = WallTime(claim.decided_us);
        match heard.votes.iter_mut().find(|(decision, _)| *decision == claim.decision) {
            Some((_, times)) => times.push(decided),
            None => heard.votes.push((claim.decision, vec![decided])),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use meshground_shared::{AdminVerb, Health, Maintenance, Rejection};

    use super::*;
    use crate::admin::{
        AdminCommand, AdminVerifier, ClusterPicture, NodePicture, Nonce, OperatorKey, Operators,
        StandingState, history::Claim,
    };

    const UNREACHABLE: Decision = Decision::Rejected(Rejection::Unreachable);

    fn at(seconds: u64) -> Now {
        let micros = seconds * 1_000_000;
        Now { instant: Instant::from_micros(micros), wall: WallTime(1_000_000_000_000 + micros) }
    }

    fn command(number: u8) -> SignedCommand {
        signed(number, AdminVerb::Cordon { node: NodeId(9) })
    }

    fn signed(number: u8, verb: AdminVerb) -> SignedCommand {
        let issued = WallTime(at(0).wall.0 + u64::from(number));
        AdminCommand::new(verb, issued, Nonce([number; 16])).sign(&OperatorKey::demo(1).unwrap())
    }

    fn page(claims: &[(u8, Decision)]) -> Vec<u8> {
        let claim = |&(number, decision): &(u8, Decision)| {
            let decided_us = at(1).wall.0 + u64::from(number);
            Claim { command: command(number).encode(), decision, decided_us }
        };
        Page { claims: claims.iter().map(claim).collect(), more: false }.encode()
    }

    fn node() -> (CatchingUp, AdminCommit) {
        let verifier = AdminVerifier::allow_demo(Operators::demo());
        (CatchingUp::new(NodeId(9), at(0).instant, false), AdminCommit::new(NodeId(9), 1, verifier))
    }

    /// A round in which neighbours 1 and up say this; `None` says nothing at all.
    fn round(
        (catching_up, admin): &mut (CatchingUp, AdminCommit),
        now: Now,
        said: &[Option<Vec<u8>>],
    ) -> Vec<(u8, Decision)> {
        let neighbours = || (1..=said.len() as u64).map(NodeId).collect();
        let asked = catching_up.handle_timeout(now, admin, neighbours);
        assert_eq!(asked.len(), said.len(), "it is due");
        for (id, page) in (1..).zip(said) {
            if let Some(page) = page {
                catching_up.on_page(now, NodeId(id), Some(page), admin);
            }
        }
        if said.contains(&None) {
            assert!(admin.poll_decided().is_none(), "it waits for all");
            let late = Now { instant: now.instant + BUDGET, ..now };
            catching_up.handle_timeout(late, admin, Vec::new);
        }
        let numbers = std::iter::from_fn(|| admin.poll_decided());
        numbers.map(|entry| (u8::from_str_radix(&entry.nonce[..2], 16).unwrap(), entry.decision)).collect()
    }

    #[test]
    fn what_most_say_is_believed_once_all_have_answered_or_had_the_time_to() {
        let mut node = node();
        let truth = Some(page(&[(1, Decision::Applied), (2, UNREACHABLE)]));
        let lie = Some(page(&[(1, UNREACHABLE), (2, Decision::Applied)]));
        let learned = round(&mut node, at(10), &[lie, truth.clone(), None, truth]);
        assert_eq!(learned, [(1, Decision::Applied), (2, UNREACHABLE)]);
        assert_eq!(node.1.known(), 2);
    }

    #[test]
    fn what_only_one_knows_of_is_believed_for_its_operators_signed_it() {
        let mut node = node();
        let nothing = Some(page(&[]));
        let one = Some(page(&[(1, Decision::Applied)]));
        assert_eq!(round(&mut node, at(10), &[nothing.clone(), one, nothing]), [(1, Decision::Applied)]);
    }

    #[test]
    fn what_was_believed_of_one_is_corrected_by_most_and_not_by_another_one() {
        let mut node = node();
        let lie = Some(page(&[(1, Decision::Applied)]));
        let truth = Some(page(&[(1, UNREACHABLE)]));
        let nothing = Some(page(&[]));
        assert_eq!(round(&mut node, at(10), std::slice::from_ref(&lie)), [(1, Decision::Applied)]);
        assert_eq!(round(&mut node, at(100), std::slice::from_ref(&truth)), []);
        let half = [truth.clone(), truth.clone(), nothing.clone(), nothing];
        assert_eq!(round(&mut node, at(200), &half), []);
        let most = [truth.clone(), lie, truth];
        assert_eq!(round(&mut node, at(300), &most), [(1, UNREACHABLE)]);
    }

    #[test]
    fn a_node_is_behind_until_one_has_told_it_all_and_not_for_ever() {
        let at = |millis: u64| Now { instant: Instant::from_micros(millis * 1_000), wall: at(0).wall };
        let (mut catching_up, mut admin) = node();
        let is_behind = |millis, has_neighbours| catching_up.is_behind(at(millis).instant, || has_neighbours);
        assert!(is_behind(9_999, true) && !is_behind(10_000, true));
        assert!(is_behind(2_999, false) && !is_behind(3_000, false));
        assert!(!CatchingUp::new(NodeId(9), at(0).instant, true).is_behind(at(0).instant, || true));
        let mut ask = |now: Now, answer: Option<&[u8]>| {
            for (to, _) in catching_up.handle_timeout(now, &mut admin, || vec![NodeId(1)]) {
                while catching_up.on_page(now, to, answer, &mut admin).is_some() {}
            }
            catching_up.is_behind(now.instant, || true)
        };
        assert!(ask(at(200), None), "it said nothing");
        assert!(ask(at(700), Some(&[1, 2, 3])), "nor anything that means something");
        let backwards = page(&[(2, UNREACHABLE), (1, UNREACHABLE)]);
        assert!(ask(at(3_000), Some(&backwards)), "it said what cannot be");
        let mut first = Page::parse(&page(&[(1, UNREACHABLE)])).unwrap();
        first.more = true;
        assert!(ask(at(6_000), Some(&first.encode())), "nor can it be that there is ever more");
        let all = page(&[(1, UNREACHABLE), (2, UNREACHABLE), (3, UNREACHABLE)]);
        assert!(!ask(at(8_000), Some(&all)));
        // What was being decided on meanwhile nobody could tell.
        let due: Vec<u64> = (0..3)
            .map(|_| {
                let due = catching_up.poll_timeout();
                for (to, _) in
                    catching_up.handle_timeout(at(due.as_micros() / 1_000), &mut admin, || vec![NodeId(1)])
                {
                    catching_up.on_page(at(due.as_micros() / 1_000), to, Some(&all), &mut admin);
                }
                due.as_micros() / 1_000
            })
            .collect();
        assert_eq!(due, [8_500, 13_500, 73_500]);
    }

    #[test]
    fn whoever_says_what_cannot_be_is_heard_no_further() {
        let mut node = node();
        let backwards = Some(page(&[(2, Decision::Applied), (1, Decision::Applied), (3, Decision::Applied)]));
        assert_eq!(round(&mut node, at(10), &[backwards]), [(2, Decision::Applied)]);
        let replayed = Decision::Rejected(Rejection::NonceReplayed);
        assert!(!replayed.is_final());
        let open = Some(page(&[(4, replayed), (5, Decision::Applied)]));
        assert_eq!(round(&mut node, at(100), &[open]), []);
        let mut forged = page(&[(6, Decision::Applied)]);
        let last = forged.len() - 12;
        forged[last] ^= 1;
        assert_eq!(round(&mut node, at(200), &[Some(forged)]), []);
        assert_eq!(round(&mut node, at(300), &[Some(vec![1, 2, 3])]), []);
        let strange = command(7).cosign(&OperatorKey::from_seed("stranger", [1; 32]));
        let claim = Claim { command: strange.encode(), decision: Decision::Applied, decided_us: 0 };
        let strange = Page { claims: vec![claim], more: true }.encode();
        assert_eq!(round(&mut node, at(400), &[Some(strange)]), []);
    }

    #[test]
    fn who_brings_nothing_is_asked_less_and_less() {
        let (mut catching_up, mut admin) = node();
        // It knows something that it says otherwise each time, so something always differs.
        let (mut now, mut rounds) = (at(1), 0);
        while now.instant < at(601).instant {
            catching_up.hurry(now.instant);
            for (to, _) in catching_up.handle_timeout(now, &mut admin, || vec![NodeId(1)]) {
                rounds += 1;
                let useless = page(&[(1, Decision::Rejected(Rejection::NonceReplayed))]);
                catching_up.on_page(now, to, Some(&useless), &mut admin);
            }
            now = Now { instant: now.instant + Duration::from_millis(100), ..now };
        }
        assert!((10..20).contains(&rounds), "{rounds} in ten minutes");
        assert_eq!(admin.known(), 0);
    }

    /// Command `number` is carried out on this node while it serves so.
    fn carry_out(admin: &mut AdminCommit, now: Now, number: u8, verb: AdminVerb, maintenance: Maintenance) {
        let mut picture = ClusterPicture::new(NodeId(9));
        picture.nodes.insert(NodeId(9), NodePicture { health: Health::Healthy, maintenance });
        admin.submit(now, &signed(number, verb), &picture);
        assert_eq!(admin.poll_decided().map(|entry| entry.decision), Some(Decision::Applied));
    }

    /// A round in which one neighbour says that command `number` was applied, and what stands by that.
    fn hear(
        node: &mut (CatchingUp, AdminCommit),
        now: Now,
        number: u8,
        verb: AdminVerb,
    ) -> Option<StandingState> {
        let command = signed(number, verb);
        let decided_us = command.issued().0;
        let claim = Claim { command: command.encode(), decision: Decision::Applied, decided_us };
        let page = Page { claims: vec![claim], more: false }.encode();
        assert_eq!(round(node, now, &[Some(page)]).len(), 1);
        node.1.poll_standing().map(|standing| standing.what)
    }

    #[test]
    fn a_node_that_is_cordoned_and_in_service_stays_so_when_others_had_it_come_back_while_it_was_away() {
        let (me, mut node) = (NodeId(9), node());
        let drain = AdminVerb::Drain { node: me };
        assert_eq!(hear(&mut node, at(30), 1, drain), Some(StandingState::Cordoned));
        let exit = AdminVerb::ExitMaintenance { node: me };
        assert_eq!(hear(&mut node, at(100), 2, exit), Some(StandingState::Cordoned));
    }

    #[test]
    fn what_one_round_began_another_ends_though_the_node_was_told_something_itself_since() {
        let me = NodeId(9);
        let mut node = node();
        carry_out(&mut node.1, at(20), 3, AdminVerb::Cordon { node: me }, Maintenance::Active);
        let enter = AdminVerb::EnterMaintenance { node: me };
        assert_eq!(hear(&mut node, at(30), 1, enter), Some(StandingState::OutOfService));
        let exit = AdminVerb::ExitMaintenance { node: me };
        assert_eq!(
            hear(&mut node, at(100), 2, exit),
            Some(StandingState::Cordoned),
            "of which it was told itself"
        );
    }

    #[test]
    fn what_a_node_has_ended_itself_nothing_ends_once_more_that_it_hears_of_later() {
        let me = NodeId(9);
        let mut node = node();
        let enter = AdminVerb::EnterMaintenance { node: me };
        assert_eq!(hear(&mut node, at(30), 1, enter), Some(StandingState::OutOfService));
        let exit = AdminVerb::ExitMaintenance { node: me };
        carry_out(&mut node.1, at(40), 3, exit, Maintenance::Maintenance);
        let uncordon = AdminVerb::Uncordon { node: me };
        assert_eq!(hear(&mut node, at(100), 2, uncordon), None);
    }

    #[test]
    fn a_nonce_that_others_used_up_is_used_up_here() {
        let mut node = node();
        round(&mut node, at(1), &[Some(page(&[(1, UNREACHABLE)]))]);
        let picture = ClusterPicture::new(NodeId(9));
        node.1.submit(at(2), &command(1), &picture);
        let decisions: Vec<Decision> =
            std::iter::from_fn(|| node.1.poll_decided()).map(|entry| entry.decision).collect();
        assert_eq!(decisions, [Decision::Rejected(Rejection::NonceReplayed)]);
        assert_eq!(node.1.trail().iter().len(), 2);
    }
}
