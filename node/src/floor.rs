//! What a handshake cannot cost less than: its cryptography and nothing else.
//!
//! For benchmarks, behind the feature `floor`. The same code the node runs, without
//! indexes, timers, queues or sockets around it.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use crate::{
    Suite,
    handshake::{Initiator, Noise, Responder},
    identity::Identity,
    packet::Header,
    time::WallTime,
};

/// Two nodes that shake hands in memory, again and again.
#[derive(Debug)]
pub struct HandshakeFloor {
    a: Noise,
    b: Noise,
    suite: Suite,
    rng: ChaCha20Rng,
}

impl HandshakeFloor {
    /// Two identities grown from `seed`.
    pub fn new(seed: u64) -> Self {
        let identity = |n: u8| {
            let mut bytes = [n; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            Identity::from_seed(bytes)
        };
        Self {
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
}
