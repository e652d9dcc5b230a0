//! Gauges, sampled once for everybody who wants them.

use std::{future::Future, sync::Arc, time::Duration};

use meshground_shared::{DaemonSample, LinkSample, TrafficSample};
use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval},
};

/// Ten frames a second at most.
const PERIOD: Duration = Duration::from_millis(100);

/// The figures of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    /// In the room's log's monotonic microseconds.
    pub(crate) at_us: u64,
    /// Ordered by node, then peer.
    pub(crate) links: Arc<[LinkSample]>,
    /// Ordered likewise.
    pub(crate) traffic: Arc<[TrafficSample]>,
    /// Ordered by node, then daemon.
    pub(crate) daemons: Arc<[DaemonSample]>,
}

/// Samples while somebody subscribes, and rests while nobody does.
#[derive(Debug)]
pub(crate) struct Sampler {
    frames: watch::Sender<Frame>,
    wanted: Notify,
}

impl Sampler {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { frames: watch::Sender::default(), wanted: Notify::new() })
    }

    /// Frames from the next one on. Whoever reads too slowly misses some, and no more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Frame> {
        let frames = self.frames.subscribe();
        self.wanted.notify_one();
        frames
    }

    /// Calls `sample` for every frame that somebody waits for, without end.
    pub(crate) async fn run<F: Future<Output = Frame>>(self: Arc<Self>, sample: impl Fn() -> F) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.frames.receiver_count() == 0 {
                self.wanted.notified().await;
                continue;
            }
            let mut frame = sample().await;
            frame.links = sorted(frame.links, |link| (link.node, link.peer));
            frame.traffic = sorted(frame.traffic, |link| (link.node, link.peer));
            frame.daemons = sorted(frame.daemons, |daemon| (daemon.node, daemon.daemon));
            self.frames.send_replace(frame);
        }
    }
}

fn sorted<T: Copy, K: Ord>(samples: Arc<[T]>, key: impl Fn(&T) -> K) -> Arc<[T]> {
    if samples.is_sorted_by_key(&key) {
        return samples;
    }
    let mut samples = samples.to_vec();
    samples.sort_unstable_by_key(&key);
    samples.into()
}
