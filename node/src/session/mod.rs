//! A session: what two nodes hold once their handshake is complete.

mod liveness;
mod replay;

use meshground_shared::{NodeId, RejectReason, Role};

pub(crate) use liveness::Liveness;
use replay::ReplayWindow;

use crate::{
    crypto::{Aead, TAG_LEN},
    handshake::Established,
    packet::{CONFIRM_NOISE_LEN, DATA_HEADER_LEN, Frame, Frames, data_header},
    path::Path,
    time::{Instant, WallTime},
};

/// Bytes a data packet adds to its frames, with one for [`Frame::Continues`].
pub(crate) const PACKET_OVERHEAD: usize = DATA_HEADER_LEN + TAG_LEN + 1;

/// One end of a session: two keys and two counters.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Session {
    /// Who is at the other end.
    pub(crate) peer: NodeId,
    /// Where packets go.
    pub(crate) path: Path,
    /// This end's part in the handshake.
    pub(crate) role: Role,
    /// Which life of the peer this is; a restarted peer has a higher one.
    pub(crate) incarnation: u64,
    /// When the initiator began the handshake, by its own wall clock.
    pub(crate) begun: WallTime,
    /// When this end took up the handshake.
    pub(crate) since: Instant,
    /// The message 3 that confirmed it, until a packet shows that the initiator knows.
    pub(crate) confirmed_by: Option<Box<[u8; CONFIRM_NOISE_LEN]>>,
    /// This end has closed it: what still comes in has no effect.
    pub(crate) closed: bool,
    remote_index: u32,
    /// `None` once another session has replaced this one.
    send_key: Option<Aead>,
    receive_key: Aead,
    /// Goes on from session to session with one life of a peer, so that it names a packet among all of them.
    next_counter: u64,
    /// Where it stood when this session took it over.
    first_counter: u64,
    /// How many packets the sending key may seal.
    limit: u64,
    window: ReplayWindow,
    /// The connection the initiator would go on with; 0 for none.
    pub(crate) connection: u64,
    /// It prevailed over a direct session when this end, its initiator, sent message 3.
    pub(crate) displaces_direct: bool,
    /// The session with precedence was silent when this end, its initiator, sent message 3: the other end may have
    /// forgotten that one. Should it confirm this, it has.
    pub(crate) displaces_silent: bool,
    /// Whether this end goes on with that, of which the initiator must be told until it is heard.
    pub(crate) continues: bool,
}

impl Session {
    /// The session that `established` left behind, sending datagrams of at most
    /// `max_datagram` bytes over `path`. This end took up the handshake at `since`.
    pub(crate) fn new(established: Established, path: Path, max_datagram: usize, since: Instant) -> Self {
        let Established { peer, incarnation, role, begun, remote_index, connection, send_key, receive_key } =
            established;
        Self {
            peer,
            path,
            role,
            incarnation,
            begun,
            since,
            confirmed_by: None,
            closed: false,
            remote_index,
            send_key: Some(send_key),
            receive_key,
            next_counter: 0,
            first_counter: 0,
            limit: key_limit(max_datagram),
            window: ReplayWindow::default(),
            connection,
            displaces_direct: false,
            displaces_silent: false,
            continues: false,
        }
    }

    /// Takes the place of `old`, a session with the same life of the peer: goes on counting packets where that stood
    /// and `old` gives its sending key up and receives on, so that every number names one packet, sealed under one key,
    /// and later keys have higher ones. Before this, nothing must have been sealed.
    pub(crate) fn succeed(&mut self, old: &mut Self) {
        debug_assert_eq!(self.next_counter, 0, "nothing was sealed yet");
        old.retire();
        self.first_counter = old.next_counter;
        self.next_counter = old.next_counter;
    }

    /// Seals nothing from now on, and receives.
    pub(crate) fn retire(&mut self) {
        self.send_key = None;
    }

    /// What both ends call a connection that begins with this session.
    pub(crate) fn connection_id(&self, local: NodeId) -> u64 {
        let lower_began = (self.role == Role::Initiator) == (local < self.peer);
        self.begun.0 << 1 | u64::from(lower_began)
    }

    /// The index by which the other end's half is addressed.
    #[cfg(feature = "floor")]
    pub(crate) fn remote_index(&self) -> u32 {
        self.remote_index
    }

    /// Whether no packet with a higher counter was opened.
    pub(crate) fn is_newest(&self, counter: u64) -> bool {
        self.window.is_highest(counter)
    }

    /// How many packets the present sending key has sealed.
    pub(crate) fn sealed(&self) -> u64 {
        self.next_counter - self.first_counter
    }

    /// Whether it may seal any more.
    pub(crate) fn may_seal(&self) -> bool {
        self.send_key.is_some() && self.sealed() < self.limit
    }

    /// It has sealed all it may.
    #[cfg(test)]
    pub(crate) fn exhaust(&mut self) {
        self.limit = 0;
    }

    /// How many it may seal before it is to be renewed, if `wanted` is not fewer. Half of what it may seal at all,
    /// for the renewal needs time.
    pub(crate) fn renewal_due_after(&self, wanted: u64) -> u64 {
        wanted.min(self.limit / 2)
    }

    /// Seals what `write` appends into a datagram appended to `out`; the packet's number and what `write` returned.
    /// Nothing is sealed when that is `None`, nor under a key that has sealed all it may or was given up.
    pub(crate) fn seal<T>(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Option<T>,
    ) -> Option<(u64, T)> {
        if !self.may_seal() {
            return None;
        }
        let send_key = self.send_key.as_ref()?;
        let (start, number) = (out.len(), self.next_counter);
        let header = data_header(self.remote_index, number);
        out.extend_from_slice(&header);
        if self.continues && self.confirmed_by.is_some() {
            Frame::Continues.encode(out);
        }
        let Some(written) = write(out) else {
            out.truncate(start);
            return None;
        };
        let tag = send_key.seal(number, &header, &mut out[start + DATA_HEADER_LEN..]);
        out.extend_from_slice(&tag);
        self.next_counter += 1;
        Some((number, written))
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
        let (header, sealed) = datagram.split_at_mut(DATA_HEADER_LEN);
        let body = self.receive_key.open(counter, header, sealed).map_err(|_| RejectReason::AuthFailed)?;
        self.window.record(counter);
        self.confirmed_by = None;
        Frames::parse(body).map_err(|_| RejectReason::BadFrame)
    }
}

/// How many packets one key may seal: 2^35 cipher blocks, if every packet has the greatest length. Then an attacker's
/// advantage over AES-GCM stays below 2^-57 (RFC 9001, appendix B.1.1); ChaCha20-Poly1305 would stand more.
fn key_limit(max_datagram: usize) -> u64 {
    (1 << 35) / (max_datagram as u64).div_ceil(16)
}
