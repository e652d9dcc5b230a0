//! How late it is by the server's event log.

use meshground_shared::NodeSnapshot;

/// The log's monotonic clock, as far as the page can tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct LogClock {
    /// The log's microseconds at the page's millisecond 0.
    offset_us: Option<f64>,
}

impl LogClock {
    /// Learns that the log's clock showed `at_us` not later than the page's `now_ms`.
    /// Delays only ever make the log seem behind, so the greatest offset is the best.
    #[allow(clippy::cast_precision_loss)] // microseconds are exact in an f64 for 285 years
    pub(crate) fn observe(&mut self, at_us: u64, now_ms: f64) {
        let offset = at_us as f64 - now_ms * 1_000.0;
        self.offset_us = Some(self.offset_us.map_or(offset, |known| known.max(offset)));
    }

    /// Microseconds from the page's `now_ms` to the log's `until_us`.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn remaining_us(&self, until_us: u64, now_ms: f64) -> f64 {
        self.offset_us.map_or(0.0, |offset| (until_us as f64 - offset - now_ms * 1_000.0).max(0.0))
    }

    /// For how many more seconds a node is frozen, in microseconds. None where it is not.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and never negative
    pub(crate) fn frozen_us(&self, node: &NodeSnapshot, now_ms: f64) -> Option<u64> {
        let left = self.remaining_us(node.frozen_until_us?, now_ms);
        (left > 0.0).then_some((left / 1e6).ceil() as u64 * 1_000_000)
    }

    /// Microseconds from the log's `since_us` to the page's `now_ms`.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn elapsed_us(&self, since_us: u64, now_ms: f64) -> f64 {
        self.offset_us.map_or(0.0, |offset| (offset + now_ms * 1_000.0 - since_us as f64).max(0.0))
    }
}
