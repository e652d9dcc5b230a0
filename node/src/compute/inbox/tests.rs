use super::*;
use crate::daemon::Sender;

const SENDER: SenderKey = SenderKey { node: NodeId(1), life: 7 };

fn message(text: &str) -> DaemonEvent {
    DaemonEvent::Message { from: Sender::Node(NodeId(1)), payload: text.into() }
}

fn work_off(inbox: &mut Inbox) -> Vec<DaemonEvent> {
    let mut done = Vec::new();
    while let Some(queued) = inbox.pop() {
        let place = done.len() as u64 + 1;
        done.push(queued.event);
        if let Some(receipt) = queued.receipt {
            inbox.settle(receipt, Ok(Worked { place, replies: Vec::new() }));
        }
    }
    done
}

#[test]
fn what_is_sent_again_is_taken_once_and_answered_as_the_first_time() {
    let mut inbox = Inbox::default();
    inbox.take(SENDER, 1, vec![message("a"), message("b")]).unwrap();
    assert!(inbox.outcomes(SENDER, 1, 2).is_none(), "not yet");
    inbox.take(SENDER, 1, vec![message("a"), message("b")]).unwrap();
    assert_eq!(work_off(&mut inbox), [message("a"), message("b")]);
    inbox.take(SENDER, 1, vec![message("a"), message("b")]).unwrap();
    assert_eq!(inbox.len(), 0);
    let outcomes = inbox.outcomes(SENDER, 1, 2).unwrap();
    assert!(outcomes.zip(1..).all(|(outcome, place)| outcome.as_ref().unwrap().place == place));
}

#[test]
fn a_new_life_of_a_sender_counts_from_the_beginning() {
    let mut inbox = Inbox::default();
    inbox.take(SENDER, 1, vec![message("a")]).unwrap();
    inbox.take(SenderKey { life: 8, ..SENDER }, 1, vec![message("a")]).unwrap();
    assert_eq!(work_off(&mut inbox).len(), 2);
}

#[test]
fn what_waits_goes_along_once_even_if_its_sender_sends_it_to_both() {
    let mut source = Inbox::default();
    source.take(SENDER, 1, vec![message("a")]).unwrap();
    work_off(&mut source);
    source.take(SENDER, 2, vec![message("b"), message("c")]).unwrap();
    let mut target = source.ledger();
    let waiting: Vec<Queued> = source.waiting(0).cloned().collect();
    for queued in waiting.iter().chain(&waiting) {
        target.replay(queued.clone());
    }
    target.take(SENDER, 2, vec![message("b"), message("c")]).unwrap();
    assert_eq!(work_off(&mut target), [message("b"), message("c")]);
    assert!(target.outcomes(SENDER, 2, 2).unwrap().all(|outcome| outcome.is_ok()));
}

#[test]
fn counts_at_their_end_stay_there() {
    let mut inbox = Inbox { heard: u64::MAX, ..Inbox::default() };
    inbox.replay(Queued {
        event: message("last"),
        receipt: Some(Receipt { sender: SENDER, number: u64::MAX }),
    });
    inbox.take(SENDER, 1, vec![message("late")]).unwrap();
    assert_eq!(work_off(&mut inbox), [message("last")]);
}

#[test]
fn a_full_queue_takes_nothing_and_forgets_nothing() {
    let mut inbox = Inbox::default();
    inbox.take(SENDER, 1, vec![message(""); MAX_QUEUE]).unwrap();
    let more = inbox.take(SENDER, MAX_QUEUE as u64 + 1, vec![message("x")]);
    assert_eq!(more, Err(DeliverError::Overloaded));
    assert_eq!(work_off(&mut inbox).len(), MAX_QUEUE);
    inbox.take(SENDER, MAX_QUEUE as u64 + 1, vec![message("x")]).unwrap();
    assert_eq!(work_off(&mut inbox), [message("x")]);
}

#[allow(clippy::unnecessary_wraps, reason = "an outcome like any other")]
fn reply(len: usize) -> Settled {
    Ok(Worked { place: 1, replies: vec![vec![0; len]] })
}

fn receipt(sender: SenderKey, number: u64) -> Receipt {
    Receipt { sender, number }
}

#[test]
fn whoever_never_goes_on_from_the_first_has_no_more_remembered_than_a_batch() {
    let mut inbox = Inbox::default();
    for rounds in 1..=20 {
        inbox.take(SENDER, 1, vec![message("a"); rounds * BATCH]).unwrap();
        work_off(&mut inbox);
    }
    assert_eq!(inbox.remembered().1, BATCH);
    let last = 20 * BATCH as u64;
    let batch = inbox.outcomes(SENDER, last - BATCH as u64 + 1, BATCH).unwrap();
    assert!(batch.into_iter().all(|outcome| outcome.is_ok()), "the last batch is told again");
    let all: Vec<Settled> = inbox.outcomes(SENDER, 1, BATCH).unwrap().collect();
    assert_eq!(all, vec![Err(DeliverError::Unknown); BATCH]);
}

