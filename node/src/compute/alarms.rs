//! When a daemon wants to be woken.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// The alarms that one daemon has set, by token and by time: whoever drives the node asks for the next one of every daemon
/// whenever it wakes up.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    at: BTreeMap<u64, Instant>,
    /// The same, the next first.
    order: BTreeSet<(Instant, u64)>,
}

impl Alarms {
    /// How many are set.
    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether one of this token is set.
    pub(super) fn contains(&self, token: u64) -> bool {
        self.at.contains_key(&token)
    }

    /// Sets one, in place of what was set of the same token.
    pub(super) fn set(&mut self, token: u64, at: Instant) {
        self.clear_one(token);
        self.at.insert(token, at);
        self.order.insert((at, token));
    }

    /// One will not go off.
    pub(super) fn clear_one(&mut self, token: u64) {
        if let Some(at) = self.at.remove(&token) {
            self.order.remove(&(at, token));
        }
    }

    /// None will go off.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the next one goes off.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes the next one out, if it is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        let &(at, token) = self.order.first()?;
        if at > now {
            return None;
        }
        self.clear_one(token);
        Some(token)
    }

    /// All of them, by token.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.at.iter().map(|(&token, &at)| (token, at))
    }
}

impl FromIterator<(u64, Instant)> for Alarms {
    fn from_iter<T: IntoIterator<Item = (u64, Instant)>>(all: T) -> Self {
        let mut alarms = Self::default();
        for (token, at) in all {
            alarms.set(token, at);
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn alarms_go_off_in_order_of_time_each_once_and_as_they_were_set_last() {
        let mut alarms: Alarms = [(1, at(30)), (2, at(20)), (3, at(10)), (4, at(5))].into_iter().collect();
        alarms.set(1, at(15));
        alarms.clear_one(4);
        assert_eq!((alarms.len(), alarms.next()), (3, Some(at(10))));
        assert_eq!(alarms.take_due(at(9)), None);
        let due: Vec<u64> = std::iter::from_fn(|| alarms.take_due(at(15))).collect();
        assert_eq!(due, [3, 1]);
        assert_eq!((alarms.next(), alarms.contains(1)), (Some(at(20)), false));
        assert_eq!(alarms.iter().collect::<Vec<_>>(), [(2, at(20))]);
        alarms.clear();
        assert_eq!((alarms.len(), alarms.next()), (0, None));
    }
}
