//! One UDP socket, with segmentation offload where the system has it.
//!
//! Offload hands many datagrams of one size over in one system call, in either direction. Where there is none, or it
//! turns out not to work, the same calls carry one datagram each.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket};

use crate::tokio_runtime::enabled;

/// How large the kernel's buffers are asked to be, in bytes, best first. A burst that finds no room is lost.
const KERNEL_BUFFERS: [usize; 3] = [4 << 20, 1 << 20, 256 << 10];

/// A non-blocking UDP socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    offload: UdpSocketState,
}

impl Socket {
    /// Opens a socket on `address`; `None` unless called within a tokio runtime that has I/O enabled.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Option<Self>> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        enlarge_buffers(&socket);
        let offload = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let Some(io) = enabled(|| UdpSocket::from_std(socket)) else { return Ok(None) };
        Ok(Some(Self { io: io?, offload }))
    }

    /// Where it is reached.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Waits until there is something to read or, if `write`, room to send.
    pub(super) async fn ready(&self, write: bool) -> io::Result<()> {
        let interest = if write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.io.ready(interest).await.map(drop)
    }

    /// How many datagrams one call of [`try_send`](Self::try_send) takes; falls to 1 when offload turns out not to
    /// work.
    pub(super) fn max_segments(&self) -> usize {
        self.offload.max_gso_segments()
    }

    /// Sends `contents` as datagrams of `segment` bytes, of which the last may be shorter.
    pub(super) fn try_send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
        if contents.len() <= segment {
            // The system call for one datagram costs less than that for a run of them.
            return self.io.try_send_to(contents, to).map(drop);
        }
        let transmit =
            Transmit { destination: to, ecn: None, contents, segment_size: Some(segment), src_ip: None };
        self.io.try_io(Interest::WRITABLE, || self.offload.try_send(UdpSockRef::from(&self.io), &transmit))
    }

    /// Reads into `buffers` what lies there: how many of them have been filled, and whether that was all there is.
    pub(super) fn try_recv(
        &self,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<(usize, bool)> {
        let most = buffers.len().min(BATCH_SIZE);
        let mut filled = None;
        let outcome = self.io.try_io(Interest::READABLE, || {
            let count = self.offload.recv(UdpSockRef::from(&self.io), buffers, meta)?;
            filled = Some(count);
            // With room to spare, the system has looked for another datagram already: tokio need not try once more. What
            // comes after that look wakes it anew.
            if count < most { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match filled {
            Some(count) => Ok((count, outcome.is_err())),
            None => outcome.map(|()| (0, true)),
        }
    }
}

/// Asks for large kernel buffers. One that stays small is no error: it only loses more.
fn enlarge_buffers(socket: &std::net::UdpSocket) {
    let socket = SockRef::from(socket);
    let smaller_than = |present: io::Result<usize>, wanted| present.is_ok_and(|present| present < wanted);
    for wanted in KERNEL_BUFFERS {
        if !smaller_than(socket.recv_buffer_size(), wanted) || socket.set_recv_buffer_size(wanted).is_ok() {
            break;
        }
    }
    for wanted in KERNEL_BUFFERS {
        if !smaller_than(socket.send_buffer_size(), wanted) || socket.set_send_buffer_size(wanted).is_ok() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::driver::arena;

    const LEN: usize = 1_000;
    const COUNT: usize = 64;

    /// What the system itself says of offload, whatever the socket makes of it: runs out, and in.
    fn offered() -> (usize, usize) {
        let fresh = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let offload = UdpSocketState::new(UdpSockRef::from(&fresh)).expect("it is like any other");
        (offload.max_gso_segments(), offload.gro_segments())
    }

    #[tokio::test]
    async fn a_run_of_datagrams_goes_out_in_one_system_call_and_arrives_in_fewer_than_there_are_of_them() {
        let (out, into) = offered();
        let open = || Socket::bind(([127, 0, 0, 1], 0).into()).expect("a socket").expect("within a runtime");
        let [here, there] = [open(), open()];
        assert_eq!(here.max_segments(), out, "as many as the system takes");
        if out < COUNT || into < 2 {
            eprintln!(
                "the system has no offload for runs of datagrams ({out} out, {into} in): nothing to see"
            );
            return;
        }
        let run: Vec<u8> = (0..COUNT).flat_map(|n| vec![u8::try_from(n).expect("few"); LEN]).collect();
        here.ready(true).await.expect("it can be written");
        here.try_send(there.local_addr().expect("bound"), &run, LEN).expect("in one call");
        assert_eq!(here.max_segments(), out, "nothing was wrong with that");

        let (mut datagrams, mut runs) = (Vec::new(), 0);
        let all = async {
            while datagrams.len() < COUNT {
                there.ready(false).await.expect("it can be read");
                let received = arena::receive(&there, |from, run, stride| {
                    assert_eq!(Ok(from), here.local_addr().map_err(|error| error.to_string()));
                    runs += 1;
                    datagrams.extend(arena::split(run, stride).map(|datagram| datagram.to_vec()));
                });
                match received {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    received => _ = received.expect("it is read"),
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), all).await.expect("nothing is lost on loopback");
        let expected: Vec<_> = run.chunks(LEN).map(<[u8]>::to_vec).collect();
        assert!(datagrams == expected, "each once, and in order");
        assert!(runs < COUNT, "{runs} runs: none was joined");
    }
}
