//! Datagrams and the frames inside them: bytes in, meaning out.
//!
//! Parsing takes untrusted bytes. It never panics and never allocates; what cannot be
//! read is an error with no effect. Layouts are in `PROTOCOL.md`, section 3.

mod ack;
mod frame;
mod header;
pub(crate) mod varint;

pub(crate) use ack::{AckRanges, put_ranges};
pub(crate) use frame::{Fragment, Frame, Frames, MESSAGE_OVERHEAD, RELAY_OVERHEAD, Relay, StreamPiece};
pub(crate) use header::{
    CONFIRM_LEN, CONFIRM_NOISE_LEN, DATA_HEADER_LEN, Header, INITIATION_LEN, INITIATION_NOISE_LEN,
    RESPONSE_LEN, RESPONSE_NOISE_LEN, confirm_header, data_header, initiation_header, response_header,
};

/// The bytes do not have the layout they must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;
