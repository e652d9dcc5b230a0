//! What a node tells a daemon.

use std::time::Duration;

/// Something a node tells a daemon, besides events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// It ends as soon as it has dealt with this; within `grace`, or it is dropped.
    Shutdown {
        /// How long it may take.
        grace: Duration,
    },
    /// What runs on its node moves away: it finishes what it has begun.
    DrainStart {
        /// How long that may take.
        grace: Duration,
    },
    /// The node stays, and so does it.
    DrainFinish,
    /// Events come faster than it works them off.
    BackpressureOn {
        /// How full its queue is, in thousandths.
        level: u16,
    },
    /// It has caught up.
    BackpressureOff,
}
