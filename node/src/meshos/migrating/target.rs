//! The target's part.

use meshground_shared::{DaemonEnd, DaemonId, MigrationId, NodeId};

use super::{
    super::{MeshOs, desk::Asked},
    AboutMigration, Ended, FETCH, MAX_ENDED, TELL, read, say,
};
use crate::{
    compute::{
        MAX_ARGS, MAX_MIGRATIONS, SpawnOrder, can_wait, generation,
        migration::{Cutover, Incoming, Offer, Refusal, Replay, Replayed, Stage, Taken, Tell, Want},
    },
    daemon::GroupPlace,
    node::Node,
    rpc::{CallError, CallId},
    time::{Instant, Now},
    wire,
};

impl MeshOs {
    /// Has one do what it is time for. Whether anything happened.
    pub(super) fn pump_incoming(&mut self, now: Now, node: &mut Node, id: MigrationId) -> bool {
        let mut happened = false;
        loop {
            let Some(incoming) = self.migrations.incoming.get_mut(&id) else { return happened };
            let Some(want) = incoming.next(now.instant) else { return happened };
            let (daemon, source, generation) = (incoming.daemon, incoming.source, incoming.offer.generation);
            match want {
                Want::Fetch(from) => {
                    let body = wire::encode(&(id.0, from));
                    self.ask_about(now, node, source, FETCH, body, AboutMigration::Fetch(id));
                }
                Want::StopFetching => {
                    if let Some(call) = self.desk.call_of(&Asked::Migrate(AboutMigration::Fetch(id))) {
                        node.cancel_call(now, call);
                    }
                }
                Want::Tell(stage) => {
                    let about = AboutMigration::Tell { migration: id, of_live: stage == Stage::Live };
                    let body = wire::encode(&Tell { migration: id.0, daemon: daemon.0, generation, stage });
                    self.ask_about(now, node, source, TELL, body, about);
                }
                Want::Restore(luggage) => {
                    let offer = &incoming.offer;
                    let order = SpawnOrder {
                        keypair: incoming.keypair.clone(),
                        kind: Some(offer.kind.clone()),
                        args: offer.args.clone(),
                        member: offer.member,
                        generation,
                        cause: offer.cause,
                        luggage: Some(*luggage),
                        held: true,
                    };
                    if let Err(error) = self.registry.spawn(now.instant, order, None) {
                        incoming.fail(now.instant, error.to_string());
                    }
                }
                Want::Discard => self.discard(daemon, generation),
                Want::Forget => self.forget(id),
            }
            happened = true;
        }
    }

    /// Drops this incarnation of a daemon.
    fn discard(&mut self, daemon: DaemonId, generation: u64) {
        let instance = self.registry.get(daemon).filter(|instance| instance.generation == generation);
        let Some(instance) = instance else { return };
        let end = if instance.held { DaemonEnd::Killed } else { DaemonEnd::Superseded };
        self.registry.drop_instance(daemon, end);
    }

    fn forget(&mut self, id: MigrationId) {
        let incoming = self.migrations.incoming.remove(&id);
        if self.migrations.ended.len() >= MAX_ENDED {
            self.migrations.ended.pop_front();
        }
        let source = incoming.as_ref().map(|incoming| incoming.source);
        let live = incoming.filter(Incoming::is_live);
        let replayed = live.map(|incoming| incoming.replayed());
        self.migrations.ended.push_back(Ended { id, source, replayed });
    }

    /// Never runs what one brought, unless it runs already.
    fn renounce(&mut self, now: Now, node: &mut Node, id: MigrationId) {
        if let Some(incoming) = self.migrations.incoming.get_mut(&id).filter(|incoming| !incoming.is_live()) {
            incoming.leave();
            self.pump_incoming(now, node, id);
        }
    }

    /// A source offers a daemon.
    pub(super) fn on_offer(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let offer: Offer = read(body)?;
        if let Some(rival) = self.rival(call.peer, &offer) {
            rival.hurry(now.instant);
            return Err(CallError::Failed);
        }
        let taken = self.take_offer(now, node, call, offer);
        say(now, node, call, &taken);
        Ok(())
    }

    /// Another attempt of the same source at the same move. Which of the two is the later one only the source knows, as
    /// calls overtake each other; once it has been asked, it asks again about the one that is under way.
    fn rival(&mut self, source: NodeId, offer: &Offer) -> Option<&mut Incoming> {
        let what = |offer: &Offer| (offer.seed, offer.generation);
        self.migrations.incoming.values_mut().find(|known| {
            let is_another = known.source == source && known.id.0 != offer.migration;
            is_another && known.is_under_way() && what(&known.offer) == what(offer)
        })
    }

