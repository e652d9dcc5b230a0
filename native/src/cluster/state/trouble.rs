//! What goes wrong between members, and how that is said to people.

use std::{collections::BTreeMap, net::SocketAddr};

use meshground_node::DialError;

use super::{
    super::{ClusterError, wiring::Pairs},
    State,
};

/// After how many of a node's first messages that do not authenticate the pre-shared keys must be presumed to differ.
/// One could be a stray datagram; three are the first attempt and two repetitions of it.
const TELLING_REFUSALS: u64 = 3;

/// How many names a message for people lists before it says how many more there are.
const NAMES_LISTED: usize = 8;

impl State {
    /// `index` was sent `count` first messages from `address` that do not authenticate.
    pub(in crate::cluster) fn note_refusal(&mut self, index: usize, address: SocketAddr, count: u64) {
        if let Some(&from) = self.address_of.get(&address)
            && !self.is_paired(from, index)
            // Where bits are flipped, that says nothing about keys.
            && self.faults.get(&(from, index)).is_none_or(|fault| fault.corruption == 0.0)
        {
            *self.refusals.entry((from, index)).or_default() += count;
        }
    }

    /// A dial of `index` came to nothing.
    pub(in crate::cluster) fn note_failure(&mut self, index: usize, address: SocketAddr, error: DialError) {
        if let Some(&to) = self.address_of.get(&address)
            && !self.is_paired(index, to)
        {
            self.failures.insert((index, to), error);
        }
    }

    /// What makes waiting for these pairs' sessions pointless.
    pub(in crate::cluster) fn hopeless(&self, pairs: &Pairs) -> Option<ClusterError> {
        let told = self.refusals.iter().find(|&(&(from, to), &count)| {
            count >= TELLING_REFUSALS && pairs.contains(from, to) && !self.is_paired(from, to)
        });
        if let Some((&(from, to), _)) = told {
            return Some(ClusterError::Handshake { from, to, reason: self.describe_refusal(from, to) });
        }
        let failed = self.failures.iter().find(|&(&(from, to), error)| {
            // One that timed out is for the budget to report, with everybody else who is missing.
            !matches!(error, DialError::TimedOut { .. })
                && pairs.contains(from, to)
                && !self.is_paired(from, to)
        });
        let (&(from, to), error) = failed?;
        Some(ClusterError::Handshake { from, to, reason: error.to_string() })
    }

    fn describe_refusal(&self, from: usize, to: usize) -> String {
        let lonely = |index: usize| self.members.get(&index).is_some_and(|member| member.links.is_empty());
        let suspect = match (lonely(from), lonely(to)) {
            (true, false) => {
                format!("; node {from} has no session with anyone, so the wrong key is probably its own")
            }
            (false, true) => {
                format!("; node {to} has no session with anyone, so the wrong key is probably its own")
            }
            _ => String::new(),
        };
        format!(
            "node {to} cannot read what node {from} sends: most likely they hold different pre-shared keys{suspect}"
        )
    }

    /// Which of these links of running members lack a session, for a person.
    pub(in crate::cluster) fn describe_unpaired(
        &self,
        pairs: impl Iterator<Item = (usize, usize)>,
    ) -> String {
        self.describe(pairs.filter(|&(one, other)| !self.is_paired(one, other)))
    }

    /// Which of these links of running members are not Healthy, for a person.
    pub(in crate::cluster) fn describe_unseen(&self, pairs: impl Iterator<Item = (usize, usize)>) -> String {
        self.describe(pairs.filter(|&(one, other)| !self.stands(one, other)))
    }

    /// Names these pairs, as far as they run, by the members that are in most of them.
    fn describe(&self, pairs: impl Iterator<Item = (usize, usize)>) -> String {
        let mut lacking: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (one, other) in pairs.filter(|&(one, other)| self.is_running(one) && self.is_running(other)) {
            lacking.entry(one).or_default().push(other);
            lacking.entry(other).or_default().push(one);
        }
        let mut groups = Vec::new();
        // Whoever lacks most comes first, and the pairs named there are not named again.
        while let Some((&worst, _)) =
            lacking.iter().max_by_key(|(index, others)| (others.len(), usize::MAX - **index))
        {
            let Some(others) = lacking.remove(&worst) else { break };
            for other in &others {
                if let Some(back) = lacking.get_mut(other) {
                    back.retain(|&index| index != worst);
                }
            }
            lacking.retain(|_, others| !others.is_empty());
            let nodes = if others.len() == 1 { "node" } else { "nodes" };
            groups.push(format!("node {worst} with {nodes} {}", list(&others, ", ")));
        }
        list(&groups, "; ")
    }
}

/// The first few of them, and how many more there are.
pub(in crate::cluster) fn list(things: &[impl ToString], separator: &str) -> String {
    let shown: Vec<String> = things.iter().take(NAMES_LISTED).map(ToString::to_string).collect();
    let more = things.len() - shown.len();
    let shown = shown.join(separator);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_end_in_a_figure() {
        assert_eq!(list(&[1, 2], ", "), "1, 2");
        let many: Vec<usize> = (0..20).collect();
        assert_eq!(list(&many, ", "), "0, 1, 2, 3, 4, 5, 6, 7 and 12 more");
    }
}
