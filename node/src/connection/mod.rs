//! A connection: what two nodes share for as long as both live, over however many sessions.
//!
//! It numbers packets, tells the other end which came in, finds out which were lost, limits how much is under way, and
//! carries messages and streams. The model is QUIC: RFC 9000 for streams, RFC 9002 for loss and congestion, RFC 9221
//! for messages. Keys are not its business: a session seals what is written here. Because packet numbers go on when a
//! session is renewed, nothing here notices that.

mod congestion;
mod in_flight;
mod messages;
mod reassembly;
mod received;
mod rtt;

use std::{collections::VecDeque, time::Duration};

pub(crate) use reassembly::MAX_PARCEL;

use self::{
    congestion::Congestion,
    in_flight::{InFlight, MAX_PACKETS, Sent},
    messages::Messages,
    reassembly::Reassembly,
    received::Received,
    rtt::Rtt,
};
use crate::{
    packet::{AckRanges, Frame, Frames},
    session::PACKET_OVERHEAD,
    stream::{Carried, Side, Streams, Violation},
    time::Instant,
};

/// The most bytes of frames that wait outside congestion control; beyond, new ones are dropped.
const URGENT_BYTES: usize = 256 << 10;

/// The longest pause between two probes of a peer that acknowledges nothing.
const MAX_PROBE_PAUSE: Duration = Duration::from_secs(2);

/// Packets sent beyond the congestion window to elicit an acknowledgement (RFC 9002, section 6.2.4).
const PROBES: u32 = 2;

/// What has become of a connection's packets and messages so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Packets that were given up as lost.
    pub(crate) packets_lost: u64,
    /// Messages that ended in a packet that was given up as lost.
    pub(crate) messages_lost: u64,
    /// Messages sent.
    pub(crate) messages_sent: u64,
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The most bytes of frames in a packet, and of the datagram around it.
    room: usize,
    datagram: usize,
    /// The most bytes of messages that wait; one message may go beyond.
    max_queued: usize,
    received: Received,
    rtt: Rtt,
    in_flight: InFlight,
    congestion: Congestion,
    /// Unanswered probe timeouts in a row.
    timeouts: u32,
    /// Packets that may go beyond the window.
    probes: u32,
    /// Until when pacing holds the next packet back.
    paced_until: Option<Instant>,
    /// Whole frames that wait for nothing but the next packet.
    urgent: VecDeque<Vec<u8>>,
    urgent_bytes: usize,
    messages: Messages,
    /// Someone found no room for a message.
    messages_blocked: bool,
    /// Whose turn it is, where both messages and streams wait.
    messages_first: bool,
    reassembly: Reassembly,
    tally: Tally,
    pub(crate) streams: Streams,
}

/// A packet written but not sent yet.
#[derive(Debug)]
pub(crate) struct Written {
    /// It carries more than heartbeats and acknowledgements.
    pub(crate) elicits_ack: bool,
    carried: Vec<Carried>,
    messages: u32,
}

impl Connection {
    /// A new connection, which both ends call `id`. It sends datagrams of at most `datagram` bytes and lets `max_queued` bytes of messages wait.
    pub(crate) fn new(id: u64, side: Side, datagram: usize, max_queued: usize, now: Instant) -> Self {
        let room = datagram - PACKET_OVERHEAD;
        Self {
            room,
            max_queued,
            datagram,
            received: Received::default(),
            rtt: Rtt::default(),
            in_flight: InFlight::default(),
            congestion: Congestion::new(datagram, now),
            timeouts: 0,
            probes: 0,
            paced_until: None,
            urgent: VecDeque::new(),
            urgent_bytes: 0,
            messages: Messages::new(room),
            messages_blocked: false,
            messages_first: false,
            reassembly: Reassembly::default(),
            tally: Tally::default(),
            streams: Streams::new(id, side),
        }
    }

    /// Has packets go out in datagrams of at most `datagram` bytes from now on. Of what waits, a frame that must not
    /// wait and does not fit any more is dropped.
    pub(crate) fn set_datagram(&mut self, datagram: usize) {
        let before = std::mem::replace(&mut self.datagram, datagram);
        self.room = datagram - PACKET_OVERHEAD;
        self.messages.set_block(self.room);
        if before <= datagram {
            return;
        }
        self.urgent_bytes = 0;
        for block in std::mem::take(&mut self.urgent) {
            for frame in Frames::parse(&block).into_iter().flatten() {
                self.push_urgent(&frame);
            }
        }
    }

