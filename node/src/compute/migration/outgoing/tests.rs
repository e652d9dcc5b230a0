//! A source, asked what it does next whatever it hears.

use super::{
    super::{MAX_BYTES, Replayed, Stage},
    answers::MAX_RETRIES,
    orders::{FEW, MANY, REPLAY},
    *,
};
use crate::{
    compute::{Inbox, Luggage, NoState, SenderKey},
    daemon::{DaemonEvent, Sender},
};

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1_000)
}

fn begun() -> Outgoing {
    let mut outgoing = Outgoing::new(at(0), MigrationId(1), DaemonId(2), [NodeId(3), NodeId(4)], 2, None);
    outgoing.snapshot(at(0), Ok(Luggage { state: vec![7; 1_000], ..Luggage::default() }));
    outgoing
}

fn inbox(count: usize) -> Inbox {
    let mut inbox = Inbox::default();
    let sender = SenderKey { node: NodeId(9), life: 1 };
    let event = DaemonEvent::Message { from: Sender::Node(NodeId(9)), payload: vec![1] };
    inbox.take(sender, 1, vec![event; count]).unwrap();
    inbox
}

fn restored(waiting: &Inbox) -> Outgoing {
    let mut outgoing = begun();
    assert_eq!(outgoing.next(Some(waiting), at(0)), Some(Order::Offer));
    outgoing.offered(at(1), "kind", Ok(()));
    outgoing.told_by_target(at(2), Stage::Restored);
    outgoing
}

/// With all that waited sent and the daemon given away.
fn cut_over(waiting: &Inbox) -> Outgoing {
    let mut outgoing = restored(waiting);
    assert_eq!(outgoing.next(Some(waiting), at(3)), Some(Order::Seal));
    outgoing.sealed();
    assert!(matches!(outgoing.next(Some(waiting), at(3)), Some(Order::Cutover(_))));
    outgoing
}

