//! Gives back what it is sent.

use meshground_node::{DaemonError, DaemonEvent, DaemonOrder, MeshDaemon, Outputs};

use super::{Made, args::Args};

/// Replies with what it is sent. The simplest daemon there is.
#[derive(Debug, Default)]
pub struct Echo;

impl Echo {
    pub(super) const ABOUT: &str = "Replies with what it is sent. Takes no arguments.";

    pub(super) fn make(order: &DaemonOrder) -> Made {
        Args::parse(&order.args, &[])?;
        Ok(Box::new(Self))
    }
}

impl MeshDaemon for Echo {
    fn name(&self) -> String {
        "echo".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { payload, .. } = event {
            outputs.reply(payload);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::daemons::testing::Bench;

    #[tokio::test]
    async fn it_gives_back_what_it_is_sent() {
        let bench = Bench::new().await;
        let echo = bench.spawn("echo", "").await.unwrap();
        assert_eq!(bench.ask(echo, "hello").await, ["hello"]);
    }
}