    fn take_offer(&mut self, now: Now, node: &mut Node, call: CallId, offer: Offer) -> Taken {
        let other = |reason: &str| Err(Refusal::Other(reason.to_owned()));
        let id = MigrationId(offer.migration);
        if let Some(known) = self.migrations.incoming.get(&id) {
            let same = known.source == call.peer && known.offer == offer;
            return if same && known.is_under_way() { Ok(()) } else { other("the target has dropped it") };
        }
        if self.migrations.ended.iter().any(|ended| ended.id == id) {
            return other("the target has dropped it");
        }
        let (kind, member) = (offer.kind.clone(), offer.member);
        if offer.generation > generation::LAST {
            return other("its generation is later than any may be");
        }
        if offer.args.len() > MAX_ARGS {
            return other("its arguments are longer than any may be");
        }
        let Some(incoming) = Incoming::new(now.instant, call.peer, offer) else {
            return other("it has more state than may be moved");
        };
        let (daemon, generation) = (incoming.daemon, incoming.offer.generation);
        // It comes back: so it has arrived where it went, even if that was not heard of.
        if let Some(outgoing) = self.migrations.leaving(daemon) {
            outgoing.seen_live(now.instant, generation.saturating_sub(1));
            let leaving = outgoing.id;
            self.pump_outgoing(now, node, leaving);
        }
        // An earlier attempt that has come to nothing at its source.
        if let Some(earlier) = self.migrations.coming(daemon)
            && earlier.offer.generation <= generation
        {
            let earlier = earlier.id;
            self.renounce(now, node, earlier);
        }
        if self.registry.get(daemon).is_some() {
            return other("the target has this daemon already");
        }
        if !self.registry.offers(&kind) {
            return Err(Refusal::KindNotFound);
        }
        let beside = |other: GroupPlace| Some(other.group) == member.map(|place| place.group);
        if self.registry.iter().any(|(_, instance)| instance.member.is_some_and(beside)) {
            return other("the target has another member of its group");
        }
        if !self.saying.said.takes_new() {
            return Err(Refusal::Closed);
        }
        if self.arriving() >= MAX_MIGRATIONS {
            return other("as many daemons are on their way to the target as may be");
        }
        if self.migrations.incoming.len() >= MAX_ENDED {
            return other("the target cannot keep account of more migrations");
        }
        self.migrations.incoming.insert(id, incoming);
        Ok(())
    }

    /// How many daemons this node has taken an offer of that are still on their way to it.
    pub(in crate::meshos) fn arriving(&self) -> usize {
        self.migrations.incoming.values().filter(|incoming| incoming.is_under_way()).count()
    }

    /// An item of what is fetched.
    pub(in crate::meshos) fn on_fetched_item(&mut self, now: Instant, id: MigrationId, item: &[u8]) {
        if let Some(incoming) = self.migrations.incoming.get_mut(&id) {
            incoming.item(now, item);
        }
    }

    /// A daemon is made and waits.
    pub(in crate::meshos) fn on_held(&mut self, daemon: DaemonId) {
        if let Some(incoming) = self.migrations.coming(daemon) {
            incoming.restored();
        }
    }

    /// The source sends what came for the daemon meanwhile.
    pub(super) fn on_replay(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let replay = sound(read(body)?)?;
        let id = MigrationId(replay.migration);
        let replayed = self.take_replay(now.instant, call, replay);
        if replayed == Replayed::Unknown {
            self.renounce(now, node, id);
        }
        say(now, node, call, &replayed);
        Ok(())
    }

    fn take_replay(&mut self, now: Instant, call: CallId, replay: Replay) -> Replayed {
        let id = MigrationId(replay.migration);
        // The source was away for long: the daemon is none of its own any more.
        if let Some(ended) = self.migrations.ended.iter().find(|ended| ended.id == id) {
            let replayed = ended.replayed.filter(|_| ended.source == Some(call.peer));
            return replayed.map_or(Replayed::Unknown, Replayed::Upto);
        }
        let incoming = self.migrations.incoming.get_mut(&id);
        let Some(incoming) = incoming.filter(|incoming| incoming.source == call.peer) else {
            return Replayed::Forgotten;
        };
        if incoming.is_live() {
            return Replayed::Upto(incoming.replayed());
        }
        let instance = self.registry.get_mut(incoming.daemon).filter(|instance| instance.held);
        let known = incoming.replay(now, replay.from, replay.events.len());
        let (Some(instance), Some(known)) = (instance, known) else { return Replayed::Unknown };
        // More than can wait at any node comes from none that means well.
        let mut news = replay.events.into_iter().skip(known);
        let has_room = news.all(|queued| instance.inbox.replay(queued));
        if has_room { Replayed::Upto(incoming.replayed()) } else { Replayed::Unknown }
    }

