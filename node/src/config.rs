//! What a node is told at construction.

use std::{fmt, time::Duration};

use crate::crypto::Suite;

/// Pings are a third of a heartbeat apart at times; no network is that much faster.
const MIN_HEARTBEAT: Duration = Duration::from_millis(1);

/// Everything a node's behaviour depends on, besides its identity and its inputs.
#[derive(Clone)]
pub struct NodeConfig {
    /// The mesh's pre-shared key. Nodes with different ones never answer each other.
    pub psk: [u8; 32],
    /// The cipher suite to offer; `None` picks the fastest for this processor. A node
    /// accepts both from others.
    pub suite: Option<Suite>,
    /// The largest datagram to send, in bytes, from 512 to 65,507. Larger ones are still received.
    pub max_datagram: usize,
    /// How handshakes are paced.
    pub handshake: HandshakeConfig,
    /// How peers' lives are judged.
    pub liveness: LivenessConfig,
}

/// How handshakes are paced.
#[derive(Debug, Clone)]
pub struct HandshakeConfig {
    /// How long a dial is tried before it fails.
    pub budget: Duration,
    /// The first pause before a message is sent again; each later one doubles, to at
    /// most eight times this.
    pub retransmit: Duration,
    /// How many dials are under way at a time; more wait their turn. At least 1.
    pub max_dials: usize,
    /// How many answered but unfinished handshakes are kept; beyond, the oldest goes. At least 1.
    pub max_answers: usize,
}

/// How peers' lives are judged. The three limits count from the last authenticated
/// packet and must rise: `1 ms <= heartbeat < suspect < unreachable < forget`.
#[derive(Debug, Clone)]
pub struct LivenessConfig {
    /// A heartbeat is sent to a peer after this long without sending anything to it.
    pub heartbeat: Duration,
    /// Silence after which a peer is Suspect, and probed three times as often.
    pub suspect: Duration,
    /// Silence after which a peer is Unreachable.
    pub unreachable: Duration,
    /// Silence after which an Unreachable peer's session is dropped.
    pub forget: Duration,
}

/// Why a [`NodeConfig`] cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `max_datagram` is out of range.
    #[error("max_datagram is {0} bytes; it must lie between 512 and 65,507")]
    MaxDatagram(usize),
    /// The liveness limits do not rise.
    #[error("liveness limits must rise: 1 ms <= heartbeat < suspect < unreachable < forget")]
    Liveness,
    /// A handshake figure is zero.
    #[error("handshake.{0} must not be zero")]
    Handshake(&'static str),
}

impl NodeConfig {
    /// The defaults, with this pre-shared key.
    pub fn new(psk: [u8; 32]) -> Self {
        Self {
            psk,
            suite: None,
            max_datagram: 1_452,
            handshake: HandshakeConfig::default(),
            liveness: LivenessConfig::default(),
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first figure that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(512..=65_507).contains(&self.max_datagram) {
            return Err(ConfigError::MaxDatagram(self.max_datagram));
        }
        let live = &self.liveness;
        let rising = [live.heartbeat, live.suspect, live.unreachable, live.forget];
        if live.heartbeat < MIN_HEARTBEAT || !rising.is_sorted_by(|a, b| a < b) {
            return Err(ConfigError::Liveness);
        }
        let shake = &self.handshake;
        for (name, zero) in [
            ("budget", shake.budget.is_zero()),
            ("retransmit", shake.retransmit.is_zero()),
            ("max_dials", shake.max_dials == 0),
            ("max_answers", shake.max_answers == 0),
        ] {
            if zero {
                return Err(ConfigError::Handshake(name));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NodeConfig {
    /// Leaves the pre-shared key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfig")
            .field("suite", &self.suite)
            .field("max_datagram", &self.max_datagram)
            .field("handshake", &self.handshake)
            .field("liveness", &self.liveness)
            .finish_non_exhaustive()
    }
}

impl Default for HandshakeConfig {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(5),
            retransmit: Duration::from_millis(200),
            max_dials: 16,
            max_answers: 1_024,
        }
    }
}

impl Default for LivenessConfig {
    /// A crash is seen within 1.5 s: at worst the peer fell silent right after a
    /// packet, so `unreachable` is the time to detection, give or take scheduling.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(300),
            suspect: Duration::from_millis(700),
            unreachable: Duration::from_millis(1_250),
            forget: Duration::from_mins(5),
        }
    }
}
