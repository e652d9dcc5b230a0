//! Names of streams and calls outlive what they named: they then lead nowhere, and never to something else.

use std::time::Duration;

use meshground_node::{CallError, CallEvent, NodeEvent, ReplyError, StreamError, StreamEvent};
use meshground_tests::sim::Network;

use super::{PATIENCE, config, converged, converged_with, seeds};

fn talking(seed: u64) -> Network {
    let mut net = converged(seed, 2);
    net.talks = true;
    net
}

#[test]
fn what_was_open_with_a_peer_that_restarts_is_lost_and_its_names_name_nothing_new() {
    for seed in seeds(20) {
        for in_place in [true, false] {
            let mut net = talking(seed);
            let (peer, own) = (net.id(1), net.id(0));
            let old = net.open_stream(0, 1).expect("a session");
            net.write_stream(0, peer, old, 10_000);
            let theirs = net.open_stream(1, 0).expect("a session");
            net.write_stream(1, own, theirs, 10_000);
            net.run_for(Duration::from_millis(50));
            // Under way when the peer goes down: its end of these is in nobody's hands.
            net.write_stream(0, peer, old, 100_000);
            let call = net.ask(0, 1, 50_000).expect("a session");
            net.run_for(Duration::from_micros(net_delay(seed)));
            net.crash(1);
            if in_place {
                net.restart_in_place(1);
            } else {
                net.restart(1);
            }
            net.dial(1, 0);
            net.run_until(PATIENCE, Network::is_converged).expect("it is back");
            net.run_for(Duration::from_millis(10));

            let told: Vec<&NodeEvent> = net.members[0].told().collect();
            for stream in [old, theirs] {
                let lost = NodeEvent::Stream { peer, event: StreamEvent::Lost(stream) };
                assert_eq!(told.iter().filter(|event| ***event == lost).count(), 1, "seed {seed}: {stream}");
            }
            let ended = CallEvent::Ended { call, outcome: Err(CallError::Lost) };
            assert!(told.contains(&&NodeEvent::Call(ended)), "seed {seed}");

            // The new ones have the old ones' numbers, and are others.
            let new = net.open_stream(0, 1).expect("a session");
            let their_new = net.open_stream(1, 0).expect("a session");
            let new_call = net.ask(0, 1, 1_000).expect("a session");
            assert_eq!((new.to_string(), their_new.to_string()), (old.to_string(), theirs.to_string()));
            assert!(new != old && their_new != theirs && new_call != call);
            for gone in [old, theirs] {
                net.act(0, |node, now| {
                    let unknown = Err(StreamError::Unknown(gone));
                    assert_eq!(node.write_stream(now, peer, gone, b"to whom?"), unknown.map(|()| 0));
                    assert_eq!(node.finish_stream(now, peer, gone), unknown);
                    assert_eq!(node.reset_stream(now, peer, gone, 1), unknown);
                    assert_eq!(node.stop_stream(now, peer, gone, 1), unknown);
                    let read = node.read_stream(now, peer, gone, 10, &mut Vec::new());
                    assert_eq!(read, unknown.map(|()| None));
                    node.cancel_call(now, call);
                    node.release_items(now, call, 1, 1);
                    assert_eq!(node.reply(now, call, b"to whom?"), Err(ReplyError::Over));
                    assert_eq!(node.end_reply(now, call, Ok(())), Err(ReplyError::Over));
                });
            }
            for (number, to, stream) in [(0, peer, new), (1, own, their_new)] {
                net.write_stream(number, to, stream, 200_000);
                net.finish_stream(number, to, stream);
            }
            net.run_for(Duration::from_secs(10));
            // Every byte of the new ones was read, by whom it was for, and the new call was answered.
            net.nothing_hangs();
            assert!(net.heard().0 >= 400_000, "seed {seed}");
        }
    }
}

/// At which point of what goes on the peer crashes.
fn net_delay(seed: u64) -> u64 {
    seed * 397 % 4_000
}

/// One end has heard nothing for so long that it has forgotten the other, while the keys were being renewed; the other
/// has heard everything, and goes on with the new keys as if nothing had happened.
#[test]
fn an_end_that_has_forgotten_a_connection_does_not_go_on_with_another_under_the_same_keys() {
    let mut forgetful = config();
    forgetful.liveness.forget = Duration::from_secs(3);
    forgetful.handshake.budget = Duration::from_secs(2);
    let mut net = converged_with(1, 2, &forgetful);
    net.talks = true;
    let (peer, own) = (net.id(1), net.id(0));
    let old = net.open_stream(1, 0).expect("a session");
    net.write_stream(1, own, old, 1_000);
    net.run_for(Duration::from_secs(10));
    net.dial(0, 1);
    net.run_for(Duration::from_micros(2_500));
    // Message 3 is on its way, and nothing comes back any more.
    let cut = (net.members[1].address, net.members[0].address);
    net.cuts.push(cut);
    net.run_until(Duration::from_secs(4), |net| net.verdict(0, 1).is_none()).expect("it forgets");
    let lost = NodeEvent::Stream { peer, event: StreamEvent::Lost(old) };
    assert!(net.members[0].told().any(|event| *event == lost));
    net.run_for(Duration::from_secs(1));
    net.cuts.clear();
    net.run_for(Duration::from_secs(1));
    let lost = NodeEvent::Stream { peer: own, event: StreamEvent::Lost(old) };
    assert!(net.members[1].told().any(|event| *event == lost), "the other end lets go as well");
    assert_eq!((net.verdict(0, 1), net.verdict(1, 0)), (None, None));
    net.dial(0, 1);
    net.run_until(PATIENCE, Network::is_converged).expect("they meet again");
    let (new, their_new) = (net.open_stream(0, 1), net.open_stream(1, 0));
    for (number, to, stream) in [(0, peer, new), (1, own, their_new)] {
        let stream = stream.expect("a session");
        net.write_stream(number, to, stream, 100_000);
        net.finish_stream(number, to, stream);
    }
    net.run_for(Duration::from_secs(5));
    net.nothing_hangs();
}
