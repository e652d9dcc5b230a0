//! Operators, who command all the time.

use meshground::meshos::wall_time;
use meshground_node::{
    WallTime,
    admin::{AdminCommand, IceProposal, Nonce, OperatorKey, SignedCommand},
};
use meshground_shared::{AdminVerb, Decision, IceVerb, Maintenance};

use super::*;

/// As many as all nodes are sure to remember, of what operators command and of what others do.
const MOST: (usize, usize) = (900, 60);

/// So many nodes do not serve at once at most.
const MOST_OUT: usize = 3;

/// A command that was handed in.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) command: SignedCommand,
    /// Which node it was handed to, by its index.
    pub(super) at: usize,
    /// What became of it, if whom it was handed to lived to say so.
    pub(super) decision: Option<Decision>,
}

/// All that were handed in.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<Vec<Order>>);

impl Orders {
    pub(super) fn all(&self) -> Vec<Order> {
        self.0.lock().unwrap().clone()
    }
}

fn demo(number: u8) -> OperatorKey {
    OperatorKey::demo(number).expect("there are three")
}

fn random_nonce(dice: &mut Dice) -> Nonce {
    let mut bytes = [0; 16];
    dice.0.fill_bytes(&mut bytes);
    Nonce(bytes)
}

impl Upheaval {
    /// Hands in one command after the other, most of them good.
    pub(super) async fn command_again_and_again(self, mut dice: Dice) {
        let mut strangers = 0;
        let most = u32::try_from(MOST.0 / OPERATORS).expect("small");
        let pause = (soak() / most).max(Duration::from_millis(80));
        while !self.tally.is_over() {
            tokio::time::sleep(pause).await;
            dice.pause(0..200).await;
            let command = match dice.below(20) {
                0..12 => self
                    .random_verb(&mut dice)
                    .map(|verb| AdminCommand::new(verb, wall_time(), random_nonce(&mut dice)).sign(&demo(1))),
                12..16 => self.break_glass(&mut dice).await,
                16..18 => dice.any_of(&self.orders.all()).map(|order| order.command),
                _ if strangers < MOST.1 / (2 * OPERATORS) => {
                    strangers += 1;
                    Some(self.bad_command(&mut dice))
                }
                _ => None,
            };
            let Some(command) = command else { continue };
            // Some who are handed one do not live to see what becomes of it.
            let at = if dice.one_in(8) { dice.below(NODES) } else { dice.within(&CALM) };
            self.command(at, command).await;
        }
    }

    async fn command(&self, at: usize, command: SignedCommand) -> Option<Decision> {
        let runtime = self.node(at).daemon_runtime();
        let commanded = within("a decision", runtime.command(command.clone())).await;
        let decision = commanded.ok().map(|commanded| commanded.decision);
        match decision {
            Some(Decision::Applied) => self.tally.add("applied"),
            Some(Decision::Rejected(why)) => {
                self.tally.add("rejected");
                self.tally.add(format!("rejected: {why:?}"));
            }
            None => self.tally.add("handed to a node that crashed"),
        }
        self.orders.0.lock().unwrap().push(Order { command, at, decision });
        decision
    }

    fn random_verb(&self, dice: &mut Dice) -> Option<AdminVerb> {
        let any = self.node(dice.below(NODES)).node_id();
        Some(match dice.below(10) {
            0..4 => return self.random_service(dice),
            4 => AdminVerb::DropReplicas { node: any },
            5 => AdminVerb::InvalidatePlacement { group: dice.any_of(&self.groups())?.id() },
            6 => AdminVerb::ClearAvoidList { node: any },
            7..9 => AdminVerb::RestartAllDaemons { node: self.node(FORGE).node_id() },
            _ => {
                let wild = &WILD[dice.below(2)];
                AdminVerb::RestartAllDaemons { node: self.node(dice.within(wild)).node_id() }
            }
        })
    }

