//! What is on its way out: datagrams gathered into runs, each of which is one system call.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use meshground_node::{Node, Now, Transmit};

use super::{clock::now, socket::Socket};
use crate::faults::Shaper;

/// The most datagrams the system takes as one run.
const MAX_RUN: usize = 64;

/// The largest UDP payload there is, which a run goes down to the system as.
const MAX_UDP_PAYLOAD: usize = 65_507;

/// The run that is being sent. What the socket has no room for stays here, in order, until it has.
#[derive(Debug, Default)]
pub(super) struct Egress {
    /// The run, and after it the datagram that ended it, if one did.
    buffer: Vec<u8>,
    run: Option<Run>,
    /// That datagram.
    next: Option<Transmit>,
    /// Spoils what goes out, while there are faults.
    pub(super) shaper: Option<Box<Shaper>>,
}

/// Datagrams to one address, of one size, save the last, which may be shorter.
#[derive(Debug, Clone, Copy)]
struct Run {
    to: SocketAddr,
    segment: usize,
    len: usize,
    /// Sending several at once has failed: one at a time.
    apart: bool,
}

impl Run {
    fn of(first: Transmit) -> Self {
        Self { to: first.to, segment: first.len, len: first.len, apart: false }
    }

    /// Takes another datagram in, if it may follow.
    fn take(&mut self, transmit: &Transmit, max: usize) -> bool {
        let fits = transmit.to == self.to
            && transmit.len <= self.segment
            // Nothing may follow a shorter one.
            && self.len.is_multiple_of(self.segment)
            && self.len / self.segment < max
            && self.len + transmit.len <= MAX_UDP_PAYLOAD;
        if fits {
            self.len += transmit.len;
        }
        fits
    }
}

/// What became of an attempt to send all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flushed {
    /// Calls that succeeded.
    pub(super) sent: u32,
    /// Datagrams lost to errors since the last of these calls.
    pub(super) errors: u32,
}

impl Egress {
    /// Whether the socket had no room for what is here.
    pub(super) fn is_blocked(&self) -> bool {
        self.run.is_some()
    }

    /// Sends what the node has to send, in order, until the socket has no room left.
    pub(super) fn flush(&mut self, node: &mut Node, socket: &Socket) -> Flushed {
        let mut flushed = Flushed::default();
        while self.fill(node, socket.max_segments().min(MAX_RUN)) {
            if !self.send(
                &mut flushed,
                || socket.max_segments(),
                |run, bytes| socket.try_send(run.to, bytes, run.segment),
            ) {
                break;
            }
        }
        flushed
    }

    /// Gathers a run, unless one is left from the last time. Whether there is one.
    fn fill(&mut self, node: &mut Node, max: usize) -> bool {
        if self.run.is_some() {
            return true;
        }
        if self.next.is_none() && self.shaper.is_none() && !node.has_output() {
            return false;
        }
        // Once a run, not once a datagram: reading two clocks costs as much as sealing a small packet.
        let now = now();
        while let Some(transmit) = self.next.take().or_else(|| self.poll(node, now)) {
            let Some(run) = &mut self.run else {
                self.run = Some(Run::of(transmit));
                continue;
            };
            if !run.take(&transmit, max) {
                self.next = Some(transmit);
                break;
            }
        }
        self.run.is_some()
    }

    /// The next datagram, appended to the buffer.
    fn poll(&mut self, node: &mut Node, now: Now) -> Option<Transmit> {
        let Some(shaper) = &mut self.shaper else { return node.poll_transmit(now, &mut self.buffer) };
        loop {
            if let Some(transmit) = shaper.pop_due(now.instant, &mut self.buffer) {
                return Some(transmit);
            }
            let start = self.buffer.len();
            let Some(transmit) = node.poll_transmit(now, &mut self.buffer) else { break };
            if shaper.passes(now.instant, transmit.to, &self.buffer[start..]) {
                return Some(transmit);
            }
            self.buffer.truncate(start);
        }
        if shaper.is_idle() {
            self.shaper = None;
        }
        None
    }

