//! A session: what two nodes hold once their handshake is complete.

mod liveness;
mod replay;

use std::{collections::VecDeque, net::SocketAddr};

use meshground_shared::{NodeId, RejectReason, Role};

pub(crate) use liveness::Liveness;
use replay::ReplayWindow;

use crate::{
    crypto::{Aead, TAG_LEN},
    event::Traffic,
    handshake::Established,
    packet::{CONFIRM_NOISE_LEN, DATA_HEADER_LEN, Frame, Frames, data_header},
    time::WallTime,
};

/// Bytes a data packet adds to its frames.
pub(crate) const PACKET_OVERHEAD: usize = DATA_HEADER_LEN + TAG_LEN;

/// One end of a session: two keys, two counters, and the frames that wait to go out.
#[derive(Debug)]
pub(crate) struct Session {
    /// Who is at the other end.
    pub(crate) peer: NodeId,
    /// Where packets go.
    pub(crate) address: SocketAddr,
    /// This end's part in the handshake.
    pub(crate) role: Role,
    /// Which life of the peer this is; a restarted peer has a higher one.
    pub(crate) incarnation: u64,
    /// When the initiator began the handshake, by its own wall clock.
    pub(crate) begun: WallTime,
    /// The message 3 that confirmed it, until a packet shows that the initiator knows.
    pub(crate) confirmed_by: Option<Box<[u8; CONFIRM_NOISE_LEN]>>,
    /// Datagrams and bytes so far.
    pub(crate) traffic: Traffic,
    remote_index: u32,
    send_key: Aead,
    receive_key: Aead,
    next_counter: u64,
    window: ReplayWindow,
    max_frames: usize,
    /// Blocks of whole frames, each of which fits one datagram.
    waiting: VecDeque<Vec<u8>>,
}

impl Session {
    /// The session that `established` left behind, sending datagrams of at most
    /// `max_datagram` bytes to `address`.
    pub(crate) fn new(established: Established, address: SocketAddr, max_datagram: usize) -> Self {
        let Established { peer, incarnation, role, begun, remote_index, send_key, receive_key } = established;
        Self {
            peer,
            address,
            role,
            incarnation,
            begun,
            confirmed_by: None,
            traffic: Traffic::default(),
            remote_index,
            send_key,
            receive_key,
            next_counter: 0,
            window: ReplayWindow::default(),
            max_frames: max_datagram - PACKET_OVERHEAD,
            waiting: VecDeque::new(),
        }
    }

    /// Queues a frame, together with others where it fits. Returns whether nothing was
    /// waiting before.
    pub(crate) fn push(&mut self, frame: &Frame<'_>) -> bool {
        let first = self.waiting.is_empty();
        match self.waiting.back_mut() {
            Some(block) if block.len() + frame.encoded_len() <= self.max_frames => frame.encode(block),
            _ => {
                let mut block = Vec::with_capacity(frame.encoded_len());
                frame.encode(&mut block);
                self.waiting.push_back(block);
            }
        }
        first
    }

    /// Seals the next block of frames into a datagram appended to `out`; its length.
    pub(crate) fn seal_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let frames = self.waiting.pop_front()?;
        let start = out.len();
        let header = data_header(self.remote_index, self.next_counter);
        out.extend_from_slice(&header);
        out.extend_from_slice(&frames);
        let tag = self.send_key.seal(self.next_counter, &header, &mut out[start + DATA_HEADER_LEN..]);
        out.extend_from_slice(&tag);
        self.next_counter += 1;
        let len = out.len() - start;
        self.traffic.datagrams_out += 1;
        self.traffic.bytes_out += len as u64;
        Some(len)
    }

    /// Opens a data packet in place. An error means that nothing changed, except for
    /// [`RejectReason::BadFrame`], after which the packet counts as seen.
    pub(crate) fn open<'a>(
        &mut self,
        counter: u64,
        datagram: &'a mut [u8],
    ) -> Result<Frames<'a>, RejectReason> {
        if !self.window.is_new(counter) {
            return Err(RejectReason::Replayed);
        }
        let len = datagram.len() as u64;
        let (header, sealed) = datagram.split_at_mut(DATA_HEADER_LEN);
        let body = self.receive_key.open(counter, header, sealed).map_err(|_| RejectReason::AuthFailed)?;
        self.window.record(counter);
        self.confirmed_by = None;
        let frames = Frames::parse(body).map_err(|_| RejectReason::BadFrame)?;
        self.traffic.datagrams_in += 1;
        self.traffic.bytes_in += len;
        Ok(frames)
    }
}
