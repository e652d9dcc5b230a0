//! What the handshake's messages carry inside Noise.

use crate::{identity::IdentityProof, time::WallTime};

/// Inside message 1: when, and under which index the initiator wants its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) begun: WallTime,
    pub(super) sender_index: u32,
}

impl Opening {
    pub(super) const LEN: usize = 12;

    pub(super) fn encode(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.begun.0.to_le_bytes());
        out[8..].copy_from_slice(&self.sender_index.to_le_bytes());
        out
    }

    /// None unless it has that length.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (begun, index) = bytes.split_first_chunk()?;
        let index = index.try_into().ok()?;
        Some(Self { begun: WallTime(u64::from_le_bytes(*begun)), sender_index: u32::from_le_bytes(index) })
    }
}

/// Inside messages 2 (after the responder's index) and 3 (before the connection's id): who, and in which life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Introduction {
    pub(super) incarnation: u64,
    pub(super) proof: IdentityProof,
}

impl Introduction {
    pub(super) const LEN: usize = 8 + IdentityProof::LEN;

    pub(super) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.incarnation.to_le_bytes());
        out[8..40].copy_from_slice(&self.proof.entity_key);
        out[40..].copy_from_slice(&self.proof.signature);
        out
    }

    /// None unless it has that length.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (incarnation, rest) = bytes.split_first_chunk()?;
        let (entity_key, signature) = rest.split_first_chunk()?;
        let signature = signature.try_into().ok()?;
        Some(Self {
            incarnation: u64::from_le_bytes(*incarnation),
            proof: IdentityProof { entity_key: *entity_key, signature },
        })
    }

    /// With the number before it.
    pub(super) fn decode_after<const N: usize>(bytes: &[u8]) -> Option<([u8; N], Self)> {
        let (number, introduction) = bytes.split_first_chunk()?;
        Some((*number, Self::decode(introduction)?))
    }
}
