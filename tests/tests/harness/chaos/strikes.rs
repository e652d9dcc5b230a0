//! Crashes.

use meshground::cluster::RestartIdentity;
use meshground_shared::GroupHealth;

use super::*;

/// Waits for longer than the cluster itself does, which then says what it waited for. Nodes start one after the other.
async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    let most = PATIENCE * 5;
    tokio::time::timeout(most, future).await.unwrap_or_else(|_| panic!("{what}: not within {most:?}"))
}

impl Upheaval {
    /// Crashes one of these nodes after the other and starts it again.
    pub(super) async fn crash_again_and_again(self, victims: Range<usize>, mut dice: Dice) {
        let mut asks = Correspondent::new(90, 0);
        while !self.tally.is_over() {
            let node = self.node(dice.within(&victims));
            let (id, hosts_standbys) = (node.node_id(), is_sound(node.index()));
            if hosts_standbys && !self.is_backed_up(&mut asks).await {
                self.tally.add("standbys were not ready for a crash");
                dice.pause(100..300).await;
                continue;
            }
            if !hosts_standbys && dice.one_in(4) {
                let anew = self.cluster.restart_node_as(id, RestartIdentity::Fresh);
                patiently("a new beginning", anew).await.expect("it comes back as somebody else");
                self.tally.add("began as somebody new");
            } else {
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
                patiently("a restart", self.cluster.restart_node(id)).await.expect("it comes back");
                self.tally.comes_back();
                self.tally.add("crashed");
            }
            dice.pause(500..5_000).await;
        }
    }

    /// Whether what the standby group has acknowledged is held by others than one node alone.
    async fn is_backed_up(&self, asks: &mut Correspondent) -> bool {
        view(&self.cast.standbys).health == GroupHealth::Healthy
            && self.post.send(&self.cluster, asks, self.standing(), 1).await == 1
    }
}
