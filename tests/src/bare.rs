//! Another implementation of the wire, written from `PROTOCOL.md`: snow with its own primitives, BLAKE2 and Ed25519,
//! and nothing of `meshground-node` but the type of a node's id.
//!
//! It keeps no timers and takes no decisions: it only puts bytes together and takes them apart.

use blake2::{
    Blake2sMac,
    digest::{Mac, consts::U32},
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
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

/// The bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl From<Error> for Refused {
    fn from(_: Error) -> Self {
        Self
    }
}

/// `H(k, m)` of section 2.
///
/// # Errors
/// When the key is longer than 32 bytes.
pub fn hash(key: &[u8], message: &[u8]) -> Result<[u8; 32], Refused> {
    let mut mac = <Blake2sMac<U32> as Mac>::new_from_slice(key).map_err(|_| Refused)?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().into())
}

fn node_id(entity_key: &[u8]) -> Result<NodeId, Refused> {
    let hash = hash(b"meshground node id 1", entity_key)?;
    Ok(NodeId(u64::from_le_bytes(take(&hash)?.0)))
}

fn binding(noise_key: &[u8]) -> Vec<u8> {
    [&b"meshground noise key binding 1:"[..], noise_key].concat()
}

/// A fixed number of bytes off the front.
fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Refused> {
    bytes.split_first_chunk().map(|(first, rest)| (*first, rest)).ok_or(Refused)
}

/// What grows from a node's seed.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The node's id.
    pub node_id: NodeId,
    /// The Ed25519 public key.
    pub entity_key: [u8; 32],
    /// The X25519 public key.
    pub noise_key: [u8; 32],
    /// The entity key's signature over the Noise key.
    pub proof: [u8; 64],
    noise_private: [u8; 32],
}

impl Keys {
    /// Grows them.
    ///
    /// # Errors
    /// When a primitive is missing.
    pub fn grow(seed: &[u8; 32]) -> Result<Self, Refused> {
        let entity = SigningKey::from_bytes(&hash(seed, b"meshground entity key 1")?);
        let entity_key = entity.verifying_key().to_bytes();
        let noise_private = hash(seed, b"meshground noise key 1")?;
        let mut curve = DefaultResolver.resolve_dh(&DHChoice::Curve25519).ok_or(Refused)?;
        curve.set(&noise_private);
        let noise_key = take(curve.pubkey())?.0;
        let proof = entity.sign(&binding(&noise_key)).to_bytes();
        Ok(Self { node_id: node_id(&entity_key)?, entity_key, noise_key, proof, noise_private })
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
        VerifyingKey::from_bytes(&entity_key)
            .and_then(|key| key.verify_strict(&binding(noise_key), &Signature::from_slice(proof)?))
            .map_err(|_| Refused)?;
        Ok(Introduction { node_id: node_id(&entity_key)?, incarnation: u64::from_le_bytes(incarnation) })
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
        Ok(Session {
            send: cipher(self.suite, &send)?,
            receive: cipher(self.suite, &receive)?,
            index,
            to,
            counter: 0,
        })
    }
}

fn header(kind: u8, to: u32) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], &to.to_le_bytes()].concat()
}

/// What follows the header of a datagram of `kind` for `index`.
fn body(kind: u8, index: u32, datagram: &[u8]) -> Result<&[u8], Refused> {
    datagram.strip_prefix(&*header(kind, index)).ok_or(Refused)
}

/// The suite's cipher with a key. Its nonces are Noise's.
fn cipher(suite: u8, key: &[u8; 32]) -> Result<Box<dyn Cipher>, Refused> {
    let choice = if suite == 1 { CipherChoice::AESGCM } else { CipherChoice::ChaChaPoly };
    let mut cipher = DefaultResolver.resolve_cipher(&choice).ok_or(Refused)?;
    cipher.set(key);
    Ok(cipher)
}

/// A data packet (section 5) under a key.
///
/// # Errors
/// When a primitive is missing.
pub fn seal(suite: u8, key: &[u8; 32], to: u32, counter: u64, frames: &[u8]) -> Result<Vec<u8>, Refused> {
    Ok(seal_with(&*cipher(suite, key)?, to, counter, frames))
}

fn seal_with(cipher: &dyn Cipher, to: u32, counter: u64, frames: &[u8]) -> Vec<u8> {
    let header = [&header(4, to)[..], &counter.to_le_bytes()].concat();
    let mut sealed = vec![0; frames.len() + 16];
    cipher.encrypt(counter, &header, frames, &mut sealed);
    [header, sealed].concat()
}

/// One end of a session (section 5). Keeps no replay window.
pub struct Session {
    send: Box<dyn Cipher>,
    receive: Box<dyn Cipher>,
    index: u32,
    to: u32,
    counter: u64,
}

