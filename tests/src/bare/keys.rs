//! What grows from a node's seed (section 2).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use meshground_node::NodeId;
use snow::{
    params::DHChoice,
    resolvers::{CryptoResolver, DefaultResolver},
};

use super::{Refused, hash, take};

/// What grows from a node's seed.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The node's id.
    pub node_id: NodeId,
    /// The Ed25519 public key.
    pub entity_key: [u8; 32],
    /// The X25519 public key.
    pub noise_key: [u8; 32],
    /// The entity key's signature over the Noise key.
    pub proof: [u8; 64],
    pub(super) noise_private: [u8; 32],
    pub(super) entity: SigningKey,
}

impl Keys {
    /// Grows them.
    ///
    /// # Errors
    /// When a primitive is missing.
    pub fn grow(seed: &[u8; 32]) -> Result<Self, Refused> {
        let entity = SigningKey::from_bytes(&hash(seed, b"meshground entity key 1")?);
        let entity_key = entity.verifying_key().to_bytes();
        let noise_private = hash(seed, b"meshground noise key 1")?;
        let mut curve = DefaultResolver.resolve_dh(&DHChoice::Curve25519).ok_or(Refused)?;
        curve.set(&noise_private);
        let noise_key = take(curve.pubkey())?.0;
        let proof = entity.sign(&binding(&noise_key)).to_bytes();
        Ok(Self { node_id: node_id(&entity_key)?, entity_key, noise_key, proof, noise_private, entity })
    }
}

pub(super) fn node_id(entity_key: &[u8]) -> Result<NodeId, Refused> {
    let hash = hash(b"meshground node id 1", entity_key)?;
    Ok(NodeId(u64::from_le_bytes(take(&hash)?.0)))
}

fn binding(noise_key: &[u8]) -> Vec<u8> {
    [&b"meshground noise key binding 1:"[..], noise_key].concat()
}

/// The id of whoever has this entity key and can prove that this Noise key is its own.
pub(super) fn verify(entity_key: &[u8; 32], noise_key: &[u8], proof: &[u8]) -> Result<NodeId, Refused> {
    VerifyingKey::from_bytes(entity_key)
        .and_then(|key| key.verify_strict(&binding(noise_key), &Signature::from_slice(proof)?))
        .map_err(|_| Refused)?;
    node_id(entity_key)
}
