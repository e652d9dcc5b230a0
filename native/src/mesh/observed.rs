//! Where the records of a node's calls go, for whoever asks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use meshground_node::CallRecord;
use tokio::sync::broadcast;

use super::call::CALL_RECORDS;

/// The way from the node's task to those who observe its calls. Most nodes are never observed, and the queue is memory for
/// thousands of records: it is there from the first who asks.
#[derive(Debug)]
pub(crate) struct Observed(ArcSwap<State>);

#[derive(Debug, Clone)]
enum State {
    /// Nobody has asked.
    Unasked,
    Asked(broadcast::Sender<Arc<CallRecord>>),
    /// The node is down.
    Over,
}

impl Default for Observed {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(State::Unasked))
    }
}

impl Observed {
    /// The records from now on; of a node that is down, none.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<CallRecord>> {
        if let State::Unasked = **self.0.load() {
            let asked = Arc::new(State::Asked(broadcast::channel(CALL_RECORDS).0));
            // Another may have been first, or the node gone down.
            self.0.rcu(|state| if let State::Unasked = **state { &asked } else { state }.clone());
        }
        match &**self.0.load() {
            State::Asked(sender) => sender.subscribe(),
            State::Unasked | State::Over => broadcast::channel(1).1,
        }
    }

    /// Lets those who observe have a record, if there are any.
    pub(crate) fn tell(&self, record: CallRecord) {
        if let State::Asked(sender) = &**self.0.load()
            && sender.receiver_count() > 0
        {
            // Those who do not observe any more are no error.
            let _ = sender.send(Arc::new(record));
        }
    }

    /// There will be no more.
    pub(crate) fn close(&self) {
        self.0.store(Arc::new(State::Over));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    #[test]
    fn whoever_asks_gets_what_comes_after_until_the_node_is_down() {
        let observed = Observed::default();
        assert!(matches!(**observed.0.load(), State::Unasked), "no memory for nobody");
        let mut first = observed.subscribe();
        let mut second = observed.subscribe();
        assert_eq!(first.try_recv().unwrap_err(), TryRecvError::Empty);
        observed.close();
        for records in [&mut first, &mut second, &mut observed.subscribe()] {
            assert_eq!(records.try_recv().unwrap_err(), TryRecvError::Closed);
        }
    }
}
