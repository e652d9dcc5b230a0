//! A command as operators sign it and as it travels.
//!
//! A command cannot be signed before it is complete, and a break-glass command is not complete without the blast radius it
//! was shown: [`IceProposal`] has no way to a signature but over [`SimulatedIce`].

use std::fmt;

use meshground_shared::{AdminVerb, BlastRadius, IceVerb, Verb};
use serde::{Deserialize, Serialize};

use super::{ClusterPicture, OperatorKey, RadiusHash, simulate};
use crate::{time::WallTime, wire};

const SIGNATURE_LABEL: &[u8] = b"meshground command 1:";

/// The first byte of an encoded command.
const VERSION: u8 = 1;

/// The longest encoded command, in bytes.
pub const MAX_COMMAND: usize = 8 * 1_024;

/// The most signatures on a command.
pub const MAX_SIGNATURES: usize = 16;

/// What makes a command unlike any other; drawn at random, used once. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; 16]);

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

/// Bytes are not an encoded command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// More than 8 KiB.
    #[error("a command has at most {MAX_COMMAND} bytes")]
    TooLong,
    /// Its first byte names a version that is not spoken here.
    #[error("the command is of an unknown version; sign it in version {VERSION}")]
    Version,
    /// Not the layout of a command; or an admin command with a blast radius.
    #[error("not the layout of a command; give what `SignedCommand::encode` gives, and all of it")]
    Malformed,
}

/// An admin command that nobody has signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminCommand(SignedCommand);

impl AdminCommand {
    /// Says what is to be done. It holds for 300 s from `issued`; `nonce` must never have been used.
    pub fn new(verb: AdminVerb, issued: WallTime, nonce: Nonce) -> Self {
        Self(SignedCommand::unsigned(Verb::Admin(verb), issued, nonce, None))
    }

    /// Signs it.
    pub fn sign(self, key: &OperatorKey) -> SignedCommand {
        self.0.cosign(key)
    }

    /// Leaves it unsigned, for clusters without operators. Those that have any refuse it.
    pub fn unsigned(self) -> SignedCommand {
        self.0
    }
}

/// A break-glass command that somebody thinks of. It can be signed only together with what it would do:
///
/// ```
/// use meshground_node::{WallTime, admin::{IceProposal, Nonce, OperatorKey}};
/// use meshground_shared::{BlastRadius, IceVerb};
///
/// # let key = OperatorKey::demo(1).unwrap();
/// let proposal = IceProposal::new(IceVerb::ThawCluster);
/// proposal.simulated(BlastRadius::default()).sign(WallTime(1), Nonce([1; 16]), &key);
/// ```
///
/// Without that there is no way to a signature, nor to a command that nobody has signed:
///
/// ```compile_fail,E0599
/// # use meshground_node::{WallTime, admin::{IceProposal, Nonce, OperatorKey}};
/// # use meshground_shared::IceVerb;
/// # let key = OperatorKey::demo(1).unwrap();
/// IceProposal::new(IceVerb::ThawCluster).sign(WallTime(1), Nonce([1; 16]), &key);
/// ```
///
/// ```compile_fail,E0599
/// # use meshground_node::{WallTime, admin::{IceProposal, Nonce}};
/// # use meshground_shared::IceVerb;
/// IceProposal::new(IceVerb::ThawCluster).unsigned(WallTime(1), Nonce([1; 16]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceProposal(IceVerb);

impl IceProposal {
    /// Says what is to be done.
    pub fn new(verb: IceVerb) -> Self {
        Self(verb)
    }

    /// Looks at what it would do now; nothing if what it names is not there.
    pub fn simulate(self, picture: &ClusterPicture) -> Option<SimulatedIce> {
        let radius = simulate(&self.0, picture)?;
        Some(self.simulated(radius))
    }

    /// Takes the blast radius from whoever looked, such as a server that was asked to. Nodes compare it with their own.
    pub fn simulated(self, radius: BlastRadius) -> SimulatedIce {
        SimulatedIce { verb: self.0, radius }
    }
}

/// A break-glass command together with what it would do. Nobody has signed it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedIce {
    verb: IceVerb,
    radius: BlastRadius,
}

impl SimulatedIce {
    /// What it would do, for whoever is to sign.
    pub fn radius(&self) -> &BlastRadius {
        &self.radius
    }

