//! Has a state worth moving.

use meshground_node::{DaemonError, DaemonEvent, DaemonOrder, LogLevel, MeshDaemon, Outputs};

use super::{Made, args::Args};

/// Counts. Its state is the count, which it takes along wherever it moves.
#[derive(Debug, Default)]
pub struct Counter {
    count: u64,
}

impl Counter {
    pub(super) const ABOUT: &str = "Counts what it is sent: add N (or nothing, for 1), get, or reset; replies with the \
                                    count. Begins at from=0. Its count moves with it.";

    pub(super) fn make(order: &DaemonOrder) -> Made {
        let args = Args::parse(&order.args, &["from"])?;
        Ok(Box::new(Self { count: args.number("from", 0..=u32::MAX, 0)?.into() }))
    }
}

impl MeshDaemon for Counter {
    fn name(&self) -> String {
        "counter".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Started(place) if place.restored => {
                outputs.log(LogLevel::Info, format!("goes on from {}", self.count));
            }
            DaemonEvent::Message { payload, .. } => {
                let text = String::from_utf8_lossy(&payload);
                let mut words = text.split_whitespace();
                match (words.next().unwrap_or("add"), words.next().map_or(Ok(1), str::parse::<u64>)) {
                    ("add", Ok(by)) => self.count = self.count.saturating_add(by),
                    ("get", _) => {}
                    ("reset", _) => self.count = 0,
                    _ => {
                        outputs.reply("say: add N, get, or reset");
                        return Ok(());
                    }
                }
                outputs.reply(self.count.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(self.count.to_le_bytes().to_vec())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        let count = state.try_into().map_err(|_| DaemonError::new("a counter's state has 8 bytes"))?;
        self.count = u64::from_le_bytes(count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{DaemonRuntimeError, daemons::testing::Bench, meshos::random_keypair};

    #[tokio::test]
    async fn its_count_goes_on_in_another_incarnation_and_in_nobody_else() {
        let bench = Bench::new().await;
        let keys = random_keypair();
        let counter = bench.runtime.spawn("counter", keys.clone(), "from=40").await.unwrap();
        assert_eq!(bench.ask(counter, "add 2").await, ["42"]);
        assert_eq!(bench.ask(counter, "multiply").await, ["say: add N, get, or reset"]);
        let state = bench.runtime.snapshot(counter).await.unwrap();
        bench.runtime.stop(counter, Duration::from_secs(5)).await.unwrap();

        let other = random_keypair();
        let refused = bench.runtime.spawn_from_snapshot("counter", other.clone(), "", state.clone()).await;
        let mismatch = DaemonRuntimeError::SnapshotIdentityMismatch {
            expected: other.origin_hash(),
            found: keys.origin_hash(),
        };
        assert_eq!(refused, Err(mismatch));
        let again = bench.runtime.spawn_from_snapshot("counter", keys, "", state).await.unwrap();
        assert_eq!(again, counter);
        assert_eq!(bench.ask(counter, "get").await, ["42"]);
    }
}
