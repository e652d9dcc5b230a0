//! Crashes.

use meshground::cluster::RestartIdentity;
use meshground_shared::GroupHealth;

use tokio::task::JoinHandle;

use super::{letters::BURST, *};

impl Upheaval {
    /// Crashes one of these nodes after the other and starts it again.
    pub(super) async fn crash_again_and_again(self, victims: Range<usize>, mut dice: Dice) {
        let (mut asks, mut hurries) = (Correspondent::new(90, 0), Correspondent::new(91, 1));
        while !self.tally.is_over() {
            let node = self.node(dice.within(&victims));
            let (id, hosts_standbys) = (node.node_id(), is_sound(node.index()));
            if hosts_standbys && dice.one_in(2) {
                // Then it is the one that works that crashes.
                let _ = self.migrate("standbys", self.standing(), id, &mut dice).await;
            }
            if hosts_standbys && !self.is_backed_up(&mut asks).await {
                self.tally.add("standbys were not ready for a crash");
                dice.pause(100..300).await;
                continue;
            }
            if !hosts_standbys && dice.one_in(4) {
                self.bring_back(node.index(), RestartIdentity::Fresh).await;
                self.tally.add("began as somebody new");
            } else {
                let writing = hosts_standbys.then(|| self.write_meanwhile(hurries));
                dice.pause(0..10).await;
                if hosts_standbys && self.standing_at() == Some(id) {
                    self.tally.add("crashed with the standbys' work under way");
                }
                within("a crash", self.cluster.crash_node(id)).await.expect("it runs");
                if self.tally.goes_down() > 0 {
                    self.tally.add("crashed while others were down");
                }
                if hosts_standbys {
                    self.tally.add("crashed with standbys at work");
                }
                // Some are back before anybody has missed them.
                let down = if dice.one_in(3) { 50..500 } else { 500..5_000 };
                dice.pause(down).await;
                self.bring_back(node.index(), RestartIdentity::Same).await;
                self.tally.comes_back();
                if let Some(writing) = writing {
                    hurries = writing.await.expect("it ends well");
                }
                self.tally.add("crashed");
            }
            dice.pause(500..5_000).await;
        }
    }

    /// Writes to the standby group while something else happens.
    fn write_meanwhile(&self, mut from: Correspondent) -> JoinHandle<Correspondent> {
        let upheaval = self.clone();
        tokio::spawn(async move {
            let to = upheaval.standing();
            upheaval.post.send(&upheaval.cluster, &mut from, to, BURST).await;
            from
        })
    }

    /// The node that does a standby group's work.
    fn standing_at(&self) -> Option<NodeId> {
        view(&self.cast.standbys).members[0].node
    }

    /// Starts the node in this place again. All get to know it within the cluster's budgets, whoever is down meanwhile.
    async fn bring_back(&self, index: usize, identity: RestartIdentity) {
        // Nodes start one after the other, each within the cluster's own budgets.
        let most = PATIENCE * 5;
        let restart = self.cluster.restart_node_as(self.node(index).node_id(), identity);
        let restarted = tokio::time::timeout(most, restart).await;
        let restarted = restarted.unwrap_or_else(|_| panic!("{index} did not come back within {most:?}"));
        restarted.unwrap_or_else(|error| panic!("{index} did not come back: {error}"));
    }

    /// Whether what the standby group has acknowledged is held by others than one node alone.
    async fn is_backed_up(&self, asks: &mut Correspondent) -> bool {
        view(&self.cast.standbys).health == GroupHealth::Healthy
            && self.post.send(&self.cluster, asks, self.standing(), 1).await == 1
    }
}
