//! How nodes write what they say to each other above the transport: postcard, version 1 of its specification.
//!
//! Strings and lists have no more elements than they came in bytes, so what is read needs at most some tens of times the
//! memory of what was sent; whoever keeps it bounds that.

use serde::{Serialize, de::DeserializeOwned};

/// The most bytes of a state that one answer, or one item of it, brings.
pub(crate) const PIECE: usize = 256 << 10;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not what a node of this version says")]
pub(crate) struct WireError;

/// Writes a value of ours.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Only a type that postcard cannot express makes it fail.
    postcard::to_allocvec(value).expect("our types can be written")
}

/// Writes a value of ours, after the version of what it belongs to.
pub(crate) fn versioned(version: u8, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![version]).expect("bytes, numbers and names can be encoded")
}

/// Reads a value, and nothing after it.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError),
    }
}

#[cfg(test)]
mod tests {
    use serde::Serializer;

    use super::*;

    /// A list that does not know its length, which has no form in postcard.
    struct Endless;

    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            serializer.serialize_seq(None)?.end()
        }
    }

    #[test]
    #[should_panic(expected = "our types can be written")]
    fn what_cannot_be_written_is_a_defect_and_not_sent_as_nothing() {
        encode(&Endless);
    }
}
