//! The browser's primitives: RustCrypto's ciphers, and snow's own for the handshake.

use std::fmt;

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInPlace, KeyInit},
};
use chacha20poly1305::ChaCha20Poly1305;

use super::{OpenError, Suite, TAG_LEN};

/// One direction's key of one session.
pub(crate) struct Aead {
    suite: Suite,
    // Boxed: an expanded AES key schedule is twenty times the size of a ChaCha key.
    cipher: Cipher,
}

enum Cipher {
    Aes(Box<Aes256Gcm>),
    ChaCha(Box<ChaCha20Poly1305>),
}

impl Aead {
    /// Takes `key` into use. Never seal twice with one counter.
    pub(crate) fn new(suite: Suite, key: &[u8; 32]) -> Self {
        let cipher = match suite {
            Suite::Aes256Gcm => Cipher::Aes(Box::new(Aes256Gcm::new(key.into()))),
            Suite::ChaCha20Poly1305 => Cipher::ChaCha(Box::new(ChaCha20Poly1305::new(key.into()))),
        };
        Self { suite, cipher }
    }

    /// Encrypts `data` in place and returns its tag, which also covers `header`.
    pub(crate) fn seal(&self, counter: u64, header: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = self.suite.nonce(counter);
        let nonce = (&nonce).into();
        let tag = match &self.cipher {
            Cipher::Aes(key) => key.encrypt_in_place_detached(nonce, header, data),
            Cipher::ChaCha(key) => key.encrypt_in_place_detached(nonce, header, data),
        };
        tag.expect("a packet is far below the cipher's length limit").into()
    }

    /// Decrypts `data`, which ends in its tag, in place.
    pub(crate) fn open<'a>(
        &self,
        counter: u64,
        header: &[u8],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        let nonce = self.suite.nonce(counter);
        let nonce = (&nonce).into();
        let length = data.len().checked_sub(TAG_LEN).ok_or(OpenError)?;
        let (body, tag) = data.split_at_mut(length);
        let tag = (&*tag).into();
        match &self.cipher {
            Cipher::Aes(key) => key.decrypt_in_place_detached(nonce, header, body, tag),
            Cipher::ChaCha(key) => key.decrypt_in_place_detached(nonce, header, body, tag),
        }
        .map_err(|_| OpenError)?;
        Ok(body)
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aead").field("suite", &self.suite).finish_non_exhaustive()
    }
}

#[cfg(target_arch = "wasm32")]
mod noise {
    use snow::{
        params::{CipherChoice, DHChoice},
        resolvers::{CryptoResolver, DefaultResolver},
        types::{Cipher, Dh},
    };

    /// An X25519 private key with its public half.
    #[derive(Clone)]
    pub(crate) struct StaticKey {
        private: [u8; 32],
        public: [u8; 32],
    }

    impl StaticKey {
        /// Prepares a private key.
        pub(crate) fn new(private: &[u8; 32]) -> Self {
            let mut dh =
                DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("snow is built with its curve");
            dh.set(private);
            let public = dh.pubkey().try_into().expect("X25519 public keys have 32 bytes");
            Self { private: *private, public }
        }

        /// The public half.
        pub(crate) fn public(&self) -> &[u8; 32] {
            &self.public
        }

        /// The private half.
        pub(crate) fn private(&self) -> &[u8; 32] {
            &self.private
        }
    }

    /// Diffie-Hellman for Noise.
    pub(crate) fn dh(choice: DHChoice, _known: &StaticKey) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(&choice)
    }

    /// A cipher for Noise's handshake.
    pub(crate) fn cipher(choice: CipherChoice) -> Box<dyn Cipher> {
        DefaultResolver.resolve_cipher(&choice).expect("snow is built with both ciphers")
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) use noise::{StaticKey, cipher, dh};
