//! What test vectors and fuzzing need of a node's inside: single steps of the wire, without the node around them.
//!
//! Behind the feature `floor`, and no part of the crate's promises.

pub mod history;
pub mod system;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use meshground_shared::NodeId;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    capability::Capabilities,
    crypto::{Aead, Suite},
    handshake::{Established, Initiator, Noise, Responder},
    identity::Identity,
    packet::{AckRanges, DATA_HEADER_LEN, Fragment, Frame, Frames, Header, Relay, StreamPiece, data_header},
    record::{self, Content, Record, RecordKind, Stamp},
    route::Links,
    rpc::{Part, RequestReader, ResponseReader},
    session::Session,
    time::{Instant, WallTime},
};

/// One end of a handshake.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Its identity's seed.
    pub seed: [u8; 32],
    /// Seed of its random numbers.
    pub random: [u8; 32],
    /// The index it gives the other end.
    pub index: u32,
    /// Its incarnation.
    pub incarnation: u64,
}

/// What a handshake says before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The cipher suite.
    pub suite: Suite,
    /// The pre-shared key.
    pub psk: [u8; 32],
    /// The initiator's wall time.
    pub begun: u64,
    /// The connection the initiator would go on with; 0 for none.
    pub connection: u64,
}

/// What one end knows after a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Who is at the other end.
    pub peer: NodeId,
    /// The other end's incarnation.
    pub incarnation: u64,
    /// When the initiator began.
    pub begun: u64,
    /// The connection the initiator would go on with.
    pub connection: u64,
    /// This end's first data packet, with the given frames.
    pub first_packet: Vec<u8>,
}

impl Outcome {
    fn of(established: Established, frames: &[u8]) -> Option<Self> {
        let Established { peer, incarnation, begun, connection, .. } = established;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut session = Session::new(established, crate::Path::Direct(address), 1_452, Instant::default());
        let mut first_packet = Vec::new();
        session.seal(&mut first_packet, |out| {
            out.extend_from_slice(frames);
            Some(())
        })?;
        Some(Self { peer, incarnation, begun: begun.0, connection, first_packet })
    }
}

/// A whole handshake, the initiator's end first: its three datagrams, and what came of it at either end, whose first data
/// packets carry `frames`. `None` if it fails.
pub fn handshake(terms: &Terms, ends: &[End; 2], frames: &[u8]) -> Option<([Vec<u8>; 3], [Outcome; 2])> {
    let noise = |end: &End| Noise::new(terms.psk, Identity::from_seed(end.seed), end.incarnation);
    let rng = |end: &End| ChaCha20Rng::from_seed(end.random);
    let [a, b] = ends;
    let (noise_a, mut noise_b) = (noise(a), noise(b));
    let begun = WallTime(terms.begun);
    let mut initiator = Initiator::begin(&noise_a, terms.suite, a.index, begun, &mut rng(a));
    let initiation = initiator.initiation().to_vec();
    let Header::Initiation { suite, noise } = Header::parse(&initiation).ok()? else { return None };
    let mut responder = Responder::read_initiation(&mut noise_b, suite, noise, b.index, &mut rng(b)).ok()?;
    let response = responder.respond(&noise_b).ok()?.to_vec();
    let Header::Response { receiver, noise } = Header::parse(&response).ok()? else { return None };
    let (at_a, confirm) = initiator
        .read_response(&noise_a, noise, |_| terms.connection)
        .ok()
        .filter(|_| receiver == a.index)?;
    let confirm = confirm.to_vec();
    let Header::Confirm { receiver, noise } = Header::parse(&confirm).ok()? else { return None };
    let at_b = responder.read_confirm(&noise_b, noise).ok().filter(|_| receiver == b.index)?;
    let outcomes = [Outcome::of(at_a, frames)?, Outcome::of(at_b, frames)?];
    Some(([initiation, response, confirm], outcomes))
}

/// A data packet.
pub fn seal(suite: Suite, key: &[u8; 32], receiver: u32, counter: u64, frames: &[u8]) -> Vec<u8> {
    let header = data_header(receiver, counter);
    let mut datagram = [&header[..], frames].concat();
    let tag = Aead::new(suite, key).seal(counter, &header, &mut datagram[DATA_HEADER_LEN..]);
    datagram.extend_from_slice(&tag);
    datagram
}

/// The receiver index, counter and frames of a data packet; `None` if it is none or does not authenticate.
pub fn open(suite: Suite, key: &[u8; 32], datagram: &[u8]) -> Option<(u32, u64, Vec<u8>)> {
    let Header::Data { receiver, counter } = Header::parse(datagram).ok()? else { return None };
    let (header, sealed) = datagram.split_at(DATA_HEADER_LEN);
    let mut sealed = sealed.to_vec();
    let frames = Aead::new(suite, key).open(counter, header, &mut sealed).ok()?;
    Some((receiver, counter, frames.to_vec()))
}

