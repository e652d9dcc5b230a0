//! Spreading among several nodes, without sessions in between.

use std::collections::BTreeSet;

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;
use crate::{
    capability::Capabilities,
    route::Links,
    time::{Instant, Now},
};

/// A pipe has this much room.
const MAX_PARCEL: usize = 1_400;

struct Member {
    identity: Identity,
    publisher: Publisher,
    spreading: Spreading,
    linked: BTreeSet<usize>,
    links: std::collections::BTreeMap<NodeId, Links>,
    taken: Vec<(Key, Content)>,
    records_sent: usize,
    parcels_sent: usize,
}

/// Members that pass records to each other at once, unless they are cut off.
struct Group {
    now: Now,
    members: Vec<Member>,
    rng: ChaCha20Rng,
    /// Whether what is sent gets lost.
    lossy: bool,
}

impl Group {
    fn new(count: u8) -> Self {
        let members = (1..=count)
            .map(|seed| Identity::from_seed([seed; 32]))
            .map(|identity| Member {
                publisher: Publisher::new(identity.clone(), 1),
                spreading: Spreading::new(identity.node_id(), MAX_PARCEL),
                identity,
                linked: BTreeSet::new(),
                links: std::collections::BTreeMap::new(),
                taken: Vec::new(),
                records_sent: 0,
                parcels_sent: 0,
            })
            .collect();
        let now = Now { instant: Instant::from_micros(1), wall: WallTime(1_000_000_000) };
        Self { now, members, rng: ChaCha20Rng::from_seed([1; 32]), lossy: false }
    }

    fn id(&self, at: usize) -> NodeId {
        self.members[at].identity.node_id()
    }

    fn number(&self, id: NodeId) -> usize {
        self.members.iter().position(|member| member.identity.node_id() == id).unwrap()
    }

    fn link(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let id = self.id(to);
            self.members[from].linked.insert(to);
            self.members[from].spreading.connect(id);
        }
        self.settle();
    }

    fn say(&mut self, at: usize, kind: RecordKind, body: Vec<u8>) {
        let member = &mut self.members[at];
        let record = member.publisher.publish(self.now, kind, body, &mut self.rng);
        member.spreading.publish(self.now.instant, record);
        self.settle();
    }

    fn say_tag(&mut self, at: usize, tag: &str) {
        self.say(at, RecordKind::Capabilities, Capabilities::new().with_tag(tag).unwrap().encode());
    }

    fn say_links(&mut self, at: usize) {
        let links: Links = self.members[at].linked.iter().map(|to| self.id(*to)).collect();
        let id = self.id(at);
        self.members[at].links.insert(id, links.clone());
        self.say(at, RecordKind::Links, links.encode());
    }

    fn receive(&mut self, at: usize, from: NodeId, bytes: &[u8]) -> Result<Taken, RecordError> {
        let (now, member) = (self.now, &mut self.members[at]);
        let taken = member.spreading.on_record(now, from, bytes)?;
        if let Taken::News(key, content) = &taken {
            if let Content::Links(links) = content {
                member.links.insert(key.origin, links.clone());
            }
            member.taken.push((*key, content.clone()));
            if member.links.contains_key(&key.origin) {
                let links = &member.links;
                let is_near = |a, b| links.get(&a).is_some_and(|links| links.contains(b));
                member.spreading.pass_on(now.instant, key.origin, is_near, |_, _| false);
            }
        }
        Ok(taken)
    }

    /// Lets everything that waits to be sent arrive.
    fn settle(&mut self) {
        while let Some((at, peer, outgoing)) = (0..self.members.len()).find_map(|at| {
            let (peer, outgoing) = self.members[at].spreading.poll_outgoing(self.now.instant)?;
            Some((at, peer, outgoing))
        }) {
            let (from, to) = (self.id(at), self.number(peer));
            match &outgoing {
                Outgoing::Record(_) => self.members[at].records_sent += 1,
                Outgoing::Summary(_) => self.members[at].parcels_sent += 1,
            }
            match outgoing {
                _ if self.lossy => {}
                Outgoing::Record(bytes) => drop(self.receive(to, from, &bytes).unwrap()),
                Outgoing::Summary(bytes) => {
                    self.members[to].spreading.on_parcel(self.now.instant, from, &bytes).unwrap();
                }
            }
        }
    }

    /// Lets time pass, with pings every 300 ms.
    fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.now.instant < end {
            self.now.instant += Duration::from_millis(10);
            self.now.wall.0 += 10_000;
            let ping = (self.now.instant.as_micros() / 10_000).is_multiple_of(30);
            for at in 0..self.members.len() {
                let (id, digest) = (self.id(at), self.members[at].spreading.digest());
                for to in self.members[at].linked.clone().into_iter().filter(|_| ping && !self.lossy) {
                    self.members[to].spreading.on_digest(self.now.instant, id, digest);
                }
                let member = &mut self.members[at];
                if member.spreading.poll_timeout().is_some_and(|due| due <= self.now.instant) {
                    member.spreading.handle_timeout(self.now);
                }
                for record in member.publisher.renew(self.now, &mut self.rng) {
                    member.spreading.publish(self.now.instant, record);
                }
            }
            self.settle();
        }
    }

    fn everyone_agrees(&self) -> bool {
        self.members.iter().all(|member| member.spreading.digest() == self.members[0].spreading.digest())
    }

    fn sent(&self) -> (usize, usize) {
        self.members
            .iter()
            .fold((0, 0), |sum, member| (sum.0 + member.records_sent, sum.1 + member.parcels_sent))
    }
}