#[test]
fn what_fails_while_it_waits_is_told_in_order_with_what_was_begun_before() {
    let mut inbox = Inbox::default();
    inbox.take(SENDER, 1, vec![message("a"), message("b"), message("c")]).unwrap();
    let begun = inbox.pop().unwrap();
    inbox.fail_all(&DeliverError::Down);
    inbox.settle(begun.receipt.unwrap(), reply(1));
    let told: Vec<Settled> = inbox.outcomes(SENDER, 1, 3).expect("all are settled").collect();
    assert_eq!(told, [reply(1), Err(DeliverError::Down), Err(DeliverError::Down)]);
}

#[test]
fn replies_are_forgotten_of_whoever_was_not_heard_of_for_longest_and_nothing_is_taken_twice() {
    let mut inbox = Inbox::default();
    let of = |node: u64| SenderKey { node: NodeId(node), life: 1 };
    let len = MAX_REPLIED / 4;
    for node in 1..=5 {
        inbox.take(of(node), 1, vec![message("a")]).unwrap();
        inbox.pop().unwrap();
        inbox.settle(receipt(of(node), 1), reply(len));
    }
    inbox.settle_down();
    assert!(inbox.remembered().2 <= MAX_REPLIED);
    let told = |inbox: &Inbox, node| inbox.outcomes(of(node), 1, 1).unwrap().next().unwrap();
    assert_eq!((told(&inbox, 1), told(&inbox, 2)), (Err(DeliverError::Unknown), Err(DeliverError::Unknown)));
    assert_eq!((told(&inbox, 3), told(&inbox, 5)), (reply(len), reply(len)));
    inbox.take(of(1), 1, vec![message("a")]).unwrap();
    assert_eq!(inbox.len(), 0, "it was worked off");
    assert!(inbox.ledger().remembered().2 <= MAX_CARRIED, "and less goes along");
    inbox.take(of(5), 2, vec![message("b")]).unwrap();
    assert_eq!(inbox.remembered().2, 2 * (len + REPLY), "with the next batch those before are done with");
}

#[test]
fn whoever_makes_up_lives_drives_out_its_own_and_nobody_else() {
    let mut inbox = Inbox::default();
    inbox.take(SENDER, 1, vec![message("a")]).unwrap();
    work_off(&mut inbox);
    for life in 0..2 * MAX_SENDERS as u64 {
        inbox.take(SenderKey { node: NodeId(2), life }, 1, vec![message("b")]).unwrap();
        work_off(&mut inbox);
    }
    assert_eq!(inbox.remembered().0, MAX_LIVES + 1);
    assert!(inbox.outcomes(SENDER, 1, 1).is_some());
}

#[test]
fn no_more_senders_are_remembered_than_may_be() {
    let mut inbox = Inbox::default();
    for node in 0..=MAX_SENDERS as u64 {
        inbox.take(SenderKey { node: NodeId(node), life: 1 }, 1, vec![message("a")]).unwrap();
        work_off(&mut inbox);
    }
    assert_eq!(inbox.remembered().0, MAX_SENDERS);
    assert!(inbox.outcomes(SenderKey { node: NodeId(0), life: 1 }, 1, 1).is_none(), "the first has gone");
}

#[test]
fn what_comes_along_with_a_daemon_is_no_more_than_what_a_node_remembers() {
    let log = |count: u64, reply: &Settled| SenderLog {
        taken: count,
        settled: (1..=count).map(|number| (number, reply.clone())).collect(),
        heard: 1,
    };
    let of = |senders: u64, count, reply: &Settled| Inbox {
        senders: (0..senders)
            .map(|node| (SenderKey { node: NodeId(node), life: 1 }, log(count, reply)))
            .collect(),
        ..Inbox::default()
    };
    let (none, large) = (Err(DeliverError::Down), reply(1 << 20));
    let arrives = |inbox: Inbox| inbox.arrived().is_some();
    assert!(arrives(of(MAX_SENDERS as u64, BATCH as u64, &none)));
    assert!(!arrives(of(MAX_SENDERS as u64 + 1, 1, &none)));
    assert!(!arrives(of(1, BATCH as u64 + 1, &none)));
    assert!(arrives(of(1, 23, &large)) && !arrives(of(1, 24, &large)));
    let mut unsorted = of(1, 2, &none);
    unsorted.senders.values_mut().for_each(|log| log.settled.swap(0, 1));
    assert!(!arrives(unsorted));
    let mut waiting = Inbox::default();
    waiting.push(message("a"));
    assert!(!arrives(waiting));
}

#[test]
fn what_is_replayed_under_no_number_was_never_sent() {
    let mut inbox = Inbox::default();
    let queued = Queued { event: message("a"), receipt: Some(receipt(SENDER, 0)) };
    assert!(inbox.replay(queued));
    assert_eq!((inbox.len(), inbox.ledger().remembered()), (0, (0, 0, 0)));
}
