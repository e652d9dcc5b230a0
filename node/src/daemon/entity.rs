//! Who a daemon is, wherever it runs.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use meshground_shared::DaemonId;
use rand_chacha::rand_core::CryptoRng;

use crate::identity::{keyed_hash, short_hash, verify};

const ENTITY_KEY_LABEL: &[u8] = b"meshground daemon key 1";
const DAEMON_ID_LABEL: &[u8] = b"meshground daemon id 1";
const MEMBER_LABEL: &[u8] = b"meshground group member 1";

/// A daemon's Ed25519 keys, grown from a 32-byte seed. Whoever holds the seed is the daemon; it moves with it, sealed
/// between the two nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct EntityKeypair {
    seed: [u8; 32],
    id: DaemonId,
    public: [u8; 32],
}

impl EntityKeypair {
    /// The keys that grow from `seed`; always the same ones. For a new daemon give 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let public = signing_key(&seed).verifying_key().to_bytes();
        Self { seed, id: daemon_id(&public), public }
    }

    /// The keys of a new daemon.
    ///
    /// # Example
    /// ```
    /// use meshground_node::EntityKeypair;
    /// use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    ///
    /// // In earnest its seed comes from the system: whoever knows it has the keys.
    /// let mut rng = ChaCha20Rng::from_seed([7; 32]);
    /// let [one, other] = [(); 2].map(|()| EntityKeypair::generate(&mut rng));
    /// assert_ne!(one.origin_hash(), other.origin_hash());
    /// let signature = one.sign(b"my tag: hello");
    /// assert!(EntityKeypair::is_signed(&one.public_key(), b"my tag: hello", &signature));
    /// ```
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Self::from_seed(seed)
    }

    /// The keys of a group's member: always the same ones for one place in one group.
    pub fn of_member(group_seed: &[u8; 32], index: u32) -> Self {
        let mut named = MEMBER_LABEL.to_vec();
        named.extend_from_slice(&index.to_le_bytes());
        Self::from_seed(keyed_hash(group_seed, &named))
    }

    /// The daemon's id: the first 8 bytes (little-endian) of a keyed hash of its public key.
    pub fn origin_hash(&self) -> DaemonId {
        self.id
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// A signature over `message`, which must begin with a domain tag of its own.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        signing_key(&self.seed).sign(message).to_bytes()
    }

    /// Whether `signature` over `message` is by the daemon with this public key.
    pub fn is_signed(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        verify(public_key, message, signature).is_ok()
    }

    pub(crate) fn seed(&self) -> [u8; 32] {
        self.seed
    }
}

/// The id that goes with a daemon's public key.
pub(crate) fn daemon_id(public_key: &[u8; 32]) -> DaemonId {
    DaemonId(short_hash(DAEMON_ID_LABEL, public_key))
}

fn signing_key(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(&keyed_hash(seed, ENTITY_KEY_LABEL))
}

impl fmt::Debug for EntityKeypair {
    /// Shows the public part only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntityKeypair({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_keys_depend_on_its_group_and_its_place_only() {
        let keys = EntityKeypair::of_member(&[1; 32], 0);
        assert_eq!(keys, EntityKeypair::of_member(&[1; 32], 0));
        assert_ne!(keys, EntityKeypair::of_member(&[1; 32], 1));
        assert_ne!(keys, EntityKeypair::of_member(&[2; 32], 0));
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        let (keys, other) = (EntityKeypair::from_seed([1; 32]), EntityKeypair::from_seed([2; 32]));
        let signature = keys.sign(b"tag: message");
        assert!(EntityKeypair::is_signed(&keys.public_key(), b"tag: message", &signature));
        assert!(!EntityKeypair::is_signed(&keys.public_key(), b"tag: massage", &signature));
        assert!(!EntityKeypair::is_signed(&other.public_key(), b"tag: message", &signature));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let keys = EntityKeypair::from_seed([0xab; 32]);
        assert_eq!(format!("{keys:?}"), format!("EntityKeypair({})", keys.origin_hash()));
    }
}