#[test]
fn in_a_full_mesh_every_record_goes_once_to_everyone_and_nothing_is_passed_on() {
    let n = 8;
    let mut group = Group::new(n);
    let n = usize::from(n);
    for at in 0..n {
        group.say_tag(at, "x");
    }
    for (a, b) in (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))) {
        group.link(a, b);
    }
    (0..n).for_each(|at| group.say_links(at));
    assert!(group.everyone_agrees());
    assert_eq!(group.sent(), (2 * n * (n - 1), 0));
    group.pass(Duration::from_mins(10));
    assert!(group.everyone_agrees());
    let (records, parcels) = group.sent();
    assert_eq!(parcels, 0, "nothing needs to be compared");
    let renewals = records / (2 * n * (n - 1)) - 1;
    assert!((6..=8).contains(&renewals), "{renewals} renewals in ten minutes");
    assert!(group.members.iter().all(|member| member.spreading.poll_timeout().is_some()));
}

#[test]
fn along_a_line_a_record_gets_from_end_to_end_and_to_whoever_comes_late() {
    let mut group = Group::new(6);
    (0..6).for_each(|at| group.say_tag(at, "x"));
    (0..4).for_each(|at| group.link(at, at + 1));
    (0..5).for_each(|at| group.say_links(at));
    group.pass(Duration::from_secs(2));
    group.say_tag(0, "news");
    let last = group.members[4].taken.last().unwrap();
    assert_eq!(last.0.origin, group.id(0), "passed on at once, as its links are known");
    group.link(4, 5);
    group.say_links(4);
    group.say_links(5);
    group.pass(Duration::from_secs(1));
    assert!(group.everyone_agrees());
    assert!(group.members[5].taken.iter().any(|(key, _)| key.origin == group.id(0)));
}

#[test]
fn what_was_lost_is_found_by_comparing() {
    let mut group = Group::new(4);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
        group.link(a, b);
    }
    group.lossy = true;
    (0..4).for_each(|at| group.say_tag(at, "x"));
    assert!(!group.everyone_agrees());
    group.lossy = false;
    group.pass(Duration::from_secs(3));
    assert!(group.everyone_agrees());
    let before = group.sent();
    group.pass(Duration::from_secs(30));
    assert_eq!(group.sent(), before, "and then there is peace");
}

