//! Messages that came in and have not been taken yet.

use bytes::Bytes;
use meshground_shared::NodeId;

/// The most bytes of messages kept between two calls of [`Node::take_messages`](crate::Node::take_messages), those the
/// messages' bookkeeping takes included.
const LIMIT: usize = 4 << 20;

/// Messages of peers, in the order they came in, in one shared buffer. Each may have been lost on the way, but never
/// altered, doubled or forged. Fetch with [`Node::take_messages`](crate::Node::take_messages).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Received {
    bytes: Bytes,
    messages: Vec<Entry>,
    missed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    peer: NodeId,
    /// Where its payload ends; it begins where the one before ends.
    end: usize,
}

impl Received {
    /// How many messages these are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many bytes their payloads have together.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many messages came in meanwhile and were dropped, because nobody had taken those before them.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// One of them: whose, and what. The payload shares the buffer, which lives as long as any of its payloads.
    pub fn get(&self, index: usize) -> Option<(NodeId, Bytes)> {
        let Entry { peer, end } = *self.messages.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.messages[before].end);
        Some((peer, self.bytes.slice(start..end)))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, Bytes)> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// Where a node collects them.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    bytes: Vec<u8>,
    messages: Vec<Entry>,
    missed: u64,
    /// The size of the last batch: the next one's buffers are made for as much.
    last: (usize, usize),
}

impl Collector {
    /// Keeps a message, if there is room.
    pub(crate) fn push(&mut self, peer: NodeId, payload: &[u8]) {
        if self.messages.is_empty() {
            let (bytes, messages) = self.last;
            self.bytes.reserve(bytes.max(payload.len()));
            self.messages.reserve(messages);
        }
        let kept = self.bytes.len() + self.messages.len() * size_of::<Entry>();
        if kept + payload.len() + size_of::<Entry>() > LIMIT {
            self.missed += 1;
            return;
        }
        self.bytes.extend_from_slice(payload);
        self.messages.push(Entry { peer, end: self.bytes.len() });
    }

    /// Hands out what there is.
    pub(crate) fn take(&mut self) -> Received {
        if self.messages.is_empty() {
            return Received::default();
        }
        self.last = (self.bytes.len(), self.messages.len());
        Received {
            bytes: std::mem::take(&mut self.bytes).into(),
            messages: std::mem::take(&mut self.messages),
            missed: std::mem::take(&mut self.missed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_as_they_came_in() {
        let mut collector = Collector::default();
        for _ in 0..3 {
            let sent: Vec<(NodeId, Vec<u8>)> =
                (0..50).map(|i| (NodeId(u64::from(i) % 3), vec![i; usize::from(i) % 7])).collect();
            for (peer, payload) in &sent {
                collector.push(*peer, payload);
            }
            let received = collector.take();
            let got: Vec<_> = received.iter().map(|(peer, payload)| (peer, payload.to_vec())).collect();
            assert_eq!((got, received.missed()), (sent, 0));
            assert_eq!(received.get(50), None);
            assert!(collector.take().is_empty());
        }
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_the_rest_is_counted() {
        let mut collector = Collector::default();
        for payload in [&[][..], &[7; 1_000]] {
            for _ in 0..LIMIT {
                collector.push(NodeId(1), payload);
            }
            let received = collector.take();
            assert!(received.payload_bytes() + received.len() * size_of::<Entry>() <= LIMIT);
            assert_eq!(received.len() as u64 + received.missed(), LIMIT as u64);
            assert!(received.missed() > 0);
        }
    }
}