    /// What has become of its packets so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    #[cfg(feature = "floor")]
    pub(crate) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        use crate::audit::Gauge;
        each(Gauge::new("urgent bytes", self.urgent_bytes, URGENT_BYTES));
        // One message may go beyond, cut into pieces.
        each(Gauge::new("bytes of messages", self.messages.bytes(), self.max_queued + 2 * MAX_PARCEL));
        each(Gauge::new("packets under way", self.in_flight.count(), MAX_PACKETS));
        each(Gauge::new("numbers under way", self.in_flight.span(), in_flight::MAX_SPAN));
        self.received.gauge(each);
        self.reassembly.gauges(each);
        self.streams.gauges(each);
    }

    // What there is to send.

    /// Queues a frame that waits for nothing: it comes first, is sent whatever the congestion, and not again. Whether
    /// there was room for it. It must fit a packet.
    pub(crate) fn push_urgent(&mut self, frame: &Frame<'_>) -> bool {
        let len = frame.encoded_len();
        if len > self.room || self.urgent_bytes + len > URGENT_BYTES {
            return false;
        }
        self.urgent_bytes += len;
        match self.urgent.back_mut() {
            Some(block) if block.len() + len <= self.room => frame.encode(block),
            _ => {
                let mut block = Vec::with_capacity(len);
                frame.encode(&mut block);
                self.urgent.push_back(block);
            }
        }
        true
    }

    /// Queues a frame of any length up to [`MAX_PARCEL`] that is subject to congestion control and does not come
    /// again when it is lost. Whether there was room for it.
    pub(crate) fn push_message(&mut self, frame: &Frame<'_>) -> bool {
        if self.messages.bytes() > 0 && self.messages.bytes() + frame.encoded_len() > self.max_queued {
            self.messages_blocked = true;
            return false;
        }
        self.messages.push(frame);
        true
    }

    /// How many bytes of messages wait.
    pub(crate) fn queued(&self) -> usize {
        self.messages.bytes()
    }

    /// Whether someone who found no room for a message has not been told of any yet.
    pub(crate) fn has_blocked_messages(&self) -> bool {
        self.messages_blocked
    }

    /// Whether there is room again for someone who found none. Says so once.
    pub(crate) fn unblock_messages(&mut self) -> bool {
        let free = self.messages_blocked && self.messages.bytes() <= self.max_queued / 2;
        if free {
            self.messages_blocked = false;
        }
        free
    }

    /// Appends the frames of the next packet, if there is something to send now. Tell [`sent`](Self::sent) of it.
    pub(crate) fn write(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Written> {
        let start = out.len();
        let may_send = self.may_send(now);
        let ack_due = self.received.due().is_some_and(|due| due <= now);
        if self.urgent.is_empty() && !may_send && !ack_due {
            return None;
        }
        let room = |out: &Vec<u8>| self.room - (out.len() - start);
        if self.received.is_waiting() {
            let room = room(out);
            self.received.acknowledge(now, room, out);
        }
        while let Some(block) =
            self.urgent.front().filter(|block| block.len() <= self.room - (out.len() - start))
        {
            self.urgent_bytes -= block.len();
            out.extend_from_slice(block);
            self.urgent.pop_front();
        }
        let (mut carried, mut messages, mut elicits_ack) = (Vec::new(), 0, false);
        if may_send && self.urgent.is_empty() {
            let before = out.len();
            let room = |out: &Vec<u8>| self.room - (out.len() - start);
            if self.messages_first {
                messages += self.messages.write(room(out), out).unwrap_or(0);
                // Messages that found no room beside an acknowledgement go with the next packet: it will have one only
                // if something has come in meanwhile. Were the streams to go on, those might wait for ever.
                let held_up = out.len() == before && !self.messages.is_empty();
                if !held_up {
                    self.streams.send(room(out), out, &mut carried);
                    self.messages_first = false;
                }
            } else {
                self.streams.send(room(out), out, &mut carried);
                messages += self.messages.write(room(out), out).unwrap_or(0);
                self.messages_first = true;
            }
            if out.len() == before && self.probes > 0 && out.len() - start < self.room {
                Frame::Probe.encode(out);
            }
            elicits_ack = out.len() > before;
        }
        if out.len() == start {
            return None;
        }
        Some(Written { elicits_ack, carried, messages })
    }

    /// Whether something that is subject to congestion control may go now.
    fn may_send(&mut self, now: Instant) -> bool {
        self.paced_until = None;
        if self.probes > 0 {
            return true;
        }
        let waiting = self.streams.has_output() || !self.messages.is_empty();
        let room = self.in_flight.bytes() + self.datagram <= self.congestion.window()
            && self.in_flight.count() < MAX_PACKETS;
        if !waiting || !room {
            return false;
        }
        match self.congestion.pace(now, self.rtt.smoothed()) {
            Ok(()) => true,
            Err(then) => {
                self.paced_until = Some(then);
                false
            }
        }
    }

    /// A written packet goes out as number `number`, in a datagram of `bytes`. Numbers only rise.
    pub(crate) fn sent(&mut self, now: Instant, number: u64, packet: Written, bytes: usize) {
        let Written { elicits_ack, carried, messages } = packet;
        if !elicits_ack {
            return;
        }
        self.probes = self.probes.saturating_sub(1);
        self.tally.messages_sent += u64::from(messages);
        self.congestion.sent(bytes);
        let Self { in_flight, streams, tally, .. } = self;
        in_flight.make_room(number, |packet| {
            // Whoever acknowledges nothing for so long is no path to be gentler with.
            tally.packets_lost += 1;
            tally.messages_lost += u64::from(packet.messages);
            for carried in packet.carried {
                streams.lost(carried);
            }
        });
        self.in_flight.sent(number, Sent { at: now, bytes, carried, messages });
    }

    // What comes in.

    /// Packet `number` came in for the first time, and all its frames have taken effect.
    pub(crate) fn received(&mut self, now: Instant, number: u64, elicits_ack: bool) {
        self.received.record(now, number, elicits_ack);
    }

    /// A frame came in. Returns a longer one if this was its last missing piece.
    pub(crate) fn on_frame(&mut self, now: Instant, frame: &Frame<'_>) -> Result<Option<Vec<u8>>, Violation> {
        match *frame {
            Frame::Ack { delay_us, ref ranges } => self.on_ack(now, Duration::from_micros(delay_us), ranges),
            Frame::Fragment(ref piece) => return Ok(self.reassembly.insert(piece)),
            Frame::Stream(ref piece) => self.streams.on_piece(piece)?,
            Frame::ResetStream { stream, code, size } => self.streams.on_reset(stream, code, size)?,
            Frame::StopSending { stream, code } => self.streams.on_stop(stream, code)?,
            Frame::MaxData { limit } => self.streams.on_max_data(limit),
            Frame::MaxStreamData { stream, limit } => self.streams.on_max_stream_data(stream, limit)?,
            Frame::MaxStreams { limit } => self.streams.on_max_streams(limit),
            _ => {}
        }
        Ok(None)
    }

    fn on_ack(&mut self, now: Instant, delay: Duration, ranges: &AckRanges<'_>) {
        let Self { in_flight, congestion, streams, .. } = self;
        let limited = in_flight.bytes() * 2 >= congestion.window();
        let mut news = false;
        let measured = in_flight.acknowledged(ranges, |packet| {
            news = true;
            congestion.acknowledged(packet.bytes, packet.at, limited);
            for carried in packet.carried {
                streams.acked(carried);
            }
        });
        if let Some(at) = measured {
            self.rtt.measured(now.saturating_since(at), delay);
        }
        if news {
            self.timeouts = 0;
            self.detect_losses(now);
        }
    }

    fn detect_losses(&mut self, now: Instant) {
        let Self { in_flight, congestion, streams, rtt, tally, .. } = self;
        let mut span: Option<(Instant, Instant)> = None;
        in_flight.detect_losses(now, rtt, |packet| {
            tally.packets_lost += 1;
            tally.messages_lost += u64::from(packet.messages);
            congestion.lost(now, packet.at);
            span = Some((span.map_or(packet.at, |(first, _)| first), packet.at));
            for carried in packet.carried {
                streams.lost(carried);
            }
        });
        if let Some((first, last)) = span
            && last.saturating_since(first) > rtt.probe_timeout() * 3
        {
            congestion.collapse();
        }
    }

    // Time.

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let times = [self.received.due(), self.in_flight.loss_at(), self.probe_at(), self.paced_until];
        times.into_iter().flatten().min()
    }

    fn probe_at(&self) -> Option<Instant> {
        let pause = self.rtt.probe_timeout().saturating_mul(1 << self.timeouts.min(16));
        Some(self.in_flight.last_sent()? + pause.min(MAX_PROBE_PAUSE))
    }

    /// The time has come. What there is to send now must be fetched.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.in_flight.loss_at().is_some_and(|at| at <= now) {
            self.detect_losses(now);
        } else if self.probe_at().is_some_and(|at| at <= now) {
            self.timeouts = self.timeouts.saturating_add(1);
            self.probes = PROBES;
            // The oldest goes again, so that the probe is of use.
            let Self { in_flight, streams, .. } = self;
            for carried in in_flight.oldest().iter().flat_map(|packet| &packet.carried) {
                streams.lost(*carried);
            }
        }
    }
}

#[cfg(test)]
mod tests;
