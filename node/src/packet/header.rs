//! The clear part of a datagram: what kind it is and whom it is for.

use super::Malformed;
use crate::crypto::{Suite, TAG_LEN};

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const CONFIRM: u8 = 3;
const DATA: u8 = 4;

const INITIATION_HEADER_LEN: usize = 4;
const RESPONSE_HEADER_LEN: usize = 8;
const CONFIRM_HEADER_LEN: usize = 8;
/// Bytes before the sealed part of a data packet; they are its associated data.
pub(crate) const DATA_HEADER_LEN: usize = 16;

/// Noise message 1: ephemeral key, then wall time and index, sealed.
pub(crate) const INITIATION_NOISE_LEN: usize = 32 + (8 + 4) + TAG_LEN;
/// Noise message 2: ephemeral key, sealed static key, then index, incarnation and proof, sealed.
pub(crate) const RESPONSE_NOISE_LEN: usize = 32 + (32 + TAG_LEN) + (4 + 8 + 96) + TAG_LEN;
/// Noise message 3: sealed static key, then incarnation, proof and connection, sealed.
pub(crate) const CONFIRM_NOISE_LEN: usize = (32 + TAG_LEN) + (8 + 96 + 8) + TAG_LEN;

/// Length of an initiation datagram.
pub(crate) const INITIATION_LEN: usize = INITIATION_HEADER_LEN + INITIATION_NOISE_LEN;
/// Length of a response datagram.
pub(crate) const RESPONSE_LEN: usize = RESPONSE_HEADER_LEN + RESPONSE_NOISE_LEN;
/// Length of a confirmation datagram.
pub(crate) const CONFIRM_LEN: usize = CONFIRM_HEADER_LEN + CONFIRM_NOISE_LEN;

/// A datagram's clear part, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header<'a> {
    /// Message 1 of a handshake.
    Initiation { suite: Suite, noise: &'a [u8; INITIATION_NOISE_LEN] },
    /// Message 2, for the dial known to its owner as `receiver`.
    Response { receiver: u32, noise: &'a [u8; RESPONSE_NOISE_LEN] },
    /// Message 3, for the answer known to its owner as `receiver`.
    Confirm { receiver: u32, noise: &'a [u8; CONFIRM_NOISE_LEN] },
    /// A packet of the session known to its owner as `receiver`. What follows the first
    /// [`DATA_HEADER_LEN`] bytes is sealed.
    Data { receiver: u32, counter: u64 },
}

impl<'a> Header<'a> {
    /// Reads a datagram's clear part.
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (&[kind, second, zero_a, zero_b], rest) = datagram.split_first_chunk().ok_or(Malformed)?;
        let suite = Suite::from_byte(second);
        if (zero_a, zero_b) != (0, 0) || (kind != INITIATION && second != 0) {
            return Err(Malformed);
        }
        if kind == INITIATION {
            let noise = rest.try_into().map_err(|_| Malformed)?;
            return Ok(Self::Initiation { suite: suite.ok_or(Malformed)?, noise });
        }
        let (receiver, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let receiver = u32::from_le_bytes(*receiver);
        match kind {
            RESPONSE => Ok(Self::Response { receiver, noise: rest.try_into().map_err(|_| Malformed)? }),
            CONFIRM => Ok(Self::Confirm { receiver, noise: rest.try_into().map_err(|_| Malformed)? }),
            DATA => {
                let (counter, sealed) = rest.split_first_chunk().ok_or(Malformed)?;
                if sealed.len() < TAG_LEN {
                    return Err(Malformed);
                }
                Ok(Self::Data { receiver, counter: u64::from_le_bytes(*counter) })
            }
            _ => Err(Malformed),
        }
    }
}

/// The clear part of message 1.
pub(crate) fn initiation_header(suite: Suite) -> [u8; INITIATION_HEADER_LEN] {
    [INITIATION, suite.byte(), 0, 0]
}

/// The clear part of message 2.
pub(crate) fn response_header(receiver: u32) -> [u8; RESPONSE_HEADER_LEN] {
    indexed(RESPONSE, receiver)
}

/// The clear part of message 3.
pub(crate) fn confirm_header(receiver: u32) -> [u8; CONFIRM_HEADER_LEN] {
    indexed(CONFIRM, receiver)
}

/// The clear part of a data packet.
pub(crate) fn data_header(receiver: u32, counter: u64) -> [u8; DATA_HEADER_LEN] {
    let mut header = [0; DATA_HEADER_LEN];
    header[..8].copy_from_slice(&indexed(DATA, receiver));
    header[8..].copy_from_slice(&counter.to_le_bytes());
    header
}

fn indexed(kind: u8, receiver: u32) -> [u8; 8] {
    let [a, b, c, d] = receiver.to_le_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut initiation = initiation_header(Suite::ChaCha20Poly1305).to_vec();
        initiation.extend([7; INITIATION_NOISE_LEN]);
        let expected =
            Header::Initiation { suite: Suite::ChaCha20Poly1305, noise: &[7; INITIATION_NOISE_LEN] };
        assert_eq!(Header::parse(&initiation), Ok(expected));

        let mut response = response_header(0x0102_0304).to_vec();
        response.extend([7; RESPONSE_NOISE_LEN]);
        let expected = Header::Response { receiver: 0x0102_0304, noise: &[7; RESPONSE_NOISE_LEN] };
        assert_eq!(Header::parse(&response), Ok(expected));

        let mut confirm = confirm_header(5).to_vec();
        confirm.extend([7; CONFIRM_NOISE_LEN]);
        let expected = Header::Confirm { receiver: 5, noise: &[7; CONFIRM_NOISE_LEN] };
        assert_eq!(Header::parse(&confirm), Ok(expected));

        let mut data = data_header(6, u64::MAX - 1).to_vec();
        data.extend([0; TAG_LEN]);
        assert_eq!(Header::parse(&data), Ok(Header::Data { receiver: 6, counter: u64::MAX - 1 }));
    }

    #[test]
    fn a_wrong_length_type_or_reserved_bit_is_refused() {
        let mut confirm = confirm_header(5).to_vec();
        confirm.extend([7; CONFIRM_NOISE_LEN]);
        for len in 0..confirm.len() {
            assert_eq!(Header::parse(&confirm[..len]), Err(Malformed), "{len} bytes");
        }
        confirm.push(0);
        assert_eq!(Header::parse(&confirm), Err(Malformed));
        confirm.pop();
        for (byte, value) in [(0, 0), (0, 5), (0, 255), (1, 1), (2, 1), (3, 1)] {
            let mut altered = confirm.clone();
            altered[byte] = value;
            assert_eq!(Header::parse(&altered), Err(Malformed), "byte {byte} = {value}");
        }
        let mut initiation = initiation_header(Suite::Aes256Gcm).to_vec();
        initiation.extend([7; INITIATION_NOISE_LEN]);
        initiation[1] = 3;
        assert_eq!(Header::parse(&initiation), Err(Malformed), "an unknown suite");
        assert_eq!(Header::parse(&data_header(1, 1)), Err(Malformed), "no room for a tag");
    }

    #[test]
    fn any_bytes_can_be_parsed() {
        // Every type byte at every length around the limits: an answer, never a panic.
        for kind in 0..=255 {
            for len in 0..300 {
                let mut datagram = vec![0; len];
                if let Some(first) = datagram.first_mut() {
                    *first = kind;
                }
                let _ = Header::parse(&datagram);
            }
        }
    }
}
