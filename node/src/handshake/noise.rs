//! Builds snow's handshake states for one node.

use rand_chacha::{ChaCha20Rng, rand_core::RngCore};
use snow::{Builder, HandshakeState};

use super::{Established, Refusal, payload::Introduction};
use crate::{
    crypto::{Aead, Resolver, Suite},
    identity::Identity,
    time::WallTime,
};
use meshground_shared::{NodeId, Role};

/// A handshake's first public key; new each time, so it names the handshake.
pub(crate) type Ephemeral = [u8; 32];

/// Everything a node's handshakes have in common.
#[derive(Debug)]
pub(crate) struct Noise {
    psk: Psk,
    identity: Identity,
    incarnation: u64,
    /// One prepared responder per suite. A message that does not authenticate leaves it
    /// as it was, so a flood of them costs no preparation.
    prepared: [Option<Prepared>; 2],
}

/// A handshake state, and the seed everything random in it grows from: with the same
/// messages it can be brought to the same point again.
pub(super) struct Prepared {
    pub(super) state: Box<HandshakeState>,
    pub(super) seed: [u8; 32],
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepared")
    }
}

struct Psk([u8; 32]);

impl std::fmt::Debug for Psk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Psk")
    }
}

impl Noise {
    /// For the node that is `identity`, in its life `incarnation`.
    pub(crate) fn new(psk: [u8; 32], identity: Identity, incarnation: u64) -> Self {
        Self { psk: Psk(psk), identity, incarnation, prepared: [None, None] }
    }

    /// What this node tells of itself in messages 2 and 3.
    pub(super) fn introduction(&self) -> Introduction {
        Introduction { incarnation: self.incarnation, proof: *self.identity.proof() }
    }

    /// A fresh initiator.
    pub(super) fn initiator(&self, suite: Suite, rng: &mut ChaCha20Rng) -> Prepared {
        let seed = seed(rng);
        Prepared { state: Box::new(self.build(suite, Role::Initiator, seed)), seed }
    }

    /// The prepared responder of `suite`, prepared now if need be.
    pub(super) fn responder(&mut self, suite: Suite, rng: &mut ChaCha20Rng) -> &mut HandshakeState {
        if self.prepared[slot(suite)].is_none() {
            let seed = seed(rng);
            let state = Box::new(self.build(suite, Role::Responder, seed));
            self.prepared[slot(suite)] = Some(Prepared { state, seed });
        }
        &mut self.prepared[slot(suite)].as_mut().expect("prepared just above").state
    }

    /// Takes the prepared responder away, after it has read a message 1.
    pub(super) fn take_responder(&mut self, suite: Suite) -> Option<Prepared> {
        self.prepared[slot(suite)].take()
    }

    /// The handshake state that grew from `seed`, as it was before its first message. Only for going through the very
    /// same messages again.
    pub(super) fn same(&self, suite: Suite, role: Role, seed: [u8; 32]) -> HandshakeState {
        self.build(suite, role, seed)
    }

    fn build(&self, suite: Suite, role: Role, seed: [u8; 32]) -> HandshakeState {
        let key = self.identity.noise_key();
        let resolver = Box::new(Resolver::new(seed, key.clone()));
        let params = suite.noise_name().parse().expect("the names are Noise's");
        Builder::with_resolver(params, resolver)
            .psk(0, &self.psk.0)
            .and_then(|builder| builder.local_private_key(key.private()))
            .and_then(|builder| builder.prologue(prologue(suite)))
            .and_then(|builder| match role {
                Role::Initiator => builder.build_initiator(),
                Role::Responder => builder.build_responder(),
            })
            .expect("all that the pattern needs is given")
    }
}

fn seed(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

/// What both ends must agree on beyond the keys: the protocol's version and the suite.
pub(super) const fn prologue(suite: Suite) -> &'static [u8] {
    match suite {
        Suite::Aes256Gcm => b"meshground 1 \x01",
        Suite::ChaCha20Poly1305 => b"meshground 1 \x02",
    }
}

const fn slot(suite: Suite) -> usize {
    match suite {
        Suite::Aes256Gcm => 0,
        Suite::ChaCha20Poly1305 => 1,
    }
}

/// Who is at the other end, if the identity it introduced itself with holds.
pub(super) fn identify(state: &HandshakeState, introduction: &Introduction) -> Result<NodeId, Refusal> {
    let noise_key: &[u8; 32] =
        state.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(Refusal::Crypto)?;
    introduction.proof.verify(noise_key).map_err(|_| Refusal::Identity)
}

/// Turns a finished handshake into session keys: what is said of the session, and its keys.
pub(super) fn establish(state: &mut HandshakeState, suite: Suite, terms: &Terms) -> Established {
    let Terms { peer, incarnation, role, begun, remote_index, connection } = *terms;
    let (initiator_key, responder_key) = state.dangerously_get_raw_split();
    let (send, receive) = match role {
        Role::Initiator => (initiator_key, responder_key),
        Role::Responder => (responder_key, initiator_key),
    };
    Established {
        peer,
        incarnation,
        role,
        begun,
        remote_index,
        connection,
        send_key: Aead::new(suite, &send),
        receive_key: Aead::new(suite, &receive),
    }
}

/// What both ends said in a handshake.
pub(super) struct Terms {
    pub(super) peer: NodeId,
    pub(super) incarnation: u64,
    pub(super) role: Role,
    pub(super) begun: WallTime,
    pub(super) remote_index: u32,
    pub(super) connection: u64,
}
