//! Randomness from the operating system.

/// Random bytes.
///
/// # Panics
/// When the operating system has none to give. No key may be made then, so there is
/// nothing to go on with.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system's random source works");
    bytes
}
