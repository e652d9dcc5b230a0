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
///
/// One of another connection with the same peer is another stream: a name that outlived its connection leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// What travels.
    pub(crate) wire: u64,
    /// The connection it belongs to.
    pub(crate) connection: u64,
}

/// Which of two peers opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// The one with the lower node id.
    Lower,
    /// The one with the higher.
    Higher,
}

impl StreamId {
    pub(crate) fn new(connection: u64, index: u64, kind: StreamKind, opener: Side) -> Self {
        let wire = index << 2 | u64::from(kind == StreamKind::Call) << 1 | u64::from(opener == Side::Higher);
        Self { wire, connection }
    }

    /// Which of its opener's streams this is, counted from 0.
    pub(crate) fn index(self) -> u64 {
        self.wire >> 2
    }

    pub(crate) fn opener(self) -> Side {
        if self.wire & 1 == 0 { Side::Lower } else { Side::Higher }
    }

    /// What it is for.
    pub fn kind(self) -> StreamKind {
        if self.wire & 2 == 0 { StreamKind::Plain } else { StreamKind::Call }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wire)
    }
}
