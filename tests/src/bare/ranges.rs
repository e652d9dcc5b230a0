//! Packet numbers that came in, and how an acknowledgement names them (section 7).

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    Refused,
    number::{take_number, take_numbers, write_number},
};

/// The most ranges an acknowledgement names.
const MAX_RANGES: usize = 64;

/// Two ranges that are nearer to each other would be one: each ends this far below where the gap says.
const NEXT: u64 = 2;

/// A set of packet numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The highest number of each run, by its lowest.
    runs: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds a number. Whether it is new.
    pub fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        let highest = number.checked_add(1).and_then(|next| self.runs.remove(&next)).unwrap_or(number);
        match self.runs.range_mut(..number).next_back() {
            Some((_, end)) if *end + 1 == number => *end = highest,
            _ => {
                self.runs.insert(number, highest);
            }
        }
        true
    }

    /// Whether it is one of them.
    pub fn contains(&self, number: u64) -> bool {
        self.runs.range(..=number).next_back().is_some_and(|(_, highest)| number <= *highest)
    }

    /// Its runs without a gap, lowest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> {
        self.runs.iter().map(|(lowest, highest)| *lowest..=*highest)
    }

    /// As an acknowledgement names them, after its delay. There must be one.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut named = self.runs().rev().take(MAX_RANGES);
        let Some(first) = named.next() else { return };
        write_number(*first.end(), out);
        write_number(self.runs.len().min(MAX_RANGES) as u64 - 1, out);
        write_number(first.end() - first.start(), out);
        let mut above = *first.start();
        for run in named {
            write_number(above - run.end() - NEXT, out);
            write_number(run.end() - run.start(), out);
            above = *run.start();
        }
    }

    /// As an acknowledgement names them, after its delay.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Refused> {
        let ([mut highest, more, len], mut rest) = take_numbers(bytes)?;
        if more >= MAX_RANGES as u64 {
            return Err(Refused);
        }
        let mut lowest = highest.checked_sub(len).ok_or(Refused)?;
        let mut runs = BTreeMap::from([(lowest, highest)]);
        for _ in 0..more {
            let (gap, after) = take_number(rest)?;
            let (len, after) = take_number(after)?;
            highest = lowest.checked_sub(gap).and_then(|at| at.checked_sub(NEXT)).ok_or(Refused)?;
            lowest = highest.checked_sub(len).ok_or(Refused)?;
            runs.insert(lowest, highest);
            rest = after;
        }
        Ok((Self { runs }, rest))
    }
}
