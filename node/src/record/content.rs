//! What a record says, by its kind.

use super::{Record, RecordError, RecordKind, Topic};
use crate::{capability::Capabilities, route::Links};

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// What its origin can do.
    Capabilities(Capabilities),
    /// With whom it is linked.
    Links(Links),
    /// What its origin says on a topic above the transport; nothing withdraws it.
    Said(Topic, Vec<u8>),
    /// Its origin takes back what it said before.
    Withdrawn,
}

impl Content {
    pub(crate) fn parse(record: &Record) -> Result<Self, RecordError> {
        match record.key.kind {
            RecordKind::Links => Links::decode(record.bytes(), record.place()).map(Self::Links),
            RecordKind::Capabilities if record.body().is_empty() => Ok(Self::Withdrawn),
            RecordKind::Capabilities => Capabilities::decode(record.body()).map(Self::Capabilities),
            RecordKind::Said(topic) => Ok(Self::Said(topic, record.body().to_vec())),
        }
    }
}
