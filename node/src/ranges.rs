//! A set of numbers, as ranges: what was received, acknowledged or lost.

use std::{collections::BTreeMap, ops::Range};

/// A set of numbers. Holds one entry for each run of neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// The end of each range by its beginning. They neither overlap nor touch.
    ends: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds every number in `range`.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        if let Some((&before, &before_end)) = self.ends.range(..=start).next_back()
            && before_end >= start
        {
            if before_end >= end {
                return;
            }
            start = before;
        }
        while let Some((&next, &next_end)) = self.ends.range(start..=end).next() {
            self.ends.remove(&next);
            end = end.max(next_end);
        }
        self.ends.insert(start, end);
    }

    /// Takes every number in `range` out.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some((&before, &before_end)) = self.ends.range(..range.start).next_back()
            && before_end > range.start
        {
            self.ends.insert(before, range.start);
            if before_end > range.end {
                self.ends.insert(range.end, before_end);
            }
        }
        while let Some((&next, &next_end)) = self.ends.range(range.clone()).next() {
            self.ends.remove(&next);
            if next_end > range.end {
                self.ends.insert(range.end, next_end);
            }
        }
    }

    /// Whether `number` is in it.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.ends.range(..=number).next_back().is_some_and(|(_, end)| *end > number)
    }

    /// Whether adding `range` would leave as many entries as there are, or fewer: it overlaps one, or touches it.
    pub(crate) fn touches(&self, range: &Range<u64>) -> bool {
        self.ends.range(..=range.end).next_back().is_some_and(|(_, end)| *end >= range.start)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<Range<u64>> {
        self.ends.first_key_value().map(|(start, end)| *start..*end)
    }

    /// Takes up to `most` numbers out of the lowest range, from its beginning.
    pub(crate) fn take_first(&mut self, most: u64) -> Option<Range<u64>> {
        let (start, end) = self.ends.pop_first()?;
        let cut = end.min(start.saturating_add(most));
        if cut < end {
            self.ends.insert(cut, end);
        }
        Some(start..cut)
    }

    /// The ranges, lowest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + Clone {
        self.ends.iter().map(|(start, end)| *start..*end)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_agrees_with_a_set_of_single_numbers() {
        let mut state = 1_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..200 {
            let (mut set, mut plain) = (RangeSet::default(), BTreeSet::new());
            for _ in 0..60 {
                let start = below(100);
                let range = start..start + below(20);
                match below(4) {
                    0 => {
                        set.remove(range.clone());
                        plain.retain(|number| !range.contains(number));
                    }
                    1 => {
                        if let Some(taken) = set.take_first(below(5) + 1) {
                            plain.retain(|number| !taken.contains(number));
                        }
                    }
                    _ => {
                        let (touches, before) = (set.touches(&range), set.len());
                        set.insert(range.clone());
                        assert_eq!(touches || range.is_empty(), set.len() <= before, "{range:?}");
                        plain.extend(range);
                    }
                }
                assert_eq!(
                    set.iter().flatten().collect::<Vec<_>>(),
                    plain.iter().copied().collect::<Vec<_>>()
                );
                assert!((0..130).all(|number| set.contains(number) == plain.contains(&number)));
                let ranges: Vec<_> = set.iter().collect();
                assert!(ranges.is_sorted_by(|a, b| a.end < b.start), "neighbours must be merged: {ranges:?}");
            }
        }
    }
}
