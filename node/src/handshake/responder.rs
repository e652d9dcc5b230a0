//! The end that answers.

use std::fmt;

use meshground_shared::Role;
use rand_chacha::ChaCha20Rng;

use super::{
    Established, Noise, Refusal,
    noise::{Prepared, Terms, establish, identify},
    payload::{Introduction, Opening},
};
use crate::{
    crypto::Suite,
    packet::{CONFIRM_NOISE_LEN, INITIATION_NOISE_LEN, RESPONSE_LEN, response_header},
    time::WallTime,
};

/// Has read message 1. Once it has answered, it waits for message 3.
pub(crate) struct Responder {
    prepared: Prepared,
    suite: Suite,
    opening: Opening,
    initiation: [u8; INITIATION_NOISE_LEN],
    index: u32,
    /// A message 3 did not authenticate. Snow then forgets to restore its cipher, so the
    /// state must be brought back before the next try: a forged message changes nothing.
    spoiled: bool,
}

impl Responder {
    /// Reads message 1; `index` is where message 3 shall go. An error costs one
    /// authentication tag and leaves no trace.
    pub(crate) fn read_initiation(
        noise: &mut Noise,
        suite: Suite,
        message: &[u8; INITIATION_NOISE_LEN],
        index: u32,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, Refusal> {
        let mut payload = [0; INITIATION_NOISE_LEN];
        let state = noise.responder(suite, rng);
        let len = state.read_message(message, &mut payload).map_err(|_| Refusal::Crypto)?;
        let opening = Opening::decode(&payload[..len]).ok_or(Refusal::Crypto)?;
        let prepared = noise.take_responder(suite).ok_or(Refusal::Crypto)?;
        Ok(Self { prepared, suite, opening, initiation: *message, index, spoiled: false })
    }

    /// When the initiator began, by its own wall clock.
    pub(crate) fn begun(&self) -> WallTime {
        self.opening.begun
    }

    /// The message 1 it read.
    pub(crate) fn initiation(&self) -> &[u8; INITIATION_NOISE_LEN] {
        &self.initiation
    }

    /// Writes message 2. Call once. Message 1 authenticates whatever its ephemeral key is; one
    /// with which no secret can be agreed (a point of small order) is refused here.
    pub(crate) fn respond(&mut self, noise: &Noise) -> Result<[u8; RESPONSE_LEN], Refusal> {
        let header = response_header(self.opening.sender_index);
        let mut response = [0; RESPONSE_LEN];
        response[..header.len()].copy_from_slice(&header);
        let mut payload = [0; 4 + Introduction::LEN];
        payload[..4].copy_from_slice(&self.index.to_le_bytes());
        payload[4..].copy_from_slice(&noise.introduction().encode());
        self.prepared
            .state
            .write_message(&payload, &mut response[header.len()..])
            .map_err(|_| Refusal::Crypto)?;
        Ok(response)
    }

    /// Reads message 3. On success the session stands.
    pub(crate) fn read_confirm(
        &mut self,
        noise: &Noise,
        message: &[u8; CONFIRM_NOISE_LEN],
    ) -> Result<Established, Refusal> {
        if self.spoiled {
            self.restore(noise)?;
        }
        let mut payload = [0; CONFIRM_NOISE_LEN];
        let state = &mut self.prepared.state;
        let Ok(len) = state.read_message(message, &mut payload) else {
            self.spoiled = true;
            return Err(Refusal::Crypto);
        };
        let (connection, introduction) =
            Introduction::decode_after(&payload[..len]).ok_or(Refusal::Crypto)?;
        let Opening { begun, sender_index } = self.opening;
        let terms = Terms {
            peer: identify(state, &introduction)?,
            incarnation: introduction.incarnation,
            role: Role::Responder,
            begun,
            remote_index: sender_index,
            connection: u64::from_le_bytes(connection),
        };
        Ok(establish(state, self.suite, &terms))
    }

    /// Goes through the first two messages again, to the same point.
    fn restore(&mut self, noise: &Noise) -> Result<(), Refusal> {
        *self.prepared.state = noise.same(self.suite, Role::Responder, self.prepared.seed);
        let mut payload = [0; INITIATION_NOISE_LEN];
        self.prepared.state.read_message(&self.initiation, &mut payload).map_err(|_| Refusal::Crypto)?;
        self.respond(noise)?;
        self.spoiled = false;
        Ok(())
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("suite", &self.suite).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;
    use snow::{
        Builder, Error,
        params::{CipherChoice, DHChoice, HashChoice},
        resolvers::{CryptoResolver, DefaultResolver},
        types::{Cipher, Dh, Hash, Random},
    };

    use super::*;
    use crate::identity::Identity;

    /// A curve whose every public key is the point zero.
    struct ZeroDh;

    impl Dh for ZeroDh {
        fn name(&self) -> &'static str {
            "25519"
        }
        fn pub_len(&self) -> usize {
            32
        }
        fn priv_len(&self) -> usize {
            32
        }
        fn set(&mut self, _: &[u8]) {}
        fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
            Ok(())
        }
        fn pubkey(&self) -> &[u8] {
            &[0; 32]
        }
        fn privkey(&self) -> &[u8] {
            &[0; 32]
        }
        fn dh(&self, _: &[u8], _: &mut [u8]) -> Result<(), Error> {
            Err(Error::Dh)
        }
    }

    struct ZeroRandom;

    impl Random for ZeroRandom {
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
            out.fill(0);
            Ok(())
        }
    }

    struct ZeroResolver;

    impl CryptoResolver for ZeroResolver {
        fn resolve_rng(&self) -> Option<Box<dyn Random>> {
            Some(Box::new(ZeroRandom))
        }
        fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
            Some(Box::new(ZeroDh))
        }
        fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
            DefaultResolver.resolve_hash(choice)
        }
        fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
            DefaultResolver.resolve_cipher(choice)
        }
    }

    #[test]
    fn an_ephemeral_key_of_small_order_is_refused_though_the_message_authenticates() {
        let psk = [42; 32];
        for suite in Suite::ALL {
            let mut forger =
                Builder::with_resolver(suite.noise_name().parse().unwrap(), Box::new(ZeroResolver))
                    .psk(0, &psk)
                    .and_then(|builder| builder.local_private_key(&[1; 32]))
                    .and_then(|builder| builder.prologue(super::super::noise::prologue(suite)))
                    .and_then(Builder::build_initiator)
                    .unwrap();
            let mut message = [0; INITIATION_NOISE_LEN];
            forger.write_message(&[0; Opening::LEN], &mut message).unwrap();
            assert_eq!(message[..32], [0; 32]);
            let mut noise = Noise::new(psk, Identity::from_seed([1; 32]), 1);
            let mut rng = ChaCha20Rng::from_seed([2; 32]);
            let mut responder = Responder::read_initiation(&mut noise, suite, &message, 7, &mut rng)
                .expect("it authenticates");
            assert_eq!(responder.respond(&noise), Err(Refusal::Crypto));
        }
    }
}
