//! Records: what an identity says to everyone.
//!
//! A session proves who speaks, but only to the one spoken to. A record is signed by its origin, so anyone may pass it
//! on. Of each kind an origin has one record that counts, its newest; holders drop it when its time is over, and the
//! origin renews it before that. Layout and rules are in `PROTOCOL.md`, section 8.

mod content;
mod publisher;
mod spreading;
mod store;
mod summary;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc, time::Duration};

use meshground_shared::NodeId;

pub(crate) use content::Content;
pub(crate) use publisher::Publisher;
#[cfg(feature = "floor")]
pub(crate) use publisher::TTL;
pub(crate) use spreading::{Outgoing, Spreading, Taken};

use crate::{
    identity::{Identity, node_id, short_hash, verify},
    time::WallTime,
};

const SIGNATURE_LABEL: &[u8] = b"meshground record 1:";
const DIGEST_LABEL: &[u8] = b"meshground record digest 1";

const HEADER_LEN: usize = 1 + 32 + 8 + 8 + 8 + 4;
const SIGNATURE_LEN: usize = 64;

/// The longest content of a record, in bytes.
pub const MAX_BODY: usize = 16 * 1_024;

/// The longest time a record may ask to be held for.
const MAX_TTL: Duration = Duration::from_hours(24);

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordKind {
    /// What its origin can do.
    Capabilities,
    /// With whom its origin holds direct sessions.
    Links,
    /// Whatever is above the transport says about this topic.
    Said(Topic),
}

/// What a node may say to everyone besides what the transport says: one thing at a time on each topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// What runs on it.
    Inventory,
    /// The groups it looks after.
    Groups,
}

impl RecordKind {
    /// Every kind, in order.
    pub(crate) const ALL: [Self; 4] =
        [Self::Capabilities, Self::Links, Self::Said(Topic::Inventory), Self::Said(Topic::Groups)];

    const fn byte(self) -> u8 {
        match self {
            Self::Capabilities => 1,
            Self::Links => 2,
            Self::Said(Topic::Inventory) => 3,
            Self::Said(Topic::Groups) => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Whose record, and about what: there is one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) origin: NodeId,
    pub(crate) kind: RecordKind,
}

/// Which of two records under one key is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Stamp {
    /// The origin's life; a later one's records are newer.
    pub(crate) incarnation: u64,
    /// Counts the origin's records of one kind within a life.
    pub(crate) version: u64,
}

/// Why bytes are not a record that can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// Not the layout of a record, or of its content.
    #[error("not the layout of a record")]
    Malformed,
    /// Not signed by its origin.
    #[error("not signed by its origin")]
    Forged,
}

/// A record whose layout was checked. Whether its origin signed it is told by
/// [`is_signed`](Self::is_signed): that costs as much as thousands of other checks, so it is asked once and late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Key,
    pub(crate) stamp: Stamp,
    /// When, by its origin's wall clock.
    pub(crate) issued: WallTime,
    /// For how long from then on it holds.
    pub(crate) ttl: Duration,
    bytes: Arc<[u8]>,
}

impl Record {
    /// Signs what `identity` has to say. `ttl` is rounded down to whole seconds.
    pub(crate) fn sign(
        identity: &Identity,
        kind: RecordKind,
        stamp: Stamp,
        issued: WallTime,
        ttl: Duration,
        body: &[u8],
    ) -> Self {
        debug_assert!(body.len() <= MAX_BODY, "a body is bounded by its own encoding");
        let seconds = u32::try_from(ttl.min(MAX_TTL).as_secs()).unwrap_or(u32::MAX);
        let mut message = SIGNATURE_LABEL.to_vec();
        message.push(kind.byte());
        message.extend_from_slice(&identity.entity_key());
        message.extend_from_slice(&stamp.incarnation.to_le_bytes());
        message.extend_from_slice(&stamp.version.to_le_bytes());
        message.extend_from_slice(&issued.0.to_le_bytes());
        message.extend_from_slice(&seconds.to_le_bytes());
        message.extend_from_slice(body);
        let signature = identity.sign(&message);
        message.extend_from_slice(&signature);
        Self {
            key: Key { origin: identity.node_id(), kind },
            stamp,
            issued,
            ttl: Duration::from_secs(u64::from(seconds)),
            bytes: message[SIGNATURE_LABEL.len()..].into(),
        }
    }

