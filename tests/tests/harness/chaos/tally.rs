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
    out_of_breath: AtomicBool,
    down: AtomicUsize,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// A machine out of breath makes nodes that are there Unreachable to others. These put no commands to them meanwhile, and
    /// what nobody was authorized to do they are not told afterwards.
    pub(super) fn was_out_of_breath(&self) -> bool {
        self.out_of_breath.load(Ordering::Relaxed)
    }

    /// Reads what happens until it is over, for whether those who are `always` there were taken for gone.
    pub(super) async fn listen(self: Arc<Self>, mut events: EventReceiver, always: BTreeSet<NodeId>) {
        while !self.is_over() {
            let event = tokio::select! {
                event = events.recv() => event,
                () = tokio::time::sleep(Duration::from_millis(100)) => continue,
            };
            // Nobody knows what it missed.
            let missed = event.as_ref().map_or(true, |event| {
                let EventKind::PeerHealth { peer, to: Health::Unreachable, .. } = event.kind else {
                    return false;
                };
                always.contains(&peer)
            });
            if missed {
                self.out_of_breath.store(true, Ordering::Relaxed);
            }
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
        println!("out of breath: {}", self.was_out_of_breath());
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
