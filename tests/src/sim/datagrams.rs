//! Datagrams under way, and what the network does to them.

use std::{fmt, net::SocketAddr, time::Duration};

/// What the network does to datagrams. Fractions lie between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// How many vanish.
    pub loss: f64,
    /// How many arrive twice.
    pub duplication: f64,
    /// How many arrive with one bit changed.
    pub corruption: f64,
    /// The least time under way.
    pub delay: Duration,
    /// What may come on top; more than the gap between two datagrams reorders them.
    pub jitter: Duration,
}

impl Faults {
    /// A network that loses nothing and keeps order, a millisecond wide.
    pub const NONE: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        corruption: 0.0,
        delay: Duration::from_millis(1),
        jitter: Duration::ZERO,
    };
}

/// Says of a datagram whether it passes.
pub struct Filter(pub(super) Box<dyn Fn(&Datagram) -> bool>);

impl Filter {
    /// Lets pass what `passes` holds for.
    pub fn new(passes: impl Fn(&Datagram) -> bool + 'static) -> Self {
        Self(Box::new(passes))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

/// A datagram under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Datagram {
    /// The sender's address.
    pub from: SocketAddr,
    /// The receiver's address.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}