#[test]
fn what_waits_goes_ahead_in_order_until_few_are_left_and_these_go_along_with_the_cutover() {
    let waiting = inbox(600);
    let mut outgoing = restored(&waiting);
    let mut sent = 0;
    loop {
        match outgoing.next(Some(&waiting), at(3)).expect("there is something to do") {
            Order::Replay(Replay { from, events, .. }) => {
                assert_eq!(from, sent);
                sent += events.len() as u64;
                outgoing.replayed(at(3), Replayed::Upto(sent));
            }
            Order::Seal => outgoing.sealed(),
            Order::Cutover(Replay { from, events, .. }) => {
                assert_eq!((from, from + events.len() as u64), (sent, 600));
                assert!(events.len() <= FEW);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    outgoing.cut(at(4), Replayed::Upto(600));
    assert_eq!((outgoing.phase(), outgoing.next(None, at(4))), (MigrationPhase::Complete, Some(Order::Drop)));
}

#[test]
fn events_that_never_end_or_an_impatient_operator_do_not_keep_it_from_the_cutover() {
    for impatient in [false, true] {
        let waiting = inbox(300);
        let mut outgoing = restored(&waiting);
        if impatient {
            outgoing.force();
        }
        let when = if impatient { at(3) } else { at(3) + REPLAY };
        if !impatient {
            assert!(matches!(outgoing.next(Some(&waiting), at(3)), Some(Order::Replay(_))));
            outgoing.replayed(at(3), Replayed::Upto(0));
        }
        assert_eq!(outgoing.next(Some(&waiting), when), Some(Order::Seal));
        outgoing.sealed();
        let Some(Order::Replay(first)) = outgoing.next(Some(&waiting), when) else { panic!("too many") };
        assert_eq!(first.events.len(), MANY);
        outgoing.replayed(when, Replayed::Upto(MANY as u64));
        assert!(matches!(outgoing.next(Some(&waiting), when), Some(Order::Cutover(_))));
    }
}

#[test]
fn after_the_cutover_only_the_target_can_give_the_daemon_back() {
    let waiting = inbox(3);
    let mut outgoing = cut_over(&waiting);
    assert_eq!(outgoing.cancel(at(4)), Err(MigrateError::TooLate));
    assert_eq!((outgoing.trouble(at(10_002)), outgoing.poll_timeout()), (None, Some(at(10_003))));
    assert_eq!(outgoing.trouble(at(10_003)), Some(Trouble::Silent));
    assert_eq!(outgoing.trouble(at(20_000)), None, "it is said once");
    outgoing.fail(at(4), MigrateError::Frozen);
    outgoing.unanswered(at(5_000));
    outgoing.handle_timeout(at(10_000_000));
    assert_eq!(outgoing.phase(), MigrationPhase::Cutover);
    let again = outgoing.next(Some(&waiting), at(10_000_000));
    assert!(matches!(again, Some(Order::Cutover(Replay { events, .. })) if events.len() == 3));
    outgoing.cut(at(10_000_001), Replayed::Unknown);
    assert_eq!(outgoing.next(None, at(10_000_001)), Some(Order::Stay));
}

#[test]
fn a_lost_answer_to_the_cutover_is_made_up_for_by_whatever_else_tells_of_the_daemon() {
    let mut outgoing = cut_over(&inbox(0));
    outgoing.seen_live(at(5), 1);
    assert_eq!(outgoing.phase(), MigrationPhase::Cutover, "an earlier incarnation proves nothing");
    outgoing.seen_live(at(5), 2);
    assert_eq!(outgoing.phase(), MigrationPhase::Complete);
    let mut outgoing = cut_over(&inbox(0));
    outgoing.told_by_target(at(5), Stage::Live);
    assert_eq!(outgoing.phase(), MigrationPhase::Complete);
}

#[test]
fn a_target_that_has_left_gives_the_daemon_back_in_any_phase() {
    let waiting = inbox(3);
    for mut outgoing in [begun(), restored(&waiting)] {
        outgoing.target_left(at(5));
        assert_eq!(outgoing.next(Some(&waiting), at(5)), Some(Order::Stay));
    }
    let mut outgoing = cut_over(&waiting);
    outgoing.target_left(at(2) + RETURNS);
    assert_eq!(outgoing.next(Some(&waiting), at(2) + RETURNS), Some(Order::Stay));
    let mut outgoing = cut_over(&waiting);
    outgoing.seen_live(at(4), 2);
    outgoing.target_left(at(5));
    assert_eq!(outgoing.next(Some(&waiting), at(5)), Some(Order::Drop), "it has arrived, and is lost there");
}

#[test]
fn a_target_that_is_gone_or_another_so_late_that_it_may_have_let_it_move_on_gives_nothing_back_and_that_is_said()
 {
    let waiting = inbox(3);
    let late = at(3) + RETURNS;
    for leaves in [true, false] {
        let mut outgoing = cut_over(&waiting);
        assert_eq!(outgoing.trouble(late), Some(Trouble::Silent));
        for _ in 0..2 {
            if leaves {
                outgoing.target_left(late);
            } else {
                outgoing.cut(late, Replayed::Forgotten);
            }
        }
        assert_eq!(outgoing.phase(), MigrationPhase::Cutover);
        let why = if leaves { HAS_LEFT } else { BEGAN_ANEW };
        assert_eq!(outgoing.trouble(late), Some(Trouble::Gone(why)));
        assert_eq!(outgoing.trouble(late), None, "it is said once");
        outgoing.cut(late, Replayed::Unknown);
        assert_eq!(outgoing.next(None, late), Some(Order::Stay), "one that never ran it says so at any time");
    }
    let mut outgoing = cut_over(&waiting);
    outgoing.cut(at(5), Replayed::Forgotten);
    assert_eq!(outgoing.next(None, at(5)), Some(Order::Stay));
}

#[test]
fn nothing_is_offered_before_it_is_heard_where_the_daemon_came_from_that_it_arrived_or_that_is_given_up() {
    let (waiting, origin) = (inbox(3), Some((NodeId(7), at(10_000))));
    let mut outgoing = begun();
    outgoing.await_origin(at(0), origin);
    assert_eq!(outgoing.next(Some(&waiting), at(0)), None);
    assert_eq!(outgoing.poll_timeout(), Some(at(10_000)));
    outgoing.handle_timeout(at(9_999));
    outgoing.await_origin(at(9_999), None);
    assert_eq!(outgoing.next(Some(&waiting), at(9_999)), Some(Order::Offer));
    outgoing.handle_timeout(at(19_998));
    assert_eq!(outgoing.phase(), MigrationPhase::Transfer, "the target has its own time");
    let mut outgoing = begun();
    outgoing.await_origin(at(0), origin);
    assert_eq!(outgoing.next(Some(&waiting), at(0)), None);
    outgoing.handle_timeout(at(10_000));
    assert_eq!(outgoing.outcome(), Some(&Err(MigrateError::Unheard(NodeId(7)))));
    assert_eq!(outgoing.next(Some(&waiting), at(10_000)), Some(Order::Stay));
}

#[test]
fn before_the_cutover_it_can_be_called_off_and_silence_ends_it() {
    let waiting = inbox(3);
    let mut outgoing = restored(&waiting);
    outgoing.cancel(at(5)).unwrap();
    assert_eq!(outgoing.next(Some(&waiting), at(5)), Some(Order::Stay));
    let mut outgoing = begun();
    outgoing.next(Some(&waiting), at(0));
    outgoing.handle_timeout(outgoing.poll_timeout().unwrap());
    assert_eq!(outgoing.outcome(), Some(&Err(MigrateError::Unreachable(NodeId(4)))));
}

#[test]
fn a_transfer_is_begun_again_only_so_often() {
    let mut outgoing = begun();
    outgoing.next(None, at(0));
    for _ in 0..=MAX_RETRIES {
        assert!(outgoing.fetch(at(1), 10).is_some());
    }
    assert_eq!(outgoing.view(at(1), 0).retries, MAX_RETRIES);
    assert!(outgoing.fetch(at(1), 10).is_none());
    assert_eq!(outgoing.phase(), MigrationPhase::Failed);
}

#[test]
fn a_daemon_without_a_state_does_not_move() {
    let mut outgoing = Outgoing::new(at(0), MigrationId(1), DaemonId(2), [NodeId(3), NodeId(4)], 2, None);
    outgoing.snapshot(at(0), Err(NoState::Stateless));
    assert_eq!(outgoing.outcome(), Some(&Err(MigrateError::NoState(DaemonId(2)))));
    assert_eq!(outgoing.next(None, at(0)), Some(Order::Stay));
}

#[test]
fn a_daemon_whose_luggage_is_too_large_is_not_taken_for_one_without_a_state() {
    let mut outgoing = Outgoing::new(at(0), MigrationId(1), DaemonId(2), [NodeId(3), NodeId(4)], 2, None);
    outgoing.snapshot(at(0), Ok(Luggage { state: vec![0; MAX_BYTES], ..Luggage::default() }));
    let Some(Err(MigrateError::StateTooLarge { bytes, bound, .. })) = outgoing.outcome() else { panic!() };
    assert!(bytes > bound && *bound == MAX_BYTES as u64);
    assert_eq!(outgoing.next(None, at(0)), Some(Order::Stay));
}
