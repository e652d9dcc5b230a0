//! Saying things to everyone, and what everyone says: records on their way, the capability index and the route table.

use std::{collections::BTreeMap, time::Duration};

use meshground_shared::{Health, NodeId};

use super::{
    Node,
    news::{Before, Kind},
};
use crate::{
    capability::{
        Capabilities, CapabilityIndex, Filter, Placement, PlacementError, PlacementStrategy, PlacementView,
        Placer,
    },
    event::{NodeEvent, SaidTooMuch},
    identity::Identity,
    packet::Frame,
    record::{Content, Key, MAX_BODY, Outgoing, Publisher, RecordError, RecordKind, Spreading, Taken, Topic},
    route::{Announcement, Delay, PATIENCE, Route, RouteTable},
    time::{Instant, Now},
    timers::Timer,
};

/// Changes of routes within this are told together, and within a millisecond more for each peer: looking all of them over
/// costs that much more.
const ROUTES_SETTLE: Duration = Duration::from_millis(20);

/// While more links are about to come up, how often to look whether that is over.
const GATHERING_PAUSE: Duration = Duration::from_millis(50);

/// Where everyone is linked with everyone, a node with more links than this takes its time to announce them.
const FEW_LINKS: usize = 8;

/// And so much more of it for each of its peers, at most: else all of them would announce at once.
const LEISURE: Duration = Duration::from_millis(8);

/// For each peer so many times as much as this many peers go into its number: everybody's list to everybody is as many
/// datagrams as the square of the nodes, and they are to be as many a second whatever that is.
const MANY_LINKS: usize = 64;

/// But no more of it than this.
const MOST_LEISURE: Duration = Duration::from_secs(30);

/// A distance that no node is at.
const UNKNOWN: u16 = 0;

/// What a summary frame may add to its content: its type and a length.
const SUMMARY_OVERHEAD: usize = 5;

/// Everything a node knows from records.
#[derive(Debug)]
pub(super) struct Everyone {
    publisher: Publisher,
    spreading: Spreading,
    pub(super) index: CapabilityIndex,
    pub(super) routes: RouteTable,
    announcement: Announcement,
    /// When the last direct session came up.
    linked: Option<Instant>,
    /// When to look whether what others say can be passed on now.
    held_back: Option<Instant>,
    /// The distances last told.
    told: BTreeMap<NodeId, u16>,
    /// When changes of routes are to be told.
    tell: Option<Instant>,
}

impl Everyone {
    /// Of a node whose packets take `room` bytes of frames.
    pub(super) fn new(identity: &Identity, incarnation: u64, room: usize) -> Self {
        let local = identity.node_id();
        Self {
            publisher: Publisher::new(identity.clone(), incarnation),
            spreading: Spreading::new(local, room - SUMMARY_OVERHEAD),
            index: CapabilityIndex::default(),
            routes: RouteTable::new(local),
            announcement: Announcement::default(),
            linked: None,
            held_back: None,
            told: BTreeMap::new(),
            tell: None,
        }
    }

    /// How long the announcement of links may take beyond the usual, if nobody waits for it: everyone known is linked
    /// with everyone known. Looks at everyone, so it is to be asked seldom.
    fn leisure(&self, local: NodeId) -> Option<Duration> {
        let links = self.routes.direct_count();
        let others = || self.spreading.origins().filter(|origin| *origin != local);
        let settled = links > FEW_LINKS
            && others().all(|other| self.routes.is_direct(other))
            && self.routes.announcements().all(|(_, theirs)| is_nearly(theirs.len(), links));
        let share = f64::from(u16::try_from(local.0 >> 48).expect("sixteen bits")) / f64::from(u16::MAX);
        let most = LEISURE * u32::try_from(links * links.max(MANY_LINKS) / MANY_LINKS).unwrap_or(u32::MAX);
        settled.then(|| most.min(MOST_LEISURE).mul_f64(share))
    }

