//! What nodes tell each other of signed commands that one of them missed.

use meshground_shared::Decision;

use crate::{
    admin::{
        Nonce,
        history::{Claim, Page, bucket, digest},
    },
    time::WallTime,
};

/// What a node says of a command: the command as it travels, what became of it, and when.
pub type Claimed = (Vec<u8>, Decision, u64);

/// A page of such claims, and whether it says that there are more.
pub fn page(claims: Vec<Claimed>, more: bool) -> Vec<u8> {
    let claim = |(command, decision, decided_us)| Claim { command, decision, decided_us };
    Page { claims: claims.into_iter().map(claim).collect(), more }.encode()
}

/// The part of a history that a command is in, and what it adds to that part's digest.
pub fn entry(issued: u64, nonce: [u8; 16], decision: Decision) -> (usize, u64) {
    let key = (WallTime(issued), Nonce(nonce));
    (bucket(&key), digest(&key, decision))
}
