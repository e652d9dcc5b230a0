//! What is to be done so that what is becomes what should be: a pure function.
//!
//! What belongs to groups is decided by whoever leads them, see `grouping`; this is about the node itself: draining it,
//! its state of service, and whom it had better leave alone.

use std::{collections::BTreeSet, time::Duration};

use meshground_shared::{DaemonId, NodeId};

use super::action::Action;

/// How many daemons move away at a time.
const MOVING_AT_A_TIME: usize = 4;

/// How long a node that went silent is avoided, counted anew once it is heard again.
const AVOID_SILENT: Duration = Duration::from_secs(10);

/// What there is, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Situation {
    /// Nothing may be moved or placed.
    pub(crate) frozen: bool,
    /// What runs here is to move away.
    pub(crate) draining: bool,
    /// The daemons here.
    pub(crate) daemons: Vec<Here>,
    /// The nodes that would take one, the best first.
    pub(crate) takers: Vec<Taker>,
    /// Nodes that have gone silent since the last time.
    pub(crate) went_silent: BTreeSet<NodeId>,
    /// Nodes that were silent the last time and are heard now.
    pub(crate) heard_again: BTreeSet<NodeId>,
}

/// A daemon here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Here {
    pub(crate) id: DaemonId,
    /// The factory that can make it elsewhere; none if it was handed over.
    pub(crate) kind: Option<String>,
    /// Nodes it must not go to, as they have others of its group.
    pub(crate) barred: BTreeSet<NodeId>,
    /// It is on its way.
    pub(crate) moving: bool,
    /// It was tried a moment ago and did not work.
    pub(crate) resting: bool,
}

/// A node that takes daemons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taker {
    pub(crate) node: NodeId,
    /// The kinds it has factories for.
    pub(crate) kinds: BTreeSet<String>,
}

/// What to do.
pub(crate) fn reconcile(situation: &Situation) -> Vec<Action> {
    let mut actions = Vec::new();
    for &node in &situation.went_silent {
        let reason = "it went silent".to_owned();
        actions.push(Action::MarkAvoid { node, reason, ttl: AVOID_SILENT });
    }
    for &node in &situation.heard_again {
        let reason = "it was silent until a moment ago".to_owned();
        actions.push(Action::MarkAvoid { node, reason, ttl: AVOID_SILENT });
    }
    if situation.draining && !situation.frozen {
        let moving = situation.daemons.iter().filter(|daemon| daemon.moving).count();
        let idle = situation.daemons.iter().filter(|daemon| !daemon.moving && !daemon.resting);
        let movable = idle.filter_map(|daemon| Some((daemon, daemon.kind.as_ref()?)));
        // In turn, so that not all of them go to the same node.
        for (turn, (daemon, kind)) in movable.take(MOVING_AT_A_TIME.saturating_sub(moving)).enumerate() {
            let takers: Vec<NodeId> = (situation.takers.iter())
                .filter(|taker| taker.kinds.contains(kind) && !daemon.barred.contains(&taker.node))
                .map(|taker| taker.node)
                .collect();
            if !takers.is_empty() {
                actions.push(Action::MoveAway { daemon: daemon.id, to: takers[turn % takers.len()] });
            }
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(id: u64, kind: Option<&str>) -> Here {
        let kind = kind.map(str::to_owned);
        Here { id: DaemonId(id), kind, barred: BTreeSet::new(), moving: false, resting: false }
    }

    fn taker(node: u64, kinds: &[&str]) -> Taker {
        Taker { node: NodeId(node), kinds: kinds.iter().map(|&kind| kind.to_owned()).collect() }
    }

    #[test]
    fn a_draining_node_sends_what_can_move_to_those_who_take_it_a_few_at_a_time_and_in_turn() {
        let mut situation = Situation {
            draining: true,
            daemons: (0..8).map(|id| here(id, Some("a"))).collect(),
            takers: vec![taker(1, &["a"]), taker(2, &["b"]), taker(3, &["a", "b"])],
            ..Situation::default()
        };
        situation.daemons[0].moving = true;
        situation.daemons[1].resting = true;
        situation.daemons[4].barred.insert(NodeId(1));
        let targets: Vec<(u64, u64)> = (reconcile(&situation).iter())
            .map(|action| match action {
                Action::MoveAway { daemon, to } => (daemon.0, to.0),
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(targets, [(2, 1), (3, 3), (4, 3)]);
    }

    #[test]
    fn what_nobody_takes_or_nothing_can_make_anew_stays() {
        let situation = Situation {
            draining: true,
            daemons: vec![here(0, Some("c")), here(1, None)],
            takers: vec![taker(1, &["a"])],
            ..Situation::default()
        };
        assert_eq!(reconcile(&situation), []);
    }

    #[test]
    fn nothing_moves_in_a_frozen_cluster_or_without_a_drain() {
        let situation = Situation {
            draining: true,
            frozen: true,
            daemons: vec![here(0, Some("a"))],
            takers: vec![taker(1, &["a"])],
            ..Situation::default()
        };
        assert_eq!(reconcile(&situation), []);
        assert_eq!(reconcile(&Situation { draining: false, frozen: false, ..situation }), []);
    }
}
