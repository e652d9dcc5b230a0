//! Single situations, message by message.

use std::time::Duration;

use meshground_shared::{AdminVerb, Health, IceVerb, Maintenance};

use super::{message::Standing, *};
use crate::admin::{AdminCommand, ClusterPicture, IceProposal, NodePicture, OperatorKey, Operators};
use crate::time::WallTime;

/// Nodes 1 to `count`, whose messages wait until they are carried.
struct Nodes {
    now: Now,
    all: Vec<AdminCommit>,
    under_way: VecDeque<(NodeId, NodeId, Vec<u8>)>,
}

impl Nodes {
    fn new(count: u64, verifier: &AdminVerifier) -> Self {
        let ids = 1..=count;
        let nodes = ids.clone().map(|id| AdminCommit::new(NodeId(id), 1, verifier.clone())).collect();
        let now = Now { instant: Instant::from_micros(1), wall: WallTime(1_000_000_000) };
        let mut nodes = Self { now, all: nodes, under_way: VecDeque::new() };
        for (a, b) in ids.clone().flat_map(|a| ids.clone().map(move |b| (a, b))) {
            nodes.at(a).on_peer_up(now, NodeId(b), 1);
        }
        nodes
    }

    fn open(count: u64) -> Self {
        Self::new(count, &AdminVerifier::open())
    }

    fn at(&mut self, id: u64) -> &mut AdminCommit {
        &mut self.all[usize::try_from(id).unwrap() - 1]
    }

    fn picture(&self, id: u64) -> ClusterPicture {
        let mut picture = ClusterPicture::new(NodeId(id));
        for id in 1..=self.all.len() as u64 {
            let node = NodePicture { health: Health::Healthy, maintenance: Maintenance::Active };
            picture.nodes.insert(NodeId(id), node);
        }
        picture
    }

    fn submit(&mut self, id: u64, command: &SignedCommand) -> Ticket {
        let (now, picture) = (self.now, self.picture(id));
        self.at(id).submit(now, command, &picture)
    }

    /// A command to drain node 2.
    fn drain(&self, nonce: u8) -> AdminCommand {
        AdminCommand::new(AdminVerb::Drain { node: NodeId(2) }, self.now.wall, Nonce([nonce; 16]))
    }

    fn thaw(&self, nonce: u8) -> SignedCommand {
        let simulated = IceProposal::new(IceVerb::ThawCluster).simulate(&self.picture(1)).unwrap();
        simulated.unsigned(self.now.wall, Nonce([nonce; 16]))
    }

    fn flush(&self, nonce: u8) -> SignedCommand {
        let simulated = IceProposal::new(IceVerb::FlushAvoidLists).simulate(&self.picture(1)).unwrap();
        simulated.unsigned(self.now.wall, Nonce([nonce; 16]))
    }

    /// Gathers what the nodes have to send.
    fn gather(&mut self) {
        for node in &mut self.all {
            while let Some((to, bytes)) = node.poll_message() {
                self.under_way.push_back((node.me.node(), to, bytes));
            }
        }
    }

    /// Carries messages, and those that come of them, as long as there are any; drops those that `lost` says.
    fn carry(&mut self, lost: impl Fn(u64, u64, &Message) -> bool) {
        self.gather();
        while let Some((from, to, bytes)) = self.under_way.pop_front() {
            if !lost(from.0, to.0, &Message::parse(&bytes).unwrap()) {
                self.hand(from.0, to.0, &bytes).unwrap();
            }
            self.gather();
        }
    }

    /// A node takes a message. Whether it had to judge something for that, or what it took did not make sense.
    fn hand(&mut self, from: u64, to: u64, bytes: &[u8]) -> Result<bool, MessageError> {
        let (now, picture) = (self.now, self.picture(to));
        let question = self.at(to).on_message(now, NodeId(from), bytes)?;
        let judges = question.is_some();
        if let Some(question) = question {
            self.at(to).judge_for(now, question, &picture);
        }
        Ok(judges)
    }

    fn carry_all(&mut self) {
        self.carry(|_, _, _| false);
    }

