//! A daemon that moves to a node again right after a move there came to nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn one_that_was_called_off_behind_a_cut_moves_to_the_same_node_as_soon_as_that_is_healed() {
    let tried = AtomicU32::new(0);
    each_seed(60, |seed| {
        let mut network = mesh(seed, if seed % 2 == 0 { Faults { loss: 0.0, ..LOSSY } } else { LOSSY }, 3);
        let len = [0, 3_000, 200_000][usize::try_from(network.below(3)).expect("small")];
        let daemon = spawn_with_state(&mut network, 0, len);
        network.run_for(Duration::from_secs(1));
        let first = try_migrate(&mut network, 0, daemon, 1).expect("it is tried");
        let id = under_way(&network, 0)[0].id;
        let pause = network.below(60_000) * network.below(2);
        network.run_for(Duration::from_micros(pause));
        let [source, target, other] = [0, 1, 2].map(|number| network.members[number].address);
        network.cuts = vec![(source, target), (target, source)];
        if network.below(2) == 0 {
            network.cuts.extend([(other, target), (target, other)]);
        }
        if network.below(2) == 0 {
            network.intercept();
        }
        // Some cuts are seen by nobody, others end sessions.
        let longest = [10, 300, 3_000, 12_000][usize::try_from(network.below(4)).expect("small")];
        let [before, after] = [0, 1].map(|_| Duration::from_millis(network.below(longest)));
        network.run_for(before);
        if network.act_os(0, |os, node, now| os.cancel_migration(now, node, id, None)).is_err() {
            // It has moved, or has come to nothing by itself.
            network.cuts.clear();
            network.dial_all();
            settled(&mut network, 0, first);
            return;
        }
        tried.fetch_add(1, Ordering::Relaxed);
        network.run_for(after);
        network.cuts.clear();
        network.dial_all();
        for _ in 0..60_000 {
            let target = network.id(1);
            if network.act(0, |node, _| node.is_reachable(target)) {
                break;
            }
            network.run_for(Duration::from_millis(1));
        }
        migrate(&mut network, 0, daemon, 1);
        network.run_for(Duration::from_secs(1));
        assert_eq!(hosts(&network, daemon), [(1, Lifecycle::Running)]);
    });
    assert!(tried.into_inner() > 0 || std::env::var_os("MESHGROUND_SEED").is_some(), "all came too late");
}
