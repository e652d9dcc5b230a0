//! The receiving half of a stream.

use std::collections::VecDeque;

use crate::{packet::StreamPiece, ranges::RangeSet};

/// How many bytes may be under way or unread on one stream.
pub(crate) const STREAM_WINDOW: u64 = 1 << 20;

/// A buffer larger than this is given back when it has emptied.
const KEPT: usize = 16 << 10;

/// The other end did what no honest one does; the piece, or the frame, has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation;

/// Bytes as they come in, put in order.
#[derive(Debug)]
pub(crate) struct ReceiveHalf {
    /// From `read` on; what has not come in yet is zero.
    buffer: VecDeque<u8>,
    /// How far the application has read.
    read: u64,
    /// What came in above `read`.
    have: RangeSet,
    /// The end of the highest piece.
    highest: u64,
    /// How far the other end may send.
    limit: u64,
    state: State,
    /// The application found nothing to read and waits.
    pub(crate) waiting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The other end has told where it ends; `told` says whether the application has read that far.
    Ended {
        size: u64,
        told: bool,
    },
    /// The other end gave up; `told` says whether the application knows.
    Reset {
        code: u64,
        told: bool,
    },
    /// The application wants no more.
    Stopped {
        size: Option<u64>,
    },
}

/// What a look at the stream brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes, more than none.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// There is no more and will be none.
    End,
    /// The other end gave up.
    Reset(u64),
}

impl Default for ReceiveHalf {
    fn default() -> Self {
        Self {
            buffer: VecDeque::new(),
            read: 0,
            have: RangeSet::default(),
            highest: 0,
            limit: STREAM_WINDOW,
            state: State::Open,
            waiting: true,
        }
    }
}

impl ReceiveHalf {
    /// Takes a piece in. Returns by how much it goes beyond everything before it.
    pub(crate) fn insert(&mut self, piece: &StreamPiece<'_>) -> Result<u64, Violation> {
        let end = piece.offset + piece.data.len() as u64;
        if end > self.limit {
            return Err(Violation);
        }
        let known = self.final_size();
        if known.is_some_and(|size| end > size || (piece.end && end != size))
            || (piece.end && end < self.highest)
        {
            return Err(Violation);
        }
        let fresh = end.saturating_sub(self.highest);
        self.highest += fresh;
        match &mut self.state {
            State::Open if piece.end => self.state = State::Ended { size: end, told: false },
            State::Stopped { size } if piece.end => *size = Some(end),
            _ => {}
        }
        if matches!(self.state, State::Open | State::Ended { .. }) && end > self.read {
            self.store(piece.offset, piece.data);
        }
        Ok(fresh)
    }

    /// Whether there is a gap before this piece and one after it, so that it takes an entry of its own to remember. What
    /// the application reads next never does.
    pub(crate) fn is_crumb(&self, piece: &StreamPiece<'_>) -> bool {
        let range = piece.offset..piece.offset + piece.data.len() as u64;
        range.start > self.read && !range.is_empty() && !self.have.touches(&range)
    }

    /// How many runs of bytes are there.
    pub(crate) fn ranges(&self) -> usize {
        self.have.len()
    }

    /// By how much `end` goes beyond everything before it.
    pub(crate) fn beyond(&self, end: u64) -> u64 {
        end.saturating_sub(self.highest)
    }

    fn final_size(&self) -> Option<u64> {
        match self.state {
            State::Ended { size, .. } => Some(size),
            State::Stopped { size } => size,
            State::Reset { .. } => Some(self.highest),
            State::Open => None,
        }
    }

    fn store(&mut self, offset: u64, data: &[u8]) {
        let skip = usize::try_from(self.read.saturating_sub(offset)).unwrap_or(usize::MAX).min(data.len());
        let (offset, data) = (offset + skip as u64, &data[skip..]);
        if data.is_empty() {
            return;
        }
        // Within the window, so small.
        let start = usize::try_from(offset - self.read).unwrap_or(usize::MAX);
        self.have.insert(offset..offset + data.len() as u64);
        if start >= self.buffer.len() {
            self.buffer.resize(start, 0);
            self.buffer.extend(data);
            return;
        }
        let overlap = data.len().min(self.buffer.len() - start);
        let (front, back) = self.buffer.as_mut_slices();
        let in_front = overlap.min(front.len().saturating_sub(start));
        if in_front > 0 {
            front[start..start + in_front].copy_from_slice(&data[..in_front]);
        }
        if overlap > in_front {
            let start = (start + in_front) - front.len();
            back[start..start + overlap - in_front].copy_from_slice(&data[in_front..overlap]);
        }
        self.buffer.extend(&data[overlap..]);
    }