#[test]
fn a_peer_that_is_down_does_not_take_every_turn_to_compare() {
    let mut group = Group::new(1);
    let Member { publisher, spreading, .. } = &mut group.members[0];
    let [down, up] = [NodeId(1), NodeId(2)];
    spreading.connect(down);
    spreading.connect(up);
    spreading.on_digest(group.now.instant, down, 1);
    let mut compared = BTreeSet::new();
    for round in 0..100 {
        group.now.instant += Duration::from_millis(100);
        group.now.wall.0 += 100_000;
        // Digests change all the time, so there is always something to compare.
        let record =
            publisher.publish(group.now, RecordKind::Said(Topic::Inventory), vec![round], &mut group.rng);
        spreading.publish(group.now.instant, record);
        spreading.on_digest(group.now.instant, up, 1_000 + u64::from(round));
        spreading.handle_timeout(group.now);
        while let Some((peer, outgoing)) = spreading.poll_outgoing(group.now.instant) {
            if let Outgoing::Summary(_) = outgoing {
                compared.insert(peer);
            }
        }
    }
    assert_eq!(compared, BTreeSet::from([down, up]));
}

#[test]
fn a_record_that_expires_or_is_forgotten_is_gone_everywhere_and_does_not_come_back() {
    let mut group = Group::new(3);
    group.link(0, 1);
    group.link(1, 2);
    group.link(0, 2);
    (0..3).for_each(|at| group.say_tag(at, "x"));
    group.say_links(0);
    // The first falls silent.
    let gone = group.id(0);
    group.members[0].publisher = Publisher::new(group.members[0].identity.clone(), 1);
    group.members[0].linked.clear();
    group.members[1].spreading.forget(group.now.instant, gone);
    group.members[1].linked.remove(&0);
    group.members[2].linked.remove(&0);
    group.members[1].spreading.disconnect(gone);
    group.members[2].spreading.disconnect(gone);
    assert!(group.members[1].spreading.poll_gone().is_some());
    group.pass(Duration::from_secs(20));
    assert!(!group.members[1].spreading.origins().any(|origin| origin == gone), "though another holds it");
    group.pass(Duration::from_mins(6));
    assert!(!group.members[2].spreading.origins().any(|origin| origin == gone));
    assert_eq!(group.members[2].spreading.origins().count(), 2);
}

#[test]
fn forged_stale_and_replayed_records_change_nothing() {
    let mut group = Group::new(3);
    group.link(0, 1);
    let (peer, origin) = (group.id(0), group.id(2));
    let record = |version, issued, seed: u8| {
        let stamp = Stamp { incarnation: 1, version };
        let body = Capabilities::new().encode();
        let identity = Identity::from_seed([seed; 32]);
        Record::sign(
            &identity,
            RecordKind::Capabilities,
            stamp,
            WallTime(issued),
            Duration::from_mins(5),
            &body,
        )
    };
    let wall = group.now.wall.0;
    let good = record(2, wall, 3);
    let mut forged = good.bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(group.receive(1, peer, &forged), Err(RecordError::Forged));
    assert_eq!(group.receive(1, peer, &forged[..60]), Err(RecordError::Malformed));
    assert!(matches!(group.receive(1, peer, good.bytes()), Ok(Taken::News(key, _)) if key.origin == origin));
    for (old, what) in [(good, "again"), (record(1, wall, 3), "older"), (record(3, 1, 3), "long over")] {
        assert_eq!(group.receive(1, peer, old.bytes()), Ok(Taken::Nothing), "{what}");
    }
    // Of its own name it takes nothing that it did not sign.
    let mut own = record(9, wall, 2).bytes().to_vec();
    assert!(matches!(group.receive(1, peer, &own), Ok(Taken::Own(..))));
    own[70] ^= 1;
    assert_eq!(group.receive(1, peer, &own), Err(RecordError::Forged));
    assert_eq!(group.members[1].taken.len(), 1);
}

