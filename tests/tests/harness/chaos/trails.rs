//! What nodes wrote down about commands, and whether that is so.

use meshground_node::admin::AuditFilter;
use meshground_shared::{AdminVerb, AuditEntry, Decision, IceVerb, Maintenance, Verb};

use super::{operators::is_history, *};

/// What each node wrote down, by its index.
pub(super) type Trails = BTreeMap<usize, Vec<AuditEntry>>;

/// Decisions by nonce, in an order that is the same everywhere.
fn decisions(trail: &[AuditEntry], counts: impl Fn(Decision) -> bool) -> Vec<(&str, Decision)> {
    let counted = trail.iter().filter(|entry| counts(entry.decision));
    let mut decisions: Vec<_> = counted.map(|entry| (entry.nonce.as_str(), entry.decision)).collect();
    decisions.sort_by_cached_key(|(nonce, decision)| (*nonce, format!("{decision:?}")));
    decisions
}

impl Upheaval {
    pub(super) async fn trails(&self) -> Trails {
        let mut trails = Trails::new();
        for node in self.cluster.nodes() {
            let runtime = node.daemon_runtime();
            let audit = runtime.audit(AuditFilter::default());
            trails.insert(node.index(), within("a trail", audit).await.expect("it runs"));
        }
        trails
    }

    /// All are alike in the end: those who were always there know of every decision, the others of those that count.
    pub(super) fn trails_apart(&self, trails: &Trails) -> Option<String> {
        let apart = |a: usize, b: usize, counts: fn(Decision) -> bool| {
            let of = |index: usize| decisions(&trails[&index], counts);
            let only = |a: usize, b: usize| -> Vec<_> {
                let others = of(b);
                of(a).into_iter().filter(|it| !others.contains(it)).collect()
            };
            (of(a) != of(b)).then(|| {
                format!("trails differ: {a} alone has {:?}, and {b} alone {:?}", only(a, b), only(b, a))
            })
        };
        let always = CALM
            .chain([FORGE])
            .filter(|_| !self.tally.was_out_of_breath())
            .skip(1)
            .find_map(|index| apart(0, index, |_| true));
        always.or_else(|| (1..NODES).find_map(|index| apart(0, index, is_history)))
    }

    /// Nobody decided on a command twice or otherwise than whoever it was handed to was told.
    pub(super) fn commands_are_decided_alike(&self, trails: &Trails) {
        for (index, trail) in trails {
            let counted = decisions(trail, is_history);
            let twice = counted.windows(2).find(|pair| pair[0].0 == pair[1].0);
            assert!(twice.is_none(), "{index} decided on a command twice: {twice:?}");
        }
        for order in self.orders.all() {
            let Some(told) = order.decision else { continue };
            let nonce = order.command.nonce().to_string();
            for (index, trail) in trails {
                let was_there = (CALM.contains(index) || *index == FORGE) && !self.tally.was_out_of_breath();
                let its: Vec<Decision> =
                    trail.iter().filter(|entry| entry.nonce == nonce).map(|entry| entry.decision).collect();
                assert!(
                    its.contains(&told) || !was_there && !is_history(told),
                    "of {order:?} {index} wrote down {its:?}"
                );
            }
        }
    }

    /// Each node serves or does not as the commands say that it wrote down as applied, and what was started again was so once
    /// for each of them.
    pub(super) async fn commands_took_effect(&self, trails: &Trails) {
        for (index, trail) in trails {
            let node = self.node(*index);
            let applied = trail.iter().filter(|entry| entry.decision == Decision::Applied);
            let verbs: Vec<&Verb> = applied.map(|entry| &entry.verb).collect();
            let its =
                |verb: &&&Verb| matches!(verb, Verb::Admin(verb) if verb.node() == Some(node.node_id()));
            let (mut cordoned, mut out) = (false, false);
            for verb in verbs.iter().filter(its) {
                match verb {
                    Verb::Admin(AdminVerb::Cordon { .. } | AdminVerb::Drain { .. }) => cordoned = true,
                    Verb::Admin(AdminVerb::EnterMaintenance { .. }) => (cordoned, out) = (true, true),
                    Verb::Admin(AdminVerb::ExitMaintenance { .. }) => {
                        (cordoned, out) = (cordoned && !out, false);
                    }
                    // Out of service is out of service: it says that this came too late.
                    Verb::Admin(AdminVerb::Uncordon { .. }) => cordoned &= out,
                    _ => {}
                }
            }
            let seen = node.daemon_runtime().system();
            let is_out = seen.maintenance != Maintenance::Active;
            assert_eq!((seen.cordoned, is_out), (cordoned, out), "node {index}, told {verbs:?}");
        }
        let forge = self.node(FORGE);
        let runs = within("a look", forge.daemon_runtime().daemons()).await.expect("it runs");
        for witness in &self.cast.witnesses {
            let again = trails[&FORGE].iter().filter(|entry| {
                entry.decision == Decision::Applied
                    && match entry.verb {
                        Verb::Admin(AdminVerb::RestartAllDaemons { node }) => node == forge.node_id(),
                        Verb::Ice(IceVerb::ForceRestartDaemon { daemon }) => daemon == *witness,
                        _ => false,
                    }
            });
            let view = runs.iter().find(|view| view.id == *witness).expect("nobody moves it");
            assert_eq!(view.restarts as usize, again.count(), "once for each command: {view:?}");
            self.tally.set("witnesses started again", u64::from(view.restarts));
        }
    }
}
