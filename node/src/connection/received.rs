//! Which packets of a peer came in, and when to tell it (RFC 9000, section 13.2).

use std::{collections::VecDeque, ops::RangeInclusive, time::Duration};

use crate::{
    packet::{Frame, put_ranges, varint},
    time::Instant,
};

/// The longest an acknowledgement waits for company.
pub(crate) const MAX_ACK_DELAY: Duration = Duration::from_millis(1);

/// So many packets that ask for an acknowledgement get one at once.
const ACK_AT_ONCE: u32 = 2;

/// The most ranges remembered; the lowest go first.
const MAX_RANGES: usize = 64;

/// The packet numbers that came in.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Highest first, apart from each other.
    ranges: VecDeque<RangeInclusive<u64>>,
    /// When the highest came in.
    largest_at: Instant,
    /// Packets since the last acknowledgement that asked for one.
    waiting: u32,
    /// When to acknowledge at the latest.
    due: Option<Instant>,
}

impl Received {
    /// Packet `number` came in, for the first time.
    pub(crate) fn record(&mut self, now: Instant, number: u64, elicits_ack: bool) {
        let largest = self.ranges.front().map(|range| *range.end());
        let in_order = largest.is_none_or(|largest| number == largest + 1);
        if largest.is_none_or(|largest| number > largest) {
            self.largest_at = now;
        }
        self.insert(number);
        if elicits_ack {
            self.waiting += 1;
            // A gap or its filling is news the other end waits for.
            let at = if in_order && self.waiting < ACK_AT_ONCE { now + MAX_ACK_DELAY } else { now };
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
        }
    }

    fn insert(&mut self, number: u64) {
        // Nearly always at the front.
        for at in 0..self.ranges.len() {
            let (low, high) = (*self.ranges[at].start(), *self.ranges[at].end());
            if number > high + 1 {
                self.ranges.insert(at, number..=number);
                self.ranges.truncate(MAX_RANGES);
                return;
            }
            if number == high + 1 {
                self.ranges[at] = low..=number;
                return;
            }
            if number >= low {
                return;
            }
            if number + 1 == low {
                self.ranges[at] = number..=high;
                if let Some(below) = self.ranges.get(at + 1)
                    && *below.end() + 1 == number
                {
                    let low = *below.start();
                    self.ranges.remove(at + 1);
                    self.ranges[at] = low..=high;
                }
                return;
            }
        }
        if self.ranges.len() < MAX_RANGES {
            self.ranges.push_back(number..=number);
        }
    }

    #[cfg(feature = "floor")]
    pub(crate) fn gauge(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        each(crate::audit::Gauge::new("ranges to acknowledge", self.ranges.len(), MAX_RANGES));
    }

    /// Whether some packet still waits for its acknowledgement.
    pub(crate) fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// When to acknowledge, whatever else there is to send.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Appends an acknowledgement of everything that came in, of at most `room` bytes. Whether it fitted.
    pub(crate) fn acknowledge(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> bool {
        let waited = now.saturating_since(self.largest_at);
        let delay_us = u64::try_from(waited.as_micros()).unwrap_or(0).min(varint::MAX);
        let start = out.len();
        Frame::put_ack_start(delay_us, out);
        let room = room.saturating_sub(out.len() - start);
        if !put_ranges(self.ranges.iter().cloned(), room, out) {
            out.truncate(start);
            return false;
        }
        self.waiting = 0;
        self.due = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Frames;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    fn acknowledged(received: &mut Received, now: Instant) -> (u64, Vec<RangeInclusive<u64>>) {
        let mut out = Vec::new();
        assert!(received.acknowledge(now, 1_000, &mut out));
        match Frames::parse(&out).unwrap().next() {
            Some(Frame::Ack { delay_us, ranges }) => (delay_us, ranges.iter().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ranges_grow_together_in_any_order() {
        let mut received = Received::default();
        for number in [5, 3, 9, 4, 0, 1, 8, 20] {
            received.record(at(7), number, true);
        }
        assert_eq!(acknowledged(&mut received, at(9)), (2, vec![20..=20, 8..=9, 3..=5, 0..=1]));
        received.record(at(10), 2, true);
        assert_eq!(acknowledged(&mut received, at(10)).1, [20..=20, 8..=9, 0..=5]);
    }

    #[test]
    fn the_first_waits_for_company_the_second_or_a_gap_does_not() {
        let mut received = Received::default();
        received.record(at(10), 0, true);
        assert_eq!(received.due(), Some(at(10) + MAX_ACK_DELAY));
        received.record(at(20), 1, true);
        assert_eq!(received.due(), Some(at(20)));
        acknowledged(&mut received, at(20));
        assert_eq!(received.due(), None);
        received.record(at(30), 3, true);
        assert_eq!(received.due(), Some(at(30)), "2 is missing");
    }

    #[test]
    fn what_asks_for_nothing_gets_nothing() {
        let mut received = Received::default();
        received.record(at(10), 0, false);
        received.record(at(10), 5, false);
        assert!(!received.is_waiting());
    }

    #[test]
    fn the_lowest_ranges_are_forgotten() {
        let mut received = Received::default();
        for number in 0..1_000 {
            received.record(at(1), number * 2, true);
        }
        let (_, ranges) = acknowledged(&mut received, at(1));
        assert_eq!((ranges.len(), *ranges[0].end()), (MAX_RANGES, 1_998));
        received.record(at(2), 1, true);
        assert_eq!(acknowledged(&mut received, at(2)).1.len(), MAX_RANGES, "too old to be told of");
    }
}