    /// Lets time pass, and everyone does what is due.
    fn wait(&mut self, millis: u64) {
        let by = Duration::from_millis(millis);
        self.now = Now { instant: self.now.instant + by, wall: WallTime(self.now.wall.0 + millis * 1_000) };
        for node in &mut self.all {
            node.handle_timeout(self.now);
        }
    }

    /// What a node's trail says, by the first byte of the nonce.
    fn trail(&mut self, id: u64) -> Vec<(u8, Decision)> {
        let entry = |entry: &AuditEntry| (u8::from_str_radix(&entry.nonce[..2], 16).unwrap(), entry.decision);
        self.at(id).trail().iter().map(entry).collect()
    }

    fn lose(&mut self, at: u64, gone: u64) {
        let now = self.now;
        self.at(at).on_peer_gone(now, NodeId(gone));
    }
}

fn rejected(reason: Rejection) -> Decision {
    Decision::Rejected(reason)
}

fn is_decision(message: &Message) -> bool {
    matches!(message, Message::Commit { .. } | Message::Abort { .. })
}

#[test]
fn a_command_takes_effect_once_on_every_node() {
    let mut nodes = Nodes::open(3);
    let ticket = nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.carry_all();
    for id in 1..=3 {
        let effect = nodes.at(id).poll_effect().unwrap();
        assert_eq!((effect.verb.name(), effect.nonce), ("drain", Nonce([1; 16])));
        assert_eq!(nodes.at(id).poll_effect(), None);
        let entry = nodes.at(id).poll_decided().unwrap();
        assert_eq!((entry.seq, entry.decision), (1, Decision::Applied));
        assert_eq!(nodes.at(id).poll_decided(), None);
        assert_eq!(nodes.at(id).poll_timeout(), None);
    }
    assert_eq!(nodes.at(1).poll_outcome(), Some((ticket, Decision::Applied)));
    assert_eq!(nodes.at(1).poll_outcome(), None);
}

#[test]
fn a_node_alone_carries_out_its_command_at_once() {
    let mut nodes = Nodes::open(1);
    let ticket = nodes.submit(1, &nodes.thaw(1));
    assert_eq!(nodes.at(1).poll_outcome(), Some((ticket, Decision::Applied)));
    assert_eq!(nodes.at(1).poll_timeout(), None);
}

#[test]
fn who_signed_stands_in_every_trail() {
    let mut nodes = Nodes::new(2, &AdminVerifier::allow_demo(Operators::demo()));
    let command = nodes.drain(1).sign(&OperatorKey::demo(3).unwrap());
    nodes.submit(2, &command);
    nodes.carry_all();
    for id in 1..=2 {
        assert_eq!(nodes.at(id).trail().iter().next().unwrap().operators, ["demo-3"]);
        assert_eq!(nodes.at(id).poll_effect().unwrap().operators, ["demo-3"]);
    }
}

#[test]
fn what_is_not_signed_is_rejected_on_every_node() {
    let mut nodes = Nodes::new(3, &AdminVerifier::allow_demo(Operators::demo()));
    let ticket = nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.carry_all();
    for id in 1..=3 {
        assert_eq!(nodes.trail(id), [(1, rejected(Rejection::NotAuthorized))]);
        assert_eq!(nodes.at(id).poll_effect(), None);
        assert_eq!(nodes.at(id).poll_timeout(), None, "node {id} knows that all have it");
    }
    assert_eq!(nodes.at(1).poll_outcome(), Some((ticket, rejected(Rejection::NotAuthorized))));
}

#[test]
fn one_nodes_objection_is_everybodys_reason() {
    let mut nodes = Nodes::open(3);
    // Node 3 alone has used the nonce.
    let (wall, command) = (nodes.now.wall, nodes.drain(1).unsigned());
    nodes.at(3).verifier.refuse(wall, &command);
    nodes.submit(1, &command);
    nodes.carry_all();
    for id in 1..=3 {
        assert_eq!(nodes.trail(id), [(1, rejected(Rejection::NonceReplayed))]);
    }
}

