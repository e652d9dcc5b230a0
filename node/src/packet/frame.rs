//! Frames: what a sealed packet carries, one after the other until its end.

use meshground_shared::NodeId;

use super::{Malformed, ack::AckRanges, varint};

const PING: u8 = 1;
const PONG: u8 = 2;
const LEAVE: u8 = 3;
const CLOSE: u8 = 4;
const PROBE: u8 = 5;
const ACK: u8 = 6;
const MESSAGE: u8 = 7;
const FRAGMENT: u8 = 8;
const STREAM: u8 = 9;
const STREAM_END: u8 = 10;
const RESET_STREAM: u8 = 11;
const STOP_SENDING: u8 = 12;
const MAX_DATA: u8 = 13;
const MAX_STREAM_DATA: u8 = 14;
const MAX_STREAMS: u8 = 15;
const RELAY: u8 = 16;
const RECORD: u8 = 17;
const DIGEST: u8 = 18;
const SUMMARY: u8 = 19;
const CONTINUES: u8 = 20;

/// The most a message frame adds to its content: its type and a length of four bytes.
pub(crate) const MESSAGE_OVERHEAD: usize = 5;

/// The most a relay frame adds to the datagram in it.
pub(crate) const RELAY_OVERHEAD: usize = 1 + 2 + 8 + 8 + 4;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// "Are you there?"
    Ping {
        /// The sender's clock, which only the sender reads.
        stamp: u64,
        /// How long ago the sender last heard the receiver, in milliseconds: whoever is not heard learns of it here.
        silence_ms: u32,
    },
    /// "I am." Carries the stamp of the ping it answers.
    Pong { stamp: u64 },
    /// "I am leaving; forget me."
    Leave,
    /// "I want no session with you any more", but the sender lives on.
    Close,
    /// Asks for an acknowledgement and carries nothing.
    Probe,
    /// Which packets came in, and how many microseconds the highest of them has waited for this.
    Ack { delay_us: u64, ranges: AckRanges<'a> },
    /// An application's message.
    Message(&'a [u8]),
    /// A piece of a frame that is too long for one packet.
    Fragment(Fragment<'a>),
    /// A piece of a stream.
    Stream(StreamPiece<'a>),
    /// The sender's half of a stream ends here, unfinished, after `size` bytes.
    ResetStream { stream: u64, code: u64, size: u64 },
    /// The sender will not read this stream any further.
    StopSending { stream: u64, code: u64 },
    /// How many bytes may have been sent on all streams together.
    MaxData { limit: u64 },
    /// How many bytes may have been sent on one stream.
    MaxStreamData { stream: u64, limit: u64 },
    /// How many streams may have been opened.
    MaxStreams { limit: u64 },
    /// A datagram between two others, to be passed on.
    Relay(Relay<'a>),
    /// What an identity says to everyone, signed.
    Record(&'a [u8]),
    /// A hash over all records the sender holds.
    Digest(u64),
    /// Names the records the sender holds.
    Summary(&'a [u8]),
    /// "This session goes on with the connection that message 3 named."
    Continues,
}

/// A piece of a frame that is too long for one packet: of a message, a record or a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    /// Which frame, counted from 0 by its sender.
    pub(crate) parcel: u64,
    /// The whole frame's length.
    pub(crate) size: u64,
    /// Where this piece begins.
    pub(crate) offset: u64,
    /// The piece; ends within `size`.
    pub(crate) data: &'a [u8],
}

/// A piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamPiece<'a> {
    /// Which stream.
    pub(crate) stream: u64,
    /// Where the piece begins.
    pub(crate) offset: u64,
    /// Whether the stream ends with it.
    pub(crate) end: bool,
    /// The piece; ends at or below [`varint::MAX`].
    pub(crate) data: &'a [u8],
}

/// A datagram between two others, to be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relay<'a> {
    /// How far the target was from whoever passed it on last, in hops.
    pub(crate) distance: u16,
    /// Whose it is.
    pub(crate) source: NodeId,
    /// Whose it shall be.
    pub(crate) target: NodeId,
    /// A datagram as it would stand alone.
    pub(crate) datagram: &'a [u8],
}

impl StreamPiece<'_> {
    /// Appends everything of a frame but the piece itself, of `len` bytes, which must follow.
    pub(crate) fn put_start(stream: u64, offset: u64, end: bool, len: usize, out: &mut Vec<u8>) {
        let kind = if end { STREAM_END } else { STREAM };
        put_numbers(kind, &[stream, offset, len as u64], out);
    }

    /// What a piece of `len` bytes adds to them.
    pub(crate) fn overhead(stream: u64, offset: u64, len: usize) -> usize {
        1 + varint::len(stream) + varint::len(offset) + varint::len(len as u64)
    }
}

impl Fragment<'_> {
    /// What a piece of `len` bytes adds to them.
    pub(crate) fn overhead(parcel: u64, size: u64, offset: u64, len: usize) -> usize {
        1 + varint::len(parcel) + varint::len(size) + varint::len(offset) + varint::len(len as u64)
    }
}

impl Frame<'_> {
    /// Whether its receiver must acknowledge it.
    pub(crate) fn elicits_ack(&self) -> bool {
        matches!(
            self,
            Self::Probe
                | Self::Message(_)
                | Self::Fragment(_)
                | Self::Stream(_)
                | Self::ResetStream { .. }
                | Self::StopSending { .. }
                | Self::MaxData { .. }
                | Self::MaxStreamData { .. }
                | Self::MaxStreams { .. }
                | Self::Record(_)
                | Self::Summary(_)
        )
    }

    /// Appends the beginning of an [`Frame::Ack`], up to its ranges.
    pub(crate) fn put_ack_start(delay_us: u64, out: &mut Vec<u8>) {
        put_numbers(ACK, &[delay_us], out);
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub(crate) fn encoded_len(&self) -> usize {
        let with_len = |bytes: &[u8]| varint::len(bytes.len() as u64) + bytes.len();
        1 + match *self {
            Self::Ping { .. } => 12,
            Self::Pong { .. } | Self::Digest(_) => 8,
            Self::Leave | Self::Close | Self::Probe | Self::Continues => 0,
            Self::Ack { delay_us, ranges } => varint::len(delay_us) + ranges.encoded_len(),
            Self::Message(bytes) | Self::Record(bytes) | Self::Summary(bytes) => with_len(bytes),
            Self::Fragment(Fragment { parcel, size, offset, data }) => {
                return Fragment::overhead(parcel, size, offset, data.len()) + data.len();
            }
            Self::Stream(StreamPiece { stream, offset, data, .. }) => {
                return StreamPiece::overhead(stream, offset, data.len()) + data.len();
            }
            Self::ResetStream { stream, code, size } => {
                varint::len(stream) + varint::len(code) + varint::len(size)
            }
            Self::StopSending { stream, code } => varint::len(stream) + varint::len(code),
            Self::MaxData { limit } | Self::MaxStreams { limit } => varint::len(limit),
            Self::MaxStreamData { stream, limit } => varint::len(stream) + varint::len(limit),
            Self::Relay(Relay { datagram, .. }) => 18 + with_len(datagram),
        }
    }

    /// Appends the frame. Its numbers must not exceed [`varint::MAX`].
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Ping { stamp, silence_ms } => {
                out.push(PING);
                out.extend_from_slice(&stamp.to_le_bytes());
                out.extend_from_slice(&silence_ms.to_le_bytes());
            }
            Self::Pong { stamp } => {
                out.push(PONG);
                out.extend_from_slice(&stamp.to_le_bytes());
            }
            Self::Leave => out.push(LEAVE),
            Self::Close => out.push(CLOSE),
            Self::Probe => out.push(PROBE),
            Self::Continues => out.push(CONTINUES),
            Self::Ack { delay_us, ranges } => {
                put_numbers(ACK, &[delay_us], out);
                ranges.encode(out);
            }
            Self::Message(bytes) => put_bytes(MESSAGE, bytes, out),
            Self::Fragment(Fragment { parcel, size, offset, data }) => {
                put_numbers(FRAGMENT, &[parcel, size, offset, data.len() as u64], out);
                out.extend_from_slice(data);
            }
            Self::Stream(StreamPiece { stream, offset, end, data }) => {
                StreamPiece::put_start(stream, offset, end, data.len(), out);
                out.extend_from_slice(data);
            }
            Self::ResetStream { stream, code, size } => put_numbers(RESET_STREAM, &[stream, code, size], out),
            Self::StopSending { stream, code } => put_numbers(STOP_SENDING, &[stream, code], out),
            Self::MaxData { limit } => put_numbers(MAX_DATA, &[limit], out),
            Self::MaxStreamData { stream, limit } => put_numbers(MAX_STREAM_DATA, &[stream, limit], out),
            Self::MaxStreams { limit } => put_numbers(MAX_STREAMS, &[limit], out),
            Self::Relay(Relay { distance, source, target, datagram }) => {
                out.push(RELAY);
                out.extend_from_slice(&distance.to_le_bytes());
                out.extend_from_slice(&source.0.to_le_bytes());
                out.extend_from_slice(&target.0.to_le_bytes());
                varint::put(datagram.len() as u64, out);
                out.extend_from_slice(datagram);
            }
            Self::Record(bytes) => put_bytes(RECORD, bytes, out),
            Self::Digest(digest) => {
                out.push(DIGEST);
                out.extend_from_slice(&digest.to_le_bytes());
            }
            Self::Summary(bytes) => put_bytes(SUMMARY, bytes, out),
        }
    }
}

