//! What a stranger's datagram makes a node allocate before it authenticates: nothing, but for a bounded memory of who
//! failed.
//!
//! This is a test program of its own, as counting takes the global allocator's place. What aws-lc allocates by itself does
//! not go through that: the context of a cipher for each key in a handshake, as long as it stands.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    time::Duration,
};

use allocation_counter::{AllocationInfo, measure};
use meshground_node::{Node, NodeConfig, RejectReason};
use meshground_tests::{
    bare::{Ephemeral, Handshake, Keys},
    sim::{Datagram, Faults, Network},
};

const PSK: [u8; 32] = [42; 32];
const PATIENCE: Duration = Duration::from_secs(30);

/// The member that strangers send to.
const TARGET: usize = 0;

/// The longest datagram there is.
const LONGEST: usize = 65_507;

/// How often an address may fail at once.
const BURST: usize = 16;

/// So many addresses and hosts that failed are remembered.
const REMEMBERED: u32 = 1_024 + 256;

const STRANGER: ([u8; 4], u16) = ([10, 0, 0, 9], 9);

/// A node with everything that a stranger's datagram may meet, and a stranger who has watched.
struct Scene {
    net: Network,
    /// What the node was sent until its sessions stood.
    recorded: Vec<Vec<u8>>,
    /// An answer to a dial of its own, held back.
    response: Vec<u8>,
    /// What confirms a session that it has answered, held back.
    confirm: Vec<u8>,
    /// The answer to another dial of its own; nothing has come over that session yet.
    half_open: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let mut config = NodeConfig::new(PSK);
        config.handshake.budget = PATIENCE;
        let mut net = Network::new(1, Faults::NONE);
        net.tap = Some(Vec::new());
        for _ in 0..3 {
            net.add(config.clone());
        }
        // In both directions, as it is to have answered as well as dialed.
        net.dial(TARGET, 1);
        net.dial(2, TARGET);
        net.dial(1, 2);
        net.run_until(PATIENCE, Network::is_converged).expect("a good network converges");
        net.run_for(Duration::from_secs(1));
        let target = net.members[TARGET].address;
        let watched = net.tap.take().expect("tapped").into_iter();
        let recorded: Vec<Vec<u8>> =
            watched.filter(|datagram| datagram.to == target).map(|datagram| datagram.bytes).collect();
        let [half, dialed, dialing] = [(); 3].map(|()| net.add(config.clone()));
        // From here on no time passes, so that nothing is sent again.
        net.dial(TARGET, half);
        deliver(&mut net, 1);
        let half_open = deliver(&mut net, 2);
        net.dial(TARGET, dialed);
        deliver(&mut net, 1);
        let response = take(&mut net, 2).bytes;
        net.dial(dialing, TARGET);
        deliver(&mut net, 1);
        deliver(&mut net, 2);
        let confirm = take(&mut net, 3).bytes;
        net.intercept();
        net.tap = Some(Vec::new());
        Self { net, recorded, response, confirm, half_open }
    }

    /// The last of a kind that was recorded.
    fn last(&self, kind: u8) -> &[u8] {
        self.recorded.iter().rfind(|bytes| bytes[0] == kind).expect("it was recorded")
    }

    /// What the node allocates for a datagram, and why it throws it away. It answers nothing.
    fn hear(&mut self, from: SocketAddr, datagram: &[u8]) -> (AllocationInfo, Option<RejectReason>) {
        let before = self.rejected();
        let (now, mut bytes) = (self.net.now_at(TARGET), datagram.to_vec());
        let node = self.net.members[TARGET].node.as_mut().expect("running");
        let allocated = measure(|| node.handle_datagram(now, from, &mut bytes));
        // Lets everything out, and looks at what must always hold.
        self.net.act(TARGET, |_, _| ());
        assert_eq!(self.net.tap.as_ref().map(Vec::len), Some(0), "it was answered");
        let after = self.rejected();
        let reasons = RejectReason::ALL.into_iter().zip(before.into_iter().zip(after));
        let mut new = reasons.filter(|(_, (before, after))| before < after);
        (allocated, new.next().map(|(reason, _)| reason))
    }

    fn rejected(&self) -> Vec<u64> {
        let node = self.net.members[TARGET].node.as_ref().expect("running");
        RejectReason::ALL.iter().map(|reason| node.rejected(*reason)).collect()
    }

    /// What is thrown away at a glance or by one tag of a session's key, by why.
    fn worthless(&self) -> Vec<(&'static str, RejectReason, Vec<Vec<u8>>)> {
        use RejectReason::{AuthFailed, Malformed, Replayed, ReplayedInitiation, UnknownIndex};
        let data = self.last(4);
        let cut = [self.last(1), &self.response, &self.confirm, data];
        let cut = cut.iter().flat_map(|whole| (0..whole.len().min(32)).map(|len| whole[..len].to_vec()));
        let padded = [self.last(1), &self.response, &self.confirm].map(|whole| {
            let mut long = whole.to_vec();
            long.resize(LONGEST, 7);
            long
        });
        let nothing = (0..100).map(|seed: usize| (0..seed * 600).map(|at| noise(seed, at)).collect());
        let all = |kind: u8| self.recorded.iter().filter(move |bytes| bytes[0] == kind).cloned();
        let for_nobody = [&self.response[..], &self.confirm, data].map(|bytes| with_index(bytes, [1; 4]));
        // What one index stands for is no other kind of thing.
        let [dial, answer] = [&self.response, &self.confirm].map(|bytes| index_of(bytes));
        let for_others = [(&self.confirm[..], dial), (data, dial), (&self.response, answer), (data, answer)];
        let for_others = for_others.map(|(bytes, index)| with_index(bytes, index));
        let session = index_of(data);
        let [half_open, forged] = [index_of(&self.half_open), session].map(|index| {
            let lens = [32, 33, 100, 1_452, LONGEST];
            lens.map(|len| {
                let header = [&[4, 0, 0, 0][..], &index, &1_000_u64.to_le_bytes()].concat();
                header.into_iter().chain((16..len).map(|at| noise(len, at))).collect()
            })
            .to_vec()
        });
        vec![
            ("cut off", Malformed, cut.collect()),
            ("too long", Malformed, padded.to_vec()),
            ("noise", Malformed, nothing.collect()),
            ("first messages that have come before", ReplayedInitiation, all(1).collect()),
            ("answers to dials that are over", UnknownIndex, all(2).collect()),
            ("for an index that leads nowhere", UnknownIndex, for_nobody.to_vec()),
            ("for an index that leads to something else", UnknownIndex, for_others.to_vec()),
            ("confirmations that have come before", Replayed, all(3).collect()),
            ("packets that have come before", Replayed, all(4).collect()),
            ("forged packets of a session", AuthFailed, forged),
            ("forged packets of one that is not confirmed", AuthFailed, half_open),
            ("a confirmation in a session's place", Replayed, vec![broken(self.last(3))]),
        ]
    }
}