#[test]
fn the_same_command_handed_in_twice_is_carried_out_once() {
    let mut nodes = Nodes::open(2);
    let command = nodes.drain(1).unsigned();
    nodes.submit(1, &command);
    nodes.carry_all();
    nodes.submit(2, &command);
    nodes.carry_all();
    for id in 1..=2 {
        assert_eq!(nodes.trail(id), [(1, Decision::Applied), (1, rejected(Rejection::NonceReplayed))]);
    }
}

#[test]
fn of_two_commands_on_one_subject_at_most_one_takes_effect() {
    let mut nodes = Nodes::open(3);
    let (first, second) = (nodes.flush(1), nodes.flush(2));
    nodes.submit(1, &first);
    nodes.submit(2, &second);
    nodes.carry_all();
    let mut first = nodes.trail(1);
    first.sort_by_key(|(nonce, _)| *nonce);
    assert!(
        first.contains(&(1, rejected(Rejection::IceCooldownActive)))
            || first.contains(&(2, rejected(Rejection::IceCooldownActive)))
    );
    for id in 2..=3 {
        let mut trail = nodes.trail(id);
        trail.sort_by_key(|(nonce, _)| *nonce);
        assert_eq!(trail, first);
    }
}

#[test]
fn a_node_that_is_not_there_makes_it_unreachable_at_once() {
    let mut nodes = Nodes::open(3);
    nodes.lose(1, 3);
    let ticket = nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.carry_all();
    assert_eq!(nodes.at(1).poll_outcome(), Some((ticket, rejected(Rejection::Unreachable))));
    assert_eq!(nodes.trail(2), [(1, rejected(Rejection::Unreachable))]);
}

#[test]
fn a_silent_node_makes_it_unreachable_after_three_seconds_and_hears_of_it_later() {
    let mut nodes = Nodes::open(3);
    let ticket = nodes.submit(1, &nodes.drain(1).unsigned());
    let deaf = |_, to, _: &Message| to == 3;
    for _ in 0..14 {
        nodes.carry(deaf);
        nodes.wait(200);
    }
    nodes.carry(deaf);
    assert_eq!(nodes.trail(1), []);
    nodes.wait(200);
    nodes.carry(deaf);
    assert_eq!(nodes.trail(2), [(1, rejected(Rejection::Unreachable))]);
    assert_eq!(nodes.at(1).poll_outcome(), None, "node 3 may still hear of it");
    nodes.wait(2_000);
    assert_eq!(nodes.at(1).poll_outcome(), Some((ticket, rejected(Rejection::Unreachable))));
    nodes.wait(10_000);
    nodes.carry_all();
    assert_eq!(nodes.trail(3), [(1, rejected(Rejection::Unreachable))]);
    assert!((1..=3).all(|id| nodes.at(id).poll_timeout().is_none()));
}

#[test]
fn a_decision_is_told_until_it_is_acknowledged() {
    let mut nodes = Nodes::open(2);
    nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.carry(|_, _, message| is_decision(message));
    assert_eq!((nodes.trail(1).len(), nodes.trail(2).len()), (1, 0));
    nodes.wait(200);
    nodes.carry(|_, _, message| matches!(message, Message::Ack { .. }));
    assert_eq!(nodes.trail(2), [(1, Decision::Applied)]);
    nodes.wait(400);
    nodes.carry_all();
    assert_eq!(nodes.trail(2).len(), 1, "told twice, done once");
    assert_eq!(nodes.at(1).poll_timeout(), None);
}

#[test]
fn whoever_lost_its_coordinator_learns_the_decision_from_another_member() {
    let mut nodes = Nodes::open(3);
    nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.carry(|_, to, message| to == 3 && is_decision(message));
    assert_eq!((nodes.trail(2).len(), nodes.trail(3).len()), (1, 0));
    nodes.lose(2, 1);
    nodes.lose(3, 1);
    nodes.wait(0);
    nodes.carry(|from, to, _| from == 1 || to == 1);
    assert_eq!(nodes.trail(3), [(1, Decision::Applied)]);
    assert!(nodes.at(3).poll_effect().is_some());
    assert_eq!(nodes.at(3).poll_timeout(), None);
}

