//! The end that begins.

use std::fmt;

use meshground_shared::{NodeId, Role};
use rand_chacha::ChaCha20Rng;
use snow::HandshakeState;

use super::{
    Ephemeral, Established, Noise, Refusal,
    noise::{Prepared, Terms, establish, identify},
    payload::{Introduction, Opening},
};
use crate::{
    crypto::Suite,
    packet::{
        CONFIRM_LEN, INITIATION_LEN, INITIATION_NOISE_LEN, RESPONSE_NOISE_LEN, confirm_header,
        initiation_header,
    },
    time::WallTime,
};

/// Has sent message 1 and waits for message 2.
pub(crate) struct Initiator {
    prepared: Prepared,
    suite: Suite,
    opening: Opening,
    initiation: [u8; INITIATION_LEN],
}

impl Initiator {
    /// Begins a handshake; `index` is where its answers shall go.
    pub(crate) fn begin(
        noise: &Noise,
        suite: Suite,
        index: u32,
        begun: WallTime,
        rng: &mut ChaCha20Rng,
    ) -> Self {
        let mut prepared = noise.initiator(suite, rng);
        let header = initiation_header(suite);
        let mut initiation = [0; INITIATION_LEN];
        initiation[..header.len()].copy_from_slice(&header);
        let opening = Opening { begun, sender_index: index };
        write_initiation(&mut prepared.state, opening, &mut initiation[header.len()..]);
        Self { prepared, suite, opening, initiation }
    }

    /// Goes back to where it had sent message 1 and read nothing: an answer that authenticates but cannot be taken has
    /// moved snow's state on.
    pub(crate) fn restore(&mut self, noise: &Noise) {
        *self.prepared.state = noise.same(self.suite, Role::Initiator, self.prepared.seed);
        let mut again = [0; INITIATION_NOISE_LEN];
        write_initiation(&mut self.prepared.state, self.opening, &mut again);
        debug_assert_eq!(self.initiation[INITIATION_LEN - INITIATION_NOISE_LEN..], again, "the same message");
    }

    /// Message 1, ready to send, as often as need be.
    pub(crate) fn initiation(&self) -> &[u8; INITIATION_LEN] {
        &self.initiation
    }

    /// The ephemeral key in message 1.
    pub(crate) fn ephemeral(&self) -> &Ephemeral {
        let noise = &self.initiation[INITIATION_LEN - INITIATION_NOISE_LEN..];
        noise.first_chunk().expect("message 1 begins with its ephemeral")
    }

    /// Reads message 2. On success the session stands and message 3 is ready to send; it names the `connection` that
    /// this end would go on with.
    pub(crate) fn read_response(
        &mut self,
        noise: &Noise,
        message: &[u8; RESPONSE_NOISE_LEN],
        connection: impl FnOnce(NodeId) -> u64,
    ) -> Result<(Established, [u8; CONFIRM_LEN]), Refusal> {
        let mut payload = [0; RESPONSE_NOISE_LEN];
        let len = self.prepared.state.read_message(message, &mut payload).map_err(|_| Refusal::Crypto)?;
        let (remote_index, introduction) =
            Introduction::decode_after(&payload[..len]).ok_or(Refusal::Crypto)?;
        let remote_index = u32::from_le_bytes(remote_index);
        let peer = identify(&self.prepared.state, &introduction)?;
        let connection = connection(peer);

        let mut closing = [0; 8 + Introduction::LEN];
        closing[..8].copy_from_slice(&connection.to_le_bytes());
        closing[8..].copy_from_slice(&noise.introduction().encode());
        let header = confirm_header(remote_index);
        let mut confirm = [0; CONFIRM_LEN];
        confirm[..header.len()].copy_from_slice(&header);
        self.prepared
            .state
            .write_message(&closing, &mut confirm[header.len()..])
            .expect("the buffer has the message's fixed length");
        let terms = Terms {
            peer,
            incarnation: introduction.incarnation,
            role: Role::Initiator,
            begun: self.opening.begun,
            remote_index,
            connection,
        };
        Ok((establish(&mut self.prepared.state, self.suite, &terms), confirm))
    }
}

fn write_initiation(state: &mut HandshakeState, opening: Opening, out: &mut [u8]) {
    state.write_message(&opening.encode(), out).expect("the buffer has the message's fixed length");
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("suite", &self.suite).finish_non_exhaustive()
    }
}
