//! A connection over one session after another (sections 5 and 7).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Frame, Refused,
    parcel::Parcel,
    ranges::Ranges,
    session::Session,
    stream::{Incoming, Kind, Limits, MAX_DATA, MAX_STREAM_DATA, stream_id},
};

/// What both ends call a connection whose first session was begun then.
pub fn connection_number(begun: u64, initiator_is_lower: bool) -> u64 {
    begun.wrapping_mul(2).wrapping_add(u64::from(initiator_is_lower))
}

/// A packet that came in, before it has any effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub frames: Vec<Frame>,
    /// Under which session it came, counted from 0.
    pub session: usize,
}

/// One end of a connection.
pub struct Connection {
    /// The last is the one in use.
    sessions: Vec<Session>,
    /// This end has the lower node id.
    is_lower: bool,
    /// Packets begin with a continues frame, until one comes under the last session.
    saying_continues: bool,
    next_number: u64,
    received: Ranges,
    /// Numbers that were sent and not acknowledged.
    under_way: BTreeSet<u64>,
    /// What is to go with the next packet.
    owed: Vec<Frame>,
    ack_owed: bool,
    next_index: u64,
    /// Those of which not every piece has come in.
    parcels: BTreeMap<u64, Parcel>,
    /// What came in for whoever drives this: messages, records, digests, summaries and relayed datagrams, in a parcel or not.
    pub inbox: VecDeque<Frame>,
    /// Every stream that has been named.
    pub streams: BTreeMap<u64, Incoming>,
    /// What the other end lets this one send.
    pub limits: Limits,
    /// The same for single streams, where it was raised.
    stream_limits: BTreeMap<u64, u64>,
    /// What this end lets the other send on all streams, what came of that, and what was read.
    told_data: u64,
    came: u64,
    read: u64,
    /// How far each stream was sent, and all of them.
    sent_to: BTreeMap<u64, u64>,
    sent: u64,
}

