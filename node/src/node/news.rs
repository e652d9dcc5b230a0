//! Tells what a peer can bring about as often as it likes no more often than anybody needs to hear it.
//!
//! Someone inside the mesh can shake hands, move to another address and announce other capabilities with every datagram.
//! So each of these is told at once a number of times, more than any honest peer needs, and then once in a while: what
//! holds by then, and nothing of what came between.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use meshground_shared::NodeId;

use super::{
    Node,
    limits::{Buckets, Rate},
};
use crate::{
    event::NodeEvent,
    path::Path,
    time::Instant,
    timers::{Timer, Timers},
};

/// So many of one kind about one node at once, and then one every `refill`.
const TELLING: Rate = Rate { burst: 16, refill: Duration::from_millis(100), capacity: 4_096 };

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Session,
    Path,
    Capabilities,
}

/// What was told of late, and what was not told yet.
#[derive(Debug)]
pub(super) struct News {
    told: Buckets<(Kind, NodeId)>,
    /// With what was told last.
    untold: BTreeMap<(Kind, NodeId), Before>,
}

/// How a thing stood when it was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// There was such a thing.
    There,
    /// There was none.
    Nothing,
    /// It led there.
    At(SocketAddr),
}

impl Default for News {
    fn default() -> Self {
        Self { told: Buckets::new(TELLING), untold: BTreeMap::new() }
    }
}

impl News {
    /// Whether to tell now. Else it is told later; `before` is what holds for those who listen until then.
    pub(super) fn may_tell(
        &mut self,
        now: Instant,
        kind: Kind,
        node: NodeId,
        before: Before,
        timers: &mut Timers,
    ) -> bool {
        let key = (kind, node);
        if self.untold.contains_key(&key) {
            return false;
        }
        if self.told.debt(now, key) < TELLING.burst {
            self.told.take(now, key);
            return true;
        }
        self.untold.insert(key, before);
        if !timers.is_set(Timer::News) {
            timers.set(Timer::News, now + TELLING.refill);
        }
        false
    }

    /// The session with `node` is over, and nothing more is told of it. Whether anybody was told that there was one.
    pub(super) fn end(&mut self, node: NodeId) -> bool {
        self.untold.remove(&(Kind::Path, node));
        self.untold.remove(&(Kind::Session, node)) != Some(Before::Nothing)
    }

    #[cfg(feature = "floor")]
    pub(super) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        each(crate::audit::Gauge::new("news told of late", self.told.len(), TELLING.capacity));
    }
}

impl Node {
    /// Whether to tell a thing of `node` now.
    pub(super) fn may_tell(&mut self, now: Instant, kind: Kind, node: NodeId, before: Before) -> bool {
        self.news.may_tell(now, kind, node, before, &mut self.timers)
    }

    /// Tells what was not told when it happened, as it is now.
    pub(super) fn tell_news(&mut self, now: Instant) {
        for ((kind, node), before) in std::mem::take(&mut self.news.untold) {
            self.news.told.take(now, (kind, node));
            let session = self.current_session(node).map(|session| (session.path, session.role));
            let event = match (kind, before, session) {
                (Kind::Session, _, Some((path, role))) => NodeEvent::SessionUp { peer: node, path, role },
                (Kind::Path, Before::At(from), Some((Path::Direct(to), _))) if from != to => {
                    NodeEvent::Roamed { peer: node, from, to }
                }
                (Kind::Capabilities, ..) if self.everyone.index.get(node).is_some() => {
                    NodeEvent::CapabilitiesChanged { node }
                }
                (Kind::Capabilities, Before::There, _) => NodeEvent::CapabilitiesExpired { node },
                _ => continue,
            };
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_news_becomes_a_trickle_and_the_last_of_it_is_told() {
        let (mut news, mut timers) = (News::default(), Timers::default());
        let mut told = 0;
        for millis in 0..1_000 {
            let now = Instant::from_micros(millis * 1_000);
            told += u32::from(news.may_tell(now, Kind::Path, NodeId(1), Before::There, &mut timers));
        }
        assert_eq!(told, TELLING.burst, "nothing is told before what waits");
        assert_eq!(news.untold.len(), 1);
        let now = Instant::from_micros(1_000_000);
        assert_eq!(timers.pop_due(now), Some(Timer::News));
        assert!(news.may_tell(now, Kind::Path, NodeId(2), Before::There, &mut timers), "others are told of");
        assert!(news.may_tell(now, Kind::Session, NodeId(1), Before::There, &mut timers), "and other things");
    }

    #[test]
    fn a_session_nobody_was_told_of_ends_without_a_word() {
        let (mut news, mut timers) = (News::default(), Timers::default());
        let now = Instant::from_micros(1);
        for _ in 0..TELLING.burst {
            assert!(news.may_tell(now, Kind::Session, NodeId(1), Before::Nothing, &mut timers));
            assert!(news.end(NodeId(1)));
        }
        assert!(!news.may_tell(now, Kind::Session, NodeId(1), Before::Nothing, &mut timers));
        assert!(!news.may_tell(now, Kind::Session, NodeId(1), Before::There, &mut timers));
        assert!(!news.end(NodeId(1)), "its beginning was not told");
        assert!(!news.may_tell(now, Kind::Session, NodeId(1), Before::There, &mut timers));
        assert!(news.end(NodeId(1)), "one before it was told of");
    }
}