/// A field of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Number(u64),
    /// A node's id.
    Id(NodeId),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Ranges of numbers.
    Ranges(Ranges),
}

/// Ranges of numbers, highest first, as lowest and highest number each.
pub type Ranges = Vec<(u64, u64)>;

/// What a frame says: its name, and its fields by name.
pub type Meaning = (&'static str, Vec<(&'static str, Field)>);

/// What the frames of a packet say; `None` if one of them cannot be read.
pub fn frames(packet: &[u8]) -> Option<Vec<Meaning>> {
    Some(Frames::parse(packet).ok()?.map(meaning).collect())
}

/// The frames of a packet, read and written again; `None` if one of them cannot be read.
pub fn frames_rewritten(packet: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for frame in Frames::parse(packet).ok()? {
        let before = out.len();
        frame.encode(&mut out);
        debug_assert_eq!(out.len() - before, frame.encoded_len(), "a frame is as long as it says");
    }
    Some(out)
}

fn meaning(frame: Frame<'_>) -> Meaning {
    let bytes = |bytes: &[u8]| Field::Bytes(bytes.to_vec());
    let number = Field::Number;
    match frame {
        Frame::Ping { stamp, silence_ms } => {
            ("ping", vec![("stamp", number(stamp)), ("silence_ms", number(silence_ms.into()))])
        }
        Frame::Pong { stamp } => ("pong", vec![("stamp", number(stamp))]),
        Frame::Leave => ("leave", vec![]),
        Frame::Close => ("close", vec![]),
        Frame::Probe => ("probe", vec![]),
        Frame::Continues => ("continues", vec![]),
        Frame::Ack { delay_us, ranges } => {
            let ranges = ranges.iter().map(|range| (*range.start(), *range.end())).collect();
            ("ack", vec![("delay_us", number(delay_us)), ("ranges", Field::Ranges(ranges))])
        }
        Frame::Message(content) => ("message", vec![("content", bytes(content))]),
        Frame::Record(content) => ("record", vec![("content", bytes(content))]),
        Frame::Summary(content) => ("summary", vec![("content", bytes(content))]),
        Frame::Digest(digest) => ("digest", vec![("digest", number(digest))]),
        Frame::Fragment(Fragment { parcel, size, offset, data }) => (
            "fragment",
            vec![
                ("parcel", number(parcel)),
                ("size", number(size)),
                ("offset", number(offset)),
                ("data", bytes(data)),
            ],
        ),
        Frame::Stream(StreamPiece { stream, offset, end, data }) => (
            if end { "stream_end" } else { "stream" },
            vec![("stream", number(stream)), ("offset", number(offset)), ("data", bytes(data))],
        ),
        Frame::ResetStream { stream, code, size } => {
            ("reset_stream", vec![("stream", number(stream)), ("code", number(code)), ("size", number(size))])
        }
        Frame::StopSending { stream, code } => {
            ("stop_sending", vec![("stream", number(stream)), ("code", number(code))])
        }
        Frame::MaxData { limit } => ("max_data", vec![("limit", number(limit))]),
        Frame::MaxStreamData { stream, limit } => {
            ("max_stream_data", vec![("stream", number(stream)), ("limit", number(limit))])
        }
        Frame::MaxStreams { limit } => ("max_streams", vec![("limit", number(limit))]),
        Frame::Relay(Relay { distance, source, target, datagram }) => (
            "relay",
            vec![
                ("distance", number(distance.into())),
                ("source", Field::Id(source)),
                ("target", Field::Id(target)),
                ("datagram", bytes(datagram)),
            ],
        ),
    }
}

/// Whether the clear part of a datagram can be read.
pub fn has_header(datagram: &[u8]) -> bool {
    Header::parse(datagram).is_ok()
}

/// The ranges of an acknowledgement, highest first, read and written again: their bytes, and how many bytes followed
/// them.
pub fn ack_ranges(bytes: &[u8]) -> Option<(Ranges, Vec<u8>, usize)> {
    let (ranges, rest) = AckRanges::split(bytes).ok()?;
    let mut rewritten = Vec::new();
    ranges.encode(&mut rewritten);
    debug_assert_eq!(rewritten.len(), ranges.encoded_len(), "they are as long as they say");
    let ranges = ranges.iter().map(|range| (*range.start(), *range.end())).collect();
    Some((ranges, rewritten, rest.len()))
}

/// What a request's bytes say: how long the caller waits, the method and the body.
pub fn request(bytes: &[u8]) -> Option<(u64, String, Vec<u8>)> {
    let mut reader = RequestReader::default();
    let (buffer, room) = reader.buffer();
    buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
    if reader.is_too_large() {
        return None;
    }
    let request = reader.finish().ok()?;
    Some((request.wait_us, request.method, request.body))
}

/// The items of an answer, and how it ended, if it did.
pub type Answer = (Vec<Vec<u8>>, Option<Result<(), (u64, String)>>);

