//! What a client hears unasked: events without a gap, and gauges.

use std::{future::Future, sync::Arc};

use meshground_shared::{
    DaemonSample, Event, LinkSample, Telemetry, TrafficSample,
    rpc::{Delivery, Dropped, Id, Notification, Push, SubscribeParams, Subscribed, Topic},
};
use tokio::sync::watch;

use super::{
    dispatch,
    outbox::{ClientOutbox, Gone, Held},
    room::Room,
    telemetry::Frame,
};
use crate::log::{EventLog, EventReceiver, RecvError, Subscription};

/// Counters rise with every heartbeat of every link; people read them, and programs take differences.
const COUNTERS_EVERY_US: u64 = 1_000_000;

/// Answers an `events.subscribe`, and gives back the stream that follows the answer.
///
/// The answer is in the outbox before anything of the stream is, so a client reads
/// the snapshot first.
pub(crate) async fn begin(
    room: &Arc<Room>,
    outbox: &ClientOutbox,
    params: SubscribeParams,
    id: Option<Id>,
    mut held: Held,
) -> Result<impl Future<Output = ()> + use<>, Gone> {
    held.push(outbox.bulk().await?);
    let log = Arc::clone(room.log());
    let resumed = params.resume.and_then(|at| Some((at.seq, log.resume(at.epoch, at.seq)?)));
    let (seq, events, snapshot) = if let Some((seq, events)) = resumed {
        (seq, events, None)
    } else {
        let Subscription { snapshot, events } = log.subscribe();
        (snapshot.seq, events, Some(snapshot))
    };
    if let Some(id) = id {
        let subscribed = Subscribed { epoch: log.epoch(), seq, now_us: log.now_us(), snapshot };
        let answer = dispatch::success(id, &subscribed);
        outbox.send(answer, held).await?;
    }
    let has = |topic| params.topics.contains(&topic);
    let stream = Stream {
        outbox: outbox.clone(),
        prev: seq,
        events: has(Topic::Cluster).then_some(events),
        gauges: has(Topic::Telemetry).then(|| Gauges::new(room.telemetry())),
        log,
    };
    Ok(async move {
        // It ends when the client does.
        let Err(Gone) = stream.run().await;
    })
}

struct Stream {
    log: Arc<EventLog>,
    outbox: ClientOutbox,
    /// The last event sent, or the one the client's snapshot ends with.
    prev: u64,
    events: Option<EventReceiver>,
    gauges: Option<Gauges>,
}

struct Gauges {
    frames: watch::Receiver<Frame>,
    /// What the client knows: the samples of the last frame, ordered by link.
    links: Arc<[LinkSample]>,
    /// Likewise, ordered by daemon.
    daemons: Arc<[DaemonSample]>,
    /// The same of counters, and when, in the log's microseconds.
    counted: Arc<[TrafficSample]>,
    counted_at: Option<u64>,
}

impl Gauges {
    fn new(frames: watch::Receiver<Frame>) -> Self {
        Self {
            frames,
            links: Arc::default(),
            daemons: Arc::default(),
            counted: Arc::default(),
            counted_at: None,
        }
    }
}

enum Next {
    Event(Result<Arc<Event>, RecvError>),
    Gauges(Option<Telemetry>),
    End,
}

impl Stream {
    async fn run(mut self) -> Result<std::convert::Infallible, Gone> {
        let mut live = self.events.take();
        loop {
            let outbox = self.outbox.clone();
            let next = tokio::select! {
                event = next_event(live.as_mut()) => Next::Event(event),
                gauges = next_gauges(self.gauges.as_mut()) => Next::Gauges(gauges),
                () = outbox.closed() => Next::End,
            };
            match next {
                Next::Event(Ok(event)) => self.deliver(&event).await?,
                Next::Event(Err(RecvError::Lagged { .. })) => live = Some(self.start_over().await?),
                Next::Gauges(Some(telemetry)) => self.push(Push::Telemetry(telemetry), Held::new()).await?,
                Next::Gauges(None) => {}
                Next::Event(Err(RecvError::Closed)) | Next::End => return Err(Gone),
            }
        }
    }

