//! Who may command a cluster.

use std::{collections::BTreeMap, fmt};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use super::MAX_SIGNATURES;
use crate::identity::keyed_hash;

const OPERATOR_KEY_LABEL: &[u8] = b"meshground operator key 1";
const DEMO_SEED_LABEL: &[u8] = b"meshground demo operator 1";

/// How many operators [`Operators::demo`] has.
const DEMO_OPERATORS: u8 = 3;

/// The longest name, in bytes.
const MAX_NAME: usize = 64;

/// The most operators a cluster knows.
const MAX_OPERATORS: usize = 256;

/// How many different operators a break-glass command needs unless told otherwise.
const DEFAULT_ICE_QUORUM: usize = 2;

/// An operator as a cluster knows them: a short name and an Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorId {
    /// What audit trails call them; 1 to 64 bytes.
    pub name: String,
    /// The key their signatures are checked with.
    pub key: [u8; 32],
}

/// An operator's secret: whoever holds it is that operator.
#[derive(Clone)]
pub struct OperatorKey {
    name: String,
    key: SigningKey,
}

impl OperatorKey {
    /// The key that grows from `seed`; always the same one. A node of the same seed has another key.
    pub fn from_seed(name: impl Into<String>, seed: [u8; 32]) -> Self {
        Self { name: name.into(), key: SigningKey::from_bytes(&keyed_hash(&seed, OPERATOR_KEY_LABEL)) }
    }

    /// The demo operator of that number, of which there are three, from 1. **Everybody knows these keys**, for they are
    /// computed from this very source: they are for playgrounds and tests, and
    /// [`AdminVerifier::new`](super::AdminVerifier::new) refuses them.
    pub fn demo(number: u8) -> Option<Self> {
        (1..=DEMO_OPERATORS)
            .contains(&number)
            .then(|| Self::from_seed(format!("demo-{number}"), keyed_hash(DEMO_SEED_LABEL, &[number])))
    }

    /// What the cluster is to know of the operator.
    pub fn id(&self) -> OperatorId {
        OperatorId { name: self.name.clone(), key: self.public_key() }
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// The signature over `message`, which must begin with a domain tag of its own.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for OperatorKey {
    /// Shows the name only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.name)
    }
}

/// Why a set of operators cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// A name is empty or longer than 64 bytes.
    #[error("an operator's name has 1 to 64 bytes, not {0}")]
    Name(usize),
    /// Two operators have one name, so a trail could not tell them apart.
    #[error("two operators are called {0:?}; give one another name")]
    SameName(String),
    /// Two operators have one key, so one person could count as two.
    #[error("{0:?} and {1:?} have the same key; each operator needs one of their own")]
    SameKey(String, String),
    /// The key is no point of the curve, or one with which anything verifies.
    #[error("the key of {0:?} is not an Ed25519 public key; give the one that its `OperatorKey` has")]
    Key(String),
    /// There are more than 256.
    #[error("a cluster knows at most {MAX_OPERATORS} operators")]
    TooMany,
    /// As many signatures never fit a command, or none would be needed.
    #[error("a break-glass command takes the signatures of 1 to {MAX_SIGNATURES} operators, not {0}")]
    Quorum(usize),
}

/// The operators a cluster trusts, and how many of them a break-glass command needs: two unless told otherwise. A
/// cluster with fewer operators than that cannot be told to break glass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operators {
    names: BTreeMap<[u8; 32], String>,
    ice_quorum: usize,
}

