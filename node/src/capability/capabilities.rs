//! What one node can do, in its own words.

use std::{
    collections::{BTreeMap, BTreeSet},
    str,
    sync::Arc,
};

use crate::record::{MAX_BODY, RecordError};

/// What a node announces about itself: tags, and metadata under keys.
///
/// Always within its bounds, so that it fits a record: at most 64 tags of 1 to 64 bytes, at most 64 entries with
/// keys of 1 to 64 bytes and values of up to 256, and at most 16 KiB as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Shared with whoever looks at them.
    tags: Arc<BTreeSet<String>>,
    metadata: BTreeMap<String, String>,
}

/// Why something cannot be announced. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// One tag too many.
    #[error("a node announces at most {} tags", Capabilities::MAX_TAGS)]
    TooManyTags,
    /// A tag is empty or too long.
    #[error("a tag has 1 to {max} bytes; this one has {0}", max = Capabilities::MAX_TAG_LEN)]
    TagLength(usize),
    /// One entry too many.
    #[error("a node announces at most {} metadata entries", Capabilities::MAX_ENTRIES)]
    TooManyEntries,
    /// A key is empty or too long.
    #[error("a metadata key has 1 to {max} bytes; this one has {0}", max = Capabilities::MAX_KEY_LEN)]
    KeyLength(usize),
    /// A value is too long.
    #[error("a metadata value has up to {max} bytes; this one has {0}", max = Capabilities::MAX_VALUE_LEN)]
    ValueLength(usize),
    /// All together is too long.
    #[error("an announcement has up to {MAX_BODY} bytes in all; this one would have {0}")]
    TooLarge(usize),
}

impl Capabilities {
    /// The most tags.
    pub const MAX_TAGS: usize = 64;
    /// The longest tag, in bytes.
    pub const MAX_TAG_LEN: usize = 64;
    /// The most metadata entries.
    pub const MAX_ENTRIES: usize = 64;
    /// The longest key, in bytes.
    pub const MAX_KEY_LEN: usize = 64;
    /// The longest value, in bytes.
    pub const MAX_VALUE_LEN: usize = 256;

    /// Nothing in particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and `tag`.
    ///
    /// # Errors
    /// When that goes beyond a bound.
    pub fn with_tag(mut self, tag: impl Into<String>) -> Result<Self, CapabilityError> {
        self.add_tag(tag)?;
        Ok(self)
    }

    /// The same, with `value` under `key`.
    ///
    /// # Errors
    /// When that goes beyond a bound.
    pub fn with_metadata(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, CapabilityError> {
        self.set_metadata(key, value)?;
        Ok(self)
    }

    /// Adds a tag, if it is not there yet.
    ///
    /// # Errors
    /// When that goes beyond a bound.
    pub fn add_tag(&mut self, tag: impl Into<String>) -> Result<(), CapabilityError> {
        let tag = tag.into();
        if self.tags.contains(&tag) {
            return Ok(());
        }
        if tag.is_empty() || tag.len() > Self::MAX_TAG_LEN {
            return Err(CapabilityError::TagLength(tag.len()));
        }
        if self.tags.len() == Self::MAX_TAGS {
            return Err(CapabilityError::TooManyTags);
        }
        self.check_size(1 + tag.len())?;
        Arc::make_mut(&mut self.tags).insert(tag);
        Ok(())
    }

    /// Sets the value under a key, in the place of one that is there.
    ///
    /// # Errors
    /// When that goes beyond a bound.
    pub fn set_metadata(
        &mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), CapabilityError> {
        let (key, value) = (key.into(), value.into());
        if key.is_empty() || key.len() > Self::MAX_KEY_LEN {
            return Err(CapabilityError::KeyLength(key.len()));
        }
        if value.len() > Self::MAX_VALUE_LEN {
            return Err(CapabilityError::ValueLength(value.len()));
        }
        match self.metadata.get(&key) {
            Some(old) => self.check_size(value.len().saturating_sub(old.len()))?,
            None if self.metadata.len() == Self::MAX_ENTRIES => return Err(CapabilityError::TooManyEntries),
            None => self.check_size(3 + key.len() + value.len())?,
        }
        self.metadata.insert(key, value);
        Ok(())
    }

    /// Whether it has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.contains(tag)
    }

