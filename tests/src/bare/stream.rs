//! Streams, and how much may come on them (section 7).

use std::collections::BTreeMap;

use super::Refused;

/// How many bytes may come on one stream at first.
pub const MAX_STREAM_DATA: u64 = 1 << 20;

/// How many bytes may come on all streams at first.
pub const MAX_DATA: u64 = 4 << 20;

/// How many streams an end may open at first.
pub const MAX_STREAMS: u64 = 4_096;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The application's own.
    Application = 0,
    /// A remote call.
    Call = 1,
}

/// The id of the stream that its opener counts as `index`.
pub fn stream_id(index: u64, kind: Kind, opener_is_lower: bool) -> u64 {
    index * 4 + 2 * kind as u64 + u64::from(!opener_is_lower)
}

/// The limits one end has told the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on all streams.
    pub data: u64,
    /// Streams that are opened, ever.
    pub streams: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { data: MAX_DATA, streams: MAX_STREAMS }
    }
}

/// The receiving half of a stream.
#[derive(Debug)]
pub struct Incoming {
    /// What lies beyond a gap, or was not read yet, by offset.
    pieces: BTreeMap<u64, Vec<u8>>,
    read: u64,
    highest: u64,
    size: Option<u64>,
    limit: u64,
    reset: Option<u64>,
    /// With which code the other end asked for a reset of what is sent on it.
    pub stopped: Option<u64>,
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            read: 0,
            highest: 0,
            size: None,
            limit: MAX_STREAM_DATA,
            reset: None,
            stopped: None,
        }
    }
}

impl Incoming {
    /// A piece came in, in whatever order. By how much the highest offset rose.
    pub(super) fn take(&mut self, offset: u64, data: &[u8], end: bool) -> Result<u64, Refused> {
        let rise = self.reach(offset + data.len() as u64, end)?;
        if self.pieces.get(&offset).is_none_or(|known| known.len() < data.len()) {
            self.pieces.insert(offset, data.to_vec());
        }
        Ok(rise)
    }

    /// The other end has given this half up. By how much the highest offset rose.
    pub(super) fn take_reset(&mut self, code: u64, size: u64) -> Result<u64, Refused> {
        let rise = self.reach(size, true)?;
        self.reset = Some(code);
        Ok(rise)
    }

    fn reach(&mut self, to: u64, end: bool) -> Result<u64, Refused> {
        let contradicts = self.size.is_some_and(|size| if end { to != size } else { to > size });
        if to > self.limit || contradicts || end && to < self.highest {
            return Err(Refused);
        }
        if end {
            self.size = Some(to);
        }
        let rise = to.saturating_sub(self.highest);
        self.highest += rise;
        Ok(rise)
    }

    /// How many bytes were sent on it, as far as is known.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether nothing is missing of what was sent on it: of several datagrams one may be lost, and come again after the last.
    pub fn is_whole(&self) -> bool {
        let mut end = self.read;
        for (&offset, data) in &self.pieces {
            if offset > end {
                return false;
            }
            end = end.max(offset + data.len() as u64);
        }
        end == self.highest
    }

    /// With which code the other end has given it up, if it has.
    pub fn reset(&self) -> Option<u64> {
        self.reset
    }

    /// Whether everything was read up to the end.
    pub fn is_over(&self) -> bool {
        self.size == Some(self.read)
    }

    /// Appends what follows without a gap. How many bytes that is.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> u64 {
        let before = self.read;
        while let Some(entry) = self.pieces.first_entry() {
            if *entry.key() > self.read {
                break;
            }
            let (offset, data) = entry.remove_entry();
            // Pieces may overlap.
            let known = usize::try_from(self.read - offset).unwrap_or(usize::MAX);
            if let Some(news) = data.get(known..) {
                out.extend_from_slice(news);
                self.read += news.len() as u64;
            }
        }
        self.read - before
    }

    /// The new limit, if it is time to tell it.
    pub(super) fn raise(&mut self) -> Option<u64> {
        let limit = self.read + MAX_STREAM_DATA;
        let due = self.size.is_none() && limit - self.limit >= MAX_STREAM_DATA / 2;
        due.then(|| {
            self.limit = limit;
            limit
        })
    }
}