#[test]
fn orphans_reject_together_and_hear_their_coordinator_no_more() {
    let mut nodes = Nodes::open(3);
    nodes.submit(1, &nodes.thaw(1));
    nodes.carry(|_, _, message| is_decision(message));
    nodes.lose(2, 1);
    nodes.wait(0);
    nodes.carry(|from, to, _| from == 1 || to == 1);
    assert_eq!(nodes.trail(2), [], "node 3 still hears the coordinator");
    nodes.lose(3, 1);
    nodes.wait(200);
    // What node 2 has asked by now, node 3 answers; but not the other way round.
    nodes.carry(|from, to, message| {
        from == 1 || to == 1 || (from == 3 && matches!(message, Message::Ask { .. }))
    });
    assert_eq!(nodes.trail(2), [(1, rejected(Rejection::Unreachable))]);
    let now = nodes.now;
    nodes.at(3).on_peer_up(now, NodeId(1), 1);
    nodes.wait(0);
    nodes.carry(|from, to, message| !(from == 1 && to == 3 && is_decision(message)));
    assert_eq!(nodes.trail(3), [], "it has promised so");
    nodes.wait(5_000);
    nodes.carry(|from, to, _| from == 1 || to == 1);
    assert_eq!(nodes.trail(3), [(1, rejected(Rejection::Unreachable))]);
    assert!((2..=3).all(|id| nodes.at(id).poll_effect().is_none()));
    // And the subject is free again.
    let now = nodes.now;
    assert!(
        nodes
            .at(2)
            .verifier
            .prepare(now, &thaw_later(now), super::super::Assessment::Bystander, None)
            .is_ok()
    );
}

fn thaw_later(now: Now) -> SignedCommand {
    let proposal = IceProposal::new(IceVerb::ThawCluster);
    proposal.simulated(meshground_shared::BlastRadius::default()).unsigned(now.wall, Nonce([9; 16]))
}

#[test]
fn the_word_of_one_that_still_hears_a_lost_member_does_not_count() {
    let mut nodes = Nodes::open(4);
    nodes.submit(1, &nodes.drain(1).unsigned());
    // Only node 2 hears the decision, then its coordinator is gone.
    nodes.carry(|_, to, message| to != 2 && is_decision(message));
    for at in 2..=4 {
        nodes.lose(at, 1);
    }
    nodes.wait(0);
    // Nodes 3 and 4 ask each other. Node 2 answers node 3 only, and that takes its time.
    nodes.carry(|from, to, _| [from, to].iter().any(|node| *node <= 2));
    assert_eq!((nodes.trail(3), nodes.trail(4)), (vec![], vec![]));
    let standing = Standing::Decided(Decision::Applied);
    let late = Message::Tell { attempt: Attempt::new(Member::new(NodeId(1), 1), 1), standing }.encode();
    // Node 2 leaves. Node 4 notices, and has node 3's word; but that was given while node 3 still heard node 2.
    nodes.lose(4, 2);
    nodes.carry(|from, to, _| [from, to].iter().any(|node| *node <= 2));
    assert_eq!(nodes.trail(4), []);
    nodes.hand(2, 3, &late).unwrap();
    assert_eq!(nodes.trail(3), [(1, Decision::Applied)]);
    nodes.wait(5_000);
    nodes.carry(|from, to, _| [from, to].iter().any(|node| *node <= 2));
    assert_eq!(nodes.trail(4), [(1, Decision::Applied)]);
}

#[test]
fn a_rejection_that_one_member_heard_of_reaches_all_though_its_coordinator_is_gone() {
    let mut nodes = Nodes::new(3, &AdminVerifier::allow_demo(Operators::demo()));
    nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.carry(|_, to, _| to != 2);
    assert_eq!((nodes.trail(2).len(), nodes.trail(3).len()), (1, 0));
    nodes.lose(2, 1);
    nodes.lose(3, 1);
    nodes.wait(0);
    nodes.carry(|from, to, _| from == 1 || to == 1);
    nodes.wait(200);
    nodes.carry(|from, to, _| from == 1 || to == 1);
    assert_eq!(nodes.trail(3), [(1, rejected(Rejection::NotAuthorized))]);
    nodes.wait(5_000);
    nodes.carry(|from, to, _| from == 1 || to == 1);
    assert!((2..=3).all(|id| nodes.at(id).poll_timeout().is_none()));
}