/// A datagram of a kind that is under way, taken off the network with all others.
fn take(net: &mut Network, kind: u8) -> Datagram {
    net.intercept().into_iter().find(|datagram| datagram.bytes[0] == kind).expect("it is under way")
}

fn deliver(net: &mut Network, kind: u8) -> Vec<u8> {
    let datagram = take(net, kind);
    net.inject(&datagram);
    datagram.bytes
}

fn index_of(datagram: &[u8]) -> [u8; 4] {
    datagram[4..8].try_into().expect("four bytes")
}

fn with_index(datagram: &[u8], index: [u8; 4]) -> Vec<u8> {
    [&datagram[..4], &index, &datagram[8..]].concat()
}

/// With another last bit, which is one of a tag.
fn broken(datagram: &[u8]) -> Vec<u8> {
    let mut bytes = datagram.to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    bytes
}

/// A byte of what looks like nothing: never the kind of a datagram there is.
fn noise(seed: usize, at: usize) -> u8 {
    let byte = (seed ^ at).wrapping_mul(0x9e37_79b9).to_le_bytes()[2];
    if at == 0 { byte | 0x80 } else { byte }
}

/// First messages under a key, begun at `begun`, each with another ephemeral key and of either suite in turn.
fn initiations(psk: &[u8; 32], begun: u64, numbers: Range<u64>) -> Vec<Vec<u8>> {
    let keys = Keys::grow(&[9; 32]).expect("primitives");
    let write = |number: u64| {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let suite = if number.is_multiple_of(2) { 1 } else { 2 };
        let mut handshake = Handshake::new(true, suite, psk, &keys, Ephemeral::Seeded(seed)).expect("sound");
        handshake.write_initiation(begun, 7).expect("it begins")
    };
    numbers.map(write).collect()
}

fn foreign(numbers: Range<u64>) -> Vec<Vec<u8>> {
    initiations(&[!PSK[0]; 32], 0, numbers)
}