impl Session {
    /// The next packet.
    pub fn seal(&mut self, frames: &[Frame]) -> Vec<u8> {
        let frames: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        self.counter += 1;
        seal_with(&*self.send, self.to, self.counter - 1, &frames)
    }

    /// The counter and frames of a packet.
    ///
    /// # Errors
    /// When it is no data packet of this session, or altered.
    pub fn open(&self, datagram: &[u8]) -> Result<(u64, Vec<Frame>), Refused> {
        let (counter, sealed) = take(body(4, self.index, datagram)?)?;
        let counter = u64::from_le_bytes(counter);
        let mut frames = vec![0; sealed.len()];
        let len = self.receive.decrypt(counter, &datagram[..16], sealed, &mut frames)?;
        Ok((counter, read_frames(&frames[..len])?))
    }
}

/// A frame, as far as a bare peer cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Type 1.
    Ping {
        /// The sender's clock.
        stamp: u64,
        /// Since when the sender has not heard the receiver.
        silence_ms: u32,
    },
    /// Type 2, with the stamp of the ping it answers.
    Pong(u64),
    /// Type 7.
    Message(Vec<u8>),
    /// One of another type.
    Other(u8),
}

impl Frame {
    /// Its bytes. Of another frame than those this peer sends, only the type.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ping { stamp, silence_ms } => {
                [&[1][..], &stamp.to_le_bytes(), &silence_ms.to_le_bytes()].concat()
            }
            Self::Pong(stamp) => [&[2][..], &stamp.to_le_bytes()].concat(),
            // A length written longer than it needs to be is allowed.
            Self::Message(bytes) => {
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX) | 0x8000_0000;
                [&[7][..], &len.to_be_bytes(), bytes].concat()
            }
            Self::Other(kind) => vec![*kind],
        }
    }
}

/// The frames of a packet.
///
/// # Errors
/// When one of them cannot be read.
pub fn read_frames(mut bytes: &[u8]) -> Result<Vec<Frame>, Refused> {
    let mut frames = Vec::new();
    while let [kind, rest @ ..] = bytes {
        let (frame, rest) = read_frame(*kind, rest)?;
        frames.push(frame);
        bytes = rest;
    }
    Ok(frames)
}

fn read_frame(kind: u8, rest: &[u8]) -> Result<(Frame, &[u8]), Refused> {
    let rest = match kind {
        1 => {
            let (stamp, rest) = take(rest)?;
            let (silence, rest) = take(rest)?;
            let silence_ms = u32::from_le_bytes(silence);
            return Ok((Frame::Ping { stamp: u64::from_le_bytes(stamp), silence_ms }, rest));
        }
        2 => {
            let (stamp, rest) = take(rest)?;
            return Ok((Frame::Pong(u64::from_le_bytes(stamp)), rest));
        }
        7 => {
            let (message, rest) = take_prefixed(rest)?;
            return Ok((Frame::Message(message.to_vec()), rest));
        }
        3 | 4 | 5 | 20 => rest,
        6 => {
            let (more, rest) = take_number(skip_numbers(2, rest)?)?;
            skip_numbers(1 + 2 * more, rest)?
        }
        8 => take_prefixed(skip_numbers(3, rest)?)?.1,
        9 | 10 => take_prefixed(skip_numbers(2, rest)?)?.1,
        11 => skip_numbers(3, rest)?,
        12 | 14 => skip_numbers(2, rest)?,
        13 | 15 => skip_numbers(1, rest)?,
        16 => take_prefixed(take::<18>(rest)?.1)?.1,
        17 | 19 => take_prefixed(rest)?.1,
        18 => take::<8>(rest)?.1,
        _ => return Err(Refused),
    };
    Ok((Frame::Other(kind), rest))
}

/// A number of one to eight bytes (RFC 9000, section 16).
fn take_number(bytes: &[u8]) -> Result<(u64, &[u8]), Refused> {
    let len = 1 << (bytes.first().ok_or(Refused)? >> 6);
    let (number, rest) = bytes.split_at_checked(len).ok_or(Refused)?;
    let mut padded = [0; 8];
    padded[8 - len..].copy_from_slice(number);
    padded[8 - len] &= 0x3f;
    Ok((u64::from_be_bytes(padded), rest))
}

fn skip_numbers(count: u64, mut bytes: &[u8]) -> Result<&[u8], Refused> {
    for _ in 0..count {
        bytes = take_number(bytes)?.1;
    }
    Ok(bytes)
}

fn take_prefixed(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let (len, rest) = take_number(bytes)?;
    rest.split_at_checked(usize::try_from(len).map_err(|_| Refused)?).ok_or(Refused)
}
