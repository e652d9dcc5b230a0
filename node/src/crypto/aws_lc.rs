//! The native primitives: aws-lc.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, PrivateKey, UnparsedPublicKey, X25519},
};
use snow::{
    Error,
    params::{CipherChoice, DHChoice},
    types::{Cipher, Dh, Random},
};

use super::{OpenError, Suite, TAG_LEN};

/// One direction's key of one session.
pub(crate) struct Aead {
    suite: Suite,
    key: LessSafeKey,
}

impl Aead {
    /// Takes `key` into use. Never seal twice with one counter.
    pub(crate) fn new(suite: Suite, key: &[u8; 32]) -> Self {
        let algorithm = match suite {
            Suite::Aes256Gcm => &aead::AES_256_GCM,
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, key).expect("both suites take 32-byte keys");
        Self { suite, key: LessSafeKey::new(key) }
    }

    /// Encrypts `data` in place and returns its tag, which also covers `header`.
    pub(crate) fn seal(&self, counter: u64, header: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(self.suite.nonce(counter));
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), data)
            .expect("a packet is far below the cipher's length limit");
        tag.as_ref().try_into().expect("both suites have 16-byte tags")
    }

    /// Decrypts `data`, which ends in its tag, in place.
    pub(crate) fn open<'a>(
        &self,
        counter: u64,
        header: &[u8],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        let nonce = Nonce::assume_unique_for_key(self.suite.nonce(counter));
        self.key.open_in_place(nonce, Aad::from(header), data).map_err(|_| OpenError)
    }

    /// Decrypts `body` into `plain`, which is as long: what strangers send in a handshake is copied nowhere.
    fn open_into(
        &self,
        counter: u64,
        header: &[u8],
        body: &[u8],
        tag: &[u8; TAG_LEN],
        plain: &mut [u8],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(self.suite.nonce(counter));
        self.key.open_separate_gather(nonce, Aad::from(header), body, tag, plain).map_err(|_| OpenError)
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aead").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// An X25519 key ready for use. Shared, because preparing one costs a scalar
/// multiplication and a node needs its static key in every handshake.
#[derive(Clone)]
pub(crate) struct StaticKey(Arc<KeyPair>);

struct KeyPair {
    private: [u8; 32],
    public: [u8; 32],
    key: PrivateKey,
}

impl StaticKey {
    /// Prepares a private key.
    pub(crate) fn new(private: &[u8; 32]) -> Self {
        let key = PrivateKey::from_private_key(&X25519, private).expect("any 32 bytes are an X25519 key");
        let computed = key.compute_public_key().expect("every X25519 key has a public half");
        let public = computed.as_ref().try_into().expect("X25519 public keys have 32 bytes");
        Self(Arc::new(KeyPair { private: *private, public, key }))
    }

    /// The public half.
    pub(crate) fn public(&self) -> &[u8; 32] {
        &self.0.public
    }

    /// The private half.
    pub(crate) fn private(&self) -> &[u8; 32] {
        &self.0.private
    }
}

/// Diffie-Hellman for Noise, with `known` at hand so that it is not prepared anew.
pub(super) fn dh(choice: DHChoice, known: &StaticKey) -> Option<Box<dyn Dh>> {
    match choice {
        DHChoice::Curve25519 => Some(Box::new(NoiseDh { known: known.clone(), current: None })),
        DHChoice::Curve448 => None,
    }
}

/// A cipher for Noise's handshake.
pub(super) fn cipher(choice: CipherChoice) -> Box<dyn Cipher> {
    let suite = match choice {
        CipherChoice::AESGCM => Suite::Aes256Gcm,
        CipherChoice::ChaChaPoly => Suite::ChaCha20Poly1305,
    };
    Box::new(NoiseCipher { suite, key: None })
}

struct NoiseDh {
    known: StaticKey,
    current: Option<StaticKey>,
}

impl NoiseDh {
    fn pair(&self) -> &KeyPair {
        &self.current.as_ref().unwrap_or(&self.known).0
    }
}

impl Dh for NoiseDh {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        let private: &[u8; 32] = private.try_into().expect("snow passes priv_len bytes");
        self.current = (private != self.known.private()).then(|| StaticKey::new(private));
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut private = [0; 32];
        rng.try_fill_bytes(&mut private)?;
        self.current = Some(StaticKey::new(&private));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.pair().public
    }

    fn privkey(&self) -> &[u8] {
        &self.pair().private
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // snow keeps remote keys in buffers longer than a key.
        let public = UnparsedPublicKey::new(&X25519, &public[..32]);
        agreement::agree(&self.pair().key, public, Error::Dh, |shared| {
            out[..32].copy_from_slice(shared);
            Ok(())
        })
    }
}

struct NoiseCipher {
    suite: Suite,
    // Set before use: Noise encrypts nothing before its first MixKey.
    key: Option<Aead>,
}

impl Cipher for NoiseCipher {
    fn name(&self) -> &'static str {
        match self.suite {
            Suite::Aes256Gcm => "AESGCM",
            Suite::ChaCha20Poly1305 => "ChaChaPoly",
        }
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = Some(Aead::new(self.suite, key));
    }

    fn encrypt(&self, nonce: u64, header: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let key = self.key.as_ref().expect("snow sets a key before it encrypts");
        let (body, rest) = out.split_at_mut(plain.len());
        body.copy_from_slice(plain);
        rest[..TAG_LEN].copy_from_slice(&key.seal(nonce, header, body));
        plain.len() + TAG_LEN
    }

    fn decrypt(&self, nonce: u64, header: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let key = self.key.as_ref().ok_or(Error::Decrypt)?;
        let (body, tag) = sealed.split_last_chunk().ok_or(Error::Decrypt)?;
        let plain = out.get_mut(..body.len()).ok_or(Error::Decrypt)?;
        key.open_into(nonce, header, body, tag, plain).map_err(|_| Error::Decrypt)?;
        Ok(plain.len())
    }
}
