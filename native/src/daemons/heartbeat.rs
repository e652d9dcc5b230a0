//! Says regularly that it is there.

use std::time::Duration;

use meshground_node::{DaemonError, DaemonEvent, DaemonOrder, LogLevel, MeshDaemon, Outputs};

use super::{Made, args::Args};

/// The alarm to beat by.
const BEAT: u64 = 0;

/// Writes a line into its log at every beat, and whatever it is sent in between.
#[derive(Debug)]
pub struct Heartbeat {
    every: Duration,
    beats: u64,
}

impl Heartbeat {
    pub(super) const ABOUT: &str =
        "Logs a beat every every_ms=1000 milliseconds (1 to 3600000), and whatever it is sent.";

    pub(super) fn make(order: &DaemonOrder) -> Made {
        let args = Args::parse(&order.args, &["every_ms"])?;
        let every = Duration::from_millis(args.number("every_ms", 1..=3_600_000, 1_000)?.into());
        Ok(Box::new(Self { every, beats: 0 }))
    }
}

impl MeshDaemon for Heartbeat {
    fn name(&self) -> String {
        "heartbeat".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Started(_) => outputs.wake(self.every, BEAT),
            DaemonEvent::Alarm { token: BEAT } => {
                self.beats += 1;
                outputs.log(LogLevel::Info, format!("beat {}", self.beats));
                outputs.wake(self.every, BEAT);
            }
            DaemonEvent::Message { payload, .. } => {
                outputs.log(LogLevel::Info, String::from_utf8_lossy(&payload));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::daemons::testing::Bench;

    #[tokio::test]
    async fn it_beats_and_logs_what_it_is_told() {
        let mut bench = Bench::new().await;
        let heartbeat = bench.spawn("heartbeat", "every_ms=5").await.unwrap();
        bench.line(|line| line == "beat 2").await;
        bench.ask(heartbeat, "good morning").await;
        bench.line(|line| line == "good morning").await;
    }
}