fn put_numbers(kind: u8, numbers: &[u64], out: &mut Vec<u8>) {
    out.push(kind);
    for number in numbers {
        varint::put(*number, out);
    }
}

fn put_bytes(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    put_numbers(kind, &[bytes.len() as u64], out);
    out.extend_from_slice(bytes);
}

/// The frames of one packet, checked to its end: a packet takes effect as a whole or
/// not at all.
#[derive(Debug, Clone)]
pub(crate) struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    /// Checks an opened packet.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = body;
        while !rest.is_empty() {
            (_, rest) = split_frame(rest)?;
        }
        Ok(Self(body))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let (frame, rest) = split_frame(self.0).ok()?;
        self.0 = rest;
        Some(frame)
    }
}

fn split_frame(bytes: &[u8]) -> Result<(Frame<'_>, &[u8]), Malformed> {
    let (&kind, rest) = bytes.split_first().ok_or(Malformed)?;
    match kind {
        PING => {
            let (stamp, rest) = split_array(rest)?;
            let (silence, rest) = split_array(rest)?;
            let silence_ms = u32::from_le_bytes(*silence);
            Ok((Frame::Ping { stamp: u64::from_le_bytes(*stamp), silence_ms }, rest))
        }
        PONG => {
            split_array(rest).map(|(stamp, rest)| (Frame::Pong { stamp: u64::from_le_bytes(*stamp) }, rest))
        }
        LEAVE => Ok((Frame::Leave, rest)),
        CLOSE => Ok((Frame::Close, rest)),
        PROBE => Ok((Frame::Probe, rest)),
        CONTINUES => Ok((Frame::Continues, rest)),
        ACK => {
            let (delay_us, rest) = varint::split(rest)?;
            let (ranges, rest) = AckRanges::split(rest)?;
            Ok((Frame::Ack { delay_us, ranges }, rest))
        }
        MESSAGE => varint::split_bytes(rest).map(|(bytes, rest)| (Frame::Message(bytes), rest)),
        FRAGMENT => {
            let ([parcel, size, offset], rest) = split_numbers(rest)?;
            let (data, rest) = varint::split_bytes(rest)?;
            let end = offset.checked_add(data.len() as u64).ok_or(Malformed)?;
            if data.is_empty() || end > size {
                return Err(Malformed);
            }
            Ok((Frame::Fragment(Fragment { parcel, size, offset, data }), rest))
        }
        STREAM | STREAM_END => {
            let ([stream, offset], rest) = split_numbers(rest)?;
            let (data, rest) = varint::split_bytes(rest)?;
            if offset + data.len() as u64 > varint::MAX {
                return Err(Malformed);
            }
            Ok((Frame::Stream(StreamPiece { stream, offset, end: kind == STREAM_END, data }), rest))
        }
        RESET_STREAM => split_numbers(rest)
            .map(|([stream, code, size], rest)| (Frame::ResetStream { stream, code, size }, rest)),
        STOP_SENDING => {
            split_numbers(rest).map(|([stream, code], rest)| (Frame::StopSending { stream, code }, rest))
        }
        MAX_DATA => split_numbers(rest).map(|([limit], rest)| (Frame::MaxData { limit }, rest)),
        MAX_STREAM_DATA => {
            split_numbers(rest).map(|([stream, limit], rest)| (Frame::MaxStreamData { stream, limit }, rest))
        }
        MAX_STREAMS => split_numbers(rest).map(|([limit], rest)| (Frame::MaxStreams { limit }, rest)),
        RELAY => {
            let (distance, rest) = split_array(rest)?;
            let (source, rest) = split_array(rest)?;
            let (target, rest) = split_array(rest)?;
            let (datagram, rest) = varint::split_bytes(rest)?;
            let relay = Relay {
                distance: u16::from_le_bytes(*distance),
                source: NodeId(u64::from_le_bytes(*source)),
                target: NodeId(u64::from_le_bytes(*target)),
                datagram,
            };
            Ok((Frame::Relay(relay), rest))
        }
        RECORD => varint::split_bytes(rest).map(|(bytes, rest)| (Frame::Record(bytes), rest)),
        DIGEST => split_array(rest).map(|(digest, rest)| (Frame::Digest(u64::from_le_bytes(*digest)), rest)),
        SUMMARY => varint::split_bytes(rest).map(|(bytes, rest)| (Frame::Summary(bytes), rest)),
        _ => Err(Malformed),
    }
}

