//! What a record says, by its kind.

use super::{Record, RecordError, RecordKind};
use crate::{capability::Capabilities, route::Links};

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// What its origin can do.
    Capabilities(Capabilities),
    /// With whom it is linked.
    Links(Links),
    /// Its origin takes back what it said before.
    Withdrawn,
}

impl Content {
    pub(crate) fn parse(record: &Record) -> Result<Self, RecordError> {
        match record.key.kind {
            RecordKind::Links => Links::decode(record.body()).map(Self::Links),
            RecordKind::Capabilities if record.body().is_empty() => Ok(Self::Withdrawn),
            RecordKind::Capabilities => Capabilities::decode(record.body()).map(Self::Capabilities),
        }
    }
}