    /// The other end gave up after `size` bytes. Returns by how much that goes beyond everything before it.
    pub(crate) fn reset(&mut self, code: u64, size: u64) -> Result<u64, Violation> {
        if size > self.limit || size < self.highest || self.final_size().is_some_and(|known| known != size) {
            return Err(Violation);
        }
        let fresh = size - self.highest;
        self.highest = size;
        match self.state {
            // It has everything: giving up comes too late.
            State::Ended { size, .. } if self.have.first() == Some(self.read..size) || self.read == size => {}
            State::Open | State::Ended { .. } => {
                self.state = State::Reset { code, told: false };
                self.buffer = VecDeque::new();
                self.have = RangeSet::default();
            }
            State::Stopped { .. } => self.state = State::Reset { code, told: true },
            State::Reset { .. } => {}
        }
        Ok(fresh)
    }

    /// The application wants no more. Whether the other end must be told.
    pub(crate) fn stop(&mut self) -> bool {
        match self.state {
            State::Open => self.state = State::Stopped { size: None },
            State::Ended { size, .. } => self.state = State::Stopped { size: Some(size) },
            State::Reset { ref mut told, .. } => {
                *told = true;
                return false;
            }
            State::Stopped { .. } => return false,
        }
        let all_sent = self.final_size() == Some(self.highest);
        self.buffer = VecDeque::new();
        self.have = RangeSet::default();
        !all_sent
    }

