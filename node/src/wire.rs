//! How nodes write what they say to each other above the transport: postcard, version 1 of its specification.
//!
//! Strings and lists are no longer than the bytes they came in, so what is read needs no more memory than what was sent.

use serde::{Serialize, de::DeserializeOwned};

/// The most bytes of a state that one answer, or one item of it, brings.
pub(crate) const PIECE: usize = 256 << 10;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not what a node of this version says")]
pub(crate) struct WireError;

/// Writes a value of ours.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Only a type that its serialisation cannot express makes it fail, and ours are tested.
    postcard::to_allocvec(value).unwrap_or_default()
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
