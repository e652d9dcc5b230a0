//! The replay window: which packet counters were seen (RFC 6479).

use crate::packet::varint;

const WORDS: usize = 32;
const WORD_BITS: u64 = 64;

/// How far behind the highest counter a packet may come and still be accepted. One
/// word of the ring is always being filled, so it does not count.
pub(crate) const WINDOW: u64 = (WORDS as u64 - 1) * WORD_BITS;

/// Remembers the counters of the last [`WINDOW`] packets as a ring of bits.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplayWindow {
    /// One above the highest counter seen; 0 before the first.
    next: u64,
    ring: [u64; WORDS],
}

impl ReplayWindow {
    /// Whether `counter` is new. Ask before decrypting, [`record`](Self::record) after:
    /// only an authentic packet may move the window.
    pub(crate) fn is_new(&self, counter: u64) -> bool {
        if counter > varint::MAX {
            // No acknowledgement could name it. Noise reserves the highest of all, which no window could move past.
            return false;
        }
        if counter >= self.next {
            return true;
        }
        if self.next - counter > WINDOW {
            return false;
        }
        let (word, bit) = place(counter);
        self.ring[word] & bit == 0
    }

    /// Whether `counter` is the highest one recorded.
    pub(crate) fn is_highest(&self, counter: u64) -> bool {
        counter.checked_add(1) == Some(self.next)
    }

    /// Records a counter for which [`is_new`](Self::is_new) was true.
    pub(crate) fn record(&mut self, counter: u64) {
        if counter >= self.next {
            let last_word = self.next.saturating_sub(1) / WORD_BITS;
            let steps = (counter / WORD_BITS - last_word).min(WORDS as u64);
            for step in 1..=steps {
                let (word, _) = place((last_word + step) * WORD_BITS);
                self.ring[word] = 0;
            }
            self.next = counter + 1;
        }
        let (word, bit) = place(counter);
        self.ring[word] |= bit;
    }
}

fn place(counter: u64) -> (usize, u64) {
    let word = usize::try_from(counter / WORD_BITS % WORDS as u64).expect("below the ring's length");
    (word, 1 << (counter % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn accept(window: &mut ReplayWindow, counter: u64) -> bool {
        let new = window.is_new(counter);
        if new {
            window.record(counter);
        }
        new
    }

    #[test]
    fn a_counter_is_accepted_once() {
        let mut window = ReplayWindow::default();
        for counter in [0, 1, 5, 3, 2, 4, 64, 63, 2_000, 1_999] {
            assert!(accept(&mut window, counter), "{counter} first");
            assert!(!accept(&mut window, counter), "{counter} again");
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_refused() {
        let mut window = ReplayWindow::default();
        assert!(accept(&mut window, 10_000));
        assert!(accept(&mut window, 10_001 - WINDOW));
        assert!(!accept(&mut window, 10_000 - WINDOW));
    }

    #[test]
    fn a_leap_clears_what_it_leaps_over() {
        let mut window = ReplayWindow::default();
        assert!(accept(&mut window, 3));
        assert!(accept(&mut window, 3 + WORDS as u64 * WORD_BITS));
        assert!(accept(&mut window, 3 + WORDS as u64 * WORD_BITS - 64), "same bit as an old counter");
        assert!(accept(&mut window, varint::MAX));
        assert!(!accept(&mut window, 3));
    }

    #[test]
    fn a_counter_that_no_acknowledgement_could_name_is_never_accepted() {
        let mut window = ReplayWindow::default();
        for beyond in [u64::MAX, u64::MAX - 1, varint::MAX + 1] {
            assert!(!accept(&mut window, beyond));
        }
        assert!(accept(&mut window, varint::MAX));
        assert!(!accept(&mut window, varint::MAX) && !accept(&mut window, varint::MAX + 1));
    }

    #[test]
    fn it_agrees_with_a_set_of_everything_seen() {
        let mut window = ReplayWindow::default();
        let (mut seen, mut highest) = (BTreeSet::new(), 0_u64);
        let mut state = 1_u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (forward, choice) = (state >> 61, (state >> 33) % 4_500);
            let counter = if choice == 0 {
                highest + choice + forward * 900
            } else {
                (highest + 3).saturating_sub(choice)
            };
            let expected = (counter > highest || highest - counter < WINDOW) && !seen.contains(&counter);
            assert_eq!(accept(&mut window, counter), expected, "counter {counter}, highest {highest}");
            if expected {
                seen.insert(counter);
                highest = highest.max(counter);
            }
        }
    }
}
