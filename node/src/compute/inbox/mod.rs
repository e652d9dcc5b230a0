//! A daemon's queue, and what its senders need not send again.

use std::collections::{BTreeMap, VecDeque};

use meshground_shared::NodeId;
use serde::{Deserialize, Serialize};

use super::{
    delivery::{BATCH, MAX_BATCH_BYTES},
    registry::MAX_ALARMS,
};
use crate::daemon::{DaemonEvent, DeliverError, MAX_OUTPUT_BYTES, MAX_OUTPUTS, MAX_PAYLOAD};

/// The most events that wait for a daemon.
pub(crate) const MAX_QUEUE: usize = 4_096;

/// The most bytes of them; one batch may go beyond.
const MAX_QUEUE_BYTES: usize = 32 << 20;

/// The most events there can be in a queue: a job may give back what it took, and alarms come on top.
pub(crate) const MAX_HELD: usize = MAX_QUEUE + BATCH + MAX_ALARMS;

/// The most bytes of those that come along with a daemon: as much as waits at once, and as much once more that a job gave
/// back when others had come.
pub(crate) const MAX_HELD_BYTES: usize = 2 * (MAX_QUEUE_BYTES + MAX_BATCH_BYTES);

/// How many senders are remembered.
pub(crate) const MAX_SENDERS: usize = 1_024;

/// How many lives of one node are among them: whoever makes up lives drives out its own.
const MAX_LIVES: usize = 8;

/// The most bytes of replies that are remembered; those of one job may go beyond. What came of an event whose replies are
/// forgotten is not known any more.
const MAX_REPLIED: usize = 64 << 20;

/// The most bytes of replies that go along with a daemon, beside its state.
const MAX_CARRIED: usize = 24 << 20;

/// What one event, or what a daemon replies to it, has at most.
#[cfg(feature = "floor")]
const MAX_EVENT: usize = MAX_OUTPUT_BYTES + MAX_OUTPUTS * REPLY;

/// The most bytes of events there can be: a job may give back what it took, however large.
#[cfg(feature = "floor")]
pub(crate) const MAX_BYTES: usize = MAX_QUEUE_BYTES + (1 + BATCH) * MAX_EVENT;

/// The most bytes of replies there can be.
#[cfg(feature = "floor")]
pub(crate) const MAX_REMEMBERED: usize = MAX_REPLIED + BATCH * MAX_EVENT;

/// Of so many of a sender's events it is remembered what came of them.
#[cfg(feature = "floor")]
pub(crate) const MAX_OUTCOMES: usize = BATCH;

/// What a reply takes besides its bytes.
const REPLY: usize = 32;

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
    /// What came of those that it may ask after again, in order. As it has one batch under way, they are among as many that
    /// were taken last.
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
    /// How many bytes of replies are remembered.
    #[serde(skip)]
    replied: usize,
}

impl SenderLog {
    /// Lets go of what came of those before number `first`; of how many bytes of replies.
    fn forget(&mut self, first: u64) -> usize {
        let mut bytes = 0;
        while let Some((_, outcome)) = self.settled.pop_front_if(|(number, _)| *number < first) {
            bytes += replied(&outcome);
        }
        bytes
    }

    /// The first that may be asked after again.
    fn first(&self) -> u64 {
        self.taken.saturating_sub(BATCH as u64 - 1)
    }

    fn replied(&self) -> usize {
        self.settled.iter().map(|(_, outcome)| replied(outcome)).sum()
    }
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
        let log = self.log(sender);
        // It sends no more before it knows what came of those before.
        let forgotten = log.forget(first);
        let known = usize::try_from(log.taken.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.replied -= forgotten;
        self.forget_replies(MAX_REPLIED);
        let news = events.len().saturating_sub(known);
        if self.queue.len() + news > MAX_QUEUE || (news > 0 && self.bytes > MAX_QUEUE_BYTES) {
            return Err(DeliverError::Overloaded);
        }
        if let Some(number) = (first..).take(events.len()).last().filter(|_| news > 0) {
            self.took(Receipt { sender, number });
        }
        for (event, number) in events.into_iter().zip(first..).skip(known) {
            self.bytes += size(&event);
            self.queue.push_back(Queued { event, receipt: Some(Receipt { sender, number }) });
        }
        Ok(())
    }

    /// What a sender has sent. Where there is no room for another, the one goes that was not heard of for longest.
    fn log(&mut self, sender: SenderKey) -> &mut SenderLog {
        self.heard = self.heard.saturating_add(1);
        if !self.senders.contains_key(&sender) {
            let lives = SenderKey { life: 0, ..sender }..=SenderKey { life: u64::MAX, ..sender };
            let leaves = if self.senders.range(lives.clone()).count() >= MAX_LIVES {
                oldest(self.senders.range(lives))
            } else {
                oldest(self.senders.iter()).filter(|_| self.senders.len() >= MAX_SENDERS)
            };
            let log = leaves.and_then(|leaves| self.senders.remove(&leaves));
            self.replied -= log.map_or(0, |log| log.replied());
        }
        let log = self.senders.entry(sender).or_default();
        log.heard = self.heard;
        log
    }

