//! Small daemons that every node of a cluster can make: to look at, to play with, and to begin one's own from.
//!
//! They take arguments as `key=value`, separated by blanks; what they do not know, they refuse by name.

mod args;
mod caller;
mod canary;
mod counter;
mod echo;
mod gossip;
mod heartbeat;
mod ring;

use std::sync::Arc;

use meshground_node::{DaemonError, DaemonFactory, DaemonOrder, MeshDaemon};

pub use self::{
    caller::Caller, canary::Canary, counter::Counter, echo::Echo, gossip::Gossip, heartbeat::Heartbeat,
    ring::Ring,
};

/// A daemon out of an order, or why not.
type Made = Result<Box<dyn MeshDaemon>, DaemonError>;

/// What makes one.
type Make = fn(&DaemonOrder) -> Made;

/// A factory out of a function, and what it makes in a sentence.
struct Bundled {
    make: Make,
    about: &'static str,
}

impl DaemonFactory for Bundled {
    fn make(&self, order: &DaemonOrder) -> Made {
        (self.make)(order)
    }

    fn about(&self) -> String {
        self.about.to_owned()
    }
}

/// The bundled factories, with the kinds they go by.
pub fn bundled() -> impl Iterator<Item = (&'static str, Arc<dyn DaemonFactory>)> {
    let bundled: [(_, Make, _); 7] = [
        ("caller", Caller::make, Caller::ABOUT),
        ("canary", Canary::make, Canary::ABOUT),
        ("counter", Counter::make, Counter::ABOUT),
        ("echo", Echo::make, Echo::ABOUT),
        ("gossip", Gossip::make, Gossip::ABOUT),
        ("heartbeat", Heartbeat::make, Heartbeat::ABOUT),
        ("ring", Ring::make, Ring::ABOUT),
    ];
    bundled.into_iter().map(|(kind, make, about)| {
        let factory: Arc<dyn DaemonFactory> = Arc::new(Bundled { make, about });
        (kind, factory)
    })
}

#[cfg(test)]
mod testing {
    //! A node to try a daemon on.

    use std::time::Duration;

    use meshground_node::DaemonId;
    use meshground_shared::EventKind;

    use crate::{ClusterHarness, DaemonRuntime, DaemonRuntimeError, EventReceiver, meshos::random_keypair};

    /// No test waits longer for anything.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A cluster of one.
    pub(super) struct Bench {
        events: EventReceiver,
        pub(super) runtime: DaemonRuntime,
        _cluster: ClusterHarness,
    }

    impl Bench {
        pub(super) async fn new() -> Self {
            let cluster = ClusterHarness::new(1).await.expect("one node boots");
            let runtime = cluster.nth(0).expect("it is there").daemon_runtime();
            Self { events: cluster.events().events, runtime, _cluster: cluster }
        }

        pub(super) async fn spawn(&self, kind: &str, args: &str) -> Result<DaemonId, DaemonRuntimeError> {
            self.runtime.spawn(kind, random_keypair(), args).await
        }

        /// What a daemon replies to something.
        pub(super) async fn ask(&self, daemon: DaemonId, payload: &str) -> Vec<String> {
            let delivered = self.runtime.deliver(daemon, payload, None).await.expect("it is worked off");
            delivered.replies.into_iter().map(|reply| String::from_utf8(reply).expect("text")).collect()
        }

        /// The next line in any daemon's log that satisfies `wanted`.
        pub(super) async fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
            let find = async {
                loop {
                    let event = self.events.recv().await.expect("the log is there");
                    if let EventKind::DaemonLog { text, .. } = &event.kind
                        && wanted(text)
                    {
                        return text.clone();
                    }
                }
            };
            tokio::time::timeout(PATIENCE, find).await.expect("a line like that")
        }
    }

    #[tokio::test]
    async fn what_a_factory_does_not_know_it_refuses_by_name() {
        let bench = Bench::new().await;
        let kinds = bench.runtime.kinds().await.unwrap();
        assert_eq!(kinds.len(), super::bundled().count());
        for (kind, about) in kinds {
            assert!(!about.is_empty(), "{kind}");
            let refused = bench.spawn(&kind, "no_such=1").await.unwrap_err().to_string();
            assert!(refused.contains("no_such"), "{kind}: {refused}");
        }
    }
}
