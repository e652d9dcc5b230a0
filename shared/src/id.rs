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

/// Serializes what can be shown and parsed as the text it shows.
macro_rules! serde_as_text {
    ($name:ident) => {
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

        serde_as_text!($name);
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

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bytes = parse_hex(text).and_then(|bytes| bytes.try_into().ok());
                bytes.map(Self).ok_or_else(|| parse_error(64, text))
            }
        }

        serde_as_text!($name);
    };
}

bytes32! {
    /// A node's 32-byte X25519 Noise static public key.
    PublicKey
}

bytes32! {
    /// The hash of a simulated blast radius. A break-glass command that names another one than it
    /// has is rejected.
    SimulationHash
}

/// Bytes of any number, as two lower-case hexadecimal digits each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hex(pub Vec<u8>);

/// Why a string is no [`Hex`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an even number of lower-case hexadecimal digits")]
pub struct ParseHexError;

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl FromStr for Hex {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, ParseHexError> {
        parse_hex(text).map(Self).ok_or(ParseHexError)
    }
}

serde_as_text!(Hex);

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !is_lower_hex(text) {
        return None;
    }
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.as_bytes().chunks_exact(2).map(byte).collect()
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

    #[test]
    fn bytes_travel_as_two_lower_case_digits_each() {
        let bytes = Hex(vec![0, 0x2a, 0xff]);
        assert_eq!(serde_json::to_string(&bytes).unwrap(), "\"002aff\"");
        assert_eq!("002aff".parse::<Hex>().unwrap(), bytes);
        assert_eq!("".parse::<Hex>().unwrap(), Hex::default());
        for text in ["0", "0A", "zz", "+1", "é"] {
            assert!(text.parse::<Hex>().is_err(), "{text:?} was taken for bytes");
        }
    }
}
