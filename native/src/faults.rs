//! Faults on the way out: what a network does to datagrams, done to them before they reach the socket.
//!
//! A node that has no faults has no [`Shaper`], and pays nothing. One that has asks it about every datagram; what the
//! shaper keeps comes out again later, or never.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use meshground_node::{Instant, Transmit};
use meshground_shared::LinkFault;

/// What happens to a node's datagrams, by where they are sent.
pub(crate) type FaultTable = BTreeMap<SocketAddr, LinkFault>;

/// The most bytes that may be held up at a time; what comes then is lost, as at a full router.
const HELD_BYTES: usize = 4 * 1024 * 1024;

/// Does to datagrams what a table of faults says.
#[derive(Debug)]
pub(crate) struct Shaper {
    faults: FaultTable,
    rng: SplitMix64,
    /// What is held up, by when it is due and, at the same time, by when it came.
    held: BTreeMap<(Instant, u64), Held>,
    held_bytes: usize,
    /// Counts what was held up.
    next: u64,
}

#[derive(Debug)]
struct Held {
    to: SocketAddr,
    datagram: Vec<u8>,
}

impl Shaper {
    /// One without faults, whose randomness grows from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            faults: FaultTable::new(),
            rng: SplitMix64(seed),
            held: BTreeMap::new(),
            held_bytes: 0,
            next: 0,
        }
    }

    /// These faults from here on. What is held up already still arrives as it was to.
    pub(crate) fn set(&mut self, faults: &FaultTable) {
        self.faults.clone_from(faults);
    }

    /// Whether it has nothing to do any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.faults.is_empty() && self.held.is_empty()
    }

    /// Whether a datagram may go out as it is, now. If not, it has been seen to.
    pub(crate) fn passes(&mut self, now: Instant, to: SocketAddr, datagram: &[u8]) -> bool {
        let Some(fault) = self.faults.get(&to).copied() else { return true };
        if fault.cut || self.rng.chance(fault.loss) {
            return false;
        }
        let copies = 1 + usize::from(self.rng.chance(fault.duplication));
        let corrupt = self.rng.chance(fault.corruption);
        let in_time = fault.delay_us == 0 && fault.jitter_us == 0;
        if copies == 1 && !corrupt && in_time {
            return true;
        }
        let mut datagram = datagram.to_vec();
        if corrupt && !datagram.is_empty() {
            let bit = self.rng.below(datagram.len() as u64 * 8);
            datagram[usize::try_from(bit / 8).unwrap_or_default()] ^= 1 << (bit % 8);
        }
        for _ in 0..copies {
            let late = fault.delay_us.saturating_add(self.rng.below(fault.jitter_us.saturating_add(1)));
            self.hold(now + Duration::from_micros(late), Held { to, datagram: datagram.clone() });
        }
        false
    }

    fn hold(&mut self, due: Instant, held: Held) {
        if self.held_bytes + held.datagram.len() > HELD_BYTES {
            return;
        }
        self.held_bytes += held.datagram.len();
        self.held.insert((due, self.next), held);
        self.next += 1;
    }

    /// When the next datagram is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.held.keys().next().map(|&(due, _)| due)
    }

    /// Appends a datagram that is due to `buffer`.
    pub(crate) fn pop_due(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let entry = self.held.first_entry().filter(|entry| entry.key().0 <= now)?;
        let Held { to, datagram } = entry.remove();
        self.held_bytes -= datagram.len();
        buffer.extend_from_slice(&datagram);
        Some(Transmit { to, len: datagram.len() })
    }
}