#[test]
fn a_member_that_restarts_meanwhile_makes_it_unreachable() {
    let mut nodes = Nodes::open(3);
    nodes.submit(1, &nodes.drain(1).unsigned());
    let now = nodes.now;
    nodes.at(1).on_peer_up(now, NodeId(3), 2);
    nodes.carry(|_, to, _| to == 3);
    for id in 1..=2 {
        assert_eq!(nodes.trail(id), [(1, rejected(Rejection::Unreachable))]);
    }
}

#[test]
fn more_than_64_commands_at_a_time_are_too_many() {
    let mut nodes = Nodes::open(2);
    for nonce in 0..65 {
        let command = nodes.drain(nonce).unsigned();
        nodes.submit(1, &command);
    }
    nodes.carry_all();
    for id in 1..=2 {
        let trail = nodes.trail(id);
        assert_eq!(trail.iter().filter(|(_, decision)| *decision == Decision::Applied).count(), 64);
        assert!(trail.contains(&(64, rejected(Rejection::Overloaded))));
    }
    nodes.submit(1, &nodes.drain(65).unsigned());
    nodes.carry_all();
    assert_eq!(nodes.trail(2).last(), Some(&(65, Decision::Applied)));
}

#[test]
fn nobody_but_the_coordinator_decides_while_it_is_there() {
    let mut nodes = Nodes::open(3);
    nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.carry(|_, _, message| matches!(message, Message::Vote { .. }));
    let attempt = Attempt::new(Member::new(NodeId(1), 1), 1);
    let commit = Message::Commit { attempt }.encode();
    for from in [3, 4] {
        nodes.hand(from, 2, &commit).unwrap();
    }
    assert_eq!(nodes.trail(2), []);
    let of_another_life = Attempt::new(Member::new(NodeId(1), 2), 1);
    let commit = Message::Commit { attempt: of_another_life }.encode();
    nodes.hand(1, 2, &commit).unwrap();
    assert_eq!(nodes.trail(2), []);
}

#[test]
fn nobody_carries_out_what_it_has_not_agreed_to() {
    let mut nodes = Nodes::open(3);
    let command = nodes.drain(1).unsigned();
    let wall = nodes.now.wall;
    nodes.at(2).verifier.refuse(wall, &command);
    nodes.submit(1, &command);
    nodes.carry(|_, _, message| is_decision(message));
    let attempt = Attempt::new(Member::new(NodeId(1), 1), 1);
    let forged = Message::Tell { attempt, standing: Standing::Decided(Decision::Applied) }.encode();
    nodes.hand(3, 2, &forged).unwrap();
    assert_eq!((nodes.trail(2), nodes.at(2).poll_effect()), (vec![], None));
}

#[test]
fn each_member_judges_a_command_once_and_all_else_that_is_said_about_it_needs_no_picture() {
    let mut nodes = Nodes::open(5);
    nodes.submit(1, &nodes.drain(1).unsigned());
    // Everything is said twice, as when answers are lost.
    let (mut judged, mut heard) = (Vec::new(), 0);
    nodes.gather();
    while let Some((from, to, bytes)) = nodes.under_way.pop_front() {
        for _ in 0..2 {
            heard += 1;
            if nodes.hand(from.0, to.0, &bytes).unwrap() {
                judged.push(to.0);
            }
        }
        nodes.gather();
    }
    assert_eq!(judged, [2, 3, 4, 5]);
    assert!(heard >= 2 * 4 * 4, "questions, votes, decisions and acknowledgements: {heard}");
    assert!((1..=5).all(|id| nodes.trail(id) == [(1, Decision::Applied)]));
}

#[test]
fn what_is_not_a_message_is_an_error_and_altered_ones_never_panic() {
    let mut nodes = Nodes::open(2);
    for bytes in [&[][..], &[1], &[2, 0], &[1, 99]] {
        assert_eq!(nodes.hand(1, 2, bytes), Err(MessageError));
    }
    nodes.submit(1, &nodes.drain(1).unsigned());
    nodes.gather();
    let (from, _, bytes) = nodes.under_way.pop_front().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let _ = nodes.hand(from.0, 2, &altered);
    }
}
