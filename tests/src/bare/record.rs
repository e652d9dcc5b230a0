//! Records (section 8).

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use meshground_node::NodeId;

use super::{Keys, Refused, keys::node_id, take};

const SIGNATURE: usize = 64;
const MAX_BODY: usize = 16_384;
const MAX_LINKS: usize = 2_048;
const MAX_LIFETIME: u32 = 86_400;

/// What a node says to everyone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 1 capabilities, 2 links, 3 inventory, 4 groups.
    pub kind: u8,
    /// In which life its origin says it.
    pub incarnation: u64,
    /// Of two of one life, the higher is newer.
    pub version: u64,
    /// The origin's wall time in Unix µs.
    pub issued: u64,
    /// In seconds.
    pub lifetime: u32,
    /// By kind.
    pub body: Vec<u8>,
}

impl Record {
    /// As it travels, signed by its origin. Whether it is sound is not looked at.
    pub fn sign(&self, origin: &Keys) -> Vec<u8> {
        let said = [
            &[self.kind][..],
            &origin.entity_key,
            &self.incarnation.to_le_bytes(),
            &self.version.to_le_bytes(),
            &self.issued.to_le_bytes(),
            &self.lifetime.to_le_bytes(),
            &self.body,
        ]
        .concat();
        let signature = origin.entity.sign(&signed(&said)).to_bytes();
        [&said[..], &signature].concat()
    }

    /// Who said it, and what.
    ///
    /// # Errors
    /// When its origin did not sign it, or it is none of the kinds, lifetimes and lengths there are.
    pub fn verify(bytes: &[u8]) -> Result<(NodeId, Self), Refused> {
        let (said, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(Refused)?;
        let ([kind], rest) = take(said)?;
        let (entity_key, rest) = take(rest)?;
        VerifyingKey::from_bytes(&entity_key)
            .and_then(|key| key.verify_strict(&signed(said), &Signature::from_bytes(signature)))
            .map_err(|_| Refused)?;
        let (incarnation, rest) = take(rest)?;
        let (version, rest) = take(rest)?;
        let (issued, rest) = take(rest)?;
        let (lifetime, body) = take(rest)?;
        let [incarnation, version, issued] = [incarnation, version, issued].map(u64::from_le_bytes);
        let lifetime = u32::from_le_bytes(lifetime);
        let is_sound = (1..=4).contains(&kind)
            && (1..=MAX_LIFETIME).contains(&lifetime)
            && body.len() <= MAX_BODY
            && match kind {
                1 => Abilities::read(body).is_ok(),
                2 => read_links(body).is_ok(),
                _ => true,
            };
        let record = Self { kind, incarnation, version, issued, lifetime, body: body.to_vec() };
        if is_sound { Ok((node_id(&entity_key)?, record)) } else { Err(Refused) }
    }
}

fn signed(said: &[u8]) -> Vec<u8> {
    [b"meshground record 1:", said].concat()
}

/// What a record of kind 1 says, as it stands there: byte strings that rise strictly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Words.
    pub tags: Vec<Vec<u8>>,
    /// Words with values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Abilities {
    /// The body of a record. Lengths are cut to what can be written; whether it is sound is not looked at.
    pub fn write(&self) -> Vec<u8> {
        let short = |len: usize| u8::try_from(len).unwrap_or(u8::MAX);
        let mut out = vec![short(self.tags.len())];
        for tag in &self.tags {
            out.push(short(tag.len()));
            out.extend_from_slice(tag);
        }
        out.push(short(self.entries.len()));
        for (key, value) in &self.entries {
            out.push(short(key.len()));
            out.extend_from_slice(key);
            out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend_from_slice(value);
        }
        out
    }

    /// From the body of a record. An empty one takes back what was said before.
    ///
    /// # Errors
    /// When it breaks a rule of section 8.
    pub fn read(body: &[u8]) -> Result<Self, Refused> {
        let mut read = Self::default();
        if body.is_empty() {
            return Ok(read);
        }
        let ([tags], mut rest) = take(body)?;
        for _ in 0..tags {
            let (tag, after) = take_word(rest)?;
            read.tags.push(tag.to_vec());
            rest = after;
        }
        let ([entries], mut rest) = take(rest)?;
        for _ in 0..entries {
            let (key, after) = take_word(rest)?;
            let (len, after) = take(after)?;
            let len = u16::from_le_bytes(len);
            let (value, after) = after.split_at_checked(len.into()).ok_or(Refused)?;
            if len > 256 {
                return Err(Refused);
            }
            read.entries.push((key.to_vec(), value.to_vec()));
            rest = after;
        }
        let rises = read.tags.is_sorted_by(|a, b| a < b) && read.entries.is_sorted_by(|a, b| a.0 < b.0);
        let is_text = |bytes: &Vec<u8>| str::from_utf8(bytes).is_ok();
        let texts =
            read.tags.iter().chain(read.entries.iter().flat_map(|(key, value)| [key, value])).all(is_text);
        let is_sound = rest.is_empty() && tags <= 64 && entries <= 64 && rises && texts;
        if is_sound { Ok(read) } else { Err(Refused) }
    }
}

/// A tag or key with its length in front.
fn take_word(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let ([len], rest) = take(bytes)?;
    if !(1..=64).contains(&len) {
        return Err(Refused);
    }
    rest.split_at_checked(len.into()).ok_or(Refused)
}

/// The body of a record of kind 2, in the order given.
pub fn links(ids: &[NodeId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.0.to_le_bytes()).collect()
}

/// The nodes that a record of kind 2 names.
///
/// # Errors
/// When they are too many, or do not rise strictly.
pub fn read_links(body: &[u8]) -> Result<Vec<NodeId>, Refused> {
    let (ids, []) = body.as_chunks() else { return Err(Refused) };
    let ids: Vec<NodeId> = ids.iter().map(|id| NodeId(u64::from_le_bytes(*id))).collect();
    let is_sound = ids.len() <= MAX_LINKS && ids.is_sorted_by(|a, b| a < b);
    if is_sound { Ok(ids) } else { Err(Refused) }
}
