//! A stranger floods a node over real sockets: nothing of its mesh suffers, and everything is accounted for.

use std::time::Instant;

use meshground::{Mesh, MeshBuilder};
use meshground_node::{Health, LivenessConfig, PeerView, RejectReason};
use meshground_tests::relay::{Relay, Toward};
use meshground_tests::waiting::{PATIENCE, here, within};
use tokio::net::UdpSocket;

const PSK: [u8; 32] = [42; 32];

/// So many are sent before the node has counted them: no socket buffer overflows, and none is lost uncounted.
const BATCH: usize = 64;

async fn mesh() -> Mesh {
    MeshBuilder::new(here(), PSK).build().await.unwrap()
}

async fn rejected(mesh: &Mesh) -> u64 {
    let mut all = 0;
    for reason in RejectReason::ALL {
        all += mesh.rejected(reason).await.unwrap();
    }
    all
}

/// The `number`th piece of junk: a message 1 that does not authenticate, garbage, or a replay.
fn junk(number: usize, recorded: &[Vec<u8>]) -> Vec<u8> {
    let noise = |byte: usize| {
        (number.wrapping_mul(0x9e37_79b9) >> (byte % 24)).to_le_bytes()[0] ^ byte.to_le_bytes()[0]
    };
    match number % 3 {
        0 => [1, 1, 0, 0].into_iter().chain((0..60).map(noise)).collect(),
        1 => (0..number % 300).map(noise).collect(),
        _ => recorded[number / 3 % recorded.len()].clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_node_keeps_its_sessions_goes_on_measuring_them_and_counts_every_datagram() {
    let (target, through_relay, direct) = (mesh().await, mesh().await, mesh().await);
    let relay = Relay::to(target.local_addr()).await.unwrap();
    within("a session", through_relay.connect(relay.address())).await.unwrap();
    within("a session", direct.connect(target.local_addr())).await.unwrap();
    within("a new session's first packets", async {
        while target.peer_count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let recorded: Vec<Vec<u8>> = relay
        .captured()
        .into_iter()
        .filter(|datagram| datagram.toward == Toward::Target)
        .map(|datagram| datagram.bytes)
        .collect();
    assert!(recorded.iter().any(|bytes| bytes[0] == 1), "a message 1 is among them");

    let stranger = UdpSocket::bind(here()).await.unwrap();
    let mut inbox = target.messages();
    let before = rejected(&target).await;
    let round_trips = async || {
        let mut all = Vec::new();
        for mesh in [&target, &through_relay, &direct] {
            all.extend(mesh.stats().await.unwrap().into_iter().map(|peer| peer.rtt));
        }
        all
    };
    let in_peace = round_trips().await;
    let mut sent = 0;
    let begun = Instant::now();
    for round in 0_u32.. {
        let amid = round_trips().await;
        let measured = in_peace.iter().zip(&amid).filter(|(before, now)| before != now).count();
        if round >= 100 && measured == in_peace.len() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "not every round trip is measured: {in_peace:?}, then {amid:?}");
        for _ in 0..BATCH {
            stranger.send_to(&junk(sent, &recorded), target.local_addr()).await.unwrap();
            sent += 1;
        }
        direct.send(target.node_id(), &round.to_le_bytes()).await.unwrap();
        within("a message amid the flood", async {
            while *inbox.recv().await.expect("the node is up").payload != round.to_le_bytes() {}
        })
        .await;
        within("the flood to be counted", async {
            while rejected(&target).await < before + sent as u64 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(rejected(&target).await - before, sent as u64, "each is counted once, and nothing else");
    let limited = target.rejected(RejectReason::RateLimited).await.unwrap();
    let tried = target.rejected(RejectReason::PskMismatch).await.unwrap();
    assert!(
        limited > tried,
        "most first messages were refused at a glance: {limited} of {}",
        limited + tried
    );
    for mesh in [&target, &through_relay, &direct] {
        let peers = mesh.stats().await.unwrap();
        let is_well = |peer: &PeerView| {
            peer.health == Health::Healthy
                && peer.rtt.is_some_and(|rtt| rtt < LivenessConfig::default().heartbeat)
        };
        assert!(peers.iter().all(is_well), "{peers:?}");
        assert!(!peers.is_empty());
    }
    let mut answer = [0; 64];
    assert!(stranger.try_recv(&mut answer).is_err(), "a stranger was answered");
}