    /// Signs it as the first operator; the others [`cosign`](SignedCommand::cosign). It holds for 300 s from `issued`;
    /// `nonce` must never have been used.
    pub fn sign(self, issued: WallTime, nonce: Nonce, key: &OperatorKey) -> SignedCommand {
        self.unsigned(issued, nonce).cosign(key)
    }

    /// Leaves it unsigned, for clusters without operators. Those that have any refuse it.
    pub fn unsigned(self, issued: WallTime, nonce: Nonce) -> SignedCommand {
        let radius = RadiusHash::of(&self.radius);
        SignedCommand::unsigned(Verb::Ice(self.verb), issued, nonce, Some(radius))
    }
}

/// A complete command with the signatures it has so far. Only its layout is certain; what the signatures are worth is for an
/// [`AdminVerifier`](super::AdminVerifier) to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCommand {
    verb: Verb,
    wire: Wire,
}

/// What travels, after the version byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// The encoded verb. Kept as it came, for these are the bytes that were signed.
    action: Vec<u8>,
    issued_us: u64,
    nonce: [u8; 16],
    radius: Option<[u8; 32]>,
    signatures: Vec<WireSignature>,
}

/// A signature in the two halves RFC 8032 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct WireSignature {
    key: [u8; 32],
    r: [u8; 32],
    s: [u8; 32],
}

impl SignedCommand {
    fn unsigned(verb: Verb, issued: WallTime, nonce: Nonce, radius: Option<RadiusHash>) -> Self {
        let action = postcard::to_allocvec(&verb).expect("a verb of numbers and names can be encoded");
        let radius = radius.map(|radius| radius.0);
        let wire = Wire { action, issued_us: issued.0, nonce: nonce.0, radius, signatures: Vec::new() };
        Self { verb, wire }
    }

    /// Adds an operator's signature. One who has signed already, or a seventeenth, adds nothing.
    #[must_use]
    pub fn cosign(mut self, key: &OperatorKey) -> Self {
        let public = key.public_key();
        let signed = self.wire.signatures.iter().any(|signature| signature.key == public);
        if !signed && self.wire.signatures.len() < MAX_SIGNATURES {
            let signature = key.sign(&self.signed_bytes());
            let (r, s) = halves(&signature);
            self.wire.signatures.push(WireSignature { key: public, r, s });
        }
        self
    }

    /// What is to be done.
    pub fn verb(&self) -> &Verb {
        &self.verb
    }

    /// When, by its issuer's wall clock.
    pub fn issued(&self) -> WallTime {
        WallTime(self.wire.issued_us)
    }

    /// By what the same command is known everywhere.
    pub fn nonce(&self) -> Nonce {
        Nonce(self.wire.nonce)
    }

    /// The blast radius that whoever signed was shown; none in an admin command.
    pub fn radius(&self) -> Option<RadiusHash> {
        self.wire.radius.map(RadiusHash)
    }

    /// Keys with their signatures, in the order they were added.
    pub(super) fn signatures(&self) -> impl ExactSizeIterator<Item = ([u8; 32], [u8; 64])> {
        self.wire.signatures.iter().map(|signature| {
            let mut whole = [0; 64];
            whole[..32].copy_from_slice(&signature.r);
            whole[32..].copy_from_slice(&signature.s);
            (signature.key, whole)
        })
    }

    /// Whether operators signed the same, whoever they are.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.signed_bytes() == other.signed_bytes()
    }

    /// What each operator signs: domain tag, issue, nonce, blast radius, action. All but the last are of fixed length.
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        let mut message = SIGNATURE_LABEL.to_vec();
        message.extend_from_slice(&self.wire.issued_us.to_le_bytes());
        message.extend_from_slice(&self.wire.nonce);
        message.push(u8::from(self.wire.radius.is_some()));
        message.extend_from_slice(self.wire.radius.as_ref().map_or(&[], <[u8; 32]>::as_slice));
        message.extend_from_slice(&self.wire.action);
        message
    }

    /// The command as it travels, at most 8 KiB.
    pub fn encode(&self) -> Vec<u8> {
        wire::versioned(VERSION, &self.wire)
    }

    /// Reads a command. Its signatures are not checked yet.
    ///
    /// # Errors
    ///
    /// When the bytes are too many, of another version, or not laid out as a command.
    pub fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        if bytes.len() > MAX_COMMAND {
            return Err(CommandError::TooLong);
        }
        let Some((&VERSION, rest)) = bytes.split_first() else {
            return Err(if bytes.is_empty() { CommandError::Malformed } else { CommandError::Version });
        };
        let body: Wire = wire::decode(rest).map_err(|_| CommandError::Malformed)?;
        let verb: Verb = wire::decode(&body.action).map_err(|_| CommandError::Malformed)?;
        let shown_too_much = matches!(verb, Verb::Admin(_)) && body.radius.is_some();
        if shown_too_much || body.signatures.len() > MAX_SIGNATURES {
            return Err(CommandError::Malformed);
        }
        Ok(Self { verb, wire: body })
    }
}

fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (r, s) = signature.split_at(32);
    let half = |half: &[u8]| half.try_into().expect("half of 64 bytes");
    (half(r), half(s))
}

#[cfg(test)]
impl SignedCommand {
    /// A break-glass command as nobody can build it: without a simulation.
    pub(super) fn unsimulated(verb: IceVerb, issued: WallTime, nonce: Nonce) -> Self {
        Self::unsigned(Verb::Ice(verb), issued, nonce, None)
    }

    /// Alters a bit of a signature.
    pub(super) fn spoil(mut self, signature: usize) -> Self {
        self.wire.signatures[signature].s[0] ^= 1;
        self
    }

    /// Puts a signature there twice.
    pub(super) fn repeat(mut self, signature: usize) -> Self {
        self.wire.signatures.push(self.wire.signatures[signature]);
        self
    }
}

#[cfg(test)]
pub(super) mod tests {
    use meshground_shared::{DaemonId, GroupId, MigrationId, NodeId};

    use super::*;

    /// One of every verb.
    pub(in crate::admin) fn every_verb() -> Vec<Verb> {
        let node = NodeId(u64::MAX);
        let group = GroupId(2);
        let migration = MigrationId(4);
        let admin = [
            AdminVerb::Drain { node },
            AdminVerb::EnterMaintenance { node },
            AdminVerb::ExitMaintenance { node },
            AdminVerb::Cordon { node },
            AdminVerb::Uncordon { node },
            AdminVerb::DropReplicas { node },
            AdminVerb::InvalidatePlacement { group },
            AdminVerb::RestartAllDaemons { node },
            AdminVerb::ClearAvoidList { node },
        ];
        let ice = [
            IceVerb::FreezeCluster { ttl_ms: u64::MAX },
            IceVerb::ThawCluster,
            IceVerb::FlushAvoidLists,
            IceVerb::ForceEvictReplica { group, index: u32::MAX },
            IceVerb::ForceRestartDaemon { daemon: DaemonId(3) },
            IceVerb::ForceCutover { migration },
            IceVerb::KillMigration { migration },
        ];
        admin.into_iter().map(Verb::Admin).chain(ice.into_iter().map(Verb::Ice)).collect()
    }

    fn command(verb: Verb) -> SignedCommand {
        let (issued, nonce, key) = (WallTime(5), Nonce([7; 16]), OperatorKey::demo(1).unwrap());
        match verb {
            Verb::Admin(verb) => AdminCommand::new(verb, issued, nonce).sign(&key),
            Verb::Ice(verb) => {
                IceProposal::new(verb).simulated(BlastRadius::default()).sign(issued, nonce, &key)
            }
        }
    }

    #[test]
    fn every_verb_survives_the_round_trip() {
        let mut names = std::collections::BTreeSet::new();
        for verb in every_verb() {
            let command = command(verb.clone()).cosign(&OperatorKey::demo(2).unwrap());
            let read = SignedCommand::parse(&command.encode()).unwrap();
            assert_eq!(read, command);
            assert_eq!(read.verb(), &verb);
            assert_eq!(read.radius().is_some(), matches!(verb, Verb::Ice(_)));
            assert!(names.insert(verb.name()));
        }
        assert_eq!(names.len(), 16);
    }

    #[test]
    fn verbs_are_numbered_as_the_protocol_says() {
        for (number, verb) in every_verb().into_iter().enumerate() {
            let (kind, number) = if number < 9 { (0, number) } else { (1, number - 9) };
            let action = postcard::to_allocvec(&verb).unwrap();
            assert_eq!((action[0], usize::from(action[1])), (kind, number), "{verb:?}");
        }
        let drain = postcard::to_allocvec(&every_verb()[0]).unwrap();
        assert_eq!(drain, [[0, 0, 16].as_slice(), b"ffffffffffffffff"].concat());
    }