    #[cfg(feature = "floor")]
    pub(super) fn gauges(&self, each: &mut dyn FnMut(crate::audit::Gauge)) {
        let origins = self.spreading.gauges(each);
        // Everything here is said by somebody whose record is held.
        each(crate::audit::Gauge::new("capabilities", self.index.len(), origins + 1));
        each(crate::audit::Gauge::new("links", self.routes.announcements().count(), origins));
    }

    /// A record of `origin` is news: is somebody not linked with everyone, who waits to hear of this node's links?
    fn reconsider(&mut self, origin: NodeId) {
        let links = self.routes.direct_count();
        let fewer = self.routes.announced(origin).is_some_and(|theirs| !is_nearly(theirs.len(), links));
        if fewer || !self.routes.is_direct(origin) {
            self.announcement.reconsider();
        }
    }

    fn route_change(&mut self, now: Instant) {
        let peers = u32::try_from(self.routes.direct_count()).unwrap_or(u32::MAX);
        self.tell.get_or_insert(now + ROUTES_SETTLE + Duration::from_millis(1) * peers);
    }
}

/// Whether somebody with so many links has as many as another; where those are many, about as many. Of two that lack few, a
/// list or two tell how they reach each other; had everybody to say at once who its links are, whenever one has fewer, a
/// booting mesh would drown in it.
fn is_nearly(theirs: usize, links: usize) -> bool {
    if links > FEW_LINKS { 4 * theirs >= 3 * links } else { theirs >= links }
}

impl Node {
    /// Announces to everyone what this node can do, in the place of what it announced before; again and again, until it
    /// leaves.
    pub fn announce(&mut self, now: Now, capabilities: Capabilities) {
        self.observe(now.instant);
        if self.left {
            return;
        }
        self.publish(now, RecordKind::Capabilities, capabilities.encode());
        self.everyone.index.insert(self.identity.node_id(), capabilities);
        self.spread(now);
    }

    /// Says something to everyone on a topic, in place of what it said before, until it leaves; at most
    /// [`MAX_SAID`](crate::MAX_SAID) bytes, of which nothing at all withdraws it. Everyone else is told by
    /// [`NodeEvent::Said`].
    ///
    /// # Errors
    /// When it is too long; nothing changed then.
    pub fn say(&mut self, now: Now, topic: Topic, body: Vec<u8>) -> Result<(), SaidTooMuch> {
        self.observe(now.instant);
        if body.len() > MAX_BODY {
            return Err(SaidTooMuch(body.len()));
        }
        if !self.left {
            self.publish(now, RecordKind::Said(topic), body);
            self.spread(now);
        }
        Ok(())
    }

    /// What every node announces, this one included.
    pub fn capabilities(&self) -> &CapabilityIndex {
        &self.everyone.index
    }

    /// The shortest ways to every node that can be reached, direct peers included, by target.
    pub fn routes(&mut self) -> impl Iterator<Item = Route> {
        self.everyone.routes.routes().values().copied()
    }

    /// The shortest way to `target`, if there is one.
    pub fn route(&mut self, target: NodeId) -> Option<Route> {
        self.everyone.routes.route(target)
    }

    /// Whom `node` is directly linked with as far as this node knows, and finds ways by: both ends say so. In any order.
    pub fn links_of(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        self.everyone.routes.links_of(node)
    }

    /// Whether all that has become of [routes](Self::routes) has been told by [`NodeEvent::RouteChanged`]; changes are told
    /// some together, a little later.
    pub fn has_told_routes(&self) -> bool {
        self.everyone.tell.is_none()
    }

    /// Whether something said to `target` now is likely to get there: over a session that is not silent, or over others.
    pub fn is_reachable(&mut self, target: NodeId) -> bool {
        match self.peers.get(&target) {
            Some(peer) if peer.liveness.health() != Health::Unreachable => true,
            _ => self.everyone.routes.route(target).is_some_and(|route| route.next_hop != target),
        }
    }

    /// Chooses a node that can be reached and does what `filter` asks for. `load` says how busy a node is, in
    /// thousandths of what it can do.
    ///
    /// # Errors
    /// When there is none.
    pub fn place(
        &mut self,
        filter: &Filter,
        strategy: PlacementStrategy,
        load: impl Fn(NodeId) -> u32,
    ) -> Result<Placement, PlacementError> {
        self.placer(load).place(filter, strategy)
    }

