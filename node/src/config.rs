//! What a node is told at construction.

use std::{fmt, ops::RangeInclusive, time::Duration};

use crate::crypto::Suite;

/// Pings are a third of a heartbeat apart at times; no network is that much faster.
const MIN_HEARTBEAT: Duration = Duration::from_millis(1);

/// The ages at which keys may be renewed.
const REKEY_INTERVALS: RangeInclusive<Duration> = Duration::from_secs(15)..=Duration::from_hours(24);

/// Fewer packets than this are not worth a handshake.
const MIN_REKEY_PACKETS: u64 = 64;

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
    /// How many bytes may wait for one peer to be sent, from 65,536; 1 MiB by default. Beyond, nothing more is taken
    /// for it until less than half waits.
    pub max_queued: usize,
    /// How many peers it holds sessions with before it takes no strangers' handshakes any more; at least 1, and 4,096 by
    /// default. What it dials itself comes on top.
    pub max_peers: usize,
    /// How handshakes are paced.
    pub handshake: HandshakeConfig,
    /// How peers' lives are judged.
    pub liveness: LivenessConfig,
    /// When a session's keys are renewed.
    pub rekey: RekeyConfig,
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

/// How peers' lives are judged. The three limits count from the last authenticated packet and must rise:
/// `1 ms <= heartbeat`, `2 heartbeat <= suspect < unreachable < forget`. Closer to the heartbeat, a single lost packet would
/// make a peer Suspect.
///
/// These are a small mesh's figures; a node with many peers stretches them, see [`for_peers`](Self::for_peers).
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
    /// How many datagrams a second all nodes of a full mesh together may spend on heartbeats, at least 1: all that they
    /// send while nobody has anything to say. Above the size at which `heartbeat` would need more, intervals grow with it.
    pub budget: u32,
}

/// When a session's keys are renewed, by a fresh handshake while data flows on the old ones. Whichever comes first
/// counts. The fewer packets and the less time a key sees, the less one that leaks gives away.
#[derive(Debug, Clone)]
pub struct RekeyConfig {
    /// The age at which the end that began the session renews its keys, less up to a fifth, from 15 s to 24 h; minutes
    /// are sane. At five quarters of it the other end takes over. Sessions begun within 5 s of each other by two ends
    /// are taken to have crossed, and clocks may differ by 10 s; hence the least.
    pub interval: Duration,
    /// An end that has sealed this many packets under a key renews it, at least 64; 2^20 and more are sane. Never
    /// later than at half of what a key may seal: 2^35 cipher blocks of 16 bytes in datagrams of the greatest length.
    pub packets: u64,
}

/// Why a [`NodeConfig`] or a [`MeshOsConfig`](crate::MeshOsConfig) cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `max_datagram` is out of range.
    #[error("max_datagram is {0} bytes; it must lie between 512 and 65,507")]
    MaxDatagram(usize),
    /// `max_queued` is out of range.
    #[error("max_queued is {0} bytes; it must be at least 65,536")]
    MaxQueued(usize),
    /// `max_peers` is zero.
    #[error("max_peers must not be zero")]
    MaxPeers,
    /// The liveness limits do not rise.
    #[error(
        "liveness limits must rise: 1 ms <= heartbeat, twice that <= suspect < unreachable < forget, and budget >= 1"
    )]
    Liveness,
    /// A handshake figure is zero.
    #[error("handshake.{0} must not be zero")]
    Handshake(&'static str),
    /// A time in [`MeshOsConfig`](crate::MeshOsConfig) is too short for anything to be done in it.
    #[error("meshos.{0} must be at least 1 ms; its default suits most")]
    MeshOs(&'static str),
    /// A figure of [`RekeyConfig`] is out of range.
    #[error("rekey.interval must lie between 15 s and 24 h, and rekey.packets must be at least 64")]
    Rekey,
}

impl NodeConfig {
    /// The defaults, with this pre-shared key.
    pub fn new(psk: [u8; 32]) -> Self {
        Self {
            psk,
            suite: None,
            max_datagram: 1_452,
            max_queued: 1 << 20,
            max_peers: 4_096,
            handshake: HandshakeConfig::default(),
            liveness: LivenessConfig::default(),
            rekey: RekeyConfig::default(),
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
        // The longest message there is must fit.
        if self.max_queued < 65_536 {
            return Err(ConfigError::MaxQueued(self.max_queued));
        }
        if self.max_peers == 0 {
            return Err(ConfigError::MaxPeers);
        }
        let live = &self.liveness;
        let rising = [live.suspect, live.unreachable, live.forget].is_sorted_by(|a, b| a < b);
        let apart = live.heartbeat.checked_mul(2).is_some_and(|least| least <= live.suspect);
        if live.heartbeat < MIN_HEARTBEAT || !rising || !apart || live.budget == 0 {
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
        if !REKEY_INTERVALS.contains(&self.rekey.interval) || self.rekey.packets < MIN_REKEY_PACKETS {
            return Err(ConfigError::Rekey);
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
            .field("rekey", &self.rekey)
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

impl Default for RekeyConfig {
    /// As `WireGuard` does by time; by count, what a fast sender seals in seconds.
    fn default() -> Self {
        Self { interval: Duration::from_mins(2), packets: 1 << 24 }
    }
}

impl Default for LivenessConfig {
    /// A crash is seen within 1.5 s: at worst the peer fell silent right after a
    /// packet, so `unreachable` is the time to detection, give or take scheduling. The budget is what a full mesh of 64
    /// spends at most: 16,800 datagrams a second.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(300),
            suspect: Duration::from_millis(700),
            unreachable: Duration::from_millis(1_250),
            forget: Duration::from_mins(5),
            budget: 64 * 63 * 10 / 3 * 5 / 4,
        }
    }
}
