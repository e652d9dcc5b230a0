//! Every parser of bytes that a stranger or a peer sends.

use meshground_node::{Identity, MAX_BODY, MAX_METHOD, MAX_REASON, vectors};

use crate::input::Input;

/// A datagram's clear part.
pub fn header(datagram: &[u8]) {
    if vectors::has_header(datagram) {
        assert!(matches!((datagram[0], datagram.len()), (1, 64) | (2, 212) | (3, 184) | (4, 32..)));
        assert_eq!(datagram[2..4], [0, 0]);
    }
}

/// The frames of a packet: what is read says the same when it is written and read again.
pub fn frames(packet: &[u8]) {
    let Some(said) = vectors::frames(packet) else {
        assert_eq!(vectors::frames_rewritten(packet), None);
        return;
    };
    let rewritten = vectors::frames_rewritten(packet).expect("what was read once is read again");
    assert!(rewritten.len() <= packet.len(), "nothing is written longer than it came");
    assert_eq!(vectors::frames(&rewritten), Some(said));
    assert_eq!(vectors::frames_rewritten(&rewritten).as_ref(), Some(&rewritten));
}

/// The ranges of an acknowledgement: sorted, apart, bounded.
pub fn ack_ranges(bytes: &[u8]) {
    let Some((ranges, rewritten, rest)) = vectors::ack_ranges(bytes) else { return };
    assert!((1..=64).contains(&ranges.len()));
    assert!(ranges.iter().all(|(low, high)| low <= high));
    assert!(ranges.is_sorted_by(|above, below| above.0 > below.1 + 1), "{ranges:?}");
    assert!(rewritten.len() + rest <= bytes.len());
    let (again, _, none) = vectors::ack_ranges(&rewritten).expect("what was written is read");
    assert_eq!((again, none), (ranges, 0));
}

/// A call's request.
pub fn request(bytes: &[u8]) {
    if let Some((_, method, body)) = vectors::request(bytes) {
        assert!((1..=MAX_METHOD).contains(&method.len()) && body.len() <= MAX_BODY);
    }
}

/// A call's answer: the same however it is cut into pieces, by the first byte.
pub fn response(bytes: &[u8]) {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let whole = vectors::response(std::iter::once(bytes));
    let by_pieces = vectors::response(bytes.chunks(usize::from(step).max(1)));
    assert_eq!(whole, by_pieces);
    if let Some((items, outcome)) = whole {
        assert!(items.iter().all(|item| item.len() <= MAX_BODY));
        if let Some(Err((_, reason))) = outcome {
            // What is no text grows by what stands in its place.
            assert!(reason.len() <= 3 * MAX_REASON);
        }
    }
}

/// What travels about records, by the first byte: records themselves, what they say, and summaries of them. Of each there
/// is one form only, and nobody but its origin signs a record.
pub fn records(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    match which % 5 {
        0 => one_form(bytes, vectors::capabilities_rewritten(bytes)),
        1 => one_form(bytes, vectors::links_rewritten(bytes)),
        2 => one_form(bytes, vectors::summary_rewritten(bytes)),
        3 => {
            if let Some(record) = vectors::record(bytes) {
                assert_eq!(bytes[..1], [record.kind]);
                assert_eq!(bytes[33..41], record.incarnation.to_le_bytes());
                assert_eq!(bytes[41..49], record.version.to_le_bytes());
                assert_eq!(bytes[49..57], record.issued.to_le_bytes());
                assert_eq!(
                    u64::from(u32::from_le_bytes(bytes[57..61].try_into().expect("four"))),
                    record.ttl
                );
                assert_eq!(bytes[61..bytes.len() - 64], record.body);
                assert!((1..=24 * 3_600).contains(&record.ttl));
            }
        }
        _ => signed_record(&mut Input(bytes)),
    }
}

fn one_form(bytes: &[u8], rewritten: Option<Vec<u8>>) {
    assert!(rewritten.is_none_or(|rewritten| rewritten == bytes));
}

/// A record as its origin signs it, and then with something changed.
fn signed_record(input: &mut Input<'_>) {
    let seed = [input.byte(); 32];
    let at = usize::try_from(input.number() % 16_384).unwrap_or_default();
    let change = input.byte();
    let fields = vectors::RecordFields {
        kind: 1 + u8::try_from(input.choice(vectors::RECORD_KINDS)).unwrap_or_default(),
        origin: Identity::from_seed(seed).node_id(),
        incarnation: input.number(),
        version: input.number(),
        issued: input.number(),
        ttl: 1 + input.number() % (24 * 3_600),
        body: input.bytes(16_384).to_vec(),
        is_sound: false,
        is_signed: true,
    };
    let mut bytes = vectors::sign_record(seed, &fields);
    let read = vectors::record(&bytes).expect("what was signed is read");
    assert_eq!(vectors::RecordFields { is_sound: false, ..read }, fields);
    let len = bytes.len();
    bytes[at % len] ^= change;
    let read = vectors::record(&bytes);
    assert!(change == 0 || read.is_none_or(|record| !record.is_signed), "byte {at} of {len} was changed");
}

/// What nodes say to each other above the transport, by the first byte: what is read says the same when it is written and
/// read again.
pub fn bodies(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else { return };
    let names = vectors::system::names();
    let which = usize::from(which) % names.len();
    let Some(name) = vectors::system::names().nth(which) else { return };
    let Some(rewritten) = vectors::system::rewritten(name, bytes) else { return };
    assert!(rewritten.len() <= bytes.len(), "{name} is not written longer than it came");
    assert_eq!(vectors::system::rewritten(name, &rewritten).as_ref(), Some(&rewritten), "{name}");
}
