//! Messages on their way out: packed together where they are small, cut where they are large.

use std::collections::VecDeque;

use crate::packet::{Fragment, Frame, Frames, varint};

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct Messages {
    queue: VecDeque<Waiting>,
    /// The bytes in `queue`.
    bytes: usize,
    /// Blocks are filled up to this.
    block: usize,
    next_parcel: u64,
    /// An empty block to use again.
    spare: Vec<u8>,
}

#[derive(Debug)]
enum Waiting {
    /// Whole frames, together no longer than a packet takes.
    Block { frames: Vec<u8>, messages: u32 },
    /// A frame longer than a packet, sent up to `offset`.
    Parcel { number: u64, frame: Vec<u8>, offset: usize },
}

impl Messages {
    /// For packets that take `block` bytes of frames.
    pub(crate) fn new(block: usize) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, block, next_parcel: 0, spare: Vec::new() }
    }

    /// For packets that take `block` bytes of frames from now on: what waits is packed anew where it no longer fits.
    pub(crate) fn set_block(&mut self, block: usize) {
        let before = std::mem::replace(&mut self.block, block);
        if before <= block {
            return;
        }
        self.bytes = 0;
        for waiting in std::mem::take(&mut self.queue) {
            match waiting {
                Waiting::Block { frames, .. } => {
                    for frame in Frames::parse(&frames).into_iter().flatten() {
                        self.push(&frame);
                    }
                }
                Waiting::Parcel { number, frame, offset } => {
                    self.bytes += frame.len() - offset;
                    self.queue.push_back(Waiting::Parcel { number, frame, offset });
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues a frame that is not to come again when it is lost.
    pub(crate) fn push(&mut self, frame: &Frame<'_>) {
        let len = frame.encoded_len();
        self.bytes += len;
        if len > self.block {
            let mut bytes = Vec::with_capacity(len);
            frame.encode(&mut bytes);
            let number = self.next_parcel;
            self.next_parcel = (number + 1) & varint::MAX;
            self.queue.push_back(Waiting::Parcel { number, frame: bytes, offset: 0 });
            return;
        }
        match self.queue.back_mut() {
            Some(Waiting::Block { frames, messages }) if frames.len() + len <= self.block => {
                frame.encode(frames);
                *messages += 1;
            }
            _ => {
                let mut frames = std::mem::take(&mut self.spare);
                frames.reserve_exact(len);
                frame.encode(&mut frames);
                self.queue.push_back(Waiting::Block { frames, messages: 1 });
            }
        }
    }

    /// Appends as much as fits in `room` bytes; how many messages ended with it. `None` when nothing fitted.
    pub(crate) fn write(&mut self, mut room: usize, out: &mut Vec<u8>) -> Option<u32> {
        let (start, mut ended) = (out.len(), 0);
        while let Some(next) = self.queue.front_mut() {
            let before = out.len();
            match next {
                Waiting::Block { frames, messages } => {
                    if frames.len() > room {
                        break;
                    }
                    out.extend_from_slice(frames);
                    ended += *messages;
                    frames.clear();
                    self.spare = std::mem::take(frames);
                    self.queue.pop_front();
                }
                Waiting::Parcel { number, frame, offset } => {
                    let (size, at) = (frame.len() as u64, *offset as u64);
                    let overhead = Fragment::overhead(*number, size, at, self.block);
                    let len = room.saturating_sub(overhead).min(frame.len() - *offset);
                    if len == 0 {
                        break;
                    }
                    let data = &frame[*offset..*offset + len];
                    Frame::Fragment(Fragment { parcel: *number, size, offset: at, data }).encode(out);
                    *offset += len;
                    if *offset == frame.len() {
                        ended += 1;
                        self.queue.pop_front();
                    }
                }
            }
            let written = out.len() - before;
            room = room.saturating_sub(written);
            self.bytes = self.bytes.saturating_sub(written);
        }
        if self.queue.is_empty() {
            // Fragments carry more than their share of the frame.
            self.bytes = 0;
        }
        (out.len() > start).then_some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(messages: &mut Messages, room: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            let mut out = Vec::new();
            if messages.write(room, &mut out).is_none() {
                return packets;
            }
            assert!(out.len() <= room);
            packets.push(out);
        }
    }

    #[test]
    fn small_messages_share_packets() {
        let mut messages = Messages::new(100);
        for _ in 0..10 {
            messages.push(&Frame::Message(&[7; 20]));
        }
        let packets = packets(&mut messages, 100);
        assert_eq!(packets.iter().map(|p| Frames::parse(p).unwrap().count()).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!((messages.bytes(), messages.is_empty()), (0, true));
    }

    #[test]
    fn a_long_one_is_cut_and_its_end_shares_a_packet_with_what_follows() {
        let mut messages = Messages::new(100);
        messages.push(&Frame::Message(&[7; 250]));
        messages.push(&Frame::Message(&[8; 10]));
        let packets = packets(&mut messages, 100);
        let mut whole = Vec::new();
        let mut last = None;
        for frame in packets.iter().flat_map(|packet| Frames::parse(packet).unwrap()) {
            match frame {
                Frame::Fragment(fragment) => {
                    assert_eq!((fragment.offset, fragment.size), (whole.len() as u64, 253));
                    whole.extend_from_slice(fragment.data);
                }
                other => last = Some(other),
            }
        }
        assert_eq!(Frames::parse(&whole).unwrap().next(), Some(Frame::Message(&[7; 250])));
        assert_eq!((packets.len(), last), (3, Some(Frame::Message(&[8; 10]))));
    }

    #[test]
    fn nothing_is_written_where_nothing_fits() {
        let mut messages = Messages::new(100);
        messages.push(&Frame::Message(&[7; 90]));
        assert_eq!(messages.write(50, &mut Vec::new()), None);
        assert!(!messages.is_empty());
    }
}