    /// Appends at most `most` bytes to `out`.
    pub(crate) fn read(&mut self, most: usize, out: &mut Vec<u8>) -> Read {
        self.waiting = false;
        match &mut self.state {
            State::Reset { code, told } => {
                *told = true;
                return Read::Reset(*code);
            }
            State::Stopped { .. } => return Read::End,
            State::Ended { size, told } if *size == self.read => {
                *told = true;
                return Read::End;
            }
            State::Open | State::Ended { .. } => {}
        }
        let ready = match self.have.first() {
            Some(first) if first.start == self.read => first.end - first.start,
            _ => {
                self.waiting = true;
                return Read::Nothing;
            }
        };
        let len = usize::try_from(ready).unwrap_or(usize::MAX).min(most);
        if len == 0 {
            return Read::Nothing;
        }
        let (front, back) = self.buffer.as_slices();
        let in_front = len.min(front.len());
        out.extend_from_slice(&front[..in_front]);
        out.extend_from_slice(&back[..len - in_front]);
        self.buffer.drain(..len);
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = VecDeque::new();
        }
        self.have.remove(self.read..self.read + len as u64);
        self.read += len as u64;
        Read::Bytes(len)
    }

    /// Whether a waiting reader would find something.
    pub(crate) fn is_readable(&self) -> bool {
        match self.state {
            State::Reset { told, .. } => !told,
            State::Stopped { .. } => false,
            State::Ended { size, told } if size == self.read => !told,
            State::Open | State::Ended { .. } => {
                self.have.first().is_some_and(|first| first.start == self.read)
            }
        }
    }

    /// Counts what nobody will ever read as read. Returns how much that is.
    pub(crate) fn forfeit(&mut self) -> u64 {
        if matches!(self.state, State::Open | State::Ended { .. }) {
            return 0;
        }
        let unread = self.highest - self.read;
        self.read = self.highest;
        unread
    }

    /// Whether there is a new limit worth telling.
    pub(crate) fn has_new_limit(&self) -> bool {
        self.state == State::Open && self.read + STREAM_WINDOW - self.limit >= STREAM_WINDOW / 2
    }

    /// The limit is told.
    pub(crate) fn tell_limit(&mut self) -> Option<u64> {
        if self.state != State::Open {
            return None;
        }
        self.limit = self.limit.max(self.read + STREAM_WINDOW);
        Some(self.limit)
    }

    /// Whether nothing more can come of it: everything came in and was read, or was given up and that is known.
    pub(crate) fn is_done(&self) -> bool {
        match self.state {
            State::Open => false,
            State::Ended { told, .. } | State::Reset { told, .. } => told,
            State::Stopped { size } => size.is_some_and(|size| size == self.highest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, data: &[u8], end: bool) -> StreamPiece<'_> {
        StreamPiece { stream: 0, offset, end, data }
    }

    fn read(half: &mut ReceiveHalf) -> (Read, Vec<u8>) {
        let mut out = Vec::new();
        (half.read(1_000_000, &mut out), out)
    }

    #[test]
    fn pieces_in_any_order_doubled_and_overlapping_come_out_in_order_once() {
        let whole: Vec<u8> = (0..200_u8).collect();
        let mut state = 7_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((state >> 33) % bound).unwrap()
        };
        for _ in 0..300 {
            let (mut half, mut got) = (ReceiveHalf::default(), Vec::new());
            while got.len() < whole.len() {
                let start = below(200);
                let end = (start + below(30)).min(200);
                let (data, last) = (&whole[start..end], end == 200);
                half.insert(&piece(start as u64, data, last)).unwrap();
                if below(3) == 0 {
                    half.read(below(50), &mut got);
                }
            }
            assert_eq!(got, whole);
            half.insert(&piece(200, b"", true)).unwrap();
            assert_eq!(read(&mut half), (Read::End, Vec::new()));
            assert!(half.is_done());
        }
    }

    #[test]
    fn the_window_moves_as_the_application_reads_and_nothing_beyond_it_is_taken() {
        let mut half = ReceiveHalf::default();
        let window = usize::try_from(STREAM_WINDOW).unwrap();
        assert_eq!(half.insert(&piece(STREAM_WINDOW, b"a", false)), Err(Violation));
        half.insert(&piece(0, &vec![1; window], false)).unwrap();
        assert!(!half.has_new_limit());
        half.read(window / 2, &mut Vec::new());
        assert!(half.has_new_limit());
        assert_eq!(half.tell_limit(), Some(STREAM_WINDOW * 3 / 2));
        assert_eq!(half.insert(&piece(STREAM_WINDOW, b"a", false)), Ok(1));
    }

    #[test]
    fn a_size_once_told_holds() {
        let mut half = ReceiveHalf::default();
        half.insert(&piece(0, b"abc", true)).unwrap();
        assert_eq!(half.insert(&piece(3, b"d", false)), Err(Violation));
        assert_eq!(half.insert(&piece(0, b"ab", true)), Err(Violation));
        assert_eq!(half.reset(1, 2), Err(Violation));
        let mut half = ReceiveHalf::default();
        half.insert(&piece(3, b"d", false)).unwrap();
        assert_eq!(half.insert(&piece(0, b"ab", true)), Err(Violation));
        assert_eq!(half.reset(1, 3), Err(Violation));
    }

    #[test]
    fn a_reset_overtakes_unread_data_but_not_a_stream_that_is_complete() {
        let mut half = ReceiveHalf::default();
        half.insert(&piece(0, b"abc", false)).unwrap();
        assert_eq!(half.reset(42, 10), Ok(7));
        assert_eq!(
            (half.reset(42, 11), half.reset(42, 10)),
            (Err(Violation), Ok(0)),
            "a size once told holds"
        );
        assert_eq!(half.forfeit(), 10);
        assert_eq!(read(&mut half).0, Read::Reset(42));
        assert!(half.is_done());
        let mut half = ReceiveHalf::default();
        half.insert(&piece(0, b"abc", true)).unwrap();
        half.reset(42, 3).unwrap();
        assert_eq!(read(&mut half), (Read::Bytes(3), b"abc".to_vec()));
        assert_eq!(read(&mut half).0, Read::End);
    }

    #[test]
    fn a_stopped_stream_takes_nothing_and_ends_with_the_other_ends_answer() {
        let mut half = ReceiveHalf::default();
        half.insert(&piece(0, b"abc", false)).unwrap();
        assert!(half.stop());
        assert_eq!(half.forfeit(), 3);
        assert_eq!(half.insert(&piece(3, b"def", false)), Ok(3));
        assert_eq!((half.forfeit(), read(&mut half).0), (3, Read::End));
        assert!(!half.is_done());
        half.reset(0, 6).unwrap();
        assert!(half.is_done());
    }
}