    /// The tags, to share.
    pub(crate) fn shared_tags(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.tags)
    }

    /// The tags, sorted.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// The value under a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The metadata, sorted by key.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn check_size(&self, more: usize) -> Result<(), CapabilityError> {
        let len = self.encoded_len() + more;
        if len > MAX_BODY { Err(CapabilityError::TooLarge(len)) } else { Ok(()) }
    }

    fn encoded_len(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| 1 + tag.len()).sum();
        let metadata: usize = self.metadata.iter().map(|(key, value)| 3 + key.len() + value.len()).sum();
        2 + tags + metadata
    }

    /// The content of the record that announces it: never empty.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let byte = |len: usize| u8::try_from(len).expect("bounded well below 256");
        let mut out = Vec::with_capacity(self.encoded_len());
        out.push(byte(self.tags.len()));
        for tag in &*self.tags {
            out.push(byte(tag.len()));
            out.extend_from_slice(tag.as_bytes());
        }
        out.push(byte(self.metadata.len()));
        for (key, value) in &self.metadata {
            out.push(byte(key.len()));
            out.extend_from_slice(key.as_bytes());
            let len = u16::try_from(value.len()).expect("bounded well below 65,536");
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; the same bytes, or none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut decoded = Self::default();
        let (count, mut rest) = split_byte(bytes)?;
        for _ in 0..count {
            let (len, after) = split_byte(rest)?;
            let (tag, after) = split_text(after, len)?;
            if decoded.tags.last().is_some_and(|last| last.as_str() >= tag) {
                return Err(RecordError::Malformed);
            }
            decoded.add_tag(tag).map_err(|_| RecordError::Malformed)?;
            rest = after;
        }
        let (count, mut rest) = split_byte(rest)?;
        for _ in 0..count {
            let (len, after) = split_byte(rest)?;
            let (key, after) = split_text(after, len)?;
            let (len, after) = after.split_first_chunk().ok_or(RecordError::Malformed)?;
            let (value, after) = split_text(after, usize::from(u16::from_le_bytes(*len)))?;
            if decoded.metadata.last_key_value().is_some_and(|(last, _)| last.as_str() >= key) {
                return Err(RecordError::Malformed);
            }
            decoded.set_metadata(key, value).map_err(|_| RecordError::Malformed)?;
            rest = after;
        }
        if rest.is_empty() { Ok(decoded) } else { Err(RecordError::Malformed) }
    }
}

fn split_byte(bytes: &[u8]) -> Result<(usize, &[u8]), RecordError> {
    let (&byte, rest) = bytes.split_first().ok_or(RecordError::Malformed)?;
    Ok((usize::from(byte), rest))
}

fn split_text(bytes: &[u8], len: usize) -> Result<(&str, &[u8]), RecordError> {
    let (text, rest) = bytes.split_at_checked(len).ok_or(RecordError::Malformed)?;
    Ok((str::from_utf8(text).map_err(|_| RecordError::Malformed)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> Capabilities {
        Capabilities::new()
            .with_tag("gpu")
            .and_then(|it| it.with_tag("avx2"))
            .and_then(|it| it.with_metadata("zone", "north"))
            .and_then(|it| it.with_metadata("note", ""))
            .unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_takes_the_stated_length() {
        for capabilities in [Capabilities::new(), gpu()] {
            let bytes = capabilities.encode();
            assert_eq!(bytes.len(), capabilities.encoded_len());
            assert_eq!(Capabilities::decode(&bytes), Ok(capabilities));
        }
    }

    #[test]
    fn every_bound_is_kept_and_nothing_changes_beyond_it() {
        let mut it = Capabilities::new();
        assert_eq!(it.add_tag(""), Err(CapabilityError::TagLength(0)));
        assert_eq!(it.add_tag("x".repeat(65)), Err(CapabilityError::TagLength(65)));
        assert_eq!(it.set_metadata("", "x"), Err(CapabilityError::KeyLength(0)));
        assert_eq!(it.set_metadata("k".repeat(65), "x"), Err(CapabilityError::KeyLength(65)));
        assert_eq!(it.set_metadata("k", "x".repeat(257)), Err(CapabilityError::ValueLength(257)));
        assert_eq!(it, Capabilities::new());
        for i in 0..64 {
            it.add_tag(format!("{i:064}")).unwrap();
        }
        assert_eq!(it.add_tag("one more"), Err(CapabilityError::TooManyTags));
        it.add_tag(format!("{:064}", 1)).expect("that one is there already");
        let mut entries = 0;
        let error = loop {
            if let Err(error) = it.set_metadata(format!("{entries:064}"), "v".repeat(256)) {
                break error;
            }
            entries += 1;
        };
        assert!(matches!(error, CapabilityError::TooLarge(len) if len > MAX_BODY), "{error}");
        assert!(it.encode().len() <= MAX_BODY);
        assert_eq!(Capabilities::decode(&it.encode()), Ok(it));
        let mut small = Capabilities::new();
        for i in 0..64 {
            small.set_metadata(i.to_string(), "v").unwrap();
        }
        assert_eq!(small.set_metadata("one more", "v"), Err(CapabilityError::TooManyEntries));
        small.set_metadata("1", "another").expect("that key is there already");
    }

    #[test]
    fn bytes_that_nobody_would_write_are_refused() {
        let bytes = gpu().encode();
        for len in 0..bytes.len() {
            assert!(Capabilities::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        let unordered = [2, 1, b'b', 1, b'a', 0];
        let twice = [2, 1, b'a', 1, b'a', 0];
        let not_text = [1, 1, 0xff, 0];
        let empty_tag = [1, 0, 0];
        let trailing = [0, 0, 0];
        for bytes in [&unordered[..], &twice, &not_text, &empty_tag, &trailing] {
            assert_eq!(Capabilities::decode(bytes), Err(RecordError::Malformed), "{bytes:?}");
        }
    }
}
