//! What a simulator needs of a node's inside to check it after every step: how much it holds of everything there may be
//! only so much of, and on which keys it stands with whom.
//!
//! Behind the feature `floor`, and no part of the crate's promises.

use meshground_shared::Role;

/// How much is held of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    /// Of what, and in which unit.
    pub what: &'static str,
    /// How much.
    pub held: u64,
    /// The most there may be.
    pub limit: u64,
}

impl Gauge {
    pub(crate) fn new(what: &'static str, held: usize, limit: usize) -> Self {
        Self { what, held: held as u64, limit: limit as u64 }
    }
}

/// The session in use with a peer, as this end knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView {
    /// The index by which the peer addresses it.
    pub index: u32,
    /// The index by which this end addresses the peer's half.
    pub remote_index: u32,
    /// This end's part in the handshake.
    pub role: Role,
    /// Which life of the peer it is with.
    pub incarnation: u64,
    /// The connection that goes over it.
    pub connection: u64,
}
