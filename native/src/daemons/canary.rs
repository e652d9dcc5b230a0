//! Goes wrong when told to.

use std::{thread::sleep, time::Duration};

use meshground_node::{DaemonError, DaemonEvent, DaemonHealth, DaemonOrder, MeshDaemon, Outputs};

use super::{Made, args::Args};

/// The longest it blocks.
const LONGEST: Duration = Duration::from_secs(10);

/// Crashes, panics, blocks or falls ill when it is told to: for seeing what that does to its node, which is nothing.
#[derive(Debug, Default)]
pub struct Canary {
    health: DaemonHealth,
    /// How busy it says it is, in thousandths.
    saturation: u16,
}

impl Canary {
    pub(super) const ABOUT: &str = "Goes wrong when told to: crash, panic, block MS (up to 10000), ill, well, or \
                                    load PERCENT (how busy it says it is). \
                                    Replies \"alive\" to anything else. Takes no arguments.";

    pub(super) fn make(order: &DaemonOrder) -> Made {
        Args::parse(&order.args, &[])?;
        Ok(Box::new(Self::default()))
    }
}

impl MeshDaemon for Canary {
    fn name(&self) -> String {
        "canary".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        let DaemonEvent::Message { payload, .. } = event else { return Ok(()) };
        let text = String::from_utf8_lossy(&payload);
        let mut words = text.split_whitespace();
        match (words.next(), words.next().map(str::parse)) {
            (Some("crash"), _) => return Err(DaemonError::new("as it was told")),
            (Some("panic"), _) => panic!("as it was told"),
            (Some("block"), Some(Ok(millis))) => sleep(Duration::from_millis(millis).min(LONGEST)),
            (Some("ill"), _) => self.health = DaemonHealth::Unhealthy,
            (Some("well"), _) => self.health = DaemonHealth::Healthy,
            (Some("load"), Some(Ok(percent))) => {
                self.saturation = u16::try_from(percent.min(100) * 10).unwrap_or(1_000);
            }
            _ => {}
        }
        outputs.reply("alive");
        Ok(())
    }

    fn health(&self) -> DaemonHealth {
        self.health
    }

    fn saturation(&self) -> u16 {
        self.saturation
    }
}

#[cfg(test)]
mod tests {
    use meshground_node::DeliverError;

    use super::*;
    use crate::{DaemonRuntimeError, daemons::testing::Bench};

    #[tokio::test]
    async fn it_goes_wrong_when_told_to_and_comes_back() {
        let mut bench = Bench::new().await;
        let canary = bench.spawn("canary", "").await.unwrap();
        assert_eq!(bench.ask(canary, "block 1").await, ["alive"]);
        bench.ask(canary, "ill").await;
        assert_eq!(bench.runtime.daemons().await.unwrap()[0].health, DaemonHealth::Unhealthy);
        bench.ask(canary, "load 70").await;
        assert_eq!(bench.runtime.daemons().await.unwrap()[0].saturation, 700);
        for wrong in ["crash", "panic"] {
            let outcome = bench.runtime.deliver(canary, wrong, None).await;
            assert_eq!(outcome, Err(DaemonRuntimeError::Deliver(DeliverError::Crashed)));
            bench.line(|line| line.starts_with("crashed: ") && line.ends_with("as it was told")).await;
            // It is down for a moment after that.
            while bench.runtime.deliver(canary, "well?", None).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
