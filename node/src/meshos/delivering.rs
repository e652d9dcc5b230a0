//! Bringing daemons what is sent to them, wherever they are.

use std::time::Duration;

use meshground_shared::{DaemonId, NodeId};
use serde::{Deserialize, Serialize};

use super::{
    MeshOs, Settlement, Ticket,
    desk::{Asked, DELIVER, answer},
};
use crate::{
    compute::{Instance, Parcel, SenderKey, Settled, can_wait, is_batch},
    daemon::{Address, DaemonEvent, DeliverError, MAX_PAYLOAD, Sender},
    node::Node,
    rpc::{CallError, CallId, MAX_BODY},
    time::{Instant, Now},
    wire,
};

/// The most bytes of what daemons replied in one answer.
const ANSWER_BYTES: usize = MAX_BODY - (128 << 10);

/// The most answers that wait for daemons to work something off.
pub(super) const MAX_OWED: usize = 16_384;

/// Something that was worked off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its place among all the daemon has worked off, from 1.
    pub place: u64,
    /// What the daemon told whoever sent it, in order.
    pub replies: Vec<Vec<u8>>,
}

/// Who is told what came of something that was sent.
#[derive(Debug)]
pub(super) enum ForWhom {
    /// Whoever holds this ticket.
    Ticket(Ticket),
    /// A daemon that wants an answer.
    Daemon {
        id: DaemonId,
        token: u64,
    },
    Nobody,
}

/// An answer that waits for a daemon here to work something off.
#[derive(Debug)]
pub(super) struct Owed {
    /// Another node's question; none if this node sent it itself.
    call: Option<CallId>,
    daemon: DaemonId,
    sender: SenderKey,
    first: u64,
    count: usize,
}

/// What [`DELIVER`] asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Delivery {
    daemon: u64,
    life: u64,
    first: u64,
    events: Vec<DaemonEvent>,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// Each was worked off, or failed. If it would be too much together, of the first ones only.
    Settled(Vec<Settled>),
    /// None of it was taken.
    Refused(DeliverError),
    /// It is no more here: try elsewhere, under the same numbers.
    Gone,
}