    /// The source gives the daemon away.
    pub(super) fn on_cutover(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let cutover: Cutover = sound(read(body)?)?;
        let id = MigrationId(cutover.migration);
        let replayed = self.take_replay(now.instant, call, cutover);
        match replayed {
            // From now on the source may run it again.
            Replayed::Unknown => self.renounce(now, node, id),
            Replayed::Forgotten => {}
            Replayed::Upto(_) => self.go_live(now, node, id),
        }
        say(now, node, call, &replayed);
        Ok(())
    }

    /// Has the daemon of a migration run, if it does not yet.
    fn go_live(&mut self, now: Now, node: &mut Node, id: MigrationId) {
        let incoming = self.migrations.incoming.get_mut(&id).filter(|incoming| !incoming.is_live());
        let Some(incoming) = incoming else { return };
        incoming.go_live(now.instant);
        let daemon = incoming.daemon;
        self.registry.release(daemon);
        self.deliveries.hurry(daemon);
        // At once, so that whoever has something for it finds it.
        self.say_inventory(now, node);
    }

    /// This node is about to leave: sources that have not heard that a daemon arrived, and that it has ended since, are told once
    /// more. They would go on with it at the farewell.
    pub(in crate::meshos) fn tell_of_ended(&mut self, now: Instant) {
        let ended = self.migrations.incoming.values_mut().filter(|it| self.registry.get(it.daemon).is_none());
        ended.for_each(|incoming| incoming.tell_anew(now));
    }

    /// A node has left, and has none of the daemons any more that came from there.
    pub(in crate::meshos) fn source_left(&mut self, source: NodeId) {
        let from_there = self.migrations.incoming.values_mut().filter(|incoming| incoming.source == source);
        from_there.filter(|incoming| incoming.is_live()).for_each(Incoming::leave);
    }

    /// The source says that it is over.
    pub(super) fn on_abort(
        &mut self,
        now: Now,
        node: &mut Node,
        call: CallId,
        body: &[u8],
    ) -> Result<(), CallError> {
        let id = MigrationId(read(body)?);
        match self.migrations.incoming.get_mut(&id) {
            Some(incoming) if incoming.source != call.peer => {}
            // What the source says to that tells whether it has taken the daemon back by force.
            Some(incoming) if incoming.is_live() => incoming.hurry(now.instant),
            Some(_) => self.renounce(now, node, id),
            // The offer may come yet.
            None => self.forget(id),
        }
        say(now, node, call, &());
        Ok(())
    }
}