    /// Sends the run by `send`, as many datagrams at a time as `max_segments` allows. Whether it has gone; otherwise the
    /// socket has no room.
    fn send(
        &mut self,
        flushed: &mut Flushed,
        max_segments: impl Fn() -> usize,
        mut send: impl FnMut(Run, &[u8]) -> io::Result<()>,
    ) -> bool {
        let Some(mut run) = self.run.take() else { return true };
        let (mut done, mut refused) = (0, false);
        while done < run.len {
            let at_once = if run.apart { 1 } else { max_segments() };
            let end = run.len.min(done + run.segment.saturating_mul(at_once.max(1)));
            let outcome = send(run, &self.buffer[done..end]);
            let was_refused = std::mem::take(&mut refused);
            match outcome {
                Ok(()) => {
                    flushed.sent += 1;
                    flushed.errors = 0;
                    done = end;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.buffer.drain(..done);
                    run.len -= done;
                    self.run = Some(run);
                    return false;
                }
                // An earlier datagram's ICMP answer took this one's place; it has not been sent yet.
                Err(error)
                    if !was_refused
                        && matches!(
                            error.kind(),
                            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
                        ) =>
                {
                    refused = true;
                }
                // Offload may be what does not work here. None of them has been sent.
                Err(_) if end - done > run.segment => run.apart = true,
                // Lost, as any datagram may be; the protocol copes.
                Err(_) => {
                    flushed.errors += 1;
                    done = end;
                }
            }
        }
        self.buffer.drain(..run.len);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// What would be sent, as datagrams.
    #[derive(Default)]
    struct Wire {
        sent: RefCell<Vec<(SocketAddr, Vec<u8>)>>,
        calls: Cell<usize>,
    }

    impl Wire {
        fn take(&self, run: Run, bytes: &[u8]) {
            self.calls.set(self.calls.get() + 1);
            let datagrams = bytes.chunks(run.segment).map(|datagram| (run.to, datagram.to_vec()));
            self.sent.borrow_mut().extend(datagrams);
        }
    }

    fn port(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn datagrams(sizes: &[(u16, usize)]) -> Vec<(SocketAddr, Vec<u8>)> {
        let numbered = sizes.iter().zip(0_u8..);
        numbered.map(|(&(to, len), number)| (port(to), vec![number; len])).collect()
    }

    /// Puts one run together as `fill` does, out of what is left of `waiting`.
    fn fill(egress: &mut Egress, waiting: &mut Vec<(SocketAddr, Vec<u8>)>, max: usize) -> bool {
        while egress.next.is_some() || !waiting.is_empty() {
            let transmit = egress.next.take().unwrap_or_else(|| {
                let (to, bytes) = waiting.remove(0);
                egress.buffer.extend_from_slice(&bytes);
                Transmit { to, len: bytes.len() }
            });
            let Some(run) = &mut egress.run else {
                egress.run = Some(Run::of(transmit));
                continue;
            };
            if !run.take(&transmit, max) {
                egress.next = Some(transmit);
                break;
            }
        }
        egress.run.is_some()
    }

    const MIXED: [(u16, usize); 9] =
        [(1, 100), (1, 100), (1, 60), (1, 60), (1, 100), (2, 100), (2, 100), (1, 1), (2, 7)];

    #[test]
    fn datagrams_of_one_size_to_one_address_go_as_one_and_a_shorter_one_closes_the_run() {
        let (mut egress, wire) = (Egress::default(), Wire::default());
        let (mut waiting, mut flushed) = (datagrams(&MIXED), Flushed::default());
        while fill(&mut egress, &mut waiting, MAX_RUN) {
            assert!(egress.send(
                &mut flushed,
                || MAX_RUN,
                |run, bytes| {
                    wire.take(run, bytes);
                    Ok(())
                }
            ));
        }
        assert_eq!(*wire.sent.borrow(), datagrams(&MIXED));
        assert_eq!(wire.calls.get(), 6, "(100, 100, 60), (60), (100), (100, 100), (1), (7)");
        assert!(egress.buffer.is_empty());
    }

    #[test]
    fn a_run_is_no_longer_than_the_system_takes() {
        for (len, expected) in [(100, MAX_RUN), (1_452, 45), (40_000, 1), (MAX_UDP_PAYLOAD, 1)] {
            let mut egress = Egress::default();
            let mut waiting = datagrams(&vec![(1, len); 100]);
            assert!(fill(&mut egress, &mut waiting, MAX_RUN));
            assert_eq!(egress.run.unwrap().len, expected * len, "datagrams of {len} bytes");
        }
    }

    #[test]
    fn what_a_full_socket_refuses_goes_later_and_in_order() {
        let (mut egress, wire) = (Egress::default(), Wire::default());
        let (mut waiting, mut flushed) = (datagrams(&MIXED), Flushed::default());
        let turn = Cell::new(0);
        while fill(&mut egress, &mut waiting, MAX_RUN) {
            // One segment at a time, and every other call finds the socket full.
            let gone = egress.send(
                &mut flushed,
                || 1,
                |run, bytes| {
                    turn.set(turn.get() + 1);
                    if turn.get() % 2 == 1 {
                        return Err(ErrorKind::WouldBlock.into());
                    }
                    wire.take(run, bytes);
                    Ok(())
                },
            );
            assert_eq!(gone, !egress.is_blocked());
        }
        assert_eq!(*wire.sent.borrow(), datagrams(&MIXED));
    }

    #[test]
    fn a_run_the_system_refuses_is_sent_one_by_one_and_an_icmp_answer_costs_nothing() {
        let (mut egress, wire) = (Egress::default(), Wire::default());
        let (mut waiting, mut flushed) = (datagrams(&MIXED), Flushed::default());
        let answered = Cell::new(false);
        while fill(&mut egress, &mut waiting, MAX_RUN) {
            egress.send(
                &mut flushed,
                || MAX_RUN,
                |run, bytes| {
                    if !answered.replace(!answered.get()) {
                        return Err(ErrorKind::ConnectionRefused.into());
                    }
                    if bytes.len() > run.segment {
                        return Err(io::Error::other("no offload here"));
                    }
                    wire.take(run, bytes);
                    Ok(())
                },
            );
        }
        assert_eq!(*wire.sent.borrow(), datagrams(&MIXED));
        assert_eq!(flushed.errors, 0);
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_is_counted_and_the_others_go() {
        let (mut egress, wire) = (Egress::default(), Wire::default());
        let mut waiting = datagrams(&MIXED);
        let mut errors = 0;
        while fill(&mut egress, &mut waiting, MAX_RUN) {
            let mut flushed = Flushed::default();
            egress.send(
                &mut flushed,
                || MAX_RUN,
                |run, bytes| {
                    if run.to == port(2) {
                        return Err(ErrorKind::PermissionDenied.into());
                    }
                    wire.take(run, bytes);
                    Ok(())
                },
            );
            errors += flushed.errors;
        }
        let expected: Vec<_> = datagrams(&MIXED).into_iter().filter(|(to, _)| *to == port(1)).collect();
        assert_eq!(*wire.sent.borrow(), expected);
        assert_eq!(errors, 3);
    }
}