    async fn deliver(&mut self, event: &Event) -> Result<(), Gone> {
        let delivery = Delivery { prev: self.prev, event: event.clone() };
        self.push(Push::Event(delivery), Held::new()).await?;
        self.prev = event.seq;
        Ok(())
    }

    /// Tells a client that was too slow, and where things stand by now.
    async fn start_over(&mut self) -> Result<EventReceiver, Gone> {
        // First the place in the queue, then the snapshot: it is as fresh as it can be.
        let bulk = self.outbox.bulk().await?;
        let Subscription { snapshot, events } = self.log.subscribe();
        let count = snapshot.seq - self.prev;
        self.prev = snapshot.seq;
        self.push(Push::Dropped(Dropped { count, snapshot }), vec![bulk]).await?;
        Ok(events)
    }

    async fn push(&self, push: Push, held: Held) -> Result<(), Gone> {
        // Strings, numbers and maps keyed by strings: writing them cannot fail.
        let text = serde_json::to_string(&Notification::new(push)).map_err(|_| Gone)?;
        self.outbox.send(text, held).await
    }
}

async fn next_event(live: Option<&mut EventReceiver>) -> Result<Arc<Event>, RecvError> {
    match live {
        Some(live) => live.recv().await,
        None => std::future::pending().await,
    }
}

/// What changed since the last frame, once there is a new one.
async fn next_gauges(gauges: Option<&mut Gauges>) -> Option<Telemetry> {
    let Some(gauges) = gauges else { return std::future::pending().await };
    if gauges.frames.changed().await.is_err() {
        return std::future::pending().await;
    }
    let frame = gauges.frames.borrow_and_update().clone();
    let links = changed(&gauges.links, &frame.links, |link| (link.node, link.peer));
    let daemons = changed(&gauges.daemons, &frame.daemons, |daemon| (daemon.node, daemon.daemon));
    (gauges.links, gauges.daemons) = (frame.links, frame.daemons);
    let mut traffic = Vec::new();
    if gauges.counted_at.is_none_or(|last| frame.at_us.saturating_sub(last) >= COUNTERS_EVERY_US) {
        traffic = changed(&gauges.counted, &frame.traffic, |sample| (sample.node, sample.peer));
        (gauges.counted, gauges.counted_at) = (frame.traffic, Some(frame.at_us));
    }
    let is_news = !links.is_empty() || !traffic.is_empty() || !daemons.is_empty();
    is_news.then_some(Telemetry { at_us: frame.at_us, links, traffic, daemons })
}

/// The samples of `now` that `before` has not, or has with another value. Both are
/// ordered by what they are of.
fn changed<T: Copy + PartialEq, K: Ord>(before: &[T], now: &[T], of: impl Fn(&T) -> K) -> Vec<T> {
    let mut before = before.iter().peekable();
    now.iter()
        .filter(|sample| {
            while before.next_if(|old| of(old) < of(sample)).is_some() {}
            before.peek() != Some(sample)
        })
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use meshground_shared::NodeId;

    use super::*;

    fn sample(node: u64, peer: u64, rtt_us: u32) -> LinkSample {
        LinkSample { node: NodeId(node), peer: NodeId(peer), rtt_us }
    }

    #[test]
    fn only_what_changed_is_sent() {
        let before = [sample(1, 2, 10), sample(1, 3, 20), sample(2, 1, 30), sample(4, 1, 40)];
        let now = [sample(1, 2, 10), sample(1, 3, 21), sample(2, 3, 5), sample(4, 1, 40), sample(5, 1, 1)];
        let changed =
            |before: &[_], now: &[_]| changed(before, now, |link: &LinkSample| (link.node, link.peer));
        assert_eq!(changed(&before, &now), [sample(1, 3, 21), sample(2, 3, 5), sample(5, 1, 1)]);
        assert_eq!(changed(&[], &now), now);
        assert_eq!(changed(&now, &now), []);
        assert_eq!(changed(&now, &[]), []);
    }
}
