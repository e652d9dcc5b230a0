//! Frames (section 3).

use meshground_node::NodeId;

use super::{
    Refused,
    number::{take_number, take_numbers, take_prefixed, write_number, write_prefixed},
    ranges::Ranges,
    take,
};

/// The highest number there is, and where the longest stream ends.
const HIGHEST: u64 = (1 << 62) - 1;

/// A frame, as far as a bare peer cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Type 1.
    Ping {
        /// The sender's clock.
        stamp: u64,
        /// Since when the sender has not heard the receiver.
        silence_ms: u32,
    },
    /// Type 2, with the stamp of the ping it answers.
    Pong(u64),
    /// Type 6.
    Ack {
        /// How long ago the highest number came in.
        delay_us: u64,
        /// The numbers that came in.
        ranges: Ranges,
    },
    /// Type 7.
    Message(Vec<u8>),
    /// Type 8: a piece of a frame that does not fit a packet.
    Fragment {
        /// Of which parcel.
        parcel: u64,
        /// How many bytes that has.
        size: u64,
        /// Where in it the piece begins.
        offset: u64,
        /// The piece.
        data: Vec<u8>,
    },
    /// Types 9 and 10.
    Stream {
        /// The stream's id.
        stream: u64,
        /// Where in the stream the bytes begin.
        offset: u64,
        /// They.
        data: Vec<u8>,
        /// Whether the stream ends with them.
        end: bool,
    },
    /// Type 11.
    Reset {
        /// The stream's id.
        stream: u64,
        /// Why.
        code: u64,
        /// How many bytes were ever sent.
        size: u64,
    },
    /// Type 12.
    Stop {
        /// The stream's id.
        stream: u64,
        /// Why.
        code: u64,
    },
    /// Type 13: how many bytes may come on all streams.
    MaxData(u64),
    /// Type 14.
    MaxStreamData {
        /// The stream's id.
        stream: u64,
        /// How many bytes may come on it.
        limit: u64,
    },
    /// Type 15: how many streams may be opened.
    MaxStreams(u64),
    /// Type 16: a datagram for somebody else, or from somebody else.
    Relay {
        /// How far its sender is from the target.
        distance: u16,
        /// Whose it is.
        source: NodeId,
        /// Whom it is for.
        target: NodeId,
        /// The datagram.
        datagram: Vec<u8>,
    },
    /// Type 17.
    Record(Vec<u8>),
    /// Type 18.
    Digest(u64),
    /// Type 19.
    Summary(Vec<u8>),
    /// Type 20.
    Continues,
    /// One of another type, which says nothing to a bare peer.
    Other(u8),
}

impl Frame {
    /// Whether a packet that holds it asks to be acknowledged.
    pub fn asks_for_acknowledgement(&self) -> bool {
        match self {
            Self::Ping { .. }
            | Self::Pong(_)
            | Self::Ack { .. }
            | Self::Relay { .. }
            | Self::Digest(_)
            | Self::Continues => false,
            Self::Other(kind) => *kind == 5,
            _ => true,
        }
    }

    /// Its bytes. Of one of another type, only that.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |kind: u8, numbers: &[u64]| {
            out.push(kind);
            for number in numbers {
                write_number(*number, &mut out);
            }
        };
        match self {
            Self::Ping { stamp, silence_ms } => {
                put(1, &[]);
                out.extend_from_slice(&stamp.to_le_bytes());
                out.extend_from_slice(&silence_ms.to_le_bytes());
            }
            Self::Pong(stamp) => {
                put(2, &[]);
                out.extend_from_slice(&stamp.to_le_bytes());
            }
            Self::Ack { delay_us, ranges } => {
                put(6, &[*delay_us]);
                ranges.write(&mut out);
            }
            // A length written longer than it needs to be is allowed.
            Self::Message(bytes) => {
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX) | 0x8000_0000;
                put(7, &[]);
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(bytes);
            }
            Self::Fragment { parcel, size, offset, data } => {
                put(8, &[*parcel, *size, *offset]);
                write_prefixed(data, &mut out);
            }
            Self::Stream { stream, offset, data, end } => {
                put(if *end { 10 } else { 9 }, &[*stream, *offset]);
                write_prefixed(data, &mut out);
            }
            Self::Reset { stream, code, size } => put(11, &[*stream, *code, *size]),
            Self::Stop { stream, code } => put(12, &[*stream, *code]),
            Self::MaxData(limit) => put(13, &[*limit]),
            Self::MaxStreamData { stream, limit } => put(14, &[*stream, *limit]),
            Self::MaxStreams(limit) => put(15, &[*limit]),
            Self::Relay { distance, source, target, datagram } => {
                put(16, &[]);
                out.extend_from_slice(&distance.to_le_bytes());
                out.extend_from_slice(&source.0.to_le_bytes());
                out.extend_from_slice(&target.0.to_le_bytes());
                write_prefixed(datagram, &mut out);
            }
            Self::Record(bytes) => {
                put(17, &[]);
                write_prefixed(bytes, &mut out);
            }
            Self::Digest(digest) => {
                put(18, &[]);
                out.extend_from_slice(&digest.to_le_bytes());
            }
            Self::Summary(bytes) => {
                put(19, &[]);
                write_prefixed(bytes, &mut out);
            }
            Self::Continues => put(20, &[]),
            Self::Other(kind) => put(*kind, &[]),
        }
        out
    }
}

