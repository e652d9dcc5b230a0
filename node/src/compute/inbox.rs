//! A daemon's queue, and what its senders need not send again.

use std::collections::{BTreeMap, VecDeque};

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

use crate::daemon::{DaemonEvent, DeliverError};

/// The most events that wait for a daemon.
pub(crate) const MAX_QUEUE: usize = 4_096;

/// The most bytes of their payloads; one may go beyond.
const MAX_QUEUE_BYTES: usize = 32 << 20;

/// How many senders are remembered.
const MAX_SENDERS: usize = 1_024;

/// One life of a node, as a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SenderKey {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
}

/// Which of a sender's parcels an event came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) sender: SenderKey,
    /// Counts what it sent this daemon, from 1.
    pub(crate) number: u64,
}

/// An event that was worked off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worked {
    /// Its place among all the daemon has worked off.
    pub(crate) place: u64,
    /// What the daemon told whoever sent it.
    pub(crate) replies: Vec<Vec<u8>>,
}

/// What came of one event.
pub(crate) type Settled = Result<Worked, DeliverError>;

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub(crate) event: DaemonEvent,
    pub(crate) receipt: Option<Receipt>,
}

impl Queued {
    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        size(&self.event)
    }
}

/// What one sender has sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct SenderLog {
    /// The last one that was taken.
    taken: u64,
    /// What came of those that it may ask after again: in order, without gaps up to the last that is settled.
    settled: VecDeque<(u64, Settled)>,
    /// When it was last heard of, by a count of all that came.
    heard: u64,
}

