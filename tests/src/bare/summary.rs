//! Comparing what two ends hold of records (section 8).

use std::collections::BTreeMap;

use meshground_node::NodeId;

use super::{Record, Refused, hash, take};

/// What a record is known by: its origin, then its kind.
pub type Key = (NodeId, u8);

/// The lowest and the highest.
const LOWEST: Key = (NodeId(0), 1);
const HIGHEST: Key = (NodeId(u64::MAX), 4);

/// What a summary frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Summary {
    /// What its sender holds from one key to another, both included: key, incarnation and version.
    Page {
        /// The first key it covers.
        first: Key,
        /// The last.
        last: Key,
        /// What there is.
        held: Vec<(Key, u64, u64)>,
    },
    /// What its sender asks for.
    Wanted(Vec<Key>),
}

impl Summary {
    /// As it travels.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Page { first, last, held } => {
                out.push(1);
                for key in [first, last] {
                    put(*key, &mut out);
                }
                for (key, incarnation, version) in held {
                    put(*key, &mut out);
                    out.extend_from_slice(&incarnation.to_le_bytes());
                    out.extend_from_slice(&version.to_le_bytes());
                }
            }
            Self::Wanted(keys) => {
                out.push(2);
                for key in keys {
                    put(*key, &mut out);
                }
            }
        }
        out
    }

    /// From the content of a summary frame.
    ///
    /// # Errors
    /// When it breaks a rule of section 8.
    pub fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let ([kind], rest) = take(bytes)?;
        match kind {
            1 => {
                let (first, rest) = take_key(rest)?;
                let (last, mut rest) = take_key(rest)?;
                let mut held = Vec::new();
                while !rest.is_empty() {
                    let (key, after) = take_key(rest)?;
                    let (incarnation, after) = take(after)?;
                    let (version, after) = take(after)?;
                    held.push((key, u64::from_le_bytes(incarnation), u64::from_le_bytes(version)));
                    rest = after;
                }
                let is_within = held.iter().all(|(key, ..)| (first..=last).contains(key));
                let is_sound = first <= last && is_within && held.is_sorted_by(|a, b| a.0 < b.0);
                if is_sound { Ok(Self::Page { first, last, held }) } else { Err(Refused) }
            }
            2 => {
                let mut keys = Vec::new();
                let mut rest = rest;
                while !rest.is_empty() {
                    let (key, after) = take_key(rest)?;
                    keys.push(key);
                    rest = after;
                }
                Ok(Self::Wanted(keys))
            }
            _ => Err(Refused),
        }
    }
}

fn put((origin, kind): Key, out: &mut Vec<u8>) {
    out.extend_from_slice(&origin.0.to_le_bytes());
    out.push(kind);
}

fn take_key(bytes: &[u8]) -> Result<(Key, &[u8]), Refused> {
    let (origin, rest) = take(bytes)?;
    let ([kind], rest) = take(rest)?;
    if !(1..=4).contains(&kind) {
        return Err(Refused);
    }
    Ok(((NodeId(u64::from_le_bytes(origin)), kind), rest))
}

/// The records an end holds. It lets none expire.
#[derive(Debug, Default)]
pub struct Shelf {
    held: BTreeMap<Key, (Record, Vec<u8>)>,
}

impl Shelf {
    /// Takes a record, if it is newer than what is held. Whether it was.
    ///
    /// # Errors
    /// When it is not sound.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, Refused> {
        let (origin, record) = Record::verify(bytes)?;
        let key = (origin, record.kind);
        let pair = |record: &Record| (record.incarnation, record.version);
        let is_news = self.held.get(&key).is_none_or(|(held, _)| pair(held) < pair(&record));
        if is_news {
            self.held.insert(key, (record, bytes.to_vec()));
        }
        Ok(is_news)
    }

    /// What is held under a key.
    pub fn get(&self, key: Key) -> Option<&Record> {
        self.held.get(&key).map(|(record, _)| record)
    }

    /// The same as it travels.
    pub fn bytes(&self, key: Key) -> Option<&[u8]> {
        self.held.get(&key).map(|(_, bytes)| &bytes[..])
    }

    /// By what it is seen that another end holds the same.
    ///
    /// # Errors
    /// When a primitive is missing.
    pub fn digest(&self) -> Result<u64, Refused> {
        self.held.iter().try_fold(0, |digest, ((origin, kind), (record, _))| {
            let named = [
                &origin.0.to_le_bytes()[..],
                &[*kind],
                &record.incarnation.to_le_bytes(),
                &record.version.to_le_bytes(),
            ]
            .concat();
            let hash = hash(b"meshground record digest 1", &named)?;
            let (first, _) = take(&hash)?;
            Ok(digest ^ u64::from_le_bytes(first))
        })
    }

    /// All of it on one page.
    pub fn page(&self) -> Summary {
        let held =
            self.held.iter().map(|(key, (record, _))| (*key, record.incarnation, record.version)).collect();
        Summary::Page { first: LOWEST, last: HIGHEST, held }
    }
}
