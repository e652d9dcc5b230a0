//! Names of streams.

use std::fmt;

/// What a stream is for. Travels in its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// The application's.
    Plain,
    /// One remote procedure call.
    Call,
}

/// Names a stream between two peers, the same at both ends: `index << 2 | kind << 1 | opener`. The opener's bit is 0 for
/// the end with the lower node id; each end counts the streams it opens from 0, whatever their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u64);

/// Which of two peers opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The one with the lower node id.
    Lower,
    /// The one with the higher.
    Higher,
}

impl StreamId {
    pub(crate) fn new(index: u64, kind: StreamKind, opener: Side) -> Self {
        Self(index << 2 | u64::from(kind == StreamKind::Call) << 1 | u64::from(opener == Side::Higher))
    }

    /// Which of its opener's streams this is, counted from 0.
    pub(crate) fn index(self) -> u64 {
        self.0 >> 2
    }

    pub(crate) fn opener(self) -> Side {
        if self.0 & 1 == 0 { Side::Lower } else { Side::Higher }
    }

    /// What it is for.
    pub fn kind(self) -> StreamKind {
        if self.0 & 2 == 0 { StreamKind::Plain } else { StreamKind::Call }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
