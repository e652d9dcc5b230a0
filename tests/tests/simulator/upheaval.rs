//! Everything at once: see [`Upheaval`]. Whatever must always hold is checked after every step of it.

use meshground_tests::sim::{Upheaval, each_seed};

#[test]
fn after_any_upheaval_and_one_more_dial_all_is_well() {
    each_seed(1_500, |seed| _ = Upheaval::run(seed));
}

#[test]
fn an_upheaval_is_no_idle_talk() {
    let heard: Vec<_> = (0..20).map(|seed| Upheaval::run(seed).net.heard()).collect();
    let (bytes, answers): (Vec<u64>, Vec<usize>) = heard.into_iter().unzip();
    assert!(
        bytes.iter().sum::<u64>() > 1_000_000 && answers.iter().sum::<usize>() > 20,
        "{bytes:?}, {answers:?}"
    );
}
