//! The nodes' audit trails, merged: one row per command.

use std::collections::BTreeMap;

use meshground_shared::{Decision, NodeId, Snapshot, Verb};

/// A signed command, and what every node made of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// By which it is known everywhere.
    pub(crate) nonce: String,
    /// How often the nonce had been seen before: 0, or more for a replay.
    pub(crate) repeat: u32,
    /// What it is to do.
    pub(crate) verb: Verb,
    /// Who signed it.
    pub(crate) operators: Vec<String>,
    /// When the first node decided, in Unix microseconds.
    pub(crate) wall_us: u64,
    /// What each node made of it, by the nodes' places.
    pub(crate) decisions: Vec<(NodeId, Decision)>,
    /// Whether all of them decided alike, and on the same command.
    pub(crate) agreed: bool,
}

/// Every signed command that a member remembers, the latest first.
///
/// A node that remembers a nonce twice was given the command twice; the second time makes a row of
/// its own, as a replay that is rejected everywhere is no disagreement.
pub(crate) fn merge(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows: BTreeMap<(&str, u32), Row> = BTreeMap::new();
    let mut nodes: Vec<_> = snapshot.nodes.iter().collect();
    nodes.sort_by_key(|(_, node)| node.index);
    for (&id, node) in nodes {
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in &node.audit {
            let times = seen.entry(entry.nonce.as_str()).or_default();
            let repeat = *times;
            *times += 1;
            let row = rows.entry((entry.nonce.as_str(), repeat)).or_insert_with(|| Row {
                nonce: entry.nonce.clone(),
                repeat,
                verb: entry.verb.clone(),
                operators: entry.operators.clone(),
                wall_us: entry.wall_us,
                decisions: Vec::new(),
                agreed: true,
            });
            let same = row.verb == entry.verb && row.operators == entry.operators;
            row.agreed &= same && row.decisions.iter().all(|(_, decision)| *decision == entry.decision);
            row.wall_us = row.wall_us.min(entry.wall_us);
            row.decisions.push((id, entry.decision));
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.wall_us, row.repeat)));
    rows
}

#[cfg(test)]
mod tests {
    use meshground_shared::{AdminVerb, AuditEntry, Epoch, Rejection};

    use super::*;
    use crate::fixtures;

    const REPLAYED: Decision = Decision::Rejected(Rejection::NonceReplayed);

    fn cluster(trails: &[&[(&str, Decision, u64)]]) -> Snapshot {
        let mut snapshot = Snapshot::new(Epoch(1));
        for (index, trail) in (0..).zip(trails) {
            let mut node = fixtures::member(index);
            for (seq, &(nonce, decision, wall_us)) in (1..).zip(*trail) {
                let verb = Verb::Admin(AdminVerb::Drain { node: NodeId(1) });
                let operators = vec!["demo".to_owned()];
                node.audit.push(AuditEntry { seq, wall_us, nonce: nonce.into(), verb, operators, decision });
            }
            // Ids run against places.
            snapshot.nodes.insert(NodeId(100 - u64::from(index)), node);
        }
        snapshot
    }

    #[test]
    fn one_command_is_one_row_whoever_decided_on_it() {
        let snapshot = cluster(&[
            &[("a", Decision::Applied, 10), ("b", Decision::Applied, 30)],
            &[("a", Decision::Applied, 12)],
        ]);
        let rows = merge(&snapshot);
        assert_eq!(rows.iter().map(|row| row.nonce.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert!(rows.iter().all(|row| row.agreed));
        assert_eq!((rows[1].wall_us, rows[1].decisions.len()), (10, 2));
        assert_eq!(rows[1].decisions[0].0, NodeId(100), "by place, not by id");
    }

    #[test]
    fn nodes_that_decide_otherwise_disagree() {
        let rejected = Decision::Rejected(Rejection::EnvelopeExpired);
        let snapshot = cluster(&[&[("a", Decision::Applied, 10)], &[("a", rejected, 11)]]);
        assert!(!merge(&snapshot)[0].agreed);
        let mut snapshot = cluster(&[&[("a", rejected, 10)], &[("a", rejected, 11)]]);
        assert!(merge(&snapshot)[0].agreed);
        let other = snapshot.nodes.get_mut(&NodeId(99)).unwrap();
        other.audit[0].verb = Verb::Admin(AdminVerb::Drain { node: NodeId(2) });
        assert!(!merge(&snapshot)[0].agreed, "one nonce for two commands");
    }

    #[test]
    fn a_replay_is_a_row_of_its_own_and_no_disagreement() {
        let trail: &[_] = &[("a", Decision::Applied, 10), ("a", REPLAYED, 20)];
        let rows = merge(&cluster(&[trail, trail]));
        assert_eq!(rows.iter().map(|row| row.repeat).collect::<Vec<_>>(), [1, 0]);
        assert!(rows.iter().all(|row| row.agreed && row.decisions.len() == 2));
    }
}