impl Operators {
    /// Trusts these, and nobody else.
    ///
    /// # Errors
    ///
    /// When a name or key is not one, or is there twice.
    pub fn new(operators: impl IntoIterator<Item = OperatorId>) -> Result<Self, OperatorError> {
        let mut names: BTreeMap<[u8; 32], String> = BTreeMap::new();
        for OperatorId { name, key } in operators {
            if names.len() == MAX_OPERATORS {
                return Err(OperatorError::TooMany);
            }
            if !(1..=MAX_NAME).contains(&name.len()) {
                return Err(OperatorError::Name(name.len()));
            }
            if !VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak()) {
                return Err(OperatorError::Key(name));
            }
            if names.values().any(|known| *known == name) {
                return Err(OperatorError::SameName(name));
            }
            if let Some(known) = names.get(&key) {
                return Err(OperatorError::SameKey(known.clone(), name));
            }
            names.insert(key, name);
        }
        Ok(Self { names, ice_quorum: DEFAULT_ICE_QUORUM })
    }

    /// The three demo operators, whose keys everybody knows; see [`OperatorKey::demo`].
    pub fn demo() -> Self {
        // They have names and keys of their own, so nothing is looked for that could be wrong.
        let demo = (1..=DEMO_OPERATORS).filter_map(OperatorKey::demo).map(|key| (key.public_key(), key.name));
        Self { names: demo.collect(), ice_quorum: DEFAULT_ICE_QUORUM }
    }

    /// Has break-glass commands need `quorum` different operators.
    ///
    /// # Errors
    ///
    /// When that is none, or more than a command can carry signatures of (16).
    pub fn with_ice_quorum(mut self, quorum: usize) -> Result<Self, OperatorError> {
        if !(1..=MAX_SIGNATURES).contains(&quorum) {
            return Err(OperatorError::Quorum(quorum));
        }
        self.ice_quorum = quorum;
        Ok(self)
    }

    /// How many different operators a break-glass command needs.
    pub fn ice_quorum(&self) -> usize {
        self.ice_quorum
    }

    /// Who signs with `key`.
    pub fn name(&self, key: &[u8; 32]) -> Option<&str> {
        self.names.get(key).map(String::as_str)
    }

    /// Everyone, by key.
    pub fn iter(&self) -> impl Iterator<Item = OperatorId> {
        self.names.iter().map(|(key, name)| OperatorId { name: name.clone(), key: *key })
    }

    /// The first whose key everybody knows.
    pub(super) fn first_demo(&self) -> Option<&str> {
        (1..=DEMO_OPERATORS).filter_map(OperatorKey::demo).find_map(|key| self.name(&key.public_key()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> OperatorKey {
        OperatorKey::from_seed(format!("operator {number}"), [number; 32])
    }

    #[test]
    fn a_seed_always_grows_into_the_same_key_and_not_into_a_nodes() {
        assert_eq!(key(1).public_key(), key(1).public_key());
        assert_ne!(key(1).public_key(), key(2).public_key());
        assert_ne!(key(1).public_key(), crate::Identity::from_seed([1; 32]).entity_key());
    }

    #[test]
    fn there_are_three_different_demo_operators() {
        assert_eq!(Operators::demo().iter().count(), 3);
        assert!(OperatorKey::demo(0).is_none() && OperatorKey::demo(4).is_none());
        let first = OperatorKey::demo(1).unwrap();
        assert_eq!(Operators::demo().name(&first.public_key()), Some("demo-1"));
    }

    #[test]
    fn nobody_is_in_a_set_twice_under_any_name() {
        let same_name = [key(1).id(), OperatorId { name: key(1).name, key: key(2).public_key() }];
        assert!(matches!(Operators::new(same_name), Err(OperatorError::SameName(_))));
        let same_key = [key(1).id(), OperatorId { name: "another".into(), key: key(1).public_key() }];
        assert!(matches!(Operators::new(same_key), Err(OperatorError::SameKey(..))));
    }

    #[test]
    fn names_keys_and_quorums_out_of_range_are_refused() {
        let named = |name: String| Operators::new([OperatorId { name, key: key(1).public_key() }]);
        assert_eq!(named(String::new()), Err(OperatorError::Name(0)));
        assert_eq!(named("n".repeat(65)), Err(OperatorError::Name(65)));
        assert!(named("n".repeat(64)).is_ok());
        // The neutral element, with which every signature of a kind verifies.
        let weak = OperatorId { name: "weak".into(), key: std::array::from_fn(|i| u8::from(i == 0)) };
        assert!(matches!(Operators::new([weak]), Err(OperatorError::Key(_))));
        let many = (0..=256_u16).map(|n| {
            let seed = std::array::from_fn(|i| n.to_le_bytes()[i % 2]);
            OperatorKey::from_seed(format!("{n}"), seed).id()
        });
        assert_eq!(Operators::new(many), Err(OperatorError::TooMany));
        for quorum in [0, MAX_SIGNATURES + 1] {
            assert_eq!(Operators::demo().with_ice_quorum(quorum), Err(OperatorError::Quorum(quorum)));
        }
        assert_eq!(Operators::demo().with_ice_quorum(3).unwrap().ice_quorum(), 3);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", key(1)), "OperatorKey(operator 1)");
    }
}
