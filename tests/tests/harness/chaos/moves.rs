//! Daemons that are moved.

use meshground::DaemonRuntimeError;
use meshground_node::{MigrateError, PickStrategy};

use super::*;

impl Upheaval {
    /// Moves a daemon from one calm node to another.
    pub(super) async fn move_among_the_calm(self, daemon: DaemonId, mut dice: Dice) {
        while !self.tally.is_over() {
            let to = self.calm_node(&mut dice).node_id();
            let _ = self.migrate("precious", daemon, to, &mut dice).await;
            dice.pause(0..100).await;
        }
    }

    /// Moves a daemon to wherever, and begins another when that one cannot be found any more.
    pub(super) async fn go_astray(self, mut dice: Dice) {
        let mut stray = None;
        while !self.tally.is_over() {
            let Some(daemon) = stray else {
                let runtime = self.calm_node(&mut dice).daemon_runtime();
                // A node on its way out of service takes none, and a frozen cluster starts none.
                stray = within("a start", runtime.spawn("diary", random_keypair(), "")).await.ok();
                self.strays.lock().unwrap().extend(stray);
                dice.pause(10..100).await;
                continue;
            };
            let to = self.node(dice.below(NODES)).node_id();
            let moved = self.migrate("strays", daemon, to, &mut dice).await;
            if let Err(DaemonRuntimeError::Migration(MigrateError::NotFound(_))) = moved {
                self.tally.add("strays: lost");
                stray = None;
            }
            dice.pause(0..200).await;
        }
    }

    /// Moves members of a group to wherever.
    pub(super) async fn stir(self, group: Group, mut dice: Dice) {
        let what = view(&group).name;
        while !self.tally.is_over() {
            let to = self.node(dice.below(NODES)).node_id();
            if let Ok(Some(member)) = within("a pick", group.pick(PickStrategy::Random)).await {
                let _ = self.migrate(&what, member, to, &mut dice).await;
            }
            dice.pause(0..500).await;
        }
    }

    /// Has the standby group's daemon go on elsewhere: moved to a calm node, or taken over by a standby.
    pub(super) async fn hand_over(self, mut dice: Dice) {
        while !self.tally.is_over() {
            dice.pause(200..1_500).await;
            if dice.one_in(4) {
                match within("a promotion", self.cast.standbys.promote()).await {
                    Ok(()) => self.tally.add("standbys: promoted"),
                    Err(_) => self.tally.add("standbys: not promoted"),
                }
            } else {
                let to = self.calm_node(&mut dice).node_id();
                let _ = self.migrate("standbys", self.standing(), to, &mut dice).await;
            }
        }
    }

    pub(super) async fn migrate(
        &self,
        what: &str,
        daemon: DaemonId,
        to: NodeId,
        dice: &mut Dice,
    ) -> Result<(), DaemonRuntimeError> {
        let asked = self.calm_node(dice).daemon_runtime();
        let Ok(moved) = tokio::time::timeout(PATIENCE, asked.migrate(daemon, to)).await else {
            let snapshot = self.cluster.snapshot();
            let all: Vec<_> = snapshot.migrations.values().filter(|it| it.view.daemon == daemon).collect();
            panic!("{what}: {daemon} has been on its way to {to} for {PATIENCE:?}: {all:?}");
        };
        self.tally.add(format!("{what}: {}", if moved.is_ok() { "moved" } else { "stayed" }));
        moved.map(drop)
    }
}
