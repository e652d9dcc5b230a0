//! Who a node is.
//!
//! A 32-byte seed gives two keys: an Ed25519 *entity key*, which names the node for
//! good, and an X25519 *Noise key*, with which it shakes hands. The entity key signs
//! the Noise key, as in libp2p's Noise specification, so that whoever completes a
//! handshake knows which entity stands at the other end.

use std::{fmt, sync::Arc};

use blake2::{
    Blake2sMac,
    digest::{Mac, consts::U32},
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use meshground_shared::{NodeId, PublicKey};

use crate::crypto::StaticKey;

const ENTITY_KEY_LABEL: &[u8] = b"meshground entity key 1";
const NOISE_KEY_LABEL: &[u8] = b"meshground noise key 1";
const NODE_ID_LABEL: &[u8] = b"meshground node id 1";
const BINDING_LABEL: &[u8] = b"meshground noise key binding 1:";

/// A node's keys, grown from a 32-byte seed. Whoever holds the seed is the node.
#[derive(Clone)]
pub struct Identity(Arc<Keys>);

struct Keys {
    node_id: NodeId,
    entity: SigningKey,
    noise: StaticKey,
    proof: IdentityProof,
}

/// What a node shows to prove who it is: its entity key and that key's signature over
/// its Noise key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdentityProof {
    pub(crate) entity_key: [u8; 32],
    pub(crate) signature: [u8; 64],
}

/// The proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProofError;

impl Identity {
    /// The identity that grows from `seed`; always the same one.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let entity = SigningKey::from_bytes(&derive(&seed, ENTITY_KEY_LABEL));
        let noise = StaticKey::new(&derive(&seed, NOISE_KEY_LABEL));
        let entity_key = entity.verifying_key().to_bytes();
        let signature = entity.sign(&binding(noise.public())).to_bytes();
        let proof = IdentityProof { entity_key, signature };
        Self(Arc::new(Keys { node_id: node_id(&entity_key), entity, noise, proof }))
    }

    /// The node's id.
    pub fn node_id(&self) -> NodeId {
        self.0.node_id
    }

    /// The Noise static public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.noise.public())
    }

    /// The Ed25519 public key.
    pub fn entity_key(&self) -> [u8; 32] {
        self.0.entity.verifying_key().to_bytes()
    }

    pub(crate) fn noise_key(&self) -> &StaticKey {
        &self.0.noise
    }

    pub(crate) fn proof(&self) -> &IdentityProof {
        &self.0.proof
    }

    /// The entity key's signature over `message`, which must begin with a domain tag of its own.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.entity.sign(message).to_bytes()
    }
}

impl fmt::Debug for Identity {
    /// Shows the public part only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.node_id())
    }
}

impl IdentityProof {
    /// Bytes of a proof on the wire: entity key, then signature.
    pub(crate) const LEN: usize = 96;

    /// The id of the node that holds `noise_key`.
    pub(crate) fn verify(&self, noise_key: &[u8; 32]) -> Result<NodeId, ProofError> {
        verify(&self.entity_key, &binding(noise_key), &self.signature)?;
        Ok(node_id(&self.entity_key))
    }
}

/// Whether `signature` over `message` is by `entity_key`.
pub(crate) fn verify(entity_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), ProofError> {
    let key = VerifyingKey::from_bytes(entity_key).map_err(|_| ProofError)?;
    // Strict: else one signature could be rewritten into another for the same message.
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| ProofError)
}

fn derive(seed: &[u8; 32], label: &[u8]) -> [u8; 32] {
    keyed_hash(seed, label)
}

/// The id that goes with an entity key.
pub(crate) fn node_id(entity_key: &[u8; 32]) -> NodeId {
    NodeId(short_hash(NODE_ID_LABEL, entity_key))
}

fn binding(noise_key: &[u8; 32]) -> [u8; BINDING_LABEL.len() + 32] {
    let mut message = [0; BINDING_LABEL.len() + 32];
    message[..BINDING_LABEL.len()].copy_from_slice(BINDING_LABEL);
    message[BINDING_LABEL.len()..].copy_from_slice(noise_key);
    message
}

/// BLAKE2s-256 with a key of at most 32 bytes (RFC 7693, section 2.9).
pub(crate) fn keyed_hash(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = <Blake2sMac<U32> as Mac>::new_from_slice(key).expect("keys here have 1 to 32 bytes");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// The first 64 bits of that, as a number.
pub(crate) fn short_hash(key: &[u8], data: &[u8]) -> u64 {
    let hash = keyed_hash(key, data);
    u64::from_le_bytes(std::array::from_fn(|index| hash[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_grows_into_the_same_identity() {
        let (a, b) = (Identity::from_seed([1; 32]), Identity::from_seed([1; 32]));
        assert_eq!((a.node_id(), a.public_key(), a.proof()), (b.node_id(), b.public_key(), b.proof()));
        let other = Identity::from_seed([2; 32]);
        assert_ne!(a.node_id(), other.node_id());
        assert_ne!(a.public_key(), other.public_key());
    }

    #[test]
    fn a_proof_names_the_node_that_holds_the_noise_key() {
        let identity = Identity::from_seed([1; 32]);
        assert_eq!(identity.proof().verify(&identity.public_key().0), Ok(identity.node_id()));
    }

    #[test]
    fn a_proof_for_another_key_or_with_an_altered_bit_does_not_hold() {
        let identity = Identity::from_seed([1; 32]);
        let key = identity.public_key().0;
        assert_eq!(identity.proof().verify(&Identity::from_seed([2; 32]).public_key().0), Err(ProofError));
        for bit in 0..IdentityProof::LEN * 8 {
            let mut proof = *identity.proof();
            if bit < 256 {
                proof.entity_key[bit / 8] ^= 1 << (bit % 8);
            } else {
                proof.signature[bit / 8 - 32] ^= 1 << (bit % 8);
            }
            assert!(proof.verify(&key).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let identity = Identity::from_seed([0xab; 32]);
        let text = format!("{identity:?}");
        assert_eq!(text, format!("Identity({})", identity.node_id()));
    }
}
