//! What was sent and not acknowledged yet, and when to give it up as lost (RFC 9002, section 6).

use std::collections::VecDeque;

use super::rtt::Rtt;
use crate::{packet::AckRanges, stream::Carried, time::Instant};

/// A packet counts as lost when one sent this many later was acknowledged (section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;

/// The most packets that may be under way: a bound on memory where they are small.
pub(crate) const MAX_PACKETS: usize = 16_384;

/// The most numbers between the oldest packet under way and the newest, those included that ask for no acknowledgement:
/// each takes memory while the oldest waits. A peer that acknowledges what it likes, and has this end answer pings
/// meanwhile, could have it grow without end.
pub(crate) const MAX_SPAN: usize = 4 * MAX_PACKETS;

/// A packet under way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) bytes: usize,
    pub(crate) carried: Vec<Carried>,
    /// How many messages ended in it: they do not come again.
    pub(crate) messages: u32,
}

/// Packets under way, by number.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// The number of the first in `packets`.
    base: u64,
    /// In order of their numbers; those that are settled or were never to be acknowledged are empty.
    packets: VecDeque<Option<Sent>>,
    bytes: usize,
    count: usize,
    largest_acked: Option<u64>,
    /// When the last of them was sent.
    last_sent: Option<Instant>,
    /// When the next one will have waited for too long after a later one was acknowledged.
    loss_at: Option<Instant>,
}

impl InFlight {
    /// A packet goes out; their numbers only rise.
    pub(crate) fn sent(&mut self, number: u64, packet: Sent) {
        if self.packets.is_empty() {
            self.base = number;
        }
        // Packets between that ask for no acknowledgement.
        while self.base + (self.packets.len() as u64) < number {
            self.packets.push_back(None);
        }
        self.bytes += packet.bytes;
        self.count += 1;
        self.last_sent = Some(packet.at);
        self.packets.push_back(Some(packet));
    }

    /// Hands out the oldest packets that must be given up before number `next` goes out, though nothing tells that they
    /// are lost: too many numbers have been used since, or too many packets wait.
    pub(crate) fn make_room(&mut self, next: u64, mut lose: impl FnMut(Sent)) {
        let too_old = |base: u64| next.saturating_sub(base) >= MAX_SPAN as u64;
        while !self.packets.is_empty() && (too_old(self.base) || self.count >= MAX_PACKETS) {
            if let Some(packet) = self.take(self.base) {
                lose(packet);
            }
            self.trim();
        }
    }

    /// How many bytes are under way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many packets are under way.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many numbers are kept, from the oldest packet under way on.
    #[cfg(feature = "floor")]
    pub(crate) fn span(&self) -> usize {
        self.packets.len()
    }

    /// When the next packet will be lost unless it is acknowledged.
    pub(crate) fn loss_at(&self) -> Option<Instant> {
        self.loss_at
    }

    /// When the last packet was sent, if any is under way.
    pub(crate) fn last_sent(&self) -> Option<Instant> {
        self.last_sent.filter(|_| self.count > 0)
    }

    /// The oldest packet under way.
    pub(crate) fn oldest(&self) -> Option<&Sent> {
        self.packets.iter().flatten().next()
    }

    /// An acknowledgement came in: hands out each packet it settles. Returns when the highest of them was sent if it
    /// is higher than any before, which makes it a measurement.
    pub(crate) fn acknowledged(
        &mut self,
        ranges: &AckRanges<'_>,
        mut settle: impl FnMut(Sent),
    ) -> Option<Instant> {
        let mut measured = None;
        // Of the highest number named nothing is known here if its packet asked for no acknowledgement.
        let mut largest_settled = None;
        for range in ranges.iter() {
            let (low, high) = (*range.start(), *range.end());
            if high < self.base {
                break;
            }
            let end = self.base + self.packets.len() as u64;
            for number in low.max(self.base)..end.min(high + 1) {
                let Some(packet) = self.take(number) else { continue };
                if self.largest_acked.is_none_or(|largest| number > largest) && number == ranges.largest() {
                    measured = Some(packet.at);
                }
                largest_settled = largest_settled.max(Some(number));
                settle(packet);
            }
        }
        // One that was never sent tells nothing.
        let end = self.base + self.packets.len() as u64;
        let largest = Some(ranges.largest()).filter(|largest| *largest < end);
        self.largest_acked = self.largest_acked.max(largest).max(largest_settled);
        self.trim();
        measured
    }

    /// Hands out each packet that must be given up by now.
    pub(crate) fn detect_losses(&mut self, now: Instant, rtt: &Rtt, mut lose: impl FnMut(Sent)) {
        self.loss_at = None;
        let Some(largest) = self.largest_acked else { return };
        let delay = rtt.loss_delay();
        let mut number = self.base;
        while number < largest && number < self.base + self.packets.len() as u64 {
            if let Some(packet) = self.get(number) {
                let due = packet.at + delay;
                if number + PACKET_THRESHOLD <= largest || due <= now {
                    if let Some(packet) = self.take(number) {
                        lose(packet);
                    }
                } else {
                    // Those after it were sent later still.
                    self.loss_at = Some(due);
                    break;
                }
            }
            number += 1;
        }
        self.trim();
    }

