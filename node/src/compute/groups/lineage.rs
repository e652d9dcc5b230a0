//! What a fork can prove: of whom it was made, and when.

use meshground_shared::DaemonId;
use serde::{Deserialize, Serialize};

use super::MAX_MEMBERS;
use crate::{
    daemon::{EntityKeypair, daemon_id},
    identity::keyed_hash,
};

const SIGNATURE_LABEL: &[u8] = b"meshground lineage 1:";
const STATE_LABEL: &[u8] = b"meshground lineage state 1";
const LEAF_LABEL: &[u8] = b"meshground lineage leaf 1";
const PAIR_LABEL: &[u8] = b"meshground lineage pair 1";

/// The moment from which a group's forks go on, signed by the daemon they are made of.
///
/// One signature is for every place a group may have: over the root of a tree of the forks' public keys. So a group
/// can grow when the parent is long gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ForkPoint {
    /// The parent's Ed25519 key.
    pub(crate) parent_key: [u8; 32],
    /// How many events it had worked off.
    pub(crate) processed: u64,
    /// Of the state it had then.
    pub(crate) state_hash: [u8; 32],
    /// The length of that in bytes.
    pub(crate) state_len: u64,
    /// The node it was on.
    pub(crate) source: u64,
    /// The signature's two halves.
    pub(crate) signature: ([u8; 32], [u8; 32]),
}

/// What a fork can prove: that it goes on from a certain state of a certain daemon. Anybody can
/// [verify](Self::verify) it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The daemon it is made of.
    pub parent: DaemonId,
    /// That one's Ed25519 key.
    pub parent_key: [u8; 32],
    /// How many events that had worked off.
    pub processed: u64,
    /// The hash of the state it had then; see [`state_hash`](Self::state_hash).
    pub state_hash: [u8; 32],
    /// The fork's place in its group, from 0.
    pub index: u32,
    /// The fork's Ed25519 key.
    pub child_key: [u8; 32],
    /// The hashes beside the way from the fork's key to the root of the tree of all forks' keys, from the bottom up.
    pub path: Vec<[u8; 32]>,
    /// The parent's signature.
    pub signature: [u8; 64],
}

/// Why a lineage does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineageError {
    /// The parent's id is not that of its key.
    #[error("the parent's id does not go with its key; take nothing else in it for true")]
    WrongParent,
    /// The parent did not sign this: something was altered, or made up.
    #[error("the parent has not signed this; take nothing in it for true")]
    NotSigned,
}

impl Lineage {
    /// Whether the parent has signed that this fork goes on from this state.
    ///
    /// # Errors
    /// When it has not.
    pub fn verify(&self) -> Result<(), LineageError> {
        if daemon_id(&self.parent_key) != self.parent {
            return Err(LineageError::WrongParent);
        }
        if self.index >= MAX_MEMBERS || self.path.len() != MAX_MEMBERS.ilog2() as usize {
            return Err(LineageError::NotSigned);
        }
        let mut hash = leaf(self.index, &self.child_key);
        for (level, beside) in self.path.iter().enumerate() {
            let is_left = self.index >> level & 1 == 0;
            hash = if is_left { pair(&hash, beside) } else { pair(beside, &hash) };
        }
        let message = message(&self.parent_key, self.processed, &self.state_hash, &hash);
        let holds = EntityKeypair::is_signed(&self.parent_key, &message, &self.signature);
        if holds { Ok(()) } else { Err(LineageError::NotSigned) }
    }

    /// The fork's id.
    pub fn child(&self) -> DaemonId {
        daemon_id(&self.child_key)
    }

    /// The hash of a state, as lineages have it: keyed BLAKE2s.
    pub fn state_hash(state: &[u8]) -> [u8; 32] {
        keyed_hash(STATE_LABEL, state)
    }
}

/// The root of the tree of the keys of all the forks that a group of this seed may have.
pub(crate) fn root(seed: &[u8; 32]) -> [u8; 32] {
    let mut level = leaves(seed);
    while level.len() > 1 {
        level = above(&level);
    }
    level.first().copied().unwrap_or_default()
}

impl ForkPoint {
    /// Signs, as the parent, that forks under `root` go on from a state.
    pub(crate) fn sign(
        parent: &EntityKeypair,
        processed: u64,
        state: &[u8],
        source: u64,
        root: &[u8; 32],
    ) -> Self {
        let (parent_key, state_hash) = (parent.public_key(), Lineage::state_hash(state));
        let signature = parent.sign(&message(&parent_key, processed, &state_hash, root));
        let (mut low, mut high) = ([0; 32], [0; 32]);
        low.copy_from_slice(&signature[..32]);
        high.copy_from_slice(&signature[32..]);
        let state_len = state.len() as u64;
        Self { parent_key, processed, state_hash, state_len, source, signature: (low, high) }
    }

