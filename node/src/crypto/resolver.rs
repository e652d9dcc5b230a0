//! What snow asks for: randomness, curve, cipher and hash.

#[cfg(not(target_arch = "wasm32"))]
use super::aws_lc as backend;
#[cfg(target_arch = "wasm32")]
use super::portable as backend;

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use snow::{
    Error,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};

use super::StaticKey;

/// Serves one handshake. Its randomness grows from a seed, so that a node's own
/// generator decides everything and a simulated run replays exactly.
pub(crate) struct Resolver {
    seed: [u8; 32],
    known: StaticKey,
}

impl Resolver {
    /// For a handshake with the local static key `known`. Never use a seed twice.
    pub(crate) fn new(seed: [u8; 32], known: StaticKey) -> Self {
        Self { seed, known }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom(ChaCha20Rng::from_seed(self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        backend::dh(*choice, &self.known)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(backend::cipher(*choice))
    }
}

struct SeededRandom(ChaCha20Rng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}
