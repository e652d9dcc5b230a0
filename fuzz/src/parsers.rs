//! Every parser of bytes that a stranger or a peer sends.

use meshground_node::{MAX_BODY, MAX_METHOD, MAX_REASON, vectors};

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
