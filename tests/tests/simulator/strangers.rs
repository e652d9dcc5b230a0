//! What strangers leave behind in a node: nothing but a bounded memory of what came to nothing.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use meshground_node::RejectReason;
use meshground_tests::{
    bare::{Ephemeral, Handshake, Keys},
    sim::{Datagram, Network},
};

use super::{PSK, converged, rejected};

/// All that may grow by what strangers send: whom they claim to be, so that they are refused at a glance.
const MAY_GROW: [&str; 4] =
    ["addresses that failed", "hosts that failed", "stale first messages", "rejections to tell"];

const FLOOD: usize = 100_000;

/// Everything a member holds, by what it is.
fn held(net: &Network, number: usize) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    let node = net.members[number].node.as_ref().expect("running");
    node.gauges(&mut |gauge| *all.entry(gauge.what).or_default() += gauge.held);
    all
}

/// What a stranger has at hand: all that ever passed by on the network, and what it can make without the key.
struct Stranger {
    to: SocketAddr,
    /// First messages that are good, but of long ago.
    stale: Vec<Vec<u8>>,
    /// First messages under another key.
    foreign: Vec<Vec<u8>>,
    /// What has passed by of the sessions that stand.
    recorded: Vec<Vec<u8>>,
}

impl Stranger {
    /// Has watched all of a network.
    fn of(net: &mut Network) -> Self {
        let keys = Keys::grow(&[9; 32]).expect("primitives");
        let initiation = |psk: &[u8; 32], number: u64| {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let suite = if number.is_multiple_of(2) { 1 } else { 2 };
            let mut handshake =
                Handshake::new(true, suite, psk, &keys, Ephemeral::Seeded(seed)).expect("sound");
            handshake.write_initiation(number, 7).expect("it begins")
        };
        Self {
            to: net.members[0].address,
            stale: (0..1_000).map(|number| initiation(&PSK, number)).collect(),
            foreign: (1_000..1_100).map(|number| initiation(&[!PSK[0]; 32], number)).collect(),
            recorded: net.tap.take().expect("tapped").into_iter().map(|datagram| datagram.bytes).collect(),
        }
    }

    /// The `number`th datagram, from one of more addresses and hosts than are remembered.
    fn send(&self, net: &mut Network, number: usize) {
        let below =
            |net: &mut Network, bound: usize| usize::try_from(net.below(bound as u64)).expect("small");
        let address = u16::try_from(below(net, 3_000)).expect("small");
        let [high, low] = (address % 300).to_be_bytes();
        let from = ([10, 0, high, low], 1_000 + address).into();
        let noise = |net: &mut Network, len| -> Vec<u8> {
            (0..len).map(|_| net.below(256).to_le_bytes()[0]).collect()
        };
        let one_of = |net: &mut Network, all: &[Vec<u8>]| all[below(net, all.len())].clone();
        let bytes = match number % 8 {
            0 => {
                let len = below(net, 200);
                noise(net, len)
            }
            1 => [vec![1, 1, 0, 0], noise(net, 60)].concat(),
            2 => one_of(net, &self.foreign),
            3 => one_of(net, &self.stale),
            4 => one_of(net, &self.recorded),
            5 => {
                let mut bytes = one_of(net, &self.recorded);
                let place = below(net, bytes.len());
                bytes[place] ^= 1 << below(net, 8);
                bytes
            }
            6 => {
                let mut bytes = one_of(net, &self.recorded);
                bytes.truncate(below(net, bytes.len()));
                bytes
            }
            _ => {
                // Of any kind, for any receiver.
                let kind = 1 + below(net, 5).to_le_bytes()[0];
                let rest = noise(net, 183);
                [vec![kind, 0, 0, 0], rest].concat()
            }
        };
        net.inject(&Datagram { from, to: self.to, bytes });
    }
}

#[test]
fn whatever_strangers_send_nothing_of_a_node_grows_but_a_bounded_memory_of_their_failures() {
    let mut net = converged(1, 3);
    // What was recorded of the handshakes is stale by now.
    net.run_for(Duration::from_secs(30));
    let stranger = Stranger::of(&mut net);
    // The first sets the timer of telling.
    stranger.send(&mut net, 0);
    let (before, counted, events) = (held(&net, 0), rejected(&net, 0), net.members[0].events.len());
    net.tap = Some(Vec::new());
    // Not a moment passes: nobody but strangers has anything to say. After each datagram every gauge is within its limit.
    for number in 0..FLOOD {
        stranger.send(&mut net, number);
    }
    assert_eq!(rejected(&net, 0) - counted, FLOOD as u64, "each is counted once");
    assert_eq!(net.tap.as_ref().map(Vec::len), Some(0), "nobody is answered");
    for (what, held) in held(&net, 0) {
        if MAY_GROW.contains(&what) {
            assert!(held > before[what], "{what}: strangers fail in every way");
        } else {
            assert_eq!(held, before[what], "{what}");
        }
    }
    net.run_for(Duration::from_secs(1));
    assert_eq!(held(&net, 0)["rejections to tell"], 0);
    let told = net.members[0].events.len() - events;
    assert!(told <= 32 + RejectReason::ALL.len(), "{told} events of {FLOOD} datagrams");
    assert!(net.is_converged());
}
