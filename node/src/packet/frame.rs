//! Frames: what a sealed packet carries, one after the other until its end.

use super::Malformed;

const PING: u8 = 1;
const PONG: u8 = 2;
const LEAVE: u8 = 3;
const MESSAGE: u8 = 4;

/// Bytes a message frame adds to its content: type and length.
pub(crate) const MESSAGE_OVERHEAD: usize = 3;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// "Are you there?" Carries the sender's clock, which only the sender reads.
    Ping { stamp: u64 },
    /// "I am." Carries the stamp of the ping it answers.
    Pong { stamp: u64 },
    /// "I am leaving; forget me."
    Leave,
    /// An application's message.
    Message(&'a [u8]),
}

impl Frame<'_> {
    /// How many bytes [`encode`](Self::encode) appends.
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Self::Ping { .. } | Self::Pong { .. } => 9,
            Self::Leave => 1,
            Self::Message(content) => MESSAGE_OVERHEAD + content.len(),
        }
    }

    /// Appends the frame. A message must not exceed 65,535 bytes, which no datagram does.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Ping { stamp } => {
                out.push(PING);
                out.extend_from_slice(&stamp.to_le_bytes());
            }
            Self::Pong { stamp } => {
                out.push(PONG);
                out.extend_from_slice(&stamp.to_le_bytes());
            }
            Self::Leave => out.push(LEAVE),
            Self::Message(content) => {
                let len = u16::try_from(content.len()).expect("checked against the datagram size");
                out.push(MESSAGE);
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(content);
            }
        }
    }
}

/// The frames of one packet, checked to its end: a packet takes effect as a whole or
/// not at all.
#[derive(Debug)]
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
        PING => split_u64(rest).map(|(stamp, rest)| (Frame::Ping { stamp }, rest)),
        PONG => split_u64(rest).map(|(stamp, rest)| (Frame::Pong { stamp }, rest)),
        LEAVE => Ok((Frame::Leave, rest)),
        MESSAGE => {
            let (len, rest) = rest.split_first_chunk().ok_or(Malformed)?;
            let len = usize::from(u16::from_le_bytes(*len));
            let (content, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
            Ok((Frame::Message(content), rest))
        }
        _ => Err(Malformed),
    }
}

fn split_u64(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let (value, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    Ok((u64::from_le_bytes(*value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(frames: &[Frame<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in frames {
            let before = out.len();
            frame.encode(&mut out);
            assert_eq!(out.len() - before, frame.encoded_len());
        }
        out
    }

    const ALL: [Frame<'static>; 5] = [
        Frame::Ping { stamp: 1 },
        Frame::Message(b"hello"),
        Frame::Pong { stamp: u64::MAX },
        Frame::Message(b""),
        Frame::Leave,
    ];

    #[test]
    fn what_is_written_is_read() {
        let bytes = encoded(&ALL);
        assert_eq!(Frames::parse(&bytes).unwrap().collect::<Vec<_>>(), ALL);
        assert_eq!(Frames::parse(&[]).unwrap().count(), 0);
    }

    #[test]
    fn a_packet_cut_within_a_frame_is_refused_as_a_whole() {
        let bytes = encoded(&ALL);
        let ends: Vec<usize> = (0..=ALL.len()).map(|n| encoded(&ALL[..n]).len()).collect();
        for len in 0..bytes.len() {
            assert_eq!(Frames::parse(&bytes[..len]).is_ok(), ends.contains(&len), "{len} bytes");
        }
    }

    #[test]
    fn an_unknown_frame_is_refused() {
        for kind in [0, 5, 255] {
            assert!(Frames::parse(&[LEAVE, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        }
    }
}
