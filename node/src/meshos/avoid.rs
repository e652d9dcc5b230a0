//! Nodes that are better left alone for a while.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::NodeId;

use crate::time::Instant;

/// The most nodes avoided at a time; beyond, whoever would be free first is.
pub(super) const MAX_AVOIDED: usize = 256;

/// A node that nothing is placed on for a while, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avoided {
    /// Why, for a person.
    pub reason: String,
    /// For how long yet.
    pub remaining: Duration,
}

/// Whom this node avoids.
#[derive(Debug, Default)]
pub(crate) struct AvoidList {
    entries: BTreeMap<NodeId, (Instant, String)>,
}

impl AvoidList {
    /// Avoids a node for at least this long. Comes back with one that is no longer avoided for that.
    pub(crate) fn mark(
        &mut self,
        now: Instant,
        node: NodeId,
        ttl: Duration,
        reason: String,
    ) -> Option<NodeId> {
        let until = now + ttl;
        if self.entries.get(&node).is_some_and(|(known, _)| *known >= until) {
            return None;
        }
        let full = self.entries.len() >= MAX_AVOIDED && !self.entries.contains_key(&node);
        let first = self.entries.iter().min_by_key(|(_, (until, _))| *until).map(|(&id, _)| id);
        let pushed_out = first.filter(|_| full);
        if let Some(first) = pushed_out {
            self.entries.remove(&first);
        }
        self.entries.insert(node, (until, reason));
        pushed_out
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.entries.contains_key(&node)
    }

    #[cfg(feature = "floor")]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Avoids nobody any more.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Lets go of those whose time is over. Whether there were any.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, (until, _)| *until > now);
        self.entries.len() < before
    }

    pub(crate) fn view(&self, now: Instant) -> BTreeMap<NodeId, Avoided> {
        let avoided = |(until, reason): &(Instant, String)| Avoided {
            reason: reason.clone(),
            remaining: until.saturating_since(now),
        };
        self.entries.iter().map(|(&node, entry)| (node, avoided(entry))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_avoided_for_its_time_and_the_longer_one_counts() {
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let mut list = AvoidList::default();
        list.mark(at(0), NodeId(1), Duration::from_secs(10), "first".to_owned());
        list.mark(at(1), NodeId(1), Duration::from_secs(5), "shorter".to_owned());
        assert!(!list.expire(at(9)) && list.contains(NodeId(1)));
        assert_eq!(list.view(at(9))[&NodeId(1)].reason, "first");
        assert!(list.expire(at(10)) && !list.contains(NodeId(1)));
    }

    #[test]
    fn of_too_many_whoever_would_be_free_first_is_and_that_is_said() {
        let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
        let mut list = AvoidList::default();
        let mut mark = |node: u64| {
            let ttl = Duration::from_secs(10 + node);
            list.mark(at(0), NodeId(node), ttl, String::new())
        };
        let most = MAX_AVOIDED as u64;
        assert!((0..most).all(|node| mark(node).is_none()));
        assert_eq!(mark(most - 1), None, "it is there already");
        assert_eq!((mark(most), mark(most + 1)), (Some(NodeId(0)), Some(NodeId(1))));
    }
}