/// A small generator (Steele, Lea and Flood, 2014): enough for luck, not for keys.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: u64) -> u64 {
        // The highest 64 of 128 bits: as even as luck needs to be.
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or_default()
    }

    /// True with this probability. Draws nothing where there is no choice.
    #[allow(clippy::cast_precision_loss, reason = "53 bits, all of which an f64 has")]
    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && ((self.next() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_micros(1_000);

    fn there() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    fn with(fault: LinkFault) -> Shaper {
        let mut shaper = Shaper::new(7);
        shaper.set(&FaultTable::from([(there(), fault)]));
        shaper
    }

    /// How often each of `sent` datagrams arrives by `now`, by its first byte.
    fn arrivals(shaper: &mut Shaper, now: Instant) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut buffer = Vec::new();
            let Some(transmit) = shaper.pop_due(now, &mut buffer) else { return all };
            assert_eq!((transmit.to, transmit.len), (there(), buffer.len()));
            all.push(buffer);
        }
    }

    #[test]
    fn only_the_named_destination_suffers() {
        let mut shaper = with(LinkFault::CUT);
        assert!(!shaper.passes(START, there(), b"x"));
        assert!(shaper.passes(START, "127.0.0.1:10".parse().unwrap(), b"x"));
        assert_eq!(shaper.next_due(), None, "what is cut never arrives");
        shaper.set(&FaultTable::new());
        assert!(shaper.passes(START, there(), b"x"));
        assert!(shaper.is_idle());
    }

    #[test]
    fn as_many_are_lost_as_the_probability_says() {
        let mut shaper = with(LinkFault { loss: 0.3, ..LinkFault::default() });
        let passed = (0..10_000).filter(|_| shaper.passes(START, there(), b"x")).count();
        assert!((6_800..7_200).contains(&passed), "{passed} of 10,000");
        let mut hopeless = with(LinkFault { loss: 1.0, ..LinkFault::default() });
        assert!((0..1_000).all(|_| !hopeless.passes(START, there(), b"x")));
    }

    #[test]
    fn the_same_seed_has_the_same_luck() {
        let luck = || {
            let mut shaper = with(LinkFault { loss: 0.5, ..LinkFault::default() });
            (0..64).map(|_| shaper.passes(START, there(), b"x")).collect::<Vec<_>>()
        };
        assert_eq!(luck(), luck());
    }

    #[test]
    fn what_is_delayed_comes_out_unaltered_when_it_is_due_and_in_order() {
        let mut shaper = with(LinkFault { delay_us: 500, ..LinkFault::default() });
        for byte in 0..5 {
            assert!(!shaper.passes(
                START + Duration::from_micros(byte),
                there(),
                &[u8::try_from(byte).unwrap()]
            ));
        }
        assert_eq!(shaper.next_due(), Some(START + Duration::from_micros(500)));
        assert!(arrivals(&mut shaper, START + Duration::from_micros(499)).is_empty());
        assert_eq!(arrivals(&mut shaper, START + Duration::from_micros(502)), [[0], [1], [2]]);
        shaper.set(&FaultTable::new());
        assert!(!shaper.is_idle(), "what is under way still arrives");
        assert_eq!(arrivals(&mut shaper, START + Duration::from_micros(504)), [[3], [4]]);
        assert!(shaper.is_idle());
    }

    #[test]
    fn with_jitter_datagrams_overtake_each_other_within_its_bounds() {
        let mut shaper = with(LinkFault { delay_us: 100, jitter_us: 1_000, ..LinkFault::default() });
        for byte in 0..200 {
            assert!(!shaper.passes(START, there(), &[byte]));
        }
        assert!(arrivals(&mut shaper, START + Duration::from_micros(99)).is_empty());
        let order = arrivals(&mut shaper, START + Duration::from_micros(1_100));
        assert_eq!(order.len(), 200);
        assert!(!order.is_sorted());
    }

    #[test]
    fn a_duplicate_is_the_same_twice_and_a_corrupted_datagram_differs_in_one_bit() {
        let mut double = with(LinkFault { duplication: 1.0, ..LinkFault::default() });
        assert!(!double.passes(START, there(), b"twice"));
        assert_eq!(arrivals(&mut double, START), [b"twice", b"twice"]);

        let mut noisy = with(LinkFault { corruption: 1.0, ..LinkFault::default() });
        for _ in 0..100 {
            assert!(!noisy.passes(START, there(), &[0; 32]));
            let arrived = arrivals(&mut noisy, START).remove(0);
            assert_eq!(arrived.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        }
        assert!(!noisy.passes(START, there(), b""), "nothing to corrupt, and no panic");
    }

    #[test]
    fn what_is_held_up_is_bounded() {
        let mut shaper = with(LinkFault { delay_us: 1_000_000, ..LinkFault::default() });
        for _ in 0..10_000 {
            assert!(!shaper.passes(START, there(), &[0; 1_452]));
        }
        assert!(shaper.held_bytes <= HELD_BYTES);
        let arrived = arrivals(&mut shaper, START + Duration::from_secs(1)).len();
        assert_eq!(arrived, HELD_BYTES / 1_452);
        assert_eq!(shaper.held_bytes, 0);
    }
}