    #[test]
    fn a_command_is_laid_out_as_the_protocol_says() {
        let command = command(Verb::Ice(IceVerb::ThawCluster));
        let (key, signature) = command.signatures().next().unwrap();
        let radius = RadiusHash::of(&BlastRadius::default());
        let expected: [&[u8]; 7] = [&[1, 2, 1, 1, 5], &[7; 16], &[1], &radius.0, &[1], &key, &signature];
        assert_eq!(command.encode(), expected.concat());
    }

    #[test]
    fn what_is_signed_is_laid_out_as_the_protocol_says() {
        let command = command(Verb::Ice(IceVerb::ThawCluster));
        let radius = RadiusHash::of(&BlastRadius::default());
        let expected = [
            b"meshground command 1:".as_slice(),
            &[5, 0, 0, 0, 0, 0, 0, 0],
            &[7; 16],
            &[1],
            &radius.0,
            &[1, 1],
        ];
        assert_eq!(command.signed_bytes(), expected.concat());
    }

    #[test]
    fn the_longest_command_fits() {
        let mut command =
            command(Verb::Ice(IceVerb::ForceEvictReplica { group: GroupId(1), index: u32::MAX }));
        for number in 0..2 * u8::try_from(MAX_SIGNATURES).unwrap() {
            command = command.cosign(&OperatorKey::from_seed("n", [number; 32]));
        }
        assert_eq!(command.signatures().len(), MAX_SIGNATURES);
        assert!(command.encode().len() <= MAX_COMMAND);
        assert_eq!(SignedCommand::parse(&command.encode()), Ok(command.clone()));
        assert_eq!(SignedCommand::parse(&command.repeat(0).encode()), Err(CommandError::Malformed));
    }

    #[test]
    fn nobody_signs_twice() {
        let once = command(Verb::Ice(IceVerb::ThawCluster));
        assert_eq!(once.clone().cosign(&OperatorKey::demo(1).unwrap()), once);
    }

    #[test]
    fn what_is_cut_short_or_too_long_or_of_another_version_is_refused() {
        let bytes = command(Verb::Ice(IceVerb::FlushAvoidLists)).encode();
        for len in 0..bytes.len() {
            assert_eq!(SignedCommand::parse(&bytes[..len]), Err(CommandError::Malformed), "{len}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(SignedCommand::parse(&longer), Err(CommandError::Malformed));
        assert_eq!(SignedCommand::parse(&[1; MAX_COMMAND + 1]), Err(CommandError::TooLong));
        assert_eq!(SignedCommand::parse(&[&[2], &bytes[1..]].concat()), Err(CommandError::Version));
    }

    #[test]
    fn an_admin_command_with_a_blast_radius_is_refused() {
        let mut command = command(Verb::Admin(AdminVerb::Drain { node: NodeId(1) }));
        command.wire.radius = Some([1; 32]);
        assert_eq!(SignedCommand::parse(&command.encode()), Err(CommandError::Malformed));
    }

    #[test]
    fn altered_bits_never_panic_and_whatever_is_read_can_be_written() {
        let operators = super::super::Operators::demo();
        for verb in every_verb() {
            let bytes = command(verb).encode();
            for bit in 0..bytes.len() * 8 {
                let mut altered = bytes.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                if let Ok(read) = SignedCommand::parse(&altered) {
                    assert_eq!(SignedCommand::parse(&read.encode()).as_ref(), Ok(&read));
                    assert!(
                        read.signatures().any(|(key, signature)| {
                            operators.name(&key).is_none()
                                || crate::identity::verify(&key, &read.signed_bytes(), &signature).is_err()
                        }) || read.signatures().len() == 0,
                        "bit {bit} can be altered"
                    );
                }
            }
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        use rand_chacha::{
            ChaCha20Rng,
            rand_core::{RngCore, SeedableRng},
        };
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        for _ in 0..20_000 {
            let mut bytes = vec![0; usize::try_from(rng.next_u32() % 300).unwrap()];
            rng.fill_bytes(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            // Lengths that are likely to be right take the reading further in.
            if rng.next_u32() % 2 == 0
                && let Some(len) = bytes.get_mut(1)
            {
                *len %= 24;
            }
            let _ = SignedCommand::parse(&bytes);
        }
    }
}
