//! Which packet numbers an acknowledgement names, as ranges (RFC 9000, section 19.3.1).

use std::ops::RangeInclusive;

use super::{Malformed, varint};

/// The most ranges one acknowledgement names. What is older is acknowledged no more: its packets count as lost and
/// what they carried comes again.
pub(crate) const MAX_RANGES: usize = 64;

/// The ranges of an acknowledgement as they travel, checked: highest first, apart from each other, none below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AckRanges<'a> {
    largest: u64,
    encoded: &'a [u8],
}

impl<'a> AckRanges<'a> {
    /// Takes ranges off the front of `bytes`.
    pub(crate) fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let (largest, rest) = varint::split(bytes)?;
        let (more, encoded) = varint::split(rest)?;
        if more >= MAX_RANGES as u64 {
            return Err(Malformed);
        }
        let (first, mut rest) = varint::split(encoded)?;
        let mut low = largest.checked_sub(first).ok_or(Malformed)?;
        for _ in 0..more {
            let (range, after) = split_range(low, rest)?;
            (low, rest) = (*range.start(), after);
        }
        let encoded = &encoded[..encoded.len() - rest.len()];
        Ok((Self { largest, encoded }, rest))
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub(crate) fn encoded_len(&self) -> usize {
        varint::len(self.largest) + 1 + self.encoded.len()
    }

    /// Appends them.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(self.largest, out);
        varint::put(self.iter().count().saturating_sub(1) as u64, out);
        out.extend_from_slice(self.encoded);
    }

    /// The highest number acknowledged.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    /// The ranges, highest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + use<'a> {
        let (mut next, mut rest, largest) = (None, self.encoded, self.largest);
        std::iter::from_fn(move || {
            let (range, after) = match next {
                None => {
                    let (len, after) = varint::split(rest).ok()?;
                    (largest - len..=largest, after)
                }
                Some(low) => split_range(low, rest).ok()?,
            };
            (next, rest) = (Some(*range.start()), after);
            Some(range)
        })
    }
}

/// The range below one that begins at `low`.
fn split_range(low: u64, bytes: &[u8]) -> Result<(RangeInclusive<u64>, &[u8]), Malformed> {
    let (gap, rest) = varint::split(bytes)?;
    let (len, rest) = varint::split(rest)?;
    // At least one number lies between: otherwise it would be one range.
    let high = low.checked_sub(gap + 2).ok_or(Malformed)?;
    let low = high.checked_sub(len).ok_or(Malformed)?;
    Ok((low..=high, rest))
}

/// Appends `ranges`: at least one, highest first, apart from each other. As many of them as fit in `room` bytes and
/// [`MAX_RANGES`]; returns whether at least the first did, without which nothing is appended.
pub(crate) fn put_ranges(
    ranges: impl Iterator<Item = RangeInclusive<u64>> + Clone,
    room: usize,
    out: &mut Vec<u8>,
) -> bool {
    let mut used = 0;
    let mut below = None;
    // Counted first: the number of ranges stands before them.
    let mut count = 0_u64;
    for range in ranges.clone().take(MAX_RANGES) {
        let (high, low) = (*range.end(), *range.start());
        used += match below {
            // With a byte for the number of ranges that follow: fewer than 64.
            None => varint::len(high) + 1,
            Some(below) => varint::len(below - high - 2),
        } + varint::len(high - low);
        if used > room {
            break;
        }
        below = Some(low);
        count += 1;
    }
    if count == 0 {
        return false;
    }
    let mut below = None;
    for range in ranges.take(usize::try_from(count).unwrap_or(MAX_RANGES)) {
        let (high, low) = (*range.end(), *range.start());
        match below {
            None => {
                varint::put(high, out);
                varint::put(count - 1, out);
            }
            Some(below) => varint::put(below - high - 2, out),
        }
        varint::put(high - low, out);
        below = Some(low);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(ranges: &[RangeInclusive<u64>], room: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put_ranges(ranges.iter().cloned(), room, &mut out);
        assert!(out.len() <= room);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        for ranges in [
            vec![0..=0],
            vec![7..=9],
            vec![100_000..=200_000, 5..=5, 0..=3],
            (0..64).rev().map(|i| i * 10..=i * 10 + 8).collect(),
        ] {
            let mut bytes = encoded(&ranges, 1_000);
            bytes.push(99);
            let (read, rest) = AckRanges::split(&bytes).unwrap();
            assert_eq!(rest, [99]);
            assert_eq!(read.largest(), *ranges[0].end());
            assert_eq!(read.iter().collect::<Vec<_>>(), ranges);
        }
    }

    #[test]
    fn the_lowest_are_left_out_where_room_is_short() {
        let ranges: Vec<_> = (0..100).rev().map(|i| i * 10..=i * 10 + 8).collect();
        let (read, all) = (encoded(&ranges, 20), encoded(&ranges, 1_000));
        let read = AckRanges::split(&read).unwrap().0.iter().collect::<Vec<_>>();
        assert!(read.len() > 3 && ranges.starts_with(&read), "{read:?}");
        assert_eq!(AckRanges::split(&all).unwrap().0.iter().count(), MAX_RANGES);
        assert!(encoded(&ranges, 2).is_empty());
    }

    #[test]
    fn ranges_below_zero_touching_or_too_many_are_refused() {
        let read = |numbers: &[u64]| {
            let mut bytes = Vec::new();
            for number in numbers {
                varint::put(*number, &mut bytes);
            }
            AckRanges::split(&bytes).map(|(ranges, _)| ranges.iter().count())
        };
        assert_eq!(read(&[5, 0, 5]), Ok(1));
        assert_eq!(read(&[5, 0, 6]), Err(Malformed));
        assert_eq!(read(&[5, 1, 0, 3, 0]), Ok(2));
        assert_eq!(read(&[5, 1, 0, 3, 1]), Err(Malformed));
        assert_eq!(read(&[5, 1, 0, varint::MAX, 0]), Err(Malformed));
        assert_eq!(read(&[1_000, 64, 0]), Err(Malformed));
        assert_eq!(read(&[1_000, 1, 0]), Err(Malformed), "cut");
    }
}