/// What an answer's bytes say that come in by pieces; `None` as soon as they cannot be read.
pub fn response<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Answer> {
    let (mut reader, mut items) = (ResponseReader::default(), Vec::new());
    for piece in pieces {
        reader.buffer().extend_from_slice(piece);
        while reader.missing().ok()? == 0 {
            match reader.next()? {
                Part::Item(item) => items.push(item),
                Part::End(outcome) => return Some((items, Some(outcome))),
            }
        }
    }
    Some((items, None))
}

/// A record's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFields {
    /// What it is about, as it travels: from 1, in the order of PROTOCOL.md.
    pub kind: u8,
    /// Its origin.
    pub origin: NodeId,
    /// The origin's life.
    pub incarnation: u64,
    /// Its number in that.
    pub version: u64,
    /// When, in microseconds of the origin's wall clock.
    pub issued: u64,
    /// For how many seconds it holds.
    pub ttl: u64,
    /// What it says.
    pub body: Vec<u8>,
    /// Whether its content can be read.
    pub is_sound: bool,
    /// Whether its origin signed it.
    pub is_signed: bool,
}

/// What a record's bytes say.
pub fn record(bytes: &[u8]) -> Option<RecordFields> {
    let record = Record::parse(bytes).ok()?;
    Some(RecordFields {
        kind: RecordKind::ALL.iter().zip(1..).find(|(kind, _)| **kind == record.key.kind)?.1,
        origin: record.key.origin,
        incarnation: record.stamp.incarnation,
        version: record.stamp.version,
        issued: record.issued.0,
        ttl: record.ttl.as_secs(),
        body: record.body().to_vec(),
        is_sound: Content::parse(&record).is_ok(),
        is_signed: record.is_signed(),
    })
}

/// How many kinds of records there are.
pub const RECORD_KINDS: usize = RecordKind::ALL.len();

/// A record of the identity that grows from `seed`; origin and verdicts are not read from `fields`.
pub fn sign_record(seed: [u8; 32], fields: &RecordFields) -> Vec<u8> {
    let kind = RecordKind::ALL[usize::from(fields.kind.saturating_sub(1)) % RECORD_KINDS];
    let stamp = Stamp { incarnation: fields.incarnation, version: fields.version };
    let (issued, ttl) = (WallTime(fields.issued), Duration::from_secs(fields.ttl));
    Record::sign(&Identity::from_seed(seed), kind, stamp, issued, ttl, &fields.body).bytes().to_vec()
}

/// What a record of capabilities says, read and written again.
pub fn capabilities_rewritten(body: &[u8]) -> Option<Vec<u8>> {
    Some(Capabilities::decode(body).ok()?.encode())
}

/// What a record of links says, read and written again.
pub fn links_rewritten(body: &[u8]) -> Option<Vec<u8>> {
    Some(Links::decode(&body.into(), 0..body.len()).ok()?.encode())
}

/// The content of a summary frame, read and written again.
pub fn summary_rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    record::summary_rewritten(bytes)
}

/// A member of the mesh that says whatever it likes: one end of a session, with no node behind it.
#[derive(Debug)]
pub struct Insider {
    noise: Noise,
    initiator: Initiator,
    session: Option<Session>,
}

impl Insider {
    /// One that dials; with the initiation to send.
    pub fn dial(terms: &Terms, end: &End) -> (Self, Vec<u8>) {
        let noise = Noise::new(terms.psk, Identity::from_seed(end.seed), end.incarnation);
        let mut rng = ChaCha20Rng::from_seed(end.random);
        let initiator = Initiator::begin(&noise, terms.suite, end.index, WallTime(terms.begun), &mut rng);
        let initiation = initiator.initiation().to_vec();
        (Self { noise, initiator, session: None }, initiation)
    }

    /// Takes the response; with the confirmation to send, after which it can [`seal`](Self::seal).
    pub fn confirm(&mut self, response: &[u8]) -> Option<Vec<u8>> {
        let Header::Response { noise, .. } = Header::parse(response).ok()? else { return None };
        let (established, confirm) = self.initiator.read_response(&self.noise, noise, |_| 0).ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.session =
            Some(Session::new(established, crate::Path::Direct(address), 1_452, Instant::default()));
        Some(confirm.to_vec())
    }

    /// The next data packet, whatever its frames. `None` before [`confirm`](Self::confirm).
    pub fn seal(&mut self, frames: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.session.as_mut()?.seal(&mut out, |out| {
            out.extend_from_slice(frames);
            Some(())
        })?;
        Some(out)
    }

    /// The frames of a data packet for it.
    pub fn open(&mut self, datagram: &mut [u8]) -> Option<Vec<u8>> {
        let Header::Data { counter, .. } = Header::parse(datagram).ok()? else { return None };
        let frames = self.session.as_mut()?.open(counter, datagram).ok()?;
        let mut out = Vec::new();
        frames.for_each(|frame| frame.encode(&mut out));
        Some(out)
    }
}