#[test]
fn what_an_origin_says_without_signing_it_takes_effect_here_and_goes_no_further() {
    let mut group = Group::new(3);
    group.link(0, 1);
    group.link(1, 2);
    group.say_links(0);
    let origin = group.id(0);
    let stamp = Stamp { incarnation: 5, version: 1 };
    let body = Capabilities::new().encode();
    let identity = group.members[0].identity.clone();
    let record = Record::sign(
        &identity,
        RecordKind::Capabilities,
        stamp,
        group.now.wall,
        Duration::from_mins(1),
        &body,
    );
    let mut unsigned = record.bytes().to_vec();
    *unsigned.last_mut().unwrap() ^= 1;
    assert!(matches!(group.receive(1, origin, &unsigned), Ok(Taken::News(..))));
    let gone = Key { origin, kind: RecordKind::Capabilities };
    assert_eq!(group.members[1].spreading.poll_gone(), Some(gone), "found out when it was to be passed on");
    group.settle();
    group.pass(Duration::from_secs(5));
    assert!(group.members[2].taken.iter().all(|(key, _)| *key != gone));
}

#[test]
fn an_unsigned_record_that_comes_in_while_a_signed_one_waits_to_be_sent_does_not_go_out_in_its_place() {
    let mut group = Group::new(3);
    group.link(0, 1);
    group.link(1, 2);
    let (origin, peer) = (group.id(0), group.id(2));
    let identity = group.members[0].identity.clone();
    let record = |version| {
        let stamp = Stamp { incarnation: 5, version };
        let (wall, ttl) = (group.now.wall, Duration::from_mins(1));
        let body = Capabilities::new().encode();
        Record::sign(&identity, RecordKind::Capabilities, stamp, wall, ttl, &body)
    };
    let (first, second) = (record(1), record(2));
    let mut unsigned = second.bytes().to_vec();
    *unsigned.last_mut().unwrap() ^= 1;
    for (bytes, goes_out) in [(second.bytes().to_vec(), true), (unsigned, false)] {
        let mut spreading = Spreading::new(group.id(1), MAX_PARCEL);
        spreading.connect(peer);
        assert!(matches!(spreading.on_record(group.now, origin, first.bytes()), Ok(Taken::News(..))));
        let wanted = summary::Wanted(vec![first.key]);
        spreading.on_parcel(group.now.instant, peer, &wanted.encode()).unwrap();
        assert!(matches!(spreading.on_record(group.now, origin, &bytes), Ok(Taken::News(..))));
        let sent = spreading.poll_outgoing(group.now.instant);
        let expected = goes_out.then(|| (peer, Outgoing::Record(Arc::clone(second.bytes()))));
        assert_eq!(sent, expected);
    }
}

#[test]
fn a_peer_that_lacks_thousands_of_records_is_not_flooded() {
    let mut group = Group::new(2);
    let many = 1_000;
    for seed in 0..many {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&u32::to_le_bytes(seed));
        let identity = Identity::from_seed(bytes);
        let body = Capabilities::new().with_tag("x".repeat(64)).unwrap().encode();
        let stamp = Stamp { incarnation: 1, version: 1 };
        let record = Record::sign(
            &identity,
            RecordKind::Capabilities,
            stamp,
            group.now.wall,
            Duration::from_mins(5),
            &body,
        );
        group.receive(0, identity.node_id(), record.bytes()).unwrap();
    }
    group.link(0, 1);
    let mut most = 0;
    for _ in 0..200 {
        let before = group.members[0].records_sent;
        group.pass(Duration::from_millis(10));
        most = most.max(group.members[0].records_sent - before);
    }
    assert!(group.everyone_agrees());
    assert!(group.members[0].records_sent < 1_100, "hardly any twice");
    assert!((100..300).contains(&most), "{most} at once");
}