impl MeshOs {
    /// Sends a daemon something, wherever it is. [`Settlement::Delivered`] says what came of it, within `patience`.
    ///
    /// # Errors
    /// When the payload is too large.
    pub fn deliver(
        &mut self,
        now: Now,
        node: &mut Node,
        to: DaemonId,
        payload: Vec<u8>,
        patience: Option<Duration>,
    ) -> Result<Ticket, DeliverError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(DeliverError::TooLarge(payload.len() as u64));
        }
        let ticket = self.issue();
        let event = DaemonEvent::Message { from: Sender::Node(self.local), payload };
        let deadline = now.instant + patience.unwrap_or(self.config.patience);
        self.deliveries.send(to, Parcel { event, for_whom: ForWhom::Ticket(ticket), deadline });
        self.settle(now, node);
        Ok(ticket)
    }

    /// A daemon here sends something.
    pub(super) fn send_from(
        &mut self,
        now: Instant,
        from: DaemonId,
        to: Address,
        payload: Vec<u8>,
        token: Option<u64>,
    ) {
        let for_whom = token.map_or(ForWhom::Nobody, |token| ForWhom::Daemon { id: from, token });
        let to = match to {
            Address::Daemon(id) => Ok(id),
            Address::Member(index) => {
                let group = self.registry.get(from).and_then(|instance| instance.member);
                let worker = group.and_then(|place| self.groups.worker(place.group, index));
                worker.ok_or(DeliverError::NoMember(index))
            }
        };
        let too_large = payload.len() > MAX_PAYLOAD;
        match to {
            Ok(to) if !too_large => {
                let event = DaemonEvent::Message { from: Sender::Daemon(from), payload };
                let deadline = now + self.config.patience;
                self.deliveries.send(to, Parcel { event, for_whom, deadline });
            }
            to => {
                let error = to.err().unwrap_or(DeliverError::TooLarge(payload.len() as u64));
                self.tell(now, &for_whom, Err(error));
            }
        }
    }

    fn tell(&mut self, now: Instant, for_whom: &ForWhom, outcome: Settled) {
        match *for_whom {
            ForWhom::Nobody => {}
            ForWhom::Ticket(ticket) => {
                let outcome =
                    outcome.map(|worked| Delivered { place: worked.place, replies: worked.replies });
                self.settled(ticket, Settlement::Delivered(outcome));
            }
            ForWhom::Daemon { id, token } => {
                // It may have moved meanwhile, so this is sent as anything else is.
                let event = DaemonEvent::Answer { token, outcome: outcome.map(|worked| worked.replies) };
                let deadline = now + self.config.patience;
                self.deliveries.send(id, Parcel { event, for_whom: ForWhom::Nobody, deadline });
            }
        }
    }

    /// Sends what can be sent, and tells what came of what was. Whether anything happened here.
    pub(super) fn pump_deliveries(&mut self, now: Now, node: &mut Node) -> bool {
        let mut happened = false;
        while let Some((for_whom, outcome)) = self.deliveries.poll_told() {
            self.tell(now.instant, &for_whom, outcome);
            happened = true;
        }
        for daemon in self.deliveries.ready(now.instant) {
            if self.registry.get(daemon).is_some_and(|instance| !instance.held) {
                self.deliver_here(now, node, daemon);
                happened = true;
            } else if let Some((to, _)) = self.directory.find(daemon)
                && to != self.local
                && self.is_reachable(node, to)
                && let Some((first, events)) = self.deliveries.dispatch(daemon)
            {
                let count = events.len();
                let body = wire::encode(&Delivery { daemon: daemon.0, life: self.life, first, events });
                self.ask(now, node, to, DELIVER, body, Asked::Deliver { daemon, count });
                happened = true;
            } else {
                self.deliveries.nowhere(daemon);
            }
        }
        happened
    }

    /// Brings a daemon on this node what waits for it.
    fn deliver_here(&mut self, now: Now, node: &mut Node, daemon: DaemonId) {
        let Some((first, events)) = self.deliveries.dispatch(daemon) else { return };
        let sender = SenderKey { node: self.local, life: self.life };
        let count = events.len();
        match self.registry.deliver(daemon, sender, first, events) {
            Ok(()) => self.owe(now, node, Owed { call: None, daemon, sender, first, count }),
            Err(DeliverError::Overloaded | DeliverError::NotFound(_)) => {
                self.deliveries.failed(now.instant, daemon);
            }
            Err(error) => self.deliveries.refused(daemon, &error),
        }
    }

    /// Another node brings events.
    pub(super) fn on_deliver(&mut self, now: Now, node: &mut Node, call: CallId, body: &[u8]) {
        let Delivery { daemon, life, first, events } = match read(call.peer, body) {
            Ok(delivery) => delivery,
            Err(error) => {
                _ = node.end_reply(now, call, Err(error));
                return;
            }
        };
        let daemon = DaemonId(daemon);
        let sender = SenderKey { node: call.peer, life };
        let count = events.len();
        // It sends what is under way again only when it has given up on the call before.
        let is_again = |owed: &mut Owed| owed.daemon == daemon && owed.sender == sender;
        for again in self.owed.extract_if(.., is_again) {
            _ = again.call.map(|call| node.end_reply(now, call, Err(CallError::Failed)));
        }
        if self.owed.len() >= MAX_OWED {
            return answer(now, node, call, &wire::encode(&Answer::Refused(DeliverError::Overloaded)));
        }
        match self.registry.deliver(daemon, sender, first, events) {
            Ok(()) => self.owe(now, node, Owed { call: Some(call), daemon, sender, first, count }),
            Err(DeliverError::NotFound(_)) => answer(now, node, call, &wire::encode(&Answer::Gone)),
            Err(error) => answer(now, node, call, &wire::encode(&Answer::Refused(error))),
        }
    }

    /// Answers as soon as a daemon has worked all of it off, which may be so already.
    fn owe(&mut self, now: Now, node: &mut Node, owed: Owed) {
        let outcomes = self.registry.outcomes(owed.daemon, owed.sender, owed.first, owed.count);
        match outcomes.map(Iterator::collect) {
            None => self.owed.push(owed),
            outcomes => self.pay_off(now, node, &owed, outcomes),
        }
    }

    /// Answers whoever waits for what a daemon has worked off meanwhile.
    pub(super) fn pay(&mut self, now: Now, node: &mut Node, daemon: DaemonId) {
        let registry = &self.registry;
        let outcomes = |owed: &Owed| registry.outcomes(daemon, owed.sender, owed.first, owed.count);
        let is_here = registry.get(daemon).is_some();
        let is_due = |owed: &mut Owed| owed.daemon == daemon && (!is_here || outcomes(owed).is_some());
        let due = self.owed.extract_if(.., is_due);
        let due: Vec<_> = due.map(|owed| (outcomes(&owed).map(Iterator::collect), owed)).collect();
        for (outcomes, owed) in due {
            self.pay_off(now, node, &owed, outcomes);
        }
    }

    /// A daemon is gone from here: those who wait for it try elsewhere, or learn how it ended.
    pub(super) fn pay_last(&mut self, now: Now, node: &mut Node, instance: &Instance) {
        let daemon = instance.id();
        let owed: Vec<Owed> = self.owed.extract_if(.., |owed| owed.daemon == daemon).collect();
        for owed in owed {
            let outcomes = instance.outcomes(owed.sender, owed.first, owed.count).map(Iterator::collect);
            self.pay_off(now, node, &owed, outcomes);
        }
    }

    /// Says what came of it; or that the daemon is no more here, without that.
    fn pay_off(&mut self, now: Now, node: &mut Node, owed: &Owed, outcomes: Option<Vec<Settled>>) {
        match (owed.call, outcomes) {
            (Some(call), Some(outcomes)) => {
                answer(now, node, call, &wire::encode(&Answer::Settled(fitting(outcomes))));
            }
            (Some(call), None) => answer(now, node, call, &wire::encode(&Answer::Gone)),
            (None, Some(outcomes)) => self.deliveries.arrived(owed.daemon, outcomes),
            (None, None) => self.deliveries.failed(now.instant, owed.daemon),
        }
    }

    /// Nobody waits for this answer any more. Whether there was one.
    pub(super) fn abandon(&mut self, call: CallId) -> bool {
        let before = self.owed.len();
        self.owed.retain(|owed| owed.call != Some(call));
        self.owed.len() < before
    }

    /// What came of bringing a daemon events.
    pub(super) fn on_delivered(
        &mut self,
        now: Now,
        from: NodeId,
        daemon: DaemonId,
        count: usize,
        said: Result<Vec<u8>, CallError>,
    ) {
        match said.map(|body| wire::decode::<Answer>(&body)) {
            Ok(Ok(Answer::Settled(outcomes))) if (1..=count).contains(&outcomes.len()) => {
                self.deliveries.arrived(daemon, outcomes);
            }
            Ok(Ok(Answer::Refused(error))) if error != DeliverError::Overloaded => {
                self.deliveries.refused(daemon, &error);
            }
            _ => {
                self.deliveries.failed(now.instant, daemon);
                // If it is known to be elsewhere by now, there is nothing to wait for.
                if self.directory.find(daemon).is_some_and(|(to, _)| to != from && to != self.local) {
                    self.deliveries.hurry(daemon);
                }
            }
        }
    }

    /// What waits for daemons on `node` need not wait longer: it has just said what runs there.
    pub(super) fn hurry_deliveries(&mut self, node: NodeId) {
        let Some(inventory) = self.directory.get(node) else { return };
        for daemon in &inventory.daemons {
            self.deliveries.hurry(daemon.id());
        }
    }

    /// Whether something can be asked of `to` now.
    pub(super) fn is_reachable(&self, node: &mut Node, to: NodeId) -> bool {
        to == self.local || node.is_reachable(to)
    }
}