/// What a source sends, if it can have been in a daemon's queue.
fn sound(replay: Replay) -> Result<Replay, CallError> {
    let is_sound = replay.events.iter().all(|queued| can_wait(&queued.event));
    if is_sound { Ok(replay) } else { Err(CallError::Malformed) }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::{
        super::super::testing::{alone, at, call_of, work_off},
        *,
    };
    use crate::{
        compute::{
            Luggage, Queued, Receipt, SenderKey,
            inbox::{MAX_HELD, MAX_HELD_BYTES},
            migration::{Advice, Packed},
        },
        daemon::{DaemonEvent, MAX_PAYLOAD, Sender},
    };

    const SOURCE: NodeId = NodeId(77);
    const ID: MigrationId = MigrationId(5);

    /// A node that holds a daemon which has been fetched from elsewhere.
    fn holding() -> (MeshOs, Node) {
        let (mut os, mut node) = alone();
        let mut packed = Packed::new(Luggage::default()).unwrap();
        let offer = Offer {
            migration: ID.0,
            seed: [9; 32],
            kind: "mute".to_owned(),
            args: String::new(),
            member: None,
            generation: 2,
            cause: None,
            bytes: packed.len() as u64,
        };
        os.take_offer(at(0), &mut node, call_of(SOURCE, 1), offer).unwrap();
        let mut pieces = packed.pieces(0).unwrap();
        let mut more = true;
        while more {
            let take = |item: &[u8]| {
                os.on_fetched_item(at(0).instant, ID, item);
                Ok::<(), Infallible>(())
            };
            more = packed.next(&mut pieces, take).unwrap();
        }
        os.pump_incoming(at(0), &mut node, ID);
        work_off(&mut os, &mut node);
        (os, node)
    }

    fn replay(os: &mut MeshOs, from: usize, events: Vec<Queued>) -> Replayed {
        let replay = Replay { migration: ID.0, from: from as u64, events };
        os.take_replay(at(0).instant, call_of(SOURCE, 1), sound(replay).expect("events that can wait"))
    }

    fn queued(payload: Vec<u8>, receipt: Option<Receipt>) -> Queued {
        Queued { event: DaemonEvent::Message { from: Sender::Node(SOURCE), payload }, receipt }
    }

    #[test]
    fn as_many_events_follow_a_daemon_as_can_wait_at_a_node_and_no_more() {
        let (mut os, _) = holding();
        let most = MAX_HELD as u64;
        assert_eq!(replay(&mut os, 0, vec![queued(vec![7], None); MAX_HELD]), Replayed::Upto(most));
        assert_eq!(replay(&mut os, MAX_HELD, vec![queued(vec![7], None)]), Replayed::Unknown);
    }

    #[test]
    fn no_more_bytes_follow_a_daemon_than_can_wait_at_a_node_and_the_daemon_is_renounced() {
        let (mut os, mut node) = holding();
        let large = || vec![queued(vec![7; MAX_PAYLOAD], None)];
        let most = MAX_HELD_BYTES / MAX_PAYLOAD;
        for number in 0..most {
            assert_eq!(replay(&mut os, number, large()), Replayed::Upto(number as u64 + 1));
        }
        let last = Replay { migration: ID.0, from: most as u64, events: large() };
        os.on_replay(at(0), &mut node, call_of(SOURCE, 1), &wire::encode(&last)).unwrap();
        os.settle(at(0), &mut node);
        assert_eq!(os.registry.iter().count(), 0, "what it brought is dropped");
    }

    #[test]
    fn no_more_senders_follow_a_daemon_than_are_remembered() {
        let (mut os, _) = holding();
        let of = |node: u64| Some(Receipt { sender: SenderKey { node: NodeId(node), life: 1 }, number: 1 });
        let events = (0..2_000).map(|node| queued(vec![7], of(node))).collect();
        assert_eq!(replay(&mut os, 0, events), Replayed::Upto(2_000));
        let inbox = &os.registry.iter().next().expect("it is held").1.inbox;
        assert_eq!((inbox.len(), inbox.remembered().0), (2_000, 1_024));
    }

    fn cut_over(os: &mut MeshOs, node: &mut Node) {
        let cutover = Replay { migration: ID.0, from: 0, events: Vec::new() };
        os.on_cutover(at(0), node, call_of(SOURCE, 1), &wire::encode(&cutover)).unwrap();
    }

    #[test]
    fn one_that_arrived_unheard_goes_nowhere_but_back_until_that_is_heard_or_the_node_it_came_from_has_left()
    {
        let other = NodeId(78);
        for end in 0..3 {
            let (mut os, mut node) = holding();
            let daemon = os.registry.iter().next().expect("it is held").0;
            assert_eq!(os.migrations.origin_of(daemon, other), None, "it does not run yet");
            cut_over(&mut os, &mut node);
            let until = at(10).instant;
            assert_eq!(os.migrations.origin_of(daemon, other), Some((SOURCE, until)));
            assert_eq!(os.migrations.origin_of(daemon, SOURCE), None);
            os.source_left(other);
            assert!(os.unheard_by(daemon).is_some());
            match end {
                0 => os.source_left(SOURCE),
                1 => os.migrations.moved_on(daemon),
                _ => {
                    let about = AboutMigration::Tell { migration: ID, of_live: true };
                    os.on_migrate_answer(at(1), SOURCE, about, Ok(wire::encode(&Advice::GoOn)));
                }
            }
            assert_eq!(os.unheard_by(daemon), None);
            os.settle(at(1), &mut node);
            assert_eq!(os.registry.iter().count(), 1, "it stays");
        }
    }

    #[test]
    fn a_target_says_that_it_never_runs_a_daemon_only_of_a_migration_that_it_knows() {
        let (mut os, mut node) = holding();
        let asked = |os: &mut MeshOs, migration| {
            os.take_replay(
                at(0).instant,
                call_of(SOURCE, 1),
                Replay { migration, from: 0, events: Vec::new() },
            )
        };
        assert_eq!(asked(&mut os, ID.0), Replayed::Upto(0));
        assert_eq!(asked(&mut os, 6), Replayed::Forgotten);
        let stranger = Replay { migration: ID.0, from: 0, events: Vec::new() };
        os.on_cutover(at(0), &mut node, call_of(NodeId(78), 1), &wire::encode(&stranger)).unwrap();
        let held = |os: &MeshOs| os.registry.iter().all(|(_, instance)| instance.held);
        assert!(held(&os) && asked(&mut os, ID.0) == Replayed::Upto(0), "another node has no say in it");
        os.renounce(at(0), &mut node, ID);
        assert_eq!(asked(&mut os, ID.0), Replayed::Unknown);
    }
}
