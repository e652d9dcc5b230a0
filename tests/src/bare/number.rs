//! Numbers of one to eight bytes (RFC 9000, section 16), and what is counted by them.

use super::Refused;

/// The shortest form of a number. One beyond 2^62 - 1 is cut to that many bits.
pub(super) fn write_number(number: u64, out: &mut Vec<u8>) {
    let padded = (number & (u64::MAX >> 2)).to_be_bytes();
    let power = match number {
        0..0x40 => 0_u8,
        0x40..0x4000 => 1,
        0x4000..0x4000_0000 => 2,
        _ => 3,
    };
    let start = out.len();
    out.extend_from_slice(&padded[8 - (1 << power)..]);
    out[start] |= power << 6;
}

/// `bytes`: how many, and they.
pub(super) fn write_prefixed(bytes: &[u8], out: &mut Vec<u8>) {
    write_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The number in front, and what follows it.
pub(super) fn take_number(bytes: &[u8]) -> Result<(u64, &[u8]), Refused> {
    let len = 1 << (bytes.first().ok_or(Refused)? >> 6);
    let (number, rest) = bytes.split_at_checked(len).ok_or(Refused)?;
    let mut padded = [0; 8];
    padded[8 - len..].copy_from_slice(number);
    padded[8 - len] &= 0x3f;
    Ok((u64::from_be_bytes(padded), rest))
}

/// As many numbers in a row as are asked for.
pub(super) fn take_numbers<const N: usize>(mut bytes: &[u8]) -> Result<([u64; N], &[u8]), Refused> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        (*number, bytes) = take_number(bytes)?;
    }
    Ok((numbers, bytes))
}

/// `bytes` in front, and what follows them.
pub(super) fn take_prefixed(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let (len, rest) = take_number(bytes)?;
    rest.split_at_checked(usize::try_from(len).map_err(|_| Refused)?).ok_or(Refused)
}