    /// Takes a node out of service, or brings one back. Never all of those that something needs.
    fn random_service(&self, dice: &mut Dice) -> Option<AdminVerb> {
        let snapshot = self.cluster.snapshot();
        let out: Vec<_> = snapshot
            .nodes
            .iter()
            .filter(|(_, it)| it.cordoned || it.maintenance != Maintenance::Active)
            .collect();
        let is_short = |range: &Range<usize>| out.iter().any(|(_, it)| range.contains(&(it.index as usize)));
        if let Some((&node, it)) = dice.any_of(&out)
            && (out.len() >= MOST_OUT || dice.one_in(2))
        {
            return Some(match it.maintenance {
                Maintenance::Active => AdminVerb::Uncordon { node },
                _ => AdminVerb::ExitMaintenance { node },
            });
        }
        let index = 2 + dice.below(NODES - 2);
        if index == FORGE || [CALM, SOUND].iter().any(|range| range.contains(&index) && is_short(range)) {
            return None;
        }
        let node = self.node(index).node_id();
        Some(match dice.below(3) {
            0 => AdminVerb::Drain { node },
            1 => AdminVerb::EnterMaintenance { node },
            _ => AdminVerb::Cordon { node },
        })
    }

    async fn break_glass(&self, dice: &mut Dice) -> Option<SignedCommand> {
        let snapshot = self.cluster.snapshot();
        let may_be_lost =
            |daemon: &DaemonId| *daemon != self.standing() && !self.cast.precious.contains(daemon);
        let moving = snapshot.migrations.values().filter(|it| !it.view.phase.is_over());
        let moving: Vec<_> = moving.filter(|it| may_be_lost(&it.view.daemon)).map(|it| it.view.id).collect();
        let verb = match (dice.below(8), dice.any_of(&moving)) {
            (0, _) => IceVerb::FreezeCluster { ttl_ms: 500 + dice.below(1_000) as u64 },
            (1, _) => IceVerb::ThawCluster,
            (2, _) => IceVerb::FlushAvoidLists,
            (3, _) => IceVerb::ForceRestartDaemon { daemon: dice.any_of(&self.cast.witnesses)? },
            (4, Some(migration)) => IceVerb::ForceCutover { migration },
            (5, Some(migration)) => IceVerb::KillMigration { migration },
            _ => IceVerb::ForceEvictReplica {
                group: dice.any_of(&self.groups())?.id(),
                index: u32::try_from(dice.below(COUNT as usize)).expect("small"),
            },
        };
        let runtime = self.calm_node(dice).daemon_runtime();
        let radius = within("a look", runtime.simulate(verb.clone())).await.ok()??;
        let simulated = IceProposal::new(verb).simulated(radius);
        let signed = simulated.sign(wall_time(), random_nonce(dice), &demo(1));
        // Now and then the other one is not asked.
        Some(if dice.one_in(8) { signed } else { signed.cosign(&demo(2)) })
    }

    /// One that nobody may carry out, whatever it says.
    fn bad_command(&self, dice: &mut Dice) -> SignedCommand {
        let node = self.calm_node(dice).node_id();
        let verb = AdminVerb::EnterMaintenance { node };
        let nonce = random_nonce(dice);
        let (now, ago) = (wall_time(), WallTime(wall_time().0 - 1_000_000_000));
        match dice.below(3) {
            0 => AdminCommand::new(verb, now, nonce).unsigned(),
            1 => AdminCommand::new(verb, now, nonce).sign(&OperatorKey::from_seed("mallory", [66; 32])),
            _ => AdminCommand::new(verb, ago, nonce).sign(&demo(1)),
        }
    }

    /// Has every node serve again.
    pub(super) async fn bring_all_back(&self) {
        let mut dice = Dice::new(77);
        let mut begun = Instant::now();
        loop {
            let snapshot = self.cluster.snapshot();
            let out = snapshot.nodes.iter().find_map(|(&node, it)| match it.maintenance {
                Maintenance::Active if it.cordoned => Some(AdminVerb::Uncordon { node }),
                Maintenance::Maintenance | Maintenance::DrainFailed => {
                    Some(AdminVerb::ExitMaintenance { node })
                }
                _ => None,
            });
            if let Some(verb) = out {
                let order = AdminCommand::new(verb, wall_time(), random_nonce(&mut dice)).sign(&demo(1));
                let decision = self.command(CALM.start, order).await;
                assert_eq!(decision, Some(Decision::Applied), "all can be asked");
                begun = Instant::now();
            } else if snapshot.nodes.values().all(|it| it.maintenance == Maintenance::Active && !it.cordoned)
            {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not all are back in service");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
