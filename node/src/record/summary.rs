//! Naming records without sending them: how two nodes find out which ones one of them lacks.

use meshground_shared::NodeId;

use super::{Key, RecordError, RecordKind, Stamp, split};

const SUMMARY: u8 = 1;
const WANTED: u8 = 2;

const KEY_LEN: usize = 9;
const ENTRY_LEN: usize = KEY_LEN + 16;
const SUMMARY_HEADER_LEN: usize = 1 + 2 * KEY_LEN;

const LOWEST: Key = Key { origin: NodeId(0), kind: RecordKind::Capabilities };
const HIGHEST: Key = Key { origin: NodeId(u64::MAX), kind: RecordKind::ALL[RecordKind::ALL.len() - 1] };

/// Every record its sender holds within a range of keys. What is not named, it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(super) first: Key,
    pub(super) last: Key,
    /// In rising order of their keys, all within the range.
    pub(super) entries: Vec<(Key, Stamp)>,
}

/// Records its sender would like to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted(pub(super) Vec<Key>);

/// What a summary frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parcel {
    Summary(Summary),
    Wanted(Wanted),
}

impl Parcel {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let (&[kind], rest) = split(bytes)?;
        match kind {
            SUMMARY => Summary::parse(rest).map(Self::Summary),
            WANTED => Wanted::parse(rest).map(Self::Wanted),
            _ => Err(RecordError::Malformed),
        }
    }
}

impl Summary {
    /// All of `entries`, which rise, in pages of at most `max_len` bytes that leave no gap between them.
    pub(super) fn pages(entries: &[(Key, Stamp)], max_len: usize) -> impl Iterator<Item = Self> {
        let per_page = (max_len.saturating_sub(SUMMARY_HEADER_LEN) / ENTRY_LEN).max(1);
        let count = entries.len().div_ceil(per_page).max(1);
        (0..count).map(move |page| {
            let start = page * per_page;
            let end = (start + per_page).min(entries.len());
            Self {
                first: if page == 0 { LOWEST } else { after(entries[start - 1].0) },
                last: if page + 1 == count { HIGHEST } else { entries[end - 1].0 },
                entries: entries[start..end].to_vec(),
            }
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SUMMARY_HEADER_LEN + self.entries.len() * ENTRY_LEN);
        out.push(SUMMARY);
        put_key(self.first, &mut out);
        put_key(self.last, &mut out);
        for (key, stamp) in &self.entries {
            put_key(*key, &mut out);
            out.extend_from_slice(&stamp.incarnation.to_le_bytes());
            out.extend_from_slice(&stamp.version.to_le_bytes());
        }
        out
    }

    fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let (first, rest) = split_key(bytes)?;
        let (last, mut rest) = split_key(rest)?;
        let mut entries = Vec::with_capacity(rest.len() / ENTRY_LEN);
        while !rest.is_empty() {
            let (key, after) = split_key(rest)?;
            let (incarnation, after) = split(after)?;
            let (version, after) = split(after)?;
            let stamp = Stamp {
                incarnation: u64::from_le_bytes(*incarnation),
                version: u64::from_le_bytes(*version),
            };
            entries.push((key, stamp));
            rest = after;
        }
        let within = entries.iter().all(|(key, _)| (first..=last).contains(key));
        if first > last || !within || !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(RecordError::Malformed);
        }
        Ok(Self { first, last, entries })
    }
}

impl Wanted {
    /// All of `keys`, in pages of at most `max_len` bytes.
    pub(super) fn pages(keys: &[Key], max_len: usize) -> impl Iterator<Item = Self> {
        keys.chunks((max_len.saturating_sub(1) / KEY_LEN).max(1)).map(|page| Self(page.to_vec()))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + self.0.len() * KEY_LEN);
        out.push(WANTED);
        for key in &self.0 {
            put_key(*key, &mut out);
        }
        out
    }

    fn parse(mut rest: &[u8]) -> Result<Self, RecordError> {
        let mut keys = Vec::with_capacity(rest.len() / KEY_LEN);
        while !rest.is_empty() {
            let (key, after) = split_key(rest)?;
            keys.push(key);
            rest = after;
        }
        Ok(Self(keys))
    }
}

/// The next higher key.
fn after(key: Key) -> Key {
    match RecordKind::ALL.into_iter().find(|kind| *kind > key.kind) {
        Some(kind) => Key { kind, ..key },
        None => Key { origin: NodeId(key.origin.0.saturating_add(1)), kind: LOWEST.kind },
    }
}

fn put_key(key: Key, out: &mut Vec<u8>) {
    out.extend_from_slice(&key.origin.0.to_le_bytes());
    out.push(key.kind.byte());
}

fn split_key(bytes: &[u8]) -> Result<(Key, &[u8]), RecordError> {
    let (origin, rest) = split(bytes)?;
    let (&[kind], rest) = split(rest)?;
    let kind = RecordKind::from_byte(kind).ok_or(RecordError::Malformed)?;
    Ok((Key { origin: NodeId(u64::from_le_bytes(*origin)), kind }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<(Key, Stamp)> {
        (0..count)
            .flat_map(|i| RecordKind::ALL.map(|kind| Key { origin: NodeId(i * 10), kind }))
            .map(|key| (key, Stamp { incarnation: 1, version: key.origin.0 }))
            .collect()
    }

    #[test]
    fn pages_cover_every_key_once_and_what_is_written_is_read() {
        for count in [0, 1, 3, 50] {
            let all = entries(count);
            let pages: Vec<Summary> = Summary::pages(&all, 400).collect();
            assert_eq!(pages[0].first, LOWEST);
            assert_eq!(pages.last().unwrap().last, HIGHEST);
            for pair in pages.windows(2) {
                assert_eq!(pair[1].first, after(pair[0].last));
            }
            let named: Vec<_> = pages.iter().flat_map(|page| page.entries.clone()).collect();
            assert_eq!(named, all);
            for page in pages {
                let bytes = page.encode();
                assert!(bytes.len() <= 400);
                assert_eq!(Parcel::parse(&bytes), Ok(Parcel::Summary(page)));
            }
        }
        let keys: Vec<Key> = entries(50).into_iter().map(|(key, _)| key).collect();
        let pages: Vec<Wanted> = Wanted::pages(&keys, 100).collect();
        assert_eq!(pages.iter().flat_map(|page| page.0.clone()).collect::<Vec<_>>(), keys);
        for page in pages {
            let bytes = page.encode();
            assert!(bytes.len() <= 100);
            assert_eq!(Parcel::parse(&bytes), Ok(Parcel::Wanted(page)));
        }
    }

    #[test]
    fn a_cut_unordered_or_outlying_summary_is_refused() {
        let bytes = Summary::pages(&entries(2), 400).next().unwrap().encode();
        for len in 0..bytes.len() {
            let whole = len >= SUMMARY_HEADER_LEN && (len - SUMMARY_HEADER_LEN).is_multiple_of(ENTRY_LEN);
            assert_eq!(Parcel::parse(&bytes[..len]).is_ok(), whole, "{len} bytes");
        }
        let mut twice = Summary::pages(&entries(1), 400).next().unwrap();
        twice.entries[1] = twice.entries[0];
        assert!(Parcel::parse(&twice.encode()).is_err(), "one key twice");
        let mut outlying = Summary::pages(&entries(2), 400).next().unwrap();
        outlying.last = outlying.first;
        assert!(Parcel::parse(&outlying.encode()).is_err(), "beyond the range");
        let mut unknown = bytes;
        unknown[0] = 3;
        assert!(Parcel::parse(&unknown).is_err(), "an unknown type");
    }
}