    /// Reads a record's clear fields. The signature is not checked yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if !(HEADER_LEN + SIGNATURE_LEN..=HEADER_LEN + MAX_BODY + SIGNATURE_LEN).contains(&bytes.len()) {
            return Err(RecordError::Malformed);
        }
        let (&[kind], rest) = split(bytes)?;
        let (entity_key, rest) = split(rest)?;
        let (incarnation, rest) = split(rest)?;
        let (version, rest) = split(rest)?;
        let (issued, rest) = split(rest)?;
        let (ttl, _) = split(rest)?;
        let ttl = Duration::from_secs(u64::from(u32::from_le_bytes(*ttl)));
        if ttl.is_zero() || ttl > MAX_TTL {
            return Err(RecordError::Malformed);
        }
        let kind = RecordKind::from_byte(kind).ok_or(RecordError::Malformed)?;
        Ok(Self {
            key: Key { origin: node_id(entity_key), kind },
            stamp: Stamp {
                incarnation: u64::from_le_bytes(*incarnation),
                version: u64::from_le_bytes(*version),
            },
            issued: WallTime(u64::from_le_bytes(*issued)),
            ttl,
            bytes: bytes.into(),
        })
    }

    /// Whether the origin signed it.
    pub(crate) fn is_signed(&self) -> bool {
        let entity_key = self.bytes[1..].first_chunk().expect("the length was checked");
        let (message, signature) = self.bytes.split_last_chunk().expect("the length was checked");
        verify(entity_key, &[SIGNATURE_LABEL, message].concat(), signature).is_ok()
    }

    /// What it says. Nothing at all withdraws what the origin said before.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[self.place()]
    }

    /// Where in the record that stands.
    pub(crate) fn place(&self) -> Range<usize> {
        HEADER_LEN..self.bytes.len() - SIGNATURE_LEN
    }

    /// The record as it travels.
    pub(crate) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

/// The content of a summary frame, read and written again; for test vectors and fuzzing.
#[cfg(feature = "floor")]
pub(crate) fn summary_rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    use summary::Parcel;
    Some(match Parcel::parse(bytes).ok()? {
        Parcel::Summary(summary) => summary.encode(),
        Parcel::Wanted(wanted) => wanted.encode(),
    })
}

/// What one record adds to the digest of all records a node holds.
fn digest(key: Key, stamp: Stamp) -> u64 {
    let mut named = [0; 25];
    named[..8].copy_from_slice(&key.origin.0.to_le_bytes());
    named[8] = key.kind.byte();
    named[9..17].copy_from_slice(&stamp.incarnation.to_le_bytes());
    named[17..].copy_from_slice(&stamp.version.to_le_bytes());
    short_hash(DIGEST_LABEL, &named)
}

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), RecordError> {
    bytes.split_first_chunk().ok_or(RecordError::Malformed)
}

#[cfg(test)]
mod record_tests {
    use super::*;

    fn record() -> Record {
        Record::sign(
            &Identity::from_seed([1; 32]),
            RecordKind::Links,
            Stamp { incarnation: 2, version: 3 },
            WallTime(4),
            Duration::from_secs(5),
            b"body",
        )
    }

    #[test]
    fn what_is_signed_is_read() {
        let read = Record::parse(record().bytes()).unwrap();
        assert_eq!(read, record());
        assert_eq!(read.body(), b"body");
        assert!(read.is_signed());
    }

    #[test]
    fn a_record_with_an_altered_bit_is_not_signed_by_its_origin() {
        let bytes = record().bytes().to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!Record::parse(&altered).is_ok_and(|record| record.is_signed()), "bit {bit}");
        }
    }

    #[test]
    fn a_wrong_length_kind_or_lifetime_is_refused() {
        let bytes = record().bytes().to_vec();
        for len in 0..HEADER_LEN + SIGNATURE_LEN {
            assert_eq!(Record::parse(&bytes[..len]), Err(RecordError::Malformed), "{len} bytes");
        }
        let longest = HEADER_LEN + MAX_BODY + SIGNATURE_LEN;
        let mut long = bytes.clone();
        long.resize(longest, 0);
        assert!(Record::parse(&long).is_ok());
        long.push(0);
        assert_eq!(Record::parse(&long), Err(RecordError::Malformed));
        for (at, value) in [(0, 0), (0, 5), (HEADER_LEN - 4, 0), (HEADER_LEN - 1, 255)] {
            let mut altered = bytes.clone();
            altered[at] = value;
            assert_eq!(Record::parse(&altered), Err(RecordError::Malformed), "byte {at} = {value}");
        }
    }

    #[test]
    fn a_later_life_is_newer_whatever_the_version() {
        let (old, new) = (Stamp { incarnation: 1, version: 9 }, Stamp { incarnation: 2, version: 0 });
        assert!(new > old);
    }
}
