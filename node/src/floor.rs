//! What a handshake cannot cost less than, and what being told by another what it can do: cryptography and nothing else.
//!
//! For benchmarks, behind the feature `floor`. The same code the node runs, without
//! indexes, timers, queues or sockets around it.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    Suite,
    capability::Capabilities,
    handshake::{Initiator, Noise, Responder},
    identity::Identity,
    packet::Header,
    record::{Record, RecordKind, Stamp, TTL},
    time::WallTime,
};

/// Two nodes that shake hands in memory, again and again.
#[derive(Debug)]
pub struct HandshakeFloor {
    a: Noise,
    b: Noise,
    /// What each announces that it can do, signed.
    announcements: [Record; 2],
    suite: Suite,
    rng: ChaCha20Rng,
}

impl HandshakeFloor {
    /// Two identities grown from `seed`, that can do nothing in particular.
    pub fn new(seed: u64) -> Self {
        let identity = |n: u8| {
            let mut bytes = [n; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            Identity::from_seed(bytes)
        };
        let announcement = |identity: Identity| {
            let stamp = Stamp { incarnation: 1, version: 1 };
            let body = Capabilities::new().encode();
            Record::sign(&identity, RecordKind::Capabilities, stamp, WallTime(0), TTL, &body)
        };
        Self {
            announcements: [announcement(identity(1)), announcement(identity(2))],
            a: Noise::new([1; 32], identity(1), 1),
            b: Noise::new([1; 32], identity(2), 1),
            suite: Suite::preferred(),
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    /// One complete handshake, both ends: three messages, both identities verified, session
    /// keys ready at both ends.
    ///
    /// # Panics
    /// Never, short of a defect in the handshake.
    pub fn run(&mut self) {
        let now = WallTime(0);
        let mut initiator = Initiator::begin(&self.a, self.suite, 1, now, &mut self.rng);
        let Ok(Header::Initiation { suite, noise }) = Header::parse(initiator.initiation()) else {
            panic!("message 1 parses");
        };
        let mut responder = Responder::read_initiation(&mut self.b, suite, noise, 2, &mut self.rng)
            .expect("message 1 authenticates");
        let response = responder.respond(&self.b).expect("the initiator's key is sound");
        let Ok(Header::Response { noise, .. }) = Header::parse(&response) else {
            panic!("message 2 parses");
        };
        let (_, confirm) = initiator.read_response(&self.a, noise, |_| 0).expect("message 2 authenticates");
        let Ok(Header::Confirm { noise, .. }) = Header::parse(&confirm) else {
            panic!("message 3 parses");
        };
        responder.read_confirm(&self.b, noise).expect("message 3 authenticates");
    }

    /// Each end checks the signature under what the other announces that it can do.
    ///
    /// # Panics
    /// Never, short of a defect in signing.
    pub fn check_announcements(&self) {
        for announcement in &self.announcements {
            assert!(announcement.is_signed(), "its origin signed it");
        }
    }
}