    /// What chooses nodes, for more than one choice. The round trip to a node without a session is taken to be that to
    /// the next hop, for every hop.
    pub fn placer(
        &mut self,
        load: impl Fn(NodeId) -> u32,
    ) -> Placer<'_, impl Fn(NodeId) -> Option<PlacementView>> {
        let local = self.identity.node_id();
        let peers = &self.peers;
        let everyone = &mut self.everyone;
        let routes = everyone.routes.routes();
        let rtt = move |node| {
            let measured = |id| peers.get(&id).and_then(|peer| peer.liveness.rtt());
            let route = routes.get(&node)?;
            let estimate =
                || measured(route.next_hop).unwrap_or_default().saturating_mul(u32::from(route.distance));
            Some(measured(node).unwrap_or_else(estimate))
        };
        let view = move |node| {
            let rtt = if node == local { Duration::ZERO } else { rtt(node)? };
            Some(PlacementView { rtt, load: load(node) })
        };
        Placer { local, index: &everyone.index, view }
    }

    /// A direct session with `id` stands, and none stood before.
    pub(super) fn begin_spreading(&mut self, now: Now, id: NodeId) {
        self.everyone.spreading.connect(id);
        self.everyone.linked = Some(now.instant);
        if self.is_gathering(now.instant) {
            self.everyone.spreading.postpone(now.instant + self.patience());
        }
        self.set_link(now.instant, id, true);
        self.spread(now);
    }

    /// Whether more links are about to come up: handshakes are under way, and they do lead to links. Where many nodes come
    /// to know each other at once, whatever is said about links meanwhile is soon wrong, and whoever seems to be far away
    /// is soon near; and all of it would be said to everyone, by everyone, about everyone.
    fn is_gathering(&self, now: Instant) -> bool {
        let lately = self.everyone.linked.is_some_and(|linked| now < linked + self.patience());
        lately && self.shakes_hands()
    }

    /// For how long after a link came up another one is expected. In a big mesh on a busy machine that is longer than
    /// elsewhere: did a node give up gathering between two links, it would pass on all that it has heard to all who are
    /// not linked yet, which keeps others from their handshakes, until they give up as well.
    fn patience(&self) -> Duration {
        PATIENCE.max(self.pace.heartbeat)
    }

    /// There is no direct session with `id` any more.
    pub(super) fn end_spreading(&mut self, id: NodeId) {
        self.everyone.spreading.disconnect(id);
        self.set_link(self.clock, id, false);
        self.schedule_spreading();
    }

    /// The verdict on a direct peer changed.
    pub(super) fn judge_link(&mut self, now: Instant, id: NodeId, health: Health) {
        self.set_link(now, id, health != Health::Unreachable);
        self.schedule_spreading();
    }

    pub(super) fn set_link(&mut self, now: Instant, id: NodeId, is_linked: bool) {
        if !self.everyone.routes.set_direct(id, is_linked) {
            return;
        }
        if is_linked {
            self.everyone.announcement.gained(now);
        } else {
            self.everyone.announcement.lost(now);
            // Whoever was told that the session is gone is told how the node is reached now, be it as before.
            if let Some(told) = self.everyone.told.get_mut(&id) {
                *told = UNKNOWN;
            }
        }
        self.everyone.route_change(now);
    }

    /// Nobody will hear of `id` again in this life: it has left.
    pub(super) fn forget_records(&mut self, now: Now, id: NodeId) {
        self.everyone.spreading.forget(now.instant, id);
        self.spread(now);
    }

    /// Has everyone forget what this node can do. Direct peers do as they hear of the leave; only where there are others
    /// need a record tell them.
    pub(super) fn withdraw(&mut self, now: Now) {
        let local = self.id();
        let everyone = &self.everyone;
        let others = everyone.spreading.origins().any(|id| id != local && !everyone.routes.is_direct(id));
        if others && everyone.publisher.said(RecordKind::Capabilities).is_some() {
            self.publish(now, RecordKind::Capabilities, Vec::new());
            self.spread(now);
        }
    }

    /// What a ping carries besides itself.
    pub(super) fn digest_frame(&self) -> Frame<'static> {
        Frame::Digest(self.everyone.spreading.digest())
    }

    /// A frame about records came in. From others than direct peers they mean nothing.
    pub(super) fn on_spread_frame(
        &mut self,
        now: Now,
        from: NodeId,
        frame: &Frame<'_>,
    ) -> Result<(), RecordError> {
        if !self.is_direct(from) {
            return Ok(());
        }
        let everyone = &mut self.everyone;
        match *frame {
            Frame::Digest(digest) => everyone.spreading.on_digest(now.instant, from, digest),
            Frame::Summary(bytes) => everyone.spreading.on_parcel(now.instant, from, bytes)?,
            Frame::Record(bytes) => match everyone.spreading.on_record(now, from, bytes)? {
                Taken::Nothing => return Ok(()),
                Taken::News(key, content) => self.take_in(now, key, content),
                Taken::Own(kind, stamp) => {
                    let record = everyone.publisher.surpass(now, kind, stamp, &mut self.rng);
                    everyone.spreading.publish(now.instant, record);
                }
            },
            _ => return Ok(()),
        }
        self.spread(now);
        Ok(())
    }

    /// A record is news: it takes effect, and goes on to those who cannot have it.
    fn take_in(&mut self, now: Now, key: Key, content: Content) {
        let (origin, everyone) = (key.origin, &mut self.everyone);
        match content {
            Content::Links(links) => {
                everyone.routes.announce(origin, Some(links));
                everyone.route_change(now.instant);
            }
            Content::Capabilities(capabilities) => {
                let before =
                    if everyone.index.get(origin).is_some() { Before::There } else { Before::Nothing };
                if everyone.index.insert(origin, capabilities)
                    && self.may_tell(now.instant, Kind::Capabilities, origin, before)
                {
                    self.events.push_back(NodeEvent::CapabilitiesChanged { node: origin });
                }
            }
            Content::Said(topic, body) => {
                self.events.push_back(NodeEvent::Said { node: origin, topic, body });
            }
            Content::Withdrawn => self.drop_capabilities(origin),
        }
        self.everyone.reconsider(origin);
        if self.everyone.held_back.is_none() && self.is_gathering(now.instant) {
            self.everyone.held_back = Some(now.instant + GATHERING_PAUSE);
        }
        if self.everyone.held_back.is_none() {
            self.pass_on(now.instant, origin);
        }
    }

    /// Passes on what `origin` has said, once its links are known, to those who cannot have it.
    fn pass_on(&mut self, now: Instant, origin: NodeId) {
        let Everyone { spreading, routes, .. } = &mut self.everyone;
        if routes.announced(origin).is_some() {
            let is_near = |node, peer| routes.announced(node).is_some_and(|links| links.contains(peer));
            let is_left = |source, peer| routes.leaves_to_others(source, peer);
            spreading.pass_on(now, origin, is_near, is_left);
        }
    }

    /// Passes on what was held back, unless there is reason to hold it back still.
    fn pass_on_all(&mut self, now: Instant) {
        if self.is_gathering(now) {
            self.everyone.held_back = Some(now + GATHERING_PAUSE);
            return;
        }
        self.everyone.held_back = None;
        let origins: Vec<NodeId> = self.everyone.spreading.origins().collect();
        for origin in origins {
            self.pass_on(now, origin);
        }
    }

    /// Whether the announcement of links, which is due, can wait.
    fn put_announcement_off(&mut self, now: Instant) -> bool {
        let delay = if self.is_gathering(now) {
            Some(Delay::Gathering(self.patience()))
        } else {
            self.everyone.leisure(self.id()).map(Delay::Leisure)
        };
        delay.is_some_and(|delay| self.everyone.announcement.put_off(now, delay))
    }

    fn drop_capabilities(&mut self, node: NodeId) {
        if self.everyone.index.remove(node)
            && self.may_tell(self.clock, Kind::Capabilities, node, Before::There)
        {
            self.events.push_back(NodeEvent::CapabilitiesExpired { node });
        }
    }

    /// The time for something here has come.
    pub(super) fn on_spreading_timeout(&mut self, now: Now) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        let everyone = &mut self.everyone;
        everyone.spreading.handle_timeout(now);
        for record in everyone.publisher.renew(now, &mut self.rng) {
            everyone.spreading.publish(now.instant, record);
        }
        if is_due(everyone.announcement.due()) && !self.put_announcement_off(now.instant) {
            let everyone = &mut self.everyone;
            everyone.announcement.done(now.instant);
            let body = everyone.routes.direct().encode();
            if everyone.publisher.said(RecordKind::Links) != Some(&*body) {
                self.publish(now, RecordKind::Links, body);
            }
        }
        if is_due(self.everyone.held_back) {
            self.pass_on_all(now.instant);
        }
        if is_due(self.everyone.tell) {
            self.tell_routes();
        }
        self.spread(now);
    }

    fn publish(&mut self, now: Now, kind: RecordKind, body: Vec<u8>) {
        let everyone = &mut self.everyone;
        let record = everyone.publisher.publish(now, kind, body, &mut self.rng);
        everyone.spreading.publish(now.instant, record);
    }

    /// Tells of every route whose distance is not what was last told.
    fn tell_routes(&mut self) {
        let everyone = &mut self.everyone;
        everyone.tell = None;
        let found: BTreeMap<NodeId, u16> =
            everyone.routes.routes().values().map(|route| (route.target, route.distance)).collect();
        let told = std::mem::replace(&mut everyone.told, found);
        let found = &everyone.told;
        let gone = told.keys().filter(|target| !found.contains_key(target)).map(|target| (*target, None));
        let changed = found
            .iter()
            .filter(|(target, distance)| told.get(target) != Some(distance))
            .map(|(target, distance)| (*target, Some(*distance)));
        let events =
            gone.chain(changed).map(|(target, distance)| NodeEvent::RouteChanged { target, distance });
        self.events.extend(events);
    }

    /// Sends what is to be sent now, lets go of what is gone, and sets the timer for the rest.
    fn spread(&mut self, now: Now) {
        while let Some((peer, outgoing)) = self.everyone.spreading.poll_outgoing(now.instant) {
            let frame = match &outgoing {
                Outgoing::Record(bytes) => Frame::Record(bytes),
                Outgoing::Summary(bytes) => Frame::Summary(bytes),
            };
            if let Some(to) = self.peers.get_mut(&peer) {
                // A record longer than a packet travels in pieces. Where there is no room, digests will tell.
                if !to.connection.push_urgent(&frame) {
                    to.connection.push_message(&frame);
                }
                self.mark_dirty(peer);
            }
        }
        while let Some(key) = self.everyone.spreading.poll_gone() {
            match key.kind {
                RecordKind::Capabilities => self.drop_capabilities(key.origin),
                RecordKind::Said(topic) => {
                    let said = NodeEvent::Said { node: key.origin, topic, body: Vec::new() };
                    self.events.push_back(said);
                }
                RecordKind::Links => {
                    self.everyone.routes.announce(key.origin, None);
                    self.everyone.route_change(now.instant);
                }
            }
        }
        self.schedule_spreading();
    }

    fn schedule_spreading(&mut self) {
        let everyone = &self.everyone;
        let times = [
            everyone.spreading.poll_timeout(),
            // With nobody to hear it, nothing needs to be said again; it is as soon as somebody comes.
            everyone.publisher.next_renewal().filter(|_| everyone.spreading.has_neighbours()),
            everyone.announcement.due(),
            everyone.held_back,
            everyone.tell,
        ];
        match times.into_iter().flatten().min() {
            Some(due) if !self.left => self.timers.set(Timer::Spreading, due),
            _ => self.timers.clear(Timer::Spreading),
        }
    }
}
