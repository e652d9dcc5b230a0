//! Where datagrams are received: memory of the worker thread, not of the node. A thousand nodes need no more of it
//! than one.

use std::{
    cell::RefCell,
    io::{self, IoSliceMut},
    net::SocketAddr,
};

use quinn_udp::RecvMeta;

use super::socket::Socket;

/// Runs of datagrams taken in one system call.
const RUNS: usize = 8;

/// Room for a run: as much as one IP packet, into which offload joins one.
const RUN_LEN: usize = 1 << 16;

thread_local! {
    /// Zeroed memory that nothing is written to is not there: a thread pays for what its nodes have received.
    static ARENA: RefCell<Box<[u8]>> = RefCell::new(vec![0; RUNS * RUN_LEN].into_boxed_slice());
}

/// Reads some of what `socket` holds, and gives `each` every run of datagrams from one sender: who, what, and how long
/// each of them is, save the last, which may be shorter. `each` must not receive. Whether that was all.
pub(super) fn receive(
    socket: &Socket,
    mut each: impl FnMut(SocketAddr, &mut [u8], usize),
) -> io::Result<bool> {
    ARENA.with_borrow_mut(|arena| {
        let mut meta = [RecvMeta::default(); RUNS];
        let (filled, all) = {
            let mut rooms = arena.chunks_exact_mut(RUN_LEN);
            let mut buffers: [IoSliceMut<'_>; RUNS] =
                std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
            socket.try_recv(&mut buffers, &mut meta)?
        };
        for (room, meta) in arena.chunks_exact_mut(RUN_LEN).zip(&meta[..filled]) {
            if let Some(run) = room.get_mut(..meta.len) {
                each(meta.addr, run, meta.stride);
            }
        }
        Ok(all)
    })
}

/// The datagrams of a run, each `stride` bytes long, save the last, which may be shorter. An empty run is one empty
/// datagram, which has no length to divide by.
pub(super) fn split(run: &mut [u8], stride: usize) -> impl Iterator<Item = &mut [u8]> {
    let empty = run.is_empty().then_some::<&mut [u8]>(&mut []);
    empty.into_iter().chain(run.chunks_mut(stride.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(len: usize, stride: usize) -> Vec<usize> {
        split(&mut vec![0; len], stride).map(|datagram| datagram.len()).collect()
    }

    #[test]
    fn a_run_is_split_into_datagrams_of_its_stride_and_a_shorter_last_one() {
        let mut run = *b"one two thre";
        let datagrams: Vec<_> = split(&mut run, 5).map(|datagram| datagram.to_vec()).collect();
        assert_eq!(datagrams, [&b"one t"[..], b"wo th", b"re"]);
        assert_eq!(lengths(3 * 1_452 + 1, 1_452), [1_452, 1_452, 1_452, 1]);
    }

    #[test]
    fn a_run_that_its_stride_divides_has_no_empty_datagram_behind_it() {
        assert_eq!(lengths(2 * 1_452, 1_452), [1_452, 1_452]);
        assert_eq!(lengths(64, 64), [64]);
    }

    #[test]
    fn a_run_no_longer_than_its_stride_is_one_datagram_even_if_it_is_empty() {
        assert_eq!(lengths(64, 1_452), [64]);
        assert_eq!(lengths(0, 0), [0]);
        assert_eq!(lengths(0, 1_452), [0]);
    }
}
