//! Asks another daemon something again and again.

use std::time::{Duration, Instant};

use meshground_node::{
    Address, DaemonError, DaemonEvent, DaemonId, DaemonOrder, LogLevel, MeshDaemon, Outputs,
};

use super::{Made, args::Args};

/// So many answers make a line in the log.
const ANSWERS_A_LINE: u32 = 10;

/// The alarm to ask by.
const ASK: u64 = 0;

/// Asks an [`Echo`](super::Echo), or any other daemon, one thing after the other, and logs how long the answers took. One
/// question is under way at a time.
#[derive(Debug)]
pub struct Caller {
    to: DaemonId,
    every: Duration,
    /// The question under way, and when it was asked.
    asked: Option<(u64, Instant)>,
    count: u64,
    answered: u32,
    took: Duration,
    longest: Duration,
}

impl Caller {
    pub(super) const ABOUT: &str = "Asks the daemon to=ID something every every_ms=1000 milliseconds (1 to 3600000), \
                                    and logs every tenth time how long the answers took.";

    pub(super) fn make(order: &DaemonOrder) -> Made {
        let args = Args::parse(&order.args, &["to", "every_ms"])?;
        let every = Duration::from_millis(args.number("every_ms", 1..=3_600_000, 1_000)?.into());
        let to = args.required("to")?;
        Ok(Box::new(Self {
            to,
            every,
            asked: None,
            count: 0,
            answered: 0,
            took: Duration::ZERO,
            longest: Duration::ZERO,
        }))
    }

    fn answered(&mut self, took: Duration, outputs: &mut Outputs) {
        self.answered += 1;
        self.took += took;
        self.longest = self.longest.max(took);
        if self.answered == ANSWERS_A_LINE {
            let mean = self.took / self.answered;
            let text = format!(
                "{} answers: {} us on average, {} us at most",
                self.answered,
                mean.as_micros(),
                self.longest.as_micros()
            );
            outputs.log(LogLevel::Info, text);
            (self.answered, self.took, self.longest) = (0, Duration::ZERO, Duration::ZERO);
        }
    }
}

impl MeshDaemon for Caller {
    fn name(&self) -> String {
        format!("caller of {}", self.to)
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Started(_) => outputs.wake(self.every, ASK),
            DaemonEvent::Alarm { token: ASK } => {
                outputs.wake(self.every, ASK);
                if self.asked.is_none() {
                    self.count += 1;
                    self.asked = Some((self.count, Instant::now()));
                    outputs.ask(Address::Daemon(self.to), format!("question {}", self.count), self.count);
                }
            }
            DaemonEvent::Answer { token, outcome } => {
                if let Some((_, at)) = self.asked.take_if(|(asked, _)| *asked == token) {
                    match outcome {
                        Ok(_) => self.answered(at.elapsed(), outputs),
                        Err(error) => outputs.log(LogLevel::Warn, format!("question {token}: {error}")),
                    }
                }
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
    async fn it_logs_how_long_answers_took() {
        let mut bench = Bench::new().await;
        let echo = bench.spawn("echo", "").await.unwrap();
        bench.spawn("caller", &format!("to={echo} every_ms=1")).await.unwrap();
        bench.line(|line| line.starts_with("10 answers: ")).await;
    }
}
