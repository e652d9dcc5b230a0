//! The fuzzing targets on bytes of a seeded generator: a little of what `cargo fuzz` does, in every test run.

use meshground_fuzz::TARGETS;
use meshground_tests::sim::seeds;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

/// Inputs of each target, and the length of the longest.
const EFFORT: [(&str, u32, u32); 11] = [
    ("header", 20_000, 256),
    ("frames", 20_000, 256),
    ("ack_ranges", 20_000, 64),
    ("request", 5_000, 600),
    ("response", 10_000, 256),
    ("records", 10_000, 400),
    ("bodies", 40_000, 300),
    ("client", 20_000, 200),
    ("two_nodes", 60, 1_200),
    ("insider", 60, 6_000),
    ("system", 60, 600),
];

/// Mostly small bytes, which mean something more often.
fn bytes(rng: &mut ChaCha20Rng, longest: u32) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(rng.next_u32() % (longest + 1)).unwrap()];
    rng.fill_bytes(&mut bytes);
    if rng.next_u32().is_multiple_of(2) {
        for byte in &mut bytes {
            if !rng.next_u32().is_multiple_of(4) {
                *byte %= 24;
            }
        }
    }
    bytes
}

fn run(name: &str) {
    let (_, target) = TARGETS.iter().find(|target| target.0 == name).expect("it is one of them");
    let (_, inputs, longest) =
        EFFORT.iter().find(|effort| effort.0 == name).expect("every one has its effort");
    for seed in seeds((*inputs).into()) {
        let input = bytes(&mut ChaCha20Rng::seed_from_u64(seed), *longest);
        let outcome = std::panic::catch_unwind(|| target(&input));
        assert!(outcome.is_ok(), "{name}, seed {seed}; MESHGROUND_SEED={seed} runs it alone");
    }
}

#[test]
fn every_target_is_tried() {
    assert_eq!(TARGETS.map(|target| target.0), EFFORT.map(|effort| effort.0));
}

#[test]
fn any_bytes_can_be_parsed() {
    for name in ["header", "frames", "ack_ranges", "request", "response", "records", "bodies", "client"] {
        run(name);
    }
}

#[test]
fn two_nodes_keep_their_promises_whatever_they_and_the_network_do() {
    run("two_nodes");
}

#[test]
fn a_node_withstands_a_member_that_says_whatever_it_likes() {
    run("insider");
}

#[test]
fn the_system_withstands_a_member_that_says_whatever_it_likes() {
    run("system");
}
