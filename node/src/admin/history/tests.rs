use meshground_shared::{AdminVerb, IceVerb, NodeId, Rejection};

use super::*;
use crate::admin::{AdminCommand, IceProposal};

fn known(number: u16, decision: Decision, first_hand: bool) -> Known {
    let mut nonce = [0; 16];
    nonce[..2].copy_from_slice(&number.to_le_bytes());
    let issued = WallTime(1_000 + u64::from(number));
    let command = AdminCommand::new(AdminVerb::Drain { node: NodeId(1) }, issued, Nonce(nonce)).unsigned();
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
            back.len() < CAPACITY || [2, 3, 5].map(|it: usize| &all[it].command).contains(&&known.command),
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
    let command = AdminCommand::new(AdminVerb::Drain { node: NodeId(1) }, WallTime(issued), Nonce([1; 16]));
    let command = command.unsigned();
    let at = |decided| plausible(&command, WallTime(decided)).0.wrapping_sub(issued).cast_signed();
    assert_eq!(at(issued + 7), 7);
    assert_eq!(at(0), -30_000_000);
    assert_eq!(at(u64::MAX), 360_000_000);
}
