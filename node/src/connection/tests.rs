//! Two connections over a made-up network: what one writes the other reads, or it is lost.

use super::*;
use crate::{
    packet::Frames,
    stream::{StreamError, StreamEvent, StreamId, StreamKind},
};

const ROOM: usize = 1_000;

/// Decides by number which packets are lost; virtual time goes by in steps.
struct Pair {
    ends: [Connection; 2],
    events: [Vec<StreamEvent>; 2],
    messages: [Vec<Vec<u8>>; 2],
    now: Instant,
    under_way: VecDeque<(Instant, usize, u64, Vec<u8>)>,
    delay: Duration,
    random: u64,
    /// Of a thousand packets, how many are lost.
    loss: u64,
    packets: u64,
}

impl Pair {
    fn new(loss: u64, seed: u64) -> Self {
        let now = Instant::from_micros(1_000);
        let end = |side| Connection::new(1, side, ROOM + PACKET_OVERHEAD, 1 << 20, now);
        Self {
            ends: [end(Side::Lower), end(Side::Higher)],
            events: [Vec::new(), Vec::new()],
            messages: [Vec::new(), Vec::new()],
            now,
            under_way: VecDeque::new(),
            delay: Duration::from_millis(5),
            random: seed,
            loss,
            packets: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    /// Sends what may be sent.
    fn flush(&mut self) {
        for from in 0..2 {
            loop {
                let mut out = Vec::new();
                let Some(written) = self.ends[from].write(self.now, &mut out) else { break };
                assert!(out.len() <= ROOM && !out.is_empty());
                let number = self.packets;
                self.ends[from].sent(self.now, number, written, out.len() + 32);
                self.packets += 1;
                if self.below(1_000) >= self.loss {
                    self.under_way.push_back((self.now + self.delay, 1 - from, number, out));
                }
            }
        }
    }

    /// The next thing that happens. False when nothing ever will.
    fn step(&mut self) -> bool {
        self.flush();
        let arrival = self.under_way.front().map(|(at, ..)| *at);
        let timer = self.ends.iter().filter_map(Connection::timeout).min();
        let Some(next) = [arrival, timer].into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let Some((_, to, number, bytes)) = self.under_way.pop_front() else { return false };
            let mut elicits = false;
            for frame in Frames::parse(&bytes).unwrap() {
                elicits |= frame.elicits_ack();
                if let Frame::Message(content) = frame {
                    self.messages[to].push(content.to_vec());
                }
                if let Some(whole) = self.ends[to].on_frame(self.now, &frame).unwrap() {
                    match Frames::parse(&whole).unwrap().next() {
                        Some(Frame::Message(content)) => self.messages[to].push(content.to_vec()),
                        other => panic!("{other:?}"),
                    }
                }
            }
            self.ends[to].received(self.now, number, elicits);
        } else {
            for end in &mut self.ends {
                if end.timeout().is_some_and(|at| at <= self.now) {
                    end.handle_timeout(self.now);
                }
            }
        }
        for (end, events) in self.ends.iter_mut().zip(&mut self.events) {
            while let Some(event) = end.streams.poll_event() {
                events.push(event);
            }
        }
        true
    }

    /// Runs until nothing is left to do.
    fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 2_000_000, "it never comes to rest");
        }
    }

    fn open(&mut self, end: usize) -> StreamId {
        self.ends[end].streams.open(StreamKind::Plain).unwrap()
    }

    fn read(&mut self, end: usize, stream: StreamId, most: usize) -> Result<Option<Vec<u8>>, StreamError> {
        let mut out = Vec::new();
        let outcome = self.ends[end].streams.read(stream, most, &mut out)?;
        Ok(outcome.map(|_| out))
    }

    /// Moves `bytes` over one stream, writing and reading as room allows.
    fn transfer(&mut self, bytes: usize) {
        let data: Vec<u8> = (0..bytes).map(|i| pattern(i / 7)).collect();
        let stream = self.open(0);
        let (mut written, mut got) = (0, Vec::new());
        let mut ended = false;
        while !ended {
            if written < bytes {
                written += self.ends[0].streams.write(stream, &data[written..]).unwrap();
                if written == bytes {
                    self.ends[0].streams.finish(stream).unwrap();
                }
            }
            assert!(self.step(), "stuck at {written} written, {} read", got.len());
            loop {
                match self.read(1, stream, 10_000) {
                    Ok(None) | Err(StreamError::Unknown(_)) => break,
                    Ok(Some(bytes)) if bytes.is_empty() => {
                        ended = true;
                        break;
                    }
                    Ok(Some(bytes)) => got.extend(bytes),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(got == data, "every byte once and in order");
    }
}

fn pattern(n: usize) -> u8 {
    u8::try_from(n % 251).unwrap_or(0)
}

#[test]
fn a_stream_arrives_whole_and_in_order_whatever_is_lost() {
    for (loss, seed) in [(0, 1), (10, 2), (100, 3), (300, 4), (300, 5)] {
        let mut pair = Pair::new(loss, seed);
        pair.transfer(if loss > 100 { 100_000 } else { 3_000_000 });
        pair.settle();
        assert!(pair.events[0].contains(&StreamEvent::Finished(StreamId::new(
            1,
            0,
            StreamKind::Plain,
            Side::Lower
        ))));
        assert_eq!(pair.ends[0].in_flight.count(), 0);
    }
}

#[test]
fn without_loss_little_more_is_sent_than_must_be() {
    let mut pair = Pair::new(0, 1);
    pair.transfer(1_000_000);
    pair.settle();
    // A thousand packets there, an acknowledgement for every second one back.
    assert!(pair.packets < 1_700, "{}", pair.packets);
    assert_eq!(pair.ends[0].tally().packets_lost, 0);
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_nothing_is_lost_by_it() {
    let mut pair = Pair::new(0, 1);
    let stream = pair.open(0);
    let mut written = 0;
    for _ in 0..100 {
        written += pair.ends[0].streams.write(stream, &vec![7; 100_000]).unwrap();
        pair.settle();
    }
    // A full window at the reader and a full buffer at the writer.
    assert_eq!(written, 2 << 20);
    let mut read = 0;
    while let Some(bytes) = pair.read(1, stream, 50_000).unwrap() {
        read += bytes.len();
        pair.settle();
    }
    assert_eq!(read, written);
    assert!(pair.events[0].contains(&StreamEvent::Writable(stream)));
}

#[test]
fn thousands_of_streams_share_a_connection() {
    let mut pair = Pair::new(50, 9);
    let streams: Vec<StreamId> = (0..3_840).map(|_| pair.open(0)).collect();
    assert_eq!(pair.ends[0].streams.open(StreamKind::Plain), Err(StreamError::TooMany));
    for (n, stream) in streams.iter().enumerate() {
        pair.ends[0].streams.write(*stream, format!("stream {n}").as_bytes()).unwrap();
        pair.ends[0].streams.finish(*stream).unwrap();
    }
    pair.settle();
    for (n, stream) in streams.iter().enumerate() {
        assert_eq!(pair.read(1, *stream, 100).unwrap(), Some(format!("stream {n}").into_bytes()));
        assert_eq!(pair.read(1, *stream, 100).unwrap(), Some(Vec::new()));
        pair.ends[1].streams.finish(*stream).unwrap();
    }
    pair.settle();
    for stream in &streams {
        assert_eq!(pair.read(0, *stream, 100).unwrap(), Some(Vec::new()));
    }
    pair.settle();
    assert!(pair.events[0].contains(&StreamEvent::MayOpen));
    assert_eq!(pair.ends.each_ref().map(|end| end.streams.ids().count()), [0, 0], "nothing is left of them");
    pair.open(0);
}

#[test]
fn messages_of_every_size_arrive_once_or_not_at_all() {
    let mut pair = Pair::new(100, 5);
    let sizes: Vec<usize> = (0..300).map(|_| usize::try_from(pair.below(5_000)).unwrap()).collect();
    for (n, size) in sizes.iter().enumerate() {
        let mut message = vec![pattern(n); *size + 2];
        message[..2].copy_from_slice(&u16::try_from(n).unwrap().to_le_bytes());
        while !pair.ends[0].push_message(&Frame::Message(&message)) {
            assert!(pair.step());
        }
    }
    pair.settle();
    let got = &pair.messages[1];
    assert!(got.len() > 150 && got.len() < 300, "{} of 300", got.len());
    let mut numbers = Vec::new();
    for message in got {
        let n = usize::from(u16::from_le_bytes([message[0], message[1]]));
        assert_eq!(message.len(), sizes[n] + 2);
        assert!(message[2..].iter().all(|byte| *byte == pattern(n)), "whole or not at all");
        numbers.push(n);
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), got.len(), "never twice");
    let lost = pair.ends[0].tally().messages_lost;
    assert!(lost > 0 && pair.ends[0].tally().messages_sent == 300);
}

#[test]
fn a_reset_and_a_stop_are_told_to_the_other_end_whatever_is_lost() {
    for seed in 0..20 {
        let mut pair = Pair::new(300, seed);
        let (given_up, unwanted) = (pair.open(0), pair.open(0));
        for stream in [given_up, unwanted] {
            pair.ends[0].streams.write(stream, &[7; 5_000]).unwrap();
        }
        pair.settle();
        pair.ends[0].streams.reset(given_up, 42).unwrap();
        pair.ends[1].streams.stop(unwanted, 43).unwrap();
        pair.settle();
        assert_eq!(pair.read(1, given_up, 10), Err(StreamError::Reset(given_up, 42)));
        assert!(pair.events[0].contains(&StreamEvent::Stopped(unwanted, 43)));
        assert_eq!(pair.ends[0].streams.write(unwanted, b"more"), Err(StreamError::Ended(unwanted)));
    }
}

#[test]
fn a_silent_peer_is_probed_ever_more_slowly_and_picked_up_again() {
    let mut pair = Pair::new(0, 1);
    let stream = pair.open(0);
    pair.ends[0].streams.write(stream, b"first").unwrap();
    pair.settle();
    pair.loss = 1_000;
    pair.ends[0].streams.write(stream, b"second").unwrap();
    let before = pair.packets;
    let until = pair.now + Duration::from_mins(2);
    while pair.now < until {
        assert!(pair.step());
    }
    assert!(pair.packets - before < 2 * 80, "{} packets into the void", pair.packets - before);
    pair.loss = 0;
    pair.settle();
    assert_eq!(pair.read(1, stream, 100).unwrap(), Some(b"firstsecond".to_vec()));
}

#[test]
fn a_window_adapts_to_what_the_path_takes() {
    let mut pair = Pair::new(0, 1);
    pair.transfer(4_000_000);
    let wide = pair.ends[0].congestion.window();
    assert!(wide > 100_000, "{wide}");
    pair.loss = 100;
    pair.transfer(6_000_000);
    assert!(pair.ends[0].congestion.window() < wide / 4);
}

/// RFC 9002, section 7.6.
#[test]
fn a_path_that_carried_nothing_for_long_begins_anew_with_the_least_window() {
    let mut pair = Pair::new(0, 1);
    pair.transfer(4_000_000);
    let wide = pair.ends[0].congestion.window();
    let stream = pair.open(0);
    pair.ends[0].streams.write(stream, &vec![1; 50_000]).unwrap();
    pair.loss = 1_000;
    let until = pair.now + Duration::from_secs(10);
    while pair.now < until {
        assert!(pair.step());
    }
    assert_eq!(pair.ends[0].congestion.window(), wide, "nothing tells yet that anything is lost");
    pair.loss = 0;
    while pair.ends[0].congestion.window() == wide {
        assert!(pair.step());
    }
    assert_eq!(pair.ends[0].congestion.window(), 2 * (ROOM + PACKET_OVERHEAD));
}

#[test]
fn messages_get_their_turn_beside_acknowledgements_and_a_stream_without_end() {
    let mut now = Instant::from_micros(1_000);
    let mut end = Connection::new(1, Side::Lower, ROOM + PACKET_OVERHEAD, 1 << 20, now);
    let stream = end.streams.open(StreamKind::Plain).unwrap();
    end.streams.write(stream, &vec![1; 100_000]).unwrap();
    let first = end.write(now, &mut Vec::new()).unwrap();
    end.sent(now, 0, first, ROOM);
    // It fills a packet, so that it fits none with an acknowledgement.
    let content = [2; ROOM - 3];
    assert!(end.push_message(&Frame::Message(&content)));
    assert_eq!(end.messages.bytes(), ROOM);
    let mut number = 1;
    for round in 0..4 {
        // As many packets come in as go out: each second one carries an acknowledgement.
        end.received(now, round, true);
        for _ in 0..2 {
            let mut out = Vec::new();
            let Some(written) = end.write(now, &mut out) else { continue };
            end.sent(now, number, written, out.len() + 32);
            number += 1;
        }
        now += Duration::from_millis(10);
    }
    assert_eq!(end.tally().messages_sent, 1);
}

/// The window, and the probe timeout, once two packets were lost together that were sent with `span` between them.
fn after_losses_over(span: Duration) -> (usize, Duration) {
    let mut now = Instant::from_micros(1_000);
    let mut end = Connection::new(1, Side::Lower, ROOM + PACKET_OVERHEAD, 1 << 20, now);
    let mut number = 0;
    let mut send = |end: &mut Connection, now| {
        assert!(end.push_message(&Frame::Message(b"short")));
        let written = end.write(now, &mut Vec::new()).unwrap();
        end.sent(now, number, written, 100);
        number += 1;
    };
    let acknowledge = |end: &mut Connection, now, highest, more| {
        let ack = [6, 0, highest, 0, more];
        for frame in Frames::parse(&ack).unwrap() {
            end.on_frame(now, &frame).unwrap();
        }
    };
    send(&mut end, now);
    now += Duration::from_millis(10);
    acknowledge(&mut end, now, 0, 0);
    send(&mut end, now);
    now += span;
    (2..=5).for_each(|_| send(&mut end, now));
    now += Duration::from_millis(10);
    // Three of them arrived, the third one three numbers after the second one lost.
    acknowledge(&mut end, now, 5, 2);
    assert_eq!(end.tally().packets_lost, 2);
    (end.congestion.window(), end.rtt.probe_timeout())
}

#[test]
fn losses_over_more_than_three_probe_timeouts_leave_the_least_window() {
    let datagram = ROOM + PACKET_OVERHEAD;
    let (window, timeout) = after_losses_over(Duration::ZERO);
    assert_eq!(window, 5 * datagram, "half");
    assert_eq!(after_losses_over(timeout * 3), (5 * datagram, timeout), "not yet for long enough");
    let longer = timeout * 3 + Duration::from_micros(1);
    assert_eq!(after_losses_over(longer), (2 * datagram, timeout));
}
