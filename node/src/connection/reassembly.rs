//! Frames longer than a packet, put together from their pieces: whole or not at all.

use std::collections::BTreeMap;

use crate::packet::Fragment;
use crate::ranges::RangeSet;

/// The longest frame that is put together, in bytes.
pub(crate) const MAX_PARCEL: usize = 1 << 20;

/// The most memory pieces take while others are missing, in bytes; beyond, the oldest go.
const MAX_BYTES: usize = 2 << 20;

/// The most frames that are incomplete at a time; beyond, the oldest go.
const MAX_PARCELS: usize = 64;

/// The most ranges of bytes that are there of all of them; beyond, a piece that touches no other is dropped. Frames cut to
/// the size of packets have fewer.
const MAX_RANGES: usize = 2_048;

/// Frames that wait for their missing pieces, by number: the lowest is the oldest.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    parcels: BTreeMap<u64, Parcel>,
    bytes: usize,
    ranges: usize,
}

#[derive(Debug)]
struct Parcel {
    bytes: Vec<u8>,
    have: RangeSet,
}

impl Reassembly {
    #[cfg(feature = "floor")]
    pub(crate) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        each(crate::audit::Gauge::new("bytes of parcels", self.bytes, MAX_BYTES));
        each(crate::audit::Gauge::new("parcels", self.parcels.len(), MAX_PARCELS));
        each(crate::audit::Gauge::new("ranges of parcels", self.ranges, MAX_RANGES));
    }

    /// Takes a piece in. Returns the frame if that was the last one missing. One that is too large, or does not agree
    /// with those before it, is dropped.
    pub(crate) fn insert(&mut self, piece: &Fragment<'_>) -> Option<Vec<u8>> {
        let size = usize::try_from(piece.size).ok().filter(|size| *size <= MAX_PARCEL)?;
        if !self.parcels.contains_key(&piece.parcel) {
            self.make_room(size, piece.parcel)?;
            self.bytes += size;
            self.parcels.insert(piece.parcel, Parcel { bytes: vec![0; size], have: RangeSet::default() });
        }
        let parcel = self.parcels.get_mut(&piece.parcel)?;
        if parcel.bytes.len() != size {
            return None;
        }
        let range = piece.offset..piece.offset + piece.data.len() as u64;
        if self.ranges >= MAX_RANGES && !parcel.have.touches(&range) {
            return None;
        }
        let start = usize::try_from(piece.offset).ok()?;
        parcel.bytes.get_mut(start..start + piece.data.len())?.copy_from_slice(piece.data);
        self.ranges -= parcel.have.len();
        parcel.have.insert(range);
        self.ranges += parcel.have.len();
        if parcel.have.first() != Some(0..piece.size) {
            return None;
        }
        self.drop_parcel(piece.parcel).map(|parcel| parcel.bytes)
    }

    /// Drops the oldest until there is room; `None` when the new one is itself the oldest.
    fn make_room(&mut self, size: usize, number: u64) -> Option<()> {
        while self.parcels.len() >= MAX_PARCELS || self.bytes + size > MAX_BYTES {
            let (&oldest, _) = self.parcels.first_key_value()?;
            if oldest > number {
                return None;
            }
            self.drop_parcel(oldest);
        }
        Some(())
    }

    fn drop_parcel(&mut self, number: u64) -> Option<Parcel> {
        let parcel = self.parcels.remove(&number)?;
        self.bytes -= parcel.bytes.len();
        self.ranges -= parcel.have.len();
        Some(parcel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(parcel: u64, size: u64, offset: u64, data: &[u8]) -> Fragment<'_> {
        Fragment { parcel, size, offset, data }
    }

    #[test]
    fn pieces_make_a_whole_in_any_order_and_once() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.insert(&piece(1, 9, 6, b"ghi")), None);
        assert_eq!(reassembly.insert(&piece(1, 9, 0, b"abc")), None);
        assert_eq!(reassembly.insert(&piece(1, 9, 0, b"abc")), None);
        assert_eq!(reassembly.insert(&piece(1, 9, 3, b"def")).as_deref(), Some(&b"abcdefghi"[..]));
        assert_eq!((reassembly.bytes, reassembly.parcels.len()), (0, 0));
    }

    #[test]
    fn a_piece_of_another_size_does_not_belong_to_it() {
        let mut reassembly = Reassembly::default();
        reassembly.insert(&piece(1, 9, 0, b"abc"));
        assert_eq!(reassembly.insert(&piece(1, 6, 3, b"def")), None);
        assert_eq!(reassembly.insert(&piece(1, 9, 3, b"defghi")).as_deref(), Some(&b"abcdefghi"[..]));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.insert(&piece(0, varint_max(), 0, b"a")), None, "nobody allocates that");
        for parcel in 10..1_000 {
            reassembly.insert(&piece(parcel, MAX_PARCEL as u64, 0, b"a"));
            assert!(reassembly.bytes <= MAX_BYTES);
        }
        for parcel in 2_000..3_000 {
            reassembly.insert(&piece(parcel, 10, 0, b"a"));
            assert!(reassembly.parcels.len() <= MAX_PARCELS);
        }
        assert_eq!(reassembly.insert(&piece(5, 10, 0, b"a")), None);
        assert!(!reassembly.parcels.contains_key(&5), "older than all that wait");
    }

    #[test]
    fn crumbs_are_counted_and_what_fills_a_gap_is_still_taken() {
        let mut reassembly = Reassembly::default();
        let size = MAX_PARCEL as u64;
        for parcel in 1..=2 {
            for offset in (0..size).step_by(2) {
                reassembly.insert(&piece(parcel, size, offset, b"a"));
            }
        }
        let held: usize = reassembly.parcels.values().map(|parcel| parcel.have.len()).sum();
        assert_eq!((held, reassembly.ranges), (MAX_RANGES, MAX_RANGES));
        reassembly.insert(&piece(1, size, 1, b"a"));
        assert_eq!(reassembly.ranges, MAX_RANGES - 1);
        assert!(reassembly.insert(&piece(1, size, 0, &vec![7; MAX_PARCEL])).is_some(), "it is whole");
        assert_eq!(reassembly.ranges, 0);
    }

    fn varint_max() -> u64 {
        crate::packet::varint::MAX
    }
}