    pub(crate) fn parent(&self) -> DaemonId {
        daemon_id(&self.parent_key)
    }

    /// The proof of one fork of a group of this seed.
    pub(crate) fn lineage(&self, seed: &[u8; 32], index: u32) -> Lineage {
        let mut path = Vec::new();
        let mut level = leaves(seed);
        let mut at = index as usize;
        while level.len() > 1 {
            path.push(level.get(at ^ 1).copied().unwrap_or_default());
            level = above(&level);
            at /= 2;
        }
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.signature.0);
        signature[32..].copy_from_slice(&self.signature.1);
        Lineage {
            parent: self.parent(),
            parent_key: self.parent_key,
            processed: self.processed,
            state_hash: self.state_hash,
            index,
            child_key: EntityKeypair::of_member(seed, index).public_key(),
            path,
            signature,
        }
    }
}

fn message(parent_key: &[u8; 32], processed: u64, state_hash: &[u8; 32], root: &[u8; 32]) -> Vec<u8> {
    [SIGNATURE_LABEL, parent_key, &processed.to_le_bytes(), state_hash, root].concat()
}

fn leaf(index: u32, key: &[u8; 32]) -> [u8; 32] {
    keyed_hash(LEAF_LABEL, &[&index.to_le_bytes()[..], key].concat())
}

fn pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    keyed_hash(PAIR_LABEL, &[&left[..], right].concat())
}

fn leaves(seed: &[u8; 32]) -> Vec<[u8; 32]> {
    (0..MAX_MEMBERS).map(|index| leaf(index, &EntityKeypair::of_member(seed, index).public_key())).collect()
}

fn above(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    level.chunks_exact(2).map(|two| pair(&two[0], &two[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [3; 32];

    fn point() -> ForkPoint {
        ForkPoint::sign(&EntityKeypair::from_seed([1; 32]), 7, b"state", 1, &root(&SEED))
    }

    #[test]
    fn every_forks_lineage_holds_under_the_one_signature() {
        for index in [0, 1, 2, 31, 63] {
            let lineage = point().lineage(&SEED, index);
            assert_eq!(lineage.verify(), Ok(()), "fork {index}");
            assert_eq!(lineage.child(), EntityKeypair::of_member(&SEED, index).origin_hash());
        }
    }

    #[test]
    fn a_record_of_a_fork_point_that_was_altered_proves_nothing() {
        type Alteration = fn(&mut ForkPoint);
        let alterations: [Alteration; 5] = [
            |point| point.parent_key[0] ^= 1,
            |point| point.processed += 1,
            |point| point.state_hash[0] ^= 1,
            |point| point.signature.0[0] ^= 1,
            |point| point.signature.1[31] ^= 1,
        ];
        for (number, alter) in alterations.iter().enumerate() {
            let mut altered = point();
            alter(&mut altered);
            assert_eq!(
                altered.lineage(&SEED, 4).verify(),
                Err(LineageError::NotSigned),
                "alteration {number}"
            );
        }
        // The point of another group is none of this one.
        assert_eq!(point().lineage(&[4; 32], 4).verify(), Err(LineageError::NotSigned));
    }

    #[test]
    fn a_lineage_that_was_altered_anywhere_does_not_hold() {
        type Alteration = fn(&mut Lineage);
        let alterations: [Alteration; 9] = [
            |lineage| lineage.parent.0 ^= 1,
            |lineage| lineage.parent_key[0] ^= 1,
            |lineage| lineage.processed += 1,
            |lineage| lineage.state_hash[0] ^= 1,
            |lineage| lineage.index += 1,
            |lineage| lineage.child_key[0] ^= 1,
            |lineage| lineage.path[3][0] ^= 1,
            |lineage| _ = lineage.path.pop(),
            |lineage| lineage.signature[63] ^= 1,
        ];
        for (number, alter) in alterations.iter().enumerate() {
            let mut lineage = point().lineage(&SEED, 4);
            alter(&mut lineage);
            assert!(lineage.verify().is_err(), "alteration {number}");
        }
        let strangers = EntityKeypair::of_member(&[4; 32], 4).public_key();
        let lineage = Lineage { child_key: strangers, ..point().lineage(&SEED, 4) };
        assert_eq!(lineage.verify(), Err(LineageError::NotSigned));
    }
}
