//! Numbers of one to eight bytes: small ones, which are most, stay short.
//!
//! RFC 9000, section 16: the two highest bits of the first byte say whether the number takes 1, 2, 4 or 8 bytes, the
//! rest of them hold it, most significant first. A number may be written longer than it needs to be.

use super::Malformed;

/// The largest number that can be written.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// How many bytes [`put`] appends.
pub(crate) const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value`, which must not exceed [`MAX`].
pub(crate) fn put(value: u64, out: &mut Vec<u8>) {
    debug_assert!(value <= MAX, "{value} does not fit in 62 bits");
    let bytes = value.to_be_bytes();
    let start = out.len();
    match len(value) {
        1 => out.extend_from_slice(&bytes[7..]),
        2 => {
            out.extend_from_slice(&bytes[6..]);
            out[start] |= 0x40;
        }
        4 => {
            out.extend_from_slice(&bytes[4..]);
            out[start] |= 0x80;
        }
        _ => {
            out.extend_from_slice(&bytes);
            out[start] |= 0xc0;
        }
    }
}

/// Takes a number off the front of `bytes`.
pub(crate) fn split(bytes: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let first = *bytes.first().ok_or(Malformed)?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6)).ok_or(Malformed)?;
    let start = u64::from(first & 0x3f);
    Ok((number[1..].iter().fold(start, |value, byte| value << 8 | u64::from(*byte)), rest))
}

/// Takes a number off the front of `bytes`, and then that many bytes.
pub(crate) fn split_bytes(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (len, rest) = split(bytes)?;
    let len = usize::try_from(len).map_err(|_| Malformed)?;
    rest.split_at_checked(len).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_takes_the_stated_length() {
        for value in [0, 1, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, MAX] {
            let mut out = vec![9];
            put(value, &mut out);
            assert_eq!(out.len() - 1, len(value), "{value}");
            out.push(7);
            assert_eq!(split(&out[1..]), Ok((value, &[7][..])));
            for cut in 1..out.len() - 1 {
                assert_eq!(split(&out[1..cut]), Err(Malformed), "{value} cut to {cut}");
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 9000, appendix A.1.
        let read = |bytes: &[u8]| split(bytes).map(|(value, _)| value);
        assert_eq!(read(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]), Ok(151_288_809_941_952_652));
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Ok(494_878_333));
        assert_eq!(read(&[0x7b, 0xbd]), Ok(15_293));
        assert_eq!(read(&[0x25]), Ok(37));
        assert_eq!(read(&[0x40, 0x25]), Ok(37), "longer than it needs to be");
    }
}