impl Connection {
    /// A new one, with its first session.
    pub fn new(session: Session, is_lower: bool) -> Self {
        Self {
            sessions: vec![session],
            is_lower,
            saying_continues: false,
            next_number: 0,
            received: Ranges::default(),
            under_way: BTreeSet::new(),
            owed: Vec::new(),
            ack_owed: false,
            next_index: 0,
            parcels: BTreeMap::new(),
            inbox: VecDeque::new(),
            streams: BTreeMap::new(),
            limits: Limits::default(),
            stream_limits: BTreeMap::new(),
            told_data: MAX_DATA,
            came: 0,
            read: 0,
            sent_to: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Goes on over another session. Whoever answered its handshake says that it does.
    pub fn go_on(&mut self, session: Session, answered: bool) {
        self.sessions.push(session);
        self.saying_continues = answered;
    }

    /// The next packet, with what is owed in front, and its number.
    pub fn seal(&mut self, frames: &[Frame]) -> (u64, Vec<u8>) {
        let mut all = Vec::new();
        if self.saying_continues {
            all.push(Frame::Continues);
        }
        if std::mem::take(&mut self.ack_owed) {
            all.push(Frame::Ack { delay_us: 0, ranges: self.received.clone() });
        }
        all.append(&mut self.owed);
        all.extend_from_slice(frames);
        let number = self.next_number;
        self.next_number += 1;
        if all.iter().any(Frame::asks_for_acknowledgement) {
            self.under_way.insert(number);
        }
        let session = &self.sessions[self.sessions.len() - 1];
        (number, session.seal(number, &all))
    }

    /// Leaves the next number out, as if its packet had been lost. Which one that is.
    pub fn skip_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// What a packet says. It has no effect yet.
    ///
    /// # Errors
    /// When it is of no session of this connection, or altered.
    pub fn open(&self, datagram: &[u8]) -> Result<Packet, Refused> {
        let opened = |session: &Session| session.open(datagram).ok();
        let mut sessions = self.sessions.iter().enumerate().rev();
        let found = sessions.find_map(|(place, session)| Some((place, opened(session)?)));
        let (session, (number, frames)) = found.ok_or(Refused)?;
        Ok(Packet { number, frames, session })
    }

    /// A packet takes effect.
    ///
    /// # Errors
    /// When its number came before, or a frame goes beyond what this end allows.
    pub fn take(&mut self, packet: &Packet) -> Result<(), Refused> {
        if !self.received.insert(packet.number) {
            return Err(Refused);
        }
        if packet.session + 1 == self.sessions.len() {
            self.saying_continues = false;
        }
        for frame in &packet.frames {
            self.ack_owed |= frame.asks_for_acknowledgement();
            match frame {
                Frame::Ping { stamp, .. } => self.owed.push(Frame::Pong(*stamp)),
                Frame::Ack { ranges, .. } => self.under_way.retain(|number| !ranges.contains(*number)),
                Frame::Stream { stream, offset, data, end } => {
                    self.came += self.streams.entry(*stream).or_default().take(*offset, data, *end)?;
                }
                Frame::Reset { stream, code, size } => {
                    self.came += self.streams.entry(*stream).or_default().take_reset(*code, *size)?;
                }
                Frame::Stop { stream, code } => {
                    self.streams.entry(*stream).or_default().stopped = Some(*code);
                }
                Frame::MaxData(limit) => self.limits.data = self.limits.data.max(*limit),
                Frame::MaxStreamData { stream, limit } => {
                    let known = self.stream_limits.entry(*stream).or_insert(MAX_STREAM_DATA);
                    *known = (*known).max(*limit);
                }
                Frame::MaxStreams(limit) => self.limits.streams = self.limits.streams.max(*limit),
                Frame::Fragment { parcel, size, offset, data } => {
                    let pieces = self.parcels.entry(*parcel).or_insert_with(|| Parcel::new(*size));
                    if let Some(whole) = pieces.take(*size, *offset, data)? {
                        self.parcels.remove(parcel);
                        self.inbox.push_back(whole);
                    }
                }
                Frame::Message(_)
                | Frame::Relay { .. }
                | Frame::Record(_)
                | Frame::Digest(_)
                | Frame::Summary(_) => self.inbox.push_back(frame.clone()),
                Frame::Pong(_) | Frame::Continues | Frame::Other(_) => {}
            }
        }
        if self.came > self.told_data { Err(Refused) } else { Ok(()) }
    }

    /// Whether something should be sent even if there is nothing else to say.
    pub fn owes(&self) -> bool {
        self.ack_owed || !self.owed.is_empty()
    }

    /// Whether packet `number` was acknowledged, or never asked for it.
    pub fn is_settled(&self, number: u64) -> bool {
        !self.under_way.contains(&number)
    }

    /// Opens the next stream; nobody learns of it before the first frame that names it. `None` while as many are open
    /// as the other end allows.
    pub fn open_stream(&mut self, kind: Kind) -> Option<u64> {
        let index = self.next_index;
        (index < self.limits.streams).then(|| {
            self.next_index += 1;
            stream_id(index, kind, self.is_lower)
        })
    }

    /// The streams of a kind that the other end has opened.
    pub fn opened(&self, kind: Kind) -> impl Iterator<Item = u64> {
        let first = stream_id(0, kind, !self.is_lower);
        self.streams.keys().copied().filter(move |stream| stream % 4 == first)
    }

    /// How many more bytes may be sent on a stream than have been.
    pub fn room(&self, stream: u64) -> u64 {
        let limit = self.stream_limits.get(&stream).copied().unwrap_or(MAX_STREAM_DATA);
        let sent = self.sent_to.get(&stream).copied().unwrap_or(0);
        (limit - sent).min(self.limits.data - self.sent)
    }

    /// The frame that sends `data` from `offset` on. It must be within what there is [room](Self::room) for, or have been sent.
    pub fn piece(&mut self, stream: u64, offset: u64, data: &[u8], end: bool) -> Frame {
        let sent_to = self.sent_to.entry(stream).or_insert(0);
        let rise = (offset + data.len() as u64).saturating_sub(*sent_to);
        *sent_to += rise;
        self.sent += rise;
        Frame::Stream { stream, offset, data: data.to_vec(), end }
    }

    /// Appends what can be read of a stream. Limits that rise by that are to be told, and so are returned.
    pub fn read(&mut self, stream: u64, out: &mut Vec<u8>) -> Vec<Frame> {
        let Some(incoming) = self.streams.get_mut(&stream) else { return Vec::new() };
        self.read += incoming.read(out);
        let mut told = Vec::new();
        told.extend(incoming.raise().map(|limit| Frame::MaxStreamData { stream, limit }));
        let limit = self.read + MAX_DATA;
        if limit - self.told_data >= MAX_DATA / 8 {
            self.told_data = limit;
            told.push(Frame::MaxData(limit));
        }
        told
    }
}