    fn position(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?).ok()
    }

    fn get(&self, number: u64) -> Option<&Sent> {
        self.packets.get(self.position(number)?)?.as_ref()
    }

    fn take(&mut self, number: u64) -> Option<Sent> {
        let position = self.position(number)?;
        let packet = self.packets.get_mut(position)?.take()?;
        self.bytes -= packet.bytes;
        self.count -= 1;
        Some(packet)
    }

    fn trim(&mut self) {
        while let Some(None) = self.packets.front() {
            self.packets.pop_front();
            self.base += 1;
        }
        if self.packets.is_empty() && self.packets.capacity() > 1_024 {
            self.packets = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;
    use crate::packet::{Frame, Frames, put_ranges};

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    fn with_ack<T>(ranges: &[RangeInclusive<u64>], act: impl FnOnce(&AckRanges<'_>) -> T) -> T {
        let mut out = Vec::new();
        Frame::put_ack_start(0, &mut out);
        assert!(put_ranges(ranges.iter().cloned(), 1_000, &mut out));
        match Frames::parse(&out).unwrap().next() {
            Some(Frame::Ack { ranges, .. }) => act(&ranges),
            other => panic!("{other:?}"),
        }
    }

    fn flight(numbers: impl IntoIterator<Item = u64>) -> InFlight {
        let mut flight = InFlight::default();
        for number in numbers {
            let sent = Sent { at: at(number * 100), bytes: 1_000, carried: Vec::new(), messages: 1 };
            flight.sent(number, sent);
        }
        flight
    }

    #[test]
    fn what_is_acknowledged_is_settled_once() {
        let mut flight = flight([3, 4, 6, 7]);
        let mut settled = 0;
        let measured = with_ack(&[6..=6, 0..=4], |ack| flight.acknowledged(ack, |_| settled += 1));
        assert_eq!((settled, measured, flight.bytes(), flight.count()), (3, Some(at(600)), 1_000, 1));
        let again = with_ack(&[6..=6, 0..=4], |ack| flight.acknowledged(ack, |_| settled += 1));
        assert_eq!((settled, again), (3, None));
    }

    #[test]
    fn a_packet_is_lost_three_later_or_after_a_while() {
        let mut flight = flight(0..10);
        with_ack(&[5..=5], |ack| flight.acknowledged(ack, |_| {}));
        let (mut lost, rtt) = (0, Rtt::default());
        flight.detect_losses(at(1_000), &rtt, |_| lost += 1);
        assert_eq!(lost, 3, "0, 1 and 2");
        let due = flight.loss_at().unwrap();
        assert_eq!(due, at(300) + rtt.loss_delay());
        flight.detect_losses(due, &rtt, |_| lost += 1);
        assert_eq!(lost, 4);
        assert_eq!(flight.count(), 5, "those after the highest acknowledged one wait on");
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
        let mut flight = flight([1, 2]);
        with_ack(&[1 << 50..=1 << 60], |ack| flight.acknowledged(ack, |_| panic!("nothing to settle")));
        flight.detect_losses(at(100), &Rtt::default(), |_| panic!("nothing is lost"));
        assert_eq!(flight.count(), 2);
    }

    #[test]
    fn losses_show_though_the_highest_number_named_asked_for_no_acknowledgement() {
        let mut flight = flight(0..6);
        // Number 6 was a heartbeat.
        with_ack(&[1..=6], |ack| flight.acknowledged(ack, |_| {}));
        let mut lost = 0;
        flight.detect_losses(at(700), &Rtt::default(), |_| lost += 1);
        assert_eq!((lost, flight.count()), (1, 0));
    }

    #[test]
    fn a_peer_that_acknowledges_nothing_takes_bounded_memory() {
        let (mut flight, mut lost) = (InFlight::default(), 0);
        let mut send = |flight: &mut InFlight, number: u64| {
            flight.make_room(number, |_| lost += 1);
            flight.sent(number, Sent { at: at(number), bytes: 1, carried: Vec::new(), messages: 0 });
            assert!(flight.packets.len() <= MAX_SPAN && flight.count() <= MAX_PACKETS);
        };
        // Every packet asks for an acknowledgement; then one in a thousand; then none for very long.
        (0..40_000).for_each(|number| send(&mut flight, number));
        (0..1_000).for_each(|number| send(&mut flight, 40_000 + number * 1_000));
        send(&mut flight, 1 << 40);
        assert_eq!((flight.count(), flight.bytes(), flight.packets.len()), (1, 1, 1));
        assert_eq!(lost, 41_000);
    }

    #[test]
    fn an_empty_flight_takes_no_memory_for_what_lies_between() {
        let mut flight = flight([1]);
        with_ack(&[1..=1], |ack| flight.acknowledged(ack, |_| {}));
        flight.sent(1 << 40, Sent { at: at(5), bytes: 1, carried: Vec::new(), messages: 0 });
        assert_eq!(flight.packets.len(), 1);
        assert_eq!(flight.last_sent(), Some(at(5)));
    }
}