#[test]
fn what_is_thrown_away_before_it_authenticates_has_nothing_allocated_for_it() {
    let mut scene = Scene::new();
    // The first has the tallies made.
    scene.hear(STRANGER.into(), &[]);
    for (what, reason, datagrams) in scene.worthless() {
        assert!(!datagrams.is_empty(), "{what}");
        for datagram in &datagrams {
            let (allocated, why) = scene.hear(STRANGER.into(), datagram);
            assert_eq!((allocated.count_total, why), (0, Some(reason)), "{what}: {} bytes", datagram.len());
        }
    }
}

#[test]
fn a_node_that_has_left_has_nothing_allocated_for_strangers() {
    let mut scene = Scene::new();
    let worthless = scene.worthless();
    scene.net.act(TARGET, Node::leave);
    scene.net.tap = Some(Vec::new());
    for (what, _, datagrams) in worthless {
        for datagram in &datagrams {
            let (allocated, why) = scene.hear(STRANGER.into(), datagram);
            assert_eq!((allocated.count_total, why), (0, None), "{what}: {} bytes", datagram.len());
        }
    }
}

#[test]
fn of_what_is_allocated_for_a_forged_answer_or_confirmation_nothing_stays() {
    // A secret is agreed on before the tag can be looked at, and after a forged confirmation the state of the handshake is
    // made anew. Whoever forges one must have seen its index go by: it travels sealed in the message before.
    let mut scene = Scene::new();
    scene.hear(STRANGER.into(), &[]);
    let forged = [broken(&scene.response), broken(&scene.confirm)];
    for datagram in forged.iter().cycle().take(20) {
        let (allocated, why) = scene.hear(STRANGER.into(), datagram);
        assert_eq!((allocated.bytes_current, why), (0, Some(RejectReason::HandshakeFailed)));
        assert!(allocated.bytes_max <= 2_048, "{allocated:?}");
    }
}

#[test]
fn first_messages_that_fail_have_nothing_allocated_for_them_but_who_failed_is_remembered() {
    let mut scene = Scene::new();
    // The first of each suite has a responder prepared, which stays until one authenticates.
    for datagram in foreign(0..2) {
        scene.hear(STRANGER.into(), &datagram);
    }
    for (failures, datagram) in (2..).zip(foreign(2..100)) {
        let expected = if failures < BURST { RejectReason::PskMismatch } else { RejectReason::RateLimited };
        let (allocated, why) = scene.hear(STRANGER.into(), &datagram);
        assert_eq!((allocated.count_total, why), (0, Some(expected)), "after {failures} failures");
    }
    // Nobody's failures at a peer's address keep the peer out: each is tried.
    let peer = scene.net.members[1].address;
    scene.hear(peer, &foreign(0..1)[0]);
    for datagram in foreign(1..100) {
        let (allocated, why) = scene.hear(peer, &datagram);
        assert_eq!((allocated.count_total, why), (0, Some(RejectReason::PskMismatch)));
    }
}

#[test]
fn whoever_fails_from_ever_new_addresses_has_a_bounded_memory_allocated() {
    let mut scene = Scene::new();
    let datagrams = foreign(0..2);
    let mut kept = 0;
    for (number, datagram) in (0..10_000).zip(datagrams.iter().cycle()) {
        let host = Ipv4Addr::from_bits(Ipv4Addr::new(11, 0, 0, 0).to_bits() + number);
        let (allocated, why) = scene.hear((host, 7).into(), datagram);
        assert_eq!(why, Some(RejectReason::PskMismatch));
        kept += allocated.bytes_current;
        assert!(kept <= i64::from(REMEMBERED) * 256, "{kept} bytes after {number}");
    }
    assert!(kept > i64::from(REMEMBERED) * 64, "{kept} bytes: they are remembered");
}

#[test]
fn a_first_message_of_long_ago_authenticates_once_and_then_has_nothing_allocated_for_it() {
    let mut scene = Scene::new();
    let stale = initiations(&PSK, 0, 0..100);
    for round in 0..3 {
        for (number, datagram) in (0..).zip(&stale) {
            // Each from an address of its own, as they count as failures.
            let (allocated, why) = scene.hear(([10, 0, 0, number], 7).into(), datagram);
            assert_eq!(why, Some(RejectReason::StaleInitiation));
            assert_eq!(allocated.count_total > 0, round == 0, "it is counted: {allocated:?}");
        }
    }
}
