//! What a peer may not do, and what is left when it does.

use super::*;
use crate::packet::StreamPiece;

fn streams() -> Streams {
    Streams::new(7, Side::Lower)
}

fn piece(stream: StreamId, offset: u64, data: &[u8], end: bool) -> StreamPiece<'_> {
    StreamPiece { stream: stream.wire, offset, end, data }
}

fn theirs(index: u64) -> StreamId {
    StreamId::new(7, index, StreamKind::Plain, Side::Higher)
}

#[test]
fn a_stream_this_end_never_opened_is_a_violation() {
    let mut streams = streams();
    let own = StreamId::new(7, 0, StreamKind::Plain, Side::Lower);
    assert_eq!(streams.on_piece(&piece(own, 0, b"a", false)), Err(Violation));
    assert_eq!(streams.on_stop(own.wire, 1), Err(Violation));
    assert_eq!(streams.open(StreamKind::Plain), Ok(own));
    assert_eq!(streams.on_piece(&piece(own, 0, b"a", false)), Ok(()));
}

#[test]
fn more_streams_than_allowed_are_a_violation() {
    let mut streams = streams();
    assert_eq!(streams.on_piece(&piece(theirs(MAX_STREAMS - 1), 0, b"", true)), Ok(()));
    assert_eq!(streams.on_piece(&piece(theirs(MAX_STREAMS), 0, b"", true)), Err(Violation));
}

#[test]
fn more_bytes_than_allowed_over_all_streams_are_a_violation() {
    let mut streams = streams();
    for index in 0..DATA_WINDOW / STREAM_WINDOW {
        assert_eq!(streams.on_piece(&piece(theirs(index), STREAM_WINDOW - 1, b"a", false)), Ok(()));
    }
    assert_eq!(streams.on_piece(&piece(theirs(100), 0, b"a", false)), Err(Violation));
    assert_eq!(streams.on_reset(theirs(101).wire, 0, 1), Err(Violation));
}

#[test]
fn late_frames_for_a_stream_that_is_over_are_ignored() {
    let mut streams = streams();
    let stream = theirs(0);
    streams.on_piece(&piece(stream, 0, b"abc", true)).unwrap();
    assert_eq!(streams.poll_event(), Some(StreamEvent::Opened(stream)));
    assert_eq!(streams.poll_event(), Some(StreamEvent::Readable(stream)));
    let mut out = Vec::new();
    assert_eq!(streams.read(stream, 10, &mut out), Ok(Some(3)));
    assert_eq!(streams.read(stream, 10, &mut out), Ok(Some(0)));
    streams.finish(stream).unwrap();
    let (mut packet, mut carried) = (Vec::new(), Vec::new());
    streams.send(1_000, &mut packet, &mut carried);
    for carried in carried {
        streams.acked(carried);
    }
    assert_eq!(streams.poll_event(), Some(StreamEvent::Finished(stream)));
    assert_eq!(streams.ids().count(), 0);
    assert_eq!(streams.on_piece(&piece(stream, 0, b"abc", true)), Ok(()));
    assert_eq!(streams.on_reset(stream.wire, 1, 3), Ok(()));
    assert_eq!((streams.ids().count(), streams.poll_event()), (0, None));
    assert_eq!(streams.read(stream, 10, &mut out), Err(StreamError::Unknown(stream)));
}

#[test]
fn what_nobody_reads_any_more_does_not_use_up_the_window() {
    let mut streams = streams();
    for index in 0..100 {
        let stream = theirs(index);
        streams.on_piece(&piece(stream, 0, &vec![0; 1 << 20], false)).unwrap();
        streams.stop(stream, 0).unwrap();
        streams.on_reset(stream.wire, 0, 1 << 20).unwrap();
        streams.send(1_000, &mut Vec::new(), &mut Vec::new());
    }
}

#[test]
fn an_empty_stream_that_ends_is_still_a_stream() {
    let mut streams = streams();
    let stream = streams.open(StreamKind::Call).unwrap();
    assert!(!streams.has_output());
    streams.finish(stream).unwrap();
    let (mut packet, mut carried) = (Vec::new(), Vec::new());
    streams.send(1_000, &mut packet, &mut carried);
    assert_eq!(carried, [Carried::Stream { stream: stream.wire, offset: 0, len: 0, end: true }]);
    assert!(!streams.has_output());
}

#[test]
fn streams_take_turns() {
    let mut streams = streams();
    let ids: Vec<StreamId> = (0..3).map(|_| streams.open(StreamKind::Plain).unwrap()).collect();
    for id in &ids {
        streams.write(*id, &[0; 10_000]).unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..6 {
        let mut carried = Vec::new();
        streams.send(100, &mut Vec::new(), &mut carried);
        order.extend(carried.iter().map(|carried| match carried {
            Carried::Stream { stream, .. } => StreamId { wire: *stream, connection: 7 },
            other => panic!("{other:?}"),
        }));
    }
    assert_eq!(order, [&ids[..], &ids[..]].concat());
}

#[test]
fn crumbs_beyond_so_many_are_refused_until_the_gaps_between_them_are_filled() {
    let mut streams = streams();
    // On two streams, as they are counted together.
    let crumbs = MAX_RANGES as u64 / 2;
    for index in 0..2 {
        for crumb in 1..=crumbs {
            assert_eq!(streams.on_piece(&piece(theirs(index), 2 * crumb, b"a", false)), Ok(()));
        }
    }
    assert_eq!(streams.on_piece(&piece(theirs(2), 2, b"a", false)), Err(Violation));
    assert_eq!(streams.on_piece(&piece(theirs(0), 0, b"a", false)), Ok(()), "it can be read at once");
    assert_eq!(streams.read(theirs(0), 10, &mut Vec::new()), Ok(Some(1)));
    assert_eq!(streams.on_piece(&piece(theirs(0), 1, b"a", false)), Ok(()));
    assert_eq!(streams.read(theirs(0), 10, &mut Vec::new()), Ok(Some(2)));
    assert_eq!(streams.on_piece(&piece(theirs(2), 2, b"a", false)), Ok(()), "there is room again");
    streams.on_reset(theirs(1).wire, 0, 2 * crumbs + 1).unwrap();
    streams.stop(theirs(0), 0).unwrap();
    assert_eq!(streams.ranges, 1);
}

#[test]
fn a_limit_that_rises_byte_by_byte_has_streams_looked_through_only_when_there_is_room_at_last() {
    let mut streams = streams();
    let (mut packet, mut carried) = (Vec::new(), Vec::new());
    let much = vec![1_u8; usize::try_from(STREAM_WINDOW).unwrap()];
    for _ in 0..=DATA_WINDOW / STREAM_WINDOW {
        let stream = streams.open(StreamKind::Call).unwrap();
        streams.write(stream, &much).unwrap();
    }
    while streams.has_output() {
        streams.send(60_000, &mut packet, &mut carried);
        packet.clear();
    }
    assert_eq!(streams.sent, DATA_WINDOW);
    let limits = DATA_WINDOW..=2 * DATA_WINDOW;
    let looks: Vec<u64> = limits.filter(|limit| streams.allow(*limit)).collect();
    assert_eq!(looks, [DATA_WINDOW + 1, DATA_WINDOW + DATA_APART + 1], "for calls, and for the rest");
}
