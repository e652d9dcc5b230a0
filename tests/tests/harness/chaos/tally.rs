//! What happened, to see that it did.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// How often each of these is to happen in a minute at least. A busy machine does a good deal less than an idle one.
const FAIR: [(&str, u64); 18] = [
    ("crashed", 12),
    ("crashed while others were down", 5),
    ("crashed with standbys at work", 2),
    ("began as somebody new", 3),
    ("precious: moved", 100),
    ("strays: moved", 10),
    ("replicas: moved", 10),
    ("forks: moved", 10),
    ("standbys: moved", 3),
    ("standbys: promoted", 1),
    ("acknowledged to precious", 500),
    ("acknowledged to standbys", 50),
    ("acknowledged to other groups", 50),
    ("applied", 20),
    ("rejected", 5),
    ("rejected: NotAuthorized", 2),
    ("rejected: NonceReplayed", 1),
    ("witnesses started again", 1),
];

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    over: AtomicBool,
    /// Who took whom for gone that was there, and whether some of it was not heard.
    silences: Mutex<Silences>,
    down: AtomicUsize,
    counts: Mutex<BTreeMap<String, u64>>,
}

/// Who was Unreachable to whom.
#[derive(Debug, Default)]
struct Silences {
    missed: bool,
    pairs: BTreeSet<(usize, usize)>,
}

impl Tally {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether one that is always there was ever Unreachable to another, on a machine out of breath: a node puts no commands to
    /// whom it cannot reach, and what nobody was authorized to do that one is not told afterwards.
    pub(super) fn was_unreachable(&self, to: usize, whom: usize) -> bool {
        let silences = self.silences.lock().unwrap();
        silences.missed || silences.pairs.contains(&(to, whom))
    }

    /// Reads what happens until it is over, for whether those who are `always` there took each other for gone.
    pub(super) async fn listen(self: Arc<Self>, mut events: EventReceiver, always: BTreeMap<NodeId, usize>) {
        while !self.is_over() {
            let event = tokio::select! {
                event = events.recv() => event,
                () = tokio::time::sleep(Duration::from_millis(100)) => continue,
            };
            let Ok(event) = event else {
                // Nobody knows what it missed.
                self.silences.lock().unwrap().missed = true;
                continue;
            };
            let EventKind::PeerHealth { peer, to: Health::Unreachable, .. } = event.kind else { continue };
            let ends = event.node.and_then(|node| always.get(&node)).zip(always.get(&peer));
            self.silences.lock().unwrap().pairs.extend(ends.map(|(to, whom)| (*to, *whom)));
        }
    }

    pub(super) fn add(&self, what: impl Into<String>) {
        *self.counts.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    pub(super) fn set(&self, what: &str, count: u64) {
        self.counts.lock().unwrap().insert(what.to_owned(), count);
    }

    /// One more node is down; how many were before.
    pub(super) fn goes_down(&self) -> usize {
        self.down.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn comes_back(&self) {
        self.down.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn print(&self) {
        println!("{:#?}", self.counts.lock().unwrap());
        println!("{:?}", self.silences.lock().unwrap());
    }

    /// Each thing did happen, a fair number of times.
    pub(super) fn was_fair(&self, soak: Duration) {
        let counts = self.counts.lock().unwrap();
        for (what, a_minute) in FAIR {
            let wanted = a_minute * soak.as_secs() / 60;
            let found = counts.get(what).copied().unwrap_or_default();
            assert!(found >= wanted, "{what}: {found} times, and {wanted} would be fair: {counts:#?}");
        }
    }
}
