//! Hands a token round.

use std::time::Duration;

use meshground_node::{
    Address, DaemonError, DaemonEvent, DaemonOrder, GroupPlace, LogLevel, MeshDaemon, Outputs,
};

use super::{Made, args::Args};

/// The most hands a token goes through.
const MOST_HOPS: u32 = 100_000;

/// The alarm by which it passes the token on.
const PASS: u64 = 0;

/// Holds a token for a moment and passes it to the next member of its group, until it has gone through as many hands as it
/// was to.
#[derive(Debug)]
pub struct Ring {
    place: Option<GroupPlace>,
    hold: Duration,
    /// Through how many hands the token in its own has still to go.
    token: Option<u32>,
}

impl Ring {
    pub(super) const ABOUT: &str = "Hands a token to the next member of its group after hold_ms=100 milliseconds (0 to \
                                    60000). Begins with one when told: token HOPS.";

    pub(super) fn make(order: &DaemonOrder) -> Made {
        let args = Args::parse(&order.args, &["hold_ms"])?;
        let hold = Duration::from_millis(args.number("hold_ms", 0..=60_000, 100)?.into());
        Ok(Box::new(Self { place: order.place.member, hold, token: None }))
    }

    fn pass(&mut self, outputs: &mut Outputs) {
        let (Some(hops), Some(place)) = (self.token.take(), self.place) else { return };
        if hops == 0 {
            outputs.log(LogLevel::Info, "the token has gone through all its hands");
        } else {
            let next = (place.index + 1) % place.count.max(1);
            outputs.send(Address::Member(next), format!("token {}", hops - 1));
        }
    }
}

impl MeshDaemon for Ring {
    fn name(&self) -> String {
        match self.place {
            Some(place) => format!("ring {} of {}", place.index, place.count),
            None => "ring".to_owned(),
        }
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Message { payload, .. } => {
                let text = String::from_utf8_lossy(&payload);
                let hops = text.strip_prefix("token ").and_then(|hops| hops.trim().parse().ok());
                match hops.filter(|&hops| hops <= MOST_HOPS) {
                    Some(_) if self.place.is_none() => outputs.reply("it is in no group"),
                    Some(_) if self.token.is_some() => outputs.reply("it has a token already"),
                    Some(hops) => {
                        self.token = Some(hops);
                        outputs.log(LogLevel::Debug, format!("has the token; {hops} hands to go"));
                        outputs.wake(self.hold, PASS);
                        outputs.reply("it has the token");
                    }
                    None => outputs.reply(format!("say: token HOPS, with at most {MOST_HOPS}")),
                }
            }
            DaemonEvent::Alarm { token: PASS } => self.pass(outputs),
            _ => {}
        }
        Ok(())
    }

    /// The token. The alarm by which it is passed on moves by itself.
    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(self.token.map(|hops| hops.to_le_bytes().to_vec()).unwrap_or_default())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        self.token = match (state.is_empty(), state.try_into()) {
            (true, _) => None,
            (false, Ok(hops)) => Some(u32::from_le_bytes(hops)),
            (false, Err(_)) => return Err(DaemonError::new("a ring's state has 4 bytes or none")),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::daemons::testing::Bench;

    #[tokio::test]
    async fn alone_it_takes_no_token() {
        let bench = Bench::new().await;
        let ring = bench.spawn("ring", "").await.unwrap();
        assert_eq!(bench.ask(ring, "token 3").await, ["it is in no group"]);
        assert_eq!(bench.ask(ring, "token 1000001").await, ["say: token HOPS, with at most 100000"]);
    }
}