/// The frames of a packet.
///
/// # Errors
/// When one of them cannot be read.
pub fn read_frames(mut bytes: &[u8]) -> Result<Vec<Frame>, Refused> {
    let mut frames = Vec::new();
    while let [kind, rest @ ..] = bytes {
        let (frame, rest) = read_frame(*kind, rest)?;
        frames.push(frame);
        bytes = rest;
    }
    Ok(frames)
}

fn read_frame(kind: u8, rest: &[u8]) -> Result<(Frame, &[u8]), Refused> {
    Ok(match kind {
        1 => {
            let (stamp, rest) = take(rest)?;
            let (silence, rest) = take(rest)?;
            let silence_ms = u32::from_le_bytes(silence);
            (Frame::Ping { stamp: u64::from_le_bytes(stamp), silence_ms }, rest)
        }
        2 => {
            let (stamp, rest) = take(rest)?;
            (Frame::Pong(u64::from_le_bytes(stamp)), rest)
        }
        6 => {
            let (delay_us, rest) = take_number(rest)?;
            let (ranges, rest) = Ranges::read(rest)?;
            (Frame::Ack { delay_us, ranges }, rest)
        }
        7 => {
            let (message, rest) = take_prefixed(rest)?;
            (Frame::Message(message.to_vec()), rest)
        }
        8 => {
            let ([parcel, size, offset], rest) = take_numbers(rest)?;
            let (piece, rest) = take_prefixed(rest)?;
            if piece.is_empty() || offset + piece.len() as u64 > size {
                return Err(Refused);
            }
            (Frame::Fragment { parcel, size, offset, data: piece.to_vec() }, rest)
        }
        9 | 10 => {
            let ([stream, offset], rest) = take_numbers(rest)?;
            let (data, rest) = take_prefixed(rest)?;
            if offset + data.len() as u64 > HIGHEST {
                return Err(Refused);
            }
            (Frame::Stream { stream, offset, data: data.to_vec(), end: kind == 10 }, rest)
        }
        11 => {
            let ([stream, code, size], rest) = take_numbers(rest)?;
            (Frame::Reset { stream, code, size }, rest)
        }
        12 => {
            let ([stream, code], rest) = take_numbers(rest)?;
            (Frame::Stop { stream, code }, rest)
        }
        13 => {
            let (limit, rest) = take_number(rest)?;
            (Frame::MaxData(limit), rest)
        }
        14 => {
            let ([stream, limit], rest) = take_numbers(rest)?;
            (Frame::MaxStreamData { stream, limit }, rest)
        }
        15 => {
            let (limit, rest) = take_number(rest)?;
            (Frame::MaxStreams(limit), rest)
        }
        20 => (Frame::Continues, rest),
        3..=5 => (Frame::Other(kind), rest),
        16 => {
            let (distance, rest) = take(rest)?;
            let (source, rest) = take(rest)?;
            let (target, rest) = take(rest)?;
            let (datagram, rest) = take_prefixed(rest)?;
            let (distance, datagram) = (u16::from_le_bytes(distance), datagram.to_vec());
            let [source, target] = [source, target].map(|id| NodeId(u64::from_le_bytes(id)));
            (Frame::Relay { distance, source, target, datagram }, rest)
        }
        17 => {
            let (record, rest) = take_prefixed(rest)?;
            (Frame::Record(record.to_vec()), rest)
        }
        18 => {
            let (digest, rest) = take(rest)?;
            (Frame::Digest(u64::from_le_bytes(digest)), rest)
        }
        19 => {
            let (summary, rest) = take_prefixed(rest)?;
            (Frame::Summary(summary.to_vec()), rest)
        }
        _ => return Err(Refused),
    })
}