    /// An event was taken, and none before it will be again.
    fn took(&mut self, receipt: Receipt) {
        if let Some(log) = self.senders.get_mut(&receipt.sender) {
            log.taken = log.taken.max(receipt.number);
            self.replied -= log.forget(log.first());
        }
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
    /// told by the receipts. Whether there was room for it.
    pub(crate) fn replay(&mut self, queued: Queued) -> bool {
        if let Some(Receipt { sender, number }) = queued.receipt {
            let log = self.senders.get(&sender);
            if number <= log.map_or(0, |log| log.taken) {
                return true;
            }
            // One that was forgotten at the other node while this waited stays forgotten.
            if log.is_none() && self.senders.len() < MAX_SENDERS {
                self.senders.insert(sender, SenderLog::default());
            }
        }
        let size = queued.size();
        if self.queue.len() >= MAX_HELD || self.bytes + size > MAX_HELD_BYTES {
            return false;
        }
        if let Some(receipt) = queued.receipt {
            self.took(receipt);
        }
        self.bytes += size;
        self.queue.push_back(queued);
        true
    }

    /// Writes down what came of an event that was worked off elsewhere.
    pub(crate) fn learn(&mut self, receipt: Receipt, outcome: Settled) {
        self.log(receipt.sender);
        self.took(receipt);
        self.settle(receipt, outcome);
        self.forget_replies(MAX_CARRIED);
    }

    /// Writes down what came of an event.
    pub(crate) fn settle(&mut self, receipt: Receipt, outcome: Settled) {
        let Some(log) = self.senders.get_mut(&receipt.sender) else { return };
        // What waited can fail before that comes to an end which was begun before.
        let at = log.settled.partition_point(|(number, _)| *number < receipt.number);
        let is_known = log.settled.get(at).is_some_and(|(number, _)| *number == receipt.number);
        if !is_known && receipt.number >= log.first() {
            self.replied += replied(&outcome);
            log.settled.insert(at, (receipt.number, outcome));
        }
    }

    /// Forgets replies until there are few enough: first of the senders that were not heard of for longest.
    pub(crate) fn settle_down(&mut self) {
        self.forget_replies(MAX_REPLIED);
    }

    fn forget_replies(&mut self, most: usize) {
        while self.replied > most {
            let logs = self.senders.values_mut().filter(|log| log.replied() > 0);
            let Some(log) = logs.min_by_key(|log| log.heard) else { return };
            self.replied -= log.replied();
            for (_, outcome) in log.settled.iter_mut().filter(|(_, outcome)| replied(outcome) > 0) {
                *outcome = Err(DeliverError::Unknown);
            }
        }
    }

    /// What came of `count` events from number `first` on, as soon as all are settled.
    pub(crate) fn outcomes(
        &self,
        sender: SenderKey,
        first: u64,
        count: usize,
    ) -> Option<impl Iterator<Item = Settled>> {
        let log = self.senders.get(&sender)?;
        let last = first + (count as u64).saturating_sub(1);
        if log.settled.back().is_none_or(|(number, _)| *number < last) {
            return None;
        }
        let outcome = |number| {
            let at = log.settled.binary_search_by_key(&number, |(settled, _)| *settled);
            at.map_or(Err(DeliverError::Unknown), |at| log.settled[at].1.clone())
        };
        Some((first..=last).map(outcome))
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

    /// One that came along with a daemon, if it can be what was known of senders there.
    pub(crate) fn arrived(mut self) -> Option<Self> {
        self.replied = self.senders.values().map(SenderLog::replied).sum();
        let is_sound = |log: &SenderLog| {
            log.settled.len() <= BATCH && log.settled.iter().is_sorted_by(|(a, _), (b, _)| a < b)
        };
        let sound = self.queue.is_empty()
            && self.bytes == 0
            && self.senders.len() <= MAX_SENDERS
            && self.replied <= MAX_CARRIED
            && self.senders.values().all(is_sound);
        sound.then_some(self)
    }

    /// How many bytes wait in it.
    #[cfg(feature = "floor")]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many senders are remembered, of how many events what came of them, and how many bytes of replies.
    #[cfg(any(test, feature = "floor"))]
    pub(crate) fn remembered(&self) -> (usize, usize, usize) {
        (self.senders.len(), self.senders.values().map(|log| log.settled.len()).sum(), self.replied)
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
        ledger.forget_replies(MAX_CARRIED);
        ledger
    }
}

/// The one that was not heard of for longest.
fn oldest<'a>(senders: impl Iterator<Item = (&'a SenderKey, &'a SenderLog)>) -> Option<SenderKey> {
    senders.min_by_key(|(_, log)| log.heard).map(|(&sender, _)| sender)
}

/// How many bytes an event holds.
pub(super) fn size(event: &DaemonEvent) -> usize {
    match event {
        DaemonEvent::Message { payload, .. } => payload.len(),
        DaemonEvent::Answer { outcome: Ok(replies), .. } => sum(replies),
        _ => 0,
    }
}

/// How many bytes of replies there are.
fn replied(outcome: &Settled) -> usize {
    outcome.as_ref().map_or(0, |worked| sum(&worked.replies))
}

fn sum(replies: &[Vec<u8>]) -> usize {
    replies.iter().map(|reply| reply.len() + REPLY).sum()
}

/// Whether somebody may send these together.
pub(crate) fn is_batch(events: &[DaemonEvent]) -> bool {
    let bytes: usize = events.iter().map(size).sum();
    (1..=BATCH).contains(&events.len()) && (events.len() == 1 || bytes <= MAX_BATCH_BYTES)
}

/// Whether this can be what a daemon is sent, or what its node tells it, but for its beginning.
pub(crate) fn can_wait(event: &DaemonEvent) -> bool {
    match event {
        DaemonEvent::Message { payload, .. } => payload.len() <= MAX_PAYLOAD,
        DaemonEvent::Answer { outcome: Ok(replies), .. } => {
            replies.len() <= MAX_OUTPUTS && replies.iter().map(Vec::len).sum::<usize>() <= MAX_OUTPUT_BYTES
        }
        DaemonEvent::Answer { .. } | DaemonEvent::Alarm { .. } => true,
        DaemonEvent::Started(_) => false,
    }
}

#[cfg(test)]
mod tests;
