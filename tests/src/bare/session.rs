//! Data packets under a session's keys (section 5).

use snow::{
    params::CipherChoice,
    resolvers::{CryptoResolver, DefaultResolver},
    types::Cipher,
};

use super::{Frame, Refused, read_frames, take};

/// One end of a session. Keeps no replay window.
pub struct Session {
    send: Box<dyn Cipher>,
    receive: Box<dyn Cipher>,
    index: u32,
    to: u32,
}

impl Session {
    /// The session of these two keys, sending and receiving, under this end's `index` and the other's.
    pub(super) fn new(
        suite: u8,
        [send, receive]: [&[u8; 32]; 2],
        index: u32,
        to: u32,
    ) -> Result<Self, Refused> {
        Ok(Self { send: cipher(suite, send)?, receive: cipher(suite, receive)?, index, to })
    }

    /// Packet `number`.
    pub fn seal(&self, number: u64, frames: &[Frame]) -> Vec<u8> {
        let frames: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        seal_with(&*self.send, self.to, number, &frames)
    }

    /// The number and frames of a packet.
    ///
    /// # Errors
    /// When it is no data packet of this session, or altered.
    pub fn open(&self, datagram: &[u8]) -> Result<(u64, Vec<Frame>), Refused> {
        let (number, sealed) = take(body(4, self.index, datagram)?)?;
        let number = u64::from_le_bytes(number);
        let mut frames = vec![0; sealed.len()];
        let len = self.receive.decrypt(number, &datagram[..16], sealed, &mut frames)?;
        Ok((number, read_frames(&frames[..len])?))
    }
}

pub(super) fn header(kind: u8, to: u32) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], &to.to_le_bytes()].concat()
}

/// What follows the header of a datagram of `kind` for `index`.
pub(super) fn body(kind: u8, index: u32, datagram: &[u8]) -> Result<&[u8], Refused> {
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
pub fn seal(suite: u8, key: &[u8; 32], to: u32, number: u64, frames: &[u8]) -> Result<Vec<u8>, Refused> {
    Ok(seal_with(&*cipher(suite, key)?, to, number, frames))
}

fn seal_with(cipher: &dyn Cipher, to: u32, number: u64, frames: &[u8]) -> Vec<u8> {
    let header = [&header(4, to)[..], &number.to_le_bytes()].concat();
    let mut sealed = vec![0; frames.len() + 16];
    cipher.encrypt(number, &header, frames, &mut sealed);
    [header, sealed].concat()
}
