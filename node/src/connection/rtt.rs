//! How long a packet and its acknowledgement take (RFC 9002, section 5).

use std::time::Duration;

use super::received::MAX_ACK_DELAY;

/// What is assumed before the first sample: wide of any mesh on one machine or in one building, and near enough to
/// recover soon where the first packet is lost.
const INITIAL: Duration = Duration::from_millis(100);

/// The least that timers can tell apart (RFC 9002, section 6.1.2).
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

/// The estimate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rtt {
    latest: Duration,
    smoothed: Option<Duration>,
    variation: Duration,
    least: Duration,
}

impl Default for Rtt {
    fn default() -> Self {
        Self { latest: INITIAL, smoothed: None, variation: INITIAL / 2, least: Duration::MAX }
    }
}

impl Rtt {
    /// A packet was acknowledged `sample` after it was sent; the other end says that it waited for `delay` of that.
    pub(crate) fn measured(&mut self, sample: Duration, delay: Duration) {
        self.latest = sample;
        self.least = self.least.min(sample);
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(sample);
            self.variation = sample / 2;
            return;
        };
        let delay = delay.min(MAX_ACK_DELAY);
        let adjusted = sample.checked_sub(delay).filter(|adjusted| *adjusted >= self.least).unwrap_or(sample);
        self.variation = self.variation / 4 * 3 + smoothed.abs_diff(adjusted) / 4;
        self.smoothed = Some(smoothed / 8 * 7 + adjusted / 8);
    }

    /// Smoothed, or what is assumed before the first sample.
    pub(crate) fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL)
    }

    /// How much later than a later one a packet may be acknowledged before it counts as lost (section 6.1.2).
    pub(crate) fn loss_delay(&self) -> Duration {
        let longest = self.smoothed().max(self.latest);
        (longest / 8 * 9).max(GRANULARITY)
    }

    /// How long to wait for any acknowledgement before asking for one (section 6.2.1).
    pub(crate) fn probe_timeout(&self) -> Duration {
        self.smoothed() + (self.variation * 4).max(GRANULARITY) + MAX_ACK_DELAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_samples_and_leaves_the_stated_delay_out() {
        let (ms, mut rtt) = (Duration::from_millis, Rtt::default());
        assert_eq!(rtt.smoothed(), INITIAL);
        rtt.measured(ms(8), ms(5));
        assert_eq!(rtt.smoothed(), ms(8), "the first is taken as it is");
        rtt.measured(ms(17), ms(1));
        assert_eq!(rtt.smoothed(), ms(9));
        rtt.measured(ms(9), ms(500));
        assert_eq!(
            rtt.smoothed(),
            ms(9) / 8 * 7 + ms(8) / 8,
            "nobody may claim to have waited for longer than allowed"
        );
    }

    #[test]
    fn a_steady_path_is_probed_soon() {
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            rtt.measured(Duration::from_micros(60), Duration::ZERO);
        }
        assert!(rtt.probe_timeout() < Duration::from_millis(3), "{:?}", rtt.probe_timeout());
    }
}