/// The queue, and what came of what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Inbox {
    queue: VecDeque<Queued>,
    bytes: usize,
    senders: BTreeMap<SenderKey, SenderLog>,
    heard: u64,
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Takes what a sender sends, in order from number `first`; what was taken before is not taken again.
    pub(crate) fn take(
        &mut self,
        sender: SenderKey,
        first: u64,
        events: Vec<DaemonEvent>,
    ) -> Result<(), DeliverError> {
        self.heard = self.heard.saturating_add(1);
        if !self.senders.contains_key(&sender) && self.senders.len() >= MAX_SENDERS {
            let oldest = self.senders.iter().min_by_key(|(_, log)| log.heard).map(|(&key, _)| key);
            oldest.map(|oldest| self.senders.remove(&oldest));
        }
        let log = self.senders.entry(sender).or_default();
        log.heard = self.heard;
        // It sends no more before it knows what came of those before.
        while log.settled.front().is_some_and(|(number, _)| *number < first) {
            log.settled.pop_front();
        }
        let known = usize::try_from(log.taken.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        let news = events.len().saturating_sub(known);
        if self.queue.len() + news > MAX_QUEUE || (news > 0 && self.bytes > MAX_QUEUE_BYTES) {
            return Err(DeliverError::Overloaded);
        }
        for (event, number) in events.into_iter().zip(first..).skip(known) {
            log.taken = number;
            self.bytes += size(&event);
            self.queue.push_back(Queued { event, receipt: Some(Receipt { sender, number }) });
        }
        Ok(())
    }

    /// Queues an event of the node's own.
    pub(crate) fn push(&mut self, event: DaemonEvent) {
        self.bytes += size(&event);
        self.queue.push_back(Queued { event, receipt: None });
    }

    /// The next to work off.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.bytes -= size(&queued.event);
        Some(queued)
    }

    /// Gives back what was popped and not worked off, in order.
    pub(crate) fn unpop(&mut self, queued: impl DoubleEndedIterator<Item = Queued>) {
        for queued in queued.rev() {
            self.bytes += size(&queued.event);
            self.queue.push_front(queued);
        }
    }

    /// Those that wait, from the `skip`-th on.
    pub(crate) fn waiting(&self, skip: usize) -> impl Iterator<Item = &Queued> {
        self.queue.iter().skip(skip)
    }

    /// Queues what waited at another node. Who sent it what was told there is part of what moved with the state, or
    /// told by the receipts.
    pub(crate) fn replay(&mut self, queued: Queued) {
        if let Some(Receipt { sender, number }) = queued.receipt {
            let log = self.senders.entry(sender).or_default();
            if number <= log.taken {
                return;
            }
            log.taken = number;
        }
        self.bytes += size(&queued.event);
        self.queue.push_back(queued);
    }

    /// Writes down what came of an event that was worked off elsewhere.
    pub(crate) fn learn(&mut self, receipt: Receipt, outcome: Settled) {
        let log = self.senders.entry(receipt.sender).or_default();
        log.taken = log.taken.max(receipt.number);
        if log.settled.back().is_none_or(|(number, _)| *number < receipt.number) {
            log.settled.push_back((receipt.number, outcome));
        }
    }

    /// Writes down what came of an event.
    pub(crate) fn settle(&mut self, receipt: Receipt, outcome: Settled) {
        if let Some(log) = self.senders.get_mut(&receipt.sender) {
            log.settled.push_back((receipt.number, outcome));
        }
    }

    /// What came of `count` events from number `first` on, as soon as all are settled.
    pub(crate) fn outcomes(&self, sender: SenderKey, first: u64, count: usize) -> Option<Vec<Settled>> {
        let log = self.senders.get(&sender)?;
        let last = first + (count as u64).saturating_sub(1);
        if log.settled.back().is_none_or(|(number, _)| *number < last) {
            return None;
        }
        let outcome = |number| {
            let found = log.settled.iter().find(|(settled, _)| *settled == number);
            found.map_or(Err(DeliverError::Unknown), |(_, outcome)| outcome.clone())
        };
        Some((first..=last).map(outcome).collect())
    }

    /// Fails everything that waits.
    pub(crate) fn fail_all(&mut self, error: &DeliverError) {
        for Queued { receipt, .. } in std::mem::take(&mut self.queue) {
            if let Some(receipt) = receipt {
                self.settle(receipt, Err(error.clone()));
            }
        }
        self.bytes = 0;
    }

    /// Whether nothing waits in it, as in one that travels.
    pub(crate) fn is_ledger(&self) -> bool {
        self.queue.is_empty() && self.bytes == 0
    }

    /// What is known of senders, without what waits.
    pub(crate) fn ledger(&self) -> Self {
        let mut ledger = Self { queue: VecDeque::new(), bytes: 0, ..self.clone() };
        let mut waiting: BTreeMap<SenderKey, u64> = BTreeMap::new();
        for receipt in self.queue.iter().filter_map(|queued| queued.receipt) {
            let first = waiting.entry(receipt.sender).or_insert(receipt.number);
            *first = (*first).min(receipt.number);
        }
        for (sender, first) in waiting {
            if let Some(log) = ledger.senders.get_mut(&sender) {
                log.taken = first - 1;
            }
        }
        ledger
    }
}

/// How many bytes an event holds.
pub(super) fn size(event: &DaemonEvent) -> usize {
    match event {
        DaemonEvent::Message { payload, .. } => payload.len(),
        DaemonEvent::Answer { outcome: Ok(replies), .. } => replies.iter().map(Vec::len).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(inbox.outcomes(SENDER, 1, 2), None, "not yet");
        inbox.take(SENDER, 1, vec![message("a"), message("b")]).unwrap();
        assert_eq!(work_off(&mut inbox), [message("a"), message("b")]);
        inbox.take(SENDER, 1, vec![message("a"), message("b")]).unwrap();
        assert_eq!(inbox.len(), 0);
        let outcomes = inbox.outcomes(SENDER, 1, 2).unwrap();
        assert!(outcomes.iter().zip(1..).all(|(outcome, place)| outcome.as_ref().unwrap().place == place));
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
        assert!(target.outcomes(SENDER, 2, 2).unwrap().iter().all(Result::is_ok));
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
}