/// What a node brings, if it may.
fn read(peer: NodeId, body: &[u8]) -> Result<Delivery, CallError> {
    let mut delivery: Delivery = wire::decode(body).map_err(|_| CallError::Malformed)?;
    delivery.first = delivery.first.max(1);
    let Delivery { first, events, .. } = &delivery;
    let is_sound = is_batch(events)
        && events.iter().all(|event| can_wait(event) && may_send(peer, event))
        && first.checked_add(events.len() as u64).is_some();
    if is_sound { Ok(delivery) } else { Err(CallError::Malformed) }
}

/// Whether a node may send a daemon this: an event that only the daemon's own node may tell is none that anybody sends, and
/// nobody speaks for another node.
fn may_send(peer: NodeId, event: &DaemonEvent) -> bool {
    match event {
        DaemonEvent::Message { from: Sender::Node(node), .. } => *node == peer,
        DaemonEvent::Message { .. } | DaemonEvent::Answer { .. } => true,
        DaemonEvent::Started(_) | DaemonEvent::Alarm { .. } => false,
    }
}

/// The first of these, as many as fit one answer.
fn fitting(outcomes: Vec<Settled>) -> Vec<Settled> {
    let mut bytes = 0;
    let fit = outcomes.into_iter().enumerate().take_while(|(place, outcome)| {
        let replies = outcome.iter().flat_map(|worked| &worked.replies);
        bytes += 32 + replies.map(|reply| reply.len() + 8).sum::<usize>();
        // What a daemon puts out over one event always fits.
        *place == 0 || bytes <= ANSWER_BYTES
    });
    fit.map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{at, call_of, with_a_daemon},
        *,
    };

    const PEER: NodeId = NodeId(77);

    fn message(len: usize) -> DaemonEvent {
        DaemonEvent::Message { from: Sender::Node(PEER), payload: vec![7; len] }
    }

    fn brought(events: Vec<DaemonEvent>) -> Result<usize, CallError> {
        let body = wire::encode(&Delivery { daemon: 1, life: 1, first: 1, events });
        read(PEER, &body).map(|delivery| delivery.events.len())
    }

    #[test]
    fn a_batch_has_at_most_sixty_four_events_and_three_mebibytes_unless_it_is_one() {
        assert_eq!(brought(Vec::new()), Err(CallError::Malformed));
        assert_eq!(brought(vec![message(0); 64]), Ok(64));
        assert_eq!(brought(vec![message(0); 65]), Err(CallError::Malformed));
        assert_eq!(brought(vec![message(1 << 20); 3]), Ok(3));
        let more = [vec![message(1 << 20); 3], vec![message(1)]].concat();
        assert_eq!(brought(more), Err(CallError::Malformed));
        let answer = |replies: Vec<Vec<u8>>| DaemonEvent::Answer { token: 1, outcome: Ok(replies) };
        assert_eq!(brought(vec![answer(vec![vec![0; 3 << 20]])]), Ok(1), "as much as a daemon puts out");
        assert_eq!(brought(vec![answer(vec![vec![0; (3 << 20) + 1]])]), Err(CallError::Malformed));
        assert_eq!(brought(vec![answer(vec![Vec::new(); 1_024])]), Ok(1));
        assert_eq!(brought(vec![answer(vec![Vec::new(); 1_025])]), Err(CallError::Malformed));
    }

    #[test]
    fn nobody_speaks_for_another_node_or_for_the_daemons_own() {
        let from = |from| vec![DaemonEvent::Message { from, payload: Vec::new() }];
        assert_eq!(brought(from(Sender::Node(PEER))), Ok(1));
        assert_eq!(brought(from(Sender::Node(NodeId(78)))), Err(CallError::Malformed));
        assert_eq!(brought(from(Sender::Daemon(DaemonId(5)))), Ok(1), "which is only claimed");
        assert_eq!(brought(vec![DaemonEvent::Alarm { token: 1 }]), Err(CallError::Malformed));
    }

    #[test]
    fn of_one_sender_and_daemon_one_answer_is_owed_and_not_more_than_may_be_of_all() {
        let (mut os, mut node, daemon) = with_a_daemon();
        let mut bring = |os: &mut MeshOs, life, number| {
            let call = call_of(PEER, number);
            let body = wire::encode(&Delivery { daemon: daemon.0, life, first: 1, events: vec![message(1)] });
            os.on_deliver(at(0), &mut node, call, &body);
        };
        bring(&mut os, 1, 1);
        bring(&mut os, 1, 2);
        let calls: Vec<CallId> = os.owed.iter().filter_map(|owed| owed.call).collect();
        assert_eq!(calls, [call_of(PEER, 2)], "it asked again");
        let waiting = |os: &MeshOs| os.registry.get(daemon).map(|instance| instance.inbox.len());
        assert_eq!((os.owed.len(), waiting(&os)), (1, Some(0)), "one is being worked off");
        os.owed.extend((1..MAX_OWED as u64).map(|number| Owed {
            call: Some(call_of(NodeId(78), number)),
            daemon: DaemonId(1),
            sender: SenderKey { node: NodeId(78), life: 1 },
            first: 1,
            count: 1,
        }));
        bring(&mut os, 2, 3);
        assert_eq!((os.owed.len(), waiting(&os)), (MAX_OWED, Some(0)), "it was not taken");
    }

    #[test]
    fn whoever_sends_to_a_place_that_there_is_not_is_told_which() {
        let (mut os, _, daemon) = with_a_daemon();
        os.send_from(at(0).instant, daemon, Address::Member(3), vec![1], Some(5));
        let (_, told) = os.deliveries.dispatch(daemon).expect("it is told");
        let error = DeliverError::NoMember(3);
        assert_eq!(told, [DaemonEvent::Answer { token: 5, outcome: Err(error) }]);
        assert!(DeliverError::NoMember(3).to_string().starts_with("its group has no member 3;"));
    }
}