fn split_array<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Malformed> {
    bytes.split_first_chunk().ok_or(Malformed)
}

fn split_numbers<const N: usize>(mut bytes: &[u8]) -> Result<([u64; N], &[u8]), Malformed> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        (*number, bytes) = varint::split(bytes)?;
    }
    Ok((numbers, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::ack::put_ranges;

    fn encoded(frames: &[Frame<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames {
            let before = out.len();
            frame.encode(&mut out);
            assert_eq!(out.len() - before, frame.encoded_len(), "{frame:?}");
        }
        out
    }

    /// One of each kind, and the limits of some.
    fn all(ranges: AckRanges<'_>) -> Vec<Frame<'_>> {
        vec![
            Frame::Ping { stamp: 1, silence_ms: u32::MAX },
            Frame::Message(b"hello"),
            Frame::Pong { stamp: u64::MAX },
            Frame::Message(b""),
            Frame::Leave,
            Frame::Close,
            Frame::Probe,
            Frame::Ack { delay_us: 70, ranges },
            Frame::Fragment(Fragment { parcel: 3, size: 70_000, offset: 69_995, data: b"piece" }),
            Frame::Stream(StreamPiece { stream: 4, offset: varint::MAX - 5, end: true, data: b"piece" }),
            Frame::Stream(StreamPiece { stream: 0, offset: 0, end: false, data: b"" }),
            Frame::ResetStream { stream: 1, code: 2, size: 3 },
            Frame::StopSending { stream: varint::MAX, code: 0 },
            Frame::MaxData { limit: 1 << 40 },
            Frame::MaxStreamData { stream: 9, limit: 64 },
            Frame::MaxStreams { limit: 16_384 },
            Frame::Relay(Relay { distance: 3, source: NodeId(1), target: NodeId(2), datagram: b"datagram" }),
            Frame::Record(b"record"),
            Frame::Digest(77),
            Frame::Summary(b"summary"),
            Frame::Continues,
        ]
    }

    fn with_all(test: impl FnOnce(&[Frame<'_>])) {
        let mut bytes = Vec::new();
        put_ranges([900..=1_000, 5..=7].into_iter(), 100, &mut bytes);
        test(&all(AckRanges::split(&bytes).unwrap().0));
    }

    #[test]
    fn what_is_written_is_read() {
        with_all(|all| {
            let bytes = encoded(all);
            assert_eq!(Frames::parse(&bytes).unwrap().collect::<Vec<_>>(), all);
        });
        assert_eq!(Frames::parse(&[]).unwrap().count(), 0);
    }

    #[test]
    fn a_packet_cut_within_a_frame_is_refused_as_a_whole() {
        with_all(|all| {
            let bytes = encoded(all);
            let ends: Vec<usize> = (0..=all.len()).map(|n| encoded(&all[..n]).len()).collect();
            for len in 0..bytes.len() {
                assert_eq!(Frames::parse(&bytes[..len]).is_ok(), ends.contains(&len), "{len} bytes");
            }
        });
    }

    #[test]
    fn an_unknown_frame_is_refused() {
        for kind in [0, 21, 255] {
            assert!(Frames::parse(&[LEAVE, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        }
    }

    #[test]
    fn a_piece_beyond_the_end_of_its_whole_is_refused() {
        let fragment = |size, offset, data| Frame::Fragment(Fragment { parcel: 0, size, offset, data });
        assert!(Frames::parse(&encoded(&[fragment(5, 2, b"abc")])).is_ok());
        assert!(Frames::parse(&encoded(&[fragment(4, 2, b"abc")])).is_err());
        assert!(Frames::parse(&encoded(&[fragment(4, 2, b"")])).is_err(), "an empty one says nothing");
        let beyond = StreamPiece { stream: 0, offset: varint::MAX, end: false, data: b"a" };
        assert!(Frames::parse(&encoded(&[Frame::Stream(beyond)])).is_err());
    }
}
