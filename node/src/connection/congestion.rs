//! How much may be under way: `NewReno` as in RFC 9002, section 7, and its pacing.

use std::time::Duration;

use crate::time::Instant;

/// The most that may ever be under way, in bytes: beyond what any path of a mesh holds, and a bound on what a sender
/// must remember.
const MAX_WINDOW: usize = 8 << 20;

/// Pacing lets this much go at once however slow the path is, in packets (section 7.7).
const BURST_PACKETS: usize = 10;

/// ... and as much as the path takes in this time: no timer wakes more often.
const BURST_TIME: Duration = Duration::from_millis(2);

/// The congestion window.
#[derive(Debug)]
pub(crate) struct Congestion {
    packet: usize,
    window: usize,
    slow_start_until: usize,
    /// Losses of what was sent before this are the same event.
    recovery_since: Option<Instant>,
    /// Bytes acknowledged towards the next growth by one packet.
    credit: usize,
    pacer: Pacer,
}

impl Congestion {
    /// For packets of at most `packet` bytes.
    pub(crate) fn new(packet: usize, now: Instant) -> Self {
        let window = (10 * packet).min(14_720.max(2 * packet));
        Self {
            packet,
            window,
            slow_start_until: usize::MAX,
            recovery_since: None,
            credit: 0,
            pacer: Pacer { tokens: BURST_PACKETS * packet, at: now },
        }
    }

    /// How many bytes may be under way.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// `bytes` sent at `sent` were acknowledged. `limited` says that the window was what held the sender back.
    pub(crate) fn acknowledged(&mut self, bytes: usize, sent: Instant, limited: bool) {
        if !limited || self.recovery_since.is_some_and(|since| sent <= since) {
            return;
        }
        if self.window < self.slow_start_until {
            self.window += bytes;
        } else {
            self.credit += bytes;
            if self.credit >= self.window {
                self.credit -= self.window;
                self.window += self.packet;
            }
        }
        self.window = self.window.min(MAX_WINDOW);
    }

    /// Something sent at `sent` was lost.
    pub(crate) fn lost(&mut self, now: Instant, sent: Instant) {
        if self.recovery_since.is_some_and(|since| sent <= since) {
            return;
        }
        self.recovery_since = Some(now);
        self.window = (self.window / 2).max(2 * self.packet);
        self.slow_start_until = self.window;
        self.credit = 0;
    }

    /// Everything sent over a long time was lost (section 7.6).
    pub(crate) fn collapse(&mut self) {
        self.window = 2 * self.packet;
        self.recovery_since = None;
    }

    /// Whether a packet may go now, as far as pacing goes; else, when.
    pub(crate) fn pace(&mut self, now: Instant, rtt: Duration) -> Result<(), Instant> {
        // Section 7.7, N = 1.25; twice that in slow start, where the window doubles with every round.
        let factor = if self.window < self.slow_start_until { 2.5 } else { 1.25 };
        #[allow(clippy::cast_precision_loss, reason = "a window is far below 2^52")]
        let rate = self.window as f64 * factor / rtt.as_secs_f64().max(1e-6);
        self.pacer.refill(now, rate, BURST_PACKETS * self.packet);
        if self.pacer.tokens >= self.packet {
            return Ok(());
        }
        #[allow(clippy::cast_precision_loss, reason = "a window is far below 2^52")]
        let wait = (self.packet - self.pacer.tokens) as f64 / rate;
        Err(now + Duration::from_secs_f64(wait).max(Duration::from_micros(1)))
    }

    /// `bytes` were sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.pacer.tokens = self.pacer.tokens.saturating_sub(bytes);
    }
}

/// A token bucket in bytes.
#[derive(Debug)]
struct Pacer {
    tokens: usize,
    at: Instant,
}

impl Pacer {
    fn refill(&mut self, now: Instant, rate: f64, least: usize) {
        let elapsed = now.saturating_since(self.at);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast saturates")]
        let bytes = |time: Duration| (rate * time.as_secs_f64()) as usize;
        let fresh = bytes(elapsed);
        if fresh == 0 {
            // Not even a byte's time: let it add up.
            return;
        }
        self.at = self.at.max(now);
        self.tokens = self.tokens.saturating_add(fresh).min(least.max(bytes(BURST_TIME)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn it_doubles_until_the_first_loss_then_grows_by_a_packet_a_window() {
        let mut congestion = Congestion::new(1_000, at(0));
        assert_eq!(congestion.window(), 10_000);
        congestion.acknowledged(10_000, at(1), true);
        assert_eq!(congestion.window(), 20_000);
        congestion.lost(at(50), at(40));
        assert_eq!(congestion.window(), 10_000);
        congestion.lost(at(60), at(45));
        assert_eq!(congestion.window(), 10_000, "the same loss");
        congestion.acknowledged(10_000, at(45), true);
        assert_eq!(congestion.window(), 10_000, "still recovering");
        congestion.acknowledged(10_000, at(55), true);
        assert_eq!(congestion.window(), 11_000);
        congestion.acknowledged(10_000, at(56), false);
        assert_eq!(congestion.window(), 11_000, "it was not what held the sender back");
    }

    #[test]
    fn it_never_falls_below_two_packets_nor_rises_without_end() {
        let mut congestion = Congestion::new(1_000, at(0));
        for time in 1..100 {
            congestion.lost(at(time * 10), at(time * 10 - 1));
        }
        assert_eq!(congestion.window(), 2_000);
        let mut congestion = Congestion::new(1_000, at(0));
        for _ in 0..10_000 {
            congestion.acknowledged(1 << 20, at(5), true);
        }
        assert_eq!(congestion.window(), MAX_WINDOW);
    }

    #[test]
    fn a_wide_path_is_paced_and_a_narrow_one_is_not() {
        let mut congestion = Congestion::new(1_000, at(0));
        let mut send_all = |now, rtt| {
            let mut sent = 0;
            while sent < 1_000 && congestion.pace(now, rtt).is_ok() {
                congestion.sent(1_000);
                sent += 1;
            }
            sent
        };
        let wide = Duration::from_millis(100);
        assert_eq!(send_all(at(0), wide), 10);
        // 10 packets a round, two and a half times as fast: one each 4 ms.
        assert_eq!(send_all(at(8_000), wide), 2);
        // Sixty microseconds there and back: two milliseconds' worth at once.
        assert!(send_all(at(20_000), Duration::from_micros(60)) > 500);
    }

    #[test]
    fn waiting_for_as_long_as_it_says_is_enough() {
        let mut congestion = Congestion::new(1_000, at(0));
        let (mut now, rtt) = (at(0), Duration::from_millis(37));
        for _ in 0..1_000 {
            if let Err(then) = congestion.pace(now, rtt) {
                assert!(then > now);
                now = then + Duration::from_micros(1);
                assert!(congestion.pace(now, rtt).is_ok());
            }
            congestion.sent(1_000);
        }
    }
}
