//! Handshakes (section 4).

use meshground_node::NodeId;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use snow::{
    Builder, Error, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};

use super::{
    Refused,
    keys::{Keys, verify},
    session::{Session, body, header},
    take,
};

/// Who stands at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Introduction {
    /// The id its entity key gives.
    pub node_id: NodeId,
    /// Which of its lives this is.
    pub incarnation: u64,
}

/// Where a handshake's ephemeral key comes from.
#[derive(Debug, Clone, Copy)]
pub enum Ephemeral {
    /// It is this private key: for test vectors.
    Fixed([u8; 32]),
    /// It grows from this seed.
    Seeded([u8; 32]),
}

/// One end of a handshake (section 4).
pub struct Handshake {
    state: HandshakeState,
    suite: u8,
    initiator: bool,
    keys: Keys,
}

impl Handshake {
    /// A handshake in suite 1 or 2.
    ///
    /// # Errors
    /// When there is no such suite.
    pub fn new(
        initiator: bool,
        suite: u8,
        psk: &[u8; 32],
        keys: &Keys,
        ephemeral: Ephemeral,
    ) -> Result<Self, Refused> {
        let name = match suite {
            1 => "Noise_XXpsk0_25519_AESGCM_BLAKE2s",
            2 => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
            _ => return Err(Refused),
        };
        let prologue = [&b"meshground 1 "[..], &[suite]].concat();
        let seed = match ephemeral {
            Ephemeral::Fixed(_) => [0; 32],
            Ephemeral::Seeded(seed) => seed,
        };
        let mut builder = Builder::with_resolver(name.parse()?, Box::new(Primitives(seed)))
            .psk(0, psk)?
            .local_private_key(&keys.noise_private)?
            .prologue(&prologue)?;
        if let Ephemeral::Fixed(private) = &ephemeral {
            builder = builder.fixed_ephemeral_key_for_testing_only(private);
        }
        let state = if initiator { builder.build_initiator()? } else { builder.build_responder()? };
        Ok(Self { state, suite, initiator, keys: keys.clone() })
    }

    fn write(&mut self, header: &[u8], payload: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut message = vec![0; 512];
        let len = self.state.write_message(payload, &mut message)?;
        Ok([header, &message[..len]].concat())
    }

    fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut payload = vec![0; 512];
        let len = self.state.read_message(message, &mut payload)?;
        payload.truncate(len);
        Ok(payload)
    }

    fn introduction(&self, incarnation: u64) -> Vec<u8> {
        [&incarnation.to_le_bytes()[..], &self.keys.entity_key, &self.keys.proof].concat()
    }

    fn identify(&self, introduction: &[u8]) -> Result<Introduction, Refused> {
        let (incarnation, rest) = take(introduction)?;
        let (entity_key, proof) = take::<32>(rest)?;
        let noise_key = self.state.get_remote_static().ok_or(Refused)?;
        let node_id = verify(&entity_key, noise_key, proof)?;
        Ok(Introduction { node_id, incarnation: u64::from_le_bytes(incarnation) })
    }

    /// The initiation.
    ///
    /// # Errors
    /// Out of turn.
    pub fn write_initiation(&mut self, begun: u64, index: u32) -> Result<Vec<u8>, Refused> {
        let payload = [&begun.to_le_bytes()[..], &index.to_le_bytes()].concat();
        self.write(&[1, self.suite, 0, 0], &payload)
    }

    /// When the initiator began, and its index.
    ///
    /// # Errors
    /// When it is none of this suite and pre-shared key.
    pub fn read_initiation(&mut self, datagram: &[u8]) -> Result<(u64, u32), Refused> {
        let (header, noise) = take(datagram)?;
        if header != [1, self.suite, 0, 0] {
            return Err(Refused);
        }
        let payload = self.read(noise)?;
        let (begun, index) = take(&payload)?;
        Ok((u64::from_le_bytes(begun), u32::from_le_bytes(take(index)?.0)))
    }

    /// The response.
    ///
    /// # Errors
    /// Out of turn.
    pub fn write_response(&mut self, to: u32, index: u32, incarnation: u64) -> Result<Vec<u8>, Refused> {
        let payload = [index.to_le_bytes().to_vec(), self.introduction(incarnation)].concat();
        self.write(&header(2, to), &payload)
    }

    /// The responder's index, and who it is.
    ///
    /// # Errors
    /// When it is no response to `index`, or does not authenticate.
    pub fn read_response(&mut self, index: u32, datagram: &[u8]) -> Result<(u32, Introduction), Refused> {
        let payload = self.read(body(2, index, datagram)?)?;
        let (to, introduction) = take(&payload)?;
        Ok((u32::from_le_bytes(to), self.identify(introduction)?))
    }

    /// The confirmation, naming the connection the initiator would go on with; 0 for none.
    ///
    /// # Errors
    /// Out of turn.
    pub fn write_confirm(&mut self, to: u32, connection: u64, incarnation: u64) -> Result<Vec<u8>, Refused> {
        let payload = [connection.to_le_bytes().to_vec(), self.introduction(incarnation)].concat();
        self.write(&header(3, to), &payload)
    }

    /// The connection the initiator would go on with, and who it is.
    ///
    /// # Errors
    /// When it is no confirmation for `index`, or does not authenticate.
    pub fn read_confirm(&mut self, index: u32, datagram: &[u8]) -> Result<(u64, Introduction), Refused> {
        let payload = self.read(body(3, index, datagram)?)?;
        let (connection, introduction) = take(&payload)?;
        Ok((u64::from_le_bytes(connection), self.identify(introduction)?))
    }

    /// The two keys of `Split()`: initiator to responder, and back.
    pub fn session_keys(&mut self) -> [[u8; 32]; 2] {
        self.state.dangerously_get_raw_split().into()
    }

    /// The session that stands after message 3: this end's `index`, and the other's.
    ///
    /// # Errors
    /// When a primitive is missing.
    pub fn session(&mut self, index: u32, to: u32) -> Result<Session, Refused> {
        let [there, back] = self.session_keys();
        let (send, receive) = if self.initiator { (there, back) } else { (back, there) };
        Session::new(self.suite, [&send, &receive], index, to)
    }
}

/// snow's own primitives, with randomness from a seed.
struct Primitives([u8; 32]);

struct Seeded(ChaCha20Rng);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(ChaCha20Rng::from_seed(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}
