//! Ids and keys as they travel: fixed-width lower-case hexadecimal strings.
//!
//! JavaScript numbers are exact to 2^53 only, so a 64-bit id never travels as a
//! number, in any encoding.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hexadecimal digits, got {got:?}")]
pub struct ParseIdError {
    /// How many digits the id has.
    pub expected: usize,
    /// The beginning of what was given instead, at most 80 characters.
    pub got: String,
}

fn parse_error(expected: usize, text: &str) -> ParseIdError {
    ParseIdError { expected, got: text.chars().take(80).collect() }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:016x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if text.len() != 16 || !is_lower_hex(text) {
                    return Err(parse_error(16, text));
                }
                u64::from_str_radix(text, 16).map(Self).map_err(|_| parse_error(16, text))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id! {
    /// A mesh node: the first 8 bytes (little-endian) of a keyed BLAKE2s of its
    /// Ed25519 public key.
    NodeId
}

id! {
    /// A command the server carried out. It stands in the command's result and,
    /// as `cause`, in every event that followed from it.
    CommandId
}

id! {
    /// One life of an event log. Sequence numbers of different epochs must not be
    /// compared: a restarted server starts a new one.
    Epoch
}

id! {
    /// A daemon: the first 8 bytes (little-endian) of a keyed BLAKE2s of its Ed25519
    /// public key, wherever it runs.
    DaemonId
}

id! {
    /// A group of daemons.
    GroupId
}

id! {
    /// One attempt at moving a daemon from one node to another.
    MigrationId
}

/// A node's 32-byte X25519 Noise static public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != 64 || !is_lower_hex(text) {
            return Err(parse_error(64, text));
        }
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| parse_error(64, text))?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| parse_error(64, text))?;
        }
        Ok(Self(key))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_travels_as_sixteen_hex_digits() {
        let id = NodeId(0x2a);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, "\"000000000000002a\"");
        assert_eq!(serde_json::from_str::<NodeId>(&json).unwrap(), id);
    }

    #[test]
    fn anything_but_sixteen_lower_case_digits_is_refused() {
        for text in
            ["", "2a", "000000000000002A", "+00000000000002a", "00000000000000002a", "zzzzzzzzzzzzzzzz"]
        {
            assert!(text.parse::<NodeId>().is_err(), "{text:?} was taken for an id");
        }
        assert!(serde_json::from_str::<NodeId>("42").is_err());
    }

    #[test]
    fn a_public_key_survives_the_round_trip() {
        let key = PublicKey(std::array::from_fn(|i| u8::try_from(i * 7).unwrap()));
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        assert!("00".parse::<PublicKey>().is_err());
    }
}
