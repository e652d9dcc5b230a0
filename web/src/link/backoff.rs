//! When to try again.

/// Failures in a row after which the page says that the server is gone. It goes on trying.
pub(crate) const GONE_AFTER: u32 = 4;

const FIRST_MS: f64 = 400.0;
const LONGEST_MS: f64 = 8_000.0;

/// Milliseconds to wait before attempt `attempt` (from 1): doubled each time up to
/// eight seconds, and spread by `random` (0 to 1) over the upper half of that, so
/// that a classroom does not come back in one stampede.
pub(crate) fn delay_ms(attempt: u32, random: f64) -> f64 {
    let doublings = i32::try_from(attempt.saturating_sub(1).min(16)).unwrap_or(16);
    let full = (FIRST_MS * 2f64.powi(doublings)).min(LONGEST_MS);
    full * (0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_but_never_beyond_eight_seconds() {
        let waits: Vec<f64> = (1..40).map(|attempt| delay_ms(attempt, 1.0)).collect();
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(waits.iter().all(|wait| *wait <= LONGEST_MS));
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        for attempt in 1..10 {
            assert!(delay_ms(attempt, 0.0) >= delay_ms(attempt, 1.0) / 2.0);
        }
    }
}
