//! Spreads rumours.

use std::collections::VecDeque;

use meshground_node::{
    Address, DaemonError, DaemonEvent, DaemonOrder, GroupPlace, LogLevel, MeshDaemon, Outputs, Sender,
};

use super::{Made, args::Args};

/// How many rumours it remembers, so that it does not tell them twice.
const REMEMBERED: usize = 256;

/// Tells all members of its group what it is told, unless it has heard it before.
#[derive(Debug, Default)]
pub struct Gossip {
    place: Option<GroupPlace>,
    heard: VecDeque<Vec<u8>>,
}

impl Gossip {
    pub(super) const ABOUT: &str = "Tells all other members of its group what it is told, and logs what it hears for the \
                                    first time. Takes no arguments.";

    pub(super) fn make(order: &DaemonOrder) -> Made {
        Args::parse(&order.args, &[])?;
        Ok(Box::new(Self { place: order.place.member, heard: VecDeque::new() }))
    }
}

impl MeshDaemon for Gossip {
    fn name(&self) -> String {
        match self.place {
            Some(place) => format!("gossip {}", place.index),
            None => "gossip".to_owned(),
        }
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        let DaemonEvent::Message { from, payload } = event else { return Ok(()) };
        if self.heard.contains(&payload) {
            outputs.reply("heard already");
            return Ok(());
        }
        if self.heard.len() == REMEMBERED {
            self.heard.pop_front();
        }
        outputs.log(LogLevel::Info, format!("heard: {}", String::from_utf8_lossy(&payload)));
        let mut told = 0;
        if let Some(place) = self.place {
            for other in (0..place.count).filter(|&other| other != place.index) {
                outputs.send(Address::Member(other), payload.clone());
                told += 1;
            }
        }
        if let Sender::Node(_) = from {
            outputs.reply(format!("told {told}"));
        }
        self.heard.push_back(payload);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::daemons::testing::Bench;

    #[tokio::test]
    async fn it_listens_to_a_rumour_once() {
        let mut bench = Bench::new().await;
        let gossip = bench.spawn("gossip", "").await.unwrap();
        assert_eq!(bench.ask(gossip, "they say").await, ["told 0"], "it is in no group");
        assert_eq!(bench.ask(gossip, "they say").await, ["heard already"]);
        bench.line(|line| line == "heard: they say").await;
    }
}
