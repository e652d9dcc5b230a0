//! The sending half of a stream.

use std::collections::VecDeque;

use crate::ranges::RangeSet;

/// How many bytes a stream keeps that are not acknowledged yet. Whoever writes more waits.
pub(crate) const SEND_BUFFER: usize = 1 << 20;

/// A buffer larger than this is given back when it has emptied.
const KEPT: usize = 16 << 10;

/// Bytes on their way out, and what has become of them.
#[derive(Debug)]
pub(crate) struct SendHalf {
    /// What is not acknowledged from the beginning on; begins at `base`.
    buffer: VecDeque<u8>,
    base: u64,
    /// The first byte never sent.
    unsent: u64,
    /// Acknowledged above `base`.
    acked: RangeSet,
    /// To be sent again.
    lost: RangeSet,
    /// How far the other end lets it go.
    limit: u64,
    state: State,
    /// The writer was told that there is no room.
    pub(crate) blocked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Ends after `size` bytes; the end must be sent, is under way, or was acknowledged.
    Ended {
        sent: bool,
        acked: bool,
    },
    Reset {
        code: u64,
        sent: bool,
        acked: bool,
    },
}

/// The next piece to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) end: bool,
}

impl SendHalf {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            buffer: VecDeque::new(),
            base: 0,
            unsent: 0,
            acked: RangeSet::default(),
            lost: RangeSet::default(),
            limit,
            state: State::Open,
            blocked: false,
        }
    }

    /// Takes as much of `data` as there is room for.
    pub(crate) fn write(&mut self, data: &[u8]) -> usize {
        let len = data.len().min(self.room());
        self.buffer.extend(&data[..len]);
        self.blocked = len < data.len();
        len
    }

    fn room(&self) -> usize {
        SEND_BUFFER.saturating_sub(self.buffer.len())
    }

    /// Whether a writer that was told to wait may go on.
    pub(crate) fn unblock(&mut self) -> bool {
        let free = self.blocked && self.is_open() && self.room() >= SEND_BUFFER / 2;
        if free {
            self.blocked = false;
        }
        free
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The end of everything written.
    pub(crate) fn size(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// How far it was sent.
    pub(crate) fn sent_to(&self) -> u64 {
        self.unsent
    }

    /// Nothing more will be written.
    pub(crate) fn end(&mut self) {
        if self.is_open() {
            self.state = State::Ended { sent: false, acked: false };
        }
    }

    /// Gives up what is not acknowledged. Whether that is news.
    pub(crate) fn reset(&mut self, code: u64) -> bool {
        if matches!(self.state, State::Reset { .. }) || self.is_done() {
            return false;
        }
        self.state = State::Reset { code, sent: false, acked: false };
        self.buffer = VecDeque::new();
        self.acked = RangeSet::default();
        self.lost = RangeSet::default();
        true
    }

    /// The other end lets it go as far as `limit`.
    pub(crate) fn allow(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// A reset to send: its code.
    pub(crate) fn reset_to_send(&self) -> Option<u64> {
        match self.state {
            State::Reset { code, sent: false, .. } => Some(code),
            _ => None,
        }
    }

    pub(crate) fn reset_sent(&mut self) {
        if let State::Reset { sent, .. } = &mut self.state {
            *sent = true;
        }
    }

    pub(crate) fn reset_lost(&mut self) {
        if let State::Reset { sent, acked: false, .. } = &mut self.state {
            *sent = false;
        }
    }

    pub(crate) fn reset_acked(&mut self) {
        if let State::Reset { acked, .. } = &mut self.state {
            *acked = true;
        }
    }

    /// Whether there is something to send, of which no more than `fresh` bytes were never sent before.
    pub(crate) fn has_output(&self, fresh: u64) -> bool {
        match self.state {
            State::Reset { .. } => false,
            State::Open | State::Ended { .. } => {
                !self.lost.is_empty() || self.end_to_send() || self.fresh(fresh) > 0
            }
        }
    }

    fn end_to_send(&self) -> bool {
        // Without data of its own only once all data was sent: it tells the size.
        matches!(self.state, State::Ended { sent: false, .. }) && self.unsent == self.size()
    }

    /// How many bytes may be sent for the first time.
    fn fresh(&self, most: u64) -> u64 {
        (self.size().min(self.limit)).saturating_sub(self.unsent).min(most)
    }

    /// The next piece, of at most `most` bytes and no more than `fresh` never sent before. Counts as sent.
    pub(crate) fn next(&mut self, most: usize, fresh: u64) -> Option<Piece> {
        if matches!(self.state, State::Reset { .. }) {
            return None;
        }
        let (offset, len) =
            if let Some(lost) = self.lost.take_first(most as u64).filter(|lost| !lost.is_empty()) {
                (lost.start, lost.end - lost.start)
            } else {
                let offset = self.unsent;
                let len = self.fresh(fresh).min(most as u64);
                self.unsent += len;
                (offset, len)
            };
        let size = self.size();
        let mut end = false;
        if let State::Ended { sent, .. } = &mut self.state
            && offset + len == size
            && (len > 0 || !*sent)
        {
            *sent = true;
            end = true;
        }
        let len = usize::try_from(len).unwrap_or(0);
        (len > 0 || end).then_some(Piece { offset, len, end })
    }

    /// Appends the bytes of a piece that is not acknowledged.
    pub(crate) fn copy(&self, offset: u64, len: usize, out: &mut Vec<u8>) {
        let start = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let end = start.saturating_add(len).min(self.buffer.len());
        let (front, back) = self.buffer.as_slices();
        out.extend_from_slice(&front[start.min(front.len())..end.min(front.len())]);
        out.extend_from_slice(&back[start.saturating_sub(front.len())..end.saturating_sub(front.len())]);
    }

    /// A piece arrived.
    pub(crate) fn acked(&mut self, offset: u64, len: u64, with_end: bool) {
        if let State::Ended { acked, .. } = &mut self.state {
            *acked |= with_end;
        }
        if matches!(self.state, State::Reset { .. }) {
            return;
        }
        let end = offset + len;
        if end <= self.base {
            return;
        }
        self.lost.remove(offset..end);
        if offset > self.base {
            self.acked.insert(offset..end);
            return;
        }
        let mut settled = end;
        while let Some(first) = self.acked.first().filter(|first| first.start <= settled) {
            settled = settled.max(first.end);
            self.acked.remove(first);
        }
        let count = usize::try_from(settled - self.base).unwrap_or(usize::MAX).min(self.buffer.len());
        self.buffer.drain(..count);
        self.base = settled;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = VecDeque::new();
        }
    }

    /// A piece was lost: what is not acknowledged of it comes again.
    pub(crate) fn lost(&mut self, offset: u64, len: u64, with_end: bool) {
        match &mut self.state {
            State::Reset { .. } => return,
            State::Ended { sent, acked: false } if with_end => *sent = false,
            State::Ended { .. } | State::Open => {}
        }
        let end = offset + len;
        self.lost.insert(offset.max(self.base)..end.max(self.base));
        let settled: Vec<_> =
            self.acked.iter().filter(|acked| acked.start < end && acked.end > offset).collect();
        for acked in settled {
            self.lost.remove(acked);
        }
    }

    /// Whether the other end has everything there was to tell.
    pub(crate) fn is_done(&self) -> bool {
        match self.state {
            State::Open => false,
            State::Ended { acked, .. } => acked && self.buffer.is_empty(),
            State::Reset { acked, .. } => acked,
        }
    }

    /// Whether it was given up rather than ended.
    pub(crate) fn was_reset(&self) -> bool {
        matches!(self.state, State::Reset { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_comes_again_until_everything_arrived() {
        let whole: Vec<u8> = (0..100_u8).cycle().take(5_000).collect();
        let mut half = SendHalf::new(u64::MAX);
        assert_eq!(half.write(&whole), 5_000);
        half.end();
        let (mut arrived, mut got_end, mut turn) = (vec![None; 5_000], false, 0);
        while !half.is_done() {
            let piece = half.next(300, u64::MAX).expect("until it is done there is something to send");
            turn += 1;
            let len = piece.len as u64;
            if turn % 3 == 0 {
                half.lost(piece.offset, len, piece.end);
                continue;
            }
            let mut bytes = Vec::new();
            half.copy(piece.offset, piece.len, &mut bytes);
            let at = usize::try_from(piece.offset).unwrap();
            for (place, byte) in arrived[at..].iter_mut().zip(&bytes) {
                *place = Some(*byte);
            }
            got_end |= piece.end;
            half.acked(piece.offset, len, piece.end);
        }
        assert!(got_end);
        assert_eq!(arrived.into_iter().map(Option::unwrap).collect::<Vec<_>>(), whole);
        assert_eq!(half.next(300, u64::MAX), None);
    }

    #[test]
    fn neither_limit_is_exceeded() {
        let mut half = SendHalf::new(10);
        half.write(&[1; 100]);
        assert_eq!(half.next(300, 4), Some(Piece { offset: 0, len: 4, end: false }));
        assert_eq!(half.next(300, 100), Some(Piece { offset: 4, len: 6, end: false }));
        assert!(!half.has_output(100));
        half.lost(0, 4, false);
        assert_eq!(half.next(300, 0), Some(Piece { offset: 0, len: 4, end: false }), "it was paid for");
        half.allow(20);
        half.allow(15);
        assert_eq!(half.next(300, 100), Some(Piece { offset: 10, len: 10, end: false }));
    }

    #[test]
    fn a_late_loss_does_not_bring_back_what_arrived() {
        let mut half = SendHalf::new(u64::MAX);
        half.write(&[1; 30]);
        half.next(30, 100);
        half.acked(10, 10, false);
        half.lost(0, 30, false);
        assert_eq!(half.next(300, 0), Some(Piece { offset: 0, len: 10, end: false }));
        assert_eq!(half.next(300, 0), Some(Piece { offset: 20, len: 10, end: false }));
        assert_eq!(half.next(300, 0), None);
    }

    #[test]
    fn a_writer_waits_for_room_and_is_called_when_half_is_free() {
        let mut half = SendHalf::new(u64::MAX);
        assert_eq!(half.write(&vec![0; SEND_BUFFER + 5]), SEND_BUFFER);
        assert_eq!(half.write(b"more"), 0);
        half.next(SEND_BUFFER, u64::MAX);
        half.acked(0, 100, false);
        assert!(!half.unblock());
        half.acked(0, SEND_BUFFER as u64 / 2, false);
        assert!(half.unblock() && !half.unblock());
    }

    #[test]
    fn a_reset_is_told_until_acknowledged() {
        let mut half = SendHalf::new(u64::MAX);
        half.write(b"abc");
        half.next(300, 100);
        assert!(half.reset(9) && !half.reset(8));
        assert_eq!(half.reset_to_send(), Some(9));
        half.reset_sent();
        assert_eq!(half.reset_to_send(), None);
        half.reset_lost();
        assert_eq!(half.reset_to_send(), Some(9));
        half.reset_acked();
        assert!(half.is_done());
        assert_eq!(half.next(300, 100), None);
    }
}
