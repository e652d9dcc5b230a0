//! What nodes wrote down about commands, and whether that is so.

use meshground_node::admin::AuditFilter;
use meshground_shared::{AdminVerb, AuditEntry, Decision, IceVerb, Maintenance, Verb};
use meshground_tests::trails::{Told, Trail};

use super::*;

/// What each node wrote down, by its index.
pub(super) type Trails = BTreeMap<usize, Vec<AuditEntry>>;

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

    /// All are alike in the end. What used no nonce up is told once, to those who can be reached: whoever was always there
    /// has it, unless it was handed to a node that may have crashed before it was told, or may have met nobody yet.
    pub(super) fn trails_apart(&self, trails: &Trails) -> Option<String> {
        let untold = (0..NODES).map(|index| self.untold(index)).collect::<Vec<_>>();
        let apart = |index: usize| {
            let counts = |entry: &AuditEntry| {
                entry.decision.is_final()
                    || is_always_there(index)
                        && ![0, index].iter().any(|end| untold[*end].contains(&entry.nonce))
            };
            let of =
                |index: usize| -> Trail { trails[&index].iter().filter(|entry| counts(entry)).collect() };
            let (first, its) = (of(0), of(index));
            (first != its).then(|| {
                let (alone, its_alone) = (first.beyond(&its), its.beyond(&first));
                format!("trails differ: 0 alone has {alone:?}, and {index} alone {its_alone:?}")
            })
        };
        (1..NODES).find_map(apart)
    }

    /// The nonces of commands that the node in this place need not have heard of, though it was there.
    fn untold(&self, index: usize) -> BTreeSet<String> {
        let need_not =
            |at: usize| at != index && (!is_always_there(at) || self.tally.was_unreachable(at, index));
        let orders = self.orders.all().into_iter().filter(|order| need_not(order.at));
        orders.map(|order| order.command.nonce().to_string()).collect()
    }

    /// Nobody decided on a command twice or otherwise than whoever it was handed to was told.
    pub(super) fn commands_are_decided_alike(&self, trails: &Trails) {
        for (index, trail) in trails {
            let counted: Trail = trail.iter().filter(|entry| entry.decision.is_final()).collect();
            assert_eq!(counted.twice(), None, "{index} decided on a command twice: {counted:?}");
        }
        let untold: BTreeMap<usize, _> = trails.keys().map(|index| (*index, self.untold(*index))).collect();
        for order in self.orders.all() {
            let Some(told) = order.decision else { continue };
            let nonce = order.command.nonce().to_string();
            for (index, trail) in trails {
                let is_due = told.is_final()
                    || is_always_there(*index) && (order.at == *index || !untold[index].contains(&nonce));
                let its: Vec<Decision> =
                    trail.iter().filter(|entry| entry.nonce == nonce).map(|entry| entry.decision).collect();
                assert!(its.contains(&told) || !is_due, "of {order:?} {index} wrote down {its:?}");
            }
        }
    }

    /// Each node serves or does not as the commands say that it wrote down as applied, and what was started again was so once
    /// for each of them.
    pub(super) async fn commands_took_effect(&self, trails: &Trails) {
        for (index, trail) in trails {
            let node = self.node(*index);
            let told = Told::new(node.node_id(), trail);
            let seen = node.daemon_runtime().system();
            let is_out = seen.maintenance != Maintenance::Active;
            assert_eq!(
                (seen.cordoned, is_out),
                (told.cordoned, told.out),
                "node {index}, told {:?}",
                told.verbs
            );
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
