//! The handshake: Noise `XXpsk0` in three messages.
//!
//! `XX` because neither end knows the other's key beforehand and both shall be proved;
//! `psk0` because the pre-shared key then protects even the first message: whoever
//! lacks it is refused by one authentication tag, before any Diffie-Hellman, and is
//! never answered. States, timers and the rule for crossing handshakes are in
//! `PROTOCOL.md`, section 4; who retransmits when is the node's business, not this
//! module's.

mod initiator;
mod noise;
mod payload;
mod precedence;
mod responder;
mod seen;

use meshground_shared::{NodeId, Role};

pub(crate) use initiator::Initiator;
pub(crate) use noise::{Ephemeral, Noise};
pub(crate) use precedence::{Claim, may_have_crossed, takes_precedence};
pub(crate) use responder::Responder;
pub(crate) use seen::SeenInitiations;

use crate::{crypto::Aead, time::WallTime};

/// What a completed handshake leaves behind at one end.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) peer: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) role: Role,
    pub(crate) begun: WallTime,
    pub(crate) remote_index: u32,
    /// The connection the initiator would go on with; 0 for none.
    pub(crate) connection: u64,
    pub(crate) send_key: Aead,
    pub(crate) receive_key: Aead,
}

/// Why a handshake message was refused. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not authenticate.
    Crypto,
    /// It authenticates, but the identity in it does not hold.
    Identity,
}
