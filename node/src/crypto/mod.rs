//! Cipher suites, session keys and the primitives Noise is run on.
//!
//! Natively everything comes from aws-lc: with it a full handshake costs half, and
//! sealing a small packet a seventh, of what pure Rust does. In a browser there is no
//! aws-lc, and snow's own primitives and RustCrypto's ciphers stand in. Both speak the
//! same bytes.

#[cfg(not(target_arch = "wasm32"))]
mod aws_lc;
#[cfg(any(target_arch = "wasm32", test))]
mod portable;
mod resolver;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use aws_lc::{Aead, StaticKey};
#[cfg(target_arch = "wasm32")]
pub(crate) use portable::{Aead, StaticKey};
pub(crate) use resolver::Resolver;

/// Bytes an AEAD adds to what it seals.
pub(crate) const TAG_LEN: usize = 16;

/// A sealed packet that was altered, cut short or made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenError;

/// A cipher suite. Named by one byte in a handshake's first message, and bound into
/// its prologue so that nobody can change it on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// AES-256-GCM: twice as fast where the processor has AES instructions.
    Aes256Gcm,
    /// ChaCha20-Poly1305: fast and constant-time everywhere.
    ChaCha20Poly1305,
}

impl Suite {
    /// Both suites.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// The faster one on this processor.
    pub fn preferred() -> Self {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let has_aes =
            std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }

    /// The byte that names it on the wire.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// The suite a byte names.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The full Noise protocol name.
    pub const fn noise_name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "Noise_XXpsk0_25519_AESGCM_BLAKE2s",
            Self::ChaCha20Poly1305 => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
        }
    }

    /// The nonce Noise defines for a counter (Noise specification, sections 12.3 and 12.4).
    fn nonce(self, counter: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&match self {
            Self::Aes256Gcm => counter.to_be_bytes(),
            Self::ChaCha20Poly1305 => counter.to_le_bytes(),
        });
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_backends_seal_to_the_same_bytes_and_open_each_others() {
        for suite in Suite::ALL {
            let key = [7; 32];
            let (fast, portable) = (aws_lc::Aead::new(suite, &key), portable::Aead::new(suite, &key));
            for len in [0, 1, 64, 1_400] {
                let plain: Vec<u8> = (0..len).map(|i: u32| i.to_le_bytes()[0]).collect();
                let (mut a, mut b) = (plain.clone(), plain.clone());
                let tag_a = fast.seal(len.into(), b"header", &mut a);
                let tag_b = portable.seal(len.into(), b"header", &mut b);
                assert_eq!((&a, tag_a), (&b, tag_b), "{suite:?}, {len} bytes");
                a.extend_from_slice(&tag_a);
                b.extend_from_slice(&tag_b);
                assert_eq!(fast.open(len.into(), b"header", &mut b).unwrap(), plain);
                assert_eq!(portable.open(len.into(), b"header", &mut a).unwrap(), plain);
            }
        }
    }

    #[test]
    fn nothing_altered_opens() {
        for suite in Suite::ALL {
            let aead = Aead::new(suite, &[7; 32]);
            let mut sealed = b"content".to_vec();
            let tag = aead.seal(5, b"header", &mut sealed);
            sealed.extend_from_slice(&tag);
            for bit in 0..sealed.len() * 8 {
                let mut altered = sealed.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(aead.open(5, b"header", &mut altered), Err(OpenError));
            }
            assert_eq!(aead.open(6, b"header", &mut sealed.clone()), Err(OpenError));
            assert_eq!(aead.open(5, b"Header", &mut sealed.clone()), Err(OpenError));
            assert_eq!(aead.open(5, b"header", &mut sealed[..10].to_vec()), Err(OpenError));
            assert!(aead.open(5, b"header", &mut sealed).is_ok());
        }
    }

    #[test]
    fn a_suite_is_named_by_its_byte() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_byte(suite.byte()), Some(suite));
        }
        assert_eq!(Suite::from_byte(0), None);
        assert_eq!(Suite::from_byte(3), None);
    }
}
