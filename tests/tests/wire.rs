//! What somebody on the path can learn and do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use meshground::{ClusterConfig, ClusterHarness, Mesh, MeshBuilder, Messages, Subscription};
use meshground_node::{Identity, RejectReason};
use meshground_shared::EventKind;
use meshground_tests::relay::{Relay, Toward};
use meshground_tests::waiting::{here, within};

const PSK: [u8; 32] = [42; 32];

async fn mesh(identity: &Identity) -> Mesh {
    MeshBuilder::new(here(), PSK).identity(identity.clone()).build().await.unwrap()
}

/// A payload that occurs nowhere by chance.
fn marker(label: u8) -> [u8; 32] {
    let unique = Identity::from_seed([label; 32]).public_key().0;
    unique.map(|byte| byte ^ 0x5a)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Whether `bytes` contain `secret`, as it is or in hexadecimal.
fn gives_away(bytes: &[u8], secret: &[u8]) -> bool {
    let lower = hex(secret);
    let upper = lower.to_uppercase();
    [secret, lower.as_bytes(), upper.as_bytes()]
        .into_iter()
        .any(|form| bytes.windows(form.len()).any(|window| window == form))
}

/// What nobody on the path may see of a node, by name.
fn secrets(identity: &Identity) -> Vec<(&'static str, Vec<u8>)> {
    let id = identity.node_id().0;
    vec![
        ("Noise static key", identity.public_key().0.to_vec()),
        ("entity key", identity.entity_key().to_vec()),
        ("id, little-endian", id.to_le_bytes().to_vec()),
        ("id, big-endian", id.to_be_bytes().to_vec()),
    ]
}

async fn expect_message(inbox: &mut Messages, payload: &[u8]) {
    loop {
        let message = within("the message", inbox.recv()).await.expect("the node is up");
        if &*message.payload == payload {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_names_a_node_or_a_message_crosses_the_wire_in_clear() {
    let (identity_a, identity_b) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
    let (a, b) = (mesh(&identity_a).await, mesh(&identity_b).await);
    let relay = Relay::to(b.local_addr()).await.unwrap();
    let (mut inbox_a, mut inbox_b) = (a.messages(), b.messages());
    assert_eq!(within("connect", a.connect(relay.address())).await, Ok(b.node_id()));
    let (there, back) = (marker(3), marker(4));
    a.send(b.node_id(), &there).await.unwrap();
    expect_message(&mut inbox_b, &there).await;
    b.send(a.node_id(), &back).await.unwrap();
    expect_message(&mut inbox_a, &back).await;
    within("leave", a.shutdown()).await;

    let captured = relay.captured();
    for toward in [Toward::Target, Toward::Dialer] {
        let datagrams = captured.iter().filter(|datagram| datagram.toward == toward).count();
        assert!(datagrams >= 2, "both ways go through the relay: {datagrams} {toward:?}");
    }
    let mut secrets: Vec<_> = [secrets(&identity_a), secrets(&identity_b)].concat();
    secrets.push(("message there", there.to_vec()));
    secrets.push(("message back", back.to_vec()));
    for (name, secret) in &secrets {
        for datagram in &captured {
            assert!(!gives_away(&datagram.bytes, secret), "{name} is in the clear: {datagram:?}");
        }
    }

    // The same search must find all of it where it is in the clear.
    let stranger = tokio::net::UdpSocket::bind(here()).await.unwrap();
    for (name, secret) in &secrets {
        let text = format!("control {}", hex(secret).to_uppercase()).into_bytes();
        for control in [[b"control", secret.as_slice()].concat(), text] {
            stranger.send_to(&control, relay.address()).await.unwrap();
            let found = async {
                while !relay.captured().iter().any(|datagram| datagram.bytes == control) {
                    tokio::task::yield_now().await;
                }
            };
            within("the control datagram", found).await;
            let captured = relay.captured();
            assert!(captured.iter().any(|datagram| gives_away(&datagram.bytes, secret)), "{name} was missed");
        }
    }
}

/// How many datagrams the node has thrown away, whatever the reason.
async fn rejected(mesh: &Mesh) -> u64 {
    let mut all = 0;
    for reason in RejectReason::ALL {
        all += mesh.rejected(reason).await.unwrap();
    }
    all
}

/// A node of a cluster (whose event log shows all that happens to it) and a mesh that is connected to it by a relay.
struct Tapped {
    cluster: ClusterHarness,
    dialer: Mesh,
    relay: Relay,
    sent: u8,
}

impl Tapped {
    async fn new() -> Self {
        let config = ClusterConfig { psk: PSK, ..ClusterConfig::default() };
        let cluster = within("boot", ClusterHarness::with_config(1, config)).await.unwrap();
        let dialer = mesh(&Identity::from_seed([1; 32])).await;
        let target = cluster.nth(0).unwrap();
        let relay = Relay::to(target.local_addr()).await.unwrap();
        within("connect", dialer.connect(relay.address())).await.unwrap();
        Self { cluster, dialer, relay, sent: 0 }
    }

    fn target(&self) -> Mesh {
        self.cluster.nth(0).unwrap().mesh().clone()
    }

    /// Lets a message through. What was slipped in before has been dealt with when it arrives.
    async fn prove_alive(&mut self) {
        self.sent += 1;
        let payload = marker(self.sent);
        let target = self.target();
        let mut inbox = target.messages();
        self.dialer.send(target.node_id(), &payload).await.unwrap();
        expect_message(&mut inbox, &payload).await;
        let mut inbox = self.dialer.messages();
        target.send(self.dialer.node_id(), &payload).await.unwrap();
        expect_message(&mut inbox, &payload).await;
    }

    /// The last captured datagram that carries a message to the target.
    async fn message_datagram(&mut self) -> Vec<u8> {
        self.prove_alive().await;
        let captured = self.relay.captured();
        let to_target = captured.iter().filter(|datagram| datagram.toward == Toward::Target);
        // Padding or not, the one with a 32-byte message is the longest of the recent ones.
        let longest = to_target.rev().take(3).max_by_key(|datagram| datagram.bytes.len()).unwrap();
        assert!(longest.bytes.len() > 32 + 16 + 12, "no message, tag and header fit {longest:?}");
        longest.bytes.clone()
    }

    /// Slips `datagrams` in, and asserts that each is counted and nothing else happens.
    async fn slip_in_and_see_them_rejected(&mut self, datagrams: &[Vec<u8>], reason: Option<RejectReason>) {
        self.prove_alive().await;
        let target = self.target();
        let of_reason = async |reason: Option<RejectReason>| match reason {
            Some(reason) => target.rejected(reason).await.unwrap(),
            None => rejected(&target).await,
        };
        let (before, all_before) = (of_reason(reason).await, rejected(&target).await);
        let peers = target.peers();
        let Subscription { mut events, .. } = self.cluster.events();
        // In portions, so that no buffer overflows and everything arrives.
        for portion in datagrams.chunks(32) {
            for datagram in portion {
                self.relay.slip_in(Toward::Target, datagram).await.unwrap();
            }
            self.prove_alive().await;
        }
        let expected = datagrams.len() as u64;
        assert_eq!(rejected(&target).await - all_before, expected, "each of them is counted once");
        assert_eq!(of_reason(reason).await - before, expected, "under {reason:?}");
        assert_eq!(target.peers(), peers, "no session came, went or changed");
        while let Some(event) = events.try_recv().unwrap() {
            assert!(
                matches!(event.kind, EventKind::DatagramRejected { .. }),
                "something else happened: {event:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_altered_in_any_bit_of_its_sealed_part_is_counted_and_changes_nothing() {
    let mut tapped = Tapped::new().await;
    let genuine = tapped.message_datagram().await;
    let sealed = genuine.len() - 32..genuine.len();
    let altered: Vec<Vec<u8>> = sealed
        .flat_map(|byte| (0..8).map(move |bit| (byte, bit)))
        .map(|(byte, bit)| {
            let mut datagram = genuine.clone();
            datagram[byte] ^= 1 << bit;
            datagram
        })
        .collect();
    // A replayed counter is noticed before or after decryption; either way it is counted.
    tapped.slip_in_and_see_them_rejected(&altered, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_altered_in_its_clear_header_is_counted_and_changes_nothing() {
    let mut tapped = Tapped::new().await;
    let genuine = tapped.message_datagram().await;
    let altered: Vec<Vec<u8>> = (0..16 * 8)
        .map(|bit| {
            let mut datagram = genuine.clone();
            datagram[bit / 8] ^= 1 << (bit % 8);
            datagram
        })
        .collect();
    tapped.slip_in_and_see_them_rejected(&altered, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_message_is_counted_as_replayed_and_not_delivered_again() {
    let mut tapped = Tapped::new().await;
    let genuine = tapped.message_datagram().await;
    let mut inbox = tapped.target().messages();
    tapped.slip_in_and_see_them_rejected(&vec![genuine; 5], Some(RejectReason::Replayed)).await;
    let mut payloads = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(Duration::ZERO, inbox.recv()).await {
        payloads.push(message.payload);
    }
    payloads.sort();
    let delivered = payloads.len();
    payloads.dedup();
    assert_eq!(payloads.len(), delivered, "nothing is delivered twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_message_of_any_length_is_counted_and_changes_nothing() {
    let mut tapped = Tapped::new().await;
    let genuine = tapped.message_datagram().await;
    let truncated: Vec<Vec<u8>> = (0..genuine.len()).map(|len| genuine[..len].to_vec()).collect();
    tapped.slip_in_and_see_them_rejected(&truncated, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_datagrams_of_any_length_are_counted_and_change_nothing() {
    let mut tapped = Tapped::new().await;
    let noise = |n: usize| -> Vec<u8> {
        let seed = u8::try_from(n % 251).unwrap();
        marker(seed).into_iter().cycle().skip(n % 32).take(n * 7 % 1_500).collect()
    };
    let random: Vec<Vec<u8>> = (0..250).map(noise).collect();
    tapped.slip_in_and_see_them_rejected(&random, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_first_message_is_counted_and_opens_nothing() {
    let mut tapped = Tapped::new().await;
    let captured = tapped.relay.captured();
    let first = captured.iter().find(|datagram| datagram.toward == Toward::Target).unwrap().bytes.clone();
    tapped.slip_in_and_see_them_rejected(&[first], Some(RejectReason::ReplayedInitiation)).await;
}

#[tokio::test]
async fn a_flood_of_rubbish_stops_neither_a_node_nor_its_runtime() {
    let mut tapped = Tapped::new().await;
    let target = tapped.target();
    let flooding = Arc::new(AtomicBool::new(true));
    // Several of them, so that the node never finds its socket empty.
    let flood: Vec<_> = (0..4)
        .map(|_| {
            let (flooding, address) = (Arc::clone(&flooding), target.local_addr());
            std::thread::spawn(move || {
                let socket = std::net::UdpSocket::bind(here()).unwrap();
                while flooding.load(Ordering::Relaxed) {
                    // A full buffer is fine: so much the more of a flood.
                    let _ = socket.send_to(&[0xff; 64], address);
                }
            })
        })
        .collect();
    // The runtime has one thread only: a node that never paused would keep all of this from happening.
    let answers = async {
        while target.rejected(RejectReason::Malformed).await.unwrap() < 10_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("answers amid the flood", answers).await;
    flooding.store(false, Ordering::Relaxed);
    for thread in flood {
        thread.join().unwrap();
    }
    // What still lies in the socket may leave no room for a message, which may be lost.
    let emptied = async {
        let mut counted = 0;
        loop {
            let now = target.rejected(RejectReason::Malformed).await.unwrap();
            if now == std::mem::replace(&mut counted, now) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the flood's end", emptied).await;
    tapped.prove_alive().await;
    assert_eq!((target.peer_count(), tapped.dialer.peer_count()), (1, 1), "the session lives on");
}
