//! Another implementation of the wire, written from `PROTOCOL.md`: snow with its own primitives, BLAKE2 and Ed25519,
//! and nothing of `meshground-node` but the type of a node's id.
//!
//! It keeps no timers and opens no sockets: it puts bytes together, takes them apart, and remembers what came in. It is
//! as small as a peer can be: it acknowledges every packet at once, and whoever drives it sends one thing at a time and
//! waits for its acknowledgement.

mod call;
mod connection;
mod frame;
mod handshake;
mod keys;
mod number;
mod parcel;
mod ranges;
mod record;
mod session;
mod stream;
mod summary;

use blake2::{
    Blake2sMac,
    digest::{Mac, consts::U32},
};

pub use self::{
    call::{Answer, End, Request},
    connection::{Connection, Packet, connection_number},
    frame::{Frame, read_frames},
    handshake::{Ephemeral, Handshake, Introduction},
    keys::Keys,
    parcel::{MAX_PARCEL, cut},
    ranges::Ranges,
    record::{Abilities, Record, links, read_links},
    session::{Session, seal},
    stream::{Incoming, Kind, Limits, MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS, stream_id},
    summary::{Key, Shelf, Summary},
};

/// The bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl From<snow::Error> for Refused {
    fn from(_: snow::Error) -> Self {
        Self
    }
}

/// `H(k, m)` of section 2.
///
/// # Errors
/// When the key is longer than 32 bytes.
pub fn hash(key: &[u8], message: &[u8]) -> Result<[u8; 32], Refused> {
    let mut mac = <Blake2sMac<U32> as Mac>::new_from_slice(key).map_err(|_| Refused)?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().into())
}

/// A fixed number of bytes off the front.
fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Refused> {
    bytes.split_first_chunk().map(|(first, rest)| (*first, rest)).ok_or(Refused)
}
