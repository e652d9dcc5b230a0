//! What the members of a group ask of a node, as it travels in the ledger.

use std::cmp::Ordering;

use crate::{
    capability::Filter,
    wire::{self, WireError},
};

/// The most bytes of it in the ledger: all groups have to fit one record.
pub(crate) const MAX_REQUIRED: usize = 256;

/// A filter, and how it is written. Of two the greater counts, by what is written.
#[derive(Debug, Clone)]
pub(crate) struct Required {
    bytes: Vec<u8>,
    filter: Filter,
}

impl Required {
    /// None if it is longer than what travels. It is then known only where a member was made.
    pub(crate) fn new(filter: &Filter) -> Option<Self> {
        let bytes = wire::encode(filter);
        (bytes.len() <= MAX_REQUIRED).then(|| Self { bytes, filter: filter.clone() })
    }

    /// What was written; none of no bytes.
    pub(crate) fn read(bytes: Vec<u8>) -> Result<Option<Self>, WireError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > MAX_REQUIRED {
            return Err(WireError);
        }
        let filter = wire::decode(&bytes)?;
        Ok(Some(Self { bytes, filter }))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }
}

impl PartialEq for Required {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Required {}

impl PartialOrd for Required {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Required {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeId, capability::Comparison};

    #[test]
    fn what_is_required_is_read_as_it_was_written_and_nothing_long_or_broken_is() {
        let filter = Filter::any()
            .with_tag("gpu")
            .any_of(["a", "b"])
            .none_of(["slow"])
            .metadata_is("zone", "x")
            .number("cores", Comparison::AtLeast, 7.5)
            .only([NodeId(1)])
            .except([NodeId(2)]);
        let required = Required::new(&filter).unwrap();
        let read = Required::read(required.bytes().to_vec()).unwrap().unwrap();
        assert_eq!((read.filter(), read == required), (&filter, true));
        for len in 1..required.bytes().len() {
            assert!(Required::read(required.bytes()[..len].to_vec()).is_err(), "{len} bytes");
        }
        assert!(Required::new(&Filter::any().with_tag("x".repeat(MAX_REQUIRED))).is_none());
        assert!(Required::read(vec![0; MAX_REQUIRED + 1]).is_err());
    }
}
